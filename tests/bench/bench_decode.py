"""How much faster than pyMeterBus the decoder is, in one run on one machine: `python tests/bench/bench_decode.py`.

Both sides get the same telegrams and look at every value. "warm" is a meter that was read before, which is every
reading but the first; "cold" forgets all structures before each telegram.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

import meterbus  # noqa: E402

from core.mbus.telegram import decode, forget_layouts  # noqa: E402

ROUNDS = 9


def ours(frame: bytes) -> None:
    for record in decode(frame).records:
        record.value  # noqa: B018  # looking at it is what is measured


def ours_cold(frame: bytes) -> None:
    forget_layouts()
    ours(frame)


def theirs(frame: bytes) -> None:
    for record in meterbus.load(frame).records:
        record.value  # noqa: B018


def theirs_json(frame: bytes) -> None:
    meterbus.load(frame).to_JSON()


def readable(frame: bytes) -> bool:
    """Whether the other one can do it at all: what it cannot is left out on both sides."""
    try:
        theirs(frame)
        theirs_json(frame)
    except Exception:  # whatever it raises
        return False
    return True


def main() -> None:
    paths = sorted((ROOT / "core" / "mbus" / "telegrams").glob("*.hex"))
    every = [bytes.fromhex("".join(path.read_text().split())) for path in paths]
    frames = [frame for frame in every if readable(frame)]
    records = sum(len(decode(frame).records) for frame in frames)
    print(
        f"{len(frames)} of {len(every)} telegrams, {records} records; best of {ROUNDS} rounds, taken in turns"
    )
    cases: list[tuple[str, Callable[[bytes], None], int]] = [
        ("this decoder, warm", ours, 50),
        ("this decoder, cold", ours_cold, 5),
        ("pyMeterBus, load and every value", theirs, 1),
        ("pyMeterBus, load and to_JSON", theirs_json, 1),
    ]
    best = {name: float("inf") for name, _, _ in cases}
    for _ in range(ROUNDS):
        for name, run, repeats in cases:
            start = time.perf_counter()
            for _ in range(repeats):
                for frame in frames:
                    run(frame)
            best[name] = min(best[name], (time.perf_counter() - start) / repeats / len(frames))
    reference = best[cases[2][0]]
    for name, seconds in best.items():
        print(f"{name:34} {seconds * 1e6:8.1f} us a telegram   {reference / seconds:6.1f} times pyMeterBus")


if __name__ == "__main__":
    main()

"""Whether four lines are read as fast as one: `python tests/bench/bench_lines.py`.

A whole gateway (decoder, store, mapping and snapshots included) sweeps lines of 40 meters each, at 9600 baud in real
time; each line is a pty of a simulator in a process of its own. Goal: a sweep of four lines takes at most 5 % longer
than that of one. The limit of the wire is that of `core.timing`, for the telegrams that came.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from core.facade import RunOptions  # noqa: E402
from core.launch import RunningGateway, open_gateway  # noqa: E402
from core.mbus.address import PrimaryAddress  # noqa: E402
from core.snapshot import MeterState, SweepView  # noqa: E402
from core.timing import readout_s  # noqa: E402

METERS, BAUD, SWEEPS, GOAL = 40, 9600, 5, 1.05
LIMIT_S = 120.0


class Measured(NamedTuple):
    """Sweeps of a gateway."""

    sweep_s: float  # the slowest line, in the median of the sweeps
    wire_s: float  # that the slowest line needs at least
    cpu: float  # share of one processor for each line


@contextmanager
def simulated_line() -> Iterator[str]:
    """The URL of a line of its own."""
    command = [sys.executable, "-m", "cme_tui", "simulate", "--pty"]
    process = subprocess.Popen(
        [*command, "--meters", str(METERS), "--baud", str(BAUD)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent.parent,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"/dev/\S+", line):
                yield f"serial:{found[0]}"
                break
    finally:
        process.terminate()
        process.wait()


def config(urls: list[str]) -> str:
    tables = ['[dlms]\nhost = "127.0.0.1"\n[readout]\ninterval = "1 d"\n']
    tables.append('[profiles]\nload_profile_1 = "1 d"\n')
    tables += [f'[[line]]\nname = "{url}"\nurl = "{url}"\nbaud = {BAUD}\n' for url in urls]
    tables += [f'[[meter]]\nline = "{url}"\naddress = {n}\n' for url in urls for n in range(1, METERS + 1)]
    return "".join(tables)


def sweeps_after(gateway: RunningGateway, moment_ms: int) -> list[SweepView]:
    """The sweeps of all lines that began since then, when they are over."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = [line.sweep for line in gateway.snapshot().lines if line.sweep]
        over = [each for each in found if each.started_ms >= moment_ms and each.finished_ms is not None]
        if found and len(over) == len(gateway.snapshot().lines):
            return over
        time.sleep(0.2)
    raise TimeoutError(f"no sweep ended: {gateway.snapshot().lines}")


def wire_s(gateway: RunningGateway) -> float:
    """What the wire of the slowest line takes at least for all telegrams that came."""
    spent: dict[str, float] = {}
    for meter in gateway.snapshot().meters:
        assert meter.state is MeterState.OK, meter
        lengths = [len(telegram.frame) for telegram in gateway.meter(meter.key).result().telegrams]
        spent[meter.line] = spent.get(meter.line, 0.0) + readout_s(BAUD, PrimaryAddress(1), lengths)
    return max(spent.values())


def measure(lines: int) -> Measured:
    with ExitStack() as stack:
        urls = [stack.enter_context(simulated_line()) for _ in range(lines)]
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (state / "config.toml").write_text(config(urls))
        gateway = open_gateway(RunOptions(state, dlms_port=0))
        stack.callback(gateway.stop)
        sweeps_after(gateway, 0)  # the first one learns what the meters send
        least = wire_s(gateway)
        times = []
        cpu, began = time.process_time(), time.monotonic()
        for _ in range(SWEEPS):
            now = time.time_ns() // 1_000_000
            gateway.read_all().result()
            over = sweeps_after(gateway, now)
            times.append(max((each.finished_ms or 0) - each.started_ms for each in over) / 1000)
        cpu = (time.process_time() - cpu) / (time.monotonic() - began) / lines
        return Measured(median(times), least, cpu)


def main() -> None:
    one, four = measure(1), measure(4)
    for lines, measured in ((1, one), (4, four)):
        print(
            f"{lines} x {METERS} meters at {BAUD} baud: {measured.sweep_s:7.3f} s  "
            f"wire {measured.wire_s:7.3f} s  {measured.wire_s / measured.sweep_s:6.1%}  "
            f"{measured.cpu:6.1%} CPU a line"
        )
    ratio = four.sweep_s / one.sweep_s
    print(f"four lines / one: {ratio:.3f}  goal {GOAL:.2f}  {'met' if ratio <= GOAL else 'NOT MET'}")


if __name__ == "__main__":
    main()

"""`cme-tui rehearse`: a head-end system tries the running gateway; the report says what it saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from cme_tui.commands.arguments import add_gateway, add_server, number, state_dir
from cme_tui.hes.access import Access, load_access
from cme_tui.hes.rehearsal import Outcome, Rehearsal, Step

_COLUMNS: Final = 80
_SYMBOLS: Final = {Outcome.PASSED: "●", Outcome.FAILED: "✗", Outcome.SKIPPED: "-"}
_WHAT_IT_SHOWS: Final = (
    "The client is gurux-dlms, which others wrote. It shows that a head-end system and the gateway understand each "
    "other; it does not check that the gateway's answers are authentic, so this is no proof of security."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_gateway(parser)
    add_server(parser)
    parser.add_argument(
        "--logical-device", type=number(1, 65535), metavar="N", nargs="+", default=[], help="only these"
    )
    parser.add_argument("--quick", action="store_true", help="only the first meter of each type")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    access = load_access(state_dir(arguments), arguments.host, arguments.port)
    return run(access, arguments.logical_device, quick=arguments.quick, as_json=arguments.json)


def run(access: Access, devices: Sequence[int], *, quick: bool, as_json: bool) -> int:
    """Rehearse and print the report. Returns 0 if no step failed, 1 else and after Ctrl+C."""
    rehearsal = Rehearsal(access, devices, quick=quick)
    steps: list[Step] = []
    started, began = datetime.now(UTC), time.monotonic()
    complete = True
    try:
        asyncio.run(_gather(rehearsal, steps))
    except KeyboardInterrupt:
        complete = False
    seconds = time.monotonic() - began
    if as_json:
        report = _as_json(access, steps, started, seconds, complete)
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print(_as_text(access, steps, seconds, complete))
    return 0 if complete and _number(steps, Outcome.FAILED) == 0 else 1


async def _gather(rehearsal: Rehearsal, steps: list[Step]) -> None:
    progress = _Progress(rehearsal)
    try:
        async with aclosing(rehearsal.steps()) as made:
            async for step in made:
                steps.append(step)
                progress.show(step, len(steps))
    finally:
        progress.clear()


class _Progress:
    """How far it is, on stderr: one line that changes on a terminal, else one line a step."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self._on_terminal = sys.stderr.isatty()
        self._started = time.monotonic()

    def show(self, step: Step, done: int) -> None:
        total = self._rehearsal.total
        where = f"{done}" if total is None else f"{done} of {total}"
        line = f"{where}  {step.name}: {step.outcome}{self._left(done, total)}"
        if self._on_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._on_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _left(self, done: int, total: int | None) -> str:
        if total is None or done >= total:
            return ""
        seconds = (time.monotonic() - self._started) * (total - done) / done
        return f", about {seconds + 1:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"


def _as_json(
    access: Access, steps: Sequence[Step], started: datetime, seconds: float, complete: bool
) -> dict[str, Any]:
    return {
        "gateway": f"{access.host}:{access.port}",
        "client": _client(),
        "started": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "seconds": round(seconds, 1),
        "complete": complete,
        **{str(outcome): _number(steps, outcome) for outcome in Outcome},
        "steps": [
            {
                "name": step.name,
                "outcome": str(step.outcome),
                "text": step.text,
                "seconds": round(step.seconds, 3),
            }
            for step in steps
        ],
    }


def _as_text(access: Access, steps: Sequence[Step], seconds: float, complete: bool) -> str:
    lines = [f"Rehearsal of {access.host}:{access.port} with {_client()}", ""]
    for step in steps:
        head = f"{_SYMBOLS[step.outcome]} {step.outcome:<7}  {step.name}"
        lines.append(f"{head:<{_COLUMNS - 9}}{step.seconds:>7.1f} s")
        for line in step.text.splitlines():
            lines += textwrap.wrap(
                line, _COLUMNS, initial_indent=" " * 11, subsequent_indent=" " * 13, drop_whitespace=True
            )
    failed = [step for step in steps if step.outcome is Outcome.FAILED]
    if failed:
        lines += ["", "What failed:"]
        for step in failed:
            first = step.text.splitlines()[0]
            lines += textwrap.wrap(
                f"{step.name}: {first}", _COLUMNS, initial_indent="  ", subsequent_indent="    "
            )
    numbers = ", ".join(f"{_number(steps, outcome)} {outcome}" for outcome in Outcome)
    stopped = "" if complete else "; stopped before the end"
    return "\n".join(
        [*lines, "", f"{numbers} in {seconds:.1f} s{stopped}.", textwrap.fill(_WHAT_IT_SHOWS, _COLUMNS)]
    )


def _number(steps: Sequence[Step], outcome: Outcome) -> int:
    return sum(step.outcome is outcome for step in steps)


def _client() -> str:
    return f"gurux-dlms {version('gurux-dlms')}"

"""`cme-tui screenshots`: pictures of the screens, made by pressing keys in the app over a demo gateway.

The gateway's clock stands still and what differs from run to run is set, so the same version gives the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from core import demo
from core.config_file import ConfigFile
from core.diagnosis import LineDiagnosis, LineTraceEntry, Statistics
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.searching import SearchState
from core.secrets import Secrets
from core.snapshot import LineState, ScheduleView, Snapshot
from core.statedir import StateDir

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from cme_tui.app import CmeApp
    from cme_tui.terminal import Profile
    from core.facade import Gateway

T = TypeVar("T")

SMALL: Final = (80, 24)
LARGE: Final = (120, 40)
NOON_MS: Final = 1_767_960_150_000
"""2026-01-09 12:02:30 UTC, between two readouts."""

_LOOKS: Final = 3
"""A screen asks, is answered, and may ask for more about that."""

POSED: Final = Secrets(
    "a-password-of-this-picture", bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
)
"""Those of the gateway are made at random, and no picture may show real ones."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its file name, the size of the terminal in cells, and the keys that lead there."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    profile: Profile = "rich"
    until: Callable[[Snapshot], bool] | None = None
    """Whether what the keys began has come to its end; None where it has at once."""


def _are_read(seen: Snapshot) -> bool:
    return all(meter.last_reading_ms == NOON_MS for meter in seen.meters)


def _are_read_again_and_searched(seen: Snapshot) -> bool:
    sweep, search = seen.lines[0].sweep, seen.lines[0].search
    read = sweep is not None and sweep.finished_ms is not None
    return read and search is not None and search.state is SearchState.DONE


SHOTS: Final = (
    Shot("overview", SMALL),
    Shot("overview-large", LARGE),
    Shot("overview-serial-console", SMALL, profile="basic"),
    Shot("meters", SMALL, ("f6",)),
    Shot("meters-filter", SMALL, ("f6", "slash", *"heat", "enter")),
    Shot("meter", SMALL, ("f6", "slash", *"heat", "enter", "enter", "down", "tab", "down", "down")),
    Shot("meter-large", LARGE, ("f6", "slash", *"heat", "enter", "enter", "down", "down")),
    Shot("settings", SMALL, ("f3",)),
    Shot("settings-secrets", SMALL, ("f3", "slash", *"secrets", "enter", "down", "v")),
    Shot("settings-serial-console", SMALL, ("f3",), profile="basic"),
    Shot("mapping", SMALL, ("f4",)),
    Shot("mapping-matrix", LARGE, ("f4", "down", "enter", "v", "v")),
    Shot("coach", SMALL, ("f4", "tab", "enter", "n")),
    Shot("coach-large", LARGE, ("f4", "tab", "down", "down", "enter", "down")),
    Shot("push", SMALL, ("f5",)),
    Shot("push-report", SMALL, ("f5", "enter")),
    Shot("events", SMALL, ("f7",)),
    Shot("events-detail", SMALL, ("f7", "enter")),
    Shot("help", LARGE, ("f6", "f1")),
    Shot("lines", SMALL, ("f6", "R", "f2", "l"), until=_are_read),
    Shot(
        "search",
        SMALL,
        ("f6", "R", "f2", "f6", "f", "right", *["down"] * 5, "enter", *["backspace"] * 3, "9", "enter", "s"),
        until=_are_read_again_and_searched,
    ),
    Shot("doctor", SMALL, ("f6", "b")),
    Shot("line-trace", SMALL, ("f6", "b", "t", "home", *["down"] * 3)),
)
"""In this order: what the last ones have the gateway do shows in those after them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("directory", type=Path, metavar="DIR", nargs="?", default=Path("screenshots"))


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    return run(arguments.directory)


def run(directory: Path) -> int:
    """Write one SVG for each of `SHOTS` into `directory`. Returns 0."""
    for name in ("NO_COLOR", "TEXTUAL_THEME", "COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ["TZ"] = "UTC"
    time.tzset()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        gateway = _start(Path(place))
        try:
            for shot in SHOTS:
                picture = asyncio.run(_take(shot, _Posing(gateway)))
                (directory / f"{shot.name}.svg").write_text(picture, encoding="utf-8")
                print(f"{shot.name}.svg")
        finally:
            gateway.stop()
    return 0


class _StandingClock:
    def now_ms(self) -> int:
        return NOON_MS

    def seconds_until(self, moment_ms: int) -> float:
        return max(moment_ms - NOON_MS, 0) / 1000


class _Posing:
    """The gateway, with the port and the place of a usual installation."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self.asked: list[Future[Any]] = []
        """What the screens wait for."""

    def snapshot(self) -> Snapshot:
        seen = self._gateway.snapshot()
        lines = tuple(replace(line, schedule=_costing(line.schedule)) for line in seen.lines)
        return replace(
            seen, dlms=replace(seen.dlms, port=4059), state_dir="/var/lib/cme-tui/demo", lines=lines
        )

    def secrets(self) -> Secrets:
        return POSED

    def diagnosis(self, line: str) -> Future[LineDiagnosis]:
        return self._posed(self._gateway.diagnosis(line), _measured)

    def line_trace(self, line: str, after: int) -> Future[tuple[LineTraceEntry, ...]]:
        return self._posed(self._gateway.line_trace(line, after), _timed)

    def _posed(self, answer: Future[T], pose: Callable[[T], T]) -> Future[T]:
        """That answer without what was measured."""
        posed: Future[T] = Future()

        def take(done: Future[T]) -> None:
            posed.set_result(pose(done.result()))

        answer.add_done_callback(take)
        self.asked.append(posed)
        return posed

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._gateway, name)

        def ask(*arguments: Any, **named: Any) -> Any:
            answer = call(*arguments, **named)
            if isinstance(answer, Future):
                self.asked.append(answer)
            return answer

        return ask


def _costing(schedule: ScheduleView | None) -> ScheduleView | None:
    return schedule and replace(schedule, cost_s=7.0)


def _measured(found: LineDiagnosis) -> LineDiagnosis:
    meters = tuple(replace(meter, statistics=_delayed(meter.statistics)) for meter in found.meters)
    return replace(found, statistics=_delayed(found.statistics), load=0.02, meters=meters)


def _delayed(counted: Statistics) -> Statistics:
    return replace(counted, delay_min_s=0.038, delay_mean_s=0.041, delay_max_s=0.047)


def _timed(entries: tuple[LineTraceEntry, ...]) -> tuple[LineTraceEntry, ...]:
    return tuple(
        replace(entry, time_ms=NOON_MS + 400 * entry.id, delay_s=entry.delay_s and 0.041) for entry in entries
    )


def _start(place: Path) -> RunningGateway:
    state = StateDir(place)
    state.create()
    demo.write_config(state.config)
    ConfigFile(state.config).set_values({"gateway.serial": "0016000000", "gateway.timezone": "Etc/UTC"})
    gateway = open_gateway(RunOptions(place, demo=True, dlms_port=0), _StandingClock())
    while gateway.snapshot().lines[0].state is not LineState.UP:
        time.sleep(0.05)
    return gateway


async def _take(shot: Shot, gateway: _Posing) -> str:
    """The picture as SVG."""
    # Textual reads the environment when it is imported.
    from cme_tui.app import CmeApp

    app = CmeApp(cast("Gateway", gateway), clock=lambda: NOON_MS, profile=shot.profile)
    async with app.run_test(size=shot.size) as pilot:
        for key in shot.keys:
            await pilot.press(key)
            await _settled(app, pilot, gateway)
        while shot.until and not shot.until(gateway.snapshot()):  # noqa: ASYNC110  # the gateway has another loop
            await asyncio.sleep(0.1)
        app.pull()
        await _settled(app, pilot, gateway)
        return app.export_screenshot(title="cme-tui")


async def _settled(app: CmeApp, pilot: Pilot[None], gateway: _Posing) -> None:
    """Return when the last key has done its work: where the next one leads depends on what has been loaded."""
    for _ in range(_LOOKS):
        await pilot.pause()
        await app.workers.wait_for_complete()
        waiting, gateway.asked = gateway.asked, []
        await asyncio.gather(*map(asyncio.wrap_future, waiting), return_exceptions=True)
        app.pull()
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()

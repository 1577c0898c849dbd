"""The rehearsal on screen: the steps as they come, stopped by a key, each one to be opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess
from recorded import RecordedGateway
from textual.pilot import Pilot

from cme_tui.app import CmeApp
from cme_tui.hes.rehearsal import Outcome, Step
from cme_tui.screens.dlms import DlmsScreen
from cme_tui.screens.rehearsal import RehearsalScreen, StepScreen
from cme_tui.widgets.bars import KeyBar
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Table

for name in ("NO_COLOR", "TEXTUAL_THEME", "COLUMNS", "LINES"):
    os.environ.pop(name, None)

MADE = (
    Step("public client", Outcome.PASSED, "4 objects for client 16\n0-0:42.0.0       ELV0016000000", 0.3),
    Step("clock", Outcome.PASSED, "2026-01-09 12:00:01Z, +0.6 s from this machine", 0.1),
    Step("management, no authentication", Outcome.SKIPPED, "not set up: low is asked for", 0.0),
    Step("management, low (LLS)", Outcome.FAILED, "association rejected: authentication-failure", 0.5),
    Step("device 16: values", Outcome.PASSED, "\n".join(["67 attributes", *map(str, range(60))]), 12.4),
)


class Steps:
    """Steps that have been made before; with `hangs`, the next one never ends."""

    def __init__(self, total: int, *, hangs: bool) -> None:
        self.doing = "device 17: values"
        self.total: int | None = total
        self.closed = False
        self._hangs = hangs

    async def steps(self) -> AsyncGenerator[Step, None]:
        try:
            for step in MADE:
                yield step
            if self._hangs:
                await asyncio.Event().wait()
        finally:
            self.closed = True


@pytest.fixture
def app() -> CmeApp:
    gateway = RecordedGateway()
    return CmeApp(gateway, clock=gateway.clock)


async def shown(pilot: Pilot[None], source: Any) -> RehearsalScreen:
    """The screen over `source`, when all of `MADE` is on it."""
    screen = RehearsalScreen(source)
    pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.is_mounted and screen.query_one("#steps", Table).row_count >= len(MADE))
    return screen


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await pilot.pause(0.01)


def summary(screen: RehearsalScreen) -> str:
    return screen.query_one("#summary", Lines).text


async def test_steps_stand_there_as_they_come(app: CmeApp) -> None:
    """Word and symbol of each, how many there are to come, and what is being done."""
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot, Steps(37, hangs=True))
        assert "5 of 37" in summary(screen)
        assert "3 passed  1 failed  1 skipped" in summary(screen)
        assert "device 17: values" in summary(screen)
        assert screen.query_one("#steps", Table).text_of(3).startswith("✗ failed management, low")


async def test_s_stops_and_keeps_what_was_made(app: CmeApp) -> None:
    """The source is closed; the summary says so; the key is no longer offered."""
    async with app.run_test(size=(80, 24)) as pilot:
        source = Steps(37, hangs=True)
        screen = await shown(pilot, source)
        await pilot.press("s")
        await until(pilot, lambda: source.closed and "stopped" in summary(screen))
        assert "after 5 steps" in summary(screen)
        assert "Stop" not in [label for _, label, _ in screen.query_one(KeyBar).keys]
        assert screen.query_one("#steps", Table).row_count == 5


async def test_leaving_the_screen_stops(app: CmeApp) -> None:
    """Nobody sees the rest, so it is not made."""
    async with app.run_test(size=(80, 24)) as pilot:
        source = Steps(37, hangs=True)
        screen = await shown(pilot, source)
        await pilot.press("escape")
        await until(pilot, lambda: source.closed)
        assert app.screen is not screen


async def test_enter_shows_all_that_a_step_has_seen(app: CmeApp) -> None:
    """Also what does not fit on the screen; Esc leads back."""
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot, Steps(5, hangs=False))
        await until(pilot, lambda: "done" in summary(screen))
        await pilot.press("end", "enter")
        await until(pilot, lambda: isinstance(app.screen, StepScreen) and bool(app.screen.query("#seen")))
        assert "67 attributes" in app.screen.query_one("#seen", Lines).text
        assert app.screen.query_one("#seen", Lines).text.endswith("59")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)


async def test_r_on_the_dlms_screen_rehearses_with_the_gateway(app: CmeApp, demo: GatewayProcess) -> None:
    """The real thing, with the address and the state directory that the snapshot names."""
    snapshot = app.gateway.snapshot()
    dlms = replace(snapshot.dlms, host="127.0.0.1", port=demo.port)
    app.gateway.snapshot = lambda: replace(snapshot, state_dir=str(demo.state_dir), dlms=dlms)
    async with app.run_test(size=(80, 24)) as pilot:
        app.pull()
        await pilot.press("f8", "r")
        await until(pilot, lambda: isinstance(app.screen, RehearsalScreen) and app.screen.is_mounted)
        table = app.screen.query_one("#steps", Table)
        await until(pilot, lambda: table.row_count >= 7)
        rows = [table.text_of(index) for index in range(table.row_count)]
        assert rows[0].startswith("● passed public client")
        assert rows[3].startswith("● passed management, low (LLS) ELV")


async def test_a_gateway_without_files_cannot_be_rehearsed(app: CmeApp, tmp_path: Path) -> None:
    """The DLMS screen stays, and says which file is missing."""
    snapshot = app.gateway.snapshot()
    app.gateway.snapshot = lambda: replace(snapshot, state_dir=str(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        app.pull()
        await pilot.press("f8", "r")
        await until(pilot, lambda: "no secrets in" in str(app.message))
        assert isinstance(app.screen, DlmsScreen)


@pytest.mark.parametrize("profile", ["rich", "basic"])
def test_the_screen_looks_as_accepted(snap_compare: Any, profile: Any) -> None:
    """In colours and on a serial console."""
    gateway = RecordedGateway()
    app = CmeApp(gateway, clock=gateway.clock, profile=profile)

    async def show(pilot: Pilot[None]) -> None:
        await shown(pilot, Steps(37, hangs=True))
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=show)

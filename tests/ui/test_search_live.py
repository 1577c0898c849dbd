"""A search with keys in a running gateway: what it finds is installed with one, and DLMS clients see the devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_core import port_of, serve, simulated
from test_installing_live import Operator, Plant
from textual import events

from cme_tui.app import CmeApp
from cme_tui.screens.search import SearchScreen
from cme_tui.widgets.table import Table
from core.config import load_config
from core.mbus.simulator import SimulatedBus
from core.searching import SearchState
from core.snapshot import LineState, MeterState


class Cellar(Plant):
    """A gateway with a line of three meters, none of which is installed."""

    async def begin(self) -> None:
        numbers = ("70112345", "06855817", "00182007")
        bus = SimulatedBus([simulated(number, place) for place, number in enumerate(numbers, 1)])
        self.server = await serve(bus)
        self.config = self.state_dir / "config.toml"
        self.configure(port_of(self.server))
        await asyncio.to_thread(self.start)
        await self.until("the line", lambda seen: seen.lines[0].state is LineState.UP)


@pytest.fixture
async def cellar(tmp_path: Path) -> AsyncIterator[Cellar]:
    cellar = Cellar(tmp_path / "state")
    await cellar.begin()
    yield cellar
    await asyncio.to_thread(cellar.gateway.stop)
    cellar.server.close()


def rows(who: Operator) -> list[str]:
    """What the search has found, as the screen shows it."""
    table = who.app.screen.query_one("#found", Table)
    return [table.text_of(index) for index in range(table.row_count)]


def stands(who: Operator, state: SearchState) -> bool:
    """Whether the search on the line is so far."""
    search = who.app.current.lines[0].search
    return search is not None and search.state is state


async def test_from_a_search_to_devices_that_a_head_end_reads(cellar: Cellar, tmp_path: Path) -> None:
    """Estimate, start, expected and unexpected and missing ones, installation with one key, readout."""
    expected = tmp_path / "serials.csv"
    expected.write_text("70112345;water laundry\n06855817;heat\n99999999;attic\n")
    app = CmeApp(cellar.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        who = Operator(app, pilot)
        await who.press("f6", "f", "down", "down", "down", "space", "down", "enter", "ctrl+u")
        app.post_message(events.Paste(str(expected)))
        await who.press("enter")
        assert "It takes about" in who.lines("#outcome")
        await who.press("s")
        assert isinstance(app.screen, SearchScreen)
        await who.until("the end of the search", lambda: stands(who, SearchState.DONE))
        app.pull()
        found = {row.split()[2]: row for row in rows(who)}
        assert "✓ found" in found["70112345.ELS.0A.07"]
        assert "water laundry" in found["70112345.ELS.0A.07"]
        assert "! unexpected" in found["00182007.GWF.35.07"]
        assert "✗ missing" in found["99999999"]
        await who.press("i", "y")
        assert "3 meters installed" in who.status
        assert {meter.name for meter in load_config(cellar.config).meters} >= {"water laundry", "heat"}
        await who.until("the readings", lambda: all(m.state is MeterState.OK for m in app.current.meters))
        assert sorted((await cellar.devices())[1:]) == [
            "ELS70112345070A",
            "GWF001820070735",
            "KAM068558170408",
        ]
        app.pull()
        assert all("● yes" in row for row in rows(who) if "missing" not in row)


def probes(who: Operator) -> int:
    """How many probes the search on the line has made."""
    search = who.app.current.lines[0].search
    return search.probes if search else 0


async def test_a_search_is_paused_stopped_and_gone_on_with_after_a_restart(cellar: Cellar) -> None:
    """Another gateway on the same state directory shows it as it was left, with what it found, and goes on."""
    app = CmeApp(cellar.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        who = Operator(app, pilot)
        await who.press("f6", "f", "right", "s")
        await who.until("the meters", lambda: len(rows(who)) == 3)
        await who.press("p")
        await who.until("the pause", lambda: stands(who, SearchState.PAUSED))
        await who.press("x", "y")
        await who.until("the stop", lambda: stands(who, SearchState.STOPPED))
        made = probes(who)
        assert 3 <= made < 250
    await asyncio.to_thread(cellar.gateway.stop)
    await asyncio.to_thread(cellar.start)
    app = CmeApp(cellar.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        who = Operator(app, pilot)
        await who.until("the offer", lambda: "search stopped at" in who.lines("#lines"))
        assert probes(who) == made
        await who.press("f6", "f")
        assert len(rows(who)) == 3
        await who.press("p")
        await who.until("more probes", lambda: probes(who) > made)
        await who.press("x", "y")

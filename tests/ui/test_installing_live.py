"""Lines and meters are installed with keys in a running gateway; DLMS clients see it, and config.toml says the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from dlms_wire import Wire, aarq, fetch, get
from test_core import Site, port_of, serve, simulated
from textual import events
from textual.pilot import Pilot

from cme_tui.app import CmeApp
from cme_tui.screens.lines import LinesScreen
from cme_tui.screens.meters import MetersScreen
from cme_tui.widgets.lines import Lines
from core.config import load_config
from core.dlms import axdr
from core.mbus.simulator import SimulatedBus
from core.secrets import load_secrets
from core.snapshot import LineState, MeterState

SAP_LIST = get(17, bytes((0, 0, 41, 0, 0, 255)), 2)
FALCON = "70112345.ELS.0A.07"


class Plant(Site):
    """A gateway without a line, and a bus with two meters that it could have."""

    async def begin(self) -> None:
        self.server = await serve(SimulatedBus([simulated("70112345", 5), simulated("06855817", 6)]))
        self.port = port_of(self.server)
        self.state_dir.mkdir()
        self.config = self.state_dir / "config.toml"
        self.config.write_text('[dlms]\nhost = "127.0.0.1"\nauthentication = "low"\n')
        await asyncio.to_thread(self.start)

    async def devices(self) -> list[str]:
        """What a DLMS client finds: the names of the logical devices."""
        password = load_secrets(self.state_dir / "secrets.toml").lls_password.encode()
        async with Wire(self.gateway.snapshot().dlms.port, server=1) as wire:
            await wire.ask(aarq(password))
            devices: Any = axdr.decode(await fetch(wire, SAP_LIST)).content
            return [each.content[1].content.decode() for each in devices]


class Operator:
    """Somebody at the keys of that gateway."""

    def __init__(self, app: CmeApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.app.workers.wait_for_complete()
            await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Into the field under the cursor, instead of what is there."""
        await self.press("enter", "ctrl+u")
        self.app.post_message(events.Paste(text))
        await self.press("enter")

    def lines(self, name: str) -> str:
        return self.app.screen.query_one(name, Lines).text

    @property
    def status(self) -> str:
        return self.lines("#status")

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Look until it is as wanted; the app takes new snapshots by itself."""
        for _ in range(400):
            if holds():
                return
            await self.pilot.pause(0.05)
        raise AssertionError(f"{what} never came: {self.status}")


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant(tmp_path / "state")
    await plant.begin()
    yield plant
    await asyncio.to_thread(plant.gateway.stop)
    plant.server.close()


async def add_line(who: Operator, url: str) -> None:
    """From the Overview; ends in the list of lines."""
    await who.press("f2", "l", "a")
    await who.type("cellar")
    await who.press("down")
    await who.type(url)
    await who.press("s")
    assert isinstance(who.app.screen, LinesScreen), who.lines("#outcome")


async def add_meter(who: Operator, address: str, name: str) -> None:
    """From the list of meters, and back there."""
    await who.press("f6", "a", "down")
    await who.type(address)
    await who.press("down")
    await who.type(name)
    await who.press("s")


async def test_from_an_empty_gateway_to_a_meter_that_a_head_end_reads(plant: Plant) -> None:
    """Line, meter, another name and the removal, all with keys: the list of logical devices follows."""
    app = CmeApp(plant.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        who = Operator(app, pilot)
        assert "no M-Bus line yet" in who.lines("#next")
        await add_line(who, f"tcp:127.0.0.1:{plant.port}")
        await who.until("the line", lambda: app.current.lines[0].state is LineState.UP)
        app.pull()
        assert "● up" in who.app.screen.query_one("#lines-list").text_of(0)
        assert len(await plant.devices()) == 1
        await add_meter(who, "5", "water kitchen")
        assert "water kitchen is installed" in who.status
        await who.until("the reading", lambda: app.current.meters[0].state is MeterState.OK)
        assert (await plant.devices())[1:] == ["ELS70112345070A"]
        await who.press("c", "down", "down")
        await who.type("water laundry")
        await who.press("down", "down", "right", "s")
        (meter,) = load_config(plant.config).meters
        assert (meter.line, meter.address, meter.name, str(meter.interval)) == (
            "cellar",
            5,
            "water laundry",
            "5 min",
        )
        assert len(await plant.devices()) == 2
        await who.press("f6", "x", "y")
        assert "water laundry is removed" in who.status
        assert load_config(plant.config).meters == ()
        assert len(await plant.devices()) == 1
        await who.press("l", "x", "y")
        assert load_config(plant.config).lines == ()


async def test_a_meter_that_is_there_already_is_refused_in_the_form(plant: Plant) -> None:
    """By its secondary address as well; nothing is installed, what was typed is kept."""
    app = CmeApp(plant.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        who = Operator(app, pilot)
        await add_line(who, f"tcp:127.0.0.1:{plant.port}")
        await add_meter(who, "5", "water kitchen")
        await who.until("the reading", lambda: app.current.meters[0].state is MeterState.OK)
        await add_meter(who, FALCON, "again")
        assert "installed at 5 on cellar" in " ".join(who.lines("#outcome").split())
        assert app.screen.values["address"] == FALCON
        assert len(load_config(plant.config).meters) == 1
        await who.press("escape", "y")
        assert isinstance(app.screen, MetersScreen)


async def test_a_line_that_cannot_be_reached_says_why_in_the_list(plant: Plant) -> None:
    """The test of a connection: its state and the reason stand there by themselves, and go when it is corrected."""
    app = CmeApp(plant.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        who = Operator(app, pilot)
        await add_line(who, "serial:/dev/does-not-exist")
        await who.until("the reason", lambda: "/dev/does-not-exist" in who.lines("#line-notes"))
        assert app.current.lines[0].state is not LineState.UP
        await who.press("enter", "down")
        await who.type(f"tcp:127.0.0.1:{plant.port}")
        await who.press("s")
        await who.until("the line", lambda: app.current.lines[0].state is LineState.UP)
        await who.until("no reason", lambda: "does-not-exist" not in who.lines("#line-notes"))

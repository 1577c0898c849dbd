"""Meters are told things over a serial line, and only what they show afterwards is called done."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from test_core import Site, port_of, serve, simulated

from core.config import load_config
from core.errors import CmeError
from core.events import EventCode
from core.mbus.commands import (
    ApplicationReset,
    Command,
    SelectApplication,
    SetClock,
    SetPrimaryAddress,
    SwitchBaud,
)
from core.mbus.frame import ACK, Frame, Kind
from core.mbus.simulator import Answer, SimulatedBus, SimulatedMeter, SimulatedPty
from core.snapshot import MeterState
from core.store import Log, Origin, open_readonly

TELLING = {EventCode.PARAMETERS_CHANGED, EventCode.METER_CLOCK_ADJUSTED}

FALCON = "70112345.ELS.0A.07"
HEAT = "06855817.KAM.08.04"


class OddMeter(SimulatedMeter):
    """Acknowledges what it is told; `told` is done instead, when it is told another address or rate, or the time."""

    told: Callable[[OddMeter], None] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("address", "baud", "clock_ahead", "application") and self.told is not None:
            self.told(self)
        else:
            super().__setattr__(name, value)


def die(meter: OddMeter) -> None:
    meter.misfortune = dataclasses.replace(meter.misfortune, dead=True)


def odd(identification: str, address: int) -> OddMeter:
    return OddMeter(simulated(identification).telegrams_at(0.0), address=address)


class Plant:
    """A gateway, and a serial line with a water meter at 5 and a heat meter at 6."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.water, self.heat = odd("70112345", 5), odd("06855817", 6)
        self.bus = SimulatedBus([self.water, self.heat], baud=2400)
        self.pty = SimulatedPty(self.bus, 2400, fast=True)
        self.config = site.state_dir / "config.toml"

    async def start(self, *addresses: str) -> None:
        self.site.configure(1, *addresses)
        text = self.config.read_text().replace("tcp:127.0.0.1:1", f"serial:{self.pty.path}")
        self.config.write_text('[gateway]\ntimezone = "UTC"\n' + text.replace("baud = 38400", "baud = 2400"))
        await asyncio.to_thread(self.site.start)
        await self.site.until("the readings", lambda s: all(m.state is MeterState.OK for m in s.meters))

    async def tell(self, address: str, command: Command) -> str:
        return await asyncio.wrap_future(self.site.gateway.command_meter("cellar", address, command))

    async def refused(self, address: str, command: Command, sentence: str) -> None:
        text = self.config.read_text()
        with pytest.raises(CmeError, match=sentence):
            await self.tell(address, command)
        assert self.config.read_text() == text

    async def told(self, key: int) -> list[tuple[int, str]]:
        """The events about a meter that was told something; ends the gateway, so that all are written."""
        await asyncio.to_thread(self.site.gateway.stop)
        with open_readonly(self.site.state_dir / "gateway.db") as store:
            events = store.recent_events(origin=Origin(key, Log.STANDARD))
        return [(event.code, event.message) for event in events if event.code in TELLING]

    def disturb(self, answers: int, to: int | None = None) -> None:
        """Once the water meter has address 42, so many answers, to requests to `to` or all, are noise."""
        respond = self.bus.respond
        left = answers

        def noisy(frame: Frame) -> Answer | None:
            nonlocal left
            answer = respond(frame)
            if answer is None or self.water.address != 42 or to not in (None, frame.address) or not left:
                return answer
            left -= 1
            return Answer(b"\x00\xff\x68")

        self.bus.respond = noisy  # type: ignore[method-assign]


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant(Site(tmp_path / "state"))
    yield plant
    if hasattr(plant.site, "gateway"):
        await asyncio.to_thread(plant.site.gateway.stop)
    plant.pty.close()


async def test_an_installed_meter_gets_another_address_with_its_history(plant: Plant) -> None:
    """The meter, config.toml and the event log say the same; the next readout is that of the same meter."""
    await plant.start("5", HEAT)
    (before, _) = plant.site.gateway.snapshot().meters
    text = await plant.tell("5", SetPrimaryAddress(42))
    assert "answers at primary address 42 now" in text
    assert plant.water.address == 42
    assert load_config(plant.config).meters[0].address == 42
    (after, _) = plant.site.gateway.snapshot().meters
    assert (after.key, after.address) == (before.key, "primary 42")
    await plant.site.read(after.key)
    page = await asyncio.wrap_future(plant.site.gateway.events(origin=Origin(after.key, Log.STANDARD)))
    assert "primary address 42" in page.events[-1].message
    assert "has primary address 42 already" in await plant.tell("42", SetPrimaryAddress(42))
    await plant.tell(FALCON, SetPrimaryAddress(43))  # the same meter by its other address
    assert load_config(plant.config).meters[0].address == 43


async def test_a_meter_is_given_its_first_address_by_its_secondary_one(plant: Plant) -> None:
    """It need not be installed; where it is, by its secondary address, that one still holds."""
    plant.water.address = plant.heat.address = 0
    await plant.start(HEAT)
    await plant.refused("0", SetPrimaryAddress(7), "Several meters answer at address 0")
    assert "primary address 7 now" in await plant.tell("70112345", SetPrimaryAddress(7))
    assert "primary address 8 now" in await plant.tell(HEAT, SetPrimaryAddress(8))
    assert (plant.water.address, plant.heat.address) == (7, 8)
    assert [meter.address for meter in load_config(plant.config).meters] == [HEAT]


async def test_a_command_goes_to_the_whole_address_of_the_meter_that_a_wildcard_found(plant: Plant) -> None:
    """One that hears and whose answers are lost would obey a selection that fits it as well."""
    await plant.start("6")
    respond = plant.bus.respond

    def lossy(frame: Frame) -> Answer | None:
        answer = respond(frame)
        if answer is None or plant.bus.meters.index(plant.heat) not in answer.speakers:
            return answer
        return Answer(ACK if frame.kind is Kind.LONG else plant.water.telegram_at(time.time()))

    plant.bus.respond = lossy  # type: ignore[method-assign]
    await plant.tell("FFFFFFFF", SetPrimaryAddress(42))
    assert (plant.water.address, plant.heat.address) == (42, 6)


async def test_an_address_that_is_taken_is_refused(plant: Plant) -> None:
    """By a meter that answers there, or by one that is installed there and dead."""
    await plant.start("5", "6")
    await plant.refused("5", SetPrimaryAddress(6), "6 is that of meter 6")
    plant.heat.address = 99
    await plant.refused("5", SetPrimaryAddress(6), "6 is that of meter 6")
    await plant.refused("5", SetPrimaryAddress(99), "A meter answers at primary address 99 already")
    await plant.refused("5", SetPrimaryAddress(251), "251 is not usable")
    await plant.refused("77", SetPrimaryAddress(78), "No meter answers at address 77")
    assert plant.water.address == 5


async def test_nothing_is_sent_where_more_than_one_meter_is_meant(plant: Plant) -> None:
    """Two meters on one primary address, and wildcards that both fit: each command would reach both."""
    plant.heat.address = 5
    await plant.start()
    for command in (SetPrimaryAddress(7), SwitchBaud(300), ApplicationReset(), SetClock()):
        await plant.refused("5", command, "Several meters answer")
        await plant.refused("FFFFFFFF", command, "Several meters answer")
    assert (plant.water.address, plant.heat.address) == (5, 5)
    assert (plant.water.baud, plant.heat.baud) == (None, None)


async def test_another_meter_at_the_address_of_an_installed_one_is_left_alone(plant: Plant) -> None:
    """They were swapped: what was meant for one is not done to the other."""
    await plant.start("5")
    plant.water.address, plant.heat.address = 6, 5
    await plant.refused("5", SetPrimaryAddress(42), "06855817.*Nothing was sent")
    assert plant.heat.address == 5


async def test_a_new_rate_is_used_from_then_on(plant: Plant) -> None:
    """By the meter and by config.toml; back at the rate of the line the key is gone."""
    await plant.start("5", "6")
    assert "speaks at 9600 baud now" in await plant.tell("5", SwitchBaud(9600))
    assert plant.water.baud == 9600
    assert load_config(plant.config).meters[0].baud == 9600
    for meter in plant.site.gateway.snapshot().meters:
        await plant.site.read(meter.key)
    assert "speaks at 9600 baud already" in await plant.tell("5", SwitchBaud(9600))
    assert "speaks at 2400 baud now" in await plant.tell("5", SwitchBaud(2400))
    assert load_config(plant.config).meters[0].baud is None


async def test_a_meter_that_acknowledges_and_does_nothing_is_found_out(plant: Plant) -> None:
    """An acknowledgement proves nothing."""
    await plant.start("5")
    plant.water.told = lambda _: None
    await plant.refused(
        "5", SetPrimaryAddress(42), "still has its old address: it acknowledged .* does nothing"
    )
    await plant.refused("5", SwitchBaud(300), "still speaks at 2400 baud: it acknowledged")
    await plant.refused("5", SetClock(1_000_000_000_000), "not 2001-09-09 01:46: it acknowledged")
    assert "which cannot be told" in await plant.tell("5", SelectApplication(0x20))


@pytest.mark.parametrize("address", ["5", FALCON], ids=["primary", "secondary"])
async def test_a_meter_that_took_its_address_is_found_through_noise(plant: Plant, address: str) -> None:
    """The acknowledgement and the first readouts at the new address are lost; config.toml follows all the same."""
    await plant.start("5", "6")
    plant.disturb(3 if address == "5" else 100, to=None if address == "5" else 42)
    assert "answers at primary address 42 now" in await plant.tell(address, SetPrimaryAddress(42))
    assert load_config(plant.config).meters[0].address == 42


async def test_a_meter_that_noise_hides_is_not_called_done(plant: Plant) -> None:
    """It is looked for at both addresses, and the event log says that it was told; one that refused has no event."""
    await plant.start("5", "6")
    (water, heat) = (meter.key for meter in plant.site.gateway.snapshot().meters)
    plant.disturb(1000)
    await plant.refused(
        "5", SetPrimaryAddress(42), "neither at primary address 42 nor at 5, which config.toml keeps"
    )
    plant.water.address = 9  # quiet again
    plant.heat.told = lambda _: None
    await plant.refused("6", SetPrimaryAddress(43), "still has its old address")
    ((code, message),) = await plant.told(water)
    assert code == EventCode.PARAMETERS_CHANGED
    assert message.startswith("Not sure: Meter 70112345.ELS.0A.07 on cellar did not acknowledge")
    assert await plant.told(heat) == []


async def test_what_a_meter_is_told_stands_in_the_log(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    """Whether it does it or not; that its clock was set is an event of its own."""
    caplog.set_level("INFO", "core.commissioning")
    await plant.start("5")
    await plant.tell("5", SetClock(1_709_208_000_000))
    await plant.refused("77", ApplicationReset(), "No meter answers")
    done, failed = caplog.records[-2:]
    assert done.getMessage().startswith(
        "SetClock(time_ms=1709208000000) for 5 on cellar: its clock shows 2024"
    )
    assert failed.getMessage().startswith("ApplicationReset() for 77 on cellar failed: No meter answers")
    assert failed.levelname == "WARNING"
    ((code, message),) = await plant.told(plant.site.gateway.snapshot().meters[0].key)
    assert code == EventCode.METER_CLOCK_ADJUSTED
    assert "its clock shows 2024-02-29" in message


async def test_a_meter_at_another_rate_than_it_was_told_is_looked_for(plant: Plant) -> None:
    """And where it was found is told."""
    await plant.start("5")
    plant.water.told = lambda meter: object.__setattr__(meter, "baud", 4800)
    await plant.refused("5", SwitchBaud(9600), "speaks at 4800 baud now, instead of 9600")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (SetPrimaryAddress(42), "cannot be read any more"),
        (SwitchBaud(300), "answers at no baud rate any more"),
        (SelectApplication(0x20), "cannot be read any more"),
        (SetClock(), "cannot be read any more"),
    ],
    ids=["address", "baud", "application", "clock"],
)
async def test_a_meter_that_dies_in_between_is_not_called_done(
    plant: Plant, command: Command, sentence: str
) -> None:
    """Config.toml says what it said, and the line goes on with the others."""
    await plant.start("5", "6")
    plant.water.told = die
    await plant.refused("5", command, sentence)
    await plant.site.read(plant.site.gateway.snapshot().meters[1].key)


async def test_the_clock_is_set_and_looked_at(plant: Plant) -> None:
    """To a time that is named, and to that of the gateway; the telegram shows it."""
    await plant.start("5")
    assert "its clock shows 2024-02-29 12:0" in await plant.tell("5", SetClock(1_709_208_000_000))
    assert abs(plant.water.clock_ahead) > 3600
    await plant.tell("5", SetClock())
    assert abs(plant.water.clock_ahead) < 3600


async def test_an_application_is_selected_and_reset(plant: Plant) -> None:
    """What the meter sends afterwards tells."""
    await plant.start("6")
    assert "application 50h is selected: it sends" in await plant.tell("6", SelectApplication(0x50))
    assert plant.heat.application == 0x50
    assert "its application was reset" in await plant.tell("6", ApplicationReset())
    assert plant.heat.application == 0


async def test_a_converter_with_a_fixed_rate_is_not_left_behind(tmp_path: Path) -> None:
    """The meter would speak at a rate at which nobody hears it."""
    meter = simulated("70112345", 5)
    server = await serve(SimulatedBus([meter]))
    site = Site(tmp_path / "state")
    site.configure(port_of(server))
    await asyncio.to_thread(site.start)
    try:
        with pytest.raises(CmeError, match=r"cannot be switched .* Nothing was sent"):
            await asyncio.wrap_future(site.gateway.command_meter("cellar", "5", SwitchBaud(300)))
        assert meter.baud is None
    finally:
        await asyncio.to_thread(site.gateway.stop)
        server.close()

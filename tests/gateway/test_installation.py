"""Meters and lines are installed, changed and removed while the gateway runs, and config.toml says the same."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway_process import LIMIT
from test_core import Site, port_of, serve, simulated

from core.config import MeterConfig, load_config
from core.errors import CmeError
from core.interval import Interval
from core.mbus.simulator import SimulatedBus
from core.snapshot import MeterState
from core.store import open_readonly

FALCON = "70112345.ELS.0A.07"
HEAT = "06855817.KAM.08.04"


_KILLED = """
import os, signal, sys
from pathlib import Path
from core.facade import RunOptions
from core.launch import open_gateway
from core.security import Security
gateway = open_gateway(RunOptions(Path(sys.argv[1]), dlms_port=0))
async def killed(self, save, secrets):
    if sys.argv[4] == "after":
        save()
    os.kill(os.getpid(), signal.SIGKILL)
Security.reload = killed
gateway.change_meter(int(sys.argv[2]), {"address": int(sys.argv[3])}).result()
"""
"""A gateway that is killed while it gives a meter another address: before or after config.toml is written."""


class Plant:
    """A gateway with a line of two meters, of which some are installed."""

    def __init__(self, site: Site, bus: SimulatedBus, server: asyncio.Server) -> None:
        self.site = site
        self.bus = bus
        self.port = port_of(server)
        self.config = site.state_dir / "config.toml"

    async def start(self, *addresses: str) -> None:
        self.site.configure(self.port, *addresses)
        self.config.write_text("# Kellerweg 4\n" + self.config.read_text())
        await asyncio.to_thread(self.site.start)
        await self.read()

    async def read(self) -> None:
        await self.site.until("the readings", lambda s: all(m.state is MeterState.OK for m in s.meters))

    async def install(self, *meters: MeterConfig) -> int:
        return await asyncio.wrap_future(self.site.gateway.install_meters(meters))

    async def change(self, key: int, **values: Any) -> None:
        await asyncio.wrap_future(self.site.gateway.change_meter(key, values))

    async def remove(self, *keys: int) -> int:
        return await asyncio.wrap_future(self.site.gateway.remove_meters(keys))

    async def set_line(self, line: str | None, **values: Any) -> None:
        await asyncio.wrap_future(self.site.gateway.change_line(line, values))

    async def refused(self, work: Any, sentence: str) -> None:
        """Nothing has changed, on disk nor in the gateway."""
        text, meters = self.config.read_text(), [meter.key for meter in self.site.gateway.snapshot().meters]
        with pytest.raises(CmeError, match=sentence):
            await work
        assert self.config.read_text() == text
        assert [meter.key for meter in self.site.gateway.snapshot().meters] == meters

    async def count(self, key: int) -> int:
        return (await asyncio.wrap_future(self.site.gateway.meter(key))).readings


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    bus = SimulatedBus([simulated("70112345", 5), simulated("06855817", 6)])
    server = await serve(bus)
    plant = Plant(Site(tmp_path / "state"), bus, server)
    yield plant
    if hasattr(plant.site, "gateway"):
        await asyncio.to_thread(plant.site.gateway.stop)
    server.close()


async def test_meters_are_installed_and_read_at_once(plant: Plant) -> None:
    """With logical device addresses that are in the file before a head-end sees them; comments stay."""
    await plant.start()
    heat = MeterConfig(address=HEAT, name="heat", interval=Interval.parse("1 h"), margin_ms=5)
    assert await plant.install(MeterConfig(address=5, name="water"), heat) == 2
    await plant.read()
    assert [(m.name, m.logical_device) for m in plant.site.gateway.snapshot().meters] == [
        ("water", 16),
        ("heat", 17),
    ]
    assert plant.config.read_text().startswith("# Kellerweg 4\n")
    water, heat = load_config(plant.config).meters
    assert (water.line, water.address, water.logical_device, water.interval) == ("cellar", 5, 16, None)
    assert (heat.line, heat.address, str(heat.interval), heat.margin_ms) == ("cellar", HEAT, "1 h", 5)


@pytest.mark.parametrize(
    ("meter", "sentence"),
    [
        (MeterConfig(address="005"), "005 on cellar is installed already"),
        (MeterConfig(address="70112345"), "may be the meter that is installed at 5 on cellar"),
        (MeterConfig(line="attic", address=FALCON), "may be the meter that is installed at 5 on cellar"),
        (MeterConfig(address="7011FFFF"), "may be the meter that is installed at 5 on cellar"),
        (MeterConfig(address=0), "primary address 0 is of use only for a meter that is alone"),
        (MeterConfig(line="celar", address=9), "did you mean cellar"),
        (MeterConfig(address=9), "name one of: cellar, attic"),
    ],
    ids=["same", "secondary-of-primary", "other-line", "wildcards", "zero", "no-line", "which-line"],
)
async def test_one_meter_that_cannot_be_keeps_all_from_being_installed(
    plant: Plant, meter: MeterConfig, sentence: str
) -> None:
    """The conflict is named; the good one before it is not installed either."""
    await plant.start("5")
    await plant.set_line("cellar", margin_ms=30)
    if meter.line or meter.address == 9:
        await plant.set_line(None, name="attic", url="sim:")
    elif meter.line == "":
        meter = MeterConfig(line="cellar", address=meter.address)
    await plant.refused(plant.install(MeterConfig(line="cellar", address=6), meter), sentence)


async def test_a_meter_with_another_primary_address_keeps_its_history(plant: Plant) -> None:
    """It is the same meter, on the same logical device, with its old readings; also after a restart."""
    await plant.start("5")
    (meter,) = plant.site.gateway.snapshot().meters
    (water,) = (each for each in plant.bus.meters if each.address == 5)
    water.address = 77
    await plant.change(meter.key, address=77, name="moved")
    await plant.site.read(meter.key)
    assert await plant.count(meter.key) == 2
    await asyncio.to_thread(plant.site.gateway.stop)
    await asyncio.to_thread(plant.site.start)
    (now,) = plant.site.gateway.snapshot().meters
    assert (now.key, now.address, now.name, now.logical_device) == (meter.key, "primary 77", "moved", 16)


async def test_an_address_change_that_cannot_be_saved_leaves_the_history_where_it_was(plant: Plant) -> None:
    """Another file stands in the way; the store has the meter at its old address again."""
    await plant.start("5")
    (meter,) = plant.site.gateway.snapshot().meters
    (plant.site.state_dir / "secrets.toml").write_text("broken")
    await plant.refused(plant.change(meter.key, address=77), "not valid TOML")
    with open_readonly(plant.site.state_dir / "gateway.db") as store:
        assert [(item.key, item.address) for item in store.meters()] == [(meter.key, "5")]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_meter_keeps_its_history_where_the_gateway_is_killed_amid_an_address_change(
    plant: Plant, moment: str
) -> None:
    """Store and config.toml agree at the next start, on either address."""
    await plant.start("5", "6")
    water, heat = plant.site.gateway.snapshot().meters
    await asyncio.to_thread(plant.site.gateway.stop)
    command = [sys.executable, "-c", _KILLED, str(plant.site.state_dir), str(water.key), "42", moment]
    killed = await asyncio.to_thread(subprocess.run, command, timeout=LIMIT)
    assert killed.returncode == -signal.SIGKILL
    with open_readonly(plant.site.state_dir / "gateway.db") as store:
        assert [meter.address for meter in store.meters()] == ["42", "6"]
    await asyncio.to_thread(plant.site.start)
    kept = 5 if moment == "before" else 42
    found = {meter.key: meter.address for meter in plant.site.gateway.snapshot().meters}
    assert found == {water.key: f"primary {kept}", heat.key: "primary 6"}
    assert (await asyncio.wrap_future(plant.site.gateway.meter(water.key))).readings >= 1


async def test_an_address_that_a_meter_had_long_ago_belongs_to_whoever_is_installed_there(
    plant: Plant,
) -> None:
    """Where config.toml was seen to have its new one, another meter at the old one begins a history of its own."""
    await plant.start("5", "6")
    water = plant.site.gateway.snapshot().meters[0]
    await asyncio.wrap_future(plant.site.gateway.change_meter(water.key, {"address": 42}))
    await asyncio.to_thread(plant.site.gateway.stop)
    await asyncio.to_thread(plant.site.start)
    await asyncio.to_thread(plant.site.gateway.stop)
    config = plant.site.state_dir / "config.toml"
    config.write_text(config.read_text().replace("address = 42", "address = 5"))
    await asyncio.to_thread(plant.site.start)
    found = {meter.address: meter.key for meter in plant.site.gateway.snapshot().meters}
    assert found["primary 5"] != water.key


async def test_a_meter_that_was_read_does_not_become_another_one(plant: Plant) -> None:
    """Its rows would be shown as those of the other."""
    await plant.start("5")
    (meter,) = plant.site.gateway.snapshot().meters
    await plant.refused(plant.change(meter.key, address=HEAT), "it would be another meter")
    await plant.refused(plant.change(meter.key, address="nonsense"), "no M-Bus address")
    await plant.refused(plant.change(meter.key, baud=1234), "one of 300, 600")
    await plant.change(meter.key, address=FALCON, baud=9600)
    assert load_config(plant.config).meters[0].baud == 9600
    await plant.change(meter.key, baud=None)
    assert load_config(plant.config).meters[0].baud is None


async def test_a_removed_meter_comes_back_with_its_readings(plant: Plant) -> None:
    """They stay in the store; the other meters go on."""
    await plant.start(FALCON, HEAT)
    water, heat = (meter.key for meter in plant.site.gateway.snapshot().meters)
    assert await plant.remove(water) == 1
    assert [meter.key for meter in plant.site.gateway.snapshot().meters] == [heat]
    await plant.refused(plant.remove(water), "no such meter")
    await plant.install(MeterConfig(address=FALCON))
    await plant.read()
    assert {meter.key for meter in plant.site.gateway.snapshot().meters} == {water, heat}
    assert await plant.count(water) >= 1


async def test_a_line_takes_its_meters_along_when_it_gets_another_name(plant: Plant) -> None:
    """Those with a primary address too, which say nothing about who they are."""
    await plant.start("5", HEAT)
    before = {meter.key for meter in plant.site.gateway.snapshot().meters}
    await plant.set_line("cellar", name="basement")
    await plant.read()
    meters = plant.site.gateway.snapshot().meters
    assert {meter.key for meter in meters} == before
    assert {meter.line for meter in meters} == {"basement"}


async def test_a_line_with_meters_is_not_removed(plant: Plant) -> None:
    """An empty one is; the meters of the other stay on it although they did not name it."""
    await plant.start("5")
    await plant.set_line(None, name="attic", url="sim:")
    removing = asyncio.wrap_future(plant.site.gateway.remove_line("cellar"))
    await plant.refused(removing, "a meter is installed on it")
    await asyncio.wrap_future(plant.site.gateway.remove_line("attic"))
    assert [line.name for line in plant.site.gateway.snapshot().lines] == ["cellar"]
    await plant.refused(plant.set_line("cellar", name=None), "needs a name")
    await plant.refused(plant.set_line("attik", baud=300), 'no line "attik"')
    await plant.read()

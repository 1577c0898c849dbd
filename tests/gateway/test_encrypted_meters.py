"""Encrypted meters: a missing key is told from a wrong one, and what was kept becomes values with the right one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dlms_wire import Wire, aarq, fetch, get
from test_core import Site, port_of, serve, simulated

from core.dlms import axdr
from core.errors import CmeError
from core.mbus.frame import long_frame
from core.mbus.simulator import Encryption, SimulatedBus, SimulatedMeter
from core.secrets import load_secrets
from core.snapshot import MeterState, MeterView
from core.store import Reading, open_readonly

KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
OTHER = KEY[::-1]
NAME = "meter_keys.70112345"
PROFILE = bytes((1, 0, 99, 1, 0, 255))


class Plant:
    """A gateway with one encrypted water meter at primary address 5."""

    def __init__(self, site: Site, meter: SimulatedMeter) -> None:
        self.site = site
        self.meter = meter

    @property
    def view(self) -> MeterView:
        return self.site.gateway.snapshot().meters[0]

    async def start(self, server: asyncio.Server, address: str = "5") -> None:
        self.site.configure(port_of(server), address)
        await asyncio.to_thread(self.site.start)

    async def give(self, key: bytes) -> None:
        await asyncio.wrap_future(self.site.gateway.set_secrets({NAME: key.hex()}))

    async def read(self) -> str:
        """The reason why it could not be read, "" if it could."""
        try:
            await self.site.read(self.view.key)
        except CmeError as error:
            return str(error)
        return ""

    async def rows(self) -> int:
        password = load_secrets(self.site.state_dir / "secrets.toml").lls_password.encode()
        async with Wire(self.site.gateway.snapshot().dlms.port, server=self.view.logical_device) as wire:
            assert (await wire.ask(aarq(password)))[0] == 0x61
            content = axdr.decode(await fetch(wire, get(7, PROFILE, 2))).content
        assert isinstance(content, list)
        return len(content)

    def stored(self) -> list[Reading]:
        with open_readonly(self.site.state_dir / "gateway.db") as store:
            return store.sealed_readings(self.view.key, 0, 1000)


@pytest.fixture(params=[5, 7], ids=["mode-5", "mode-7"])
async def plant(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Plant]:
    meter = simulated("70112345", 5)
    meter.encryption = Encryption(request.param, KEY)
    server = await serve(SimulatedBus([meter]))
    plant = Plant(Site(tmp_path / "state"), meter)
    await plant.start(server)
    yield plant
    await asyncio.to_thread(plant.site.gateway.stop)
    server.close()


async def test_telegrams_that_wanted_a_key_become_values_when_it_comes(plant: Plant) -> None:
    """Not only the next one: those that were kept are readings, with their rows, at the time when they were read."""
    view = await plant.site.meter_until("a telegram", lambda m: m.state is MeterState.NO_KEY)
    assert "'cme-tui secrets set meter_keys.70112345'" in view.reason
    assert view.reason in " ".join(plant.site.gateway.snapshot().alarms)
    assert view.last_reading_ms is None
    assert (view.identification, view.manufacturer) == ("70112345", "ELS")  # which is not encrypted
    (kept,) = plant.stored()
    await plant.give(KEY)
    view = await plant.site.meter_until("the reading", lambda m: m.state is MeterState.OK)
    assert view.last_reading_ms == kept.time_ms
    assert view.headline is not None
    assert plant.stored() == []
    assert await plant.rows() == 1


async def test_a_wrong_key_is_told_from_a_missing_one_and_from_a_change_of_key(plant: Plant) -> None:
    """The sentence names the meter, and says whether its key was right once."""
    await plant.give(OTHER)
    assert (
        "The key of meter 70112345 does not open its telegram. Give it the right one." in await plant.read()
    )
    await plant.site.meter_until("the state", lambda m: m.state is MeterState.WRONG_KEY)
    await plant.give(KEY)
    assert await plant.read() == ""
    assert plant.meter.encryption is not None
    plant.meter.encryption = dataclasses.replace(plant.meter.encryption, key=OTHER)
    assert "It did last on 2" in await plant.read()
    await plant.site.meter_until("the state", lambda m: m.state is MeterState.WRONG_KEY)
    await plant.give(OTHER)
    await plant.site.meter_until("the reading", lambda m: m.state is MeterState.OK)


async def test_a_key_that_is_put_into_the_file_holds_from_the_next_start(plant: Plant) -> None:
    """What was kept before is opened then."""
    await plant.site.meter_until("a telegram", lambda m: m.state is MeterState.NO_KEY)
    kept = len(plant.stored())
    await asyncio.to_thread(plant.site.gateway.stop)
    secrets = plant.site.state_dir / "secrets.toml"
    assert "[meter_keys]" in secrets.read_text()
    secrets.write_text(secrets.read_text().replace("[meter_keys]", f'[meter_keys]\n70112345 = "{KEY.hex()}"'))
    await asyncio.to_thread(plant.site.start)
    await plant.site.meter_until("the reading", lambda m: m.state is MeterState.OK)
    assert (await asyncio.wrap_future(plant.site.gateway.meter(plant.view.key))).readings >= kept


async def test_a_telegram_whose_blocks_are_cut_off_is_no_matter_of_the_key(tmp_path: Path) -> None:
    """Its checksum is right, but it has less than it says: broken, and not a wrong key, nor values."""
    raw = simulated("70112345", 5).telegram_at(1_700_000_000.0)
    cut = long_frame(raw[4], raw[5], raw[6], raw[7:17] + b"\xf0\x05" + raw[19:-2])  # 15 blocks, mode 5
    meter = SimulatedMeter([cut], address=5)
    server = await serve(SimulatedBus([meter]))
    plant = Plant(Site(tmp_path / "state"), meter)
    await plant.start(server, "70112345.ELS.0A.07")
    try:
        await plant.give(KEY)
        assert "of its encrypted bytes; read the meter again" in await plant.read()
        await plant.site.meter_until("the state", lambda m: m.state is MeterState.UNDECODABLE)
    finally:
        await asyncio.to_thread(plant.site.gateway.stop)
        server.close()


async def test_an_encrypted_readout_of_several_telegrams_is_read_to_its_end(tmp_path: Path) -> None:
    """That another one follows is said within the encryption."""
    meter = simulated("70112345", 5)
    raw = meter.telegram_at(1_700_000_000.0)
    first = long_frame(raw[4], raw[5], raw[6], raw[7:19] + bytes.fromhex("0C13 46590800 1F"))
    second = long_frame(raw[4], raw[5], raw[6], raw[7:19] + bytes.fromhex("0C13 47590800"))
    several = SimulatedMeter([first, second], address=5, encryption=Encryption(5, KEY))
    server = await serve(SimulatedBus([several]))
    plant = Plant(Site(tmp_path / "state"), several)
    await plant.start(server)
    try:
        await plant.site.meter_until("a telegram", lambda m: m.state is MeterState.NO_KEY)
        await plant.give(KEY)
        assert await plant.read() == ""
        detail = await asyncio.wrap_future(plant.site.gateway.meter(plant.view.key))
        assert len(detail.telegrams) == 2
    finally:
        await asyncio.to_thread(plant.site.gateway.stop)
        server.close()

"""What is changed while the gateway runs: every object, name, row and series follows, and nothing is mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dlms_wire import Wire, aarq, fetch, get, set_
from test_core import Site, port_of, serve, simulated

from core.cosem import datetime as cosem_time
from core.dlms import axdr
from core.dlms.xdlms import DataAccessResult
from core.errors import CmeError
from core.mbus.simulator import SimulatedBus, SimulatedMeter
from core.secrets import load_secrets
from core.snapshot import MeterState

FALCON = "70112345.ELS.0A.07"
PROFILE = bytes((1, 0, 99, 1, 0, 255))
NAME = get(1, bytes((0, 0, 42, 0, 0, 255)), 2)
CHANNEL = bytes((0, 128, 1, 0, 0, 255))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path / "state")
    yield site
    if hasattr(site, "gateway"):
        await asyncio.to_thread(site.gateway.stop)


class Changes:
    """A gateway with one water meter that has been read, and a file to change."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.config = site.state_dir / "config.toml"

    async def start(
        self, *addresses: str, bus: SimulatedBus | None = None, zone: str = "UTC"
    ) -> asyncio.Server:
        """`addresses` of the meters, of which the simulated line has a water and a heat meter."""
        server = await serve(bus or SimulatedBus([simulated("70112345"), simulated("06855817", 6)]))
        self.site.configure(port_of(server), *(addresses or (FALCON,)))
        self.config.write_text(f'[gateway]\ntimezone = "{zone}"\n' + self.config.read_text())
        await asyncio.to_thread(self.site.start)
        await self.read()
        return server

    async def read(self) -> None:
        await self.site.until("the readings", lambda s: all(m.state is MeterState.OK for m in s.meters))

    async def edit(self, change: Callable[[str], str]) -> None:
        before = self.config.read_text()
        after = change(before)
        assert after != before
        self.config.write_text(after)
        await asyncio.wrap_future(self.site.gateway.reload())

    def password(self) -> bytes:
        return load_secrets(self.site.state_dir / "secrets.toml").lls_password.encode()

    async def ask(self, sap: int, request: bytes) -> axdr.Value:
        async with Wire(self.site.gateway.snapshot().dlms.port, server=sap) as wire:
            assert (await wire.ask(aarq(self.password())))[0] == 0x61
            return axdr.decode(await fetch(wire, request))

    async def rows(self, sap: int = 16) -> list[list[axdr.Value]]:
        content = (await self.ask(sap, get(7, PROFILE, 2))).content
        assert isinstance(content, list)
        return [row.content for row in content if isinstance(row.content, list)]


@pytest.fixture
def changes(site: Site) -> Changes:
    return Changes(site)


async def test_rows_follow_the_time_zone(changes: Changes) -> None:
    """Rows that a client has seen already are shown in the new zone after a reload, as the clock and new rows are."""
    server = await changes.start(zone="Europe/Stockholm")
    first = (await changes.rows())[0][0].content
    await changes.edit(lambda text: text.replace("Europe/Stockholm", "Asia/Tokyo"))
    second = (await changes.rows())[0][0].content
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    assert second[9:11] == (-540).to_bytes(2, "big", signed=True)
    assert cosem_time.decode(first, ZoneInfo("UTC")) == cosem_time.decode(second, ZoneInfo("UTC"))
    server.close()


async def test_a_meter_whose_address_is_written_in_full_keeps_its_history(changes: Changes) -> None:
    """A technician completes 70112345 to the whole address: it is the same meter, with the rows that it had."""
    server = await changes.start("70112345")
    key = changes.site.gateway.snapshot().meters[0].key
    before = await changes.rows()
    await changes.edit(lambda text: text.replace('address = "70112345"', f'address = "{FALCON}"'))
    assert changes.site.gateway.snapshot().meters[0].key == key
    await changes.site.until("the address", lambda s: s.meters[0].address == FALCON)
    assert await changes.rows() == before
    await changes.site.read(key)
    server.close()


async def test_a_meter_that_moves_to_another_line_keeps_its_history(changes: Changes) -> None:
    """Its secondary address is one of a kind, so it is the same meter wherever it hangs; also over a restart."""
    server = await changes.start()
    key = changes.site.gateway.snapshot().meters[0].key
    before = await changes.rows()
    await asyncio.to_thread(changes.site.gateway.stop)
    changes.config.write_text(changes.config.read_text().replace('name = "cellar"', 'name = "attic"'))
    await asyncio.to_thread(changes.site.start)
    (meter,) = changes.site.gateway.snapshot().meters
    assert (meter.key, meter.line) == (key, "attic")
    assert (await changes.rows())[: len(before)] == before
    server.close()


async def test_another_meter_on_the_same_logical_device_begins_with_no_history(changes: Changes) -> None:
    """The address in the configuration is replaced: not one row and not one value of the old meter is shown."""
    server = await changes.start()
    await changes.edit(lambda text: text.replace(FALCON, "06855817.KAM.08.04"))
    (meter,) = changes.site.gateway.snapshot().meters
    assert meter.logical_device == 16
    assert (await changes.ask(16, NAME)).content == b"KAM068558170408"
    await changes.read()
    times = [row[0] for row in await changes.rows()]
    assert len(times) <= 1
    server.close()


async def test_logical_devices_that_are_swapped_by_hand_are_swapped_whole(changes: Changes) -> None:
    """Names, objects and rows go with the meter, not with the number."""
    server = await changes.start(FALCON, "06855817.KAM.08.04")
    names = [(await changes.ask(sap, NAME)).content for sap in (16, 17)]
    rows = [await changes.rows(sap) for sap in (16, 17)]
    swap = {"logical_device = 16": "logical_device = 17", "logical_device = 17": "logical_device = 16"}
    await changes.edit(lambda text: "\n".join(swap.get(line, line) for line in text.split("\n")))
    assert [(await changes.ask(sap, NAME)).content for sap in (17, 16)] == names
    assert [await changes.rows(sap) for sap in (17, 16)] == rows
    server.close()


async def test_a_meter_that_is_disabled_stays_so_over_a_restart(changes: Changes) -> None:
    """It is shown as disabled, with its last value, and is not read; enabled again it is."""
    server = await changes.start()
    await changes.edit(lambda text: text + "enabled = false\n")
    await asyncio.to_thread(changes.site.gateway.stop)
    await asyncio.to_thread(changes.site.start)
    (meter,) = changes.site.gateway.snapshot().meters
    assert meter.state is MeterState.DISABLED
    assert meter.headline is not None
    with pytest.raises(CmeError, match="disabled"):
        await changes.site.read(meter.key)
    await changes.edit(lambda text: text.replace("enabled = false\n", ""))
    await changes.site.read(meter.key)
    server.close()


async def test_a_client_whose_meter_was_removed_can_select_another(changes: Changes) -> None:
    """Nothing else is left of a removed meter, but the association goes on."""
    server = await changes.start(FALCON, "06855817.KAM.08.04")
    async with Wire(changes.site.gateway.snapshot().dlms.port, server=1) as wire:
        await wire.ask(aarq(changes.password()))
        assert (await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(17))))[3] == 0
        await changes.edit(lambda text: text[: text.rindex("[[meter]]")])
        assert (await wire.ask(NAME))[3:] == bytes((1, DataAccessResult.OBJECT_UNAVAILABLE))
        assert (await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(17))))[
            3
        ] == DataAccessResult.READ_WRITE_DENIED
        assert (await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(16))))[3] == 0
        assert axdr.decode(await fetch(wire, NAME)).content == b"ELS70112345070A"
    server.close()


async def test_a_public_client_selects_nothing(changes: Changes) -> None:
    """The way back from a removed meter is one for the management client."""
    server = await changes.start()
    async with Wire(changes.site.gateway.snapshot().dlms.port, client=16, server=16) as wire:
        await wire.ask(aarq())
        await changes.edit(lambda text: text[: text.rindex("[[meter]]")])
        assert (await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(1))))[
            3
        ] == DataAccessResult.READ_WRITE_DENIED
    server.close()


@pytest.mark.parametrize("offset", [13, 14], ids=["version", "medium"])
async def test_a_meter_without_version_or_medium_is_read(changes: Changes, offset: int) -> None:
    """FF there is what the select frame has for "any": such a meter is known by the rest of its header."""
    frame = bytearray(simulated("70112345").telegrams_at(0)[0])
    frame[offset] = 0xFF
    frame[-2] = sum(frame[4:-2]) & 0xFF
    server = await changes.start("5", bus=SimulatedBus([SimulatedMeter([bytes(frame)], address=5)]))
    (meter,) = changes.site.gateway.snapshot().meters
    assert (meter.identification, meter.manufacturer) == ("70112345", "ELS")
    server.close()


async def test_devices_that_a_reload_adds_never_break_the_picture(changes: Changes) -> None:
    """While meters come and go in quick succession, the snapshot goes on and nothing unforeseen is logged."""
    server = await changes.start()
    plain = changes.config.read_text()
    for number in range(5):
        more = "".join(f"[[meter]]\naddress = {address}\n" for address in range(20, 20 + 30 * (number % 2)))
        changes.config.write_text(plain + more)
        await asyncio.wrap_future(changes.site.gateway.reload())
    changes.config.write_text(plain)
    await asyncio.wrap_future(changes.site.gateway.reload())
    await changes.site.until("one meter", lambda s: len(s.meters) == 1)
    server.close()


async def test_a_client_is_not_handed_over_to_another_meter(changes: Changes) -> None:
    """Its meter was replaced under the same number: it gets nothing more until it associates or selects again."""
    server = await changes.start()
    async with Wire(changes.site.gateway.snapshot().dlms.port) as wire:
        await wire.ask(aarq(changes.password()))
        assert axdr.decode(await fetch(wire, NAME)).content == b"ELS70112345070A"
        await changes.edit(lambda text: text.replace(FALCON, "06855817.KAM.08.04"))
        assert (await wire.ask(NAME))[3:] == bytes((1, DataAccessResult.OBJECT_UNAVAILABLE))
        assert (await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(16))))[3] == 0
        assert axdr.decode(await fetch(wire, NAME)).content == b"KAM068558170408"
    server.close()


async def test_a_meter_that_was_replaced_behind_its_primary_address_is_taken_up_as_the_alarm_says(
    changes: Changes,
) -> None:
    """With the secondary address of the new one it has the number of the old one, and none of its rows."""
    bus = SimulatedBus([simulated("70112345", 5), simulated("06855817", 99)])
    server = await changes.start("5", bus=bus)
    (old,) = changes.site.gateway.snapshot().meters
    falcon, heat = sorted(bus.meters, key=lambda meter: meter.address)
    falcon.address, heat.address = 98, 5
    with pytest.raises(CmeError, match="06855817"):
        await changes.site.read(old.key)
    await changes.edit(lambda text: text.replace('address = "5"', 'address = "06855817"'))
    await changes.read()
    (new,) = changes.site.gateway.snapshot().meters
    assert new.key != old.key
    assert new.logical_device == old.logical_device
    assert len(await changes.rows()) == 1
    assert (await changes.ask(16, NAME)).content == b"KAM068558170408"
    server.close()

"""The running gateway through its facade: what it shows, and what it does about meters that are not what they seem."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from core.errors import CmeError
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.simulator import Misfortune, SimulatedBus, SimulatedMeter, load_meters, serve_tcp
from core.snapshot import LineState, MeterState, MeterView, Snapshot
from core.store import open_readonly

LIMIT = 20.0  # seconds
KEY = bytes(range(16))


class Site:
    """A gateway whose only line leads to a simulated bus in the test's own hands."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.gateway: RunningGateway

    def configure(self, port: int, *addresses: str) -> None:
        meters = "".join(
            f'[[meter]]\naddress = "{address}"\nname = "meter {address}"\n' for address in addresses
        )
        self.state_dir.mkdir(exist_ok=True)
        (self.state_dir / "config.toml").write_text(
            f"""[dlms]
host = "127.0.0.1"
authentication = "low"
[[line]]
name = "cellar"
url = "tcp:127.0.0.1:{port}"
baud = 38400
margin_ms = 20
repeats = 0
{meters}"""
        )

    def start(self) -> None:
        self.gateway = open_gateway(RunOptions(self.state_dir, dlms_port=0))

    async def until(self, what: str, holds: Callable[[Snapshot], bool]) -> Snapshot:
        """Look at the snapshot until it is as wanted."""
        try:
            async with asyncio.timeout(LIMIT):
                while not holds(snapshot := self.gateway.snapshot()):  # noqa: ASYNC110  # pulled, as by a UI
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what} never came: {self.gateway.snapshot()}") from None
        return snapshot

    async def meter_until(self, what: str, holds: Callable[[MeterView], bool]) -> MeterView:
        return (await self.until(what, lambda snapshot: holds(snapshot.meters[0]))).meters[0]

    async def read(self, key: int) -> None:
        await asyncio.wrap_future(self.gateway.read_meter(key))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path / "state")
    yield site
    if hasattr(site, "gateway"):
        await asyncio.to_thread(site.gateway.stop)


def simulated(identification: str, address: int = 5) -> SimulatedMeter:
    meter = next(m for m in load_meters() if m.identity and m.identity.identification == identification)
    meter.address = address
    return meter


async def serve(bus: SimulatedBus) -> asyncio.Server:
    return await serve_tcp(bus, 38400, fast=True)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_the_snapshot_shows_lines_meters_and_values(site: Site) -> None:
    """After the first sweep: the line is up, every meter has a value with a unit, and its telegram is explained."""
    server = await serve(SimulatedBus([simulated("70112345", 1), simulated("06855817", 2)]))
    site.configure(port_of(server), "1", "06855817")
    await asyncio.to_thread(site.start)
    snapshot = await site.until("the sweep", lambda s: all(m.state is MeterState.OK for m in s.meters))
    assert snapshot.lines[0].state is LineState.UP
    assert [meter.logical_device for meter in snapshot.meters] == [16, 17]
    assert [meter.manufacturer for meter in snapshot.meters] == ["ELS", "KAM"]
    assert [meter.headline.unit for meter in snapshot.meters if meter.headline] == ["m3", "Wh"]
    detail = await asyncio.wrap_future(site.gateway.meter(snapshot.meters[0].key))
    volume = next(value for value in detail.values if value.obis == "8.0.1.0.0.255")
    assert re.fullmatch(r"register \d+ x 10\^-3 m³", volume.cosem)
    (telegram,) = detail.telegrams
    assert telegram.frame[volume.data_offset - 2 : volume.data_offset].hex() == volume.dib == "0c13"
    covered = [part.offset for part in telegram.parts], sum(part.length for part in telegram.parts)
    assert covered == (sorted(covered[0]), len(telegram.frame))
    assert detail.readings == 1
    server.close()


async def test_the_facade_refuses_what_is_not_there(site: Site) -> None:
    """Unknown meters, and a gateway that has stopped, give a sentence and no hang."""
    server = await serve(SimulatedBus([]))
    site.configure(port_of(server))
    await asyncio.to_thread(site.start)
    with pytest.raises(CmeError, match="no such meter"):
        await asyncio.wrap_future(site.gateway.meter(999))
    with pytest.raises(CmeError, match="no such meter"):
        await site.read(999)
    await asyncio.to_thread(site.gateway.stop)
    with pytest.raises(CmeError, match="has stopped"):
        await asyncio.wrap_future(site.gateway.read_all())
    server.close()


async def test_another_meter_at_a_known_address_is_not_taken_for_it(site: Site) -> None:
    """A meter was swapped behind a primary address: an alarm, the telegram kept, no value of the stranger shown."""
    bus = SimulatedBus([simulated("70112345", 5), simulated("00182007", 99)])
    server = await serve(bus)
    site.configure(port_of(server), "5")
    await asyncio.to_thread(site.start)
    before = await site.meter_until("the first reading", lambda meter: meter.state is MeterState.OK)
    falcon, stranger = sorted(bus.meters, key=lambda meter: meter.address)
    falcon.address, stranger.address = 98, 5
    with pytest.raises(CmeError, match="00182007"):
        await site.read(before.key)
    after = await site.meter_until("the alarm", lambda meter: meter.state is MeterState.WRONG_METER)
    assert (after.identification, after.headline) == (before.identification, before.headline)
    assert any("00182007" in alarm and "replaced" in alarm for alarm in site.gateway.snapshot().alarms)
    with open_readonly(site.state_dir / "gateway.db") as store:
        kept = store.latest_failures()[before.key]
    assert kept.result is MeterState.WRONG_METER
    assert b"\x07\x20\x18\x00" in kept.frames[0]
    server.close()


async def test_a_meter_keeps_its_identity_over_a_restart(site: Site) -> None:
    """Who answered first is remembered: the stranger is refused after a restart too."""
    bus = SimulatedBus([simulated("70112345", 5), simulated("00182007", 99)])
    server = await serve(bus)
    site.configure(port_of(server), "5")
    await asyncio.to_thread(site.start)
    await site.meter_until("the first reading", lambda meter: meter.state is MeterState.OK)
    await asyncio.to_thread(site.gateway.stop)
    falcon, stranger = sorted(bus.meters, key=lambda meter: meter.address)
    falcon.address, stranger.address = 98, 5
    await asyncio.to_thread(site.start)
    meter = site.gateway.snapshot().meters[0]
    assert meter.identification == "70112345"
    with pytest.raises(CmeError, match="00182007"):
        await site.read(meter.key)
    server.close()


async def test_broken_telegrams_are_kept_and_told(site: Site) -> None:
    """Wrong checksums all the time: the state says so, the bytes are in the store, and the value stays missing."""
    meter = simulated("70112345")
    meter.misfortune = Misfortune(wrong_checksum=1)
    server = await serve(SimulatedBus([meter]))
    site.configure(port_of(server), "5")
    await asyncio.to_thread(site.start)
    seen = await site.meter_until("the failure", lambda meter: meter.state is MeterState.GARBLED)
    assert seen.headline is None
    assert "checksum" in seen.reason
    with open_readonly(site.state_dir / "gateway.db") as store:
        kept = store.latest_failures()[seen.key]
    assert kept.frames[0].endswith(b"\x16")
    server.close()


@pytest.mark.parametrize(("application", "said"), [("7008", "busy"), ("7181", "alarm")])
async def test_a_telegram_without_data_is_no_reading(site: Site, application: str, said: str) -> None:
    """A meter that answers "too busy", or with an alarm (CI 71h), has no reading, and says why."""
    content = bytes.fromhex("0805" + application)
    busy = b"\x68\x04\x04\x68" + content + bytes((sum(content) & 0xFF, 0x16))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(64):
            writer.write(b"\xe5" if request[1] == 0x40 else busy)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    site.configure(port_of(server), "5")
    await asyncio.to_thread(site.start)
    seen = await site.meter_until("the error", lambda meter: meter.state is MeterState.UNDECODABLE)
    assert said in seen.reason
    server.close()


async def test_an_encrypted_meter_is_read_with_its_key_only(site: Site) -> None:
    """Without the key a sentence, with it (after a reload) the value."""
    server = await serve(SimulatedBus([SimulatedMeter([encrypted_telegram()])]))
    site.configure(port_of(server), "5")
    await asyncio.to_thread(site.start)
    seen = await site.meter_until("the refusal", lambda meter: meter.state is MeterState.NO_KEY)
    assert "key" in seen.reason
    with (site.state_dir / "secrets.toml").open("a") as file:
        file.write(f'"12345678" = "{KEY.hex()}"\n')
    await asyncio.wrap_future(site.gateway.reload())
    await site.read(seen.key)
    detail = await asyncio.wrap_future(site.gateway.meter(seen.key))
    assert [(value.description, value.text, value.unit) for value in detail.values] == [
        ("volume", "85.946", "m3")
    ]
    server.close()


def encrypted_telegram() -> bytes:
    """Mode 5 (EN 13757-3): 16 bytes, AES-128-CBC, with the header as initialisation vector."""
    header = bytes.fromhex("78563412 2423 25 07 0a 00")
    plain = bytes.fromhex("2f2f 0c13 46590800").ljust(16, b"\x2f")
    vector = header[4:6] + header[:4] + header[6:8] + header[8:9] * 8
    cipher = Cipher(algorithms.AES(KEY), modes.CBC(vector)).encryptor()
    body = bytes((0x08, 0x05, 0x72)) + header + b"\x10\x05" + cipher.update(plain) + cipher.finalize()
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


async def test_a_line_that_is_away_is_told_and_taken_up_again(site: Site) -> None:
    """No converter: an alarm that names it. It comes: the meters are read without anybody's help."""
    placeholder = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = port_of(placeholder)
    placeholder.close()
    await placeholder.wait_closed()
    site.configure(port, "70112345")
    await asyncio.to_thread(site.start)
    down = await site.until("the alarm", lambda snapshot: bool(snapshot.alarms))
    assert f"127.0.0.1:{port}" in down.alarms[0]
    assert down.lines[0].state is LineState.DOWN
    server = await serve_tcp(SimulatedBus([simulated("70112345")]), 38400, port=port, fast=True)
    await site.meter_until("a reading", lambda meter: meter.state is MeterState.OK)
    assert not site.gateway.snapshot().alarms
    server.close()

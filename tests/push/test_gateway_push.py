"""What a running gateway pushes, as clients and decoders that others wrote see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from dlms_wire import Wire, aarq
from push_plant import KEYS, TITLE, Head, closed_port, until
from test_core import port_of, serve, simulated
from test_events_of_gateway import Status
from test_foreign_push import decoded

from core.config import Report
from core.cosem import datetime as cosem_time
from core.dlms import axdr, wrapper
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mapping.units import symbol
from core.mbus.simulator import SimulatedBus
from core.mbus.telegram import decode
from core.push.received import Received
from core.secrets import Secrets, save_secrets
from core.snapshot import MeterState
from core.store import Log, open_readonly
from tests.interop.library import Client, Library

ZONE: Final = ZoneInfo("Europe/Stockholm")
GATEWAY: Final = b"ELV0016000000".hex()
METER: Final = 16
PROFILES: Final[dict[Report, tuple[str, str]]] = {
    "load_profile_1": ("0001190900ff", "0100630100ff"),
    "load_profile_2": ("0002190900ff", "0100630200ff"),
    "billing_profile": ("0003190900ff", "0000620100ff"),
}
SYMBOLS: Final = {"m3": "m³", "m3/h": "m³/h"}  # where an M-Bus unit is spelled otherwise
PUSH: Final = axdr.integer(0)
OTHER_REASON: Final = 250


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    libraries = {name: Library(name) for name in ("gurux", "pydlms")}
    yield libraries
    for library in libraries.values():
        library.stop()


@pytest.fixture(params=["gurux", "pydlms"])
def client(request: pytest.FixtureRequest, libraries: dict[str, Library]) -> Client:
    return Client(libraries[request.param], "client")


@dataclass
class House:
    """A gateway with one meter that has been read, and its head-end."""

    gateway: RunningGateway
    head: Head
    state_dir: Path
    meter: Status

    @property
    def port(self) -> int:
        return self.gateway.snapshot().dlms.port

    @property
    def key(self) -> int:
        return self.gateway.snapshot().meters[0].key

    def low(self, server: int) -> dict[str, Any]:
        """How the management client gets in."""
        return {"port": self.port, "server": server, "level": "low", "password": "a password of tests"}

    async def arrived(self, count: int) -> list[Received]:
        """What the head-end has, as soon as that are so many."""

        async def enough() -> bool:
            return len(self.head.received) >= count

        await until(enough)
        return self.head.received

    async def read(self, status: int = 0) -> None:
        """A readout in which the meter has this status."""
        self.meter.status = status
        await asyncio.wrap_future(self.gateway.read_meter(self.key))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with Head() as head:
        meter = Status([simulated("70112345").telegram_at(0)], address=5)
        line = await serve(SimulatedBus([meter]))
        state = tmp_path / "state"
        state.mkdir()
        # So far off that nothing is sent but on request.
        schedule = f"daily {(datetime.now(ZONE) + timedelta(hours=12)):%H}:00"
        reports = "".join(
            f'[[push.report]]\ntype = "{kind}"\nschedule = "{schedule}"\n'
            for kind in (*PROFILES, "standard_event_log", "fraud_event_log", "on_installation")
        )
        (state / "config.toml").write_text(
            f"""[gateway]
serial = "0016000000"
timezone = "Europe/Stockholm"
[dlms]
host = "127.0.0.1"
authentication = "low"
[push]
host = "127.0.0.1"
port = {head.receiver.port}
client_sap = 5
randomisation = 0
event_messages = true
{reports}[[line]]
url = "tcp:127.0.0.1:{port_of(line)}"
baud = 38400
[[meter]]
address = 5
"""
        )
        secrets = Secrets("a password of tests", bytes(16), KEYS.authentication, KEYS.encryption)
        save_secrets(state / "secrets.toml", secrets)
        gateway = await asyncio.to_thread(open_gateway, RunOptions(state, dlms_port=0))
        try:

            async def read() -> bool:
                return gateway.snapshot().meters[0].state is MeterState.OK

            await until(read)
            yield House(gateway, head, state, meter)
        finally:
            await asyncio.to_thread(gateway.stop)
            line.close()


async def test_the_method_push_sends_the_report_of_the_selected_device(client: Client, house: House) -> None:
    """Of the management device and of a meter, addressed or selected; what its object list promises arrives."""
    setup = "0.7.25.9.0.255"
    await client.open(**house.low(1))
    await client.act(40, setup, 1, PUSH)
    (installed,) = await house.arrived(1)
    assert installed.content is not None
    shown = await client.get(1, "0.0.96.128.0.255", 2)
    assert (installed.content.type, installed.content.address) == ("on_installation", "127.0.0.1")
    assert shown == int.from_bytes(bytes((127, 0, 0, 1)), "big")
    assert (installed.server_sap, installed.client_sap) == (1, 5)
    await client.drop()

    await client.open(**house.low(METER))
    assert await client.get(40, "0.1.25.9.0.255", 3) == [
        0, f"127.0.0.1:{house.head.receiver.port}".encode().hex(), 0,
    ]  # fmt: skip
    assert not await client.get(40, "0.1.25.9.0.255", 4)
    assert [await client.get(40, "0.1.25.9.0.255", number) for number in (5, 6, 7)] == [0, 255, 60]
    await client.act(40, "0.1.25.9.0.255", 1, PUSH)
    profile = (await house.arrived(2))[1]
    assert profile.content is not None
    assert (profile.content.type, profile.content.meter) == ("load_profile_1", "ELS70112345070A")
    assert (profile.server_sap, profile.client_sap) == (METER, 5)
    await client.drop()

    await client.open(**house.low(1))
    await client.set(1, "0.128.1.0.0.255", 2, axdr.long_unsigned(METER))
    await client.act(40, "0.2.25.9.0.255", 1, PUSH)
    assert [each.content.type for each in await house.arrived(3) if each.content][2] == "load_profile_2"
    await client.drop()


async def test_the_method_push_is_refused_where_nobody_could_be_reached(client: Client, house: House) -> None:
    """Where the report is off, or goes nowhere: other reason. Nothing is put into the outbox."""
    await asyncio.wrap_future(house.gateway.configure({"push.host": None}))
    await client.open(**house.low(METER))
    assert (await client.refused("act", 40, "0.1.25.9.0.255", 1, PUSH))["access"] == OTHER_REASON
    await client.drop()
    assert await asyncio.wrap_future(house.gateway.ledger()) == ()


async def test_the_public_client_cannot_have_anything_sent(client: Client, house: House) -> None:
    """For it there is no push set-up."""
    await client.open(port=house.port, client=16, server=1)
    told = await client.refused("act", 40, "0.7.25.9.0.255", 1, PUSH)
    assert told["access"] in (3, 4), told
    await client.drop()
    assert await asyncio.wrap_future(house.gateway.ledger()) == ()


async def test_foreign_decoders_see_the_values_of_the_store_plain_and_ciphered(house: House) -> None:
    """Every type of a running gateway, whose policy is raised in between; the strict one takes nothing forged."""
    async with Wire(house.port, server=1) as wire:
        await wire.ask(aarq(b"wrong"))
    await house.read(status=0x04)
    await house.read(status=0x10)

    async def logged() -> bool:
        with open_readonly(house.state_dir / "gateway.db") as store:
            return store.event_entries(house.key, Log.STANDARD, 1, 0)[-1].code == 4016

    await until(logged)
    await send_all(house)
    plain = [*await house.arrived(7)]
    assert not any(each.ciphered for each in plain)
    await asyncio.wrap_future(house.gateway.configure({"dlms.policy": "authenticated-encrypted"}))
    await send_all(house)
    ciphered = (await house.arrived(14))[7:]
    assert all(each.ciphered and each.title == TITLE for each in ciphered)
    for library in ("gurux", "pydlms"):
        for arrived in (plain, ciphered):
            answers = await asyncio.to_thread(decoded, library, [framed(each) for each in arrived])
            bodies = {}
            for received, answer in zip(arrived, answers, strict=True):
                assert "error" not in answer, (library, answer)
                assert answer["id"] & 0xFFFFFF == received.report_id
                bodies[answer["body"][1] if received.server_sap == 1 else answer["body"][2]] = answer["body"]
            check(house, bodies)
    await check_forged(ciphered)


async def send_all(house: House) -> None:
    """Every type, of everything that there is."""
    for kind in (*PROFILES, "standard_event_log", "fraud_event_log"):
        await asyncio.wrap_future(house.gateway.resend_report(kind, None, 0, 1 << 50))
    assert await asyncio.wrap_future(house.gateway.test_report("on_installation")) == 1


def framed(received: Received, apdu: bytes | None = None) -> bytes:
    """As it came over the wire."""
    return wrapper.frame(received.server_sap or 0, received.client_sap or 0, apdu or received.apdu)


def check(house: House, bodies: dict[str, Any]) -> None:
    """Bodies, by push set-up, hold what the store holds."""
    assert set(bodies) == {
        *(setup for setup, _ in PROFILES.values()),
        "0004190900ff", "0005190900ff", "0007190900ff", "0008190900ff",
    }  # fmt: skip
    meter = b"ELS70112345070A".hex()
    with open_readonly(house.state_dir / "gateway.db") as store:
        for number, (setup, profile) in enumerate(PROFILES.values(), 1):
            rows = store.profile_entries(house.key, number, 1, 0)
            gateway, name, own, log, columns, told, units = bodies[setup]
            assert (gateway, name, own, log) == (GATEWAY, meter, setup, profile)
            assert columns[0] == [8, "0000010000ff", 2, 0]
            assert len(columns) == len(units) + 1
            assert [row[0] for row in told] == [cosem_time.encode(row.time_ms, ZONE).hex() for row in rows]
            for row, values in zip(rows, told, strict=True):
                said = {
                    (record.value, SYMBOLS.get(record.unit, record.unit))
                    for frame in row.frames
                    for record in decode(frame).records
                }
                shown = [
                    (Decimal(value).scaleb(scaler), symbol(unit))
                    for value, (scaler, unit) in zip(values[1:], units, strict=True)
                    if value is not None
                ]
                assert shown
                assert set(shown) <= said
        for setup, key, log, where in (
            ("0004190900ff", None, Log.STANDARD, "0000600b00ff"),
            ("0008190900ff", None, Log.FRAUD, "0000600b01ff"),
            ("0005190900ff", house.key, Log.STANDARD, "0000600b00ff"),
        ):
            known = [
                [cosem_time.encode(each.time_ms, ZONE).hex(), where, each.code, each.message]
                for each in store.event_entries(key, log, 1, 0)
            ]
            told = bodies[setup][-1]
            assert told
            assert [[*event, ""][:4] for event in told] == known[: len(told)]
    assert bodies["0005190900ff"][1:7] == [
        meter, "0005190900ff", "0000636200ff", b"ELS".hex(), 7, 10,
    ]  # fmt: skip
    assert [event[2] for event in bodies["0005190900ff"][7]] == [105, 4004, 102, 4016]
    assert bodies["0007190900ff"] == [GATEWAY, "0007190900ff", 0x7F000001, TITLE.hex()]


async def check_forged(ciphered: list[Received]) -> None:
    """The strict decoder refuses whatever was changed, sent again, or cut short."""
    frames = []
    for received in ciphered:
        apdu = received.apdu
        for place in (18, len(apdu) // 2, len(apdu) - 1):
            frames.append(framed(received, apdu[:place] + bytes((apdu[place] ^ 1,)) + apdu[place + 1 :]))
    frames += [framed(ciphered[0]), framed(ciphered[0])]
    answers = await asyncio.to_thread(decoded, "pydlms", frames)
    assert ["error" in answer for answer in answers] == [True] * (len(frames) - 2) + [False, True]


async def test_nobody_waits_for_a_head_end_that_is_down(client: Client, house: House) -> None:
    """The method succeeds, the notification waits, and goes where the setting says when it is sent."""
    await asyncio.wrap_future(house.gateway.configure({"push.port": closed_port()}))
    await client.open(**house.low(METER))
    await client.act(40, "0.1.25.9.0.255", 1, PUSH)
    await client.drop()

    async def failed() -> bool:
        (row,) = await asyncio.wrap_future(house.gateway.ledger())
        return row.tries > 0 and "refuses" in row.reason

    await until(failed)
    await asyncio.wrap_future(house.gateway.configure({"push.port": house.head.receiver.port}))
    (received,) = await house.arrived(1)
    assert received.content is not None
    assert received.content.setup == "0.1.25.9.0.255"

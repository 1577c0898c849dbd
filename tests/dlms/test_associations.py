"""Who gets in, who does not and why, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from dlms_plant import ASSOCIATION, CHANNEL, NAME, PASSWORD, SAPS, VOLUME, Plant
from dlms_wire import AARQ_LLS, AARQ_NONE, RLRQ, Wire, aarq, fetch, get, set_

from core.dlms import axdr
from core.dlms.admission import Level
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer, SessionView
from core.dlms.server import DlmsServer, ListenError

ACCEPTED = bytes.fromhex("a203020100a305a103020100")
DENIED = bytes.fromhex("c401c10103")


def refused(aare: bytes) -> int:
    """The diagnostic of an AARE that must reject."""
    assert aare[0] == 0x61
    assert aare[13:18] == bytes.fromhex("a203020101")
    return aare[24]


async def test_the_management_client_gets_in_with_the_password(server: DlmsServer) -> None:
    """LLS, and what was agreed is the truth about the server."""
    async with Wire(server.port) as wire:
        aare = await wire.ask(AARQ_LLS)
        assert ACCEPTED in aare
        assert aare.hex().endswith("be10040e0800065f1f0400001e1d20000007")


async def test_the_public_client_gets_in_without_and_reads_only_the_five_objects(server: DlmsServer) -> None:
    """Object list, names, clock, logical devices; nothing of the meter, no channel, no write."""
    async with Wire(server.port, client=16, server=1) as wire:
        assert ACCEPTED in await wire.ask(AARQ_NONE)
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"ELV0016000000")
        assert (await fetch(wire, get(17, SAPS, 2)))[:2] == b"\x01\x03"
        assert await wire.ask(get(1, CHANNEL, 2)) == DENIED
        assert await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(16))) == bytes.fromhex("c501c103")
    async with Wire(server.port, client=16, server=16) as wire:
        await wire.ask(AARQ_NONE)
        assert await wire.ask(get(3, VOLUME, 2)) == DENIED
        listed = axdr.decode(await fetch(wire, get(15, ASSOCIATION, 2))).content
        assert isinstance(listed, list)
        assert {item.content[0].content for item in listed} == {1, 8, 15, 17}  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    ("level", "client", "device", "request_", "diagnostic"),
    [
        (Level.LOW, 1, 16, aarq(b"12345679"), 13),  # wrong secret
        (Level.LOW, 1, 16, aarq(b""), 13),  # empty secret
        (Level.LOW, 1, 16, AARQ_NONE, 14),  # no secret
        (Level.HIGH, 1, 16, AARQ_LLS, 11),  # less than the lowest level
        (Level.HIGH, 1, 16, AARQ_NONE, 14),
        (Level.NONE, 1, 16, aarq(b"12345679"), 13),  # a wrong secret where none is needed
        (Level.LOW, 2, 16, AARQ_LLS, 3),  # unknown client
        (Level.LOW, 1, 99, AARQ_LLS, 7),  # unknown logical device
        (Level.LOW, 16, 16, AARQ_LLS, 11),  # the public client has no secret
        (Level.LOW, 1, 16, AARQ_LLS.replace(b"\x05\x08\x01\x01", b"\x05\x08\x01\x03"), 3),  # no title
        (Level.LOW, 1, 16, AARQ_LLS.replace(b"\x05\x08\x01\x01", b"\x05\x08\x01\x02"), 2),  # short names
        (Level.LOW, 1, 16, AARQ_LLS.replace(b"\x05\x08\x02\x01", b"\x05\x08\x02\x05"), 3),  # HLS, no title
        (Level.LOW, 1, 16, AARQ_LLS.replace(b"\x05\x08\x02\x01", b"\x05\x08\x02\x02"), 11),  # another HLS
        (Level.LOW, 1, 16, AARQ_LLS.replace(b"\x05\x08\x02\x01", b"\x05\x08\x02\x77"), 11),  # no mechanism
    ],
)
async def test_a_client_that_may_not_in_is_told_why(
    plant: Plant,
    server: DlmsServer,
    level: Level,
    client: int,
    device: int,
    request_: bytes,
    diagnostic: int,
) -> None:
    """Each with its diagnostic; nothing can be read afterwards, and the connection lives on."""
    plant.access.lowest = level
    async with Wire(server.port, client, device) as wire:
        assert refused(await wire.ask(request_)) == diagnostic
        assert await wire.ask(get(1, NAME, 2)) == bytes.fromhex("d80101")


async def test_no_secret_is_needed_while_the_settings_say_so(plant: Plant, server: DlmsServer) -> None:
    """A change of settings holds from the next AARQ on."""
    plant.access.lowest = Level.NONE
    async with Wire(server.port) as wire:
        assert ACCEPTED in await wire.ask(AARQ_NONE)
    plant.access.password = b"another"
    async with Wire(server.port) as wire:
        assert refused(await wire.ask(AARQ_LLS)) == 13
        assert ACCEPTED in await wire.ask(aarq(b"another"))


async def test_an_empty_password_lets_nobody_in(plant: Plant, server: DlmsServer) -> None:
    """An unset secret is no secret that fits."""
    plant.access.password = b""
    async with Wire(server.port) as wire:
        assert refused(await wire.ask(aarq(b""))) == 13


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (aarq(PASSWORD, pdu=63), 3),
        (aarq(PASSWORD, conformance=0), 2),
        (AARQ_LLS.replace(b"\x06\x5f\x1f", b"\x05\x5f\x1f"), 1),
    ],
)
async def test_a_context_that_cannot_work_is_refused(server: DlmsServer, request_: bytes, error: int) -> None:
    """PDU too short, no service in common, old DLMS version: an AARE with the initiate error."""
    async with Wire(server.port) as wire:
        aare = await wire.ask(request_)
        assert refused(aare) == 1
        assert aare[-4:] == bytes((0x0E, 1, 6, error))


async def test_nothing_is_answered_without_an_association(server: DlmsServer) -> None:
    """Neither before the AARQ nor after the release; the client may associate again."""
    async with Wire(server.port) as wire:
        assert await wire.ask(get(1, NAME, 2)) == bytes.fromhex("d80101")
        assert await wire.ask(RLRQ) == bytes.fromhex("d80101")
        await wire.ask(AARQ_LLS)
        assert await wire.ask(RLRQ) == bytes.fromhex("6303800100")
        assert await wire.ask(get(1, NAME, 2)) == bytes.fromhex("d80101")
        assert ACCEPTED in await wire.ask(AARQ_LLS)


async def test_associations_stand_side_by_side(server: DlmsServer) -> None:
    """Of several connections, and of several clients and devices on one connection."""
    async with Wire(server.port, 1, 16) as one, Wire(server.port, 1, 17) as other:
        await one.ask(AARQ_LLS)
        await other.ask(AARQ_LLS)
        assert await fetch(one, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
        assert await fetch(other, get(1, NAME, 2)) == axdr.octet_string(b"KAM876543210416")
        one.client, one.server = 16, 1
        await one.ask(AARQ_NONE)
        assert await fetch(one, get(1, NAME, 2)) == axdr.octet_string(b"ELV0016000000")
        one.client, one.server = 1, 16
        assert await fetch(one, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")


class Diary(Observer):
    """Keeps what the server tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gone = asyncio.Event()

    def connected(self, peer: str) -> None:
        self.lines.append("connected")

    def associated(self, session: SessionView) -> None:
        self.lines.append(f"associated {session.client_sap} {session.sap} {session.authentication}")

    def authentication_failed(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        self.lines.append(f"failed {client_sap} {sap} {reason}")

    def released(self, peer: str, client_sap: int, sap: int) -> None:
        self.lines.append(f"released {client_sap} {sap}")

    def disconnected(self, peer: str, reason: str) -> None:
        self.lines.append(f"disconnected {reason}")
        self.gone.set()


async def test_the_gateway_learns_who_came_and_who_was_refused(plant: Plant) -> None:
    """In this order; a closed connection releases its association."""
    diary = Diary()
    server = plant.server(ServerLimits(rejection=0.0, slowdown=0.0), diary)
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(aarq(b"wrong"))
        await wire.ask(AARQ_LLS)
        await wire.ask(get(1, NAME, 2))
        (session,) = server.sessions()
        assert (session.client_sap, session.sap, session.channel) == (1, 16, 16)
        assert (session.authentication, session.ciphering, session.requests) == ("low", "none", 1)
        assert session.since_ms <= session.last_ms
    async with asyncio.timeout(5):
        await diary.gone.wait()
    assert diary.lines == [
        "connected", "failed 1 16 authentication failure (wrong password, or unfit challenge)",
        "associated 1 16 low", "released 1 16",
        "disconnected closed by the client",
    ]  # fmt: skip
    assert server.sessions() == ()
    await server.stop()


async def test_another_aarq_replaces_an_open_association(plant: Plant) -> None:
    """If it is accepted; a refused one ends it, and one that is no AARQ at all changes nothing."""
    diary = Diary()
    server = plant.server(ServerLimits(rejection=0.0, slowdown=0.0), diary)
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(17)))
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"KAM876543210416")
        assert await wire.ask(AARQ_LLS[:-1]) == bytes.fromhex("d80203")
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"KAM876543210416")
        assert ACCEPTED in await wire.ask(AARQ_LLS)
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
        assert refused(await wire.ask(aarq(b"wrong"))) == 13
        assert await wire.ask(get(1, NAME, 2)) == bytes.fromhex("d80101")
    assert diary.lines[1:6] == [
        "associated 1 16 low", "released 1 16", "associated 1 16 low", "released 1 16",
        "failed 1 16 authentication failure (wrong password, or unfit challenge)",
    ]  # fmt: skip
    await server.stop()


async def test_a_refusal_slows_the_peer_down_and_not_the_answers_of_others(plant: Plant) -> None:
    """A connection that reads goes on at once while another one waits to hear that it is refused."""
    server = plant.server(ServerLimits(rejection=0.4))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as good, Wire(server.port) as bad:
        await good.ask(AARQ_LLS)
        bad.send(aarq(b"wrong"))
        refusal = asyncio.ensure_future(bad.receive())
        for _ in range(20):
            await good.ask(get(1, NAME, 2))
        assert not refusal.done()
        assert refused(await refusal) == 13
    await server.stop()


async def test_a_flood_of_refusals_does_not_fill_the_log(
    server: DlmsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure of a peer is a line, and then each time when their number has doubled."""
    async with Wire(server.port) as wire:
        for _ in range(9):
            assert refused(await wire.ask(aarq(b"wrong"))) == 13
    lines = [record.getMessage() for record in caplog.records if " refused: " in record.getMessage()]
    assert [line.rpartition("(")[2] for line in lines] == [f"{count} in a row)" for count in (1, 2, 4, 8)]


async def test_a_server_that_moves_to_another_port_keeps_associations(
    plant: Plant, server: DlmsServer
) -> None:
    """The old port refuses, the new one takes, and who was connected goes on."""
    old = server.port
    async with Wire(old) as wire:
        await wire.ask(AARQ_LLS)
        await server.start("127.0.0.1", 0)
        assert server.port != old
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", old)


async def test_a_server_that_cannot_move_goes_on_where_it_was(server: DlmsServer) -> None:
    """Whether the port is taken or the address is not this machine's."""
    port = server.port
    blocker = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    for host, wanted in (("127.0.0.1", blocker.sockets[0].getsockname()[1]), ("192.0.2.1", port)):
        with pytest.raises(ListenError):
            await server.start(host, wanted)
        assert server.port == port
        async with Wire(port) as wire:
            assert ACCEPTED in await wire.ask(AARQ_LLS)
    blocker.close()


async def test_new_limits_hold_for_new_connections(server: DlmsServer) -> None:
    """Who is connected already stays, and is counted."""
    async with Wire(server.port) as old:
        await old.ask(AARQ_LLS)
        server.limits = ServerLimits(connections=1)
        async with Wire(server.port) as new:
            assert await new.ended()
        assert await fetch(old, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")


async def test_a_port_in_use_is_an_error_with_a_way_out(plant: Plant, server: DlmsServer) -> None:
    """It names the port and says what to do."""
    with pytest.raises(ListenError, match=rf"127.0.0.1:{server.port}.*another port"):
        await plant.server().start("127.0.0.1", server.port)


async def test_a_server_that_stops_ends_its_connections(plant: Plant) -> None:
    """Also one whose request is still waiting for a meter."""
    server = plant.server()
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        await server.stop()
        assert await wire.ended()
        assert not server.listening

"""No client can make the server crash, hang, or use more than its limits, and none disturbs another."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence

import pytest
from dlms_plant import ASSOCIATION, CHANNEL, NAME, NOTE, PASSWORD, PROFILE, SAPS, SLOW, VOLUME, Plant
from dlms_wire import AARQ_LLS, AARQ_NONE, RLRQ, CipheredWire, Wire, fetch, get, set_

from core.cosem.objects import DataAccessError, DataAccessResult
from core.dlms import axdr
from core.dlms.association import Association, Turn
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer
from core.dlms.security import DED, GENERAL_DED, GENERAL_GLO, GLO
from core.dlms.server import DlmsServer
from core.dlms.wrapper import Deframer, frame

NAMED = axdr.octet_string(b"HYD123456780725")


@pytest.fixture
async def witness(server: DlmsServer) -> AsyncIterator[Wire]:
    """An association that must not notice anything."""
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        yield wire
        assert await fetch(wire, get(1, NAME, 2)) == NAMED


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        bytes.fromhex("0002000100100002c001"),  # version 2
        bytes.fromhex("0001000100100000"),  # length 0
        bytes.fromhex("000100010010ffff"),  # longer than allowed
        bytes(64),
        b"\xff" * 64,
        b"\x7e\xa0\x07\x03\x21\x93\x0f\x01\x7e",  # HDLC
    ],
)
async def test_what_is_no_wrapper_frame_ends_the_connection(
    server: DlmsServer, witness: Wire, data: bytes
) -> None:
    """At once, without an answer, with everyone else untouched."""
    async with Wire(server.port) as wire:
        wire.writer.write(data)
        assert await wire.ended()


async def test_half_a_frame_waits_for_the_other_half(server: DlmsServer, witness: Wire) -> None:
    """Byte by byte or in one piece with others."""
    async with Wire(server.port) as wire:
        for byte in frame(1, 16, AARQ_LLS):
            wire.writer.write(bytes((byte,)))
            await wire.writer.drain()
        assert (await wire.receive())[0] == 0x61
        wire.writer.write(frame(1, 16, get(1, NAME, 2)) * 100)
        for _ in range(100):
            assert (await wire.receive())[4:] == NAMED


async def test_a_flood_that_is_never_read_stops_at_the_buffers(server: DlmsServer, witness: Wire) -> None:
    """The server stops reading a client that does not take its answers, and serves the others."""
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent = 32 << 20
        request = frame(1, 16, get(7, PROFILE, 2))
        wire.writer.write(request * (sent // len(request)))
        for _ in range(200):
            assert await fetch(witness, get(1, NAME, 2)) == NAMED
        left = wire.writer.transport.get_write_buffer_size()
        assert left > sent // 2
        wire.writer.transport.abort()


async def test_requests_behind_a_slow_one_are_kept_only_up_to_the_limit(
    plant: Plant, server: DlmsServer
) -> None:
    """The connection stops being read; when the meter has answered, every request gets its answer."""
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        wire.send(get(3, SLOW, 2))
        async with asyncio.timeout(5):
            await plant.slow_asked.wait()
        wire.writer.write(frame(1, 16, get(1, NAME, 2)) * 20_000)
        plant.release_slow.set()
        assert await wire.receive() == bytes.fromhex("c401c100120007")
        for _ in range(20_000):
            assert (await wire.receive())[4:] == NAMED


async def test_a_silent_client_is_disconnected(plant: Plant) -> None:
    """Before and after its AARQ, and so is one that only sends pieces."""
    server = plant.server(ServerLimits(inactivity=0.3, first_request=0.2))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as quiet, Wire(server.port) as idle:
        await idle.ask(AARQ_LLS)
        quiet.writer.write(b"\x00\x01\x00")
        assert await quiet.ended()
        assert await idle.ended()
    await server.stop()


async def test_no_more_connections_are_taken_than_allowed(plant: Plant) -> None:
    """One too many is closed; when another one goes there is room again."""
    server = plant.server(ServerLimits(connections=2))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as one, Wire(server.port) as two:
        await one.ask(AARQ_LLS)
        await two.ask(AARQ_LLS)
        async with Wire(server.port) as three:
            assert await three.ended()
        two.writer.close()
        async with asyncio.timeout(5):
            while len(server.sessions()) > 1:
                await one.ask(get(1, NAME, 2))
        async with Wire(server.port) as four:
            assert (await four.ask(AARQ_LLS))[0] == 0x61
    await server.stop()


async def test_one_peer_cannot_take_all_connections(plant: Plant) -> None:
    """The rest is for others."""
    server = plant.server(ServerLimits(connections=10, connections_per_peer=1))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as one:
        await one.ask(AARQ_LLS)
        async with Wire(server.port) as two:
            assert await two.ended()
    await server.stop()


async def test_connections_without_authentication_keep_nobody_out(plant: Plant) -> None:
    """At the limit the one that was silent longest gives way; a client that has authenticated stays."""
    server = plant.server(ServerLimits(connections=3))
    await server.start("127.0.0.1", 0)
    async with (
        Wire(server.port) as known,
        Wire(server.port, client=16) as public,
        Wire(server.port) as silent,
    ):
        await known.ask(AARQ_LLS)
        await public.ask(AARQ_NONE)
        await silent.ask(RLRQ)
        async with Wire(server.port) as one:
            assert (await one.ask(AARQ_LLS))[0] == 0x61
            assert await public.ended()
            async with Wire(server.port) as two:
                assert (await two.ask(AARQ_LLS))[0] == 0x61
                assert await silent.ended()
        assert await fetch(known, get(1, NAME, 2)) == NAMED
    await server.stop()


async def test_a_flood_of_connections_pushes_out_its_own_ones(plant: Plant) -> None:
    """Another host, which has one connection, keeps it although it was silent longer."""
    server = plant.server(ServerLimits(connections=3))
    await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
    async with Wire(server.port) as first, Wire(server.port) as second, Wire(server.port) as third:
        assert await first.ended()
        writer.write(frame(1, 16, AARQ_LLS))
        async with asyncio.timeout(5):
            assert (await reader.readexactly(9))[8] == 0x61
        assert (await second.ask(AARQ_LLS))[0] == (await third.ask(AARQ_LLS))[0] == 0x61
    writer.close()
    await server.stop()


async def test_associations_of_one_connection_are_bounded(plant: Plant) -> None:
    """Pairs of client and device beyond the limit are refused."""
    server = plant.server(ServerLimits(associations_per_connection=2))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        for device, tag in ((1, 0x61), (16, 0x61), (17, 0xD8), (16, 0x61)):
            wire.server = device
            assert (await wire.ask(AARQ_LLS))[0] == tag
    await server.stop()


def _mutations(count: int, seed: int) -> list[bytes]:
    """Valid APDUs with bytes changed, removed, put in and put together."""
    source = random.Random(seed)
    valid = [
        AARQ_LLS, AARQ_NONE, RLRQ, get(1, NAME, 2), get(15, ASSOCIATION, 2), get(17, SAPS, 2),
        get(7, PROFILE, 2, bytes.fromhex("010202040600000001060000000512000112 0000")), get(3, VOLUME, 3),
        get(7, PROFILE, 2, bytes.fromhex(
            "01010204020412000809060000010000ff0f02120000090c07e90214ff00000000ffc400"
            "090c07e90314ff00000000ffc4000100")),
        set_(1, NOTE, 2, axdr.octet_string(b"note")), set_(1, CHANNEL, 2, axdr.long_unsigned(16)),
        bytes.fromhex("c002c100000001"), b"\xc0\x03\xc1\x02" + get(1, NAME, 2)[3:] * 2,
        b"\xc1\x04\xc1\x01" + get(1, NOTE, 2)[3:] + b"\x01\x09\x00",
    ]  # fmt: skip
    mutated: list[bytes] = []
    for _ in range(count):
        data = bytearray(source.choice(valid))
        for _ in range(source.randrange(1, 4)):
            kind, place = source.randrange(5), source.randrange(len(data) or 1)
            if kind == 0 and data:
                data[place] = source.randrange(256)
            elif kind == 1 and data:
                data[place] ^= 1 << source.randrange(8)
            elif kind == 2:
                del data[place : place + source.randrange(1, 5)]
            elif kind == 3:
                data[place:place] = source.randbytes(source.randrange(1, 5))
            else:
                data += source.choice(valid)[: source.randrange(20)]
        mutated.append(bytes(data[:2000]) or b"\x00")
    return mutated


async def test_no_apdu_at_all_raises_or_grows(plant: Plant) -> None:
    """Thousands of mutated APDUs into the bare association: each gets a defined answer within the PDU."""
    plant.release_slow.set()
    limits = ServerLimits()

    async def settle(values: Sequence[Awaitable[bytes]]) -> list[bytes | DataAccessResult]:
        results: list[bytes | DataAccessResult] = []
        for value in values:
            try:
                results.append(await value)
            except DataAccessError as error:
                results.append(error.code)
        return results

    association = Association(1, 16, "test", plant.directory, plant.access, limits, settle, Observer())
    kinds: set[int] = set()
    for apdu in _mutations(6000, 1):
        if not association.associated:
            association.handle(AARQ_LLS)
        answer = association.handle(apdu)
        answer = answer if isinstance(answer, bytes) else await answer  # type: ignore[misc]
        assert 3 <= len(answer) <= limits.apdu
        kinds.add(answer[0])
    assert kinds == {0xC4, 0xC5, 0xD8, 0x61, 0x63}


def test_no_aarq_at_all_raises_or_gets_in_without_the_password(plant: Plant) -> None:
    """Mutated AARQs: accepted, refused, or not valid; never accepted without the right password."""

    async def nothing(values: Sequence[Awaitable[bytes]]) -> list[bytes | DataAccessResult]:
        return []

    source = random.Random(4)
    outcomes: Counter[str] = Counter()
    for _ in range(6000):
        data = bytearray(AARQ_LLS)
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        data[0] = 0x60
        association = Association(
            1, 16, "test", plant.directory, plant.access, ServerLimits(), nothing, Observer()
        )
        answer = association.handle(bytes(data))
        assert isinstance(answer, bytes)
        if answer[0] == 0xD8:
            outcomes["not valid"] += 1
        elif association.associated:
            assert PASSWORD in data
            outcomes["accepted"] += 1
        else:
            assert answer[17] == 1
            outcomes["refused"] += 1
        assert association.associated == (association.turn is Turn.OPENED)
    assert set(outcomes) == {"accepted", "refused", "not valid"}


async def test_mutated_apdus_over_the_wire_are_answered_and_the_others_do_not_notice(
    server: DlmsServer, witness: Wire
) -> None:
    """Every frame gets exactly one answer; the association can be opened again at the end."""
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        for apdu in _mutations(1500, 2):
            if apdu[0] != 0x60:
                assert (await wire.ask(apdu))[0] in (0xC4, 0xC5, 0xD8, 0x63)
        assert (await wire.ask(AARQ_LLS))[0] == 0x61


async def test_mutated_streams_end_their_connection_at_most(server: DlmsServer, witness: Wire) -> None:
    """Headers that lie, halves, frames inside each other; the witness is asked in between."""
    source = random.Random(3)
    stream = frame(1, 16, AARQ_LLS) + frame(1, 16, get(1, NAME, 2)) + frame(1, 16, RLRQ)
    for _ in range(60):
        data = bytearray(stream)
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(len(data))] = source.randrange(256)
        async with Wire(server.port) as wire:
            wire.writer.write(bytes(data[: source.randrange(1, len(data))]))
            wire.writer.write_eof()
            async with asyncio.timeout(5):
                try:
                    answers = await wire.reader.read()
                except ConnectionError:
                    continue
        deframer = Deframer(65535)
        deframer.feed(answers)
        while (received := deframer.next()) is not None:
            assert received[2][0] in (0x61, 0x63, 0xC4, 0xD8)
        assert await fetch(witness, get(1, NAME, 2)) == NAMED


async def test_mutated_apdus_inside_valid_ciphering_are_answered(server: DlmsServer, witness: Wire) -> None:
    """Whatever is in a genuine APDU, in every form: a ciphered answer or an exception, and the association goes on."""
    forms = (GLO, DED, GENERAL_GLO, GENERAL_DED)
    async with CipheredWire(server.port, dedicated=bytes(range(16, 32))) as wire:
        await wire.open()
        for number, apdu in enumerate(_mutations(1500, 5)):
            service = apdu[0] in (0xC0, 0xC1, 0xC3)  # the other forms have no tag for anything else
            form = forms[number % 4 if service else 2 + number % 2]
            plain = wire.decipher(await wire.ask(wire.cipher(apdu[:200], form)), form)
            assert plain[0] in (0xC4, 0xC5, 0xC7, 0xD8)
        assert (await wire.ask_ciphered(get(1, NAME, 2)))[4:] == NAMED


async def test_mutated_ciphered_apdus_are_answered(server: DlmsServer, witness: Wire) -> None:
    """AARQ, requests and releases with bytes changed: each gets one answer, and none gets in by chance."""
    source = random.Random(6)
    answers: Counter[int] = Counter()
    async with CipheredWire(server.port, dedicated=bytes(range(16, 32))) as wire:
        await wire.open()
        for number in range(1500):
            valid = (
                wire.cipher(get(1, NAME, 2)),
                wire.cipher(get(1, NAME, 2), GENERAL_GLO),
                wire.cipher(wire.reply()),
            )
            data = bytearray(valid[number % 3])
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] ^= source.randrange(1, 256)
            if data[0] in (0x60, 0x62):
                continue
            answers[(await wire.ask(bytes(data)))[0]] += 1
        assert (await wire.ask_ciphered(get(1, NAME, 2)))[4:] == NAMED
    assert set(answers) == {0xD8}
    async with CipheredWire(server.port, server=17, counter=100_000) as wire:
        for _ in range(100):
            data = bytearray(wire.aarq())
            data[source.randrange(1, len(data))] ^= source.randrange(1, 256)
            assert (await wire.ask(bytes(data)))[0] in (0x61, 0xD8)
            assert await wire.ask(wire.cipher(get(1, NAME, 2))) == bytes.fromhex("d80101")

"""Tampered requests by the ten thousand: each gets a defined answer or ends its connection, and nobody else notices.

CME_TUI_FUZZ=N sends N times as many, CME_TUI_FUZZ_SEED=S others than usual. A failure says seed, group and bytes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from itertools import chain
from random import Random
from types import TracebackType
from typing import Literal

import pytest
from dlms_actor import Actor
from dlms_plant import NAME, PASSWORD, PROFILE, VOLUME, Plant
from dlms_wire import AARQ_LLS, AARQ_NONE, CTOS, RLRQ, CipheredWire, Wire, aarq_of, get
from fuzz_answers import check_acse, check_service, is_exception
from fuzz_client import (
    CIPHERED_MODES,
    LIMIT,
    PLAIN_MODES,
    DirectClient,
    FuzzClient,
    Mode,
    SocketClient,
    last_counter,
    run_group,
    write_torn,
)
from fuzz_corpus import BY_ENTRY, REQUESTS, requests_for
from fuzz_mutate import mutate

from core.dlms import axdr, changes, gbt
from core.dlms.admission import Level
from core.dlms.association import Association
from core.dlms.connection import Connection
from core.dlms.limits import ServerLimits
from core.dlms.security import GENERAL_GLO, GLO
from core.dlms.server import DlmsServer
from core.dlms.wrapper import Deframer, frame
from tests.cosem.conftest import house as house
from tests.cosem.house import House

FACTOR = int(os.environ.get("CME_TUI_FUZZ", "1"))
SEED = int(os.environ.get("CME_TUI_FUZZ_SEED", "1"))
GROUP = 60  # cases that go to one association
LIMITS = ServerLimits(rejection=0.001, slowdown=0.0, slowdown_most=0.0, wait=60.0)
WITNESS_TITLE = b"WITNESS1"
VOLUME_READ = bytes.fromhex("c401c100") + axdr.double_long_unsigned(85946 + 17)
NAME_READ = bytes.fromhex("c401c100") + axdr.octet_string(b"KAM876543210416")
SAPS = (*[(1, 16)] * 6, (16, 1), (1, 17), (7, 16), (1, 99), (0, 0), (65535, 65535))  # of client and server
MOST_GROWTH = 96 << 10  # bytes after two more batches of 3000 APDUs: less than an object for each
MOST_MEMORY = (
    16 << 20
)  # bytes at any moment of a batch; one answer has at most 4 MiB, and several clients have one

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("error"),
]  # such as a coroutine that is never awaited


class Witnesses:
    """A plain and a ciphered association on connections of their own, which must not notice anything."""

    def __init__(self, server: DlmsServer) -> None:
        self._server = server
        self._plain = Wire(server.port, server=17)
        self._ciphered = CipheredWire(server.port, server=17, title=WITNESS_TITLE)

    async def __aenter__(self) -> Witnesses:
        await self._plain.__aenter__()
        await self._ciphered.__aenter__()
        assert (await self._plain.ask(AARQ_LLS))[0] == 0x61
        assert (await self._ciphered.open())[:4] == bytes.fromhex("c701c100")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire in (self._plain, self._ciphered):
            wire.writer.close()
            await wire.writer.wait_closed()

    async def watch(self, other: Awaitable[None]) -> None:
        """Ask all the while until `other` is done; every value has to be right, and nothing may be left of `other`."""
        task = asyncio.ensure_future(other)
        try:
            while True:
                await self._check()
                if task.done():
                    break
        finally:
            task.cancel()
            await asyncio.wait([task])
        task.result()
        await nothing_left(self._server, 2)

    async def _check(self) -> None:
        for request, expected in ((get(3, VOLUME, 2), VOLUME_READ), (get(1, NAME, 2), NAME_READ)):
            assert await self._plain.ask(request) == expected
            assert await self._ciphered.ask_ciphered(request) == expected
        rows = await self._plain.ask(get(7, PROFILE, 2, BY_ENTRY))
        assert len(axdr.elements(rows[4:])) == 5
        self._ciphered.received.clear()


class Disk(asyncio.Event):
    """What counters wait for: never there at once, but soon."""

    async def wait(self) -> Literal[True]:
        for _ in range(3):
            await asyncio.sleep(0)
        return True


@pytest.fixture
def plant() -> Plant:
    """With meters that are slow but do answer; no authentication is enough."""
    plant = Plant(rows=60, lowest=Level.NONE)
    plant.release_slow.set()
    return plant


@pytest.fixture(autouse=True)
def actor(plant: Plant) -> Actor:
    """In the plant; slow, but it does answer."""
    actor = Actor.in_plant(plant)
    actor.release.set()
    return actor


@pytest.fixture
async def server(plant: Plant) -> AsyncIterator[DlmsServer]:
    server = plant.server(LIMITS)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def witnesses(server: DlmsServer) -> AsyncIterator[Witnesses]:
    async with Witnesses(server) as witnesses:
        yield witnesses


class Overseer(logging.Handler):
    """Notes what is logged as going wrong, unless it is a refusal or one of the plant's own faults."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.unexpected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        ours = isinstance(fault, RuntimeError) and str(fault).startswith("a fault in a ")
        if not ours and " refused: " not in record.getMessage():
            self.unexpected.append(f"{record.getMessage()} {fault!r}")


@pytest.fixture(autouse=True)
def _nothing_unexpected_is_logged() -> Iterator[None]:
    """By the server or by the event loop. Records go nowhere else: their tracebacks would keep connections alive."""
    overseer = Overseer()
    loggers = [logging.getLogger(name) for name in ("core", "asyncio")]
    for logger in loggers:
        logger.addHandler(overseer)
        logger.propagate = False
    yield
    for logger in loggers:
        logger.removeHandler(overseer)
        logger.propagate = True
    assert overseer.unexpected == []


async def nothing_left(server: DlmsServer, connections: int) -> None:
    """Wait until there is nothing of the clients that have gone; these connections with one association each stay."""
    left = expected = [connections, 1] + 2 * [connections] + 2 * [0]
    for _ in range(100):
        gc.collect()
        living = Counter(type(item) for item in gc.get_objects())
        left = [
            len(server.sessions()), len(asyncio.all_tasks()), living[Association], living[Connection],
            len(changes._under_way), len(server._work),
        ]  # fmt: skip
        if left == expected:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"sessions, tasks, associations, connections, changes and work left: {left}, not {expected}")


async def send_groups(
    plant: Plant, server: DlmsServer, modes: tuple[Mode, ...], name: str, groups: range, size: int = GROUP
) -> None:
    """Groups of cases, each over a connection of its own."""
    for number in groups:
        mode = modes[number % len(modes)]
        async with SocketClient(mode, server.port, counter=last_counter(plant.access)) as client:
            await client.start()
            await run_group(client, name, SEED, number, size)


async def test_tampered_requests_are_answered(plant: Plant, server: DlmsServer, witnesses: Witnesses) -> None:
    """Plain requests of all kinds, whole and in blocks: one answer each, which fits to the request."""
    await witnesses.watch(send_groups(plant, server, PLAIN_MODES, "plain", range(130 * FACTOR)))


async def test_tampered_requests_inside_and_outside_of_ciphering_are_answered(
    plant: Plant, server: DlmsServer, witnesses: Witnesses
) -> None:
    """What a client with the keys may send is answered ciphered; what was changed on its way is refused."""
    await witnesses.watch(send_groups(plant, server, CIPHERED_MODES, "ciphered", range(130 * FACTOR)))


async def test_tampered_requests_are_answered_while_the_counters_wait_for_the_disk(
    plant: Plant, server: DlmsServer, witnesses: Witnesses
) -> None:
    """Then every ciphered request is one that needs something slow."""
    plant.access.counters.disk = Disk()
    await witnesses.watch(send_groups(plant, server, CIPHERED_MODES, "disk", range(30 * FACTOR)))


async def test_tampered_requests_straight_to_the_association(plant: Plant) -> None:
    """The same without a network, traced and explained, whatever was negotiated."""
    chance = Random(f"{SEED} negotiated")
    for number in range(400 * FACTOR):
        mode = (PLAIN_MODES + CIPHERED_MODES)[number % 10]
        if number % 3 == 0 and mode.client == 1:
            bits = chance.getrandbits(24) | 1 << (23 - 19)  # GET at least, so that the end can be checked
            mode = mode._replace(pdu=chance.randrange(64, 400), conformance=bits)
        client = DirectClient(mode, plant, LIMITS, last_counter(plant.access))
        await client.start()
        await run_group(client, "direct", SEED, number, GROUP)


async def test_tampered_requests_for_the_objects_of_a_gateway(plant: Plant, house: House) -> None:
    """Every attribute and method of the management device and of a meter, with a store and security behind them."""
    names = {axdr.octet_string(device.name.encode()) for device in house.directory.devices()}
    modes = [mode for mode in PLAIN_MODES + CIPHERED_MODES if mode.client == 1]
    plant.directory = house.directory  # type: ignore[assignment]
    for number in range(60 * FACTOR):
        device = house.device(1 + number % 2 * 15)
        counter = last_counter(plant.access)
        client = DirectClient(modes[number % len(modes)], plant, LIMITS, counter, server=device.sap)
        client.names = names
        client.scenarios = tuple(chain.from_iterable(map(requests_for, device.objects.values())))
        await client.start()
        await run_group(client, "objects", SEED, number, GROUP)


class Opening:
    """One attempt to open an association, use it and release it, with one of its APDUs tampered with."""

    def __init__(self, client: FuzzClient, chance: Random) -> None:
        self.client = client
        self.chance = chance
        self.sent: list[bytes] = []
        self.answer = b""

    async def run(self) -> None:
        """Fail unless every answer is defined, and who is in knows the password or the keys."""
        client, tampered = self.client, self.chance.randrange(6)
        request = self._aarq(tampered)
        opened = check_acse(request, await self._ask(request)) if request[0] == 0x60 else -1
        inside = opened == 0
        if inside and client.hear(self.answer):
            inside = await self._second_step(tampered)
        elif inside:
            assert client.client == 16 or PASSWORD in request, "in without the password"
        await self._use(inside)
        await self._release(tampered == 5)

    def _aarq(self, tampered: int) -> bytes:
        client = self.client
        genuine = client.opening()
        if tampered in (0, 1):
            return mutate(genuine, (AARQ_LLS, AARQ_NONE, RLRQ, genuine), self.chance)
        if tampered in (2, 3):  # what is inside, in a faultless AARQ
            initiate = client.initiate()
            if tampered == 3:
                key = self.chance.randbytes(self.chance.choice((0, 1, 5, 15, 16, 17, 24, 32, 100)))
                initiate = b"\x01\x01" + axdr.length(len(key)) + key + initiate[2:]
            else:
                initiate = mutate(initiate, (initiate, REQUESTS[0]), self.chance)[:200]
            return self._around(initiate)
        return genuine

    def _around(self, initiate: bytes) -> bytes:
        client, mode = self.client, self.client.mode
        secret = {0: None, 1: PASSWORD, 5: CTOS}[mode.mechanism]
        if mode.ciphered:
            form = self.chance.choice((GLO, GENERAL_GLO))
            initiate = client.seal(initiate, 0x21 - GLO.offset, form)
        title = client.title if mode.ciphered or mode.mechanism == 5 else b""
        return aarq_of(mode.mechanism, secret, initiate, title=title, ciphered=mode.ciphered)

    async def _second_step(self, tampered: int) -> bool:
        client, ciphered = self.client, self.client.mode.ciphered
        genuine = client.reply()
        reply = mutate(genuine, (genuine, REQUESTS[0]), self.chance)[:500] if tampered == 4 else genuine
        answer = await self._ask(client.seal(reply, 0xC3, GLO) if ciphered else reply)
        if ciphered and not is_exception(answer):
            answer = client.decipher(answer, GLO)
        assert is_exception(answer) or (answer[:2] == b"\xc7\x01" and answer[3] in (0, 3))
        inside = answer[:2] == b"\xc7\x01" and answer[3] == 0
        assert not inside or genuine[-17:] in reply, "in without the keys"
        assert inside or tampered < 5, "not in with the keys"
        return inside

    async def _use(self, inside: bool) -> None:
        """What is not open gives nothing away."""
        client, request = self.client, get(1, NAME, 2)
        answer = await self._ask(client.seal(request, 0xC0, GLO) if client.mode.ciphered else request)
        assert inside or answer == bytes.fromhex("d80101")
        if answer[0] != 0xD8 and client.mode.ciphered:
            client.decipher(answer, GLO)

    async def _release(self, tampered: bool) -> None:
        client = self.client
        request = RLRQ
        if client.mode.ciphered:
            information = client.seal(
                client.initiate(), 0x21 - GLO.offset, self.chance.choice((GLO, GENERAL_GLO))
            )
            field = b"\x04" + axdr.length(len(information)) + information
            body = b"\x80\x01\x00\xbe" + axdr.length(len(field)) + field
            request = b"\x62" + axdr.length(len(body)) + body
        if tampered:
            request = mutate(request, (request, AARQ_LLS), self.chance)
            answer = await self._ask(request)
            if request[0] in (0x60, 0x62):
                check_acse(request, answer)
            elif not is_exception(answer):
                assert not client.mode.ciphered
                check_service(answer)
        assert (await self._ask(RLRQ))[0] in (0x63, 0xD8)

    async def _ask(self, apdu: bytes) -> bytes:
        self.sent.append(apdu)
        self.answer = await self.client.ask(apdu)
        return self.answer


async def open_and_release(plant: Plant, server: DlmsServer, name: str, groups: range, size: int) -> None:
    """Groups of attempts, each over a connection of its own."""
    modes = PLAIN_MODES + CIPHERED_MODES
    for number in groups:
        chance = Random(f"{SEED} {name} {number}")
        mode = modes[number % len(modes)]
        async with SocketClient(mode, server.port, counter=last_counter(plant.access)) as client:
            for _ in range(size):
                attempt = Opening(client, chance)
                client.received.clear()
                try:
                    await attempt.run()
                except Exception as error:
                    sent = "\n".join(apdu.hex() for apdu in attempt.sent)
                    raise AssertionError(
                        f"{error!r}: seed {SEED}, {name}, group {number}, {mode}\n{sent}\n"
                        f"answered {attempt.answer.hex()}"
                    ) from error


async def test_tampered_openings_and_releases_are_answered_and_let_nobody_in(
    plant: Plant, server: DlmsServer, witnesses: Witnesses
) -> None:
    """AARQ, InitiateRequest, second step of HLS and RLRQ, plain, ciphered, and changed inside of the ciphering."""
    plant.access.lowest = Level.LOW
    await witnesses.watch(open_and_release(plant, server, "openings", range(50 * FACTOR), 50))


async def test_frames_in_pieces_are_answered_like_whole_ones(
    plant: Plant, server: DlmsServer, witnesses: Witnesses
) -> None:
    """Single bytes, halves of headers, and several frames at once."""

    async def send() -> None:
        for number in range(30 * FACTOR):
            async with SocketClient(PLAIN_MODES[number % 6], server.port) as client:
                client.tear = Random(f"{SEED} pieces {number}")
                await client.start()
                await run_group(client, "pieces", SEED, number, 20)

    await witnesses.watch(send())


def stream(chance: Random) -> bytes:
    """Frames of which one at least has a header that lies, or is cut short, or something stands between them."""
    apdus = [AARQ_LLS, *chance.sample(REQUESTS, 4), *([RLRQ] * chance.randrange(2))]
    frames = [frame(*chance.choice(SAPS), apdu) for apdu in apdus]
    for _ in range(chance.randrange(1, 3)):
        place = chance.randrange(len(frames))
        data = bytearray(frames[place] or b"\x00")
        change = chance.randrange(6)
        if change == 0:
            data[chance.randrange(min(8, len(data)))] ^= 1 << chance.randrange(8)
        elif change == 1:
            size = chance.choice((0, 1, len(data) - 9, len(data) - 7, 8192, 8193, 0x7FFF, 0xFFFF)) & 0xFFFF
            data[6:8] = size.to_bytes(2, "big")
        elif change == 2:
            del data[chance.randrange(len(data)) :]
        elif change == 3:
            data += chance.randbytes(chance.randrange(1, 20))
        elif change == 4:
            data[:2] = chance.randbytes(2)
        else:
            data = bytearray(mutate(bytes(data), frames, chance))
        frames[place] = bytes(data)
    return b"".join(frames)


async def send_stream(port: int, data: bytes, chance: Random) -> None:
    """The server answers with whole frames and ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    try:
        async with asyncio.timeout(LIMIT):
            await write_torn(writer, data, chance if chance.random() < 0.3 else None)
            writer.write_eof()
            answers = await reader.read(1 << 20)
            while more := await reader.read(1 << 20):
                answers += more
    except TimeoutError:
        raise
    except OSError:
        return  # a reset also ends it, and may take an answer with it
    finally:
        writer.close()
    deframer = Deframer(8192)
    deframer.feed(answers)
    while (received := deframer.next()) is not None:
        answer = received[2]
        if answer[0] in (0x61, 0x63):
            check_acse(bytes((answer[0] - 1,)), answer)
        elif answer[0] == gbt.TAG:
            gbt.decode(answer)
        elif not is_exception(answer):
            check_service(answer)
    assert deframer.buffered == 0


async def send_streams(server: DlmsServer, name: str, numbers: range) -> None:
    """Each over a connection of its own."""
    for number in numbers:
        chance = Random(f"{SEED} {name} {number}")
        data = stream(chance)
        try:
            await send_stream(server.port, data, chance)
        except Exception as error:
            raise AssertionError(f"{error!r}: seed {SEED}, {name}, number {number}\n{data.hex()}") from error


async def test_tampered_streams_end_their_connection(server: DlmsServer, witnesses: Witnesses) -> None:
    """Headers that lie, halves, rubbish between frames; what comes back is whole all the same."""
    await witnesses.watch(send_streams(server, "streams", range(1500 * FACTOR)))


async def test_nothing_is_left_of_clients_that_go_in_the_middle(
    plant: Plant, server: DlmsServer, witnesses: Witnesses, actor: Actor
) -> None:
    """While requests wait for meters and for the disk, and writes are under way."""
    plant.release_slow.clear()
    actor.release.clear()
    plant.access.counters.disk = Disk()
    modes = PLAIN_MODES + CIPHERED_MODES

    async def go(number: int) -> None:
        chance = Random(f"{SEED} gone {number}")
        client = SocketClient(modes[number % len(modes)], server.port, counter=last_counter(plant.access))
        async with client:
            await client.start()
            apdus = [case.apdu for case in client.group(20, chance)]
            while sum(len(apdu) + 20 for apdu in apdus) > LIMITS.apdu:
                apdus.pop()  # a server that has stopped reading would notice late that the client is gone
            sending = asyncio.ensure_future(client.exchange(apdus))
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            client.writer.transport.abort()
            await asyncio.wait([sending])
            assert sending.cancelled() or isinstance(sending.exception(), ConnectionError | EOFError | None)

    async def go_all() -> None:
        for number in range(100 * FACTOR):
            await go(number)
        actor.release.set()

    await witnesses.watch(go_all())


async def test_memory_does_not_grow(
    plant: Plant, server: DlmsServer, witnesses: Witnesses, actor: Actor
) -> None:
    """Batches of the same cases leave no more behind than the one before, and none needs much at any moment."""

    async def batch() -> None:
        await send_groups(plant, server, PLAIN_MODES, "memory", range(12))
        await send_groups(plant, server, CIPHERED_MODES, "memory", range(12))
        await open_and_release(plant, server, "memory", range(10), 15)
        await send_streams(server, "memory", range(100))

    sizes: list[int] = []
    tracemalloc.start()
    try:
        for _ in range(4):
            await witnesses.watch(batch())
            plant.times.clear()
            actor.done.clear()
            sizes.append(tracemalloc.get_traced_memory()[0])
        assert sizes[-1] - sizes[1] < MOST_GROWTH, f"bytes in use after each batch: {sizes}"
        assert tracemalloc.get_traced_memory()[1] - sizes[0] < MOST_MEMORY
    finally:
        tracemalloc.stop()

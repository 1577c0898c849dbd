"""The transparent port of a line: other software and the schedule take turns, and neither disturbs the other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from core import transparent
from core.mbus.address import PrimaryAddress
from core.mbus.frame import ACK, Frame, req_ud2, snd_nke
from core.mbus.master import Master
from core.mbus.simulator import Answer, SimulatedBus, load_meters, open_simulated
from core.mbus.telegram import decode
from core.mbus.transport import LineError, Transport
from core.mbus.watch import Fault, Purpose, Try
from core.transparent import TransparentPort

LIMIT = 20.0  # seconds
WATER = PrimaryAddress(5)


class Bus(SimulatedBus):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        meter = next(m for m in load_meters() if m.identity and m.identity.identification == "12345678")
        meter.address = 5
        super().__init__([meter], clock=lambda: 1_780_000_000.0)
        self.heard: list[bytes] = []

    def respond(self, frame: Frame) -> Answer | None:
        self.heard.append(frame.raw)
        return super().respond(frame)


class Line:
    """A simulated line with its master and its transparent port."""

    def __init__(self, baud: int = 38400) -> None:
        self.bus = Bus()
        self.plugged = True
        self.transport: Transport
        self.tries: list[Try] = []
        self.master = Master("sim:", baud, open_line=self._open, watch=self.tries.append)
        self._changed = asyncio.Event()
        self.port = TransparentPort(
            self.master, "127.0.0.1", free_port(), on_change=self._changed.set, now_ms=lambda: 1
        )

    async def _open(self, _url: str, baud: int) -> Transport:
        if not self.plugged:
            raise LineError("unplugged")
        self.transport = open_simulated(self.bus, baud, fast=True)
        return self.transport

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def connect(self) -> Client:
        await self.until(lambda: self.port.view().listening)
        return Client(*await asyncio.open_connection("127.0.0.1", self.port.view().port))

    async def read(self) -> bytes:
        async with asyncio.timeout(LIMIT):
            (frame,) = (await self.master.read(WATER)).frames
        return frame


class Client:
    """Other M-Bus software."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """The answer: an acknowledgement or a long frame."""
        self.writer.write(request)
        async with asyncio.timeout(LIMIT):
            first = await self.reader.readexactly(1)
            if first == ACK:
                return first
            head = first + await self.reader.readexactly(3)
            return head + await self.reader.readexactly(head[1] + 2)

    async def read(self) -> bytes:
        assert await self.ask(snd_nke(5)) == ACK
        return await self.ask(req_ud2(5, True))

    async def at_end(self) -> bool:
        async with asyncio.timeout(LIMIT):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read() == b""
            return True

    def close(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def opened(line: Line) -> AsyncIterator[Line]:
    line.master.start()
    line.port.start()
    try:
        yield line
    finally:
        await line.port.close()
        await line.master.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async with opened(Line()) as line:
        yield line


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def identification(frame: bytes) -> str:
    return decode(frame).identification


async def test_client_and_schedule_take_turns(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both read the same meter again and again at the same time, and both get its telegram each time."""
    monkeypatch.setattr(transparent, "LEASE", 0.05)
    client = await line.connect()

    async def schedule() -> list[str]:
        return [identification(await line.read()) for _ in range(10)]

    async def other() -> list[str]:
        return [identification(await client.read()) for _ in range(10)]

    assert await asyncio.gather(schedule(), other()) == [["12345678"] * 10] * 2
    view = line.port.view()
    assert view.client
    assert view.since_ms == 1
    assert view.sent == 10 * (len(snd_nke(5)) + len(req_ud2(5, True)))
    assert view.received > 10 * len(ACK)
    client.close()
    await line.until(lambda: not line.port.view().client)


async def test_line_is_the_clients_while_it_talks(line: Line) -> None:
    """A readout waits until the client leaves or is silent, and then begins as with a meter it never spoke to."""
    await line.read()
    await line.read()
    assert line.bus.heard[-1] == req_ud2(5, False), "the frame count bit goes on"
    client = await line.connect()
    assert await client.ask(snd_nke(5)) == ACK
    reading = asyncio.create_task(line.read())
    await asyncio.sleep(0)
    assert line.master.wanted
    line.bus.heard.clear()
    await client.ask(req_ud2(5, True))
    assert line.bus.heard == [req_ud2(5, True)]
    client.close()
    await reading
    assert line.bus.heard[1:] == [snd_nke(5), req_ud2(5, True)]


async def test_client_that_goes_on_and_on_lets_others_have_their_turn(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time its next bytes wait until a readout that was waiting is done, and are sent then."""
    monkeypatch.setattr(transparent, "TURN", 0.2)
    monkeypatch.setattr(transparent, "LEASE", 0.3)
    client = await line.connect()
    done = False

    async def talk() -> None:
        while not done:
            assert identification(await client.read()) == "12345678"
        assert identification(await client.read()) == "12345678"

    talking = asyncio.create_task(talk())
    await line.until(lambda: bool(line.port.view().sent))
    for _ in range(3):
        assert identification(await line.read()) == "12345678"
    done = True
    await talking
    client.close()


async def test_client_that_goes_on_and_on_waits_for_a_whole_sweep(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a schedule would have one readout between two of its turns."""
    monkeypatch.setattr(transparent, "TURN", 0.1)
    client = await line.connect()

    async def talk() -> None:
        while True:
            await client.read()

    talking = asyncio.create_task(talk())
    await line.until(lambda: bool(line.port.view().sent))
    sent = set()
    for _ in range(5):
        await line.read()
        sent.add(line.port.view().sent)
    assert len(sent) == 1
    await line.until(lambda: line.port.view().sent > max(sent))
    talking.cancel()
    client.close()


async def test_line_that_chatters_is_taken_back(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that never ends does not leave the line with a client for ever."""
    monkeypatch.setattr(transparent, "TURN", 0.05)
    monkeypatch.setattr(transparent, "_CHATTER", 0.05)
    client = await line.connect()
    await client.ask(snd_nke(5))

    async def chatter() -> None:
        while line.master.wanted:
            line.transport.deliver(b"\x55")
            await asyncio.sleep(0.01)

    reading = asyncio.create_task(line.read())
    await asyncio.sleep(0)
    assert line.master.wanted
    async with asyncio.timeout(LIMIT):
        await chatter()
    assert identification(await reading) == "12345678"
    client.close()


async def test_those_who_watch_a_line_see_what_other_software_does(line: Line) -> None:
    """Each request with its answer, told from the gateway's own; also one that nobody answers."""
    client = await line.connect()
    frame = await client.read()
    client.writer.write(snd_nke(77))
    client.writer.write_eof()
    await line.until(lambda: not line.port.view().client)
    await line.read()
    foreign = [item for item in line.tries if item.purpose is Purpose.FOREIGN]
    assert [(item.request, item.received, item.fault) for item in foreign] == [
        (snd_nke(5), ACK, None),
        (req_ud2(5, True), frame, None),
        (snd_nke(77), b"", Fault.SILENCE),
    ]
    assert len(line.tries) > len(foreign)
    client.close()


async def test_second_client_is_refused(line: Line) -> None:
    """It is closed at once and counted, the first goes on; when that has left, the next is served."""
    first = await line.connect()
    await first.ask(snd_nke(5))
    second = await line.connect()
    assert await second.at_end()
    assert line.port.view().refused == 1
    assert identification(await first.ask(req_ud2(5, True))) == "12345678"
    first.close()
    await line.until(lambda: not line.port.view().client)
    third = await line.connect()
    assert identification(await third.read()) == "12345678"
    third.close()


async def test_client_may_connect_anew_for_each_request(line: Line) -> None:
    """Who has hung up keeps nobody out, not even while his line is still waited on to become silent."""
    for _ in range(5):
        client = await line.connect()
        assert identification(await client.read()) == "12345678"
        client.close()
    assert line.port.view().refused == 0


async def test_client_that_has_said_all_still_gets_its_answer(line: Line) -> None:
    """As a script does that pipes a request through netcat."""
    client = await line.connect()
    client.writer.write(snd_nke(5))
    client.writer.write_eof()
    async with asyncio.timeout(LIMIT):
        assert await client.reader.readexactly(1) == ACK
    client.close()


async def test_flood_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit on the wire stays with the client; the schedule has its turns meanwhile."""
    monkeypatch.setattr(transparent, "TURN", 0.1)
    monkeypatch.setattr(transparent, "_CHATTER", 0.1)
    async with opened(Line(300)) as line:
        client = await line.connect()
        start = time.monotonic()
        client.writer.write(bytes(20_000_000))
        flooding = asyncio.create_task(client.writer.drain())
        await line.until(lambda: bool(line.port.view().sent))
        for _ in range(2):
            assert identification(await line.read()) == "12345678"
        assert not flooding.done(), "the port swallowed it all"
        assert line.port.view().sent < 1500 + (time.monotonic() - start) * 300 / 11
        flooding.cancel()
        client.writer.transport.abort()


async def test_client_that_does_not_listen_is_let_go(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing piles up for it without end."""
    monkeypatch.setattr(transparent, "_MOST_UNREAD", 1000)
    client = await line.connect()
    client.writer.transport.pause_reading()
    client.writer.write(snd_nke(5))
    await line.until(lambda: bool(line.port.view().client))
    async with asyncio.timeout(LIMIT):
        while line.port.view().client:
            line.transport.deliver(bytes(4000))
            await asyncio.sleep(0)
    client.close()


async def test_client_outlasts_a_line_that_is_lost(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the line is down nothing answers, as on a dead bus; when it is up again, the same connection works."""
    monkeypatch.setattr("core.mbus.master.FIRST_RETRY", 0.02)
    client = await line.connect()
    assert await client.ask(snd_nke(5)) == ACK
    line.plugged = False
    line.transport.lose("unplugged")
    client.writer.write(snd_nke(5))
    line.plugged = True
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    assert await client.ask(snd_nke(5)) == ACK
                    break
    client.close()


async def test_host_that_is_none_is_told(line: Line) -> None:
    """Also one that cannot even be looked up."""
    told = asyncio.Event()
    port = TransparentPort(line.master, "a..b", free_port(), on_change=told.set, now_ms=lambda: 1)
    port.start()
    async with asyncio.timeout(LIMIT):
        await told.wait()
    assert port.view().reason.endswith("its host is not known; look at transparent_host.")
    await port.close()


async def test_port_that_is_taken_is_told_and_opened_later(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the port and what to do; the line itself works; when the port is free it is opened."""
    monkeypatch.setattr(transparent, "_RETRY", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        port = TransparentPort(
            line.master, "127.0.0.1", number, on_change=line._changed.set, now_ms=lambda: 1
        )
        port.start()
        await line.until(lambda: bool(port.view().reason))
        assert f"127.0.0.1:{number} cannot be opened: another program has it" in port.view().reason
        assert not port.view().listening
        await line.read()
    await line.until(lambda: port.view().listening)
    assert not port.view().reason
    await port.close()

"""Lines that go away and come back: what is said of each, and that they recover without help."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fast_loop import fast, wall_clock

from core.mbus import master as master_module
from core.mbus import opener, tcp
from core.mbus.address import PrimaryAddress
from core.mbus.errors import LineDown
from core.mbus.master import Master, Opener
from core.mbus.opener import open_transport
from core.mbus.simulator import (
    SimulatedBus,
    SimulatedMeter,
    SimulatedPty,
    open_simulated,
    read_telegrams,
    serve_tcp,
)
from core.mbus.transport import LineError, Transport
from core.snapshot import LineState
from tests.conftest import TELEGRAMS

WATER = PrimaryAddress(5)


@pytest.fixture
def bus() -> SimulatedBus:
    return SimulatedBus([SimulatedMeter(read_telegrams(TELEGRAMS / "frame2.hex"), address=5)])


class Screen:
    """What a screen would have shown of a line."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._changed = asyncio.Event()

    def note(self, master: Master) -> None:
        self.shown.append(master.reason if master.state is LineState.DOWN else master.state.value)
        self._changed.set()

    async def until(self, words: str) -> None:
        """Wait for a state or reason that comes after what was waited for before."""
        async with asyncio.timeout(10):
            while not any(words in shown for shown in self.shown):
                self._changed.clear()
                await self._changed.wait()
        while words not in self.shown.pop(0):
            pass


@contextlib.asynccontextmanager
async def line_to(url: str, open_line: Opener = open_transport) -> AsyncIterator[tuple[Master, Screen]]:
    screen = Screen()
    master = Master(url, 2400, open_line=open_line, on_change=lambda: screen.note(master))
    master.start()
    try:
        yield master, screen
    finally:
        await master.close()


@contextlib.contextmanager
def program_with(device: str, way: str) -> Iterator[tuple[int, str]]:
    """Another program that has a device open; its process id and its name."""
    code = f"import sys, serial; port = {way}; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout
        program.stdout.readline()
        yield program.pid, Path(f"/proc/{program.pid}/comm").read_text().strip()
        program.terminate()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_adapter_that_is_plugged_in_again_is_used_at_once(
    bus: SimulatedBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its device is looked for while the next attempt is an hour away."""
    monkeypatch.setattr(master_module, "FIRST_RETRY", 3600)
    monkeypatch.setattr(opener, "_LOOK", 0.01)
    device = tmp_path / "ttyUSB0"
    pty = SimulatedPty(bus, 2400, fast=True)
    device.symlink_to(pty.path)
    async with line_to(f"serial:{device}") as (master, screen):
        await master.read(WATER)
        await screen.until("up")
        device.unlink()
        pty.close()
        await screen.until("is gone: is its adapter unplugged?")
        pty = SimulatedPty(bus, 2400, fast=True)
        device.symlink_to(pty.path)
        await screen.until("up")
        await master.read(WATER)
    pty.close()


async def test_adapter_that_comes_later_is_used(
    bus: SimulatedBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may start before its adapter is plugged in."""
    monkeypatch.setattr(opener, "_LOOK", 0.01)
    device = tmp_path / "ttyUSB0"
    async with line_to(f"serial:{device}") as (master, screen):
        await screen.until("There is no serial port")
        pty = SimulatedPty(bus, 2400, fast=True)
        device.symlink_to(pty.path)
        await screen.until("up")
        await master.read(WATER)
    pty.close()


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("serial.Serial(sys.argv[1], exclusive=True)", "is in use by"),
        ("open(sys.argv[1], 'rb')", "is also open in"),
    ],
    ids=["locked", "without a lock"],
)
async def test_program_that_has_the_port_is_named(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch, way: str, words: str
) -> None:
    """Name and process id stand in the sentence; when that program ends, the line comes up."""
    monkeypatch.setattr(master_module, "FIRST_RETRY", 0.02)
    pty = SimulatedPty(bus, 2400, fast=True)
    with program_with(pty.path, way) as (process, name):
        async with line_to(f"serial:{pty.path}") as (master, screen):
            await screen.until(f"{words} {name} (process {process})")
            os.kill(process, 15)
            await screen.until("up")
            await master.read(WATER)
    pty.close()


async def test_converter_that_serves_somebody_else_is_waited_for(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that accepts and closes at once is said to be taken; when it is free, the line comes up."""
    monkeypatch.setattr(master_module, "FIRST_RETRY", 0.02)

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    taken = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = port_of(taken)
    async with line_to(f"tcp:127.0.0.1:{port}") as (master, screen):
        await screen.until("accepts the connection and closes it at once: does another program use it?")
        taken.close()
        await taken.wait_closed()
        free = await serve_tcp(bus, 2400, port=port, fast=True)
        await screen.until("up")
        await master.read(WATER)
    free.close()


async def test_converter_that_another_master_takes_is_got_back(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is down with that as a possible reason, and up again later."""
    monkeypatch.setattr(master_module, "FIRST_RETRY", 0.02)
    server = await serve_tcp(bus, 2400, fast=True)
    async with line_to(f"tcp:127.0.0.1:{port_of(server)}") as (master, screen):
        await master.read(WATER)
        await screen.until("up")
        other = socket.create_connection(("127.0.0.1", port_of(server)))
        await screen.until("closed the connection: was it restarted, or taken over?")
        await screen.until("up")
        await master.read(WATER)
    other.close()
    server.close()


@fast
async def test_the_next_attempt_and_the_last_loss_are_told() -> None:
    """A line that is down says when it is tried again, anew after every attempt; one that is up, what it had lost."""
    opened: list[Transport] = []
    plugged = [True, False, False, True]

    async def open_line(_url: str, baud: int) -> Transport:
        if not plugged.pop(0):
            raise LineError("It is gone.")
        opened.append(open_simulated(SimulatedBus([], wall_clock), baud))
        return opened[-1]

    told: list[tuple[str, bool]] = []

    def note() -> None:
        told.append((master.state.value, master.next_try is not None and master.next_try > wall_clock()))

    master = Master("sim:", 2400, open_line=open_line, on_change=note, now=wall_clock)
    master.start()
    await asyncio.sleep(60)
    assert (master.next_try, master.lost) == (None, None)
    lost = wall_clock()
    opened[0].lose("It was unplugged.")
    await asyncio.sleep(60)
    assert told == [("up", False), *[("down", True)] * 3, ("up", False)]
    assert (master.next_try, master.lost) == (None, (lost, "It was unplugged."))
    await master.close()


async def test_masters_that_fight_for_a_converter_try_more_and_more_seldom(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that does not last is no reason to begin with short pauses again."""
    pauses: list[float] = []

    async def note(_: str, delay: float) -> bool:
        pauses.append(delay)
        return False

    monkeypatch.setattr(master_module, "wait_to_open", note)
    server = await serve_tcp(bus, 2400, fast=True)
    async with line_to(f"tcp:127.0.0.1:{port_of(server)}") as (_, screen):
        for _ in range(4):
            await screen.until("up")
            socket.create_connection(("127.0.0.1", port_of(server))).close()
            await screen.until("closed the connection")
    server.close()
    # 1, 2, 4 and 8 s, each by a fifth more or less
    assert pauses[0] < pauses[1] < pauses[2] < pauses[3]


async def test_converter_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that takes no connection and refuses none is given up after a while."""
    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT", 0.2)
    with contextlib.ExitStack() as sockets:
        silent = sockets.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(4):  # its queue is full then, and the system ignores who comes next
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        with pytest.raises(LineError, match=r"No answer from the level converter .*: check its power"):
            await open_transport(f"tcp:127.0.0.1:{silent.getsockname()[1]}", 2400)


async def test_driver_that_hangs_is_told_and_the_line_is_up_when_it_comes_back(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a reading is told so meanwhile, and nobody opens the port a second time."""
    monkeypatch.setattr(master_module, "SLOW_OPENING", 0.05)
    back = asyncio.Event()
    opened: list[str] = []

    async def open_slowly(url: str, baud: int) -> Transport:
        opened.append(url)
        await back.wait()
        return await open_transport("sim:", baud, bus=bus)

    async with line_to("serial:/dev/ttyUSB0", open_slowly) as (master, screen):
        with pytest.raises(LineDown, match="Opening serial:/dev/ttyUSB0 takes long: its driver"):
            await master.read(WATER)
        back.set()
        await screen.until("up")
        assert (await master.read(WATER)).frames
    assert len(opened) == 1


async def test_line_that_cannot_be_opened_for_an_unforeseen_reason_is_tried_again(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a driver raises that nobody thought of is told, and ends no line for good."""
    monkeypatch.setattr(master_module, "FIRST_RETRY", 0.01)
    failures = [ValueError("embedded null byte")]

    async def fail_once(_url: str, baud: int) -> Transport:
        if failures:
            raise failures.pop()
        return await open_transport("sim:", baud, bus=bus)

    async with line_to("serial:/dev/ttyUSB0", fail_once) as (_, screen):
        await screen.until("Opening serial:/dev/ttyUSB0 failed in an unforeseen way")
        await screen.until("up")


async def test_name_server_that_does_not_answer_is_told_from_the_converter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else somebody would look for the fault at the converter."""

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    with pytest.raises(LineError, match=r"'converter.example' cannot be looked up now"):
        await open_transport("tcp:converter.example:10001", 2400)


async def test_name_that_cannot_be_looked_up_now_is_no_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name server the advice is another than with a wrong name."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(LineError, match=r"'converter.example' cannot be looked up now"):
        await open_transport("tcp:converter.example:10001", 2400)


async def test_converter_without_power_is_noticed_in_a_minute_and_a_half(bus: SimulatedBus) -> None:
    """The system probes a silent connection and gives unanswered ones up; the sentence names power and network."""
    server = await serve_tcp(bus, 2400, fast=True)

    class Probed(tcp.TcpProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.connection = transport.get_extra_info("socket")

    line = await tcp.connect("127.0.0.1", port_of(server), lambda: Probed("level converter X"))

    def option(name: int) -> int:
        return int(line.connection.getsockopt(socket.IPPROTO_TCP, name))

    assert line.connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    probes = option(socket.TCP_KEEPCNT) * option(socket.TCP_KEEPINTVL)
    assert option(socket.TCP_KEEPIDLE) + probes <= 90
    assert option(socket.TCP_USER_TIMEOUT) == 90_000
    line.connection_lost(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))  # as the loop hands it on
    assert "is gone (Connection timed out): check its power and network" in await line.transport.lost()
    line.transport.close()
    server.close()

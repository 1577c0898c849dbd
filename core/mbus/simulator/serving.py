"""Ways to reach a simulated bus, with the times of a real wire: in the same process, over TCP, over a pty."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable
from dataclasses import dataclass, field

from core.mbus.frame import BITS_PER_BYTE, Frame, FrameReader
from core.mbus.simulator.bus import Answer, SimulatedBus, overlay
from core.mbus.transport import BAUD_RATES, Transport

DELAY_BITS, DELAY_SECONDS = 33, 0.03
"""A simulated meter answers after this time, as a quick real one does."""

_MARGIN = 0.1  # s; simulation and master may share a busy loop
_CHUNK = (
    0.025  # s; a real adapter hands received bytes over in about such pieces, and it spares the processor
)
_OUTPUT_SPEED = 5  # index in what tcgetattr returns; the input speed is in front of it
_SPEEDS: dict[int, int] = {getattr(termios, f"B{baud}"): baud for baud in BAUD_RATES}
_PAUSE = 0.3  # s after which a request that was cut off is forgotten


class Wire:
    """Plays a bus with the times of the wire. `feed` it what the master sends; `send` gets what it hears.

    The wire is half-duplex: while a meter talks nobody hears the master. What meters say unasked begins when the
    master speaks for the first time. Belongs to one event loop.
    """

    def __init__(
        self, bus: SimulatedBus, baud: int, send: Callable[[bytes], None], *, fast: bool = False
    ) -> None:
        """`fast` leaves out all times but those of late meters."""
        self._bus = bus
        self._send = send
        self._fast = fast
        self.set_baud(baud)
        self._reader = FrameReader()
        self._stir: asyncio.TimerHandle | None = None  # until something comes unasked
        self._arrived = 0.0  # loop time at which the last byte of the master is on the wire
        self._talks: list[_Talk] = []  # answers that have begun or wait, in their order

    def set_baud(self, baud: int) -> None:
        """Change the rate, from the next bytes on."""
        self._baud = baud
        self._byte = 0.0 if self._fast else BITS_PER_BYTE / baud
        self._delay = 0.0 if self._fast else DELAY_BITS / baud + DELAY_SECONDS

    def feed(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._await_unasked()
        if self._bus.misfortune.echo:
            self._say(data, max(now, self._arrived), frozenset())
        self._talks = [talk for talk in self._talks if talk.end > now]
        talked_over = bool(self._talks) and self._talks[0].start <= now
        if now - self._arrived > _PAUSE:
            self._reader.flush()
        self._arrived = max(now, self._arrived) + len(data) * self._byte
        if talked_over:
            return
        self._bus.rate = self._baud
        for item in self._reader.feed(data):
            if isinstance(item, Frame) and (answer := self._bus.respond(item)):
                self._answer(answer, self._arrived + self._delay + answer.late)

    def close(self) -> None:
        """Say no more."""
        self._send = _say_nothing
        for talk in self._talks:
            talk.cancel()
        self._talks.clear()
        if self._stir:
            self._stir.cancel()
            self._stir = None

    def _await_unasked(self) -> None:
        """Have what comes next without a request come in its time."""
        if self._stir is None and (coming := self._bus.unasked()):
            pause, answer = coming
            self._stir = asyncio.get_running_loop().call_later(pause, self._speak_unasked, answer)

    def _speak_unasked(self, answer: Answer) -> None:
        self._stir = None
        if not self._bus.broken:
            now = asyncio.get_running_loop().time()
            self._talks = [talk for talk in self._talks if talk.end > now]
            self._answer(answer, now)
        self._await_unasked()

    def _answer(self, answer: Answer, start: float) -> None:
        data, speakers, heard = answer.data, answer.speakers, 0
        for talk in tuple(self._talks):
            if speakers == talk.speakers:
                start = max(start, talk.end)  # one meter says one thing after the other
            elif start < talk.end and talk.start < start + len(data) * self._byte:
                self._talks.remove(talk)
                talk.cancel()
                data = _overlap(talk.data, data, round((start - talk.start) / self._byte))
                start, speakers, heard = min(start, talk.start), speakers | talk.speakers, talk.heard
        self._talks.append(self._say(data, start, speakers, heard))
        self._talks.sort(key=lambda talk: talk.start)

    def _say(self, data: bytes, start: float, speakers: frozenset[int], heard: int = 0) -> _Talk:
        """Hand `data` over as it comes in, but for the bytes at its begin that were `heard` already."""
        loop = asyncio.get_running_loop()
        step = max(1, int(_CHUNK / self._byte) if self._byte else len(data))
        talk = _Talk(data, speakers, start, start + len(data) * self._byte, heard)
        for begin in range(heard, len(data), step):
            chunk = data[begin : begin + step]
            due = start + (begin + len(chunk)) * self._byte
            talk.timers.append(loop.call_at(due, self._hand_over, talk, chunk))
        return talk

    def _hand_over(self, talk: _Talk, chunk: bytes) -> None:
        talk.heard += len(chunk)
        self._send(chunk)


@dataclass(slots=True)
class _Talk:
    """Bytes that meters send, and when."""

    data: bytes
    speakers: frozenset[int]
    start: float  # loop time
    end: float
    heard: int  # bytes that were handed over
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def cancel(self) -> None:
        for timer in self.timers:
            timer.cancel()


def _say_nothing(_data: bytes) -> None:
    """The wire was closed."""


def _overlap(first: bytes, second: bytes, lag: int) -> bytes:
    """Two answers at once, the second `lag` bytes after the first (before it, where negative)."""
    return overlay((b"\xff" * max(0, -lag) + first, b"\xff" * max(0, lag) + second))


def open_simulated(bus: SimulatedBus, baud: int, *, fast: bool = False) -> Transport:
    """A line to `bus` in this event loop."""

    async def change_baud(rate: int) -> None:
        wire.set_baud(rate)

    wire = Wire(bus, baud, lambda data: transport.deliver(data), fast=fast)
    transport = Transport(wire.feed, wire.close, _MARGIN, change_baud)
    return transport


async def serve_tcp(
    bus: SimulatedBus, baud: int, host: str = "127.0.0.1", port: int = 0, *, fast: bool = False
) -> asyncio.Server:
    """A TCP level converter. Like a real one it serves one client: a new one takes the line over.

    Port 0 takes a free one. Raises `OSError` where the port cannot be had.
    """
    clients: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _TcpClient(bus, baud, fast, clients), host, port)


class _TcpClient(asyncio.Protocol):
    def __init__(self, bus: SimulatedBus, baud: int, fast: bool, clients: list[asyncio.Transport]) -> None:
        self._bus, self._baud, self._fast, self._clients = bus, baud, fast, clients

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        for other in self._clients:
            other.close()
        self._clients[:] = [transport]
        self._stream = transport
        self._wire = Wire(self._bus, self._baud, transport.write, fast=self._fast)

    def data_received(self, data: bytes) -> None:
        self._wire.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.close()
        if self._stream in self._clients:
            self._clients.remove(self._stream)


class SimulatedPty:
    """A pseudo terminal that behaves like a level converter on a serial port; `path` is its device.

    The rate on the bus is the one that the client sets, `baud` until then.
    """

    def __init__(self, bus: SimulatedBus, baud: int, *, fast: bool = False) -> None:
        self._own, self._other = os.openpty()  # the other end stays open, so that clients may come and go
        tty.setraw(self._other)
        self._baud = baud
        attributes = termios.tcgetattr(self._other)
        attributes[_OUTPUT_SPEED - 1 : _OUTPUT_SPEED + 1] = [getattr(termios, f"B{baud}")] * 2
        termios.tcsetattr(self._other, termios.TCSANOW, attributes)
        os.set_blocking(self._own, False)
        self.path = os.ttyname(self._other)
        self._wire = Wire(bus, baud, self._write, fast=fast)
        asyncio.get_running_loop().add_reader(self._own, self._read)

    def close(self) -> None:
        """Take the device away; a client sees an unplugged adapter."""
        asyncio.get_running_loop().remove_reader(self._own)
        self._wire.close()
        os.close(self._own)
        os.close(self._other)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._own, 4096)
            self._wire.set_baud(self._rate_of_client())
            self._wire.feed(data)

    def _rate_of_client(self) -> int:
        """What the client set on its end, which the terminal's own end tells."""
        return _SPEEDS.get(termios.tcgetattr(self._own)[_OUTPUT_SPEED], self._baud)

    def _write(self, data: bytes) -> None:
        # Nobody reads when the buffer is full: as on a real wire, what is not heard is gone.
        with contextlib.suppress(BlockingIOError):
            os.write(self._own, data)

"""One M-Bus line as a stream of bytes in both directions, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.errors import CmeError

BAUD_RATES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400)
"""What EN 13757-2 allows on the bus."""

_MOST_UNREAD = 4096  # bytes; far more than any exchange, so only a chattering line gets there


class LineError(CmeError):
    """A line that cannot be opened, or that was lost."""


class Transport:
    """An open line. Belongs to one event loop and to one reader at a time.

    Whoever feeds it calls `deliver` with received bytes and `lose` when no more can come.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        end: Callable[[], None],
        margin: float,
        change_baud: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`send` and `end` must not block. `margin` is what the way to the bus may add to an answer, in s.

        `change_baud` returns when the new rate holds, or raises `LineError`; `None` where the rate is fixed.
        """
        self.margin = margin
        self._send = send
        self._end = end
        self._change_baud = change_baud
        self._received = bytearray()
        self._reason = ""
        self._lost = asyncio.Event()
        self._waiter: asyncio.Future[None] | None = None

    async def read(self, deadline: float) -> bytes:
        """Whatever was received, at once if there is something; `b""` if nothing comes before `deadline`.

        `deadline` is in the loop's time. Raises `LineError` when the line is lost and all was read.
        """
        if not self._received and not self._reason:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(deadline, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        if not self._received and self._reason:
            raise LineError(self._reason)
        return self.discard()

    def write(self, data: bytes) -> None:
        """Send bytes; does not wait until they are out. Raises `LineError` when the line is lost."""
        if self._reason:
            raise LineError(self._reason)
        self._send(data)

    async def set_baud(self, baud: int) -> None:
        """Change the rate on the bus, 300..38400; returns when it holds for whatever is written afterwards.

        Bytes that are still to be sent go out at the old rate. Raises `LineError` where the way to the bus cannot
        change its rate, the rate is none of an M-Bus, or the line is lost; the line is open at the old rate then,
        unless it is lost.
        """
        check_baud(baud)
        if self._reason:
            raise LineError(self._reason)
        if self._change_baud is None:
            raise LineError(
                "The rate on this line is fixed by its level converter: set it there, or use rfc2217:HOST:PORT."
            )
        await self._change_baud(baud)

    def discard(self) -> bytes:
        """Take what was received and not yet read."""
        data = bytes(self._received)
        self._received.clear()
        return data

    async def lost(self) -> str:
        """Wait until the line is lost; the reason as a sentence."""
        await self._lost.wait()
        return self._reason

    def close(self) -> None:
        """Let go of the line."""
        self.lose("The line was closed.")
        self._end()

    def deliver(self, data: bytes) -> None:
        """Take bytes that the line received."""
        self._received += data
        del self._received[:-_MOST_UNREAD]
        _wake(self._waiter)

    def lose(self, reason: str) -> None:
        """Note that the line is gone. Only the first reason counts."""
        if not self._reason:
            self._reason = reason
            self._lost.set()
            _wake(self._waiter)


class TransportProtocol(asyncio.Protocol):
    """Ties a stream of asyncio's to a `Transport`."""

    transport: Transport

    def __init__(self, margin: float, gone: str) -> None:
        """`gone` is the sentence for a line that ends."""
        self._margin = margin
        self.gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = Transport(transport.write, transport.abort, self._margin)

    def data_received(self, data: bytes) -> None:
        self.transport.deliver(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.lose(self.gone)


def check_baud(baud: int) -> None:
    """Raises `LineError` for a rate that no M-Bus has."""
    if baud not in BAUD_RATES:
        rates = ", ".join(map(str, BAUD_RATES))
        raise LineError(f"{baud} baud is no rate of an M-Bus: choose one of {rates}.")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)

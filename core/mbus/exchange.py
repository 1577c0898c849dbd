"""One request and its answer on an M-Bus line, with the times of EN 13757-2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from core.mbus.frame import BITS_PER_BYTE, LONGEST, Frame, FrameReader, Garbage, Kind
from core.mbus.transport import Transport

ANSWER_BITS = 330
"""A slave answers within this many bit times plus `ANSWER_SECONDS` (EN 13757-2, 5.5)."""
ANSWER_SECONDS = 0.05
IDLE_BITS = 33
"""Bit times of silence between the end of an answer and the next request."""

_SETTLE_LIMIT = 5.0  # s of chatter after which a line is given up


class Silence(Exception):  # noqa: N818 - an outcome that the master turns into its errors
    """Nothing was received in time."""


class Disturbance(Exception):  # noqa: N818
    """Bytes were received, but not the answer."""

    def __init__(self, raw: bytes, reason: str) -> None:
        super().__init__(reason)
        self.raw = raw
        self.reason = reason


@dataclass(slots=True)
class Heard:
    """What the line brought after a request."""

    received: bytearray = field(default_factory=bytearray)  # without the echo
    echo: bool = False
    delay: float | None = None  # s until its first byte, from the end of the request on the wire


class Exchange:
    """Asks and listens on one transport; one question at a time.

    A question that is cancelled, repeated or disturbed may leave an answer under way. The next question waits
    for it to pass, so that it is never taken for the next answer.
    """

    def __init__(self, transport: Transport, baud: int, margin: float | None = None) -> None:
        """`margin` in s is added to the answer time-out; the transport's own by default."""
        self._transport = transport
        self._bit = 1 / baud
        self._byte = BITS_PER_BYTE * self._bit
        self._margin = transport.margin if margin is None else margin
        self._reader = FrameReader()
        self.heard = Heard()
        """What came after the last request."""
        self._settled = True
        self._sent = 0.0  # loop time at which the last request is out on the wire
        self._heard = 0.0  # loop time of the last byte received

    @property
    def answer_timeout(self) -> float:
        """Seconds between the end of a request and the first byte of the answer."""
        return ANSWER_BITS * self._bit + ANSWER_SECONDS + self._margin

    def distrust(self) -> None:
        """Have the next question wait until the line is silent."""
        self._settled = False

    async def ask(self, request: bytes, accept: Callable[[Frame], bool]) -> Frame:
        """Send `request` and return the first frame that `accept` takes for its answer.

        Raises `Silence`, `Disturbance`, or the transport's `LineError`.
        """
        self.heard = Heard()
        await self._settle()
        now = self._now()
        self._settled = False
        self._sent = now + len(request) * self._byte
        self._transport.write(request)
        first = self._sent + self.answer_timeout
        limit = first + 1.25 * LONGEST * self._byte + self._margin
        deadline = first
        refused = bytearray()
        reason = ""
        while data := await self._read(min(deadline, limit), limit):
            found = self._reader.feed(data)
            for item in found:
                if item.raw == request:
                    self.heard.echo = True  # of a level converter
                    continue
                self.heard.received += item.raw
                if self.heard.delay is None:
                    self.heard.delay = max(0.0, self._heard - len(item.raw) * self._byte - self._sent)
                if isinstance(item, Frame) and accept(item) and not (refused and item.kind is Kind.ACK):
                    self._settled = item is found[-1] and not self._reader.missing
                    return item
                reason = reason or (item.reason if isinstance(item, Garbage) else _unexpected(item))
                refused += item.raw
            pause = self._reader.missing * self._byte + IDLE_BITS * self._bit + self._margin
            deadline = max(first, self._heard + pause)
        rest = self._reader.flush()
        if rest:
            self.heard.received += rest.raw
            reason = reason or rest.reason
            refused += rest.raw
        if refused:
            raise Disturbance(bytes(refused), reason)
        self._settled = True
        raise Silence

    async def _read(self, deadline: float, limit: float) -> bytes:
        if self._now() >= limit:
            return b""
        data = await self._transport.read(deadline)
        if data:
            self._heard = self._now()
        return data

    async def _settle(self) -> None:
        """Wait until no answer can be under way and the line was idle for long enough."""
        if self._transport.discard():
            self._settled = False
        self._reader.flush()
        if not self._settled:
            await self._await_silence()
        pause = self._heard + IDLE_BITS * self._bit - self._now()
        if pause > 0:
            await asyncio.sleep(pause)
            self._transport.discard()

    async def _await_silence(self) -> None:
        start = self._now()
        deadline = max(start, self._sent) + self.answer_timeout
        chatter = bytearray()
        while data := await self._transport.read(deadline):
            self._heard = self._now()
            deadline = self._heard + self.answer_timeout
            chatter += data
            if self._heard > start + _SETTLE_LIMIT:
                raise Disturbance(bytes(chatter), "the line does not become silent")
        self._settled = True

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _unexpected(frame: Frame) -> str:
    if frame.kind is Kind.ACK:
        return "an acknowledgement instead of a telegram"
    return f"a {frame.kind.value} with address {frame.address} and C field {frame.control:02X}"

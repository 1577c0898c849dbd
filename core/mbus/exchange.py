"""One request and its answer on an M-Bus line, with the times of EN 13757-2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from core.mbus.frame import BITS_PER_BYTE, LONGEST, Frame, FrameReader, Garbage, Kind
from core.mbus.transport import Transport
from core.mbus.watch import Fault

ANSWER_BITS = 330
"""A slave answers within this many bit times plus `ANSWER_SECONDS` (EN 13757-2, 5.5)."""
ANSWER_SECONDS = 0.05
IDLE_BITS = 33
"""Bit times of silence between the end of an answer and the next request."""

LATEST = 2.0
"""Seconds after which no answer is expected any more from even the slowest meter."""

_LONGEST_ANSWER = 1.25  # times what its bytes take; no bytes of one answer come later


class Silence(Exception):  # noqa: N818 - an outcome that the link turns into its errors
    """Nothing was received in time."""


class Disturbance(Exception):  # noqa: N818
    """Bytes were received, but not the answer: `fault` says in which way, `reason` in which byte.

    `unasked` tells that bytes came before the request, too.
    """

    def __init__(self, raw: bytes, reason: str, fault: Fault, *, unasked: bool = False) -> None:
        super().__init__(reason)
        self.raw = raw
        self.reason = reason
        self.fault = fault
        self.unasked = unasked


@dataclass(slots=True)
class Heard:
    """What the line brought around a request."""

    before: bytearray = field(default_factory=bytearray)  # unasked, since the answer to the last request
    received: bytearray = field(default_factory=bytearray)  # after the request, without its echo
    echo: bool = False
    delay: float | None = None
    """Seconds from the end of the request on the wire to the first byte of `received`, where it is sure to belong to
    this request and not to one before it."""
    fault: Fault | None = None
    reason: str = ""

    def blame(self, fault: Fault, reason: str) -> None:
        """Note what is wrong; the first that is wrong is the cause of the rest."""
        if self.fault is None:
            self.fault, self.reason = fault, reason
        elif self.fault is Fault.CHECKSUM and fault is not Fault.CHECKSUM:
            # A disturbed telegram ends where its length says: what goes on was longer, so there were two.
            self.fault, self.reason = Fault.COLLISION, f"{self.reason}, and more follows behind its end"


Accept = Callable[[Frame], bool]
"""Whether a frame is the answer to the request."""


class Exchange:
    """Asks and listens on one transport; one question at a time.

    A question that is cancelled, repeated or disturbed may leave an answer under way. The next question waits
    for it to pass, so that it is never taken for the next answer.
    """

    def __init__(self, transport: Transport, baud: int, margin: float = 0.0) -> None:
        """`margin` in s is added to the answer time-out, as the transport's own is."""
        self._transport = transport
        self._margin = transport.margin + margin
        self.use(baud, 0.0)
        self._reader = FrameReader()
        self.heard = Heard()
        """What came around the last request."""
        self.echoes = False
        """Whether the line is known to repeat requests, as some level converters do."""
        self.unasked = bytearray()
        """What came since the answer to the last request."""
        self._settled = True
        self._patience = 0.0  # s for which answers may come beyond the time-out
        self._sent = 0.0  # loop time at which the last request is out on the wire
        self._first = 0.0  # the same of the first of those that are equal to it and were not answered
        self._heard = 0.0  # loop time of the last byte received
        self._request = b""
        self._accept: Accept | None = None  # of the last request, as long as nothing came
        self._earlier: Accept | None = None  # of the request before it after which nothing came

    @property
    def answer_timeout(self) -> float:
        """Seconds between the end of a request and the first byte of the answer."""
        return ANSWER_BITS * self._bit + ANSWER_SECONDS + self._margin + self._extra

    @property
    def overtime(self) -> bool:
        """Whether the last answer surely came in the extra time only."""
        delay = self.heard.delay
        return delay is not None and delay + self._byte > self.answer_timeout - self._extra

    def use(self, baud: int, extra: float) -> None:
        """Reckon with this rate (bit/s), and with answers that come `extra` s later."""
        self._bit = 1 / baud
        self._byte = BITS_PER_BYTE * self._bit
        self._extra = extra

    def distrust(self, patience: float = 0.0) -> None:
        """Have the next question wait until the line is silent, for `patience` s beyond the answer time-out."""
        self._settled = False
        self._patience = max(self._patience, patience)

    async def ask(self, request: bytes, accept: Accept) -> Frame:
        """Send `request` and return the first frame that `accept` takes for its answer.

        It ends, whatever the line brings, with the longest time that an answer can take, after a wait for silence that
        is bounded as well. Raises `Silence`, `Disturbance`, or the transport's `LineError`.
        """
        heard = self.heard = Heard()
        await self.settle()
        heard.before, self.unasked = self.unasked, bytearray()
        self._send(request, accept)
        if answer := await self._listen(request, accept):
            self._accept = None
            if self._sent > self._first:
                # Whose answer it is cannot be told.
                heard.delay = None
                self.distrust(self._sent - self._first)
            return answer
        if heard.fault:
            self._accept = None
            if self.echoes and not heard.echo:
                heard.fault, heard.reason = Fault.COLLISION, "the echo of the request came back changed"
            raw = bytes(heard.received or heard.before)
            raise Disturbance(raw, heard.reason, heard.fault, unasked=bool(heard.before))
        self._settled = True
        raise Silence

    async def settle(self) -> None:
        """Wait until no answer can be under way and the line was idle for long enough.

        A line that does not become silent is asked all the same: only whole telegrams are believed then.
        """
        if unasked := self._transport.discard():
            self.unasked += unasked
            self._settled = False
        self._reader.flush()
        if not self._settled:
            await self._await_silence()
        pause = self._heard + IDLE_BITS * self._bit - self._now()
        if pause > 0:
            await asyncio.sleep(pause)
            if unasked := self._transport.discard():
                self.unasked += unasked
                await self._await_silence()

    async def _await_silence(self) -> None:
        """Wait for the answer time-out after the last request and after every byte.

        What comes may be the answer to the first of equal requests: those to the others come as much later as they
        were sent.
        """
        after = self.answer_timeout + self._sent - self._first
        deadline = max(self._now(), self._sent) + self.answer_timeout + self._patience
        limit = deadline + self._longest + after
        while data := await self._read(deadline, limit):
            self.unasked += data
            deadline = max(deadline, self._heard + after)
        if self._now() >= limit:
            self.heard.blame(Fault.NOISE, "the line does not become silent")
        self._settled, self._patience = True, 0.0

    def _send(self, request: bytes, accept: Accept) -> None:
        now = self._now()
        recently = now < self._sent + self.answer_timeout + LATEST
        repeated = request == self._request and self._accept is not None and recently
        if request != self._request:
            self._earlier = self._accept
        self._request, self._accept = request, accept
        self._settled = False
        self._sent = now + len(request) * self._byte
        if not repeated:
            self._first = self._sent
        self._transport.write(request)

    async def _listen(self, request: bytes, accept: Accept) -> Frame | None:
        """The answer, or none, with what is wrong in `heard`."""
        heard, reader = self.heard, self._reader
        first = self._sent + self.answer_timeout
        limit = first + self._longest
        deadline = first
        while data := await self._read(deadline, limit):
            found = reader.feed(data)
            for item in found:
                if item.raw == request and not heard.echo:
                    heard.echo = self.echoes = True
                    continue
                self._note(item)
                if isinstance(item, Garbage):
                    heard.blame(item.fault, item.reason)
                elif accept(item) and not (heard.fault and item.kind is Kind.ACK):
                    self._settled = item is found[-1] and not reader.missing
                    return item
                else:
                    heard.blame(*self._unexpected(item))
            pause = reader.missing * self._byte + IDLE_BITS * self._bit + self._margin
            deadline = max(first, self._heard + pause)
        if rest := reader.flush():
            self._note(rest)
            heard.blame(rest.fault, rest.reason)
        return None

    @property
    def _longest(self) -> float:
        return _LONGEST_ANSWER * LONGEST * self._byte + self._margin

    def _note(self, item: Frame | Garbage) -> None:
        heard = self.heard
        heard.received += item.raw
        if heard.delay is None:
            heard.delay = max(0.0, self._heard - len(item.raw) * self._byte - self._sent)

    async def _read(self, deadline: float, limit: float) -> bytes:
        if self._now() >= limit:
            return b""
        data = await self._transport.read(min(deadline, limit))
        if data:
            self._heard = self._now()
        return data

    def _unexpected(self, frame: Frame) -> tuple[Fault, str]:
        if self._earlier and self._earlier(frame):
            return Fault.LATE, "the late answer to an earlier request"
        if frame.kind is Kind.ACK:
            return Fault.UNEXPECTED, "an acknowledgement instead of a telegram"
        what = f"a {frame.kind.value} with address {frame.address} and C field {frame.control:02X}"
        return Fault.UNEXPECTED, what

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

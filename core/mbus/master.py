"""The master of one M-Bus line: keeps it connected and reads meters, one at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.errors import CmeError
from core.mbus.address import POINT_TO_POINT, SELECTED, Address, PrimaryAddress, SecondaryAddress
from core.mbus.exchange import Disturbance, Exchange, Silence
from core.mbus.frame import RSP_UD, Frame, Kind, identity_of, req_ud2, select, snd_nke
from core.mbus.opener import open_transport
from core.mbus.telegram import TelegramError, decode
from core.mbus.transport import LineError, Transport
from core.snapshot import LineState

log = logging.getLogger(__name__)

Opener = Callable[[str, int], Awaitable[Transport]]
"""Opens the line with this URL and baud rate; raises `LineError`."""

FIRST_RETRY = 1.0
"""Seconds until a line that was lost is opened again; doubled with every failure."""
LAST_RETRY = 60.0
"""Seconds between two attempts at most."""

_RSP_UD_MASK = 0x4F  # without the reserved bit and the slave's ACD and DFC bits


class MbusError(CmeError):
    """A readout that failed."""


class NoAnswer(MbusError):  # noqa: N818 - an outcome by name, as are those below
    """The meter is silent."""


class NoData(MbusError):  # noqa: N818
    """The meter acknowledges, but has no telegram to send."""


class Garbled(MbusError):  # noqa: N818
    """Bytes came, but no valid answer: noise, or several meters at once. `raw` is the last that came."""

    def __init__(self, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw


class WrongMeter(MbusError):  # noqa: N818
    """Another meter than the one wanted answered: `found`, with its telegram in `frames`."""

    def __init__(self, message: str, found: SecondaryAddress, frames: tuple[bytes, ...]) -> None:
        super().__init__(message)
        self.found = found
        self.frames = frames


class Incomplete(MbusError):  # noqa: N818
    """The telegrams of a readout repeat themselves or never end. `frames` are those that came."""

    def __init__(self, message: str, frames: tuple[bytes, ...]) -> None:
        super().__init__(message)
        self.frames = frames


class LineDown(MbusError):  # noqa: N818
    """The line is not connected."""


@dataclass(frozen=True, slots=True)
class Readout:
    """What a meter sent."""

    frames: tuple[bytes, ...]  # whole frames as received, one for each telegram
    started: float  # seconds since 1970-01-01 UTC
    finished: float
    tries: int  # of the exchange that needed most; 1 if all went well at once


def telegram_follows(frame: bytes) -> bool:
    """Whether the meter has another telegram to send (DIF 1Fh, EN 13757-3, 6.3)."""
    try:
        return decode(frame).more_follows
    except TelegramError:
        return False


class Master:
    """Owns one line. `start` it, `read` as often as wanted, `close` it; all on one event loop.

    The line is opened again by itself, after 1 s, 2 s ... 60 s. Reads wait for each other.
    """

    def __init__(
        self,
        url: str,
        baud: int = 2400,
        *,
        margin: float | None = None,
        repeats: int = 2,
        most_telegrams: int = 32,
        open_line: Opener = open_transport,
        more_follows: Callable[[bytes], bool] = telegram_follows,
        on_change: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`margin` in s is added to the answer time-out of 330 bit times + 50 ms; the transport's by default.

        `repeats` is how often a request is sent again. `on_change` is called after every change of `state`. `now` gives
        the time of readouts and changes, in seconds since 1970-01-01 UTC.
        """
        self.url = url
        self.baud = baud
        self.state = LineState.CONNECTING
        self.reason = ""  # why the line is not up
        self.since = now()  # of the state, seconds since 1970-01-01 UTC
        self._margin = margin
        self._repeats = repeats
        self._most_telegrams = most_telegrams
        self._open_line = open_line
        self._more_follows = more_follows
        self._on_change = on_change
        self._now = now
        self._busy = asyncio.Lock()
        self._tried = asyncio.Event()  # set when the outcome of the first attempt to connect is known
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._fcb: dict[int, bool] = {}  # primary address -> FCB of the next request; absent = reset first
        self._deselected = False
        self._tries = 1

    def start(self) -> None:
        """Begin to connect, and stay connected from then on."""
        self._task = asyncio.create_task(self._keep_connected(), name=f"mbus-line {self.url}")

    async def close(self) -> None:
        """Let go of the line. A read that waits or runs fails with `LineDown`."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._change(LineState.DOWN, "The line was closed.")
        self._tried.set()

    async def read(self, address: Address, *, expected: SecondaryAddress | None = None) -> Readout:
        """Read all telegrams of one meter.

        For a secondary address the answer's header must agree with it, and with `expected` for any address;
        fields that are left open there are not compared. A read may be cancelled at any time.
        Raises `NoAnswer`, `NoData`, `Garbled`, `WrongMeter`, `Incomplete` or `LineDown`.
        """
        async with self._busy:
            exchange = await self._connected()
            self._tries = 1
            started = self._now()
            try:
                if isinstance(address, PrimaryAddress):
                    frames = await self._read_primary(exchange, address, expected)
                else:
                    frames = await self._read_secondary(exchange, address, expected)
            except LineError as error:
                raise LineDown(str(error)) from error
            return Readout(tuple(frames), started, self._now(), self._tries)

    async def _keep_connected(self) -> None:
        delay = FIRST_RETRY
        while True:
            try:
                transport = await self._open_line(self.url, self.baud)
            except CmeError as error:
                self._change(LineState.DOWN, str(error))
            else:
                delay = FIRST_RETRY
                try:
                    self._connect(transport)
                    reason = await transport.lost()
                finally:
                    self._exchange = None
                    transport.close()
                self._change(LineState.DOWN, reason)
            self._tried.set()
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RETRY)

    def _connect(self, transport: Transport) -> None:
        self._exchange = Exchange(transport, self.baud, self._margin)
        # What the meters remember is not known: another master may have spoken to them.
        self._fcb.clear()
        self._deselected = False
        self._change(LineState.UP, "")
        self._tried.set()

    def _change(self, state: LineState, reason: str) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        if state is not self.state:
            self.since = self._now()
        self.state, self.reason = state, reason
        lost = state is LineState.DOWN and self._task is not None
        log.log(logging.WARNING if lost else logging.INFO, "%s is %s. %s", self.url, state, reason)
        self._on_change()

    async def _connected(self) -> Exchange:
        if self._task is not None:
            await self._tried.wait()
        if self._exchange is None:
            raise LineDown(self.reason or f"The line {self.url} is not started.")
        return self._exchange

    async def _read_primary(
        self, exchange: Exchange, address: PrimaryAddress, expected: SecondaryAddress | None
    ) -> list[bytes]:
        number = address.number
        # Taken out for as long as the outcome is open: after a failure or a cancellation the link is reset.
        fcb = self._fcb.pop(number, None)
        if fcb is None:
            await self._ask(exchange, snd_nke(number), _is_ack, address)
            fcb = True
        try:
            frames = await self._read_telegrams(exchange, address, number, fcb, (expected,))
        except NoData:
            self._fcb[number] = not fcb
            raise
        if len(frames) == 1:
            self._fcb[number] = not fcb
        # A meter with several telegrams is reset before the next readout, so that it begins with the first.
        return frames

    async def _read_secondary(
        self, exchange: Exchange, address: SecondaryAddress, expected: SecondaryAddress | None
    ) -> list[bytes]:
        for last in (False, True):
            try:
                if not self._deselected:
                    await self._deselect(exchange)
                # Set again only after success: a failure may leave meters selected that should not be.
                self._deselected = False
                await self._ask(exchange, select(address), _is_ack, address)
                frames = await self._read_telegrams(exchange, address, SELECTED, True, (address, expected))
            except WrongMeter:
                # It may be the late answer of a meter that was asked before.
                if last:
                    raise
                exchange.distrust()
            else:
                self._deselected = True
                break
        return frames

    async def _deselect(self, exchange: Exchange) -> None:
        """Reset the address of selected meters; only a meter that is selected acknowledges."""
        try:
            await exchange.ask(snd_nke(SELECTED), _is_ack)
        except (Silence, Disturbance) as outcome:
            log.debug("%s: deselect: %r", self.url, outcome)

    async def _read_telegrams(
        self,
        exchange: Exchange,
        address: Address,
        number: int,
        fcb: bool,
        wanted: tuple[SecondaryAddress | None, ...],
    ) -> list[bytes]:
        """Ask for telegrams until the meter has no more, with the frame count bit toggled for each."""
        frames: list[bytes] = []
        seen: set[bytes] = set()
        while True:
            answer = await self._ask(exchange, req_ud2(number, fcb), _is_answer_of(number), address)
            if answer.kind is Kind.ACK:
                if not frames:
                    raise NoData(f"Meter {address} answers, but has no data to send.")
                return frames
            _verify(answer, address, wanted)
            content = _without_access_number(answer)
            if content in seen:
                raise Incomplete(
                    f"Meter {address} announces a further telegram, but repeats itself: {len(frames)} came.",
                    tuple(frames),
                )
            seen.add(content)
            frames.append(answer.raw)
            if not self._more_follows(answer.raw):
                return frames
            if len(frames) == self._most_telegrams:
                raise Incomplete(
                    f"Meter {address} still announces further telegrams after {len(frames)}.", tuple(frames)
                )
            fcb = not fcb

    async def _ask(
        self, exchange: Exchange, request: bytes, accept: Callable[[Frame], bool], address: Address
    ) -> Frame:
        """One exchange, repeated with the very same bytes where the answer is missing or disturbed."""
        disturbance: Disturbance | None = None
        for tried in range(1, self._repeats + 2):
            try:
                answer = await exchange.ask(request, accept)
            except Silence:
                continue
            except Disturbance as error:
                disturbance = error
                continue
            if tried > 1:
                # The answers to the earlier requests may still come.
                exchange.distrust()
            self._tries = max(self._tries, tried)
            return answer
        tries = f"{self._repeats + 1} tries" if self._repeats else "1 try"
        if disturbance is None:
            raise NoAnswer(
                f"Meter {address} does not answer ({tries}): check its address, its wiring and the baud rate."
            )
        raise Garbled(
            f"The answer of meter {address} is disturbed ({tries}): {disturbance.reason}. Look for noise, or "
            "for two meters with the same address.",
            disturbance.raw,
        )


def _is_ack(frame: Frame) -> bool:
    return frame.kind is Kind.ACK


def _is_answer_of(number: int) -> Callable[[Frame], bool]:
    """A telegram with the address that was asked, or the acknowledgement of a meter without data."""
    anyone = number in (SELECTED, POINT_TO_POINT)

    def accept(frame: Frame) -> bool:
        if frame.kind is Kind.LONG:
            return frame.control & _RSP_UD_MASK == RSP_UD and (anyone or frame.address == number)
        return frame.kind is Kind.ACK

    return accept


def _verify(answer: Frame, address: Address, wanted: tuple[SecondaryAddress | None, ...]) -> None:
    found = identity_of(answer)
    if found is None:
        return
    for identity in wanted:
        if identity is not None and not identity.agrees(found):
            raise WrongMeter(
                f"Meter {found} answered at address {address} instead of {identity}: check both addresses.",
                found,
                (answer.raw,),
            )


def _without_access_number(answer: Frame) -> bytes:
    """What makes two telegrams the same: everything but the number that counts the answers."""
    counter = {0x72: 8, 0x76: 8, 0x7A: 0, 0x73: 4, 0x77: 4}.get(answer.ci)
    if counter is None:
        return answer.raw
    return bytes((answer.ci,)) + answer.payload[:counter] + answer.payload[counter + 1 :]

"""The conversation with the meters of one line, for as long as it is connected: links, selections, telegrams."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.mbus.address import POINT_TO_POINT, SELECTED, Address, PrimaryAddress, SecondaryAddress
from core.mbus.errors import Garbled, Incomplete, LineDown, NoAnswer, NoData, RateRefused, WrongMeter
from core.mbus.exchange import Disturbance, Exchange, Silence
from core.mbus.frame import RSP_UD, Frame, Kind, identity_of, req_ud2, select, snd_nke
from core.mbus.telegram import TelegramError, decode
from core.mbus.transport import LineError, Transport
from core.mbus.watch import Fault, Purpose, Try, Watch

log = logging.getLogger(__name__)

_RSP_UD_MASK = 0x4F  # without the reserved bit and the slave's ACD and DFC bits


@dataclass(frozen=True, slots=True)
class Readout:
    """What a meter sent."""

    frames: tuple[bytes, ...]  # whole frames as received, one for each telegram
    started: float  # seconds since 1970-01-01 UTC
    finished: float
    tries: int  # of the exchange that needed most; 1 if all went well at once


class ProbeResult(StrEnum):
    """What a probe of a search found at an address."""

    NOTHING = "nothing"
    ONE = "one"
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Probe:
    """What answers at an address, which may have wildcards."""

    result: ProbeResult
    found: SecondaryAddress | None = None  # who answered; None where its header says nothing
    frame: bytes = b""  # its first telegram
    raw: bytes = b""  # what was heard where it is not clear who answered


def telegram_follows(frame: bytes) -> bool:
    """Whether the meter has another telegram to send (DIF 1Fh, EN 13757-3, 6.3)."""
    try:
        return decode(frame).more_follows
    except TelegramError:
        return False


class Link:
    """Speaks with the meters of one connected line; who uses it has the line for himself (`Master.session`).

    Remembers the frame count bit of every slave, and whether one may be selected. Any method can be cancelled at any
    time. Where the line is lost they raise `LineDown`.
    """

    def __init__(
        self,
        transport: Transport,
        baud: int,
        *,
        margin: float | None = None,
        repeats: int = 2,
        most_telegrams: int = 32,
        more_follows: Callable[[bytes], bool] = telegram_follows,
        watch: Watch = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """See `core.mbus.master.Master` for the parameters; `watch` gets every try."""
        self.transport = transport
        self.baud = baud
        self._exchange = Exchange(transport, baud, margin)
        self._margin = margin
        self._repeats = repeats
        self._most_telegrams = most_telegrams
        self._more_follows = more_follows
        self._watch = watch
        self._now = now
        self._fcb: dict[int, bool] = {}  # primary address -> FCB of the next request; absent = reset first
        self._deselected = False
        self._tries = 1

    async def use(self, baud: int, extra: float = 0.0) -> None:
        """Speak at this rate from now on, and wait `extra` s longer for answers. Raises `RateRefused`."""
        if baud != self.baud:
            raise RateRefused(f"This line cannot be switched to {baud} baud.")
        del extra

    def forget(self) -> None:
        """Another master spoke to the meters: what they remember is not known."""
        self._fcb.clear()
        self._deselected = False

    async def read(self, address: Address, expected: SecondaryAddress | None = None) -> Readout:
        """Read all telegrams of one meter, as `Master.read` says."""
        self._tries = 1
        started = self._now()
        if isinstance(address, PrimaryAddress):
            frames = await self._read_primary(address, expected)
        else:
            frames = await self._read_secondary(address, expected)
        return Readout(tuple(frames), started, self._now(), self._tries)

    async def probe(self, address: Address) -> Probe:
        """Find out whether none, one or several meters answer at an address."""
        about = _About(address, Purpose.SEARCH)
        number = address.number if isinstance(address, PrimaryAddress) else SELECTED
        opening = select(address) if isinstance(address, SecondaryAddress) else snd_nke(number)
        self.forget()
        try:
            try:
                await self._once(opening, _is_ack, about, 1)
            except Disturbance:
                self._exchange.distrust()
            answer = await self._once(req_ud2(number, True), _is_answer_of(number), about, 1)
        except Silence:
            return Probe(ProbeResult.NOTHING)
        except Disturbance as heard:
            return Probe(ProbeResult.SEVERAL, raw=heard.raw)
        return Probe(ProbeResult.ONE, identity_of(answer), answer.raw)

    async def deselect(self) -> None:
        """Reset the address of selected meters; only a meter that is selected acknowledges."""
        try:
            await self._once(snd_nke(SELECTED), _is_ack, _About(None, Purpose.READ), 1)
        except (Silence, Disturbance) as outcome:
            log.debug("deselect: %r", outcome)

    async def _read_primary(self, address: PrimaryAddress, expected: SecondaryAddress | None) -> list[bytes]:
        number = address.number
        # Taken out for as long as the outcome is open: after a failure or a cancellation the link is reset.
        fcb = self._fcb.pop(number, None)
        if fcb is None:
            await self.ask(snd_nke(number), _is_ack, address)
            fcb = True
        try:
            frames = await self._read_telegrams(address, number, fcb, (expected,))
        except NoData:
            self._fcb[number] = not fcb
            raise
        if len(frames) == 1:
            self._fcb[number] = not fcb
        # A meter with several telegrams is reset before the next readout, so that it begins with the first.
        return frames

    async def _read_secondary(
        self, address: SecondaryAddress, expected: SecondaryAddress | None
    ) -> list[bytes]:
        for last in (False, True):
            try:
                if not self._deselected:
                    await self.deselect()
                # Set again only after success: a failure may leave meters selected that should not be.
                self._deselected = False
                await self.ask(select(address), _is_ack, address)
                frames = await self._read_telegrams(address, SELECTED, True, (address, expected))
            except WrongMeter:
                # It may be the late answer of a meter that was asked before.
                if last:
                    raise
                self._exchange.distrust()
            else:
                self._deselected = True
                break
        return frames

    async def _read_telegrams(
        self,
        address: Address,
        number: int,
        fcb: bool,
        wanted: tuple[SecondaryAddress | None, ...],
    ) -> list[bytes]:
        """Ask for telegrams until the meter has no more, with the frame count bit toggled for each."""
        frames: list[bytes] = []
        seen: set[bytes] = set()
        while True:
            answer = await self.ask(req_ud2(number, fcb), _is_answer_of(number), address)
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

    async def ask(
        self,
        request: bytes,
        accept: Callable[[Frame], bool],
        address: Address | None,
        purpose: Purpose = Purpose.READ,
    ) -> Frame:
        """One request and the first frame that `accept` takes for its answer.

        It is repeated with the very same bytes where the answer is missing or disturbed. Raises `NoAnswer` or
        `Garbled`.
        """
        disturbance: Disturbance | None = None
        for tried in range(1, self._repeats + 2):
            try:
                answer = await self._once(request, accept, _About(address, purpose), tried)
            except Silence:
                continue
            except Disturbance as error:
                disturbance = error
                continue
            if tried > 1:
                # The answers to the earlier requests may still come.
                self._exchange.distrust()
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

    async def _once(
        self, request: bytes, accept: Callable[[Frame], bool], about: _About, number: int
    ) -> Frame:
        exchange, started = self._exchange, self._now()
        fault: Fault | None = None
        try:
            return await exchange.ask(request, accept)
        except Silence:
            fault = Fault.SILENCE
            raise
        except Disturbance:
            fault = Fault.NOISE
            raise
        except LineError as error:
            raise LineDown(str(error)) from error
        finally:
            heard = exchange.heard
            self._watch(
                Try(
                    round(started * 1000),
                    self.baud,
                    about.purpose,
                    "" if about.address is None else str(about.address),
                    number,
                    request,
                    bytes(heard.received),
                    heard.echo,
                    fault,
                    heard.delay,
                    self._now() - started,
                )
            )


@dataclass(frozen=True, slots=True)
class _About:
    address: Address | None
    purpose: Purpose


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

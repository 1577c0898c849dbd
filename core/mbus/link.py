"""The conversation with the meters of one line, for as long as it is connected: links, selections, telegrams."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from core.mbus.address import SELECTED, Address, PrimaryAddress, SecondaryAddress
from core.mbus.answer import content_of, garbled, is_ack, is_answer_of, matches, moved_on, verify
from core.mbus.errors import Garbled, Incomplete, LineDown, NoAnswer, NoData, RateRefused, WrongMeter
from core.mbus.exchange import LATEST, Accept, Disturbance, Exchange, Silence
from core.mbus.frame import Frame, FrameReader, Kind, identity_of, req_ud2, select, snd_nke
from core.mbus.telegram import TelegramError, decode
from core.mbus.transport import LineError, Transport
from core.mbus.watch import Fault, Purpose, Try, Watch

log = logging.getLogger(__name__)

_NOISY_TRIES = 20  # for so many tries a line counts as noisy after noise was heard
_BEGINNINGS = 3  # of one readout at most, until it is sure that it is complete
_DOUBTFUL_READOUTS = 20  # of a meter, after a telegram of it came with a wrong checksum

Remark = Callable[[Frame], Fault | None]
"""What is wrong with an answer that is accepted all the same."""


@dataclass(frozen=True, slots=True)
class Readout:
    """What a meter sent."""

    frames: tuple[bytes, ...]  # whole frames as received, one for each telegram
    started: float  # seconds since 1970-01-01 UTC; nothing in it is older
    finished: float
    tries: int  # of the exchange that needed most; 1 if all went well at once
    fcb_fault: str = ""  # how the meter mishandles the frame count bit; "" if it was not seen to


class ProbeResult(StrEnum):
    """What a probe of a search found at an address."""

    NOTHING = "nothing"
    ONE = "one"
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Probe:
    """What answers at an address, which may have wildcards.

    With `NOTHING`, `found` is a meter that answered although it is not meant: a late or faulty one, which is not at
    this address. With `ONE` and no `frame`, the meter acknowledges but has no data to send.
    """

    result: ProbeResult
    found: SecondaryAddress | None = None  # who answered; None where its header says nothing
    frame: bytes = b""  # its first telegram
    raw: bytes = b""  # what was heard where it is not clear who answered
    late: bool = False  # the answer came in the extra time only (`Link.use`)


class _Doubted(Exception):  # noqa: N818 - an outcome
    """Telegrams of a readout may be missing or changed on their way: it has to be begun anew.

    `single` is the telegram that came where it is the only one that the meter sends.
    """

    def __init__(self, single: bytes = b"") -> None:
        super().__init__()
        self.single = single


def telegram_follows(frame: bytes) -> bool | None:
    """Whether the meter has another telegram to send (DIF 1Fh, EN 13757-3, 6.3); None where that cannot be told."""
    try:
        telegram = decode(frame)
    except TelegramError:
        return None
    return None if telegram.encrypted else telegram.more_follows


def _nothing(_: Frame) -> None:
    return None


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
        margin: float = 0.0,
        repeats: int = 2,
        most_telegrams: int = 32,
        more_follows: Callable[[bytes], bool | None] = telegram_follows,
        watch: Watch = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """See `core.mbus.master.Master` for the parameters; `watch` gets every try."""
        self.transport = transport
        self.baud = baud
        self._exchange = Exchange(transport, baud, margin)
        self._repeats = repeats
        self._most_telegrams = most_telegrams
        self._more_follows = more_follows
        self._watch = watch
        self._now = now
        self._rate_holds = True
        self._links: dict[tuple[int, int], _SlaveLink] = {}  # of baud rate and primary address
        self._fcb_faults: dict[Address, str] = {}
        self._faithful: set[Address] = set()  # who was seen to follow the frame count bit
        self._counts: dict[Address, int] = {}  # telegrams in the last readout
        self._doubtful: dict[Address, int] = {}  # readouts for which every telegram is asked for twice
        self._deselected = False
        self._missed = -math.inf  # loop time at which an answer was last given up
        self._noisy = 0  # tries for which silence is not taken for the absence of a meter
        self._tries = 1
        self._repeated = False  # the last request
        self._disturbed = b""  # a telegram with a wrong checksum that the last request brought first

    async def use(self, baud: int, extra: float = 0.0) -> None:
        """Speak at this rate from now on, and wait `extra` s longer for answers. Raises `RateRefused`."""
        if baud != self.baud or not self._rate_holds:
            await self._switch(baud)
        self._exchange.use(baud, extra)

    async def _switch(self, baud: int) -> None:
        # Whatever is under way at the old rate passes first; at the new one it would be noise.
        await self._settle()
        self._rate_holds = False  # until the outcome is known: a change may be cancelled
        try:
            await self.transport.set_baud(baud)
        except LineError as error:
            self._rate_holds = True
            raise RateRefused(
                f"This line cannot be switched from {self.baud} to {baud} baud. {error}"
            ) from error
        self.baud = baud
        self._rate_holds = True

    def forget(self) -> None:
        """Another master spoke to the meters: what they remember is not known."""
        for link in self._links.values():
            link.fcb = None
        self._deselected = False
        self._exchange.distrust()

    def begin_anew(self, address: Address) -> None:
        """Have the next readout of this meter begin with a reset, because it was asked for data past `read`."""
        if isinstance(address, PrimaryAddress):
            self._links.pop((self.baud, address.number), None)
        else:
            self._deselected = False

    def tell(self, item: Try) -> None:
        """Let those who watch the line know of what went over it past this link."""
        self._watch(item)

    async def read(
        self, address: Address, expected: SecondaryAddress | None = None, telegrams: int = 0
    ) -> Readout:
        """Read all telegrams of one meter, as `Master.read` says."""
        known = telegrams or self._counts.get(address, 0)
        self._counts[address] = known
        self._doubtful[address] = max(0, self._doubtful.get(address, 0) - 1)
        self._tries = 1
        counts: list[int] = []
        singles = 0
        started = self._now()
        for _ in range(_BEGINNINGS):
            try:
                frames = await self._read_once(address, expected)
            except _Doubted as doubted:
                singles += bool(doubted.single)
                # So it is each time with a meter that makes a new telegram for every request: it must not be lost.
                sure = singles == _BEGINNINGS
                frames = [doubted.single]
            else:
                number = len(frames)
                sure = number in (known, *counts) or not (known or self._more_follows(frames[-1]))
                counts.append(number)
            if sure or len(counts) == _BEGINNINGS:
                self._counts[address] = len(frames)
                fault = self._fcb_faults.get(address, "")
                return Readout(tuple(frames), started, self._now(), self._tries, fault)
            self.begin_anew(address)
        raise self._uncertain(address)

    def _uncertain(self, address: Address) -> Incomplete:
        if fault := self._fcb_faults.get(address):
            what = f"has an FCB fault, so that telegrams are missing wherever a request is repeated: {fault}"
        else:
            what = f"was read {_BEGINNINGS} times, but each time telegrams may be missing or changed on their way"
        advice = "Look for a loose or badly shielded wire, or give the meter a larger margin_ms if it answers late."
        return Incomplete(f"Meter {address} {what}. {advice}", (), Fault.FCB if fault else None)

    async def probe(self, address: Address) -> Probe:
        """Find out whether none, one or several meters answer at an address.

        Silence is believed at once, except on a line where noise was heard of late. Anything else than silence is
        looked into by asking for data: an acknowledgement alone proves nothing, and telegrams of several meters
        disturb each other. Whom a mask with wildcards found is selected by the address in the telegram as well.
        """
        if isinstance(address, PrimaryAddress):
            number, opening = address.number, snd_nke(address.number)
            if link := self._links.get((self.baud, number)):
                link.fcb = None
        else:
            number, opening = SELECTED, select(address)
            self._deselected = False
        about = _About(address, Purpose.SEARCH)
        raw = await self._open_probe(opening, about)
        if not raw:
            return Probe(ProbeResult.NOTHING)
        late = self._exchange.overtime
        return replace(await self._probe_data(address, number, about, raw), late=late)

    async def _open_probe(self, opening: bytes, about: _About) -> bytes:
        """What was heard after a selection or reset; nothing for silence."""
        for tried in range(1, 3 if self._noisy else 2):
            try:
                return (await self._once(opening, is_ack, about, tried)).raw
            except Silence:
                continue
            except Disturbance as heard:
                return heard.raw
        return b""

    async def _probe_data(self, address: Address, number: int, about: _About, raw: bytes) -> Probe:
        request, accept = req_ud2(number, True), is_answer_of(number)
        outcome = Probe(ProbeResult.NOTHING, raw=raw)
        for tried in (1, 2):
            try:
                answer = await self._once(request, accept, about, tried)
            except Silence:
                continue
            except Disturbance as heard:
                foreign = heard.fault in (Fault.UNEXPECTED, Fault.LATE)
                outcome = Probe(ProbeResult.NOTHING if foreign else ProbeResult.SEVERAL, raw=heard.raw)
                if heard.fault is Fault.COLLISION and not self._noisy:
                    break
                continue
            if answer.kind is Kind.ACK:
                # One that is late may be of another meter; it is believed when it comes again.
                outcome = Probe(ProbeResult.NOTHING if tried == 1 else ProbeResult.ONE, raw=answer.raw)
                self._exchange.distrust(LATEST)
            elif isinstance(address, PrimaryAddress) or matches(answer, address):
                found = identity_of(answer)
                masked = isinstance(address, SecondaryAddress) and not address.exact
                # Two telegrams of one length may make a third with a right checksum, of a meter that is not there.
                if masked and found and not await self._open_probe(select(found), about):
                    return Probe(ProbeResult.SEVERAL, raw=answer.raw)
                return Probe(ProbeResult.ONE, found, answer.raw)
            else:
                outcome = Probe(ProbeResult.NOTHING, identity_of(answer), answer.raw)
                self._exchange.distrust()
        return outcome

    async def deselect(self) -> None:
        """Reset the address of selected meters; only a meter that is selected acknowledges."""
        try:
            await self._once(snd_nke(SELECTED), is_ack, _About(None, Purpose.READ), 1)
        except (Silence, Disturbance) as outcome:
            log.debug("deselect: %r", outcome)

    async def _read_once(self, address: Address, expected: SecondaryAddress | None) -> list[bytes]:
        if isinstance(address, PrimaryAddress):
            return await self._read_primary(address, expected)
        return await self._read_secondary(address, expected)

    async def _read_primary(self, address: PrimaryAddress, expected: SecondaryAddress | None) -> list[bytes]:
        link = self._links.setdefault((self.baud, address.number), _SlaveLink())
        # Taken out for as long as the outcome is open: after a failure or a cancellation the link is reset.
        known, link.fcb = link.fcb, None
        fcb = True if known is None else known
        if known is None:
            await self._reset(address)
        frames = await self._read_telegrams(address, address.number, fcb, expected)
        unchanged = frames[0] in link.telegrams
        if unchanged and not link.unchanging:
            # Nothing at all has changed since, or it is late, or the meter did not hear one of the last requests,
            # since what it sent unasked, or the late acknowledgement of another one, was taken for its answer.
            sure = known is not None and not self._repeated and frames[0] == link.telegrams[0]
            fcb, old = True, frames[0]
            await self._reset(address)
            frames = await self._read_telegrams(address, address.number, fcb, expected, old if sure else b"")
            unchanged = frames[0] == old
            if sure and not unchanged:
                self._note_fcb_fault(address, "it sends its old telegram again until its link is reset")
        link.telegrams, link.unchanging = (frames[0], *link.telegrams[:1]), unchanged
        # A meter with several telegrams is reset before every readout, so that it begins with the first; so is one of
        # which they cannot be counted, since it encrypts them, and one whose telegram did not change, since an old
        # one could not be told from a new one.
        if not unchanged and self._more_follows(frames[0]) is False and address not in self._fcb_faults:
            link.fcb = not fcb
        return frames

    async def _reset(self, address: PrimaryAddress) -> None:
        """Have a meter begin anew. After somebody did not answer, an acknowledgement may be his, late, once."""
        request = snd_nke(address.number)
        await self.ask(request, is_ack, address)
        if asyncio.get_running_loop().time() < self._missed + LATEST:
            self._exchange.distrust()
            await self.ask(request, is_ack, address)

    async def _read_secondary(
        self, address: SecondaryAddress, expected: SecondaryAddress | None
    ) -> list[bytes]:
        for last in (False, True):
            released = not self._deselected
            if released:
                await self.deselect()
            # Set again only after success: a failure may leave meters selected that should not be.
            self._deselected = False
            try:
                await self.ask(select(address), is_ack, address)
                frames = await self._read_telegrams(address, SELECTED, True, expected)
            except WrongMeter:
                # It may be the late answer of a meter that was asked before.
                if last:
                    raise
                self._exchange.distrust()
            except Garbled as error:
                # It may be with a meter that stayed selected although another one was.
                if released or error.fault is not Fault.COLLISION:
                    raise
            else:
                self._deselected = True
                break
        return frames

    async def _read_telegrams(
        self,
        address: Address,
        number: int,
        fcb: bool,
        expected: SecondaryAddress | None,
        stale: bytes = b"",
    ) -> list[bytes]:
        """Ask for telegrams until the meter has no more, with the frame count bit toggled for each.

        `stale` is what came before the link was reset, if another telegram is a sign of an FCB fault.
        """
        frames: list[bytes] = []
        seen: set[bytes] = set()
        first: SecondaryAddress | None = None

        def strange(frame: Frame) -> Fault | None:
            outdated = stale and frame.raw != stale
            return Fault.FCB if outdated or content_of(frame) in seen or self._moved_on(frame) else None

        while True:
            request = req_ud2(number, fcb)
            answer = await self._ask_telegram(request, number, address, seen, strange)
            if answer.kind is Kind.ACK:
                if not frames:
                    raise NoData(
                        f"Meter {address} answers, but has no data to send: reset its application, or select one "
                        "that has."
                    )
                return frames
            verify(answer, address, expected, first)
            content = content_of(answer)
            if content in seen:
                raise self._repeats_itself(address, frames, answer)
            more = bool(self._more_follows(answer.raw))
            if self._moved_on(answer):
                self._note_skipping(address)
            alone = not (more or frames) and len(self._disturbed) in (0, len(answer.raw))
            if self._repeated or self._doubtful[address]:
                await self._confirm(request, number, address, answer, alone=alone)
            first = first or identity_of(answer)
            seen.add(content)
            frames.append(answer.raw)
            if not more:
                return frames
            if len(frames) == self._most_telegrams:
                raise Incomplete(
                    f"Meter {address} still announces further telegrams after {len(frames)}: reset its application, "
                    "or ask its maker for a correction.",
                    tuple(frames),
                )
            fcb = not fcb

    async def _ask_telegram(
        self, request: bytes, number: int, address: Address, seen: set[bytes], strange: Remark
    ) -> Frame:
        """The answer to REQ_UD2, asked for a second time where it may be a late one to another request.

        A meter that followed the frame count bit sends the same again.
        """
        accept = is_answer_of(number)
        answer = await self.ask(request, accept, address, remark=strange)
        if answer.kind is Kind.ACK or content_of(answer) in seen:
            self._exchange.distrust(LATEST if answer.kind is Kind.ACK else 0.0)
            answer = await self.ask(request, accept, address, remark=strange)
            self._repeated = True
        return answer

    def _repeats_itself(self, address: Address, frames: list[bytes], answer: Frame) -> Incomplete:
        # The number that counts its answers tells whether it took the request for a repetition of the last one.
        if answer.raw in frames:
            evidence = "it sends the same telegram for both frame count bits"
        else:
            evidence = "it begins anew when it is asked for its next telegram"
        self._note_fcb_fault(address, evidence)
        return Incomplete(
            f"Meter {address} announces a further telegram, but repeats itself: {len(frames)} came. It has an FCB "
            f"fault: {evidence}.",
            tuple(frames),
            Fault.FCB,
        )

    def _moved_on(self, answer: Frame) -> bool:
        return bool(self._disturbed) and answer.kind is Kind.LONG and moved_on(self._disturbed, answer.raw)

    async def _confirm(
        self, request: bytes, number: int, address: Address, answer: Frame, *, alone: bool
    ) -> None:
        """Ask for a telegram once more, where needed; raises `_Doubted` if another one comes, or would come.

        A meter that takes a repetition for a request of its next telegram has skipped one where it was asked
        repeatedly. And of 256 telegrams that are disturbed one has the right checksum by chance, so who often is
        disturbed is not believed at once.
        """

        def moved(frame: Frame) -> Fault | None:
            return Fault.FCB if frame.kind is Kind.LONG and moved_on(answer.raw, frame.raw) else None

        faulty = address in self._fcb_faults
        single = alone and self._counts[address] == 1
        complete = single or not self._repeated or address in self._faithful
        if complete and (faulty or not self._doubtful[address]):
            return
        if faulty:
            raise _Doubted
        accept = is_answer_of(number)
        again = await self.ask(request, accept, address, remark=moved)
        self._repeated = True
        surplus = FrameReader().feed(bytes(self._exchange.heard.before))  # late answers to the same request
        telegrams = [again, *(each for each in surplus if isinstance(each, Frame) and accept(each))]
        if any(each.raw != answer.raw for each in telegrams):
            if moved(again):
                self._note_skipping(address)
            raise _Doubted(answer.raw if single else b"")
        self._faithful.add(address)

    def _note_skipping(self, address: Address) -> None:
        self._note_fcb_fault(address, "it sends the next telegram when it is asked to repeat the last")

    def _note_fcb_fault(self, address: Address, evidence: str) -> None:
        if address not in self._fcb_faults:
            log.warning("Meter %s has an FCB fault: %s.", address, evidence)
        self._fcb_faults[address] = evidence
        self._faithful.discard(address)

    async def ask(
        self,
        request: bytes,
        accept: Accept,
        address: Address | None,
        purpose: Purpose = Purpose.READ,
        remark: Remark = _nothing,
    ) -> Frame:
        """One request and the first frame that `accept` takes for its answer.

        It is repeated with the very same bytes where the answer is missing or disturbed. Raises `NoAnswer` or
        `Garbled`.
        """
        about = _About(address, purpose, remark)
        disturbances: list[Disturbance] = []
        self._disturbed = b""
        for tried in range(1, self._repeats + 2):
            try:
                answer = await self._once(request, accept, about, tried)
            except Silence:
                continue
            except Disturbance as error:
                disturbances.append(error)
                if error.fault is Fault.CHECKSUM:
                    self._disturbed = error.raw
                    if address is not None:
                        self._doubtful[address] = _DOUBTFUL_READOUTS
                continue
            heard = self._exchange.heard
            if address is not None and (heard.fault or heard.before):
                self._doubtful[address] = self._doubtful.get(address) or 1
            self._repeated = tried > 1
            self._tries = max(self._tries, tried)
            return answer
        # An answer may still come, and must not be taken for that to another request.
        self._exchange.distrust()
        self._missed = asyncio.get_running_loop().time()
        tries = f"{self._repeats + 1} tries" if self._repeats else "1 try"
        if disturbances:
            raise garbled(address, disturbances, tries)
        if await self._answers_late(accept):
            raise NoAnswer(
                f"Meter {address} answers when its time is over ({tries}): give it or its line a larger margin_ms.",
                Fault.LATE,
            )
        raise NoAnswer(
            f"Meter {address} does not answer ({tries}): check its address, its wiring and the baud rate."
        )

    async def _answers_late(self, accept: Accept) -> bool:
        """Wait as long as the next request had to wait anyway, and look whether the answer comes meanwhile."""
        await self._settle()
        found = FrameReader().feed(bytes(self._exchange.unasked))
        return any(isinstance(item, Frame) and accept(item) for item in found)

    async def _settle(self) -> None:
        try:
            await self._exchange.settle()
        except LineError as error:
            raise LineDown(str(error)) from error

    async def _once(self, request: bytes, accept: Accept, about: _About, number: int) -> Frame:
        exchange, started = self._exchange, self._now()
        fault: Fault | None = None
        try:
            answer = await exchange.ask(request, accept)
            fault = about.remark(answer)
            return answer
        except Silence:
            fault = Fault.SILENCE
            raise
        except Disturbance as error:
            fault = error.fault
            raise
        except LineError as error:
            raise LineDown(str(error)) from error
        finally:
            heard = exchange.heard
            noise = fault is Fault.NOISE or heard.before
            self._noisy = _NOISY_TRIES if noise else max(0, self._noisy - 1)
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
                    bytes(heard.before),
                )
            )


@dataclass(frozen=True, slots=True)
class _About:
    """What a request is for."""

    address: Address | None
    purpose: Purpose
    remark: Remark = _nothing


@dataclass(slots=True)
class _SlaveLink:
    """What a slave and its master know of each other."""

    fcb: bool | None = None  # of the next request; None where the link has to be reset first
    telegrams: tuple[bytes, ...] = ()  # the last two first ones of a readout, the newest in front
    unchanging: bool = False  # a reset brings the same telegram again, with the same access number

"""Counts what happens on a line, and remembers of each meter's last requests what tells its troubles."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from core.diagnosis import Statistics
from core.mbus.address import SELECTED, PrimaryAddress, SecondaryAddress, parse_address
from core.mbus.frame import (
    ACK,
    BITS_PER_BYTE,
    CI_SELECT,
    FCB,
    FCV,
    LONGEST,
    REQ_UD2,
    SND_NKE,
    Frame,
    FrameReader,
    Garbage,
    Kind,
    identity_of,
)
from core.mbus.link import telegram_follows
from core.mbus.watch import Fault, Purpose, Try

WINDOW: Final = 50
"""Requests to one meter that are looked at: half a day of a meter that is read each quarter of an hour, so that
yesterday's fault does not accuse today."""

LINE_WINDOW: Final = 200
"""Requests to any meter of a line."""

LOAD_MS: Final = 15 * 60_000
_SLICE_MS: Final = 30_000
_BLACKOUT: Final = 6  # requests in a row without an answer: two readouts with their repeats
_DEAD: Final = 6  # requests in a row without an answer, after which a meter is not taken for one that is late
_TOGETHER: Final = 3  # meters that fall silent at once; of two that is a coincidence on a long line
_LATEST_MS: Final = 5_000  # after a request; what comes later is no answer to it
_SHADOW_MS: Final = 3_000  # after a request without an answer: a late one may disturb those of other meters
_DIRECTION: Final = 0x40  # C field: set in what a master sends (EN 13757-2)


class Asked(Enum):
    """What a request is for."""

    RESET = auto()
    SELECTION = auto()
    DATA = auto()
    OTHER = auto()


@dataclass(slots=True)
class Sample:
    """One request to a meter and what was wrong with its answer."""

    time_ms: int
    baud: int
    asked: Asked
    fault: Fault | None
    delay: float | None  # s
    number: int  # of the try
    identity: SecondaryAddress | None = None  # that a telegram has
    more: bool = False  # a telegram that announces another
    sum_error: int | None = None  # of a wrong checksum: how much less it is than the sum, 0..255
    blank: bool = False  # nothing but zeros came
    after_garbage: bool = False  # an acknowledgement came, with something in front of it
    late: bool = False  # its answer came when nobody waited for it any more


@dataclass(slots=True)
class Counters:
    """Grows into `Statistics`."""

    since_ms: int
    tries: int = 0
    answers: int = 0
    repeated: int = 0
    echoes: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    delays: int = 0
    delay_sum: float = 0.0
    delay_min: float | None = None
    delay_max: float | None = None

    def count(self, item: Try) -> None:
        self.tries += 1
        self.echoes += item.echo
        if item.fault is not None:
            self.faults[item.fault] += 1
        if item.fault in (None, Fault.FCB):
            self.answers += 1
            self.repeated += item.number > 1
            if item.delay is not None:
                self.delays += 1
                self.delay_sum += item.delay
                self.delay_min = item.delay if self.delay_min is None else min(item.delay, self.delay_min)
                self.delay_max = max(item.delay, self.delay_max or 0.0)

    @property
    def missed(self) -> int:
        """Requests to which no answer came in time."""
        return self.faults[Fault.SILENCE] + self.faults[Fault.LATE]

    def statistics(self) -> Statistics:
        faults = self.faults
        return Statistics(
            since_ms=self.since_ms,
            tries=self.tries,
            answers=self.answers,
            timeouts=faults[Fault.SILENCE],
            checksum_errors=faults[Fault.CHECKSUM],
            collisions=faults[Fault.COLLISION],
            noise=faults[Fault.NOISE],
            cut=faults[Fault.CUT],
            unexpected=faults[Fault.UNEXPECTED],
            late=faults[Fault.LATE],
            fcb_faults=faults[Fault.FCB],
            echoes=self.echoes,
            repeated=self.repeated,
            delay_min_s=self.delay_min,
            delay_mean_s=self.delay_sum / self.delays if self.delays else None,
            delay_max_s=self.delay_max,
        )


class MeterTally:
    """One meter: counters since a reset, and its last `WINDOW` requests."""

    def __init__(self, since_ms: int) -> None:
        self.counters = Counters(since_ms)
        self.samples: deque[Sample] = deque(maxlen=WINDOW)
        self.last_answer_ms: int | None = None
        self.silent_since_ms: int | None = None
        """Of the first request in a row that got no answer; None after one that got one."""
        self.silent = 0
        """Requests in that row."""
        self.fcb_faults = 0
        """Telegrams of readouts that did not follow the frame count bit, since the counters began."""
        self.fcb_checked = 0
        """Those of the last check."""
        self.other_rates: dict[int, int] = {}
        """Rate at which it answered, though it is not the line's or its own -> when, ms."""

    def take(self, item: Try) -> None:
        """Remember a request to this meter."""
        sample = _sample(item)
        if (
            sample.asked is Asked.DATA
            and item.received == ACK
            and self.samples
            and self.samples[-1].number > 1
        ):
            # A meter that has data does not acknowledge: that is the second answer to the request before.
            sample.late = True
        self.samples.append(sample)
        if item.fault is Fault.SILENCE:
            self.silent += 1
            if self.silent_since_ms is None:
                self.silent_since_ms = item.time_ms
        else:
            self.silent, self.silent_since_ms = 0, None
            self.last_answer_ms = item.time_ms

    def check_fcb(self, faults: int) -> None:
        """Note how many telegrams did not follow the frame count bit in a check, which compares them."""
        self.counters.faults[Fault.FCB] += faults
        self.fcb_checked = faults

    def found_at(self, baud: int, time_ms: int) -> None:
        """Note that it answers at another rate."""
        self.other_rates[baud] = time_ms


class Unasked(Enum):
    """What came without a request."""

    NOISE = auto()
    TELEGRAM = auto()  # of a meter that nobody had asked
    REQUEST = auto()  # of another master
    BLANK = auto()  # nothing but zeros


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that came without a request."""

    time_ms: int
    kind: Unasked
    identity: SecondaryAddress | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """One request on the line."""

    time_ms: int
    meter: str  # address
    fault: Fault | None
    echo: bool
    unasked: bool  # something had come before it


class LineTally:
    """One line with its meters, by address. `take` everything that goes over it."""

    def __init__(self, since_ms: int, baud: int) -> None:
        self.baud = baud
        self.since_ms = since_ms
        self.counters = Counters(since_ms)
        self.meters: dict[str, MeterTally] = {}
        """Those that were asked, of the addresses that `take` was told to know."""
        self.beats: deque[Beat] = deque(maxlen=LINE_WINDOW)
        self.strays: deque[Stray] = deque(maxlen=WINDOW)
        self.blackouts: deque[int] = deque(maxlen=WINDOW)
        """When meters that had answered fell silent together, and the line came back, ms."""
        self._fallen: set[str] = set()  # addresses of meters that fell silent since the last answer of any
        self._silent = 0  # requests since then
        self._slices: deque[list[float]] = deque()
        """Start in ms; s in which the wire was taken: at all, by other software, by what somebody wanted at once."""
        self._last: Try | None = None
        self._unanswered: Try | None = None
        """The latest request that got no answer."""

    def take(
        self, item: Try, known: Callable[[str], bool], rates: Callable[[str], int], *, checking: bool = False
    ) -> None:
        """Count a try. `known` says which addresses are of installed meters, `rates` at which rate they are read.

        What a check asks (`checking`) loads the line because somebody wants that, as a search does.

        What a search or other software does says nothing about the meters: it only loads the line.
        """
        self._load(item, checking)
        if item.purpose in (Purpose.SEARCH, Purpose.FOREIGN):
            self._last = None
            return
        if item.before:
            self._unasked(item)
        self._last = item
        # Nobody has to answer a deselection, which is meant for no meter.
        if not item.address or not known(item.address):
            return
        if item.baud != rates(item.address):
            if item.fault is None:
                self.tally(item.address).found_at(item.baud, item.time_ms)
            return
        self.counters.count(item)
        self._watch_blackouts(item)
        self.tally(item.address).counters.count(item)
        if self._shadowed(item):
            return
        if item.fault is Fault.SILENCE:
            self._unanswered = item
        self.beats.append(Beat(item.time_ms, item.address, item.fault, item.echo, bool(item.before)))
        self.tally(item.address).take(item)
        # Where a meter talks unasked, it is not known whose telegram it was.
        if item.fault is Fault.FCB and not any(stray.kind is Unasked.TELEGRAM for stray in self.strays):
            self.tally(item.address).fcb_faults += 1

    def _shadowed(self, item: Try) -> bool:
        """Whether the late answer of another meter may have disturbed this one, which then says nothing."""
        asked = self._unanswered
        if item.fault in (None, Fault.FCB, Fault.SILENCE) or asked is None or asked.address == item.address:
            return False
        if not 0 <= item.time_ms - asked.time_ms < _SHADOW_MS:
            return False
        # Behind a telegram nobody acknowledges anything.
        if item.fault is Fault.LATE or (len(item.received) > 1 and item.received.endswith(ACK)):
            self._mark_late(asked.address)
        other = self.meters.get(asked.address)
        return other is not None and (other.silent <= _DEAD or any(sample.late for sample in other.samples))

    def _watch_blackouts(self, item: Try) -> None:
        if item.fault is Fault.SILENCE:
            tally = self.tally(item.address)
            if tally.silent == 0 and tally.last_answer_ms is not None:
                self._fallen.add(item.address)
            self._silent += 1
            return
        if len(self._fallen) >= max(2, min(_TOGETHER, len(self.meters))) and self._silent >= _BLACKOUT:
            self.blackouts.append(item.time_ms)
        self._fallen.clear()
        self._silent = 0

    def tally(self, address: str) -> MeterTally:
        """Of the meter at this address, a new one if it was not asked yet."""
        return self.meters.setdefault(address, MeterTally(self.since_ms))

    def load(self, now_ms: int) -> tuple[float, float, float]:
        """Share of the last 15 min, or since the counters began, in which the wire was taken.

        In all, by other software, and by searches, commands and checks.
        """
        self._forget(now_ms)
        span = min(LOAD_MS, max(now_ms - self.since_ms, 1)) / 1000
        busy, foreign, demanded = (
            min(1.0, sum(part[index] for part in self._slices) / span) for index in (1, 2, 3)
        )
        return busy, foreign, demanded

    def _load(self, item: Try, checking: bool) -> None:
        start = item.time_ms - item.time_ms % _SLICE_MS
        if not self._slices or self._slices[-1][0] != start:
            self._slices.append([start, 0.0, 0.0, 0.0])
            self._forget(item.time_ms)
        self._slices[-1][1] += item.busy
        if item.purpose is Purpose.FOREIGN:
            self._slices[-1][2] += item.busy
        elif checking or item.purpose is not Purpose.READ:
            self._slices[-1][3] += item.busy

    def _forget(self, now_ms: int) -> None:
        # A clock that was set back leaves slices of the future: they go as well.
        self._slices = deque(part for part in self._slices if now_ms - LOAD_MS < part[0] <= now_ms)

    def _unasked(self, item: Try) -> None:
        reader = FrameReader()
        for part in (*reader.feed(item.before), reader.flush()):
            if part is None:
                continue
            owner = self._owner(part, item)
            if owner is None:
                self.strays.append(_stray(part, item.time_ms))
            elif item.request != owner.request or owner.fault is Fault.SILENCE:
                self._mark_late(owner.address)

    def _owner(self, part: Frame | Garbage, item: Try) -> Try | None:
        """The request before `item` to which this may be the answer."""
        latest = _LATEST_MS + 1000 * LONGEST * BITS_PER_BYTE / item.baud
        for asked in (self._last, self._unanswered):
            if asked and _answers(part, asked):
                soon = 0 <= item.time_ms - asked.time_ms < latest
                if soon or (asked is self._last and _owed(asked)):
                    return asked
        return None

    def _mark_late(self, address: str) -> None:
        if (tally := self.meters.get(address)) and tally.samples:
            tally.samples[-1].late = True


def _answers(part: Frame | Garbage, last: Try) -> bool:
    """Whether a frame is the late answer to this request, or the second one where the request was repeated."""
    if not isinstance(part, Frame) or part.kind is Kind.SHORT or not last.address:
        return False
    if part.kind is Kind.ACK:
        return _owed(last)
    wanted, identity = parse_address(last.address), identity_of(part)
    if isinstance(wanted, PrimaryAddress):
        return part.address == wanted.number
    return identity is not None and wanted.agrees(identity)


def _owed(last: Try) -> bool:
    """Whether answers to this request may still be under way, however long ago it was."""
    return last.fault is Fault.SILENCE or last.number > 1


def _stray(part: Frame | Garbage, time_ms: int) -> Stray:
    if isinstance(part, Frame) and part.kind is not Kind.ACK:
        if part.kind is Kind.LONG and part.control & _DIRECTION == 0:
            return Stray(time_ms, Unasked.TELEGRAM, identity_of(part))
        return Stray(time_ms, Unasked.REQUEST)
    return Stray(time_ms, Unasked.NOISE if part.raw.strip(b"\0") else Unasked.BLANK)


def _sample(item: Try) -> Sample:
    sample = Sample(
        time_ms=item.time_ms,
        baud=item.baud,
        asked=_asked(item.request),
        fault=item.fault,
        delay=item.delay,
        number=item.number,
        late=item.fault is Fault.LATE,
    )
    if item.fault in (None, Fault.FCB) and item.received != ACK:
        for frame in FrameReader().feed(item.received):
            if isinstance(frame, Frame) and frame.kind is Kind.LONG:
                sample.identity = identity_of(frame)
                sample.more = telegram_follows(frame.raw) is True
    elif item.fault is Fault.CHECKSUM:
        sample.sum_error = _sum_error(item.received)
    sample.after_garbage = item.fault is Fault.NOISE and item.received.endswith(ACK)
    sample.blank = bool(item.received) and not item.received.strip(b"\0")
    return sample


def _asked(request: bytes) -> Asked:
    if request[:1] == b"\x68":
        return Asked.SELECTION if request[5:7] == bytes((SELECTED, CI_SELECT)) else Asked.OTHER
    control = request[1] if len(request) == 5 else -1
    if control == SND_NKE:
        return Asked.RESET
    return Asked.DATA if control & ~(FCB | FCV) == REQ_UD2 & ~FCV else Asked.OTHER


def _sum_error(received: bytes) -> int | None:
    """How much less than the sum the checksum of a telegram is, where the rest of its framing is right."""
    if len(received) < 9 or received[0] != 0x68 or received[1] + 6 != len(received):
        return None
    return (sum(received[4:-2]) - received[-2]) & 0xFF

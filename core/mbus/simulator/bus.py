"""The slave side of the M-Bus link layer: what the meters on a simulated line answer to a frame."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from core.mbus.address import BROADCAST, HEADER_LENGTH, POINT_TO_POINT, SELECTED
from core.mbus.frame import (
    ACK,
    CI_SELECT,
    FCB,
    FCV,
    REQ_UD1,
    REQ_UD2,
    SND_NKE,
    SND_UD,
    Frame,
    Kind,
)
from core.mbus.simulator.commands import CI_BAUD, CI_RESET, obey
from core.mbus.simulator.meter import SimulatedMeter
from core.mbus.simulator.misfortune import LINE_UNHARMED, LineMisfortune
from core.mbus.simulator.shaping import FABRICATION, MORE_FOLLOWS, summed

FALLBACK = 60.0
"""Seconds after which a meter to which nobody spoke at its new rate goes back to the one before."""

_CI_SELECT_MSB = 0x56  # selection with the most significant byte first
_IDENTIFICATION = {0x72: 7, 0x73: 7, 0x76: 10, 0x77: 10}  # CI -> offset of its last two digits in a frame
_TWIN_AHEAD = 3 * 86_400.0  # s by which the registers of a twin have run on
_TWIN_ACCESS = 37


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes that come back, how many seconds later than usual, and from which of the bus's meters."""

    data: bytes
    late: float = 0.0
    speakers: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Link:
    """What a slave remembers of the frames to one of its addresses (EN 13757-2, 5.7.2)."""

    fcb: bool | None = None
    page: int = -1  # of the last answer
    answer: bytes = b""

    def reset(self) -> None:
        self.fcb = None
        self.begin()

    def begin(self) -> None:
        """The next telegram is the first one."""
        self.page, self.answer = -1, b""


@dataclass(slots=True)
class _Slave:
    meter: SimulatedMeter
    access: int
    selected: bool = False
    sent: int = 0
    primary: _Link = field(default_factory=_Link)
    secondary: _Link = field(default_factory=_Link)
    rate_before: int | None = None
    """The rate that holds again after `trial_ends`."""
    trial_ends: float | None = None  # seconds since 1970-01-01 UTC


class SimulatedBus:
    """Meters on one line. No I/O and no waiting: `respond` says what would be heard.

    `clock` gives the time that the registers show, in seconds since 1970-01-01 UTC. `baud` is the rate of meters
    that have none of their own; with `None` they understand every one. What is random depends on `seed` alone.
    """

    def __init__(
        self,
        meters: Iterable[SimulatedMeter],
        clock: Callable[[], float] = time.time,
        *,
        baud: int | None = None,
        misfortune: LineMisfortune = LINE_UNHARMED,
        seed: int = 1,
    ) -> None:
        self._slaves = [_Slave(meter, meter.access_number) for meter in meters]
        self._clock = clock
        self.baud = baud
        self.misfortune = misfortune
        """May be changed at any time."""
        self.rate: int | None = None
        """At which the master speaks now; `None` = at that of every meter."""
        self._random = random.Random(seed)

    @property
    def meters(self) -> tuple[SimulatedMeter, ...]:
        """The meters on the line; their attributes may be changed."""
        return tuple(slave.meter for slave in self._slaves)

    @property
    def broken(self) -> bool:
        """Whether nobody hears anybody now."""
        loose = self.misfortune.loose
        return self.misfortune.broken or bool(loose and self._clock() // loose % 2)

    def respond(self, frame: Frame) -> Answer | None:
        """What a master hears after it sent `frame`; `None` for silence.

        The answers of several meters to one frame overlay each other: equal ones stay readable.
        """
        if self.broken:
            return None
        answers: dict[int, bytes] = {}
        late = 0.0
        selection = _selection(frame)
        for index, slave in enumerate(self._slaves):
            fate = slave.meter.misfortune
            if fate.dead or not self._understood_by(slave):
                continue
            data = self._ask(slave, frame, selection)
            if data is not None:
                slave.trial_ends = slave.trial_ends if _switches_rate(frame) else None
                if frame.address != BROADCAST:
                    answers[index] = fate.noise + data
                    late = max(late, fate.late)
        if not answers:
            return None
        return Answer(self._disturbed(overlay(answers.values())), late, frozenset(answers))

    def unasked(self) -> tuple[float, Answer] | None:
        """What comes without a request and in how many seconds: a burst of noise, or a telegram; `None` if nothing.

        Ask again when that time is over.
        """
        share = self.misfortune.noise
        fates = [meter.misfortune for meter in self.meters]
        chatty = [index for index, fate in enumerate(fates) if fate.chatty and not fate.dead]
        if chatty and (not share or self._random.random() < 0.5):
            index = self._random.choice(chatty)
            meter = self._slaves[index].meter
            pause = meter.misfortune.chatty / len(chatty)
            return pause, Answer(meter.telegram_at(self._clock() + pause), speakers=frozenset((index,)))
        if not share:
            return None
        return self._random.uniform(0.1, 2.0) / share, Answer(
            self._random.randbytes(self._random.randint(1, 6))
        )

    def _understood_by(self, slave: _Slave) -> bool:
        if slave.trial_ends is not None and self._clock() > slave.trial_ends:
            slave.meter.baud, slave.trial_ends = slave.rate_before, None
        own = slave.meter.baud or self.baud
        return None in (own, self.rate) or own == self.rate

    def _ask(self, slave: _Slave, frame: Frame, selection: _Selection | None) -> bytes | None:
        if selection:
            slave.secondary.reset()
            slave.selected = selection.means(slave.meter)
            return ACK if slave.selected else None
        if frame.address == SELECTED:
            if not slave.selected:
                return None
            link = slave.secondary
        elif frame.address in (slave.meter.address, POINT_TO_POINT, BROADCAST):
            link = slave.primary
        else:
            return None
        if frame.kind is Kind.SHORT and frame.control == SND_NKE:
            link.reset()
            # A reset to the address of selected meters deselects them (EN 13757-3, 11.3).
            slave.selected = slave.selected and frame.address != SELECTED
            return ACK
        match frame.control & ~(FCB | FCV), frame.kind:
            case (control, Kind.SHORT) if control == REQ_UD2 & ~FCV:
                return self._send(slave, link, frame.control)
            case (control, Kind.SHORT) if control == REQ_UD1 & ~FCV:
                return ACK  # no alarm
            case (control, Kind.LONG) if control == SND_UD & ~FCV:
                return self._take(slave, frame)
        return None

    def _take(self, slave: _Slave, frame: Frame) -> bytes | None:
        """Carry out a command; one that the meter does not know is not acknowledged."""
        now, rate = self._clock(), slave.meter.baud
        if not obey(slave.meter, frame.ci, frame.payload, now):
            return None
        if _switches_rate(frame):
            slave.rate_before, slave.trial_ends = rate, now + FALLBACK
        if frame.ci == CI_RESET:
            slave.primary.begin()
            slave.secondary.begin()
        return ACK

    def _send(self, slave: _Slave, link: _Link, control: int) -> bytes:
        """The next telegram, or the last one again where the frame count bit did not change."""
        fate = slave.meter.misfortune
        fcb = bool(control & FCB) if control & FCV else None
        if fate.fcb == "lost":
            link.reset()
        again = fate.fcb == "stuck" or (fate.fcb != "ignored" and fcb is not None and fcb is link.fcb)
        if not again or not link.answer:
            slave.access = (slave.access + 1) & 0xFF
            link.page = 0 if fate.repeating or fate.endless else (link.page + 1) % len(slave.meter)
            link.answer = self._telegram(slave, link.page)
            link.fcb = fcb
        slave.sent += 1
        answer = link.answer
        if fate.wrong_checksum and (slave.sent - 1) % fate.wrong_checksum == 0:
            # A bit that was disturbed on the way, another one each time.
            at = 7 + self._random.randrange(len(answer) - 9)
            answer = answer[:at] + bytes((answer[at] ^ 0x10,)) + answer[at + 1 :]
        return answer[: fate.cut or None]

    def _telegram(self, slave: _Slave, page: int) -> bytes:
        meter, fate, now = slave.meter, slave.meter.misfortune, self._clock()
        tail = b""
        if fate.repeating or fate.endless:
            # Behind DIF 1Fh a telegram may carry what only its manufacturer understands: here, a number.
            tail = MORE_FOLLOWS + (slave.sent.to_bytes(4) if fate.endless else b"")
        raw = meter.telegram_at(now, page, slave.access, tail)
        if fate.impostor:
            raw = _misnamed(raw)
        if fate.twin:
            raw = overlay(
                (raw, meter.telegram_at(now + _TWIN_AHEAD, page, slave.access + _TWIN_ACCESS, tail))
            )
        return raw

    def _disturbed(self, data: bytes) -> bytes:
        """Now and then with noise in front, within or behind."""
        if self._random.random() >= self.misfortune.noise:
            return data
        noise = self._random.randbytes(self._random.randint(1, 6))
        at = self._random.choice((0, len(data) // 2, len(data)))
        return data[:at] + noise + data[at if at in (0, len(data)) else at + len(noise) :]


def overlay(answers: Collection[bytes]) -> bytes:
    """What is heard when all of these bytes are sent at once; FFh leaves the others as they are.

    A slave signals a 0 bit by drawing current, so where two send at once, 0 wins.
    """
    mixed = bytearray(b"\xff" * max(map(len, answers)))
    for answer in answers:
        for index, byte in enumerate(answer):
            mixed[index] &= byte
    return bytes(mixed)


def _switches_rate(frame: Frame) -> bool:
    return frame.kind is Kind.LONG and frame.ci in CI_BAUD


def _misnamed(raw: bytes) -> bytes:
    """The telegram with another last digit in its identification."""
    place = _IDENTIFICATION.get(raw[6])
    if place is None:
        return raw
    return summed(raw[:place] + bytes((raw[place] ^ 0x01,)) + raw[place + 1 :])


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Bytes that are wanted, and which of their bits count."""

    wanted: int
    mask: int

    @classmethod
    def of(cls, digits: bytes, codes: bytes = b"") -> _Pattern:
        """F in a digit, and FFh in a code, stands for any."""
        mask = "".join("0" if digit == "f" else "f" for digit in digits.hex())
        mask += "".join("00" if code == 0xFF else "ff" for code in codes)
        return cls(int.from_bytes(digits + codes), int(mask, 16))

    def fits(self, have: bytes) -> bool:
        return (int.from_bytes(have) ^ self.wanted) & self.mask == 0


@dataclass(frozen=True, slots=True)
class _Selection:
    """Whom a select frame means (EN 13757-3, 11.3); in an enhanced one by the fabrication number as well."""

    header: _Pattern | None
    fabrication: _Pattern | None

    def means(self, meter: SimulatedMeter) -> bool:
        if self.header is None or not self.header.fits(meter.header):
            return False
        if self.fabrication is None:
            return True
        return meter.fabrication is not None and self.fabrication.fits(meter.fabrication)


def _selection(frame: Frame) -> _Selection | None:
    """What `frame` selects; `None` if it is no select frame."""
    if (
        frame.kind is not Kind.LONG
        or frame.address != SELECTED
        or frame.ci not in (CI_SELECT, _CI_SELECT_MSB)
    ):
        return None
    header, number = frame.payload[:HEADER_LENGTH], frame.payload[HEADER_LENGTH:]
    if frame.ci == _CI_SELECT_MSB:
        header = header[3::-1] + header[5:3:-1] + header[6:]
        number = number[:2] + number[:1:-1]
    enhanced = len(number) == 6 and number[:2] == FABRICATION
    if len(header) != HEADER_LENGTH or frame.control & ~FCB != SND_UD or (number and not enhanced):
        return _Selection(None, None)
    return _Selection(_Pattern.of(header[:4], header[4:]), _Pattern.of(number[2:]) if enhanced else None)

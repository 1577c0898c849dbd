"""The slave side of the M-Bus link layer: what the meters on a simulated line answer to a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from core.mbus.address import BROADCAST, HEADER_LENGTH, POINT_TO_POINT, SELECTED, SecondaryAddress
from core.mbus.frame import ACK, CI_SELECT, FCB, FCV, REQ_UD1, REQ_UD2, SND_NKE, SND_UD, Frame, Kind
from core.mbus.simulator.meter import SimulatedMeter

_CI_RESET = 0x50  # application reset


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
        self.fcb, self.page, self.answer = None, -1, b""


@dataclass(slots=True)
class _Slave:
    meter: SimulatedMeter
    access: int
    selected: bool = False
    sent: int = 0
    primary: _Link = field(default_factory=_Link)
    secondary: _Link = field(default_factory=_Link)


class SimulatedBus:
    """Meters on one line. No I/O and no waiting: `respond` says what would be heard.

    `clock` gives the time that the registers show, in seconds since 1970-01-01 UTC.
    """

    def __init__(self, meters: Iterable[SimulatedMeter], clock: Callable[[], float] = time.time) -> None:
        self._slaves = [_Slave(meter, meter.access_number) for meter in meters]
        self._clock = clock

    @property
    def meters(self) -> tuple[SimulatedMeter, ...]:
        """The meters on the line; their address and misfortune may be changed."""
        return tuple(slave.meter for slave in self._slaves)

    def respond(self, frame: Frame) -> Answer | None:
        """What a master hears after it sent `frame`; `None` for silence.

        The answers of several meters to one frame overlay each other: equal ones stay readable.
        """
        answers: dict[int, bytes] = {}
        late = 0.0
        for index, slave in enumerate(self._slaves):
            fate = slave.meter.misfortune
            data = None if fate.dead else self._ask(slave, frame)
            if data is not None and frame.address != BROADCAST:
                answers[index] = fate.noise + data
                late = max(late, fate.late)
        return Answer(overlay(answers.values()), late, frozenset(answers)) if answers else None

    def _ask(self, slave: _Slave, frame: Frame) -> bytes | None:
        if frame.kind is Kind.LONG and (frame.address, frame.ci) == (SELECTED, CI_SELECT):
            return _select(slave, frame)
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
            case (control, Kind.LONG) if control == SND_UD & ~FCV and frame.ci == _CI_RESET:
                link.page = -1
                return ACK
        return None

    def _send(self, slave: _Slave, link: _Link, control: int) -> bytes:
        """The next telegram, or the last one again where the frame count bit did not change."""
        fcb = bool(control & FCB) if control & FCV else None
        if fcb is None or fcb is not link.fcb or not link.answer:
            link.page = (link.page + 1) % len(slave.meter)
            slave.access = (slave.access + 1) & 0xFF
            link.answer = slave.meter.telegram_at(self._clock(), link.page, slave.access)
            link.fcb = fcb
        every = slave.meter.misfortune.wrong_checksum
        spoil = every and slave.sent % every == 0
        slave.sent += 1
        if spoil:
            return link.answer[:-2] + bytes((link.answer[-2] ^ 0xFF,)) + link.answer[-1:]
        return link.answer


def overlay(answers: Collection[bytes]) -> bytes:
    """What is heard when all of these bytes are sent at once; FFh leaves the others as they are.

    A slave signals a 0 bit by drawing current, so where two send at once, 0 wins.
    """
    mixed = bytearray(b"\xff" * max(map(len, answers)))
    for answer in answers:
        for index, byte in enumerate(answer):
            mixed[index] &= byte
    return bytes(mixed)


def _select(slave: _Slave, frame: Frame) -> bytes | None:
    slave.secondary.reset()
    slave.selected = (
        len(frame.payload) == HEADER_LENGTH
        and frame.control & ~FCB == SND_UD
        and _meant(frame.payload, slave.meter.header)
    )
    return ACK if slave.selected else None


def _meant(wanted: bytes, header: bytes) -> bool:
    return SecondaryAddress.from_header(wanted).matches(header)

"""What the rules of the bus doctor look at: a line and its meters at one moment, since their last fault was cured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Final, TypeVar

from core.mbus.address import SecondaryAddress
from core.mbus.exchange import ANSWER_BITS, ANSWER_SECONDS
from core.mbus.tally import Asked, Beat, LineTally, MeterTally, Sample, Stray
from core.mbus.watch import Fault

SILENT: Final = 3
"""Requests in a row without an answer: one readout with both repeats."""

OFTEN: Final = 0.2
"""Share of a meter's answers from which on it is no accident."""

CURED: Final = 0.01
"""How likely a row of good answers may at most be while a fault lasts, so that it is taken for cured."""

CURED_FEW: Final = 3
"""Good answers that a cure takes at least."""

LATELY: Final = 9
"""Telegrams, three readouts with both repeats, that tell what became of a meter that was well before."""

LATE: Final = 3
"""Answers that came too late."""

GOOD: Final = (None, Fault.FCB)
"""What is no fault of an answer as such."""

T = TypeVar("T")


@dataclass(frozen=True)
class Patient:
    """A meter as the rules see it, at one moment."""

    name: str
    address: str
    identity: SecondaryAddress | None  # that its telegrams should have
    baud: int
    margin: float  # s for which it is waited longer
    samples: Sequence[Sample]  # its last requests, oldest first
    silent: int  # requests in a row without an answer
    silent_since_ms: int | None
    last_answer_ms: int | None
    fcb_faults: int  # telegrams since the counters began, and in the last check
    other_rates: Mapping[int, int]  # rate at which it answered too -> when, ms

    @classmethod
    def of(
        cls,
        name: str,
        address: str,
        identity: SecondaryAddress | None,
        baud: int,
        margin: float,
        tally: MeterTally,
    ) -> Patient:
        """What a tally has now."""
        return cls(
            name=name,
            address=address,
            identity=identity,
            baud=baud,
            margin=margin,
            samples=since_cure(tuple(tally.samples), _is_bad),
            silent=tally.silent,
            silent_since_ms=tally.silent_since_ms,
            last_answer_ms=tally.last_answer_ms,
            fcb_faults=tally.fcb_faults + tally.fcb_checked,
            other_rates=dict(tally.other_rates),
        )

    @cached_property
    def faults(self) -> Counter[Fault | None]:
        return Counter(sample.fault for sample in self.samples)

    @cached_property
    def delays(self) -> list[float]:
        """Of answers that came at once, s."""
        good = (s for s in self.samples if s.fault in GOOD and s.number == 1 and not s.late)
        return [sample.delay for sample in good if sample.delay is not None][-LATELY:]

    @property
    def longest_s(self) -> float:
        """It is known to have taken for an answer; 0 where that is not known of any."""
        return max((s.delay for s in self.samples if s.delay and s.number == 1), default=0.0)

    @property
    def is_late(self) -> bool:
        """Whether its answers come when nobody waits for them any more."""
        unawaited = sum(sample.late for sample in self.samples) >= max(LATE, OFTEN / 2 * len(self.samples))
        return unawaited or (len(self.delays) >= LATE and median(self.delays) > self.limit)

    @property
    def heard(self) -> int:
        """Requests after which something came."""
        return len(self.samples) - self.faults[Fault.SILENCE]

    @property
    def is_silent(self) -> bool:
        return self.silent >= SILENT

    @property
    def limit(self) -> float:
        """Seconds in which it has to answer: those of the standard (EN 13757-2), and what it was given besides."""
        return ANSWER_BITS / self.baud + ANSWER_SECONDS + self.margin

    def count(self, *faults: Fault) -> int:
        return sum(self.faults[fault] for fault in faults)

    @property
    def telegrams(self) -> list[Sample]:
        """Its latest telegrams, whole or broken."""
        return [s for s in self.asked(Asked.DATA) if s.fault is not Fault.SILENCE][-LATELY:]

    def asked(self, what: Asked) -> list[Sample]:
        return [sample for sample in self.samples if sample.asked is what]


@dataclass(frozen=True)
class Case:
    """A line as the rules see it, at one moment."""

    now_ms: int
    since_ms: int  # when the counters began
    baud: int
    patients: Sequence[Patient]
    beats: Sequence[Beat]
    strays: Sequence[Stray]
    blackouts: Sequence[int]
    load: float
    foreign: float  # of which by other software
    demanded: float  # of which by searches, commands and checks
    clock: Callable[[int], str]  # ms -> the local time as people read it

    @classmethod
    def of(
        cls, tally: LineTally, patients: Sequence[Patient], now_ms: int, clock: Callable[[int], str]
    ) -> Case:
        """What a tally has now."""
        load, foreign, demanded = tally.load(now_ms)
        return cls(
            now_ms=now_ms,
            since_ms=tally.since_ms,
            baud=tally.baud,
            patients=patients,
            beats=tuple(tally.beats),
            strays=tuple(tally.strays),
            blackouts=tuple(tally.blackouts),
            load=load,
            foreign=foreign,
            demanded=demanded,
            clock=clock,
        )

    @cached_property
    def asked(self) -> list[Patient]:
        """Those that were asked at least once with all repeats."""
        return [patient for patient in self.patients if len(patient.samples) >= SILENT]

    @property
    def samples(self) -> list[Sample]:
        """The last requests to each meter in `asked`, since its last fault was cured."""
        return [sample for patient in self.asked for sample in patient.samples]

    @cached_property
    def silent(self) -> list[Patient]:
        return [patient for patient in self.asked if patient.is_silent]


def since_cure(items: Sequence[T], is_bad: Callable[[T], bool]) -> Sequence[T]:
    """What came since a fault was cured: a row of good ones at the end that it would hardly have left; else all."""
    good = next((place for place, item in enumerate(reversed(items)) if is_bad(item)), len(items))
    before = items[: len(items) - good]
    share = sum(map(is_bad, before)) / max(1, len(before))
    cured = good >= CURED_FEW and (1 - share) ** good < CURED
    return items[len(before) :] if cured else items


def _is_bad(sample: Sample) -> bool:
    return sample.fault not in GOOD or sample.late

"""What the bus doctor tells of a line and its meters: shared by the core, commands and screens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of the requests of a line or of one meter, since `since_ms`."""

    since_ms: int
    tries: int = 0
    answers: int = 0
    timeouts: int = 0
    checksum_errors: int = 0
    collisions: int = 0
    noise: int = 0
    cut: int = 0
    unexpected: int = 0
    late: int = 0
    fcb_faults: int = 0
    echoes: int = 0
    repeated: int = 0  # answers that needed more than one try
    delay_min_s: float | None = None
    delay_mean_s: float | None = None
    delay_max_s: float | None = None


class Severity(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    NOTICE = "notice"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """A likely fault in a plain sentence."""

    severity: Severity
    meter: str  # its name, "" for the line
    fault: str  # "two meters on one address", "broken cable", "slow answerer", ...
    sentence: str  # what it is and what to do
    evidence: str  # "17 of 20 answers with wrong checksum, both with 68 .. 68"


@dataclass(frozen=True, slots=True)
class MeterDiagnosis:
    """One meter in the doctor's view."""

    key: int | None  # None for an address that is not installed
    name: str
    address: str
    statistics: Statistics
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check in which every meter of a line is asked a few times."""

    done: int  # meters
    total: int
    current: str  # name of the meter that is asked, "" when it has ended
    reason: str = ""  # why it ended before its end, a sentence; "" else

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return bool(self.current)


@dataclass(frozen=True, slots=True)
class LineDiagnosis:
    """One line in the doctor's view."""

    line: str
    statistics: Statistics
    load: float  # share of the last minutes in which the wire was taken, 0..1
    verdict: str  # one sentence: the worst finding, or that all is well
    findings: tuple[Finding, ...]  # worst first, those of its meters among them
    meters: tuple[MeterDiagnosis, ...]
    recording: str = ""  # the file that the line is or was recorded to, "" for none
    recorded: int = 0  # tries in it
    recording_reason: str = ""  # why the recording has ended by itself, a sentence; "" while it goes on
    check: CheckView | None = None  # the one that runs, else the last one

    @property
    def recorded_to(self) -> str:
        """The file that the line is recorded to now, "" for none."""
        return "" if self.recording_reason else self.recording


@dataclass(frozen=True, slots=True)
class LineTraceEntry:
    """One request and its answer on a line."""

    id: int  # grows by one from entry to entry
    time_ms: int
    baud: int
    purpose: str  # "read", "search", "command", "transparent port"
    address: str
    meter: str  # its name, "" where it is not installed
    number: int  # of the try
    request: bytes
    received: bytes  # without the echo
    echo: bool
    fault: str  # "" for a good answer
    delay_s: float | None
    request_meaning: str  # "select 12345678.HYD.25.07", "SND_NKE 5", "REQ_UD2 253 FCB 1"
    answer_meaning: str  # "RSP_UD from 5, HYD 12345678, 14 records", "acknowledgement"

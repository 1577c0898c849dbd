"""What a search for meters is asked for, and what it tells: shared by the core, commands and screens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Method = Literal["secondary", "primary"]

MOST_PATIENCE_MS: Final = 2000
"""No meter answers later than so much after its time."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search on one line."""

    line: str
    methods: tuple[Method, ...] = ("secondary",)
    """In this order."""
    bauds: tuple[int, ...] = ()
    """Rates to search at, bit/s; () = that of the line."""
    mask: str = "FFFFFFFF"
    """Identifications that come into question, as a secondary address with F for any digit, and perhaps
    manufacturer, version and medium: "12FFFFFF.HYD"."""
    first: int = 1
    """Lowest primary address, 0..250."""
    last: int = 250
    """Highest primary address, 0..250."""
    hex_digits: bool = True
    """Also look for identifications with digits A to E."""
    patience_ms: int = 0
    """For which to wait longer for each answer than on that line else, 0..`MOST_PATIENCE_MS`. A search by secondary
    addresses notices by itself that meters are late, one by primary addresses does not."""
    expected: tuple[str, ...] = ()
    """Identifications (8 digits) or whole secondary addresses of the meters that should be there; they are asked for
    first."""
    names: tuple[str, ...] = ()
    """Names of the expected ones in the same order, "" for none; may end early."""


@dataclass(frozen=True, slots=True)
class SearchEstimate:
    """How long a search takes; s."""

    nobody_s: float  # nobody answers, for which a line is waited for: perhaps more than `likely_s`
    likely_s: float  # with as many meters as are expected or installed
    probes: int  # of the likely case
    sentence: str  # "about 4 min for 12 meters; with nobody there 30 s"


class SearchState(StrEnum):
    """How a search stands."""

    RUNNING = "running"
    WAITING = "waiting"  # for the line, which is down
    PAUSED = "paused"
    STOPPED = "stopped"  # by a person, before its end; it can be resumed
    DONE = "done"


class Verdict(StrEnum):
    """What a meter is in the light of the expected ones."""

    FOUND = "found"
    MISSING = "missing"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter that a search found, or missed."""

    address: str  # to read it by: "12345678.HYD.25.07", "5"; as `core.mbus.address` writes it
    identification: str  # 8 digits, "" where its header says nothing
    manufacturer: str
    version: int | None
    medium: str  # "water"
    primary: int | None  # where it answered to one or says so
    baud: int
    verdict: Verdict
    installed: bool
    name: str = ""  # of the installed meter, or from the list of expected ones
    note: str = ""  # a sentence: "answers at primary address 5 as well"


@dataclass(frozen=True, slots=True)
class SearchView:
    """A search, at one moment."""

    line: str
    request: SearchRequest
    state: SearchState
    step: str  # "secondary addresses 12FFFFFF at 2400 baud"
    reason: str  # why it waits, "" else
    started_ms: int
    finished_ms: int | None
    probes: int
    share: float  # 0..1 of the way
    left_s: float | None  # None where it cannot be told
    at_least: bool  # `left_s` is the least, since there may be meters that nobody knows of
    meters: tuple[FoundMeter, ...]  # as they come; the missing ones at the end of the search
    troubles: tuple[str, ...]  # sentences: what cannot be told apart, noise, a dead stretch

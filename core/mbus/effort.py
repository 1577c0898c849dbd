"""What a search for meters takes: how many probes, and how many seconds on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from core.mbus.address import PrimaryAddress, SecondaryAddress, parse_address
from core.mbus.exchange import ANSWER_BITS, ANSWER_SECONDS, IDLE_BITS, LATEST
from core.mbus.frame import BITS_PER_BYTE, select
from core.mbus.narrowing import DECIMAL, HEX, OPEN
from core.searching import Method, SearchEstimate, SearchRequest

AGAIN_S: Final = 0.3
"""Before a question is asked again, and as much more each time."""
SLOW_S: Final = 1.0
"""For which to wait longer where nobody answers in time."""
ROOT_TRIES: Final = 3
"""Questions to all meters at once that nobody answers, before others are asked."""
WAIT_S: Final = 5.0
"""Between two questions to a line on which nobody answers."""

_PATIENCE: Final = sum(LATEST + tried * AGAIN_S + SLOW_S for tried in range(1, ROOT_TRIES))
"""s of pauses and longer waits for which an empty tree takes more than its probes on the wire."""
_ASSUMED: Final = 10
"""Meters of which an estimate is made where nothing is known."""
_FAR: Final = 61_803_399
"""Between numbers that have nothing in common."""
_PACED_S: Final = 5.0
"""Of probes, after which it is known how long they take."""
_DELAY_BITS, _DELAY_S = 33, 0.03
"""After which a quick meter answers."""
_TELEGRAM: Final = 100
"""Bytes of a usual telegram."""
_REQUEST: Final = 5
"""Bytes of a request for it."""


@dataclass(frozen=True, slots=True)
class Probes:
    """How many probes find nobody, one meter, and several."""

    nothing: int = 0
    one: int = 0
    several: int = 0
    patience: float = 0.0
    """s of pauses and longer waits besides."""

    def __add__(self, other: Probes) -> Probes:
        return Probes(
            self.nothing + other.nothing,
            self.one + other.one,
            self.several + other.several,
            self.patience + other.patience,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.nothing + self.one + self.several


def foreseen(mask: str, meters: Sequence[str], *, hex_digits: bool) -> Probes:
    """What a search takes if these meters are there, and no others; by identification, 8 digits each."""
    if not meters:
        return Probes(nothing=1)
    if len(meters) == 1:
        return Probes(one=1)
    place = mask.find(OPEN)
    if place < 0:
        return Probes(one=len(meters), several=1)
    below: dict[str, list[str]] = {}
    for meter in meters:
        below.setdefault(meter[place], []).append(meter)
    total = Probes(len(HEX if hex_digits else DECIMAL) - len(below), 0, 1)
    for digit, some in below.items():
        total += foreseen(mask[:place] + digit + mask[place + 1 :], some, hex_digits=hex_digits)
    return total


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that a probe takes on the wire, by what it finds (EN 13757-2 times)."""

    nothing: float
    one: float
    several: float

    @classmethod
    def at(cls, baud: int, margin: float) -> Costs:
        """At that rate in bit/s, on a line whose answers may come `margin` s later than the standard allows."""
        bit = 1 / baud
        byte, idle = BITS_PER_BYTE * bit, IDLE_BITS * bit
        timeout = ANSWER_BITS * bit + ANSWER_SECONDS + margin
        opening = len(select(SecondaryAddress("FFFFFFFF"))) * byte
        delay = _DELAY_BITS * bit + _DELAY_S
        selection = opening + byte + delay + idle
        telegram = (_REQUEST + _TELEGRAM) * byte + delay + idle
        # Whom a mask found is selected by its own address as well.
        return cls(opening + timeout + idle, 2 * selection + telegram, selection + telegram + timeout)

    def of(self, probes: Probes) -> float:
        """Seconds for all of these."""
        asked = probes.nothing * self.nothing + probes.one * self.one + probes.several * self.several
        return asked + probes.patience


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search takes, as far as the meters are known that should be there.

    A leg of a search is a method at one rate in bit/s.
    """

    request: SearchRequest
    known: Sequence[str]  # addresses
    mask: SecondaryAddress  # that of the request
    baud: int  # of the line

    def estimate(self, legs: Sequence[tuple[Method, int]], margin: float) -> SearchEstimate:
        """How long all legs will take; `margin` in s as `Costs.at` has it."""

        def seconds(probes: Callable[[tuple[Method, int]], Probes]) -> float:
            return sum(Costs.at(leg[1], margin).of(probes(leg)) for leg in legs)

        likely = [self.likely(leg) for leg in legs]
        likely_s, nobody_s = seconds(self.likely), seconds(self._least)
        scattered_s = seconds(lambda leg: self.likely(leg, apart=_FAR))
        addresses = [parse_address(text) for text in self.known]
        primary = sum(isinstance(address, PrimaryAddress) for address in addresses)
        meters = max(primary, len(addresses) - primary) or _ASSUMED
        about = f"{span(scattered_s)} to" if scattered_s < likely_s else "about"
        likely_text = f"{about} {span(likely_s)} for {meters} meter{'s' * (meters != 1)}"
        sentence = f"{likely_text}; with nobody there {span(nobody_s)}"
        return SearchEstimate(nobody_s, likely_s, sum(item.total for item in likely), sentence)

    def likely(self, leg: tuple[Method, int], *, apart: int = 1) -> Probes:
        """What a leg that has not begun takes if the known meters are there, at the line's own rate.

        Where none is known, the numbers of those that are assumed are so far `apart`: of one delivery, next to each
        other, which takes longest.
        """
        method, baud = leg
        rates = self.request.bauds or (self.baud,)
        if baud != (self.baud if self.baud in rates else rates[0]):
            return self._least(leg, blind=False)
        if method == "primary":
            numbers = self._least(leg).nothing
            there = min(numbers, len(self.known) or _ASSUMED)
            return Probes(nothing=numbers - there, one=there)
        known = self.identifications(self.known)
        tree = foreseen(
            self.mask.identification, known or _assumed(self.mask, apart), hex_digits=self.request.hex_digits
        )
        if len(known) < 2:
            return tree
        # Each is asked for by itself, and so nobody has to be asked whether there are several.
        return Probes(tree.nothing + 1, tree.one + len(known), 1)

    def _least(self, leg: tuple[Method, int], *, blind: bool = True) -> Probes:
        """What a leg takes if nobody answers; `blind` where nobody did before it either."""
        method, baud = leg
        if method == "primary":
            return Probes(nothing=self.request.last - self.request.first + 1)
        known = len(self.identifications(self.known)) if baud == self.baud else 0
        empty = Probes(ROOT_TRIES + known, patience=_PATIENCE + known * SLOW_S)
        return empty + Probes(nothing=1, patience=WAIT_S + SLOW_S) if blind else empty

    def identifications(self, addresses: Iterable[str]) -> list[str]:
        """The whole ones among these that the mask allows."""
        found = [text[:8] for text in addresses if len(text) >= len(self.mask.identification)]
        return [digits for digits in found if "F" not in digits and fits(digits, self.mask.identification)]


def span(seconds: float) -> str:
    """A time as people say it: "30 s", "4 min", "1 h 5 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def fits(digits: str, pattern: str) -> bool:
    """Whether an identification is one of those that a pattern with open digits stands for."""
    fixed = pattern[:8].rstrip("F")
    if "F" not in fixed:
        return digits.startswith(fixed)
    return all(want in ("F", have) for have, want in zip(digits, fixed, strict=False))


def _assumed(mask: SecondaryAddress, apart: int) -> list[str]:
    """Identifications of meters of which nothing is known."""
    digits = (f"{number * apart % 100_000_000:08d}" for number in range(1, _ASSUMED + 1))
    return [
        "".join(have if want == "F" else want for have, want in zip(item, mask.identification, strict=True))
        for item in digits
    ]


class Pace:
    """How long probes really take: meters differ, and readouts come between."""

    def __init__(self) -> None:
        self._taken = 0.0
        self._foreseen = 0.0

    def note(self, taken: float, foreseen: float) -> None:
        """A probe took so many s, and was to take so many."""
        self._taken += taken
        self._foreseen += foreseen

    @property
    def factor(self) -> float:
        """By which it takes longer than foreseen; 1 before enough was seen."""
        return self._taken / self._foreseen if self._foreseen >= _PACED_S else 1.0

"""How several meters at one secondary address are told apart, and what it takes to ask for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.mbus.address import SecondaryAddress
from core.mbus.exchange import ANSWER_BITS, ANSWER_SECONDS, IDLE_BITS
from core.mbus.frame import BITS_PER_BYTE, select
from core.mbus.medium import MEDIUM_NAMES

_DECIMAL: Final = "0123456789"
_HEX: Final = "0123456789ABCDE"  # F stands for any digit
_OPEN: Final = "F"
NO_FABRICATION: Final = "EEEEEEEE"
"""A fabrication number that no meter has."""

_DELAY_BITS, _DELAY_S = 33, 0.03
"""After which a quick meter answers."""
_TELEGRAM: Final = 100
"""Bytes of a usual telegram."""
_REQUEST: Final = 5
"""Bytes of a request for it."""


def stages(
    address: SecondaryAddress, *, hex_digits: bool, makers: Iterable[str], heard: Iterable[SecondaryAddress]
) -> list[tuple[SecondaryAddress, ...]]:
    """What to ask, stage by stage, where several meters answer at `address`; a later stage only if one is not enough.

    An open digit takes every value, from the left; that proves who is there. A whole identification is narrowed by
    makers that come into question, by whole addresses that were `heard` in disturbed telegrams, by medium and by
    version; a whole address by fabrication number (enhanced selection, EN 13757-3, 11.5), `NO_FABRICATION` first: who
    answers to that knows no such selection. Empty where all that can be selected by is given.
    """
    place = address.identification.find(_OPEN)
    if place >= 0:
        digits = _HEX if hex_digits else _DECIMAL
        return [tuple(_with_digit(address, place, digit) for digit in digits)]
    digits = _DECIMAL
    if address.fabrication is not None:
        place = address.fabrication.find(_OPEN)
        return [tuple(_with_fabrication(address, place, digit) for digit in digits)] if place >= 0 else []
    if address.exact:
        numbered = replace(address, fabrication=_OPEN * 8)
        tried = (_with_fabrication(numbered, 0, digit) for digit in digits)
        return [(replace(address, fabrication=NO_FABRICATION), *tried)]
    found: list[tuple[SecondaryAddress, ...]] = []
    if address.manufacturer is None and address.medium is None and address.version is None:
        found.append(tuple(replace(address, manufacturer=maker) for maker in makers))
    found.append(tuple(other for other in heard if address.agrees(other)))
    if address.medium is None:
        found.append(tuple(replace(address, medium=code) for code in MEDIUM_NAMES))
    elif address.version is None:
        found.append(tuple(replace(address, version=number) for number in range(255)))
    return [stage for stage in found if stage]


def heard_address(raw: bytes) -> SecondaryAddress | None:
    """The secondary address in a disturbed telegram, which may be wrong; `None` where none can be seen.

    Meters whose headers are equal disturb each other only behind them.
    """
    if len(raw) < 15 or raw[0] != 0x68 or raw[3] != 0x68 or raw[6] != 0x72:
        return None
    address = SecondaryAddress.from_header(raw[7:15])
    return address if address.exact else None


@dataclass(frozen=True, slots=True)
class Probes:
    """How many probes find nobody, one meter, and several."""

    nothing: int = 0
    one: int = 0
    several: int = 0

    def __add__(self, other: Probes) -> Probes:
        return Probes(self.nothing + other.nothing, self.one + other.one, self.several + other.several)

    @property
    def total(self) -> int:
        return self.nothing + self.one + self.several


def foreseen(mask: str, meters: Sequence[str], *, hex_digits: bool) -> Probes:
    """What a search takes if these meters are there, and no others; by identification, 8 digits each."""
    if not meters:
        return Probes(nothing=1)
    if len(meters) == 1:
        return Probes(one=1)
    place = mask.find(_OPEN)
    if place < 0:
        return Probes(one=len(meters), several=1)
    below: dict[str, list[str]] = {}
    for meter in meters:
        below.setdefault(meter[place], []).append(meter)
    total = Probes(len(_HEX if hex_digits else _DECIMAL) - len(below), 0, 1)
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
        return probes.nothing * self.nothing + probes.one * self.one + probes.several * self.several


def _with_fabrication(address: SecondaryAddress, place: int, digit: str) -> SecondaryAddress:
    digits = address.fabrication or ""
    return replace(address, fabrication=digits[:place] + digit + digits[place + 1 :])


def _with_digit(address: SecondaryAddress, place: int, digit: str) -> SecondaryAddress:
    digits = address.identification
    return replace(address, identification=digits[:place] + digit + digits[place + 1 :])

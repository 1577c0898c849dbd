"""How several meters at one secondary address are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from core.mbus.address import SecondaryAddress
from core.mbus.medium import MEDIUM_NAMES

DECIMAL: Final = "0123456789"
HEX: Final = "0123456789ABCDE"
"""Values of a digit; F stands for any."""
OPEN: Final = "F"
NO_FABRICATION: Final = "EEEEEEEE"
"""A fabrication number that no meter has."""
CONTROL: Final = SecondaryAddress("EEEEEEEE", "ZZZ", 0xFE, 0xFE)
"""An address that no meter has."""


def stages(
    address: SecondaryAddress, *, hex_digits: bool, makers: Iterable[str], heard: Iterable[SecondaryAddress]
) -> list[tuple[SecondaryAddress, ...]]:
    """What to ask, stage by stage, where several meters answer at `address`; a later stage only if one is not enough.

    An open digit takes every value, from the left; that proves who is there. A whole identification is narrowed by
    makers that come into question, by whole addresses that were `heard` in disturbed telegrams, by medium and by
    version; a whole address by fabrication number (enhanced selection, EN 13757-3, 11.5), `NO_FABRICATION` first: who
    answers to that knows no such selection. Empty where all that can be selected by is given.
    """
    place = address.identification.find(OPEN)
    if place >= 0:
        digits = HEX if hex_digits else DECIMAL
        return [tuple(_with_digit(address, place, digit) for digit in digits)]
    digits = DECIMAL
    if address.fabrication is not None:
        place = address.fabrication.find(OPEN)
        return [tuple(_with_fabrication(address, place, digit) for digit in digits)] if place >= 0 else []
    if address.exact:
        numbered = replace(address, fabrication=OPEN * 8)
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


def _with_fabrication(address: SecondaryAddress, place: int, digit: str) -> SecondaryAddress:
    digits = address.fabrication or ""
    return replace(address, fabrication=digits[:place] + digit + digits[place + 1 :])


def _with_digit(address: SecondaryAddress, place: int, digit: str) -> SecondaryAddress:
    digits = address.identification
    return replace(address, identification=digits[:place] + digit + digits[place + 1 :])

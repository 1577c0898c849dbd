"""DLMS units and their exact relation to the units of M-Bus records.

Only factors that are exact by definition are here: J and Wh, or J/h and W, are never converted into each
other, because a meter's own register would then be contradicted by rounding.
"""

from __future__ import annotations

import csv
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

NO_UNIT = 255  # Blue Book 4.3.2: count, no unit


class DlmsUnit(NamedTuple):
    """One item of the enumeration of physical units (Blue Book 4.3.2)."""

    code: int
    symbol: str
    quantity: str


@cache
def dlms_units() -> dict[int, DlmsUnit]:
    """All known units by their code."""
    with (Path(__file__).parent / "dlms_units.csv").open(encoding="utf-8", newline="") as file:
        return {
            int(row["enum"]): DlmsUnit(int(row["enum"]), row["symbol"], row["quantity"])
            for row in csv.DictReader(file)
        }


def symbol(code: int) -> str:
    """The symbol for people, `"m³"`; "" for a count or no unit, the number for an unknown code."""
    if code in (0, 254, NO_UNIT):
        return ""
    unit = dlms_units().get(code)
    return unit.symbol if unit else f"unit {code}"


class UnitMismatchError(ValueError):
    """A record's unit is of another kind than the entry's; the message names both."""


def factor(mbus_unit: str, dlms_code: int) -> Fraction:
    """What a number in the M-Bus unit is multiplied with to be one in the DLMS unit.

    A DLMS unit without a physical kind (0, 10, 254, 255 or an unknown code) takes any record as it is.
    Raises `UnitMismatchError` where the kinds differ or the unit of the record is not known.
    """
    if dlms_code in _WITHOUT_KIND or dlms_code not in dlms_units():
        return _ONE
    wanted, given = _DLMS.get(dlms_code), _MBUS.get(mbus_unit)
    if wanted is not None and given is not None:
        if given[0] == wanted[0]:
            return given[1] / wanted[1]
        if given[0] == "difference" and wanted[0] == "temperature":
            return _ONE  # a difference in K is the same number in °C; an absolute temperature is not
    wanted_text = f"{symbol(dlms_code)} (unit {dlms_code})"
    raise UnitMismatchError(f"the meter's unit {mbus_unit} cannot become {wanted_text}")


def code_for(mbus_unit: str) -> int:
    """The DLMS unit that is nearest to a unit of M-Bus: the same, else one of its kind, else 255."""
    if mbus_unit not in _MBUS:
        return NO_UNIT
    kind, size = _MBUS[mbus_unit]
    codes = [code for code, (of_kind, _) in _DLMS.items() if of_kind == kind]
    return min(codes, key=lambda code: (_DLMS[code][1] != size, code), default=NO_UNIT)


_ONE = Fraction(1)
_WITHOUT_KIND = (0, 10, 254, NO_UNIT)  # none, currency, other, count

_MBUS: dict[str, tuple[str, Fraction]] = {
    "m3": ("volume", _ONE),
    "l": ("volume", Fraction(1, 1000)),
    "m3/h": ("volume flow", _ONE),
    "m3/min": ("volume flow", Fraction(60)),
    "m3/s": ("volume flow", Fraction(3600)),
    "m3/d": ("volume flow", Fraction(1, 24)),
    "l/h": ("volume flow", Fraction(1, 1000)),
    "Wh": ("energy", _ONE),
    "J": ("energy in J", _ONE),
    "varh": ("reactive energy", _ONE),
    "VAh": ("apparent energy", _ONE),
    "W": ("power", _ONE),
    "J/h": ("power in J/h", _ONE),
    "var": ("reactive power", _ONE),
    "VA": ("apparent power", _ONE),
    "kg": ("mass", _ONE),
    "t": ("mass", Fraction(1000)),
    "kg/h": ("mass flow", Fraction(1, 3600)),
    "kg/s": ("mass flow", _ONE),
    "°C": ("temperature", _ONE),
    "K": ("difference", _ONE),
    "bar": ("pressure", _ONE),
    "Pa": ("pressure", Fraction(1, 100_000)),
    "V": ("voltage", _ONE),
    "A": ("current", _ONE),
    "Hz": ("frequency", _ONE),
    "%": ("percentage", _ONE),
    "°": ("angle", _ONE),
    "m": ("length", _ONE),
    "dBm": ("signal strength", _ONE),
    "s": ("time", _ONE),
    "min": ("time", Fraction(60)),
    "h": ("time", Fraction(3600)),
    "d": ("time", Fraction(86400)),
}

_DLMS: dict[int, tuple[str, Fraction]] = {
    3: ("time", Fraction(7 * 86400)),
    4: ("time", Fraction(86400)),
    5: ("time", Fraction(3600)),
    6: ("time", Fraction(60)),
    7: ("time", _ONE),
    8: ("angle", _ONE),
    9: ("temperature", _ONE),
    11: ("length", _ONE),
    13: ("volume", _ONE),
    14: ("volume", _ONE),
    15: ("volume flow", _ONE),
    16: ("volume flow", _ONE),
    17: ("volume flow", Fraction(1, 24)),
    18: ("volume flow", Fraction(1, 24)),
    19: ("volume", Fraction(1, 1000)),
    20: ("mass", _ONE),
    23: ("pressure", Fraction(1, 100_000)),
    24: ("pressure", _ONE),
    25: ("energy in J", _ONE),
    26: ("power in J/h", _ONE),
    27: ("power", _ONE),
    28: ("apparent power", _ONE),
    29: ("reactive power", _ONE),
    30: ("energy", _ONE),
    31: ("apparent energy", _ONE),
    32: ("reactive energy", _ONE),
    33: ("current", _ONE),
    35: ("voltage", _ONE),
    44: ("frequency", _ONE),
    50: ("mass flow", _ONE),
    52: ("difference", _ONE),
    56: ("percentage", _ONE),
    70: ("signal strength", _ONE),
}

"""The data types of EN 13757-3 annex A: from a record's bytes to an exact value, or the reason for none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Context, Decimal, Inexact
from enum import Enum
from functools import lru_cache
from math import isfinite
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

RawValue: TypeAlias = int | float | str | bytes | datetime | date | time | None
Value: TypeAlias = Decimal | str | bytes | datetime | date | time | None

_REAL: Final = Struct("<f")
_FEWER_DIGITS: Final = tuple(f"%.{digits}g" for digits in range(8, 0, -1))

EXACT: Final = Context(prec=120, traps=[Inexact])
"""Wide enough for every number that a record can hold, whatever context a caller works in."""


class Coding(Enum):
    """How the data bytes of a record are coded."""

    NONE = "no data"
    SIGNED = "signed integer"  # type B
    OPAQUE = "signed integer without an invalid code"
    UNSIGNED = "unsigned integer"  # type C
    BITS = "bit field"  # type D
    BCD = "BCD"  # type A
    NEGATIVE_BCD = "negative BCD"
    REAL = "real number"  # type H
    TEXT = "text"
    BINARY = "binary number"
    BYTES = "bytes"
    DATE = "date"  # type G
    TIME = "time"  # type J
    DATETIME = "date and time"  # type F
    DATETIME_SECONDS = "date and time with seconds"  # type I
    OBIS = "OBIS code"


class Reading(NamedTuple):
    """One value as sent; without a valid value `raw` is None, `error` says why, `text` shows what came."""

    raw: RawValue
    text: str
    error: str


NOT_AVAILABLE: Final = "marked as not available by the meter"
INVALID_TIME: Final = "marked as invalid by the meter"


def read(coding: Coding, data: bytes) -> Reading:
    """Read data bytes, least significant first. Never raises for data of a size that the coding can have.

    A binary number comes most significant byte first, BYTES as they were sent.
    """
    match coding:
        case Coding.NONE:
            return Reading(None, "", "the record holds no data")
        case Coding.SIGNED | Coding.OPAQUE:
            number = int.from_bytes(data, "little", signed=True)
            bad = number == invalid_code(coding, len(data))
            return (
                Reading(None, f"{data[::-1].hex()}h", NOT_AVAILABLE)
                if bad
                else Reading(number, str(number), "")
            )
        case Coding.UNSIGNED | Coding.BITS:
            number = int.from_bytes(data, "little")
            bad = number == invalid_code(coding, len(data))
            return (
                Reading(None, f"{data[::-1].hex()}h", NOT_AVAILABLE)
                if bad
                else Reading(number, str(number), "")
            )
        case Coding.BCD | Coding.NEGATIVE_BCD:
            return _read_bcd(data[::-1].hex(), coding is Coding.NEGATIVE_BCD)
        case Coding.REAL:
            (real,) = _REAL.unpack(data)
            if not isfinite(real):
                return Reading(None, str(real), NOT_AVAILABLE)
            return Reading(real, shortest(real), "")
        case Coding.TEXT:
            return Reading(text_of(data), text_of(data), "")
        case Coding.BINARY:
            return Reading(data[::-1], data[::-1].hex(), "")
        case Coding.BYTES:
            return Reading(data, data.hex(), "")
        case Coding.OBIS:
            code = obis_text(data)
            return Reading(code, code, "") if code else Reading(None, data.hex(), "not an OBIS code")
        case _:
            return _read_time(coding, data)


def bcd(digits: str) -> int | None:
    """Number of BCD digits, most significant first; Fh in front is a minus; None with any other hex digit."""
    try:
        return -int(digits[1:]) if digits[0] == "f" and len(digits) > 1 else int(digits)
    except ValueError:
        return None


def invalid_code(coding: Coding, size: int) -> int | None:
    """The integer of `size` bytes that means "not available": 8000h for type B, FFFFh for type C.

    One byte of type C has none: a counter of 255 is more likely than that a meter spends a byte on nothing.
    """
    if coding is Coding.SIGNED:
        return -1 << (8 * size - 1)
    if coding is Coding.UNSIGNED and size > 1:
        return (1 << 8 * size) - 1
    return None


INVALID_CODES: Final = frozenset(
    invalid_code(coding, size) for coding in (Coding.SIGNED, Coding.UNSIGNED) for size in (2, 1, 3, 4, 6, 8)
)
"""All integers that can mean "not available", whatever their type and size."""


def shortest(real: float) -> str:
    """The shortest decimal text that reads back as the same 32-bit real number."""
    if real.is_integer() and -1e7 < real < 1e7:
        return str(int(real))
    wanted = _REAL.pack(real)
    text = "%.9g" % real  # noqa: UP031  # twice as fast as an f-string with a format
    for pattern in _FEWER_DIGITS:
        fewer = pattern % real
        try:
            if _REAL.pack(float(fewer)) != wanted:
                break
        except OverflowError:  # rounded up beyond the largest 32-bit number
            break
        text = fewer
    return text


def year_of(year: int, century: int = 0) -> int:
    """Full year; without century bits 0..80 is 2000..2080, 81..99 is 1981..1999 (annex A, type F)."""
    if century:
        return 1900 + 100 * century + year
    return 2000 + year if year <= 80 or year > 99 else 1900 + year


@lru_cache(maxsize=4096)  # set dates and due dates stay the same for a year
def date_g(bits: int) -> date | None:
    """Type G, 16 bits; None if they are no calendar date."""
    year = bits >> 5 & 7 | bits >> 9 & 0x78
    try:
        return date(year_of(year), bits >> 8 & 0xF, bits & 0x1F) if year < 100 else None
    except ValueError:
        return None


def datetime_f(bits: int) -> datetime | None:
    """Type F, 32 bits; None with the invalid bit or if they are no point in time. Local time of the meter."""
    year = bits >> 21 & 7 | bits >> 25 & 0x78
    century = bits >> 13 & 3
    if bits & 0x80 or year > 99:
        return None
    year = year_of(year, century) if century or year > 80 else 2000 + year
    try:
        return datetime(year, bits >> 24 & 0xF, bits >> 16 & 0x1F, bits >> 8 & 0x1F, bits & 0x3F)
    except ValueError:
        return None


def datetime_i(data: bytes) -> datetime | None:
    """Type I, 6 bytes; None with the invalid bit or if they are no point in time. Local time of the meter."""
    second, minute, hour, day, month, _week = data
    year = day >> 5 | month >> 1 & 0x78
    if minute & 0x80 or year > 99:
        return None
    try:
        return datetime(year_of(year), month & 0xF, day & 0x1F, hour & 0x1F, minute & 0x3F, second & 0x3F)
    except ValueError:
        return None


def time_j(data: bytes) -> time | None:
    """Type J, 3 bytes; None if they are no time of day."""
    second, minute, hour = data
    try:
        return time(hour & 0x1F, minute & 0x3F, second & 0x3F)
    except ValueError:
        return None


def text_of(data: bytes) -> str:
    """Text, which is sent from its last character; Latin 1."""
    return data[::-1].decode("latin-1")


READERS: Final[dict[Coding, Callable[[bytes], RawValue]]] = {
    Coding.TEXT: text_of,
    Coding.TIME: time_j,
    Coding.DATETIME_SECONDS: datetime_i,
}
"""Readers of the raw value alone, for what is read often; `read` gives the same and says more."""


def summer_time(coding: Coding, data: bytes) -> bool | None:
    """Whether the meter says that a time is summer time; None for types that cannot say."""
    if coding is Coding.DATETIME:
        return bool(data[1] & 0x80)
    if coding is Coding.DATETIME_SECONDS:
        return bool(data[0] & 0x40)
    return None


def obis_text(data: bytes) -> str:
    """OBIS code "A.B.C.D.E.F" of a declaration (VIFE 3Fh): 6 binary bytes, or a text; "" if it is neither.

    The number is sent least significant byte first, so F comes first; meters that send A first are recognised
    by group F, which is 255 in practice.
    """
    if len(data) != 6:
        return data[::-1].decode("latin-1").strip() if data and all(0x20 <= c < 0x7F for c in data) else ""
    groups = data if data[5] == 0xFF and data[0] != 0xFF else data[::-1]
    return ".".join(map(str, groups))


def _read_bcd(digits: str, negative: bool) -> Reading:
    number = bcd(digits)
    if number is not None:
        number = -number if negative else number
        return Reading(number, str(number), "")
    text = digits.upper()
    if text.strip("F") == "":
        return Reading(None, text, NOT_AVAILABLE)
    wrong = next(digit for digit in text.removeprefix("F") if digit in "ABCDEF")
    return Reading(None, text, f"BCD error digit {wrong}: {text}")


def _read_time(coding: Coding, data: bytes) -> Reading:
    point: datetime | date | time | None
    invalid = False
    match coding:
        case Coding.DATE:
            bits = int.from_bytes(data, "little")
            point = date_g(bits)
            year = bits >> 5 & 7 | bits >> 9 & 0x78
            text = f"{year_of(year):04}-{bits >> 8 & 0xF:02}-{bits & 0x1F:02}"
        case Coding.DATETIME:
            bits = int.from_bytes(data, "little")
            point, invalid = datetime_f(bits), bool(bits & 0x80)
            year = year_of(bits >> 21 & 7 | bits >> 25 & 0x78, bits >> 13 & 3)
            text = f"{year:04}-{bits >> 24 & 0xF:02}-{bits >> 16 & 0x1F:02}"
            text += f"T{bits >> 8 & 0x1F:02}:{bits & 0x3F:02}:00"
        case Coding.DATETIME_SECONDS:
            second, minute, hour, day, month, _week = data
            point, invalid = datetime_i(data), bool(minute & 0x80)
            text = f"{year_of(day >> 5 | month >> 1 & 0x78):04}-{month & 0xF:02}-{day & 0x1F:02}"
            text += f"T{hour & 0x1F:02}:{minute & 0x3F:02}:{second & 0x3F:02}"
        case _:
            second, minute, hour = data
            point = time_j(data)
            text = f"{hour & 0x1F:02}:{minute & 0x3F:02}:{second & 0x3F:02}"
    if point is not None:
        return Reading(point, point.isoformat(), "")
    if data == b"\xff" * len(data):
        return Reading(None, text, NOT_AVAILABLE)
    nothing = "no time of day" if coding is Coding.TIME else "no calendar date"
    return Reading(None, text, INVALID_TIME if invalid else nothing)

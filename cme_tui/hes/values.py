"""What a head-end system shows of the values that it reads: scaled numbers, units, times and names as text."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from core.cosem import datetime as cosem_time
from core.cosem import obis
from core.dlms.errors import DecodeError
from core.mapping.units import symbol

DATA: Final = 1
REGISTER: Final = 3
EXTENDED_REGISTER: Final = 4
PROFILE: Final = 7
CLOCK: Final = 8
ASSOCIATION: Final = 15

CLASSES: Final = {
    DATA: "data",
    REGISTER: "register",
    EXTENDED_REGISTER: "extended register",
    PROFILE: "profile generic",
    CLOCK: "clock",
    ASSOCIATION: "association LN",
    17: "SAP assignment",
    40: "push setup",
    64: "security setup",
}
"""Names of the interface classes (Blue Book ed. 12, clause 4)."""

_SCALED: Final = (REGISTER, EXTENDED_REGISTER)
_TIMES: Final = ((CLOCK, 2), (EXTENDED_REGISTER, 5))


def class_name(class_id: int) -> str:
    """Name of an interface class, its number where it has none here."""
    return CLASSES.get(class_id, f"class {class_id}")


def is_scaled(class_id: int, attribute: int) -> bool:
    """Whether attribute 3 of the same object says scaler and unit of this one."""
    return class_id in _SCALED and attribute == 2


def octets(value: Any) -> bytes | None:
    """The bytes of an octet string; None for any other value."""
    return bytes.fromhex(value["octets"]) if isinstance(value, dict) else None


def scaler_unit(value: Any) -> tuple[int, int] | None:
    """Power of ten and unit of a scaler_unit attribute; None where it is none."""
    if isinstance(value, list) and len(value) == 2 and all(type(part) is int for part in value):
        return value[0], value[1]
    return None


def scaled(value: Any, scaler: int, unit: int) -> str:
    """`85962` with scaler -3 and unit 13 as `85.962 m³`; the number is exact."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    number = format(Decimal(str(value)).scaleb(scaler), "f")
    return f"{number} {symbol(unit)}".rstrip()


def meaning(class_id: int, attribute: int, value: Any) -> str:
    """The value of an attribute as text, by what the class says that it is."""
    raw = octets(value)
    if raw is not None and attribute == 1 and len(raw) == 6:
        return obis.text(raw)
    if raw is not None and (class_id, attribute) in _TIMES:
        return time_text(raw)
    return text(value)


def text(value: Any) -> str:
    """Any value as text: octet strings as letters, a time or a logical name where they are that, else in hex."""
    raw = octets(value)
    if raw is not None:
        if len(raw) == 6 and raw[5] == 255:
            return obis.text(raw)
        if len(raw) == 12 and (moment := date_time(raw)) is not None:
            return _iso(moment)
        letters = raw.decode("ascii", errors="replace")
        return letters if raw and letters.isprintable() and letters.isascii() else raw.hex() or '""'
    if isinstance(value, list):
        return f"[{', '.join(text(item) for item in value)}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def date_time(raw: bytes) -> datetime | None:
    """The moment that 12 bytes stand for, in UTC; None where they are no complete date-time."""
    try:
        ms = cosem_time.decode(raw, UTC)
    except DecodeError:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC)


def time_text(raw: bytes) -> str:
    """A date-time as text; in hex where it is incomplete or none."""
    moment = date_time(raw)
    return raw.hex() if moment is None else _iso(moment)


def rows_text(value: Any) -> list[str]:
    """The rows of a profile, one line each."""
    rows = value if isinstance(value, list) else [value]
    return [" | ".join(text(cell) for cell in row) if isinstance(row, list) else text(row) for row in rows]


def column_text(column: Any) -> str:
    """A capture object as the code of the object, with the attribute where that is not its value."""
    if not isinstance(column, list) or len(column) != 4 or (raw := octets(column[1])) is None:
        return text(column)
    return obis.text(raw) + ("" if column[2] == 2 else f"/{column[2]}")


def _iso(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")

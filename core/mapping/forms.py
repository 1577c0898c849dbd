"""Which forms a record can be shown in: interface class, data type, unit; only what can give a value is among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.dlms.axdr import Tag
from core.mapping import convert, units
from core.mapping.coach import Choice, unknown
from core.mapping.model import CLASSES
from core.mbus.telegram import Record
from core.mbus.values import Coding

DATA: Final = CLASSES["data"]
REGISTERS: Final = (CLASSES["register"], CLASSES["extended_register"])
CLOCK: Final = CLASSES["clock"]

_DATES: Final = (Coding.DATE, Coding.DATETIME, Coding.DATETIME_SECONDS)
_TEXTS: Final = (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING)
_NUMBERS: Final = tuple(Tag(tag) for tag in convert.DATA_TYPES if convert.is_numeric(tag))
_FLOATS: Final = tuple(tag for tag in _NUMBERS if convert.is_float(tag))


def is_number(record: Record) -> bool:
    """Whether the record holds a number: a scaler can matter for it."""
    return record.coding not in (
        Coding.TEXT, Coding.OBIS, Coding.BYTES, Coding.BINARY, Coding.NONE, Coding.TIME, *_DATES
    )  # fmt: skip


def classes(record: Record) -> Sequence[int]:
    """Interface classes that can show a record."""
    if is_number(record):
        return (*REGISTERS, DATA)
    return (DATA, CLOCK) if record.coding in _DATES else (DATA,)


def data_types(record: Record, class_id: int) -> Sequence[int]:
    """Data types in which a class can show a record, A-XDR tags in ascending order."""
    if class_id == CLOCK:
        return (Tag.OCTET_STRING,)
    if is_number(record):
        numbers = _FLOATS if record.coding is Coding.REAL else _NUMBERS
        if class_id in REGISTERS:
            return numbers
        flags = (Tag.BOOLEAN, Tag.BIT_STRING) if record.coding is Coding.BITS else ()
        return sorted((*numbers, *flags, *_TEXTS))
    match record.coding:
        case Coding.DATE:
            return (*_TEXTS, Tag.DATE_TIME, Tag.DATE)
        case Coding.DATETIME | Coding.DATETIME_SECONDS:
            return (*_TEXTS, Tag.DATE_TIME, Tag.DATE, Tag.TIME)
        case Coding.TIME:
            return (*_TEXTS, Tag.TIME)
        case Coding.BYTES | Coding.BINARY:
            return (Tag.BIT_STRING, *_TEXTS)
    return _TEXTS


def unit_codes(record: Record) -> Sequence[int]:
    """DLMS units to which a record's unit leads exactly; those without a kind are among them."""
    return [code for code in sorted(units.dlms_units()) if _leads_to(record.unit, code)]


def with_class(choice: Choice, record: Record, class_id: int) -> Choice:
    """The choice with another class, and unit, scaler and data type as that class needs them."""
    changed = replace(choice, class_id=class_id)
    if class_id not in REGISTERS:
        changed = replace(changed, unit=units.NO_UNIT)
    elif choice.class_id not in REGISTERS:
        changed = replace(changed, unit=units.code_for(record.unit), scaler=record.exponent)
    allowed = data_types(record, class_id)
    if changed.data_type in allowed:
        return changed
    plain = unknown(record).data_type
    return replace(changed, data_type=plain if plain in allowed else allowed[0])


def default_of(text: str, data_type: int) -> str | int | float | bool | None:
    """A default value as it is typed: a number for a number, true or false, else text; none for nothing.

    Whether it fits the data type is for the mapping file's own check.
    """
    typed = text.strip()
    if not typed:
        return None
    if data_type == Tag.BOOLEAN and typed.lower() in ("true", "false"):
        return typed.lower() == "true"
    if convert.is_numeric(data_type):
        for kind in (int, float):
            try:
                return kind(typed)
            except ValueError:
                continue
    return typed


def _leads_to(mbus_unit: str, code: int) -> bool:
    if not mbus_unit:
        return True
    try:
        units.factor(mbus_unit, code)
    except units.UnitMismatchError:
        return False
    return True

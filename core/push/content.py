"""What a notification says: its body taken apart into typed rows and events. Pure.

Reads the five bodies of `core.push.payload`, whichever way codes and small numbers were encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Final

from core.config import Report
from core.cosem import datetime as cosem_time
from core.cosem import names, obis
from core.cosem.codes import Codes
from core.cosem.profile import CLOCK_CLASS, CaptureObject
from core.dlms.axdr import Tag, Value
from core.dlms.errors import DecodeError
from core.mapping.units import symbol


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a row."""

    object: str
    """Logical name of the register, "8.0.1.0.0.255"."""
    value: Decimal | str | None
    """Exact: the number times its scaler, or text (octet-strings that are no text: hex); None where it is missing."""
    unit: str
    """Symbol of the unit, "m³"; "" for a count."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a profile."""

    time: datetime
    """With the offset to UTC that the gateway sent."""
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class PushedEvent:
    """One event of a log."""

    time: datetime
    object: str
    """Logical name of the event object, "0.0.96.11.0.255"."""
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Content:
    """A notification's body. What its type does not have is empty."""

    type: Report
    gateway: str
    """Logical device name."""
    setup: str
    """Logical name of the push setup."""
    meter: str = ""
    object: str = ""
    """Logical name of the profile or the log."""
    rows: tuple[Row, ...] = ()
    events: tuple[PushedEvent, ...] = ()
    manufacturer: str = ""
    device_type: int | None = None
    version: int | None = None
    address: str = ""
    """IPv4 of the gateway, "192.168.1.2"."""
    system_title: bytes = b""


def read(body: Value, codes: Codes | None = None) -> Content:
    """The content of a body. `codes`: the gateway's own logical names, where they are not the usual ones.

    Raises `DecodeError` with the reason for a body that is none of the five.
    """
    parts = _elements(body, Tag.STRUCTURE, "The body")
    match len(parts):
        case 4 if parts[2].tag == Tag.DOUBLE_LONG_UNSIGNED:
            return _on_installation(parts)
        case 4:
            return _gateway_log(parts)
        case 7:
            return _profile(parts, _of_meters(codes or Codes()))
        case 8:
            return _meter_log(parts, _of_meters(codes or Codes()))
    raise DecodeError(
        f"The body is a structure of {len(parts)} elements; those of this gateway have 4, 7 or 8."
    )


_OF_GATEWAY: Final[Mapping[str, Report]] = {
    obis.text(names.PUSH_GATEWAY_STANDARD_EVENT_LOG): "standard_event_log",
    obis.text(names.PUSH_GATEWAY_FRAUD_EVENT_LOG): "fraud_event_log",
    obis.text(names.PUSH_ON_INSTALLATION): "on_installation",
}


def _of_meters(codes: Codes) -> Mapping[str, Report]:
    """The report of each push setup that a meter's logical device has."""
    return {
        obis.text(codes.push_load_profile_1): "load_profile_1",
        obis.text(codes.push_load_profile_2): "load_profile_2",
        obis.text(codes.push_billing_profile): "billing_profile",
        obis.text(codes.push_standard_event_log): "standard_event_log",
        obis.text(codes.push_fraud_event_log): "fraud_event_log",
    }


def _on_installation(parts: Sequence[Value]) -> Content:
    setup = _name(parts[1], "The push setup")
    return Content(
        type=_type(setup, _OF_GATEWAY),
        gateway=_text(parts[0], "The gateway's name"),
        setup=setup,
        address=str(IPv4Address(_number(parts[2], "The address of the gateway"))),
        system_title=_octets(parts[3], 8, "The system title"),
    )


def _gateway_log(parts: Sequence[Value]) -> Content:
    setup = _name(parts[1], "The push setup")
    return Content(
        type=_type(setup, _OF_GATEWAY),
        gateway=_text(parts[0], "The gateway's name"),
        setup=setup,
        object=_name(parts[2], "The event log"),
        events=_events(parts[3]),
    )


def _meter_log(parts: Sequence[Value], reports: Mapping[str, Report]) -> Content:
    setup = _name(parts[2], "The push setup")
    return Content(
        type=_type(setup, reports),
        gateway=_text(parts[0], "The gateway's name"),
        meter=_text(parts[1], "The meter's name"),
        setup=setup,
        object=_name(parts[3], "The event log"),
        manufacturer=_text(parts[4], "The manufacturer"),
        device_type=_number(parts[5], "The device type"),
        version=_number(parts[6], "The version of the meter"),
        events=_events(parts[7]),
    )


def _profile(parts: Sequence[Value], reports: Mapping[str, Report]) -> Content:
    setup = _name(parts[2], "The push setup")
    columns = [_column(item) for item in _elements(parts[4], Tag.ARRAY, "The capture objects")]
    units = [_unit(item) for item in _elements(parts[6], Tag.ARRAY, "The scalers and units")]
    registers = [column for column in columns[1:] if column.class_id != CLOCK_CLASS]
    if len(units) != len(registers):
        raise DecodeError(f"{len(units)} scalers and units stand there for {len(registers)} registers.")
    left = iter(units)
    scales = [None if column.class_id == CLOCK_CLASS else next(left) for column in columns[1:]]
    return Content(
        type=_type(setup, reports),
        gateway=_text(parts[0], "The gateway's name"),
        meter=_text(parts[1], "The meter's name"),
        setup=setup,
        object=_name(parts[3], "The profile"),
        rows=tuple(_row(item, columns, scales) for item in _elements(parts[5], Tag.ARRAY, "The rows")),
    )


_Scale = tuple[int, int]  # scaler and unit


def _row(value: Value, columns: Sequence[CaptureObject], scales: Sequence[_Scale | None]) -> Row:
    cells = _elements(value, Tag.STRUCTURE, "A row")
    if len(cells) != len(columns) or not cells:
        raise DecodeError(f"A row has {len(cells)} values for {len(columns)} capture objects.")
    return Row(
        _time(cells[0]),
        tuple(
            Reading(obis.text(column.logical_name), _scaled(cell, scale), symbol(scale[1]) if scale else "")
            for column, cell, scale in zip(columns[1:], cells[1:], scales, strict=True)
        ),
    )


def _scaled(cell: Value, scale: _Scale | None) -> Decimal | str | None:
    content = cell.content
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, bytes):
        return content.decode() if content.isascii() and content.decode().isprintable() else content.hex()
    if isinstance(content, list):
        raise DecodeError("A value in a row is an array or a structure.")
    return Decimal(str(int(content) if isinstance(content, bool) else content)).scaleb(
        scale[0] if scale else 0
    )


def _column(value: Value) -> CaptureObject:
    parts = _elements(value, Tag.STRUCTURE, "A capture object")
    if len(parts) != 4:
        raise DecodeError(f"A capture object has {len(parts)} elements instead of 4.")
    name = _octets(parts[1], 6, "The name of a capture object")
    class_id, attribute, index = (_number(parts[at], "A capture object's number") for at in (0, 2, 3))
    return CaptureObject(class_id, name, attribute, index)


def _unit(value: Value) -> _Scale:
    parts = _elements(value, Tag.STRUCTURE, "A scaler and unit")
    if [part.tag for part in parts] != [Tag.INTEGER, Tag.ENUM]:
        raise DecodeError("A scaler and unit is no structure of an integer and an enum.")
    return _number(parts[0], "A scaler"), _number(parts[1], "A unit")


def _events(value: Value) -> tuple[PushedEvent, ...]:
    return tuple(_event(item) for item in _elements(value, Tag.ARRAY, "The events"))


def _event(value: Value) -> PushedEvent:
    parts = _elements(value, Tag.STRUCTURE, "An event")
    if len(parts) not in (3, 4):
        raise DecodeError(f"An event has {len(parts)} elements instead of 3 or 4.")
    message = parts[3].content if len(parts) == 4 else ""
    if not isinstance(message, str):
        raise DecodeError("The message of an event is no text.")
    name = _name(parts[1], "The event object")
    return PushedEvent(_time(parts[0]), name, _number(parts[2], "The code of an event"), message)


def _type(setup: str, reports: Mapping[str, Report]) -> Report:
    report = reports.get(setup)
    if report is None:
        raise DecodeError(f"{setup} is no known push setup.")
    return report


def _elements(value: Value, tag: Tag, what: str) -> list[Value]:
    if value.tag != tag or not isinstance(value.content, list):
        raise DecodeError(f"{what} is no {tag.name.lower()}.")
    return value.content


def _octets(value: Value, size: int | None, what: str) -> bytes:
    content = value.content
    if value.tag != Tag.OCTET_STRING or not isinstance(content, bytes):
        raise DecodeError(f"{what} is no octet-string.")
    if size is not None and len(content) != size:
        raise DecodeError(f"{what} has {len(content)} bytes instead of {size}.")
    return content


def _name(value: Value, what: str) -> str:
    return obis.text(_octets(value, 6, what))


def _text(value: Value, what: str) -> str:
    raw = _octets(value, None, what)
    text = raw.decode("ascii", errors="replace")
    if not (raw.isascii() and text.isprintable()):
        raise DecodeError(f"{what} is no text: {raw.hex()}.")
    return text


def _number(value: Value, what: str) -> int:
    content = value.content
    if type(content) is not int:
        raise DecodeError(f"{what} is no whole number.")
    return content


def _time(value: Value) -> datetime:
    raw = _octets(value, 12, "A time")
    seconds = cosem_time.decode(raw, UTC) / 1000
    deviation = int.from_bytes(raw[9:11], "big", signed=True)
    offset = timedelta() if deviation == cosem_time.NO_DEVIATION else timedelta(minutes=-deviation)
    try:
        return datetime.fromtimestamp(seconds, timezone(offset))
    except (ValueError, OverflowError):  # in the year 10000, by the offset
        raise DecodeError(f"{raw.hex()} is no time that can be shown.") from None

"""The two text lines of simplified mapping: every record of a telegram under a header that describes it.

The form is that of the CMe3100 DLMS plugin (manual v1.8, 5.3.4.2), so that a head-end system keeps its
parser.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from core.mbus.telegram import Function
from core.mbus.values import NOT_AVAILABLE, Coding

if TYPE_CHECKING:
    from core.mbus.telegram import Record, Telegram


class Site(NamedTuple):
    """What the lines say about the gateway."""

    serial: str  # 10 digits
    zone: dt.tzinfo  # of the time of the readout


_FIELDS = (
    "#serial-number",
    "device-identification",
    "created",
    "value-data-count",
    "manufacturer",
    "version",
    "device-type",
    "access-number",
    "status",
    "signature",
)
_UNITS = {"s": "second(s)", "min": "minute(s)", "h": "hour(s)", "d": "day(s)"}
_KINDS = {
    Function.INSTANTANEOUS: "inst-value",
    Function.MAXIMUM: "max-value",
    Function.MINIMUM: "min-value",
    Function.ERROR: "err-value",
}
_NO_IDENTIFICATION = "-2147483648"  # what the original writes where the header has no number
_DECIMALS = 3  # at least, for a number that can have any
_DATES = (Coding.DATE, Coding.DATETIME, Coding.DATETIME_SECONDS)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def header_line(telegram: Telegram) -> str:
    """The header of one telegram: ten fixed names, then one description a record."""
    return ";".join((*_FIELDS, *map(_describe, _told(telegram))))


def value_line(telegram: Telegram, number: int, created_ms: int, site: Site) -> str:
    """The values that match `header_line`; `number` counts the telegrams of a readout from 0.

    Numbers have a decimal comma and at least three decimals if they can have any, `created` is local time, times of the
    meter are as it says them, bytes are hex. A record without a valid value leaves its field empty. In a text a blank
    stands for each control character, and a comma for a semicolon.
    """
    created = dt.datetime.fromtimestamp(created_ms / 1000, site.zone)
    identification = telegram.identification
    fixed = (
        site.serial,
        identification if identification.isdecimal() else _NO_IDENTIFICATION,
        f"{created:%Y-%m-%d %H:%M:%S}",
        f"{number:02d}",
        telegram.manufacturer,
        str(telegram.version),
        telegram.medium,
        str(telegram.access_number),
        str(telegram.status),
        str(telegram.signature),
    )
    return ";".join((*fixed, *map(_value, _told(telegram))))


def _told(telegram: Telegram) -> Iterator[Record]:
    """Its records, without the DIF 1Fh that only says that another telegram follows."""
    return (record for record in telegram.records if record.vif_hex or record.data)


def _describe(record: Record) -> str:
    unit = _UNITS.get(record.unit, record.unit)
    parts = [f"dif={record.dif_hex}", f"vif={record.vif_hex}"]
    if unit:
        parts.append(f"unit={unit}")
    parts.append(f"description={record.description}")
    parts.append(f"kind={_KINDS[record.function]}")
    parts.append(f"tariff={record.tariff}")
    parts.append(f"subunit={record.subunit}")
    parts.append(f"storagenumber={record.storage}")
    return ",".join(parts)


def _value(record: Record) -> str:
    if record.coding in _DATES and record.quantity not in ("date", "datetime"):
        # The original reads only VIF 6C and 6D as times, so any other one is a number, a date or not.
        return "" if record.error == NOT_AVAILABLE else str(int.from_bytes(record.lsb_first, "little"))
    if isinstance(record.value, Decimal):
        return _number(record.value, real=record.coding is Coding.REAL)
    if isinstance(record.raw, dt.datetime):
        return record.raw.isoformat(" ", "seconds")
    return _clean(record.value_text)


def _number(value: Decimal, *, real: bool) -> str:
    decimals = -int(value.as_tuple().exponent)
    if decimals <= 0 and not real:
        return f"{value:f}"
    return f"{value:.{max(decimals, _DECIMALS)}f}".replace(".", ",")


def _clean(text: str) -> str:
    return _CONTROLS.sub(" ", text).replace(";", ",")

"""The two text lines of simplified mapping: every record of a telegram under a header that describes it.

The form is that of the CMe3100 DLMS plugin (manual v1.8, 5.3.4.2), so that a head-end system keeps its
parser.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from core.mbus.telegram import Function

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
_DECIMALS = 3  # at least, for a number that has any


def header_line(telegram: Telegram) -> str:
    """The header of one telegram: ten fixed names, then one description a record."""
    return ";".join((*_FIELDS, *map(_describe, telegram.records)))


def value_line(telegram: Telegram, number: int, created_ms: int, site: Site) -> str:
    """The values that match `header_line`; `number` counts the telegrams of a readout from 0.

    Numbers have a decimal comma, times are local, a record without a valid value leaves its field empty.
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
    return ";".join((*fixed, *map(_value, telegram.records)))


def _describe(record: Record) -> str:
    unit = _UNITS.get(record.unit, record.unit)
    parts = [f"dif={record.dif_hex}", f"vif={record.vif_hex}"]
    if unit:
        parts.append(f"unit={unit}")
    parts.append(f"description={_clean(record.description)}")
    parts.append(f"kind={_KINDS[record.function]}")
    parts.append(f"tariff={record.tariff}")
    parts.append(f"subunit={record.subunit}")
    parts.append(f"storagenumber={record.storage}")
    return ",".join(parts)


def _value(record: Record) -> str:
    raw = record.raw
    if raw is None:
        return ""
    if isinstance(raw, dt.datetime):
        shown = raw.isoformat(" ", "seconds")
    elif isinstance(raw, dt.date):
        shown = raw.isoformat()
    else:
        value = record.value
        if isinstance(value, Decimal):
            return _number(value)
        shown = record.value_text
    if isinstance(raw, dt.date) and record.quantity not in ("date", "datetime"):
        return str(int.from_bytes(record.data, "little"))  # the original reads only VIF 6C and 6D as times
    return _clean(shown)


def _number(value: Decimal) -> str:
    decimals = -int(value.as_tuple().exponent)
    if decimals <= 0:
        return f"{value:f}"
    return f"{value:.{max(decimals, _DECIMALS)}f}".replace(".", ",")


def _clean(text: str) -> str:
    return text.replace(";", ",").replace("\r", " ").replace("\n", " ")

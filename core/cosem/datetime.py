"""COSEM date-time (Blue Book 4.1.6.1): 12 bytes to and from milliseconds UTC.

Year (2), month, day, weekday (1 = Monday), hour, minute, second, hundredths, deviation (2), status. The
deviation is local time to UTC in minutes: UTC+2 is -120, FF88. Bit 7 of the status says that
daylight saving is active.
"""

from __future__ import annotations

import calendar
import struct
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from core.dlms.errors import DecodeError

DAYLIGHT_SAVING = 0x80  # status bit
NO_DEVIATION = -0x8000
UNSPECIFIED = bytes.fromhex("ffff ff ff ff ff ff ff ff 8000 ff")  # "not specified" in every field

_LAYOUT = struct.Struct(">HBBBBBBBhB")


def encode(ms: int, zone: tzinfo) -> bytes:
    """12 bytes for `ms` since 1970 UTC, in local time of `zone`."""
    t = datetime.fromtimestamp(ms // 1000, zone)
    offset = t.utcoffset() or timedelta()
    return _LAYOUT.pack(
        t.year,
        t.month,
        t.day,
        t.isoweekday(),
        t.hour,
        t.minute,
        t.second,
        ms % 1000 // 10,
        -(offset.days * 1440 + offset.seconds // 60),
        DAYLIGHT_SAVING if saving(t) else 0,
    )


def saving(moment: datetime) -> timedelta:
    """By how much daylight saving has moved the local clock of `moment`, an aware time; zero or more.

    The time zone database says of Ireland and Morocco that they *save back* in winter; a head-end expects, there as
    everywhere, that the normal time is the one that is behind.
    """
    zone, dst = moment.tzinfo, moment.dst() or timedelta()
    return dst - _least_saving(zone, moment.year) if zone is not None else dst


@lru_cache(maxsize=256)
def _least_saving(zone: tzinfo, year: int) -> timedelta:
    # Every ten days: Morocco's normal time lasts for a month.
    days = (datetime(year, month, day, tzinfo=zone) for month in range(1, 13) for day in (5, 15, 25))
    return min(timedelta(), *((day.dst() or timedelta()) for day in days))


def decode(raw: bytes, zone: tzinfo) -> int:
    """Milliseconds since 1970 UTC of a complete date-time (hundredths may be missing).

    A deviation that is not specified means local time of `zone`. Raises `DecodeError`, also for wildcards.
    """
    if len(raw) == 12 and (raw[0:2] == b"\xff\xff" or 0xFF in raw[2:4] or 0xFF in raw[5:8]):
        raise DecodeError("The date-time leaves year, month, day or time open; give all of them.")
    ms = decode_bound(raw, zone, last=False)
    if ms is None:
        raise DecodeError("The date-time is not specified.")
    return ms


def decode_bound(raw: bytes, zone: tzinfo, *, last: bool) -> int | None:
    """First or last millisecond that the date-time stands for; None where the year is a wildcard.

    Wildcards (FF) take their lowest value, or their highest if `last`. The last one of a complete time is that of
    its hundredth, so that a range which ends with the time of a row has that row. Raises `DecodeError`.
    """
    if len(raw) != 12:
        raise DecodeError(f"A date-time has 12 bytes, not {len(raw)}.")
    year, month, day, _, hour, minute, second, hundredths, deviation, status = _LAYOUT.unpack(raw)
    if year == 0xFFFF:
        return None
    month = (12 if last else 1) if month == 0xFF else month
    try:
        days = calendar.monthrange(year, month)[1]
        if day == 0xFF:
            day = days if last else 1
        elif day in (0xFE, 0xFD):  # last, second last day of the month
            day = days - (0xFE - day)
        local = datetime(
            year,
            month,
            day,
            _bound(hour, 23, last),
            _bound(minute, 59, last),
            _bound(second, 59, last),
            (99 if last else 0) * 10_000 if hundredths == 0xFF else hundredths * 10_000,
        )
        if deviation == NO_DEVIATION:
            summer = bool(status & DAYLIGHT_SAVING) if status != 0xFF else not last
            moment = local.replace(tzinfo=zone, fold=0 if summer else 1)
        else:
            moment = local.replace(tzinfo=timezone(timedelta(minutes=-deviation)))
        ms = round((moment - _EPOCH) / _MILLISECOND)
    except (ValueError, OverflowError):
        raise DecodeError(f"{raw.hex()} is no valid date-time.") from None
    return ms + 9 if last else ms


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _bound(value: int, highest: int, last: bool) -> int:
    if value == 0xFF:
        return highest if last else 0
    return value

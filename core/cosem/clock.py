"""Clock (Blue Book 4.5.1), computed from a time source and a time zone; nothing in it is made up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import ClassVar

from core.cosem import datetime as cosem_time
from core.cosem import names
from core.cosem.base import Context, CosemObject, DataAccessError, Setter, Source
from core.dlms.axdr import Tag, Value, boolean, date_time, enum, integer, long, unsigned
from core.dlms.errors import DecodeError
from core.dlms.xdlms import DataAccessResult

CLOCK_BASE_CRYSTAL = 1  # that of the computer; whether its operating system corrects it is not known here
CLOCK_NAME = names.CLOCK

_SECOND = timedelta(seconds=1)

SetTime = Callable[[int, Context], Awaitable[None] | None]
"""Sets the clock to milliseconds since 1970 UTC; may raise `DataAccessError`."""


class Clock(CosemObject):
    """Class 8: time (2), time zone (3), status (4), daylight saving begin (5), end (6), deviation (7),
    enabled (8), clock base (9).

    Time zone is normal time to UTC in minutes with the sign of every deviation, -60 in Berlin. Begin and end are
    the dates of this year in local time before the change, UNSPECIFIED where there is none; zone and daylight saving
    follow the configured time zone and are not written. `now` gives milliseconds since 1970 UTC. `set_time`
    gets what a client wrote; without it the time cannot be written. Methods are not granted.
    """

    __slots__ = ("_now", "_zone")

    class_id: ClassVar[int] = 8
    method_count: ClassVar[int] = 6

    def __init__(
        self,
        now: Callable[[], int],
        zone: Callable[[], tzinfo] | tzinfo,
        *,
        logical_name: bytes = CLOCK_NAME,
        set_time: SetTime | None = None,
        public: bool = True,
    ) -> None:
        self._now = now
        self._zone: Callable[[], tzinfo] = zone if callable(zone) else lambda: zone
        super().__init__(
            logical_name,
            (
                lambda: date_time(cosem_time.encode(self._now(), self._zone())),
                lambda: long(-_minutes(_standard_offset(self._now(), self._zone()))),
                lambda: unsigned(cosem_time.encode(self._now(), self._zone())[11]),
                lambda: date_time(self._change(begin=True)),
                lambda: date_time(self._change(begin=False)),
                lambda: integer(_minutes(_saving(self._now(), self._zone()))),
                lambda: boolean(_saving(self._now(), self._zone()) > timedelta()),
                enum(CLOCK_BASE_CRYSTAL),
            ),
            public=public,
            setters={2: self._setter(set_time)} if set_time else None,
        )

    def _setter(self, set_time: SetTime) -> Setter:
        def write(value: Value, context: Context) -> Awaitable[None] | None:
            if value.tag not in (Tag.OCTET_STRING, Tag.DATE_TIME) or not isinstance(value.content, bytes):
                raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
            try:
                ms = cosem_time.decode(value.content, self._zone())
            except DecodeError:
                raise DataAccessError(DataAccessResult.TYPE_UNMATCHED) from None
            return set_time(ms, context)

        return write

    def _change(self, *, begin: bool) -> bytes:
        """Local time, before the change, at which daylight saving begins or ends this year or next."""
        zone = self._zone()
        moment = _changes(_at(self._now(), zone).year, zone)[0 if begin else 1]
        if moment is None:
            return cosem_time.UNSPECIFIED
        offset = (moment - _SECOND).astimezone(zone).utcoffset() or timedelta()
        raw = cosem_time.encode(int((moment + offset).timestamp() * 1000), UTC)
        status = 0 if begin else cosem_time.DAYLIGHT_SAVING
        return raw[:9] + (-_minutes(offset)).to_bytes(2, "big", signed=True) + bytes((status,))


class MeterClock(CosemObject):
    """Class 8 for the clock inside of a meter: its local time (2).

    An M-Bus telegram says nothing of zone and daylight saving, so those attributes cannot be read.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 8
    method_count: ClassVar[int] = 6

    def __init__(self, logical_name: bytes, time: Source) -> None:
        """`time` gives 12 bytes of date-time as an octet-string."""
        super().__init__(logical_name, (time, *(None,) * 7))


def _minutes(span: timedelta) -> int:
    return round(span.total_seconds() / 60)


def _at(ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms // 1000, zone)


def _standard_offset(ms: int, zone: tzinfo) -> timedelta:
    t = _at(ms, zone)
    return (t.utcoffset() or timedelta()) - cosem_time.saving(t)


def _saving(ms: int, zone: tzinfo) -> timedelta:
    """By how much daylight saving moves the clock, also outside of it; none where the zone has none."""
    t = _at(ms, zone)
    begin, end = _changes(t.year, zone)
    if begin is None or end is None:
        return cosem_time.saving(t)
    return cosem_time.saving((begin + timedelta(days=1)).astimezone(zone))


@lru_cache(maxsize=64)
def _changes(year: int, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """When daylight saving begins and ends next after the start of `year`, UTC; None for never."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    return _next_change(start, zone, to=True), _next_change(start, zone, to=False)


def _next_change(start: datetime, zone: tzinfo, *, to: bool) -> datetime | None:
    """The first second from `start` on, within 400 days, at which daylight saving turns to `to`."""

    def saves(moment: datetime) -> bool:
        return bool(cosem_time.saving(moment.astimezone(zone)))

    for day in range(400):
        low = start + timedelta(days=day)
        high = low + timedelta(days=1)
        if saves(low) == to or saves(high) != to:
            continue
        while high - low > _SECOND:
            middle = (low + (high - low) / 2).replace(microsecond=0)
            if saves(middle) == to:
                high = middle
            else:
                low = middle
        return high
    return None

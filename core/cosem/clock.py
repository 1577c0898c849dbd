"""Clock (Blue Book 4.5.1), computed from a time source and a time zone; nothing in it is made up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar

from core.cosem import datetime as cosem_time
from core.cosem.base import Context, CosemObject, DataAccessError, Setter, Source
from core.dlms.axdr import Tag, Value, boolean, date_time, enum, integer, long, unsigned
from core.dlms.errors import DecodeError
from core.dlms.xdlms import DataAccessResult

CLOCK_BASE_NETWORK = 4  # the gateway's time comes from its operating system, which keeps it by NTP
CLOCK_NAME = bytes((0, 0, 1, 0, 0, 255))

SetTime = Callable[[int, Context], Awaitable[None] | None]
"""Sets the clock to milliseconds since 1970 UTC; may raise `DataAccessError`."""


class Clock(CosemObject):
    """Class 8: time (2), time zone (3), status (4), daylight saving begin (5), end (6), deviation (7),
    enabled (8), clock base (9).

    `now` gives milliseconds since 1970 UTC. `set_time` gets what a client wrote; without it the time cannot
    be written.
    """

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
                lambda: boolean(_changes(self._now(), self._zone()) is not None),
                enum(CLOCK_BASE_NETWORK),
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
        changes = _changes(self._now(), zone)
        if changes is None:
            return cosem_time.UNSPECIFIED
        moment = changes[0] if begin else changes[1]
        before = moment - timedelta(milliseconds=1)
        local = moment.replace(tzinfo=UTC) + (before.astimezone(zone).utcoffset() or timedelta())
        deviation = -_minutes(before.astimezone(zone).utcoffset() or timedelta())
        raw = cosem_time.encode(int(local.timestamp() * 1000), UTC)
        status = 0 if begin else cosem_time.DAYLIGHT_SAVING
        return raw[:9] + deviation.to_bytes(2, "big", signed=True) + bytes((status,))


class MeterClock(CosemObject):
    """Class 8 for the clock inside of a meter: its local time (2).

    An M-Bus telegram says nothing of zone and daylight saving, so those attributes cannot be read.
    """

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
    return (t.utcoffset() or timedelta()) - (t.dst() or timedelta())


def _saving(ms: int, zone: tzinfo) -> timedelta:
    """By how much daylight saving moves the clock, also outside of it; none where the zone has none."""
    changes = _changes(ms, zone)
    if changes is None:
        return timedelta()
    return (changes[0] + timedelta(days=1)).astimezone(zone).dst() or timedelta()


def _changes(ms: int, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """When daylight saving begins and ends next after the start of this year, UTC; None without it."""
    start = datetime(_at(ms, zone).year, 1, 1, tzinfo=UTC)
    return _changes_of(start, zone)


def _changes_of(start: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
    known = _KNOWN.get((zone, start))
    if known is None:
        if len(_KNOWN) > 64:
            _KNOWN.clear()
        known = _KNOWN[(zone, start)] = (
            _next_change(start, zone, to=True),
            _next_change(start, zone, to=False),
        )
    begin, end = known
    return (begin, end) if begin is not None and end is not None else None


_KNOWN: dict[tuple[tzinfo, datetime], tuple[datetime | None, datetime | None]] = {}


def _next_change(start: datetime, zone: tzinfo, *, to: bool) -> datetime | None:
    """The first second from `start` on, within 400 days, at which daylight saving turns to `to`."""
    for day in range(400):
        low = start + timedelta(days=day)
        high = low + timedelta(days=1)
        if bool(low.astimezone(zone).dst()) == to or bool(high.astimezone(zone).dst()) != to:
            continue
        while high - low > timedelta(seconds=1):
            middle = (low + (high - low) / 2).replace(microsecond=0)
            if bool(middle.astimezone(zone).dst()) == to:
                high = middle
            else:
                low = middle
        return high
    return None

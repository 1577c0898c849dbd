"""Which days of a month a head-end has all rows of, for a calendar. Pure."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from core.interval import Interval, first_instant, local_time
from core.store.outbox.records import RowFate, RowReport


class DayState(StrEnum):
    """What a day of the calendar comes to."""

    DELIVERED = "all delivered"
    WAITING = "waiting"
    """Rows wait in the outbox, or for the next time at which their report is made."""
    INCOMPLETE = "incomplete"
    """The meter has fewer rows than the interval of the profile wants."""
    GIVEN_UP = "given up"
    """A notification with rows of that day has expired or was cancelled."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of one day of the local calendar."""

    date: date
    start_ms: int
    """Its first moment, ms since 1970 UTC."""
    end_ms: int
    """That of the next day."""
    expected: int
    """Rows that there should be by now; 0 for a profile without an interval, and before its first row."""
    rows: int
    delivered: int
    waiting: int
    """Rows in the outbox."""
    given_up: int
    unsent: int
    """Rows that no notification has held yet, or that are older than the report."""

    @property
    def state(self) -> DayState:
        """The worst of what is true of its rows."""
        if self.given_up:
            return DayState.GIVEN_UP
        if self.rows < self.expected:
            return DayState.INCOMPLETE
        if self.waiting or self.unsent:
            return DayState.WAITING
        return DayState.DELIVERED if self.rows else DayState.NOTHING


_LOOK_BACK: Final = timedelta(days=31)
"""Where a meter had a row within this time before the month, a day without rows is one that lacks them."""


def month_range(month: date, zone: tzinfo) -> tuple[int, int]:
    """From when until before when the rows are needed that `month_days` takes, ms since 1970 UTC.

    `month`: any day of it.
    """
    first = month.replace(day=1)
    return _midnight(first - _LOOK_BACK, zone), _midnight(_next_month(first), zone)


def month_days(
    month: date, rows: Sequence[RowReport], interval: Interval, zone: tzinfo, now_ms: int
) -> tuple[Day, ...]:
    """Every day of the month that holds the day `month`. `rows`: those of the `month_range`, in order."""
    fates: dict[date, Counter[RowFate]] = {}
    for row in rows:
        fates.setdefault(local_time(row.boundary_ms, zone).date(), Counter())[row.fate] += 1
    since = rows[0].boundary_ms if rows else now_ms
    days = monthrange(month.year, month.month)[1]
    return tuple(
        _day(month.replace(day=number), fates, interval, zone, since, now_ms) for number in range(1, days + 1)
    )


def _day(
    day: date,
    fates: dict[date, Counter[RowFate]],
    interval: Interval,
    zone: tzinfo,
    since: int,
    now_ms: int,
) -> Day:
    start, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    fate = fates.get(day, Counter())
    return Day(
        day,
        start,
        end,
        _expected(interval, zone, max(start, since), end, now_ms),
        fate.total(),
        fate[RowFate.DELIVERED],
        fate[RowFate.WAITING],
        fate[RowFate.GIVEN_UP],
        fate[RowFate.UNSENT],
    )


def _expected(interval: Interval, zone: tzinfo, start: int, end: int, now_ms: int) -> int:
    """Boundaries from `start` until before `end`, without the present one.

    A row is taken at the first readout at or after its boundary: until the next boundary nothing is missing.
    """
    if interval.is_all:
        return 0
    count = 0
    boundary = interval.boundary(start, zone)
    while boundary < end:
        after = interval.next_boundary(boundary, zone)
        if after > now_ms:
            break
        count += boundary >= start
        boundary = after
    return count


def _midnight(day: date, zone: tzinfo) -> int:
    return first_instant(datetime.combine(day, time()), zone)


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)

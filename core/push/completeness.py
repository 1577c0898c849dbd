"""Which days of a month a head-end has all rows of, for a calendar. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise
from typing import Final

from core.interval import Interval, first_instant
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


class Month:
    """A month of the local calendar and the rows that a profile should have in it."""

    def __init__(self, month: date, interval: Interval, zone: tzinfo) -> None:
        """`month`: any day of it; `interval`: that of the profile."""
        self.first = month.replace(day=1)
        number = monthrange(month.year, month.month)[1]
        self._dates = [self.first + timedelta(days=day) for day in range(number + 1)]
        self._starts = [_midnight(day, zone) for day in self._dates]
        self._boundaries = list(_boundaries(interval, zone, self._starts[0], self._starts[-1]))
        self.start_ms = _midnight(self.first - _LOOK_BACK, zone)
        """From when on the rows are needed that `days` takes, ms since 1970 UTC."""
        self.end_ms = self._starts[-1]
        """Until before when."""

    def days(self, rows: Sequence[RowReport], now_ms: int) -> tuple[Day, ...]:
        """Each day with what became of its rows. `rows`: those of the boundaries in the time named above, in order.

        A meter lacks rows only after the first one of them. A row is taken at the first readout at or after its
        boundary: until the next boundary it is not missing.
        """
        since = rows[0].boundary_ms if rows else self.end_ms
        due = self._boundaries[: max(0, bisect_right(self._boundaries, now_ms) - 1)]
        fates: list[Counter[RowFate]] = [Counter() for _ in self._starts]
        for row in rows:
            if row.boundary_ms >= self._starts[0]:
                fates[bisect_right(self._starts, row.boundary_ms) - 1][row.fate] += 1
        return tuple(
            Day(
                date=self._dates[number],
                start_ms=start,
                end_ms=end,
                expected=max(0, bisect_left(due, end) - bisect_left(due, max(start, since))),
                rows=fates[number].total(),
                delivered=fates[number][RowFate.DELIVERED],
                waiting=fates[number][RowFate.WAITING],
                given_up=fates[number][RowFate.GIVEN_UP],
                unsent=fates[number][RowFate.UNSENT],
            )
            for number, (start, end) in enumerate(pairwise(self._starts))
        )


def _boundaries(interval: Interval, zone: tzinfo, start: int, end: int) -> Iterator[int]:
    """Those of the interval from `start` until before `end`, and the one after them; none where each reading counts."""
    if interval.is_all:
        return
    boundary = interval.boundary(start, zone)
    if boundary < start:
        boundary = interval.next_boundary(boundary, zone)
    while boundary < end:
        yield boundary
        boundary = interval.next_boundary(boundary, zone)
    yield boundary


def _midnight(day: date, zone: tzinfo) -> int:
    return first_instant(datetime.combine(day, time()), zone)

"""When a report is due: times that follow the local clock, also on the days on which it jumps. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

from core.errors import CmeError
from core.interval import first_instant, local_time

ALLOWED: Final = (
    '"every 15 min", "every 1 h", "every 1 h + 5 min", "daily 06:00", "weekly mon 06:00", "monthly 1 06:00" '
    '(day 1 to 28) or "monthly last 06:00"'
)
"""What a schedule must be, for people."""

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK: Final = r" ([01][0-9]|2[0-3]):([0-5][0-9])"
_EVERY: Final = re.compile(r"every ([1-9][0-9]{0,3}) (min|h)(?: \+ ([1-9][0-9]{0,3}) min)?")
_DAILY: Final = re.compile("daily" + _CLOCK)
_WEEKLY: Final = re.compile(f"weekly ({'|'.join(_WEEKDAYS)})" + _CLOCK)
_MONTHLY: Final = re.compile(r"monthly ([1-9]|1[0-9]|2[0-8]|last)" + _CLOCK)

_HOUR: Final = 60  # minutes
_DAY: Final = 1440
_MINUTE_MS: Final = 60_000
_LOOK_DAYS: Final = 64  # two months hold at least one slot of any schedule


class ScheduleError(CmeError):
    """A text that is no schedule."""

    def __init__(self, text: str, allowed: str) -> None:
        super().__init__(f'A schedule must be {allowed}, not "{text}".')
        self.allowed = allowed
        """What it must be: a phrase without the text that was given."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Moments at which a report is due, its slots.

    "every" counts from local midnight of each day, the offset added; where the day is no multiple, its last span is
    shorter. Up to an hour it counts the time that passes, so that nothing happens twice or late where the clock jumps;
    longer ones, as all others, are times on the local clock: one that the clock skips is due at the first moment
    after the gap, one that it repeats is due once, the first time.
    """

    text: str
    """As it is written, "every 15 min"."""
    minute: int
    """Of the day; the first one of "every", which is its offset."""
    every: int = 0
    """Minutes between two slots of a day, 0 where there is one slot a day at most."""
    weekday: int | None = None
    """The only day of the week, 0 = Monday."""
    day: int | None = None
    """The only day of the month, 1..28, 0 = the last one."""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read one of `ALLOWED`. Raises `ScheduleError`."""
        if found := _EVERY.fullmatch(text):
            every = int(found[1]) * (_HOUR if found[2] == "h" else 1)
            offset = int(found[3] or 0)
            if every > _DAY:
                raise ScheduleError(text, 'at most "every 24 h" (for more: daily, weekly or monthly)')
            if offset >= every:
                raise ScheduleError(text, f"offset by less than its {every} min")
            return cls(text, offset, every)
        if found := _DAILY.fullmatch(text):
            return cls(text, _minute(found[1], found[2]))
        if found := _WEEKLY.fullmatch(text):
            return cls(text, _minute(found[2], found[3]), weekday=_WEEKDAYS.index(found[1]))
        if found := _MONTHLY.fullmatch(text):
            day = 0 if found[1] == "last" else int(found[1])
            return cls(text, _minute(found[2], found[3]), day=day)
        raise ScheduleError(text, ALLOWED)

    def __str__(self) -> str:
        return self.text

    def next_after(self, ms: int, zone: tzinfo) -> int:
        """The first slot after the moment `ms` (both: milliseconds since 1970 UTC)."""
        # From the day before: at midnight the clock may have been set back, and the next day's slots come twice.
        today = local_time(ms, zone).date()
        for days in range(-1, _LOOK_DAYS):
            slots = self._slots(today + timedelta(days), zone)
            later = bisect_right(slots, ms)
            if later < len(slots):
                return slots[later]
        raise AssertionError(f"{self.text} has no slot in two months")

    def last_slot(self, ms: int, zone: tzinfo) -> int:
        """The last slot that is not after the moment `ms` (both: milliseconds since 1970 UTC)."""
        today = local_time(ms, zone).date()
        for days in range(1, -_LOOK_DAYS, -1):
            slots = self._slots(today + timedelta(days), zone)
            later = bisect_right(slots, ms)
            if later:
                return slots[later - 1]
        raise AssertionError(f"{self.text} has no slot in two months")

    def _slots(self, day: date, zone: tzinfo) -> Sequence[int]:
        """The slots of one day of the local calendar, in order."""
        if not self._is_due(day):
            return ()
        midnight = datetime.combine(day, time())
        if 0 < self.every <= _HOUR:
            start = first_instant(midnight, zone)
            end = first_instant(midnight + timedelta(days=1), zone)
            return range(start + self.minute * _MINUTE_MS, end, self.every * _MINUTE_MS)
        minutes = range(self.minute, _DAY, self.every or _DAY)
        return [first_instant(midnight + timedelta(minutes=minute), zone) for minute in minutes]

    def _is_due(self, day: date) -> bool:
        if self.weekday is not None:
            return day.weekday() == self.weekday
        if self.day is not None:
            return day.day == (self.day or monthrange(day.year, day.month)[1])
        return True


def _minute(hour: str, minute: str) -> int:
    return int(hour) * _HOUR + int(minute)

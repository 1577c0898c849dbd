"""Spans of time that follow the local clock: how often meters are read and how profiles are cut.

Needed in one place because readout schedule, profile rows and the checks of the configuration must agree on
where an interval begins, also on the two days of the year when the clock jumps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

_HOUR_S = 3600
_DAY_S = 86400
_WEEK_S = 7 * _DAY_S
_SPELLING = re.compile(r"([0-9]{1,5})\s*(min|h|d|weeks?|months?)")
_UNIT_S = {"min": 60, "h": _HOUR_S, "d": _DAY_S, "week": _WEEK_S}


@dataclass(frozen=True, slots=True)
class Interval:
    """A span such as "15 min", "1 d", "1 month", or "all" for "every reading is a row of its own".

    Two spellings of one span are equal: `Interval.parse("60 min") == Interval.parse("1 h")`.
    """

    text: str
    """Canonical spelling, in the largest unit that fits."""

    seconds: int | None
    """Nominal length; `None` for "all" and for months, which have no fixed one."""

    months: int = 0
    """Length in months, 0 for everything else."""

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read "15 min", "1 h", "1 d", "1 week", "1 month" or "all". Raises ValueError on anything else."""
        cleaned = " ".join(text.lower().split())
        if cleaned in ("all", "all values"):
            return cls("all", None)
        found = _SPELLING.fullmatch(cleaned)
        if found is None or int(found[1]) == 0:
            raise ValueError(f'"{text}" is no interval')
        count, unit = int(found[1]), found[2].rstrip("s")
        if unit == "month":
            return cls(f"{count} month", None, count)
        seconds = count * _UNIT_S[unit]
        for name in ("week", "d", "h"):
            if seconds % _UNIT_S[name] == 0:
                return cls(f"{seconds // _UNIT_S[name]} {name}", seconds)
        return cls(f"{seconds // 60} min", seconds)

    def __str__(self) -> str:
        return self.text

    @property
    def is_all(self) -> bool:
        """True where every reading counts and nothing is cut."""
        return self.seconds is None and not self.months

    def is_multiple_of(self, other: Interval) -> bool:
        """Whether each start of this interval is also a start of `other` (an interval of at most a day)."""
        if self.is_all:
            return True
        if other.seconds is None:
            return False
        return (self.seconds or _DAY_S) % other.seconds == 0

    def boundary(self, ms: int, zone: tzinfo) -> int:
        """Start of the interval that holds the moment `ms` (both: milliseconds since 1970 UTC)."""
        return self.span(ms, zone)[0]

    def next_boundary(self, ms: int, zone: tzinfo) -> int:
        """Start of the interval after the one that holds `ms`; always later than `ms`."""
        return self.span(ms, zone)[1]

    def span(self, ms: int, zone: tzinfo) -> tuple[int, int]:
        """Start and end (exclusive) of the interval that holds `ms`.

        Starts lie on the local clock: minutes and hours count from local midnight, weeks begin on Monday and
        months on the first. Up to one hour, an hour that the clock repeats has its intervals twice. Longer
        intervals start once: at the first of two equal clock times, and where the clock skips a start, at the
        jump.
        """
        if self.is_all:
            return ms, ms + 1
        if self.seconds is not None and _HOUR_S % self.seconds == 0:
            return _short_span(ms, self.seconds * 1000, zone)
        start = self._floor(local_time(ms, zone))
        after = self._after(start)
        # Where the clock was set back over a start, that start has already been: it does not come again.
        while (end := first_instant(after, zone)) <= ms:
            start, after = after, self._after(after)
        return first_instant(start, zone), end

    def _floor(self, wall: datetime) -> datetime:
        midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
        if self.months:
            month = (midnight.year * 12 + midnight.month - 1) // self.months * self.months
            return midnight.replace(year=month // 12, month=month % 12 + 1, day=1)
        seconds = self.seconds or _DAY_S
        if seconds < _DAY_S:
            return midnight + timedelta(seconds=(wall - midnight).seconds // seconds * seconds)
        # Ordinal 1 (0001-01-01) is a Monday, so whole weeks begin on Mondays.
        days = seconds // _DAY_S
        return midnight - timedelta(days=(midnight.toordinal() - 1) % days)

    def _after(self, start: datetime) -> datetime:
        if self.months:
            month = start.year * 12 + start.month - 1 + self.months
            return start.replace(year=month // 12, month=month % 12 + 1)
        seconds = self.seconds or _DAY_S
        after = start + timedelta(seconds=seconds)
        if seconds < _DAY_S:
            midnight = start.replace(hour=0, minute=0) + timedelta(days=1)
            return min(after, midnight)
        return after


def local_time(ms: int, zone: tzinfo) -> datetime:
    """What the local clock shows at the moment `ms` (milliseconds since 1970 UTC), to the second; naive."""
    return datetime.fromtimestamp(ms // 1000, zone).replace(tzinfo=None, fold=0)


def _offset_ms(ms: int, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(ms // 1000, zone).utcoffset() or timedelta(0)
    return round(offset.total_seconds()) * 1000


def _short_span(ms: int, period: int, zone: tzinfo) -> tuple[int, int]:
    offset = _offset_ms(ms, zone)
    start = (ms + offset) // period * period - offset
    end = start + period
    if _offset_ms(start, zone) != offset:
        start = _jump(start, ms, zone)
    if _offset_ms(end - 1, zone) != offset:
        end = _jump(ms, end, zone)
    return start, end


def first_instant(wall: datetime, zone: tzinfo) -> int:
    """The first moment, in milliseconds since 1970 UTC, at which the local clock shows `wall` or more."""
    aware = wall.replace(tzinfo=zone, fold=0)
    ms = round(aware.timestamp()) * 1000
    if local_time(ms, zone) == wall:
        return ms
    # The clock skips `wall`. PEP 495: fold 0 then lies behind the jump and fold 1 before it.
    return _jump(round(aware.replace(fold=1).timestamp()) * 1000, ms, zone)


def _jump(low: int, high: int, zone: tzinfo) -> int:
    """The moment in (low, high] from which the offset of `high` holds."""
    before, after = low // 1000, high // 1000
    target = _offset_ms(high, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset_ms(middle * 1000, zone) == target:
            after = middle
        else:
            before = middle
    return after * 1000


def _choices(*texts: str) -> tuple[Interval, ...]:
    return tuple(Interval.parse(text) for text in texts)


READOUT_INTERVALS = _choices(
    "5 min", "10 min", "15 min", "30 min", "1 h", "2 h", "3 h", "4 h", "6 h", "8 h", "12 h", "1 d"
)
"""How often meters can be read."""

PROFILE_INTERVALS = (*_choices("all"), *READOUT_INTERVALS, *_choices("1 week", "1 month"))
"""How far apart the rows of a profile can be."""

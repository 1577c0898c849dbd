"""Spans of time as people type them: "24 h", "2026-01-09", "2026-01-09 12:00 .. 2026-01-10"."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from core.errors import CmeError

EXAMPLES: Final = '"24 h", "7 d", "2026-01-09", "2026-01-09 12:00 .. 2026-01-10"'

_BACK: Final = re.compile(r"(\d{1,5}) ?(min|h|d)")
_UNITS_MS: Final = {"min": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d)?")
_EVER_MS: Final = 1 << 53


class PeriodError(CmeError):
    """What was typed is no span of time."""


class Period(NamedTuple):
    """From one time until before another, milliseconds since 1970 UTC."""

    start_ms: int
    end_ms: int

    def __contains__(self, time_ms: object) -> bool:
        return isinstance(time_ms, int) and self.start_ms <= time_ms < self.end_ms


def parse_period(text: str, zone: tzinfo, now_ms: int) -> Period:
    """What `text` means in `zone`: back from now and open to what comes, a day or minute, or from one to another,
    which is included; either end may be left out. Raises `PeriodError`.
    """
    text = " ".join(text.split())
    if back := _BACK.fullmatch(text):
        return Period(now_ms - int(back[1]) * _UNITS_MS[back[2]], _EVER_MS)
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not dots:
        return Period(*_span(text, zone))
    if not first and not last:
        raise _wrong(text)
    period = Period(_span(first, zone)[0] if first else -_EVER_MS, _span(last, zone)[1] if last else _EVER_MS)
    if period.start_ms >= period.end_ms:
        raise PeriodError(f"{first} is after {last}.")
    return period


def _span(text: str, zone: tzinfo) -> tuple[int, int]:
    """Begin of a day or minute, and of the next one."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise _wrong(text)
    try:
        begin = datetime.fromisoformat(text)
        end = begin + (timedelta(minutes=1) if found[1] else timedelta(days=1))
        return _ms(begin, zone), _ms(end, zone)
    except (ValueError, OverflowError):
        raise PeriodError(f'There is no "{text}".') from None


def _ms(local: datetime, zone: tzinfo) -> int:
    return round(local.replace(tzinfo=zone).timestamp() * 1000)


def _wrong(text: str) -> PeriodError:
    return PeriodError(f'"{text}" is no span of time; {EXAMPLES} are.')

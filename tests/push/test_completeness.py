"""Days of a month: how many rows each should have, and what they come to."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from core.interval import Interval
from core.push.completeness import Day, DayState, Month
from core.store.outbox import RowFate, RowReport

STOCKHOLM = ZoneInfo("Europe/Stockholm")
HOUR = 3_600_000
LATER = 4_000_000_000_000


def ms(*when: int, zone=STOCKHOLM) -> int:
    return round(datetime(*when, tzinfo=zone).timestamp() * 1000)


def rows(start: int, end: int, step: int = HOUR, fate: RowFate = RowFate.DELIVERED) -> list[RowReport]:
    return [RowReport(at, at + 9000, fate) for at in range(start, end, step)]


def day_of(days: tuple[Day, ...], number: int) -> Day:
    return days[number - 1]


@pytest.mark.parametrize(
    ("month", "number", "expected"),
    [(date(2026, 3, 1), 29, 23), (date(2026, 10, 1), 25, 25), (date(2026, 10, 1), 24, 24)],
    ids=["spring", "autumn", "any other"],
)
def test_a_day_has_as_many_rows_as_hours(month: date, number: int, expected: int) -> None:
    """23 where the clock is put forward, 25 where it is put back."""
    chosen = Month(month, Interval.parse("1 h"), STOCKHOLM)
    days = chosen.days(rows(chosen.start_ms, chosen.end_ms), LATER)
    day = day_of(days, number)
    assert (day.expected, day.rows, day.state) == (expected, expected, DayState.DELIVERED)
    assert day.end_ms - day.start_ms == expected * HOUR


@pytest.mark.parametrize(
    ("interval", "counts"),
    [("15 min", [96, 96]), ("1 d", [1, 1]), ("1 week", [0, 0]), ("1 month", [1, 0]), ("all", [0, 0])],
)
def test_the_interval_says_how_many_rows_a_day_has(interval: str, counts: list[int]) -> None:
    """1 January 2026 is a Thursday; without an interval nothing can be missing."""
    chosen = Month(date(2026, 1, 31), Interval.parse(interval), UTC)
    days = chosen.days(rows(chosen.start_ms, chosen.start_ms + 1), LATER)
    assert [day.expected for day in days[:2]] == counts
    assert len(days) == 31


def test_a_day_without_rows_lacks_them_only_after_the_first_row() -> None:
    """Before a meter was installed nothing is missing; from then on every row is."""
    chosen = Month(date(2026, 1, 1), Interval.parse("1 h"), UTC)
    days = chosen.days(rows(ms(2026, 1, 5, 12, zone=UTC), ms(2026, 1, 6, zone=UTC)), LATER)
    assert [day_of(days, number).state for number in (4, 5, 6)] == [
        DayState.NOTHING,
        DayState.DELIVERED,
        DayState.INCOMPLETE,
    ]
    assert (day_of(days, 5).expected, day_of(days, 6).expected) == (12, 24)


def test_rows_of_the_month_before_make_a_gap_seen() -> None:
    """A meter that fell silent at the end of December lacks the rows of January."""
    chosen = Month(date(2026, 1, 1), Interval.parse("1 d"), UTC)
    assert chosen.start_ms == ms(2025, 12, 1, zone=UTC)
    days = chosen.days(rows(ms(2025, 12, 30, zone=UTC), ms(2025, 12, 31, zone=UTC), 24 * HOUR), LATER)
    assert {day.state for day in days} == {DayState.INCOMPLETE}
    assert {day.rows for day in days} == {0}


def test_nothing_is_missing_that_may_still_come() -> None:
    """The row of the present hour is due until the next one begins, and days to come have none."""
    chosen = Month(date(2026, 1, 1), Interval.parse("1 h"), UTC)
    have = rows(ms(2026, 1, 8, zone=UTC), ms(2026, 1, 9, 12, zone=UTC))
    at = ms(2026, 1, 9, 12, 40, zone=UTC)
    days = chosen.days(have, at)
    assert (day_of(days, 9).expected, day_of(days, 9).state) == (12, DayState.DELIVERED)
    assert day_of(days, 10).state is DayState.NOTHING
    assert day_of(chosen.days(have, at + HOUR), 9).state is DayState.INCOMPLETE


def test_the_worst_of_its_rows_is_the_state_of_a_day() -> None:
    """Given up, then incomplete, then waiting, then delivered."""
    chosen = Month(date(2026, 1, 1), Interval.parse("6 h"), UTC)
    start = chosen.end_ms - 31 * 24 * HOUR

    def state(*fates: RowFate) -> DayState:
        made = [RowReport(start + number * 6 * HOUR, 0, fate) for number, fate in enumerate(fates)]
        return day_of(chosen.days(made, LATER), 1).state

    delivered, waiting = RowFate.DELIVERED, RowFate.WAITING
    assert state(delivered, delivered, delivered, delivered) is DayState.DELIVERED
    assert state(delivered, delivered, delivered, waiting) is DayState.WAITING
    assert state(delivered, delivered, delivered, RowFate.UNSENT) is DayState.WAITING
    assert state(delivered, delivered, waiting) is DayState.INCOMPLETE
    assert state(delivered, RowFate.GIVEN_UP) is DayState.GIVEN_UP

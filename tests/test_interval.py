"""Intervals follow the local clock, without gaps and without overlaps, also where the clock jumps."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.interval import PROFILE_INTERVALS, READOUT_INTERVALS, Interval

STOCKHOLM = ZoneInfo("Europe/Stockholm")
# With jumps of an hour, of half an hour, at midnight, at 00:01, of a whole day, and none.
ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Stockholm",
        "Australia/Lord_Howe",
        "America/Santiago",
        "America/St_Johns",
        "Pacific/Apia",
        "Asia/Kathmandu",
        "UTC",
    )
]


def ms(text: str, zone: ZoneInfo = STOCKHOLM, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) * 1000


def starts(interval: str, first: str, last: str) -> list[int]:
    found = [Interval.parse(interval).boundary(ms(first), STOCKHOLM)]
    while found[-1] < ms(last):
        found.append(Interval.parse(interval).next_boundary(found[-1], STOCKHOLM))
    return found


@given(
    interval=st.sampled_from(PROFILE_INTERVALS),
    zone=st.sampled_from(ZONES),
    moment=st.integers(946_684_800_000, 2_145_916_800_000),
)
@example(Interval.parse("1 d"), ZoneInfo("Pacific/Apia"), 1_325_239_200_000)
@example(Interval.parse("1 d"), ZoneInfo("America/St_Johns"), 1_289_098_860_000)
@example(Interval.parse("1 h"), ZoneInfo("Australia/Lord_Howe"), 1_759_591_800_000)
@settings(deadline=None, max_examples=600)
def test_every_moment_lies_in_exactly_one_interval(interval: Interval, zone: ZoneInfo, moment: int) -> None:
    """Whatever moment of an interval is asked for, start and end are the same."""
    start, end = interval.span(moment, zone)
    assert start <= moment < end
    assert interval.span(start, zone) == (start, end)
    assert interval.span(end - 1, zone) == (start, end)
    assert interval.boundary(end, zone) == end
    assert interval.boundary(moment, zone) == start
    assert interval.next_boundary(moment, zone) == end


@given(zone=st.sampled_from(ZONES), moment=st.integers(1_577_836_800_000, 2_145_916_800_000))
@example(STOCKHOLM, 1_761_440_400_000)
@example(STOCKHOLM, 1_743_296_400_000)
@settings(deadline=None, max_examples=200)
def test_a_longer_interval_begins_where_each_of_its_divisors_begins(zone: ZoneInfo, moment: int) -> None:
    """So that a readout on schedule always comes at the start of a profile interval."""
    for long in PROFILE_INTERVALS:
        if long.is_all:
            continue
        for short in READOUT_INTERVALS:
            if long.is_multiple_of(short):
                start = long.boundary(moment, zone)
                assert short.boundary(start, zone) == start


@pytest.mark.parametrize(
    ("interval", "moment", "start", "end"),
    [
        ("5 min", "2026-03-04 10:07", "2026-03-04 10:05", "2026-03-04 10:10"),
        ("15 min", "2026-03-04 10:59:59", "2026-03-04 10:45", "2026-03-04 11:00"),
        ("1 h", "2026-03-04 10:00", "2026-03-04 10:00", "2026-03-04 11:00"),
        ("8 h", "2026-03-04 15:59", "2026-03-04 08:00", "2026-03-04 16:00"),
        ("12 h", "2026-03-04 23:00", "2026-03-04 12:00", "2026-03-05 00:00"),
        ("1 d", "2026-03-04 23:59", "2026-03-04 00:00", "2026-03-05 00:00"),
        ("1 week", "2026-03-08 23:59", "2026-03-02 00:00", "2026-03-09 00:00"),
        ("1 month", "2026-02-28 23:59", "2026-02-01 00:00", "2026-03-01 00:00"),
        ("1 month", "2025-12-15 12:00", "2025-12-01 00:00", "2026-01-01 00:00"),
    ],
)
def test_intervals_begin_on_the_local_clock(interval: str, moment: str, start: str, end: str) -> None:
    """Hours count from local midnight, weeks from Monday, months from the first."""
    assert Interval.parse(interval).span(ms(moment), STOCKHOLM) == (ms(start), ms(end))


@pytest.mark.parametrize(
    ("interval", "autumn", "spring"), [("15 min", 100, 92), ("30 min", 50, 46), ("1 h", 25, 23)]
)
def test_short_intervals_are_as_long_as_ever_on_the_days_when_the_clock_jumps(
    interval: str, autumn: int, spring: int
) -> None:
    """The repeated hour has its intervals twice, the skipped hour has none."""
    for day, next_day, count in (("2025-10-26", "2025-10-27", autumn), ("2026-03-29", "2026-03-30", spring)):
        found = starts(interval, day, next_day)
        assert len(found) - 1 == count
        assert {after - before for before, after in pairwise(found)} == {
            Interval.parse(interval).seconds * 1000
        }


def test_long_intervals_keep_their_clock_times_on_the_days_when_the_clock_jumps() -> None:
    """Two-hour intervals begin twelve times a day; the one with the jump is longer or shorter."""
    hour = 3_600_000
    autumn = [after - before for before, after in pairwise(starts("2 h", "2025-10-26", "2025-10-27"))]
    spring = [after - before for before, after in pairwise(starts("2 h", "2026-03-29", "2026-03-30"))]
    assert autumn == [2 * hour, 3 * hour, *[2 * hour] * 10]
    assert spring == [2 * hour, 1 * hour, *[2 * hour] * 10]
    days = [after - before for before, after in pairwise(starts("1 d", "2025-10-25", "2025-10-28"))]
    assert days == [24 * hour, 25 * hour, 24 * hour]


def test_a_start_that_the_clock_skips_is_at_the_jump() -> None:
    """In Stockholm 02:00 does not exist on 29 March 2026: the interval begins at what is called 03:00."""
    start = Interval.parse("2 h").boundary(ms("2026-03-29 03:30"), STOCKHOLM)
    assert start == ms("2026-03-29 03:00")
    assert datetime.fromtimestamp(start / 1000 - 1, STOCKHOLM).utcoffset() == timedelta(hours=1)


def test_all_makes_each_reading_its_own_interval() -> None:
    """No two readings share a row."""
    every = Interval.parse("all")
    assert [every.boundary(moment, STOCKHOLM) for moment in (1, 2, 900_000)] == [1, 2, 900_000]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("60 min", "1 h"),
        ("15min", "15 min"),
        (" 1  H ", "1 h"),
        ("24 h", "1 d"),
        ("7 d", "1 week"),
        ("all values", "all"),
    ],
)
def test_spellings_of_one_span_are_equal(text: str, same: str) -> None:
    """A configuration may say it in another unit."""
    assert Interval.parse(text) == Interval.parse(same)
    assert Interval.parse(text).text == same


@pytest.mark.parametrize(
    "text", ["", "0 min", "15", "min", "-5 min", "1.5 h", "1 year", "٣ min", "1 h 5 min"]
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    """With ValueError, which names the text."""
    with pytest.raises(ValueError, match="is no interval"):
        Interval.parse(text)


def test_whole_multiples_are_told_from_others() -> None:
    """Weeks and months are multiples of whatever divides a day; "all" of everything."""
    quarter = Interval.parse("15 min")
    fits = [
        each
        for each in ("all", "15 min", "30 min", "1 h", "1 d", "1 week", "1 month")
        if Interval.parse(each).is_multiple_of(quarter)
    ]
    assert len(fits) == 7
    assert not Interval.parse("20 min").is_multiple_of(quarter)
    assert not Interval.parse("5 min").is_multiple_of(quarter)
    assert not Interval.parse("3 h").is_multiple_of(Interval.parse("2 h"))

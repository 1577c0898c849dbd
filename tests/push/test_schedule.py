"""When a report is due: on the local clock, also on the days on which it jumps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.push.schedule import Schedule, ScheduleError

MINUTE = 60_000
DAY = 1440 * MINUTE
STOCKHOLM = ZoneInfo("Europe/Stockholm")

SCHEDULES = (
    "every 1 min", "every 7 min", "every 15 min", "every 45 min", "every 1 h", "every 1 h + 5 min", "every 90 min",
    "every 2 h", "every 5 h + 31 min", "every 24 h", "daily 00:00", "daily 02:30", "daily 23:59", "weekly sun 02:15",
    "weekly mon 00:00", "monthly 1 00:30", "monthly 28 02:59", "monthly last 02:00",
)  # fmt: skip


def ms(text: str, zone: ZoneInfo = STOCKHOLM, fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) * 1000


def following(schedule: str, start: int, count: int, zone: ZoneInfo = STOCKHOLM) -> list[str]:
    """Local times, with the offset to UTC, of the slots after `start`."""
    found = []
    for _ in range(count):
        start = Schedule.parse(schedule).next_after(start, zone)
        found.append(datetime.fromtimestamp(start / 1000, zone).strftime("%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("every 15 min", ["24 10:15 +0100", "24 10:30 +0100"]),
        ("every 1 h + 5 min", ["24 10:05 +0100", "24 11:05 +0100"]),
        ("every 7 h", ["24 14:00 +0100", "24 21:00 +0100", "25 00:00 +0100", "25 07:00 +0100"]),
        ("daily 10:00", ["25 10:00 +0100"]),
        ("weekly thu 06:00", ["30 06:00 +0100"]),
        ("monthly 24 10:01", ["24 10:01 +0100", "24 10:01 +0100"]),
        ("monthly last 06:00", ["31 06:00 +0100", "28 06:00 +0100", "31 06:00 +0200"]),
    ],
)
def test_slots_are_times_on_the_local_clock(schedule: str, expected: list[str]) -> None:
    """From Friday, 24 January 2025, 10:00 in Stockholm on; a slot at that very moment is not after it."""
    assert following(schedule, ms("2025-01-24 10:00"), len(expected)) == expected


def test_the_last_day_of_february_is_that_of_the_year() -> None:
    """28 or 29."""
    last = Schedule.parse("monthly last 12:00")
    for year, day in ((2023, 28), (2024, 29), (2100, 28)):
        assert last.next_after(ms(f"{year}-02-03 00:00"), STOCKHOLM) == ms(f"{year}-02-{day} 12:00")


def test_a_daily_report_in_the_gap_of_spring_comes_once_right_after_it() -> None:
    """02:30 does not exist on 30 March 2025: 03:00 it is, and the day before and after 02:30."""
    assert following("daily 02:30", ms("2025-03-28 12:00"), 3) == [
        "29 02:30 +0100",
        "30 03:00 +0200",
        "31 02:30 +0200",
    ]


def test_a_daily_report_in_the_repeated_hour_of_autumn_comes_once() -> None:
    """02:30 exists twice on 26 October 2025: the first one it is."""
    assert following("daily 02:30", ms("2025-10-25 12:00"), 2) == ["26 02:30 +0200", "27 02:30 +0100"]


def test_every_15_minutes_goes_on_in_the_repeated_hour() -> None:
    """Nine slots in the two hours from 02:00 to 03:00."""
    assert following("every 15 min", ms("2025-10-26 01:59"), 9) == [
        *(f"26 02:{minute} +0200" for minute in ("00", "15", "30", "45")),
        *(f"26 02:{minute} +0100" for minute in ("00", "15", "30", "45")),
        "26 03:00 +0100",
    ]


def test_every_15_minutes_goes_on_over_the_gap_of_spring() -> None:
    """After 01:45 comes 03:00, a quarter of an hour later."""
    assert following("every 15 min", ms("2025-03-30 01:30"), 2) == ["30 01:45 +0100", "30 03:00 +0200"]


def test_a_slot_is_the_last_one_from_its_moment_on() -> None:
    """A millisecond before it still is the one before."""
    daily = Schedule.parse("daily 06:00")
    slot = ms("2025-05-05 06:00")
    assert daily.last_slot(slot, STOCKHOLM) == slot
    assert daily.last_slot(slot - 1, STOCKHOLM) == ms("2025-05-04 06:00")
    assert daily.next_after(slot - 1, STOCKHOLM) == slot


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", "daily 06:00"),
        ("hourly", "daily 06:00"),
        ("every 0 min", "daily 06:00"),
        ("every 25 h", "at most"),
        ("every 1441 min", "at most"),
        ("every 15 min + 15 min", "less than its 15 min"),
        ("daily 24:00", "daily 06:00"),
        ("daily 6:00", "daily 06:00"),
        ("weekly monday 06:00", "weekly mon 06:00"),
        ("monthly 0 06:00", "day 1 to 28"),
        ("monthly 29 06:00", "day 1 to 28"),
        ("daily 06:00 ", "daily 06:00"),
        ("every ١ min", "daily 06:00"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_allowed(text: str, allowed: str) -> None:
    """In a sentence."""
    with pytest.raises(ScheduleError, match="A schedule must be") as caught:
        Schedule.parse(text)
    assert allowed in str(caught.value)


class Jump(NamedTuple):
    """A change of the offset to UTC."""

    zone: str
    second: int
    before: int
    after: int


@cache
def jumps() -> tuple[Jump, ...]:
    """Every change of offset from 2005 to 2030, one zone for each that are the same."""
    start = round(datetime(2005, 1, 1, tzinfo=UTC).timestamp())
    moments = [start + week * 7 * 86400 for week in range(26 * 52)]
    found: dict[tuple[int, int, int], Jump] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        for low, high in pairwise(moments):
            before, after = offset(low, zone), offset(high, zone)
            if before == after:
                continue
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle, zone) == before else (low, middle)
            if high % 60 == 0 and before % 60 == 0 and after % 60 == 0:
                found.setdefault((high, before, after), Jump(name, high, before, after))
    return tuple(found.values())


def offset(second: int, zone: ZoneInfo) -> int:
    shift = datetime.fromtimestamp(second, zone).utcoffset()
    assert shift is not None
    return round(shift.total_seconds())


class Look(NamedTuple):
    """What is seen of the local clock at one minute."""

    ms: int
    passed: int | None
    """Minutes since the day began; None on the first day."""
    new: tuple[datetime, ...]
    """What the clock shows or has skipped since the minute before, without what it has shown already."""


@cache
def looks(name: str, start: int, minutes: int) -> tuple[Look, ...]:
    """Every minute after `start`; nothing of the program's own is used."""
    zone, found, passed = ZoneInfo(name), [], None
    highest = datetime.fromtimestamp(start / 1000, zone).replace(tzinfo=None, fold=0)
    for at in range(start + MINUTE, start + minutes * MINUTE, MINUTE):
        now = datetime.fromtimestamp(at / 1000, zone).replace(tzinfo=None, fold=0)
        steps = round((now - highest) / timedelta(minutes=1))
        new = tuple(highest + timedelta(minutes=number) for number in range(1, steps + 1))
        highest = max(highest, now)
        if any((clock.hour, clock.minute) == (0, 0) for clock in new):
            passed = 0
        elif passed is not None:
            passed += 1
        found.append(Look(at, passed, new))
    return tuple(found)


def slots_by_looking(text: str, seen: tuple[Look, ...]) -> list[int]:
    """The slots among the minutes that were looked at."""
    words = text.split()
    if words[0] != "every":
        return [look.ms for look in seen if any(is_due(words, clock) for clock in look.new)]
    every = int(words[1]) * (60 if words[2] == "h" else 1)
    shift = int(words[4]) if len(words) > 3 else 0
    found = []
    for at, passed, new in seen:
        counted = [clock.hour * 60 + clock.minute for clock in new]
        if every <= 60:
            counted = [] if passed is None else [passed]
        if any(minute >= shift and (minute - shift) % every == 0 for minute in counted):
            found.append(at)
    return found


def is_due(words: list[str], clock: datetime) -> bool:
    if f"{clock.hour:02}:{clock.minute:02}" != words[-1]:
        return False
    match words[0]:
        case "weekly":
            return clock.strftime("%a").lower() == words[1]
        case "monthly" if words[1] == "last":
            return (clock + timedelta(days=1)).day == 1
        case "monthly":
            return clock.day == int(words[1])
    return True


def check(text: str, zone: ZoneInfo, start: int, days: int, first: int = 1) -> None:
    """Compare both directions with looking, from `first` days after `start` on."""
    looked = slots_by_looking(text, looks(zone.key, start, days * 1440))
    begin, end = start + first * DAY, start + days * DAY
    inside = looked[bisect_left(looked, begin) : bisect_right(looked, end)]
    schedule = Schedule.parse(text)
    moment, found = begin - 1, []
    while (moment := schedule.next_after(moment, zone)) < end:
        found.append(moment)
    assert found == inside, (text, zone.key)
    for earlier, later in list(pairwise(inside))[:: len(inside) // 40 + 1]:
        for at in (earlier, earlier + 1, later - 1):
            assert schedule.last_slot(at, zone) == earlier, (text, zone.key)
            assert schedule.next_after(at, zone) == later, (text, zone.key)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SCHEDULES), st.data())
def test_around_every_change_of_a_clock_in_the_world(text: str, data: st.DataObject) -> None:
    """Looking at the clock minute by minute gives the same slots."""
    jump = data.draw(st.sampled_from(jumps()))
    check(text, ZoneInfo(jump.zone), jump.second * 1000 - 3 * DAY, 5)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Stockholm", "2025-03-30"),
        ("Europe/Stockholm", "2025-10-26"),
        ("Australia/Lord_Howe", "2025-04-06"),  # by half an hour
        ("Australia/Lord_Howe", "2025-10-05"),
        ("Pacific/Apia", "2011-12-30"),  # which was left out
        ("America/Sao_Paulo", "2018-11-04"),  # the day began at 01:00
        ("America/Sao_Paulo", "2018-02-18"),  # 23:00 to 24:00 twice
        ("Africa/Cairo", "2024-11-01"),
        ("Asia/Pyongyang", "2015-08-15"),
        ("Asia/Kathmandu", "2025-06-01"),
    ],
)
def test_on_the_strangest_days_of_the_calendar(zone: str, day: str) -> None:
    """Every schedule, looked at minute by minute."""
    start = ms(f"{date.fromisoformat(day) - timedelta(days=3)} 12:00", ZoneInfo(zone))
    for text in SCHEDULES:
        check(text, ZoneInfo(zone), start, 5)


@pytest.mark.parametrize("start", ["2024-01-27", "2023-02-26", "2024-02-27", "2025-12-29"])
def test_at_the_end_of_a_month(start: str) -> None:
    """Leap years and the turn of the year included."""
    for text in SCHEDULES:
        check(text, STOCKHOLM, ms(f"{start} 00:00"), 6)


def test_a_year_has_each_slot_once() -> None:
    """12 monthly, 52 weekly and 365 daily ones, and a quarter of an hour for each that passes."""
    start, end = ms("2025-01-01 00:00"), ms("2026-01-01 00:00")
    counts = {}
    for text in ("monthly 1 00:00", "monthly last 23:59", "weekly wed 12:00", "daily 02:30", "every 15 min"):
        schedule, moment, count = Schedule.parse(text), start - 1, 0
        while (moment := schedule.next_after(moment, STOCKHOLM)) < end:
            count += 1
        counts[text] = count
    assert counts == {
        "monthly 1 00:00": 12,
        "monthly last 23:59": 12,
        "weekly wed 12:00": 53,
        "daily 02:30": 365,
        "every 15 min": 365 * 96,
    }

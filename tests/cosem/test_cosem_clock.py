"""Clock: every attribute follows from the time and the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from dlms_plant import Directory

from core.cosem import datetime as cosem_time
from core.cosem.objects import Access, Clock, Context, DataAccessError
from core.dlms import axdr
from core.dlms.axdr import Tag

CONTEXT = Context(1, 1, "test", Directory())
SUMMER = int(datetime(2025, 7, 1, 12, tzinfo=UTC).timestamp() * 1000)
WINTER = int(datetime(2025, 12, 1, 12, tzinfo=UTC).timestamp() * 1000)


def read(clock: Clock, attribute: int) -> object:
    """The plain value of an attribute."""
    raw = clock.read(attribute, None, CONTEXT)
    assert isinstance(raw, bytes)
    content = axdr.decode(raw).content
    return content.hex() if isinstance(content, bytes) else content


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        (
            "Europe/Berlin", SUMMER,
            [-60, 0x80, "07e9031e0702000000ffc400", "07e90a1a0703000000ff8880", 60, True],
        ),
        (
            "Europe/Berlin", WINTER,
            [-60, 0, "07e9031e0702000000ffc400", "07e90a1a0703000000ff8880", 60, True],
        ),
        (
            "Australia/Sydney", SUMMER,  # in winter there; begins in October, ends in April
            [-600, 0, "07e90a050702000000fda800", "07e904060703000000fd6c80", 60, True],
        ),
        ("Asia/Kolkata", SUMMER, [-330, 0, cosem_time.UNSPECIFIED.hex(), cosem_time.UNSPECIFIED.hex(), 0, False]),
        (
            "Europe/Dublin", WINTER,  # where the law calls summer time the standard
            [0, 0, "07e9031e0701000000000000", "07e90a1a0702000000ffc480", 60, True],
        ),
        (
            "America/New_York", SUMMER,  # west of Greenwich
            [300, 0x80, "07e903090702000000012c00", "07e90b02070200000000f080", 60, True],
        ),
        (
            "Australia/Lord_Howe", WINTER,  # by half an hour
            [-630, 0x80, "07e90a050702000000fd8a00", "07e904060702000000fd6c80", 30, True],
        ),
        ("America/Sao_Paulo", SUMMER, [180, 0, cosem_time.UNSPECIFIED.hex(), cosem_time.UNSPECIFIED.hex(), 0, False]),
        ("UTC", SUMMER, [0, 0, cosem_time.UNSPECIFIED.hex(), cosem_time.UNSPECIFIED.hex(), 0, False]),
    ],
)  # fmt: skip
def test_the_attributes_are_those_of_the_zone(zone: str, now: int, expected: list[object]) -> None:
    """Time zone, status, begin and end of daylight saving, deviation, enabled."""
    clock = Clock(lambda: now, ZoneInfo(zone))
    assert [read(clock, attribute) for attribute in range(3, 9)] == expected
    assert read(clock, 2) == cosem_time.encode(now, ZoneInfo(zone)).hex()
    assert read(clock, 9) == 1  # a crystal: 4 would be satellites, 5 radio


@pytest.mark.parametrize(
    ("attribute", "tag"),
    [
        (1, Tag.OCTET_STRING), (2, Tag.OCTET_STRING), (3, Tag.LONG), (4, Tag.UNSIGNED), (5, Tag.OCTET_STRING),
        (6, Tag.OCTET_STRING), (7, Tag.INTEGER), (8, Tag.BOOLEAN), (9, Tag.ENUM),
    ],
)  # fmt: skip
def test_the_data_types_are_those_of_the_book(attribute: int, tag: Tag) -> None:
    """Blue Book 4.5.1."""
    raw = Clock(lambda: SUMMER, ZoneInfo("Europe/Berlin")).read(attribute, None, CONTEXT)
    assert isinstance(raw, bytes)
    assert axdr.decode(raw).tag == tag


def test_a_fixed_offset_has_no_daylight_saving() -> None:
    """A zone that is no more than a number."""
    clock = Clock(lambda: SUMMER, timezone(timedelta(hours=-3, minutes=-30)))
    unspecified = cosem_time.UNSPECIFIED.hex()
    assert [read(clock, number) for number in range(3, 9)] == [210, 0, unspecified, unspecified, 0, False]


@pytest.mark.parametrize("offset", [-1, 0])
def test_the_dates_are_right_up_to_the_change_itself(offset: int) -> None:
    """A second before the change and at it: status and deviation turn, the dates of the year stay."""
    change = int(datetime(2025, 3, 30, 1, tzinfo=UTC).timestamp() * 1000) + offset * 1000
    clock = Clock(lambda: change, ZoneInfo("Europe/Berlin"))
    assert read(clock, 4) == (0x80 if offset == 0 else 0)
    assert read(clock, 2) == ("07e9031e0703000000ff8880" if offset == 0 else "07e9031e07013b3b00ffc400")
    assert [read(clock, number) for number in (3, 5, 7)] == [-60, "07e9031e0702000000ffc400", 60]


@pytest.mark.parametrize(
    "value",
    [
        axdr.double_long_unsigned(5), axdr.octet_string(b""), axdr.octet_string(bytes(11)),
        axdr.octet_string(bytes(12)),
        axdr.octet_string(cosem_time.UNSPECIFIED), axdr.visible_string("2025-06-15 1"),
    ],
)  # fmt: skip
def test_what_is_no_time_does_not_set_the_clock(value: bytes) -> None:
    """type-unmatched."""
    clock = Clock(lambda: SUMMER, UTC, set_time=lambda ms, _: pytest.fail(f"set to {ms}"))
    with pytest.raises(DataAccessError, match="type-unmatched"):
        clock.write(2, axdr.decode(value), CONTEXT)


def test_a_clock_is_set_in_local_time_where_no_deviation_is_given() -> None:
    """As the simplest clients write it; the daylight saving bit tells the hour that comes twice."""
    times: list[int] = []
    clock = Clock(lambda: SUMMER, ZoneInfo("Europe/Berlin"), set_time=lambda ms, _: times.append(ms))
    for text in ("07e90a1aff021e0000800080", "07e90a1aff021e0000800000", "07e90a1aff021e00ff800000"):
        clock.write(2, axdr.decode(axdr.octet_string(bytes.fromhex(text))), CONTEXT)
    half_past = int(datetime(2025, 10, 26, 0, 30, tzinfo=UTC).timestamp() * 1000)
    assert times == [half_past, half_past + 3_600_000, half_past + 3_600_000]


def test_the_zone_may_change_while_it_runs() -> None:
    """It is asked for anew with every read."""
    zones: list[tzinfo] = [ZoneInfo("Europe/Berlin")]
    clock = Clock(lambda: SUMMER, lambda: zones[0])
    assert read(clock, 3) == -60
    zones[0] = UTC
    assert read(clock, 3) == 0


def test_a_clock_that_cannot_be_set_does_not_say_that_it_can() -> None:
    """The right to write goes with the function that sets the time."""
    fixed = Clock(lambda: SUMMER, UTC)
    assert fixed.access(1).attributes[1] is Access.READ
    with pytest.raises(DataAccessError, match="read-write-denied"):
        fixed.write(2, axdr.decode(axdr.date_time(cosem_time.encode(SUMMER, UTC))), CONTEXT)
    times: list[int] = []
    settable = Clock(lambda: SUMMER, UTC, set_time=lambda ms, _: times.append(ms))
    assert settable.access(1).attributes[1] is Access.READ_WRITE
    assert settable.access(16).attributes[1] is Access.READ
    settable.write(2, axdr.decode(axdr.date_time(cosem_time.encode(WINTER, UTC))), CONTEXT)
    assert times == [WINTER]

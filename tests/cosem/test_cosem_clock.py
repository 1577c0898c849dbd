"""Clock: every attribute follows from the time and the zone."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from dlms_plant import Directory

from core.cosem import datetime as cosem_time
from core.cosem.objects import Access, Clock, Context, DataAccessError
from core.dlms import axdr

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
        ("UTC", SUMMER, [0, 0, cosem_time.UNSPECIFIED.hex(), cosem_time.UNSPECIFIED.hex(), 0, False]),
    ],
)  # fmt: skip
def test_the_attributes_are_those_of_the_zone(zone: str, now: int, expected: list[object]) -> None:
    """Time zone, status, begin and end of daylight saving, deviation, enabled."""
    clock = Clock(lambda: now, ZoneInfo(zone))
    assert [read(clock, attribute) for attribute in range(3, 9)] == expected
    assert read(clock, 2) == cosem_time.encode(now, ZoneInfo(zone)).hex()


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

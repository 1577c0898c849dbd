"""COSEM date-time: the Blue Book's sign of the deviation, both sides of a change of the clock, and wildcards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from core.cosem import datetime as cosem_time
from core.dlms.errors import DecodeError

BERLIN = ZoneInfo("Europe/Berlin")


def ms(*fields: int) -> int:
    """Milliseconds of a moment in UTC."""
    return int(datetime(*fields, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("moment", "zone", "raw"),
    [
        (ms(2025, 6, 15, 15, 6, 40), BERLIN, "07e9060f0711062800ff8880"),  # UTC+2, summer
        (ms(2025, 1, 1, 0, 0, 0) + 450, BERLIN, "07e90101030100002dffc400"),  # UTC+1, winter, hundredths
        (ms(2025, 6, 15, 12, 0, 0), UTC, "07e9060f070c000000000000"),
        (ms(2025, 6, 15, 12, 0, 0), ZoneInfo("America/New_York"), "07e9060f070800000000f080"),
        (ms(2025, 6, 15, 12, 0, 0), timezone(timedelta(hours=5, minutes=30)), "07e9060f07111e0000feb600"),
        (ms(1970, 1, 1, 0, 0, 0), UTC, "07b201010400000000000000"),
    ],
)
def test_a_moment_has_its_twelve_bytes_and_comes_back(moment: int, zone: object, raw: str) -> None:
    """Deviation is local time to UTC: -120 where it is two hours later."""
    assert cosem_time.encode(moment, zone).hex() == raw  # type: ignore[arg-type]
    assert cosem_time.decode(bytes.fromhex(raw), UTC) == moment


def test_the_hour_that_comes_twice_is_told_apart() -> None:
    """In October by its deviation, and without one by the daylight saving bit."""
    first, second = ms(2025, 10, 26, 0, 30), ms(2025, 10, 26, 1, 30)
    for moment in (first, second):
        raw = cosem_time.encode(moment, BERLIN)
        assert cosem_time.decode(raw, UTC) == moment
        assert cosem_time.decode(raw[:9] + b"\x80\x00" + raw[11:], BERLIN) == moment


def test_without_a_deviation_local_time_is_meant() -> None:
    """8000 = not specified."""
    assert cosem_time.decode(bytes.fromhex("07e9060f07110628008000ff"), BERLIN) == ms(2025, 6, 15, 15, 6, 40)


@pytest.mark.parametrize(
    ("raw", "first", "last"),
    [
        ("07e9060fffffffffff800000", ms(2025, 6, 15), ms(2025, 6, 16) - 1),
        ("07e902ffffffffffff800000", ms(2025, 2, 1), ms(2025, 3, 1) - 1),
        ("07e9ffffffffffffff800000", ms(2025, 1, 1), ms(2026, 1, 1) - 1),
        ("07e802feff00000000800000", ms(2024, 2, 29), ms(2024, 2, 29) + 9),
        ("07e802fdff00000000800000", ms(2024, 2, 28), ms(2024, 2, 28) + 9),
        ("07e9060f07110628ff800000", ms(2025, 6, 15, 17, 6, 40), ms(2025, 6, 15, 17, 6, 41) - 1),
        ("ffffffffffffffffff8000ff", None, None),
        ("ffff0601ff00000000000000", None, None),
    ],
)
def test_wildcards_take_their_first_or_their_last_moment(
    raw: str, first: int | None, last: int | None
) -> None:
    """As the bounds of a range need it; FE and FD are the last days of a month; an open year is no bound."""
    assert cosem_time.decode_bound(bytes.fromhex(raw), UTC, last=False) == first
    assert cosem_time.decode_bound(bytes.fromhex(raw), UTC, last=True) == last


@pytest.mark.parametrize(
    "raw",
    [
        "", "07e9060f07110628", "07e90d0f0711062800000000", "07e9021e0711062800000000", "07e9060f0718062800000000",
        "07e9060f07113c2800000000", "07e9060f071106280000000000", "000001010100000000000000",
        "07e9060f0711062800700000", "07e9060f0711062864000000",
    ],
)  # fmt: skip
def test_what_is_no_date_time_is_refused(raw: str) -> None:
    """Wrong lengths, months, days, hours, deviations, hundredths."""
    with pytest.raises(DecodeError):
        cosem_time.decode_bound(bytes.fromhex(raw), UTC, last=False)


@pytest.mark.parametrize("raw", ["ffff060f0711062800000000", "07e9060fffff062800000000", "ff" * 12])
def test_a_clock_is_not_set_to_a_wildcard(raw: str) -> None:
    """A complete time is needed."""
    with pytest.raises(DecodeError):
        cosem_time.decode(bytes.fromhex(raw), UTC)


@pytest.mark.parametrize(
    "name", ["Europe/Dublin", "Africa/Casablanca", "Europe/Berlin", "Australia/Lord_Howe"]
)
def test_daylight_saving_is_the_time_that_is_ahead(name: str) -> None:
    """Also where the law has it the other way round: winter time in Ireland, Ramadan in Morocco.

    So a time without a deviation comes back as it was, in the hour that comes twice too.
    """
    zone = ZoneInfo(name)
    seen = set()
    for hour in range(366 * 24):
        moment = ms(2025, 1, 1) + hour * 3_600_000
        raw = cosem_time.encode(moment, zone)
        assert cosem_time.decode(raw[:9] + b"\x80\x00" + raw[11:], zone) == moment
        seen.add((raw[9:11], raw[11]))
    by_deviation = sorted(seen, key=lambda item: -int.from_bytes(item[0], signed=True))
    assert [status for _, status in by_deviation] == [0, cosem_time.DAYLIGHT_SAVING]

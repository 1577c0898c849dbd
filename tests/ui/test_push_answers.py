"""What people type about pushes is taken apart, or refused with a sentence that says how it is written."""

from __future__ import annotations

from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest
from recorded import NOW_MS, RecordedGateway

from cme_tui.push import answers
from cme_tui.push.answers import Where
from core.config import ConfigError

STOCKHOLM = ZoneInfo("Europe/Stockholm")
NOON = NOW_MS
DAY = 86_400_000


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("hes.example.net:4059 1", Where("hes.example.net", 4059, 1)),
        ("192.0.2.7", Where("192.0.2.7", None, None)),
        ("192.0.2.7 103", Where("192.0.2.7", None, 103)),
        ("[2001:db8::7]:4059", Where("2001:db8::7", 4059, None)),
        (" ", Where("", None, None)),
    ],
)
def test_a_destination(text: str, where: Where) -> None:
    """Host, port and client SAP; read again from how it is shown."""
    assert answers.destination(text) == where
    assert answers.destination(str(where)) == where


@pytest.mark.parametrize(
    "text", ["hes:0", "hes:65536", "hes:4059 0", "2001:db8::7", "two hosts", "hes: 1", ":4059"]
)
def test_what_is_no_destination(text: str) -> None:
    """The sentence has an example."""
    with pytest.raises(ConfigError, match=r"hes\.example\.net:4059 1"):
        answers.destination(text)


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-01-09 12:00", UTC, NOON),
        ("2026-01-09 13:00", STOCKHOLM, NOON),
        ("2026-01-09T12:00:00", UTC, NOON),
        ("2026-01-09 12:00+00:00", STOCKHOLM, NOON),
        ("2026-01-09", UTC, NOON - DAY // 2),
    ],
)
def test_a_moment_is_on_the_clock_of_the_gateway(text: str, zone, moment: int) -> None:
    """Unless it has an offset of its own."""
    assert answers.moment(text, zone) == moment


def test_a_day_as_an_end_is_its_last_moment() -> None:
    """A range of one day is the whole day, also one of 25 hours."""
    start, end = (answers.moment("2026-10-25", STOCKHOLM, end=last) for last in (False, True))
    assert end - start == 25 * 3_600_000 - 1


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "9999-12-31", "12:00"])
def test_what_is_no_moment(text: str) -> None:
    """The sentence says how one is written."""
    with pytest.raises(ConfigError, match="2026-01-09 12:00"):
        answers.moment(text, UTC, end=True)


def test_a_month() -> None:
    """Its first day."""
    assert answers.month("2026-02") == date(2026, 2, 1)
    with pytest.raises(ConfigError, match="2026-01"):
        answers.month("2026-13")


def test_meters_by_name_identification_or_logical_device() -> None:
    """With commas between them; none typed is no choice, and one that is not there is named."""
    known = RecordedGateway().current.meters
    chosen = answers.meters(f"water kitchen, {known[2].identification} ,{known[4].logical_device}", known)
    assert [meter.key for meter in chosen or ()] == [1, 3, 5]
    assert answers.meters(" , ", known) is None
    with pytest.raises(ConfigError, match='no meter "atrium"'):
        answers.meters("water kitchen, atrium", known)

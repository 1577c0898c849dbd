"""Pictures of the events; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recorded import NOW_MS, RecordedGateway

SMALL, LARGE = (80, 24), (120, 40)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_events(looks_as_accepted, size):
    """All logs, newest last."""
    assert looks_as_accepted("f7", size=size)


def test_events_on_a_serial_console(looks_as_accepted):
    """Without colours: reverse video for the row under the cursor."""
    assert looks_as_accepted("f7", "up", profile="basic")


def test_events_chosen_and_filtered(looks_as_accepted):
    """The meters' events with a word in them: what is chosen stands in the title."""
    assert looks_as_accepted("f7", "l", "l", "l", "slash", *"answer")


def test_events_of_a_time(looks_as_accepted):
    """Asked for in a field; what is wrong with the answer stands below it."""
    assert looks_as_accepted("f7", "t", *"24 hours", "enter")


@pytest.mark.parametrize("profile", ["rich", "basic"])
def test_event(looks_as_accepted, profile):
    """Cause and what to do."""
    assert looks_as_accepted("f7", "enter", profile=profile)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_event_of_a_status_byte(looks_as_accepted, size):
    """Bit by bit."""
    assert looks_as_accepted("f7", "slash", *"4004", "enter", "enter", size=size)


def test_the_overview_points_at_a_fraud_event(looks_as_accepted):
    """For a day, small."""
    gateway = RecordedGateway()
    gateway.current = replace(gateway.current, last_fraud_ms=NOW_MS - 30_000)
    assert looks_as_accepted(gateway=gateway)

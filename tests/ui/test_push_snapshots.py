"""Pictures of the push screens; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

import pytest

SMALL, LARGE = (80, 24), (120, 40)

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])


@SIZES
def test_push(looks_as_accepted, size):
    """A head-end that refuses, one that takes, six reports, and the ledger."""
    assert looks_as_accepted("f5", size=size)


def test_push_on_a_serial_console(looks_as_accepted):
    """In reverse video and without colours, with the cursor in the ledger."""
    assert looks_as_accepted("f5", "tab", *["down"] * 4, profile="basic")


def test_push_of_a_gateway_without_reports(looks_as_accepted):
    """All six are off, and there is no head-end yet."""
    assert looks_as_accepted("f5", push=False)


@SIZES
def test_a_report(looks_as_accepted, size):
    """Its settings and the next three runs."""
    assert looks_as_accepted("f5", "enter", "down", size=size)


def test_a_schedule_that_is_typed(looks_as_accepted):
    """The next runs stand below the field."""
    assert looks_as_accepted("f5", "enter", "down", "enter")


@SIZES
def test_a_notification(looks_as_accepted, size):
    """Decoded beside its bytes."""
    assert looks_as_accepted("f5", "tab", *["down"] * 4, "enter", *["down"] * 6, size=size)


@SIZES
def test_the_calendar(looks_as_accepted, size):
    """A sign for each meter and day, with the mark above the chosen one."""
    assert looks_as_accepted("f5", "c", "left", "left", "left", size=size)


def test_the_calendar_on_a_serial_console(looks_as_accepted):
    """The same signs in black and white."""
    assert looks_as_accepted("f5", "c", profile="basic")

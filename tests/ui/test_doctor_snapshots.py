"""Pictures of bus doctor, line trace and commissioning; a changed one is looked at before it is accepted."""

from __future__ import annotations

import pytest

SMALL, LARGE = (80, 24), (120, 40)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_doctor(looks_as_accepted, size):
    """Verdict, findings, counters."""
    assert looks_as_accepted("f6", "b", size=size)


def test_doctor_on_a_serial_console(looks_as_accepted):
    """Without colours, in the list of findings."""
    assert looks_as_accepted("f6", "b", "tab", profile="basic")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_line_trace(looks_as_accepted, size):
    """Requests and answers in words."""
    assert looks_as_accepted("f6", "b", "t", size=size)


def test_line_trace_on_a_serial_console(looks_as_accepted):
    """Faults only."""
    assert looks_as_accepted("f6", "b", "t", "f", profile="basic")


@pytest.mark.parametrize("profile", ["rich", "basic"])
def test_line_try(looks_as_accepted, profile):
    """The bytes of a collision, as far as they can be explained."""
    assert looks_as_accepted("f6", "b", "t", "enter", "down", "down", profile=profile)


def test_what_a_meter_can_be_told(looks_as_accepted):
    """A list."""
    assert looks_as_accepted("f6", "down", "enter", "w")


def test_the_question_before_a_command(looks_as_accepted):
    """Names meter and effect."""
    assert looks_as_accepted("f6", "down", "enter", "w", "enter", *"17", "enter")

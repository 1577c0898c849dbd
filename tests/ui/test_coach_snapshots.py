"""Pictures of the coach and of a newcomer's walk; a changed picture is looked at before it is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recorded import RecordedGateway

from core.mapping.library import MappingSet

SMALL, LARGE = (80, 24), (120, 40)
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

UNKNOWN = (
    "water kitchen: no mapping fits it, so clients see no values; make one on the OBIS mapping screen (F4)."
)
WALK = ("f4", "tab", "enter", "n", "enter", "w", "s", "y")
"""From the Overview to values over DLMS."""


def unmapped():
    """A gateway with one meter, and no mapping file."""
    gateway = RecordedGateway(meters=1)
    gateway.active = MappingSet()
    meters = tuple(replace(each, mapping="", mapped=0) for each in gateway.current.meters)
    gateway.current = replace(gateway.current, meters=meters, alarms=(UNKNOWN,))
    return gateway


@SIZES
def test_coach(looks_as_accepted, size):
    """Fields on one side, what clients would get on the other; below, the field under the cursor in full."""
    assert looks_as_accepted("f4", "tab", "down", "down", "enter", "down", size=size)


def test_coach_on_a_serial_console(looks_as_accepted):
    """The same without colours: the mark of each field is a word."""
    assert looks_as_accepted("f4", "tab", "enter", "n", profile="basic")


@SIZES
def test_choice(looks_as_accepted, size):
    """The form of a field with a scaler that is too coarse: the reason stands below."""
    right = ["right"] * 3
    assert looks_as_accepted("f4", "tab", "enter", "c", *["down"] * 4, *right, size=size)


@pytest.mark.parametrize("profile", ["rich", "basic"])
def test_choosing_a_unit(looks_as_accepted, profile):
    """The units that the field can have, narrowed by a word."""
    assert looks_as_accepted(
        "f4", "tab", "enter", "c", *["down"] * 3, "enter", *"volume", "down", profile=profile
    )


@pytest.mark.parametrize("steps", range(len(WALK) + 1), ids=lambda n: f"{n}-{WALK[n - 1] if n else 'start'}")
def test_a_newcomers_walk(looks_as_accepted, steps):
    """Each step from an unknown meter to values over DLMS, with the key that leads to the next one on the screen."""
    assert looks_as_accepted(*WALK[:steps], gateway=unmapped())

"""Pictures of the screens; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cme_tui.commands.screenshots import SHOTS, run

SMALL, LARGE = (80, 24), (120, 40)
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_overview(looks_as_accepted, size):
    """State, alarms, sweep, meters and clients on one screen."""
    assert looks_as_accepted(size=size, clients=2)


def test_overview_with_a_thousand_meters(looks_as_accepted):
    """A thousand meters leave everything else in its place."""
    assert looks_as_accepted("pagedown", meters=1000, clients=5)


def test_overview_of_a_new_gateway(looks_as_accepted):
    """Without a line the screen says what to do next."""
    assert looks_as_accepted(lines=0, clients=0)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_meters(looks_as_accepted, size):
    """The list, sorted by what needs attention."""
    assert looks_as_accepted("f6", "s", size=size)


def test_meters_with_a_filter(looks_as_accepted):
    """The field, the count and what is left."""
    assert looks_as_accepted("f6", "slash", *"flat 1")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_meter_values(looks_as_accepted, size):
    """Values above, the bytes of the chosen one marked below."""
    assert looks_as_accepted("f6", "down", "down", "enter", "down", "down", size=size)


def test_meter_bytes(looks_as_accepted):
    """The part under the cursor is marked within its record."""
    assert looks_as_accepted("f6", "down", "down", "enter", "down", "tab", "down", "down")


def test_meter_bytes_on_a_serial_console(looks_as_accepted):
    """The same without colours: reverse video for the part, underlined for its record."""
    assert looks_as_accepted("f6", "down", "down", "enter", "down", "tab", "down", "down", profile="basic")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_dlms_log(looks_as_accepted, size):
    """Clients above, what happened below."""
    assert looks_as_accepted("f8", size=size, clients=2)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_dlms_trace(looks_as_accepted, size):
    """The APDUs as they went, with the keys that work on them."""
    assert looks_as_accepted("f8", "t", size=size, clients=2)


def test_dlms_trace_on_a_serial_console(looks_as_accepted):
    """The same without colours."""
    assert looks_as_accepted("f8", "t", "up", clients=2, profile="basic")


@pytest.mark.parametrize("profile", ["rich", "basic"])
def test_apdu(looks_as_accepted, profile):
    """Bytes and fields of an AARQ; the password is asterisks."""
    assert looks_as_accepted("f8", "t", "home", "enter", "down", "down", "down", profile=profile)


def test_help(looks_as_accepted):
    """What the screen is for, keys, files."""
    assert looks_as_accepted("f1", size=LARGE)


@pytest.mark.parametrize("profile", ["rich", "basic"])
def test_the_question_before_quitting(looks_as_accepted, profile):
    """The safe answer has the focus and can be told from the other one without colours."""
    assert looks_as_accepted("f10", profile=profile)


def test_the_screenshots_are_those_of_this_version(tmp_path):
    """Making them again gives the bytes that are in screenshots/; if not, `run` writes new ones to be looked at."""
    assert run(tmp_path) == 0
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in SCREENSHOTS.glob("*.svg")}
    assert sorted(made) == sorted(kept) == sorted(f"{shot.name}.svg" for shot in SHOTS)
    assert [name for name in made if made[name] != kept[name]] == []

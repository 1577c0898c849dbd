"""Pictures of the screens that install; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

import pytest
from recorded import NOW_MS, RecordedGateway

from core.searching import SearchRequest, SearchState
from core.snapshot import LineState, ScheduleView, TransparentView

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
PROFILES = pytest.mark.parametrize("profile", ["rich", "basic"])
HEALTH = "Two meters answer at primary address 3: give one of them another address."
TOO_SLOW = ScheduleView("15 min", 900, 1020, fits=False, sentence="15 min cycle, this line needs 17 min")
CLIENT = TransparentView("127.0.0.1", 10001, True, "", "192.0.2.9:40000", NOW_MS - 180_000, 12, 240)


def searching(**play):
    """A gateway with a search on its line; without `play` it is done."""
    gateway = RecordedGateway()
    gateway.start_search(SearchRequest("main"))
    if play:
        gateway.play(**play)
    else:
        gateway.finish()
    return gateway


def troubled():
    """Three lines: one with remarks, one that is down, one that is searched."""
    gateway = RecordedGateway(lines=3)
    gateway.show_line(health=HEALTH, schedule=TOO_SLOW, transparent=CLIENT)
    gateway.show_line(
        "line 2", state=LineState.DOWN, reason="/dev/ttyUSB1 does not exist; plug the converter in."
    )
    gateway.start_search(SearchRequest("line 3"))
    gateway.play(line="line 3")
    return gateway


@SIZES
def test_search_form(looks_as_accepted, size):
    """What is looked for, and how long it takes."""
    assert looks_as_accepted("f6", "f", size=size)


@PROFILES
def test_a_search_that_runs(looks_as_accepted, profile):
    """Bar, share, time left, what was found so far, and a trouble."""
    assert looks_as_accepted("f6", "f", gateway=searching(share=0.43, number=4, troubles=1), profile=profile)


def test_a_search_that_was_stopped(looks_as_accepted):
    """The key that goes on with it."""
    gateway = searching(share=0.43, number=1, state=SearchState.STOPPED)
    assert looks_as_accepted("f6", "f", gateway=gateway)


@SIZES
def test_a_search_that_is_done(looks_as_accepted, size):
    """Found, unexpected and missing; one is marked."""
    assert looks_as_accepted("f6", "f", "down", "space", gateway=searching(), size=size)


@PROFILES
def test_the_question_before_installing(looks_as_accepted, profile):
    """Count, names, and what head-end systems see."""
    assert looks_as_accepted("f6", "f", "i", gateway=searching(), profile=profile)


@SIZES
def test_lines(looks_as_accepted, size):
    """State in words, and all about the one under the cursor."""
    assert looks_as_accepted("l", gateway=troubled(), size=size)


def test_lines_on_a_serial_console(looks_as_accepted):
    """The same without colours."""
    assert looks_as_accepted("l", gateway=troubled(), profile="basic")


@PROFILES
def test_a_line_that_is_changed(looks_as_accepted, profile):
    """A field that is changed, one that cannot be, and the one that is typed in."""
    keys = (
        "l",
        "enter",
        "down",
        "right",
        "down",
        "down",
        "enter",
        "9",
        "9",
        "9",
        "9",
        "9",
        "down",
        "up",
        "up",
        "up",
    )
    assert looks_as_accepted(*keys, "enter", profile=profile)


@SIZES
def test_a_meter_that_is_changed(looks_as_accepted, size):
    """Its keys of config.toml, and whether its key is set."""
    assert looks_as_accepted("f6", "c", "down", "down", size=size)


def test_the_question_before_a_meter_is_removed(looks_as_accepted):
    """What head-end systems lose, and what stays."""
    assert looks_as_accepted("f6", "x")


@SIZES
def test_the_overview_of_lines_in_trouble(looks_as_accepted, size):
    """Each line with what is most urgent about it."""
    assert looks_as_accepted(gateway=troubled(), size=size)


@PROFILES
def test_an_import(looks_as_accepted, tmp_path, profile):
    """Row by row, what is new and what is there."""
    assert looks_as_accepted(*_picked(tmp_path, LIST), profile=profile)


def test_an_import_with_mistakes(looks_as_accepted, tmp_path):
    """All of them, the one under the cursor in full."""
    assert looks_as_accepted(*_picked(tmp_path, LIST.replace("300", "301").replace("42", "420")))


LIST = """name;secondary address;baud rate;primary address;key
laundry;12345678;300;;
attic;;;42;
kitchen;;;1;
flat 3;87654321;;;00112233445566778899AABBCCDDEEFF
"""


def _picked(folder, text):
    """Keys that lead to the import of this list."""
    path = folder / "meters.csv"
    path.write_text(text)
    typed = [
        {"/": "slash", "-": "minus", "_": "underscore", ".": "full_stop"}.get(each, each)
        for each in str(path)
    ]
    return ("f6", "i", "enter", "ctrl+u", *typed, "enter")

"""Pictures of the OBIS mapping screen; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

import json

import pytest
from recorded import RecordedGateway

from cme_tui.app import CmeApp
from core.mapping.library import MappingSet
from core.mapping.model import MappingError
from core.mapping.ready import ready_mappings

SMALL, LARGE = (80, 24), (120, 40)
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
BASIC = pytest.mark.parametrize("profile", ["rich", "basic"])

VOLUME = {
    "mbusKeys": ["mbus.dib.volume.0.0.0.0.unmodifiedvalue", "mbus.dib.0406.unmodifiedvalue"],
    "dlmsObisCode": "6.0.2.0.0.255",
    "dlmsClass": "register",
    "dlmsScaler": -2,
    "dlmsUnit": 13,
    "dlmsDataType": 6,
}
LATER = {**VOLUME, "dlmsObisCode": None}
UNSURE = {
    **VOLUME,
    "dlmsObisCode": "6.0.2.0.9.255",
    "mbusKeys": ["mbus.dib.0c99.unmodifiedvalue"],
    "dlmsDefaultValue": "7",
}
FILE = {"type": "heat", "manufacturer": "all", "version": 0, "entries": [VOLUME, UNSURE, LATER]}


@pytest.fixture
def looks_as_accepted(snap_compare, tmp_path, monkeypatch):
    """Compares the app over a recorded gateway, after some keys, with the accepted picture.

    The home folder is the working directory, "." in the pictures, with one mapping file; a file among the active ones
    cannot be used.
    """
    (tmp_path / "heat.json").write_text(json.dumps(FILE))
    (tmp_path / "bad.json").write_text(json.dumps({**FILE, "entries": [{**VOLUME, "dlmsObisCode": "6.0.2"}]}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", ".")

    def compare(*keys, size=SMALL, profile="rich", **recorded):
        gateway = RecordedGateway(**recorded)
        problem = MappingError(
            "old.json", "entries[3].dlmsUnit", 'must be a whole number from 0 to 255, not "m3"'
        )
        gateway.active = MappingSet(ready_mappings(), [problem])
        gateway.last_change = "water.json was replaced"
        app = CmeApp(gateway, clock=gateway.clock, profile=profile)

        async def press(pilot):
            for key in keys:
                await pilot.press(key)
                await pilot.app.workers.wait_for_complete()
                await pilot.pause()
            pilot.app.pull()
            await pilot.pause()

        return snap_compare(app, terminal_size=size, run_before=press)

    return compare


@SIZES
def test_both_lists(looks_as_accepted, size):
    """Active files, the one that cannot be used among them, and the meter types."""
    assert looks_as_accepted("f4", size=size)


def test_both_lists_on_a_serial_console(looks_as_accepted):
    """The same without colours; the cursor is in the types."""
    assert looks_as_accepted("f4", "tab", "end", profile="basic")


def test_the_question_before_deleting(looks_as_accepted):
    """The meters that lose their values are named."""
    assert looks_as_accepted("f4", "down", "down", "down", "down", "down", "d")


@BASIC
def test_a_file_is_asked_for(looks_as_accepted, profile):
    """What was typed, what begins so, and why it is refused. The file's date is not in the picture."""
    assert looks_as_accepted("f4", "a", "b", "x", "backspace", "backspace", "n", "enter", profile=profile)


@SIZES
def test_what_a_file_would_change(looks_as_accepted, size):
    """Doubts above, values now and then below."""
    assert looks_as_accepted("f4", "a", "h", "enter", "down", size=size)


def test_a_doubt_in_full_on_a_serial_console(looks_as_accepted):
    """The lines at the bottom have the whole sentence."""
    assert looks_as_accepted("f4", "a", "h", "enter", "tab", "down", profile="basic")


@SIZES
def test_the_matrix(looks_as_accepted, size):
    """OBIS codes by meters, for as many as fit."""
    assert looks_as_accepted("f4", "a", "h", "enter", "v", size=size, meters=70)


@SIZES
def test_the_entries_of_an_active_file(looks_as_accepted, size):
    """Code, unit, scaler, data type and keys."""
    assert looks_as_accepted("f4", "down", "down", "down", "down", "down", "enter", "down", size=size)

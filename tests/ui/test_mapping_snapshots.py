"""Pictures of the OBIS mapping screen; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

import json

import pytest
from recorded import RecordedGateway

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
def looks(looks_as_accepted, tmp_path, monkeypatch):
    """`looks_as_accepted` with a file that cannot be used among the active ones, and a change to take back.

    The home folder is the working directory, "." in the pictures, with one mapping file.
    """
    (tmp_path / "heat.json").write_text(json.dumps(FILE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", ".")

    def compare(*keys, meters=7, **options):
        gateway = RecordedGateway(meters)
        problem = MappingError(
            "old.json", "entries[3].dlmsUnit", 'must be a whole number from 0 to 255, not "m3"'
        )
        gateway.active = MappingSet(ready_mappings(), [problem])
        gateway.last_change = "water.json was replaced"
        return looks_as_accepted(*keys, gateway=gateway, **options)

    return compare


@SIZES
def test_both_lists(looks, size):
    """Active files, the one that cannot be used among them, and the meter types."""
    assert looks("f4", size=size)


def test_both_lists_on_a_serial_console(looks):
    """The same without colours; the cursor is in the types."""
    assert looks("f4", "tab", "end", profile="basic")


def test_the_question_before_deleting(looks):
    """The meters that lose their values are named."""
    assert looks("f4", "down", "down", "down", "down", "down", "d")


@BASIC
def test_a_file_is_asked_for(looks, profile):
    """What was typed, and why it is refused."""
    assert looks("f4", "a", "n", "enter", profile=profile)


@SIZES
def test_what_a_file_would_change(looks, size):
    """Doubts above, values now and then below."""
    assert looks("f4", "a", "h", "enter", "down", size=size)


def test_a_doubt_in_full_on_a_serial_console(looks):
    """The lines at the bottom have the whole sentence."""
    assert looks("f4", "a", "h", "enter", "tab", "down", profile="basic")


@SIZES
def test_the_matrix(looks, size):
    """OBIS codes by meters, for as many as fit."""
    assert looks("f4", "a", "h", "enter", "v", size=size, meters=70)


@SIZES
def test_the_entries_of_an_active_file(looks, size):
    """Code, unit, scaler, data type and keys."""
    assert looks("f4", "down", "down", "down", "down", "down", "enter", "down", size=size)

"""`cme-tui mapping` prints what is active on stdout and what is wrong on stderr."""

from __future__ import annotations

from pathlib import Path

import pytest

from cme_tui.commands import mapping

GOOD = '{"type": "water", "manufacturer": "HYD", "version": 37, "entries": []}'
BAD = '{"type": "water", "manufacturer": "all", "version": 0, "entries": [{"dlmsClass": "x"}]}'


def test_good_files_are_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and one line a file."""
    file = tmp_path / "water.json"
    file.write_text(GOOD)
    assert mapping.check([file]) == 0
    assert capsys.readouterr() == ("water.json: water/HYD/37, 0 OBIS codes\n", "")


def test_a_bad_file_is_named_with_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2; the good file next to it is still confirmed, and a second one for the same meters is not."""
    for name, text in (("a.json", GOOD), ("b.json", BAD), ("c.json", GOOD)):
        (tmp_path / name).write_text(text)
    assert mapping.check([tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"]) == 2
    out, err = capsys.readouterr()
    assert out == "a.json: water/HYD/37, 0 OBIS codes\n"
    assert err.splitlines() == [
        "b.json: entries[0].dlmsClass: must be one of data, register, extended_register, profile_generic, "
        'clock, not "x"',
        "c.json: is for water/HYD/37 as a.json is; delete one of the two",
    ]


def test_warnings_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A doubt is told on stderr with exit 0."""
    file = tmp_path / "wine.json"
    file.write_text(GOOD.replace("water", "wine"))
    assert mapping.check([file]) == 0
    assert capsys.readouterr().err.startswith("warning: wine.json: type: ")


def test_the_list_shows_what_is_active(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Type, manufacturer, version, number of codes, meters and file; a bad file makes it exit 2."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "w.json").write_text(GOOD)
    (tmp_path / "mappings" / "z.json").write_text("{")
    assert mapping.list_active(tmp_path) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "Type   Manufacturer  Version  OBIS codes  Meters  File",
        "water  HYD           37       0           0       w.json",
    ]
    assert err.startswith("z.json: is no valid JSON")

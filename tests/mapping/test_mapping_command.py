"""`cme-tui mapping` prints what is active on stdout and what is wrong on stderr."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import cme_tui

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


@pytest.mark.parametrize("line", ["list", "template", "export water.json", "remove water.json", "undo"])
def test_a_state_directory_that_is_not_there_is_told(tmp_path: Path, line: str) -> None:
    """A wrong name of it does not look like a gateway without mappings, and nothing is made."""
    done = cme_tui("mapping", *line.split(), "--state-dir", str(tmp_path / "sate"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"cme-tui: There is no state directory {tmp_path / 'sate'}; name the gateway's one with --state-dir.\n"
    )
    assert list(tmp_path.iterdir()) == []


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


@pytest.fixture
def several(tmp_path: Path) -> list[str]:
    """Paths of a good file, one with a doubt, one that is refused, and none."""
    doubtful = GOOD.replace("water", "gas").replace("[]", '[{"dlmsObisCode": null}], "x": 1')
    for name, text in (("good.json", GOOD), ("doubtful.json", doubtful), ("bad.json", BAD)):
        (tmp_path / name).write_text(text)
    return [str(tmp_path / name) for name in ("good.json", "doubtful.json", "bad.json", "none.json")]


def test_scripts_get_all_findings_in_one_form(several: list[str]) -> None:
    """A list of objects with four texts and no others; exit 0 unless a file is refused, then 2; nothing on stderr."""
    for count, code in ((1, 0), (2, 0), (3, 2), (4, 2)):
        done = cme_tui("mapping", "check", "--json", *several[:count])
        assert (done.returncode, done.stderr) == (code, "")
        told = json.loads(done.stdout)
        assert all(list(each) == ["severity", "file", "path", "text"] for each in told)
        assert [(each["severity"], each["file"], each["path"]) for each in told] == [
            ("warning", "doubtful.json", "x"),
            ("warning", "doubtful.json", "entries[0].dlmsObisCode"),
            ("error", "bad.json", "entries[0].dlmsClass"),
            ("error", "none.json", ""),
        ][: {1: 0, 2: 2, 3: 3, 4: 4}[count]]


def test_a_path_leads_to_the_place_in_the_file(several: list[str]) -> None:
    """To a property that is there, of an object that is there."""
    for each in json.loads(cme_tui("mapping", "check", "--json", *several[:3]).stdout):
        (source,) = [path for path in several if path.endswith(f"/{each['file']}")]
        place: Any = json.loads(Path(source).read_text())
        for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", each["path"]):
            place = place[int(number)] if number else place[name]


def test_good_files_go_to_stdout_and_others_to_stderr(several: list[str]) -> None:
    """Each file that is refused does not keep the others from being looked at."""
    done = cme_tui("mapping", "check", *several)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["good.json", "doubtful.json"]
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["warning", "doubtful.json"],
        ["warning", "doubtful.json"],
        ["bad.json", "entries[0].dlmsClass"],
        ["none.json", "cannot be read"],
    ]


def test_a_check_of_nothing_is_a_mistake() -> None:
    """Exit 2 and a sentence."""
    done = cme_tui(
        "mapping",
        "check",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "FILE" in done.stderr

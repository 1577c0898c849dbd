"""The right mapping file serves a meter, and a bad file stops no other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from core.mapping.library import MappingSet, read_mapping
from core.mapping.lint import findings
from core.mapping.model import MappingError, MappingFile, parse_mapping


def empty(medium: str, manufacturer: str = "all", version: int = 0, name: str = "") -> MappingFile:
    document = {"type": medium, "manufacturer": manufacturer, "version": version, "entries": []}
    return parse_mapping(json.dumps(document), name or f"{medium}-{manufacturer}-{version}.json")


def test_the_most_specific_file_wins() -> None:
    """Type + manufacturer + version, then any version, then any manufacturer."""
    files = [empty("water"), empty("water", "HYD"), empty("water", "HYD", 37), empty("water", "all", 41)]
    active = MappingSet(files)
    assert active.match(7, "HYD", 37) is files[2]
    assert active.match(7, "HYD", 41) is files[1]
    assert active.match(7, "ELS", 37) is files[0]
    assert active.match(7, "ELS", 41) is files[0]  # a version counts only together with a manufacturer
    assert active.match(4, "HYD", 37) is None
    assert active.match(None, "HYD", 37) is None
    assert active.match(7, "", None) is files[0]


@pytest.mark.parametrize(
    ("medium", "codes"),
    [
        ("water", (0x07, 0x16)),
        ("hot-water", (0x06, 0x15)),
        ("heat", (0x04, 0x0C, 0x0D)),
        ("cooling", (0x0A, 0x0B)),
        ("gas", (0x03,)),
        ("electricity", (0x02,)),
        ("heat-cost-allocator", (0x08,)),
        ("room-sensor", (0x18, 0x1B, 0x1F)),
        ("temperature-humidity", (0x18, 0x1B, 0x1F)),
        ("warm-water", (0x06,)),
        ("cold-water", (0x16,)),
        ("heat-inlet", (0x0C,)),
        ("heat-cooling", (0x0D,)),
        ("cooling-outlet", (0x0A,)),
        ("other", (0x00,)),
    ],
)
def test_a_type_serves_its_device_types_and_no_others(medium: str, codes: tuple[int, ...]) -> None:
    """A group serves all its M-Bus device types, an exact name only its own."""
    active = MappingSet([empty(medium)])
    assert tuple(code for code in range(256) if active.match(code, "HYD", 1)) == codes


def test_the_exact_medium_goes_before_its_group() -> None:
    """A file for warm water serves device type 06, the one for hot water the rest of the group."""
    group, exact = empty("hot-water"), empty("warm-water")
    active = MappingSet([group, exact])
    assert active.match(0x06, "HYD", 1) is exact
    assert active.match(0x15, "HYD", 1) is group


@pytest.mark.parametrize("spelling", ["Hot Water", "HOT_WATER", " hot-water ", "hot  water"])
def test_spelling_of_the_type_makes_no_difference(spelling: str) -> None:
    """Case, blanks, underscores and hyphens are equal."""
    assert empty(spelling, name="x.json").triple == ("hot-water", "all", 0)


def test_two_files_for_one_triple_are_named_both(tmp_path: Path) -> None:
    """The first by name counts, the second is a problem that names the first."""
    text = json.dumps({"type": "water", "manufacturer": "all", "version": 0, "entries": []})
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json").write_text(text.replace("water", "Water"))
    active = MappingSet.from_directory(tmp_path)
    assert [file.name for file in active.files] == ["a.json"]
    assert [str(problem) for problem in active.problems] == [
        "b.json: is for water/all/0 as a.json is; delete one of the two"
    ]


def test_a_bad_file_stops_no_other(tmp_path: Path) -> None:
    """Good files are used, each bad one is reported, other files are left alone."""
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "readme.txt").write_text("no mapping")
    (tmp_path / "good.json").write_text('{"type":"gas","manufacturer":"elv","version":3,"entries":[]}')
    active = MappingSet.from_directory(tmp_path)
    assert [file.label for file in active.files] == ["gas/ELV/3"]
    assert [problem.file for problem in active.problems] == ["bad.json", "folder.json", "pipe.json"]


def test_no_directory_is_no_mapping(tmp_path: Path) -> None:
    """A directory that is not there holds no files and is no problem."""
    active = MappingSet.from_directory(tmp_path / "none")
    assert (active.files, active.problems) == ((), ())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file is a sentence."""
    with pytest.raises(MappingError, match=r"^none\.json: cannot be read: No such file"):
        read_mapping(tmp_path / "none.json")


def test_doubts_are_told_on_import() -> None:
    """What is valid but will not work as meant is warned of, with file and path."""
    register = {"dlmsClass": "register", "dlmsDataType": 6, "dlmsScaler": -3, "dlmsUnit": 13}
    hours = {**register, "dlmsScaler": 0, "dlmsUnit": 5}
    keys = ["mbus.dib.0c13.unmodifiedvalue", "mbus.dib.0c12.unmodifiedvalue", "mbus.dib.0c06.unmodifiedvalue"]
    entries = [
        {**register, "dlmsObisCode": "8.0.1.0.0.255", "mbusKeys": [*keys, "mbus.dib.0fff.unmodifiedvalue"]},
        {**register, "dlmsObisCode": "8.0.2.0.0.255", "dlmsUnit": 200, "mbusKeys": ["mbus.frame.raw"]},
        {**register, "dlmsObisCode": "8.0.3.0.0.255", "dlmsDataType": 24, "mbusKeys": [keys[1]]},
        {**hours, "dlmsObisCode": "0.0.96.8.0.255", "mbusKeys": ["mbus.dib.0c25.unmodifiedvalue"]},
    ]
    document = {"type": "wine", "manufacturer": "all", "version": 7, "entries": entries}
    told = [str(each) for each in findings(parse_mapping(json.dumps(document), "wine.json"))]
    starts = [
        "wine.json: type: no M-Bus medium is called 'wine'",
        "wine.json: version: counts only with a manufacturer",
        "wine.json: entries[0].mbusKeys[1]: counts in 10^-4 m3, finer than dlmsScaler -3",
        "wine.json: entries[0].mbusKeys[2]: never gives a value, as the meter's unit Wh cannot become m³",
        "wine.json: entries[0].mbusKeys[3]: 0fff is no DIF and VIF of a record",
        "wine.json: entries[0].mbusKeys: count in different steps (0c13 in 10^-3 m3, 0c12 in 10^-4 m3)",
        "wine.json: entries[1].dlmsUnit: 200 is no DLMS unit",
        "wine.json: entries[3].mbusKeys[0]: counts in 10^0 min, finer than h at dlmsScaler 0",
    ]
    assert len(told) == len(starts)
    assert all(text.startswith(start) for text, start in zip(told, starts, strict=True)), told


def test_a_file_that_becomes_invalid_leaves_what_was_active(tmp_path: Path) -> None:
    """A slip of the pen takes no value from a client: the file is a problem, its last valid content counts."""
    path = tmp_path / "water.json"
    path.write_text('{"type": "water", "manufacturer": "all", "version": 0, "entries": []}')
    first = MappingSet.from_directory(tmp_path)
    path.write_text('{"type": "water", "manufacturer": "all", "version": "x", "entries": []}')
    second = MappingSet.from_directory(tmp_path, first)
    assert second.files == first.files
    assert [problem.file for problem in second.problems] == ["water.json"]
    path.unlink()
    assert MappingSet.from_directory(tmp_path, second).files == ()


def test_a_file_that_did_not_change_is_the_same_one(tmp_path: Path) -> None:
    """So that reading the directory again costs the meters nothing."""
    path = tmp_path / "water.json"
    path.write_text('{"type": "water", "manufacturer": "all", "version": 0, "entries": []}')
    first = MappingSet.from_directory(tmp_path)
    assert MappingSet.from_directory(tmp_path, first).files[0] is first.files[0]
    path.write_text('{"type": "water", "manufacturer": "all", "version": 7, "entries": []}')
    assert MappingSet.from_directory(tmp_path, first).files[0].version == 7


def test_a_directory_that_cannot_be_read_is_a_problem_and_takes_nothing(tmp_path: Path) -> None:
    """It is not an empty one: what was active stays active."""
    directory = tmp_path / "mappings"
    directory.mkdir()
    (directory / "water.json").write_text(
        '{"type": "water", "manufacturer": "all", "version": 0, "entries": []}'
    )
    first = MappingSet.from_directory(directory)
    directory.rename(tmp_path / "away")
    directory.touch()
    second = MappingSet.from_directory(directory, first)
    assert second.files == first.files
    assert "cannot be read" in str(second.problems[0])

"""The folder of active mapping files: a change is whole or not there, and what was active is never lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from core.mapping.folder import add_file, find_file, last_change, remove_file, undo_change
from core.mapping.library import MappingSet, read_mapping
from core.mapping.model import MappingError, MappingFile, dump, parse_mapping


def made(name: str = "made.json", **properties: object) -> MappingFile:
    document = {"type": "water", "manufacturer": "HYD", "version": 37, "entries": [], **properties}
    return parse_mapping(json.dumps(document), name)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_added_with_all_it_says(tmp_path: Path) -> None:
    """Under its own name, for the owner only, with the properties that nobody here knows."""
    folder = tmp_path / "mappings"
    assert add_file(folder, made(vendor={"a": [1, 2]})) is None
    assert names(folder) == ["made.json"]
    assert (folder / "made.json").stat().st_mode & 0o777 == 0o600
    assert find_file(folder, "made.json").document["vendor"] == {"a": [1, 2]}
    assert find_file(folder, "water/HYD/37").name == "made.json"


def test_a_second_file_for_the_same_meters_needs_a_word(tmp_path: Path) -> None:
    """Refused first; then it takes the place of the old one, in its file, and the old one is handed back."""
    first, second = made("a.json"), made("b.json", vendor=2)
    add_file(tmp_path, first)
    with pytest.raises(MappingError, match=r"^b\.json: is for water/HYD/37 as the active a\.json is"):
        add_file(tmp_path, second)
    assert (tmp_path / "a.json").read_text() == dump(first)
    before = add_file(tmp_path, second, replace=True)
    assert before is not None
    assert before.document == first.document
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == dump(second)


@pytest.mark.parametrize("replace", [False, True])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, replace: bool) -> None:
    """Another mapping, a file that is not valid and a link to nowhere all stay what they are."""
    add_file(tmp_path, made("gas.json", type="gas"))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    for name in ("gas.json", "bad.json", "link.json"):
        with pytest.raises(MappingError, match="is the name of another file"):
            add_file(tmp_path, made(name), replace=replace)
    assert names(tmp_path) == ["bad.json", "gas.json", "link.json"]
    assert find_file(tmp_path, "gas.json").type == "gas"


def test_a_name_that_nothing_would_read_is_refused(tmp_path: Path) -> None:
    """The gateway reads *.json."""
    with pytest.raises(MappingError, match=r"ends with \.json"):
        add_file(tmp_path, made("water.txt"))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "wanted", ["../config.toml", "config.toml", "/etc/passwd", "..", "", "made", "water/all/0"]
)
def test_only_a_mapping_can_be_named(tmp_path: Path, wanted: str) -> None:
    """A name is looked up among the mapping files and is never a path."""
    folder = tmp_path / "mappings"
    add_file(folder, made())
    (tmp_path / "config.toml").write_text("")
    for action in (find_file, remove_file):
        with pytest.raises(MappingError, match="is no active mapping"):
            action(folder, wanted)
    assert (names(folder), names(tmp_path)) == (
        ["made.json"],
        ["config.toml", "mappings", "mappings.previous"],
    )


def test_a_file_is_removed_by_name_or_meters(tmp_path: Path) -> None:
    """Also one that is not valid, and nothing else goes."""
    add_file(tmp_path, made("a.json"))
    add_file(tmp_path, made("b.json", type="gas"))
    (tmp_path / "bad.json").write_text("{")
    assert remove_file(tmp_path, "water/HYD/37") == "a.json"
    assert remove_file(tmp_path, "bad.json") == "bad.json"
    assert names(tmp_path) == ["b.json"]


def test_the_last_change_can_be_taken_back(tmp_path: Path) -> None:
    """Adding, replacing and removing, also of a file that is not valid; once, and only the last of them."""
    folder = tmp_path / "mappings"
    first, second = made(), made(vendor=2)
    with pytest.raises(MappingError, match="nothing to take back"):
        undo_change(folder)
    add_file(folder, first)
    assert last_change(folder) == "made.json was added"
    assert undo_change(folder) == "made.json"
    assert (names(folder), last_change(folder)) == ([], "")

    add_file(folder, first)
    add_file(folder, second, replace=True)
    assert last_change(folder) == "made.json was replaced"
    undo_change(folder)
    assert (folder / "made.json").read_text() == dump(first)
    with pytest.raises(MappingError, match="nothing to take back"):
        undo_change(folder)

    (folder / "bad.json").write_bytes(b"\xff{")
    remove_file(folder, "water/HYD/37")
    remove_file(folder, "bad.json")
    assert last_change(folder) == "bad.json was removed"
    undo_change(folder)
    assert names(folder) == ["bad.json"]
    assert (folder / "bad.json").read_bytes() == b"\xff{"


def test_a_change_that_fails_keeps_the_undo_of_the_last_one(tmp_path: Path) -> None:
    """On a disk that takes nothing more, what was removed before can still be put back."""
    folder = tmp_path / "mappings"
    add_file(folder, made())
    remove_file(folder, "made.json")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(MappingError, match="cannot be written"):
            add_file(folder, made("other.json", type="gas"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert last_change(folder) == "made.json was removed"
    undo_change(folder)
    assert names(folder) == ["made.json"]


def test_a_folder_is_no_mapping_to_remove(tmp_path: Path) -> None:
    """It stays where it is, with all that is in it."""
    (tmp_path / "mappings" / "old.json").mkdir(parents=True)
    with pytest.raises(MappingError, match="is a folder"):
        remove_file(tmp_path / "mappings", "old.json")
    assert names(tmp_path / "mappings") == ["old.json"]


def test_an_invalid_file_says_why_it_cannot_be_exported(tmp_path: Path) -> None:
    """The reason, not that it is unknown."""
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(MappingError, match=r"^bad\.json: is no valid JSON"):
        find_file(tmp_path, "bad.json")


def test_hostile_files_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Huge, deeply nested, half written, no file at all: a sentence each."""
    hostile = {
        "huge.json": b" " * (2 << 20),
        "deep.json": b'{"entries":' + b"[" * 100_000,
        "deep2.json": b'{"x":' + b"[" * 500 + b"]" * 500 + b"}",
        "half.json": dump(made()).encode()[:-20],
        "bytes.json": bytes(range(256)),
    }
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MappingError, match=rf"^{name}: "):
            read_mapping(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(MappingError, match="is no file"):
        read_mapping(tmp_path / "pipe.json")


_WRITER = """
import sys
from pathlib import Path
from core.mapping.folder import add_file
from core.mapping.model import parse_mapping
texts = [Path(name).read_text() for name in sys.argv[2:]]
print("ready", flush=True)
while True:
    for text in texts:
        add_file(Path(sys.argv[1]), parse_mapping(text, "made.json"), replace=True)
"""


def test_a_kill_in_the_middle_leaves_old_or_new(tmp_path: Path) -> None:
    """SIGKILL while two large files replace each other again and again: one of them is there, in full."""
    folder = tmp_path / "mappings"
    files = [made(vendor=[letter * 1000] * 500) for letter in "ab"]
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, path in zip(files, paths, strict=True):
        path.write_text(dump(file))
    add_file(folder, files[0])
    for _ in range(5):
        before = (folder / "made.json").stat().st_mtime_ns
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), *map(str, paths)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            while (folder / "made.json").stat().st_mtime_ns == before and writer.poll() is None:
                pass
            writer.kill()
        assert writer.returncode == -9
        active = MappingSet.from_directory(folder)
        assert active.problems == ()
        assert [file.document in (files[0].document, files[1].document) for file in active.files] == [True]
    add_file(folder, files[0], replace=True)
    assert names(folder) == ["made.json"]

"""Dialects: what a file may say, and that one which cannot hold is refused as a whole, with file and key."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

import core.mapping.table
from core.config import Config, ConfigError, parse_config
from core.cosem import codes, obis
from core.cosem.codes import Codes
from core.cosem.dialect import LONGEST_ABOUT, MAX_BYTES, SHIPPED, STANDARD, Target, find, known, own_files

NOWHERE = Path("/nowhere/dialects")
ABOUT = 'about = "As the head-end of Kellerstadt has it."\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dialects").mkdir()
    return tmp_path / "dialects"


def own(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_default_changes_nothing() -> None:
    """It is the one that a configuration has which says nothing, and is there without any file of one's own."""
    dialect = find(Config().dlms.dialect, NOWHERE)
    assert dialect is not None
    assert dialect == STANDARD
    assert (dialect.codes, dict(dialect.values)) == (Codes(), {})


def test_the_idis_dialect_has_the_codes_of_the_standard_table() -> None:
    """Channel 1 of its rows for IDIS/DSMR: billing value as extended register, profiles, equipment identifier."""
    path = Path(core.mapping.table.__file__).parent / "obis_table.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = {
            row["quantity"].split(" of ")[0]: (
                obis.parse(row["obis"].replace("n", "1")),
                int(row["cosem_class"]),
            )
            for row in csv.DictReader(file)
            if row["medium"] == "dialect IDIS/DSMR"
        }
    dialect = find("idis", NOWHERE)
    main = [row for row in core.mapping.table.table() if row.storage == 0 and row.tariff == 0]
    billing = {standard for standard, target in dialect.values.items() if target.class_id}
    assert {dialect.values[standard] for standard in billing} == {Target(*rows["primary billing value"])}
    assert billing <= {obis.parse(row.obis) for row in main if row.grade in "AB" and row.class_id == 3}
    assert sorted(standard[0] for standard in billing) == [1, 4, 5, 6, 7, 8, 9]
    decided = dialect.codes
    assert [(decided.load_profile_1, 7), (decided.load_profile_2, 7), (decided.billing_profile, 7)] == [
        rows[f"{name} profile"] for name in ("hourly", "daily", "monthly")
    ]
    assert dialect.values[obis.parse("0.0.96.1.0.255")] == Target(rows["equipment identifier"][0], None)
    assert len(dialect.values) == len(billing) + 1


def test_an_own_dialect_is_found_by_the_name_of_its_file(folder: Path) -> None:
    """With what it says, and the defaults where it says nothing; comments and both ways to write a value."""
    own(
        folder,
        ABOUT
        + '[objects]\nbilling_profile = "0.0.98.2.0.255"  # theirs\n[values]\n"8.0.2.0.0.255" = "0.1.24.2.4.255"\n'
        '"8.0.1.0.0.255" = { code = "0.1.24.2.1.255", class = "extended_register" }\n',
        "Keller_stadt-2",
    )
    dialect = find("Keller_stadt-2", folder)
    assert (dialect.name, dialect.about) == ("Keller_stadt-2", "As the head-end of Kellerstadt has it.")
    assert dialect.codes == codes.resolve({"billing_profile": "0.0.98.2.0.255"})
    assert dialect.values == {
        obis.parse("8.0.2.0.0.255"): Target(obis.parse("0.1.24.2.4.255"), None),
        obis.parse("8.0.1.0.0.255"): Target(obis.parse("0.1.24.2.1.255"), 4),
    }


def test_the_example_of_the_readme_is_a_dialect(folder: Path) -> None:
    """Somebody copies it."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(about = .*?)```", readme, re.DOTALL)
    own(folder, example)
    assert len(find("mine", folder).values) == 2


def test_what_can_be_chosen_are_the_shipped_ones_and_those_in_the_folder(folder: Path) -> None:
    """By name; nothing else in the folder is one, and a folder that is not there has none."""
    for name in ("b", "a", "idis"):
        own(folder, ABOUT, name)
    (folder / "notes.txt").write_text("")
    (folder / "no name.toml").write_text("")
    assert known(folder) == (*SHIPPED, "a", "b")
    assert known(NOWHERE) == SHIPPED
    assert known(folder / "notes.txt") == SHIPPED
    assert "en13757" in SHIPPED


def test_a_file_cannot_take_the_place_of_a_shipped_dialect(folder: Path) -> None:
    """The name means the same on every gateway."""
    own(folder, ABOUT + '[values]\n"8.0.1.0.0.255" = "8.0.1.0.9.255"\n', "en13757")
    assert find("en13757", folder) == STANDARD


def test_values_of_different_media_can_have_one_code_and_two_codes_can_be_swapped(folder: Path) -> None:
    """No meter is one for water and for heat; and what was there moves away as the other comes."""
    own(
        folder,
        ABOUT + '[objects]\nload_profile_1 = "1.0.99.2.0.255"\nload_profile_2 = "1.0.99.1.0.255"\n[values]\n'
        '"8.0.1.0.0.255" = "8.0.2.0.0.255"\n"8.0.2.0.0.255" = "8.0.1.0.0.255"\n"6.0.1.0.0.255" = "8.0.1.0.0.255"\n',
    )
    assert find("mine", folder).codes.load_profile_1 == Codes().load_profile_2
    assert len(find("mine", folder).values) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[values\n", "is not valid TOML"),
        ("", "about must be a text of 1 to"),
        ('about = ""\n', "about must be"),
        ("about = 5\n", "about must be"),
        ('about = "two\\nlines"\n', "about must be"),
        (f'about = "{"x" * (LONGEST_ABOUT + 1)}"\n', "about must be"),
        (ABOUT + 'nmae = "mine"\n', "nmae is no known key"),
        (ABOUT + "[valeus]\n", "valeus is no known key; did you mean values?"),
        (ABOUT + "objects = 5\n", "objects must be a table"),
        (ABOUT + "[[values]]\n", "values must be a table"),
        (ABOUT + '[objects]\nload_profil_1 = "1.0.99.3.0.255"\n', "[objects] knows no \"load_profil_1\"; did you mean"),
        (ABOUT + '[objects]\nload_profile_1 = "1.0.99.3.0.256"\n', "[objects] load_profile_1 must be an OBIS code"),
        (ABOUT + "[objects]\nload_profile_1 = 5\n", "[objects] load_profile_1 must be an OBIS code"),
        (ABOUT + '[objects]\nload_profile_1 = "1.0.99.2.0.255"\n', "load_profile_1 and load_profile_2 the same code"),
        (ABOUT + '[objects]\nload_profile_1 = "0.0.42.0.0.255"\n', "which another object of every meter has"),
        (ABOUT + '[values]\n8.0.1.0.0.255 = "8.0.1.0.9.255"\n', '[values] "8" must be an OBIS code'),
        (ABOUT + '[values]\n"water" = "8.0.1.0.9.255"\n', '[values] "water" must be an OBIS code'),
        (ABOUT + '[values]\n"8.0.1.0.0.255" = "8.0.1.0.9"\n', "[values] 8.0.1.0.0.255 must be an OBIS code"),
        (ABOUT + '[values]\n"8.0.1.0.0.255" = 5\n', "[values] 8.0.1.0.0.255 must be an OBIS code"),
        (ABOUT + '[values]\n"8.0.1.0.0.255" = {}\n', "[values] 8.0.1.0.0.255 code must be an OBIS code"),
        (ABOUT + '[values]\n"8.0.1.0.0.255" = { cod = "8.0.1.0.9.255" }\n', "cod is no known key; did you mean code?"),
        (
            ABOUT + '[values]\n"8.0.1.0.0.255" = { code = "8.0.1.0.9.255", class = "data" }\n',
            "[values] 8.0.1.0.0.255 class must be one of register, extended_register",
        ),
        (
            ABOUT + '[values]\n"8.0.1.0.0.255" = { code = "8.0.1.0.9.255", class = [4] }\n',
            "[values] 8.0.1.0.0.255 class must be one of",
        ),
        (
            ABOUT + '[values]\n"8.0.1.0.0.255" = "8.0.1.0.9.255"\n"8.0.1.0.00.255" = "8.0.1.0.8.255"\n',
            "stands there twice",
        ),
        (
            ABOUT + '[values]\n"8.0.1.0.0.255" = "8.0.1.0.9.255"\n"8.0.2.0.0.255" = "8.0.1.0.9.255"\n',
            "[values] 8.0.1.0.0.255 and 8.0.2.0.0.255 are of one medium and cannot both become 8.0.1.0.9.255",
        ),
        (
            ABOUT + '[values]\n"8.0.1.0.0.255" = "0.0.1.0.0.255"\n',
            "[values] 8.0.1.0.0.255 must not become 0.0.1.0.0.255, which another object of every meter has",
        ),
        (ABOUT + '[values]\n"8.0.1.0.0.255" = "1.0.99.1.0.255"\n', "must not become 1.0.99.1.0.255"),
        (
            ABOUT + '[objects]\nload_profile_1 = "0.1.24.3.0.255"\n[values]\n"8.0.1.0.0.255" = "0.1.24.3.0.255"\n',
            "must not become 0.1.24.3.0.255",
        ),
        (ABOUT + "x = " + "[" * 5000 + "\n", "nested deeper"),
        (ABOUT + "[values]\nx = " + "9" * 5000 + "\n", "too many digits"),
        (ABOUT + "#" * MAX_BYTES, "is larger than 64 KiB"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_hold_is_refused_with_file_and_key(folder: Path, text: str, says: str) -> None:
    """One sentence of a length that a person reads, whatever is in the file."""
    path = own(folder, text)
    with pytest.raises(ConfigError) as refusal:
        find("mine", folder)
    sentence = str(refusal.value)
    assert sentence.startswith(str(path))
    assert says in sentence
    assert len(sentence) < len(str(path)) + 400
    assert "\n" not in sentence


def test_a_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    """Bytes that are no text, a pipe, a directory, a link that leads nowhere."""
    (folder / "bytes.toml").write_bytes(b"about = '\xff'")
    os.mkfifo(folder / "pipe.toml")
    (folder / "folder.toml").mkdir()
    (folder / "link.toml").symlink_to(folder / "gone")
    for name, says in {
        "bytes": "UTF-8",
        "pipe": "is no file",
        "folder": "is no file",
        "link": "cannot be read",
    }.items():
        with pytest.raises(ConfigError, match=f"{name}.toml.*{says}"):
            find(name, folder)


def test_a_name_that_is_not_there_is_told_with_what_is_near(folder: Path) -> None:
    """And where a file of that name would be looked for."""
    with pytest.raises(ConfigError) as refusal:
        find("idsi", folder)
    assert f"{folder / 'idsi.toml'}; did you mean idis?" in str(refusal.value)
    (folder / "idsi.toml").write_text(ABOUT)
    assert find("idsi", folder).name == "idsi"


def test_a_folder_that_cannot_be_read_is_told(folder: Path) -> None:
    """Where a file stands in its place; the shipped ones can still be chosen."""
    place = folder / "file"
    place.write_text("")
    with pytest.raises(ConfigError, match="cannot be read"):
        own_files(place)
    with pytest.raises(ConfigError, match="cannot be read"):
        find("mine", place)
    assert find("idis", place).name == "idis"


@pytest.mark.parametrize(
    "name", ["", "../mine", "a/b", "a.b", ".mine", "-mine", "no name", "x" * 33, "mine\n", "\u00fcber"]
)
def test_the_name_of_a_dialect_is_no_path(name: str) -> None:
    """Letters, digits, - and _ only, as config.toml is read."""
    with pytest.raises(ConfigError, match=r"\[dlms\] dialect must be the name of a dialect"):
        parse_config(f"[dlms]\ndialect = {name!r}".replace("'", '"'), Path("config.toml"))


def test_the_codes_of_a_configuration_go_over_those_of_its_dialect() -> None:
    """One by one; a code that the dialect gives to a value, or to another object, cannot be taken."""
    dialect = find("idis", NOWHERE)
    chosen = dialect.codes_with({"load_profile_1": "1.0.99.1.0.255"})
    assert obis.text(chosen.load_profile_1) == "1.0.99.1.0.255"
    assert obis.text(chosen.load_profile_2) == "0.1.24.3.1.255"
    with pytest.raises(ConfigError, match=r"\[obis\] gives load_profile_1 and load_profile_2 the same code"):
        dialect.codes_with({"load_profile_1": "0.1.24.3.1.255"})
    with pytest.raises(ConfigError) as refusal:
        dialect.codes_with({"gateway_name": "0.1.24.2.1.255"})
    assert (
        'gateway_name the code 0.1.24.2.1.255, which is that of 1.0.1.8.0.255 in the dialect "idis"'
        in str(refusal.value)
    )

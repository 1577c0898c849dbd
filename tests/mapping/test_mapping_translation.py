"""Mapping files in a dialect: other codes, the same values; and never two objects under one code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.cosem.dialect import SHIPPED, STANDARD, Dialect, find
from core.dlms import axdr
from core.mapping.engine import Readout, evaluate
from core.mapping.model import MappingFile
from core.mapping.ready import ready_mappings
from core.mapping.simplified import Site
from core.mapping.translation import translate
from core.mbus.telegram import Telegram

MakeTelegram = Callable[..., Telegram]
MakeMapping = Callable[..., MappingFile]

BILLING = "0.1.24.2.1.255"


@pytest.fixture
def idis() -> Dialect:
    return find("idis", Path("/nowhere"))


def dialect(folder: Path, values: str) -> Dialect:
    (folder / "mine.toml").write_text(f'about = "mine"\n[values]\n{values}\n')
    return find("mine", folder)


def codes(mapping: MappingFile) -> list[tuple[str, int]]:
    return [(entry.obis_text, entry.class_id) for entry in mapping.entries]


def test_values_scalers_and_units_stay_what_they_are(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site, idis: Dialect
) -> None:
    """Only the code and the class are those of the dialect; entries of other codes are the same objects."""
    file = mapping({}, {"dlmsObisCode": "8.0.2.0.0.255", "dlmsUnit": 15})
    shown = translate(file, idis)
    assert codes(shown.mapping) == [(BILLING, 4), ("8.0.2.0.0.255", 3)]
    assert shown.problems == ()
    assert shown.mapping.entries[1] is file.entries[1]
    assert (shown.mapping.label, shown.mapping.document) == (file.label, file.document)
    values = evaluate(shown.mapping, Readout((telegram("0c1346590800"),), 0), site)
    assert values[0].encoded == axdr.double_long_unsigned(85946)
    assert (values[0].object.scaler, values[0].object.unit) == (-3, 13)


def test_a_file_in_which_nothing_changes_stays_the_same_object(mapping: MakeMapping, idis: Dialect) -> None:
    """What was worked out for it is not thrown away."""
    file = mapping({"dlmsObisCode": "8.0.2.0.0.255"})
    assert translate(file, idis).mapping is file
    assert translate(mapping({}), STANDARD).problems == ()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_ready_files_can_be_shown_in_every_shipped_dialect(name: str) -> None:
    """No entry is lost, and there is nothing to tell."""
    for file in ready_mappings():
        shown = translate(file, find(name, Path("/nowhere")))
        assert shown.problems == ()
        assert len(shown.mapping.entries) == len(file.entries)


def test_alternatives_for_one_code_stay_alternatives(mapping: MakeMapping, idis: Dialect) -> None:
    """Another unit or scaler for the same value: all of them are shown under the new code."""
    file = mapping({}, {"dlmsScaler": -6}, {"dlmsScaler": -4})
    shown = translate(file, idis)
    assert codes(shown.mapping) == [(BILLING, 4)] * 3
    assert shown.problems == ()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"dlmsObisCode": "9.0.1.0.0.255"}, "9.0.1.0.0.255"),
        ({"dlmsObisCode": "9.0.1.0.0.255", "dlmsUnit": 30, "dlmsScaler": 0}, "9.0.1.0.0.255"),
        ({"dlmsObisCode": BILLING}, BILLING),
        ({"dlmsObisCode": BILLING, "dlmsClass": "data"}, BILLING),
        ({"dlmsClass": "extended_register"}, "8.0.1.0.0.255"),
    ],
    ids=["another medium", "another unit", "the code itself", "another class", "the same code in both classes"],
)  # fmt: skip
def test_two_values_that_would_have_one_code_are_both_left_out(
    mapping: MakeMapping, idis: Dialect, second: dict[str, object], said: str
) -> None:
    """Neither is what a client expects there; the problem names file, entries, codes and dialect, the rest is shown."""
    file = mapping({}, {"dlmsObisCode": "8.0.2.0.0.255"}, second)
    shown = translate(file, idis)
    assert codes(shown.mapping) == [("8.0.2.0.0.255", 3)]
    (problem,) = shown.problems
    assert (problem.file, problem.path) == ("made.json", "entries[2].dlmsObisCode")
    for part in (f'dialect "idis" {said} ', BILLING, "8.0.1.0.0.255 of entries[0]"):
        assert part in problem.reason
    assert len(file.entries) == 3


def test_a_code_that_another_one_moves_to_is_free_where_it_moves_away_itself(
    mapping: MakeMapping, tmp_path: Path
) -> None:
    """Two codes change places."""
    file = mapping({}, {"dlmsObisCode": "8.0.2.0.0.255"})
    swap = dialect(tmp_path, '"8.0.1.0.0.255" = "8.0.2.0.0.255"\n"8.0.2.0.0.255" = "8.0.1.0.0.255"')
    shown = translate(file, swap)
    assert codes(shown.mapping) == [("8.0.2.0.0.255", 3), ("8.0.1.0.0.255", 3)]
    assert shown.problems == ()


def test_a_rule_with_a_class_is_one_for_registers(mapping: MakeMapping, tmp_path: Path) -> None:
    """Text under the code of a value would be a surprise: it keeps its own. A rule without a class moves all."""
    file = mapping(
        {"dlmsClass": "data"}, {"dlmsClass": "extended_register"}, {"dlmsClass": "clock", "dlmsDataType": 9}
    )
    to_register = dialect(tmp_path, '"8.0.1.0.0.255" = { code = "8.0.1.0.9.255", class = "register" }')
    assert codes(translate(file, to_register).mapping) == [
        ("8.0.1.0.0.255", 1), ("8.0.1.0.9.255", 3), ("8.0.1.0.0.255", 8),
    ]  # fmt: skip
    every_class = dialect(tmp_path, '"8.0.1.0.0.255" = "8.0.1.0.9.255"')
    assert codes(translate(file, every_class).mapping) == [(("8.0.1.0.9.255"), kind) for kind in (1, 4, 8)]

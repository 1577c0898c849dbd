"""A file of the CMe3100 DLMS plugin works here as it is, and one that is made here works there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import original
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mapping_file import EXAMPLE

from cme_tui.commands import mapping as command
from core.dlms.axdr import decode
from core.mapping.coach import entries_of, meter_type, propose, proposed, template
from core.mapping.engine import Readout, evaluate
from core.mapping.lint import findings
from core.mapping.model import MappingError, MappingFile, dump, parse_mapping
from core.mapping.ready import ready_texts
from core.mapping.simplified import Site
from core.mbus.simulator import read_telegrams
from core.mbus.simulator.meter import TELEGRAMS
from core.mbus.telegram import Telegram
from core.mbus.telegram import decode as decode_telegram

SIMPLIFIED = (
    ("mbus.frame.raw", "0.0.1.1.128.255", 9),
    ("mbus.telegram.decoded.value ", "0.0.1.2.128.255", 10),
    ("mbus.telegram.decoded.header ", "0.0.1.3.128.255", 10),
)


def entry(**changes: Any) -> dict[str, Any]:
    """With every property, in the order and with the nulls of the original's examples."""
    keys = ["mbus.dib.volume.0.0.0.0.unmodifiedvalue", "mbus.dib.0c13.unmodifiedvalue"]
    return {**EXAMPLE["entries"][0], "mbusKeys": keys, **changes}


EXPORT = {
    "type": "water",
    "manufacturer": "all",
    "version": 0,
    "entries": [
        entry(),
        *(
            entry(
                mbusKeys=[key],
                dlmsObisCode=code,
                dlmsScaler=0,
                dlmsUnit=0,
                dlmsClass="data",
                dlmsDataType=data_type,
            )
            for key, code, data_type in SIMPLIFIED
        ),
    ],
}
"""In the form of the original: the water file of its manual, and the three entries of simplified mapping."""


def turned_round(value: Any) -> Any:
    """With the properties of every object in the other order."""
    if isinstance(value, list):
        return [turned_round(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: turned_round(item) for name, item in reversed(value.items())}


SPELLINGS: dict[str, Callable[[], str]] = {
    "as printed": lambda: json.dumps(EXPORT, indent=2),
    "one line": lambda: json.dumps(EXPORT, separators=(",", ":")),
    "tabs": lambda: json.dumps(EXPORT, indent="\t"),
    "line ends of Windows": lambda: json.dumps(EXPORT, indent=2).replace("\n", "\r\n") + "\r\n",
    "byte order mark": lambda: "\ufeff" + json.dumps(EXPORT),
    "blank lines": lambda: "\n\n" + json.dumps(EXPORT, indent=4) + "\n \n\t\n",
    "another order": lambda: json.dumps(turned_round(EXPORT)),
    "escapes": lambda: json.dumps(EXPORT).replace("v", "\\u0076").replace(".", "\\u002e"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_file_of_the_original_works_as_it_is(spelling: str, site: Site) -> None:
    """However an editor has stored it: no finding, and value, raw frame, values and header of a telegram."""
    file = parse_mapping(SPELLINGS[spelling]().encode(), "export.json")
    assert (file.triple, findings(file)) == (("water", "all", 0), ())
    frame = water()
    telegram = decode_telegram(frame)
    values = [decode(each.encoded or b"").content for each in evaluate(file, Readout((telegram,), 0), site)]
    (volume,) = (each.raw for each in telegram.records if each.dib == "0c13")
    assert values[:2] == [volume, frame]
    assert str(values[2]).startswith("0016000000;")
    assert str(values[3]).startswith("#serial-number;")


def water() -> bytes:
    """The telegram of a water meter that has its volume in 0c13."""
    for path in sorted(TELEGRAMS.glob("*.hex")):
        frame = read_telegrams(path)[0]
        telegram = decode_telegram(frame)
        if telegram.medium == "water" and [each.dib for each in telegram.records].count("0c13") == 1:
            return frame
    raise AssertionError("There is no such telegram.")


@pytest.mark.parametrize(
    ("text", "data_type", "value"),
    [("0", 6, 0), ("-5", 5, -5), ("1.5", 23, 1.5), ("n/a", 10, "n/a"), (" 7 ", 21, 7), ("", 9, b"")],
)
def test_a_default_value_is_a_text(text: str, data_type: int, value: object, site: Site) -> None:
    """As the original has it, whatever the data type."""
    item = entry(mbusKeys=["mbus.dib.0413.unmodifiedvalue"], dlmsDataType=data_type, dlmsDefaultValue=text)
    file = parse_mapping(json.dumps({**EXPORT, "entries": [item]}), "export.json")
    (shown,) = evaluate(file, Readout((decode_telegram(water()),), 0), site)
    assert decode(shown.encoded or b"").content == value


@pytest.mark.parametrize("code", [None, "", "  "])
def test_an_entry_without_a_code_waits(code: str | None) -> None:
    """A template that nobody has filled in is valid, and says so."""
    item = {
        **dict.fromkeys(entry(), None),
        "mbusKeys": ["mbus.dib.0c13.unmodifiedvalue"],
        "dlmsObisCode": code,
    }
    file = parse_mapping(json.dumps({**EXPORT, "entries": [item, entry()]}), "template.json")
    assert ([each.index for each in file.entries], file.without_code) == ([1], (0,))
    assert [each.path for each in findings(file)] == ["entries[0].dlmsObisCode"]


@pytest.mark.parametrize("name", sorted(ready_texts()))
def test_the_original_takes_the_ready_files(name: str) -> None:
    """Nothing in them is beyond its format."""
    assert original.objections(ready_texts()[name]) == []


def data_set() -> dict[str, tuple[Telegram, ...]]:
    return {
        path.stem: tuple(decode_telegram(frame) for frame in read_telegrams(path))
        for path in sorted(TELEGRAMS.glob("*.hex"))
    }


@pytest.mark.parametrize("telegrams", data_set().values(), ids=data_set())
def test_the_original_takes_what_the_coach_writes(telegrams: tuple[Telegram, ...]) -> None:
    """Template and coached mapping of every telegram, as written and after another import and export."""
    proposals, kind = propose([telegrams]), meter_type(telegrams[0])
    made = template(proposals, kind)
    for file, is_template in ((made, True), (entries_of(proposed(proposals), kind), False)):
        again = parse_mapping(dump(file), file.name)
        assert dump(again) == dump(file)
        assert original.objections(dump(again), template=is_template) == []


def test_the_checker_knows_what_the_original_does_not() -> None:
    """Our extensions, other types and other properties are objected to, so that the tests above can fail."""
    assert original.objections(json.dumps({**EXPORT, "entries": [entry()]})) == []
    for changes in (
        {"dlmsClass": "extended_register"},
        {"mbusKeys": ["mbus.dib.0c13.value"]},
        {"mbusKeys": []},
        {"mbusFunction": 0},
        {"dlmsDefaultValue": 0},
        {"dlmsObisCode": None},
        {"dlmsScaler": "-3"},
        {"dlmsUnit": True},
        {"note": ""},
    ):
        assert original.objections(json.dumps({**EXPORT, "entries": [entry(**changes)]})), changes
    assert original.objections(json.dumps({**EXPORT, "version": "all"}))


unknown = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).map(lambda name: f"x-{name}"),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**40), 10**40)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8"), max_size=12),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def pairs(text: str) -> Any:
    """The content with the order of the properties."""
    return json.loads(text, object_pairs_hook=lambda items: ("object", items))


@given(unknown, unknown, st.randoms(use_true_random=False))
def test_unknown_properties_survive_import_and_export(
    of_file: dict[str, Any], of_entry: dict[str, Any], chance: Any
) -> None:
    """On both levels, nested, in their order among the others; a second round changes not one byte."""
    mixed = [*entry(**of_entry).items()]
    chance.shuffle(mixed)
    whole = [*EXPORT.items(), *of_file.items()]
    chance.shuffle(whole)
    text = json.dumps({**dict(whole), "entries": [dict(mixed)]})
    once = dump(parse_mapping(text, "export.json"))
    assert pairs(once) == pairs(text)
    assert dump(parse_mapping(once.encode(), "export.json")) == once


def test_what_is_added_is_what_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the commands: every property, in its order, blanks in keys included."""
    document = {"x-first": [{"a": None}], **turned_round(EXPORT), "x-last": 1.25}
    source = tmp_path / "export.json"
    source.write_text("\ufeff" + json.dumps(document, indent="\t").replace("\n", "\r\n"), encoding="utf-8")
    state = tmp_path / "state"
    state.mkdir()
    assert command.add(state, source, replace=False) == 0
    capsys.readouterr()
    assert command.export(state, "water/all/0") == 0
    assert pairs(capsys.readouterr().out) == pairs(json.dumps(document))


def test_a_null_where_a_number_is_needed_is_refused() -> None:
    """Only the properties that describe may be null: a data type is not guessed."""
    assert isinstance(parse_mapping(json.dumps({**EXPORT, "entries": [entry()]}), "a.json"), MappingFile)
    with pytest.raises(MappingError, match=r"entries\[0\]\.dlmsDataType: is missing"):
        parse_mapping(json.dumps({**EXPORT, "entries": [entry(dlmsDataType=None)]}), "a.json")

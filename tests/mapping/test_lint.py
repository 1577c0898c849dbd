"""The lint finds what makes a bill wrong, says where in the file it stands, and is silent about what is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from core.mapping.dryrun import dry_run
from core.mapping.engine import Readout
from core.mapping.library import MappingSet
from core.mapping.lint import Finding, MeterReadout, Severity, findings, refusal
from core.mapping.model import MappingError, MappingFile, parse_mapping
from core.mapping.simplified import Site
from core.mbus.telegram import Telegram

MakeMapping = Callable[..., MappingFile]
MakeTelegram = Callable[..., Telegram]


@pytest.fixture
def meter(telegram: MakeTelegram, site: Site) -> Callable[..., MeterReadout]:
    """A meter in the cellar that sends these records."""

    def make(records: str, **header: Any) -> MeterReadout:
        return MeterReadout("cellar", Readout((telegram(records, **header),), 0), site)

    return make


def told(mapping: MappingFile, meters: Sequence[MeterReadout] = ()) -> list[tuple[str, str]]:
    """Path and sentence of each finding; all are warnings, for the file is valid."""
    found = findings(mapping, meters)
    assert all(each.severity is Severity.WARNING and each.file == "made.json" for each in found)
    return [(each.path, each.text) for each in found]


def test_a_right_file_has_no_findings(mapping: MakeMapping, meter: Callable[..., MeterReadout]) -> None:
    """Neither by itself nor with the values of a meter that it serves."""
    assert told(mapping({}), [meter("0c13 34120000")]) == []


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        (
            {"mbusKeys": ["mbus.dib.0c13.value", "mbus.dib.0c14.value"]},
            "entries[0].mbusKeys",
            "0c14 in 10^-2 m3",
        ),
        ({"dlmsUnit": 30, "mbusKeys": ["mbus.dib.0c13.value"]}, "entries[0].mbusKeys[0]", "cannot become Wh"),
        ({"mbusKeys": ["mbus.dib.026c.value"]}, "entries[0].mbusKeys[0]", "date is no number"),
        (
            {"dlmsClass": "clock", "mbusKeys": ["mbus.dib.0c13.value"]},
            "entries[0].mbusKeys[0]",
            "no date and time",
        ),
        ({"dlmsDataType": 10}, "entries[0].dlmsClass", "use data"),
        (
            {"mbusKeys": ["mbus.dib.8c0213.value"]},
            "entries[0].mbusKeys[0]",
            "storage number 4 has no meaning",
        ),
        ({"mbusKeys": ["mbus.dib.volume.5.0.0.0.value"]}, "entries[0].mbusKeys[0]", "storage number 5"),
        ({"dlmsScalar": -3}, "entries[0].dlmsScalar", "did you mean dlmsScaler?"),
        ({"mbusDescriptionLong": "CHECK: mass"}, "entries[0].mbusDescriptionLong", "to be checked"),
        ({"dlmsClass": "profile_generic"}, "entries[0].mbusKeys", "no history to show"),
        ({"dlmsObisCode": "0.0.42.0.0.255"}, "entries[0].dlmsObisCode", "cannot replace"),
        ({"dlmsObisCode": None}, "entries[0].dlmsObisCode", "no OBIS code yet"),
    ],
)
def test_each_doubt_stands_where_it_belongs(
    mapping: MakeMapping, entry: dict[str, Any], path: str, words: str
) -> None:
    """One finding, at the property that is to be changed."""
    ((found, text),) = told(mapping(entry))
    assert found == path
    assert words in text


def test_a_profile_is_judged_by_what_it_captures(
    mapping: MakeMapping, meter: Callable[..., MeterReadout]
) -> None:
    """Beside an entry that reads its key it is right, whatever it says of data type, unit and scaler."""
    keys = ["mbus.dib.0c13.value", "mbus.dib.026c.value"]
    profile = {
        "dlmsClass": "profile_generic", "dlmsObisCode": "8.0.99.1.0.255", "mbusKeys": keys,
        "dlmsDataType": 1, "dlmsUnit": 200, "dlmsScaler": 5,
    }  # fmt: skip
    water = meter("0c13 34120000 026c 0621")
    assert told(mapping({"mbusKeys": keys[:1]}, profile), [water]) == []
    ((path, text),) = told(mapping({"mbusKeys": keys[:1], "mbusTelegram": 1}, profile))
    assert path == "entries[1].mbusKeys"
    assert "add such an entry" in text


def test_the_dry_run_names_what_a_profile_captures(
    mapping: MakeMapping, meter: Callable[..., MeterReadout]
) -> None:
    """A profile that shows another object than before is a change; one without any is no object."""
    profile = {"dlmsClass": "profile_generic", "dlmsObisCode": "8.0.99.1.0.255"}
    lost = {**profile, "dlmsObisCode": "8.0.99.2.0.255", "mbusTelegram": 1}
    active, new = mapping({}, profile, lost), mapping({"dlmsObisCode": "8.0.1.0.1.255"}, profile, lost)
    (change,) = dry_run(MappingSet([active]), new, [meter("0c13 34120000")])
    assert [(row.obis, row.before, row.after) for row in change.objects] == [
        ("8.0.1.0.1.255", None, "1.234 m³"),
        ("8.0.99.1.0.255", "history of 8.0.1.0.0.255", "history of 8.0.1.0.1.255"),
        ("8.0.1.0.0.255", "1.234 m³", None),
    ]


def test_a_historic_register_has_a_meaning(mapping: MakeMapping) -> None:
    """Behind a final DIFE of 0 the storage number is the number of the register."""
    keys = ["mbus.dib.8c810013.value"]
    assert told(mapping({"mbusKeys": keys})) == []


def test_an_unknown_property_of_the_file_is_named(mapping: MakeMapping) -> None:
    """It is kept, and the author hears of a slip of the pen."""
    assert [path for path, _ in told(mapping({}, vendor="x"))] == ["vendor"]


def test_a_value_that_does_not_fit_is_told_with_its_number(
    mapping: MakeMapping, meter: Callable[..., MeterReadout]
) -> None:
    """The data type overflows with what this meter sends."""
    ((path, text),) = told(mapping({"dlmsDataType": 18}), [meter("0c13 00000700")])
    assert path == "entries[0]"
    assert text.startswith("cellar sends 70.000 m3, which is not shown: ")


def test_a_value_that_is_not_whole_is_told(mapping: MakeMapping, meter: Callable[..., MeterReadout]) -> None:
    """Description keys have no exponent of their own: only the meter shows that it counts finer."""
    ((path, text),) = told(mapping({}), [meter("0c12 35120000")])
    assert (path, "no whole number at scaler -3" in text) == ("entries[0]", True)


def test_two_fields_for_one_code_are_told(mapping: MakeMapping, meter: Callable[..., MeterReadout]) -> None:
    """Both keys of an entry read something in this meter, and only one of them is shown."""
    keys = ["mbus.dib.volume.0.0.0.0.value", "mbus.dib.volume.1.0.0.0.value"]
    ((path, text),) = [
        each
        for each in told(mapping({"mbusKeys": keys}), [meter("0c13 34120000 4c13 11000000")])
        if "two fields" in each[1]
    ]
    assert path == "entries[0].mbusKeys[1]"
    assert "(0c13)" in text
    assert "(4c13)" in text


def test_a_billing_value_that_nobody_sees_is_told(
    mapping: MakeMapping, meter: Callable[..., MeterReadout]
) -> None:
    """The volume at the due date has no entry; the flow has none either, but nobody pays for that."""
    ((path, text),) = told(mapping({}), [meter("0c13 34120000 4c13 11000000 0b3b 270100")])
    assert path == ""
    assert "0.011 m3" in text
    assert text.endswith("the coach proposes 8.0.1.2.0.255")


def test_a_meter_of_another_type_is_told(mapping: MakeMapping, meter: Callable[..., MeterReadout]) -> None:
    """Checking a water file against a heat meter says so instead of finding nothing."""
    ((_, text),) = told(mapping({}), [meter("0c06 34120000", medium=4)])
    assert text == "is for water/all/0, and cellar is heat/HYD/37: that meter does not use it"


def test_a_refused_file_is_an_error() -> None:
    """The finding has the file, the path and the reason of the refusal."""
    with pytest.raises(MappingError) as caught:
        parse_mapping(json.dumps({"type": "water", "manufacturer": "all", "version": "x"}), "w.json")
    reason = 'must be a whole number from 0 to 255, not "x"'
    assert refusal(caught.value) == Finding(Severity.ERROR, "w.json", "version", reason)
    assert str(refusal(caught.value)) == str(caught.value)


def test_the_dry_run_shows_before_and_after(mapping: MakeMapping, meter: Callable[..., MeterReadout]) -> None:
    """Only the meters that the new file would serve; what is new, what goes, and what changes."""
    active = MappingSet([mapping({}, {"dlmsObisCode": "8.0.9.0.0.255"})])
    flow = {"dlmsObisCode": "8.0.2.0.0.255", "dlmsUnit": 15, "mbusKeys": ["mbus.dib.0b3b.value"]}
    new = mapping({"dlmsDataType": 17}, flow, manufacturer="HYD")
    water, heat = meter("0c13 34120000 0b3b 270100"), meter("0c06 34120000", medium=4)
    (change,) = dry_run(active, new, [water, heat])
    assert (change.meter, change.mapping_before, change.mapping_after) == (
        "cellar",
        "water/all/0",
        "water/HYD/0",
    )
    too_large = "no value: 1234 does not fit into the data type unsigned (8 bits); choose a larger one"
    assert {row.obis: (row.before, row.after, row.changed) for row in change.objects} == {
        "8.0.1.0.0.255": (
            "1.234 m³",
            too_large,
            True,
        ),
        "8.0.2.0.0.255": (None, "0.127 m³/h", True),
        "8.0.9.0.0.255": ("1.234 m³", None, True),
    }
    assert active.files[0].label == "water/all/0"
    same = dry_run(active, mapping({}), [water])[0].objects
    assert [(row.obis, row.changed) for row in same] == [("8.0.1.0.0.255", False), ("8.0.9.0.0.255", True)]

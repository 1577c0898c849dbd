"""A mapping file is read as its author meant it, or refused with file, JSON path and reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.mapping.model import MAX_BYTES, MappingError, MappingFile, dump, parse_mapping

# the example of the manual, 5.3.3, with the blanks that its examples have around keys
EXAMPLE: dict[str, Any] = {
    "type": "water",
    "manufacturer": "all",
    "version": 0,
    "entries": [
        {
            "includeInPush": "ALL",
            "mbusTelegram": 0,
            "mbusKeys": ["mbus.dib.volume.0.0.0.0.unmodifiedvalue ", " mbus.dib.0c13.unmodifiedvalue"],
            "dlmsObisCode": "8.0.1.0.0.255",
            "dlmsScaler": -3,
            "dlmsUnit": 13,
            "dlmsClass": "register",
            "dlmsDataType": 6,
            "dlmsDefaultValue": None,
            "mbusUnit": None,
            "mbusDescriptionLong": None,
            "mbusTariff": None,
            "mbusStorageNumber": 0,
            "mbusSubUnit": None,
            "mbusFunction": None,
        }
    ],
}


def parse(document: object) -> MappingFile:
    return parse_mapping(json.dumps(document), "water.json")


def parse_or_refuse(document: object) -> MappingFile | None:
    try:
        return parse(document)
    except MappingError:
        return None


def changed(**properties: object) -> dict[str, Any]:
    """The example with other properties in its entry."""
    return {**EXAMPLE, "entries": [{**EXAMPLE["entries"][0], **properties}]}


def test_the_file_of_the_original_works_as_it_is() -> None:
    """The manual's own example is accepted, blanks around its keys included."""
    file = parse(EXAMPLE)
    (entry,) = file.entries
    assert file.triple == ("water", "all", 0)
    assert [key.text for key in entry.keys] == [
        "mbus.dib.volume.0.0.0.0.unmodifiedvalue",
        "mbus.dib.0c13.unmodifiedvalue",
    ]
    assert (entry.obis, entry.class_id) == (bytes((8, 0, 1, 0, 0, 255)), 3)
    assert (entry.data_type, entry.scaler, entry.unit) == (6, -3, 13)
    assert entry.default is None
    assert entry.in_push


def test_what_may_be_left_out_has_the_defaults_of_the_manual() -> None:
    """Absent includeInPush is ALL, absent mbusTelegram 0, unit 0 is none."""
    item = {
        "mbusKeys": ["mbus.frame.raw"],
        "dlmsObisCode": "0.0.1.1.128.255",
        "dlmsClass": "data",
        "dlmsDataType": 9,
        "dlmsUnit": 0,
    }
    (entry,) = parse({**EXAMPLE, "entries": [item]}).entries
    assert (entry.in_push, entry.telegram, entry.scaler, entry.unit, entry.default) == (True, 0, 0, 255, None)


def test_none_keeps_an_object_out_of_pushes() -> None:
    """includeInPush NONE is read."""
    assert not parse(changed(includeInPush="NONE")).entries[0].in_push


def test_a_profile_needs_keys_and_a_code_alone() -> None:
    """What else it says of a value is kept and not used, whatever it is: it shows the values of another entry."""
    document = changed(dlmsClass="profile_generic", dlmsDataType=1, dlmsDefaultValue=[], dlmsUnit=None)
    (entry,) = parse(document).entries
    assert (entry.class_id, entry.default, len(entry.keys)) == (7, None, 2)
    assert json.loads(dump(parse(document))) == document
    with pytest.raises(MappingError, match="must name at least one M-Bus key"):
        parse({**document, "entries": [{**document["entries"][0], "mbusKeys": []}]})


def test_unused_and_unknown_properties_are_kept_on_resave() -> None:
    """A file that is written again says everything that it said, at both levels and in order."""
    document = {"x-note": {"by": "Åsa"}, **changed(mbusDescriptionLong="Wasser °C", x_mark=[1, 2.5])}
    assert json.loads(dump(parse(document))) == document
    assert list(json.loads(dump(parse(document)))) == list(document)


@pytest.mark.parametrize(
    ("properties", "path", "reason"),
    [
        ({"dlmsScaler": "x"}, "entries[0].dlmsScaler", 'must be a whole number from -128 to 127, not "x"'),
        ({"dlmsScaler": 128}, "entries[0].dlmsScaler", "must be a whole number from -128 to 127, not 128"),
        ({"dlmsScaler": True}, "entries[0].dlmsScaler", "must be a whole number from -128 to 127, not true"),
        ({"dlmsUnit": 256}, "entries[0].dlmsUnit", "must be a whole number from 0 to 255, not 256"),
        ({"dlmsUnit": 13.0}, "entries[0].dlmsUnit", "must be a whole number from 0 to 255, not 13.0"),
        ({"dlmsDataType": 1}, "entries[0].dlmsDataType", "must be the tag of a simple DLMS data type"),
        ({"dlmsDataType": None}, "entries[0].dlmsDataType", "is missing"),
        ({"dlmsClass": "Registers"}, "entries[0].dlmsClass", "must be one of data, register"),
        ({"dlmsClass": ["register"]}, "entries[0].dlmsClass", 'must be a text, not ["register"]'),
        ({"dlmsObisCode": "8.0.1.0.0"}, "entries[0].dlmsObisCode", "must be six numbers from 0 to 255"),
        ({"dlmsObisCode": "8.0.1.0.0.256"}, "entries[0].dlmsObisCode", "must be six numbers from 0 to 255"),
        ({"dlmsObisCode": 8}, "entries[0].dlmsObisCode", "must be a text"),
        ({"includeInPush": "SOME"}, "entries[0].includeInPush", 'must be "ALL" or "NONE", not "SOME"'),
        ({"mbusTelegram": -1}, "entries[0].mbusTelegram", "must be a whole number from 0 to 255, not -1"),
        ({"mbusKeys": []}, "entries[0].mbusKeys", "must name at least one M-Bus key"),
        ({"mbusKeys": "mbus.frame.raw"}, "entries[0].mbusKeys", "must be a list of M-Bus keys"),
        ({"mbusKeys": ["mbus.frame.raw", 7]}, "entries[0].mbusKeys[1]", "must be a text, not 7"),
        ({"mbusKeys": ["mbus.dib.0c1.value"]}, "entries[0].mbusKeys[0]", "is no M-Bus key"),
        ({"dlmsDefaultValue": "abc"}, "entries[0].dlmsDefaultValue", "must be a number for data type 6"),
        ({"dlmsDefaultValue": -1}, "entries[0].dlmsDefaultValue", "does not fit into data type 6"),
        ({"dlmsDefaultValue": 1.5}, "entries[0].dlmsDefaultValue", "must be a whole number for data type 6"),
        ({"dlmsDefaultValue": []}, "entries[0].dlmsDefaultValue", "must be a text, a number or null"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_path_and_reason(
    properties: dict[str, object], path: str, reason: str
) -> None:
    """The message names the file, the JSON path and what is wrong."""
    with pytest.raises(MappingError) as caught:
        parse(changed(**properties))
    assert (caught.value.file, caught.value.path) == ("water.json", path)
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"water.json: {path}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no valid JSON"),
        (b"[]", "must be an object"),
        (b'{"type": "water"}', "manufacturer: is missing"),
        (b'{"type": "", "manufacturer": "all", "version": 0, "entries": []}', "type: must be a text"),
        (b'{"type": "water", "manufacturer": "ABCD", "version": 0, "entries": []}', "must be three letters"),
        (
            b'{"type": "water", "manufacturer": "all", "version": 300, "entries": []}',
            "from 0 to 255, not 300",
        ),
        (b'{"type": "water", "manufacturer": "all", "version": 0, "entries": {}}', "entries: must be a list"),
        (b'{"type": "water", "manufacturer": "all", "version": 0, "entries": [1]}', "entries[0]: must be an"),
        (b'{"type": "water", "type": "gas"}', 'the property "type" stands twice'),
        (b'{"version": NaN}', "NaN is no number"),
        (b'{"version": -Infinity}', "-Infinity is no number"),
        (b'{"version": 1e999}', "1e999 is too large a number"),
        (b'{"version": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"type": "\\ud800"}', "half of a surrogate pair"),
        (b'{"type": "\xff"}', "is no UTF-8 text (byte 10)"),
        (b"[" * 100_000, "nested deeper than 16 levels"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "nested deeper than 16 levels"),
        (b" " * (MAX_BYTES + 1), "is larger than 1024 KiB"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_in_a_sentence(content: bytes, said: str) -> None:
    """Whatever is wrong with the file as a whole is said; size, depth and numbers are bounded."""
    with pytest.raises(MappingError) as caught:
        parse_mapping(content, "water.json")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("", "../water.json", "/etc/water.json", "a/b.json", "a\\b.json", ".hidden", "x" * 200, "a\0.json"),
        *(
            "a\nb",
            "\x1b[2J.json",
            "\x9b2J.json",
            "nosj.\u202egp",
            "a\u200b.json",
            "a\u2028b.json",
            "\udcff.json",
        ),
    ],
)
def test_a_name_is_no_path(name: str) -> None:
    """The name of a mapping file can lead nowhere, and looks like what it is."""
    with pytest.raises(MappingError, match="is no name for a mapping file"):
        parse_mapping(json.dumps(EXAMPLE), name)


def test_one_code_is_mapped_once() -> None:
    """Two entries for one code and class are refused, naming both."""
    entry = EXAMPLE["entries"][0]
    with pytest.raises(MappingError) as caught:
        parse({**EXAMPLE, "entries": [entry, {**entry, "mbusKeys": ["mbus.dib.0413.unmodifiedvalue"]}]})
    assert caught.value.path == "entries[1].dlmsObisCode"
    assert "entries[0]" in caught.value.reason


def test_one_code_may_have_alternatives_with_another_unit_or_scaler() -> None:
    """A register may be given in Wh or J, or in a finer step; a data object has no alternatives."""
    entry = EXAMPLE["entries"][0]
    other_unit, finer = {**entry, "dlmsUnit": 19}, {**entry, "dlmsScaler": -6}
    file = parse({**EXAMPLE, "entries": [entry, other_unit, finer]})
    assert (len(file.entries), file.obis_codes) == (3, 1)
    data = [{**item, "dlmsClass": "data"} for item in (entry, finer)]
    with pytest.raises(MappingError, match="is mapped by entries"):
        parse({**EXAMPLE, "entries": data})


@pytest.mark.parametrize(
    ("class_name", "data_type", "default", "encoded"),
    [
        ("register", 6, "85946", "0600014fba"),
        ("register", 5, "-1", "05ffffffff"),
        ("register", 20, 7, "140000000000000007"),
        ("register", 23, "1.5", "173fc00000"),
        ("register", 24, 0, "180000000000000000"),
        ("data", 3, "true", "03ff"),
        ("data", 4, "101", "0403a0"),
        ("data", 9, "n/a", "09036e2f61"),
        ("data", 10, 12, "0a023132"),
        ("data", 12, "é", "0c02c3a9"),
        ("data", 22, 255, "16ff"),
        ("data", 26, "2016-01-06", "1a07e0010603"),
        ("data", 27, "16:50:00", "1b103200ff"),
        ("data", 25, "2016-01-06 16:50:00", "1907e0010603103200ff8000ff"),
        ("clock", 25, "2016-01-06 16:50:00", "090c07e0010603103200ff8000ff"),
    ],
)
def test_a_default_value_has_the_data_type_of_its_entry(
    class_name: str, data_type: int, default: object, encoded: str
) -> None:
    """Text or number, the default is what a client gets, encoded on import."""
    document = changed(dlmsClass=class_name, dlmsDataType=data_type, dlmsDefaultValue=default)
    value = parse(document).entries[0].default
    assert value is not None
    assert value.hex() == encoded


def test_an_entry_with_a_default_needs_no_key() -> None:
    """A constant can be shown without any M-Bus key."""
    assert parse(changed(mbusKeys=[], dlmsDefaultValue="5")).entries[0].keys == ()


def test_a_byte_order_mark_does_not_matter() -> None:
    """Files written on Windows are read."""
    assert parse_mapping(b"\xef\xbb\xbf" + json.dumps(EXAMPLE).encode(), "water.json").type == "water"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_mapping_error(content: bytes) -> None:
    """Whatever the bytes, the answer is a mapping or a `MappingError`."""
    with pytest.raises(MappingError):
        parse_mapping(content, "water.json")


@given(st.sampled_from(sorted(EXAMPLE)), json_values)
def test_no_file_property_raises_anything_but_a_mapping_error(key: str, value: object) -> None:
    """Any JSON in place of any property of the file is accepted or refused by name."""
    file = parse_or_refuse({**EXAMPLE, key: value})
    assert file is None or json.loads(dump(file))[key] == value


@given(st.sampled_from(sorted(EXAMPLE["entries"][0])), json_values)
def test_no_entry_property_raises_anything_but_a_mapping_error(key: str, value: object) -> None:
    """Any JSON in place of any property of an entry is accepted or refused by name."""
    file = parse_or_refuse(changed(**{key: value}))
    assert file is None or json.loads(dump(file))["entries"][0][key] == value

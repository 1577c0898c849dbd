"""A mapped value is exactly what the meter sent, or missing with a reason: never wrong by a factor."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.dlms import axdr
from core.dlms.axdr import Tag
from core.mapping.engine import MappedValue, Readout, columns, evaluate, histories, objects, record_of
from core.mapping.model import MappingFile
from core.mapping.simplified import Site
from core.mbus.telegram import Telegram, decode
from tests.conftest import TELEGRAMS

MakeTelegram = Callable[..., Telegram]
MakeMapping = Callable[..., MappingFile]

VOLUME = "mbus.dib.volume.0.0.0.0.unmodifiedvalue"


def one(file: MappingFile, site: Site, *telegrams: Telegram) -> MappedValue:
    (value,) = evaluate(file, Readout(telegrams, 0), site)
    return value


def content(value: MappedValue) -> object:
    assert value.encoded is not None, value.error
    return axdr.decode(value.encoded).content


def test_equal_exponents_give_the_raw_number(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """85.946 m3 in 10^-3 is 85946 under scaler -3, in the data type of the entry."""
    value = one(mapping({}), site, telegram("0c1346590800", status=4))
    assert value.encoded == axdr.double_long_unsigned(85946)
    assert (value.error, value.from_default, value.status) == ("", False, 4)
    assert (value.object.scaler, value.object.unit, value.object.held) == (-3, 13, True)
    assert value.record is not None
    assert value.record.dib == "0c13"


@pytest.mark.parametrize("ending", ["unmodifiedvalue", "value"])
@pytest.mark.parametrize(
    ("records", "number"),
    [("0c1601000000", 1000), ("0c1501000000", 100), ("0c1401000000", 10), ("0c1201000000", None)],
)
def test_another_power_of_ten_is_converted_exactly_or_not_at_all(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site, records: str, number: int | None, ending: str
) -> None:
    """The exponent trap: the raw number 1 means 1000, 100 or 10 under scaler -3, and 10^-4 m3 is none at all."""
    file = mapping({"mbusKeys": [VOLUME.replace("unmodifiedvalue", ending)]})
    value = one(file, site, telegram(records))
    if number is None:
        assert value.encoded is None
        assert value.error == "1 in the telegram is no whole number at scaler -3"
    else:
        assert content(value) == number


def test_a_finer_number_that_happens_to_be_whole_is_shown(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """20 x 10^-4 m3 are exactly 2 x 10^-3 m3."""
    assert content(one(mapping({}), site, telegram("0c1220000000"))) == 2


def test_a_number_beyond_the_data_type_is_missing(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """Nothing wraps around: too large and negative numbers are refused with the reason."""
    small = mapping({"dlmsDataType": 18, "dlmsDefaultValue": "7"})
    value = one(small, site, telegram("0c1300001000"))
    assert (value.encoded, value.from_default) == (axdr.long_unsigned(7), True)
    assert "does not fit into the data type long-unsigned" in value.error
    assert one(mapping({}), site, telegram("0413ffffffff")).encoded is None


@pytest.mark.parametrize(
    ("record", "scaler", "tag"),
    [("055b2b4bac41", 0, Tag.FLOAT32), ("055b2b4bac41", -2, Tag.FLOAT64), ("0559cdcc0c42", -3, Tag.FLOAT64)],
)
def test_floats_stay_floats(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site, record: str, scaler: int, tag: Tag
) -> None:
    """As sent where the power of ten is the entry's, else float64 of the exact decimal, whatever the entry's type."""
    key = "mbus.dib.flow-temp.0.0.0.0.unmodifiedvalue"
    file = mapping({"mbusKeys": [key], "dlmsUnit": 9, "dlmsScaler": scaler, "dlmsDataType": 5})
    value = one(file, site, telegram(record))
    assert value.encoded is not None
    assert value.record is not None
    shown = axdr.decode(value.encoded)
    assert shown.tag is tag
    if tag is Tag.FLOAT32:
        assert shown.content == value.record.raw
    else:
        assert isinstance(value.record.value, Decimal)
        assert shown.content == float(value.record.value.scaleb(-scaler))


def test_an_integer_can_be_shown_as_float_on_demand(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """An entry that asks for float64 at scaler 0 gets 85.946."""
    file = mapping({"dlmsDataType": 24, "dlmsScaler": 0})
    assert one(file, site, telegram("0c1346590800")).encoded == axdr.float64(85.946)


@pytest.mark.parametrize(
    ("raw", "data_type", "encoded"),
    [
        (16_777_217, 23, None),
        (16_777_216, 23, axdr.float32(16_777_216)),
        (123_456_784, 23, axdr.float32(123_456_784)),
        (123_456_789, 23, None),
        (123_456_789, 24, axdr.float64(123_456.789)),
    ],
)
def test_a_float_that_would_round_the_number_is_not_shown(
    telegram: MakeTelegram,
    mapping: MakeMapping,
    site: Site,
    raw: int,
    data_type: int,
    encoded: bytes | None,
) -> None:
    """A float32 has room for 7 digits: a counter with more of them would be wrong by some litres."""
    file = mapping({"dlmsDataType": data_type, "dlmsScaler": -3 if data_type == 23 else 0})
    assert one(file, site, telegram(f"0413 {raw.to_bytes(4, 'little').hex()}")).encoded == encoded


def test_units_of_a_heat_cost_allocator_follow_the_scaler(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """VIF 6E counts whole units: 123 are 1230 tenths, not 12.3. Only a maker's own number is taken as it is."""
    key = "mbus.dib.hca-units.0.0.0.0.unmodifiedvalue"
    file = mapping({"mbusKeys": [key, "mbus.dib.04ff01.unmodifiedvalue"], "dlmsUnit": 255, "dlmsScaler": -1})
    assert content(one(file, site, telegram("036e 7b0000"))) == 1230
    assert content(one(file, site, telegram("04ff01 7b000000"))) == 123


def test_an_alternative_in_the_meters_own_unit_goes_before_one_that_must_be_converted(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """Hours stay hours where the file has an entry for them, though 3600 s would be right too."""
    entry = {"mbusKeys": ["mbus.dib.op-time.0.0.0.0.unmodifiedvalue"], "dlmsScaler": 0}
    file = mapping({**entry, "dlmsUnit": 7}, {**entry, "dlmsUnit": 5})
    value = one(file, site, telegram("0426 05000000"))
    assert (value.object.unit, content(value)) == (5, 5)


@pytest.mark.parametrize(
    ("record", "quantity", "unit", "scaler", "number"),
    [
        ("0c06 05000000", "energy", 30, 3, 5),
        ("04fb01 05000000", "energy", 30, 0, 5_000_000),
        ("0c0e 05000000", "energy", 25, 0, 5_000_000),
        ("0c0e 05000000", "energy", 30, 0, None),  # J is no Wh
        ("0c06 05000000", "energy", 13, 0, None),
        ("0c2b 05000000", "power", 26, 0, None),  # W is no J/h
        ("0c43 05000000", "volume-flow", 15, -3, 30),  # 5 x 10^-4 m3/min
        ("0c4b 05000000", "volume-flow", 15, -3, 18),  # 5 x 10^-6 m3/s
        ("0c26 05000000", "op-time", 7, 0, 18000),
        ("0c27 05000000", "op-time", 5, 0, 120),
        ("0c24 59000000", "op-time", 6, 0, None),  # 59 s are no whole minute
        ("0c24 60000000", "op-time", 6, 0, 1),
        ("0c13 05000000", "volume", 19, 0, 5),  # 5 l
        ("0a61 1800", "temp-diff", 52, -2, 18),
        ("0a61 1800", "temp-diff", 9, -2, 18),  # a difference in °C
        ("0a5a 1800", "flow-temp", 52, -1, None),  # a temperature in °C is no difference
        ("0c69 05000000", "pressure", 23, 0, 5000),  # 5 x 10^-2 bar
        ("0c13 05000000", "volume", 255, -3, 5),  # a unit that says nothing contradicts nothing
    ],
)
def test_units_of_one_kind_are_converted_and_others_refused(
    telegram: MakeTelegram,
    mapping: MakeMapping,
    site: Site,
    record: str,
    quantity: str,
    unit: int,
    scaler: int,
    number: int | None,
) -> None:
    """Only factors that are exact by definition; a unit of another kind is no value but a reason."""
    key = f"mbus.dib.{quantity}.0.0.0.0.unmodifiedvalue"
    file = mapping({"mbusKeys": [key], "dlmsUnit": unit, "dlmsScaler": scaler})
    value = one(file, site, telegram(record))
    if number is None:
        assert value.encoded is None
        assert "cannot become" in value.error or "no whole number" in value.error
    else:
        assert content(value) == number


def test_a_makers_own_vif_is_what_the_entry_says(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """A record without unit and power of ten is the raw number under the entry's scaler and unit."""
    value = one(mapping({"mbusKeys": ["mbus.dib.04ff12.unmodifiedvalue"]}), site, telegram("04ff1205000000"))
    assert (content(value), value.object.scaler, value.object.unit) == (5, -3, 13)


def test_the_first_key_that_the_telegram_holds_is_used(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """The order is that of the keys, not that of the records; several records of one DIB: the first."""
    file = mapping({"mbusKeys": ["mbus.dib.0c13.unmodifiedvalue", "mbus.dib.0413.unmodifiedvalue"]})
    assert content(one(file, site, telegram("0413010000000c13020000000c1303000000"))) == 2
    assert content(one(file, site, telegram("041301000000"))) == 1


def test_texts_of_a_maker_that_differ_in_case_are_told_apart(mapping: MakeMapping, site: Site) -> None:
    """A real meter sends "C" and "c"; where it sends only one of them, the case does not matter."""
    frame = bytes.fromhex("".join((TELEGRAMS / "EDC.hex").read_text().split()))
    for name, number in (("C", 3571), ("c", 1), ("COM", None)):
        file = mapping({"mbusKeys": [f"mbus.dib.{name}.0.0.0.0.unmodifiedvalue"], "dlmsUnit": 255})
        value = one(file, site, decode(frame))
        assert value.encoded == (None if number is None else axdr.double_long_unsigned(number))


def test_an_invalid_record_counts_as_missing(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """The next key is used, else the default, else nothing: with what the meter says about it."""
    broken = "0c13ee000000"
    both = mapping({"mbusKeys": ["mbus.dib.0c13.unmodifiedvalue", "mbus.dib.4c13.unmodifiedvalue"]})
    assert content(one(both, site, telegram(broken + "4c1305000000"))) == 5
    value = one(mapping({}), site, telegram(broken))
    assert (value.encoded, value.object.held) == (None, True)
    assert value.error
    default = one(mapping({"dlmsDefaultValue": "9"}), site, telegram(broken))
    assert (content(default), default.from_default) == (9, True)


def test_a_key_that_the_meter_lacks_is_no_error(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """The object is not held, and says so."""
    value = one(mapping({}), site, telegram("0c0605000000"))
    assert (value.encoded, value.object.held, value.record) == (None, False, None)
    assert value.error == "the meter sends no such record"


def test_an_entry_selects_its_telegram(telegram: MakeTelegram, mapping: MakeMapping, site: Site) -> None:
    """`mbusTelegram` counts from 0; a telegram that did not come holds nothing."""
    first, second = telegram("0c1301000000"), telegram("0c1302000000", status=8)
    file = mapping({"mbusTelegram": 1})
    value = one(file, site, first, second)
    assert (content(value), value.telegram, value.status) == (2, 1, 8)
    assert one(file, site, first).encoded is None
    assert one(file, site).status is None


def test_storage_tariff_subunit_and_function_are_told_apart(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """A description names exactly one place."""
    made = telegram("0c13010000004c13020000008c1013030000008c4013040000001c1305000000")
    places = {"0.0.0.0": 1, "1.0.0.0": 2, "0.1.0.0": 3, "0.0.1.0": 4, "0.0.0.1": 5}
    for place, number in places.items():
        file = mapping({"mbusKeys": [f"mbus.dib.Volume.{place}.unmodifiedvalue"]})
        assert content(one(file, site, made)) == number


def test_a_description_names_the_record_that_fits_the_unit(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """Of J and Wh under one description each entry takes its own."""
    key = "mbus.dib.energy.0.0.0.0.unmodifiedvalue"
    made = telegram("0c0e010000000c0602000000")
    assert content(one(mapping({"mbusKeys": [key], "dlmsUnit": 30}), site, made)) == 2_000_000


def test_alternatives_show_the_one_that_fits(telegram: MakeTelegram, mapping: MakeMapping) -> None:
    """Of several entries for one code the first that loses nothing is the object, with its unit and scaler."""
    key = "mbus.dib.energy.0.0.0.0.unmodifiedvalue"
    common = {"mbusKeys": [key], "dlmsDataType": 21}
    file = mapping(
        {**common, "dlmsUnit": 30, "dlmsScaler": 0},
        {**common, "dlmsUnit": 30, "dlmsScaler": -3},
        {**common, "dlmsUnit": 25, "dlmsScaler": 0},
    )

    def chosen(*records: str) -> tuple[int | None, int | None]:
        (item,) = objects(file, (telegram("".join(records)),))
        return item.unit, item.scaler

    assert chosen("0c0601000000") == (30, 0)
    assert chosen("0c0101000000") == (30, -3)
    assert chosen("0c0e01000000") == (25, 0)
    assert chosen("0c0e01000000", "0c0601000000") == (30, 0)
    assert chosen("0c1301000000") == (30, 0)


@pytest.mark.parametrize(
    ("record", "data_type", "encoded"),
    [
        ("0c7825029904", 10, axdr.visible_string("04990225")),  # a number plate keeps its zeros
        ("0c7825029904", 12, axdr.utf8_string("04990225")),
        ("0c7825029904", 9, axdr.octet_string(b"04990225")),
        ("0d7803433242", 10, axdr.visible_string("B2C")),
        ("01fd1705", 3, axdr.boolean(True)),
        ("01fd1705", 4, axdr.bit_string("10100000")),  # bit 0 comes first
        ("01fd1705", 22, axdr.enum(5)),
        ("426c0621", 9, axdr.octet_string(bytes.fromhex("07e0010603"))),
        ("426c0621", 26, bytes.fromhex("1a07e0010603")),
        ("426c0621", 25, bytes.fromhex("1907e0010603ffffffff8000ff")),
        ("426c0621", 10, axdr.visible_string("2016-01-06")),
        ("046d32100621", 9, axdr.octet_string(bytes.fromhex("07e0010603103200ff8000ff"))),
        ("046d32100621", 27, bytes.fromhex("1b103200ff")),
        ("046d32100621", 10, axdr.visible_string("2016-01-06 16:50:00")),
        ("046d32100621", 6, None),
        ("0d7803433242", 6, None),
        ("426c0621", 27, None),
        ("426c0621", 3, None),
    ],
)
def test_data_objects_have_texts_times_and_flags(
    telegram: MakeTelegram,
    mapping: MakeMapping,
    site: Site,
    record: str,
    data_type: int,
    encoded: bytes | None,
) -> None:
    """Each kind of record in each data type that can hold it; otherwise a reason."""
    made = telegram(record)
    entry = {
        "dlmsClass": "data",
        "dlmsScaler": 0,
        "dlmsDataType": data_type,
        "mbusKeys": [f"mbus.dib.{made.records[0].dib}.unmodifiedvalue"],
    }
    value = one(mapping(entry), site, made)
    assert value.encoded == encoded
    assert bool(value.error) == (encoded is None)
    assert (value.object.scaler, value.object.unit) == (None, None)


def test_raw_and_scaled_texts_differ(telegram: MakeTelegram, mapping: MakeMapping, site: Site) -> None:
    """`.unmodifiedvalue` is the number as sent, `.value` the one in the unit of the VIF."""
    made = telegram("0c1346590800")
    data = {"dlmsClass": "data", "dlmsDataType": 10}
    raw = one(mapping({**data, "mbusKeys": ["mbus.dib.0c13.unmodifiedvalue"]}), site, made)
    scaled = one(mapping({**data, "mbusKeys": ["mbus.dib.0c13.value"]}), site, made)
    assert (content(raw), content(scaled)) == ("85946", "85.946")


def test_a_clock_shows_the_meters_time(telegram: MakeTelegram, mapping: MakeMapping, site: Site) -> None:
    """Class clock gives date-time in an octet-string, and refuses what is no time."""
    clock = {"dlmsClass": "clock", "dlmsDataType": 25, "dlmsObisCode": "0.1.1.0.0.255"}
    file = mapping({**clock, "mbusKeys": ["mbus.dib.046d.unmodifiedvalue"]})
    value = one(file, site, telegram("046d32100621"))
    assert value.encoded == axdr.octet_string(bytes.fromhex("07e0010603103200ff8000ff"))
    wrong = mapping({**clock, "mbusKeys": ["mbus.dib.0c13.unmodifiedvalue"]})
    assert one(wrong, site, telegram("0c1301000000")).encoded is None


def test_rows_are_the_values_of_each_readout(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """The bulk path gives what single reads give, null where nothing is, for telegrams of several structures."""
    file = mapping(
        {},
        {
            "mbusKeys": ["mbus.dib.0b3b.unmodifiedvalue"],
            "dlmsObisCode": "8.0.2.0.0.255",
            "dlmsUnit": 15,
            "dlmsDefaultValue": 0,
        },
    )
    readouts = [
        Readout((telegram("0c13465908000b3b270100"),), 0),
        Readout((telegram("0b3b280100"),), 1),
        Readout((telegram("0c13ee5908000b3b290100"),), 2),
        Readout((telegram("041505000000"),), 3),
        Readout((telegram("041001000000"),), 4),
        Readout((), 5),
    ]
    chosen = objects(file, readouts[0].telegrams)
    rows = columns(chosen, readouts, site)
    volume, flow = axdr.double_long_unsigned, axdr.double_long_unsigned
    assert rows == [
        (volume(85946), flow(127)),
        (axdr.NULL, flow(128)),
        (axdr.NULL, flow(129)),
        (volume(500), flow(0)),
        (axdr.NULL, flow(0)),
        (axdr.NULL, flow(0)),
    ]
    for row, readout in zip(rows, readouts, strict=True):
        single = evaluate(file, readout, site)
        assert row == tuple(value.encoded or axdr.NULL for value in single)


HISTORY = {"dlmsClass": "profile_generic", "dlmsObisCode": "8.0.99.1.0.255"}


@pytest.mark.parametrize(
    ("profile", "others", "captured"),
    [
        ({}, [{}], 0),
        ({"mbusKeys": ["MBUS.dib.volume.0.0.0.0.UnmodifiedValue "]}, [{}], 0),
        ({"mbusKeys": ["mbus.dib.0c78.value", VOLUME]}, [{}], 0),
        (
            {"mbusKeys": ["mbus.dib.0c13.value", VOLUME]},
            [{}, {"mbusKeys": ["mbus.dib.0c13.value"], "dlmsClass": "data"}],
            0,
        ),
        ({}, [{"dlmsClass": "data"}, {}], 0),
        ({}, [{"dlmsClass": "extended_register"}, {}], 0),
        (
            {},
            [{"dlmsClass": "clock", "dlmsDataType": 25}, {}],
            1,
        ),  # the time that a meter tells is no reading
        ({}, [{"mbusKeys": ["mbus.dib.0c13.unmodifiedvalue"]}, {"dlmsClass": "data"}], 1),
        ({}, [{"mbusTelegram": 1}, {"dlmsClass": "data"}], 1),
        ({}, [{"dlmsClass": "profile_generic", "dlmsObisCode": "8.0.99.2.0.255"}, {}], 1),
        ({}, [{"mbusTelegram": 1}], None),
        ({"mbusKeys": ["mbus.dib.volume.1.0.0.0.unmodifiedvalue"]}, [{}], None),
        ({}, [], None),
    ],
)
def test_a_profile_captures_the_first_object_that_reads_its_key(
    telegram: MakeTelegram,
    mapping: MakeMapping,
    profile: dict[str, Any],
    others: list[dict[str, Any]],
    captured: int | None,
) -> None:
    """Data, register or extended register of the same telegram; the profile itself is no object with a value."""
    file = mapping(*others, {**HISTORY, **profile})
    shown = objects(file, (telegram("0c1346590800"),) * 2)
    assert all(item.class_id != 7 for item in shown)
    entries = [item.entry for item in shown]
    found = {profile.index: entry.index for profile, entry in histories(file, entries).items()}
    assert found.get(len(others)) == captured


def test_an_object_that_the_meter_does_not_show_has_no_history(mapping: MakeMapping) -> None:
    """The next one that reads the same key takes its place; without any there is no profile."""
    file = mapping({}, {"dlmsObisCode": "8.0.1.0.1.255"}, HISTORY)
    first, second, _ = file.entries
    assert list(histories(file, (first, second)).values()) == [first]
    assert list(histories(file, (second,)).values()) == [second]
    assert histories(file, ()) == {}


def test_each_mapped_record_knows_its_object(telegram: MakeTelegram, mapping: MakeMapping) -> None:
    """A record is shown by the first object whose key names it."""
    made = telegram("0b3b2701000c1346590800")
    shown = record_of(objects(mapping({}), (made,)), (made,))
    assert {place: item.entry.obis_text for place, item in shown.items()} == {(0, 1): "8.0.1.0.0.255"}


def test_a_simplified_line_as_number_is_refused(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """A text line does not fit a number, and says which types it fits."""
    value = one(mapping({"mbusKeys": ["mbus.frame.raw"]}), site, telegram("0c1301000000"))
    assert (value.encoded, value.error) == (None, "a text does not fit data type 6, use 9, 10 or 12")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.integers(-(2**31) + 1, 2**31 - 1),
    code=st.integers(0, 7),
    scaler=st.integers(-9, 6),
    data_type=st.sampled_from([5, 6, 15, 16, 17, 18, 20, 21, 22]),
)
def test_no_integer_is_ever_wrong(
    telegram: MakeTelegram,
    mapping: MakeMapping,
    site: Site,
    raw: int,
    code: int,
    scaler: int,
    data_type: int,
) -> None:
    """For any number, power of ten, scaler and integer type: exactly the same quantity, or no value."""
    made = telegram(f"04{0x10 + code:02x}" + struct.pack("<i", raw).hex())
    value = one(mapping({"dlmsScaler": scaler, "dlmsDataType": data_type}), site, made)
    exact = Fraction(raw) * Fraction(10) ** (code - 6 - scaler)
    if value.encoded is None:
        assert value.error
        smallest, largest = {
            5: (-(2**31), 2**31 - 1),
            6: (0, 2**32 - 1),
            15: (-128, 127),
            16: (-(2**15), 2**15 - 1),
            17: (0, 255),
            18: (0, 2**16 - 1),
            20: (-(2**63), 2**63 - 1),
            21: (0, 2**64 - 1),
            22: (0, 255),
        }[data_type]
        assert exact.denominator != 1 or not smallest <= exact <= largest
    else:
        assert axdr.decode(value.encoded) == (data_type, exact)

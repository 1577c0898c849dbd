"""Every DLMS data type holds exactly what the meter sent or what the default says, or refuses it with the reason."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.dlms import axdr
from core.mapping.convert import DATA_TYPES, encode_default
from core.mapping.engine import MappedValue, Readout, evaluate
from core.mapping.model import MappingError, MappingFile
from core.mapping.simplified import Site
from core.mbus.telegram import Telegram, decode
from core.mbus.values import shortest
from tests.mbus.telegram_frames import frame

MakeTelegram = Callable[..., Telegram]
MakeMapping = Callable[..., MappingFile]

RANGES = {
    5: (-(2**31), 2**31 - 1),
    6: (0, 2**32 - 1),
    13: (0, 99),
    15: (-128, 127),
    16: (-(2**15), 2**15 - 1),
    17: (0, 255),
    18: (0, 2**16 - 1),
    20: (-(2**63), 2**63 - 1),
    21: (0, 2**64 - 1),
    22: (0, 255),
}
EDGES = sorted({edge + step for span in RANGES.values() for edge in span for step in (-1, 0, 1)})

SENT = [edge for edge in EDGES if -(2**63) < edge < 2**63]  # that a record of 8 bytes can hold


def shown(file: MappingFile, site: Site, telegram: Telegram) -> MappedValue:
    (value,) = evaluate(file, Readout((telegram,), 0), site)
    assert (value.encoded is None) == bool(value.error)
    return value


def number(encoded: bytes) -> Fraction:
    """What a client takes it for: of a bcd octet its two digits, of a float the shortest decimal that names it."""
    value = axdr.decode(encoded)
    assert isinstance(value.content, int | float)
    if value.tag is axdr.Tag.BCD:
        return Fraction(f"{value.content:02x}")
    if value.tag is axdr.Tag.FLOAT32:
        return Fraction(shortest(value.content))
    return Fraction(repr(value.content))


@pytest.mark.parametrize("data_type", [*range(30), 255])
def test_the_types_of_a_meters_value_are_accepted_and_no_other(mapping: MakeMapping, data_type: int) -> None:
    """Null, arrays, structures, delta types and what has no meaning are refused with a sentence that names the rest."""
    if data_type in (3, 4, 5, 6, 9, 10, 12, 13, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27):
        assert mapping({"dlmsDataType": data_type}).entries[0].data_type == data_type
        return
    with pytest.raises(MappingError, match=rf"dlmsDataType: must be the tag of .*\(3, 4, .*not {data_type}$"):
        mapping({"dlmsDataType": data_type})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.integers(-(2**63) + 1, 2**63 - 1) | st.sampled_from(SENT),
    data_type=st.sampled_from(sorted(RANGES)),
)
def test_an_integer_is_exact_up_to_the_last_number_that_fits(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site, raw: int, data_type: int
) -> None:
    """Sign and range of each type: the number itself, or none."""
    made = telegram("0713" + struct.pack("<q", raw).hex())
    value = shown(mapping({"dlmsDataType": data_type}), site, made)
    low, high = RANGES[data_type]
    if low <= raw <= high:
        assert value.encoded is not None
        assert (value.encoded[0], number(value.encoded)) == (data_type, raw)
    else:
        assert "does not fit" in value.error


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.integers(-(2**63) + 1, 2**63 - 1), scaler=st.integers(-8, 3), data_type=st.sampled_from([23, 24])
)
@example(raw=2**53 + 1, scaler=-3, data_type=24)
@example(raw=2**24 + 1, scaler=-3, data_type=23)
def test_an_integer_in_a_float_type_is_exact_or_not_shown(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site, raw: int, scaler: int, data_type: int
) -> None:
    """A float whose shortest decimal is another number would be a wrong value."""
    made = telegram("0713" + struct.pack("<q", raw).hex())
    value = shown(mapping({"dlmsDataType": data_type, "dlmsScaler": scaler}), site, made)
    if value.encoded is None:
        assert "has more digits than data type" in value.error
        assert abs(raw) > (2**24 if data_type == 23 else 2**53) or scaler > -3
    else:
        exact = Fraction(raw) * Fraction(10) ** (-3 - scaler)
        content = axdr.decode(value.encoded).content
        assert isinstance(content, float)
        assert exact in (number(value.encoded), Fraction(content))


@pytest.mark.parametrize(
    ("record", "encoded"),
    [
        ("01fd17 00", axdr.boolean(False)),
        ("01fd17 05", axdr.boolean(True)),  # flags: one is set
        ("02fd17 0080", axdr.boolean(True)),
        ("01fd1b 01", axdr.boolean(True)),
        ("01fd0e 01", axdr.boolean(True)),
        ("01fd0e 02", None),  # a number is no truth
        ("01fd0e ff", None),
        ("055b 0000803f", None),
        ("0d78 01 31", None),
    ],
)
def test_a_boolean_is_made_of_flags_or_of_0_and_1(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site, record: str, encoded: bytes | None
) -> None:
    """Any other number is refused."""
    made = telegram(record)
    entry = {"dlmsClass": "data", "dlmsDataType": 3, "mbusKeys": [f"mbus.dib.{made.records[0].dib}.value"]}
    assert shown(mapping(entry), site, made).encoded == encoded


def test_bit_0_comes_first_whatever_the_order_of_the_bytes(mapping: MakeMapping, site: Site) -> None:
    """A telegram with the most significant byte first (CI 76h) gives the same bit-string."""
    entry = {"dlmsClass": "data", "dlmsDataType": 4, "mbusKeys": ["mbus.dib.02fd17.value"]}
    for application in (
        "72 78563412 2423 25 07 0a000000 02fd17 0180",
        "76 12345678 2324 25 07 0a000000 02fd17 8001",
    ):
        value = shown(mapping(entry), site, decode(frame(application)))
        assert value.encoded == axdr.bit_string("1000000000000001")


def test_a_real_number_keeps_the_type_that_can_name_it(
    telegram: MakeTelegram, mapping: MakeMapping, site: Site
) -> None:
    """As sent in float32, and as the decimal that it stands for in float64."""
    made = telegram("055b 9a99ab41")  # 21.45
    entry = {"mbusKeys": ["mbus.dib.055b.value"], "dlmsUnit": 9, "dlmsScaler": 0}
    assert shown(mapping({**entry, "dlmsDataType": 23}), site, made).encoded == bytes.fromhex("1741ab999a")
    assert shown(mapping({**entry, "dlmsDataType": 24}), site, made).encoded == axdr.float64(21.45)


@given(
    default=st.integers(-(2**65), 2**65) | st.sampled_from(EDGES), data_type=st.sampled_from(sorted(RANGES))
)
def test_a_default_number_is_exact_or_refused(default: int, data_type: int) -> None:
    """As JSON number and as text, which the original has."""
    low, high = RANGES[data_type]
    for form in (default, str(default)):
        if low <= default <= high:
            assert number(encode_default(form, data_type)) == default
        else:
            with pytest.raises(ValueError, match="does not fit into data type"):
                encode_default(form, data_type)


@given(default=st.floats(allow_nan=False, allow_infinity=False))
def test_a_default_float_is_exact_or_refused(default: float) -> None:
    """Always in float64; in float32 if one of its decimals, the full or the shortest, is the one that was written."""
    assert axdr.decode(encode_default(default, 24)).content == default
    wanted = Fraction(repr(default))
    try:
        (content,) = struct.unpack("<f", struct.pack("<f", default))
        fits = wanted in (Fraction(content), Fraction(shortest(content)))
    except OverflowError:
        fits = False
    if fits:
        assert encode_default(default, 23) == axdr.float32(default)
    else:
        with pytest.raises(ValueError, match=r"has more digits than|does not fit"):
            encode_default(default, 23)


@pytest.mark.parametrize(
    ("default", "data_type", "encoded"),
    [
        ("0.1", 23, axdr.float32(0.1)),
        ("1e3", 6, axdr.double_long_unsigned(1000)),
        (2.0, 6, axdr.double_long_unsigned(2)),
        (True, 3, axdr.boolean(True)),
        ("False", 3, axdr.boolean(False)),
        ("0", 3, axdr.boolean(False)),
        ("", 4, axdr.bit_string("")),
        (101, 4, axdr.bit_string("101")),
        ("", 10, axdr.visible_string("")),
        (" n/a ", 10, axdr.visible_string(" n/a ")),
        ("°C", 12, axdr.utf8_string("°C")),
        (7, 9, axdr.octet_string(b"7")),
        ("2016-01-06", 25, bytes.fromhex("1907e0010603000000ff8000ff")),
        ("16:50", 27, bytes.fromhex("1b103200ff")),
    ],
)
def test_a_default_has_the_form_of_its_type(default: Any, data_type: int, encoded: bytes) -> None:
    """Text as the original has it, or what JSON offers."""
    assert encode_default(default, data_type) == encoded


@pytest.mark.parametrize(
    ("default", "data_type", "reason"),
    [
        ("none", 6, "must be a number"),
        ("1.5", 6, "must be a whole number"),
        ("123456789", 23, "has more digits than data type 23"),
        ("1e-60", 23, "has more digits than data type 23"),
        ("9007199254740993", 24, "has more digits than data type 24"),
        ("1e39", 23, "does not fit"),
        ("NaN", 24, "must be a number"),
        ("Infinity", 23, "must be a number"),
        ("1e999999999", 21, "must be a number"),
        ("2", 3, "must be true or false"),
        ("102", 4, "made of 0 and 1"),
        ("2016-02-30", 26, "must be written as 2016-01-06"),
        ("2016-01-06 16:50:00+01:00", 25, "must be written as 2016-01-06 16:50:00"),
        ("16:50:00.5", 27, "must be written as 16:50:00"),
        ("25:00", 27, "must be written as 16:50:00"),
        ([1], 6, "must be a text, a number or null"),
        ({}, 10, "must be a text, a number or null"),
    ],
)
def test_a_default_that_is_not_of_its_type_is_refused(
    mapping: MakeMapping, default: Any, data_type: int, reason: str
) -> None:
    """On import, with its place in the file; never a rounded or clipped one."""
    with pytest.raises(MappingError, match=reason) as refused:
        mapping({"dlmsDataType": data_type, "dlmsDefaultValue": default})
    assert refused.value.path == "entries[0].dlmsDefaultValue"


def test_each_type_has_a_row_here() -> None:
    """A type that is added comes with its range."""
    assert set(RANGES) | {3, 4, 9, 10, 12, 23, 24, 25, 26, 27} == set(DATA_TYPES)

"""Values as people read them."""

from __future__ import annotations

import pytest

from cme_tui.hes import values

LITRES, WATT_HOURS, COUNT = 13, 30, 255


def octets(raw: bytes) -> dict[str, str]:
    return {"octets": raw.hex()}


@pytest.mark.parametrize(
    ("value", "scaler", "unit", "shown"),
    [
        (85962, -3, LITRES, "85.962 m³"),
        (-12, 6, WATT_HOURS, "-12000000 Wh"),
        (9007199254740993, -3, LITRES, "9007199254740.993 m³"),
        (1.5, -1, LITRES, "0.15 m³"),
        (7, 0, COUNT, "7"),
        (None, -3, LITRES, "null"),
    ],
)
def test_a_number_is_scaled_exactly(value: object, scaler: int, unit: int, shown: str) -> None:
    """No digit is lost to binary fractions, and what is no number is not made one."""
    assert values.scaled(value, scaler, unit) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (octets(b"ELV0016000000"), "ELV0016000000"),
        (octets(bytes.fromhex("454c560000f42400")), "454c560000f42400"),
        (octets(b""), '""'),
        ("", '""'),
        ([7, octets(bytes((1, 0, 99, 1, 0, 255))), 2], "[7, 1.0.99.1.0.255, 2]"),
        (octets(bytes.fromhex("07e9060f0711062800ff8880")), "2025-06-15 15:06:40Z"),
        (octets(bytes.fromhex("ffffffffffffffffff8000ff")), "ffffffffffffffffff8000ff"),
        ([1, octets(b"A"), [True, None]], "[1, A, [true, null]]"),
    ],
)
def test_octet_strings_are_letters_times_or_hex(value: object, shown: str) -> None:
    """What a HES stores in octet strings is told by its content."""
    assert values.text(value) == shown


def test_a_logical_name_is_an_obis_code_in_attribute_1_only() -> None:
    """Six letters of a name are not taken for a code."""
    assert values.meaning(3, 1, octets(bytes((8, 0, 1, 0, 0, 101)))) == "8.0.1.0.0.101"
    assert values.meaning(1, 2, octets(b"FIRMWA")) == "FIRMWA"


def test_a_column_is_named_by_its_object() -> None:
    """The attribute is named only where it is not the value."""
    name = octets(bytes((8, 0, 1, 0, 0, 255)))
    assert values.column_text([3, name, 2, 0]) == "8.0.1.0.0.255"
    assert values.column_text([4, name, 5, 0]) == "8.0.1.0.0.255/5"

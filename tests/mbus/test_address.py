"""Meter addresses: their texts, their bytes, and which meter they mean."""

from __future__ import annotations

import pytest

from core.mbus.address import AddressError, PrimaryAddress, SecondaryAddress, parse_address

HYD = SecondaryAddress("12345678", "HYD", 0x25, 0x07)


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "250",
        "0",
        "254",
        "12345678",
        "12345678.HYD.25.07",
        "1234FFFF.*.*.07",
        "FFFFFFFF",
        "12345678.HYD.25.07+00012345",
        "12345678+FFFF2345",
        "9ABCDEF0",
    ],
)
def test_text_survives_the_round_trip(text: str) -> None:
    """`str` of a parsed address is the text it came from."""
    assert str(parse_address(text)) == text


def test_short_and_lower_case_forms_are_understood() -> None:
    """Case and blanks do not matter, and fields left out at the end are open."""
    assert parse_address(" 12345678.hyd.25.07 ") == HYD
    assert parse_address("12345678.HYD") == SecondaryAddress("12345678", "HYD")
    assert parse_address("007") == PrimaryAddress(7)


@pytest.mark.parametrize(
    "text",
    ["", "251", "253", "255", "-1", "1234", "123456789", "12345678.HY.25.07", "12345678.HYD.FF.07",
     "12345678.HYD.5.07", "12345678.HYD.25.07.1", "1234567G", "٣",
     "12345678+", "12345678+1234", "5+00012345", "12345678.HYD.25.07+0001234G", "12345678+1+1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """Reserved and malformed addresses give a sentence, not a surprise."""
    with pytest.raises(AddressError):
        parse_address(text)


def test_wire_form_is_least_significant_first() -> None:
    """Eight bytes as in a telegram header, and back."""
    assert HYD.to_bytes() == bytes.fromhex("7856341224232507")
    assert SecondaryAddress.from_header(HYD.to_bytes()) == HYD
    assert SecondaryAddress.from_header(b"\xff" * 8) == SecondaryAddress("FFFFFFFF")
    assert SecondaryAddress.from_header(bytes.fromhex("7856341200002507")).manufacturer is None


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("12345678", True),
        ("1234FFFF.HYD", True),
        ("F2345678.*.*.07", True),
        ("12345678.ELV.25.07", False),
        ("12345678.HYD.26.07", False),
        ("12345679", False),
        ("F3345678", False),
    ],
)
def test_wildcards_mean_any_digit_or_field(wanted: str, meant: bool) -> None:
    """A slave is selected if every digit and field that is given is its own."""
    address = parse_address(wanted)
    assert isinstance(address, SecondaryAddress)
    assert address.matches(HYD.to_bytes()) is meant
    assert address.agrees(HYD) is meant
    assert HYD.agrees(address) is meant


def test_fabrication_number_is_compared_where_both_have_one() -> None:
    """It is no part of the header, and F stands for any digit in it, too."""
    mine = parse_address("12345678.HYD.25.07+00012345")
    assert isinstance(mine, SecondaryAddress)
    assert mine.to_bytes() == HYD.to_bytes()
    assert mine.agrees(HYD)
    assert HYD.agrees(mine)
    for text, agrees in (
        ("12345678+0001234F", True),
        ("12345678+00012346", False),
        ("12345679+00012345", False),
    ):
        other = parse_address(text)
        assert isinstance(other, SecondaryAddress)
        assert mine.agrees(other) is agrees


def test_only_a_complete_address_is_exact() -> None:
    """A wildcard anywhere may mean several meters."""
    assert HYD.exact
    assert not SecondaryAddress("12345678").exact
    assert not SecondaryAddress("1234567F", "HYD", 0x25, 0x07).exact

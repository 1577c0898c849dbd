"""A-XDR: what is encoded is what the Green Book says, and no bytes make the decoder run away."""

from __future__ import annotations

import random

import pytest

from core.dlms import axdr
from core.dlms.axdr import Tag, Value
from core.dlms.errors import DecodeError, EncodeError


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (axdr.NULL, "00"),
        (axdr.boolean(True), "03ff"),
        (axdr.boolean(False), "0300"),
        (axdr.integer(-1), "0fff"),
        (axdr.unsigned(255), "11ff"),
        (axdr.long(-2), "10fffe"),
        (axdr.long_unsigned(4660), "121234"),
        (axdr.double_long(-1), "05ffffffff"),
        (axdr.double_long_unsigned(3232235778), "06c0a80102"),
        (axdr.long64(-1), "14ffffffffffffffff"),
        (axdr.long64_unsigned(1), "150000000000000001"),
        (axdr.enum(13), "160d"),
        (axdr.bcd(0x12), "0d12"),
        (axdr.float32(1.5), "173fc00000"),
        (axdr.float64(1.5), "183ff8000000000000"),
        (axdr.octet_string(b"\x01\x02"), "09020102"),
        (axdr.visible_string("m³"), "0a036dc2b3"),
        (axdr.utf8_string("m³"), "0c036dc2b3"),
        (axdr.bit_string("1010000001"), "040aa040"),
        (axdr.structure(axdr.integer(-3), axdr.enum(13)), "02020ffd160d"),
        (axdr.array([axdr.NULL, axdr.NULL]), "01020000"),
    ],
)
def test_values_are_encoded_as_the_green_book_says(encoded: bytes, text: str) -> None:
    """Tag, length in bytes (bit-string: in bits), contents."""
    assert encoded.hex() == text


@pytest.mark.parametrize("exponent", [3, 6, 9, 12, -3, -6, -128, 127])
def test_scaler_exponents_stay_the_integers_they_are(exponent: int) -> None:
    """No way over floating point, where 10^3 has become 2 before."""
    assert axdr.decode(axdr.integer(exponent)) == Value(Tag.INTEGER, exponent)


@pytest.mark.parametrize(
    ("encode", "value"),
    [(axdr.integer, 128), (axdr.unsigned, -1), (axdr.long, 40000), (axdr.double_long_unsigned, 1 << 32)],
)
def test_a_number_that_does_not_fit_is_refused(encode: object, value: int) -> None:
    """Never a value that is cut off."""
    with pytest.raises(EncodeError, match="does not fit"):
        encode(value)  # type: ignore[operator]


@pytest.mark.parametrize("count", [0, 127, 128, 255, 256, 65535, 65536])
def test_lengths_of_every_form_come_back(count: int) -> None:
    """One byte below 128, else a count of bytes and the bytes."""
    assert axdr.decode(axdr.octet_string(bytes(count))) == Value(Tag.OCTET_STRING, bytes(count))


def test_everything_that_is_encoded_is_decoded_again() -> None:
    """A value of every data type, in one structure."""
    parts = [
        axdr.NULL, axdr.boolean(True), axdr.integer(-5), axdr.unsigned(5),
        axdr.long(-500), axdr.long_unsigned(500),
        axdr.double_long(-70000), axdr.double_long_unsigned(70000), axdr.long64(-(1 << 40)),
        axdr.long64_unsigned(1 << 40), axdr.enum(7), axdr.float32(0.5), axdr.float64(0.1),
        axdr.octet_string(b"ab"),
        axdr.visible_string("cd"), axdr.utf8_string("é"), axdr.bit_string("101"),
        axdr.array([axdr.integer(1)]),
    ]  # fmt: skip
    value = axdr.decode(axdr.structure(*parts))
    assert isinstance(value.content, list)
    assert [item.content for item in value.content] == [
        None, True, -5, 5, -500, 500, -70000, 70000, -(1 << 40), 1 << 40, 7, 0.5, 0.1, b"ab", "cd", "é",
        "101", [Value(Tag.INTEGER, 1)],
    ]  # fmt: skip
    assert axdr.elements(axdr.structure(*parts)) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",  # nothing
        "1201",  # long-unsigned cut short
        "090501",  # octet-string cut short
        "120001ff",  # a byte too many
        "01ff",  # length form that does not exist
        "0184ffffffff",  # 4 thousand million elements
        "0185ffffffffff",  # length of 5 bytes
        "0203000000" + "00",  # a byte behind a structure
        "020300",  # elements missing
        "13020005160f061900af19051601",  # compact array with which another stack hangs
        "0a01ff",  # text that is no text
        "63",  # no data type
        "0101" * 17 + "00",  # nested too deep
    ],
)
def test_malformed_data_is_refused(text: str) -> None:
    """With an error of the codec's own, at once."""
    with pytest.raises(DecodeError):
        axdr.decode(bytes.fromhex(text))


def test_sixteen_levels_of_nesting_are_taken() -> None:
    """The limit is what it says."""
    assert axdr.decode(bytes.fromhex("0101" * 16 + "00")).tag is axdr.Tag.ARRAY


def test_no_bytes_raise_anything_but_a_decode_error() -> None:
    """Twenty thousand random strings, half of them made of tags that exist."""
    source = random.Random(62056)
    tags = [int(tag) for tag in Tag]
    decoded = 0
    for number in range(20_000):
        size = source.randrange(24)
        data = bytes(
            source.choice(tags) if number % 2 and source.random() < 0.5 else source.randrange(256)
            for _ in range(size)
        )
        try:
            axdr.decode(data)
            decoded += 1
        except DecodeError:
            pass
    assert decoded > 100

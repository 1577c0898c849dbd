"""Lists of expected meters, as people make and spreadsheets mangle them."""

from __future__ import annotations

import pytest

from core.serials import MOST_BYTES, SerialsError, parse_serials


@pytest.mark.parametrize(
    "text",
    [
        "12345678\n00012345\n",
        "12345678\r\n\r\n12345\r\n",
        "Serial;Name\n12345678;Flat 1\n12345;Flat 2\n",
        '"name","serial number"\n"Flat 1","12345678"\n"Flat 2","12345"\n',
        "\ufeffserial\tname\n12345678\tFlat 1\n00012345\tFlat 2\n12345678\tagain\n",
    ],
)
def test_one_column_or_several_with_or_without_a_header(text: str) -> None:
    """Any separator, quotes, byte order mark; zeros that a spreadsheet took away are put back."""
    serials = parse_serials(text.encode())
    assert serials.addresses == ("12345678", "00012345")
    assert serials.names in (("", ""), ("Flat 1", "Flat 2"))
    assert serials.names == ("", "") or "Flat" in text
    restored = [note for note in serials.notes if "zeros" in note]
    assert bool(restored) == ("00012345" not in text)


def test_whole_secondary_addresses_are_taken() -> None:
    """Also in a file that a spreadsheet wrote in UTF-16."""
    serials = parse_serials("12345678.hyd.25.07;cellar\n1234567A;roof\n".encode("utf-16"))
    assert serials.addresses == ("12345678.HYD.25.07", "1234567A")
    assert serials.names == ("cellar", "roof")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"serial\n12345678\n123456789\nabc\n", r"line 3: '123456789'.*line 4: 'abc'"),
        (b"12345678\n;\nx;y\n", "line 3"),
        (b"1" * (MOST_BYTES + 1), "larger than 1 MiB"),
        (b"12345678\n" + b'"' + b"x" * 140_000 + b'"\n', "no CSV in line"),
    ],
)
def test_what_is_no_serial_is_named_with_its_line(data: bytes, said: str) -> None:
    """All of them at once, and nothing is taken."""
    with pytest.raises(SerialsError, match=said):
        parse_serials(data)


def test_a_list_is_bounded() -> None:
    """No file makes a search endless."""
    with pytest.raises(SerialsError, match="5000 can be expected"):
        parse_serials("\n".join(f"{number:08d}" for number in range(5001)).encode())

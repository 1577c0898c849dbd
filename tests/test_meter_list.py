"""Lists of meters as CSV: what spreadsheets make of them is understood, and every mistake is told."""

from __future__ import annotations

import pytest

from core.config import Config, LineConfig, MeterConfig
from core.config_tables import InstalledAt
from core.interval import Interval
from core.mbus.address import SecondaryAddress
from core.meter_list import MeterListError, plan_import, read_keys, read_meters, written

KEY = "00112233445566778899AABBCCDDEEFF"
CELLAR = Config(lines=(LineConfig(name="cellar"),))


def configs(text: str | bytes) -> list[MeterConfig]:
    data = text if isinstance(text, bytes) else text.encode()
    return [meter.config for meter in read_meters(data).meters]


def problems(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(MeterListError) as caught:
        read_meters(text if isinstance(text, bytes) else text.encode())
    return caught.value.problems


def test_the_columns_of_the_manual_are_read() -> None:
    """As its template has them; the addressing mode says which of two addresses counts."""
    text = (
        "Position;Secondary address;Baud rate;Addressing mode;Primary address\n"
        "flat 1;12345678;2400;Secondary;\n"
        "flat 2;87654321;300;primary;7\n"
        "flat 3;;;;250\n"
    )
    assert configs(text) == [
        MeterConfig(name="flat 1", address="12345678", baud=2400),
        MeterConfig(name="flat 2", address=7, baud=300),
        MeterConfig(name="flat 3", address=250),
    ]


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_what_spreadsheets_save_is_read(delimiter: str, encoding: str) -> None:
    """Separators, byte order marks, quotes, CRLF, blank rows, columns in any order and case."""
    rows = [
        ["SECONDARY ADDRESS", "Name", "line"],
        ["12345678", '"Küche, 1. Stock; ""links"""', "cellar"],
        [""] * 3,
    ]
    text = "\r\n".join(delimiter.join(row) for row in rows) + "\r\n"
    assert configs(text.encode(encoding)) == [
        MeterConfig(line="cellar", name='Küche, 1. Stock; "links"', address="12345678")
    ]


def test_zeros_that_a_spreadsheet_took_away_are_given_back() -> None:
    """An identification has eight digits; one that was rounded is lost, and said to be."""
    assert configs("id\n345678\n'00345679\n345680.hyd.25.07\n") == [
        MeterConfig(address="00345678"),
        MeterConfig(address="00345679"),
        MeterConfig(address="00345680.HYD.25.07"),
    ]
    assert "rounded by a spreadsheet" in problems("id\n1.23457E+7\n")[0]


def test_every_mistake_is_told_at_once_with_its_row() -> None:
    """So that a list is corrected once and not ten times."""
    told = problems(
        "name,secondary address,baud,mode,primary address,interval\n"
        "a,1234567X,,,,\n"
        "b,12345678,1234,,,\n"
        "c,12345678,2400,tertiary,,\n"
        "d,,,secondary,5,\n"
        "e,,,,251,\n"
        "f,12345678,,,,7 min\n"
        "g,12345678,,,,,,too much\n"
        "h,,,,,\n"
    )
    assert [text.partition(":")[0] for text in told] == [f"Row {row}" for row in range(2, 10)]
    for text, word in zip(
        told,
        (
            "1234567X",
            "baud",
            "tertiary",
            "secondary address is missing",
            "251",
            "interval",
            "more columns",
            "missing",
        ),
        strict=True,
    ):
        assert word in text


def test_headings_that_are_not_known_are_told() -> None:
    """With those that are."""
    assert "secondary address, baud rate" in problems("id;colour\n12345678;red\n")[0]
    assert "is there twice" in problems("id;serial number\n12345678;1\n")[0]
    assert "needs headings" in problems("name\nflat\n")[0]
    for text in (b"", b"id\n", b"id\n\x00\x01"):
        assert problems(text)


def test_keys_come_with_the_meters_and_are_never_told() -> None:
    """Wherever they stand: a message of a list with keys can be sent to anybody."""
    grouped = " ".join(KEY[at : at + 8] for at in range(0, 32, 8))
    listed = read_meters(f"id;key\n345678;{KEY}\n12345678;\n".encode())
    assert listed.keys == {"00345678": KEY}
    assert KEY not in repr(listed)
    for text in (
        f"id;key\n12345678;{KEY[:-1]}\n",
        f"id;key\n12345678;{KEY[:-1]}X\n",
        f"id;name\n12345678;{KEY}\n",
        f"id;baud\n12345678;{KEY}\n",
        f"key;id\n12345678;{KEY}\n",
        f"id;key\n{grouped};12345678\n",
        f"id;baud\n12345678;{grouped}\n",
        f"id;{grouped}\n12345678;\n",
        f"primary address;key\n5;{KEY}\n",
        f"12345678;{KEY}\n12345679;{KEY}\n",
        f"id;key\n12345678;{KEY}\n12345678;{KEY[::-1]}\n",
    ):
        told = " ".join(problems(text))
        assert told
        assert KEY[:-1] not in told
        assert grouped[:17] not in told
        assert KEY[::-1] not in told


def test_a_list_of_keys_needs_no_headings() -> None:
    """Two columns, as a manufacturer sends them; blanks between the digits do not count."""
    assert read_keys(f"345678;{KEY}\n".encode()) == {"00345678": KEY}
    spaced = " ".join(KEY[at : at + 2] for at in range(0, 32, 2))
    assert read_keys(f"Key;Serial number\n{spaced};12345678\n".encode()) == {"12345678": KEY}
    for text in (
        f"12345678;{KEY}0\n",
        f"1234FFFF;{KEY}\nid;key\n",
        f"12345678\n{KEY}\n",
        "",
        f"{KEY};12345678\n",
    ):
        with pytest.raises(MeterListError) as caught:
            read_keys(text.encode())
        assert KEY not in str(caught.value)


def test_meters_that_are_there_are_told_from_new_ones_and_from_conflicts() -> None:
    """The same place is no mistake, the same meter at another one is; also two rows for one meter."""
    identity = SecondaryAddress("87654321", "HYD", 0x25, 7)
    installed = [InstalledAt(MeterConfig(line="cellar", address=5), identity)]
    plan = plan_import(read_meters(b"primary address\n5\n6\n"), CELLAR, installed)
    assert [meter.row for meter in plan.present] == [2]
    assert [(meter.row, meter.config.line, meter.config.address) for meter in plan.new] == [(3, "cellar", 6)]
    with pytest.raises(MeterListError) as caught:
        plan_import(read_meters(b"id;line\n87654321;cellar\n1;\n2;attic\n1;\n"), CELLAR, installed)
    told = caught.value.problems
    assert [text.partition(":")[0] for text in told] == ["Row 2", "Row 4", "Row 5"]
    assert "installed at 5 on cellar" in told[0]


def test_what_is_exported_can_be_imported() -> None:
    """Names with separators too; a meter that goes by its primary address still does."""
    meters = [
        MeterConfig(line="cellar", address=5, name="a; b", baud=300, interval=Interval.parse("1 h")),
        MeterConfig(line="cellar", address="12345678.HYD.25.07"),
    ]
    text = written([InstalledAt(meters[0], SecondaryAddress("87654321")), InstalledAt(meters[1])])
    assert "87654321" in text
    assert configs(text) == meters

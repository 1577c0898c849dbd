"""The data types: each comes out exactly, and what stands for "no value" never comes out as a number."""

from __future__ import annotations

import struct
from datetime import date, datetime, time
from decimal import Decimal, localcontext

import pytest
from telegram_frames import long_frame, only_record

from core.mbus import values
from core.mbus.telegram import decode
from core.mbus.values import Coding


@pytest.mark.parametrize(
    ("records", "raw", "value"),
    [
        ("01 13 FF", -1, "-0.001"),
        ("02 13 3412", 4660, "4.660"),
        ("03 13 010080", -8388607, "-8388.607"),
        ("04 13 B64F0100", 85942, "85.942"),
        ("06 13 FFFFFFFFFFFF", -1, "-0.001"),
        ("07 13 FFFFFFFFFFFFFF7F", 2**63 - 1, "9223372036854775.807"),
        ("09 13 99", 99, "0.099"),
        ("0A 13 3412", 1234, "1.234"),
        ("0B 13 563412", 123456, "123.456"),
        ("0C 13 46590800", 85946, "85.946"),
        ("0E 13 214365870921", 210987654321, "210987654.321"),
        ("0B 13 5634F2", -23456, "-23.456"),
        ("0D 13 C3 563412", 123456, "123.456"),
        ("0D 13 D3 563412", -123456, "-123.456"),
        ("0C 06 01000000", 1, "1000"),
        ("01 78 FF", 255, "255"),
        ("02 FD17 FFFF", 65535, "65535"),
    ],
)
def test_whole_numbers_are_exact(records: str, raw: int, value: str) -> None:
    """Integers of every size and BCD with its signs: an exact mantissa, and an exact decimal value."""
    record = only_record(records)
    assert record.raw == raw
    assert type(record.raw) is int
    assert record.value == Decimal(value)
    assert record.value_text == value
    assert record.raw_text == str(raw)
    assert record.error == ""


@pytest.mark.parametrize(
    "records",
    [
        "01 5B 80",
        "02 5B 0080",
        "03 13 000080",
        "04 13 00000080",
        "06 13 000000000080",
        "07 13 0000000000000080",
        "04 78 FFFFFFFF",
        "05 5B 0000C07F",
        "05 5B 0000807F",
        "0C 13 FFFFFFFF",
        "02 6C FFFF",
        "04 6D FFFFFFFF",
        "06 6D FFFFFFFFFFFF",
        "03 6D FFFFFF",
    ],
)
def test_not_available_is_never_a_number(records: str) -> None:
    """The codes for "not available" of every type give no value, and say so."""
    record = only_record(records)
    assert record.raw is None
    assert record.value is None
    assert record.value_text == ""
    assert record.error == values.NOT_AVAILABLE


def test_a_final_dife_of_zero_names_a_register() -> None:
    """Register 1 is not the value at the due date, which has the same storage number."""
    assert only_record("4c 13 34120000").description == "volume"
    register = only_record("cc00 13 34120000")
    assert (register.storage, register.description) == (1, "volume register")
    assert only_record("8c00 13 34120000").description == "volume"


def test_a_wrong_digit_keeps_its_text_and_the_other_records() -> None:
    """A BCD error digit spoils its own record only."""
    records = decode(long_frame("0A 13 E412  0C 13 46590800  0A 5A F412")).records
    assert [record.raw for record in records] == [None, 85946, None]
    assert records[0].error == "BCD error digit E: 12E4"
    assert records[0].raw_text == "12E4"
    assert records[1].value == Decimal("85.946")
    assert records[2].error == "BCD error digit F: 12F4"


@pytest.mark.parametrize(
    "text", ["0.1", "21.536703", "0.707039", "3.4028235e+38", "1e-45", "16777216", "-0.3"]
)
def test_a_real_number_is_the_shortest_decimal_that_reads_back_the_same(text: str) -> None:
    """No digits that the meter did not send, and none lost."""
    data = struct.pack("<f", float(text))
    record = only_record(f"05 5B {data.hex()}")
    assert isinstance(record.value, Decimal)
    assert struct.pack("<f", float(record.value)) == data
    assert record.value == Decimal(text)


def test_a_value_is_exact_in_any_decimal_context() -> None:
    """A caller who works with 3 digits still gets all of them."""
    with localcontext(prec=3):
        assert only_record("07 13 FFFFFFFFFFFFFF7F").value_text == "9223372036854775.807"


@pytest.mark.parametrize(
    ("records", "text"),
    [("0D 78 05 44434241 30", "0ABCD"), ("0D FD11 00", ""), ("0D FD11 02 E9 41", "Aé")],
)
def test_text_is_read_from_its_last_character(records: str, text: str) -> None:
    """The last character is sent first; the characters are Latin 1."""
    record = only_record(records)
    assert record.raw == record.value == record.value_text == text


def test_binary_data_of_variable_length_stay_bytes() -> None:
    """Up to 64 bytes, by the length codes of the standard; they are sent from the least significant one."""
    assert only_record("0D FD3B E2 0102").raw == b"\x02\x01"
    assert only_record("0D FD3B F0" + "AB" * 16).raw == b"\xab" * 16
    assert only_record("0D FD3B F6" + "CD" * 64).raw == b"\xcd" * 64


@pytest.mark.parametrize(
    ("records", "value", "text"),
    [
        ("02 6C 9F2C", date(2020, 12, 31), "2020-12-31"),
        ("02 6C 7FCC", date(1999, 12, 31), "1999-12-31"),
        ("04 6D 3B179F2C", datetime(2020, 12, 31, 23, 59), "2020-12-31T23:59:00"),
        ("04 6D 3B379F2C", datetime(2020, 12, 31, 23, 59), "2020-12-31T23:59:00"),
        ("04 6D 3B579F2C", datetime(2120, 12, 31, 23, 59), "2120-12-31T23:59:00"),
        ("06 6D 1E3B179F2C00", datetime(2020, 12, 31, 23, 59, 30), "2020-12-31T23:59:30"),
        ("03 6D 1E3B17", time(23, 59, 30), "23:59:30"),
        ("04 FD70 3B179F2C", datetime(2020, 12, 31, 23, 59), "2020-12-31T23:59:00"),
    ],
)
def test_times_of_every_type(records: str, value: object, text: str) -> None:
    """Types G, F, I and J by their length, with the century bits of type F."""
    record = only_record(records)
    if "379F" in records:  # century 1: 1900 + 100 + 20
        assert isinstance(record.raw, datetime)
    assert record.raw == record.value == value
    assert record.value_text == text


@pytest.mark.parametrize(
    ("records", "text", "error"),
    [
        ("02 6C 0000", "2000-00-00", "no calendar date"),
        ("02 6C 9F2D", "2020-13-31", "no calendar date"),
        ("04 6D 00000000", "2000-00-00T00:00:00", "no calendar date"),
        ("04 6D BB179F2C", "2020-12-31T23:59:00", values.INVALID_TIME),
        ("06 6D 1EBB179F2C00", "2020-12-31T23:59:30", values.INVALID_TIME),
        ("03 6D 1E3B1F", "31:59:30", "no time of day"),
    ],
)
def test_a_time_that_is_none_stays_readable(records: str, text: str, error: str) -> None:
    """No value, but the text that the meter sent, and why it is none."""
    record = only_record(records)
    assert record.raw is None
    assert record.value_text == ""
    assert record.raw_text == text
    assert record.error == error


def test_summer_time_is_told_where_the_type_can_tell() -> None:
    """Types F and I have a bit for it, type G has none."""
    assert only_record("04 6D 3B979F2C").summer_time is True
    assert only_record("04 6D 3B179F2C").summer_time is False
    assert only_record("06 6D 5E3B179F2C00").summer_time is True
    assert only_record("02 6C 9F2C").summer_time is None


def test_records_without_data_say_so() -> None:
    """Data fields 0 and 8 hold nothing; the records behind them are read."""
    nothing, asked, volume = decode(long_frame("00 13  08 13  01 13 05")).records
    assert (nothing.raw, nothing.error) == (None, "the record holds no data")
    assert (asked.raw, asked.error) == (None, "a request for data, not a value")
    assert volume.value == Decimal("0.005")


@pytest.mark.parametrize("coding", list(Coding))
def test_no_bytes_at_all_stop_a_data_type(coding: Coding) -> None:
    """Every type takes every content of a size that it can have, and never raises."""
    sizes = {
        Coding.REAL: [4],
        Coding.DATE: [2],
        Coding.TIME: [3],
        Coding.DATETIME: [4],
        Coding.DATETIME_SECONDS: [6],
    }
    for size in sizes.get(coding, [1, 2, 6]):
        for byte in range(256):
            reading = values.read(coding, bytes([byte]) * size)
            assert (reading.raw is None) == bool(reading.error)

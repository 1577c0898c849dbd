"""Frames and headers: what is no telegram is refused by name, and every header gives what it has."""

from __future__ import annotations

from decimal import Decimal

import pytest
from telegram_frames import HEADER, all_recorded, frame, long_frame, recorded, sealed

from core.mbus.telegram import TelegramError, decode, forget_layouts

GOOD = long_frame("0C 13 46590800")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "not a single byte"),
        (b"\xe5", "starts with E5h"),
        (bytes.fromhex("1040014116"), "starts with 10h"),
        (b"\x68\x03\x03\x68", "cut off: 4 bytes"),
        (GOOD[:-3], "cut off"),
        (GOOD + b"\x00\x00", "2 bytes behind the end"),
        (GOOD[:2] + b"\x10" + GOOD[3:], "length bytes differ"),
        (GOOD[:3] + b"\x67" + GOOD[4:], "second start byte"),
        (GOOD[:-1] + b"\x17", "stop byte is 17h"),
        (GOOD[:-2] + bytes([GOOD[-2] ^ 1]) + GOOD[-1:], "checksum"),
        (GOOD[:9] + b"\x00" + GOOD[10:], "checksum"),
        (b"\x68\x02\x02\x68\x08\x05\x0d\x16\x00", "at least 3"),
    ],
)
def test_what_is_no_long_frame_is_refused_by_name(bad: bytes, reason: str) -> None:
    """Start, length, checksum and stop are checked, also when the structure is known already."""
    decode(GOOD)
    with pytest.raises(TelegramError, match=reason):
        decode(bad)


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        ("51 01 13 05", "CI field 51h"),
        ("72 78563412", "inside of its header: 4 of 12 bytes"),
        ("7A 01", "inside of its header: 1 of 4 bytes"),
        ("73 78563412", "fixed data structure"),
        ("90 0F 00", "authentication layer"),
        ("78 01", "breaks off in its VIF"),
        ("78 01 93", "breaks off in its VIFE"),
        ("78 81", "breaks off in its DIFE"),
        ("78 04 13 010203", "breaks off in its data"),
        ("78 0D 13", "breaks off in its length byte"),
        ("78 02 7C 09 41", "breaks off in its plain-text VIF"),
    ],
)
def test_a_telegram_that_ends_too_early_is_refused_by_name(application: str, reason: str) -> None:
    """With the place where it breaks off."""
    with pytest.raises(TelegramError, match=reason):
        decode(frame(application))


def test_a_long_header_gives_everything() -> None:
    """CI 72h."""
    telegram = decode(GOOD)
    assert (telegram.structure, telegram.header, telegram.ci, telegram.address) == (
        "variable",
        "long",
        0x72,
        5,
    )
    assert (telegram.identification, telegram.manufacturer, telegram.version) == ("12345678", "HYD", 40)
    assert (telegram.medium_code, telegram.medium) == (7, "water")
    assert (telegram.access_number, telegram.status, telegram.signature) == (10, 0, 0)
    assert telegram.records[0].value == Decimal("85.946")


def test_a_telegram_with_the_most_significant_byte_first_gives_the_same() -> None:
    """CI 76h: header, numbers, real numbers, texts and dates are turned round."""
    turned = decode(
        frame(
            "76 12345678 2324 28 07 0A 00 0000"
            "0C13 00085946  02 5A 0112  03 13 010203  05 5B 3F800000  0D 78 03 414243  04 6D 2C9F173B  0F 0102"
        )
    )
    straight = decode(
        long_frame(
            "0C13 46590800  02 5A 1201  03 13 030201  05 5B 0000803F  0D 78 03 434241  04 6D 3B179F2C  0F 0102"
        )
    )
    assert (turned.identification, turned.manufacturer, turned.version) == ("12345678", "HYD", 40)
    assert [record.raw for record in turned.records] == [record.raw for record in straight.records]
    assert [record.raw_text for record in turned.records] == [record.raw_text for record in straight.records]


def test_a_short_header_has_no_identification() -> None:
    """CI 7Ah: access number, status and signature only."""
    telegram = decode(frame("7A 0A 04 0000 0C13 46590800"))
    assert (telegram.header, telegram.access_number, telegram.status) == ("short", 10, 4)
    assert (telegram.identification, telegram.manufacturer, telegram.medium) == ("", "", "")
    assert telegram.records[0].value == Decimal("85.946")


def test_without_a_header_there_are_records_only() -> None:
    """CI 78h."""
    telegram = decode(frame("78 0C13 46590800"))
    assert (telegram.header, telegram.access_number, telegram.status, telegram.signature) == ("none", 0, 0, 0)
    assert telegram.records[0].value == Decimal("85.946")


@pytest.mark.parametrize(
    ("application", "values"),
    [
        ("73 78563412 0A 00 E9 7E 01000000 35010000", [("volume", "0.001", 0), ("volume", "0.135", 1)]),
        ("73 78563412 0A 01 E9 7E 01000000 35010000", [("volume", "0.001", 0), ("volume", "0.309", 1)]),
        ("73 78563412 0A 02 05 45 01000000 02000000", [("energy", "1000", 1), ("energy", "2000", 1)]),
        ("73 78563412 0A 00 E9 6E 0A000000 02000000", [("volume", "", 0), ("volume", "200", 0)]),
        ("73 78563412 0A 01 05 45 FEFFFFFF 00000080", [("energy", "-2000", 0), ("energy", "", 0)]),
    ],
)
def test_a_fixed_structure_has_two_counters(application: str, values: list[tuple[str, str, int]]) -> None:
    """CI 73h: BCD or signed binary by the status byte, actual or stored; unit 3Eh is "the same, but historic"."""
    telegram = decode(frame(application))
    assert telegram.structure == "fixed"
    assert telegram.identification == "12345678"
    assert telegram.access_number == 10
    assert [(record.quantity, record.value_text, record.storage) for record in telegram.records] == values


def test_a_fixed_structure_names_its_medium_from_both_unit_bytes() -> None:
    """Two bits in each."""
    assert decode(frame("73 78563412 0A 00 E9 7E 01000000 35010000")).medium == "water"


def test_a_medium_of_mode_2_is_no_other_device_type() -> None:
    """Gas of mode 2 is Ah, which is cooling among the device types of a variable structure."""
    telegram = decode(frame("73 78563412 0A 00 A9 BE 01000000 35010000"))
    assert (telegram.medium, telegram.medium_code) == ("gas", 3)


def test_application_errors_and_alarms_are_no_data() -> None:
    """CI 70h with its name, CI 71h with its status byte."""
    assert decode(frame("70 08")).application_error == "application too busy to handle the request"
    assert decode(frame("70")).application_error == "unspecified error"
    assert decode(frame("70 7E")).application_error == "unknown application error 7Eh"
    assert decode(frame("70 08")).alarm is None
    alarm = decode(frame("71 81"))
    assert (alarm.alarm, alarm.structure, alarm.records, alarm.application_error) == (0x81, "alarm", (), "")
    assert decode(frame("71")).alarm == 0


@pytest.mark.parametrize("signature", ["FFFF", "B627", "27B6", "0000"])
def test_an_old_signature_is_no_encryption(signature: str) -> None:
    """Meters before the configuration word put anything there."""
    header = HEADER[:10] + bytes.fromhex(signature)
    telegram = decode(long_frame("0C13 46590800" + "2F" * 180, header))
    assert telegram.encrypted is False
    assert telegram.records[0].value == Decimal("85.946")


def test_telegrams_of_one_structure_share_their_layout() -> None:
    """Whatever the values, the meter's number and the primary address; a different VIF is a different structure."""
    other = long_frame("0C 13 11111111", b"\x01\x02\x03\x04" + HEADER[4:])
    assert decode(GOOD).layout is decode(other).layout
    assert decode(GOOD).layout is not decode(long_frame("0C 14 46590800")).layout
    assert (
        decode(long_frame("0C 13 11111111", HEADER[:4] + b"\x24\x24" + HEADER[6:])).layout
        is decode(GOOD).layout
    )


def test_any_number_of_structures_can_be_told_apart() -> None:
    """Many meters of one manufacturer, version and medium, with structures of one length."""
    frames = [
        long_frame(f"01 {vif:02X} 05 01 {other:02X} 06") for vif in range(0x40) for other in range(0x10)
    ]
    forget_layouts()
    for _ in range(2):
        for vif_frame in frames:
            records = decode(vif_frame).records
            assert records[0].vif_hex == f"{vif_frame[20]:02x}"
            assert records[1].vif_hex == f"{vif_frame[23]:02x}"


def test_every_record_lies_where_it_says() -> None:
    """Offsets, lengths and the data bytes of the telegrams of real meters."""
    for real in all_recorded():
        telegram = decode(real)
        for record in telegram.records:
            if record.dif_hex:
                assert real[record.offset : record.offset + len(record.dif_hex) // 2].hex() == record.dif_hex
            assert record.data == real[record.data_offset : record.offset + record.length]
        ends = [record.offset + record.length for record in telegram.records]
        assert all(end <= record.offset for end, record in zip(ends, telegram.records[1:], strict=False))


def test_a_telegram_cannot_be_changed() -> None:
    """Telegrams and records are shared between threads."""
    telegram = decode(GOOD)
    with pytest.raises(AttributeError):
        telegram.problem = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        telegram.records[0].raw = 1


def test_a_bytearray_is_a_frame_too_and_may_change_later() -> None:
    """What was decoded stays."""
    buffer = bytearray(recorded("GWF-MTKcoder"))
    telegram = decode(buffer)  # type: ignore[arg-type]
    buffer[:] = bytes(len(buffer))
    assert telegram.records[1].value_text == "269"
    assert sealed(telegram.frame) == telegram.frame


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0C 13 46590800", "0C 14 46590800"),
        ("8C10 13 46590800", "8C20 13 46590800"),
        ("0C 933B 46590800", "0C 933C 46590800"),
        ("0D 78 03 434241", "0D 78 E3 434241"),
        ("02 7C 03 485225 0102", "02 7C 03 485226 0102"),
        ("02 FC 74 03 485225 0102", "02 FC 74 03 485226 0102"),
        ("2F 01 13 05", "01 13 05 2F"),
    ],
)
def test_a_change_of_structure_is_seen_though_the_length_is_the_same(one: str, other: str) -> None:
    """A meter that was set up anew sends other records in as many bytes."""
    assert decode(long_frame(one)).layout is not decode(long_frame(other)).layout
    first, second = decode(long_frame(one)).records[0], decode(long_frame(other)).records[0]
    assert (first.dib, first.offset, first.description, first.coding) != (
        second.dib,
        second.offset,
        second.description,
        second.coding,
    )

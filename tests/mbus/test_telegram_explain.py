"""The explanation of a telegram: every byte, in words, with the record that it belongs to."""

from __future__ import annotations

import pytest
from telegram_frames import HEADER, INVALID, all_recorded, frame, long_frame, read_hex

from core.mbus.address import SecondaryAddress
from core.mbus.explain import explain
from core.mbus.frame import long_frame as link_frame
from core.mbus.frame import select, snd_nke
from core.mbus.telegram import decode
from core.snapshot import TelegramPart


def said(raw: bytes) -> list[tuple[str, str, str]]:
    return [(raw[p.offset : p.offset + p.length].hex(), p.label, p.meaning) for p in explain(raw)]


def test_a_water_meter_is_explained_from_the_first_to_the_last_byte() -> None:
    """Link layer, header, one record, checksum."""
    raw = long_frame("8C10 13 46590800", HEADER[:9] + b"\x14" + HEADER[10:])
    assert said(raw) == [
        ("68", "start", "begin of a long frame"),
        ("16", "L field", "22 bytes from C field to checksum"),
        ("16", "L field", "repeated"),
        ("68", "start", "repeated"),
        ("08", "C field", "RSP_UD, answer with data"),
        ("05", "A field", "primary address 5"),
        ("72", "CI field", "variable data, long header"),
        ("78563412", "identification", "12345678"),
        ("2423", "manufacturer", "HYD"),
        ("28", "version", "40"),
        ("07", "medium", "water"),
        ("0a", "access number", "10"),
        ("14", "status", "power low, temporary error"),
        ("0000", "signature", "0000h"),
        ("8c", "DIF", "8-digit BCD, instantaneous"),
        ("10", "DIFE", "storage 0, tariff 1, subunit 0"),
        ("13", "VIF", "volume, 10^-3 m3"),
        ("46590800", "data", "85.946 m3"),
        (raw[-2:-1].hex(), "checksum", "right"),
        ("16", "stop", "end of the frame"),
    ]


@pytest.mark.parametrize(
    ("records", "labels"),
    [
        ("02 FDC8FC01 0102", ["DIF", "VIF", "VIFE", "VIFE", "VIFE", "data"]),
        ("02 FC 03 485225 74 D411", ["DIF", "VIF", "text length", "text", "VIFE", "data"]),
        ("02 FC 74 03 485225 D411", ["DIF", "VIF", "VIFE", "text length", "text", "data"]),
        ("0D 78 03 434241", ["DIF", "VIF", "length byte", "data"]),
        ("2F2F 01 13 05 2F", ["filler", "DIF", "VIF", "data", "filler"]),
        ("0F 0102", ["DIF", "data"]),
        ("1F", ["DIF"]),
        ("3F 0102", ["not readable"]),
        ("02 FDFD03 0102", ["DIF", "VIF", "VIFE", "VIFE", "data"]),
    ],
)
def test_the_parts_of_a_record_have_names(records: str, labels: list[str]) -> None:
    """In the order of the bytes."""
    assert [part.label for part in explain(long_frame(records))][14:-2] == labels


def test_each_vife_says_what_it_adds() -> None:
    """Quantity behind FDh, phase behind FCh, scale factor."""
    meanings = [part.meaning for part in explain(long_frame("02 FDC8F5FC01 0102"))]
    assert meanings[15:-3] == [
        "the quantity is in the next byte",
        "voltage, 10^-1 V",
        "times 10^-1",
        "reserved-fc",
        "phase-l1",
    ]


def test_parts_belong_to_the_records_of_the_telegram() -> None:
    """So that a screen can light up the bytes of a value."""
    for raw in all_recorded():
        parts = explain(raw)
        for record in decode(raw).records:
            own = [part for part in parts if part.record == record.index]
            assert own[0].offset == record.offset
            assert sum(part.length for part in own) == record.length
            if record.data:
                assert (own[-1].offset, own[-1].length) == (record.data_offset, len(record.data))


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.hex")), ids=lambda path: path.stem)
def test_an_invalid_telegram_is_explained_as_far_as_possible(path: object) -> None:
    """All bytes are there, and the reason is said."""
    raw = read_hex(path)  # type: ignore[arg-type]
    parts: tuple[TelegramPart, ...] = explain(raw)
    assert sum(part.length for part in parts) == len(raw)
    assert any(part.label in ("error code", "not readable", "CI field") for part in parts)


def test_a_wrong_checksum_is_named_and_the_records_are_still_shown() -> None:
    """Noise often spoils a single byte."""
    raw = bytearray(long_frame("8C10 13 46590800"))
    raw[-2] ^= 1
    parts = explain(bytes(raw))
    assert parts[-2].meaning.startswith("wrong, the bytes give ")
    assert "volume, 10^-3 m3" in [part.meaning for part in parts]


def test_other_telegrams_have_their_own_words() -> None:
    """Application errors, alarms, and the fixed structure."""
    assert ("08", "error code", "application too busy to handle the request") in said(frame("70 08"))
    assert ("81", "alarm status", "10000001b") in said(frame("71 81"))
    fixed = said(frame("73 78563412 0A 00 E9 7E 01000000 35010000"))
    assert ("e97e", "medium and units", "water") in fixed
    assert ("35010000", "data", "0.135 m3") in fixed


def test_an_acknowledgement_and_a_request_are_explained() -> None:
    """What goes over a line beside telegrams."""
    assert said(b"\xe5") == [("e5", "acknowledgement", "received, nothing to send")]
    assert said(bytes.fromhex("107b057f16")) == [  # the checksum is 80h
        ("10", "start", "begin of a short frame"),
        ("7b", "C field", "REQ_UD2, ask for data, frame count bit 1"),
        ("05", "A field", "primary address 5"),
        ("7f", "checksum", "wrong, the bytes give 80h"),
        ("16", "stop", "end of the frame"),
    ]
    assert said(snd_nke(253))[1:3] == [
        ("40", "C field", "SND_NKE, reset the link"),
        ("fd", "A field", "the selected meter"),
    ]


def test_a_selection_is_explained_with_its_wildcards() -> None:
    """Digit by digit, and the fields that are left open."""
    assert said(select(SecondaryAddress("12F4567F", "HYD")))[4:11] == [
        ("53", "C field", "SND_UD, data to the meter"),
        ("fd", "A field", "the selected meter"),
        ("52", "CI field", "select by secondary address"),
        ("7f56f412", "identification", "12F4567F, F for any digit"),
        ("2423", "manufacturer", "HYD"),
        ("ff", "version", "any"),
        ("ff", "medium", "any"),
    ]


@pytest.mark.parametrize(
    ("ci", "payload", "meanings"),
    [
        (0x51, "017A07", ["data for the meter", "8-bit integer, instantaneous", "address", "address"]),
        (0xBB, "", ["switch to 2400 baud"]),
        (0x50, "10", ["application reset or select", "which application"]),
    ],
)
def test_a_command_is_explained(ci: int, payload: str, meanings: list[str]) -> None:
    """Address, baud rate, application."""
    raw = link_frame(0x53, 5, ci, bytes.fromhex(payload))
    assert [part.meaning for part in explain(raw)][6:-2] == meanings

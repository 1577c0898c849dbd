"""What meters are told, byte for byte, and the time that they show."""

from __future__ import annotations

from datetime import datetime

import pytest
from telegram_frames import frame

from core.mbus.commands import (
    ApplicationReset,
    CommandError,
    MeterTime,
    SelectApplication,
    SetPrimaryAddress,
    SwitchBaud,
    shown_time,
    user_data,
)
from core.mbus.telegram import decode

HEADER = bytes.fromhex("72 78563412 2423 28 07 0A 00 0000")


@pytest.mark.parametrize(
    ("command", "ci", "data"),
    [
        (SetPrimaryAddress(250), 0x51, "01 7A FA"),
        (SwitchBaud(300), 0xB8, ""),
        (SwitchBaud(2400), 0xBB, ""),
        (SwitchBaud(38400), 0xBF, ""),
        (ApplicationReset(), 0x50, ""),
        (SelectApplication(0x20), 0x50, "20"),
    ],
)
def test_commands_have_the_bytes_of_the_standard(
    command: SetPrimaryAddress | SwitchBaud | ApplicationReset | SelectApplication, ci: int, data: str
) -> None:
    """EN 13757-3: CI 51h with a record, B8h to BFh, 50h with and without a subcode."""
    assert user_data(command) == (ci, bytes.fromhex(data))


@pytest.mark.parametrize(
    "command", [SetPrimaryAddress(251), SetPrimaryAddress(-1), SwitchBaud(1234), SelectApplication(256)]
)
def test_what_is_out_of_range_is_not_sent(
    command: SetPrimaryAddress | SwitchBaud | SelectApplication,
) -> None:
    """A sentence, and no frame."""
    with pytest.raises(CommandError, match="out of range"):
        user_data(command)


@pytest.mark.parametrize(
    ("time", "record"),
    [
        (MeterTime(datetime(2026, 7, 1, 12, 30), True, False), "04 6D 1E 8C 41 37"),
        (MeterTime(datetime(2026, 12, 31, 23, 59), False, False), "04 6D 3B 17 5F 3C"),
        (MeterTime(datetime(2026, 7, 1, 12, 30, 15), True, True), "06 6D 4F 1E 0C 41 37 00"),
        (MeterTime(datetime(2028, 2, 29, 0, 0, 1), False, True), "06 6D 81 00 00 9D 32 00"),
    ],
    ids=["F-summer", "F-winter", "I-summer", "I-leap-year"],
)
def test_a_time_is_sent_as_meters_show_it(time: MeterTime, record: str) -> None:
    """Types F and I with their summer time bits; the decoder, which knows them from real meters, reads the same."""
    assert time.to_bytes() == bytes.fromhex(record)
    assert shown_time([decode(frame(HEADER + bytes.fromhex(record)))]) == time


def test_a_meter_without_a_time_shows_none() -> None:
    """A date alone, and a time of another storage, are none either."""
    records = bytes.fromhex("0C13 46590800 02 6C 41 37 44 6D 1E 8C 41 37")
    assert shown_time([decode(frame(HEADER + records))]) is None

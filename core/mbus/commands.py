"""What a meter can be told, beside sending its values: address, baud rate, application, clock."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from core.errors import CmeError
from core.mbus.telegram import Telegram


class CommandError(CmeError):
    """A command that was refused, or did not have its effect."""


@dataclass(frozen=True, slots=True)
class SetPrimaryAddress:
    """Give the meter another primary address, 1..250 (0 = as if it came from the factory)."""

    number: int


@dataclass(frozen=True, slots=True)
class SwitchBaud:
    """Have the meter speak at another rate, bit/s."""

    baud: int


@dataclass(frozen=True, slots=True)
class ApplicationReset:
    """Reset the meter's application (CI 50h), so that its next readout begins with the first telegram."""


@dataclass(frozen=True, slots=True)
class SelectApplication:
    """Choose what the meter sends (CI 50h with a subcode, 0..255; EN 13757-3, table of application select)."""

    subcode: int


@dataclass(frozen=True, slots=True)
class SetClock:
    """Set the meter's date and time; ms since 1970-01-01 UTC, None = the gateway's at the moment of sending."""

    time_ms: int | None = None


Command = SetPrimaryAddress | SwitchBaud | ApplicationReset | SelectApplication | SetClock

CI_RESET: Final = 0x50
"""Application reset, with a subcode application select (EN 13757-3, application reset and select)."""
CI_DATA: Final = 0x51
"""Data for the meter, least significant byte first (EN 13757-3, 6)."""
CI_BAUD: Final[Mapping[int, int]] = MappingProxyType({300 << index: 0xB8 + index for index in range(8)})
"""Rate, bit/s -> CI field that has a meter speak at it (EN 13757-3, CI fields B8h to BFh)."""

_PRIMARY_ADDRESS: Final = b"\x01\x7a"
_DATE_TIME: Final = {False: b"\x04\x6d", True: b"\x06\x6d"}  # type F, type I


@dataclass(frozen=True, slots=True)
class MeterTime:
    """A date and time as a meter has it: of its own zone, with whether that is summer time."""

    local: datetime
    summer: bool
    seconds: bool  # type I of EN 13757-3, annex A, which has them; else type F

    def to_bytes(self) -> bytes:
        """DIF, VIF and data of the record that sets it."""
        time, year = self.local, self.local.year % 100
        minute, day = time.minute, time.day | (year & 7) << 5
        month = time.month | year >> 3 << 4
        if self.seconds:
            second = time.second | self.summer << 6 | calendar.isleap(time.year) << 7
            data = bytes((second, minute, time.hour, day, month, 0))
        else:
            data = bytes((minute, time.hour | self.summer << 7, day, month))
        return _DATE_TIME[self.seconds] + data


def user_data(
    command: SetPrimaryAddress | SwitchBaud | ApplicationReset | SelectApplication,
) -> tuple[int, bytes]:
    """CI field and data of the SND_UD that tells a meter this. Raises `CommandError` for what is out of range."""
    match command:
        case SetPrimaryAddress(number) if 0 <= number <= 250:
            return CI_DATA, _PRIMARY_ADDRESS + bytes((number,))
        case SwitchBaud(baud) if baud in CI_BAUD:
            return CI_BAUD[baud], b""
        case ApplicationReset():
            return CI_RESET, b""
        case SelectApplication(subcode) if 0 <= subcode <= 255:
            return CI_RESET, bytes((subcode,))
    raise CommandError(f"{command} cannot be sent: a number is out of range.")


def shown_time(telegrams: Iterable[Telegram]) -> MeterTime | None:
    """The current date and time in a readout, None where the meter does not send it."""
    for telegram in telegrams:
        for record in telegram.records:
            if record.dib in ("046d", "066d") and isinstance(record.raw, datetime):
                return MeterTime(record.raw, bool(record.summer_time), record.dib == "066d")
    return None

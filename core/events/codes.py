"""Event codes: their numbers and names, and the log that each belongs to.

1 to 255 are those that DLMS/COSEM devices on the market share (IDIS, DSMR companion specifications). 4000 to
4255 are 4000 + the status byte of an M-Bus meter.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from core.store.records import Log

MESSAGE_BYTES: Final = 128
"""Longest message of an event, UTF-8."""

METER_STATUS: Final = 4000
"""Added to a status byte, 0..255."""

POWER_LOW: Final = 0x04
"""Bit of the M-Bus status byte (EN 13757-3, status field)."""
PERMANENT_ERROR: Final = 0x08
"""Bit of the M-Bus status byte (EN 13757-3, status field)."""


class EventCode(IntEnum):
    """What this gateway logs, besides changes of the status byte."""

    POWER_DOWN = 1
    POWER_UP = 2
    DAYLIGHT_SAVING = 3
    CLOCK_ADJUSTED_OLD = 4
    CLOCK_ADJUSTED_NEW = 5
    CLOCK_INVALID = 6
    NV_MEMORY_ERROR = 14
    MEASUREMENT_SYSTEM_ERROR = 16
    FIRMWARE_ACTIVATED = 18
    AUTHENTICATION_FAILURE = 46
    PARAMETERS_CHANGED = 47
    KEYS_CHANGED = 48
    DECRYPTION_FAILURE = 49
    REPLAY_ATTACK = 50
    METER_LOST = 100
    METER_BACK = 101
    METER_BATTERY = 102
    METER_CLOCK_ADJUSTED = 104
    METER_INSTALLED = 105
    METER_PERMANENT_ERROR = 106


_NAMES: Final = {
    1: "Power down",
    2: "Power up",
    3: "Daylight saving time enabled or disabled",
    4: "Clock adjusted (old date/time)",
    5: "Clock adjusted (new date/time)",
    6: "Clock invalid",
    7: "Replace battery",
    8: "Battery voltage low",
    9: "TOU activated",
    10: "Error register cleared",
    11: "Alarm register cleared",
    12: "Program memory error",
    13: "RAM error",
    14: "NV memory error",
    15: "Watchdog error",
    16: "Measurement system error",
    17: "Firmware ready for activation",
    18: "Firmware activated",
    19: "Passive TOU programmed",
    20: "External alert detected",
    40: "Terminal cover removed",
    41: "Terminal cover closed",
    42: "Strong DC field detected",
    43: "No strong DC field anymore",
    44: "Meter cover removed",
    45: "Meter cover closed",
    46: "Association authentication failure",
    47: "One or more parameters changed",
    48: "Global key(s) changed",
    49: "Decryption or authentication failure",
    50: "Replay attack",
    51: "Firmware verification failed",
    52: "Unexpected consumption",
    100: "Communication error M-Bus",
    101: "Communication OK M-Bus",
    102: "Replace battery M-Bus",
    103: "Fraud attempt M-Bus",
    104: "Clock adjusted M-Bus",
    105: "New M-Bus device installed",
    106: "Permanent error M-Bus",
    253: "Meter data clear",
    254: "Load profile cleared",
    255: "Event log cleared",
}

_FRAUD: Final = frozenset((*range(40, 47), 48, 49, 50))


def event_name(code: int) -> str:
    """The name of an event for people; "Event 77" where the code is not known."""
    if METER_STATUS <= code <= METER_STATUS + 0xFF:
        return f"M-Bus status changed to {code - METER_STATUS:02X}h"
    return _NAMES.get(code, f"Event {code}")


def log_of(code: int, meter: int | None) -> Log:
    """The log that an event belongs to; a meter has entries in its standard log only."""
    return Log.FRAUD if meter is None and code in _FRAUD else Log.STANDARD

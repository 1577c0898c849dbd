"""What a meter can be told, beside sending its values: address, baud rate, application, clock."""

from __future__ import annotations

from dataclasses import dataclass


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

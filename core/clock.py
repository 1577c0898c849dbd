"""The one clock of the core, so that a test can set the time and a later clock set has one place."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol

from core.errors import CmeError

EARLIEST_MS: Final = 1_577_836_800_000
"""2020-01-01 00:00 UTC: no earlier time can be set."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01 00:00 UTC: the time that is set must be before it."""

_LONGEST_SLEEP_S: Final = 30.0


class ClockError(CmeError):
    """The clock cannot be set to this time."""


class Clock(Protocol):
    """Wall time of the gateway."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def seconds_until(self, moment_ms: int) -> float:
        """How long to sleep, in s, until the clock shows `moment_ms`; 0 if that is past."""


class SystemClock:
    """The time of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def seconds_until(self, moment_ms: int) -> float:
        # Never long: the machine's clock may be set meanwhile.
        return min(max(moment_ms - self.now_ms(), 0) / 1000, _LONGEST_SLEEP_S)


class GatewayClock:
    """The time of another clock and an offset, for a gateway that may not set the clock of its machine."""

    def __init__(self, system: Clock, offset_ms: int = 0) -> None:
        self.system = system
        self.offset_ms = offset_ms
        """How far this clock is ahead."""

    def now_ms(self) -> int:
        return self.system.now_ms() + self.offset_ms

    def seconds_until(self, moment_ms: int) -> float:
        # Never long: the clock may be set meanwhile.
        return min(self.system.seconds_until(moment_ms - self.offset_ms), _LONGEST_SLEEP_S)


def check_time(ms: int) -> None:
    """Raises `ClockError` for a time that no clock can rightly show: before 2020 or after 2099."""
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise ClockError(
            "The clock can be set to a time from 2020 to 2099 only: check the time that was sent."
        )


def set_system_clock(ms: int) -> None:
    """Set the clock of the machine. Raises OSError where the system does not allow that."""
    time.clock_settime_ns(time.CLOCK_REALTIME, ms * 1_000_000)


def iso(ms: int | None) -> str | None:
    """A time (ms since 1970 UTC) as `2026-01-09T12:00:00.000Z`; None for none."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

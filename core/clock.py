"""The one clock of the core, so that a test can set the time and a later clock set has one place."""

from __future__ import annotations

import time
from typing import Protocol


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
        return min(max(moment_ms - self.now_ms(), 0) / 1000, 30.0)

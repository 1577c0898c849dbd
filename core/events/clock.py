"""Changes of the time as events: the clock that is set or steps, and daylight saving."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final

from core.clock import GatewayClock, check_time
from core.cosem import datetime as cosem_time
from core.events.codes import EventCode
from core.events.service import Events
from core.store import Store

log = logging.getLogger(__name__)

STEP_MS: Final = 2000
"""A step of the clock that is larger is an event; less is what time synchronisation does all day."""


class ClockWatch:
    """Looks at the clock again and again; what it finds does not depend on how often."""

    def __init__(self, events: Events, zone: Callable[[], tzinfo], last_ms: int | None = None) -> None:
        """`last_ms`: when the clock was looked at last before this start (`LastRun.heartbeat_ms`)."""
        self._events = events
        self._zone = zone
        self._last_ms = last_ms
        self._base_ms: int | None = None  # what the clock shows at 0 of the monotonic one

    def tick(self, now_ms: int, monotonic_s: float) -> None:
        """Log what happened since the last look; to be called each second or so."""
        base = now_ms - round(monotonic_s * 1000)
        if self._base_ms is not None and abs(base - self._base_ms) > STEP_MS:
            self.adjusted(now_ms - (base - self._base_ms), now_ms, "by the operating system")
        # The base follows a clock that runs fast or slow, so that only a step between two looks counts.
        self._base_ms = base
        self._look(now_ms)

    def adjusted(self, old_ms: int, new_ms: int, by: str) -> None:
        """Log that the clock showed `old_ms` and was set to `new_ms`; `by`: who did it, as "by 192.0.2.7"."""
        self._events.log(EventCode.CLOCK_ADJUSTED_OLD, f"Set {by}", time_ms=old_ms)
        self._events.log(EventCode.CLOCK_ADJUSTED_NEW, f"Set {by}", time_ms=new_ms)
        if self._base_ms is not None:
            self._base_ms += new_ms - old_ms

    def _look(self, now_ms: int) -> None:
        zone, last = self._zone(), self._last_ms
        self._last_ms = now_ms
        if last is not None and _saves(now_ms, zone) != _saves(last, zone):
            change = "begins" if _saves(now_ms, zone) else "ends"
            self._events.log(
                EventCode.DAYLIGHT_SAVING, f"Daylight saving time {change} ({zone})", time_ms=now_ms
            )


class ClockSetter:
    """Sets the gateway's clock: that of the machine where this is wanted and allowed, else by an offset."""

    def __init__(self, clock: GatewayClock, store: Store, watch: ClockWatch) -> None:
        self._clock = clock
        self._store = store
        self._watch = watch
        self._setting = asyncio.Lock()

    async def set(self, ms: int, by: str, set_system: Callable[[int], None] | None = None) -> None:
        """Set the clock to `ms` since 1970 UTC and log it. `by`: who does it, as "by 192.0.2.7".

        `set_system` sets the clock of the machine (`core.clock.set_system_clock`); without it, or where it raises
        OSError, the offset is kept, also over a restart. Raises `ClockError` for a time before 2020 or after
        2099, `StoreError` where the offset cannot be kept; then nothing was set.
        """
        check_time(ms)
        offset_ms = ms - self._clock.system.now_ms()  # before any wait: it says what time it is now
        async with self._setting:
            if set_system is not None:
                await self._store.set_clock_offset(0)
                if self._step_system(offset_ms, by, set_system):
                    return
            await self._store.set_clock_offset(offset_ms)
            self._apply(offset_ms, by)

    def _step_system(self, offset_ms: int, by: str, set_system: Callable[[int], None]) -> bool:
        old_ms, new_ms = self._clock.now_ms(), self._clock.system.now_ms() + offset_ms
        try:
            set_system(new_ms)
        except OSError as error:
            log.warning(
                "The machine's clock cannot be set (%s): the gateway keeps an offset.", error.strerror
            )
            return False
        self._clock.offset_ms = 0
        self._watch.adjusted(old_ms, new_ms, by)
        return True

    def _apply(self, offset_ms: int, by: str) -> None:
        old_ms = self._clock.now_ms()
        self._clock.offset_ms = offset_ms
        self._watch.adjusted(old_ms, self._clock.now_ms(), by)


def _saves(ms: int, zone: tzinfo) -> bool:
    return bool(cosem_time.saving(datetime.fromtimestamp(ms // 1000, zone)))

"""Start and stop as events: power up and down, another version, a clock that went back while nobody looked."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from core.clock import Clock
from core.events.codes import EventCode
from core.events.service import Events
from core.store import LastRun, Store, StoreError

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 60
"""So far, at most, a power down is dated before it happened."""

TOLERANCE_MS: Final = 2000
"""A clock that was put right by less than this did not go back."""


class PowerWatch:
    """Tells at each start how the last run ended, and keeps the note that the next start will find."""

    def __init__(self, store: Store, events: Events, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    async def started(self, version: str) -> LastRun:
        """Log what this start says about the run before, which is returned. Raises `StoreError`."""
        now = self._clock.now_ms()
        last = await self._store.last_run()
        if last.heartbeat_ms is not None and not last.stopped:
            self._events.log(
                EventCode.POWER_DOWN,
                "Not stopped cleanly; last seen running at this time",
                time_ms=last.heartbeat_ms,
            )
        self._events.log(EventCode.POWER_UP, f"Version {version}", time_ms=now)
        if last.version not in ("", version):
            self._events.log(EventCode.FIRMWARE_ACTIVATED, f"Version {version} after {last.version}")
        if last.newest_ms is not None and now < last.newest_ms - TOLERANCE_MS:
            self._events.log(
                EventCode.CLOCK_INVALID, f"It shows {_utc(now)}; before it was {_utc(last.newest_ms)}"
            )
        # First on the disk what the note says, then the new note: a crash between the two repeats, and loses nothing.
        await self._events.flush()
        await self._store.begin_run(version, now)
        return last

    async def keep(self) -> None:
        """Note each minute that the gateway runs; never returns."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self.beat()

    async def beat(self) -> None:
        """Note that the gateway runs; a database that cannot take it is an event."""
        try:
            await self._store.heartbeat(self._clock.now_ms())
        except StoreError as error:
            self._events.database_fault(str(error))

    async def stopped(self) -> None:
        """Log the clean stop, after all other events."""
        self._events.log(EventCode.POWER_DOWN, "Stopped")
        await self._events.flush()
        try:
            await self._store.heartbeat(self._clock.now_ms(), stopped=True)
        except StoreError as error:
            log.error("The next start will take this stop for a power cut: %s", error)


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"

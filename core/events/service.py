"""The owner of the event logs while the gateway runs: takes events at once and writes them behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from core.clock import Clock
from core.cosem import datetime as cosem_time
from core.cosem.clock import CLOCK_NAME
from core.cosem.profile import CLOCK_CLASS, CaptureObject
from core.dlms.axdr import date_time, long_unsigned, structure
from core.events.codes import MESSAGE_BYTES, EventCode, event_name, log_of
from core.store import ANYWHERE, Event, Log, Origin, Store, StoredMeter, StoreError
from core.store.records import capacity

log = logging.getLogger(__name__)

WAITING: Final = 2000
"""Events that may wait for a disk that does not take them; then the oldest are lost."""

FAULT_PAUSE_MS: Final = 3_600_000
"""A database that goes on failing is an event once in this time."""

_BATCH: Final = 200
_RETRIES_S: Final = (1.0, 5.0, 30.0)
_DATA: Final = 1
_EVER: Final = 1 << 53


class EventPage(NamedTuple):
    """Some events, and what belongs to them."""

    events: tuple[Event, ...]
    """Oldest first."""
    newest: int
    """The id after which to ask for what comes next."""
    removed: Mapping[int, StoredMeter]
    """Those of their meters, by key, that are no longer installed."""


class Events:
    """All event logs. Belongs to the core's event loop. An event counts, and is seen, once it is on the disk."""

    def __init__(self, store: Store, clock: Clock, last: Sequence[Event] = ()) -> None:
        """`last`: the last event of each log, as stored. `open` knows them."""
        self._store = store
        self._clock = clock
        self._last = {(event.meter, event.log): event for event in last}
        self._newest = max((event.id for event in last), default=0)
        self._waiting: deque[Event] = deque(maxlen=WAITING)
        self._lost = 0
        self._fault = ""
        self._fault_ms: int | None = None  # when the last event 14 was logged
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, store: Store, clock: Clock) -> Events:
        """Take up the logs as they are in the store. Raises `StoreError`."""
        events = cls(store, clock, await store.last_events())
        events._task = asyncio.create_task(events._run(), name="events")
        return events

    def log(
        self, code: int, message: str = "", *, meter: int | None = None, time_ms: int | None = None
    ) -> None:
        """Log an event of the gateway, or of the meter with the key `meter`; never fails and never waits.

        `time_ms`: when it happened, now if not given. What does not fit into the message is cut off.
        """
        when = self._clock.now_ms() if time_ms is None else time_ms
        event = Event(meter, log_of(code, meter), when, int(code), _fitting(message))
        log.info("Event %d, %s: %s", event.code, event_name(code), event.message)
        self._lost += len(self._waiting) == WAITING
        self._waiting.append(event)
        self._wake.set()

    def database_fault(self, reason: str) -> None:
        """Log that the database failed, once an hour at most; it is written when that is possible again."""
        now = self._clock.now_ms()
        if self._fault_ms is None or not 0 <= now - self._fault_ms < FAULT_PAUSE_MS:
            self._fault_ms = now
            self.log(EventCode.NV_MEMORY_ERROR, reason, time_ms=now)

    @property
    def fault(self) -> str:
        """Why what was logged lately is not on the disk, a sentence; "" where it is."""
        return self._fault

    def last(self, meter: int | None, kind: Log) -> Event | None:
        """The last event of a log."""
        return self._last.get((meter, kind))

    def rows(self, meter: int | None, kind: Log, event_id: bytes, zone: tzinfo) -> EventRows:
        """The rows of a log for its profile; `event_id` is the logical name of the object with the last code."""
        return EventRows(self._store, meter, kind, event_id, zone)

    async def recent(self, limit: int = 500, after: int = 0, origin: Origin = ANYWHERE) -> list[Event]:
        """Events with an id above `after`: the newest of them, at most `limit`, oldest first. Raises `StoreError`.

        Asks the store only where there are any, so that this can be called several times a second.
        """
        if after >= self._newest:
            return []
        return await self._store.recent_events(limit, after, origin)

    async def page(self, after: int, limit: int, origin: Origin) -> EventPage:
        """The same, with what is needed to ask on and to name the meters. Raises `StoreError`."""
        newest = self._newest
        events = await self.recent(limit, after, origin)
        meters = {event.meter for event in events} - {None}
        stored = await self._store.meters(removed=True) if meters else []
        removed = {one.key: one for one in stored if one.key in meters and one.removed_ms is not None}
        return EventPage(tuple(events), max(newest, events[-1].id if events else 0), removed)

    async def flush(self) -> None:
        """Return when all that was logged is on the disk, or the disk has refused it once more."""
        # Whoever waits here may be cancelled; what is being written must not be.
        await asyncio.shield(asyncio.ensure_future(self._write()))

    async def close(self) -> None:
        """Write what still waits, and end. May be called twice."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        await self.flush()
        if self._waiting:
            log.error("%d events could not be written and are lost.", len(self._waiting))
            self._waiting.clear()

    async def _run(self) -> None:
        failed = 0
        while not self._closing.is_set():
            await self._wake.wait()
            self._wake.clear()
            failed = 0 if await self._write() else failed + 1
            if failed:
                self._wake.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRIES_S[min(failed, len(_RETRIES_S)) - 1]):
                        await self._closing.wait()

    async def _write(self) -> bool:
        """Write all that waits; whether that was possible."""
        async with self._writing:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    ids = await self._store.add_events(batch)
                except StoreError as error:
                    self._put_back(batch)
                    self._fault = str(error)
                    self.database_fault(self._fault)
                    return False
                self._fault = ""
                self._written([event._replace(id=number) for event, number in zip(batch, ids, strict=True)])
        return True

    def _put_back(self, batch: list[Event]) -> None:
        kept = (*batch, *self._waiting)
        self._lost += max(len(kept) - WAITING, 0)
        self._waiting = deque(kept, maxlen=WAITING)

    def _written(self, events: list[Event]) -> None:
        if self._lost:
            log.error("%d events are lost: they came while the database could not be written.", self._lost)
            self._lost = 0
        for event in events:
            self._last[event.meter, event.log] = event
        self._newest = events[-1].id


class EventRows:
    """Row source of an event log (`core.cosem.profile.RowSource`): time and code of each event."""

    def __init__(self, store: Store, meter: int | None, kind: Log, event_id: bytes, zone: tzinfo) -> None:
        self._store = store
        self._meter = meter
        self._log = kind
        self._columns = (CaptureObject(CLOCK_CLASS, CLOCK_NAME, 2), CaptureObject(_DATA, event_id, 2))
        self._zone = zone

    def columns(self) -> Sequence[CaptureObject]:
        return self._columns

    def capture_period(self) -> int:
        return 0

    def capacity(self) -> int:
        return capacity(self._meter)

    async def entries(self) -> int:
        return await self._store.event_count(self._meter, self._log)

    async def rows(self, start_ms: int | None, end_ms: int | None, limit: int) -> list[bytes]:
        start = -_EVER if start_ms is None else start_ms
        end = _EVER if end_ms is None else end_ms
        return self._encoded(await self._store.event_rows(self._meter, self._log, start, end, limit))

    async def rows_by_entry(self, first: int, last: int) -> list[bytes]:
        return self._encoded(await self._store.event_entries(self._meter, self._log, first, last))

    def _encoded(self, events: list[Event]) -> list[bytes]:
        return [
            structure(
                date_time(cosem_time.encode(event.time_ms, self._zone)),
                long_unsigned(event.code),
            )
            for event in events
        ]


def _fitting(message: str) -> str:
    """On one line, printable, and no longer than `MESSAGE_BYTES`."""
    line = "".join(letter if letter.isprintable() else " " for letter in message)
    raw = " ".join(line.split()).encode()
    if len(raw) <= MESSAGE_BYTES:
        return raw.decode()
    return raw[: MESSAGE_BYTES - 3].decode(errors="ignore") + "..."

"""The store as the running gateway uses it: coroutines in front, two threads behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from core.interval import Interval
from core.store.changes import Series
from core.store.outbox.service import Outbox
from core.store.records import (
    ANYWHERE,
    CounterRun,
    Event,
    LastRun,
    Log,
    Origin,
    ProfileRow,
    Reading,
    StoredMeter,
)
from core.store.workers import Reader, Writer

log = logging.getLogger(__name__)

_SLICE = 1000
"""Readings per step of work in the background: some 10 ms, in which a new reading waits."""


class Store:
    """Everything that was read. Every method may raise StoreError, a sentence.

    A method that changes something returns when the change is on the disk. Times are ms since 1970 UTC.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = Writer(path, "store-writer")
        self._reader = Reader(path, "store-reader")
        self.outbox = Outbox(self._writer, self._reader)
        """What is to be pushed, and what was."""
        self._rebuilding = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Open or make the database at `path`; checks it first."""
        store = cls(path)
        await store._writer.start()
        try:
            await store._reader.start()
        except BaseException:
            await store._writer.close()
            raise
        return store

    async def close(self) -> None:
        """Finish what was asked for, then close the file. May be called twice."""
        await self._reader.close()
        await self._writer.close()

    async def meters(self, removed: bool = False) -> list[StoredMeter]:
        """The installed meters by key; with `removed` also those that were."""
        return await self._reader.do(lambda reader: reader.meters(removed))

    async def install_meter(self, line: str, address: str, now_ms: int) -> int:
        """Key of the meter at this place, for its life; one that was removed comes back with its history."""
        return await self._writer.do(lambda changes: changes.install_meter(line, address, now_ms))

    async def move_meter(self, key: int, line: str, address: str) -> None:
        """Note that a meter is now on another line or addressed in another way; its history goes with it."""
        await self._writer.do(lambda changes: changes.move_meter(key, line, address))

    async def confirm_place(self, key: int) -> None:
        """Forget where a meter was before it was moved: config.toml has its new place."""
        await self._writer.do(lambda changes: changes.confirm_place(key))

    async def remove_meter(self, key: int, now_ms: int) -> None:
        """Take a meter out; its readings stay."""
        await self._writer.do(lambda changes: changes.remove_meter(key, now_ms))

    async def remember(self, serial: str, devices: Mapping[int, int]) -> None:
        """Keep the gateway's serial and the meters' logical device addresses, by key.

        config.toml is what counts; this is for the day on which somebody replaces it by one without them.
        """
        await self._writer.do(lambda changes: changes.remember(serial, devices))

    async def learn_identity(
        self, key: int, identification: str, manufacturer: str, version: int | None, medium: int | None
    ) -> None:
        """Keep what the header of a telegram says about the meter."""
        await self._writer.do(
            lambda changes: changes.learn_identity(key, identification, manufacturer, version, medium)
        )

    async def fields(self) -> dict[int, list[tuple[int, str]]]:
        """By meter: (telegram, DIB in hex) of all that it ever sent, in the order of first appearance."""
        return await self._reader.do(lambda reader: reader.fields())

    async def learn_fields(self, key: int, fields: Iterable[tuple[int, str]]) -> None:
        """Keep which (telegram, DIB) a meter sends; known ones stay where they are."""
        wanted = list(fields)
        await self._writer.do(lambda changes: changes.learn_fields(key, wanted))

    async def add_reading(self, reading: Reading) -> int:
        """Record a readout, good or not; returns its id."""
        return await self._writer.do(lambda changes: changes.add_reading(reading))

    async def add_readings(self, readings: Sequence[Reading]) -> list[int]:
        """Record many, such as a history, in slices that let others through; returns their ids."""
        ids: list[int] = []
        for start in range(0, len(readings), _SLICE):
            ids += await self._add_slice(readings[start : start + _SLICE])
        return ids

    async def sealed_readings(self, key: int, after: int, limit: int) -> list[Reading]:
        """Readings of a meter, with an id above `after`, that want for the right key, oldest first."""
        return await self._reader.do(lambda reader: reader.sealed_readings(key, after, limit))

    async def open_readings(self, key: int, readings: Sequence[Reading]) -> None:
        """Count readings of a meter as good from now on, in its profiles too: its key opens them."""
        await self._writer.do(lambda changes: changes.open_readings(key, readings))

    async def reading(self, number: int) -> Reading | None:
        """The reading with this id."""
        return await self._reader.do(lambda reader: reader.reading(number))

    async def latest(self, key: int) -> Reading | None:
        """The last good reading of a meter."""
        return await self._reader.do(lambda reader: reader.latest(key))

    async def latest_all(self) -> dict[int, Reading]:
        """By meter: the last good reading of every installed one that has one."""
        return await self._reader.do(lambda reader: reader.latest_all())

    async def latest_failures(self) -> dict[int, Reading]:
        """By meter: the last readout that failed, of every installed one that has one."""
        return await self._reader.do(lambda reader: reader.latest_failures())

    async def readings_count(self, key: int) -> int:
        """How many good readings of a meter are kept."""
        return await self._reader.do(lambda reader: reader.readings_count(key))

    async def oldest(self, key: int) -> int | None:
        """Time of the oldest good reading of a meter."""
        return await self._reader.do(lambda reader: reader.oldest(key))

    async def profile_rows(
        self, key: int, profile: int, start_ms: int, end_ms: int, limit: int = 1000
    ) -> list[ProfileRow]:
        """Rows read from `start_ms` to `end_ms`, both included: the newest `limit`, oldest first."""
        return await self._reader.do(
            lambda reader: reader.profile_rows(key, profile, start_ms, end_ms, limit)
        )

    async def profile_entries(
        self, key: int, profile: int, first: int, last: int, limit: int = 1000
    ) -> list[ProfileRow]:
        """Rows number `first` (1 = oldest) to `last` (0 = newest): the newest `limit`, oldest first."""
        return await self._reader.do(lambda reader: reader.profile_entries(key, profile, first, last, limit))

    async def profile_count(self, key: int, profile: int) -> int:
        """How many rows a profile of a meter has."""
        return await self._reader.do(lambda reader: reader.profile_count(key, profile))

    async def reading_rows(self, key: int, start_ms: int, end_ms: int, limit: int = 1000) -> list[ProfileRow]:
        """Every good reading from `start_ms` to `end_ms`, both included: the newest `limit`, oldest first."""
        return await self._reader.do(lambda reader: reader.reading_rows(key, start_ms, end_ms, limit))

    async def reading_entries(self, key: int, first: int, last: int, limit: int = 1000) -> list[ProfileRow]:
        """Good readings number `first` (1 = oldest) to `last` (0 = newest): the newest `limit`, oldest first."""
        return await self._reader.do(lambda reader: reader.reading_entries(key, first, last, limit))

    async def counters(self) -> tuple[dict[tuple[bytes, bytes], int], CounterRun | None]:
        """Ceilings of invocation counters by (fingerprint of the key, title), and the run they belong to."""
        return await self._reader.do(lambda reader: reader.counters())

    async def save_counters(
        self, ceilings: Mapping[tuple[bytes, bytes], int | None], run: CounterRun | None = None
    ) -> None:
        """Set ceilings of invocation counters, `None` to delete one; and the run that they belong to."""
        await self._writer.do(lambda changes: changes.save_counters(ceilings, run))

    async def add_events(self, events: Sequence[Event]) -> list[int]:
        """Put events, in this order, into their logs, all or none; returns their ids.

        The oldest rows make room; those that a report has not taken stay, up to ten times the size of the log.
        """
        wanted = list(events)
        return await self._writer.do(lambda changes: changes.add_events(wanted))

    async def last_events(self) -> list[Event]:
        """The last event of every log that has one."""
        return await self._reader.do(lambda reader: reader.last_events())

    async def recent_events(
        self, limit: int | None = None, after: int = 0, origin: Origin = ANYWHERE
    ) -> list[Event]:
        """Events with an id above `after`: the newest of them, at most `limit`, oldest first."""
        return await self._reader.do(lambda reader: reader.recent_events(limit, after, origin))

    async def event_rows(
        self, meter: int | None, log: Log, start_ms: int, end_ms: int, limit: int = 1000
    ) -> list[Event]:
        """Events from `start_ms` to `end_ms`, both included: the newest `limit`, oldest first."""
        return await self._reader.do(lambda reader: reader.event_rows(meter, log, start_ms, end_ms, limit))

    async def event_entries(
        self, meter: int | None, log: Log, first: int, last: int, limit: int = 1000
    ) -> list[Event]:
        """Events number `first` (1 = oldest) to `last` (0 = newest): the newest `limit`, oldest first."""
        return await self._reader.do(lambda reader: reader.event_entries(meter, log, first, last, limit))

    async def event_count(self, meter: int | None, log: Log) -> int:
        """How many rows an event log has."""
        return await self._reader.do(lambda reader: reader.event_count(meter, log))

    async def last_run(self) -> LastRun:
        """How the gateway ran before; to be asked before `begin_run`."""
        return await self._reader.do(lambda reader: reader.last_run())

    async def begin_run(self, version: str, now_ms: int) -> None:
        """Note that this version of the gateway runs since now."""
        await self._writer.do(lambda changes: changes.begin_run(version, now_ms))

    async def heartbeat(self, now_ms: int, *, stopped: bool = False) -> None:
        """Note that the gateway still runs, or with `stopped` that it ends now."""
        await self._writer.do(lambda changes: changes.heartbeat(now_ms, stopped))

    async def clock_offset(self) -> int:
        """How far the gateway's clock is ahead of the machine's, ms; 0 before it was ever set."""
        return await self._reader.do(lambda reader: reader.clock_offset())

    async def set_clock_offset(self, offset_ms: int) -> None:
        """Keep how far the gateway's clock is ahead of the machine's."""
        await self._writer.do(lambda changes: changes.set_clock_offset(offset_ms))

    async def searches(self) -> dict[str, str]:
        """By line: how the last search on it stands, as it was saved."""
        return await self._reader.do(lambda reader: reader.searches())

    async def save_search(self, line: str, state: str) -> None:
        """Keep how the search on a line stands."""
        await self._writer.do(lambda changes: changes.save_search(line, state))

    async def set_profiles(self, intervals: Mapping[int, Interval], zone: ZoneInfo) -> None:
        """Cut each profile (by number) at its interval in this zone; returns when all rows are there.

        A profile that is cut like that already costs nothing. Another one is built from the readings in the
        background; until it is complete its old rows are served, and after a crash it is built again.
        """
        async with self._rebuilding:
            for profile, interval in intervals.items():
                await self._rebuild(profile, interval, zone)
            while await self._writer.do(lambda changes: changes.drop_retired()):
                pass

    async def _add_slice(self, readings: Sequence[Reading]) -> list[int]:
        return await self._writer.do(lambda changes: changes.add_readings(readings))

    async def _rebuild(self, profile: int, interval: Interval, zone: ZoneInfo) -> None:
        series = await self._writer.do(lambda changes: changes.begin_series(profile, interval, zone))
        if series is None:
            return
        # From here on new readings enter the new series too: only older ones have to be caught up with.
        for meter in await self.meters(removed=True):
            await self._catch_up(series, meter.key)
        await self._writer.do(lambda changes: changes.use_series(series))
        log.info("Profile %d is now cut at %s (%s)", profile, interval, zone.key)

    async def _catch_up(self, series: Series, meter: int) -> None:
        after: tuple[int, int] | None = (-1 << 62, 0)
        while after is not None:
            after = await self._catch_up_slice(series, meter, after)

    async def _catch_up_slice(
        self, series: Series, meter: int, after: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Enter the good readings that follow `after`; the last one of them, `None` at the end."""
        times = await self._reader.do(lambda reader: reader.good_times(meter, after, _SLICE))
        if not times:
            return None
        await self._writer.do(lambda changes: changes.fill_series(series, meter, times))
        return times[-1]

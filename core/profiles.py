"""The rows of a meter's profiles: telegrams from the store, mapped as the mapping is now, kept encoded.

So a mapping that is corrected corrects history too. A row is worked out once and then kept until the
mapping or the structure of the columns changes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, cast

from core.cosem import datetime as cosem_time
from core.cosem.objects import CaptureObject
from core.dlms import axdr
from core.interval import Interval
from core.mapping import engine
from core.mapping.simplified import Site
from core.mbus.telegram import Telegram, TelegramError
from core.meter import Columns, Meter
from core.store import ProfileRow, Store

NO_LIMIT: Final = 0xFFFF_FFFF
"""Attribute 8: the store keeps rows for as long as there is room on the disk."""

_EVER: Final = 1 << 53
_SLICE: Final = 25
"""Rows worked out between two looks at the event loop, about 2 ms."""


class RowCache:
    """Encoded rows of all meters, least recently used out first."""

    def __init__(self, most: int = 16 << 20) -> None:
        """`most`: bytes of rows; a row has some 10 a column, a captured text line some thousands."""
        self._most = most
        self._size = 0
        self._rows: OrderedDict[tuple[Columns, int], bytes] = OrderedDict()

    def get(self, columns: Columns, reading: int) -> bytes | None:
        row = self._rows.get((columns, reading))
        if row is not None:
            self._rows.move_to_end((columns, reading))
        return row

    def put(self, columns: Columns, reading: int, row: bytes) -> None:
        self._size += len(row) - len(self._rows.pop((columns, reading), b""))
        self._rows[columns, reading] = row
        while self._size > self._most:
            self._size -= len(self._rows.popitem(last=False)[1])


class ReadingRows:
    """Row source of a profile that has a row for every good reading (`core.cosem.profile.RowSource`)."""

    def __init__(
        self, meter: Meter, columns: Columns, period_s: int, store: Store, cache: RowCache, site: Site
    ) -> None:
        """`period_s`: the capture period, 0 where it has no fixed length."""
        self._meter = meter
        # Those at the time: a request that began before the mapping changed keeps its columns to the end.
        self._columns = columns
        self._period_s = period_s
        self._store = store
        self._cache = cache
        self._site = site

    def columns(self) -> Sequence[CaptureObject]:
        return self._columns.captured

    def capture_period(self) -> int:
        return self._period_s

    def capacity(self) -> int:
        return NO_LIMIT

    async def entries(self) -> int:
        return await self._store.readings_count(self._meter.key)

    async def rows(self, start_ms: int | None, end_ms: int | None, limit: int) -> list[bytes]:
        start = -_EVER if start_ms is None else start_ms
        end = _EVER if end_ms is None else end_ms
        return await self.encoded(await self._between(start, end, limit))

    async def rows_by_entry(self, first: int, last: int) -> list[bytes]:
        return await self.encoded(await self._numbered(first, last))

    async def _between(self, start_ms: int, end_ms: int, limit: int) -> list[ProfileRow]:
        return await self._store.reading_rows(self._meter.key, start_ms, end_ms, limit)

    async def _numbered(self, first: int, last: int) -> list[ProfileRow]:
        return await self._store.reading_entries(self._meter.key, first, last)

    async def encoded(self, rows: Sequence[ProfileRow]) -> list[bytes]:
        """The rows as they are sent: structures of the clock and one value for each column."""
        columns = self._columns
        encoded = [self._cache.get(columns, row.reading) for row in rows]
        missing = [place for place, known in enumerate(encoded) if known is None]
        for start in range(0, len(missing), _SLICE):
            if start:
                await asyncio.sleep(0)
            places = missing[start : start + _SLICE]
            for place, row in zip(places, self._work_out(columns, [rows[at] for at in places]), strict=True):
                encoded[place] = row
                self._cache.put(columns, rows[place].reading, row)
        return cast(list[bytes], encoded)

    def _work_out(self, columns: Columns, rows: list[ProfileRow]) -> list[bytes]:
        readouts = [engine.Readout(self._telegrams(row), row.time_ms) for row in rows]
        values = engine.columns(columns.objects, readouts, self._site)
        head = b"\x02" + axdr.length(len(columns.captured)) + b"\x09\x0c"
        zone = self._site.zone
        return [
            b"".join((head, cosem_time.encode(row.time_ms, zone), *row_values))
            for row, row_values in zip(rows, values, strict=True)
        ]

    def _telegrams(self, row: ProfileRow) -> tuple[Telegram, ...]:
        try:
            return self._meter.decode(row.frames)
        except TelegramError:
            return ()  # kept by an older version that took more for a telegram: a row without values


class MeterRows(ReadingRows):
    """Row source of load profile 1 or 2 or the billing profile: the registers, at the boundaries of an interval."""

    def __init__(
        self,
        meter: Meter,
        profile: int,
        period_s: int,
        store: Store,
        cache: RowCache,
        site: Site,
        columns: Columns | None = None,
    ) -> None:
        """`profile` is its number in the store; `columns`: those of the meter where not given."""
        super().__init__(meter, columns or meter.columns, period_s, store, cache, site)
        self._profile = profile

    async def entries(self) -> int:
        return await self._store.profile_count(self._meter.key, self._profile)

    async def _between(self, start_ms: int, end_ms: int, limit: int) -> list[ProfileRow]:
        return await self._store.profile_rows(self._meter.key, self._profile, start_ms, end_ms, limit)

    async def _numbered(self, first: int, last: int) -> list[ProfileRow]:
        return await self._store.profile_entries(self._meter.key, self._profile, first, last)


def period_s(interval: Interval, readout: Interval) -> int:
    """Capture period in s: a profile of all values has that of the readout; a month has no fixed one (0)."""
    return (readout.seconds if interval.is_all else interval.seconds) or 0

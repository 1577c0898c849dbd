"""Rows of a profile: telegrams out of a real store, mapped as the mapping is now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from test_meter import FALCON, SITE, Bench

from core.cosem import datetime as cosem_time
from core.dlms import axdr
from core.interval import Interval
from core.mapping.model import parse_mapping
from core.mbus.telegram import decode
from core.profiles import MeterRows, RowCache, period_s
from core.snapshot import MeterState
from core.store import Reading, Store

HOUR = 3_600_000
FIRST = 1_770_000_000_000 // HOUR * HOUR
VOLUME = bytes((8, 0, 1, 0, 0, 255))


class Archive:
    """A store with 100 hourly readings of one water meter, and the profile over them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bench = Bench()
        self.cache = RowCache()

    @property
    def rows(self) -> MeterRows:
        """As the gateway makes them whenever the columns change."""
        return MeterRows(self.bench.meter, 1, 3600, self.store, self.cache, SITE)

    async def fill(self) -> None:
        await self.store.set_profiles({1: Interval.parse("1 h")}, SITE.zone)  # type: ignore[arg-type]
        self.bench.meter.key = await self.store.install_meter("cellar", FALCON, FIRST)
        await self.store.add_readings(
            [
                Reading(
                    self.bench.meter.key,
                    "cellar",
                    FIRST + HOUR * number + 1500,
                    MeterState.OK,
                    self.bench.simulated.telegrams_at(FIRST / 1000 + 3600 * number),
                )
                for number in range(100)
            ]
        )
        self.bench.clock.now = FIRST + 100 * HOUR
        self.bench.take()

    async def values(
        self, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[tuple[int, object]]:
        """Time and volume of the rows, decoded."""
        place = [column.logical_name for column in self.rows.columns()].index(VOLUME)
        found = []
        for row in await self.rows.rows(start_ms, end_ms, 1000):
            content = axdr.decode(row).content
            assert isinstance(content, list)
            stamp = content[0].content
            assert isinstance(stamp, bytes)
            found.append((cosem_time.decode(stamp, SITE.zone), content[place].content))
        return found


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    store = await Store.open(tmp_path / "gateway.db")
    archive = Archive(store)
    await archive.fill()
    yield archive
    await store.close()


async def test_every_row_is_what_the_telegram_said(archive: Archive) -> None:
    """100 rows with the times of the readouts, and the exact values of the telegrams."""
    rows = await archive.values()
    assert len(rows) == 100 == await archive.rows.entries()
    for number, (time_ms, volume) in enumerate(rows):
        (frame,) = archive.bench.simulated.telegrams_at(FIRST / 1000 + 3600 * number)
        assert time_ms == FIRST + HOUR * number + 1500
        assert Decimal(str(volume)).scaleb(-3) == decode(frame).records[0].value


async def test_a_range_takes_both_its_ends(archive: Archive) -> None:
    """Rows from the first to the last time, both included."""
    rows = await archive.values(FIRST + 10 * HOUR + 1500, FIRST + 12 * HOUR + 1500)
    assert [time_ms for time_ms, _ in rows] == [FIRST + number * HOUR + 1500 for number in (10, 11, 12)]


async def test_a_corrected_mapping_corrects_history(archive: Archive) -> None:
    """Old rows are worked out anew, also those that were read before the correction."""
    before = await archive.values()
    document = json.loads(json.dumps(archive.bench.mapping.document))
    document["entries"] = [
        {**entry, "dlmsScaler": -4, "dlmsDataType": 21}
        for entry in document["entries"]
        if entry["dlmsObisCode"] == "8.0.1.0.0.255"
    ][:1]
    archive.bench.meter.remap(parse_mapping(json.dumps(document), "water.json"))
    after = await archive.values()
    assert [(time, 10 * int(str(volume))) for time, volume in before] == after


async def test_a_gap_is_a_gap(archive: Archive) -> None:
    """An hour without a good reading has no row; nothing is invented for it."""
    late = FIRST + 105 * HOUR
    key = archive.bench.meter.key
    await archive.store.add_reading(Reading(key, "cellar", late - HOUR, MeterState.NO_ANSWER))
    await archive.store.add_reading(
        Reading(key, "cellar", late, MeterState.OK, archive.bench.simulated.telegrams_at(late / 1000))
    )
    times = [time_ms for time_ms, _ in await archive.values()]
    assert times[-2:] == [FIRST + 99 * HOUR + 1500, late]


async def test_the_first_reading_of_an_interval_makes_the_row(archive: Archive) -> None:
    """A second reading in the same hour changes no row."""
    before = await archive.values()
    again = FIRST + 99 * HOUR + 60_000
    await archive.store.add_reading(
        Reading(
            archive.bench.meter.key,
            "cellar",
            again,
            MeterState.OK,
            archive.bench.simulated.telegrams_at(again / 1000),
        )
    )
    assert await archive.values() == before


async def test_kept_rows_are_the_same_as_new_ones(archive: Archive) -> None:
    """A cache that is too small for all rows only costs time."""
    large = await archive.rows.rows(None, None, 1000)
    small = MeterRows(archive.bench.meter, 1, 3600, archive.store, RowCache(most=7), SITE)
    assert await small.rows(None, None, 1000) == large == await archive.rows.rows(None, None, 1000)


async def test_rows_by_entry(archive: Archive) -> None:
    """Entry 1 is the oldest row."""
    every = await archive.rows.rows(None, None, 1000)
    assert await archive.rows.rows_by_entry(1, 3) == every[:3]
    assert await archive.rows.rows_by_entry(98, 100) == every[-3:]


def test_the_capture_period_is_that_of_the_profile() -> None:
    """A profile of all values has the period of the readout; a month has none."""
    quarter = Interval.parse("15 min")
    assert period_s(Interval.parse("1 h"), quarter) == 3600
    assert period_s(Interval.parse("all"), quarter) == 900
    assert period_s(Interval.parse("1 month"), quarter) == 0

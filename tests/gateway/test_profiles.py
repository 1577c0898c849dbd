"""Rows of a profile: telegrams out of a real store, mapped as the mapping is now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from dlms_plant import Directory
from test_meter import FALCON, SITE, Bench

from core.cosem import datetime as cosem_time
from core.cosem.objects import Context, ProfileGeneric, Selector
from core.dlms import axdr
from core.interval import Interval
from core.mapping.model import parse_mapping
from core.mapping.simplified import Site
from core.mbus.telegram import decode
from core.meter import Columns
from core.profiles import MeterRows, ReadingRows, RowCache, period_s
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


async def test_kept_rows_are_bounded_by_their_bytes() -> None:
    """The least recently used go first, and a row that is kept anew counts once."""
    cache, columns = RowCache(most=100), Columns(())
    for number in range(4):
        cache.put(columns, number, bytes(30))
    assert [cache.get(columns, number) is not None for number in range(4)] == [False, True, True, True]
    cache.put(columns, 3, bytes(40))
    assert cache.get(columns, 1) == bytes(30)
    cache.put(columns, 5, bytes(30))
    assert [cache.get(columns, number) is not None for number in (1, 2, 3, 5)] == [True, False, True, True]


async def test_a_history_has_a_row_for_every_reading(archive: Archive) -> None:
    """Also for those between the boundaries of a load profile; its columns are clock and the value alone."""
    again = FIRST + 99 * HOUR + 60_000
    frames = archive.bench.simulated.telegrams_at(again / 1000)
    await archive.store.add_reading(Reading(archive.bench.meter.key, "cellar", again, MeterState.OK, frames))
    meter = archive.bench.meter
    volume = next(item for item in meter.objects if item.obis == VOLUME)
    rows = ReadingRows(meter, Columns((volume,)), 900, archive.store, archive.cache, SITE)
    assert await archive.rows.entries() == 100
    assert await rows.entries() == 101
    assert [column.logical_name for column in rows.columns()] == [bytes((0, 0, 1, 0, 0, 255)), VOLUME]
    whole = await rows.rows(None, None, 1000)
    values = [content(axdr.decode(row)) for row in whole]
    stamps = [cosem_time.decode(cast(bytes, row[0].content), SITE.zone) for row in values]
    assert stamps == [*(FIRST + number * HOUR + 1500 for number in range(100)), again]
    assert Decimal(str(values[-1][1].content)).scaleb(-3) == decode(frames[0]).records[0].value
    assert await rows.rows_by_entry(100, 101) == whole[-2:] == await rows.rows(stamps[99], None, 1000)


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


QUARTER = 900_000
BERLIN = ZoneInfo("Europe/Berlin")
IN_BERLIN = Site("0016000000", BERLIN)


class Diary:
    """A store with the readings that a test gives it, and every profile over them, as a client reads it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bench = Bench()
        self.taken: list[int] = []  # times of the readings in the order in which they were taken

    async def install(self, interval: str) -> None:
        await self.store.set_profiles({1: Interval.parse(interval)}, BERLIN)
        self.bench.meter.key = await self.store.install_meter("cellar", FALCON, 0)
        self.bench.take()

    async def take(self, times: Iterable[int]) -> None:
        """Good readings; the meter counts on in the order in which they are taken, whatever the clock says."""
        readings = []
        for time_ms in times:
            frames = self.bench.simulated.telegrams_at(FIRST / 1000 + 3600 * len(self.taken))
            readings.append(Reading(self.bench.meter.key, "cellar", time_ms, MeterState.OK, frames))
            self.taken.append(time_ms)
        await self.store.add_readings(readings)

    async def rows(self, selector: Selector | None = None) -> list[tuple[int, int]]:
        """Time and volume of each row, decoded from what the profile object answers."""
        source = MeterRows(self.bench.meter, 1, 900, self.store, RowCache(), IN_BERLIN)
        place = [column.logical_name for column in source.columns()].index(VOLUME)
        profile = ProfileGeneric(bytes((1, 0, 99, 1, 0, 255)), source, BERLIN)
        answer = profile.read(2, selector, Context(1, 16, "", Directory()))
        assert not isinstance(answer, bytes)
        found = []
        for row in content(axdr.decode(await answer)):
            values = content(row)
            stamp, volume = values[0].content, values[place].content
            assert isinstance(stamp, bytes)
            assert isinstance(volume, int)
            found.append((cosem_time.decode(stamp, ZoneInfo("UTC")), volume))
        return found


def content(value: axdr.Value) -> list[axdr.Value]:
    assert isinstance(value.content, list)
    return value.content


def ms(text: str) -> int:
    """Milliseconds of an ISO time with offset."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def period(time_ms: int, interval: str) -> object:
    """What tells one interval from the next on the wall, found without the code that is tested."""
    t = datetime.fromtimestamp(time_ms / 1000, BERLIN)
    parts = {"1 month": (), "1 d": (t.day,), "1 h": (t.day, t.hour, t.utcoffset())}
    return (t.year, t.month, *parts.get(interval, (t.day, t.hour, t.utcoffset(), t.minute // 15)))


@pytest.fixture
async def diary(tmp_path: Path) -> AsyncIterator[Diary]:
    store = await Store.open(tmp_path / "gateway.db")
    yield Diary(store)
    await store.close()


@pytest.mark.parametrize("interval", ["15 min", "1 h", "1 d", "1 month"])
@pytest.mark.parametrize(
    ("start", "days"),
    [("2025-03-28T22:07+01:00", 5), ("2025-10-24T22:07+02:00", 9)],
    ids=["spring", "autumn"],
)
async def test_daylight_saving_keeps_rows_unique_and_in_order(
    diary: Diary, start: str, days: int, interval: str
) -> None:
    """Through both changes of the clock: one row for each interval that has a reading, the first one in it.

    The hour that comes twice has its rows twice, told apart by the deviation; the hour that is skipped has
    none; the day of 23 or 25 hours and the month have one.
    """
    await diary.install(interval)
    times = [ms(start) + number * QUARTER + 700 * (number % 5) for number in range(days * 96)]
    # Readings that failed: single ones, a whole night over the change, and one whole hour.
    missing = {10, 11, *range(60, 66), *range(200, 204)}
    taken = [time_ms for number, time_ms in enumerate(times) if number not in missing]
    await diary.take(taken)
    first: dict[object, int] = {}
    for time_ms in taken:
        first.setdefault(period(time_ms, interval), time_ms)
    rows = [time_ms for time_ms, _ in await diary.rows()]
    assert rows == list(first.values())
    assert rows == sorted(set(rows))


@pytest.mark.parametrize(("interval", "expected"), [("15 min", 8), ("1 h", 2), ("1 d", 1)])
async def test_the_hour_that_comes_twice_is_selected_by_its_deviation(
    diary: Diary, interval: str, expected: int
) -> None:
    """02:00 to 02:59:59 on 26 October 2025: all of it, and each of the two hours alone."""
    await diary.install(interval)
    begin = ms("2025-10-26T02:00+02:00")
    await diary.take([begin + number * QUARTER for number in range(-8, 16)])

    async def between(first: str, last: str) -> list[int]:
        return [time_ms for time_ms, _ in await diary.rows(by_range(first, last))]

    whole = await between("07e90a1a0702000000ff8880", "07e90a1a07023b3b63ffc400")
    if interval == "1 d":
        assert whole == []  # its row is of midnight
        return
    assert len(whole) == expected
    assert await between("07e90a1a0702000000ff8880", "07e90a1a07023b3b63ff8880") == whole[: expected // 2]
    assert await between("07e90a1a0702000000ffc400", "07e90a1a07023b3b63ffc400") == whole[expected // 2 :]
    # Without a deviation the status tells them apart, and without both the range is as wide as it can be.
    assert await between("07e90a1a0702000000800080", "07e90a1a07023b3b63800080") == whole[: expected // 2]
    assert await between("07e90a1a07020000008000ff", "07e90a1a07023b3b638000ff") == whole


@pytest.mark.parametrize("interval", ["15 min", "1 h"])
async def test_a_clock_that_is_set_back_changes_no_row(diary: Diary, interval: str) -> None:
    """Two hours that come again at noon: the rows that clients have seen stay, and no second one joins them."""
    await diary.install(interval)
    noon = ms("2025-06-15T12:00+02:00")
    await diary.take([noon + number * QUARTER + 1500 for number in range(-8, 9)])  # to 14:00
    before = await diary.rows()
    # Set back to 12:15. These come sooner after each boundary than the first ones did.
    await diary.take([noon + number * QUARTER + 200 for number in range(1, 9)])
    assert await diary.rows() == before
    await diary.take([noon + number * QUARTER + 200 for number in range(9, 13)])
    rows = await diary.rows()
    assert rows[: len(before)] == before
    assert len(rows) == len(before) + (4 if interval == "15 min" else 1)
    assert [time_ms for time_ms, _ in rows] == sorted({time_ms for time_ms, _ in rows})
    volumes = [volume for _, volume in rows]
    assert volumes == sorted(volumes)


async def test_the_rows_stay_when_they_are_cut_anew_after_the_clock_was_set_back(diary: Diary) -> None:
    """A change of the interval and back finds the same first readings as were taken first."""
    await diary.install("15 min")
    noon = ms("2025-06-15T12:00+02:00")
    await diary.take([noon + number * QUARTER + 1500 for number in range(9)])
    await diary.take([noon + number * QUARTER + 200 for number in range(1, 12)])
    before = await diary.rows()
    await diary.store.set_profiles({1: Interval.parse("1 h")}, BERLIN)
    await diary.store.set_profiles({1: Interval.parse("15 min")}, BERLIN)
    assert await diary.rows() == before


async def test_a_clock_that_is_set_forward_leaves_a_gap(diary: Diary) -> None:
    """Three hours that never were have no rows."""
    await diary.install("1 h")
    noon = ms("2025-06-15T12:00+02:00")
    await diary.take([noon + number * QUARTER for number in range(-4, 4)])
    await diary.take([noon + number * QUARTER + 60_000 for number in range(16, 24)])
    assert [time_ms for time_ms, _ in await diary.rows()] == [
        noon - HOUR, noon, noon + 4 * HOUR + 60_000, noon + 5 * HOUR + 60_000,
    ]  # fmt: skip


async def test_a_row_is_the_first_readout_at_or_after_the_boundary(diary: Diary) -> None:
    """Exactly on it counts, 10 ms before it belongs to the hour before; a late one is shown as late."""
    await diary.install("1 h")
    noon = ms("2025-06-15T12:00+02:00")
    await diary.take([noon - 10, noon, noon + 1000, noon + HOUR + 2_400_000, noon + HOUR + 2_500_000])
    assert [time_ms for time_ms, _ in await diary.rows()] == [noon - 10, noon, noon + HOUR + 2_400_000]


async def test_a_range_from_later_to_earlier_is_empty(diary: Diary) -> None:
    """An answer, not an error."""
    await diary.install("1 h")
    noon = ms("2025-06-15T12:00+02:00")
    await diary.take([noon + number * HOUR for number in range(4)])
    later, earlier = "07e9060f070e000000ff8880", "07e9060f070c000000ff8880"
    assert len(await diary.rows(by_range(earlier, later))) == 3
    assert await diary.rows(by_range(later, earlier)) == []


def by_range(first: str, last: str) -> Selector:
    """By the clock, both bounds as 12 bytes in hex, all columns."""
    clock = axdr.structure(
        axdr.long_unsigned(8),
        axdr.octet_string(bytes((0, 0, 1, 0, 0, 255))),
        axdr.integer(2),
        axdr.long_unsigned(0),
    )
    bounds = (axdr.date_time(bytes.fromhex(text)) for text in (first, last))
    return Selector(1, axdr.decode(axdr.structure(clock, *bounds, axdr.array(()))))

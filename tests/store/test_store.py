"""The store keeps what was read, tells it again, and says in a sentence why it cannot."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.interval import PROFILE_INTERVALS, Interval
from core.snapshot import MeterState
from core.store import Event, Log, Origin, ProfileRow, Reading, Store, StoreError, open_readonly, split_frames
from core.store.schema import MIGRATIONS, open_for_writing

TELEGRAMS = [
    bytes.fromhex(path.read_text())
    for path in sorted((Path(__file__).parents[2] / "core/mbus/telegrams").glob("*.hex"))
]
STOCKHOLM = ZoneInfo("Europe/Stockholm")
HOUR = 3_600_000
START = 1_761_256_800_000  # 2025-10-24 00:00 in Stockholm, two days before the clock is set back
EVER = (-(1 << 60), 1 << 60)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "gateway.db")
    yield opened
    await opened.close()


def good(meter: int, time_ms: int, *frames: bytes) -> Reading:
    return Reading(meter, "cellar", time_ms, MeterState.OK, frames or (TELEGRAMS[0],))


def failed(meter: int, time_ms: int) -> Reading:
    return Reading(meter, "cellar", time_ms, MeterState.GARBLED, (b"\x68\x03\x04",), "The checksum is wrong.")


def expected_rows(readings: list[Reading], interval: Interval, zone: ZoneInfo) -> list[tuple[int, int, int]]:
    """(boundary, time, id) of the first good reading of each interval, worked out the long way."""
    first: dict[int, tuple[int, int]] = {}
    for each in readings:
        if each.result is MeterState.OK:
            boundary = interval.boundary(each.time_ms, zone)
            first[boundary] = min(first.get(boundary, (1 << 62, 0)), (each.time_ms, each.id))
    return [(boundary, *first[boundary]) for boundary in sorted(first)]


def keys(rows: list[ProfileRow]) -> list[tuple[int, int, int]]:
    return [(row.boundary_ms, row.time_ms, row.reading) for row in rows]


async def test_a_reading_comes_back_as_it_was_received(store: Store) -> None:
    """Every real telegram, alone and several to a readout, byte for byte."""
    meter = await store.install_meter("cellar", "5", 1)
    for moment, frame in enumerate(TELEGRAMS):
        number = await store.add_reading(good(meter, moment, frame))
        assert await store.reading(number) == Reading(
            meter, "cellar", moment, MeterState.OK, (frame,), "", number
        )
    number = await store.add_reading(good(meter, 1000, *TELEGRAMS[:3]))
    latest = await store.latest(meter)
    assert latest is not None
    assert (latest.id, latest.frames) == (number, tuple(TELEGRAMS[:3]))
    assert await store.readings_count(meter) == len(TELEGRAMS) + 1
    assert await store.oldest(meter) == 0


async def test_a_failed_readout_is_kept_with_its_bytes_and_reason(store: Store) -> None:
    """It never takes the place of a good one."""
    meter = await store.install_meter("cellar", "5", 1)
    number = await store.add_reading(good(meter, 10))
    await store.add_reading(failed(meter, 20))
    latest, failure = await store.latest(meter), (await store.latest_failures())[meter]
    assert latest is not None
    assert latest.id == number
    assert (failure.time_ms, failure.frames, failure.detail) == (
        20,
        (b"\x68\x03\x04",),
        "The checksum is wrong.",
    )
    assert await store.readings_count(meter) == 1


async def test_the_last_reading_is_the_one_that_was_taken_last(store: Store) -> None:
    """Also after the clock was set back: the time that a reading bears does not say which one came last."""
    meter = await store.install_meter("cellar", "5", 1)
    await store.add_reading(good(meter, 5000))
    await store.add_reading(failed(meter, 6000))
    taken = await store.add_reading(good(meter, 1000))
    missed = await store.add_reading(failed(meter, 2000))
    latest = await store.latest(meter)
    assert latest is not None
    assert (latest.id, latest.time_ms) == (taken, 1000)
    assert {key: one.id for key, one in (await store.latest_all()).items()} == {meter: taken}
    assert {key: one.id for key, one in (await store.latest_failures()).items()} == {meter: missed}
    assert await store.oldest(meter) == 1000


def happened(number: int, meter: int | None = None, log: Log = Log.STANDARD) -> Event:
    return Event(meter, log, START + number * 1000, number % 256, f"number {number}")


async def test_an_event_log_answers_by_time_and_by_entry(store: Store) -> None:
    """Each log alone, in the order in which things happened, also where the clock was set back meanwhile."""
    meter = await store.install_meter("cellar", "5", 1)
    moments = [0, 1, 2, 9, 3, 4, 5]  # the clock was set back after the fourth
    for moment in moments:
        ids = await store.add_events([happened(moment), happened(moment + 100, meter)])
        assert ids[0] < ids[1]
    await store.add_events([happened(7, None, Log.FRAUD)])

    async def found(start: int, end: int, limit: int = 1000) -> list[int]:
        events = await store.event_rows(None, Log.STANDARD, START + start * 1000, START + end * 1000, limit)
        return [(event.time_ms - START) // 1000 for event in events]

    assert await found(0, 100) == moments
    assert await found(2, 4) == [2, 3, 4]
    assert await found(2, 9, limit=3) == [3, 4, 5]
    assert await found(5, 2) == []

    async def entries(first: int, last: int, limit: int = 1000) -> list[int]:
        events = await store.event_entries(None, Log.STANDARD, first, last, limit)
        return [event.code for event in events]

    assert await entries(1, 0) == moments
    assert await entries(4, 5) == [9, 3]
    assert await entries(6, 99) == [4, 5]
    assert await entries(8, 0) == []
    assert await entries(1, 0, limit=2) == [4, 5]
    counts = [
        await store.event_count(*log) for log in ((None, Log.STANDARD), (None, Log.FRAUD), (meter, Log.FRAUD))
    ]
    assert counts == [7, 1, 0]
    recent = await store.recent_events(3)
    assert [(event.meter, event.code) for event in recent] == [(None, 5), (meter, 105), (None, 7)]
    assert [event.log for event in await store.recent_events(origin=Origin(log=Log.FRAUD))] == [Log.FRAUD]


async def test_an_event_log_keeps_the_newest_rows(tmp_path: Path) -> None:
    """1000 of the gateway and 500 of a meter in each log, over restarts; ids go on and are not used again."""
    path = tmp_path / "gateway.db"
    total = 0
    for size in (700, 700, 3):
        store = await Store.open(path)
        meter = await store.install_meter("cellar", "5", 1)
        for log in Log:
            for device in (None, meter):
                await store.add_events([happened(total + number, device, log) for number in range(size)])
        total += size
        for log in Log:
            for device, kept in ((None, min(total, 1000)), (meter, 500)):
                events = await store.event_rows(device, log, *EVER, limit=10_000)
                assert [event.message for event in events] == [
                    f"number {n}" for n in range(total - kept, total)
                ]
                assert await store.event_count(device, log) == kept
        assert {(event.meter, event.log): event.message for event in await store.last_events()} == {
            (device, log): f"number {total - 1}" for device in (None, meter) for log in Log
        }
        assert max(event.id for event in await store.last_events()) == 4 * total
        await store.close()


async def test_the_last_run_is_known_at_the_next_start(tmp_path: Path) -> None:
    """How it ended, which version it was, and the latest time that anything bears."""
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    assert await store.last_run() == ("", None, True, None)
    await store.begin_run("0.1.0", 1000)
    await store.heartbeat(61_000)
    await store.remember("0016000000", {})
    await store.set_clock_offset(-1500)
    await store.close()
    store = await Store.open(path)
    assert await store.last_run() == ("0.1.0", 61_000, False, 61_000)
    assert await store.clock_offset() == -1500
    meter = await store.install_meter("cellar", "5", 1)
    await store.add_reading(good(meter, 90_000))
    assert (await store.last_run()).newest_ms == 90_000
    await store.add_events([Event(None, Log.STANDARD, 95_000, 2, "")])
    assert (await store.last_run()).newest_ms == 95_000
    # The clock was wrong and is right again: what counts is what was written last.
    await store.add_reading(good(meter, 40_000))
    await store.add_events([Event(None, Log.STANDARD, 41_000, 5, "")])
    await store.heartbeat(42_000, stopped=True)
    assert await store.last_run() == ("0.1.0", 42_000, True, 42_000)
    await store.close()


def test_frames_in_a_row_are_taken_apart() -> None:
    """By their own L bytes; what is no frame stays together."""
    assert split_frames(b"".join(TELEGRAMS)) == tuple(TELEGRAMS)
    assert split_frames(b"") == ()
    assert split_frames(TELEGRAMS[0] + TELEGRAMS[1][:-1]) == (TELEGRAMS[0], TELEGRAMS[1][:-1])
    assert split_frames(b"\xe5\x68") == (b"\xe5\x68",)
    assert split_frames(b"\x68") == (b"\x68",)


async def test_a_meter_keeps_its_key_for_life(store: Store) -> None:
    """Installed again at the same place it is the same meter; another one never has its key."""
    first = await store.install_meter("cellar", "5", 1)
    assert await store.install_meter("cellar", "5", 2) == first
    await store.learn_identity(first, "12345678", "HYD", 37, 7)
    await store.remove_meter(first, 3)
    assert await store.meters() == []
    (removed,) = await store.meters(removed=True)
    assert (removed.removed_ms, removed.identification, removed.manufacturer) == (3, "12345678", "HYD")
    second = await store.install_meter("attic", "5", 4)
    assert await store.install_meter("cellar", "5", 5) == first
    assert [meter.key for meter in await store.meters()] == [first, second]
    assert (await store.meters())[0].version == 37


async def test_fields_are_kept_in_the_order_of_first_appearance(store: Store) -> None:
    """What comes later is put at the end, what is known stays where it is."""
    meter = await store.install_meter("cellar", "5", 1)
    await store.learn_fields(meter, [(0, "0c13"), (0, "0413")])
    await store.learn_fields(meter, [(0, "0413"), (1, "0c13"), (0, "0c13")])
    assert await store.fields() == {meter: [(0, "0c13"), (0, "0413"), (1, "0c13")]}


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """What the core needs at start comes from the file."""
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    meters = [await store.install_meter("cellar", str(number), 1) for number in range(1, 6)]
    ids = await store.add_readings([good(meter, 1000 + meter) for meter in meters for _ in range(3)])
    await store.add_reading(failed(meters[0], 5000))
    await store.close()
    assert not path.with_name("gateway.db-wal").exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store = await Store.open(path)
    latest = await store.latest_all()
    assert {key: reading.id for key, reading in latest.items()} == dict(zip(meters, ids[2::3], strict=True))
    assert list(await store.latest_failures()) == [meters[0]]
    await store.close()


@pytest.mark.parametrize("interval", PROFILE_INTERVALS, ids=str)
async def test_a_profile_takes_the_first_good_reading_of_each_interval(
    store: Store, interval: Interval
) -> None:
    """As they come, and built afterwards: the same rows, over the night when the clock is set back."""
    meter = await store.install_meter("cellar", "5", 1)
    await store.set_profiles({1: interval, 2: Interval.parse("1 d")}, STOCKHOLM)
    readings = []
    for number in range(96 * 4):
        moment = START + number * HOUR // 4
        readings.append(failed(meter, moment) if number % 7 == 0 else good(meter, moment + 700))
    ids = await store.add_readings(readings)
    kept = [
        Reading(each.meter, each.line, each.time_ms, each.result, each.frames, each.detail, number)
        for each, number in zip(readings, ids, strict=True)
    ]
    wanted = expected_rows(kept, interval, STOCKHOLM)
    assert keys(await store.profile_rows(meter, 1, *EVER)) == wanted
    await store.set_profiles({2: interval}, STOCKHOLM)
    assert keys(await store.profile_rows(meter, 2, *EVER)) == wanted
    assert await store.profile_count(meter, 2) == len(wanted)


async def test_a_profile_is_cut_again_when_interval_or_zone_change(store: Store) -> None:
    """And not when neither does."""
    meter = await store.install_meter("cellar", "5", 1)
    day = Interval.parse("1 d")
    await store.add_readings([good(meter, START + number * HOUR) for number in range(72)])
    await store.set_profiles({1: day}, STOCKHOLM)
    stockholm = keys(await store.profile_rows(meter, 1, *EVER))
    await store.set_profiles({1: day}, ZoneInfo("America/Santiago"))
    assert keys(await store.profile_rows(meter, 1, *EVER)) != stockholm
    await store.set_profiles({1: day}, STOCKHOLM)
    assert keys(await store.profile_rows(meter, 1, *EVER)) == stockholm
    with sqlite3.connect(store.path) as plain:
        before = plain.execute("SELECT id, state FROM profile_series").fetchall()
        await store.set_profiles({1: day}, STOCKHOLM)
        assert plain.execute("SELECT id, state FROM profile_series").fetchall() == before
        assert [state for _, state in before] == ["current"]
        assert plain.execute("SELECT count(*) FROM profile_row").fetchone() == (len(stockholm),)
    plain.close()


async def test_readings_that_come_while_a_profile_is_cut_are_in_it(store: Store) -> None:
    """Late ones, early ones, and those of a meter that is installed meanwhile."""
    meter = await store.install_meter("cellar", "5", 1)
    hour = Interval.parse("1 h")
    await store.add_readings([good(meter, START + number * HOUR // 4) for number in range(5000)])
    cutting = asyncio.create_task(store.set_profiles({1: hour}, STOCKHOLM))
    other = await store.install_meter("cellar", "6", 1)
    for number in range(40):
        await store.add_reading(good(meter, START + number * 12 * HOUR - 1000))
        await store.add_reading(good(other, START + number * HOUR // 2))
    await cutting
    assert await store.profile_count(other, 1) == 20
    with sqlite3.connect(store.path) as plain:
        rows = plain.execute("SELECT id, time_ms FROM reading WHERE meter = ?", (meter,)).fetchall()
    plain.close()
    everything = [Reading(meter, "cellar", moment, MeterState.OK, (), "", number) for number, moment in rows]
    assert keys(await store.profile_rows(meter, 1, *EVER, limit=10_000)) == expected_rows(
        everything, hour, STOCKHOLM
    )


async def test_a_profile_answers_by_range_with_the_newest_rows_oldest_first(store: Store) -> None:
    """Both ends belong to the range, and what counts is the time that a client sees."""
    meter = await store.install_meter("cellar", "5", 1)
    await store.set_profiles({1: Interval.parse("1 h")}, STOCKHOLM)
    times = [START + number * HOUR + 700 for number in range(30)]
    await store.add_readings([good(meter, moment) for moment in times])

    async def found(start: int, end: int, limit: int = 1000) -> list[int]:
        return [row.time_ms for row in await store.profile_rows(meter, 1, start, end, limit)]

    assert await found(*EVER) == times
    assert await found(times[3], times[7]) == times[3:8]
    assert await found(times[3] - 1, times[7] + 1) == times[3:8]
    assert await found(times[3] + 1, times[7] - 1) == times[4:7]
    assert await found(times[3], times[3]) == [times[3]]
    assert await found(START + 3 * HOUR, START + 4 * HOUR) == [times[3]]
    assert await found(*EVER, limit=5) == times[-5:]
    assert await found(times[3], times[20], limit=5) == times[16:21]
    assert await found(times[7], times[3]) == []
    assert await found(0, START) == []
    assert await found(times[-1] + 1, 1 << 60) == []


async def test_a_profile_answers_by_entry(store: Store) -> None:
    """Entry 1 is the oldest, 0 as the end is the newest; beyond the end there is nothing."""
    meter = await store.install_meter("cellar", "5", 1)
    await store.set_profiles({1: Interval.parse("1 h")}, STOCKHOLM)
    times = [START + number * HOUR for number in range(30)]
    await store.add_readings([good(meter, moment) for moment in times])

    async def found(first: int, last: int, limit: int = 1000) -> list[int]:
        return [row.time_ms for row in await store.profile_entries(meter, 1, first, last, limit)]

    assert await found(1, 0) == times
    assert await found(1, 5) == times[:5]
    assert await found(28, 99) == times[27:]
    assert await found(31, 0) == []
    assert await found(5, 4) == []
    assert await found(1, 0, limit=4) == times[-4:]
    assert await found(3, 10, limit=4) == times[6:10]
    assert await store.profile_entries(meter, 2, 1, 0) == []


async def test_every_good_reading_is_a_row_of_the_history(store: Store) -> None:
    """By range and by entry, by time whatever the order in which they came; those of others and failed ones are not."""
    meter = await store.install_meter("cellar", "5", 1)
    other = await store.install_meter("cellar", "6", 1)
    times = [START + number * HOUR // 4 for number in range(40)]
    late_first = [*times[20:], *times[:20]]
    await store.add_readings(
        [
            reading
            for moment in late_first
            for reading in (good(meter, moment), failed(meter, moment + 1), good(other, moment + 2))
        ]
    )
    await store.add_reading(good(meter, times[-1]))  # the clock was set back: the same moment a second time

    async def between(start: int, end: int, limit: int = 1000) -> list[int]:
        return [row.time_ms for row in await store.reading_rows(meter, start, end, limit)]

    async def numbered(first: int, last: int, limit: int = 1000) -> list[int]:
        return [row.time_ms for row in await store.reading_entries(meter, first, last, limit)]

    every = [*times, times[-1]]
    assert await store.readings_count(meter) == len(every)
    assert await between(*EVER) == every == await numbered(1, 0)
    assert await between(times[3], times[7]) == times[3:8]
    assert await between(times[3] + 1, times[7] - 1) == times[4:7]
    assert await between(*EVER, limit=5) == every[-5:]
    assert await between(times[7], times[3]) == []
    assert await numbered(1, 5) == every[:5]
    assert await numbered(39, 99) == every[38:]
    assert await numbered(1, 0, limit=4) == every[-4:]
    assert await numbered(3, 10, limit=4) == every[6:10]
    assert await numbered(42, 0) == await numbered(5, 4) == []
    rows = await store.reading_rows(meter, *EVER)
    assert [row.reading for row in rows] == [row.reading for row in await store.reading_entries(meter, 1, 0)]
    for row in rows[-2:]:
        reading = await store.reading(row.reading)
        assert reading is not None
        assert (reading.time_ms, reading.frames) == (row.time_ms, row.frames)


async def test_changes_that_wait_together_are_each_done_or_refused_alone(store: Store) -> None:
    """One that fails does not take the others with it."""
    meter = await store.install_meter("cellar", "5", 1)
    outcomes = await asyncio.gather(
        *(store.add_reading(good(meter if number % 3 else 999, number)) for number in range(60)),
        return_exceptions=True,
    )
    # Meter 999 does not exist. The sentence is one for people, whatever SQLite says.
    assert [type(outcome) for outcome in outcomes] == [
        int if number % 3 else StoreError for number in range(60)
    ]
    assert await store.readings_count(meter) == 40


async def test_the_loop_never_waits_for_the_disk(store: Store) -> None:
    """Another program holds the database: the loop runs on, and the change is made when it is free again."""
    meter = await store.install_meter("cellar", "5", 1)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    adding = asyncio.create_task(store.add_reading(good(meter, 1)))
    turns = 0
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    assert await store.latest(meter) is None
    assert not adding.done()
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(10):
        assert await adding == 1


async def test_closing_does_first_what_was_asked_for(tmp_path: Path) -> None:
    """And refuses what comes after, in a sentence."""
    store = await Store.open(tmp_path / "gateway.db")
    meter = await store.install_meter("cellar", "5", 1)
    adding = [asyncio.create_task(store.add_reading(good(meter, number))) for number in range(300)]
    await asyncio.sleep(0)
    await store.close()
    ids = await asyncio.gather(*adding)
    with pytest.raises(StoreError, match="is closed"):
        await store.latest(meter)
    with pytest.raises(StoreError, match="is closed"):
        await store.add_reading(good(meter, 1))
    await store.close()
    with open_readonly(store.path) as reader:
        assert reader.readings_count(meter) == len(set(ids)) == 300


async def test_a_caller_that_goes_away_disturbs_nobody(store: Store) -> None:
    """Cancelled in the queue or in the middle: the next change is made."""
    meter = await store.install_meter("cellar", "5", 1)
    adding = [asyncio.create_task(store.add_reading(good(meter, number))) for number in range(100)]
    await asyncio.sleep(0)
    for task in adding[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    assert all(isinstance(outcome, int) for outcome in outcomes[1::2])
    assert await store.add_reading(good(meter, 1000)) > 0


async def test_the_database_of_a_running_gateway_can_be_looked_at(store: Store) -> None:
    """And never changed from there."""
    meter = await store.install_meter("cellar", "5", 1)
    with open_readonly(store.path) as reader:
        assert reader.latest(meter) is None
        number = await store.add_reading(good(meter, 1))
        latest = reader.latest(meter)
        assert latest is not None
        assert latest.id == number
        assert [each.address for each in reader.meters()] == ["5"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM reading")


def test_looking_at_no_database_makes_none(tmp_path: Path) -> None:
    """The sentence says what to do."""
    with pytest.raises(StoreError, match="start the gateway once"):
        open_readonly(tmp_path / "gateway.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["text", "pages", "cut"])
async def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path, damage: str) -> None:
    """Nothing is repaired by guessing, and nothing deleted."""
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    meter = await store.install_meter("cellar", "5", 1)
    await store.add_readings([good(meter, number) for number in range(500)])
    await store.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content[:100] = b"no database at all".ljust(100)
    elif damage == "pages":
        for page in range(4096, len(content) - 4096, 4096):
            content[page : page + 64] = bytes(64)
    else:
        del content[len(content) // 2 // 4096 * 4096 :]
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged .*: .* restore a backup") as caught:
        await Store.open(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """In a sentence with what to do."""
    for path in (tmp_path / "none" / "gateway.db", Path("/proc/gateway.db")):
        with pytest.raises(StoreError, match=r"cannot be opened .*: give this user the right") as caught:
            await Store.open(path)
        assert str(path) in str(caught.value)


FILL_THE_DISK = """
import asyncio, resource, sys
from pathlib import Path
from core.snapshot import MeterState
from core.store import Reading, Store, StoreError

async def main():
    store = await Store.open(Path(sys.argv[1]))
    meter = await store.install_meter("cellar", "5", 1)
    # A limit on file sizes stands in for a full disk: the system refuses the write in the same place.
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    kept = []
    try:
        while True:
            kept.append(await store.add_reading(Reading(meter, "cellar", 1, MeterState.OK, (bytes(20_000),))))
    except StoreError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    kept.append(await store.add_reading(Reading(meter, "cellar", 2, MeterState.OK, (b"x",))))
    assert await store.readings_count(meter) == len(kept), kept
    await store.close()
    print(len(kept))

asyncio.run(main())
"""


def test_a_full_disk_is_said_and_recording_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """What was acknowledged before is still there, and the store does not have to be opened again."""
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "gateway.db")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    sentence, count = done.stdout.splitlines()
    assert sentence.startswith("The disk with ")
    assert "; " in sentence
    assert int(count) > 5


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """And not touched."""
    path = tmp_path / "gateway.db"
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    with pytest.raises(StoreError, match=r"written by a newer cme-tui \(schema 3, this one knows 2\)"):
        await Store.open(path)
    with pytest.raises(StoreError, match="has schema 3, this version of cme-tui knows 2"):
        open_readonly(path)


async def test_a_database_of_each_earlier_schema_still_opens(tmp_path: Path) -> None:
    """With all that is in it; each schema that was ever released has its file beside this one."""
    files = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
    assert [file.stem for file in files] == [f"schema_{number}" for number in range(1, len(MIGRATIONS) + 1)]
    for file in files:
        path = tmp_path / f"{file.stem}.db"
        with sqlite3.connect(path) as old:
            old.executescript(file.read_text())
        old.close()
        store = await Store.open(path)
        (meter,) = await store.meters()
        assert (meter.line, meter.address, meter.identification, meter.medium) == (
            "cellar",
            "5",
            "12345678",
            7,
        )
        latest = await store.latest(meter.key)
        assert latest is not None
        assert latest.frames == (TELEGRAMS[0],)
        assert [row.reading for row in await store.profile_rows(meter.key, 1, *EVER)] == [latest.id]
        assert await store.fields() == {meter.key: [(0, "0c13")]}
        assert [event.code for event in await store.recent_events()] == [2, 4004]
        assert await store.last_run() == ("0.1.0", 1761256860000, False, 1761256860000)
        assert await store.clock_offset() == -1500
        assert await store.searches() == ({} if file.stem == "schema_1" else {"cellar": "{}"})
        (sent,) = await store.outbox.waiting(["load_profile_1"], 10, 10)
        assert (sent.id, sent.sap, sent.body) == (1, 16, bytes.fromhex("090112"))
        assert (await store.outbox.backlog())["load_profile_1"].notifications == 1
        assert await store.outbox.unsent("load_profile_1") == {}
        assert (await store.outbox.states())["on_installation"] == (None, 1761256860000)
        await store.close()


async def test_a_search_that_was_kept_between_two_schemas_is_still_there(tmp_path: Path) -> None:
    """Before schema 2 there were databases of schema 1 that had its table already."""
    path = tmp_path / "gateway.db"
    with sqlite3.connect(path) as old:
        old.executescript((Path(__file__).parent / "schemas" / "schema_1.sql").read_text())
        old.execute("CREATE TABLE search (line TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID")
        old.execute("INSERT INTO search VALUES ('cellar', '{}')")
    old.close()
    store = await Store.open(path)
    assert await store.searches() == {"cellar": "{}"}
    assert [meter.former_line for meter in await store.meters()] == [None]
    await store.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Not even by half: the older version still opens the file."""
    path = tmp_path / "gateway.db"
    open_for_writing(path).close()
    broken = (
        *MIGRATIONS,
        ("ALTER TABLE meter ADD COLUMN note TEXT", "ALTER TABLE missing ADD COLUMN note TEXT"),
    )
    with pytest.raises(StoreError, match="no such table: missing"):
        open_for_writing(path, broken)
    connection = open_for_writing(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert "note" not in [row[1] for row in connection.execute("PRAGMA table_info(meter)")]
    connection.close()
    longer = (*MIGRATIONS, ("ALTER TABLE meter ADD COLUMN note TEXT",))
    shutil.copy(path, tmp_path / "copy.db")
    connection = open_for_writing(tmp_path / "copy.db", longer)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(longer),)
    connection.close()


def test_commits_are_made_to_outlive_a_power_cut(tmp_path: Path) -> None:
    """A killed process cannot show this: SQLite must be told to wait for the disk at each commit."""
    connection = open_for_writing(tmp_path / "gateway.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    connection.close()

"""Whatever moment a gateway is killed at: what it acknowledged is there, and what is derived agrees with it."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

from core.interval import Interval
from core.store import Store, open_readonly

KILLS = 24
ZONE = ZoneInfo("Europe/Stockholm")
CUTS = ("15 min", "1 h", "all")

# Adds readings from several tasks at once, so that commits are shared, and cuts its profiles anew all the time.
# Prints each id only after the store has acknowledged it.
GATEWAY = """
import asyncio, itertools, json, sys
from pathlib import Path
from zoneinfo import ZoneInfo
from core.interval import Interval
from core.snapshot import MeterState
from core.store import Reading, Store

RUN = int(sys.argv[2])

async def add(store, task):
    for number in itertools.count():
        meter = await store.install_meter("cellar", str(number % 5 + 1), 1)
        time_ms = 1761256800000 + (RUN * 1000 + number) * 300_000 + task
        frame = bytes([0x68, 3, 3, 0x68, RUN, task, number % 256, 0, 0x16])
        result = MeterState.OK if number % 4 else MeterState.GARBLED
        id = await store.add_reading(Reading(meter, "cellar", time_ms, result, (frame,)))
        print(json.dumps([id, meter, time_ms, result, frame.hex()]), flush=True)

async def cut(store):
    for text in itertools.cycle(sys.argv[3:]):
        await store.set_profiles({1: Interval.parse(text)}, ZoneInfo("Europe/Stockholm"))

async def main():
    store = await Store.open(Path(sys.argv[1]))
    await asyncio.gather(*(add(store, task) for task in range(4)), cut(store))

asyncio.run(main())
"""


def run_and_kill(path: Path, run: int, after: int) -> list[list[object]]:
    """Run a gateway, kill it at some moment after `after` acknowledgements; all that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(path), str(run), *CUTS], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after)]
        child.kill()
        # It has gone on meanwhile: what stands in the pipe was acknowledged too. The last line may be half.
        lines += child.stdout.read().splitlines(keepends=True)
    assert all(lines[:after]), "the gateway ended by itself"
    return [json.loads(line) for line in lines if line.endswith("\n")]


def stored(path: Path) -> dict[int, list[object]]:
    plain = sqlite3.connect(path)
    rows = plain.execute("SELECT id, meter, time_ms, result, hex(frames) FROM reading").fetchall()
    assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    plain.close()
    return {row[0]: [*row[:4], row[4].lower()] for row in rows}


def assert_profiles_agree(path: Path, readings: dict[int, list[object]]) -> None:
    """Each row of the profile in use is the first good reading of its interval, and none is missing."""
    plain = sqlite3.connect(path)
    series = plain.execute("SELECT id, interval FROM profile_series WHERE state = 'current'").fetchall()
    for number, text in series:
        interval = Interval.parse(text)
        first: dict[tuple[int, int], tuple[int, int]] = {}
        for reading, meter, time_ms, result, _ in readings.values():
            assert isinstance(reading, int)
            assert isinstance(meter, int)
            assert isinstance(time_ms, int)
            if result == "ok":
                place = (meter, interval.boundary(time_ms, ZONE))
                first[place] = min(first.get(place, (1 << 62, 0)), (time_ms, reading))
        rows = plain.execute(
            "SELECT meter, boundary_ms, time_ms, reading FROM profile_row WHERE series = ?", (number,)
        ).fetchall()
        assert {(row[0], row[1]): (row[2], row[3]) for row in rows} == first
    plain.close()


async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Killed again and again on one database, in the middle of commits and of cutting profiles."""
    path = tmp_path / "gateway.db"
    chance = random.Random(20251026)
    acknowledged: dict[int, list[object]] = {}
    cuts_interrupted = 0
    for run in range(KILLS):
        for entry in run_and_kill(path, run, chance.randrange(1, 60)):
            number = entry[0]
            assert isinstance(number, int)
            assert number not in acknowledged, "an id was given twice"
            acknowledged[number] = entry
        found = stored(path)
        assert {number: found.get(number) for number in acknowledged} == acknowledged
        assert_profiles_agree(path, found)
        plain = sqlite3.connect(path)
        cuts_interrupted += plain.execute(
            "SELECT count(*) > 0 FROM profile_series WHERE state = 'building'"
        ).fetchone()[0]
        plain.close()
    assert len(acknowledged) >= KILLS
    assert cuts_interrupted, "no kill fell into the cutting of a profile: the test shows less than it says"

    # The next start finishes what was left: one complete series, and nothing of the others.
    store = await Store.open(path)
    await store.set_profiles({1: Interval.parse("30 min")}, ZONE)
    await store.close()
    assert_profiles_agree(path, stored(path))
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT interval, state FROM profile_series").fetchall() == [("30 min", "current")]
    assert plain.execute("SELECT count(DISTINCT series) FROM profile_row").fetchone() == (1,)
    plain.close()


def test_a_killed_gateway_can_be_looked_at_before_it_is_started_again(tmp_path: Path) -> None:
    """What stands in the write-ahead log counts."""
    path = tmp_path / "gateway.db"
    acknowledged = run_and_kill(path, 1, 30)
    with open_readonly(path) as reader:
        for number, meter, time_ms, result, frame in acknowledged:
            assert isinstance(number, int)
            assert isinstance(frame, str)
            found = reader.reading(number)
            assert found is not None
            assert (found.meter, found.time_ms, found.result, found.frames) == (
                meter,
                time_ms,
                result,
                (bytes.fromhex(frame),),
            )

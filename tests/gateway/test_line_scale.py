"""Many meters over hours: nobody starves, times are right, who asks does not wait, and trouble stays where it is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from fast_loop import fast, wall_clock
from line_plant import HOUR, MINUTE, Plant, installed, next_boundary, plant

from core.config import LineConfig
from core.mbus.simulator import Misfortune, SimulatedBus, fleet, serials
from core.mbus.telegram import decode
from core.snapshot import MeterState

QUARTER = 15 * MINUTE
DEAD_EVERY = 5

pytestmark = pytest.mark.slow


def check_each_once(plant: Plant, names: set[str], start_ms: int, end_ms: int) -> None:
    """Each of these has exactly one good readout in each quarter of an hour."""
    counts = plant.counts(start_ms, end_ms, QUARTER)
    wanted = {(name, at): 1 for name in names for at in range(start_ms, end_ms, QUARTER)}
    assert {place: number for place, number in counts.items() if place[0] in names} == wanted


@fast
async def test_250_meters_on_one_line_at_2400_baud_have_a_right_reading_in_every_interval(
    tmp_path: Path,
) -> None:
    """Over two hours, by secondary address; amid them, who asks for a value gets it after what runs just then."""
    meters = fleet(serials(250))
    async with plant(tmp_path) as line:
        line.buses["sim:a"] = SimulatedBus(meters, wall_clock)
        await line.install([LineConfig(name="a", url="sim:a", baud=2400)], installed("a", meters))
        start = next_boundary(line.clock.now_ms(), QUARTER)
        end = start + 2 * HOUR
        chance = random.Random(6)
        while line.clock.now_ms() < end - QUARTER:
            quarter = next_boundary(line.clock.now_ms(), QUARTER)
            await line.until(quarter + chance.randrange(2 * MINUTE))
            recorded, wanted = len(line.log), f"m{chance.randrange(250)}"
            await line.lines.read(line.meter(wanted))
            # Before it: what is being recorded, and what is on the wire.
            assert wanted in line.names()[recorded : recorded + 3]
        await line.until(end)
        # A meter that was asked for when its turn in the sweep was over has been read twice.
        asked = {place: number for place, number in line.counts(start, end, QUARTER).items() if number > 1}
        assert len(asked) < 8
        assert len(line.counts(start, end, QUARTER)) == 250 * 8
        assert line.skipped("a") == 0
        assert line.schedule("a").fits
        check_times(line)
        await check_stored(line)


def check_times(line: Plant) -> None:
    """A meter's times grow, and no readout is recorded before it began or long after."""
    for before, after in pairwise(sorted(line.log)):
        if before.name == after.name:
            assert before.time_ms < after.time_ms
    for made in line.log:
        assert made.time_ms < made.recorded_ms < made.time_ms + 3000


async def check_stored(line: Plant) -> None:
    """The last reading of each meter is in the store with its own telegram, of the time that stands beside it."""
    latest = await line.store.latest_all()
    clocks = 0
    for meter in line.fleet:
        reading = latest[meter.key]
        telegram = decode(reading.frames[0])
        assert meter.known is not None
        assert telegram.identification.upper() == meter.known.identification
        for record in telegram.records:
            if record.quantity == "datetime" and record.storage == 0 and isinstance(record.raw, datetime):
                clocks += 1
                began = datetime.fromtimestamp(reading.time_ms / 1000, UTC).replace(tzinfo=None)
                assert began - timedelta(minutes=1) < record.raw < began + timedelta(seconds=3)
    assert clocks > 50


@fast
async def test_a_line_with_a_fifth_of_its_meters_dead_reads_the_others_in_time(tmp_path: Path) -> None:
    """Every living meter is read before any dead one is tried, and the dead ones cost less from hour to hour."""
    meters = fleet(serials(250))
    dead = {f"m{number}" for number in range(0, 250, DEAD_EVERY)}
    for meter in meters[::DEAD_EVERY]:
        meter.misfortune = Misfortune(dead=True)
    async with plant(tmp_path) as line:
        line.buses["sim:a"] = SimulatedBus(meters, wall_clock)
        await line.until(
            next_boundary(line.clock.now_ms(), QUARTER)
        )  # so that the first sweep ends before the next
        await line.install(
            [LineConfig(name="a", url="sim:a", baud=2400)], installed("a", meters, secondary=False)
        )
        start = next_boundary(line.clock.now_ms(), QUARTER)
        end = start + 2 * HOUR
        await line.until(end)
        check_each_once(line, {meter.name for meter in line.fleet} - dead, start, end)
        tries = []
        for at in range(start, end, QUARTER):
            names = line.names(at, at + QUARTER)
            tried = [name in dead for name in names]
            assert tried == sorted(tried)
            tries.append(sum(tried))
        assert tries == [50, 0, 50, 0, 0, 0, 50, 0]
        assert line.schedule("a").fits


@fast
async def test_a_thousand_meters_on_eight_lines_do_not_feel_the_trouble_of_one(tmp_path: Path) -> None:
    """125 each over an hour; one line is unplugged meanwhile, one has nothing but wrong checksums."""
    async with plant(tmp_path) as lines:
        configs, items = [], []
        for number in range(8):
            meters = fleet(serials(125, 10_000_000 * (number + 1)))
            name, url = f"line {number}", f"sim:{number}"
            lines.buses[url] = SimulatedBus(meters, wall_clock)
            configs.append(LineConfig(name=name, url=url, baud=2400))
            items += installed(name, meters, 125 * number, secondary=number % 2 == 0)
        await lines.install(configs, items)
        start = next_boundary(lines.clock.now_ms(), QUARTER)
        for meter in lines.buses["sim:3"].meters:
            meter.misfortune = Misfortune(wrong_checksum=1)
        await lines.until(start + 10_000)
        lines.unplug("sim:5")
        end = start + HOUR
        await lines.until(end)
        troubled = {meter.name for meter in lines.fleet if meter.config.line in ("line 3", "line 5")}
        good = {meter.name for meter in lines.fleet} - troubled
        assert len(good) == 750
        check_each_once(lines, good, start, end)
        for number in (0, 1, 2, 4, 6, 7):
            assert lines.skipped(f"line {number}") == 0
        states = {
            "line 3": {MeterState.GARBLED, MeterState.COLLISION},
            "line 5": {MeterState.LINE_DOWN},
        }
        for meter in lines.fleet:
            assert meter.state in states.get(meter.config.line, {MeterState.OK})

"""The schedule of a line over hours of simulated time: silent meters, noise, rates, mixed intervals, set clocks."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fast_loop import fast, wall_clock
from line_plant import HOUR, MINUTE, Plant, installed, next_boundary, plant

from core.config import BAUD_RATES, LineConfig
from core.mbus.address import PrimaryAddress
from core.mbus.simulator import Misfortune, SimulatedBus, fleet, serials
from core.snapshot import MeterState
from core.timing import readout_s

QUARTER = 15 * MINUTE
LINE = LineConfig(name="a", url="sim:a", baud=2400)
DEAD, WELL = Misfortune(dead=True), Misfortune()


async def begin(line: Plant, count: int, config: LineConfig = LINE, interval: str = "15 min") -> int:
    """Install meters on a line; the first boundary from now."""
    meters = fleet(serials(count))
    line.buses["sim:a"] = SimulatedBus(meters, wall_clock, baud=config.baud)
    await line.install([config], installed("a", meters), interval)
    return next_boundary(line.clock.now_ms(), QUARTER)


def harm(line: Plant, number: int, misfortune: Misfortune) -> None:
    line.buses["sim:a"].meters[number].misfortune = misfortune


def quarters(line: Plant, name: str, start: int) -> list[int]:
    """The quarters of an hour since `start` in which a meter was asked."""
    return [
        (made.time_ms - start) // QUARTER for made in line.log if made.name == name and made.time_ms >= start
    ]


@fast
async def test_a_silent_meter_is_tried_more_and_more_rarely_and_then_once_an_hour(tmp_path: Path) -> None:
    """After 1, 2 and then 4 intervals of 15 min; its view says when, and the others are read as ever."""
    async with plant(tmp_path) as line:
        start = await begin(line, 3)
        await line.until(start - 1)
        harm(line, 1, DEAD)
        await line.until(start + MINUTE)
        assert line.meter("m1").state is MeterState.NO_ANSWER
        assert line.meter("m1").next_try_ms == start + QUARTER
        await line.until(start + 4 * HOUR)
        assert quarters(line, "m1", start) == [0, 1, 3, 7, 11, 15]
        assert line.meter("m1").next_try_ms == start + 19 * QUARTER
        assert quarters(line, "m2", start) == list(range(16))
        assert line.meter("m2").next_try_ms is None


@fast
async def test_a_silent_meter_that_answers_again_is_read_at_its_full_rate(tmp_path: Path) -> None:
    """From its first answer on, be it to the schedule or to somebody who asks."""
    async with plant(tmp_path) as line:
        start = await begin(line, 2)
        for number in (0, 1):
            harm(line, number, DEAD)
        await line.until(start + 2 * HOUR + MINUTE)
        harm(line, 0, WELL)
        harm(line, 1, WELL)
        await line.lines.read(line.meter("m0"))
        assert line.meter("m0").next_try_ms is None
        asked = line.clock.now_ms()
        await line.until(start + 5 * HOUR - 1)
        assert quarters(line, "m0", asked) == list(range(11))
        counts = Counter(
            (made.name, made.time_ms // HOUR) for made in line.log if made.time_ms >= start + 3 * HOUR
        )
        assert counts["m0", (start + 4 * HOUR) // HOUR] == 4
        assert counts["m1", (start + 4 * HOUR) // HOUR] == 4


@fast
async def test_read_all_and_who_asks_try_a_silent_meter_without_making_it_rarer(tmp_path: Path) -> None:
    """However often it is asked for in one interval, that counts as one failure."""
    async with plant(tmp_path) as line:
        start = await begin(line, 2)
        harm(line, 1, DEAD)
        await line.until(start + MINUTE)
        for _ in range(3):
            before = len(line.log)
            await line.lines.read(line.meter("m1"))
            line.lines.sweep_now()
            await asyncio.sleep(10)
            assert Counter(line.names()[1:])["m1"] >= 2
            assert line.names()[before:].count("m1") == 2
        assert line.meter("m1").next_try_ms == start + 2 * QUARTER


@fast
async def test_what_noise_spoiled_is_tried_once_more_when_the_others_are_read(tmp_path: Path) -> None:
    """A meter of which each sweep spoils a telegram has its reading in every interval; the sweep counts it once."""
    async with plant(tmp_path) as line:
        start = await begin(line, 4, replace(LINE, repeats=0))
        await line.until(start - 1)
        harm(line, 1, Misfortune(wrong_checksum=3))
        await line.until(start + HOUR - 1)
        bad = [
            made for made in line.log if made.name == "m1" and made.time_ms >= start and made.state != "ok"
        ]
        assert len(bad) >= 2
        assert line.counts(start, start + HOUR, QUARTER) == {
            (f"m{number}", start + quarter * QUARTER): 1 for number in range(4) for quarter in range(4)
        }
        first = bad[0].time_ms // QUARTER * QUARTER
        assert line.names(first, first + QUARTER) == ["m0", "m1", "m2", "m3", "m1"]
        sweep = next(iter(line.lines)).reader.sweep
        assert sweep is not None
        assert (sweep.done, sweep.failed, sweep.total) == (4, 0, 4)


@fast
async def test_a_meter_that_is_always_disturbed_is_not_tried_twice_for_ever(tmp_path: Path) -> None:
    """Two meters on one address cost a second try once."""
    async with plant(tmp_path) as line:
        start = await begin(line, 2)
        await line.until(start - 1)
        harm(line, 1, Misfortune(wrong_checksum=1))
        await line.until(start + HOUR)
        assert quarters(line, "m1", start) == [0, 0, 1, 2, 3]


@fast
async def test_a_line_that_cannot_keep_up_lets_no_meter_starve(tmp_path: Path) -> None:
    """100 meters at 300 baud need more than 5 min: all are read equally often, and what is left out is told."""
    async with plant(tmp_path) as line:
        start = await begin(line, 100, replace(LINE, baud=300), "5 min")
        await line.until(start + 3 * HOUR)
        counts = Counter(line.names(start))
        assert len(counts) == 100
        assert max(counts.values()) - min(counts.values()) <= 1
        schedule = line.schedule("a")
        assert not schedule.fits
        assert schedule.sentence.startswith(
            "5 min cycle, this line needs 8 min. Choose a readout interval of 10 min"
        )
        assert schedule.skipped > 1000
        # What the line did is what the schedule says that it needs.
        assert abs(sum(counts.values()) / 100 * schedule.cost_s - 3 * 3600) < 0.05 * 3 * 3600


@fast
async def test_meters_that_are_read_often_do_not_wait_for_those_that_are_read_rarely(tmp_path: Path) -> None:
    """5 meters every 5 min beside 100 once a day, whose sweep takes longer than 5 min: every reading is in time."""
    async with plant(tmp_path) as line:
        daily, often = fleet(serials(100)), fleet(serials(5, 20_000_000))
        line.buses["sim:a"] = SimulatedBus([*daily, *often], wall_clock)
        meters = installed("a", daily, interval="1 d") + installed("a", often, 100, interval="5 min")
        await line.install([replace(LINE, baud=300)], meters)
        midnight = next_boundary(line.clock.now_ms(), 24 * HOUR)
        await line.until(midnight + HOUR)
        assert line.counts(midnight, midnight + HOUR, 5 * MINUTE) | {} == {
            **{(f"m{n}", midnight + at * 5 * MINUTE): 1 for n in range(100, 105) for at in range(12)},
            **{
                (made.name, made.time_ms // (5 * MINUTE) * 5 * MINUTE): 1
                for made in line.log
                if made.time_ms >= midnight and made.name not in {f"m{n}" for n in range(100, 105)}
            },
        }
        assert Counter(line.names(midnight))["m99"] == 1
        assert (line.schedule("a").interval, line.schedule("a").fits) == ("5 min", True)
        assert line.skipped("a") == 0


@fast
async def test_meters_of_one_rate_are_read_together(tmp_path: Path) -> None:
    """A line with meters at three rates is switched twice in each sweep, whatever their order in config.toml."""
    async with plant(tmp_path) as line:
        meters = fleet(serials(12))
        for number, meter in enumerate(meters):
            meter.baud = (2400, 300, 9600)[number % 3]
        line.buses["sim:a"] = SimulatedBus(meters, wall_clock)
        await line.install([LINE], installed("a", meters))
        start = next_boundary(line.clock.now_ms(), QUARTER)
        await line.until(start - 1)
        line.rates.clear()
        await line.until(start + HOUR)
        assert len(line.rates) == 8
        assert {meter.state for meter in line.fleet} == {MeterState.OK}
        in_order = [meters[int(name[1:])].baud for name in line.names(start, start + QUARTER)]
        assert len(list(groupby(in_order))) == 3


@fast
async def test_a_line_that_cannot_be_switched_says_so_at_the_meters_that_need_it(tmp_path: Path) -> None:
    """The others are read."""
    async with plant(tmp_path) as line:
        meters = fleet(serials(4))
        meters[2].baud = 300
        line.buses["sim:a"] = SimulatedBus(meters, wall_clock)
        line.fixed_rate = True
        await line.install([LINE], installed("a", meters))
        await line.until(line.clock.now_ms() + MINUTE)
        assert [meter.state is MeterState.OK for meter in line.fleet] == [True, True, False, True]
        assert "cannot be switched" in line.meter("m2").reason


@fast
async def test_who_asks_goes_before_the_sweep_and_the_probes_of_a_search(tmp_path: Path) -> None:
    """Amid both, it waits for what is on the wire and for one probe that waits already."""
    async with plant(tmp_path) as line:
        await begin(line, 40)
        master = next(iter(line.lines)).master
        probes = 0

        async def search() -> None:
            nonlocal probes
            while True:
                async with master.session() as link:
                    probes += 1
                    await link.probe(PrimaryAddress(200))

        await asyncio.sleep(1)
        searching = asyncio.create_task(search())
        for number in (35, 30, 25):
            await asyncio.sleep(1)
            recorded, before = len(line.log), probes
            await line.lines.read(line.meter(f"m{number}"))
            assert f"m{number}" in line.names()[recorded : recorded + 2]
            assert probes - before <= 2
        searching.cancel()
        await line.until(line.clock.now_ms() + MINUTE)
        assert sorted(set(line.names())) == sorted(line.names())


@fast
async def test_a_meter_that_is_removed_while_it_waits_for_the_line_is_not_read(tmp_path: Path) -> None:
    """Somebody else has the line: nothing is read of the meter, and the others go on."""
    async with plant(tmp_path) as line:
        await begin(line, 3)
        await line.until(line.clock.now_ms() + MINUTE)
        parts = next(iter(line.lines))
        before = len(line.log)
        async with parts.master.session():
            line.lines.sweep_now()
            await asyncio.sleep(1)
            parts.reader.set_meters([line.meter("m1")])
        await line.until(line.clock.now_ms() + MINUTE)
        assert line.names()[before:] == ["m1"]
        sweep = parts.reader.sweep
        assert sweep is not None
        assert (sweep.total, sweep.done, sweep.finished_ms is None) == (1, 1, False)


@fast
async def test_a_clock_that_is_set_moves_the_readouts_with_it(tmp_path: Path) -> None:
    """Two hours on, and a day back: from then on every meter is read once in every interval of the new time."""
    async with plant(tmp_path) as line:
        await begin(line, 4)
        for moved in (2 * HOUR, -24 * HOUR):
            await line.until(line.clock.now_ms() + 20 * MINUTE)
            line.clock.moved_ms += moved
            start = next_boundary(line.clock.now_ms(), QUARTER)
            await line.until(start + HOUR)
            since = [made for made in line.log if made.recorded_ms >= start][-16:]
            assert Counter((made.name, made.time_ms // QUARTER * QUARTER) for made in since) == {
                (f"m{number}", start + quarter * QUARTER): 1 for number in range(4) for quarter in range(4)
            }


@fast
async def test_a_clock_that_is_set_back_just_before_an_interval_loses_none_of_it(tmp_path: Path) -> None:
    """Although the schedule sees that only after its beginning."""
    async with plant(tmp_path) as line:
        await begin(line, 4)
        await line.until(next_boundary(line.clock.now_ms(), QUARTER) + 10 * MINUTE)
        line.clock.moved_ms -= 24 * HOUR + 10 * MINUTE + 1000
        start = next_boundary(line.clock.now_ms(), QUARTER)
        await line.until(start + MINUTE)
        assert sorted(line.names(start, start + MINUTE)) == ["m0", "m1", "m2", "m3"]


@fast
async def test_meters_that_a_line_silenced_before_it_was_lost_are_read_when_it_is_back(
    tmp_path: Path,
) -> None:
    """As behind a converter whose power failed; one that was silent while others answered waits for its turn."""
    async with plant(tmp_path) as line:
        start = await begin(line, 4)
        await line.until(start - 1)
        for number in range(4):
            harm(line, number, DEAD)
        await line.until(start + MINUTE)
        assert {meter.state for meter in line.fleet} == {MeterState.NO_ANSWER}
        for number in range(3):
            harm(line, number, WELL)
        line.unplug("sim:a")
        line.unplugged.clear()
        await line.until(start + 2 * MINUTE)
        assert line.names(start + MINUTE) == ["m0", "m1", "m2", "m3"]
        assert [meter.state for meter in line.fleet] == [MeterState.OK] * 3 + [MeterState.NO_ANSWER]
        await line.until(start + QUARTER + MINUTE)
        harm(line, 1, DEAD)
        await line.lines.read(line.meter("m1"))
        await line.lines.read(line.meter("m0"))
        line.unplug("sim:a")
        line.unplugged.clear()
        again = line.clock.now_ms()
        await line.until(again + MINUTE)
        assert line.names(again) == []


@pytest.mark.parametrize("baud", BAUD_RATES)
@fast
async def test_what_readouts_take_is_what_the_formula_of_the_wire_says(tmp_path: Path, baud: int) -> None:
    """The line measures within 2 % what was said of it before, from the lengths of the telegrams."""
    async with plant(tmp_path) as line:
        await begin(line, 5, replace(LINE, baud=baud))
        await line.until(line.clock.now_ms() + 4 * HOUR)
        formula = sum(
            readout_s(baud, meter.address, [len(telegram.frame) for telegram in meter.reading.telegrams])
            for meter in line.fleet
            if meter.reading
        )
        assert abs(line.schedule("a").cost_s / formula - 1) < 0.02


@pytest.mark.parametrize(
    ("eve", "interval", "wanted"),
    [
        ("2026-10-24T21:30Z", "3 h", ["24T22:00", "25T02:00", "25T05:00", "25T08:00"]),
        (
            "2027-03-27T22:30Z",
            "2 h",
            ["27T23:00", "28T01:00", "28T02:00", "28T04:00", "28T06:00", "28T08:00"],
        ),
        ("2026-10-24T23:50Z", "30 min", ["25T00:00", "25T00:30", "25T01:00", "25T01:30", "25T02:00"]),
    ],
)
@fast
async def test_readouts_follow_the_local_clock_over_the_change_of_summer_time(
    tmp_path: Path, eve: str, interval: str, wanted: list[str]
) -> None:
    """In Stockholm: 3 h last 4 h in autumn, 2 h last 1 h in spring, and the hour that comes twice is read twice."""
    async with plant(tmp_path) as line:
        line.zone = ZoneInfo("Europe/Stockholm")
        line.clock.moved_ms = round(datetime.fromisoformat(eve).timestamp() * 1000) - line.clock.now_ms()
        await begin(line, 2, interval=interval)
        await asyncio.sleep(MINUTE / 1000)
        line.log.clear()
        last = datetime.fromisoformat(f"{eve[:8]}{wanted[-1]}Z").timestamp() * 1000
        await line.until(round(last) + MINUTE)
        times = [datetime.fromtimestamp(made.time_ms / 1000, UTC) for made in line.log if made.name == "m0"]
        assert [f"{time:%dT%H:%M}" for time in times] == wanted


@fast
@pytest.mark.parametrize("line_after", ["a", "b"])
async def test_an_address_that_is_corrected_amid_a_readout_gets_nothing_of_the_wrong_meter(
    tmp_path: Path, line_after: str
) -> None:
    """Nobody knew who would answer; the one at the right address is read at once, and is the meter from then on."""
    async with plant(tmp_path) as line:
        wrong, right = fleet(serials(2))
        wrong.address, right.address = 5, 6
        line.buses["sim:a"] = SimulatedBus([wrong, right] if line_after == "a" else [wrong], wall_clock)
        line.buses["sim:b"] = SimulatedBus([right], wall_clock)
        lines = [LINE, replace(LINE, name="b", url="sim:b")]
        (before,) = installed("a", [wrong], secondary=False)
        await line.install(lines, [before], "1 d")
        await asyncio.sleep(0.2)
        assert line.log == []
        meter = line.meter("m0")
        after = replace(before, line=line_after, address=6)
        await line.install(lines, [after], "1 d", {meter.key: after.place})
        await asyncio.sleep(10)
        assert line.meter("m0") is meter
        assert meter.identity == right.identity
        assert [made.state for made in line.log] == [MeterState.OK]


@fast
async def test_a_silent_meter_is_asked_at_once_where_it_was_corrected(tmp_path: Path) -> None:
    """With the right address, rate or margin nobody waits for the end of a long interval to see whether it helps."""
    async with plant(tmp_path) as line:
        (meter,) = fleet(serials(1))
        meter.address, meter.baud = 6, 9600
        line.buses["sim:a"] = SimulatedBus([meter], wall_clock)
        (config,) = installed("a", [meter], secondary=False)
        for item in (replace(config, address=5, baud=2400), replace(config, baud=2400), config):
            key = {each.key: item.place for each in line.fleet}
            await line.install([LINE], [item], "1 d", key)
            await asyncio.sleep(10)
        assert [made.state for made in line.log] == [
            MeterState.NO_ANSWER,
            MeterState.NO_ANSWER,
            MeterState.OK,
        ]

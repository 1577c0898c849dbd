"""The schedule of one line: who is read when, over a real master and a simulated bus without the wire's delays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

import pytest

from core.clock import SystemClock
from core.config import MeterConfig
from core.errors import CmeError
from core.mapping.simplified import Site
from core.mbus.errors import LineDown, MbusError
from core.mbus.link import Readout
from core.mbus.master import Master
from core.mbus.simulator import Misfortune, SimulatedBus, load_meters, open_simulated
from core.mbus.transport import LineError, Transport
from core.meter import Meter
from core.reader import LineReader
from core.snapshot import MeterState

LIMIT = 20.0  # seconds
WANTED = ("70112345", "06855817", "00182007", "11817314")
LATER = 1 << 53


class MovedClock(SystemClock):
    """The time of the machine, as somebody has set it."""

    moved_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.moved_ms


class Rig:
    """A line with four meters; `log` has the readouts in the order in which they were recorded."""

    def __init__(self) -> None:
        self.bus = SimulatedBus(
            [meter for meter in load_meters() if meter.identity and meter.identity.identification in WANTED]
        )
        self.log: list[tuple[str, bool]] = []
        self.plugged = True
        self.start_ms, self.end_ms = 0, LATER
        self.clock = MovedClock()
        self.news = asyncio.Condition()
        self.recording = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()
        self.master = Master("sim:", open_line=self._open, on_change=self._changed, repeats=0)
        self.reader = LineReader(
            self.master, self._record, lambda meter, now: (self.start_ms, self.end_ms), self.clock
        )
        self.meters = {
            address: Meter(
                key,
                MeterConfig(line="rig", address=address, name=address, logical_device=15 + key),
                site=Site("0016000000", ZoneInfo("UTC")),
                clock=SystemClock(),
                read=self.reader.read,
                keys={},
            )
            for key, address in enumerate(WANTED, 1)
        }

    async def _open(self, url: str, baud: int) -> Transport:
        if not self.plugged:
            raise LineError("The line is not plugged in.")
        self.transport = open_simulated(self.bus, 38400, fast=True)
        return self.transport

    def _changed(self) -> None:
        self.reader.line_changed(up=self.master.state == "up")

    async def _record(self, meter: Meter, outcome: Readout | MbusError) -> None:
        self.recording.set()
        await self.hold.wait()
        if isinstance(outcome, Readout):
            meter.accept(meter.decode(outcome.frames), round(outcome.started * 1000))
        else:
            state = MeterState.LINE_DOWN if isinstance(outcome, LineDown) else MeterState.NO_ANSWER
            meter.fail(state, str(outcome), 1000)
        async with self.news:
            self.log.append((meter.name, isinstance(outcome, Readout)))
            self.news.notify_all()

    async def recorded(self, count: int) -> list[str]:
        """Wait until so many readouts are recorded; the names of the meters, in order."""
        async with asyncio.timeout(LIMIT), self.news:
            await self.news.wait_for(lambda: len(self.log) >= count)
        return [name for name, _ in self.log]

    def start(self, tried: bool = True) -> None:
        """`tried`: the meters had their readout in the interval that runs."""
        for meter in self.meters.values():
            meter.last_try_ms = self.start_ms if tried else None
        self.reader.set_meters(self.meters.values())
        self.master.start()
        self.reader.start()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.hold.set()
    await rig.reader.stop()
    await rig.master.close()


async def test_a_sweep_reads_every_meter_once(rig: Rig) -> None:
    """All four, in order, counted; then the line rests."""
    rig.start()
    rig.reader.sweep_now()
    assert await rig.recorded(4) == list(WANTED)
    sweep = rig.reader.sweep
    assert sweep is not None
    assert (sweep.done, sweep.failed, sweep.total) == (4, 0, 4)


async def test_readers_of_one_meter_share_one_readout(rig: Rig) -> None:
    """Ten at once cause a single readout, and all see its result."""
    rig.start()
    meter = rig.meters[WANTED[1]]
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(rig.reader.read(meter) for _ in range(10)))
    assert rig.log == [(WANTED[1], True)]
    assert meter.state is MeterState.OK


async def test_who_asks_goes_before_the_sweep(rig: Rig) -> None:
    """A meter that is asked for in the middle of a sweep is read next, and not again in that sweep."""
    rig.hold.clear()
    rig.start()
    rig.reader.sweep_now()
    asked = asyncio.ensure_future(rig.reader.read(rig.meters[WANTED[3]]))
    await asyncio.sleep(0)
    rig.hold.set()
    async with asyncio.timeout(LIMIT):
        await asked
    names = await rig.recorded(4)
    assert names.index(WANTED[3]) <= 1
    assert sorted(names) == sorted(WANTED)


async def test_the_line_goes_on_while_an_outcome_is_recorded(rig: Rig) -> None:
    """A slow disk costs no time on the wire: the next meter is on it before the last one is stored."""
    rig.hold.clear()
    rig.start()
    rig.reader.sweep_now()
    async with asyncio.timeout(LIMIT):
        await rig.recording.wait()
        while rig.reader.sweep is None or rig.reader.sweep.current != WANTED[1]:  # noqa: ASYNC110  # as a UI does
            await asyncio.sleep(0)
    assert rig.log == []
    rig.hold.set()
    assert await rig.recorded(4) == list(WANTED)


async def test_one_who_gives_up_leaves_the_others_their_readout(rig: Rig) -> None:
    """A client that goes away while it waits does not cancel what others wait for."""
    rig.hold.clear()
    rig.start()
    meter = rig.meters[WANTED[0]]
    impatient = asyncio.ensure_future(rig.reader.read(meter))
    patient = asyncio.ensure_future(rig.reader.read(meter))
    await asyncio.sleep(0)
    impatient.cancel()
    rig.hold.set()
    async with asyncio.timeout(LIMIT):
        await patient
    assert meter.state is MeterState.OK


async def test_a_dead_meter_does_not_stop_the_sweep(rig: Rig) -> None:
    """Its failure is counted, and the meters behind it are read."""
    rig.bus.meters[0].misfortune = Misfortune(dead=True)
    dead = rig.bus.meters[0].identity
    assert dead is not None
    rig.start()
    rig.reader.sweep_now()
    await rig.recorded(4)
    assert {name for name, good in rig.log if not good} == {dead.identification}
    sweep = rig.reader.sweep
    assert sweep is not None
    assert sweep.failed == 1


async def test_a_removed_meter_is_refused(rig: Rig) -> None:
    """Who waits for a meter that is taken out is told so, at once."""
    rig.hold.clear()
    rig.start()
    first = asyncio.ensure_future(rig.reader.read(rig.meters[WANTED[0]]))
    waits = asyncio.ensure_future(rig.reader.read(rig.meters[WANTED[1]]))
    await asyncio.sleep(0)
    rig.reader.set_meters([rig.meters[WANTED[0]]])
    with pytest.raises(CmeError, match="no longer read"):
        await waits
    with pytest.raises(CmeError, match="not read"):
        await rig.reader.read(rig.meters[WANTED[1]])
    rig.hold.set()
    async with asyncio.timeout(LIMIT):
        await first


async def test_a_line_that_comes_back_is_read_at_once(rig: Rig) -> None:
    """What could not be read while the line was away does not wait for the next interval."""
    rig.plugged = False
    rig.start()
    rig.reader.sweep_now()
    await rig.recorded(4)
    assert {meter.state for meter in rig.meters.values()} == {MeterState.LINE_DOWN}
    rig.plugged = True
    await rig.recorded(8)
    assert {meter.state for meter in rig.meters.values()} == {MeterState.OK}


async def test_meters_that_are_late_are_read_at_once_and_once(rig: Rig) -> None:
    """After a start, what the running interval lacks is read, and nothing is read twice in it."""
    rig.start(tried=False)
    assert await rig.recorded(4) == list(WANTED)
    # Whatever else the schedule had in mind would be read before this one.
    async with asyncio.timeout(LIMIT):
        await rig.reader.read(rig.meters[WANTED[0]])
    assert len(rig.log) == 5
    assert rig.reader.next_sweep_ms == LATER


async def test_the_next_readout_comes_when_it_is_due(rig: Rig) -> None:
    """When an interval ends, the meters are read without anybody asking."""
    rig.start_ms, rig.end_ms = 0, SystemClock().now_ms() + 200
    rig.start()
    rig.start_ms, rig.end_ms = rig.end_ms, LATER
    assert await rig.recorded(4) == list(WANTED)
    sweep = rig.reader.sweep
    assert sweep is not None
    assert sweep.started_ms >= rig.start_ms
    assert rig.reader.next_sweep_ms == LATER


async def test_a_clock_that_is_set_back_stops_no_readouts(rig: Rig) -> None:
    """The next readout is that of the new time, and not the one a year ahead that was planned before."""
    year = 365 * 86_400_000
    rig.clock.moved_ms = year
    rig.start_ms, rig.end_ms = year, SystemClock().now_ms() + year
    rig.start()
    rig.reader.sweep_now()
    await rig.recorded(4)
    rig.clock.moved_ms = 0
    rig.start_ms, rig.end_ms = 0, SystemClock().now_ms() + 100
    rig.reader.line_changed(up=True)  # or the 30 seconds after which it looks by itself
    async with asyncio.timeout(LIMIT):
        await rig.reader.read(rig.meters[WANTED[0]])
    rig.start_ms, rig.end_ms = rig.end_ms, LATER
    await rig.recorded(9)


async def test_a_meter_that_is_removed_and_installed_again_is_still_read(rig: Rig) -> None:
    """Both while its readout runs: who asks for it then waits for the next one, and not for ever."""
    rig.hold.clear()
    rig.start()
    meter = rig.meters[WANTED[0]]
    first = asyncio.ensure_future(rig.reader.read(meter))
    async with asyncio.timeout(LIMIT):
        await rig.recording.wait()
        rig.reader.set_meters([])
        with pytest.raises(CmeError, match="no longer read"):
            await first
        rig.reader.set_meters([meter])
        again = asyncio.ensure_future(rig.reader.read(meter))
        await asyncio.sleep(0)
        rig.hold.set()
        await again

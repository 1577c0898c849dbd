"""Lines with simulated meters on a fast loop: real lines, readers, masters and meters, and the real store behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fast_loop import FastLoop, wall_clock

from core.config import Config, GatewayConfig, LineConfig, MeterConfig, Place, ReadoutConfig
from core.fleet import NOWHERE, Fleet
from core.interval import Interval
from core.lines import Lines
from core.mapping.simplified import Site
from core.mbus.errors import MbusError
from core.mbus.link import Readout
from core.mbus.simulator import SimulatedBus, SimulatedMeter
from core.mbus.simulator.serving import Wire
from core.mbus.transport import LineError, Transport
from core.meter import Meter
from core.outcome import judge
from core.secrets import Secrets
from core.snapshot import MeterState, ScheduleView
from core.store import Store

UTC = ZoneInfo("UTC")
MINUTE = 60_000
HOUR = 60 * MINUTE
MARGIN_S = 0.1
LOOK_S = 30.0  # the clock is looked at as often as that of the machine is

SECRETS = Secrets(lls_password="", master_key=b"", authentication_key=b"", encryption_key=b"", meter_keys={})


class FastClock:
    """The time of the fast loop, as somebody has set it."""

    moved_ms = 0

    def now_ms(self) -> int:
        return round(wall_clock() * 1000) + self.moved_ms

    def seconds_until(self, moment_ms: int) -> float:
        return min(max(moment_ms - self.now_ms(), 0) / 1000, LOOK_S)


class Made(NamedTuple):
    """A readout that was recorded."""

    name: str
    state: MeterState
    time_ms: int  # when it began
    recorded_ms: int


class Plant:
    """Lines and meters; `log` has all readouts in the order in which they were recorded."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FastClock()
        self.buses: dict[str, SimulatedBus] = {}  # by URL
        self.unplugged: set[str] = set()
        self.log: list[Made] = []
        self.rates: list[int] = []  # that the lines were switched to, in turn
        self.fixed_rate = False  # as with a plain TCP level converter
        self.zone = UTC
        self.fleet = Fleet(self.clock, self._read)
        self.lines = Lines(self.clock, self._record, self._span, lambda: None, self._open)
        self._transports: dict[str, Transport] = {}
        self.config = Config()

    async def install(
        self,
        lines: Iterable[LineConfig],
        meters: Iterable[MeterConfig],
        interval: str = "15 min",
        moved: Mapping[int, Place] = NOWHERE,
    ) -> None:
        """Begin to read these meters; `moved`: those, by key, that go on at another place."""
        self.config = Config(
            gateway=GatewayConfig(serial="0016000000"),
            readout=ReadoutConfig(Interval.parse(interval)),
            lines=tuple(lines),
            meters=tuple(meters),
        )
        with outside():
            plan = await self.fleet.plan(self.store, self.config, moved)
            await self.fleet.install(plan, SECRETS, Site("0016000000", UTC))
        self.lines.use(self.config.lines, self.fleet.on_line)

    def meter(self, name: str) -> Meter:
        return next(meter for meter in self.fleet if meter.name == name)

    def schedule(self, line: str) -> ScheduleView:
        found = next(each for each in self.lines if each.config.name == line)
        self.lines.weigh(found, self.fleet.on_line(line), self.config.readout.interval)
        assert found.schedule is not None
        return found.schedule

    def skipped(self, line: str) -> int:
        return self.schedule(line).skipped

    async def until(self, moment_ms: int) -> None:
        """Let time pass."""
        await asyncio.sleep((moment_ms - self.clock.now_ms()) / 1000)

    def unplug(self, url: str) -> None:
        self.unplugged.add(url)
        self._transports[url].lose("The line was unplugged.")

    def names(self, start_ms: int = 0, end_ms: int = 1 << 62) -> list[str]:
        """Whose readouts began within that time, in order."""
        return [made.name for made in self.log if start_ms <= made.time_ms < end_ms]

    def counts(self, start_ms: int, end_ms: int, interval_ms: int) -> Mapping[tuple[str, int], int]:
        """How many good readouts began in each interval, by meter and start of the interval."""
        return Counter(
            (made.name, made.time_ms // interval_ms * interval_ms)
            for made in self.log
            if made.state is MeterState.OK and start_ms <= made.time_ms < end_ms
        )

    async def _open(self, url: str, baud: int) -> Transport:
        if url in self.unplugged:
            raise LineError("The line is not plugged in.")
        bus = self.buses[url]
        wire = Wire(bus, baud, lambda data: transport.deliver(data))

        async def change_baud(rate: int) -> None:
            self.rates.append(rate)
            wire.set_baud(rate)

        transport = Transport(wire.feed, wire.close, MARGIN_S, None if self.fixed_rate else change_baud)
        self._transports[url] = transport
        return transport

    async def _read(self, meter: Meter) -> None:
        await self.lines.read(meter)

    def _span(self, meter: Meter, now_ms: int) -> tuple[int, int]:
        return (meter.config.interval or self.config.readout.interval).span(now_ms, self.zone)

    async def _record(self, meter: Meter, result: Readout | MbusError) -> None:
        now = self.clock.now_ms()
        outcome = judge(meter, result, now)
        with outside():
            await self.fleet.take(meter, outcome)
        self.log.append(Made(meter.name, outcome.state, outcome.time_ms, now))


@contextlib.asynccontextmanager
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    """A plant that is closed at the end."""
    with outside():
        store = await Store.open(tmp_path / "gateway.db")
    built = Plant(store)
    try:
        yield built
    finally:
        await built.lines.close()
        with outside():
            await store.close()


def outside() -> contextlib.AbstractContextManager[None]:
    """The store works: it takes no time on the simulated clock."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FastLoop)
    return loop.outside()


def installed(
    line: str, meters: Iterable[SimulatedMeter], first: int = 0, *, secondary: bool = True, interval: str = ""
) -> list[MeterConfig]:
    """The meters as config.toml would have them, named "m0", "m1" ... from `first` on."""
    return [
        MeterConfig(
            line=line,
            address=str(meter.identity) if secondary else meter.address,
            name=f"m{number}",
            logical_device=16 + number,
            interval=Interval.parse(interval) if interval else None,
            baud=meter.baud,
        )
        for number, meter in enumerate(meters, first)
    ]


def next_boundary(now_ms: int, interval_ms: int) -> int:
    return (now_ms // interval_ms + 1) * interval_ms

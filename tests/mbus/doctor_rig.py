"""A line of simulated meters, a master that reads them, and the bus doctor that looks on; on a fast loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC
from functools import partial

from fast_loop import wall_clock

from core.config import LineConfig, MeterConfig
from core.diagnosis import LineDiagnosis
from core.doctor import Doctor
from core.mapping.simplified import Site
from core.mbus.errors import MbusError
from core.mbus.master import Master
from core.mbus.simulator import (
    LineMisfortune,
    Misfortune,
    SimulatedBus,
    SimulatedMeter,
    fleet,
    open_simulated,
    serials,
)
from core.mbus.simulator.misfortune import LINE_UNHARMED
from core.mbus.transport import Transport
from core.meter import Meter

LINE = "m1"
REST_S = 60.0
"""Between two sweeps."""


class FastClock:
    """The wall clock of a fast loop."""

    def now_ms(self) -> int:
        return round(wall_clock() * 1000)

    def seconds_until(self, moment_ms: int) -> float:
        return max(0.0, (moment_ms - self.now_ms()) / 1000)


async def _read(_meter: Meter) -> None:
    raise AssertionError("nobody asks this meter for a value")


def installed(
    meters: Sequence[SimulatedMeter], *, secondary: bool = False, margin_ms: int = 0
) -> list[Meter]:
    """The gateway's meters for simulated ones, whose first telegram it has seen."""
    clock = FastClock()
    return [
        Meter(
            number,
            MeterConfig(
                line=LINE,
                address=str(meter.identity) if secondary else meter.address,
                name=f"meter {number}",
                logical_device=15 + number,
                margin_ms=margin_ms,
            ),
            site=Site("0123456789", UTC),
            clock=clock,
            read=_read,
            keys={},
            identity=meter.identity,
        )
        for number, meter in enumerate(meters, 1)
    ]


class Rig:
    """`sweep` reads all meters; `diagnosis` is what the doctor says then."""

    def __init__(self, bus: SimulatedBus, meters: Sequence[Meter], baud: int) -> None:
        self.bus = bus
        self.meters = list(meters)
        self.doctor = Doctor(FastClock(), lambda: UTC, lambda _: self.master)
        self._baud = baud
        self.use()
        self.master = Master(
            "sim:",
            baud,
            open_line=self._open,
            watch=partial(self.doctor.watch, LINE),
            now=wall_clock,
        )

    def use(self, margin_ms: int = 0) -> None:
        """Let the doctor know of the line and its meters as they are configured now."""
        config = LineConfig(name=LINE, url="sim:", baud=self._baud, margin_ms=margin_ms)
        self.doctor.use([config], lambda _: self.meters)

    async def _open(self, _url: str, baud: int) -> Transport:
        return open_simulated(self.bus, baud)

    async def sweep(self, times: int = 1, rest: float = REST_S) -> list[str]:
        """Read each meter once, `times` times, with a pause of `rest` s after each; the names of the errors."""
        errors = []
        for _ in range(times):
            for meter in self.meters:
                try:
                    await self.master.read(meter.address, expected=meter.identity)
                except MbusError as error:
                    errors.append(type(error).__name__)
            await asyncio.sleep(rest)
        return errors

    async def diagnosis(self, line: str = LINE) -> LineDiagnosis:
        return await self.doctor.diagnosis(line)

    async def faults(self) -> set[tuple[str, str]]:
        """Meter, "" for the line, and fault of each finding."""
        return {(finding.meter, finding.fault) for finding in (await self.diagnosis()).findings}


@contextlib.asynccontextmanager
async def rig(
    number: int = 8,
    *,
    line: LineMisfortune = LINE_UNHARMED,
    secondary: bool = False,
    baud: int = 2400,
    **of_meters: Misfortune,
) -> AsyncIterator[Rig]:
    """A line of so many meters; `meter3=Misfortune(...)` is that of the third one."""
    simulated = fleet(serials(number))
    for name, misfortune in of_meters.items():
        simulated[int(name.removeprefix("meter")) - 1].misfortune = misfortune
    bus = SimulatedBus(simulated, clock=wall_clock, baud=baud, misfortune=line)
    async with played(bus, installed(simulated, secondary=secondary), baud) as made:
        yield made


@contextlib.asynccontextmanager
async def played(bus: SimulatedBus, meters: Sequence[Meter], baud: int = 2400) -> AsyncIterator[Rig]:
    """The same for any bus and the meters that are installed on it."""
    made = Rig(bus, meters, baud)
    made.master.start()
    try:
        yield made
    finally:
        await made.doctor.close()
        await made.master.close()

"""A master on a simulated line, with all that went over it; for tests on the fast loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from fast_loop import wall_clock

from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.mbus.frame import Frame, long_frame
from core.mbus.master import Master
from core.mbus.simulator import Answer, SimulatedBus, SimulatedMeter, arrange, open_simulated, read_telegrams
from core.mbus.telegram import decode
from core.mbus.transport import Transport
from core.mbus.watch import Fault, Try
from tests.conftest import TELEGRAMS

WATER = PrimaryAddress(5)
WATER_ID = SecondaryAddress("12345678", "PAD", 0x01, 0x07)
HEAT = PrimaryAddress(6)
HEAT_ID = SecondaryAddress("44950146")
PAIR = PrimaryAddress(7)
"""A meter with two telegrams."""
PAIR_ID = SecondaryAddress("01006089")


def recorded(name: str) -> bytes:
    """The first telegram of a real meter."""
    return read_telegrams(TELEGRAMS / f"{name}.hex")[0]


def of_meter(frame: bytes, other: bytes) -> bytes:
    """A telegram of the variable structure with the secondary address of another one."""
    return long_frame(frame[4], frame[5], frame[6], other[7:15] + frame[15:-2])


def three_meters() -> list[SimulatedMeter]:
    """A water meter at address 5, a heat meter at 6, and one with two telegrams at 7."""
    first = recorded("svm_f22_telegram1")
    return [
        SimulatedMeter([recorded("frame2")], address=5),
        SimulatedMeter([recorded("metrona_pollutherm")], address=6),
        SimulatedMeter([first, of_meter(recorded("Elster-F2"), first)], address=7),
    ]


def identification(frames: Iterable[bytes]) -> list[str]:
    """Whose telegrams these are."""
    return [decode(frame).identification for frame in frames]


class Listener(SimulatedBus):
    """A bus that remembers what the master sent, and lets a test answer in a meter's stead."""

    def __init__(self, meters: list[SimulatedMeter], clock: Callable[[], float] = wall_clock) -> None:
        super().__init__(meters, clock)
        self.heard: list[bytes] = []
        self.times: list[float] = []  # when, in the loop's time
        self.heard_one = asyncio.Event()
        self.instead: Callable[[Frame], Answer | None] | None = None

    def respond(self, frame: Frame) -> Answer | None:
        self.heard.append(frame.raw)
        self.times.append(asyncio.get_running_loop().time())
        self.heard_one.set()
        return self.instead(frame) if self.instead else super().respond(frame)


class Line:
    """A line with three meters, what goes wrong on it, and what the master did."""

    def __init__(self, *items: str, meters: list[SimulatedMeter] | None = None) -> None:
        self.bus = Listener(three_meters() if meters is None else meters)
        self.tries: list[Try] = []
        self.master = Master("sim:", 2400, open_line=self._open, now=wall_clock, watch=self.tries.append)
        arrange(self.bus, items)

    async def _open(self, _url: str, baud: int) -> Transport:
        return open_simulated(self.bus, baud)

    @property
    def faults(self) -> set[Fault]:
        """Everything that was wrong with a try."""
        return {each.fault for each in self.tries if each.fault}


@contextlib.asynccontextmanager
async def running(*items: str, meters: list[SimulatedMeter] | None = None) -> AsyncIterator[Line]:
    """The line with its master at work, at 2400 baud; `items` as `arrange` takes them."""
    line = Line(*items, meters=meters)
    line.master.start()
    try:
        yield line
    finally:
        await line.master.close()

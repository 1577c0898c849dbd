"""Echo, noise, collision, time-out and late answers over a real pty and a real TCP connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from line_rig import HEAT, WATER, WATER_ID, identification, three_meters

from core.mbus.errors import Garbled, NoAnswer, RateRefused
from core.mbus.master import Master
from core.mbus.simulator import SimulatedBus, SimulatedMeter, SimulatedPty, arrange, serve_tcp
from core.mbus.simulator.shaping import lengthened
from core.mbus.watch import Fault, Try

BAUD = 38400
MARGIN = 0.3  # s; plenty for a busy machine, and little to wait for

pytestmark = pytest.mark.parametrize("way", ["pty", "tcp"])


class Site:
    """A bus behind a pty or a TCP level converter, and the master in front of it."""

    def __init__(self, bus: SimulatedBus, url: str) -> None:
        self.bus = bus
        self.tries: list[Try] = []
        self.master = Master(url, BAUD, margin=MARGIN, watch=self.tries.append)

    @property
    def faults(self) -> set[Fault]:
        return {each.fault for each in self.tries if each.fault}


@contextlib.asynccontextmanager
async def site(way: str, *items: str, meters: list[SimulatedMeter] | None = None) -> AsyncIterator[Site]:
    bus = SimulatedBus(meters or three_meters(), time.time)
    arrange(bus, items)
    async with contextlib.AsyncExitStack() as stack:
        if way == "pty":
            pty = SimulatedPty(bus, BAUD)
            stack.callback(pty.close)
            url = f"serial:{pty.path}"
        else:
            server = await serve_tcp(bus, BAUD)
            stack.callback(server.close)
            url = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        made = Site(bus, url)
        made.master.start()
        stack.push_async_callback(made.master.close)
        yield made


async def test_time_out(way: str) -> None:
    """A dead meter is named, and the next one is read."""
    async with site(way, "dead@5") as line:
        with pytest.raises(NoAnswer, match="does not answer"):
            await line.master.read(WATER)
        assert line.faults == {Fault.SILENCE}
        assert identification((await line.master.read(HEAT)).frames) == ["44950146"]


async def test_echo(way: str) -> None:
    """What the converter sends back is neither answer nor disturbance, and it is told."""
    async with site(way, "echo", "dead@6") as line:
        for address in (WATER, WATER_ID):
            assert identification((await line.master.read(address)).frames) == ["12345678"]
        assert all(each.echo for each in line.tries)
        with pytest.raises(NoAnswer):
            await line.master.read(HEAT)


async def test_noise(way: str) -> None:
    """Bytes in front of every answer: told from silence and from a collision."""
    async with site(way, "garbage:0033@5") as line:
        with pytest.raises(Garbled, match="Noise") as caught:
            await line.master.read(WATER)
        assert caught.value.fault is Fault.NOISE
        assert identification((await line.master.read(HEAT)).frames) == ["44950146"]


async def test_collision(way: str) -> None:
    """Two meters at one address, of different kind and of the same; each is read by what tells it apart."""
    async with site(way, "address:5@6") as line:
        with pytest.raises(Garbled, match="two meters") as caught:
            await line.master.read(WATER)
        assert caught.value.fault is Fault.COLLISION
        assert identification((await line.master.read(WATER_ID)).frames) == ["12345678"]
    async with site(way, "twin@5") as line:
        with pytest.raises(Garbled, match="two meters") as caught:
            await line.master.read(WATER_ID)
        assert caught.value.fault is Fault.COLLISION


async def test_late_answer(way: str) -> None:
    """It is never taken for another meter's, nor for data that a meter lacks."""
    async with site(way, "late:1@5") as line:
        for address, wanted in ((WATER, "12345678"), (HEAT, "44950146"), (WATER_ID, "12345678")):
            with contextlib.suppress(NoAnswer, Garbled):
                assert identification((await line.master.read(address)).frames) == [wanted]
        assert any(each.before or each.number > 1 for each in line.tries)


async def test_longest_telegram(way: str) -> None:
    """261 bytes, in the pieces that the way to the bus makes of them."""
    meters = three_meters()[:1]
    meters = [SimulatedMeter([lengthened(meters[0].telegram_at(time.time()))], address=5)]
    async with site(way, meters=meters) as line:
        assert [len(frame) for frame in (await line.master.read(WATER)).frames] == [261]


async def test_other_baud_rate(way: str) -> None:
    """A serial port is switched to a meter's rate and back; a plain TCP line says that it cannot be."""
    async with site(way, "baud:9600@5") as line:
        if way == "pty":
            assert identification((await line.master.read(WATER, baud=9600)).frames) == ["12345678"]
        else:
            with pytest.raises(RateRefused, match="fixed by its level converter"):
                await line.master.read(WATER, baud=9600)
        assert identification((await line.master.read(HEAT)).frames) == ["44950146"]

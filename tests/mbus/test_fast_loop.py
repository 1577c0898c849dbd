"""The accelerated clock of the tests: it jumps when nothing is to be done, and never past anything."""

from __future__ import annotations

import asyncio
import threading

import pytest
from fast_loop import START, fast, run_fast, wall_clock

from core.mbus.address import PrimaryAddress
from core.mbus.errors import NoAnswer
from core.mbus.frame import req_ud2
from core.mbus.master import Master
from core.mbus.simulator import Misfortune, SimulatedBus, SimulatedMeter, open_simulated, read_telegrams
from core.mbus.transport import Transport
from tests.conftest import TELEGRAMS

DAY = 86_400.0


@fast
async def test_a_day_is_over_at_once_and_exactly() -> None:
    """Sleeping, time-outs and the wall clock agree about the time that went by."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(DAY)
    assert loop.time() - start == pytest.approx(DAY)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(DAY):
            await asyncio.Event().wait()
    assert loop.time() - start == pytest.approx(2 * DAY)
    assert wall_clock() == pytest.approx(START + 2 * DAY)


@fast
async def test_timers_keep_their_order() -> None:
    """What is due earlier happens earlier, also where what is due starts more."""
    order: list[str] = []

    async def say(word: str, *after: float) -> None:
        for delay in after:
            await asyncio.sleep(delay)
        order.append(word)

    await asyncio.gather(say("third", 3600, 0.003), say("first", 0.001), say("second", 1800, 1800, 0.002))
    assert order == ["first", "second", "third"]


@fast
async def test_no_time_out_runs_out_while_a_thread_works() -> None:
    """A job in a thread takes no time of the loop: it waits for the job and then goes on."""
    loop = asyncio.get_running_loop()
    may_end = threading.Event()
    started = loop.time()
    job = asyncio.create_task(asyncio.to_thread(may_end.wait))
    threading.Timer(0.05, may_end.set).start()
    async with asyncio.timeout(0.001):
        assert await job
    assert loop.time() == started


def test_wire_timing_is_kept_without_waiting() -> None:
    """A thousand readouts at 300 baud take the wire's hours on the loop's clock, and a dead meter its time-outs."""
    meter = SimulatedMeter(read_telegrams(TELEGRAMS / "frame2.hex"), address=5)

    async def measure() -> tuple[float, float]:
        async def open_line(_url: str, baud: int) -> Transport:
            return open_simulated(SimulatedBus([meter], wall_clock), baud)

        loop = asyncio.get_running_loop()
        master = Master("sim:", 300, open_line=open_line, now=wall_clock)
        master.start()
        await master.read(PrimaryAddress(5))
        start = loop.time()
        for _ in range(1000):
            readout = await master.read(PrimaryAddress(5))
        spent = (loop.time() - start) / 1000
        assert readout.finished == pytest.approx(wall_clock())
        meter.misfortune = Misfortune(dead=True)
        start = loop.time()
        with pytest.raises(NoAnswer):
            await master.read(PrimaryAddress(5))
        await master.close()
        return spent, loop.time() - start

    spent, failing = run_fast(measure())
    request, answer = len(req_ud2(5, True)), len(meter.telegram_at(START))
    limit = (request + answer) * 11 / 300 + 33 / 300 + 0.03 + 33 / 300
    # Exact on any machine: the clock of the loop knows nothing of how busy the processor is.
    assert limit - 1e-6 < spent < limit + 0.002
    assert failing > 3 * (330 / 300 + 0.05)

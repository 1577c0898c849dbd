"""The master: readout by every way of addressing, and what it makes of everything that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest
from line_rig import HEAT, WATER, WATER_ID, Listener, identification, of_meter, recorded

from core.mbus import master as master_module
from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.mbus.errors import Garbled, Incomplete, LineDown, NoAnswer, NoData, WrongMeter
from core.mbus.frame import ACK, Frame, long_frame, req_ud2, select, snd_nke
from core.mbus.master import Master
from core.mbus.simulator import (
    Answer,
    Misfortune,
    SimulatedBus,
    SimulatedMeter,
    SimulatedPty,
    open_simulated,
)
from core.mbus.simulator.serving import Wire
from core.mbus.telegram import decode
from core.mbus.transport import Transport
from core.snapshot import LineState

BAUD = 38400


@pytest.fixture
def water() -> SimulatedMeter:
    return SimulatedMeter([recorded("frame2")], address=5)


@pytest.fixture
def heat() -> SimulatedMeter:
    return SimulatedMeter([recorded("metrona_pollutherm")], address=6)


@pytest.fixture
def bus(water: SimulatedMeter, heat: SimulatedMeter) -> Listener:
    return Listener([water, heat], time.time)


@contextlib.asynccontextmanager
async def running(
    bus: SimulatedBus, *, baud: int = BAUD, repeats: int = 2, more: Callable[[bytes], bool] | None = None
) -> AsyncIterator[Master]:
    async def open_line(_url: str, rate: int) -> Transport:
        return open_simulated(bus, rate)

    options = {"more_follows": more} if more else {}
    master = Master("sim:", baud, repeats=repeats, open_line=open_line, **options)  # type: ignore[arg-type]
    master.start()
    try:
        yield master
    finally:
        await master.close()


async def until(condition: Callable[[], bool], event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        while not condition():
            event.clear()
            await event.wait()


async def test_primary_readout_resets_once_and_toggles_the_frame_count_bit(bus: Listener) -> None:
    """The link is reset on first contact only; then every readout carries the other bit."""
    async with running(bus) as master:
        for _ in range(3):
            readout = await master.read(WATER, expected=WATER_ID)
            assert identification(readout.frames) == ["12345678"]
            assert readout.tries == 1
            assert readout.started <= readout.finished
        await master.read(HEAT)
    assert bus.heard == [
        snd_nke(5), req_ud2(5, True), req_ud2(5, False), req_ud2(5, True), snd_nke(6), req_ud2(6, True)
    ]  # fmt: skip


async def test_secondary_readout_selects_and_verifies(bus: Listener) -> None:
    """Selection with and without wildcards reads the meter that it names."""
    async with running(bus) as master:
        for address in (WATER_ID, SecondaryAddress("1234FFFF")):
            assert identification((await master.read(address)).frames) == ["12345678"]
    assert bus.heard[0] == snd_nke(253)
    assert bus.heard[1:] == [
        select(WATER_ID), req_ud2(253, True), select(SecondaryAddress("1234FFFF")), req_ud2(253, True)
    ]  # fmt: skip


async def test_wrong_checksum_is_asked_again_with_the_same_bit(bus: Listener, water: SimulatedMeter) -> None:
    """A spoilt telegram costs a repetition, and the meter does not count it as a new request.

    Nor when it is asked for twice, since where one is spoilt another may be without being noticed.
    """
    water.misfortune = Misfortune(wrong_checksum=2)
    async with running(bus) as master:
        readout = await master.read(WATER)
        assert readout.tries == 2
        assert decode(readout.frames[0]).access_number == (water.access_number + 1) & 0xFF
    assert bus.heard == [snd_nke(5)] + 4 * [req_ud2(5, True)]


async def test_lasting_disturbance_is_garbled_and_keeps_the_bytes(
    bus: Listener, water: SimulatedMeter
) -> None:
    """After two repetitions the error names the reason and holds what was received."""
    async with running(bus) as master:
        await master.read(WATER)
        water.misfortune = Misfortune(wrong_checksum=1)
        with pytest.raises(Garbled, match="checksum") as caught:
            await master.read(WATER)
        assert caught.value.raw.startswith(b"\x68\x1f\x1f\x68")
        assert bus.heard.count(req_ud2(5, False)) == 3
        water.misfortune = Misfortune()
        await master.read(WATER)
    assert bus.heard[-3:-1] == [snd_nke(5), req_ud2(5, True)], "after a failure the link is reset"


async def test_noise_in_front_of_an_answer_does_no_harm(bus: Listener, water: SimulatedMeter) -> None:
    """Disturbed bytes are skipped where a whole telegram follows."""
    async with running(bus) as master:
        await master.read(WATER)
        water.misfortune = Misfortune(noise=b"\x00\xff\x68\x11")
        assert (await master.read(WATER)).tries == 1


async def test_acknowledgement_within_noise_is_not_believed(bus: Listener, water: SimulatedMeter) -> None:
    """An E5 that comes with other bytes may be part of the noise."""
    water.misfortune = Misfortune(noise=b"\x33\x00")
    async with running(bus, repeats=0) as master:
        with pytest.raises(Garbled):
            await master.read(WATER)


async def test_dead_meter_gives_no_answer_and_the_next_is_read(bus: Listener, water: SimulatedMeter) -> None:
    """Three tries, a sentence, and the line goes on."""
    async with running(bus) as master:
        await master.read(WATER_ID)
        water.misfortune = Misfortune(dead=True)
        with pytest.raises(NoAnswer, match="Meter 5 does not answer"):
            await master.read(WATER)
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await master.read(WATER_ID)
        assert bus.heard.count(snd_nke(253)) == 2, "after a failure all meters are deselected first"
        assert len((await master.read(HEAT)).frames) == 1
    assert bus.heard.count(snd_nke(5)) == 3


async def test_late_answer_is_not_taken_for_the_next(bus: Listener, water: SimulatedMeter) -> None:
    """A meter that answers too late is read after all, and its surplus answers reach nobody else."""
    async with running(bus) as master:
        await master.read(HEAT)
        await master.read(WATER)
        for late in (0.17, 0.25, 0.4):
            water.misfortune = Misfortune(late=late)
            with contextlib.suppress(NoAnswer):
                assert identification((await master.read(WATER)).frames) == ["12345678"]
            heat_id = identification((await master.read(HEAT)).frames)
            assert heat_id == ["44950146"]
            assert identification((await master.read(SecondaryAddress("44950146"))).frames) == heat_id


async def test_after_a_repetition_the_line_is_left_to_settle(bus: Listener) -> None:
    """Where the first request was answered late, its answer and that to the repetition may both still come."""
    missed = [req_ud2(5, True)]

    def answer(frame: Frame) -> Answer | None:
        if frame.raw in missed:
            missed.remove(frame.raw)
            return None
        return SimulatedBus.respond(bus, frame)

    bus.instead = answer
    async with running(bus) as master:
        assert (await master.read(WATER, telegrams=1)).tries == 2
        await master.read(HEAT)
    repeated = bus.heard.index(snd_nke(6)) - 1
    answer_time = 330 / BAUD + 0.05
    assert bus.times[repeated + 1] - bus.times[repeated] > answer_time


async def test_long_telegram_outlasts_the_answer_time_out() -> None:
    """The time-out is for the first byte; a long telegram on a slow line takes as long as its bytes take."""
    raw = recorded("kamstrup_multical_601")
    async with running(SimulatedBus([SimulatedMeter([raw], address=5)]), baud=4800) as master:
        readout = await master.read(WATER)
    assert readout.tries == 1
    assert len(readout.frames[0]) == len(raw) > 250


async def test_answer_from_another_address_is_not_accepted(bus: Listener) -> None:
    """A telegram with another A field is no answer, however valid it is."""
    stray = recorded("frame2")
    bus.instead = lambda frame: Answer(ACK if frame.raw == snd_nke(5) else stray)
    async with running(bus, repeats=0) as master:
        with pytest.raises(Garbled, match="address 2"):
            await master.read(WATER)


async def test_wrong_meter_is_named(bus: Listener) -> None:
    """Where another meter answers, the error tells which; an E5 to the selection proves nothing."""
    async with running(bus) as master:
        with pytest.raises(WrongMeter, match="12345678") as caught:
            await master.read(WATER, expected=SecondaryAddress("44950146"))
        assert caught.value.found == WATER_ID
        assert identification(caught.value.frames) == ["12345678"]
        assert bus.heard.count(req_ud2(5, True)) == 1
        bus.instead = lambda frame: Answer(ACK if frame.raw[0] != 0x10 or frame.control == 0x40 else
                                           recorded("frame2"))  # fmt: skip
        with pytest.raises(WrongMeter) as caught:
            await master.read(SecondaryAddress("44950146"))
        assert caught.value.found == WATER_ID


async def test_two_meters_on_one_address_are_garbled(water: SimulatedMeter, heat: SimulatedMeter) -> None:
    """Both answer at once, and the master says what it may be."""
    heat.address = 5
    async with running(SimulatedBus([water, heat]), repeats=0) as master:
        with pytest.raises(Garbled, match="two meters"):
            await master.read(WATER)


async def test_meter_without_data_is_told_apart(bus: Listener) -> None:
    """An acknowledgement instead of a telegram is no failure of the line; it is asked for twice, lest it be late."""
    bus.instead = lambda frame: Answer(ACK)
    async with running(bus) as master:
        with pytest.raises(NoData, match="no data"):
            await master.read(WATER)
    assert bus.heard == [snd_nke(5), req_ud2(5, True), req_ud2(5, True)]


async def test_all_telegrams_of_a_meter_are_read() -> None:
    """DIF 1F announces another telegram; it is asked for with the bit toggled, from the first one each time."""
    first = recorded("svm_f22_telegram1")
    assert decode(first).more_follows
    second = of_meter(recorded("Elster-F2"), first)
    meter = SimulatedMeter([first, second], address=7)
    bus = Listener([meter], time.time)
    ways = (PrimaryAddress(7), PrimaryAddress(7), SecondaryAddress.from_header(meter.header))
    async with running(bus) as master:
        for address in ways:
            readout = await master.read(address)
            assert [len(frame) for frame in readout.frames] == [len(first), len(second)]
    assert bus.heard[:6] == [snd_nke(7), req_ud2(7, True), req_ud2(7, False)] * 2
    assert bus.heard[-3:] == [select(ways[-1]), req_ud2(253, True), req_ud2(253, False)]


async def test_page_of_another_meter_in_the_middle_is_refused() -> None:
    """All telegrams of a readout have to name the meter that sent the first, also where none is expected."""
    meter = SimulatedMeter([recorded("svm_f22_telegram1"), recorded("Elster-F2")], address=7)
    async with running(Listener([meter], time.time)) as master:
        for address in (PrimaryAddress(7), SecondaryAddress("01006089")):
            with pytest.raises(WrongMeter, match="00802657"):
                await master.read(address)


async def test_telegrams_that_repeat_or_never_end_are_given_up(bus: Listener, water: SimulatedMeter) -> None:
    """What came until then is in the error."""
    count = 0

    def endless(frame: Frame) -> Answer:
        nonlocal count
        count += 1
        return Answer(ACK if frame.control == 0x40 else long_frame(8, 5, 0x78, count.to_bytes(2, "big")))

    async with running(bus, more=lambda frame: True) as master:
        with pytest.raises(Incomplete, match="repeats itself") as caught:
            await master.read(WATER)
        assert len(caught.value.frames) == 1
        bus.instead = endless
        with pytest.raises(Incomplete, match="after 32") as caught:
            await master.read(WATER)
        assert len(caught.value.frames) == 32


async def test_cancelled_read_leaves_the_line_usable(bus: Listener) -> None:
    """A read that is cancelled in the middle of the answer does not disturb the next one."""
    async with running(bus, baud=9600) as master:
        await master.read(HEAT)
        for meter in (WATER, WATER_ID):
            bus.heard.clear()
            reading = asyncio.ensure_future(master.read(meter))
            number = 5 if meter is WATER else 253
            await until(lambda number=number: req_ud2(number, True) in bus.heard, bus.heard_one)  # type: ignore[misc]
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            readout = await master.read(HEAT)
            assert readout.tries == 1
            assert identification(readout.frames) == ["44950146"]
        bus.heard.clear()
        await master.read(WATER)
        assert bus.heard == [snd_nke(5), req_ud2(5, True)]


async def test_one_transaction_at_a_time(bus: Listener) -> None:
    """Reads that are asked for at once are done one after another, each with its own answer."""
    async with running(bus) as master:
        readouts = await asyncio.gather(*(master.read(address) for address in (WATER, HEAT, WATER_ID, WATER)))
    assert [identification(readout.frames)[0] for readout in readouts] == [
        "12345678", "44950146", "12345678", "12345678"
    ]  # fmt: skip


async def test_over_a_serial_line_at_2400_baud(bus: Listener) -> None:
    """Primary and secondary readout over a real pty with the times of the wire."""
    pty = SimulatedPty(bus, 2400)
    master = Master(f"serial:{pty.path}", 2400)
    master.start()
    assert identification((await master.read(WATER)).frames) == ["12345678"]
    assert identification((await master.read(WATER_ID)).frames) == ["12345678"]
    await master.close()
    pty.close()


class Converter:
    """A TCP level converter that can be switched off."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus
        self._writers: list[asyncio.StreamWriter] = []

    async def switch_on(self, port: int = 0) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    def switch_off(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        wire = Wire(self._bus, BAUD, writer.write, fast=True)
        while data := await reader.read(100):
            wire.feed(data)
        writer.close()


async def test_lost_tcp_line_comes_back_by_itself(bus: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that goes away takes the line down with a reason; when it is back, so is the line."""
    monkeypatch.setattr(master_module, "FIRST_RETRY", 0.02)
    converter = Converter(bus)
    port = await converter.switch_on()
    changed = asyncio.Event()
    states: list[tuple[LineState, str]] = []

    def note() -> None:
        states.append((master.state, master.reason))
        changed.set()

    master = Master(f"tcp:127.0.0.1:{port}", BAUD, on_change=note)
    assert master.state is LineState.CONNECTING
    with pytest.raises(LineDown, match="not started"):
        await master.read(WATER)
    master.start()
    await master.read(WATER)
    assert states == [(LineState.UP, "")]
    converter.switch_off()
    await until(lambda: "refuses" in master.reason, changed)
    assert states[1][0] is LineState.DOWN
    assert "closed the connection" in states[1][1]
    with pytest.raises(LineDown, match="refuses the connection"):
        await master.read(WATER)
    await converter.switch_on(port)
    await until(lambda: master.state is LineState.UP, changed)
    bus.heard.clear()
    await master.read(WATER)
    assert bus.heard[0] == snd_nke(5), "what the meter remembers is not known after a new connection"
    await master.close()
    assert master.state is LineState.DOWN
    converter.switch_off()


async def test_line_that_is_lost_in_the_middle_fails_the_read(bus: Listener) -> None:
    """A read does not wait for its time-out when the line goes away."""
    pty = SimulatedPty(bus, 300)
    master = Master(f"serial:{pty.path}", 300)
    master.start()
    reading = asyncio.ensure_future(master.read(WATER))
    await until(lambda: bool(bus.heard), bus.heard_one)
    pty.close()
    with pytest.raises(LineDown, match="unplugged"):
        await reading
    await master.close()


async def test_closing_the_master_fails_the_read(bus: Listener) -> None:
    """Whoever waits for a readout hears that the line was closed."""
    async with running(bus, baud=300) as master:
        reading = asyncio.ensure_future(master.read(WATER))
        await until(lambda: bool(bus.heard), bus.heard_one)
        await master.close()
        with pytest.raises(LineDown, match="closed"):
            await reading

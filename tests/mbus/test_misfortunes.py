"""Every misfortune of the simulated line: what is really on the wire, and what the master makes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from fast_loop import fast, wall_clock

from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.mbus.errors import Garbled, Incomplete, MbusError, NoAnswer, WrongMeter
from core.mbus.frame import ACK, Frame, FrameReader, Garbage, req_ud2, snd_nke
from core.mbus.master import Master
from core.mbus.simulator import (
    Answer,
    SimulatedBus,
    SimulatedMeter,
    SimulationError,
    arrange,
    open_simulated,
    read_telegrams,
)
from core.mbus.simulator.misfortune import BY_NAME, KINDS, LINE_UNHARMED, UNHARMED, described
from core.mbus.telegram import decode
from core.mbus.transport import Transport
from tests.conftest import TELEGRAMS

WATER = PrimaryAddress(5)
WATER_ID = SecondaryAddress("12345678", "PAD", 0x01, 0x07)
HEAT = PrimaryAddress(6)
HEAT_ID = SecondaryAddress("44950146")
PAIR = PrimaryAddress(7)


def recorded(name: str) -> bytes:
    return read_telegrams(TELEGRAMS / f"{name}.hex")[0]


def make_bus(*items: str) -> SimulatedBus:
    """A water meter at address 5, a heat meter at 6, one with two telegrams at 7, and what goes wrong."""
    bus = SimulatedBus(
        [
            SimulatedMeter([recorded("frame2")], address=5),
            SimulatedMeter([recorded("metrona_pollutherm")], address=6),
            SimulatedMeter([recorded("svm_f22_telegram1"), recorded("Elster-F2")], address=7),
        ],
        wall_clock,
    )
    arrange(bus, items)
    return bus


@contextlib.asynccontextmanager
async def reading(bus: SimulatedBus, *, repeats: int = 2) -> AsyncIterator[Master]:
    async def open_line(_url: str, baud: int) -> Transport:
        return open_simulated(bus, baud)

    master = Master("sim:", 2400, repeats=repeats, open_line=open_line, now=wall_clock)
    master.start()
    try:
        yield master
    finally:
        await master.close()


async def heard(bus: SimulatedBus, *requests: bytes, gap: float = 2.0) -> bytes:
    """All bytes that a master gets that sends these at 2400 baud and listens in between."""
    line = open_simulated(bus, 2400)
    loop = asyncio.get_running_loop()
    received = b""
    for request in requests:
        line.write(request)
        end = loop.time() + gap
        while data := await line.read(end):
            received += data
    line.close()
    return received


def frames_in(raw: bytes) -> list[Frame | Garbage]:
    reader = FrameReader()
    rest = reader.feed(raw)
    last = reader.flush()
    return [*rest, last] if last else rest


def test_every_misfortune_has_a_name_and_a_key_of_its_own() -> None:
    """What is switched on with the key is switched off with it, and is told in between."""
    assert len({kind.key for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        calm = LINE_UNHARMED if kind.of_line else UNHARMED
        ill = kind.toggled(calm)  # type: ignore[type-var]
        assert ill != calm
        assert described(ill)
        assert kind.toggled(ill) == calm
    assert described(UNHARMED) == described(LINE_UNHARMED) == ""


@fast
async def test_dead() -> None:
    """A dead meter is silent; its neighbours are read."""
    bus = make_bus("dead@5")
    assert await heard(bus, snd_nke(5), req_ud2(5, True)) == b""
    async with reading(bus) as master:
        with pytest.raises(NoAnswer):
            await master.read(WATER)
        assert (await master.read(HEAT)).tries == 1


@fast
async def test_slow() -> None:
    """Who answers late but within the time-out is read at once, only later."""
    loop = asyncio.get_running_loop()
    spent = []
    for bus in (make_bus(), make_bus("slow:0.1@5")):
        async with reading(bus) as master:
            start = loop.time()
            assert (await master.read(WATER)).tries == 1
            spent.append(loop.time() - start)
    assert spent[1] - spent[0] == pytest.approx(2 * 0.1)


@fast
async def test_late() -> None:
    """An answer after the time-out comes while the next meter is asked; it is never taken for that one's."""
    loop = asyncio.get_running_loop()
    bus = make_bus("late:0.6@5")
    line = open_simulated(bus, 2400)
    line.write(snd_nke(5))
    assert await line.read(loop.time() + 0.6) == b""
    assert await line.read(loop.time() + 0.2) == ACK
    line.close()
    raw = await heard(make_bus("late:0.6@5"), snd_nke(5), snd_nke(6), gap=0.2)
    assert raw == ACK, "the other meter's"
    for seconds in ("0.25", "0.4", "0.6", "1.5"):
        arrange(bus, [f"late:{seconds}@5"])
        async with reading(bus) as master:
            for _ in range(3):
                with contextlib.suppress(MbusError):
                    (frame,) = (await master.read(WATER)).frames
                    assert decode(frame).identification == "12345678"
                (frame,) = (await master.read(HEAT)).frames
                assert decode(frame).identification == "44950146"


@fast
async def test_checksum() -> None:
    """Every second one costs a repetition; if all are wrong, the reason is named."""
    (garbage,) = frames_in(await heard(make_bus("checksum@5"), req_ud2(5, True)))
    assert isinstance(garbage, Garbage)
    assert "checksum" in garbage.reason
    async with reading(make_bus("checksum:2@5")) as master:
        assert (await master.read(WATER)).tries == 2
    async with reading(make_bus("checksum@5")) as master:
        with pytest.raises(Garbled, match="checksum"):
            await master.read(WATER)


@fast
async def test_garbage() -> None:
    """Bytes in front of a telegram are skipped; an acknowledgement among them is not believed."""
    assert (await heard(make_bus("garbage:0033@5"), snd_nke(5))) == b"\x00\x33" + ACK
    async with reading(make_bus("garbage:0033@5"), repeats=0) as master:
        with pytest.raises(Garbled):
            await master.read(WATER)
    bus = make_bus()
    async with reading(bus) as master:
        await master.read(WATER)
        arrange(bus, ["garbage@5"])
        assert (await master.read(WATER)).tries == 1


@fast
async def test_cut() -> None:
    """A telegram that breaks off is told from silence, and no time is lost for the next meter."""
    assert len(await heard(make_bus("cut:20@5"), req_ud2(5, True))) == 20
    async with reading(make_bus("cut:20@5")) as master:
        with pytest.raises(Garbled, match="cut off after 20 bytes"):
            await master.read(WATER)
        assert (await master.read(HEAT)).tries == 1


@fast
async def test_twin() -> None:
    """Two meters with the same addresses acknowledge as one and spoil each other's telegrams."""
    raw = await heard(make_bus("twin@5"), snd_nke(5), req_ud2(5, True))
    assert raw.startswith(ACK)
    assert all(isinstance(item, Garbage) for item in frames_in(raw[1:]))
    async with reading(make_bus("twin@5")) as master:
        for address in (WATER, WATER_ID):
            with pytest.raises(Garbled, match="two meters"):
                await master.read(address)


@fast
async def test_two_meters_at_one_primary_address() -> None:
    """They collide there, and each can still be read by its secondary address."""
    async with reading(make_bus("address:5@6")) as master:
        with pytest.raises(Garbled, match="two meters"):
            await master.read(WATER)
        for identification in ("12345678", "44950146"):
            (frame,) = (await master.read(SecondaryAddress(identification))).frames
            assert decode(frame).identification == identification


@fast
async def test_impostor() -> None:
    """A meter whose telegrams carry another identification is not taken for the one that was selected."""
    async with reading(make_bus("impostor@5")) as master:
        with pytest.raises(WrongMeter) as caught:
            await master.read(WATER_ID)
        assert caught.value.found.identification == "12345679"
        with pytest.raises(WrongMeter):
            await master.read(WATER, expected=WATER_ID)


@fast
async def test_fcb_ignored() -> None:
    """The meter sends its next telegram although the last one was asked for again."""
    answers = frames_in(await heard(make_bus("fcb:ignored@7"), req_ud2(7, True), req_ud2(7, True)))
    assert [len(answer.raw) for answer in answers] == [
        len(recorded(name)) for name in ("svm_f22_telegram1", "Elster-F2")
    ]
    async with reading(make_bus("fcb:ignored@5")) as master:
        assert len((await master.read(WATER)).frames) == 1


@pytest.mark.parametrize("how", ["stuck", "lost"])
def test_fcb_stuck_or_lost(how: str) -> None:
    """The first telegram comes for ever: the readout of several ends, and says what it got."""

    @fast
    async def read() -> None:
        bus = make_bus(f"fcb:{how}@7")
        first, second = frames_in(await heard(bus, req_ud2(7, True), req_ud2(7, False)))
        assert (first.raw == second.raw) is (how == "stuck")
        assert len(first.raw) == len(second.raw)
        async with reading(bus) as master:
            with pytest.raises(Incomplete, match="repeats itself") as caught:
                await master.read(PAIR)
            assert len(caught.value.frames) == 1
            assert (await master.read(HEAT)).tries == 1

    read()


@fast
async def test_repeating_and_endless() -> None:
    """A telegram that announces another one and comes again, or never the last one: the readout ends by itself."""
    async with reading(make_bus("repeating@5", "endless@6")) as master:
        with pytest.raises(Incomplete, match="repeats itself") as caught:
            await master.read(WATER)
        (frame,) = caught.value.frames
        assert decode(frame).more_follows
        with pytest.raises(Incomplete, match="still announces") as caught:
            await master.read(HEAT)
        assert len({decode(frame).frame for frame in caught.value.frames}) > 10


@fast
async def test_chatty() -> None:
    """A meter that talks unasked is heard on the idle line, and what it says is nobody else's answer."""
    bus = make_bus("chatty:0.7@5")
    assert len(frames_in(await heard(bus, snd_nke(6), gap=10.0))) > 5
    good = 0
    async with reading(bus) as master:
        for _ in range(100):
            with contextlib.suppress(MbusError):
                (frame,) = (await master.read(HEAT, expected=HEAT_ID)).frames
                # A collision may have a checksum that is right by chance, but the header is that of the meter.
                assert frame[7:11] == bytes.fromhex("46019544")
                good += 1
        assert good
        arrange(bus, ["dead@6"])
        with pytest.raises(MbusError):
            await master.read(HEAT)


@fast
async def test_who_interrupts_spoils_what_is_said_meanwhile() -> None:
    """Bytes that come in the middle of an answer overlay some of its bytes; none comes twice and none is lost."""

    class Interrupted(SimulatedBus):
        interrupted = False

        def unasked(self) -> tuple[float, Answer] | None:
            first, self.interrupted = not self.interrupted, True
            return (0.15, Answer(b"\x00\x00")) if first else None

    bus = Interrupted([SimulatedMeter([recorded("frame2")], address=5)], wall_clock)
    answer = bus.meters[0].telegram_at(wall_clock(), access=bus.meters[0].access_number + 1)
    raw = await heard(bus, req_ud2(5, True))
    assert len(raw) == len(answer)
    assert {byte for byte, wanted in zip(raw, answer, strict=True) if byte != wanted} == {0}


@fast
async def test_echo() -> None:
    """A converter that repeats every byte of the master is recognised, and changes no readout."""
    bus = make_bus("echo")
    assert await heard(bus, snd_nke(5)) == snd_nke(5) + ACK
    async with reading(bus) as master:
        for address in (WATER, WATER_ID, HEAT):
            assert (await master.read(address)).tries == 1
        arrange(bus, ["dead@5"])
        with pytest.raises(NoAnswer):
            await master.read(WATER)


@fast
async def test_noise() -> None:
    """With random bytes in front of, within and behind answers and on the idle line, what is read is right."""
    bus = make_bus("noise:0.3")
    assert len(await heard(bus, snd_nke(9), gap=60.0)) > 10, "the idle line is noisy, too"
    good, failed = 0, 0
    async with reading(bus) as master:
        for _ in range(200):
            await asyncio.sleep(1)
            try:
                (frame,) = (await master.read(WATER)).frames
            except MbusError:
                failed += 1
            else:
                assert decode(frame).identification == "12345678"
                good += 1
    assert good > failed


@fast
async def test_noise_is_the_same_every_time() -> None:
    """What is random depends on the seed alone, so that a failure can be seen again."""
    first, second = [await heard(make_bus("noise:1"), *[req_ud2(5, True)] * 20) for _ in range(2)]
    assert len(first) == len(second)
    assert sum(a != b for a, b in zip(first, second, strict=True)) < 0.7 * len(first)


@fast
async def test_broken_and_loose() -> None:
    """With a broken cable all are silent; with a loose one all are read again as soon as it is whole."""
    bus = make_bus("broken")
    async with reading(bus) as master:
        for address in (WATER, HEAT):
            with pytest.raises(NoAnswer):
                await master.read(address)
        bus.misfortune = BY_NAME["broken"].toggled(bus.misfortune)
        assert (await master.read(WATER)).tries == 1
        arrange(bus, ["loose:60"])
        outcomes = []
        for _ in range(20):
            await asyncio.sleep(60)
            try:
                await master.read(WATER)
                outcomes.append(True)
            except NoAnswer:
                outcomes.append(False)
        assert set(outcomes) == {True, False}


@fast
async def test_a_meter_at_another_rate() -> None:
    """A request at the wrong rate is noise to the meter, and it stays silent; at its own it answers."""
    bus = make_bus("baud:9600@5")
    async with reading(bus) as master:
        with pytest.raises(NoAnswer, match="baud rate"):
            await master.read(WATER)
        assert (await master.read(HEAT)).tries == 1
    line = open_simulated(bus, 2400)
    await line.set_baud(9600)
    line.write(snd_nke(5))
    assert await line.read(asyncio.get_running_loop().time() + 1) == ACK
    line.close()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("drowned", "choose among"),
        ("late:soon@5", "takes seconds"),
        ("late:-1", "takes seconds"),
        ("dead:yes", "takes no argument"),
        ("echo@5", "of the whole line"),
        ("dead@99", "no meter 99"),
        ("dead@water", "no M-Bus address"),
        ("address:251@5", "from 0 to 250"),
        ("baud:1234@5", "one of 300"),
        ("encrypted:6@5", "mode 5 or 7"),
        ("fcb:often", "ignored, stuck or lost"),
    ],
)
def test_what_cannot_be_simulated_is_said(item: str, reason: str) -> None:
    """The sentence names the item and what may stand there."""
    bus = SimulatedBus([SimulatedMeter([recorded("frame2")], address=5)])
    with pytest.raises(SimulationError, match=reason):
        arrange(bus, [item])

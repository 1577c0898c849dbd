"""The simulated line: real telegrams, moving registers, and slaves that obey the link layer."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from core.mbus.address import SecondaryAddress
from core.mbus.frame import ACK, Frame, FrameReader, Garbage, req_ud2, select, snd_nke, snd_ud
from core.mbus.simulator import (
    Misfortune,
    SimulatedBus,
    SimulatedMeter,
    SimulationError,
    load_meters,
    open_simulated,
    read_telegrams,
)
from core.mbus.telegram import Function, decode
from tests.conftest import TELEGRAMS

NOW = 1_780_000_000.0  # 2026-05-28
DAY = 86_400.0
PATHS = sorted(TELEGRAMS.glob("*.hex"))


def recorded(name: str) -> bytes:
    return read_telegrams(TELEGRAMS / f"{name}.hex")[0]


def parse(raw: bytes) -> Frame:
    (frame,) = FrameReader().feed(raw)
    assert isinstance(frame, Frame)
    return frame


def ask(bus: SimulatedBus, request: bytes) -> bytes | None:
    answer = bus.respond(parse(request))
    return answer.data if answer else None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_telegram_stays_itself_while_it_moves(path: Path) -> None:
    """At any time a simulated meter sends a valid telegram with the structure and the id of the recording."""
    telegrams = read_telegrams(path)
    meter = SimulatedMeter(telegrams)
    before = decode(telegrams[0])
    for time in (NOW, NOW + 1234.5, NOW + 400 * DAY):
        after = decode(meter.telegram_at(time))
        assert after.identification == before.identification
        # A recording that announces a further telegram ends here: DIF 1F becomes 0F.
        dibs = ["0f" if record.dib == "1f" else record.dib for record in before.records]
        assert [record.dib for record in after.records] == dibs
        for old, new in zip(before.records, after.records, strict=True):
            assert bool(new.error) == bool(old.error), new.description
            if old.storage or old.function is not Function.INSTANTANEOUS:
                assert new.raw == old.raw
        assert not after.more_follows


def test_counters_never_step_back() -> None:
    """Over days, in steps of a minute or an hour, and over a restart, a counter only grows."""
    for path in PATHS:
        raw = recorded(path.stem)
        seen: dict[int, int] = {}
        for step in range(120):
            # A new object for every reading: nothing may depend on what was read before.
            meter = SimulatedMeter([raw])
            time = NOW + step * (60 if step < 60 else 3600)
            for record in decode(meter.telegram_at(time)).records:
                moving = record.quantity in ("volume", "energy") and not record.storage
                if moving and not record.modifiers and isinstance(record.raw, int):
                    assert record.raw >= seen.get(record.index, record.raw), (path.stem, record.description)
                    seen[record.index] = record.raw


def test_a_water_meter_counts_a_plausible_day() -> None:
    """The water meter of the manual's example moves by some hundred litres a day, at every hour."""
    meter = SimulatedMeter([recorded("frame2")])

    def volume(time: float) -> int:
        raw = decode(meter.telegram_at(time)).records[0].raw
        assert isinstance(raw, int)
        return raw

    assert 300 < volume(NOW + DAY) - volume(NOW) < 2000
    hours = [volume(NOW + hour * 3600) for hour in range(25)]
    assert all(later > earlier for earlier, later in itertools.pairwise(hours))


def test_measured_values_move_smoothly() -> None:
    """A flow temperature swings by a few degrees and never jumps within a minute."""
    meter = SimulatedMeter([recorded("metrona_pollutherm")])
    index = next(n for n, r in enumerate(decode(meter.telegram_at(NOW)).records) if r.quantity == "flow-temp")
    values = [decode(meter.telegram_at(NOW + minute * 60)).records[index] for minute in range(24 * 60)]
    numbers = [float(str(record.value)) for record in values]
    assert 2 < max(numbers) - min(numbers) < 10
    assert max(abs(b - a) for a, b in itertools.pairwise(numbers)) < 0.5


def test_the_meters_clock_shows_the_time() -> None:
    """Type F date records hold the simulated time in UTC."""
    telegram = decode(SimulatedMeter([recorded("siemens_water")]).telegram_at(NOW))
    times = [record.value_text for record in telegram.records if record.quantity == "datetime"]
    assert times[0] == "2026-05-28T20:26:00"


def test_default_meters_have_addresses_of_their_own() -> None:
    """The telegrams that come with the program make a line without collisions."""
    meters = load_meters()
    assert len(meters) > 30
    assert len({meter.address for meter in meters}) == len(meters)
    assert all(1 <= meter.address <= 250 for meter in meters)
    assert len({meter.header for meter in meters}) == len(meters)


def test_directories_without_telegrams_are_refused(tmp_path: Path) -> None:
    """An empty folder, a text and a broken telegram are named with their path."""
    with pytest.raises(SimulationError, match="no telegrams in"):
        load_meters(tmp_path)
    (tmp_path / "a.hex").write_text("water")
    with pytest.raises(SimulationError, match=r"a\.hex"):
        load_meters(tmp_path)
    (tmp_path / "a.hex").write_text(recorded("frame2")[:-2].hex())
    with pytest.raises(SimulationError, match="cut off"):
        load_meters(tmp_path)


def test_frame_count_bit_decides_between_repeat_and_next() -> None:
    """The same bit gets the very same bytes again, the other bit a new telegram."""
    bus = SimulatedBus([SimulatedMeter([recorded("frame2")], address=5)], clock=lambda: NOW)
    assert ask(bus, snd_nke(5)) == ACK
    first = ask(bus, req_ud2(5, True))
    assert first is not None
    assert ask(bus, req_ud2(5, True)) == first
    second = ask(bus, req_ud2(5, False))
    assert second is not None
    assert decode(second).access_number == decode(first).access_number + 1
    assert ask(bus, req_ud2(6, True)) is None


def test_telegrams_of_one_meter_follow_each_other() -> None:
    """With the frame count bit toggled they come in turn; a reset or a selection begins with the first."""
    pages = [recorded("frame2"), recorded("siemens_water")]
    meter = SimulatedMeter(pages, address=5)
    bus = SimulatedBus([meter], clock=lambda: NOW)

    def first_dib(raw: bytes | None) -> str:
        assert raw is not None
        return decode(raw).records[0].dib

    one, two = (decode(raw).records[0].dib for raw in pages)
    ask(bus, snd_nke(5))
    assert [first_dib(ask(bus, req_ud2(5, fcb))) for fcb in (True, False, False, True)] == [
        one,
        two,
        two,
        one,
    ]
    ask(bus, snd_nke(5))
    assert first_dib(ask(bus, req_ud2(5, False))) == one
    ask(bus, select(SecondaryAddress("12345678")))
    assert first_dib(ask(bus, req_ud2(253, True))) == one


def test_selection_by_wildcards() -> None:
    """Whoever matches is selected, whoever does not is deselected, and a reset of 253 deselects all."""
    bus = SimulatedBus(load_meters(), clock=lambda: NOW)
    assert ask(bus, req_ud2(253, True)) is None
    assert ask(bus, select(SecondaryAddress("1234567F", "PAD"))) == ACK
    answer = ask(bus, req_ud2(253, True))
    assert answer is not None
    assert decode(answer).identification == "12345678"
    assert ask(bus, select(SecondaryAddress("99999999"))) is None
    assert ask(bus, req_ud2(253, True)) is None
    ask(bus, select(SecondaryAddress("12345678")))
    assert ask(bus, snd_nke(253)) == ACK
    assert ask(bus, req_ud2(253, True)) is None


def test_two_meters_at_once_are_garbled() -> None:
    """Their acknowledgements overlay to one that can be read, their telegrams do not."""
    meters = [SimulatedMeter([recorded(name)], address=9) for name in ("frame2", "siemens_water")]
    bus = SimulatedBus(meters, clock=lambda: NOW)
    assert ask(bus, snd_nke(9)) == ACK
    mixed = ask(bus, req_ud2(9, True))
    assert mixed is not None
    reader = FrameReader()
    assert not [item for item in reader.feed(mixed) if isinstance(item, Frame) and item.payload]
    assert ask(bus, select(SecondaryAddress("FFFFFFFF"))) == ACK


def test_misfortunes() -> None:
    """A dead meter is silent, a late one says how late, noise comes in front, checksums are wrong in turn."""
    meter = SimulatedMeter([recorded("frame2")], address=5)
    bus = SimulatedBus([meter], clock=lambda: NOW)
    meter.misfortune = Misfortune(dead=True)
    assert ask(bus, snd_nke(5)) is None
    meter.misfortune = Misfortune(late=0.4, noise=b"\x00\xff")
    answer = bus.respond(parse(req_ud2(5, True)))
    assert answer is not None
    assert answer.late == 0.4
    assert answer.data.startswith(b"\x00\xff\x68")
    meter.misfortune = Misfortune(wrong_checksum=1)
    spoilt = ask(bus, req_ud2(5, True))
    assert spoilt is not None
    (garbage,) = FrameReader().feed(spoilt)
    assert isinstance(garbage, Garbage)
    assert "checksum" in garbage.reason


def test_unknown_commands_are_not_acknowledged() -> None:
    """A meter that does not carry out a command must not say that it did; an application reset it does."""
    bus = SimulatedBus([SimulatedMeter([recorded("frame2")], address=5)], clock=lambda: NOW)
    for unknown in (
        b"",
        b"\x01\x7a",
        b"\x01\x7a\xff",
        b"\x04\x13\x00\x00\x00\x00",
        b"\x04\x6d\xff\xff\xff\xff",
    ):
        assert ask(bus, snd_ud(5, True, 0x51, unknown)) is None
    assert ask(bus, snd_ud(5, True, 0xB7)) is None
    assert ask(bus, snd_ud(5, True, 0x50)) == ACK
    assert ask(bus, snd_nke(255)) is None


async def test_wire_keeps_its_times() -> None:
    """At 2400 baud an acknowledgement comes no earlier than request, delay and its own byte take."""
    bus = SimulatedBus([SimulatedMeter([recorded("frame2")], address=5)], clock=lambda: NOW)
    line = open_simulated(bus, 2400)
    loop = asyncio.get_running_loop()
    start = loop.time()
    line.write(snd_nke(5))
    assert await line.read(start + 5) == ACK
    assert loop.time() - start >= 6 * 11 / 2400 + 33 / 2400 + 0.03 - 0.002
    line.close()


async def test_nobody_hears_the_master_while_a_meter_talks() -> None:
    """The line is half-duplex: a request that collides with an answer gets none itself."""
    meter = SimulatedMeter([recorded("frame2")], address=5)
    line = open_simulated(SimulatedBus([meter], clock=lambda: NOW), 9600)
    loop = asyncio.get_running_loop()
    line.write(req_ud2(5, True))
    heard = await line.read(loop.time() + 5)
    line.write(snd_nke(5))
    while data := await line.read(loop.time() + 0.3):
        heard += data
    assert parse(heard).address == 5
    line.close()

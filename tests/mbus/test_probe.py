"""What a search is told of an address: nothing, one meter, several, and what proves it."""

from __future__ import annotations

import asyncio

import pytest
from fast_loop import fast, wall_clock
from line_rig import HEAT_ID, WATER, WATER_ID, Line, recorded, running, three_meters

from core.mbus.address import Address, PrimaryAddress, SecondaryAddress
from core.mbus.frame import ACK, Frame, FrameReader, Kind, req_ud2, select, snd_nke
from core.mbus.link import Link, Probe, ProbeResult
from core.mbus.simulator import Answer, SimulatedBus, SimulatedMeter, arrange, open_simulated
from core.mbus.simulator.bus import overlay
from core.mbus.simulator.shaping import renamed
from core.mbus.watch import Fault, Try

ANYBODY = SecondaryAddress("FFFFFFFF")
NOBODY = SecondaryAddress("99999999")
EMPTY = PrimaryAddress(99)


async def probe(line: Line, address: Address) -> Probe:
    async with line.master.session() as link:
        return await link.probe(address)


@fast
async def test_silence_costs_one_request() -> None:
    """On a quiet line nobody is asked twice."""
    async with running() as line:
        for address in (NOBODY, EMPTY):
            assert await probe(line, address) == Probe(ProbeResult.NOTHING)
        assert line.bus.heard == [select(NOBODY), snd_nke(99)]


@fast
async def test_lone_meter_is_found_with_its_identity_and_telegram() -> None:
    """Two requests; where it was found by a mask, a third one that selects it by its own address."""
    async with running() as line:
        for address, requests in ((WATER, 2), (WATER_ID, 2), (SecondaryAddress("1FFFFFFF"), 3)):
            line.bus.heard.clear()
            found = await probe(line, address)
            assert found.result is ProbeResult.ONE
            assert found.found == WATER_ID
            assert found.frame[7:15] == WATER_ID.to_bytes()
            assert len(line.bus.heard) == requests


@fast
async def test_several_meters_of_different_kind_are_several_at_once() -> None:
    """Their acknowledgements are readable over each other; their telegrams show a collision, and no try is wasted."""
    async with running("address:5@6") as line:
        for address in (ANYBODY, WATER):
            line.bus.heard.clear()
            found = await probe(line, address)
            assert found.result is ProbeResult.SEVERAL
            assert found.raw
            assert len(line.bus.heard) == 2


@pytest.mark.parametrize("address", [WATER, WATER_ID, ANYBODY])
def test_several_meters_of_one_kind_are_several(address: Address) -> None:
    """Telegrams of one length disturb each other's checksum only; that comes again and is no noise."""
    raw = recorded("frame2")
    meters = [
        SimulatedMeter(
            [renamed(raw, SecondaryAddress("12345678", "PAD", 1, 7), fabrication=number)], address=5
        )
        for number in ("00012345", "00067890")
    ]

    @fast
    async def look() -> None:
        async with running(meters=meters) as line:
            found = await probe(line, address)
            assert found.result is ProbeResult.SEVERAL
            assert found.raw

    look()


@fast
async def test_telegrams_that_happen_to_make_a_valid_one_together_are_several() -> None:
    """The meter that such a telegram names is not there: it does not answer to its own address."""
    raw = recorded("frame2")
    one, other = (renamed(raw, SecondaryAddress(digits)) for digits in ("00000001", "00000002"))
    both = overlay((one, other))
    assert FrameReader().feed(both) == FrameReader().feed(renamed(raw, SecondaryAddress("00000000")))

    def answer(frame: Frame) -> Answer | None:
        if frame.kind is Kind.LONG:
            return Answer(ACK) if frame.raw == select(ANYBODY) else None
        return Answer(both)

    async with running() as line:
        line.bus.instead = answer
        assert await probe(line, ANYBODY) == Probe(ProbeResult.SEVERAL, raw=both)


@fast
async def test_meters_with_one_identity_are_told_apart_by_fabrication_number() -> None:
    """The enhanced selection finds each of them, and nobody for a number that none has."""
    raw = recorded("frame2")
    meters = [
        SimulatedMeter([renamed(raw, WATER_ID, fabrication=number)], address=place)
        for place, number in enumerate(("00000001", "00000002"), 5)
    ]
    async with running(meters=meters) as line:
        for number, result in (
            ("FFFFFFFF", ProbeResult.SEVERAL),
            ("00000001", ProbeResult.ONE),
            ("FFFFFFF2", ProbeResult.ONE),
            ("00000003", ProbeResult.NOTHING),
        ):
            address = SecondaryAddress("12345678", "PAD", 0x01, 0x07, number)
            assert (await probe(line, address)).result is result


@fast
async def test_acknowledgement_alone_is_no_meter() -> None:
    """What acknowledges a selection and then says nothing is not found, but was heard."""
    async with running() as line:
        line.bus.instead = lambda frame: Answer(ACK) if frame.kind is Kind.LONG else None
        assert await probe(line, NOBODY) == Probe(ProbeResult.NOTHING, raw=ACK)


@fast
async def test_acknowledgement_that_does_not_come_again_is_no_meter() -> None:
    """A late one, of whomever, that falls into the request for data."""
    async with running() as line:
        line.bus.instead = lambda frame: Answer(ACK) if len(line.bus.heard) <= 2 else None
        assert (await probe(line, EMPTY)).result is ProbeResult.NOTHING
        assert line.bus.heard == [snd_nke(99), req_ud2(99, True), req_ud2(99, True)]


@fast
async def test_meter_without_data_is_a_meter() -> None:
    """It acknowledges the request for data as well, twice."""
    async with running() as line:
        line.bus.instead = lambda frame: Answer(ACK)
        found = await probe(line, EMPTY)
        assert (found.result, found.found, found.frame) == (ProbeResult.ONE, None, b"")
        assert line.bus.heard == [snd_nke(99), req_ud2(99, True), req_ud2(99, True)]


@fast
async def test_meter_that_is_not_meant_is_not_found_there() -> None:
    """A telegram of another meter than those that were selected is told, but found nobody."""
    async with running("impostor@5") as line:
        found = await probe(line, WATER_ID)
        assert found.result is ProbeResult.NOTHING
        assert found.found is not None
        assert found.found.identification == "12345679"


@fast
async def test_extra_time_that_was_needed_is_told() -> None:
    """Who answers in it is late, and who answers before it is not."""
    async with running("late:0.6@5") as line, line.master.session(extra=1.0) as link:
        for address, late in ((WATER, True), (PrimaryAddress(6), False)):
            found = await link.probe(address)
            assert (found.result, found.late) == (ProbeResult.ONE, late)


@fast
async def test_late_answers_are_no_noise() -> None:
    """However many of them come while the master waits for silence."""
    tries: list[Try] = []
    bus = SimulatedBus(three_meters()[:1], wall_clock)
    arrange(bus, ["late:0.6@5"])
    link = Link(open_simulated(bus, 9600), 9600, now=wall_clock, watch=tries.append)
    for _ in range(5):
        await link.probe(ANYBODY)
        await asyncio.sleep(0.3)
    assert {each.fault for each in tries} <= {None, Fault.SILENCE, Fault.LATE}
    assert any(each.before for each in tries)


@fast
async def test_late_meter_is_not_found_at_its_neighbours() -> None:
    """Whatever a slow meter says while others are asked for, no other address has a meter."""
    for tenths in range(2, 25):
        async with running(f"late:{tenths / 10}@5", meters=three_meters()[:1]) as line:
            for address in (WATER, EMPTY, WATER_ID, NOBODY, HEAT_ID, PrimaryAddress(98)):
                found = await probe(line, address)
                if address in (WATER, WATER_ID):
                    assert found.result is not ProbeResult.SEVERAL
                else:
                    assert found.result is ProbeResult.NOTHING


@fast
async def test_noise_is_no_meter_and_hides_none() -> None:
    """On a noisy line silence is not believed at once; no meter is invented, and those there are are heard."""
    async with running("noise:0.3") as line:
        for number in range(10, 60):
            empty = await probe(line, PrimaryAddress(number))
            assert empty.result is not ProbeResult.ONE
            assert not empty.found
        for address in (WATER, WATER_ID, HEAT_ID) * 10:
            assert (await probe(line, address)).result is not ProbeResult.NOTHING


@fast
async def test_silence_is_not_believed_where_noise_was_heard() -> None:
    """After a disturbance an address that seems empty is asked again, until the line was quiet for a while."""
    async with running() as line:
        line.bus.instead = lambda frame: Answer(b"\x00\x33")
        await probe(line, EMPTY)
        line.bus.instead = None
        line.bus.heard.clear()
        for _ in range(40):
            await probe(line, NOBODY)
        assert line.bus.heard[:2] == [select(NOBODY)] * 2
        assert 40 < len(line.bus.heard) < 80


@fast
async def test_disturbed_telegram_of_a_lone_meter_is_asked_for_again() -> None:
    """One wrong checksum does not make two meters out of one."""
    async with running("checksum:2@5") as line:
        for _ in range(3):
            assert (await probe(line, WATER_ID)).result is ProbeResult.ONE


@fast
async def test_probe_leaves_other_meters_links_alone() -> None:
    """Who is read between two probes needs no reset; the one that was probed does, and selections are undone."""
    async with running() as line:
        await line.master.read(WATER)
        await probe(line, PrimaryAddress(6))
        await probe(line, HEAT_ID)
        line.bus.heard.clear()
        await line.master.read(WATER)
        await line.master.read(WATER_ID)
        await line.master.read(PrimaryAddress(6))
        assert line.bus.heard == [
            req_ud2(5, False), snd_nke(253), select(WATER_ID), req_ud2(253, True), snd_nke(6), req_ud2(6, True)
        ]  # fmt: skip


@fast
async def test_probe_of_a_meter_that_answers_for_another_primary_address_finds_nobody() -> None:
    """Its telegram carries another A field, so that it could not be read there."""
    stray = recorded("frame2")

    def answer(frame: Frame) -> Answer:
        return Answer(ACK if frame.control == 0x40 else stray)

    async with running() as line:
        line.bus.instead = answer
        found = await probe(line, EMPTY)
        assert found.result is ProbeResult.NOTHING
        assert found.raw == stray

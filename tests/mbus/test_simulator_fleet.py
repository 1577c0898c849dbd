"""Many simulated meters: identities of their own, encryption, and telegrams as long as they can be."""

from __future__ import annotations

import pytest
from fast_loop import fast, wall_clock

from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.mbus.frame import Frame, FrameReader, identity_of
from core.mbus.master import Master
from core.mbus.opener import open_transport
from core.mbus.simulator import (
    SimulatedBus,
    SimulatedMeter,
    SimulationError,
    arrange,
    fleet,
    open_simulated,
    planned_bus,
    read_telegrams,
    serials,
    training_key,
)
from core.mbus.simulator.shaping import lengthened
from core.mbus.telegram import decode
from core.mbus.transport import LineError, Transport
from tests.conftest import TELEGRAMS

NOW = 1_780_000_000.0


def identity(meter: SimulatedMeter) -> SecondaryAddress | None:
    (frame,) = FrameReader().feed(meter.telegram_at(NOW))
    assert isinstance(frame, Frame)
    return identity_of(frame)


def test_a_fleet_has_the_identities_that_it_was_given() -> None:
    """Also hex digits, the same one twice, and a whole secondary address; telegrams are valid and of many makers."""
    wanted = ["70000001", "70000002", "7000000A", "70000001", *serials(246, 71_000_000)]
    meters = fleet(wanted)
    found = [identity(meter) for meter in meters]
    assert [address.identification for address in found if address] == wanted
    assert len({address.manufacturer for address in found if address}) > 8
    assert [meter.address for meter in meters] == list(range(1, 251))
    assert all(decode(meter.telegram_at(NOW)).records for meter in meters)
    assert [meter.telegram_at(NOW) for meter in fleet(wanted)] == [meter.telegram_at(NOW) for meter in meters]
    (special,) = fleet([SecondaryAddress("00000001", "XYZ", 0x12, 0x04)])
    assert identity(special) == SecondaryAddress("00000001", "XYZ", 0x12, 0x04)


def test_serials_are_near_each_other_and_none_comes_twice() -> None:
    """What a search has a hard time with, for a thousand meters on eight lines."""
    numbers = serials(1000)
    assert len(set(numbers)) == 1000
    assert any(set(number) & set("ABCDE") for number in numbers)
    assert not any("F" in number for number in numbers)
    assert len({number[:4] for number in numbers}) == 1


@pytest.mark.parametrize("mode", [5, 7])
def test_encrypted_meters_open_with_their_key(mode: int) -> None:
    """Registers and access numbers move on as ever; without the key, or with another's, nothing is read."""
    meters = fleet(serials(40))
    plain = [decode(meter.telegram_at(NOW)) for meter in meters]
    arrange(SimulatedBus(meters), [f"encrypted:{mode}"])
    for meter, before in zip(meters, plain, strict=True):
        for access in (0, 200):
            sealed = meter.telegram_at(NOW, access=access)
            opened = decode(sealed, training_key(meter))
            assert opened.problem == ""
            assert opened.access_number == access
            # What only the manufacturer understands has the blocks' filler behind it.
            values = [[r.raw for r in telegram.records if r.dib != "0f"] for telegram in (opened, before)]
            assert values[0] == values[1]
            assert decode(sealed).encrypted
            assert decode(sealed, bytes(16)).problem
    assert len({training_key(meter) for meter in meters}) == len(meters)


def test_what_cannot_be_encrypted_is_said() -> None:
    """A meter with a fixed data structure has no place for it."""
    bus = planned_bus("")
    fixed = next(meter for meter in bus.meters if meter.telegram_at(NOW)[6] == 0x73)
    with pytest.raises(SimulationError, match="long header"):
        arrange(bus, [f"encrypted@{fixed.address}"])
    assert fixed.encryption is None
    arrange(bus, ["encrypted"])
    assert 20 < sum(meter.encryption is not None for meter in bus.meters) < len(bus.meters)


@fast
async def test_a_telegram_of_261_bytes_is_read() -> None:
    """The longest frame there can be, L = 255, comes whole and with the same values."""
    raw = read_telegrams(TELEGRAMS / "frame2.hex")[0]
    longest = lengthened(raw)
    assert (len(longest), longest[1]) == (261, 255)

    async def open_line(_url: str, baud: int) -> Transport:
        return open_simulated(SimulatedBus([SimulatedMeter([longest], address=5)], wall_clock), baud)

    master = Master("sim:", 2400, open_line=open_line)
    master.start()
    readout = await master.read(PrimaryAddress(5))
    assert readout.tries == 1
    assert len(readout.frames[0]) == 261
    assert [r.dib for r in decode(readout.frames[0]).records] == [r.dib for r in decode(raw).records]
    await master.close()


@fast
async def test_a_line_of_the_configuration_can_have_misfortunes() -> None:
    """`sim:?...` makes fleets and what goes wrong; a wrong word is an error that says which are known."""
    master = Master("sim:?meters:3&encrypted:7@2&dead@3&baud:300@1", 300)
    master.start()
    (first,) = (await master.read(PrimaryAddress(1))).frames
    assert decode(first).identification == serials(1)[0]
    (second,) = (await master.read(PrimaryAddress(2))).frames
    assert decode(second).encrypted
    await master.close()
    for wrong, reason in (
        ("sim:?drowned", "choose among"),
        ("sim:?meters:0", "from 1 to 5000"),
        ("sim:folder?meters:3", "not both"),
    ):
        with pytest.raises(LineError, match=reason):
            await open_transport(wrong, 2400)


def test_a_plain_simulated_line_is_what_it_was() -> None:
    """Without items: all telegrams of the program, no misfortune."""
    bus = planned_bus("", 2400)
    assert len(bus.meters) > 30
    assert bus.baud == 2400

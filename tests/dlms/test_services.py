"""GET and plain SET as a head-end uses them, over real sockets."""

from __future__ import annotations

import asyncio
import struct

import pytest
from dlms_plant import (
    ASSOCIATION,
    BROKEN,
    CHANNEL,
    CLOCK,
    FIRST_ROW_MS,
    FLOW,
    MAXIMUM,
    NAME,
    NOTE,
    NOW_MS,
    PASSWORD,
    PROFILE,
    SAPS,
    SILENT,
    SLOW,
    STEP_MS,
    VOLUME,
    ZONE,
    Device,
    Plant,
)
from dlms_wire import AARQ_LLS, MALFORMED, Wire, aarq, fetch, get, set_

from core.cosem import datetime as cosem_time
from core.cosem.objects import Data
from core.dlms import axdr
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer

UNKNOWN = bytes.fromhex("d80202")


def by_range(start_ms: int, end_ms: int, columns: bytes = b"\x01\x00") -> bytes:
    """Access selection by range of time."""
    clock = bytes.fromhex("020412000809060000010000ff0f02120000")
    bounds = b"".join(axdr.date_time(cosem_time.encode(ms, ZONE)) for ms in (start_ms, end_ms))
    return b"\x01\x01\x02\x04" + clock + bounds + columns


def by_entry(first: int, last: int, from_column: int = 1, to_column: int = 0) -> bytes:
    """Access selection by entry."""
    return b"\x01\x02\x02\x04" + struct.pack(">BIBIBHBH", 6, first, 6, last, 18, from_column, 18, to_column)


def rows(buffer: bytes) -> list[list[object]]:
    """The rows of an encoded buffer, plain."""
    value = axdr.decode(buffer).content
    assert isinstance(value, list)
    return [[column.content for column in row.content] for row in value]  # type: ignore[union-attr]


def numbers(buffer: bytes) -> list[int]:
    """Which rows of the plant these are."""
    return [int(row[1]) // 10 for row in rows(buffer)]  # type: ignore[call-overload]


@pytest.fixture
async def wire(server: DlmsServer):  # type: ignore[no-untyped-def]
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        yield wire


async def test_a_register_gives_its_value_and_its_scaler_and_unit(wire: Wire) -> None:
    """Integers stay integers; a scaler of 10^6 is 6; the invoke id comes back."""
    assert await wire.ask(get(3, VOLUME, 2, invoke=0x42)) == bytes.fromhex(
        "c4014200"
    ) + axdr.double_long_unsigned(85962)
    assert await fetch(wire, get(3, VOLUME, 3)) == bytes.fromhex("02020ffd160d")
    assert await fetch(wire, get(3, FLOW, 2)) == axdr.long(-12)
    assert await fetch(wire, get(3, FLOW, 3)) == bytes.fromhex("02020f06160f")
    assert await fetch(wire, get(3, VOLUME, 1)) == axdr.octet_string(VOLUME)


async def test_an_extended_register_gives_status_and_capture_time(wire: Wire) -> None:
    """Attributes 2 to 5, the float as a float."""
    assert await fetch(wire, get(4, MAXIMUM, 2)) == axdr.float32(1.5)
    assert await fetch(wire, get(4, MAXIMUM, 4)) == axdr.unsigned(4)
    assert await fetch(wire, get(4, MAXIMUM, 5)) == axdr.date_time(cosem_time.encode(NOW_MS, ZONE))


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (get(3, bytes(6), 2), 4),  # object undefined
        (get(1, VOLUME, 2), 9),  # object class inconsistent
        (get(3, VOLUME, 4), 4),  # no such attribute
        (get(3, VOLUME, 0), 4),
        (get(3, VOLUME, -1), 4),
        (get(15, ASSOCIATION, 7), 3),  # the secret is never read
        (get(3, VOLUME, 2, by_entry(1, 2)), 13),  # no selective access there
        (get(3, BROKEN, 2), 250),  # a fault of the gateway
        (get(3, SILENT, 2), 2),  # a meter that does not answer
        (set_(3, VOLUME, 2, axdr.NULL), 3),  # read only
        (set_(3, bytes(6), 2, axdr.NULL), 4),
        (set_(1, NOTE, 2, axdr.unsigned(1)), 12),  # type unmatched
        (set_(8, CLOCK, 2, axdr.octet_string(b"noon")), 12),
        (set_(1, CHANNEL, 2, axdr.unsigned(17)), 12),
    ],
)
async def test_what_cannot_be_done_gets_its_result_code(wire: Wire, request_: bytes, result: int) -> None:
    """As the Green Book numbers them."""
    answer = await wire.ask(request_)
    expected = bytes((0xC4, 1, 0xC1, 1, result)) if request_[0] == 0xC0 else bytes((0xC5, 1, 0xC1, result))
    assert answer == expected


@pytest.mark.parametrize(
    ("apdu", "answer"),
    [
        ("c0", MALFORMED),
        ("c001c1", MALFORMED),
        ("c001c1000308000100", MALFORMED),
        ("c001c10003080001 0000ff020000", MALFORMED),  # a byte too many
        ("c001c100030800010000ff0202", MALFORMED),  # access selection neither 0 nor 1
        ("c001c100030800010000ff0201", MALFORMED),  # and cut short
        ("c002c1000000", MALFORMED),
        ("c003c100", MALFORMED),
        ("c003c1ff000308000100", MALFORMED),
        ("c009c1", UNKNOWN),
        ("c101c1000308000100 00ff0200", MALFORMED),  # no value
        ("c101c100030800010000ff020013020005160f061900af19051601", MALFORMED),
        ("c103c1", MALFORMED),
        ("c106c1", UNKNOWN),
        ("c301c1000f0000280000ff0101", MALFORMED),  # a parameter is announced and missing
        ("c301c1000f0000280000ff0102", MALFORMED),
        ("c307c1", UNKNOWN),
        ("c4", UNKNOWN),
        ("00", UNKNOWN),
        ("62", MALFORMED),
        ("60", MALFORMED),
        ("600100", MALFORMED),
    ],
)
async def test_a_bad_apdu_gets_an_exception_and_the_association_lives_on(
    wire: Wire, apdu: str, answer: bytes
) -> None:
    """D8 02 03 where it is malformed, D8 02 02 where it is not known."""
    assert await wire.ask(bytes.fromhex(apdu)) == answer
    assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")


@pytest.mark.parametrize("pdu", [64, 128, 137, 138, 500, 1024, 65535, 0])
async def test_long_answers_come_in_blocks_that_fit(server: DlmsServer, pdu: int) -> None:
    """Whatever the client takes: no answer is larger, and the blocks together are the value."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=pdu))
        first = await wire.ask(get(7, PROFILE, 2, by_entry(1, 700)))
        assert first[:2] == b"\xc4\x02"
        assert len(first) <= (pdu or 65535)
        buffer = await fetch(wire, get(7, PROFILE, 2, by_entry(1, 700)))
    assert numbers(buffer) == list(range(700))


async def test_a_wrong_block_number_ends_the_transfer(wire: Wire) -> None:
    """With data-block-number-invalid; the next one finds no transfer."""
    assert (await wire.ask(get(7, PROFILE, 2)))[1] == 2
    assert await wire.ask(bytes.fromhex("c002c100000002")) == bytes.fromhex("c402c101000000020113")
    assert await wire.ask(bytes.fromhex("c002c100000001")) == bytes.fromhex("c402c101000000010110")


async def test_another_get_ends_a_transfer(wire: Wire) -> None:
    """The client has changed its mind; what it asks for is answered."""
    await wire.ask(get(7, PROFILE, 2))
    assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
    assert (await wire.ask(bytes.fromhex("c002c100000001")))[-1] == 16


async def test_a_client_without_blocks_hears_that_the_answer_is_too_long(server: DlmsServer) -> None:
    """Services that were not agreed are refused: blocks, selective access, lists, SET."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=100, conformance=0x000010))
        assert await wire.ask(get(7, PROFILE, 2)) == bytes.fromhex("c401c1010e")
        assert await wire.ask(get(7, PROFILE, 2, by_entry(1, 1))) == bytes.fromhex("c401c1010d")
        assert await wire.ask(set_(1, NOTE, 2, axdr.octet_string(b""))) == bytes.fromhex("d80102")
        assert await wire.ask(b"\xc0\x03\xc1\x01" + get(1, NAME, 2)[3:]) == bytes.fromhex("d80102")


async def test_a_list_is_answered_item_by_item_in_its_order(plant: Plant, wire: Wire) -> None:
    """Values, refusals and a value that takes time, in one answer."""
    plant.release_slow.set()
    items = [get(1, NAME, 2), get(3, bytes(6), 2), get(3, SLOW, 2), get(3, SILENT, 2), get(3, VOLUME, 3)]
    answer = await wire.ask(b"\xc0\x03\xc1\x05" + b"".join(item[3:] for item in items))
    assert answer == bytes.fromhex("c403c105") + b"".join(
        [
            b"\x00" + axdr.octet_string(b"HYD123456780725"),
            b"\x01\x04",
            b"\x00" + axdr.long_unsigned(7),
            b"\x01\x02",
            bytes.fromhex("0002020ffd160d"),
        ]
    )


async def test_a_long_list_comes_in_blocks(server: DlmsServer) -> None:
    """The raw list, count first."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64))
        answer = await fetch(wire, b"\xc0\x03\xc1\x0a" + get(1, NAME, 2)[3:] * 10)
    assert answer == b"\x0a" + (b"\x00" + axdr.octet_string(b"HYD123456780725")) * 10


async def test_a_list_is_bounded_in_items_and_in_bytes(plant: Plant) -> None:
    """A list of whole profiles ends at the largest answer; a longer list than allowed is refused."""
    server = plant.server(ServerLimits(answer=60_000, references=5))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        whole = get(7, PROFILE, 2)[3:]
        answer = await fetch(wire, b"\xc0\x03\xc1\x03" + whole * 3)
        assert len(answer) < 60_000
        assert answer.endswith(b"\x01\xfa")
        assert await wire.ask(b"\xc0\x03\xc1\x06" + whole * 6) == bytes.fromhex("d80101")
    await server.stop()


async def test_a_written_value_is_there_afterwards(plant: Plant, wire: Wire) -> None:
    """SET, alone and in a list, one after the other; the clock's new time goes where it is meant to go."""
    assert await wire.ask(set_(1, NOTE, 2, axdr.octet_string(b"new"))) == bytes.fromhex("c501c100")
    assert await fetch(wire, get(1, NOTE, 2)) == axdr.octet_string(b"new")
    references = [get(1, NOTE, 2)[3:], get(3, VOLUME, 2)[3:], get(8, CLOCK, 2)[3:]]
    time = axdr.date_time(cosem_time.encode(NOW_MS + 5000, ZONE))
    values = [axdr.octet_string(b"newer"), axdr.NULL, time]
    answer = await wire.ask(b"\xc1\x04\xc1\x03" + b"".join(references) + b"\x03" + b"".join(values))
    assert answer == bytes.fromhex("c505c103000300")
    assert plant.note == axdr.octet_string(b"newer")
    assert plant.times == [NOW_MS + 5000]


async def test_the_channel_switches_what_the_association_talks_to(wire: Wire) -> None:
    """Names, values and object list are those of the selected device; an unknown one changes nothing."""
    assert await fetch(wire, get(1, CHANNEL, 2)) == axdr.long_unsigned(16)
    meter = await fetch(wire, get(15, ASSOCIATION, 2))
    assert await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(1))) == bytes.fromhex("c501c100")
    assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"ELV0016000000")
    assert VOLUME in meter
    assert VOLUME not in await fetch(wire, get(15, ASSOCIATION, 2))
    assert await wire.ask(get(3, VOLUME, 2)) == bytes.fromhex("c401c10104")
    assert await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(99))) == bytes.fromhex("c501c103")
    assert await fetch(wire, get(1, CHANNEL, 2)) == axdr.long_unsigned(1)
    await wire.ask(set_(1, CHANNEL, 2, axdr.long_unsigned(17)))
    assert await fetch(wire, get(3, VOLUME, 2)) == axdr.double_long_unsigned(85946 + 17)
    await wire.ask(AARQ_LLS)
    assert await fetch(wire, get(1, CHANNEL, 2)) == axdr.long_unsigned(16)


async def test_the_object_list_and_the_devices_are_those_of_this_moment(plant: Plant, wire: Wire) -> None:
    """A device that comes or changes while the client is connected is there with the next request."""
    new = Data(bytes((1, 2, 3, 4, 5, 6)), axdr.unsigned(1))
    old = plant.directory.by_sap[16]
    plant.directory.by_sap[16] = Device(16, old.name, {**old.objects, (1, new.logical_name): new})
    plant.directory.by_sap[18] = Device(18, "NEW", {})
    assert await fetch(wire, get(1, new.logical_name, 2)) == axdr.unsigned(1)
    assert new.logical_name in await fetch(wire, get(15, ASSOCIATION, 2))
    assert b"NEW" in await fetch(wire, get(17, SAPS, 2))
    del plant.directory.by_sap[16]
    assert await wire.ask(get(3, VOLUME, 2)) == bytes.fromhex("c401c1010b")


async def test_a_profile_is_read_whole_as_its_newest_thousand_rows(wire: Wire) -> None:
    """Of 1200, oldest first; the other attributes are real, too."""
    assert numbers(await fetch(wire, get(7, PROFILE, 2))) == list(range(200, 1200))
    assert (await fetch(wire, get(7, PROFILE, 3)))[:2] == b"\x01\x03"
    assert await fetch(wire, get(7, PROFILE, 4)) == axdr.double_long_unsigned(900)
    assert await fetch(wire, get(7, PROFILE, 5)) == axdr.enum(1)
    assert await fetch(wire, get(7, PROFILE, 7)) == axdr.double_long_unsigned(1200)
    assert await fetch(wire, get(7, PROFILE, 8)) == axdr.double_long_unsigned(5000)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 3, range(4)),
        (5, 5, range(5, 6)),
        (-10, 0, range(1)),
        (1198, 2000, range(1198, 1200)),
        (2000, 2100, range(0)),
        (7, 6, range(0)),
        (0, 1199, range(200, 1200)),
    ],
)
async def test_a_profile_is_read_by_range_of_time(wire: Wire, start: int, end: int, expected: range) -> None:
    """Both bounds included, at most the newest thousand."""
    selection = by_range(FIRST_ROW_MS + start * STEP_MS, FIRST_ROW_MS + end * STEP_MS)
    assert numbers(await fetch(wire, get(7, PROFILE, 2, selection))) == list(expected)


async def test_a_range_can_choose_columns_in_its_own_order(wire: Wire) -> None:
    """Second register, then clock; a column that is not there is refused."""
    names = (VOLUME[:4] + b"\x01\xff", VOLUME[:4] + b"\x09\xff")
    chosen, unknown = (
        axdr.structure(axdr.long_unsigned(3), axdr.octet_string(n), axdr.integer(2), axdr.long_unsigned(0))
        for n in names
    )
    clock = axdr.structure(
        axdr.long_unsigned(8), axdr.octet_string(CLOCK), axdr.integer(2), axdr.long_unsigned(0)
    )
    selection = by_range(FIRST_ROW_MS, FIRST_ROW_MS + STEP_MS, axdr.array([chosen, clock]))
    time = cosem_time.encode(FIRST_ROW_MS, ZONE)
    assert rows(await fetch(wire, get(7, PROFILE, 2, selection)))[0] == [2, time]
    selection = by_range(FIRST_ROW_MS, FIRST_ROW_MS, axdr.array([unknown]))
    assert (await wire.ask(get(7, PROFILE, 2, selection)))[-1] == 13


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (1, 3, range(3)),
        (1200, 0, range(1199, 1200)),
        (1, 0, range(200, 1200)),
        (1199, 5000, range(1198, 1200)),
        (5, 4, range(0)),
        (4_000_000_000, 4_000_000_001, range(0)),
    ],
)
async def test_a_profile_is_read_by_entry(wire: Wire, first: int, last: int, expected: range) -> None:
    """1 = the oldest; 0 as the last = up to the newest; both included."""
    assert numbers(await fetch(wire, get(7, PROFILE, 2, by_entry(first, last)))) == list(expected)


async def test_entries_can_choose_columns(wire: Wire) -> None:
    """By number, 0 = up to the last."""
    assert rows(await fetch(wire, get(7, PROFILE, 2, by_entry(3, 3, 2, 3)))) == [[21, 22]]
    assert rows(await fetch(wire, get(7, PROFILE, 2, by_entry(3, 3, 3, 0)))) == [[22]]
    assert (await wire.ask(get(7, PROFILE, 2, by_entry(3, 3, 0, 3))))[-1] == 13
    assert (await wire.ask(get(7, PROFILE, 2, by_entry(3, 3, 2, 9))))[-1] == 13
    assert (await wire.ask(get(7, PROFILE, 2, by_entry(0, 3))))[-1] == 13


@pytest.mark.parametrize(
    ("selection", "result"),
    [
        (b"\x01\x01\x00", 12),  # no range descriptor
        (b"\x01\x02\x02\x00", 12),
        (b"\x01\x03\x00", 13),  # no such selector
        (by_range(0, 0).replace(b"\x12\x00\x08", b"\x12\x00\x03"), 13),  # not restricted by the clock
        (by_range(0, 0)[:-30] + b"\x11\x01" + b"\x11\x02" + b"\x01\x00", 12),  # bounds that are no times
    ],
)
async def test_a_selection_that_makes_no_sense_is_refused(wire: Wire, selection: bytes, result: int) -> None:
    """And says whether its form or its content is wrong."""
    answer = await wire.ask(get(7, PROFILE, 2, selection))
    assert answer == bytes((0xC4, 1, 0xC1, 1, result))


async def test_open_bounds_take_everything_on_their_side(wire: Wire) -> None:
    """A date-time that is not specified, or null."""
    whole = by_range(0, 0)
    clock = whole[4:22]
    wild = axdr.date_time(cosem_time.UNSPECIFIED)
    last = axdr.date_time(cosem_time.encode(FIRST_ROW_MS + STEP_MS, ZONE))
    for start in (wild, b"\x00"):
        selection = b"\x01\x01\x02\x04" + clock + start + last + b"\x01\x00"
        assert numbers(await fetch(wire, get(7, PROFILE, 2, selection))) == [0, 1]


async def test_a_slow_meter_delays_nobody_else(plant: Plant, server: DlmsServer, wire: Wire) -> None:
    """One request in flight on its connection, in order; other connections go on."""
    wire.send(get(3, SLOW, 2, invoke=1))
    wire.send(get(1, NAME, 2, invoke=2))
    async with asyncio.timeout(5):
        await plant.slow_asked.wait()
    async with Wire(server.port) as other:
        await other.ask(AARQ_LLS)
        assert await fetch(other, get(3, VOLUME, 2)) == axdr.double_long_unsigned(85962)
    plant.release_slow.set()
    assert await wire.receive() == bytes.fromhex("c4010100120007")
    assert (await wire.receive())[:4] == bytes.fromhex("c4010200")


async def test_a_meter_that_takes_too_long_is_a_temporary_failure(wire: Wire) -> None:
    """After the limit, and the association goes on."""
    assert await wire.ask(get(3, SLOW, 2)) == bytes.fromhex("c401c10102")
    assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")


async def test_a_client_that_goes_while_a_meter_is_read_leaves_nothing_behind(
    plant: Plant, server: DlmsServer
) -> None:
    """The server forgets it; others are served."""
    async with Wire(server.port) as gone:
        await gone.ask(AARQ_LLS)
        gone.send(get(3, SLOW, 2))
        async with asyncio.timeout(5):
            await plant.slow_asked.wait()
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        async with asyncio.timeout(5):
            while len(server.sessions()) > 1:
                await wire.ask(get(1, NAME, 2))

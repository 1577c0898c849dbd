"""SET in blocks, and lists of SET, over real sockets; how blocks are measured."""

from __future__ import annotations

import asyncio

import pytest
from dlms_actor import ACTOR, Actor, attribute, block, cut
from dlms_plant import NAME, NOTE, PASSWORD, Plant, last_error
from dlms_wire import (
    AARQ_LLS,
    MALFORMED,
    NOT_NEGOTIATED,
    NOT_POSSIBLE,
    TOO_LONG,
    Wire,
    aarq,
    fetch,
    get,
    set_,
)

from core.dlms import axdr, xdlms
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer
from core.dlms.services import SERVED
from core.dlms.xdlms import DataBlock

FIRST, NEXT, LIST_FIRST = b"\xc1\x02\xc1", b"\xc1\x03\xc1", b"\xc1\x05\xc1"


def test_conformance_tells_the_truth() -> None:
    """Get, set, action, in blocks and with lists, selective access, general protection and blocks, pushes."""
    assert f"{SERVED:024b}" == "011000000001111010011101"


@pytest.mark.parametrize("room", [*range(40, 300), 1024, 65535, 65546, 65547, 70_000, 1 << 20])
def test_blocks_fill_the_answer_and_never_exceed_it(room: int) -> None:
    """Where the length of the part takes another byte, too: one byte may stay free."""
    size = xdlms.octet_capacity(room - xdlms.GET_BLOCK_OVERHEAD)
    assert room - 1 <= len(xdlms.get_block(0xC1, DataBlock(False, 1, bytes(size)))) <= room
    size = xdlms.octet_capacity(room - xdlms.ACTION_BLOCK_OVERHEAD)
    assert room - 1 <= len(xdlms.action_block(0xC1, DataBlock(False, 1, bytes(size)))) <= room


async def send_blocks(wire: Wire, first: bytes, following: bytes, data: bytes, size: int) -> bytes:
    """Send a long request; each block but the last is acknowledged with its number. The last answer."""
    parts = cut(data, size)
    for number, part in enumerate(parts[:-1], 1):
        answer = await wire.ask((first if number == 1 else following) + block(False, number, part))
        taken = b"\xc5\x02" if first[0] == 0xC1 else b"\xc7\x04"
        assert answer == taken + first[2:3] + number.to_bytes(4, "big")
    last = len(parts)
    return await wire.ask((first if last == 1 else following) + block(True, last, parts[-1]))


@pytest.mark.parametrize("size", [1, 2, 7, 100, 127, 128, 255, 256, 299, 300, 303, 304])
async def test_a_long_value_is_written_from_its_blocks(actor: Actor, wire: Wire, size: int) -> None:
    """However it is cut; the answer to the last block has its number and the result."""
    value = bytes(range(256)) + bytes(44)
    data = axdr.octet_string(value)
    answer = await send_blocks(wire, FIRST + attribute(2), NEXT, data, size)
    assert answer == b"\xc5\x03\xc1\x00" + len(cut(data, size)).to_bytes(4, "big")
    assert actor.done == [value]


async def test_the_invoke_id_of_each_block_comes_back(actor: Actor, wire: Wire) -> None:
    """Also where a client counts it up from block to block."""
    data = axdr.octet_string(b"four")
    answer = await wire.ask(b"\xc1\x02\x41" + attribute(2) + block(False, 1, data[:3]))
    assert answer == bytes.fromhex("c5024100000001")
    assert await wire.ask(b"\xc1\x03\x42" + block(True, 2, data[3:])) == bytes.fromhex("c503420000000002")
    assert actor.done == [b"four"]


async def test_a_list_is_written_from_its_blocks(plant: Plant, actor: Actor, wire: Wire) -> None:
    """Each reference gets its result, in the order of the list."""
    references = attribute(2) + get(3, ACTOR, 2)[3:] + get(1, NOTE, 2)[3:]
    values = b"\x03" + axdr.octet_string(bytes(200)) + axdr.NULL + axdr.octet_string(b"new")
    answer = await send_blocks(wire, LIST_FIRST + b"\x03" + references, NEXT, values, 50)
    assert answer == bytes.fromhex("c504c1 03 00 09 00 00000005")
    assert actor.done == [bytes(200)]
    assert plant.note == axdr.octet_string(b"new")


@pytest.mark.parametrize("number", [0, 1, 3, 0xFFFFFFFF])
async def test_a_wrong_block_number_ends_a_long_set(
    server: DlmsServer, actor: Actor, wire: Wire, number: int
) -> None:
    """Nothing is written; what comes after finds no transfer."""
    await wire.ask(FIRST + attribute(2) + block(False, 1, b"\x09\x04ab"))
    answer = await wire.ask(NEXT + block(True, number, b"cd"))
    assert answer == b"\xc5\x03\xc1\x13" + number.to_bytes(4, "big")
    assert last_error(server) == f"set block {number}: data block number invalid"
    assert await wire.ask(NEXT + block(True, 2, b"cd")) == bytes.fromhex("c503c1 12 00000002")
    assert last_error(server) == "set block 2: no long set in progress"
    assert actor.done == []


async def test_a_wrong_block_number_in_a_list_is_the_result_of_all_its_items(wire: Wire) -> None:
    """In the form that the client waits for."""
    await wire.ask(LIST_FIRST + b"\x02" + attribute(2) * 2 + block(False, 1, b"\x02"))
    assert await wire.ask(NEXT + block(True, 5, b"")) == bytes.fromhex("c504c1 02 13 13 00000005")


async def test_the_first_block_has_the_number_one(actor: Actor, wire: Wire) -> None:
    """Zero, and anything else, is refused."""
    for number in (0, 2):
        answer = await wire.ask(FIRST + attribute(2) + block(True, number, b"\x00"))
        assert answer == b"\xc5\x03\xc1\x13" + number.to_bytes(4, "big")
    assert actor.done == []


async def test_another_set_ends_a_long_one(actor: Actor, wire: Wire) -> None:
    """The client has changed its mind."""
    await wire.ask(FIRST + attribute(2) + block(False, 1, b"\x09\x04ab"))
    assert await wire.ask(set_(70, ACTOR, 2, axdr.unsigned(5))) == bytes.fromhex("c501c100")
    assert (await wire.ask(NEXT + block(True, 2, b"cd")))[3] == 18
    assert actor.done == [5]


async def test_a_long_set_starts_again_with_its_first_block(actor: Actor, wire: Wire) -> None:
    """Nothing of the first attempt is left."""
    await wire.ask(FIRST + attribute(2) + block(False, 1, b"\x09\x04ab"))
    assert (await send_blocks(wire, FIRST + attribute(2), NEXT, b"\x09\x02xy", 3))[3] == 0
    assert actor.done == [b"xy"]


async def test_a_get_does_not_disturb_a_long_set(actor: Actor, wire: Wire) -> None:
    """The transfers of the services are independent."""
    await wire.ask(FIRST + attribute(2) + block(False, 1, b"\x09\x04ab"))
    assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
    assert await wire.ask(NEXT + block(True, 2, b"cd")) == bytes.fromhex("c503c1 00 00000002")
    assert actor.done == [b"abcd"]


async def test_a_new_association_knows_nothing_of_a_long_set(actor: Actor, wire: Wire) -> None:
    """It was lost with the old one."""
    await wire.ask(FIRST + attribute(2) + block(False, 1, b"\x09\x04ab"))
    await wire.ask(AARQ_LLS)
    assert (await wire.ask(NEXT + block(True, 2, b"cd")))[3] == 18
    assert actor.done == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\x09\x04abc", b"\x09\x04abcde", b"\xff"],
    ids=["nothing", "cut short", "a byte too many", "no value"],
)
async def test_blocks_that_are_no_value_together_are_malformed(actor: Actor, wire: Wire, data: bytes) -> None:
    """As they would be in one piece."""
    assert await wire.ask(FIRST + attribute(2) + block(True, 1, data)) == MALFORMED
    assert actor.done == []
    assert (await send_blocks(wire, FIRST + attribute(2), NEXT, axdr.unsigned(1), 1))[3] == 0


@pytest.mark.parametrize("values", [b"\x01\x00", b"\x03\x00\x00\x00", b"\x02\x00"])
async def test_a_list_in_blocks_has_a_value_for_each_reference(
    actor: Actor, wire: Wire, values: bytes
) -> None:
    """Neither less nor more."""
    answer = await wire.ask(LIST_FIRST + b"\x02" + attribute(2) * 2 + block(True, 1, values))
    assert answer == MALFORMED
    assert actor.done == []


async def test_a_malformed_block_ends_the_transfer(actor: Actor, wire: Wire) -> None:
    """A length that is not that of the data; the client hears of it and starts again."""
    await wire.ask(FIRST + attribute(2) + block(False, 1, b"\x09\x04ab"))
    assert await wire.ask(NEXT + block(True, 2, b"cd") + b"e") == MALFORMED
    assert (await wire.ask(NEXT + block(True, 2, b"cd")))[3] == 18


async def test_a_long_request_is_bounded(plant: Plant, actor: Actor) -> None:
    """One byte more than the limit ends the transfer with long-set-aborted."""
    server = plant.server(ServerLimits(request=302))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        fits = axdr.octet_string(bytes(298))
        assert len(fits) == 302
        assert (await send_blocks(wire, FIRST + attribute(2), NEXT, fits, 100))[3] == 0
        assert actor.done == [bytes(298)]
        for number, part in enumerate(cut(axdr.octet_string(bytes(299)), 101)[:2], 1):
            await wire.ask((FIRST + attribute(2) if number == 1 else NEXT) + block(False, number, part))
        answer = await wire.ask(NEXT + block(True, 3, bytes(101)))
        assert answer == bytes.fromhex("c503c1 11 00000003")
    await server.stop()


async def test_what_was_not_negotiated_is_refused(server: DlmsServer, actor: Actor) -> None:
    """Blocks without their bit, lists without theirs."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, conformance=0x000018))
        first = FIRST + attribute(2) + block(True, 1, b"\x00")
        assert await wire.ask(first) == NOT_NEGOTIATED
        assert await wire.ask(NEXT + block(True, 2, b"")) == NOT_NEGOTIATED
        assert last_error(server) == "set request that was not negotiated"
        assert await wire.ask(aarq(PASSWORD, conformance=0x000818)) != b""
        assert (await wire.ask(first))[3] == 0
        listed = LIST_FIRST + b"\x01" + attribute(2) + block(True, 1, b"\x01\x00")
        assert await wire.ask(listed) == NOT_NEGOTIATED
        assert await wire.ask(b"\xc1\x04\xc1\x01" + attribute(2) + b"\x01\x00") == NOT_NEGOTIATED
    assert actor.done == [None]


@pytest.mark.parametrize("pdu", [64, 65, 127, 128, 255, 256])
async def test_a_list_whose_results_would_not_fit_is_refused_as_a_whole(
    server: DlmsServer, actor: Actor, pdu: int
) -> None:
    """Before anything is written; the longest one that fits is written, and answered in that size at most."""
    count = next(n for n in range(pdu, 0, -1) if 3 + len(axdr.length(n)) + n <= pdu)
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=pdu))
        answer = await wire.ask(set_list(count))
        assert answer == b"\xc5\x05\xc1" + axdr.length(count) + bytes(count)
        assert pdu - 1 <= len(answer) <= pdu
        assert len(actor.done) == count
        assert await wire.ask(set_list(count + 1)) == TOO_LONG
        in_blocks = LIST_FIRST + axdr.length(count) + attribute(2) * count
        assert await wire.ask(in_blocks + block(False, 1, b"\x00")) == TOO_LONG
        assert len(actor.done) == count
        assert last_error(server) == "set list whose answer would be too long"


def set_list(count: int) -> bytes:
    number = axdr.length(count)
    return b"\xc1\x04\xc1" + number + attribute(2) * count + number + axdr.NULL * count


async def test_a_list_is_bounded_in_items(plant: Plant, actor: Actor) -> None:
    """One item more than the limit is refused before anything is written."""
    server = plant.server(ServerLimits(references=5))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        assert await wire.ask(set_list(6)) == NOT_POSSIBLE
        assert actor.done == []
        assert await wire.ask(set_list(5)) == bytes.fromhex("c505c1050000000000")
    await server.stop()


async def test_a_list_is_written_one_after_the_other(actor: Actor, wire: Wire) -> None:
    """What can be written at once waits for what takes time before it."""
    references = attribute(2) + attribute(3) + attribute(2)
    values = b"\x03" + axdr.unsigned(1) + axdr.unsigned(2) + axdr.unsigned(3)
    wire.send(b"\xc1\x04\xc1\x03" + references + values)
    async with asyncio.timeout(5):
        await actor.begun.wait()
    assert actor.done == [1]
    actor.release.set()
    assert await wire.receive() == bytes.fromhex("c505c103000000")
    assert actor.done == [1, 2, 3]


async def test_what_takes_too_long_is_answered_as_a_failure_and_done_nevertheless(
    server: DlmsServer, actor: Actor, wire: Wire
) -> None:
    """A write that has begun is never left half done; the rest of its list follows."""
    references, values = attribute(3) + attribute(2), b"\x02" + axdr.unsigned(1) + axdr.unsigned(2)
    assert await wire.ask(b"\xc1\x04\xc1\x02" + references + values) == bytes.fromhex("c505c1020202")
    assert last_error(server) == "set 70 0.0.96.3.10.255/2: temporary failure"
    assert actor.done == []
    actor.release.set()
    async with asyncio.timeout(5):
        while actor.done != [1, 2]:
            await wire.ask(get(1, NAME, 2))


async def test_a_write_ends_well_where_the_client_goes_away(
    server: DlmsServer, actor: Actor, wire: Wire
) -> None:
    """It has asked for it, and for what follows in the list."""
    async with Wire(server.port) as gone:
        await gone.ask(AARQ_LLS)
        gone.send(b"\xc1\x04\xc1\x02" + attribute(3) + attribute(2) + b"\x02\x11\x01\x11\x02")
        async with asyncio.timeout(5):
            await actor.begun.wait()
    async with asyncio.timeout(5):
        while len(server.sessions()) > 1:
            await wire.ask(get(1, NAME, 2))
        actor.release.set()
        while actor.done != [1, 2]:
            await wire.ask(get(1, NAME, 2))


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (get(3, bytes(6), 2), "get 3 0.0.0.0.0.0/2: object undefined"),
        (
            b"\xc0\x03\xc1\x02" + get(1, NAME, 2)[3:] + get(1, NAME, 9)[3:],
            "get 1 0.0.42.0.0.255/9: object undefined",
        ),
        (set_(1, NAME, 2, axdr.NULL), "set 1 0.0.42.0.0.255/2: read write denied"),
        (b"\xc0\x01\xc1", "get malformed APDU"),
        (b"\xc0\x02\xc1\x00\x00\x00\x01", "get block after 1: no long get in progress"),
        (b"\xc0\x04\xc1", "get request of an unknown kind"),
        (b"\xe6\x00", "service e6: not known here"),
    ],
)
async def test_what_failed_is_counted_and_kept(
    server: DlmsServer, wire: Wire, request_: bytes, text: str
) -> None:
    """In words that a technician understands; what went well is not counted."""
    await fetch(wire, get(1, NAME, 2))
    (session,) = server.sessions()
    assert (session.errors, session.last_error) == (0, "")
    await wire.ask(request_)
    (session,) = server.sessions()
    assert (session.errors, session.last_error) == (1, text)

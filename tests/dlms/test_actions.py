"""ACTION as a head-end uses it, over real sockets: one method, lists, blocks in both directions."""

from __future__ import annotations

import asyncio

import pytest
from dlms_actor import (
    BROKEN,
    DENIED,
    ECHO,
    PLAIN,
    REFUSING,
    SLOW_ECHO,
    Actor,
    act,
    act_list,
    block,
    cut,
    method,
)
from dlms_plant import NAME, PASSWORD, SLOW, VOLUME, Plant, last_error
from dlms_wire import (
    AARQ_LLS,
    AARQ_NONE,
    MALFORMED,
    NOT_NEGOTIATED,
    NOT_POSSIBLE,
    TOO_LONG,
    Wire,
    aarq,
    fetch,
    get,
)

from core.dlms import axdr
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer

FIRST, NEXT, LIST_FIRST = b"\xc3\x04\xc1", b"\xc3\x06\xc1", b"\xc3\x05\xc1"
WITHOUT_BLOCKS = 0x000211  # get, action, lists
NO_LONG_ACTION = bytes.fromhex("c701c1 10 00")
ABORTED = bytes.fromhex("c701c1 0f 00")


async def next_pblock(wire: Wire, number: int) -> bytes:
    return await wire.ask(b"\xc3\x02\xc1" + number.to_bytes(4, "big"))


async def returned(wire: Wire, answer: bytes, pdu: int) -> bytes:
    """What the blocks of a long answer carry; none is larger than the client takes."""
    data, number = b"", 1
    while True:
        assert answer[:3] == b"\xc7\x02\xc1"
        assert len(answer) <= pdu
        assert int.from_bytes(answer[4:8], "big") == number
        size, start = axdr.decode_length(answer, 8)
        assert len(answer) == start + size
        data += answer[start:]
        if answer[3]:
            return data
        assert len(answer) >= pdu - 1
        answer = await next_pblock(wire, number)
        number += 1


async def test_a_method_is_invoked_and_gives_what_it_returns(actor: Actor, wire: Wire) -> None:
    """With and without a parameter, with and without something returned; the invoke id comes back."""
    assert await wire.ask(act(ECHO, axdr.octet_string(b"abc"), 0x42)) == bytes.fromhex(
        "c70142 00 01 00 0903616263"
    )
    assert await wire.ask(act(PLAIN)) == bytes.fromhex("c701c1 00 00")
    assert await wire.ask(act(PLAIN, axdr.NULL)) == bytes.fromhex("c701c1 00 00")
    assert actor.done == [b"abc", "plain", None]


@pytest.mark.parametrize(
    ("request_", "result", "text"),
    [
        (act(DENIED), 3, "method 4: read write denied"),
        (act(BROKEN), 250, "method 5: other reason"),
        (act(REFUSING), 2, "method 6: temporary failure"),
        (act(7), 4, "method 7: object undefined"),
        (act(0), 4, "method 0: object undefined"),
        (act(-1), 4, "method -1: object undefined"),
        (act(ECHO), 12, "method 1: type unmatched"),
        (b"\xc3\x01\xc1" + method(1, 70, bytes(6)) + b"\x00", 4, "70 0.0.0.0.0.0 method 1: object undefined"),
        (b"\xc3\x01\xc1" + method(1, 3) + b"\x00", 9, "method 1: object class inconsistent"),
        (b"\xc3\x01\xc1" + method(1, 3, VOLUME) + b"\x00", 3, "3 8.0.1.0.0.255 method 1: read write denied"),
        (b"\xc3\x01\xc1" + method(1, 1, NAME) + b"\x00", 4, "1 0.0.42.0.0.255 method 1: object undefined"),
    ],
)
async def test_what_cannot_be_invoked_gets_its_result_code(
    server: DlmsServer, wire: Wire, request_: bytes, result: int, text: str
) -> None:
    """As the Green Book numbers them, and in words for the technician."""
    assert await wire.ask(request_) == bytes((0xC7, 1, 0xC1, result, 0))
    assert last_error(server).startswith("action ")
    assert last_error(server).endswith(text)


async def test_the_public_client_invokes_nothing(server: DlmsServer, actor: Actor) -> None:
    """No method is granted to it."""
    async with Wire(server.port, client=16) as wire:
        await wire.ask(AARQ_NONE)
        assert await wire.ask(act(PLAIN)) == bytes.fromhex("c701c1 03 00")
    assert actor.done == []


async def test_action_alone_is_enough_to_associate(server: DlmsServer, actor: Actor) -> None:
    """GET and SET are refused then, and so is ACTION to a client that did not propose it."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, conformance=0x000001))
        assert await wire.ask(act(PLAIN)) == bytes.fromhex("c701c1 00 00")
        assert await wire.ask(get(1, NAME, 2)) == NOT_NEGOTIATED
        assert await wire.ask(act_list((PLAIN, axdr.NULL))) == NOT_NEGOTIATED
        assert await wire.ask(FIRST + method(PLAIN) + block(True, 1, axdr.NULL)) == NOT_NEGOTIATED
        assert await wire.ask(NEXT + block(True, 1, axdr.NULL)) == NOT_NEGOTIATED
        await wire.ask(aarq(PASSWORD, conformance=0x000010))
        assert await wire.ask(act(PLAIN)) == NOT_NEGOTIATED
    assert actor.done == ["plain"]


async def test_a_list_is_invoked_in_its_order_and_answered_item_by_item(actor: Actor, wire: Wire) -> None:
    """One after the other, also where one takes time; a refusal does not stop those behind it."""
    text = axdr.octet_string
    wire.send(act_list((ECHO, text(b"a")), (SLOW_ECHO, text(b"b")), (DENIED, axdr.NULL), (PLAIN, text(b"c"))))
    async with asyncio.timeout(5):
        await actor.begun.wait()
    assert actor.done == [b"a"]
    actor.release.set()
    assert await wire.receive() == bytes.fromhex("c703c1 04 000100090161 000100090162 0300 0000")
    assert actor.done == [b"a", b"b", b"c"]


async def test_an_action_that_takes_too_long_is_a_temporary_failure_and_done_nevertheless(
    server: DlmsServer, actor: Actor, wire: Wire
) -> None:
    """After the limit; the association goes on."""
    assert await wire.ask(act(SLOW_ECHO, axdr.octet_string(b"late"))) == bytes.fromhex("c701c1 02 00")
    assert last_error(server) == "action 70 0.0.96.3.10.255 method 3: temporary failure"
    actor.release.set()
    async with asyncio.timeout(5):
        while actor.done != [b"late"]:
            await wire.ask(get(1, NAME, 2))


async def test_an_action_may_take_longer_than_a_value_from_a_meter(plant: Plant, actor: Actor) -> None:
    """A slow disk does not make a client believe that its new keys do not hold."""
    server = plant.server(ServerLimits(wait=0.05))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire, Wire(server.port) as other:
        await wire.ask(AARQ_LLS)
        await other.ask(AARQ_LLS)
        wire.send(act(SLOW_ECHO, axdr.octet_string(b"k")))
        async with asyncio.timeout(5):
            await actor.begun.wait()
        assert await other.ask(get(3, SLOW, 2)) == bytes.fromhex("c401c1 01 02")
        actor.release.set()
        assert await wire.receive() == bytes.fromhex("c701c1 00 0100 0901 6b")
    await server.stop()


async def test_an_action_ends_well_where_the_client_goes_away(
    server: DlmsServer, actor: Actor, wire: Wire
) -> None:
    """It has asked for it."""
    async with Wire(server.port) as gone:
        await gone.ask(AARQ_LLS)
        gone.send(act(SLOW_ECHO, axdr.octet_string(b"x")))
        async with asyncio.timeout(5):
            await actor.begun.wait()
    async with asyncio.timeout(5):
        while len(server.sessions()) > 1:
            await wire.ask(get(1, NAME, 2))
        actor.release.set()
        while actor.done != [b"x"]:
            await wire.ask(get(1, NAME, 2))


@pytest.mark.parametrize("size", [1, 2, 7, 127, 128, 255, 256, 303, 304])
async def test_a_long_parameter_is_put_together_from_its_blocks(actor: Actor, wire: Wire, size: int) -> None:
    """However it is cut; each block but the last is answered by asking for the next."""
    value = bytes(range(256)) + bytes(44)
    parts = cut(axdr.octet_string(value), size)
    for number, part in enumerate(parts[:-1], 1):
        head = FIRST + method(ECHO) if number == 1 else NEXT
        answer = await wire.ask(head + block(False, number, part))
        assert answer == b"\xc7\x04\xc1" + number.to_bytes(4, "big")
    head = FIRST + method(ECHO) if len(parts) == 1 else NEXT
    answer = await wire.ask(head + block(True, len(parts), parts[-1]))
    assert answer == b"\xc7\x01\xc1\x00\x01\x00" + axdr.octet_string(value)
    assert actor.done == [value]


async def test_a_list_comes_in_blocks_and_its_answer_goes_in_blocks(server: DlmsServer, actor: Actor) -> None:
    """The blocks of the answer carry the list of outcomes."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64))
        values = axdr.octet_string(bytes(90)), axdr.NULL, axdr.octet_string(bytes(80))
        parts = cut(b"\x03" + b"".join(values), 50)
        head = LIST_FIRST + b"\x03" + method(ECHO) + method(DENIED) + method(ECHO)
        for number, part in enumerate(parts, 1):
            answer = await wire.ask(head + block(number == len(parts), number, part))
            head = NEXT
        assert await returned(wire, answer, 64) == (
            b"\x03" + b"\x00\x01\x00" + values[0] + b"\x03\x00" + b"\x00\x01\x00" + values[2]
        )
    assert actor.done == [bytes(90), bytes(80)]


@pytest.mark.parametrize("pdu", [64, 65, 127, 128, 136, 137, 138, 255, 256, 1024])
async def test_a_long_return_parameter_goes_in_blocks_that_fit(
    server: DlmsServer, actor: Actor, pdu: int
) -> None:
    """The longest one that fits goes whole; a byte more, and it goes in blocks, which carry it alone."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=pdu))
        longest = next(n for n in range(pdu, 0, -1) if 6 + len(axdr.octet_string(bytes(n))) <= pdu)
        for count in (longest, longest + 1, longest + 40, 2000):
            value = axdr.octet_string(bytes(count))
            answer = await wire.ask(act(ECHO, value))
            if count == longest:
                assert answer == b"\xc7\x01\xc1\x00\x01\x00" + value
                assert pdu - 1 <= len(answer) <= pdu
            else:
                assert await returned(wire, answer, pdu) == value
                assert await next_pblock(wire, 99) == NO_LONG_ACTION


async def test_without_blocks_a_client_hears_that_the_method_was_invoked(
    server: DlmsServer, actor: Actor
) -> None:
    """Success, and data-block-unavailable in place of what does not fit; in a list, of what does not fit any more."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64, conformance=WITHOUT_BLOCKS))
        assert await wire.ask(act(ECHO, axdr.octet_string(bytes(100)))) == bytes.fromhex("c701c1 00 01 01 0e")
        assert last_error(server) == "action answer: data block unavailable"
        short, long = axdr.octet_string(b"ab"), axdr.octet_string(bytes(60))
        answer = await wire.ask(
            act_list((ECHO, short), (ECHO, long), (PLAIN, long), (DENIED, long), (ECHO, short))
        )
        assert answer == bytes.fromhex("c703c1 05 00010009026162 0001010e 0000 0300 00010009026162")
        assert actor.done == [bytes(100), b"ab", bytes(60), bytes(60), b"ab"]


async def test_without_blocks_a_list_whose_outcomes_may_not_fit_is_refused_as_a_whole(
    server: DlmsServer, actor: Actor
) -> None:
    """Before anything is done; the longest one that fits is answered in what the client takes."""
    long = axdr.octet_string(bytes(60))
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64, conformance=WITHOUT_BLOCKS))
        assert await wire.ask(act_list(*[(ECHO, long)] * 16)) == TOO_LONG
        assert actor.done == []
        answer = await wire.ask(act_list(*[(ECHO, long)] * 15))
        assert answer == b"\xc7\x03\xc1\x0f" + bytes.fromhex("0001010e") * 15
        assert len(answer) == 64


async def test_a_list_is_bounded_in_items_and_its_answer_in_bytes(plant: Plant, actor: Actor) -> None:
    """What is over the largest answer is not given; one item more than allowed is refused."""
    server = plant.server(ServerLimits(answer=300, references=3))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64))
        value = axdr.octet_string(bytes(120))
        assert await wire.ask(act_list(*[(ECHO, value)] * 4)) == NOT_POSSIBLE
        answer = await wire.ask(act_list(*[(ECHO, value)] * 3))
        whole = b"\x00\x01\x00" + value
        assert await returned(wire, answer, 64) == b"\x03" + whole * 2 + bytes.fromhex("0001010e")
        assert await wire.ask(act(ECHO, axdr.octet_string(bytes(400)))) == bytes.fromhex("c701c1 00 01 01 0e")
    await server.stop()


async def test_a_long_parameter_is_bounded(plant: Plant, actor: Actor) -> None:
    """A byte more than the limit ends the transfer, and nothing is invoked."""
    server = plant.server(ServerLimits(request=102))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        fits = axdr.octet_string(bytes(100))
        await wire.ask(FIRST + method(PLAIN) + block(False, 1, fits[:60]))
        assert await wire.ask(NEXT + block(True, 2, fits[60:])) == bytes.fromhex("c701c1 00 00")
        await wire.ask(FIRST + method(PLAIN) + block(False, 1, bytes(60)))
        assert await wire.ask(NEXT + block(True, 2, bytes(43))) == ABORTED
        assert await wire.ask(NEXT + block(True, 3, b"")) == NO_LONG_ACTION
    await server.stop()
    assert actor.done == [bytes(100)]


@pytest.mark.parametrize("number", [0, 1, 3, 0xFFFFFFFF])
async def test_a_wrong_block_number_ends_a_long_parameter(
    server: DlmsServer, actor: Actor, wire: Wire, number: int
) -> None:
    """With long-action-aborted; what comes after finds no transfer."""
    await wire.ask(FIRST + method(PLAIN) + block(False, 1, b"\x09\x04ab"))
    assert await wire.ask(NEXT + block(True, number, b"cd")) == ABORTED
    assert last_error(server) == f"action block {number}: long action aborted"
    assert await wire.ask(NEXT + block(True, 2, b"cd")) == NO_LONG_ACTION
    assert last_error(server) == "action block 2: no long action in progress"
    assert actor.done == []


async def test_a_wrong_block_number_ends_a_long_answer(server: DlmsServer, actor: Actor) -> None:
    """With long-action-aborted; the method stays invoked."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64))
        for number in (0, 2):
            await wire.ask(act(ECHO, axdr.octet_string(bytes(200))))
            assert await next_pblock(wire, number) == ABORTED
            assert await next_pblock(wire, 1) == NO_LONG_ACTION
    assert actor.done == [bytes(200)] * 2


@pytest.mark.parametrize(
    "interruption",
    [act(PLAIN), FIRST + method(PLAIN) + block(False, 1, b"\x00"), NEXT + block(True, 1, b"x"), AARQ_LLS],
    ids=["another action", "another long one", "a block of no request", "a new association"],
)
async def test_another_action_ends_a_long_answer(
    server: DlmsServer, actor: Actor, interruption: bytes
) -> None:
    """The client has changed its mind."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64))
        await wire.ask(act(ECHO, axdr.octet_string(bytes(200))))
        await wire.ask(interruption)
        assert await next_pblock(wire, 1) == NO_LONG_ACTION


async def test_a_get_does_not_disturb_a_long_action(server: DlmsServer, actor: Actor) -> None:
    """Neither its parameter on the way in nor its answer on the way out."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=64))
        data = axdr.octet_string(bytes(range(100)))
        await wire.ask(FIRST + method(ECHO) + block(False, 1, data[:50]))
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
        answer = await wire.ask(NEXT + block(True, 2, data[50:]))
        assert await fetch(wire, get(1, NAME, 2)) == axdr.octet_string(b"HYD123456780725")
        assert await returned(wire, answer, 64) == data


@pytest.mark.parametrize("data", [b"", b"\x09\x04abc", b"\x00\x00", b"\xff"])
async def test_blocks_that_are_no_parameter_together_are_malformed(
    server: DlmsServer, actor: Actor, wire: Wire, data: bytes
) -> None:
    """And nothing is invoked."""
    assert await wire.ask(FIRST + method(PLAIN) + block(True, 1, data)) == MALFORMED
    assert await wire.ask(LIST_FIRST + b"\x01" + method(PLAIN) + block(True, 1, data)) == MALFORMED
    assert last_error(server) == "action malformed APDU"
    assert actor.done == []


@pytest.mark.parametrize(
    "apdu",
    [
        act(PLAIN)[:-1],
        act(PLAIN) + b"\x00",
        act(PLAIN)[:-1] + b"\x01",
        act(PLAIN)[:-1] + b"\x02",
        act(PLAIN)[:8],
        act_list((PLAIN, b"\x00"))[:-1],
        act_list((PLAIN, b"\x00")) + b"\x00",
        b"\xc3\x03\xc1\x00\x00",
        b"\xc3\x03\xc1\x02" + method(PLAIN) * 2 + b"\x01\x00",
        b"\xc3\x03\xc1\xff" + method(PLAIN),
        b"\xc3\x02\xc1\x00\x00\x01",
        b"\xc3\x02\xc1\x00\x00\x00\x01\x00",
        FIRST + method(PLAIN) + b"\x01\x00\x00\x00\x01",
        FIRST + method(PLAIN) + block(True, 1, b"\x00") + b"\x00",
        NEXT + b"\x01\x00\x00\x00\x01\x05abc",
        b"\xc3",
        b"\xc3\x01",
    ],
)
async def test_a_bad_action_is_malformed_and_the_association_lives_on(
    actor: Actor, wire: Wire, apdu: bytes
) -> None:
    """Cut short, too long, counts that do not go together."""
    assert await wire.ask(apdu) == MALFORMED
    assert actor.done == []
    assert await wire.ask(act(PLAIN)) == bytes.fromhex("c701c1 00 00")

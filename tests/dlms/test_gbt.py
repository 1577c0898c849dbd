"""General block transfer: as a pure class against a client that loses blocks, and over real sockets."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from dlms_actor import ECHO, Actor, act
from dlms_plant import NAME, PASSWORD, PROFILE, VOLUME, Plant
from dlms_wire import MALFORMED, NOT_NEGOTIATED, Wire, aarq, fetch, get
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dlms import axdr, gbt
from core.dlms.errors import DecodeError
from core.dlms.gbt import Block, BlockTransfer
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer

ALL_SERVICES = 0x207E1F  # general block transfer, too
LIMITS = ServerLimits(request=5000, answer=100_000)


class Client:
    """The other end of one exchange, written after the same clause: `window` blocks at a time in either direction."""

    def __init__(self, window: int = 1, size: int = 50) -> None:
        self.window = window
        self.size = size
        self.number = 0  # of the block that was sent last
        self.received = 0  # the server's last block without a gap before it
        self.answer = b""
        self.done = False

    def request(self, apdu: bytes, first: int = 0, count: int | None = None) -> list[bytes]:
        """Blocks of a request from the one with this index, streaming but for the last of them."""
        parts = [apdu[start : start + self.size] for start in range(0, len(apdu), self.size)]
        chosen = list(enumerate(parts, 1))[first : None if count is None else first + count]
        blocks = []
        for number, part in chosen:
            last = number == len(parts)
            streaming = not last and number != chosen[-1][0]
            blocks.append(Block(last, streaming, self.window, number, self.received, part).encode())
            self.number = max(self.number, number)
        return blocks

    def take(self, apdu: bytes) -> None:
        """A block of the server, as far as it is the next one."""
        block = gbt.decode(apdu)
        if block.number == self.received + 1:
            self.received += 1
            self.answer += block.data
            self.done = block.last

    def acknowledge(self) -> bytes:
        self.number += 1
        return Block(True, False, self.window, self.number, self.received, b"").encode()


def test_a_block_is_coded_as_the_green_book_has_it() -> None:
    """Tag, block control, number, acknowledged number, data with their length."""
    block = Block(True, False, 5, 2, 0x0103, b"ab")
    assert block.encode() == bytes.fromhex("e0 85 0002 0103 02 6162")
    assert gbt.decode(bytes.fromhex("e0 85 0002 0103 02 6162")) == block
    assert gbt.decode(bytes.fromhex("e0 7f ffff 0000 00")) == Block(False, True, 63, 0xFFFF, 0, b"")


@pytest.mark.parametrize(
    "apdu", ["e0", "e08500020103", "e0850002010303 6162", "e0850002010301 6162", "e0850002010382 01"]
)
def test_a_block_whose_length_is_wrong_is_refused(apdu: str) -> None:
    """And the exchange has ended."""
    transfer = BlockTransfer(LIMITS)
    transfer.receive(Client(size=3).request(b"request", count=1)[0])
    with pytest.raises(DecodeError):
        transfer.receive(bytes.fromhex(apdu))
    with pytest.raises(DecodeError):
        transfer.receive(Client(size=3).request(b"request", first=1, count=1)[0])


@settings(max_examples=150, deadline=None)
@given(
    request_size=st.integers(1, 3000),
    answer_size=st.integers(1, 20_000),
    window=st.integers(0, 63),
    size=st.integers(1, 400),
    pdu=st.integers(32, 2000),
    seed=st.integers(0, 1 << 32),
)
def test_an_exchange_ends_well_whatever_is_lost(
    request_size: int, answer_size: int, window: int, size: int, pdu: int, seed: int
) -> None:
    """Blocks of either side that get lost are sent again, and nothing is taken twice.

    Only the first block, which starts the exchange, and the one that the other side waits for are never lost.
    """
    chance = random.Random(seed)
    request, answer = chance.randbytes(request_size), chance.randbytes(answer_size)
    transfer, client = BlockTransfer(LIMITS), Client(window, size)
    whole: bytes | None = None
    known = 0  # blocks of the request that the server is known to have
    while whole is None:
        *sent, last = client.request(request, first=known, count=chance.randint(1, gbt.WINDOW))
        kept = [block for block in sent if gbt.decode(block).number == 1 or chance.random() > 0.2]
        for block in (*kept, last):
            blocks, whole = transfer.receive(block)
            for acknowledgement in blocks:
                client.take(acknowledgement)
                known = gbt.decode(acknowledgement).acknowledged
    assert whole == request
    assert transfer.answer_room(pdu) >= len(answer)
    blocks = transfer.send(answer, pdu)
    while not client.done:
        assert 1 <= len(blocks) <= max(1, window)
        for position, block in enumerate(blocks):
            assert len(block) <= pdu
            assert gbt.decode(block).streaming == (position < len(blocks) - 1)
            if chance.random() > 0.2:
                client.take(block)
        if not client.done:
            blocks, _ = transfer.receive(client.acknowledge())
    assert client.answer == answer
    assert transfer.receive(client.acknowledge()) == ([], None)


def test_a_window_is_acknowledged_once_at_its_end() -> None:
    """While blocks stream in, nothing is sent; the window that is told is that of the gateway."""
    transfer, client = BlockTransfer(LIMITS), Client(window=3, size=2)
    assert [transfer.receive(block) for block in client.request(b"abcdefgh", count=3)[:-1]] == [
        ([], None)
    ] * 2
    (acknowledgement,), _ = transfer.receive(client.request(b"abcdefgh", count=3)[-1])
    assert gbt.decode(acknowledgement) == Block(False, False, gbt.WINDOW, 1, 3, b"")
    assert transfer.receive(client.request(b"abcdefgh", first=3)[0]) == ([], b"abcdefgh")
    (block,) = transfer.send(b"answer", 64)
    assert gbt.decode(block) == Block(True, False, gbt.WINDOW, 2, 4, b"answer")


def test_a_lost_block_of_a_request_is_asked_for() -> None:
    """The acknowledgement names the last block before the gap; what came behind it has to come again."""
    transfer, client = BlockTransfer(LIMITS), Client(window=3, size=2)
    blocks = client.request(b"abcdef")
    assert transfer.receive(blocks[0]) == ([], None)
    (acknowledgement,), whole = transfer.receive(blocks[2])
    assert gbt.decode(acknowledgement).acknowledged == 1
    assert whole is None
    assert transfer.receive(blocks[1]) == ([], None)
    assert transfer.receive(blocks[2]) == ([], b"abcdef")


def test_a_repeated_block_of_a_request_is_taken_once() -> None:
    """And acknowledged again."""
    transfer, client = BlockTransfer(LIMITS), Client(size=2)
    transfer.receive(client.request(b"abcdef", count=1)[0])
    for _ in range(2):
        (acknowledgement,), _ = transfer.receive(client.request(b"abcdef", first=1, count=1)[0])
        assert gbt.decode(acknowledgement).acknowledged == 2
    assert transfer.receive(client.request(b"abcdef", first=2)[0]) == ([], b"abcdef")


def test_the_first_block_starts_anew() -> None:
    """Whatever was under way: a request half sent, an answer half fetched."""
    transfer = BlockTransfer(LIMITS)
    transfer.receive(Client(size=2).request(b"given up", count=1)[0])
    for _ in range(2):
        client = Client(size=500)
        assert transfer.receive(client.request(b"request")[0]) == ([], b"request")
        (block,) = transfer.send(bytes(100), 64)
        assert gbt.decode(block)[:5] == (False, False, gbt.WINDOW, 1, 1)


def test_a_window_can_change_with_each_acknowledgement() -> None:
    """The client says how many blocks it takes; none said is one."""
    transfer, client = BlockTransfer(LIMITS), Client(window=0)
    transfer.receive(client.request(b"request")[0])
    assert len(transfer.send(bytes(1000), 64)) == 1
    sent = 1
    for window, count in ((4, 4), (1, 1), (0, 1), (63, 11)):
        client.window = window
        client.received = sent
        assert len(transfer.receive(client.acknowledge()).blocks) == count
        sent += count


@pytest.mark.parametrize(
    "block",
    [
        Block(True, False, 1, 5, 0, b"late"),  # a block of no exchange
        Block(True, False, 1, 1, 0, b""),  # a request of nothing
        Block(True, False, 1, 2, 1, b""),  # acknowledges where nothing was sent
        Block(True, False, 1, 0, 0, b"data"),
    ],
)
def test_a_block_that_belongs_nowhere_is_refused(block: Block) -> None:
    """There is nothing to do with it."""
    with pytest.raises(DecodeError):
        BlockTransfer(LIMITS).receive(block.encode())


def test_an_acknowledgement_of_what_was_not_sent_ends_the_exchange() -> None:
    """The client is not in step."""
    transfer, client = BlockTransfer(LIMITS), Client()
    transfer.receive(client.request(b"request")[0])
    transfer.send(bytes(1000), 64)
    client.received = 2
    with pytest.raises(DecodeError):
        transfer.receive(client.acknowledge())
    client.received = 1
    with pytest.raises(DecodeError):
        transfer.receive(client.acknowledge())


def test_a_client_can_give_up() -> None:
    """Number 0, acknowledging nothing, with no data: the exchange is over, without an answer."""
    transfer, client = BlockTransfer(LIMITS), Client()
    transfer.receive(client.request(b"request")[0])
    transfer.send(bytes(1000), 64)
    assert transfer.receive(Block(True, False, 0, 0, 0, b"").encode()) == ([], None)
    client.received = 1
    with pytest.raises(DecodeError):
        transfer.receive(client.acknowledge())


def test_a_request_in_blocks_is_bounded() -> None:
    """To the byte; and blocks that bring nothing come to an end, too."""
    for size, fits in ((5000, True), (5001, False)):
        transfer, client = BlockTransfer(LIMITS), Client(window=63, size=1000)
        blocks = client.request(bytes(size))
        for block in blocks[:-1]:
            transfer.receive(block)
        if fits:
            assert transfer.receive(blocks[-1]).apdu == bytes(size)
        else:
            with pytest.raises(DecodeError):
                transfer.receive(blocks[-1])
    transfer = BlockTransfer(LIMITS)
    transfer.receive(Block(False, True, 1, 1, 0, b"a").encode())
    nothing = Block(False, False, 1, 9, 0, b"").encode()
    for _ in range(0x7FFF):
        assert transfer.receive(nothing).blocks
    with pytest.raises(DecodeError):
        transfer.receive(nothing)


@pytest.mark.parametrize("pdu", [32, 64, 65, 133, 134, 135, 136, 262, 263, 264, 265, 1024, 65535])
def test_the_answer_is_as_large_as_the_block_numbers_allow(pdu: int) -> None:
    """At the end stands block 65535, or the limit of all answers."""
    transfer, client = BlockTransfer(ServerLimits(answer=1 << 40)), Client(window=63)
    transfer.receive(client.request(b"request")[0])
    room = transfer.answer_room(pdu)
    assert room // 0xFFFF in (pdu - 7, pdu - 8, pdu - 9, pdu - 10)
    (*_, last) = transfer.send(bytes(min(room, 10 * pdu)), pdu)
    assert len(last) <= pdu
    with pytest.raises(ValueError, match="65535"):
        transfer.send(bytes(room + 1), pdu)
    assert BlockTransfer(LIMITS).answer_room(65535) == 100_000


@pytest.fixture
async def wire(plant: Plant, server: DlmsServer) -> AsyncIterator[Wire]:
    Actor.in_plant(plant)
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD, pdu=200, conformance=ALL_SERVICES))
        yield wire


async def ask_in_blocks(wire: Wire, apdu: bytes, window: int, size: int) -> bytes:
    """Send a request in blocks, fetch the answer."""
    client = Client(window, size)
    count = -(-len(apdu) // size)
    for first in range(0, count, gbt.WINDOW):
        for block in client.request(apdu, first, gbt.WINDOW):
            wire.send(block)
        if first + gbt.WINDOW < count:
            acknowledgement = await wire.receive()
            assert gbt.decode(acknowledgement).acknowledged == first + gbt.WINDOW
            client.take(acknowledgement)
    while True:
        received = await wire.receive()
        taken = gbt.decode(received)
        assert len(received) <= 200
        client.take(received)
        assert client.received == taken.number
        if taken.last:
            return client.answer
        if not taken.streaming:
            wire.send(client.acknowledge())


@pytest.mark.parametrize(("window", "size"), [(1, 5), (1, 100), (7, 13), (63, 2)])
async def test_any_request_can_come_in_blocks(wire: Wire, window: int, size: int) -> None:
    """Its answer, short or long, goes in blocks as well, and whole: the blocks of the service are not needed."""
    assert await ask_in_blocks(wire, get(1, NAME, 2), window, size) == (
        bytes.fromhex("c401c100") + axdr.octet_string(b"HYD123456780725")
    )
    long = await ask_in_blocks(wire, get(7, PROFILE, 2), window, size)
    assert long[:4] == bytes.fromhex("c401c100")
    value = axdr.octet_string(bytes(range(256)) * 2)
    answer = await ask_in_blocks(wire, act(ECHO, value), window, size)
    assert answer == bytes.fromhex("c701c1000100") + value
    assert long[4:] == await fetch(wire, get(7, PROFILE, 2))


async def test_a_lost_block_of_an_answer_is_sent_again(wire: Wire) -> None:
    """A window that is acknowledged in part goes out again from there."""
    client = Client(window=4, size=500)
    wire.send(client.request(get(7, PROFILE, 2))[0])
    window = [await wire.receive() for _ in range(4)]
    client.received = 2
    wire.send(client.acknowledge())
    again = [await wire.receive() for _ in range(4)]
    assert [gbt.decode(block).number for block in again] == [3, 4, 5, 6]
    assert [gbt.decode(block).data for block in again[:2]] == [gbt.decode(block).data for block in window[2:]]


async def test_a_request_in_one_piece_ends_an_exchange_in_blocks(wire: Wire) -> None:
    """The client has changed its mind; what it acknowledges afterwards belongs to nothing."""
    client = Client(size=500)
    await wire.ask(client.request(get(7, PROFILE, 2))[0])
    client.received = 1
    assert await fetch(wire, get(3, VOLUME, 2)) == axdr.double_long_unsigned(85962)
    assert await wire.ask(client.acknowledge()) == MALFORMED
    assert await ask_in_blocks(wire, get(3, VOLUME, 2), 1, 5) == bytes.fromhex("c401c100060001 4fca")


async def test_blocks_that_were_not_negotiated_are_refused(server: DlmsServer) -> None:
    """Whatever they carry."""
    async with Wire(server.port) as wire:
        await wire.ask(aarq(PASSWORD))
        assert await wire.ask(Client(size=500).request(get(1, NAME, 2))[0]) == NOT_NEGOTIATED

"""One exchange on a line whose other end the test plays itself, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.mbus.address import SecondaryAddress
from core.mbus.exchange import Disturbance, Exchange, Silence
from core.mbus.frame import ACK, Frame, Kind, long_frame, req_ud2, select, snd_nke
from core.mbus.transport import Transport
from core.mbus.watch import Fault

BAUD = 38400
TELEGRAM = long_frame(8, 5, 0x78, b"\x0f")
OTHER = long_frame(8, 6, 0x78, b"\x0f")


class Far:
    """The far end: what was sent to it, and a way to wait for it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._arrived = asyncio.Event()
        self.line = Transport(self._receive, lambda: None, margin=0.05)

    async def request(self, number: int) -> bytes:
        async with asyncio.timeout(5):
            while len(self.sent) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return self.sent[number - 1]

    def _receive(self, data: bytes) -> None:
        self.sent.append(data)
        self._arrived.set()


@pytest.fixture
async def far() -> Far:
    return Far()


@pytest.fixture
async def exchange(far: Far) -> Exchange:
    return Exchange(far.line, BAUD)


def telegram_of(address: int) -> Callable[[Frame], bool]:
    return lambda frame: frame.kind is Kind.LONG and frame.address == address


def is_ack(frame: Frame) -> bool:
    return frame.kind is Kind.ACK


async def test_answer_in_pieces_is_taken_with_its_last_byte(far: Far, exchange: Exchange) -> None:
    """No silence is awaited behind the frame."""
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
    assert await far.request(1) == req_ud2(5, True)
    for byte in TELEGRAM:
        far.line.deliver(bytes((byte,)))
    assert (await asking).raw == TELEGRAM


async def test_what_came_before_the_request_is_no_answer(far: Far, exchange: Exchange) -> None:
    """Bytes that lie in the line are thrown away, and whatever follows them is awaited first."""
    far.line.deliver(ACK)
    asking = asyncio.ensure_future(exchange.ask(snd_nke(5), is_ack))
    await asyncio.sleep(0)
    assert far.sent == []
    far.line.deliver(ACK)
    await far.request(1)
    with pytest.raises(Silence):
        await asking


async def test_after_a_repetition_surplus_answers_pass_first(far: Far, exchange: Exchange) -> None:
    """A line that is not trusted is asked only when it is silent."""
    exchange.distrust()
    asking = asyncio.ensure_future(exchange.ask(snd_nke(5), is_ack))
    await asyncio.sleep(0)
    far.line.deliver(TELEGRAM + ACK)
    await asyncio.sleep(0)
    assert far.sent == []
    await far.request(1)
    far.line.deliver(ACK)
    assert (await asking).raw == ACK


async def test_cancelled_in_the_middle_of_an_answer(far: Far, exchange: Exchange) -> None:
    """The rest of the answer passes before the next request, and does not become part of the next answer."""
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
    await far.request(1)
    far.line.deliver(TELEGRAM[:4])
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, False), telegram_of(5)))
    await asyncio.sleep(0)
    far.line.deliver(TELEGRAM[4:])
    await asyncio.sleep(0)
    assert len(far.sent) == 1
    await far.request(2)
    far.line.deliver(TELEGRAM)
    assert (await asking).raw == TELEGRAM


async def test_other_frames_are_passed_over(far: Far, exchange: Exchange) -> None:
    """A telegram of another meter does not end the wait for the right one."""
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
    await far.request(1)
    far.line.deliver(OTHER + TELEGRAM)
    assert (await asking).raw == TELEGRAM


@pytest.mark.parametrize("pieces", ["whole", "bytes", "with the answer"])
async def test_echo_is_no_disturbance(far: Far, exchange: Exchange, pieces: str) -> None:
    """A converter may send every request back, in whatever pieces; short and long requests alike."""
    selection = select(SecondaryAddress("12345678"))
    for number, request in enumerate((snd_nke(5), selection), 1):
        asking = asyncio.ensure_future(exchange.ask(request, is_ack))
        stream = await far.request(number) + ACK
        cuts = {"whole": [stream[:-1], ACK], "bytes": [bytes((byte,)) for byte in stream]}
        for piece in cuts.get(pieces, [stream]):
            far.line.deliver(piece)
            await asyncio.sleep(0)
        assert (await asking).raw == ACK
        assert exchange.heard.echo
        assert exchange.heard.received == ACK
    assert exchange.echoes


async def test_echo_alone_is_silence(far: Far, exchange: Exchange) -> None:
    """A request that comes back is no sign of a meter, not even a short one."""
    asking = asyncio.ensure_future(exchange.ask(snd_nke(5), is_ack))
    far.line.deliver(await far.request(1))
    with pytest.raises(Silence):
        await asking
    assert exchange.heard.echo
    assert not exchange.heard.received


async def test_changed_echo_is_a_collision(far: Far, exchange: Exchange) -> None:
    """On a line that is known to echo, a request that comes back with other bits was talked over."""
    asking = asyncio.ensure_future(exchange.ask(snd_nke(5), is_ack))
    far.line.deliver(await far.request(1) + ACK)
    await asking
    asking = asyncio.ensure_future(exchange.ask(snd_nke(5), is_ack))
    damaged = bytearray(await far.request(2))
    damaged[2] &= 0xFE
    far.line.deliver(bytes(damaged) + ACK)
    with pytest.raises(Disturbance, match=r"echo .* changed") as caught:
        await asking
    assert caught.value.fault is Fault.COLLISION


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"\x00\x33\x80", Fault.NOISE),
        (b"\x33" + ACK, Fault.NOISE),
        (TELEGRAM[:-2] + b"\x00\x16", Fault.CHECKSUM),
        (TELEGRAM[:-2] + b"\x00\x16" + b"\x00", Fault.COLLISION),
        (TELEGRAM[:1] + b"\x02\x04" + TELEGRAM[3:], Fault.COLLISION),
        (TELEGRAM[:-1] + b"\x12", Fault.COLLISION),
        (b"\x60" + TELEGRAM[1:], Fault.COLLISION),
        (TELEGRAM[:6], Fault.CUT),
        (OTHER, Fault.UNEXPECTED),
        (req_ud2(7, True), Fault.UNEXPECTED),
    ],
)
async def test_what_is_no_answer_is_told_apart(
    far: Far, exchange: Exchange, raw: bytes, fault: Fault
) -> None:
    """Noise, wrong checksum, two at once, broken off, somebody else: each by its bytes, however they are cut."""
    for number, cut in enumerate((1, len(raw) - 1), 1):
        asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
        await far.request(number)
        far.line.deliver(raw[:cut])
        await asyncio.sleep(0)
        far.line.deliver(raw[cut:])
        with pytest.raises(Disturbance) as caught:
            await asking
        assert (caught.value.fault, caught.value.raw) == (fault, raw)


async def test_answer_to_the_request_before_is_late(far: Far, exchange: Exchange) -> None:
    """It is no answer to this one; where the right one follows, nothing is lost."""
    with pytest.raises(Silence):
        await exchange.ask(req_ud2(6, True), telegram_of(6))
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
    await far.request(2)
    far.line.deliver(OTHER)
    with pytest.raises(Disturbance, match="late answer") as caught:
        await asking
    assert caught.value.fault is Fault.LATE


async def test_silence_and_disturbance_are_told_apart(far: Far, exchange: Exchange) -> None:
    """A telegram that breaks off is a disturbance with its bytes, nothing at all is silence."""
    with pytest.raises(Silence):
        await exchange.ask(snd_nke(5), is_ack)
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
    await far.request(2)
    far.line.deliver(TELEGRAM[:-3])
    with pytest.raises(Disturbance, match="cut off") as caught:
        await asking
    assert caught.value.raw == TELEGRAM[:-3]


async def test_chattering_line_does_not_hold_an_exchange_for_ever(far: Far, exchange: Exchange) -> None:
    """An endless stream of bytes ends the exchange at the longest time that an answer can take."""
    asking = asyncio.ensure_future(exchange.ask(req_ud2(5, True), telegram_of(5)))
    await far.request(1)
    while not asking.done():
        far.line.deliver(b"\x00")
        await asyncio.sleep(0.001)
    with pytest.raises(Disturbance, match="00 is no start byte"):
        await asking

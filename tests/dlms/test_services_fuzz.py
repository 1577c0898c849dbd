"""Requests that were tampered with: `Services.handle` never raises, and what it answers is always an APDU."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence

import pytest
from dlms_actor import ECHO, PLAIN, SLOW_ECHO, Actor, act, act_list, attribute, block, method
from dlms_plant import ASSOCIATION, NAME, NOTE, PROFILE, VOLUME, Plant
from dlms_wire import get, set_
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cosem.base import Context, DataAccessError
from core.dlms import axdr
from core.dlms.axdr import decode_length
from core.dlms.limits import ServerLimits
from core.dlms.services import SERVED, Services
from core.dlms.xdlms import DataAccessResult

LIMITS = ServerLimits(wait=0.001, change=0.001, request=2000, answer=50_000)
TEXT = axdr.octet_string(b"some text")
BY_ENTRY = bytes.fromhex("0102020406000000010600000009120001120000")
REQUESTS = (
    get(3, VOLUME, 2),
    get(1, NAME, 2),
    get(7, PROFILE, 2),
    get(7, PROFILE, 2, BY_ENTRY),
    get(15, ASSOCIATION, 2),
    b"\xc0\x02\xc1\x00\x00\x00\x01",
    b"\xc0\x02\xc1\x00\x00\x00\x02",
    b"\xc0\x03\xc1\x02" + get(3, VOLUME, 2)[3:] + get(7, PROFILE, 2, BY_ENTRY)[3:],
    set_(1, NOTE, 2, TEXT),
    set_(70, method(1)[2:8], 2, TEXT),
    b"\xc1\x02\xc1" + attribute(2) + block(False, 1, TEXT[:5]),
    b"\xc1\x03\xc1" + block(True, 2, TEXT[5:]),
    b"\xc1\x04\xc1\x02" + attribute(2) + attribute(3) + b"\x02" + TEXT + TEXT,
    b"\xc1\x05\xc1\x02" + attribute(2) * 2 + block(False, 1, b"\x02"),
    b"\xc1\x03\xc1" + block(True, 2, TEXT + TEXT),
    act(PLAIN),
    act(ECHO, axdr.octet_string(bytes(300))),
    act(SLOW_ECHO, TEXT),
    b"\xc3\x02\xc1\x00\x00\x00\x01",
    act_list((ECHO, TEXT), (PLAIN, TEXT)),
    b"\xc3\x04\xc1" + method(ECHO) + block(False, 1, TEXT[:5]),
    b"\xc3\x06\xc1" + block(True, 2, TEXT[5:]),
    b"\xc3\x05\xc1\x02" + method(ECHO) * 2 + block(True, 1, b"\x02" + TEXT + TEXT),
)


async def settle(values: Sequence[Awaitable[bytes]]) -> list[bytes | DataAccessResult]:
    async def one(value: Awaitable[bytes]) -> bytes | DataAccessResult:
        try:
            return await value
        except DataAccessError as error:
            return error.code

    return [await one(value) for value in values]


def tampered(request: bytes, chance: random.Random) -> bytes:
    """A request with bytes changed, cut off, put in, or as it was."""
    data = bytearray(request)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        place = chance.randrange(len(data) + 1)
        change = chance.randrange(4)
        if change == 0:
            data[place:] = b""
        elif change == 1:
            data[place:place] = chance.randbytes(chance.randint(1, 3))
        elif data:
            data[place % len(data)] = chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(data)


def check_answer(answer: bytes, room: int) -> None:
    """Fail unless it is a whole APDU of a server, of at most `room` bytes."""
    assert len(answer) <= room
    tag, kind = answer[0], answer[1]
    if tag == 0xD8:
        assert len(answer) == 3
        return
    if (tag, kind) == (0xC4, 1):
        assert answer[3] in (0, 1)
        axdr.decode(answer[4:]) if answer[3] == 0 else DataAccessResult(answer[4])
    elif (tag, kind) == (0xC4, 2):
        check_block(answer, 9)
    elif (tag, kind) == (0xC4, 3):
        check_list(answer, data_of_get)
    elif (tag, kind) == (0xC5, 1):
        assert len(answer) == 4
    elif (tag, kind) in ((0xC5, 2), (0xC7, 4)):
        assert len(answer) == 7
    elif (tag, kind) == (0xC5, 3):
        assert len(answer) == 8
    elif (tag, kind) == (0xC5, 4):
        count, start = decode_length(answer, 3)
        assert len(answer) == start + count + 4
    elif (tag, kind) == (0xC5, 5):
        count, start = decode_length(answer, 3)
        assert len(answer) == start + count
    elif (tag, kind) == (0xC7, 1):
        assert outcome(answer, 3) == len(answer)
    elif (tag, kind) == (0xC7, 2):
        check_block(answer, 8)
    elif (tag, kind) == (0xC7, 3):
        check_list(answer, outcome)
    else:
        pytest.fail(f"no answer: {answer.hex()}")


def check_block(answer: bytes, start: int) -> None:
    if start == 9 and answer[8] == 1:
        assert len(answer) == 10
        return
    size, begin = decode_length(answer, start)
    assert len(answer) == begin + size


def check_list(answer: bytes, item) -> None:  # type: ignore[no-untyped-def]
    count, offset = decode_length(answer, 3)
    for _ in range(count):
        offset = item(answer, offset)
    assert offset == len(answer)


def data_of_get(answer: bytes, offset: int) -> int:
    """The offset behind a Get-Data-Result."""
    if answer[offset] == 1:
        DataAccessResult(answer[offset + 1])
        return offset + 2
    assert answer[offset] == 0
    return axdr.decode_from(answer, offset + 1)[1]


def outcome(answer: bytes, offset: int) -> int:
    """The offset behind an Action-Response-With-Optional-Data."""
    DataAccessResult(answer[offset])
    assert answer[offset + 1] in (0, 1)
    return data_of_get(answer, offset + 2) if answer[offset + 1] else offset + 2


async def ask_all(seed: int, room: int, conformance: int) -> None:
    chance = random.Random(seed)
    plant = Plant(rows=30)
    actor = Actor.in_plant(plant)
    plant.release_slow.set()
    actor.release.set()
    context = Context(1, 16, "test", plant.directory)
    context.conformance = conformance
    services = Services(context, LIMITS, settle)
    for _ in range(30):
        answer = services.handle(tampered(chance.choice(REQUESTS), chance), room)
        check_answer(answer if isinstance(answer, bytes) else await answer, room)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    room=st.one_of(st.integers(32, 300), st.sampled_from((1024, 65535, 1 << 20))),
    conformance=st.one_of(st.just(int(SERVED)), st.integers(0, 0xFFFFFF)),
)
def test_whatever_is_asked_is_answered_in_the_room_there_is(seed: int, room: int, conformance: int) -> None:
    """Requests of every kind in any order, with and without errors in them, whatever was negotiated."""
    asyncio.run(ask_all(seed, room, conformance))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request[:2].hex())
async def test_a_request_that_is_cut_short_or_too_long_is_malformed(request_: bytes) -> None:
    """At every length; nothing of it is done."""
    plant = Plant(rows=30)
    actor = Actor.in_plant(plant)
    context = Context(1, 16, "test", plant.directory)
    context.conformance = SERVED
    services = Services(context, LIMITS, settle)
    for size in range(1, len(request_)):
        assert services.handle(request_[:size], 1024) == bytes.fromhex("d80203")
    assert services.handle(request_ + b"\x00", 1024) == bytes.fromhex("d80203")
    assert services.handle(b"", 1024) == bytes.fromhex("d80202")
    assert actor.done == []
    assert plant.note == axdr.octet_string(b"as delivered")

"""The receiver over real sockets: what it takes, what it refuses, and how it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from push_samples import GATEWAY, KEYS, LIMIT, METER, NOON, SAMPLES, TITLE, apdu, ciphered, framed, push

from core.dlms.admission import Keys
from core.errors import CmeError
from core.push import notification, receiver
from core.push.behaviour import BehaviourError, Kind, at_random, in_turn, parse
from core.push.received import Opener, Received
from core.push.receiver import Receiver


class Inbox(list[Received]):
    """What a receiver took."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def take(self, received: Received) -> None:
        self.append(received)
        self._news.set()

    async def holds(self, count: int) -> None:
        """Until so many have come."""
        async with asyncio.timeout(LIMIT):
            while len(self) < count:
                self._news.clear()
                await self._news.wait()

    @property
    def types(self) -> list[str]:
        return [each.content.type if each.content else "" for each in self]

    @property
    def problems(self) -> list[str]:
        return [each.problem for each in self if each.problem]


@dataclass
class Running:
    receiver: Receiver
    inbox: Inbox

    async def send(self, data: bytes, *, end: bool = True) -> str:
        """What became of the connection."""
        return await asyncio.to_thread(push, self.receiver.port, data, end=end)


@contextlib.asynccontextmanager
async def running(misbehave: str = "", keys: Keys | None = KEYS) -> AsyncIterator[Running]:
    inbox = Inbox()
    behaviours = parse(misbehave) if misbehave else ()
    server = Receiver(inbox.take, keys=keys, behaviours=behaviours)
    await server.start()
    try:
        yield Running(server, inbox)
    finally:
        await server.stop()


PROFILE = framed(apdu("load_profile_1"))
LOG = framed(apdu("standard_event_log"), server=1)


async def test_a_notification_is_taken_and_the_connection_closed_in_order() -> None:
    """With who sent it, its id and its content."""
    async with running() as there:
        assert await there.send(PROFILE) == "closed"
    (received,) = there.inbox
    assert received.content is not None
    assert (received.content.gateway, received.content.meter) == (GATEWAY.decode(), METER.decode())
    assert (received.server_sap, received.client_sap, received.report_id) == (16, 1, 17)
    assert received.source.startswith("127.0.0.1:")
    assert received.apdu == received.plain == apdu("load_profile_1")
    assert not received.ciphered
    assert not received.problem


async def test_several_notifications_come_over_one_connection() -> None:
    """Each in its own wrapper, in their order, in whatever pieces; two connections at once."""
    async with running() as there:
        _, writer = await asyncio.open_connection("127.0.0.1", there.receiver.port)
        writer.write(PROFILE[:5])
        await writer.drain()
        assert await there.send(LOG + PROFILE) == "closed"
        writer.write(PROFILE[5:] + LOG)
        writer.write_eof()
        await writer.drain()
        await there.inbox.holds(4)
        writer.close()
    assert there.inbox.types == [
        "standard_event_log",
        "load_profile_1",
        "load_profile_1",
        "standard_event_log",
    ]


@pytest.mark.parametrize("name", SAMPLES)
async def test_ciphered_ones_are_opened(name: str) -> None:
    """With the keys; the title and the counter are told."""
    async with running() as there:
        assert await there.send(framed(apdu(name, counter=9))) == "closed"
    (received,) = there.inbox
    assert received.content is not None
    assert received.content.type == name.removesuffix(" of a meter")
    assert (received.ciphered, received.title, received.counter) == (True, TITLE, 9)
    assert received.plain == apdu(name)


async def test_without_keys_only_the_header_is_read() -> None:
    """Whose keys are needed is said."""
    async with running(keys=None) as there:
        await there.send(framed(apdu("load_profile_1", counter=9)))
    (received,) = there.inbox
    assert (received.content, received.title, received.counter) == (None, TITLE, 9)
    assert "454C560000F42400" in received.problem


def test_what_is_not_genuine_is_not_believed() -> None:
    """Tag, keys, security control and counter, each with its reason; a forged counter does not count."""
    plain = notification.encode(1, NOON, SAMPLES["on_installation"].body)
    opener = Opener(KEYS)

    def problem(message: bytes) -> str:
        return opener.open(Received(0, "", 1, 1, message)).problem

    forged = bytearray(ciphered(plain, 1000))
    forged[-1] ^= 1
    assert "tag does not verify" in problem(bytes(forged))
    assert "tag does not verify" in problem(ciphered(plain, 1000, Keys(bytes(16), bytes(16))))
    assert "security control is 10" in problem(ciphered(plain, 1000, control=0x10))
    assert "system title of 8 bytes" in problem(b"\xdb\x00\x05")
    assert problem(ciphered(plain, 5)) == ""
    assert "is 5; it must be above 5" in problem(ciphered(plain, 5))
    assert "is 4; it must be above 5" in problem(ciphered(plain, 4))
    assert problem(ciphered(plain, 6)) == ""
    assert "begins with 0f" in problem(b"\xc0\x01")
    other_title = ciphered(plain, 1).replace(TITLE, b"ELV\x00\x00\x00\x00\x01", 1)
    assert "tag does not verify" in problem(other_title)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\xdb\x08" + TITLE + rest))
def test_no_apdu_at_all_raises_anything(message: bytes) -> None:
    """There is content, or a problem."""
    opened = Opener(KEYS).open(Received(0, "", 1, 1, message))
    assert (opened.content is None) == bool(opened.problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "wrapper version is 18245"),
        (bytes.fromhex("0001001000010000"), "0 bytes is announced"),
        (PROFILE[:-1], "in the middle of a notification"),
    ],
)
async def test_what_is_no_notification_is_shown_and_the_connection_reset(data: bytes, problem: str) -> None:
    """With the reason, so that a technician sees who talks to the port."""
    async with running() as there:
        assert await there.send(data) == "reset"
        assert await there.send(PROFILE) == "closed"
    assert len(there.inbox) == 2
    assert problem in there.inbox[0].problem


async def test_an_unknown_body_is_shown_raw_and_taken() -> None:
    """To send it again would not help."""
    message = notification.encode(3, b"", b"\x11\x07")
    async with running() as there:
        assert await there.send(framed(message)) == "closed"
    (received,) = there.inbox
    assert (received.report_id, received.apdu, received.problem) == (3, message, "The body is no structure.")


async def test_drop_resets_at_once() -> None:
    """Nothing is taken; the next connection is served."""
    async with running("drop") as there:
        assert await there.send(PROFILE) == "reset"
        assert await there.send(LOG) == "closed"
    assert there.inbox.types == ["standard_event_log"]


async def test_half_resets_after_so_many_bytes() -> None:
    """The first of two was whole and is taken; in a header nothing is."""
    async with running(f"half:{len(LOG) + 20},half:5,half:{len(LOG)}") as there:
        assert await there.send(LOG + PROFILE) == "reset"
        assert await there.send(LOG) == "reset"
        assert await there.send(LOG) == "reset"
    assert there.inbox.types == ["standard_event_log"] * 2
    assert not there.inbox.problems


async def test_delay_takes_it_later() -> None:
    """And closes in order."""
    async with running("delay:1") as there:
        before = time.monotonic()
        assert await there.send(PROFILE) == "closed"
        assert time.monotonic() - before > 0.9
    assert there.inbox.types == ["load_profile_1"]


async def test_refuse_does_not_listen_for_a_while_and_then_again_on_the_same_port() -> None:
    """A connection is reset, others are refused, and then all is well."""
    async with running("refuse:1") as there:
        outcomes = [await there.send(PROFILE)]
        async with asyncio.timeout(LIMIT):
            while outcomes[-1] != "closed":
                await asyncio.sleep(0.05)
                outcomes.append(await there.send(PROFILE))
    assert outcomes[0] == "reset"
    assert "refused" in outcomes
    assert there.inbox.types == ["load_profile_1"]


async def test_hang_takes_it_and_never_closes() -> None:
    """Until the receiver stops, which resets it."""
    async with running("hang") as there:
        sending = asyncio.create_task(there.send(PROFILE))
        await there.inbox.holds(1)
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        await there.receiver.stop()
        assert await sending == "reset"


async def test_lose_takes_it_and_says_nothing() -> None:
    """The sender sends it again, and it arrives twice with the same id."""
    async with running("lose") as there:
        assert await there.send(PROFILE) == "reset"
        assert await there.send(PROFILE) == "closed"
    assert [each.report_id for each in there.inbox] == [17, 17]


async def test_die_hands_nothing_over() -> None:
    """The process would end there."""

    class DiedError(Exception):
        pass

    def die() -> NoReturn:
        raise DiedError

    inbox = Inbox()
    server = Receiver(inbox.take, behaviours=parse("die"), die=die)
    await server.start()
    assert await Running(server, inbox).send(PROFILE) == "reset"
    await server.stop()
    assert inbox == []


async def test_what_cannot_be_kept_is_not_acknowledged() -> None:
    """Where the notification finds no place, the connection is reset, and the sender tries again."""
    kept = Inbox()

    def take(received: Received) -> None:
        if not kept:
            kept.append(received)
            raise OSError(errno.ENOSPC, "No space left on device")
        kept.append(received)

    server = Receiver(take)
    await server.start()
    there = Running(server, kept)
    assert await there.send(PROFILE) == "reset"
    assert await there.send(PROFILE) == "closed"
    await server.stop()


async def test_a_sender_that_never_ends_is_not_acknowledged() -> None:
    """What came is handed over, but the connection is not closed in order before the sender has closed its side."""
    async with running() as there:
        sending = asyncio.create_task(there.send(PROFILE, end=False))
        await there.inbox.holds(1)
        assert not sending.done()
        await there.receiver.stop()
        assert await sending == "reset"


async def test_a_silent_connection_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time without a byte, however much has come."""
    monkeypatch.setattr(receiver, "SILENCE_S", 0.2)
    async with running() as there:
        assert await there.send(PROFILE[:9], end=False) == "reset"


async def test_there_is_a_limit_to_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is reset; when another one has ended there is room again."""
    monkeypatch.setattr(receiver, "MOST_CONNECTIONS", 1)
    async with running() as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.receiver.port)
        writer.write(PROFILE)
        await there.inbox.holds(1)
        assert await there.send(LOG) == "reset"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        async with asyncio.timeout(LIMIT):
            while await there.send(LOG) != "closed":
                pass
    assert there.inbox.types == ["load_profile_1", "standard_event_log"]


async def test_a_port_that_is_taken_is_said() -> None:
    """With the port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            CmeError, match=rf"127\.0\.0\.1:{port}: Address already in use; choose another port"
        ):
            await Receiver(lambda received: None).start("127.0.0.1", port)
    with pytest.raises(CmeError, match="is no address"):
        await Receiver(lambda received: None).start("no.such.host.invalid", 0)


def test_behaviours_are_read() -> None:
    """Kinds with seconds or bytes, and how often."""
    assert parse("drop, half:100*2,take") == [
        (Kind.DROP, 0),
        (Kind.HALF, 100),
        (Kind.HALF, 100),
        (Kind.TAKE, 0),
    ]


@pytest.mark.parametrize("text", ["", "sleep", "drop,", "drop:1", "half", "delay:-1", "half:1:2", "take*"])
def test_what_is_no_behaviour_is_refused_with_what_there_is(text: str) -> None:
    """The kinds, or how this one is written."""
    with pytest.raises(BehaviourError, match=r"known are take, drop, delay:SECONDS|must be written"):
        parse(text)


def test_behaviours_come_in_turn_or_at_random_as_the_seed_says() -> None:
    """The same seed gives the same ones, with each as often as it stands in the list."""
    behaviours = parse("drop,take*3")
    turn = in_turn(behaviours)
    assert [next(turn).kind for _ in range(5)] == ["drop", "take", "take", "take", "drop"]
    drawn = []
    for seed in (7, 7, 8):
        source = at_random(behaviours, seed)
        drawn.append([next(source).kind for _ in range(400)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert 60 < drawn[0].count(Kind.DROP) < 140

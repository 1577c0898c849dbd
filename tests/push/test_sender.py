"""Whatever a head-end does, each notification reaches it, in order, and no nonce is used twice."""

from __future__ import annotations

import asyncio
import random
import socket
import sqlite3
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from push_plant import (
    START,
    TITLE,
    FakeClock,
    Head,
    PlainCredentials,
    closed_port,
    put,
    until,
    until_sent,
)

from core.cosem import datetime as cosem_time
from core.dlms.admission import Policy
from core.dlms.axdr import octet_string
from core.push import delivery, notification
from core.push.behaviour import parse
from core.push.courier import MOST, RETENTION_MS, Destination
from core.push.delivery import Delivered, Limits, deliver
from core.push.sender import DestinationState, Sender
from core.store import Store
from core.store.outbox import NewNotification, NotificationState, Outgoing

ZONE = ZoneInfo("Europe/Stockholm")
LIMITS = Limits(connect_s=10, write_s=10, close_s=0.3, reset_s=0.1)
PATIENT = Limits(connect_s=30, write_s=30, close_s=30, reset_s=0.1)
REPORT = "load_profile_1"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "gateway.db")
    yield opened
    await opened.close()


class Plant:
    """A sender whose waits take no time, and what is known of it."""

    def __init__(self, store: Store, policy: Policy = Policy.AUTHENTICATED_ENCRYPTED) -> None:
        self.store = store
        self.clock = FakeClock()
        self.credentials = PlainCredentials(policy)
        self.routes: dict[str, Destination] = {}
        self.told: list[DestinationState] = []
        self.waits: list[float] = []
        self.held: Callable[[float], bool] = lambda seconds: False
        """Which waits go on until they are cut short."""
        self.limits = PATIENT
        self.sender = self.new_sender()

    def new_sender(self) -> Sender:
        self.sender = Sender(
            self.store,
            self.credentials,
            self.routes.get,
            lambda: ZONE,
            self.clock,
            limits=self.limits,
            follow=self.told.append,
            chance=random.Random(1),
            pause=self._pause,
        )
        return self.sender

    def route(self, head: Head, report: str = REPORT, **more: object) -> None:
        self.routes[report] = Destination(head.receiver.host, head.receiver.port, **more)  # type: ignore[arg-type]

    async def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self.held(seconds):
            await asyncio.Event().wait()
        self.clock.ms += round(seconds * 1000)
        await asyncio.sleep(0)

    async def state(self) -> DestinationState:
        (found,) = await self.sender.states()
        return found


@pytest.fixture
async def plant(store: Store) -> AsyncIterator[Plant]:
    made = Plant(store)
    yield made
    await made.sender.close()


@pytest.mark.parametrize("policy", list(Policy))
async def test_a_notification_arrives_as_it_was_put_in(store: Store, policy: Policy) -> None:
    """Plain or ciphered as the policy says at that moment, with its id, its SAPs and the time at which it was made."""
    plant = Plant(store, policy)
    async with Head() as head:
        plant.route(head, client_sap=5)
        plant.clock.ms += 10_000_000
        (number,) = await put(store, [7])
        plant.sender.start()
        await until_sent(store)
        await plant.sender.close()
        (found,) = head.received
    assert (found.server_sap, found.client_sap, found.report_id) == (17, 5, number)
    assert found.ciphered == (policy is not Policy.NONE)
    assert found.title == (TITLE if found.ciphered else b"")
    opened = notification.decode(found.plain)
    assert opened.body.content == 7
    assert opened.date_time == cosem_time.encode(START, ZONE)
    row = await store.outbox.notification(number)
    assert row is not None
    assert (row.state, row.tries, row.reason) == (NotificationState.DELIVERED, 1, "")
    assert row.delivered_ms == START + 10_000_000
    assert row.wire_size == len(found.apdu) + 8


@pytest.mark.parametrize(
    "behaviours",
    [
        "drop*3",
        "half:1,half:60,half:61,half:300",
        "refuse:0,take,refuse:0",
        "lose*3",
        "hang",
        "die*2",
        "delay:0",
        "take,lose,drop,half:100,die,take,lose,refuse:0,half:70",
    ],
)
async def test_everything_arrives_at_a_receiver_that_fails(plant: Plant, behaviours: str) -> None:
    """In order, under one id each, again only where the answer was lost, and never with a nonce used before."""
    if "hang" in behaviours:
        plant.limits = LIMITS
        plant.new_sender()
    async with Head(parse(behaviours)) as head:
        plant.route(head)
        ids = await put(plant.store, range(40))
        plant.sender.start()
        await until_sent(plant.store)
        assert head.bodies() == list(range(40))
        assert list(dict.fromkeys(number for number, _ in head.arrivals)) == ids
        head.assert_repeats_only_after_a_lost_answer()
        head.assert_no_nonce_comes_twice()
        assert {behaviour.kind for behaviour in head.connections} >= {b.kind for b in parse(behaviours)}
    failures = [row.tries - 1 for row in await plant.store.outbox.ledger(100)]
    assert (sum(failures) > 0) == ("delay" not in behaviours)


async def test_several_go_over_one_connection_and_after_a_failure_one(plant: Plant) -> None:
    """As many as are allowed; and where something is wrong, few are sent in vain."""
    async with Head(parse("lose,lose,take")) as head:
        plant.route(head)
        await put(plant.store, range(MOST * 2))
        plant.sender.start()
        await until_sent(plant.store)
        sizes = [
            len([number for number, connection in head.arrivals if connection == place])
            for place in range(len(head.connections))
        ]
    assert sizes == [MOST, 1, 1, MOST, MOST - 1]


async def test_delays_grow_to_an_hour_and_are_never_the_same(plant: Plant) -> None:
    """And the ledger and the state say when the next try is."""
    port = closed_port()
    plant.routes[REPORT] = Destination("127.0.0.1", port)
    plant.held = lambda seconds: len(plant.waits) > 10
    (number,) = await put(plant.store, [1])
    plant.sender.start()

    async def settled() -> bool:
        return len(plant.waits) > 10

    await until(settled)
    delays = plant.waits[1:]  # the first is the random start, of 0 s here
    assert plant.waits[0] == 0
    for place, delay in enumerate(delays):
        nominal = min(60 * 2**place, 3600)
        assert nominal * 0.75 <= delay <= nominal * 1.25
    assert len(set(delays)) == len(delays)
    row, state = await plant.store.outbox.notification(number), await plant.state()
    assert row is not None
    assert row.tries == state.failures == 10
    assert row.next_try_ms == state.next_try_ms == plant.clock.ms + round(delays[-1] * 1000)
    assert state.since_ms == START
    assert row.reason == state.reason
    assert row.reason == (
        f"127.0.0.1:{port} refuses connections: check the port, and that the head-end is running."
    )
    assert (state.address, state.reports, state.waiting) == (("127.0.0.1", port), (REPORT,), 1)


async def test_those_who_follow_learn_that_a_destination_fails_and_that_it_is_back(plant: Plant) -> None:
    """Once each, and not for a single failure."""
    async with Head(parse("drop,take,drop,drop,drop,drop,take")) as head:
        plant.route(head)
        for n in range(2):
            await put(plant.store, [n])
            plant.sender.wake() if n else plant.sender.start()
            await until_sent(plant.store)

        async def told() -> bool:
            return len(plant.told) == 2

        await until(told)
    assert [(state.failing, state.failures, bool(state.reason)) for state in plant.told] == [
        (True, 3, True),
        (False, 0, False),
    ]


async def test_one_who_follows_and_fails_stops_nothing(plant: Plant) -> None:
    """A log that cannot be written, say, is no reason to end pushing."""

    def follow(state: DestinationState) -> None:
        plant.told.append(state)
        raise RuntimeError

    plant.sender = Sender(
        plant.store,
        plant.credentials,
        plant.routes.get,
        lambda: ZONE,
        plant.clock,
        follow=follow,
        pause=plant._pause,
    )
    async with Head(parse("drop*4")) as head:
        plant.route(head)
        await put(plant.store, range(3))
        plant.sender.start()
        await until_sent(plant.store)
        assert head.bodies() == [0, 1, 2]
    assert plant.told


async def test_others_have_their_turn_between_any_two_notifications(plant: Plant) -> None:
    """A large backlog is ciphered while polls are answered, not instead."""
    turns = 0
    at: list[int] = []
    policy = plant.credentials.policy

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def noted() -> Policy:
        at.append(turns)
        return policy()

    plant.credentials.policy = noted  # type: ignore[method-assign]
    busy = asyncio.create_task(other())
    async with Head() as head:
        plant.route(head)
        await put(plant.store, range(MOST * 3))
        plant.sender.start()
        await until_sent(plant.store)
    busy.cancel()
    assert len(at) == MOST * 3
    assert len(set(at)) == len(at)


async def test_a_destination_that_fails_delays_no_other(plant: Plant) -> None:
    """Each has its own worker."""
    async with Head() as head:
        plant.route(head, "billing_profile")
        plant.routes[REPORT] = Destination("127.0.0.1", closed_port())
        plant.held = lambda seconds: seconds > 1
        for n in range(20):
            await put(plant.store, [n], REPORT if n % 2 else "billing_profile")
        plant.sender.start()

        async def sent() -> bool:
            return REPORT in (left := await plant.store.outbox.backlog()) and len(left) == 1

        await until(sent)
        assert head.bodies() == list(range(0, 20, 2))
        assert [state.waiting for state in await plant.sender.states()] in ([10, 0], [0, 10])


async def test_a_corrected_host_name_delivers_the_backlog_at_once(plant: Plant) -> None:
    """After the random start; a report without any destination waits in the same way, and says so."""
    plant.held = lambda seconds: seconds > 40
    ids = await put(plant.store, range(5))
    plant.sender.start()

    async def tried() -> bool:
        row = await plant.store.outbox.notification(ids[0])
        return row is not None and row.tries == 1

    await until(tried)
    assert (await plant.state()).address is None
    assert "There is no head-end for this report: set host" in (await plant.state()).reason
    async with Head() as head:
        plant.route(head, randomisation_s=30.0)
        plant.waits.clear()
        plant.sender.changed()
        await until_sent(plant.store)
        assert head.bodies() == list(range(5))
        assert len([seconds for seconds in plant.waits if 0.2 < seconds < 30]) == 1

        async def idle() -> bool:
            return [state.address for state in await plant.sender.states()] == [
                (head.receiver.host, head.receiver.port)
            ]

        await until(idle)


async def test_what_gets_another_destination_while_the_outbox_is_read_goes_there_only(plant: Plant) -> None:
    """The head-end of before hears of nothing that is no longer meant for it."""
    async with Head() as before, Head() as after:
        plant.route(before)
        ids = await put(plant.store, range(5))
        ask, asked = plant.store.outbox.waiting, count(1)

        async def waiting(*arguments: Any) -> list[Outgoing]:
            found = await ask(*arguments)
            if next(asked) == 2:  # the first time is before the random start
                plant.route(after)
            return found

        plant.store.outbox.waiting = waiting  # type: ignore[method-assign]
        plant.sender.start()

        async def turned() -> bool:
            return plant.routes[REPORT].port == after.receiver.port

        await until(turned)
        plant.sender.changed()
        await until_sent(plant.store)
        assert [number for number, _ in after.arrivals] == ids
        assert before.arrivals == []


async def test_a_destination_that_is_changed_while_it_is_called_gets_nothing(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But the new one does, once."""
    async with Head() as before, Head() as after:
        plant.route(before)
        connect = delivery._connect

        async def connected(*arguments: Any) -> socket.socket:
            link = await connect(*arguments)
            plant.route(after)
            return link

        monkeypatch.setattr(delivery, "_connect", connected)
        ids = await put(plant.store, range(5))
        plant.sender.start()
        await until_sent(plant.store)
        assert [number for number, _ in after.arrivals] == ids
        assert before.arrivals == []


@pytest.mark.parametrize("taken", [True, False])
async def test_what_is_on_the_wire_goes_nowhere_else_unless_it_fails(plant: Plant, taken: bool) -> None:
    """Where the destination is changed meanwhile: the new one gets it only where the old one did not take it."""
    plant.limits = PATIENT
    plant.new_sender()
    arrived, closes, looked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        arrived.set()
        await closes.wait()
        if taken:
            writer.close()
        else:
            reset(writer)

    server = await asyncio.start_server(slow, "127.0.0.1")
    ask = plant.store.outbox.waiting

    async def waiting(*arguments: Any) -> list[Outgoing]:
        found = await ask(*arguments)
        if arrived.is_set():
            looked.set()
        return found

    plant.store.outbox.waiting = waiting  # type: ignore[method-assign]
    plant.held = lambda seconds: seconds > 1
    async with server, Head() as after, asyncio.timeout(60):
        plant.routes[REPORT] = Destination(*server.sockets[0].getsockname())
        ids = await put(plant.store, range(5))
        plant.sender.start()
        await arrived.wait()
        plant.route(after)
        plant.sender.changed()
        await looked.wait()
        closes.set()
        await until_sent(plant.store)
        assert [number for number, _ in after.arrivals] == ([] if taken else ids)


async def test_a_person_who_waits_sees_it_tried_at_once(plant: Plant) -> None:
    """Neither the delay nor the random start is waited for; a test push has no random start at all."""
    plant.held = lambda seconds: seconds >= 2
    async with Head(parse("drop")) as head:
        plant.route(head, randomisation_s=1e9)
        (number,) = await put(plant.store, [1])
        plant.sender.start()

        async def waits() -> bool:
            return bool(plant.waits)

        await until(waits)
        assert not head.connections
        plant.sender.hurry()

        async def tried() -> bool:
            return len(plant.waits) == 2

        await until(tried)
        plant.sender.hurry()
        await until_sent(plant.store)
        row = await plant.store.outbox.notification(number)
        assert row is not None
        assert row.tries == 2
        await put(plant.store, [2], manual=True)
        plant.sender.wake()
        await until_sent(plant.store)


async def test_a_used_up_key_is_the_reason_that_people_read(plant: Plant) -> None:
    """Nothing goes out under it, plain or otherwise; with a new key the backlog follows."""
    plant.held = lambda seconds: seconds > 1
    plant.credentials.counters.used_up = True
    async with Head() as head:
        plant.route(head)
        (number,) = await put(plant.store, [1])
        plant.sender.start()

        async def tried() -> bool:
            row = await plant.store.outbox.notification(number)
            return row is not None and "used up" in row.reason

        await until(tried)
        assert head.received == []
        plant.credentials.counters.used_up = False
        plant.sender.changed()
        await until_sent(plant.store)
        assert head.bodies() == [1]


async def test_counters_are_not_used_up_by_a_head_end_that_is_down(plant: Plant) -> None:
    """Ciphering begins when somebody is there to take it."""
    plant.routes[REPORT] = Destination("127.0.0.1", closed_port())
    plant.held = lambda seconds: len(plant.waits) > 50
    await put(plant.store, range(20))
    plant.sender.start()

    async def tried() -> bool:
        return len(plant.waits) > 50

    await until(tried)
    assert plant.credentials.counters.next() == 1


async def test_a_sender_that_ends_in_the_middle_sends_again_under_the_same_id(plant: Plant) -> None:
    """The receiver sees a reset, so it knows; what was closed in order is not repeated."""
    async with Head(parse("take,hang")) as head:
        plant.route(head)
        ids = await put(plant.store, range(MOST + 4))
        plant.sender.start()

        async def hangs() -> bool:
            return len(head.arrivals) == MOST + 4

        await until(hangs)
        await plant.sender.close()
        assert (await plant.store.outbox.backlog())[REPORT].notifications == 4
        plant.new_sender().start()
        await until_sent(plant.store)
        assert head.twice() == set(ids[MOST:])
        head.assert_repeats_only_after_a_lost_answer()
        head.assert_no_nonce_comes_twice()


async def test_a_delivery_that_cannot_be_noted_is_not_repeated_meanwhile(plant: Plant) -> None:
    """A disk that refuses is asked again; the head-end does not hear of it."""
    async with Head() as head:
        plant.route(head)
        await put(plant.store, [1])
        other = sqlite3.connect(plant.store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def release(seconds: float) -> bool:
            if seconds == 5.0 and other.in_transaction:
                other.execute("ROLLBACK")
            return False

        plant.held = release
        plant.sender.start()
        await until_sent(plant.store)
        other.close()
        assert 5.0 in plant.waits
        assert len(head.arrivals) == 1


async def test_a_person_waits_for_no_random_start_where_nothing_has_gone_yet(plant: Plant) -> None:
    """The first report that is sent by hand to a new head-end goes at once."""
    plant.held = lambda seconds: seconds >= 2
    async with Head() as head:
        plant.route(head, randomisation_s=1e9)
        plant.sender.start()
        await put(plant.store, [1])
        plant.sender.hurry()
        await until_sent(plant.store)
        assert all(wait < 2 for wait in plant.waits)


@pytest.mark.parametrize("question", ["backlog", "waiting"])
async def test_who_hurries_while_the_outbox_is_read_waits_for_no_random_start(
    plant: Plant, question: str
) -> None:
    """Where what was put in came a moment too late to be seen."""
    plant.held = lambda seconds: seconds >= 2
    ask, late = getattr(plant.store.outbox, question), iter([1])

    async def asked(*arguments: Any) -> Any:
        found = await ask(*arguments)
        for number in late if not found else ():
            await put(plant.store, [number])
            plant.sender.hurry()
        return found

    setattr(plant.store.outbox, question, asked)
    async with Head() as head:
        plant.route(head, randomisation_s=1e9)
        if question == "waiting":
            await put(plant.store, [0], manual=True)
        plant.sender.start()

        async def arrived() -> bool:
            return 1 in head.bodies() or any(wait >= 2 for wait in plant.waits)

        await until(arrived)
        assert 1 in head.bodies()


async def test_what_nobody_takes_is_given_up_after_its_retention(plant: Plant) -> None:
    """But not because the clock jumps, or because the gateway was off: a day of tries comes first."""
    plant.routes[REPORT] = Destination("127.0.0.1", closed_port())
    plant.held = lambda seconds: len(plant.waits) > 20
    ids = await put(plant.store, range(5))
    plant.clock.ms += 2 * RETENTION_MS
    plant.sender.start()

    async def tried() -> bool:
        return len(plant.waits) > 20

    await until(tried)
    assert (await plant.store.outbox.backlog())[REPORT].notifications == 5
    plant.held = lambda seconds: False
    plant.sender.hurry()
    await until_sent(plant.store)
    rows = await plant.store.outbox.ledger(10)
    assert {(row.id, row.state) for row in rows} == {(number, NotificationState.EXPIRED) for number in ids}


# -- receivers that no program of this project is


SIZE = 0xF000

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def deliver_to(plant: Plant, serve: Server, how: Delivered, size: int = SIZE) -> str:
    """Deliver four notifications of so many bytes to a server; why they were not taken, "" if they were."""
    links: list[asyncio.StreamWriter] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(accepted, "127.0.0.1")
    plant.routes[REPORT] = Destination("127.0.0.1", server.sockets[0].getsockname()[1], delivered=how)
    plant.held = lambda seconds: seconds > 1
    body = octet_string(bytes(size))
    new = NewNotification(REPORT, 1, 16, bytes(6), 1, START, START, body)
    ids = await plant.store.outbox.enqueue([new] * 4, {}, 1 << 30, START)
    assert ids is not None
    plant.sender.start()

    async def tried() -> bool:
        row = await plant.store.outbox.notification(ids[0])
        return row is not None and row.tries == 1

    await until(tried)
    server.close()
    for link in links:
        link.transport.abort()
    row = await plant.store.outbox.notification(ids[0])
    assert row is not None
    assert (row.state is NotificationState.DELIVERED) == (row.reason == "")
    return row.reason


def reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _takes_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)
    writer.close()


async def _answers_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"thanks")
    await reader.read(-1)
    writer.close()


async def _closes_its_side_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await reader.read(-1)
    writer.close()


async def _takes_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(4 * SIZE)
    reset(writer)


async def _closes_in_the_middle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(100)
    writer.close()


async def _closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _never_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def _never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]


async def _answers_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)
    while True:
        writer.write(bytes(1000))
        await writer.drain()


@pytest.mark.parametrize(
    ("serve", "how"),
    [
        (_takes_and_closes, Delivered.CLOSED),
        (_answers_and_closes, Delivered.CLOSED),
        (_closes_its_side_first, Delivered.CLOSED),
        (_takes_and_closes, Delivered.WRITTEN),
        (_answers_and_closes, Delivered.WRITTEN),
        (_never_closes, Delivered.WRITTEN),
    ],
)
async def test_a_head_end_that_takes_everything_counts_as_such(
    plant: Plant, serve: Server, how: Delivered
) -> None:
    """By the end of the connection; or, for one that never closes, by its acknowledgements."""
    assert await deliver_to(plant, serve, how) == ""


@pytest.mark.parametrize(
    ("serve", "how", "reason"),
    [
        (_takes_and_resets, Delivered.CLOSED, "ended before everything was taken"),
        (_closes_in_the_middle, Delivered.CLOSED, "ended before everything was taken"),
        (_closes_at_once, Delivered.CLOSED, "ended before everything was taken"),
        (_never_closes, Delivered.CLOSED, 'set [push] delivered to "written"'),
        (_never_reads, Delivered.CLOSED, "did not"),
        (_answers_for_ever, Delivered.CLOSED, "answers without end"),
        (_closes_in_the_middle, Delivered.WRITTEN, "ended before everything was taken"),
        (_never_reads, Delivered.WRITTEN, "did not"),
    ],
)
async def test_a_head_end_that_may_not_have_taken_it_is_tried_again(
    plant: Plant, serve: Server, how: Delivered, reason: str
) -> None:
    """And the reason says what it did."""
    plant.limits = Limits(connect_s=30, write_s=3, close_s=3, reset_s=0.1)
    plant.new_sender()
    assert reason in await deliver_to(plant, serve, how)


@pytest.mark.parametrize("how", list(Delivered))
async def test_a_head_end_that_closes_before_it_read_anything_took_nothing(
    plant: Plant, how: Delivered
) -> None:
    """Also where all fits into the buffers of the system, so that every write succeeds."""
    reason = await deliver_to(plant, _closes_at_once, how, size=10)
    assert "ended before everything was taken" in reason


async def test_a_head_end_that_talks_without_pause_stops_nobody_else(plant: Plant) -> None:
    """While what it says is read, everybody has a turn after each piece."""
    said = 4 << 20
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            link, _ = server.accept()
            with link:
                link.recv(1)
                link.sendall(bytes(said))

        talking = threading.Thread(target=talk)
        talking.start()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def frames() -> list[bytes]:
            return [b"x"]

        beside = asyncio.create_task(others())
        limits = Limits(reset_s=60)
        await deliver(*server.getsockname(), frames, Delivered.WRITTEN, limits)
        beside.cancel()
        talking.join()
    assert turns >= said // 4096


async def test_every_address_of_a_name_is_tried(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server knows two here; on the first of them nobody listens."""
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def two(host: str, port: int, **more: int) -> list[object]:
        assert host == "head-end.example"
        return [*await look_up("127.0.0.2", port, **more), *await look_up("127.0.0.1", port, **more)]

    async with Head() as head:
        plant.routes[REPORT] = Destination("head-end.example", head.receiver.port)
        (number,) = await put(plant.store, [1])
        monkeypatch.setattr(loop, "getaddrinfo", two)
        plant.sender.start()
        await until_sent(plant.store)
        assert head.bodies() == [1]
    row = await plant.store.outbox.notification(number)
    assert row is not None
    assert row.tries == 1


async def test_a_name_that_nobody_knows_is_said(plant: Plant) -> None:
    """In a sentence with what to do."""
    plant.routes[REPORT] = Destination("head-end.invalid", 4059)
    plant.held = lambda seconds: seconds > 1
    (number,) = await put(plant.store, [1])
    plant.sender.start()

    async def tried() -> bool:
        row = await plant.store.outbox.notification(number)
        return row is not None and row.tries == 1

    await until(tried)
    assert '"head-end.invalid" is not found' in (await plant.state()).reason

"""The outbox keeps what is to be pushed until it was taken, and knows of every row what became of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.interval import Interval
from core.snapshot import MeterState
from core.store import Event, Log, Reading, Store, open_readonly
from core.store.outbox import (
    Backlog,
    NewNotification,
    NotificationState,
    ReportState,
    RowFate,
)
from core.store.outbox.records import KEPT_BODIES, LARGEST_BODY, LEDGER_MS, LEDGER_ROWS, NEWEST
from core.store.records import GATEWAY_EVENTS, METER_EVENTS, UNREPORTED

UTC = ZoneInfo("UTC")
START = 1_761_264_000_000  # 2025-10-24 00:00 UTC
QUARTER = 900_000
HOUR = 3_600_000
PLENTY = 1 << 30
PROFILE = "load_profile_1"
SETUP = bytes((0, 1, 25, 9, 0, 255))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "gateway.db")
    yield opened
    await opened.close()


def new(report: str = PROFILE, meter: int | None = 1, body: bytes = b"\x12\x00\x01") -> NewNotification:
    return NewNotification(report, meter, 16, SETUP, 1, START, START, body)


async def read(store: Store, meter: int, *times: int) -> list[int]:
    return await store.add_readings(
        [Reading(meter, "cellar", time_ms, MeterState.OK, (b"\x01",)) for time_ms in times]
    )


async def install(store: Store, count: int = 1) -> list[int]:
    return [await store.install_meter("cellar", str(number + 1), START) for number in range(count)]


async def cut(store: Store, interval: str) -> None:
    await store.set_profiles({1: Interval.parse(interval)}, UTC)


async def put(store: Store, notifications: Sequence[NewNotification], now_ms: int = START) -> list[int]:
    ids = await store.outbox.enqueue(notifications, {}, PLENTY, now_ms)
    assert ids is not None
    return ids


async def report_all(store: Store, meter: int, limit: int = NEWEST) -> list[int]:
    """Put what is unsent of profile 1 into the outbox, one notification; the readings that it holds."""
    after = (await store.outbox.unsent(PROFILE)).get(meter)
    if after is None:
        return []
    rows = await store.outbox.unsent_rows(1, meter, after, limit)
    times = [row.time_ms for row in rows]
    notification = NewNotification(PROFILE, meter, 16, SETUP, len(rows), min(times), max(times), b"\x00")
    cursors = {(PROFILE, meter): rows[-1].reading}
    assert await store.outbox.enqueue([notification], cursors, PLENTY, START)
    return [row.reading for row in rows]


async def test_what_was_put_in_comes_out_in_order_until_it_is_delivered(store: Store) -> None:
    """Of the reports that are asked for, by number and by size; and its body is the one that was put in."""
    outbox = store.outbox
    bodies = [bytes((number,)) * (number + 1) * 100 for number in range(6)]
    ids = await put(store, [new(("a", "b", "c")[n % 3], n, body) for n, body in enumerate(bodies)])
    assert ids == sorted(ids)
    assert [found.body for found in await outbox.waiting(["a", "b", "c"], 10, PLENTY)] == bodies
    assert [found.id for found in await outbox.waiting(["a", "c"], 3, PLENTY)] == [ids[0], ids[2], ids[3]]
    assert [found.id for found in await outbox.waiting(["a", "b", "c"], 10, 650)] == ids[:3]
    assert [found.id for found in await outbox.waiting(["c"], 10, 1)] == [ids[2]]
    await outbox.delivered({ids[0]: 120}, START + 5)
    assert [found.id for found in await outbox.waiting(["a"], 10, PLENTY)] == [ids[3]]
    row = await outbox.notification(ids[0])
    assert row is not None
    assert (row.state, row.delivered_ms, row.wire_size, row.size, row.tries) == (
        NotificationState.DELIVERED,
        START + 5,
        120,
        100,
        1,
    )
    assert await outbox.body(ids[0]) == bodies[0]


async def test_the_ledger_tells_of_each_notification_what_was_tried(store: Store) -> None:
    """By report, device and state; a try that came to nothing has its reason and the time of the next one."""
    outbox = store.outbox
    ids = await put(store, [new("a", None), new("a", 7), new("b", 7), new("b", None)])
    await outbox.failed(ids[:2], START + 1, "It refused the connection.", START + 60_000)
    await outbox.delivered({ids[2]: 10}, START + 2)
    assert await outbox.cancel([ids[3], ids[2]]) == 1

    async def found(
        report: str | None = None, meter: int | None = None, state: NotificationState | None = None
    ) -> list[int]:
        return [row.id for row in await outbox.ledger(10, report, meter, state)]

    assert await found() == ids[::-1]
    assert await found(report="a") == [ids[1], ids[0]]
    assert await found(meter=7) == [ids[2], ids[1]]
    assert await found(meter=0) == [ids[3], ids[0]]
    assert await found(state=NotificationState.WAITING) == [ids[1], ids[0]]
    assert await found("b", 7, NotificationState.DELIVERED) == [ids[2]]
    row = await outbox.notification(ids[0])
    assert row is not None
    assert (row.tries, row.last_try_ms, row.next_try_ms) == (1, START + 1, START + 60_000)
    assert row.reason == "It refused the connection."
    assert row.manual is False
    assert await outbox.retry() == 2
    assert [row.next_try_ms for row in await outbox.ledger(10, "a")] == [None, None]
    with open_readonly(store.path) as reader:
        assert [row.id for row in reader.outbox.ledger(10)] == ids[::-1]


async def test_a_full_outbox_takes_nothing_and_says_so(store: Store) -> None:
    """The cursor and the schedule stay too, so that the rows follow later; another report still has room."""
    outbox = store.outbox
    noise = [random.Random(n).randbytes(300) for n in range(3)]
    first = await outbox.enqueue([new("a", 1, noise[0])], {("a", 1): 5}, 1100, START)
    assert first is not None
    assert await outbox.enqueue([new("a", 1, noise[1])], {("a", 1): 9}, 1100, START) is not None
    held = (await outbox.backlog())["a"]
    assert 600 < held.stored <= 1100
    states = {"a": ReportState(START)}
    assert await outbox.enqueue([new("a", 1, noise[2])], {("a", 1): 12}, 1100, START, states) is None
    assert (await outbox.backlog())["a"] == held
    assert await outbox.states() == {}
    assert await outbox.enqueue([new("b", 1, noise[2])], {("b", 1): 12}, 1100, START) is not None
    await outbox.delivered({first[0]: 10}, START)
    assert await outbox.enqueue([new("a", 1, noise[2])], {("a", 1): 12}, 1100, START, states) is not None
    assert await outbox.states() == states


async def test_the_backlog_says_what_waits(store: Store) -> None:
    """Through every way out of the outbox."""
    outbox = store.outbox
    ids = await put(store, [new("a") for _ in range(4)], START)
    late = await put(store, [new("a"), new("b")], START + 1000)
    one = (await outbox.backlog())["b"].stored
    assert await outbox.backlog() == {"a": Backlog(5, 5 * one, START), "b": Backlog(1, one, START + 1000)}
    await outbox.delivered({ids[0]: 1, ids[1]: 1}, START)
    assert await outbox.cancel([ids[2]]) == 1
    assert await outbox.expire(START + 1, ["a", "b"]) == 1
    assert await outbox.backlog() == {
        "a": Backlog(1, one, START + 1000),
        "b": Backlog(1, one, START + 1000),
    }
    # A receiver's answer that comes after somebody gave up: delivered, and not counted down again.
    await outbox.delivered({ids[2]: 1}, START)
    assert (await outbox.backlog())["a"].notifications == 1
    await outbox.delivered(dict.fromkeys(late, 1), START)
    assert await outbox.backlog() == {}


async def test_a_notification_that_was_given_up_is_not_sent_and_gives_its_room_back(store: Store) -> None:
    """Its row stays in the ledger, its body goes."""
    outbox = store.outbox
    ids = await put(store, [new(), new(), new()])
    assert await outbox.cancel(ids[:1]) == 1
    assert await outbox.expire(START + 1, [PROFILE]) == 2
    await outbox.failed(ids, START, "too late", START)
    assert await outbox.waiting([PROFILE], 10, PLENTY) == []
    rows = await outbox.ledger(10)
    assert [row.state for row in rows] == [*[NotificationState.EXPIRED] * 2, NotificationState.CANCELLED]
    assert [await outbox.body(number) for number in ids] == [None] * 3
    assert {(row.has_body, row.reason) for row in rows} == {(False, "")}


async def test_the_ledger_stays_within_its_bounds(store: Store) -> None:
    """By number and by age; the newest that were delivered keep their bodies, and what waits always does."""
    outbox = store.outbox
    (waiting,) = await put(store, [new("never")])
    beyond = 150
    ids: list[int] = []
    for _ in range(0, LEDGER_ROWS + beyond, 5000):
        ids += await put(store, [new()] * 5000)
    ids = ids[: LEDGER_ROWS + beyond]
    await outbox.delivered(dict.fromkeys(ids, 1), START)
    rows = await outbox.ledger(LEDGER_ROWS * 2, state=NotificationState.DELIVERED)
    assert [row.id for row in rows] == ids[: -LEDGER_ROWS - 1 : -1]
    assert [row.id for row in rows if row.has_body] == ids[: -KEPT_BODIES - 1 : -1]
    assert await outbox.body(ids[-KEPT_BODIES]) is not None
    assert await outbox.body(ids[-KEPT_BODIES - 1]) is None
    assert await outbox.body(waiting) is not None
    (last,) = await put(store, [new()])
    await outbox.delivered({last: 1}, START + LEDGER_MS + 1)
    assert (
        len(await outbox.ledger(LEDGER_ROWS * 2, state=NotificationState.DELIVERED)) == LEDGER_ROWS + 1 - 100
    )
    assert await outbox.notification(waiting) is not None


@pytest.mark.parametrize("size", [0, LARGEST_BODY + 1])
async def test_a_body_that_could_never_be_sent_is_refused(store: Store, size: int) -> None:
    """With nothing changed; the largest that is taken fits into a wrapper."""
    with pytest.raises(ValueError, match=f"not {size}"):
        await store.outbox.enqueue([new(body=bytes(size))], {(PROFILE, 1): 1}, PLENTY, START)
    assert await store.outbox.backlog() == {}


async def test_ids_are_never_used_again(store: Store) -> None:
    """Not even when the last of them is gone from the ledger: a head-end tells retries from reports by them."""
    (first,) = await put(store, [new()])
    await store.outbox.delivered({first: 1}, START)
    await store.outbox.delivered(dict.fromkeys(await put(store, [new()]), 1), START + LEDGER_MS + 1)
    assert await store.outbox.notification(first) is None
    path = store.path
    await store.close()
    again = await Store.open(path)
    assert (await put(again, [new()])) == [first + 2]
    await again.close()


async def test_a_new_report_begins_with_the_newest_rows_and_then_sends_all(store: Store) -> None:
    """In the order in which they were read; a meter that is installed later is sent from its first row on."""
    await cut(store, "15 min")
    (old,) = await install(store)
    readings = await read(store, old, *(START + n * QUARTER for n in range(NEWEST + 20)))
    assert await store.outbox.unsent(PROFILE) == {}
    assert await store.outbox.begin_report(PROFILE, 1)
    assert await store.outbox.unsent(PROFILE) == {old: readings[19]}
    assert await report_all(store, old, 100) == readings[20:120]
    assert await report_all(store, old, 100) == readings[120:]
    assert await store.outbox.unsent(PROFILE) == {}
    later = await store.install_meter("cellar", "77", START)
    many = await read(store, later, *(START + n * QUARTER for n in range(NEWEST + 20)))
    assert await store.outbox.begin_report(PROFILE, 1)  # again at each start: it goes on
    assert await store.outbox.unsent(PROFILE) == {later: 0}
    assert await report_all(store, later, 1000) == many


async def test_a_report_that_was_switched_off_begins_anew(store: Store) -> None:
    """What happened meanwhile comes with it, as far as a new report reaches back."""
    await cut(store, "15 min")
    (meter,) = await install(store)
    await read(store, meter, START)
    assert await store.outbox.begin_report(PROFILE, 1)
    await report_all(store, meter)
    await store.outbox.save_states({PROFILE: ReportState(START)})
    await store.outbox.drop_report(PROFILE)
    assert await store.outbox.states() == {}
    assert await store.outbox.unsent(PROFILE) == {}
    readings = await read(store, meter, *(START + n * QUARTER for n in range(1, 4)))
    assert await store.outbox.begin_report(PROFILE, 1, newest=2)
    assert await report_all(store, meter) == readings[1:]


async def test_a_report_that_begins_again_sends_nothing_twice(store: Store) -> None:
    """Where it was is known for every device, also for one that was installed meanwhile; of that one all is told."""
    await cut(store, "15 min")
    (meter,) = await install(store)
    await read(store, meter, START)
    assert await store.outbox.begin_report(PROFILE, 1)
    await report_all(store, meter)
    await store.outbox.drop_report(PROFILE)
    new = await store.install_meter("cellar", "77", START)
    readings = await read(store, new, START)
    assert await store.outbox.begin_report(PROFILE, 1)
    assert await store.outbox.unsent(PROFILE) == {new: 0}
    assert await report_all(store, new) == readings


async def test_a_report_of_a_profile_that_was_never_cut_waits_for_it(store: Store) -> None:
    """Else it would take years of readings for news once the profile is there."""
    (meter,) = await install(store)
    await read(store, meter, *(START + n * QUARTER for n in range(10)))
    await store.outbox.save_states({PROFILE: ReportState(START)})
    assert not await store.outbox.begin_report(PROFILE, 1, newest=3)
    await cut(store, "15 min")
    assert await store.outbox.begin_report(PROFILE, 1, newest=3)
    assert len(await report_all(store, meter)) == 3
    assert await store.outbox.states() == {PROFILE: ReportState(START)}


async def test_no_row_is_sent_twice_after_the_profile_was_cut_anew(store: Store) -> None:
    """Coarser or finer: what follows is what was read since."""
    await cut(store, "30 min")
    (meter,) = await install(store)
    assert await store.outbox.begin_report(PROFILE, 1)
    before = await read(store, meter, *(START + n * QUARTER for n in range(9)))
    sent = await report_all(store, meter)
    assert sent == before[::2]
    await cut(store, "15 min")
    assert await report_all(store, meter) == []
    after = await read(store, meter, *(START + n * QUARTER for n in range(9, 17)))
    assert await report_all(store, meter, 3) == after[:3]
    await cut(store, "1 h")
    hours = [reading for n, reading in enumerate(after, 9) if n % 4 == 0 and reading > after[2]]
    assert await report_all(store, meter) == hours


async def test_rows_follow_the_order_of_reading_when_the_clock_was_set_back(store: Store) -> None:
    """A row whose time is earlier than one that was sent is news all the same."""
    await cut(store, "15 min")
    (meter,) = await install(store)
    assert await store.outbox.begin_report(PROFILE, 1)
    first = await read(store, meter, START + HOUR)
    assert await report_all(store, meter) == first
    second = await read(store, meter, START, START + QUARTER)
    assert await report_all(store, meter) == second


async def test_a_removed_meter_is_not_reported_and_goes_on_where_it_was(store: Store) -> None:
    """When it comes back, what was left is sent."""
    await cut(store, "15 min")
    (meter,) = await install(store)
    assert await store.outbox.begin_report(PROFILE, 1)
    readings = await read(store, meter, START, START + QUARTER)
    await report_all(store, meter, 1)
    await store.remove_meter(meter, START)
    assert await store.outbox.unsent(PROFILE) == {}
    assert await store.install_meter("cellar", "1", START) == meter
    assert await report_all(store, meter) == readings[1:]


async def test_one_question_tells_which_of_a_thousand_meters_have_news(store: Store) -> None:
    """Of the profile's rows and of the event logs, the gateway's own included."""
    await cut(store, "15 min")
    meters = await install(store, 1000)
    assert await store.outbox.begin_report(PROFILE, 1)
    assert await store.outbox.begin_report("standard_event_log", Log.STANDARD)
    ids = await store.add_events(
        [Event(meter, Log.STANDARD, START, 100, "") for meter in (*meters[::2], None)]
    )
    readings = await store.add_readings(
        [Reading(meter, "cellar", START, MeterState.OK, (b"\x01",)) for meter in meters]
    )
    cursors = {(PROFILE, meter): reading for meter, reading in zip(meters[5:], readings[5:], strict=True)}
    assert await store.outbox.enqueue([], cursors, PLENTY, START) == []
    assert await store.outbox.unsent(PROFILE) == dict.fromkeys(meters[:5], 0)
    assert await store.outbox.unsent("standard_event_log") == dict.fromkeys((*meters[::2], None), 0)
    found = await store.outbox.unsent_events(None, Log.STANDARD, 0, 10)
    assert [event.id for event in found] == ids[-1:]


async def test_events_wait_for_their_report_beyond_the_bound_of_their_log(store: Store) -> None:
    """Up to ten times the bound. What clients see of the log is as long as ever."""
    assert await store.outbox.begin_report("standard_event_log", Log.STANDARD)
    bound = GATEWAY_EVENTS
    happened = [Event(None, Log.STANDARD, START + n, 1, "") for n in range(bound + 500)]
    ids = await store.add_events(happened)
    assert await store.event_count(None, Log.STANDARD) == bound
    shown = await store.event_entries(None, Log.STANDARD, 1, 0, limit=5000)
    assert [event.id for event in shown] == ids[500:]
    shown = await store.event_rows(None, Log.STANDARD, START, START + 10**6, limit=5000)
    assert [event.id for event in shown] == ids[500:]
    kept = await store.outbox.unsent_events(None, Log.STANDARD, 0, 5000)
    assert [event.id for event in kept] == ids
    # Reported up to the 200th: those make room with the next event.
    assert await store.outbox.enqueue([], {("standard_event_log", None): ids[199]}, PLENTY, START) == []
    await store.add_events(happened[:1])
    kept = await store.outbox.unsent_events(None, Log.STANDARD, 0, 5000)
    assert [event.id for event in kept][:-1] == ids[200:]
    await store.add_events(happened * 7)
    kept = await store.outbox.unsent_events(None, Log.STANDARD, 0, 10**6)
    assert len(kept) == bound * UNREPORTED


async def test_events_that_nobody_reports_keep_to_the_bound_of_their_log(store: Store) -> None:
    """Before a report begins, of the log that it does not report, and after it was switched off."""
    (meter,) = await install(store)
    events = [Event(meter, Log.STANDARD, START, 1, "") for _ in range(METER_EVENTS + 50)]
    fraud = [Event(None, Log.FRAUD, START, 46, "") for _ in range(GATEWAY_EVENTS + 50)]

    async def kept(device: int | None, log: Log) -> int:
        return len(await store.outbox.unsent_events(device, log, 0, 10**6))

    await store.add_events([*events, *fraud])
    assert await kept(meter, Log.STANDARD) == METER_EVENTS
    assert await store.outbox.begin_report("standard_event_log", Log.STANDARD)
    assert await store.outbox.unsent("standard_event_log") != {}
    await store.add_events([*events, *fraud])
    assert await kept(None, Log.FRAUD) == GATEWAY_EVENTS
    # At its beginning the report took up the newest rows only: the others still make room.
    assert await kept(meter, Log.STANDARD) == len(events) + NEWEST
    await store.outbox.drop_report("standard_event_log")
    await store.add_events(events[:1])
    assert await kept(meter, Log.STANDARD) == METER_EVENTS


async def test_every_row_of_a_profile_is_known_for_what_became_of_it(store: Store) -> None:
    """Older than the report, delivered, waiting, given up, not sent yet; also when the ledger has forgotten it."""
    await cut(store, "15 min")
    (meter,) = await install(store)
    outbox = store.outbox

    async def fates() -> list[RowFate]:
        found = await outbox.completeness(1, PROFILE, meter, START, START + 24 * HOUR)
        assert [row.boundary_ms for row in found] == [START + n * QUARTER for n in range(len(found))]
        return [row.fate for row in found]

    await read(store, meter, *(START + n * QUARTER for n in range(4)))
    assert await outbox.begin_report(PROFILE, 1, newest=3)
    assert await fates() == [RowFate.UNSENT] * 4
    await report_all(store, meter, 1)
    await report_all(store, meter, 1)
    await report_all(store, meter, 1)
    await read(store, meter, *(START + n * QUARTER for n in range(4, 6)))
    ids = [row.id for row in await outbox.ledger(10)][::-1]
    await outbox.delivered({ids[0]: 1}, START)
    await outbox.cancel(ids[1:2])
    expected = [
        RowFate.UNSENT,
        RowFate.DELIVERED,
        RowFate.GIVEN_UP,
        RowFate.WAITING,
        RowFate.UNSENT,
        RowFate.UNSENT,
    ]
    assert await fates() == expected
    (other,) = await put(store, [new("other")])
    await outbox.delivered({other: 1}, START + LEDGER_MS + 1)
    assert await outbox.notification(ids[0]) is None
    assert await fates() == expected
    # Sent again by hand, what was given up is delivered after all.
    (again,) = await put(store, [new(meter=meter)._replace(first_ms=START, last_ms=START + 2 * QUARTER)])
    await outbox.delivered({again: 1}, START)
    assert await fates() == [*[RowFate.DELIVERED] * 3, *expected[3:]]
    assert await outbox.completeness(1, PROFILE, meter, START + 24 * HOUR, START + 25 * HOUR) == []

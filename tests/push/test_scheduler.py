"""Reports are made at their slots, once, with all that is unsent; whatever clock, settings and power do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dlms_plant import Directory
from push_plant import PlainCredentials, until
from report_plant import ADDRESS, TITLE, Plant, at, opened, times

from core.cosem.base import Context, DataAccessError
from core.errors import CmeError
from core.push.content import Content
from core.push.scheduler import GROUPING_MS
from core.push.service import Push
from core.store import StoreError

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LP1 = "load_profile_1"


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with opened(tmp_path) as made:
        await made.install(1)
        yield made


async def test_a_new_report_begins_with_its_next_slot_and_some_of_the_past(plant: Plant) -> None:
    """Not the moment it is switched on; then with the newest 180 rows."""
    start = plant.clock.ms
    for n in range(200):
        plant.clock.ms = start + n
        await plant.read(*plant.meters)
    plant.report(LP1, "every 15 min")
    assert await plant.turn(at("2025-10-24 10:08")) == []
    assert await plant.turn(at("2025-10-24 10:15") - 1) == []
    (found,) = await plant.turn(at("2025-10-24 10:15"))
    assert len(found.rows) == 180
    assert await plant.turn(at("2025-10-24 10:16")) == []
    assert plant.scheduler.last_run(LP1) == at("2025-10-24 10:15")
    assert plant.scheduler.next_run(plant.config.reports[0]) == at("2025-10-24 10:30")


async def test_after_a_downtime_what_was_missed_is_made_up_for_once(plant: Plant) -> None:
    """Three days without power are one run, with all rows; the next one is at the next slot."""
    plant.report(LP1, "daily 06:00")
    first = await plant.read_and_turn(at("2025-10-24 11:00"), at("2025-10-25 05:59"))
    assert first == []
    await plant.start()
    (found,) = await plant.read_and_turn(at("2025-10-28 14:00"))
    assert len(found.rows) == 3
    assert await plant.read_and_turn(at("2025-10-28 15:00"), at("2025-10-29 05:59")) == []
    (found,) = await plant.turn(at("2025-10-29 06:00"))
    assert times([found]) == [at("2025-10-28 15:00"), at("2025-10-29 05:59")]


@pytest.mark.parametrize("jump", [7 * MINUTE, 5 * HOUR, 3 * DAY, 800 * DAY], ids=["min", "h", "d", "years"])
@pytest.mark.parametrize("sign", [1, -1], ids=["forward", "back"])
async def test_a_clock_that_jumps_loses_and_doubles_nothing(plant: Plant, jump: int, sign: int) -> None:
    """There and back again: every row arrives once, in the order in which they were read."""
    plant.report(LP1, "every 1 h")
    base, there = at("2025-10-24 11:00"), at("2025-10-24 11:30") + sign * jump
    moments = [base, base + 20 * MINUTE, there, there + 50 * MINUTE, there + 70 * MINUTE, there + 3 * HOUR]
    moments += [base + 40 * MINUTE, base + 65 * MINUTE, base + 3 * HOUR, base + 5 * HOUR]
    found = await plant.read_and_turn(*moments)
    assert times(found) == moments
    assert max(len(each.rows) for each in found) <= 5
    state = plant.scheduler.last_run(LP1)
    assert state == base + 5 * HOUR


async def test_a_clock_that_is_set_back_makes_no_run_before_the_next_slot(plant: Plant) -> None:
    """That of the new time, not that of the old one."""
    plant.report(LP1, "every 1 h")
    assert await plant.read_and_turn(at("2025-10-24 11:10")) == []
    assert await plant.turn(at("2025-10-24 08:30")) == []
    assert times(await plant.turn(at("2025-10-24 09:00"))) == [at("2025-10-24 11:10")]


@pytest.mark.parametrize(
    ("schedule", "start", "slots"),
    [
        # 26 October: 02:00 to 03:00 comes twice; 29 March: it does not come
        ("daily 02:30", "2025-10-25 12:00", ["2025-10-26 02:30", "2025-10-27 02:30", "2025-10-28 02:30"]),
        ("daily 02:30", "2026-03-28 12:00", ["2026-03-29 03:00", "2026-03-30 02:30", "2026-03-31 02:30"]),
        ("every 6 h", "2026-03-28 23:00", ["2026-03-29 00:00", "2026-03-29 06:00", "2026-03-29 12:00"]),
        ("weekly sun 02:30", "2025-10-25 12:00", ["2025-10-26 02:30", "2025-11-02 02:30"]),
        (
            "monthly last 06:00",
            "2026-01-30 12:00",
            ["2026-01-31 06:00", "2026-02-28 06:00", "2026-03-31 06:00"],
        ),
        ("monthly 1 00:00", "2026-01-30 12:00", ["2026-02-01 00:00", "2026-03-01 00:00", "2026-04-01 00:00"]),
    ],
)
async def test_each_slot_of_the_local_clock_makes_one_run(
    plant: Plant, schedule: str, start: str, slots: list[str]
) -> None:
    """On days on which the clock jumps, and at the ends of months, looked at every half hour."""
    plant.report(LP1, schedule)
    await plant.turn(at(start))
    runs = []
    for moment in range(at(start), at(slots[-1]) + HOUR, 30 * MINUTE):
        if await plant.read_and_turn(moment):
            runs.append(moment)
    assert runs == [at(slot) for slot in slots]


async def test_an_hour_that_comes_twice_has_its_slots_twice(plant: Plant) -> None:
    """Of short schedules: nobody waits for two hours at the end of summer."""
    plant.report(LP1, "every 30 min")
    start = at("2025-10-26 01:00")
    await plant.turn(start)
    runs = [m for m in range(start + MINUTE, start + 4 * HOUR, MINUTE) if await plant.read_and_turn(m)]
    assert runs == [start + n * 30 * MINUTE for n in range(1, 8)]


async def test_a_schedule_that_changes_while_the_report_is_made_loses_and_doubles_nothing(
    plant: Plant,
) -> None:
    """The run that is under way ends as it began; the next one follows the new schedule."""
    await plant.install(60)
    plant.report(LP1, "daily 12:00")
    moment = at("2025-10-24 11:00")
    assert await plant.read_and_turn(moment) == []
    plant.clock.ms = at("2025-10-24 12:00")
    running = asyncio.create_task(plant.scheduler.turn())
    async with asyncio.timeout(30):
        while await plant.store.outbox.unsent(LP1) and not running.done():
            plant.report(LP1, "every 2 h + 30 min")
            await asyncio.sleep(0)
        await running
    assert times(await plant.taken()) == [moment] * 61
    assert await plant.read_and_turn(at("2025-10-24 12:31")) != []
    assert await plant.read_and_turn(at("2025-10-24 13:00"), at("2025-10-24 14:29")) == []
    assert len(await plant.read_and_turn(at("2025-10-24 14:30"))) == 61


async def test_reports_that_are_due_in_the_same_second_are_all_made(plant: Plant) -> None:
    """Each with its own rows and events."""
    for kind in (
        "load_profile_1",
        "load_profile_2",
        "billing_profile",
        "standard_event_log",
        "fraud_event_log",
    ):
        plant.report(kind, "daily 00:00")  # type: ignore[arg-type]
    await plant.turn(at("2025-10-24 11:00"))
    await plant.read(*plant.meters)
    await plant.event(47, "dlms.port")
    found = await plant.turn(at("2025-10-25 00:00"))
    assert sorted(each.type for each in found) == [
        "billing_profile",
        "load_profile_1",
        "load_profile_2",
        "standard_event_log",
    ]


async def test_a_report_that_was_switched_off_sends_what_came_meanwhile_and_nothing_twice(
    plant: Plant,
) -> None:
    """Also over a restart in between."""
    plant.report(LP1, "every 15 min")
    sent = await plant.read_and_turn(at("2025-10-24 10:10"), at("2025-10-24 10:15"))
    assert len(times(sent)) == 2
    reports, plant.config = plant.config, replace(plant.config, reports=())
    assert await plant.read_and_turn(at("2025-10-24 10:30"), at("2025-10-24 10:45")) == []
    await plant.start()
    plant.config = reports
    assert await plant.turn(at("2025-10-24 10:50")) == []
    assert times(await plant.turn(at("2025-10-24 11:00"))) == [at("2025-10-24 10:30"), at("2025-10-24 10:45")]


async def test_a_report_that_a_hes_asked_for_before_its_first_slot_ends_with_its_setting(
    plant: Plant,
) -> None:
    """Also where it never came to a slot."""
    plant.report(LP1, "every 15 min")
    assert await plant.scheduler.send_now(plant.config.reports[0])
    plant.config = replace(plant.config, reports=())
    await plant.turn()
    assert await plant.store.outbox.states() == {}


async def test_the_last_rows_are_sent_each_time_sent_before_or_not(plant: Plant) -> None:
    """Of every device, oldest first, at most 180 in a notification."""
    await plant.install(1)
    plant.report(LP1, "every 15 min", last_rows=3)
    moments = [at("2025-10-24 10:08") + n * MINUTE for n in range(5)]
    assert await plant.read_and_turn(*moments) == []
    found = await plant.turn(at("2025-10-24 10:15"))
    assert [times([each]) for each in found] == [moments[2:], moments[2:]]
    assert [times([each]) for each in await plant.turn(at("2025-10-24 10:30"))] == [moments[2:], moments[2:]]


@pytest.mark.parametrize("last_rows", [0, 2])
async def test_on_request_a_report_is_made_of_the_devices_that_were_named(
    plant: Plant, last_rows: int
) -> None:
    """The others wait for their slot."""
    (other,) = await plant.install(1)
    plant.report(LP1, "daily 12:00", last_rows=last_rows)
    assert await plant.read_and_turn(at("2025-10-24 10:08")) == []
    assert await plant.scheduler.send_now(plant.config.reports[0], (other.key,))
    assert [each.meter for each in await plant.taken()] == [other.logical_device_name]
    assert plant.filled == 1


async def test_the_method_push_says_temporary_failure_where_the_outbox_is_full(plant: Plant) -> None:
    """And other reason for a report that is off."""
    await plant.read(*plant.meters)
    push = Push(
        plant.store,
        PlainCredentials(),
        plant.clock,
        lambda: plant.meters,
        plant.rows,
        lambda: plant.facts,
        lambda: plant.config,
        lambda: None,
    )
    context = Context(1, 16, "192.0.2.7:51034", Directory({}))
    with pytest.raises(DataAccessError, match="other-reason"):
        await push.send_report(LP1, context)
    plant.report(LP1, "daily 12:00")
    plant.config = replace(plant.config, outbox_mb=0)
    with pytest.raises(DataAccessError, match="temporary-failure"):
        await push.send_report(LP1, context)
    plant.config = replace(plant.config, outbox_mb=1)
    await push.send_report(LP1, context)
    assert len(await plant.taken()) == 1
    await push.close()


async def test_last_rows_for_which_an_empty_outbox_has_no_room_are_a_problem_and_not_endless_work(
    plant: Plant,
) -> None:
    """The report is tried again at the next slot, and the others go on."""
    await plant.install(300)
    plant.report(LP1, "every 15 min", last_rows=1)
    plant.report("on_installation")
    await plant.read_and_turn(at("2025-10-24 10:08"))
    plant.config = replace(plant.config, outbox_mb=0)
    assert await plant.turn(at("2025-10-24 10:15")) == []
    assert "outbox_mb" in plant.reports.problems[LP1, None]
    assert plant.scheduler.last_run(LP1) == at("2025-10-24 10:15")
    plant.config = replace(plant.config, outbox_mb=1)
    assert await plant.turn(at("2025-10-24 10:16")) == []
    assert len(await plant.turn(at("2025-10-24 10:30"))) == 301
    assert plant.reports.problems == {}


async def test_what_finds_no_room_in_the_outbox_follows_when_there_is_some(plant: Plant) -> None:
    """A full outbox takes nothing and loses nothing, also over a restart; what is sent on request is refused."""
    await plant.install(20)
    plant.report(LP1, "every 15 min")
    plant.report("standard_event_log", "every 15 min")
    await plant.read_and_turn(at("2025-10-24 10:08"))
    await plant.event(2)
    plant.config = replace(plant.config, outbox_mb=0)
    assert await plant.turn(at("2025-10-24 10:15")) == []
    assert set(plant.scheduler.unfinished) == {LP1, "standard_event_log"}
    assert not await plant.scheduler.send_now(plant.config.reports[0])
    await plant.start()
    assert await plant.turn(at("2025-10-24 10:16")) == []
    plant.config = replace(plant.config, outbox_mb=1)
    found = await plant.turn(at("2025-10-24 10:17"))
    assert [len(times([each])) for each in found] == [1] * 22
    assert not plant.scheduler.unfinished


async def test_an_outbox_is_filled_to_the_brim_and_goes_on_when_it_is_emptied(plant: Plant) -> None:
    """Also where what is made at once is more than all of it holds: in order, nothing twice, bounded all the time."""
    await plant.install(99)
    plant.report(LP1, "daily 12:00")
    moments = [at("2025-10-24 10:08") + n * 1000 for n in range(5)]
    await plant.read_and_turn(*moments)
    plant.clock.ms = at("2025-10-24 12:00")
    found: list[Content] = []
    rounds = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plant.store.outbox, "enqueue", _limited(plant.store.outbox.enqueue, 1 << 13))
        while not found or plant.scheduler.unfinished:
            await plant.scheduler.turn()
            backlog = await plant.store.outbox.backlog()
            assert sum(each.stored for each in backlog.values()) <= 1 << 13
            taken = await plant.taken()
            assert taken
            found += taken
            rounds += 1
    assert rounds > 1
    assert len(found) == len({each.meter for each in found}) == 100
    assert all(times([each]) == moments for each in found)


def _limited(enqueue, limit):  # type: ignore[no-untyped-def]
    """The outbox with a limit that no configuration allows, so that few meters fill it."""

    def put(made, cursors, _, now_ms, states=None):  # type: ignore[no-untyped-def]
        return enqueue(made, cursors, limit, now_ms, states)

    return put


async def test_a_profile_that_was_never_cut_waits_for_that(plant: Plant) -> None:
    """Its report neither begins nor stops others, and who asks for it is told."""
    async with asyncio.timeout(30):
        plant.report("load_profile_2", "every 15 min")
        plant.report(LP1, "every 15 min")
        with pytest.MonkeyPatch.context() as patch:
            begin = plant.store.outbox.begin_report

            async def uncut(report, *rest):  # type: ignore[no-untyped-def]
                return False if report == "load_profile_2" else await begin(report, *rest)

            patch.setattr(plant.store.outbox, "begin_report", uncut)
            await plant.read_and_turn(at("2025-10-24 10:08"))
            assert [each.type for each in await plant.turn(at("2025-10-24 10:15"))] == [LP1]
            with pytest.raises(CmeError, match="being cut"):
                await plant.scheduler.send_now(plant.config.reports[0])
        assert await plant.turn(at("2025-10-24 10:16")) == []
        assert [each.type for each in await plant.turn(at("2025-10-24 10:30"))] == ["load_profile_2"]


async def _waits(plant: Plant) -> bool:
    return bool(await plant.store.outbox.backlog())


async def test_neither_a_disk_that_fails_nor_a_fault_in_a_report_ends_the_scheduler(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    """What was due is made when the cause is gone."""
    plant.report(LP1, "every 15 min")
    await plant.read_and_turn(at("2025-10-24 10:08"))
    plant.clock.ms = at("2025-10-24 10:15")
    failures = iter([StoreError("The disk is full."), ZeroDivisionError()])
    put, failed = plant.reports.put_unsent, asyncio.Event()

    async def failing(*arguments, **more):  # type: ignore[no-untyped-def]
        for failure in failures:
            raise failure
        failed.set()
        return await put(*arguments, **more)

    plant.reports.put_unsent = failing  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.push.scheduler._TURN_S", 0)
        running = asyncio.create_task(plant.scheduler.run())
        async with asyncio.timeout(30):
            await failed.wait()
            await until(lambda: _waits(plant))
        running.cancel()
    assert len(await plant.taken()) == 1
    assert "The disk is full." in caplog.text
    assert "unforeseen" in caplog.text


@pytest.mark.parametrize("error", [StoreError("A page of the database is damaged."), ZeroDivisionError()])
async def test_a_report_that_cannot_be_made_keeps_no_other_waiting(plant: Plant, error: Exception) -> None:
    """Those behind it are made in the same turn; it is made when it can be."""
    plant.report(LP1)
    plant.report("load_profile_2")
    assert await plant.read_and_turn(at("2025-10-24 10:08")) == []
    begin = plant.store.outbox.unsent

    async def failing(report: str) -> dict[int | None, int]:
        if report == LP1:
            raise error
        return await begin(report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plant.store.outbox, "unsent", failing)
        with pytest.raises(type(error)):
            await plant.turn(at("2025-10-24 10:15"))
        assert [each.type for each in await plant.taken()] == ["load_profile_2"]
    assert [each.type for each in await plant.turn()] == [LP1]


async def test_changes_of_the_meter_list_make_one_notification_after_three_minutes(plant: Plant) -> None:
    """Three minutes after the first of them; a later one makes its own; over a restart as well."""
    plant.report("on_installation")
    start = plant.clock.ms
    for after in (0, 60_000, GROUPING_MS - 1):
        plant.clock.ms = start + after
        await plant.scheduler.meters_changed()
        assert await plant.turn() == []
    await plant.start()
    assert plant.scheduler.next_run(plant.config.reports[0]) == start + GROUPING_MS
    (found,) = await plant.turn(start + GROUPING_MS)
    assert (found.type, found.system_title, found.setup) == ("on_installation", TITLE, "0.7.25.9.0.255")
    assert found.address == "192.168.1.2"
    assert ADDRESS == 3232235778
    assert await plant.turn(start + 2 * GROUPING_MS) == []
    await plant.scheduler.meters_changed()
    assert await plant.turn() == []
    assert len(await plant.turn(start + 3 * GROUPING_MS)) == 1
    await plant.start()
    assert await plant.turn(start + 9 * GROUPING_MS) == []


async def test_a_clock_that_is_set_back_does_not_put_the_notification_on_installation_off(
    plant: Plant,
) -> None:
    """It is sent at once then."""
    plant.report("on_installation")
    await plant.scheduler.meters_changed()
    assert len(await plant.turn(plant.clock.ms - DAY)) == 1


async def test_a_change_while_the_notification_on_installation_is_made_is_told_too(plant: Plant) -> None:
    """After the notification was put into the outbox, the change has one of its own."""
    plant.report("on_installation")
    await plant.scheduler.meters_changed()
    put = plant.reports.put_installation
    changes = []

    async def putting(*arguments):  # type: ignore[no-untyped-def]
        changes.append(asyncio.create_task(plant.scheduler.meters_changed()))
        await asyncio.sleep(0)
        return await put(*arguments)

    plant.reports.put_installation = putting  # type: ignore[method-assign]
    assert len(await plant.turn(plant.clock.ms + GROUPING_MS)) == 1
    await asyncio.gather(*changes)
    plant.reports.put_installation = put  # type: ignore[method-assign]
    assert await plant.turn() == []
    assert len(await plant.turn(plant.clock.ms + GROUPING_MS)) == 1


async def test_sent_on_request_the_notification_on_installation_does_not_come_again(plant: Plant) -> None:
    """The change that waited has been told."""
    plant.report("on_installation")
    await plant.scheduler.meters_changed()
    assert await plant.scheduler.send_now(plant.config.reports[0])
    assert len(await plant.taken()) == 1
    assert await plant.turn(plant.clock.ms + GROUPING_MS) == []


async def test_without_the_report_nobody_hears_of_changes_of_the_meter_list(plant: Plant) -> None:
    """Nor afterwards, when it is switched on."""
    await plant.scheduler.meters_changed()
    plant.report("on_installation")
    assert await plant.turn(plant.clock.ms + GROUPING_MS) == []

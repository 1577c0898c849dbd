"""The event logs: what is logged is kept, shown and passed on, in order, and nothing that happens stops the logging."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.cosem import datetime as cosem_time
from core.cosem.base import Context
from core.cosem.profile import ProfileGeneric
from core.dlms import axdr
from core.events import Event, EventCode, EventPage, Events, Log, event_name, log_of
from core.events.service import FAULT_PAUSE_MS, WAITING
from core.store import Origin, Store

BERLIN = ZoneInfo("Europe/Berlin")


class NoDevices:
    """A directory of no logical device."""

    def device(self, sap: int) -> None:
        return None

    def devices(self) -> tuple[()]:
        return ()


async def test_an_event_is_in_its_log_with_time_code_and_message(
    store: Store, events: Events, clock: Any
) -> None:
    """In the log of the gateway or of the meter, at the time given or now."""
    meter = await store.install_meter("cellar", "5", 1)
    events.log(EventCode.POWER_UP, "Version 0.1.0")
    events.log(EventCode.METER_LOST, "No answer", meter=meter, time_ms=5)
    events.log(EventCode.AUTHENTICATION_FAILURE, "192.0.2.7:51034: wrong password")
    await events.flush()
    assert await events.recent() == [
        Event(None, Log.STANDARD, clock.ms, 2, "Version 0.1.0", 1),
        Event(meter, Log.STANDARD, 5, 100, "No answer", 2),
        Event(None, Log.FRAUD, clock.ms, 46, "192.0.2.7:51034: wrong password", 3),
    ]
    assert events.last(None, Log.STANDARD) == Event(None, Log.STANDARD, clock.ms, 2, "Version 0.1.0", 1)
    assert events.last(meter, Log.FRAUD) is None


async def test_the_last_event_of_each_log_is_known_after_a_restart(store: Store, clock: Any) -> None:
    """A client that asks for the last code gets it before anything new happens."""
    before = await Events.open(store, clock)
    before.log(EventCode.POWER_UP)
    before.log(EventCode.REPLAY_ATTACK, "again")
    await before.close()
    events = await Events.open(store, clock)
    for log, code in ((Log.STANDARD, EventCode.POWER_UP), (Log.FRAUD, EventCode.REPLAY_ATTACK)):
        last = events.last(None, log)
        assert last is not None
        assert last.code == code
    await events.close()


@pytest.mark.parametrize(
    ("code", "meter", "log"),
    [(code, None, Log.FRAUD) for code in (40, 46, 48, 49, 50)]
    + [(code, None, Log.STANDARD) for code in (1, 6, 14, 18, 47, 51, 255)]
    + [(code, 1, Log.STANDARD) for code in (46, 50, 100, 4004)],
)
def test_only_security_is_in_the_fraud_log(code: int, meter: int | None, log: Log) -> None:
    """And what concerns a meter is in its standard log, whatever it is."""
    assert log_of(code, meter) is log


def test_every_event_has_a_name() -> None:
    """Also one of a status byte; an unknown number says so."""
    assert all(not event_name(code).startswith("Event ") for code in EventCode)
    assert event_name(4004) == "M-Bus status changed to 04h"
    assert event_name(4255) == "M-Bus status changed to FFh"
    assert event_name(4256) == "Event 4256"


async def test_a_message_is_one_printable_line_of_at_most_128_bytes(events: Events) -> None:
    """Cut between letters, so that what is left is still text."""
    events.log(2, "one\ntwo\x1b[31m \ud800 three")
    events.log(2, "ü" * 100)
    events.log(2, "x" * 128)
    await events.flush()
    messages = [event.message for event in await events.recent()]
    assert messages == ["one two [31m three", "ü" * 62 + "...", "x" * 128]
    assert len(messages[1].encode()) <= 128


async def test_who_asks_again_gets_what_is_new(store: Store, events: Events) -> None:
    """From any id on, the newest of it, of the devices and the log that are asked for; the store rests meanwhile."""
    kitchen, attic = [await store.install_meter("cellar", address, 1) for address in ("5", "6")]
    for code, meter in ((2, None), (100, kitchen), (46, None), (100, attic), (101, kitchen)):
        events.log(code, meter=meter)
    await events.flush()

    async def ids(after: int = 0, limit: int = 100, **origin: Any) -> list[int]:
        return [event.id for event in await events.recent(limit, after, Origin(**origin))]

    assert await ids() == [1, 2, 3, 4, 5]
    assert await ids(limit=2) == [4, 5]
    assert await ids(after=1, limit=2) == [4, 5]
    assert await ids(device="gateway") == [1, 3]
    assert await ids(device="gateway", log=Log.FRAUD) == [3]
    assert await ids(device="meters") == [2, 4, 5]
    assert await ids(device=kitchen) == [2, 5]
    assert await ids(after=2, device=kitchen) == [5]
    assert await ids(device=kitchen, log=Log.FRAUD) == []

    await store.remove_meter(attic, 2)
    page = await events.page(0, 3, Origin())
    assert [event.id for event in page.events] == [3, 4, 5]
    assert (page.newest, {key: one.address for key, one in page.removed.items()}) == (5, {attic: "6"})
    # The gateway's last one is older: the newest of all is what to go on after.
    assert (await events.page(0, 100, Origin("gateway"))).newest == 5

    plain = sqlite3.connect(store.path, isolation_level=None)
    plain.execute("ALTER TABLE event RENAME TO away")
    assert await events.page(5, 100, Origin()) == EventPage((), 5, {})
    plain.execute("ALTER TABLE away RENAME TO event")
    plain.close()
    events.log(2)
    await events.flush()
    assert await ids(after=5) == [6]


async def test_closing_writes_what_waits(store: Store, clock: Any) -> None:
    """Nothing that was logged before a clean stop is missing."""
    events = await Events.open(store, clock)
    for number in range(700):
        events.log(2, str(number))
    await events.close()
    await events.close()
    assert [event.message for event in await store.recent_events()] == [str(number) for number in range(700)]


async def test_a_caller_that_goes_away_takes_no_event_with_it(events: Events) -> None:
    """Cancelled while it waits for the disk."""
    for number in range(50):
        events.log(2, str(number))
        waiting = asyncio.create_task(events.flush())
        await asyncio.sleep(0)
        waiting.cancel()
    await events.flush()
    assert [event.message for event in await events.recent()] == [str(number) for number in range(50)]


async def test_the_profile_of_a_log_has_time_and_code(events: Events, store: Store, clock: Any) -> None:
    """As a client reads it: rows oldest first, entries, capacity, a choice by entry, all of the log alone."""
    meter = await store.install_meter("cellar", "5", 1)
    event_id = bytes((0, 0, 96, 11, 0, 255))
    for number, code in enumerate((2, 47, 4004)):
        events.log(code, time_ms=clock.ms + number * 60_000)
    events.log(100, meter=meter)
    await events.flush()
    source = events.rows(None, Log.STANDARD, event_id, BERLIN)
    profile = ProfileGeneric(bytes((0, 0, 99, 98, 0, 255)), source, BERLIN)
    client = Context(1, 1, "192.0.2.7:51034", NoDevices())
    buffer = axdr.decode(await profile.read(2, None, client)).content  # type: ignore[misc]
    rows = [[part.content for part in row.content] for row in buffer]  # type: ignore[union-attr]
    assert rows == [
        [cosem_time.encode(clock.ms + number * 60_000, BERLIN), code]
        for number, code in enumerate((2, 47, 4004))
    ]
    assert [(one.class_id, one.logical_name, one.attribute) for one in source.columns()] == [
        (8, bytes((0, 0, 1, 0, 0, 255)), 2),
        (1, event_id, 2),
    ]
    assert await source.entries() == 3
    assert (source.capacity(), source.capture_period()) == (1000, 0)
    assert await source.rows_by_entry(2, 2) == (await source.rows(None, None, 1000))[1:2]
    assert await source.rows(clock.ms, clock.ms, 1000) == (await source.rows(None, None, 1000))[:1]
    of_meter = events.rows(meter, Log.STANDARD, event_id, BERLIN)
    assert (await of_meter.entries(), of_meter.capacity()) == (1, 500)
    assert await events.rows(meter, Log.FRAUD, event_id, BERLIN).rows(None, None, 1000) == []


async def test_a_disk_that_does_not_take_events_is_itself_an_event(
    store: Store, events: Events, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What happened meanwhile is written when it does again, the newest of it where it was too much."""
    events.log(1, "before")
    await events.flush()
    plain = sqlite3.connect(store.path, isolation_level=None)
    plain.execute("ALTER TABLE event RENAME TO away")
    events.log(2, "while it failed")
    await events.flush()
    assert events.last(None, Log.STANDARD) == Event(None, Log.STANDARD, clock.ms, 1, "before", 1)
    await events.flush()
    plain.execute("ALTER TABLE away RENAME TO event")
    await events.flush()
    found = await events.recent()
    assert [event.code for event in found] == [1, 2, EventCode.NV_MEMORY_ERROR]
    assert found[2].message.startswith("The database ")

    plain.execute("ALTER TABLE event RENAME TO away")
    for number in range(WAITING + 500):
        events.log(2, str(number))
    await events.flush()
    plain.execute("ALTER TABLE away RENAME TO event")
    plain.close()
    await events.flush()
    assert [event.message for event in await events.recent(1000)] == [
        str(number) for number in range(WAITING - 500, WAITING + 500)
    ]
    assert "500 events are lost" in caplog.text


async def test_a_database_that_goes_on_failing_is_one_event_an_hour(events: Events, clock: Any) -> None:
    """Each meter's readout would be one else."""
    for _ in range(50):
        events.database_fault("The disk is full.")
    clock.ms += FAULT_PAUSE_MS
    events.database_fault("The disk is still full.")
    await events.flush()
    assert [event.message for event in await events.recent()] == [
        "The disk is full.",
        "The disk is still full.",
    ]


async def test_it_writes_without_being_asked_and_again_after_a_failure(store: Store, events: Events) -> None:
    """Nobody calls flush in a running gateway."""
    plain = sqlite3.connect(store.path, isolation_level=None)
    plain.execute("ALTER TABLE event RENAME TO away")
    events.log(2)
    await events.flush()  # refused
    plain.execute("ALTER TABLE away RENAME TO event")
    plain.close()
    async with asyncio.timeout(30):
        while not await events.recent():  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.05)
    assert (await events.recent())[0].code == 2


BURST = """
import asyncio, sys
from pathlib import Path
from core.clock import SystemClock
from core.events import Events
from core.store import Origin, Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    meters = [await store.install_meter("cellar", str(number), 1) for number in (5, 6)]
    events = await Events.open(store, SystemClock())
    number, seen = 0, (await events.page(0, 1, Origin())).newest
    while True:
        for _ in range(7):
            number += 1
            events.log(number % 50 + 1, f"{sys.argv[2]}.{number}", meter=(None, *meters)[number % 3])
        await asyncio.sleep(0.001)
        for event in await events.recent(2000, seen):
            print(event.id, event.meter or 0, event.code, event.message, flush=True)
            seen = event.id

asyncio.run(main())
"""


def test_a_kill_in_a_burst_of_events_loses_none_that_was_shown(tmp_path: Path) -> None:
    """Killed again and again: what was shown is there, in its order, within the bounds of the logs."""
    path = tmp_path / "gateway.db"
    told: list[str] = []
    for run in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", BURST, str(path), str(run)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(20 + 40 * run)]
            child.kill()
            lines += child.stdout.read().splitlines(keepends=True)
        assert all(lines), "the burst ended by itself"
        told += [line.rstrip("\n") for line in lines if line.endswith("\n")]
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    query = "SELECT id, ifnull(meter, 0), code, message FROM event ORDER BY id"
    stored = {row[0]: " ".join(map(str, row)) for row in plain.execute(query)}
    kept = plain.execute("SELECT meter, log, count(*), min(id) FROM event GROUP BY meter, log").fetchall()
    plain.close()
    ids = [int(line.split()[0]) for line in told]
    assert ids == sorted(set(ids)), "an id was given twice, or order was lost"
    oldest = {(meter or 0, log): first for meter, log, _, first in kept}
    expected = 0
    for number, line in zip(ids, told, strict=True):
        _, meter, code, _ = line.split()
        log = log_of(int(code), int(meter) or None)
        if number >= oldest[int(meter), log]:
            assert stored[number] == line
            expected += 1
    assert expected > 100
    assert all(count <= (500 if meter else 1000) for meter, _, count, _ in kept)

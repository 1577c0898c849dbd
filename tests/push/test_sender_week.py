"""A head-end that is down for a week: the disk stays bounded, and afterwards everything arrives in order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from push_plant import SETUP, START, FakeClock, Head, PlainCredentials, closed_port, until_sent

from core.dlms.axdr import double_long_unsigned, octet_string, structure
from core.interval import Interval
from core.push import notification
from core.push.courier import Destination
from core.push.sender import Sender
from core.snapshot import MeterState
from core.store import Reading, Store
from core.store.outbox import NewNotification

METERS = 1000
HOUR = 3_600_000
READ_EVERY = 12 * HOUR
WEEK = 7 * 24 * HOUR
LIMIT = 2_000_000
REPORT = "load_profile_1"
ZONE = ZoneInfo("UTC")


async def read_all(store: Store, meters: list[int], time_ms: int) -> None:
    await store.add_readings(
        [Reading(meter, "cellar", time_ms, MeterState.OK, (b"\x01",)) for meter in meters]
    )


async def report(store: Store, now_ms: int) -> bool:
    """Put what is unsent into the outbox, a notification for each meter; whether there was room for all."""
    unsent = list((await store.outbox.unsent(REPORT)).items())
    for start in range(0, len(unsent), 25):
        new, cursors = [], {}
        for meter, after in unsent[start : start + 25]:
            assert meter is not None
            rows = await store.outbox.unsent_rows(1, meter, after, 180)
            first, last = rows[0], rows[-1]
            new.append(
                NewNotification(
                    REPORT,
                    meter,
                    16,
                    SETUP,
                    len(rows),
                    first.time_ms,
                    last.time_ms,
                    body(meter, after, last.reading),
                )
            )
            cursors[REPORT, meter] = last.reading
        if await store.outbox.enqueue(new, cursors, LIMIT, now_ms) is None:
            return False
    return True


def body(meter: int, after: int, last: int) -> bytes:
    """As large as a few rows of a real meter, and as hard to deflate."""
    numbers = (double_long_unsigned(number) for number in (meter, after, last))
    return structure(*numbers, octet_string(random.Random(last).randbytes(150)))


class SimulatedTime:
    """A clock that stands still while the sender does something, and goes on when it waits."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._moment = START
        self._waits = asyncio.Event()
        self._over = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        if seconds < 1:
            await asyncio.sleep(0)
            return
        self._moment = self.clock.ms + round(seconds * 1000)
        self._over.clear()
        self._waits.set()
        await self._over.wait()

    async def go_on(self, until_ms: int) -> None:
        """Let time pass; each of the waits that end meanwhile ends at its moment."""
        while True:
            await self._waits.wait()
            if self._moment > until_ms:
                self.clock.ms = until_ms
                return
            self.clock.ms = self._moment
            self._waits.clear()
            self._over.set()


@pytest.mark.slow
async def test_after_a_week_without_its_head_end_nothing_is_missing(tmp_path: Path) -> None:
    """A thousand meters, read twice a day; the outbox is full long before the week is over."""
    store = await Store.open(tmp_path / "gateway.db")
    await store.set_profiles({1: Interval.parse("all")}, ZONE)
    meters = [await store.install_meter("cellar", str(n), START) for n in range(METERS)]
    assert await store.outbox.begin_report(REPORT, 1)
    simulated, full = SimulatedTime(), 0
    async with Head() as head:
        routes = {REPORT: Destination("127.0.0.1", closed_port())}
        sender = Sender(
            store,
            PlainCredentials(),
            routes.get,
            lambda: ZONE,
            simulated.clock,
            chance=random.Random(1),
            pause=simulated.pause,
        )
        sender.start()
        for now_ms in range(START, START + WEEK, READ_EVERY):
            if now_ms > START:
                await simulated.go_on(now_ms)
            await read_all(store, meters, now_ms)
            full += not await report(store, now_ms)
            sender.wake()
            assert (await store.outbox.backlog())[REPORT].stored <= LIMIT
        await simulated.go_on(START + WEEK)
        assert full > 3
        (oldest,) = await store.outbox.waiting([REPORT], 1, 1)
        row = await store.outbox.notification(oldest.id)
        assert row is not None
        assert row.tries > 7 * 20
        assert row.state == "waiting"

        routes[REPORT] = Destination(head.receiver.host, head.receiver.port)
        sender.changed()
        await until_sent(store)
        assert await report(store, START + WEEK)
        sender.wake()
        await until_sent(store)
        await sender.close()
        head.assert_repeats_only_after_a_lost_answer()
    last = dict.fromkeys(meters, 0)
    for received in head.received:
        meter, after, upto = (item.content for item in notification.decode(received.plain).body.content[:3])
        assert last[meter] == after
        last[meter] = upto
    assert last == {meter: reading.id for meter, reading in (await store.latest_all()).items()}
    await store.close()

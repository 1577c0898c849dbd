"""A gateway that is killed again and again, and a head-end that fails in every way: everything arrives, in order."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from push_plant import KEYS, Head

from core.push import notification
from core.push.behaviour import Behaviour, Kind, parse

KILLS = 20
MISBEHAVIOURS = parse("take*3,drop,half:50,half:150,half:700,refuse:0,lose,hang,die,delay:0")

# Reads, logs and reports as fast as it can, and sends meanwhile. A body says which rows or events it holds. Prints a
# line for each round; "last" as its last argument says: report what is left, and end when all is sent.
GATEWAY = """
import asyncio, json, sys, time
from pathlib import Path
from zoneinfo import ZoneInfo
from core.clock import SystemClock
from core.counters import InvocationCounters
from core.dlms.admission import Keys, Level, Policy
from core.dlms.axdr import octet_string
from core.interval import Interval
from core.push.courier import Destination
from core.push.delivery import Limits
from core.push.sender import Sender
from core.snapshot import MeterState
from core.store import Event, Log, Reading, Store
from core.store.outbox import NewNotification

FOLDER, PORT, KEYS = Path(sys.argv[1]), int(sys.argv[2]), Keys(*map(bytes.fromhex, sys.argv[3:5]))
LAST = sys.argv[-1] == "last"
ZONE = ZoneInfo("UTC")
PLENTY = 1 << 30

class Credentials:
    def __init__(self, counters): self.counters = counters
    def policy(self): return Policy.AUTHENTICATED_ENCRYPTED
    def keys(self): return KEYS
    def system_title(self): return bytes.fromhex("454C560000F42400")

async def produce(store, meters):
    now = time.time_ns() // 1_000_000
    await store.add_readings([Reading(m, "cellar", now, MeterState.OK, (b"1",)) for m in meters])
    await store.add_events([Event(m, Log.STANDARD, now, 100, "") for m in (None, *meters)])

async def report(outbox):
    for name, meter, after in [
        *[("load_profile_1", *item) for item in (await outbox.unsent("load_profile_1")).items()],
        *[("standard_event_log", *item) for item in (await outbox.unsent("standard_event_log")).items()],
    ]:
        if name == "load_profile_1":
            ids = [row.reading for row in await outbox.unsent_rows(1, meter, after, 5)]
        else:
            ids = [event.id for event in await outbox.unsent_events(meter, Log.STANDARD, after, 5)]
        body = octet_string(json.dumps([name, meter, ids]).encode())
        new = NewNotification(name, meter, 16, bytes(6), len(ids), 0, 0, body)
        await outbox.enqueue([new], {(name, meter): ids[-1]}, PLENTY, 0)

async def main():
    store = await Store.open(FOLDER / "gateway.db")
    outbox = store.outbox
    await store.set_profiles({1: Interval.parse("all")}, ZONE)
    meters = [await store.install_meter("cellar", str(n), 0) for n in range(4)]
    assert await outbox.begin_report("load_profile_1", 1)
    assert await outbox.begin_report("standard_event_log", Log.STANDARD)
    counters = await InvocationCounters.open(store, FOLDER / "counters.live", KEYS.encryption, True, SystemClock())
    destination = Destination("127.0.0.1", PORT, delay_s=0.01)
    # So long that a receiver which closes in order is never given up; a kill ends the wait for one that hangs.
    sender = Sender(store, Credentials(counters), lambda report: destination, lambda: ZONE, SystemClock(),
                    limits=Limits(close_s=60))
    print("up", flush=True)
    sender.start()
    while not LAST:
        await produce(store, meters)
        await report(outbox)
        sender.wake()
        print("round", flush=True)
        await asyncio.sleep(0.01)
    while await outbox.unsent("load_profile_1") or await outbox.unsent("standard_event_log"):
        await report(outbox)
        sender.wake()
    while await outbox.backlog():
        await asyncio.sleep(0.01)
    await sender.close()
    await counters.close()
    await store.close()

asyncio.run(main())
"""


class Soak:
    """The head-end and the gateways that are started on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chance = random.Random(20251024)
        self.fails = True
        self.head = Head(self._behaviours())
        self.uncertain: set[int] = set()
        """Connections that were open, or hardly closed, when a gateway was killed."""

    def _behaviours(self) -> Iterator[Behaviour]:
        while self.fails:
            yield self.chance.choice(MISBEHAVIOURS)

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        keys = (KEYS.encryption.hex(), KEYS.authentication.hex())
        killed_at = len(self.head.connections) - 1
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", GATEWAY, str(self.folder), str(self.head.receiver.port), *keys, *more),
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self.line(child) == b"up\n"
        self.uncertain.update(range(killed_at, len(self.head.connections)))
        return child

    async def run_and_kill(self) -> None:
        """Kill a gateway after some rounds, at whatever it is doing."""
        child = await self.start()
        for _ in range(self.chance.randrange(1, 25)):
            assert await self.line(child) == b"round\n", "the gateway ended by itself"
        child.kill()
        await child.communicate()

    async def line(self, child: asyncio.subprocess.Process) -> bytes:
        assert child.stdout is not None
        return await child.stdout.readline()


@pytest.mark.slow
async def test_every_row_and_event_arrives_whatever_happens(tmp_path: Path) -> None:
    """In the order of each meter; again only where the receiver's answer was lost; never with a nonce used before."""
    soak = Soak(tmp_path)
    async with soak.head as head:
        for _ in range(KILLS):
            await soak.run_and_kill()
        soak.fails = False
        last = await soak.start("last")
        await last.communicate()
        assert last.returncode == 0
    arrived: dict[tuple[str, int | None], list[int]] = {}
    seen: set[int | None] = set()
    for received in head.received:
        if received.report_id not in seen:
            seen.add(received.report_id)
            text = notification.decode(received.plain).body.content
            assert isinstance(text, bytes)
            name, meter, ids = json.loads(text)
            arrived.setdefault((name, meter), []).extend(ids)
    plain = sqlite3.connect(tmp_path / "gateway.db")
    expected: dict[tuple[str, int | None], list[int]] = {}
    for meter, reading in plain.execute("SELECT meter, reading FROM profile_row ORDER BY reading"):
        expected.setdefault(("load_profile_1", meter), []).append(reading)
    for meter, event in plain.execute("SELECT meter, id FROM event ORDER BY id"):
        expected.setdefault(("standard_event_log", meter), []).append(event)
    plain.close()
    assert arrived == expected
    head.assert_repeats_only_after_a_lost_answer(soak.uncertain)
    head.assert_no_nonce_comes_twice()
    # That it shows what it says: each way to fail was met, and something had to be repeated.
    assert {behaviour.kind for behaviour in head.connections} == set(Kind)
    assert head.twice()

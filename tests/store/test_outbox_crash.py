"""Whatever moment a gateway is killed at: a cursor and the notifications that it stands for agree."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

KILLS = 24
REPORTS = ("load_profile_1", "load_profile_2", "billing_profile")

# Reports rows of three kinds as fast as it can, each row once, while another task delivers, fails and gives up. Prints
# what was acknowledged, and what it is about to ask for.
GATEWAY = """
import asyncio, json, random, sqlite3, sys
from pathlib import Path
from core.store import Store
from core.store.outbox import NewNotification, ReportState

chance = random.Random(sys.argv[2])
REPORTS = json.loads(sys.argv[3])
SETUP = bytes(6)

def tell(*words):
    print(json.dumps(words), flush=True)

async def report(store, name, cursor):
    while True:
        new, cursors = [], {}
        for meter in cursor:
            last = cursor[meter] + chance.randrange(1, 4)
            new.append(NewNotification(name, meter, 16, SETUP, last - cursor[meter], 0, 0, b"body"))
            cursors[name, meter] = cursor[meter] = last
        ids = await store.outbox.enqueue(new, cursors, 1 << 30, 0, {name: ReportState(sum(cursor.values()))})
        tell("in", name, cursor, ids)

async def settle(store):
    while True:
        waiting = [one.id for one in await store.outbox.waiting(REPORTS, 12, 1 << 20)]
        ids = chance.sample(waiting, len(waiting) // 2)
        await store.outbox.failed(ids[::3], 0, "refused", 0)
        tell("try", ids[1::3])
        await store.outbox.delivered(dict.fromkeys(ids[1::3], 9), 0)
        tell("out", ids[1::3])
        await store.outbox.cancel(ids[2::3])
        await asyncio.sleep(0)

async def main():
    store = await Store.open(Path(sys.argv[1]))
    tasks = [settle(store)]
    for name in REPORTS:
        with sqlite3.connect(sys.argv[1]) as plain:
            known = plain.execute("SELECT meter, cursor FROM push_cursor WHERE report = ?", (name,)).fetchall()
        tasks.append(report(store, name, dict(known) or dict.fromkeys(range(1, 4), 0)))
    await asyncio.gather(*tasks)

asyncio.run(main())
"""


def run_and_kill(path: Path, run: int, after: int) -> list[list[object]]:
    """Run a gateway, kill it at some moment after `after` lines; all whole lines."""
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(path), str(run), json.dumps(REPORTS)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after)]
        child.kill()
        lines += child.stdout.read().splitlines(keepends=True)
    assert all(lines[:after]), "the gateway ended by itself"
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_cursors_and_notifications_agree_after_every_kill(tmp_path: Path) -> None:
    """Each row up to the cursor is in exactly one notification, none beyond it is; nothing acknowledged is undone."""
    path = tmp_path / "gateway.db"
    chance = random.Random(40)
    tried: set[int] = set()
    taken: set[int] = set()
    entered: set[int] = set()
    for run in range(KILLS):
        for line in run_and_kill(path, run, chance.randrange(1, 40)):
            if line[0] == "in":
                entered.update(line[3])  # type: ignore[call-overload]
            else:
                (tried if line[0] == "try" else taken).update(line[1])  # type: ignore[call-overload]
        plain = sqlite3.connect(path)
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = plain.execute(
            "SELECT id, report, meter, state, has_body, stored FROM notification ORDER BY id"
        ).fetchall()
        states = {row[0]: row[3] for row in rows}
        assert entered <= states.keys()
        assert {states[number] for number in taken} <= {"delivered"}
        assert {number for number, state in states.items() if state == "delivered"} <= tried
        kept = {number for (number,) in plain.execute("SELECT id FROM notification_body")}
        assert kept == {row[0] for row in rows if row[4]}
        assert {row[0] for row in rows if row[3] == "waiting"} <= kept
        for report in REPORTS:
            waiting = [row[5] for row in rows if row[1] == report and row[3] == "waiting"]
            found = plain.execute("SELECT count, stored FROM outbox WHERE report = ?", (report,)).fetchone()
            assert (found or (0, 0)) == (len(waiting), sum(waiting))
        cursors = plain.execute("SELECT report, meter, cursor FROM push_cursor ORDER BY 1, 2").fetchall()
        reported = "SELECT report, meter, sum(rows) FROM notification GROUP BY 1, 2 ORDER BY 1, 2"
        assert plain.execute(reported).fetchall() == cursors
        slots = dict(plain.execute("SELECT report, slot_ms FROM push_report"))
        assert slots == {
            report: sum(cursor for name, _, cursor in cursors if name == report) for report in slots
        }
        plain.close()
    assert taken
    assert len(entered) >= KILLS

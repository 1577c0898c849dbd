"""Killed at any moment: no number is sent twice, no frame comes in twice, and keys are all old or all new."""

from __future__ import annotations

import hashlib
import random
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.counters import fingerprint
from core.secrets import Secrets, ensure_secrets, load_secrets
from core.statedir import StateDir

KILLS = 32
TRANSFER_KILLS = 14

# Sends and accepts as fast as it can, and changes keys meanwhile. Tells a counter of a client before it is asked for
# ("try") and when it has been accepted ("in"), and a number to send when it has been given out ("out").
GATEWAY = """
import asyncio, os, random, sys
from pathlib import Path
from core.clock import SystemClock
from core.counters import InvocationCounters
from core.dlms.errors import CounterError
from core.store import Store

KEYS = [bytes([n]) * 16 for n in range(2)]
TITLES = [b"CRASH\\0\\0" + bytes([n]) for n in range(3)]
chance = random.Random(sys.argv[2])
key = int(sys.argv[3])

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def greet(counters):
    for number, title in enumerate(TITLES):
        last = counters.last(title)
        tell("last", key, number, last)
        try:
            if last >= 0:
                counters.accept(title, last)
                tell("replay", key, number, last)
        except CounterError:
            pass

async def main():
    global key
    tell("opening")
    store = await Store.open(Path(sys.argv[1]) / "gateway.db")
    counters = await InvocationCounters.open(
        store, Path(sys.argv[1]) / "counters.live", KEYS[key], True, SystemClock()
    )
    greet(counters)
    while True:
        dice = chance.random()
        if dice < 0.45:
            try:
                tell("out", key, counters.next())
            except CounterError:
                await asyncio.sleep(0.001)
        elif dice < 0.99:
            number = chance.randrange(len(TITLES))
            counter = counters.last(TITLES[number]) + chance.choice((1, 1, 1, 1, 5, 300, 3000))
            tell("try", key, number, counter)
            wait = counters.accept(TITLES[number], counter)
            if wait is not None:
                await wait
            tell("in", key, number, counter)
        else:
            switch = await counters.prepare(KEYS[1 - key], True)
            key = 1 - key
            switch()
            greet(counters)
        if dice < 0.1:
            await asyncio.sleep(0)

asyncio.run(main())
"""

# Transfers one set of keys after the other.
TRANSFERS = """
import asyncio, hashlib, itertools, os, sys
from pathlib import Path
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from core.clock import SystemClock
from core.config_file import ConfigFile
from core.cosem.base import Context
from core.secrets import load_secrets
from core.security import Security
from core.statedir import StateDir
from core.store import Store

RUN = sys.argv[2]

class NoDevices:
    def device(self, sap):
        return None

    def devices(self):
        return ()

async def main():
    state = StateDir(Path(sys.argv[1]))
    secrets, config = load_secrets(state.secrets), ConfigFile(state.config).prepare()
    store = await Store.open(state.database)
    security = await Security.open(
        store, state, secrets, config, fresh=True, clock=SystemClock(), changed=lambda code, message: None
    )
    os.write(1, b"ready\\n")
    for number in itertools.count():
        context = Context(1, 1, "192.0.2.7:51034", NoDevices())
        kek = security.secrets.master_key
        fresh = [hashlib.sha256(f"{RUN} {number} {id}".encode()).digest()[:16] for id in (0, 2, 3)]
        await security.transfer_keys(
            [(id, aes_key_wrap(kek, key)) for id, key in zip((0, 2, 3), fresh, strict=True)], context
        )
        os.write(1, f"{number}\\n".encode())
        for effect in context.after_answer:
            effect()
        security.counters.next()

asyncio.run(main())
"""


def run_and_kill(program: str, args: Sequence[str], lines: int, more_s: float = 0.0) -> list[str]:
    """Run a gateway and kill it some time after it has printed `lines`; all that it printed."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        told = [child.stdout.readline() for _ in range(lines)]
        time.sleep(more_s)  # not to wait for anything: the moment of the kill
        child.kill()
        told += child.stdout.read().splitlines(keepends=True)
        assert all(told[:lines]), child.stderr.read()
    return [line.rstrip("\n") for line in told if line.endswith("\n")]


def ceilings(path: Path) -> dict[tuple[str, str], int]:
    """What is on disk of each counter, by key and client ("" = sending)."""
    plain = sqlite3.connect(path / "gateway.db")
    rows = {
        (key, title): ceiling for key, title, ceiling in plain.execute("SELECT * FROM invocation_counter")
    }
    plain.close()
    clients = {"": b"", **{str(number): b"CRASH\0\0" + bytes([number]) for number in range(3)}}
    return {
        (str(key), name): rows.get((fingerprint(bytes([key]) * 16), title), -1)
        for key in range(2)
        for name, title in clients.items()
    }


@pytest.mark.slow
def test_no_number_is_used_twice_however_often_the_gateway_is_killed(tmp_path: Path) -> None:
    """And the client that goes on after the crash with the next number is let in."""
    chance = random.Random(20251122)
    sent: set[tuple[str, int]] = set()
    accepted: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    tried: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    key = "0"
    outs = 0
    for run in range(KILLS):
        highest: dict[tuple[str, str], int] = defaultdict(lambda: -1)
        lines = 1 if run % 10 == 9 else chance.randrange(1, 600)
        for line in run_and_kill(GATEWAY, [str(tmp_path), str(run), key], lines):
            word, *rest = line.split()
            assert word != "replay", line
            if word == "opening":
                continue
            key = rest[0]
            if word == "out":
                number = (key, int(rest[1]))
                assert number not in sent, f"{number} was sent twice"
                sent.add(number)
                highest[key, ""] = max(highest[key, ""], number[1])
                outs += 1
                continue
            client, counter = (key, rest[1]), int(rest[2])
            if word == "last":
                assert accepted[client] <= counter, f"{line}: {accepted[client]} could come in again"
                assert counter <= tried[client], f"{line}: {tried[client] + 1} would be refused"
            elif word == "try":
                tried[client] = counter
            elif word == "in":
                assert counter > accepted[client], f"{line}: accepted twice"
                accepted[client] = highest[client] = counter
        on_disk = ceilings(tmp_path)
        for counted, reached in highest.items():
            assert reached <= on_disk[counted], f"{counted}: a power cut would have lost {reached}"
    assert outs > KILLS * 10
    assert {name for name, _ in accepted} == {"0", "1"}, (
        "no run has changed keys: the test shows less than it says"
    )


def generated(run: int, number: int) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(f"{run} {number} {name}".encode()).digest()[:16] for name in (0, 2, 3))


def keys_of(secrets: Secrets) -> tuple[bytes, ...]:
    return secrets.encryption_key, secrets.authentication_key, secrets.master_key


@pytest.mark.slow
def test_a_kill_amid_a_key_transfer_leaves_all_old_or_all_new_keys(tmp_path: Path) -> None:
    """In secrets.toml, which is whole; a transfer that was answered is in it."""
    state = StateDir(tmp_path)
    state.create()
    before = keys_of(ensure_secrets(state.secrets))
    chance = random.Random(7)
    transfers = 0
    for run in range(TRANSFER_KILLS):
        lines = run_and_kill(
            TRANSFERS, [str(tmp_path), str(run)], chance.randrange(1, 6), chance.random() * 0.02
        )
        answered = len(lines) - 1
        transfers += answered
        found = keys_of(load_secrets(state.secrets))
        old = generated(run, answered - 1) if answered else before
        assert found in (old, generated(run, answered))
        before = found
    assert transfers > TRANSFER_KILLS

"""The event logs of a running gateway: each event from what really causes it, as a script and a HES see it."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import cme_tui
from dlms_wire import Wire, aarq, fetch, get, set_
from gateway_process import LIMIT, GatewayProcess
from test_core import Site, port_of, serve, simulated

from cme_tui.client import ask
from core.cosem import datetime as cosem_time
from core.dlms import axdr
from core.mbus.simulator import Misfortune, SimulatedBus, SimulatedMeter
from core.secrets import load_secrets
from core.snapshot import MeterState

STANDARD = bytes((0, 0, 99, 98, 0, 255))
FRAUD = bytes((0, 0, 99, 98, 1, 255))
FRAUD_MESSAGE = bytes((0, 128, 96, 11, 1, 255))
METER_EVENT = bytes((0, 0, 96, 11, 0, 255))
CLOCK = bytes((0, 0, 1, 0, 0, 255))
NO_LINES = '[dlms]\nhost = "127.0.0.1"\nauthentication = "low"\n'


class Status(SimulatedMeter):
    """A meter whose status byte is in the test's hands."""

    status = 0

    def telegram_at(self, time: float, page: int = 0, access: int | None = None, tail: bytes = b"") -> bytes:
        frame = bytearray(super().telegram_at(time, page, access, tail))
        frame[16] = self.status
        frame[-2] = sum(frame[4:-2]) & 0xFF
        return bytes(frame)


def events(state_dir: Path) -> list[dict[str, Any]]:
    """What `cme-tui events --json` prints."""
    done = cme_tui("--state-dir", str(state_dir), "events", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def until(state_dir: Path, what: str, holds: Callable[[list[tuple[str, int]]], bool]) -> list[dict[str, Any]]:
    """Look at the events until (device, code) of them are as wanted."""
    deadline = time.monotonic() + LIMIT
    while True:
        found = events(state_dir)
        if holds([(event["device"], event["code"]) for event in found]):
            return found
        assert time.monotonic() < deadline, f"{what} never came: {found}"
        time.sleep(0.1)


def codes(state_dir: Path) -> list[int]:
    return [event["code"] for event in events(state_dir)]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "config.toml").write_text(NO_LINES)
    return directory


def test_starts_stops_and_crashes_are_told_apart(state: Path) -> None:
    """A start is 2; a clean stop is 1; a process that was killed gets its 1 at the next start."""
    first = GatewayProcess(state)
    assert first.stop() == 0
    assert codes(state) == [2, 1]
    second = GatewayProcess(state)
    second.stop(signal.SIGKILL)
    third = GatewayProcess(state)
    found = events(state)
    assert [event["code"] for event in found] == [2, 1, 2, 1, 2]
    assert "ot stopped cleanly" in found[3]["message"]
    assert third.stop() == 0


async def test_a_hes_finds_who_failed_to_log_in(state: Path) -> None:
    """Code 46 with the peer's address, in the fraud log and in the message object, and not in the standard log."""
    gateway = await asyncio.to_thread(GatewayProcess, state)
    try:
        async with Wire(gateway.port, server=1) as wire:
            await wire.ask(aarq(b"Geheimnis"))
        password = load_secrets(state / "secrets.toml").lls_password.encode()
        async with Wire(gateway.port, server=1) as wire:
            await wire.ask(aarq(password))
            log = axdr.decode(await fetch(wire, get(7, FRAUD, 2))).content
            assert [row.content[1].content for row in log] == [46]
            message = axdr.decode(await fetch(wire, get(1, FRAUD_MESSAGE, 2))).content
            assert "127.0.0.1" in message
            assert "Geheimnis" not in message
            log = axdr.decode(await fetch(wire, get(7, STANDARD, 2))).content
            assert [row.content[1].content for row in log] == [2]
    finally:
        await asyncio.to_thread(gateway.stop)


def status_once(state_dir: Path, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The status of the running gateway as soon as it is as wanted."""
    deadline = time.monotonic() + LIMIT
    while not holds(status := ask(state_dir, "status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


async def test_the_clock_is_set_and_stays_set(state: Path) -> None:
    """A HES sets the clock two hours ahead: 4 with the old time, 5 with the new one, kept over a restart."""
    gateway = await asyncio.to_thread(GatewayProcess, state)
    password = load_secrets(state / "secrets.toml").lls_password.encode()
    new_ms = time.time_ns() // 1_000_000 + 7_200_000
    async with Wire(gateway.port, server=1) as wire:
        await wire.ask(aarq(password))
        stamp = axdr.octet_string(cosem_time.encode(new_ms, UTC))
        assert await wire.ask(set_(8, CLOCK, 2, stamp)) == bytes.fromhex("c501c100")
        status = await asyncio.to_thread(status_once, state, lambda now: now["clock_offset_ms"] != 0)
    assert abs(status["clock_offset_ms"] - 7_200_000) < 60_000
    now = datetime.fromisoformat(status["time"])
    # Nobody has been there for two hours because the clock was set.
    for since in (status["started"], status["associations"][0]["since"]):
        assert timedelta(0) <= now - datetime.fromisoformat(since) < timedelta(minutes=10)
    assert await asyncio.to_thread(gateway.stop) == 0
    assert codes(state) == [2, 4, 5, 1]
    again = await asyncio.to_thread(GatewayProcess, state)
    try:
        async with Wire(again.port, server=1) as wire:
            await wire.ask(aarq(password))
            shown = axdr.decode(await fetch(wire, get(8, CLOCK, 2))).content
            assert new_ms <= cosem_time.decode(shown, UTC) < new_ms + 600_000
    finally:
        await asyncio.to_thread(again.stop)


def test_changes_of_settings_and_keys_are_named(state: Path) -> None:
    """47 names the setting, 48 the key; values of neither are told."""
    gateway = GatewayProcess(state)
    try:
        (state / "config.toml").write_text(NO_LINES + '[readout]\ninterval = "30 min"\n')
        secrets = state / "secrets.toml"
        old = load_secrets(secrets).encryption_key.hex()
        secrets.write_text(secrets.read_text().replace(old, "5a" * 16))
        gateway.process.send_signal(signal.SIGHUP)
        found = until(state, "47 and 48", lambda seen: {("gateway", 47), ("gateway", 48)} <= set(seen))
    finally:
        gateway.stop()
    by_code = {event["code"]: event for event in found}
    assert "readout.interval" in by_code[47]["message"]
    assert by_code[48]["log"] == "fraud"
    assert "ncryption key" in by_code[48]["message"]
    assert "5a5a" not in json.dumps(found)


async def test_what_happens_to_a_meter_is_in_its_own_log(tmp_path: Path) -> None:
    """Installed, status changed with its bits, lost after three readouts, back again; a HES reads it there."""
    site = Site(tmp_path / "state")
    recorded = simulated("70112345", 5)
    meter = Status([recorded.telegram_at(0)], address=5)
    server = await serve(SimulatedBus([meter]))
    site.configure(port_of(server), "5")
    await asyncio.to_thread(site.start)
    try:
        view = await site.meter_until("a reading", lambda seen: seen.state is MeterState.OK)
        meter.status = 0x04
        await site.read(view.key)
        meter.misfortune = Misfortune(dead=True)
        for _ in range(3):
            with pytest.raises(Exception, match="not answer"):
                await site.read(view.key)
        meter.misfortune = Misfortune()
        await site.read(view.key)
        found = await asyncio.to_thread(
            until, site.state_dir, "the meter's return", lambda seen: ("meter 5", 101) in seen
        )
        own = [(event["code"], event["message"]) for event in found if event["device"] == "meter 5"]
        assert [code for code, _ in own] == [105, 4004, 102, 100, 101]
        assert "power low" in own[1][1]
        password = load_secrets(site.state_dir / "secrets.toml").lls_password.encode()
        async with Wire(site.gateway.snapshot().dlms.port, server=view.logical_device) as wire:
            await wire.ask(aarq(password))
            log = axdr.decode(await fetch(wire, get(7, STANDARD, 2))).content
            assert [row.content[1].content for row in log] == [105, 4004, 102, 100, 101]
            assert axdr.decode(await fetch(wire, get(1, METER_EVENT, 2))).content == 101
    finally:
        await asyncio.to_thread(site.gateway.stop)
        server.close()


async def test_a_disk_that_takes_no_events_is_an_alarm(state: Path) -> None:
    """At once, and as long as it lasts: nothing else tells a technician that the logs stand still."""
    gateway = await asyncio.to_thread(GatewayProcess, state)
    plain = sqlite3.connect(state / "gateway.db", isolation_level=None)
    try:
        plain.execute("ALTER TABLE event RENAME TO away")
        async with Wire(gateway.port, server=1) as wire:
            await wire.ask(aarq(b"wrong"))
        failing = await asyncio.to_thread(status_once, state, lambda now: now["alarms"] != [])
        assert failing["alarms"][0].startswith("The database ")
        plain.execute("ALTER TABLE away RENAME TO event")
        await asyncio.to_thread(status_once, state, lambda now: now["alarms"] == [])
    finally:
        plain.close()
        await asyncio.to_thread(gateway.stop)
    assert 46 in codes(state)

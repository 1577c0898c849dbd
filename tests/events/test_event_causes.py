"""What makes an event: starts and stops, steps of the clock, meters and lines, clients that fail, settings."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.config import Config, DlmsConfig, LineConfig, MeterConfig, PushConfig, PushReportConfig
from core.events import Events, Log
from core.events.clock import ClockWatch
from core.events.meters import LINE_DOWN_S, LineWatch, MeterWatch, status_of
from core.events.power import PowerWatch
from core.events.security import PEERS, WINDOW_S, SecurityLog
from core.events.settings import change_message, changed_settings
from core.mbus.telegram import decode
from core.snapshot import MeterState
from core.store import Store

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = 60_000
TELEGRAMS = Path(__file__).parents[2] / "core" / "mbus" / "telegrams"

Logged = Callable[[], Awaitable[list[tuple[int, str]]]]


@pytest.fixture
def logged(events: Events) -> Logged:
    """Code and message of all that was logged since the last call."""
    seen = 0

    async def new() -> list[tuple[int, str]]:
        nonlocal seen
        await events.flush()
        found = await events.recent(after=seen)
        seen = max((event.id for event in found), default=seen)
        return [(event.code, event.message) for event in found]

    return new


# Power


async def test_a_start_and_a_clean_stop_are_logged(
    store: Store, events: Events, clock: Any, logged: Logged
) -> None:
    """The first start finds nothing to say about one before."""
    power = PowerWatch(store, events, clock)
    await power.started("0.1.0")
    assert await logged() == [(2, "Version 0.1.0")]
    clock.ms += MINUTE
    await power.stopped()
    assert await logged() == [(1, "Stopped")]
    clock.ms += MINUTE
    last = await PowerWatch(store, events, clock).started("0.1.0")
    assert (last.stopped, last.heartbeat_ms) == (True, clock.ms - MINUTE)
    assert await logged() == [(2, "Version 0.1.0")]


async def test_after_an_unclean_stop_power_down_is_dated_by_the_last_heartbeat(
    store: Store, events: Events, clock: Any, logged: Logged
) -> None:
    """And stands in the log before power up; each such stop is logged once."""
    await PowerWatch(store, events, clock).started("0.1.0")
    clock.ms += MINUTE
    beat = clock.ms
    await PowerWatch(store, events, clock).beat()
    await logged()
    for _ in range(2):
        clock.ms += 10 * MINUTE
        await PowerWatch(store, events, clock).started("0.1.0")
        assert await logged() == [
            (1, "Not stopped cleanly; last seen running at this time"),
            (2, "Version 0.1.0"),
        ]
        down = (await events.recent())[-2]
        assert down.time_ms == beat
        beat = clock.ms


async def test_another_version_is_logged_when_it_starts(
    store: Store, events: Events, clock: Any, logged: Logged
) -> None:
    """Once."""
    for version in ("0.1.0", "0.2.0", "0.2.0"):
        power = PowerWatch(store, events, clock)
        await power.started(version)
        await power.stopped()
    codes = [code for code, _ in await logged()]
    assert codes == [2, 1, 2, 18, 1, 2, 1]


@pytest.mark.parametrize(
    ("back_ms", "invalid"), [(0, False), (1500, False), (2500, True), (86_400_000, True)]
)
async def test_a_clock_that_went_back_while_the_gateway_was_off_is_logged(
    store: Store, events: Events, clock: Any, logged: Logged, back_ms: int, invalid: bool
) -> None:
    """Compared with the last time that was stored; the next start compares with this one."""
    power = PowerWatch(store, events, clock)
    await power.started("0.1.0")
    await power.stopped()
    clock.ms -= back_ms
    await logged()
    power = PowerWatch(store, events, clock)
    await power.started("0.1.0")
    assert [code for code, _ in await logged()] == ([2, 6] if invalid else [2])
    await power.stopped()
    await logged()
    await PowerWatch(store, events, clock).started("0.1.0")
    assert [code for code, _ in await logged()] == [2]


RUN = """
import asyncio, sys
from pathlib import Path
from core.clock import SystemClock
from core.events import Events
from core.events.power import PowerWatch
from core.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    events = await Events.open(store, SystemClock())
    power = PowerWatch(store, events, SystemClock())
    await power.started("0.1.0")
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_kill_is_a_power_down_at_the_next_start(tmp_path: Path) -> None:
    """With SIGKILL, as a power cut leaves it."""
    path = tmp_path / "gateway.db"
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "started\n"
            child.kill()
    plain = sqlite3.connect(path)
    events = plain.execute("SELECT code, time_ms FROM event ORDER BY id").fetchall()
    plain.close()
    assert [code for code, _ in events] == [2, 1, 2, 1, 2]
    times = [time_ms for _, time_ms in events]
    assert times == sorted(times)


# Clock


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def test_a_step_of_the_clock_is_logged_with_both_times(
    store: Store, events: Events, clock: Any, logged: Logged
) -> None:
    """However late the clock is looked at; a clock that runs fast, and a step of 2 s, are none."""
    watch = ClockWatch(events, lambda: BERLIN)
    monotonic = 100.0
    for drift in (0, 40, -40, 2000, -1900, 1):
        monotonic += 1
        clock.ms += 1000 + drift
        watch.tick(clock.ms, monotonic)
    assert await logged() == []
    for step, passed in ((3_600_000, 1), (-7_200_000, 1), (-2500, 45)):
        monotonic += passed
        before = clock.ms + passed * 1000
        clock.ms = before + step
        watch.tick(clock.ms, monotonic)
        watch.tick(clock.ms + 1000, monotonic + 1)
        clock.ms += 1000
        monotonic += 1
        assert [code for code, _ in await logged()] == [4, 5]
        assert [event.time_ms for event in (await events.recent())[-2:]] == [before, before + step]


async def test_a_clock_that_the_gateway_sets_is_logged_once(
    events: Events, clock: Any, logged: Logged
) -> None:
    """The step that the watch sees then is known."""
    watch = ClockWatch(events, lambda: BERLIN)
    watch.tick(clock.ms, 1.0)
    watch.adjusted(clock.ms + 400, clock.ms + 10_400, "by 192.0.2.7")
    watch.tick(clock.ms + 11_000, 2.0)
    assert await logged() == [(4, "Set by 192.0.2.7"), (5, "Set by 192.0.2.7")]


@pytest.mark.parametrize(
    ("moment", "change"),
    [("2026-03-29T01:00:00+00:00", "begins"), ("2026-10-25T01:00:00+00:00", "ends")],
)
@pytest.mark.parametrize("restart", [False, True])
async def test_daylight_saving_is_logged_when_it_changes(
    events: Events, logged: Logged, moment: str, change: str, restart: bool
) -> None:
    """At 01:00 UTC in Berlin, both ways; also where the gateway was off at that moment; once."""
    switch = at(moment)
    watch = ClockWatch(events, lambda: BERLIN)
    for second in range(-3, 0):
        watch.tick(switch + second * 1000, 100.0 + second)
    assert await logged() == []
    if restart:
        watch = ClockWatch(events, lambda: BERLIN, switch - 1000)
    for second in range(5):
        watch.tick(switch + second * 1000, 100.0 + second)
    assert await logged() == [(3, f"Daylight saving time {change} (Europe/Berlin)")]
    assert (await events.recent())[-1].time_ms == switch
    later = ClockWatch(events, lambda: BERLIN, switch + 4000)
    later.tick(switch + 86_400_000, 1.0)
    assert await logged() == []


async def test_daylight_saving_begins_in_spring_in_ireland_too(events: Events, logged: Logged) -> None:
    """Where the time zone database has it the other way round: as the status of the clock object says it."""
    switch = at("2026-03-29T01:00:00+00:00")
    watch = ClockWatch(events, lambda: ZoneInfo("Europe/Dublin"), switch - 1000)
    watch.tick(switch, 1.0)
    assert await logged() == [(3, "Daylight saving time begins (Europe/Dublin)")]


async def test_another_time_zone_is_no_daylight_saving_change(events: Events, logged: Logged) -> None:
    """In July, from a zone with to one without."""
    zone = BERLIN
    july = at("2026-07-01T12:00:00+00:00")
    watch = ClockWatch(events, lambda: zone)
    watch.tick(july, 1.0)
    zone = ZoneInfo("UTC")
    watch.tick(july + 1000, 2.0)
    assert await logged() == []


# Meters and lines


@pytest.fixture
def readout(events: Events, clock: Any) -> Callable[..., None]:
    """Gives a `MeterWatch` with meter 1 the outcome of a readout: a status byte, or a state that is not good."""
    watch = MeterWatch(events)
    watch.install({1: "primary 5"}, {1: 0})

    def take(*outcomes: int | MeterState | None) -> None:
        for outcome in outcomes:
            if isinstance(outcome, MeterState):
                watch.readout(1, outcome, "It does not answer.", None, clock.ms)
            else:
                watch.readout(1, MeterState.OK, "", outcome, clock.ms)

    return take


async def test_a_meter_is_lost_after_three_failures_in_a_row_and_then_back(
    readout: Callable[..., None], logged: Logged
) -> None:
    """Each is logged once; a line that is down says nothing about the meter."""
    await logged()
    silent, garbled, down = MeterState.NO_ANSWER, MeterState.GARBLED, MeterState.LINE_DOWN
    readout(silent, silent, 0, silent, silent, 0, down, down, down, down)
    assert await logged() == []
    readout(silent, down, garbled, silent)
    assert await logged() == [(100, "It does not answer.")]
    readout(silent, silent, silent, silent)
    assert await logged() == []
    readout(0, 0)
    assert await logged() == [(101, "")]
    readout(silent, silent, silent)
    assert await logged() == [(100, "It does not answer.")]


async def test_a_status_byte_that_changes_is_4000_and_its_value(
    readout: Callable[..., None], logged: Logged
) -> None:
    """With the meaning of its bits; battery and permanent error, where they are new, have events of their own."""
    await logged()
    readout(0, 0, 0x04, 0x04)
    assert await logged() == [(4004, "power low (before: no error)"), (102, "")]
    readout(0x0C)
    assert await logged() == [(4012, "power low, permanent error (before: power low)"), (106, "")]
    readout(MeterState.NO_ANSWER, 0x0C, None, 0x0C)
    assert await logged() == []
    readout(0xF0)
    assert await logged() == [
        (4240, "temporary error, manufacturer's bits 111b (before: power low, permanent error)")
    ]
    readout(0x04)
    assert [code for code, _ in await logged()] == [4004, 102]
    readout(0xFF)
    assert [code for code, _ in await logged()] == [4255, 106]


async def test_the_state_of_meters_outlives_a_restart(store: Store, clock: Any) -> None:
    """A lost meter is not lost again, but back; a change of status over the restart is seen; installed is once."""
    for address in ("5", "6", "7"):
        await store.install_meter("cellar", address, 1)
    first = await Events.open(store, clock)
    watch = MeterWatch(first)
    watch.install({1: "primary 5", 2: "primary 6"}, {})
    for _ in range(3):
        watch.readout(1, MeterState.NO_ANSWER, "Silent.", None, clock.ms)
    watch.readout(2, MeterState.OK, "", 0x10, clock.ms)
    await first.close()
    events = await Events.open(store, clock)
    watch = MeterWatch(events)
    watch.install({1: "primary 5", 2: "primary 6", 3: "primary 7"}, {1: None, 2: 0x10})
    for _ in range(4):
        watch.readout(1, MeterState.NO_ANSWER, "Silent.", None, clock.ms)
    watch.readout(1, MeterState.OK, "", 0, clock.ms)
    watch.readout(2, MeterState.OK, "", 0x00, clock.ms)
    await events.close()
    assert [(event.meter, event.code, event.message) for event in await store.recent_events()] == [
        (1, 105, "primary 5"),
        (2, 105, "primary 6"),
        (1, 100, "Silent."),
        (3, 105, "primary 7"),
        (1, 101, ""),
        (2, 4000, "no error (before: temporary error)"),
    ]


async def test_a_reload_changes_nothing_for_meters_that_stay(
    events: Events, clock: Any, logged: Logged
) -> None:
    """Their count of failures goes on; one that was removed is forgotten."""
    watch = MeterWatch(events)
    watch.install({1: "primary 5", 2: "primary 6"}, {})
    await logged()
    watch.readout(1, MeterState.NO_ANSWER, "Silent.", None, clock.ms)
    watch.readout(1, MeterState.NO_ANSWER, "Silent.", None, clock.ms)
    watch.install({1: "primary 5"}, {1: None})
    for key in (1, 2, 2, 2):
        watch.readout(key, MeterState.NO_ANSWER, "Silent.", None, clock.ms)
    assert await logged() == [(100, "Silent.")]
    assert (await events.recent())[-1].meter == 1


def test_the_status_byte_is_where_the_header_has_one() -> None:
    """In a fixed data structure without the bits that say how counters are coded."""
    long = next(
        telegram
        for path in sorted(TELEGRAMS.glob("*.hex"))
        if (telegram := decode(bytes.fromhex(path.read_text()))).header == "long" and telegram.status
    )
    assert status_of(long) == long.status

    def frame(content: bytes) -> bytes:
        size = len(content)
        return bytes((0x68, size, size, 0x68)) + content + bytes((sum(content) % 256, 0x16))

    fixed = bytes.fromhex("080573 78563412 0A 0B E97E 01000000 35010000")
    assert decode(frame(fixed)).status == 0x0B
    assert status_of(decode(frame(fixed))) == 0x08
    assert status_of(decode(frame(bytes.fromhex("080578 0C1378563412")))) is None


async def test_a_line_that_stays_down_is_logged_once(events: Events, logged: Logged) -> None:
    """Not one that is only slow at the start, or comes back within half a minute, or was taken out."""
    watch = LineWatch(events)
    down = {"cellar": "It cannot be opened."}
    watch.tick(down, 0.0)
    watch.tick(down, LINE_DOWN_S - 1)
    watch.tick({}, LINE_DOWN_S)
    watch.tick(down, LINE_DOWN_S + 1)
    watch.tick(down, 2 * LINE_DOWN_S)
    assert await logged() == []
    watch.tick(down | {"attic": "Lost."}, 2 * LINE_DOWN_S + 1)
    watch.tick(down, 500.0)
    assert await logged() == [(16, "Line cellar is down: It cannot be opened.")]
    watch.tick({}, 501.0)
    watch.tick(down, 502.0)
    watch.tick(down, 502.0 + LINE_DOWN_S)
    assert [code for code, _ in await logged()] == [16]


# Clients


async def test_a_flood_of_failures_is_counted_and_not_logged_one_by_one(
    events: Events, logged: Logged
) -> None:
    """The first ten of a peer are, then each doubling; a new hour begins anew. Its ports are one peer."""
    now = 0.0
    security = SecurityLog(events, lambda: now)
    for number in range(100):
        security.failed(46, f"192.0.2.7:{50000 + number}", "client 1: wrong password")
    found = await logged()
    assert found[:10] == [
        (46, f"192.0.2.7:{50000 + number}: client 1: wrong password") for number in range(10)
    ]
    assert found[10:] == [
        (46, f"{count} failures from 192.0.2.7 within 1 h; last: client 1: wrong password")
        for count in (20, 40, 80)
    ]
    security.failed(50, "192.0.2.7:50000", "counter 5 after 7")
    security.failed(46, "[2001:db8::1]:50000", "no such client")
    assert await logged() == [
        (50, "192.0.2.7:50000: counter 5 after 7"),
        (46, "[2001:db8::1]:50000: no such client"),
    ]
    now = WINDOW_S
    security.failed(46, "192.0.2.7:50000", "client 1: wrong password")
    assert await logged() == [(46, "192.0.2.7:50000: client 1: wrong password")]
    last = events.last(None, Log.FRAUD)
    assert last is not None
    assert last.code == 46


async def test_failures_of_very_many_peers_leave_room_in_the_log(events: Events, logged: Logged) -> None:
    """Beyond the peers that are counted apart they are counted together."""
    security = SecurityLog(events, lambda: 0.0)
    security.failed(48, "192.0.2.7:1", "first")
    for peer in range(5000):
        for port in range(3):
            security.failed(46, f"10.0.{peer // 256}.{peer % 256}:{port}", "wrong password")
    found = await logged()
    assert found[0] == (48, "192.0.2.7:1: first")
    assert len(found) < PEERS * 10
    assert found[-1][1].endswith("failures from other peers within 1 h; last: wrong password")


# Settings


def test_what_changed_in_the_configuration_is_named_without_values() -> None:
    """By the names in config.toml; lines and meters by theirs."""
    old = Config(
        lines=(LineConfig("cellar"), LineConfig("attic")),
        meters=(MeterConfig("cellar", 5, "flat 1"), MeterConfig("cellar", 6)),
        obis={"load_profile_1": "1.0.99.1.0.255"},
    )
    new = dataclasses.replace(
        old,
        dlms=DlmsConfig(port=4060, authentication="low"),
        push=PushConfig(reports=(PushReportConfig(),)),
        lines=(LineConfig("cellar", baud=9600),),
        meters=(MeterConfig("cellar", "5", "flat 1", enabled=False), MeterConfig("cellar", 7)),
        obis={"load_profile_2": "1.0.99.2.0.255"},
    )
    assert changed_settings(old, old) == []
    assert changed_settings(old, new) == [
        "dlms.port",
        "dlms.authentication",
        "push.report",
        "obis.load_profile_1",
        "obis.load_profile_2",
        'line "cellar"',
        'line "attic" removed',
        'meter "flat 1"',
        'meter "6" removed',
        'meter "7" added',
    ]


def test_names_that_do_not_fit_are_counted() -> None:
    """A thousand new meters are one line."""
    assert change_message(["dlms.port", "dlms.host"]) == "dlms.port, dlms.host"
    message = change_message([f'meter "flat {number}" added' for number in range(1000)])
    assert message.startswith('meter "flat 0" added, ')
    assert message.endswith(" more")
    assert len(message.encode()) <= 128
    shown = message.count("flat")
    assert message.endswith(f", {1000 - shown} more")
    assert change_message(["x" * 200]) == "1 settings"

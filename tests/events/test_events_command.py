"""`cme-tui events`: the logs of a stopped and of a running gateway, as a person and as a script read them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import cme_tui

from core.clock import SystemClock
from core.events import Events
from core.statedir import StateDir
from core.store import Store

CONFIG = """
[gateway]
serial = "0016000000"
timezone = "Europe/Berlin"
[[line]]
name = "cellar"
url = "sim:"
[[meter]]
address = 5
name = "water, flat 1"
logical_device = 16
[[meter]]
address = "06855817.KAM.08.04"
logical_device = 17
"""

AUTUMN = 1_792_888_200_000
"""2026-10-25 00:30 UTC, half an hour before summer time ends in Berlin."""


def events(state_dir: Path, *arguments: str) -> CompletedProcess[str]:
    return cme_tui("--state-dir", str(state_dir), "events", *arguments)


async def _fill(state: StateDir, addresses: tuple[str, ...]) -> None:
    store = await Store.open(state.database)
    keys = [await store.install_meter("cellar", address, 1) for address in addresses]
    await store.learn_identity(keys[0], "12345678", "HYD", 37, 7)
    await store.remember("0016000000", {keys[2]: 18})
    await store.remove_meter(keys[2], 2)
    events = await Events.open(store, SystemClock())
    events.log(2, "Version 0.1.0", time_ms=AUTUMN)
    events.log(105, "primary 5", meter=keys[0], time_ms=AUTUMN + 1)
    events.log(46, "192.0.2.7:51034: wrong password", time_ms=AUTUMN + 3_600_000)
    events.log(4004, "power low (before: no error)", meter=keys[0], time_ms=AUTUMN + 3_600_500)
    events.log(100, "No answer.", meter=keys[1], time_ms=AUTUMN + 3_601_000)
    events.log(101, meter=keys[2], time_ms=AUTUMN + 3_602_000)
    await events.close()
    await store.close()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    state = StateDir(tmp_path)
    state.config.write_text(CONFIG)
    asyncio.run(_fill(state, ("5", "06855817.KAM.08.04", "9")))
    return tmp_path


def printed(state_dir: Path, *arguments: str) -> list[dict[str, object]]:
    done = events(state_dir, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    objects: list[dict[str, object]] = json.loads(done.stdout)
    return objects


def test_a_script_gets_one_object_an_event(state_dir: Path) -> None:
    """Newest last; times in UTC; a meter by its name, else its address, also one that was removed."""
    objects = printed(state_dir)
    assert objects[0] == {
        "time": "2026-10-25T00:30:00.000Z",
        "device": "gateway",
        "logical_device": 1,
        "log": "standard",
        "code": 2,
        "name": "Power up",
        "message": "Version 0.1.0",
    }
    assert [(one["device"], one["logical_device"], one["log"], one["code"]) for one in objects] == [
        ("gateway", 1, "standard", 2),
        ("water, flat 1", 16, "standard", 105),
        ("gateway", 1, "fraud", 46),
        ("water, flat 1", 16, "standard", 4004),
        ("meter 06855817.KAM.08.04", 17, "standard", 100),
        ("meter 9", 18, "standard", 101),
    ]
    assert objects[3]["name"] == "M-Bus status changed to 04h"


def test_a_person_gets_a_table_in_local_time(state_dir: Path) -> None:
    """With the offset from UTC: the hour at the end of summer time comes twice."""
    lines = events(state_dir).stdout.splitlines()
    assert lines[0].split() == ["time", "device", "log", "code", "name", "message"]
    assert lines[1].startswith("2026-10-25 02:30:00+02:00  gateway ")
    assert lines[3].startswith("2026-10-25 02:30:00+01:00  gateway ")
    assert lines[4].endswith("4004  M-Bus status changed to 04h         power low (before: no error)")
    assert len(lines) == 7


def test_a_spreadsheet_gets_csv(state_dir: Path) -> None:
    """RFC 4180, the columns of the JSON objects, times with their offset; filters hold too."""
    done = subprocess.run(
        [sys.executable, "-m", "cme_tui", "--state-dir", str(state_dir), "events", "--csv", "--last", "3"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.decode().split("\r\n")
    assert lines[0] == "time,device,logical_device,log,code,name,message"
    assert lines[1] == (
        '2026-10-25T02:30:00+01:00,"water, flat 1",16,standard,4004,M-Bus status changed to 04h,'
        "power low (before: no error)"
    )
    assert (len(lines), lines[-1]) == (5, "")


def test_a_code_is_explained_without_a_gateway(tmp_path: Path) -> None:
    """Cause, what to do, and the bits of a status byte, for people and for scripts."""
    said = events(tmp_path, "--explain", "4004").stdout
    assert said.startswith(
        "4004 M-Bus status changed to 04h\n\nCause\n  The status byte that the meter sends"
    )
    assert "\n\nWhat to do\n  Check its battery or supply.\n" in said
    assert "  bit 2     1    power low\n" in said
    explained = json.loads(events(tmp_path, "--explain", "46", "--json").stdout)
    assert (explained["name"], explained["gateway_log"]) == ("Association authentication failure", "fraud")
    assert explained["status"] == []


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        (("--last", "2"), [100, 101]),
        (("--log", "fraud"), [46]),
        (("--meter", "water, flat 1"), [105, 4004]),
        (("--meter", "12345678"), [105, 4004]),
        (("--meter", "17"), [100]),
        (("--meter", "1"), [2, 46]),
        (("--meter", "gateway", "--log", "standard"), [2]),
        (("--meter", "16", "--last", "1"), [4004]),
        (("--meter", "16", "--log", "fraud"), []),
    ],
)
def test_events_can_be_chosen(state_dir: Path, arguments: tuple[str, ...], codes: list[int]) -> None:
    """By device, by log, and the newest ones."""
    assert [one["code"] for one in printed(state_dir, *arguments)] == codes


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--meter", "water, flat 2"), 'there is no "water, flat 2"; did you mean water, flat 1?'),
        (("--meter", "999"), "there is no \"999\"; 'cme-tui meters list' shows what there is."),
        (("--log", "other"), "invalid choice: 'other'"),
        (("--json", "--csv"), "not allowed with argument"),
        (("--explain", "65536"), "a number from 0 to 65535 is needed"),
        (("--last", "0"), "a number from 1 to 1000000 is needed, not '0'"),
    ],
)
def test_what_does_not_exist_is_bad_usage(state_dir: Path, arguments: tuple[str, ...], says: str) -> None:
    """In one line on stderr that says what there is."""
    done = events(state_dir, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_gateway_that_never_ran_has_no_events(tmp_path: Path) -> None:
    """The sentence says what to do, and nothing is made."""
    done = events(tmp_path, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "start the gateway once" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_log_is_said(tmp_path: Path) -> None:
    """An empty list for a script."""
    asyncio.run(_close_new(StateDir(tmp_path)))
    assert events(tmp_path).stdout == "There are no events.\n"
    assert events(tmp_path, "--json").stdout == "[]\n"


async def _close_new(state: StateDir) -> None:
    await (await Store.open(state.database)).close()


async def test_the_logs_of_a_running_gateway_can_be_read(state_dir: Path) -> None:
    """What is durable is there while it goes on writing."""
    store = await Store.open(StateDir(state_dir).database)
    events = await Events.open(store, SystemClock())
    events.log(47, "dlms.port")
    await events.flush()
    objects = await asyncio.to_thread(printed, state_dir, "--last", "1")
    assert [(one["code"], one["message"]) for one in objects] == [(47, "dlms.port")]
    await events.close()
    await store.close()

"""`cme-tui listen` as a technician runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_process import LIMIT, Process
from push_samples import GATEWAY, KEYS, NOON, SAMPLES, apdu, framed, profile, push

from core.cosem import names
from core.push import notification, payload
from core.secrets import Secrets, save_secrets
from core.store.records import Log

PROFILE = framed(apdu("load_profile_1"))


@contextmanager
def listening(*arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[Process, int]]:
    process = Process("listen", "--port", "0", "--host", "127.0.0.1", *arguments, env=env)
    try:
        yield process, int(process.wait_for(r"^Listening for notifications on 127\.0\.0\.1:(\d+):")[1])
    finally:
        process.stop(signal.SIGKILL)


def next_json(process: Process) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(process.wait_for(r"^(\{.*\})$")[1])
    return line


def test_a_profile_is_one_line_of_json() -> None:
    """Exact values as decimal text, times with the offset to UTC, null for what is missing."""
    with listening("--json") as (process, port):
        assert push(port, PROFILE) == "closed"
        line = next_json(process)
        assert process.stop() == 0
    assert line.pop("received").endswith("Z")
    assert line.pop("source").startswith("127.0.0.1:")
    assert line == {
        "type": "load_profile_1",
        "gateway": "ELV0016000000",
        "meter": "HYD123456780725",
        "setup": "0.1.25.9.0.255",
        "object": "1.0.99.1.0.255",
        "rows": [
            {
                "time": "2026-01-09T13:00:00+01:00",
                "values": [
                    {"object": "8.0.1.0.0.255", "value": "85.946", "unit": "m³"},
                    {"object": "6.0.1.0.0.255", "value": "4711000", "unit": "Wh"},
                    {"object": "8.0.0.0.0.255", "value": "12345678", "unit": ""},
                ],
            },
            {
                "time": "2026-01-09T13:15:00+01:00",
                "values": [
                    {"object": "8.0.1.0.0.255", "value": None, "unit": "m³"},
                    {"object": "6.0.1.0.0.255", "value": "4712000", "unit": "Wh"},
                    {"object": "8.0.0.0.0.255", "value": "009f", "unit": ""},
                ],
            },
        ],
        "ciphered": False,
        "report_id": 17,
    }


def test_the_other_types_are_lines_of_json() -> None:
    """Events with codes and messages; the address on installation; the reason where it cannot be read."""
    unknown = notification.encode(3, b"", b"\x11\x07")
    with listening("--json") as (process, port):
        push(port, framed(apdu("standard_event_log"), apdu("on_installation"), unknown))
        log, installed, problem = (next_json(process) for _ in range(3))
        assert process.stop(signal.SIGINT) == 0
    assert (log["type"], log["meter"]) == ("standard_event_log", None)
    assert log["events"] == [
        {"time": "2026-01-09T13:00:00+01:00", "object": "0.0.96.11.0.255", "code": 2, "message": ""},
        {
            "time": "2026-07-09T13:00:00+02:00",
            "object": "0.0.96.11.0.255",
            "code": 47,
            "message": "dlms.port",
        },
    ]
    assert (installed["type"], installed["address"]) == ("on_installation", "192.168.1.2")
    assert (problem["type"], problem["apdu"]) == (None, unknown.hex())
    assert problem["problem"] == "The body is no structure."


def test_people_get_text() -> None:
    """Names, local times, scaled values with units, events by name."""
    with listening("--count", "2") as (process, port):
        push(port, PROFILE + framed(apdu("standard_event_log")))
        process.wait_for(r"load profile 1, report 17, plain$")
        process.wait_for(r"^  ELV0016000000 HYD123456780725 1\.0\.99\.1\.0\.255$")
        process.wait_for(r"^  2026-01-09 13:00:00 \+0100$")
        process.wait_for(r"^    8\.0\.1\.0\.0\.255 +85\.946 m³$")
        process.wait_for(r"--")
        process.wait_for(r"^  2026-01-09 13:00:00 \+0100 +2 Power up$")
        process.wait_for(r" 47 One or more parameters changed: dlms\.port$")
        assert process.process.wait(LIMIT) == 0


def test_a_terminal_without_the_letter_loses_no_notification() -> None:
    """m³ on a terminal that has ASCII only."""
    with listening(env={"PYTHONIOENCODING": "ascii"}) as (process, port):
        assert push(port, PROFILE) == "closed"
        process.wait_for(r"85\.946 m\?$")


def test_a_sender_cannot_steer_the_terminal() -> None:
    """Escape sequences in a message are shown as question marks."""
    body = payload.gateway_log(
        GATEWAY,
        names.PUSH_GATEWAY_STANDARD_EVENT_LOG,
        names.STANDARD_EVENT_LOG,
        [payload.event(NOON, Log.STANDARD, 47, "\x1b[2Jgone\nnew\x9b1m")],
    )
    with listening("--count", "1") as (process, port):
        push(port, framed(notification.encode(1, b"", body)))
        process.wait_for(r"parameters changed: \?\[2Jgone\?new\?1m$")


def test_it_ends_after_so_many_and_the_sender_of_the_last_hears_of_it() -> None:
    """What could not be read does not count."""
    with listening("--json", "--count", "2") as (process, port):
        assert push(port, framed(b"\x11\x07")) == "closed"
        assert push(port, PROFILE) == "closed"
        assert push(port, PROFILE) == "closed"
        assert process.process.wait(LIMIT) == 0


def test_the_sender_of_the_last_one_may_take_its_time() -> None:
    """Its connection is closed in order although the command listens no more."""
    with listening("--json", "--count", "1") as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as link:
            link.sendall(PROFILE)
            next_json(process)
            deadline = time.monotonic() + LIMIT
            while push(port, PROFILE) != "refused":
                assert time.monotonic() < deadline
            link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b""
        assert process.process.wait(LIMIT) == 0


def write_keys(folder: Path) -> dict[str, list[str]]:
    state = folder / "state"
    state.mkdir()
    save_secrets(
        state / "secrets.toml",
        Secrets("password", bytes(range(32, 48)), KEYS.authentication, KEYS.encryption),
    )
    (folder / "ek").write_text(KEYS.encryption.hex().upper() + "\n")
    (folder / "ak").write_text(KEYS.authentication.hex())
    files = [
        "--encryption-key-file", str(folder / "ek"), "--authentication-key-file", str(folder / "ak"),
    ]  # fmt: skip
    return {"state": ["--keys-from", str(state)], "files": files, "environment": []}


@pytest.mark.parametrize("way", ["state", "files", "environment"])
def test_ciphered_ones_are_opened_with_keys_from_anywhere(tmp_path: Path, way: str) -> None:
    """The gateway's state directory, two files, the environment."""
    arguments = write_keys(tmp_path)[way]
    env = {
        "CME_ENCRYPTION_KEY": KEYS.encryption.hex(),
        "CME_AUTHENTICATION_KEY": KEYS.authentication.hex(),
    }
    with listening("--json", *arguments, env=env if way == "environment" else None) as (process, port):
        assert push(port, framed(apdu("load_profile_2", counter=5))) == "closed"
        line = next_json(process)
        assert (line["type"], line["ciphered"]) == ("load_profile_2", True)
        assert push(port, framed(apdu("load_profile_2", counter=5))) == "closed"
        assert "must be above 5" in next_json(process)["problem"]
        assert KEYS.encryption.hex() not in Path(f"/proc/{process.process.pid}/cmdline").read_text()


def test_the_codes_of_the_gateway_are_those_of_its_state_directory(tmp_path: Path) -> None:
    """Its dialect, and its own ones in config.toml."""
    arguments = write_keys(tmp_path)["state"]
    (tmp_path / "state" / "config.toml").write_text(
        '[dlms]\ndialect = "idis"\n[obis]\npush_billing_profile = "0.9.25.9.0.255"\n'
    )
    body = profile(bytes((0, 9, 25, 9, 0, 255)), bytes((0, 1, 24, 3, 2, 255)))
    with listening("--json", *arguments) as (process, port):
        push(port, framed(notification.encode(1, b"", body)))
        line = next_json(process)
    assert (line["type"], line["object"]) == ("billing_profile", "0.1.24.3.2.255")


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cme_tui", "listen", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize(
    ("arguments", "env", "code", "message"),
    [
        (["--port", "70000"], {}, 2, "a port is a number from 0 to 65535"),
        (["--port", "0", "--misbehave", "sulk"], {}, 2, '"sulk" is no behaviour'),
        (["--port", "0", "--seed", "1"], {}, 2, "--seed is for --misbehave"),
        (["--port", "0"], {"CME_ENCRYPTION_KEY": "00" * 16}, 2, "Give both keys"),
        (
            ["--port", "0"],
            {"CME_ENCRYPTION_KEY": "0123"},
            2,
            "CME_ENCRYPTION_KEY must be a key of 32 hex digits",
        ),
        (["--port", "0", "--keys-from", "/nowhere"], {}, 2, "/nowhere/secrets.toml does not exist"),
        (["--port", "0", "--host", "192.0.2.1"], {}, 1, "Cannot listen on 192.0.2.1:0"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], env: dict[str, str], code: int, message: str) -> None:
    """What is wrong; never a value of a key."""
    done = run(*arguments, env=env)
    assert done.returncode == code
    assert message in done.stderr
    assert "0123" not in done.stderr.replace("0123456789", "")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_receiver_that_is_killed_with_a_notification_in_its_hands_resets_the_connection() -> None:
    """So that the gateway never takes it for delivered."""
    with listening("--json") as (process, port):
        link = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        link.sendall(PROFILE)
        next_json(process)
        process.stop(signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            link.recv(1)
        link.close()


def test_one_that_is_to_die_ends_without_a_word() -> None:
    """The sender sees a reset, the technician nothing."""
    with listening("--json", "--misbehave", "die") as (process, port):
        assert push(port, PROFILE) == "reset"
        assert process.process.wait(LIMIT) == 1
    assert not any(line.startswith("{") for line in process.lines)


def test_it_misbehaves_in_turn() -> None:
    """From the start of the list again."""
    with listening("--json", "--misbehave", "drop,take") as (_, port):
        assert [push(port, PROFILE) for _ in range(4)] == ["reset", "closed", "reset", "closed"]


def test_nobody_reading_any_more_is_no_delivery() -> None:
    """Where the output leads nowhere the connection is reset and the command ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cme_tui", "listen", "--port", "0", "--host", "127.0.0.1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        port = int(process.stderr.readline().split(":")[1])
        process.stdout.close()
        assert push(port, PROFILE) == "reset"
        assert process.wait(LIMIT) == 1
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.stderr.close()


def test_every_sample_has_a_line() -> None:
    """None is a problem."""
    with listening("--json") as (process, port):
        assert push(port, framed(*(apdu(name) for name in SAMPLES))) == "closed"
        assert not any("problem" in next_json(process) for _ in SAMPLES)

"""The control socket: who may use it, what it answers, and what no client can do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from dlms_wire import Wire, aarq

from cme_tui.client import ClientError, ask, connect
from core.clock import SystemClock
from core.control import LONGEST_REQUEST, MOST_CLIENTS, ControlError, ControlServer, short_path
from core.trace import AT_ONCE

LIMIT = 20.0

Controlled = Callable[..., AbstractContextManager[Any]]


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.02)


def raw(path: Path, request: bytes) -> bytes:
    """What comes back for these bytes, to the end of the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LIMIT)
        connection.connect(str(path))
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def exchange(port: int, password: bytes) -> bytes:
    async def run() -> bytes:
        async with Wire(port) as wire:
            return await wire.ask(aarq(password))

    return asyncio.run(run())


def test_only_the_owner_may_open_the_socket(gateway: Any, tmp_path: Path) -> None:
    """Mode 0600, whatever the umask is."""
    mode = (tmp_path / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_sent_away(controlled: Controlled, tmp_path: Path) -> None:
    """Even where the mode of the socket was opened by hand, a process of another user gets nothing but a sentence."""
    other = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        's.connect(sys.argv[1]); s.sendall(b\'{"call": "status"}\\n\'); sys.stdout.write(repr(s.recv(4096)))'
    )
    place = Path("/tmp") / f"cme-control-{os.getpid()}"  # pytest's own directories are closed to others
    place.mkdir(mode=0o755)
    try:
        with controlled(place / "control.sock"):
            (place / "control.sock").chmod(0o666)
            done = subprocess.run(
                [sys.executable, "-c", other, str(place / "control.sock")],
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        assert "Only the user that the gateway runs as" in done.stdout, done
    finally:
        place.rmdir()


def test_status_is_the_whole_picture_in_one_line(gateway: Any, tmp_path: Path) -> None:
    """Name, server, lines, meters and clients, with stable keys and times in UTC."""
    answer = raw(tmp_path / "control.sock", b'{"call": "status"}\n')
    assert answer.count(b"\n") == 1
    status = json.loads(answer)
    assert (status["name"], status["serial"]) == ("Cellar 3", "0016000000")
    assert status["dlms"]["port"] == 4059
    assert (status["dlms"]["policy"], status["dlms"]["frame_counter"]) == ("none", 1266)
    assert status["time"] == "2026-01-09T12:00:00.000Z"
    assert [meter["state"] for meter in status["meters"]].count("no answer") == 1
    assert status["associations"][0]["client"] == "management (1)"
    # Nothing has happened for an hour, and a HES has set the clock 2 s ahead: ages go on all the same.
    gateway.now_ms += 3_600_000
    gateway.current = replace(gateway.current, clock_offset_ms=2000)
    assert ask(tmp_path, "status")["time"] == "2026-01-09T13:00:02.000Z"


def test_associations_come_with_what_happened(gateway: Any, tmp_path: Path) -> None:
    """A refused client stands in the log with its reason."""
    exchange(gateway.port, b"wrong")
    until(
        "the disconnection",
        lambda: (
            ask(tmp_path, "associations")["log"][-1:]
            and ask(tmp_path, "associations")["log"][-1]["event"] == "disconnected"
        ),
    )
    log = ask(tmp_path, "associations")["log"]
    assert [event["event"] for event in log] == ["connected", "refused", "disconnected"]
    assert log[1]["text"] == "authentication failure (wrong password, or unfit challenge)"
    assert (log[1]["client"], log[1]["logical_device"]) == (1, 16)


def test_reload_and_read_do_what_they_say(gateway: Any, tmp_path: Path) -> None:
    """A command reaches the gateway, and its result comes back."""
    assert ask(tmp_path, "reload") == {"reloaded": True}
    meter = ask(tmp_path, "read", logical_device=2)
    assert gateway.commands == ["reload", "read 1"]
    assert meter["name"] == "water kitchen"
    assert any(value["obis"] == "8.0.1.0.0.255" for value in meter["values"])


def test_a_command_that_fails_says_why(gateway: Any, tmp_path: Path) -> None:
    """The sentence of the gateway is the error of the client."""
    with pytest.raises(ClientError, match="gas boiler does not answer at primary 5"):
        ask(tmp_path, "read", logical_device=6)
    with pytest.raises(ClientError, match="No meter has the logical device 99"):
        ask(tmp_path, "read", logical_device=99)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (b"\n", "one JSON object"),
        (b"status\n", "one JSON object"),
        (b"[]\n", "one JSON object"),
        (b"\xff\xfe\n", "one JSON object"),
        (b"[" * 4000 + b"\n", "one JSON object"),
        (b'{"call": "explode"}\n', "There is no call 'explode'"),
        (b'{"call": ["status"]}\n', "There is no call ['status']"),
        (b'{"call": "push_samples", "host": "", "port": 4059}\n', "A receiver has a host"),
        (b'{"call": "push_samples", "host": "localhost", "port": true}\n', "a port from 1 to 65535"),
        (b'{"call": "status", "x": "' + b"x" * LONGEST_REQUEST + b'"}\n', f"at most {LONGEST_REQUEST} bytes"),
        # Not much longer: what the gateway does not take must fit into the socket's buffer.
        (b"x" * (LONGEST_REQUEST + 10_000), f"at most {LONGEST_REQUEST} bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_request_is_answered_with_a_sentence(
    gateway: Any, tmp_path: Path, request_: bytes, sentence: str
) -> None:
    """Whatever comes: one line that says what is wrong, and the socket serves the next one."""
    answer = json.loads(raw(tmp_path / "control.sock", request_))
    assert sentence in answer["error"]
    assert ask(tmp_path, "status")["name"] == "Cellar 3"


def test_a_client_that_says_nothing_is_let_go(
    gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a sentence when its time is over; others are served meanwhile."""
    monkeypatch.setattr("core.control.REQUEST_S", 0.3)
    assert b"No request came" in raw(tmp_path / "control.sock", b"")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(tmp_path / "control.sock"))
        assert ask(tmp_path, "status")["name"] == "Cellar 3"


def test_many_clients_at_once_are_served_and_more_are_told(gateway: Any, tmp_path: Path) -> None:
    """Each of the many sees the traffic; one too many gets a sentence, and the place of one that left is free."""
    gateway.trace(0).result(LIMIT)
    with ExitStack() as leaving:
        for number in range(MOST_CLIENTS):
            lines = leaving.enter_context(connect(tmp_path)).call("trace")
            assert next(lines) == {"watching": True}
            gateway.thread.submit(gateway.service.note(f"192.0.2.7:{number}", 1, 10))
            assert "trace" in next(lines)
        with pytest.raises(ClientError, match="use the control socket already"):
            ask(tmp_path, "status")
    until("a free place", lambda: b'{"error"' not in raw(tmp_path / "control.sock", b'{"call": "status"}\n'))


def test_a_client_that_does_not_read_is_cut_off(
    controlled: Controlled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large answer that nobody takes ends with the connection; others never notice."""
    monkeypatch.setattr("core.control.WRITE_S", 0.3)
    with controlled(tmp_path / "control.sock", meters=3000):
        stuck = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stuck.connect(str(tmp_path / "control.sock"))
        stuck.sendall(b'{"call": "status"}\n')
        assert len(ask(tmp_path, "status")["meters"]) == 3000
        time_up = time.monotonic() + LIMIT
        while _is_open(stuck):
            assert time.monotonic() < time_up
            time.sleep(0.05)
        received = b""
        stuck.settimeout(LIMIT)
        # What the test itself sent last may make it a reset instead of an end.
        with contextlib.suppress(ConnectionResetError):
            while part := stuck.recv(1 << 20):
                received += part
        stuck.close()
        assert not received.endswith(b"\n")


def _is_open(connection: socket.socket) -> bool:
    try:
        connection.send(b"\n", socket.MSG_DONTWAIT)
    except (BrokenPipeError, ConnectionResetError):
        return False
    except BlockingIOError:
        return True
    return True


def test_the_trace_goes_on_over_what_is_handed_out_at_once(gateway: Any, tmp_path: Path) -> None:
    """More APDUs than one answer holds come in order, none twice, and none that were recorded before."""
    gateway.trace(0).result(LIMIT)
    gateway.thread.submit(gateway.service.note("192.0.2.7:1", AT_ONCE + 5, 10)).result(LIMIT)
    with connect(tmp_path) as client:
        lines = client.call("trace")
        assert next(lines) == {"watching": True}
        gateway.thread.submit(gateway.service.note("192.0.2.7:1", 2 * AT_ONCE + 5, 10)).result(LIMIT)
        new = [line["trace"]["id"] for line in islice(lines, 2 * AT_ONCE + 5)]
    assert new == list(range(AT_ONCE + 6, 3 * AT_ONCE + 11))


def test_nothing_is_recorded_while_nobody_watches(gateway: Any, tmp_path: Path) -> None:
    """The server is asked for APDUs from the first look on, and no longer when the watchers are gone."""
    log = gateway.service.log
    gateway.thread.submit(gateway.service.note("192.0.2.7:1", 3, 10)).result(LIMIT)
    assert not log.tracing
    assert gateway.trace(0).result(LIMIT) == ()
    assert log.tracing


def test_a_follower_sees_events_as_they_come(gateway: Any, tmp_path: Path) -> None:
    """What happened before is not repeated; what happens arrives."""
    exchange(gateway.port, b"before")
    until("the event", lambda: gateway.service.log.events()[-1].event == "disconnected")
    seen: list[dict[str, Any]] = []
    with connect(tmp_path) as client:
        lines = client.call("trace")
        assert next(lines) == {"watching": True}
        watching = threading.Thread(target=lambda: seen.extend(_events(lines, 3)))
        watching.start()
        exchange(gateway.port, b"wrong")
        watching.join(LIMIT)
    assert [event["event"] for event in seen] == ["connected", "refused", "disconnected"]
    assert {event["peer"] for event in seen}.isdisjoint({gateway.service.log.events()[0].peer})


def _events(lines: Iterator[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in lines:
        if "event" in line:
            found.append(line["event"])
        if len(found) == number:
            break
    return found


def test_a_socket_that_a_crash_left_is_replaced(controlled: Controlled, tmp_path: Path) -> None:
    """A dead socket file keeps no gateway from serving."""
    script = (
        "import os, socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1]); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "control.sock"
    killed = subprocess.run([sys.executable, "-c", script, str(path)], timeout=LIMIT)
    assert killed.returncode == -signal.SIGKILL
    assert path.is_socket()
    with pytest.raises(ClientError, match=f"No gateway is running on {tmp_path}"):
        connect(tmp_path)
    with controlled(path):
        assert ask(tmp_path, "status")["name"] == "Cellar 3"
    assert not path.exists()


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    """Somebody's file in its place stays, and a sentence says what to do."""
    path = tmp_path / "control.sock"
    path.write_text("mine")

    async def begin() -> None:
        await ControlServer(None, path, SystemClock()).start()  # type: ignore[arg-type]

    with pytest.raises(ControlError, match="cannot be made"):
        asyncio.run(begin())
    assert path.read_text() == "mine"


def test_a_directory_with_a_very_long_name_is_fine(controlled: Controlled, tmp_path: Path) -> None:
    """Longer than a socket address."""
    place = tmp_path / ("long" * 30) / ("name" * 30)
    place.mkdir(parents=True)
    with controlled(place / "control.sock"):
        assert ask(place, "status")["name"] == "Cellar 3"


def test_no_gateway_is_told_in_a_sentence(tmp_path: Path) -> None:
    """What is missing, where, and the command that starts it."""
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(ClientError) as caught:
            connect(place)
        assert str(caught.value) == (
            f"No gateway is running on {place}: start it with cme-tui --headless --state-dir {place}."
        )


def test_a_short_path_reaches_the_same_file(tmp_path: Path) -> None:
    """It is short, and what is made through it stands in the directory."""
    with short_path(tmp_path / "x") as short:
        assert len(short) < 40
        Path(short).write_text("x")
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize("call", ["configure", "set_secrets"])
@pytest.mark.parametrize(
    "values", ["", ', "values": null', ', "values": []', ', "values": {}', ', "values": "x"']
)
def test_a_change_without_values_is_refused(gateway: Any, tmp_path: Path, call: str, values: str) -> None:
    """With what the call takes; the gateway hears nothing of it."""
    answer = json.loads(raw(tmp_path / "control.sock", f'{{"call": "{call}"{values}}}\n'.encode()))
    assert "an object with a name and a value for each change" in answer["error"]
    assert gateway.commands == []


def test_changes_reach_the_gateway(gateway: Any, tmp_path: Path) -> None:
    """Each with one line for an answer."""
    assert ask(tmp_path, "configure", values={"dlms.port": 4060}) == {"saved": True}
    assert ask(tmp_path, "undo") == {"restored": {"dlms.port": None}}
    assert ask(tmp_path, "set_secrets", values={"lls_password": "x"}) == {"saved": True}
    assert gateway.commands == ["configure {'dlms.port': 4060}", "undo", "set secrets lls_password"]

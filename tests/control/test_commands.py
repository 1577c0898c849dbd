"""`cme-tui status` and `cme-tui trace` against a gateway in a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dlms_wire import Wire, aarq, get
from gateway_process import LIMIT, GatewayProcess, Process

from tests.conftest import TELEGRAMS

NAME = get(1, bytes((0, 0, 42, 0, 0, 255)), 2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("demo"), "--demo")
    yield gateway
    assert gateway.stop() == 0


def cme_tui(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cme_tui", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        stdin=subprocess.DEVNULL,
    )


def password(gateway: GatewayProcess) -> str:
    shown = cme_tui("secrets", "show", "--json", "--state-dir", str(gateway.state_dir))
    return str(json.loads(shown.stdout)["lls_password"])


def watch(gateway: GatewayProcess, *arguments: str) -> Process:
    """`cme-tui trace` that is watching."""
    process = Process("trace", "--state-dir", str(gateway.state_dir), *arguments)
    process.wait_for("Watching the DLMS port")
    return process


async def test_status_shows_endpoint_meters_and_clients(demo: GatewayProcess) -> None:
    """A technician sees without a UI whether all is well."""
    demo.wait_until("every reading", lambda meters: all(meter["status"] == "ok" for meter in meters))
    async with Wire(demo.port) as wire:
        await wire.ask(aarq(password(demo).encode()))
        done = cme_tui("status", "--state-dir", str(demo.state_dir))
        assert done.returncode == 0
        assert f"DLMS server listens on 127.0.0.1:{demo.port}, 9 logical devices" in done.stdout
        assert "Security: authentication low or higher, policy none, frame counter 0\n" in done.stdout
        assert "8 meters: 8 ok" in done.stdout
        status = json.loads(cme_tui("status", "--json", "--state-dir", str(demo.state_dir)).stdout)
    assert status["dlms"]["port"] == demo.port
    assert len(status["meters"]) == 8
    assert [line["state"] for line in status["lines"]] == ["up"]
    assert status["alarms"] == []


@pytest.mark.parametrize("command", ["status", "trace"])
def test_without_a_gateway_a_sentence_says_what_to_do(command: str, tmp_path: Path) -> None:
    """Exit code 1, one line on stderr, nothing on stdout."""
    done = cme_tui(command, "--state-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"cme-tui: No gateway is running on {tmp_path}: start it with cme-tui --headless --state-dir {tmp_path}.\n"
    )


async def test_trace_shows_requests_and_answers(demo: GatewayProcess) -> None:
    """Each APDU with its tree, events between them, and no password; Ctrl+C ends it."""
    secret = password(demo)
    trace = watch(demo, "--hex")
    try:
        async with Wire(demo.port, server=1) as wire:
            await wire.ask(aarq(b"wrong"))
        trace.wait_for("refused: authentication failure")
        async with Wire(demo.port, server=1) as wire:
            await wire.ask(aarq(secret.encode()))
            trace.wait_for(r"1->1 .* AARQ authentication low$")
            trace.wait_for(r"authentication value: \(not shown\)")
            await wire.ask(NAME)
            trace.wait_for(r"> 127.0.0.1:\d+  1->1 .* GET request normal 1 0.0.42.0.0.255 attribute 2$")
            trace.wait_for(r"    class: 1 data")
            trace.wait_for(r"<.*GET response normal octet-string \"ELV\d{10}\"")
        await asyncio.to_thread(trace.wait_for, "disconnected")  # the loop closes the connection meanwhile
        assert trace.stop(signal.SIGINT) == 0
        assert not any(
            secret in line or secret.encode().hex() in line.replace(" ", "") for line in trace.lines
        )
    finally:
        trace.process.kill()


async def test_trace_as_json_ends_after_the_first_answer(demo: GatewayProcess) -> None:
    """One object a line with stable keys; --once ends it, --peer keeps others out."""
    others = watch(demo, "--json", "--peer", "192.0.2.1")
    trace = watch(demo, "--json", "--once", "--peer", "127.0.0.1")
    try:
        async with Wire(demo.port, server=1) as wire:
            await wire.ask(aarq(b"wrong"))
        sent = json.loads(trace.wait_for(r'.*"sent": true.*')[0])["trace"]
        assert trace.process.wait(LIMIT) == 0
        assert list(sent) == [
            "id", "time", "peer", "client", "logical_device", "sent", "protection", "size", "title", "apdu", "parts",
        ]  # fmt: skip
        assert sent["sent"] is True
        assert sent["title"] == "AARE rejected for good authentication failure"
        assert {"depth", "label", "value", "offset", "length"} == set(sent["parts"][0])
        assert others.stop(signal.SIGINT) == 0
        assert not any(line.startswith("{") for line in others.lines)
    finally:
        trace.process.kill()
        others.process.kill()


def test_each_command_loads_by_itself_and_only_when_it_is_given() -> None:
    """In a Python that has loaded nothing else, each says what it takes; `decode` loads no database."""
    listed = re.findall(r"^ {4}(\w+) ", cme_tui("--help").stdout, re.MULTILINE)
    assert {"decode", "meters", "push", "screenshots"} < set(listed)
    for command in listed:
        done = cme_tui(command, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: cme-tui {command} ")
    loading = [sys.executable, "-X", "importtime", "-m", "cme_tui", "decode", str(TELEGRAMS / "frame2.hex")]
    done = subprocess.run(loading, capture_output=True, text=True, timeout=LIMIT)
    loaded = set(re.findall(r"\S+$", done.stderr, re.MULTILINE))
    assert (done.returncode, "core.mbus.telegram" in loaded) == (0, True)
    assert not loaded & {"sqlite3", "asyncio", "textual", "cme_tui.commands.push"}

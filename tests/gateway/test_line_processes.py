"""Lines that are missing, that hang, or that other programs have: the gateway starts, serves, and stops."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_process import LIMIT, GatewayProcess, Process

from cme_tui.client import ask
from core.secrets import load_secrets
from tests.interop.library import Client, Library

WATER, HEAT = "70112345.ELS.0A.07", "06855817.KAM.08.04"
VOLUME = "8.0.1.0.0.255"

BLOCKING_DRIVER = """
import sys, threading, serial
from cme_tui.__main__ import main
from core.mbus import master

class Port(serial.Serial):
    def open(self):
        print("opening", file=sys.stderr, flush=True)
        threading.Event().wait()

serial.Serial = Port
master.SLOW_OPENING = 0.5
sys.exit(main())
"""

BLOCKING_NAME_SERVER = """
import socket, sys, threading
from cme_tui.__main__ import main

known = socket.getaddrinfo

def look_up(host, *rest, **more):
    if host == "converter.example":
        print("looking up", file=sys.stderr, flush=True)
        threading.Event().wait()
    return known(host, *rest, **more)

socket.getaddrinfo = look_up
sys.exit(main())
"""

Start = Callable[..., GatewayProcess]
Simulate = Callable[..., str]


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    library = Library("pydlms")
    yield library
    library.stop()


@pytest.fixture
def silent_converter() -> Iterator[str]:
    """A level converter that accepts connections and says nothing, never reads either; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"tcp:127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def stuck_port() -> Iterator[str]:
    """A serial port from which nobody takes what was sent: its buffer is full; the URL."""
    own, other = os.openpty()
    tty.setraw(other)
    os.set_blocking(other, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(other, bytes(512))
    path = os.ttyname(other)
    os.close(other)
    yield f"serial:{path}"
    os.close(own)


def configure(state_dir: Path, *lines: tuple[str, str]) -> Path:
    """Lines, each a URL and the address of its meter, whose logical devices are 16, 17 ..."""
    state_dir.mkdir(exist_ok=True)
    (state_dir / "config.toml").write_text(
        '[dlms]\nhost = "127.0.0.1"\nauthentication = "low"\n'
        + "".join(
            f'[[line]]\nname = "line {number}"\nurl = "{url}"\nbaud = 2400\n'
            f'[[meter]]\nline = "line {number}"\naddress = "{address}"\nlogical_device = {16 + number}\n'
            for number, (url, address) in enumerate(lines)
        )
    )
    return state_dir


def until(state_dir: Path, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look at the status until it is as wanted."""
    deadline = time.monotonic() + LIMIT
    while not holds(status := ask(state_dir, "status")):
        assert time.monotonic() < deadline, f"{what} never came: {status}"
        time.sleep(0.1)
    return status


async def volume(library: Library, gateway: GatewayProcess, device: int) -> int:
    """What a DLMS client reads."""
    client = Client(library, "client")
    password = load_secrets(gateway.state_dir / "secrets.toml").lls_password
    await client.open(port=gateway.port, server=device, level="low", password=password)
    return int(await client.get(3, VOLUME, 2))


@pytest.mark.parametrize("hanging", ["silent_converter", "stuck_port"])
async def test_line_that_hangs_stops_nothing_else(
    hanging: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    start: Start,
    simulate: Simulate,
    library: Library,
) -> None:
    """The gateway starts, reads and serves the other lines, tells of the silent meter, and ends on SIGTERM."""
    url = request.getfixturevalue(hanging)
    configure(tmp_path, (url, HEAT), (simulate("--tcp", "0"), WATER))
    gateway = start(tmp_path)
    gateway.wait_until("the readings", lambda meters: [m["status"] for m in meters] == ["no answer", "ok"])
    assert await volume(library, gateway, 17) > 0
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for("Configuration reloaded")
    assert gateway.stop() == 0


async def test_gateway_starts_without_its_lines(
    tmp_path: Path, start: Start, simulate: Simulate, library: Library
) -> None:
    """A port that is not there, a converter that refuses: an alarm each, what to do in it, and the rest is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    missing = tmp_path / "ttyUSB0"
    configure(
        tmp_path,
        (f"serial:{missing}", HEAT),
        (simulate("--tcp", "0"), WATER),
        (f"tcp:127.0.0.1:{nobody}", "5"),
    )
    gateway = start(tmp_path)
    gateway.wait_until(
        "the states", lambda meters: [m["status"] for m in meters] == ["line down", "ok", "line down"]
    )
    alarms = ask(tmp_path, "status")["alarms"]
    assert f"Line line 0: There is no serial port {missing}: check its name" in alarms[0]
    assert f"Line line 2: The level converter 127.0.0.1:{nobody} refuses the connection" in alarms[1]
    assert await volume(library, gateway, 17) > 0
    missing.symlink_to(simulate("--pty").removeprefix("serial:"))
    gateway.wait_until("the line", lambda meters: meters[0]["status"] == "ok")
    assert gateway.stop() == 0


def test_two_gateways_on_one_serial_port(tmp_path: Path, start: Start, simulate: Simulate) -> None:
    """The second says who has the port, by name and process, and gets it when the first one ends."""
    url = simulate("--pty")
    first = start(configure(tmp_path / "first", (url, WATER)))
    first.wait_until("the reading", lambda meters: meters[0]["status"] == "ok")
    second = start(configure(tmp_path / "second", (url, WATER)))
    status = until(second.state_dir, "the alarm", lambda status: bool(status["alarms"]))
    name = Path(f"/proc/{first.process.pid}/comm").read_text().strip()
    device = url.removeprefix("serial:")
    assert status["alarms"] == [
        f"Line line 0: The serial port {device} is in use by {name} (process {first.process.pid}): "
        "stop that one first."
    ]
    assert first.stop() == 0
    second.wait_until("the line", lambda meters: meters[0]["status"] == "ok")
    assert ask(second.state_dir, "status")["alarms"] == []
    assert second.stop() == 0


def test_gateway_that_is_killed_leaves_its_port_to_the_next(
    tmp_path: Path, start: Start, simulate: Simulate
) -> None:
    """SIGKILL amid its work: the next one has the line, and reads."""
    configure(tmp_path, (simulate("--pty"), WATER))
    killed = start(tmp_path)
    status = until(tmp_path, "the first reading", lambda status: status["meters"][0]["last_reading"])
    before = status["meters"][0]["last_reading"]
    killed.process.kill()
    killed.process.wait(LIMIT)
    gateway = start(tmp_path)
    ask(tmp_path, "read", logical_device=16)
    status = until(tmp_path, "a reading", lambda status: status["meters"][0]["last_reading"] > before)
    assert (status["lines"][0]["state"], status["alarms"]) == ("up", [])
    assert gateway.stop() == 0


def test_driver_that_blocks_is_told_and_keeps_no_gateway_from_ending(tmp_path: Path) -> None:
    """An adapter whose driver never comes back from opening it: an alarm, and SIGTERM ends the gateway all the same."""
    configure(tmp_path, (f"serial:{tmp_path}/ttyUSB0", WATER))
    with blocked(tmp_path, BLOCKING_DRIVER, "opening") as gateway:
        status = until(tmp_path, "the alarm", lambda status: bool(status["alarms"]))
        assert status["alarms"] == [
            f"Line line 0: Opening serial:{tmp_path}/ttyUSB0 takes long: its driver or its device hangs. "
            "Plug its adapter in anew, or restart it."
        ]
        until(tmp_path, "the state", lambda status: status["meters"][0]["state"] == "line down")
        assert gateway.stop() == 0


def test_name_server_that_blocks_keeps_no_gateway_from_ending(tmp_path: Path) -> None:
    """As long as a name is looked up in vain, the gateway serves, and SIGTERM ends it."""
    configure(tmp_path, ("tcp:converter.example:10001", WATER))
    with blocked(tmp_path, BLOCKING_NAME_SERVER, "looking up") as gateway:
        assert gateway.stop() == 0


@contextlib.contextmanager
def blocked(state_dir: Path, program: str, sign: str) -> Iterator[Process]:
    """A gateway that listens, and a call in it that never returns; `sign` is printed when it is made."""
    arguments = ("--state-dir", str(state_dir), "--headless", "--dlms-port", "0")
    gateway = Process(*arguments, program=("-c", program))
    try:
        said = {gateway.wait_for(f"^({sign}|DLMS server listening)")[1] for _ in range(2)}
        assert len(said) == 2
        yield gateway
    finally:
        gateway.process.kill()

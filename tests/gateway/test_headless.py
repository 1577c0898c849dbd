"""The gateway as a service: how it starts, what it says, how it stops, and what it refuses."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dlms_wire import AARQ_NONE, Wire, aarq, fetch, get
from gateway_process import LIMIT, GatewayProcess, Process, list_meters

from core.dlms import axdr
from core.secrets import load_secrets

SAP_LIST = get(17, bytes((0, 0, 41, 0, 0, 255)), 2)
NAME = get(1, bytes((0, 0, 42, 0, 0, 255)), 2)

TWO_METERS = """
[dlms]
authentication = "low"
host = "127.0.0.1"
[[line]]
name = "cellar"
url = "sim:"
[[meter]]
address = "70112345.ELS.0A.07"
name = "water"
[[meter]]
address = "06855817.KAM.08.04"
name = "heat"
"""


def cme_tui(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cme_tui", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        stdin=subprocess.DEVNULL,
    )


async def devices(wire: Wire) -> dict[int, bytes]:
    """The SAP assignment, read in an association that is open."""
    content = axdr.decode(await fetch(wire, SAP_LIST)).content
    assert isinstance(content, list)
    return {item.content[0].content: item.content[1].content for item in content}  # type: ignore[union-attr,index,misc]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(
    number: signal.Signals, tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """SIGTERM and SIGINT: exit code 0, and the state directory is free again at once."""
    assert start(tmp_path, "--demo").stop(number) == 0
    assert start(tmp_path, "--demo").stop() == 0


def test_a_gateway_without_a_terminal_lives_through_sighup(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """Without a terminal that could have gone away SIGHUP means: read the configuration again."""
    gateway = start(tmp_path)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for("Configuration reloaded")
    assert gateway.stop() == 0


def test_a_gateway_that_is_stopped_and_continued_goes_on(tmp_path: Path) -> None:
    """SIGSTOP for longer than it waits for signals, as a debugger or a machine that sleeps does: no reason to end."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(LIMIT)
        state = str(tmp_path / "state")
        gateway = Process("--state-dir", state, "--headless", "--dlms-port", "0", env={"NOTIFY_SOCKET": path})
        assert manager.recv(64) == b"READY=1"
        gateway.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, gateway.process.pid, os.WSTOPPED | os.WNOWAIT)
        time.sleep(1.5)
        gateway.process.send_signal(signal.SIGCONT)
        for _ in range(3):
            assert manager.recv(64) == b"WATCHDOG=1"
        assert gateway.stop() == 0


def test_a_hang_up_of_its_terminal_ends_it_cleanly(tmp_path: Path) -> None:
    """The terminal that it was started from goes away: a clean stop, not a gateway that nobody owns."""
    arguments = ["--state-dir", str(tmp_path), "--headless", "--dlms-port", "0"]
    code = f"import sys; from cme_tui.__main__ import main; sys.exit(main({arguments!r}))"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    seen = b""
    while b"DLMS server listening" not in seen:
        seen += os.read(terminal, 1024)
    # At once, and often in the middle of the ready line, which then cannot be written.
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_loads_no_textual(tmp_path: Path) -> None:
    """The process that runs the core has neither Textual nor Rich in it."""
    code = f"""
import atexit, sys
from cme_tui.__main__ import main
atexit.register(lambda: print("loaded:", [m for m in ("textual", "rich") if m in sys.modules], flush=True))
sys.exit(main(["--state-dir", {str(tmp_path)!r}, "--headless", "--demo", "--dlms-port", "0"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("DLMS server listening on ")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=LIMIT)[0] == "loaded: []\n"


def test_stdout_carries_the_ready_line_only(tmp_path: Path) -> None:
    """What scripts wait for stands alone on stdout; how a HES connects goes to stderr."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cme_tui",
            "--state-dir",
            str(tmp_path),
            "--headless",
            "--demo",
            "--dlms-port",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, narration = process.communicate(timeout=LIMIT)
    assert re.fullmatch(r"DLMS server listening on 127\.0\.0\.1:\d+\n", first)
    assert rest == ""
    assert "A HES connects to 127.0.0.1" in narration


def test_the_service_manager_is_told_when_it_is_ready_and_alive(tmp_path: Path) -> None:
    """READY=1 and then WATCHDOG=1 come over systemd's notify socket."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(LIMIT)
        gateway = Process(
            "--state-dir",
            str(tmp_path / "state"),
            "--headless",
            "--dlms-port",
            "0",
            env={"NOTIFY_SOCKET": path},
        )
        assert manager.recv(64) == b"READY=1"
        assert manager.recv(64) == b"WATCHDOG=1"
        assert gateway.stop() == 0


def test_no_secret_is_logged(tmp_path: Path, start: Callable[..., GatewayProcess]) -> None:
    """Neither password nor keys appear in what a gateway that is no demo prints."""
    gateway = start(tmp_path)
    gateway.stop()
    secrets = load_secrets(tmp_path / "secrets.toml")
    printed = "\n".join(gateway.lines)
    for secret in (secrets.lls_password, secrets.master_key.hex(), secrets.encryption_key.hex()):
        assert secret.lower() not in printed.lower()


def test_a_second_core_is_kept_away(tmp_path: Path, start: Callable[..., GatewayProcess]) -> None:
    """One state directory, one core: the second says who has it and exits with 1."""
    gateway = start(tmp_path)
    second = cme_tui("--state-dir", str(tmp_path), "--headless", "--dlms-port", "0")
    assert second.returncode == 1
    assert f"process {gateway.process.pid}" in second.stderr.splitlines()[-1]


def test_a_crash_leaves_the_directory_free_and_the_readings_there(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """After SIGKILL the next core starts at once, with every reading that was shown before."""
    (tmp_path / "config.toml").write_text(TWO_METERS)
    gateway = start(tmp_path)
    gateway.wait_until("the first sweep", lambda meters: all(meter["last_reading"] for meter in meters))
    before = [meter["last_reading"] for meter in list_meters(tmp_path)]
    gateway.process.kill()
    gateway.process.wait(LIMIT)
    again = start(tmp_path)
    assert [meter["last_reading"] for meter in list_meters(tmp_path)] >= before
    assert again.stop() == 0


async def test_meters_come_and_go_while_a_client_is_connected(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """An association that is open sees a removed meter gone, and one that was added, without a new one."""
    config = tmp_path / "config.toml"
    config.write_text(TWO_METERS)
    gateway = start(tmp_path)
    password = load_secrets(tmp_path / "secrets.toml").lls_password.encode()
    async with Wire(gateway.port, client=1, server=1) as wire:
        await wire.ask(aarq(password))
        assert set(await devices(wire)) == {1, 16, 17}
        text = config.read_text()
        config.write_text(text[: text.rindex("[[meter]]")])
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("Configuration reloaded")
        assert set(await devices(wire)) == {1, 16}
        with config.open("a") as file:
            file.write('[[meter]]\naddress = "04990254.EFE.00.06"\nname = "new"\n')
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("Configuration reloaded")
        assert set(await devices(wire)) == {1, 16, 17}
        assert (await devices(wire))[17] == b"EFE049902540600"


async def test_a_configuration_without_serial_and_addresses_gets_them_again(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """A config.toml put in place of the old one changes neither names nor logical devices, on reload or at a start."""
    config = tmp_path / "config.toml"
    config.write_text(TWO_METERS)
    gateway = start(tmp_path)
    async with Wire(gateway.port, client=16, server=1) as wire:
        await wire.ask(AARQ_NONE)
        before = await devices(wire)
        first, second = TWO_METERS.split("[[meter]]")[1:]
        swapped = TWO_METERS.split("[[meter]]")[0] + f"[[meter]]{second}[[meter]]{first}"
        config.write_text(swapped)
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("Configuration reloaded")
        assert await devices(wire) == before
    gateway.stop()
    config.write_text(swapped)
    gateway = start(tmp_path)
    async with Wire(gateway.port, client=16, server=1) as wire:
        await wire.ask(AARQ_NONE)
        assert await devices(wire) == before


def test_a_start_that_was_killed_before_its_first_table_is_no_obstacle(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """An empty database file is what a crash in the first moment leaves."""
    tmp_path.joinpath("gateway.db").touch()
    assert start(tmp_path).stop() == 0


async def test_a_reload_that_fails_changes_nothing(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """A mistake in config.toml is told by name, and clients go on as before."""
    config = tmp_path / "config.toml"
    config.write_text(TWO_METERS)
    gateway = start(tmp_path)
    async with Wire(gateway.port, client=16, server=16) as wire:
        await wire.ask(AARQ_NONE)
        config.write_text(config.read_text().replace("authentication", "authentification"))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for(r"not reloaded.*authentification.*authentication")
        assert b"ELS70112345070A" in await wire.ask(NAME)


async def test_the_port_moves_on_reload(tmp_path: Path) -> None:
    """A changed port is listened on at once; an association on the old one lives on."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    config = tmp_path / "config.toml"
    config.write_text(TWO_METERS.replace("[dlms]", f"[dlms]\nport = {ports[0]}"))
    gateway = Process("--state-dir", str(tmp_path), "--headless")
    try:
        gateway.wait_for("^DLMS server listening")
        async with Wire(ports[0], client=16, server=16) as old:
            await old.ask(AARQ_NONE)
            config.write_text(config.read_text().replace(f"port = {ports[0]}", f"port = {ports[1]}"))
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for("Configuration reloaded")
            assert b"ELS70112345070A" in await old.ask(NAME)
            async with Wire(ports[1], client=16, server=16) as new:
                await new.ask(AARQ_NONE)
                assert b"ELS70112345070A" in await new.ask(NAME)
    finally:
        assert gateway.stop() == 0


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """The sentence names the port; nothing is left running or locked."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for _ in range(2):
            done = cme_tui(
                "--state-dir",
                str(tmp_path),
                "--headless",
                "--dlms-host",
                "127.0.0.1",
                "--dlms-port",
                str(port),
            )
            assert done.returncode == 1
            assert f"127.0.0.1:{port}" in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr


def test_an_unknown_key_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    """Bad input: exit code 2 and one line that names file, key and what was probably meant."""
    (tmp_path / "config.toml").write_text("[dlms]\nprot = 4059\n")
    done = cme_tui("--state-dir", str(tmp_path), "--headless")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "config.toml" in line
    assert "prot" in line
    assert "port" in line


def test_a_state_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file stands where the directory should be: one line, exit code 1."""
    (tmp_path / "file").touch()
    done = cme_tui("--state-dir", str(tmp_path / "file" / "state"), "--headless")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be written" in line


def test_a_disk_that_is_full_at_the_first_start_is_told(tmp_path: Path) -> None:
    """The ready mapping files do not fit: one line that says where, and no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "cme_tui", "--state-dir", str(tmp_path), "--headless", "--dlms-port", "0"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(tmp_path) in line


def test_a_mapping_file_with_a_wrong_type_stops_no_other(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """The bad file is named with its JSON path; the meters of the others are served."""
    (tmp_path / "config.toml").write_text(TWO_METERS)
    first = start(tmp_path)
    first.stop()
    heat = tmp_path / "mappings" / "heat.json"
    document = json.loads(heat.read_text())
    document["entries"][0]["dlmsScaler"] = "three"
    heat.write_text(json.dumps(document))
    gateway = start(tmp_path)
    assert any("heat.json" in line and "entries[0].dlmsScaler" in line for line in gateway.lines)
    assert gateway.stop() == 0


def test_without_a_terminal_the_ui_says_what_to_do(tmp_path: Path) -> None:
    """No terminal: one line, and not a single file made."""
    done = cme_tui("--state-dir", str(tmp_path / "new"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "--headless" in line
    assert not (tmp_path / "new").exists()


async def test_a_terminal_that_stops_reading_does_not_delay_the_core(tmp_path: Path) -> None:
    """The UI runs on a terminal that takes no more bytes; DLMS answers go on all the same."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        arguments = ["--demo", "--state-dir", str(tmp_path), "--dlms-port", str(port)]
        os.execv(sys.executable, [sys.executable, "-m", "cme_tui", *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen = b""
    while b"Overview" not in seen:
        seen += os.read(terminal, 4096)
    # From here on nobody reads: the kernel's buffer of the terminal fills up and stays full.
    stop = threading.Event()
    typist = threading.Thread(target=_press_keys, args=(terminal, stop))
    typist.start()
    try:
        async with Wire(port, client=16, server=16) as wire:
            await wire.ask(AARQ_NONE)
            for _ in range(2000):
                assert b"ELS70112345070A" in await wire.ask(NAME)
    finally:
        stop.set()
        typist.join()
        os.close(terminal)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def _press_keys(terminal: int, stop: threading.Event) -> None:
    """Change screens again and again, so that there is always something to paint."""
    while not stop.wait(0.05):
        os.write(terminal, b"\x1b[17~")  # F6
        os.write(terminal, b"\x1bOQ")  # F2


def test_a_host_that_can_be_none_is_told(tmp_path: Path) -> None:
    """One line, whatever stands there."""
    done = cme_tui("--state-dir", str(tmp_path), "--headless", "--dlms-host", "..")
    assert done.returncode == 1
    assert re.findall(r"(?m)^cme-tui: .*$", done.stderr) == [done.stderr.splitlines()[-1]]
    assert "Traceback" not in done.stderr


def test_a_service_manager_that_went_away_does_not_end_it(tmp_path: Path) -> None:
    """Meters are read all the same."""
    gateway = Process(
        "--state-dir", str(tmp_path), "--headless", "--dlms-port", "0", "--dlms-host", "127.0.0.1",
        env={"NOTIFY_SOCKET": str(tmp_path / "nobody")},
    )  # fmt: skip
    gateway.wait_for("DLMS server listening")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for("Configuration reloaded")
    assert gateway.stop() == 0

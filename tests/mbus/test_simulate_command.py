"""`cme-tui simulate` as a user runs it: a line that others can read, and a clean end."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cme_tui.__main__ import main
from cme_tui.commands import simulate
from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.mbus.errors import NoAnswer
from core.mbus.master import Master
from core.mbus.recording import Recorder
from core.mbus.simulator import SimulatedBus, fleet, open_simulated, serials
from core.mbus.simulator.misfortune import KINDS
from core.mbus.telegram import decode
from core.mbus.transport import Transport

ROOT = Path(__file__).parent.parent.parent
RUN = "import sys; from cme_tui.commands.simulate import run; sys.exit(run({}))"


@asynccontextmanager
async def simulated(
    arguments: str, until: str = "12345678.PAD.01.07"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The running command and what it printed once it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN.format(arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        async with asyncio.timeout(20):
            while not any(until in line for line in lines):
                line = await process.stdout.readline()
                assert line, "the command ended early"
                lines.append(line.decode().rstrip())
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("where", ["tcp=0, pty=False", "tcp=None, pty=True"])
async def test_line_is_served_until_the_signal(where: str) -> None:
    """The printed URL can be read by the master; SIGTERM and SIGINT end the command with exit code 0."""
    async with simulated(f"{where}, telegrams=None, baud=38400") as (process, lines):
        url = lines[0].rpartition(" ")[2]
        assert url.startswith(("tcp:127.0.0.1:", "serial:/dev/"))
        master = Master(url, 38400)
        master.start()
        by_secondary = await master.read(SecondaryAddress("12345678", "PAD"))
        entry = next(line.split() for line in lines if "12345678.PAD.01.07" in line)
        assert entry[2] == "water"
        by_primary = await master.read(PrimaryAddress(int(entry[0])))
        for readout in (by_secondary, by_primary):
            assert decode(readout.frames[0]).identification == "12345678"
        await master.close()
        process.send_signal(signal.SIGTERM if "tcp=0" in where else signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


def test_bad_input_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No way to reach it, an odd baud rate, or a folder without telegrams: exit 2 and one line on stderr."""
    calls = (
        {"tcp": None, "pty": False, "telegrams": None, "baud": 2400},
        {"tcp": 70000, "pty": False, "telegrams": None, "baud": 2400},
        {"tcp": 0, "pty": False, "telegrams": None, "baud": 1234},
        {"tcp": 0, "pty": False, "telegrams": tmp_path, "baud": 2400},
        {"tcp": 0, "pty": False, "meters": 0},
        {"tcp": 0, "pty": False, "items": ["drowned@5"]},
        {"tcp": 0, "pty": False, "replay": tmp_path / "none.rec"},
    )
    for arguments in calls:
        assert simulate.run(**arguments) == 2  # type: ignore[arg-type]
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1


def test_the_help_explains_every_misfortune(capsys: pytest.CaptureFixture[str]) -> None:
    """`simulate --help` says of each what it does, in the words of the key `?`."""
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for kind in KINDS:
        name = re.compile(rf"  {kind.name}(\[:[A-Z]+\])?  +{re.escape(kind.meaning)}")
        assert [line for line in lines if name.fullmatch(line)], kind.name


async def test_taken_port_is_a_failure() -> None:
    """Two lines cannot be served on one port: exit 1 for the second."""
    async with simulated("tcp=0, pty=False, telegrams=None, baud=2400") as (_, lines):
        port = lines[0].rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RUN.format(f"tcp={port}, pty=False, telegrams=None, baud=2400"),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 1
        assert f"Port {port} cannot be opened" in errors.decode()


async def test_misfortunes_and_fleets_by_option() -> None:
    """What was asked for is printed with the meters, and is there on the line."""
    options = "meters=40, baud=38400, items=['dead@1', 'encrypted:7@2', 'baud:9600@3', 'echo']"
    async with simulated(f"tcp=0, pty=False, {options}", until="the line:") as (_, lines):
        by_address = {line.split()[0]: line for line in lines}
        assert by_address["1"].endswith("dead")
        assert "9600 baud" in by_address["3"]
        assert lines[-1] == "the line: echo"
        master = Master(lines[0].rpartition(" ")[2], 38400)
        master.start()
        with pytest.raises(NoAnswer):
            await master.read(PrimaryAddress(1))
        with pytest.raises(NoAnswer):
            await master.read(PrimaryAddress(3))
        (sealed,) = (await master.read(PrimaryAddress(2))).frames
        assert decode(sealed).encrypted
        key = bytes.fromhex(by_address["2"].rpartition("key ")[2])
        assert decode(sealed, key).problem == ""
        await master.close()


async def test_the_rate_on_a_pty_is_the_one_that_the_client_sets() -> None:
    """Meters of another rate are silent until the port is switched to theirs."""
    options = "meters=2, baud=2400, fast=True, items=['baud:9600@2', 'echo']"
    async with simulated(f"tcp=None, pty=True, {options}", until="the line:") as (_, lines):
        url = lines[0].rpartition(" ")[2]
        for baud, address, silent in ((2400, 1, 2), (9600, 2, 1)):
            master = Master(url, baud)
            master.start()
            assert (await master.read(PrimaryAddress(address))).tries == 1
            with pytest.raises(NoAnswer):
                await master.read(PrimaryAddress(silent))
            await master.close()


async def test_a_recording_is_played_again(tmp_path: Path) -> None:
    """`--replay` answers as the recorded line did, at its rate."""
    bus = SimulatedBus(fleet(serials(2)))
    recorder = await Recorder.open(tmp_path / "line.rec", "cellar", 9600, 0)

    async def open_line(_url: str, baud: int) -> Transport:
        return open_simulated(bus, baud, fast=True)

    master = Master("sim:", 9600, open_line=open_line, watch=recorder.add)
    master.start()
    (recorded,) = (await master.read(PrimaryAddress(2))).frames
    await master.close()
    await recorder.close()
    options = f"replay=__import__('pathlib').Path({str(tmp_path / 'line.rec')!r}), items=['echo']"
    async with simulated(f"tcp=0, pty=False, {options}", until="the line:") as (_, lines):
        assert lines[1] == "a recording, 9600 baud; end with Ctrl+C"
        master = Master(lines[0].rpartition(" ")[2], 9600)
        master.start()
        assert (await master.read(PrimaryAddress(2))).frames == (recorded,)
        with pytest.raises(NoAnswer):
            await master.read(PrimaryAddress(1))
        await master.close()


def test_keys_in_a_terminal_change_what_goes_wrong() -> None:
    """A letter turns a misfortune on and off, digits and arrows choose the meter; the terminal is left as it was."""
    own, other = os.openpty()
    before = termios.tcgetattr(other)
    # A terminal of its own, which the command is in the foreground of.
    code = (
        "import fcntl, os, sys, termios\n"
        "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from cme_tui.commands.simulate import run\n"
        "sys.exit(run(tcp=0, pty=False, meters=12))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=other, stdout=other, stderr=other, cwd=ROOT
    )
    screen = Screen(own)
    screen.wait_for("Keys:")
    for keys, expected in (
        ("d", "meter 1 70000000"),
        ("\x1b[B", "meter 2 "),
        ("12", "meter 12 "),
        ("l", "late:0.6; the line: well"),
        ("e", "late:0.6; the line: echo"),
        ("e", "late:0.6; the line: well"),
        ("l", ": well; the line: well"),
        ("a", "all meters: some are unwell"),
        ("?", "the cable is broken"),
    ):
        os.write(own, keys.encode())
        screen.wait_for(expected)
    assert termios.tcgetattr(other) != before
    os.write(own, b"\x03")
    assert process.wait(20) == 0
    assert termios.tcgetattr(other) == before
    os.close(own)
    os.close(other)


class Screen:
    """What comes out of a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._text = ""

    def wait_for(self, expected: str) -> None:
        """Wait until this comes, behind what was waited for before."""
        while expected not in self._text:
            assert select.select([self._descriptor], [], [], 20)[0], self._text
            self._text += os.read(self._descriptor, 4096).decode()
        self._text = self._text.partition(expected)[2]

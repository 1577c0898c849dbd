"""`cme-tui simulate` as a user runs it: a line that others can read, and a clean end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cme_tui.commands import simulate
from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.mbus.master import Master
from core.mbus.telegram import decode

ROOT = Path(__file__).parent.parent.parent
RUN = "import sys; from cme_tui.commands.simulate import run; sys.exit(run({}))"


@asynccontextmanager
async def simulated(arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The running command and what it printed once it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN.format(arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        async with asyncio.timeout(20):
            while not any("12345678.PAD.01.07" in line for line in lines):
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
    )
    for arguments in calls:
        assert simulate.run(**arguments) == 2  # type: ignore[arg-type]
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1


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

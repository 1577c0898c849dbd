"""The client process: it says by name what was refused, keeps secrets, and never outlives or holds up anybody."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway_process import GatewayProcess, Process

from cme_tui.hes.access import Access
from cme_tui.hes.head_end import AccessRefusedError, HeadEnd, RejectedError, UnansweredError

LIMIT = 20.0
NAME = (1, "0.0.42.0.0.255")


def children(parent: int | None = None) -> set[int]:
    """Living processes that `parent`, or this process, has started."""
    parent = parent or os.getpid()
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def known_to_others(process: int) -> bytes:
    return b"".join(Path(f"/proc/{process}/{what}").read_bytes() for what in ("cmdline", "environ"))


async def test_no_secret_is_on_the_command_line_or_in_the_environment(access: Access) -> None:
    """Everybody can see the one, and some the other."""
    before = children()
    async with HeadEnd(access) as head_end:
        await head_end.associate("low")
        (client,) = children() - before
        seen = known_to_others(client)
    assert access.password.encode() not in seen
    assert access.encryption_key.hex().encode() not in seen.lower()
    assert access.password not in repr(access)


async def test_a_refusal_has_the_name_of_the_standard(access: Access) -> None:
    """Data access results and diagnostics are named; after a refused read the association lives on."""
    async with HeadEnd(access) as head_end:
        await head_end.associate("low", 16)
        with pytest.raises(AccessRefusedError, match="object-undefined"):
            await head_end.get(1, "9.9.9.9.9.9", 2)
        assert bytes.fromhex((await head_end.get(*NAME, 2))["octets"]) == b"ELS70112345070A"
        with pytest.raises(RejectedError, match=r"called-ap-title-not-recognized \(there is no such"):
            await head_end.associate("low", 9999)


async def test_a_gateway_that_says_nothing_is_left_in_time(silent: Access) -> None:
    """The wait for an answer ends, and the client can try again."""
    async with HeadEnd(silent, answer_seconds=0.3) as head_end:
        for _ in range(2):
            with pytest.raises(UnansweredError, match="no answer within"):
                await head_end.associate_public()


async def test_cancelling_ends_the_client_process(silent: Access) -> None:
    """Nothing is left running, whatever it was waiting for."""
    before = children()
    head_end = HeadEnd(silent)
    waiting = asyncio.create_task(head_end.associate_public())
    deadline = time.monotonic() + LIMIT
    while not children() - before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert children() == before


def test_the_client_ends_with_the_command_however_that_ends(silent: Access, demo: GatewayProcess) -> None:
    """A SIGKILL leaves no process behind, not even one that waits for an answer."""
    command = Process("rehearse", "--state-dir", str(demo.state_dir), "--port", str(silent.port))
    wait_until(lambda: bool(children(command.process.pid)))
    (client,) = children(command.process.pid)
    command.process.kill()
    command.process.wait(LIMIT)
    wait_until(lambda: not alive(client))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)

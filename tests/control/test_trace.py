"""What is recorded of the DLMS port: the real traffic of real clients, bounded, and without secrets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from dlms_plant import PASSWORD, VOLUME
from dlms_wire import AARQ_LLS, RLRQ, Wire, get

from cme_tui.client import connect
from core.trace import AT_ONCE, LEASE_S, LONGEST, MOST_APDUS, MOST_BYTES, MOST_EVENTS, AssociationLog, Trace

LIMIT = 20.0


def exchange(port: int, *apdus: bytes) -> None:
    """Send each APDU and wait for its answer."""

    async def run() -> None:
        async with Wire(port) as wire:
            for apdu in apdus:
                await wire.ask(apdu)

    asyncio.run(run())


def test_a_session_is_recorded_as_it_went(gateway: Any) -> None:
    """Requests and answers in order, with peer, addresses, direction and meaning."""
    assert gateway.trace(0).result(LIMIT) == ()
    exchange(gateway.port, AARQ_LLS, get(3, VOLUME, 2), RLRQ)
    entries = gateway.trace(0).result(LIMIT)
    assert [(entry.sent, entry.title) for entry in entries] == [
        (False, "AARQ authentication low"),
        (True, "AARE accepted"),
        (False, "GET request normal 3 8.0.1.0.0.255 attribute 2"),
        (True, "GET response normal double-long-unsigned 85962"),
        (False, "RLRQ"),
        (True, "RLRE"),
    ]
    assert {(entry.client_sap, entry.sap, entry.protection) for entry in entries} == {(1, 16, "")}
    assert entries[2].apdu == get(3, VOLUME, 2)
    assert entries[2].size == len(get(3, VOLUME, 2))
    assert gateway.trace(entries[3].id).result(LIMIT) == entries[4:]


def test_the_log_tells_the_life_of_an_association(gateway: Any) -> None:
    """Without anybody watching."""
    exchange(gateway.port, AARQ_LLS, RLRQ)
    events = gateway.association_log().result(LIMIT)
    assert [event.event for event in events][:3] == ["connected", "associated", "released"]
    assert "authentication low" in events[1].text


def test_a_password_leaves_the_gateway_in_no_form(gateway: Any, tmp_path: Path) -> None:
    """Neither the picture nor the socket has it."""
    gateway.trace(0).result(LIMIT)
    exchange(gateway.port, AARQ_LLS)
    entry = gateway.trace(0).result(LIMIT)[0]
    assert PASSWORD not in entry.apdu
    assert [entry.apdu[start : start + length].strip(b"\0") for start, length in entry.hidden] == [b""]
    with connect(tmp_path) as client:
        lines = client.call("trace")
        next(lines)
        exchange(gateway.port, AARQ_LLS)
        line = next(str(line) for line in lines if "AARQ" in str(line))
    assert PASSWORD.hex() not in line
    assert PASSWORD.decode() not in line
    assert "**" * len(PASSWORD) in line


class Hand:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(trace: Trace, number: int, size: int) -> None:
    for _ in range(number):
        trace.add("peer", 1, 16, b"\xc4\x01\xc1\x00" + bytes(size), sent=True, protection="", size=size + 4)


async def everything(trace: Trace) -> list[Any]:
    found: list[Any] = []
    while more := await trace.entries(found[-1].id if found else 0):
        assert len(more) <= AT_ONCE
        found += more
    return found


@pytest.mark.parametrize(("number", "size"), [(MOST_APDUS + 300, 8), (MOST_APDUS + 20, 100_000)])
async def test_memory_is_bounded(number: int, size: int) -> None:
    """The newest APDUs are kept, of each the beginning, and never more than the limit."""
    trace = Trace(lambda: 0, Hand())
    await trace.entries(0)
    record(trace, number, size)
    found = await everything(trace)
    assert len(found) == MOST_APDUS
    assert found[-1].id == number
    assert found[-1].size == size + 4
    assert max(len(entry.apdu) for entry in found) == min(size + 4, LONGEST)
    assert sum(len(entry.apdu) for entry in found) <= MOST_BYTES


async def test_what_nobody_looks_at_any_more_is_forgotten() -> None:
    """A look keeps it for the lease; after that it begins anew."""
    hand = Hand()
    trace = Trace(lambda: 0, hand)
    assert not trace.watched
    await trace.entries(0)
    record(trace, 2, 1)
    hand.now += LEASE_S - 1
    assert len(await trace.entries(0)) == 2
    hand.now += LEASE_S - 1
    assert trace.watched
    hand.now += 2
    assert not trace.watched
    assert await trace.entries(0) == ()


def test_the_log_is_bounded() -> None:
    """A port scan pushes old events out and takes no memory."""
    log = AssociationLog(lambda: 0)
    for number in range(MOST_EVENTS + 50):
        log.add("connected", f"192.0.2.7:{number}")
    assert len(log.entries) == MOST_EVENTS
    assert log.entries[-1].id == MOST_EVENTS + 50

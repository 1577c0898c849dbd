"""A gateway with a thousand meters whose head-end is down for a week."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest
from dlms_wire import Wire, aarq, get
from many_meters import Installed, installed, prepare
from push_plant import FakeClock, Head, closed_port, until
from test_core import port_of, serve, simulated

from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.simulator import SimulatedBus
from core.push.content import Content
from core.secrets import load_secrets
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store, open_readonly
from core.store.outbox import NotificationState

METERS = 1000
HALF_DAY = 12 * 3_600_000
LIMIT = 1 << 20
REPORT = "load_profile_1"
CLOCK = get(8, bytes((0, 0, 1, 0, 0, 255)), 2)


def configure(state: StateDir, port: int, line: int) -> None:
    """Lines that are down, but one; a head-end on that port, and an outbox as small as it can be."""
    text = state.config.read_text().replace('authentication = "high"', 'authentication = "low"')
    text = text.replace('url = "sim:"', f'url = "tcp:127.0.0.1:{closed_port()}"')
    text = text.replace("Europe/Stockholm", "UTC")  # where each half of a day has one slot
    state.config.write_text(
        f"""{text}
[[line]]
name = "live"
url = "tcp:127.0.0.1:{line}"
baud = 38400
[[meter]]
line = "live"
address = 5
logical_device = 2000
[push]
host = "127.0.0.1"
port = {port}
outbox_mb = 1
randomisation = 0
[[push.report]]
type = "{REPORT}"
schedule = "every 12 h"
"""
    )


async def read_all(store: Store, keys: dict[str, int], now_ms: int) -> None:
    """A readout of every meter, as their lines would bring it."""
    readings = [
        Reading(keys[str(meter.address)], meter.line, now_ms, MeterState.OK, meter.frames(now_ms))
        for meter in installed(METERS)
    ]
    await store.add_readings(readings)


async def week(gateway: RunningGateway, clock: FakeClock, store: Store) -> int:
    """Seven days, with a readout and a report every half of one; how often the outbox was full."""
    full = 0
    keys = {meter.address: meter.key for meter in await store.meters()}
    for _ in range(14):
        await read_all(store, keys, clock.ms + HALF_DAY - 1)
        clock.ms += HALF_DAY

        async def dealt_with() -> bool:
            (report,) = gateway.snapshot().push.reports
            assert report.waiting_bytes <= LIMIT
            return "full" in report.problem or (report.last_ms or 0) > clock.ms - HALF_DAY

        await until(dealt_with)
        (report,) = gateway.snapshot().push.reports
        full += "full" in report.problem
    return full


@pytest.mark.slow
async def test_after_a_week_the_backlog_goes_out_while_clients_and_readouts_go_on(tmp_path: Path) -> None:
    """The outbox stays within its bound; every row arrives in order; nobody waits for the end of it."""
    state = StateDir(tmp_path / "state")
    await asyncio.to_thread(prepare, state, METERS)
    port = closed_port()
    line = await serve(SimulatedBus([simulated("70112345")]))
    configure(state, port, port_of(line))
    clock = FakeClock()
    clock.ms = time.time_ns() // 1_000_000
    gateway = await asyncio.to_thread(open_gateway, RunOptions(state.path, dlms_port=0), clock)
    store = await Store.open(state.database)
    head = Head()
    try:
        assert await week(gateway, clock, store) > 5
        await head.receiver.start(port=port)
        progress = Progress(gateway, head)
        working = [asyncio.create_task(work) for work in (progress.ask(state), progress.read())]
        await asyncio.wrap_future(gateway.retry_notifications())

        async def told() -> bool:
            return not await store.outbox.backlog() and not await store.outbox.unsent(REPORT)

        await until(told)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    finally:
        await store.close()
        await head.receiver.stop()
        await asyncio.to_thread(gateway.stop)
        line.close()
    check_rows(state, [each.content for each in head.received if each.content])
    progress.check()


class Progress:
    """A client and a readout that go on while the backlog goes out, and how much of it was out after each turn."""

    def __init__(self, gateway: RunningGateway, head: Head) -> None:
        self._gateway = gateway
        self._head = head
        self.answers: list[int] = []
        self.readouts: list[int] = []

    async def ask(self, state: StateDir) -> None:
        password = load_secrets(state.secrets).lls_password.encode()
        async with Wire(self._gateway.snapshot().dlms.port, server=1) as wire:
            await wire.ask(aarq(password))
            while True:
                assert (await wire.ask(CLOCK)).startswith(bytes.fromhex("c401c100"))
                self.answers.append(len(self._head.received))

    async def read(self) -> None:
        key = self._gateway.snapshot().meters[-1].key
        while True:
            await asyncio.wrap_future(self._gateway.read_meter(key))
            self.readouts.append(len(self._head.received))

    def check(self) -> None:
        total = len(self._head.received)
        for turns in (self.answers, self.readouts):
            while_it_went_out = [0, *(turn for turn in turns if 0 < turn < total), total]
            assert len(while_it_went_out) > 10
            assert max(after - before for before, after in pairwise(while_it_went_out)) < total / 4


def check_rows(state: StateDir, arrived: list[Content]) -> None:
    """Of every meter, in the order in which they were read, each once."""
    told: dict[str, list[int]] = {}
    for content in arrived:
        told.setdefault(content.meter, []).extend(round(row.time.timestamp()) for row in content.rows)
    with open_readonly(state.database) as store:
        assert store.outbox.ledger(1, state=NotificationState.EXPIRED) == []
        keys = {meter.address: meter.key for meter in store.meters()}
        for meter in installed(METERS):
            rows = store.profile_entries(keys[str(meter.address)], 1, 1, 0)
            assert len(rows) >= 14
            assert told[name_of(meter)] == [round(row.time_ms // 10 / 100) for row in rows]
    assert len(told) == METERS + 1


def name_of(meter: Installed) -> str:
    """Its logical device name."""
    address = meter.address
    return f"{address.manufacturer}{address.identification}{address.medium:02X}{address.version:02X}"

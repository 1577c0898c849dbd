"""Other people's M-Bus software through the transparent port of a running gateway."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.simulator import SimulatedBus, load_meters, serve_tcp
from core.snapshot import MeterState, Snapshot

LIMIT = 60.0  # seconds
METERS = {5: "12345678", 6: "70112345"}

CONFIG = """[dlms]
host = "127.0.0.1"
[[line]]
name = "cellar"
url = "tcp:127.0.0.1:{line}"
baud = 9600
transparent_port = {port}
[[meter]]
address = 5
[[meter]]
address = 6
"""


class Site:
    """A gateway with one line, which leads to two simulated meters at the speed of a wire."""

    def __init__(self, state_dir: Path, line: int) -> None:
        self._state_dir, self._line = state_dir, line
        self.gateway: RunningGateway | None = None

    def start(self, port: int) -> RunningGateway:
        self._state_dir.mkdir()
        (self._state_dir / "config.toml").write_text(CONFIG.format(line=self._line, port=port))
        self.gateway = open_gateway(RunOptions(self._state_dir, dlms_port=0))
        return self.gateway

    async def until(self, holds: Callable[[Snapshot], bool]) -> Snapshot:
        assert self.gateway
        async with asyncio.timeout(LIMIT):
            while not holds(snapshot := self.gateway.snapshot()):  # noqa: ASYNC110  # pulled, as by a UI
                await asyncio.sleep(0.02)
        return snapshot


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    meters = []
    for address, identification in METERS.items():
        meter = next(m for m in load_meters() if m.identity and m.identity.identification == identification)
        meter.address = address
        meters.append(meter)
    server = await serve_tcp(SimulatedBus(meters), 9600)
    site = Site(tmp_path / "state", server.sockets[0].getsockname()[1])
    yield site
    if site.gateway:
        await asyncio.to_thread(site.gateway.stop)
    server.close()


def listening(snapshot: Snapshot) -> bool:
    return any(line.transparent and line.transparent.listening for line in snapshot.lines)


async def test_foreign_software_reads_meters_while_the_gateway_does(site: Site) -> None:
    """pyMeterBus gets each meter's own telegram, and so does the gateway, whose readouts never stop meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gateway = site.start(port)
    await site.until(listening)
    script = Path(__file__).with_name("pymeterbus_client.py")
    foreign = await asyncio.create_subprocess_exec(
        sys.executable, script, str(port), "3", *map(str, METERS), stdout=asyncio.subprocess.PIPE
    )
    assert foreign.stdout
    finished = asyncio.create_task(foreign.stdout.read())
    while not finished.done():
        for meter in gateway.snapshot().meters:
            await asyncio.wrap_future(gateway.read_meter(meter.key))
    read = [json.loads(line) for line in (await finished).splitlines()]
    assert await foreign.wait() == 0
    assert read == [{"address": address, "id": METERS[address]} for address in METERS] * 3
    snapshot = gateway.snapshot()
    assert [(meter.identification, meter.state) for meter in snapshot.meters] == [
        (identification, MeterState.OK) for identification in METERS.values()
    ]
    view = snapshot.lines[0].transparent
    assert view
    assert (view.sent, view.refused) == (10, 0)


async def test_port_that_is_taken_is_an_alarm_and_meters_are_read(site: Site) -> None:
    """The alarm names line and port, and is over when the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.start(port)
        snapshot = await site.until(lambda snapshot: bool(snapshot.alarms))
        assert f"Line cellar: The transparent port 127.0.0.1:{port} cannot be opened" in snapshot.alarms[0]
        await site.until(lambda snapshot: all(meter.last_reading_ms for meter in snapshot.meters))
    await site.until(lambda snapshot: not any("transparent" in alarm for alarm in snapshot.alarms))

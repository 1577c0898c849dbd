"""A gateway for tests of the control socket: the DLMS plant with its real log, behind the facade, in its own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from dlms_plant import Plant
from recorded import RecordedGateway

from core.control import ControlServer
from core.runtime import CoreThread
from core.snapshot import LogEntry, TraceEntry
from core.trace import DlmsLog

NOW_MS = 1_767_960_000_000


class PlantService:
    """The DLMS server of a plant on a free port, watched by a log."""

    def __init__(self) -> None:
        self.log = DlmsLog(lambda: NOW_MS, lambda: None)
        self.server = Plant().server(observer=self.log)

    async def start(self) -> None:
        await self.server.start("127.0.0.1", 0)

    async def stop(self) -> None:
        await self.server.stop()

    async def trace(self, after: int) -> tuple[TraceEntry, ...]:
        return await self.log.trace(after)

    async def events(self) -> tuple[LogEntry, ...]:
        return self.log.events()

    async def note(self, peer: str, number: int, size: int) -> None:
        """Let `number` answers of `size` bytes have gone to `peer`."""
        for _ in range(number):
            self.log.apdu(
                peer, 1, 16, b"\xc4\x01\xc1\x00" + bytes(size), sent=True, protection="", size=size + 4
            )


class PlantGateway(RecordedGateway):
    """Implements `core.facade.Gateway`: the picture is a recorded one, the traffic real."""

    def __init__(self, thread: CoreThread[PlantService], service: PlantService, meters: int = 7) -> None:
        super().__init__(meters)
        self.thread = thread
        self.service = service

    @property
    def port(self) -> int:
        return self.service.server.port

    def trace(self, after: int) -> Future[tuple[TraceEntry, ...]]:
        return self.thread.submit(self.service.trace(after))

    def association_log(self) -> Future[tuple[LogEntry, ...]]:
        return self.thread.submit(self.service.events())


class RecordedClock:
    """The time of a recorded gateway."""

    def __init__(self, gateway: RecordedGateway) -> None:
        self._gateway = gateway

    def now_ms(self) -> int:
        return self._gateway.now_ms

    def seconds_until(self, moment_ms: int) -> float:
        return max(moment_ms - self.now_ms(), 0) / 1000


@contextmanager
def controlled(path: Path, meters: int = 7) -> Iterator[PlantGateway]:
    """A gateway whose control socket is `path`."""
    thread = CoreThread(PlantService)
    gateway = PlantGateway(thread, thread.start(), meters)
    control = CoreThread(lambda: ControlServer(gateway, path, RecordedClock(gateway)), name="control")
    try:
        control.start()
        yield gateway
    finally:
        control.stop()
        thread.stop()


@pytest.fixture(name="controlled")
def _controlled() -> Callable[..., AbstractContextManager[PlantGateway]]:
    """Begins a gateway with its control socket at a path: `with controlled(path, meters=7) as gateway`."""
    return controlled


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[PlantGateway]:
    """A gateway whose state directory is `tmp_path`."""
    with controlled(tmp_path / "control.sock") as gateway:
        yield gateway

"""A gateway with a line that gets into trouble and one that does not, a DLMS client and a technician before it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from terminal_server import serve_port

from cme_tui.app import CmeApp
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Table
from core.errors import CmeError
from core.events import EventCode
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.frame import snd_nke
from core.mbus.simulator import SimulatedBus, SimulatedMeter, SimulatedPty, load_meters, serve_tcp
from core.mbus.telegram import decode
from core.secrets import load_secrets
from core.snapshot import LineView, MeterState, MeterView, Snapshot
from tests.interop.library import Client, Library

LIMIT = 30.0  # seconds
BAUD = 38400
WATER, HEAT = "70112345.ELS.0A.07", "06855817.KAM.08.04"
IDENTIFICATION = "70112345"  # of the water meter
PRIMARY = 5
VOLUME = "8.0.1.0.0.255"
OBJECT_UNDEFINED = 4  # data access result


class Wiring(ABC):
    """The way from a gateway to a bus, that can be cut and mended; `url` is that of config.toml."""

    url: str

    def __init__(self, bus: SimulatedBus, fast: bool) -> None:
        self._bus, self._fast = bus, fast
        self._plugged = AsyncExitStack()

    @abstractmethod
    async def plug(self) -> None:
        """What is to be undone by `unplug` goes into `_plugged`."""

    async def unplug(self) -> None:
        """May be called twice."""
        await self._plugged.aclose()


class Serial(Wiring):
    """An adapter on a USB port."""

    def __init__(self, bus: SimulatedBus, fast: bool, folder: Path) -> None:
        super().__init__(bus, fast)
        self.device = folder / "ttyUSB0"
        self.url = f"serial:{self.device}"

    async def plug(self) -> None:
        pty = SimulatedPty(self._bus, BAUD, fast=self._fast)
        self._plugged.callback(pty.close)
        self.device.symlink_to(pty.path)
        self._plugged.callback(self.device.unlink)


class Converter(Wiring):
    """A level converter behind TCP."""

    _port = 0

    async def plug(self) -> None:
        server = await serve_tcp(self._bus, BAUD, port=self._port, fast=self._fast)
        self._plugged.callback(server.close)
        self._plugged.push_async_callback(self._end_connection)
        self._port = server.sockets[0].getsockname()[1]
        self.url = f"tcp:127.0.0.1:{self._port}"

    async def taken_over(self) -> asyncio.StreamWriter:
        """Another master's connection, to which the gateway's has given way."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(snd_nke(PRIMARY))
        await reader.read(1)
        return writer

    async def _end_connection(self) -> None:
        (await self.taken_over()).close()


class TerminalServer(Wiring):
    """A serial port behind RFC 2217."""

    _port = 0

    async def plug(self) -> None:
        pty = SimulatedPty(self._bus, BAUD, fast=self._fast)
        self._plugged.callback(pty.close)
        serving = serve_port(pty.path, number=self._port)
        self._port, _ = serving.__enter__()
        self._plugged.push_async_callback(asyncio.to_thread, serving.__exit__, None, None, None)
        self.url = f"rfc2217:127.0.0.1:{self._port}"


KINDS: dict[str, Callable[[SimulatedBus, bool, Path], Wiring]] = {
    "serial": Serial,
    "tcp": lambda bus, fast, _: Converter(bus, fast),
    "rfc2217": lambda bus, fast, _: TerminalServer(bus, fast),
}


class Plant:
    """The line "cellar" has the water meter (device 16), the line "attic" the heat meter (device 17)."""

    def __init__(
        self, folder: Path, kind: str, library: Library, water: SimulatedMeter, *, fast: bool = True
    ) -> None:
        self._folder = folder
        self._client = Client(library, "client")
        self._hours = 0
        self.bus = SimulatedBus([water], self._time)
        self.wiring = KINDS[kind](self.bus, fast, folder)
        self.attic = Converter(SimulatedBus([simulated("06855817")], self._time), True)
        self.gateway: RunningGateway

    async def start(self, *, wait: bool = True) -> None:
        """Start the gateway, and `wait` until both meters were read."""
        await self.wiring.plug()
        await self.attic.plug()
        state_dir = self._folder / "state"
        state_dir.mkdir()
        (state_dir / "config.toml").write_text(
            f"""[dlms]
host = "127.0.0.1"
authentication = "low"
[[line]]
name = "cellar"
url = "{self.wiring.url}"
baud = {BAUD}
repeats = 1
[[line]]
name = "attic"
url = "{self.attic.url}"
baud = {BAUD}
[[meter]]
line = "cellar"
address = "{WATER}"
name = "water"
[[meter]]
line = "attic"
address = "{HEAT}"
name = "heat"
"""
        )
        self.gateway = await asyncio.to_thread(open_gateway, RunOptions(state_dir, dlms_port=0))
        if wait:
            await self.until("both meters", lambda s: all(m.last_reading_ms for m in s.meters))

    async def stop(self) -> None:
        if hasattr(self, "gateway"):
            await asyncio.to_thread(self.gateway.stop)
        await self.wiring.unplug()
        await self.attic.unplug()

    async def associate(self, device: int = 16) -> None:
        """Have the DLMS client associate with a meter's logical device."""
        snapshot = self.gateway.snapshot()
        password = load_secrets(Path(snapshot.state_dir) / "secrets.toml").lls_password
        await self._client.open(port=snapshot.dlms.port, server=device, level="low", password=password)

    async def volume(self) -> int:
        """The register of the volume that the client gets, without its scaler."""
        return int(await self._client.get(3, VOLUME, 2))

    async def refusal(self) -> int:
        """The data access result that the client gets instead of the volume."""
        told = await self._client.refused("get", 3, VOLUME, 2)
        return int(told["access"])

    def on_the_meter(self) -> int:
        """What stands on the counter of the water meter now."""
        telegram = decode(self.bus.meters[0].telegram_at(self._time()))
        return next(r.raw for r in telegram.records if r.description == "volume" and isinstance(r.raw, int))

    def run_on(self) -> None:
        """An hour passes on the counters of the meters."""
        self._hours += 1

    async def read(self) -> str:
        """Have the water meter read: "" or the reason why that came to nothing."""
        try:
            await asyncio.wrap_future(self.gateway.read_meter(self.meter.key))
        except CmeError as error:
            return str(error)
        return ""

    @property
    def line(self) -> LineView:
        return self.gateway.snapshot().lines[0]

    @property
    def meter(self) -> MeterView:
        return self.gateway.snapshot().meters[0]

    async def until(self, what: str, holds: Callable[[Snapshot], bool]) -> Snapshot:
        """Look at the snapshot until it is as wanted."""
        try:
            async with asyncio.timeout(LIMIT):
                while not holds(snapshot := self.gateway.snapshot()):  # noqa: ASYNC110  # pulled, as by a UI
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what} never came: {self.gateway.snapshot()}") from None
        return snapshot

    async def shows(self, state: MeterState) -> None:
        """Wait until the snapshot shows the water meter in this state."""
        await self.until(state.value, lambda snapshot: snapshot.meters[0].state is state)

    async def events(self, *codes: EventCode) -> list[str]:
        """The messages of the events with these codes, oldest first."""
        page = await asyncio.wrap_future(self.gateway.events())
        return [event.message for event in page.events if event.code in codes]

    async def event(self, code: EventCode) -> str:
        """Wait for the first event with this code; its message."""
        async with asyncio.timeout(LIMIT):
            while not (messages := await self.events(code)):  # noqa: ASYNC110  # as a script asks
                await asyncio.sleep(0.05)
        return messages[0]

    @asynccontextmanager
    async def screens(self) -> AsyncIterator[Look]:
        """A technician's look at the screens."""
        app = CmeApp(self.gateway)
        async with app.run_test(size=(120, 40)) as pilot:
            yield Look(app, pilot)

    def _time(self) -> float:
        return 1_790_000_000.0 + 3600 * self._hours


class Look:
    """What a technician sees, on one line each with single blanks."""

    def __init__(self, app: CmeApp, pilot: Any) -> None:
        self._app, self._pilot = app, pilot

    async def go(self, key: str) -> None:
        await self._pilot.press(key)
        await self._pilot.pause()

    def text(self, name: str) -> str:
        return " ".join(self._app.screen.query_one(name, Lines).text.split())

    def row(self, name: str, number: int) -> str:
        return " ".join(self._app.screen.query_one(name, Table).text_of(number).split())

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                while not holds():
                    self._app.pull()
                    await self._pilot.pause(0.05)
        except TimeoutError:
            raise AssertionError(f"{what} is never on the screen") from None


def simulated(identification: str) -> SimulatedMeter:
    """The meter with this identification, at the primary address `PRIMARY`."""
    meter = next(m for m in load_meters() if m.identity and m.identity.identification == identification)
    meter.address = PRIMARY
    return meter

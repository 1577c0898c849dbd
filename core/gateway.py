"""Puts the parts together: applies a configuration, moves readings from line to client, keeps the picture fresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from core import VERSION, demo, views
from core.clock import Clock
from core.config import Config, LineConfig, system_title, system_zone
from core.config_file import ConfigFile, Given
from core.cosem import codes
from core.cosem.devices import Device, Directory, GatewayFacts, meter_device
from core.dlms.admission import Keys, Level, Policy
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer, SessionView
from core.dlms.server import DlmsServer
from core.errors import CmeError
from core.facade import RunOptions
from core.fleet import Fleet, place_of
from core.interval import Interval
from core.mapping.library import MappingSet
from core.mapping.simplified import Site
from core.mbus.master import (
    Master,
    MbusError,
    Readout,
)
from core.meter import Columns, Meter
from core.outcome import judge
from core.profiles import MeterRows, RowCache, period_s
from core.reader import LineReader
from core.secrets import Secrets, load_secrets
from core.snapshot import DlmsView, LineState, LineView, MeterDetail, MeterState, MeterView, Snapshot
from core.statedir import StateDir
from core.store import Store

log = logging.getLogger(__name__)

PROFILES: Final = {"load_profile_1": 1, "load_profile_2": 2, "billing_profile": 3}
"""Number of each profile in the store, by its name in the configuration and in the table of codes."""

LONGEST_WAIT_S: Final = 10.0
"""For a value that needs a readout; then temporary-failure. Head-ends give up after 15 s or more."""

NO_HLS: Final = (
    "Only the public client is let in: the management client needs authentication high, which this version does "
    'not have yet; set authentication = "low" under [dlms] in config.toml.'
)

_PUBLISH_S: Final = 0.2
_TICK_S: Final = 1.0
_CUT_WAIT_S: Final = 3.0


@dataclass(slots=True)
class _Line:
    config: LineConfig
    master: Master
    reader: LineReader


class Core:
    """The gateway itself. Everything in it belongs to the core's event loop, but `snapshot`, which is immutable."""

    def __init__(
        self, state: StateDir, config: Config, secrets: Secrets, options: RunOptions, clock: Clock
    ) -> None:
        """`config` has its serial and logical device addresses already (`ConfigFile.prepare`)."""
        self._state = state
        self._config = config
        self._secrets = secrets
        self._options = options
        self._clock = clock
        self._started_ms = clock.now_ms()
        self._lines: dict[str, _Line] = {}
        self._fleet = Fleet(clock, self._read)
        self._devices: dict[int, Device] = {}
        self._made: dict[int, tuple[str, Columns]] = {}  # what the device of a meter was made of
        self._views: dict[int, MeterView] = {}
        self._mappings = MappingSet()
        self._rows = RowCache()
        self._facts = self._make_facts(config)
        self._directory = Directory(self._facts)
        self._server = DlmsServer(self._directory, _Credentials(self), self._limits(), _Watcher(self._touch))
        self._store_reason = ""
        self._publishing: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._applying = asyncio.Lock()
        self.store: Store
        self.snapshot: Snapshot

    @property
    def config(self) -> Config:
        return self._config

    @property
    def secrets(self) -> Secrets:
        return self._secrets

    async def start(self) -> None:
        """Open the store, take up the meters, listen. Raises `CmeError`, a sentence, where one of them fails."""
        self.store = await Store.open(self._state.database)
        cut = self._spawn(self.store.set_profiles(_intervals(self._config), self._facts.zone))
        # Years of readings of many meters take minutes to cut anew: no reason to listen only then.
        await asyncio.wait([cut], timeout=_CUT_WAIT_S)
        if self._options.demo:
            await demo.make_past(self.store, self._config, self._facts.zone, self._clock.now_ms())
        await self._install(self._config)
        await self._load_mappings()
        self._show_devices()
        self._set_lines(self._config)
        if self._config.dlms.enabled:
            await self._server.start(*self._endpoint(self._config))
            if self._admits_no_management():
                log.warning(NO_HLS)
        self._publish()
        self._spawn(self._tick())

    async def stop(self) -> None:
        """Let clients go, end the readout that runs, and close the store; may be called after a failed start."""
        await self._server.stop()
        for line in self._lines.values():
            await line.reader.stop()
            await line.master.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._publishing:
            self._publishing.cancel()
        if hasattr(self, "store"):
            await self.store.close()

    async def detail(self, key: int) -> MeterDetail:
        """Values and telegrams of a meter. Raises `CmeError` if there is none."""
        meter = self._fleet.meter(key)
        telegrams = views.telegram_views(meter.reading.telegrams) if meter.reading else ()
        count, oldest = await self.store.readings_count(key), await self.store.oldest(key)
        return views.meter_detail(meter, telegrams, count, oldest)

    async def read_meter(self, key: int) -> MeterDetail:
        """Read a meter now. Raises `CmeError` with the reason if that does not give a good reading."""
        meter = self._fleet.meter(key)
        await self._read(meter)
        if meter.state is not MeterState.OK:
            raise CmeError(meter.reason)
        return await self.detail(key)

    async def read_all(self) -> None:
        """Start a sweep of every line."""
        for line in self._lines.values():
            line.reader.sweep_now()

    async def ping(self) -> None:
        """Answered by the loop, so that others know that it is alive."""

    async def reload(self) -> None:
        """Read config.toml, secrets and mappings again and apply what changed. Raises `CmeError`, changing nothing."""
        async with self._applying:
            now = self._config
            given = Given(now.gateway.serial, {place_of(m): m.logical_device or 0 for m in now.meters})
            config = await asyncio.to_thread(ConfigFile(self._state.config).prepare, given)
            secrets = await asyncio.to_thread(load_secrets, self._state.secrets)
            try:
                await self._apply(config, secrets)
            finally:
                self._show_devices()

    async def _apply(self, config: Config, secrets: Secrets) -> None:
        old, self._facts = self._facts, self._make_facts(config)
        try:
            await self._move_server(config)
        except CmeError:
            self._facts = old
            raise
        if _intervals(config) != _intervals(self._config) or self._facts.zone != old.zone:
            self._spawn(self.store.set_profiles(_intervals(config), self._facts.zone))
        self._config, self._secrets = config, secrets
        self._server.limits = self._limits()
        await self._install(config)
        await self._load_mappings()
        self._set_lines(config)
        self._publish()  # now: who asked for it looks next

    async def _move_server(self, config: Config) -> None:
        if not config.dlms.enabled:
            await self._server.stop()
        elif not self._server.listening or self._endpoint(config) != self._endpoint(self._config):
            await self._server.start(*self._endpoint(config))

    def _endpoint(self, config: Config) -> tuple[str, int]:
        host, port = self._options.dlms_host, self._options.dlms_port
        return (config.dlms.host if host is None else host, config.dlms.port if port is None else port)

    def _limits(self) -> ServerLimits:
        dlms = self._config.dlms
        return ServerLimits(
            connections=dlms.max_connections,
            connections_per_peer=dlms.max_connections,
            inactivity=dlms.inactivity_timeout,
            wait=LONGEST_WAIT_S,
        )

    def _make_facts(self, config: Config) -> GatewayFacts:
        gateway = config.gateway
        return GatewayFacts(
            name=f"{gateway.flag_id}{gateway.serial}",
            system_title=system_title(gateway.flag_id, gateway.serial),
            clock=self._clock,
            zone=ZoneInfo(gateway.timezone) if gateway.timezone else system_zone(),
            codes=codes.resolve(config.obis),
        )

    def _site(self) -> Site:
        return Site(self._config.gateway.serial, self._facts.zone)

    async def _install(self, config: Config) -> None:
        await self._fleet.install(self.store, config, self._secrets, self._site())
        installed = {meter.key for meter in self._fleet}
        self._views = {key: view for key, view in self._views.items() if key in installed}

    async def _load_mappings(self) -> None:
        self._mappings = await asyncio.to_thread(
            MappingSet.from_directory, self._state.mappings, self._mappings
        )
        self._devices.clear()
        self._made.clear()
        # Kept rows show zone, keys and serial of their time.
        self._rows = RowCache()
        for meter in self._fleet:
            self._remap(meter)
            await asyncio.sleep(0)  # each takes a few ms, one of a new type more: clients go on meanwhile

    def _show_devices(self) -> None:
        self._directory.set_meters(self._facts, self._devices)

    def _remap(self, meter: Meter) -> bool:
        """Map the meter's last reading; whether its logical device was made anew."""
        known = meter.known
        mapping = None
        if known is not None:
            mapping = self._mappings.match(known.medium, known.manufacturer or "", known.version)
        meter.remap(mapping)
        self._views[meter.key] = views.meter_view(meter)
        name = meter.logical_device_name
        if name is None or self._made.get(meter.key) == (name, meter.columns):
            return False
        self._made[meter.key] = (name, meter.columns)
        self._devices[meter.logical_device] = self._make_device(meter, name)
        return True

    def _make_device(self, meter: Meter, name: str) -> Device:
        rows: dict[bytes, MeterRows] = {}
        for title, interval in _titled_intervals(self._config).items():
            period = period_s(interval, meter.config.interval or self._config.readout.interval)
            rows[getattr(self._facts.codes, title)] = MeterRows(
                meter, PROFILES[title], period, self.store, self._rows, self._site()
            )
        return meter_device(self._facts, meter, name, rows)

    def _set_lines(self, config: Config) -> None:
        wanted = {line.name: line for line in config.lines}
        for name in [name for name, line in self._lines.items() if wanted.get(name) != line.config]:
            self._spawn(_close(self._lines.pop(name)))
        for name, line_config in wanted.items():
            if name not in self._lines:
                self._lines[name] = self._open_line(line_config)
        for name, line in self._lines.items():
            line.reader.set_meters(self._fleet.on_line(name))

    def _open_line(self, config: LineConfig) -> _Line:
        def changed() -> None:
            reader.line_changed(up=master.state is LineState.UP)
            self._touch()

        master = Master(
            config.url,
            config.baud,
            margin=config.margin_ms / 1000 if config.margin_ms else None,
            repeats=config.repeats,
            on_change=changed,
            now=lambda: self._clock.now_ms() / 1000,
        )
        reader = LineReader(master, self._record, self._span, self._clock, self._touch)
        master.start()
        reader.start()
        return _Line(config, master, reader)

    def _span(self, meter: Meter, now_ms: int) -> tuple[int, int]:
        interval = meter.config.interval or self._config.readout.interval
        return interval.span(now_ms, self._facts.zone)

    async def _read(self, meter: Meter) -> None:
        line = self._lines.get(meter.config.line)
        if line is None or meter not in self._fleet:
            raise CmeError(f"{meter.name} is no longer installed.")
        await line.reader.read(meter)

    async def _record(self, meter: Meter, result: Readout | MbusError) -> None:
        try:
            await self._fleet.take(meter, judge(meter, result, self._clock.now_ms()))
        except CmeError as error:
            self._store_reason = str(error)
            self._touch()
            raise
        self._store_reason = ""
        if meter in self._fleet:
            self._show(meter)

    def _show(self, meter: Meter) -> None:
        """Let clients and screens see a meter as it is now."""
        # A reload that is under way shows all devices at its end, and none of them half-way.
        if self._remap(meter) and not self._applying.locked():
            self._show_devices()
        self._touch()

    def _touch(self) -> None:
        """Something changed: make a new snapshot soon, one for all that changes meanwhile."""
        if self._publishing is None:
            self._publishing = asyncio.get_running_loop().call_later(_PUBLISH_S, self._publish)

    def _publish(self) -> None:
        self._publishing = None
        config = self._config
        host, port = self._endpoint(config)
        self.snapshot = Snapshot(
            taken_ms=self._clock.now_ms(),
            started_ms=self._started_ms,
            version=VERSION,
            name=config.gateway.name or self._facts.name,
            serial=config.gateway.serial,
            system_title=self._facts.system_title.hex().upper(),
            state_dir=str(self._state.path),
            demo=self._options.demo,
            readout_interval=str(config.readout.interval),
            dlms=DlmsView(
                enabled=config.dlms.enabled,
                host=host,
                port=self._server.port or port,
                listening=self._server.listening,
                reason="" if config.dlms.enabled else "DLMS is switched off in config.toml.",
                authentication=config.dlms.authentication,
                logical_devices=1 + len(self._devices),
            ),
            lines=tuple(self._line_view(line) for line in self._lines.values()),
            meters=tuple(self._views[meter.key] for meter in self._fleet if meter.key in self._views),
            associations=tuple(views.association_view(session) for session in self._server.sessions()),
            alarms=tuple(self._alarms()),
        )

    def _line_view(self, line: _Line) -> LineView:
        return LineView(
            name=line.config.name,
            url=line.config.url,
            baud=line.config.baud,
            state=line.master.state,
            reason=line.master.reason,
            since_ms=round(line.master.since * 1000),
            meters=len(self._fleet.on_line(line.config.name)),
            sweep=line.reader.sweep,
            next_sweep_ms=line.reader.next_sweep_ms,
        )

    def _alarms(self) -> Iterable[str]:
        if self._store_reason:
            yield self._store_reason
        for line in self._lines.values():
            if line.master.state is LineState.DOWN:
                yield f"Line {line.config.name}: {line.master.reason}"
        for problem in self._mappings.problems:
            yield f"Mapping {problem}"
        for meter in self._fleet:
            if meter.state is MeterState.WRONG_METER:
                way_out = " If it was replaced, give its new secondary address in config.toml."
                yield f"{meter.name}: {meter.reason}{way_out}"
            elif meter.reading is not None and meter.mapping is None:
                yield f"{meter.name}: no mapping file for it, so clients see no values; add one to mappings/."

        if self._admits_no_management():
            yield NO_HLS
        if any(report.enabled for report in self._config.push.reports):
            yield "Push reports are configured, but this version sends none yet: poll the gateway meanwhile."

    def _admits_no_management(self) -> bool:
        return self._config.dlms.enabled and self._config.dlms.authentication == "high"

    async def _tick(self) -> None:
        """What changes without anybody saying so, such as the counters of the connections."""
        while True:
            await asyncio.sleep(_TICK_S)
            if self._server.sessions() or self.snapshot.associations:
                self._touch()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Counters:
    def __init__(self) -> None:
        self._sent = 0
        self._accepted: dict[bytes, int] = {}

    def next(self) -> int:
        self._sent += 1
        return self._sent

    def last(self, title: bytes) -> int:
        return self._accepted.get(title, -1)

    def accept(self, title: bytes, counter: int) -> None:
        self._accepted[title] = counter


class _Credentials:
    def __init__(self, core: Core) -> None:
        self._core = core
        self.counters = _Counters()

    def policy(self) -> Policy:
        return Policy.NONE

    def keys(self) -> Keys:
        return Keys(self._core.secrets.encryption_key, self._core.secrets.authentication_key)

    def system_title(self) -> bytes:
        return self._core.config.gateway.system_title

    def level(self) -> Level:
        return Level[self._core.config.dlms.authentication.upper()]

    def lls_password(self) -> bytes:
        return self._core.secrets.lls_password.encode()


class _Watcher(Observer):
    def __init__(self, touch: Callable[[], None]) -> None:
        self._touch = touch

    def connected(self, peer: str) -> None:
        self._touch()

    def associated(self, session: SessionView) -> None:
        log.info(
            "%s: client %s associated with logical device %s", session.peer, session.client_sap, session.sap
        )
        self._touch()

    def disconnected(self, peer: str, reason: str) -> None:
        self._touch()


def _titled_intervals(config: Config) -> dict[str, Interval]:
    return {title: getattr(config.profiles, title) for title in PROFILES}


def _intervals(config: Config) -> Mapping[int, Interval]:
    return {PROFILES[title]: interval for title, interval in _titled_intervals(config).items()}


async def _close(line: _Line) -> None:
    await line.reader.stop()
    await line.master.close()


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except CmeError as error:
        log.error("%s", error)

"""Puts the parts together: applies a configuration, moves readings from line to client, keeps the picture fresh."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from core import VERSION, alarms, demo, views
from core.changes import Changes
from core.clock import Clock, ClockError, GatewayClock, set_system_clock
from core.commissioning import Commissioning
from core.config import Config, Place, system_title, system_zone
from core.config_tables import LineChange, MeterChange, NewMeters, TableChange
from core.cosem import dialect
from core.cosem.base import Context, DataAccessError
from core.cosem.devices import GatewayFacts
from core.cosem.dialect import Dialect
from core.dlms.xdlms import DataAccessResult
from core.dlms_port import DlmsPort, DlmsWatch
from core.doctor import Doctor
from core.errors import CmeError
from core.events import EventCode, EventPage, Events, Log
from core.events.clock import ClockSetter, ClockWatch
from core.events.meters import LineWatch, MeterWatch, status_of
from core.events.power import PowerWatch
from core.events.settings import change_message, changed_settings
from core.facade import RunOptions
from core.fleet import NOWHERE, Fleet, Plan
from core.installation import Installation
from core.lines import Line, Lines, line_view
from core.logical_devices import LogicalDevices, profile_intervals
from core.mapping import workshop
from core.mapping.folder import last_change
from core.mapping.model import MappingFile
from core.mapping.simplified import Site
from core.mbus.errors import MbusError
from core.mbus.link import Readout
from core.mbus.telegram import Telegram, TelegramError
from core.meter import Meter, open_telegram
from core.outcome import judge
from core.push.service import Push
from core.search import Searches
from core.secrets import Secrets
from core.security import NOTHING, Security
from core.settings import Setting, lowered, settings
from core.signature import package_signature
from core.snapshot import (
    LineView,
    LogEntry,
    MeterDetail,
    MeterState,
    MeterView,
    Snapshot,
    TraceEntry,
)
from core.statedir import StateDir
from core.store import Origin, Store, StoreError

log = logging.getLogger(__name__)

_OF_SECURITY: Final = ("dlms.authentication", "dlms.policy")
"""Settings whose changes `Security` tells."""

_PUBLISH_S: Final = 0.2
_TICK_S: Final = 1.0
_CUT_WAIT_S: Final = 3.0


class Core:
    """The gateway itself. Everything in it belongs to the core's event loop, but `snapshot`, which is immutable."""

    def __init__(
        self,
        state: StateDir,
        config: Config,
        secrets: Secrets,
        options: RunOptions,
        clock: Clock,
        *,
        fresh: bool,
    ) -> None:
        """`config` has its serial and logical device addresses already (`ConfigFile.prepare`).

        `clock` is that of the machine. `fresh` says that `secrets` have just been made.
        """
        self._state = state
        self._config = config
        self._first_secrets = secrets, fresh
        self._options = options
        self._clock = GatewayClock(clock)
        self._doctor = Doctor(self._clock, lambda: self._facts.zone, lambda name: self._lines.master(name))
        self._lines = Lines(
            self._clock,
            self._record,
            self._span,
            self._touch,
            onlooker=self._doctor,
            more_follows=self._more_follows,
        )
        self._fleet = Fleet(self._clock, self._read)
        self._views: dict[int, MeterView] = {}
        self._store_reason = ""
        self._publishing: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.changes = Changes(state.config, lambda: self._config, self._apply)
        self.installation = Installation(self.changes, self._fleet)
        self._parts = AsyncExitStack()
        self._started_ms: int
        self._signature: bytes
        self._events: Events
        self._power: PowerWatch
        self._security: Security
        self._push: Push
        self._clock_watch: ClockWatch
        self._clock_setter: ClockSetter
        self._meter_watch: MeterWatch
        self._line_watch: LineWatch
        self.commissioning: Commissioning
        self.searches: Searches
        self._dialect: Dialect
        self._facts: GatewayFacts
        self._devices: LogicalDevices
        self._port: DlmsPort
        self.store: Store
        self.snapshot: Snapshot

    @property
    def config(self) -> Config:
        return self._config

    @property
    def secrets(self) -> Secrets:
        return self._security.secrets

    def settings(self) -> tuple[Setting, ...]:
        """Every setting as it holds now. May be called from any thread."""
        choices = dialect.known(self._state.dialects)
        return settings(self._security.in_force(self._config), self._dialect, choices)

    async def start(self) -> None:
        """Open the store, take up the meters, listen. Raises `CmeError`, a sentence, where one of them fails."""
        self._dialect = await self._find_dialect(self._config)
        self.store = await Store.open(self._state.database)
        self._parts.push_async_callback(self.store.close)
        self._clock.offset_ms = await self.store.clock_offset()
        self._started_ms = self._clock.system.now_ms()
        self._signature = await asyncio.to_thread(package_signature)
        await self._start_events()
        await self._start_security()
        self._parts.push_async_callback(self._end_tasks)
        self._parts.push_async_callback(self.changes.close)
        self._push = Push(
            self.store,
            self._security,
            self._clock,
            lambda: self._fleet,
            lambda meter, profile: self._devices.pushed_rows(meter, profile),
            lambda: self._facts,
            lambda: self._config.push,
            self._touch,
        )
        self._parts.push_async_callback(self._push.close)
        self._facts = self._make_facts(self._config, self._dialect)
        cut = self._spawn(self.store.set_profiles(profile_intervals(self._config), self._facts.zone))
        # Years of readings of many meters take minutes to cut anew: no reason to listen only then.
        await asyncio.wait([cut], timeout=_CUT_WAIT_S)
        known = {meter.key for meter in await self.store.meters()}
        if self._options.demo:
            await demo.make_past(self.store, self._config, self._facts.zone, self._clock.now_ms())
        self._devices = LogicalDevices(self.store, self._facts, self._config)
        watch = DlmsWatch(self._clock, self._events, self._touch)
        self._port = DlmsPort(
            self._config.dlms, self._options, self._devices.directory, self._security, watch
        )
        await self._install(await self._fleet.plan(self.store, self._config))
        await self._load_mappings(self._config)
        self._devices.show()
        self._parts.push_async_callback(self._doctor.close)
        self._parts.push_async_callback(self._lines.close)
        self.commissioning = Commissioning(
            self._lines,
            self._fleet,
            self.installation,
            self._events,
            self._clock,
            lambda: self._facts.zone,
            self._open,
        )
        self._parts.push_async_callback(self.commissioning.close)
        self.searches = Searches(
            self.store, self._lines, self._fleet.on_line, self._clock, self._touch, self._publish
        )
        self._parts.push_async_callback(self.searches.close)
        self._lines.use(self._config.lines, self._fleet.on_line)
        await self.searches.open()
        self._parts.push_async_callback(self._port.close)
        await self._port.start()
        self._publish()
        await self._push.start()
        if {meter.key for meter in self._fleet} != known:
            await self._push.meters_changed()
        self._spawn(self._doctor.keep())
        self._spawn(self._power.keep())
        self._spawn(self._tick())
        self._spawn(self._unseal())

    async def _start_events(self) -> None:
        self._events = await Events.open(self.store, self._clock)
        self._parts.push_async_callback(self._events.close)
        power = PowerWatch(self.store, self._events, self._clock)
        last = await power.started(VERSION)
        self._parts.push_async_callback(power.stopped)
        self._power = power
        self._clock_watch = ClockWatch(self._events, lambda: self._facts.zone, last.heartbeat_ms)
        self._clock_setter = ClockSetter(self._clock, self.store, self._clock_watch)
        self._meter_watch = MeterWatch(self._events)
        self._line_watch = LineWatch(self._events)

    async def _start_security(self) -> None:
        secrets, fresh = self._first_secrets
        self._security = await Security.open(
            self.store,
            self._state,
            secrets,
            self._config,
            fresh=fresh,
            clock=self._clock.system,
            changed=self._events.log,
        )
        self._parts.push_async_callback(self._security.close)

    async def stop(self) -> None:
        """Let clients go, end the readouts that run, and close the store; may be called after a failed start."""
        await self._parts.aclose()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._publishing:
            self._publishing.cancel()

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

    @property
    def doctor(self) -> Doctor:
        """How the lines do."""
        return self._doctor

    @property
    def push(self) -> Push:
        """Reports, outbox and ledger."""
        return self._push

    async def events(self, after: int, limit: int, origin: Origin) -> EventPage:
        """Events with an id above `after`: the newest of them. Raises `StoreError`."""
        return await self._events.page(after, limit, origin)

    async def trace(self, after: int) -> tuple[TraceEntry, ...]:
        """APDUs after that id; recorded from the first call on, as long as somebody asks."""
        return await self._port.watch.trace(after)

    async def association_log(self) -> tuple[LogEntry, ...]:
        """What happened on the DLMS port lately, oldest first."""
        return self._port.watch.events()

    async def read_all(self) -> None:
        """Start a sweep of every line."""
        self._lines.sweep_now()

    async def ping(self) -> None:
        """Answered by the loop, so that others know that it is alive."""

    async def check(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """What `configure` would make less secure, a sentence or two each. Raises `CmeError` as it would."""
        config = await self.changes.planned(values)
        self._make_facts(config, await self._find_dialect(config))
        await self._port.check(config.dlms)
        return lowered(self._security.in_force(self._config), config)

    async def misfits(self, change: Mapping[str, Any] | TableChange) -> tuple[str, ...]:
        """Lines that could no longer keep their schedule after a change, a sentence or two each."""
        if isinstance(change, NewMeters | MeterChange | LineChange):
            config, moved = await self.installation.planned(change)
        else:
            config, moved = await self.changes.planned(change), NOWHERE
        known = set(self._lines.misfits(self._config, self._fleet))
        return tuple(text for text in self._lines.misfits(config, self._fleet, moved) if text not in known)

    async def mappings(self) -> workshop.Mappings:
        """The active mapping files, and the meter types in use."""
        active, meters = self._devices.mappings, self._installed()
        told = await asyncio.to_thread(last_change, self._state.mappings)
        return await asyncio.to_thread(workshop.lists, active, meters, told)

    async def coach(self, label: str) -> workshop.Coaching:
        """The fields of a meter type in use. Raises `MappingError` where there is nothing to coach."""
        return await asyncio.to_thread(workshop.coaching, self._devices.mappings, self._installed(), label)

    async def preview(self, file: MappingFile) -> workshop.Preview:
        """What a mapping file would change."""
        return await asyncio.to_thread(workshop.preview, self._devices.mappings, file, self._installed())

    async def change_mappings(self, change: Callable[[Path], object]) -> None:
        """Change the folder of mapping files with `change`, and use what is in it then.

        Raises `MappingError` where `change` does, and then nothing has changed.
        """

        async def work() -> None:
            await asyncio.to_thread(change, self._state.mappings)
            try:
                await self._load_mappings(self._config)
            finally:
                self._devices.show()
            self._publish()

        await self.changes.alone(work)

    def _installed(self) -> list[workshop.InstalledMeter]:
        site = self._site()
        return [views.installed_meter(meter, site) for meter in self._fleet]

    async def _apply(
        self,
        config: Config,
        save: Callable[[], Config] | None = None,
        secrets: Mapping[str, str] = NOTHING,
        moved: Mapping[int, Place] = NOWHERE,
    ) -> None:
        """Put a configuration to use: first all that can fail, then `save`, and only then what clients see."""
        spoken = await self._find_dialect(config)
        facts = self._make_facts(config, spoken)
        keys = self._security.secrets.meter_keys
        listens_anew = await self._port.move(config.dlms)
        try:
            try:
                plan = await self._fleet.plan(self.store, config, moved)
                await self._security.reload(save, secrets)
            except BaseException:
                if listens_anew:
                    await self._port.move_back()
                if moved:
                    back = {key: self._fleet.meter(key).config.place for key in moved}
                    await self._fleet.plan(self.store, self._config, back)
                raise
            await self._take(config, spoken, facts, plan)
            if self._security.secrets.meter_keys != keys:
                self._spawn(self._unseal())
        finally:
            self._devices.show()  # also readings that came meanwhile

    async def _take(self, config: Config, spoken: Dialect, facts: GatewayFacts, plan: Plan) -> None:
        """Have a configuration hold that is on disk, and whose endpoint is open."""
        old, old_facts = self._config, self._facts
        self._config, self._dialect, self._facts = config, spoken, facts
        intervals = profile_intervals(config)
        if intervals != profile_intervals(old) or facts.zone != old_facts.zone:
            self._spawn(self.store.set_profiles(intervals, facts.zone))
        if changed := [name for name in changed_settings(old, config) if name not in _OF_SECURITY]:
            self._events.log(EventCode.PARAMETERS_CHANGED, change_message(changed))
        await self._port.use(config.dlms)
        before = {meter.key for meter in self._fleet}
        await self._install(plan)
        await self._load_mappings(config)
        self._lines.use(config.lines, self._fleet.on_line)
        self.searches.installed()
        if config.push != old.push:
            self._push.changed()
        if {meter.key for meter in self._fleet} != before:
            await self._push.meters_changed()
        self._publish()  # now: who asked for it looks next

    async def _find_dialect(self, config: Config) -> Dialect:
        return await asyncio.to_thread(dialect.find, config.dlms.dialect, self._state.dialects)

    def _make_facts(self, config: Config, spoken: Dialect) -> GatewayFacts:
        gateway = config.gateway
        return GatewayFacts(
            name=f"{gateway.flag_id}{gateway.serial}",
            system_title=system_title(gateway.flag_id, gateway.serial),
            clock=self._clock,
            zone=ZoneInfo(gateway.timezone) if gateway.timezone else system_zone(),
            codes=spoken.codes_with(config.obis),
            push=config.push,
            signature=self._signature,
            set_time=self._set_time,
            security=self._security,
            events=self._events,
            send_report=self._push.send_report,
        )

    async def _set_time(self, ms: int, context: Context) -> None:
        set_system = set_system_clock if self._config.gateway.set_system_clock else None
        try:
            await self._clock_setter.set(ms, f"by {context.peer}", set_system)
        except ClockError as error:
            raise DataAccessError(DataAccessResult.OTHER_REASON) from error
        except StoreError as error:
            raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE) from error

    def _site(self) -> Site:
        return Site(self._config.gateway.serial, self._facts.zone)

    async def _install(self, plan: Plan) -> None:
        await self._fleet.install(plan, self._security.secrets, self._site())
        self._meter_watch.install(
            {meter.key: str(meter.address) for meter in self._fleet},
            {
                meter.key: status_of(meter.reading.telegrams[0]) if meter.reading else None
                for meter in self._fleet
            },
        )
        installed = {meter.key for meter in self._fleet}
        self._views = {key: view for key, view in self._views.items() if key in installed}

    async def _load_mappings(self, config: Config) -> None:
        await self._devices.load(self._state.mappings, self._dialect, self._facts, config)
        for meter in self._fleet:
            self._remap(meter)
            await asyncio.sleep(0)  # each takes a few ms, one of a new type more: clients go on meanwhile

    def _remap(self, meter: Meter) -> bool:
        made_anew = self._devices.remap(meter)
        self._views[meter.key] = views.meter_view(meter)
        return made_anew

    def _open(self, frame: bytes) -> Telegram:
        return open_telegram(frame, self._security.secrets.meter_keys)

    def _more_follows(self, frame: bytes) -> bool | None:
        try:
            telegram = self._open(frame)
        except TelegramError:
            return None
        return None if telegram.encrypted else telegram.more_follows

    async def _unseal(self) -> None:
        """A key that comes opens what was read before it."""
        for meter in tuple(self._fleet):
            if await self._fleet.unseal(meter) and meter in self._fleet:
                self._show(meter)

    def _span(self, meter: Meter, now_ms: int) -> tuple[int, int]:
        interval = meter.config.interval or self._config.readout.interval
        return interval.span(now_ms, self._facts.zone)

    async def _read(self, meter: Meter) -> None:
        if meter not in self._fleet:
            raise CmeError(f"{meter.name} is no longer installed.")
        await self._lines.read(meter)

    async def _record(self, meter: Meter, result: Readout | MbusError) -> None:
        outcome = judge(meter, result, self._clock.now_ms())
        try:
            await self._fleet.take(meter, outcome)
        except CmeError as error:
            self._store_reason = str(error)
            self._events.database_fault(self._store_reason)
            self._touch()
            raise
        self._store_reason = ""
        status = status_of(outcome.telegrams[0]) if outcome.telegrams else None
        self._meter_watch.readout(meter.key, outcome.state, outcome.reason, status, outcome.time_ms)
        if meter in self._fleet:
            self._show(meter)

    def _show(self, meter: Meter) -> None:
        """Let clients and screens see a meter as it is now."""
        # A reload that is under way shows all devices at its end, and none of them half-way.
        if self._remap(meter) and not self.changes.running:
            self._devices.show()
        self._touch()

    def _touch(self) -> None:
        """Something changed: make a new snapshot soon, one for all that changes meanwhile."""
        if self._publishing is None:
            self._publishing = asyncio.get_running_loop().call_later(_PUBLISH_S, self._publish)

    def _publish(self) -> None:
        self._publishing = None
        config, offset_ms = self._config, self._clock.offset_ms
        down = self._lines.down()
        self.snapshot = Snapshot(
            started_ms=self._started_ms + offset_ms,
            clock_offset_ms=offset_ms,
            version=VERSION,
            name=config.gateway.name or self._facts.name,
            serial=config.gateway.serial,
            system_title=self._facts.system_title.hex().upper(),
            state_dir=str(self._state.path),
            demo=self._options.demo,
            readout_interval=str(config.readout.interval),
            dlms=self._port.view(self._devices.count),
            lines=tuple(map(self._line_view, self._lines)),
            meters=tuple(
                views.cut_off(self._views[meter.key], down.get(meter.config.line))
                for meter in self._fleet
                if meter.key in self._views
            ),
            associations=tuple(
                views.association_view(session, offset_ms) for session in self._port.sessions()
            ),
            alarms=tuple(self._alarms()),
            push=self._push.view(),
            last_fraud_ms=self._last_fraud_ms(),
        )

    def _line_view(self, line: Line) -> LineView:
        name = line.config.name
        meters = self._fleet.on_line(name)
        self._lines.weigh(line, meters, self._config.readout.interval)
        return line_view(line, len(meters), self.searches.view(name), self._doctor.health(name))

    def _last_fraud_ms(self) -> int | None:
        event = self._events.last(None, Log.FRAUD)
        return None if event is None else event.time_ms

    def _alarms(self) -> Iterable[str]:
        if reason := self._store_reason or self._events.fault:
            yield reason
        yield from alarms.of_lines(self._lines)
        yield from self._doctor.alarms()
        yield from (f"Mapping {problem}" for problem in self._devices.problems)
        yield from alarms.of_meters(self._fleet)
        yield from alarms.of_push(self._push.view())

    async def _tick(self) -> None:
        """What changes without anybody saying so: the time, lines that stay down, counters of connections, alarms."""
        while True:
            self._clock_watch.tick(self._clock.now_ms(), time.monotonic())
            self._line_watch.tick(self._lines.down(), time.monotonic())
            await asyncio.sleep(_TICK_S)
            clients = self._port.sessions() or self.snapshot.associations
            fraud = self.snapshot.last_fraud_ms != self._last_fraud_ms()
            if clients or fraud or self.snapshot.alarms != tuple(self._alarms()):
                self._touch()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except CmeError as error:
        log.error("%s", error)

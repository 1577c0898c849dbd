"""Starts a gateway on a state directory, in a thread of its own, and is its facade to UI and commands."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from core import demo
from core.clock import Clock, SystemClock
from core.config import Config, MeterConfig, Report
from core.config_file import ConfigFile, Given
from core.config_tables import TableChange
from core.control import ControlError, ControlServer
from core.diagnosis import LineDiagnosis, LineTraceEntry
from core.events import EventPage
from core.facade import RunOptions
from core.gateway import Core
from core.mapping.folder import add_file, remove_file, undo_change
from core.mapping.model import MappingFile, dump
from core.mapping.ready import ready_mappings
from core.mapping.workshop import Coaching, Mappings, Preview
from core.mbus.commands import Command
from core.push.service import NotificationDetail
from core.runtime import CoreThread
from core.searching import SearchEstimate, SearchRequest
from core.secrets import Secrets, ensure_secrets
from core.settings import Setting
from core.snapshot import LogEntry, MeterDetail, Snapshot, TraceEntry
from core.statedir import StateDir, StateDirError, write_atomically
from core.store import ANYWHERE, Origin, StoreError, open_readonly
from core.store.outbox import Notification, NotificationState, RowReport

log = logging.getLogger(__name__)


class RunningGateway:
    """A gateway that runs until `stop`. Implements `core.facade.Gateway`; all methods are thread-safe."""

    def __init__(self, thread: CoreThread[Core], core: Core, cleanup: contextlib.ExitStack) -> None:
        self._thread = thread
        self._core = core
        self._cleanup = cleanup
        self._control: CoreThread[ControlServer] | None = None

    def snapshot(self) -> Snapshot:
        return self._core.snapshot

    def meter(self, key: int) -> Future[MeterDetail]:
        return self._thread.submit(self._core.detail(key))

    def read_meter(self, key: int) -> Future[MeterDetail]:
        return self._thread.submit(self._core.read_meter(key))

    def read_all(self) -> Future[None]:
        return self._thread.submit(self._core.read_all())

    def reload(self) -> Future[None]:
        return self._thread.submit(self._core.changes.reload())

    def config(self) -> Config:
        return self._core.config

    def settings(self) -> tuple[Setting, ...]:
        return self._core.settings()

    def check(self, values: Mapping[str, Any]) -> Future[tuple[str, ...]]:
        return self._thread.submit(self._core.check(values))

    def misfits(self, change: Mapping[str, Any] | TableChange) -> Future[tuple[str, ...]]:
        return self._thread.submit(self._core.misfits(change))

    def configure(self, values: Mapping[str, Any]) -> Future[None]:
        return self._thread.submit(self._core.changes.configure(values))

    def undo(self) -> Future[Mapping[str, Any]]:
        return self._thread.submit(self._core.changes.undo())

    def replaced(self) -> Future[Mapping[str, Any]]:
        return self._thread.submit(self._core.changes.replaced())

    def secrets(self) -> Secrets:
        return self._core.secrets

    def set_secrets(self, values: Mapping[str, str]) -> Future[None]:
        return self._thread.submit(self._core.changes.set_secrets(values))

    def mappings(self) -> Future[Mappings]:
        return self._thread.submit(self._core.mappings())

    def coach(self, label: str) -> Future[Coaching]:
        return self._thread.submit(self._core.coach(label))

    def preview(self, file: MappingFile) -> Future[Preview]:
        return self._thread.submit(self._core.preview(file))

    def add_mapping(self, file: MappingFile, *, replace: bool = False) -> Future[None]:
        return self._thread.submit(
            self._core.change_mappings(lambda folder: add_file(folder, file, replace=replace))
        )

    def remove_mapping(self, name: str) -> Future[None]:
        return self._thread.submit(self._core.change_mappings(lambda folder: remove_file(folder, name)))

    def undo_mapping(self) -> Future[None]:
        return self._thread.submit(self._core.change_mappings(undo_change))

    def events(self, after: int = 0, limit: int = 10_000, origin: Origin = ANYWHERE) -> Future[EventPage]:
        return self._thread.submit(self._core.events(after, limit, origin))

    def send_report(self, report: Report) -> Future[None]:
        return self._thread.submit(self._core.push.send_now(report))

    def resend_report(
        self, report: Report, meters: Collection[int] | None, start_ms: int, end_ms: int
    ) -> Future[int]:
        return self._thread.submit(self._core.push.resend(report, meters, start_ms, end_ms))

    def test_report(self, report: Report) -> Future[int]:
        return self._thread.submit(self._core.push.test(report))

    def send_samples(self, host: str, port: int) -> Future[int]:
        return self._thread.submit(self._core.push.send_samples(host, port))

    def retry_notifications(self, ids: Collection[int] | None = None) -> Future[int]:
        return self._thread.submit(self._core.push.retry(ids))

    def cancel_notifications(self, ids: Collection[int]) -> Future[int]:
        return self._thread.submit(self._core.push.cancel(ids))

    def ledger(
        self, report: str | None = None, meter: int | None = None, state: NotificationState | None = None
    ) -> Future[tuple[Notification, ...]]:
        return self._thread.submit(self._core.push.ledger(report, meter, state))

    def notification(self, number: int) -> Future[NotificationDetail]:
        return self._thread.submit(self._core.push.notification(number))

    def completeness(
        self, report: Report, meter: int, start_ms: int, end_ms: int
    ) -> Future[tuple[RowReport, ...]]:
        return self._thread.submit(self._core.push.completeness(report, meter, start_ms, end_ms))

    def trace(self, after: int) -> Future[tuple[TraceEntry, ...]]:
        return self._thread.submit(self._core.trace(after))

    def association_log(self) -> Future[tuple[LogEntry, ...]]:
        return self._thread.submit(self._core.association_log())

    def diagnosis(self, line: str) -> Future[LineDiagnosis]:
        return self._thread.submit(self._core.doctor.diagnosis(line))

    def reset_diagnosis(self, line: str) -> Future[None]:
        return self._thread.submit(self._core.doctor.reset(line))

    def start_check(self, line: str) -> Future[None]:
        return self._thread.submit(self._core.doctor.start_check(line))

    def stop_check(self, line: str) -> Future[None]:
        return self._thread.submit(self._core.doctor.stop_check(line))

    def line_trace(self, line: str, after: int) -> Future[tuple[LineTraceEntry, ...]]:
        return self._thread.submit(self._core.doctor.trace(line, after))

    def record_line(self, line: str, path: Path | None) -> Future[None]:
        return self._thread.submit(self._core.doctor.record(line, path))

    def install_meters(self, meters: Collection[MeterConfig]) -> Future[int]:
        return self._thread.submit(self._core.installation.install_meters(meters))

    def change_meter(self, key: int, values: Mapping[str, Any]) -> Future[None]:
        return self._thread.submit(self._core.installation.change_meter(key, values))

    def remove_meters(self, keys: Collection[int]) -> Future[int]:
        return self._thread.submit(self._core.installation.remove_meters(keys))

    def change_line(self, name: str | None, values: Mapping[str, Any]) -> Future[None]:
        return self._thread.submit(self._core.installation.change_line(name, values))

    def remove_line(self, name: str) -> Future[None]:
        return self._thread.submit(self._core.installation.remove_line(name))

    def command_meter(self, line: str, address: str, command: Command) -> Future[str]:
        return self._thread.submit(self._core.commissioning.command_meter(line, address, command))

    def estimate_search(self, request: SearchRequest) -> Future[SearchEstimate]:
        return self._thread.submit(self._core.searches.estimate(request))

    def start_search(self, request: SearchRequest) -> Future[None]:
        return self._thread.submit(self._core.searches.start(request))

    def pause_search(self, line: str) -> Future[None]:
        return self._thread.submit(self._core.searches.pause(line))

    def resume_search(self, line: str) -> Future[None]:
        return self._thread.submit(self._core.searches.resume(line))

    def stop_search(self, line: str) -> Future[None]:
        return self._thread.submit(self._core.searches.stop(line))

    def ping(self) -> Future[None]:
        """Done as soon as the core's event loop gets to it."""
        return self._thread.submit(self._core.ping())

    def how_to_connect(self) -> Iterable[str]:
        """What a technician tells a HES, as lines; only for the demo, whose password is nobody's secret."""
        return demo.how_to_connect(self.snapshot(), self._core.secrets) if self.snapshot().demo else ()

    def stop(self) -> None:
        """Stop the core and give the state directory back; may be called twice."""
        if self._control is not None:
            self._control.stop()
        self._thread.stop()
        self._cleanup.close()

    def open_control(self, path: Path, clock: Clock) -> None:
        """Serve the control socket. A gateway goes on without it where it cannot be made, and says so in the log."""
        control = CoreThread(lambda: ControlServer(self, path, clock), name="cme-control")
        try:
            control.start()
        except ControlError as error:
            log.error("%s", error)
        else:
            self._control = control


def open_gateway(options: RunOptions, clock: Clock | None = None) -> RunningGateway:
    """Start a gateway. Raises `CmeError`, a sentence, where it cannot start; nothing is left running then."""
    state = StateDir(options.state_dir)
    clock = clock or SystemClock()
    state.create()
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(state.lock())
        if not state.database.exists():
            _first_start(state, options)
        config = ConfigFile(state.config).prepare(_given(state))
        fresh = not state.secrets.exists()
        secrets = ensure_secrets(state.secrets)
        thread = CoreThread(lambda: Core(state, config, secrets, options, clock, fresh=fresh))
        core = thread.start()
        gateway = RunningGateway(thread, core, cleanup.pop_all())
    gateway.open_control(state.control_socket, clock)
    return gateway


def _given(state: StateDir) -> Given:
    """What the gateway gave itself and its meters when it ran before."""
    # A database that is new, of an older version or damaged: `Store.open` deals with it, and says so.
    with contextlib.suppress(StoreError), open_readonly(state.database) as store:
        devices = {
            (meter.line, meter.address): meter.logical_device
            for meter in store.meters()
            if meter.logical_device is not None
        }
        return Given(store.serial(), devices)
    return Given()


def _first_start(state: StateDir, options: RunOptions) -> None:
    """Give a new gateway the ready mapping files; they are the technician's from then on."""
    try:
        for mapping in ready_mappings():
            path = state.mappings / mapping.name
            if not path.exists():
                write_atomically(path, dump(mapping).encode(), 0o600)
    except OSError as error:
        raise StateDirError(
            f"The ready mapping files cannot be written to {state.mappings} ({error.strerror}); free space there."
        ) from error
    if options.demo and not state.config.exists():
        demo.write_config(state.config)

"""The one door between the core and everything else: UI, commands, control socket.

A caller on any thread asks with these methods; the work happens in the core's own thread. Nothing else of
the core may be touched from outside while it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.config import Config, MeterConfig, Report
from core.config_tables import TableChange
from core.diagnosis import LineDiagnosis, LineTraceEntry
from core.events import EventPage
from core.mapping.model import MappingFile
from core.mapping.workshop import Coaching, Mappings, Preview
from core.mbus.commands import Command
from core.push.service import NotificationDetail
from core.searching import SearchEstimate, SearchRequest
from core.secrets import Secrets
from core.settings import Setting
from core.snapshot import LogEntry, MeterDetail, Snapshot, TraceEntry
from core.store import ANYWHERE, Origin
from core.store.outbox import Notification, NotificationState, RowReport


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says about one run."""

    state_dir: Path
    demo: bool = False
    dlms_host: str | None = None  # instead of the configured one
    dlms_port: int | None = None


class Gateway(Protocol):
    """A running gateway. All methods are thread-safe and return at once."""

    def snapshot(self) -> Snapshot:
        """The newest picture of the gateway; cheap enough to ask for several times a second."""

    def meter(self, key: int) -> Future[MeterDetail]:
        """Values and telegrams of one meter. Fails with `CmeError` if there is no such meter."""

    def read_meter(self, key: int) -> Future[MeterDetail]:
        """Read one meter now, in front of any sweep. Fails with `CmeError`, a sentence, if it does not answer."""

    def read_all(self) -> Future[None]:
        """Start a sweep of every line now; done when the sweeps have started."""

    def reload(self) -> Future[None]:
        """Read config.toml and mappings again and apply what changed. Fails with `CmeError`, changing nothing."""

    def config(self) -> Config:
        """What config.toml said when it was applied last."""

    def settings(self) -> tuple[Setting, ...]:
        """Every setting of the plain tables of config.toml, as it holds now."""

    def check(self, values: Mapping[str, Any]) -> Future[tuple[str, ...]]:
        """What `configure` would make less secure, a sentence or two each; nothing changes.

        Fails with `CmeError` as `configure` would; that a disk is full shows only there.
        """

    def misfits(self, change: Mapping[str, Any] | TableChange) -> Future[tuple[str, ...]]:
        """Lines that could no longer keep their schedule after a change, a sentence or two each.

        "Line main: 15 min cycle, this line needs 17 min. Choose ..."; nothing where it is just as it was. `change` is
        what `configure`, `install_meters`, `change_meter` or `change_line` would do; where that fails this may fail
        as well.
        """

    def configure(self, values: Mapping[str, Any]) -> Future[None]:
        """Save settings, {"dlms.port": 4060}, and apply them; `None` stands for the default.

        All push reports are one setting, "push.report": a list of tables as config.toml has them.
        Associations that the change does not touch go on. Fails with `CmeError`, a sentence, where a value, the
        disk or the port does not allow it, and then nothing has changed, on disk nor in the gateway.
        """

    def undo(self) -> Future[Mapping[str, Any]]:
        """Take back the last `configure`, also one before a restart; what was put back, `None` for a default.

        Fails with `CmeError` as `configure` does, and where there is nothing to take back.
        """

    def replaced(self) -> Future[Mapping[str, Any]]:
        """What `undo` would put back. Fails with `CmeError` where there is nothing."""

    def secrets(self) -> Secrets:
        """Password and keys that hold now; for a person who asks to see them, and never for a log."""

    def set_secrets(self, values: Mapping[str, str]) -> Future[None]:
        """Save password and keys by name, as `core.secrets.changed_secrets` takes them; they hold at once.

        Fails with `CmeError`, which contains none of them, and then nothing has changed.
        """

    def mappings(self) -> Future[Mappings]:
        """The active mapping files, and the meter types in use."""

    def coach(self, label: str) -> Future[Coaching]:
        """The fields of a meter type in use, "water/HYD/37", with what is proposed for each.

        Fails with `MappingError`, which says why, where there is nothing to coach.
        """

    def preview(self, file: MappingFile) -> Future[Preview]:
        """What a mapping file would change, and what is doubtful about it; nothing changes."""

    def add_mapping(self, file: MappingFile, *, replace: bool = False) -> Future[None]:
        """Make a mapping file active as `core.mapping.folder.add_file` does; clients see it with their next request.

        Fails with `MappingError`, and then nothing has changed.
        """

    def remove_mapping(self, name: str) -> Future[None]:
        """Take out the mapping file of that name. Fails with `MappingError`, and then nothing has changed."""

    def undo_mapping(self) -> Future[None]:
        """Take back the last `add_mapping` or `remove_mapping`, also one before a restart. Fails as they do."""

    def events(self, after: int = 0, limit: int = 10_000, origin: Origin = ANYWHERE) -> Future[EventPage]:
        """Events with an id above `after`: the newest of them, at most `limit`.

        Costs nothing to speak of where there are none, so that a screen may ask several times a second.
        """

    def send_report(self, report: Report) -> Future[None]:
        """Make a push report now, beside its schedule, and send it. Fails with `CmeError` where that cannot be."""

    def resend_report(
        self, report: Report, meters: Collection[int] | None, start_ms: int, end_ms: int
    ) -> Future[int]:
        """Send again what lies between two times, both included, of some meters (by key) or of every device.

        How many notifications that makes. Fails with `CmeError`, and then nothing is sent.
        """

    def test_report(self, report: Report) -> Future[int]:
        """Send the newest row or event of one device; how many notifications that makes. Fails with `CmeError`."""

    def send_samples(self, host: str, port: int) -> Future[int]:
        """Send one notification of each report straight to a receiver, whatever is configured; how many those are.

        For a rehearsal: nothing is kept of it. Fails with `CmeError` where the receiver does not take them.
        """

    def retry_notifications(self, ids: Collection[int] | None = None) -> Future[int]:
        """Try notifications that wait, None for all, now; how many those were."""

    def cancel_notifications(self, ids: Collection[int]) -> Future[int]:
        """Give up notifications that wait; how many of these did."""

    def ledger(
        self, report: str | None = None, meter: int | None = None, state: NotificationState | None = None
    ) -> Future[tuple[Notification, ...]]:
        """Notifications, the newest first; of one report, one meter (0 = the gateway), in one state where given."""

    def notification(self, number: int) -> Future[NotificationDetail]:
        """One notification with its APDU. Fails with `CmeError` where there is none."""

    def completeness(
        self, report: Report, meter: int, start_ms: int, end_ms: int
    ) -> Future[tuple[RowReport, ...]]:
        """The rows of a meter's profile from one boundary until before another, and what became of each."""

    def trace(self, after: int) -> Future[tuple[TraceEntry, ...]]:
        """APDUs of the DLMS port with an id above `after`, oldest first, at most `core.trace.AT_ONCE` of them.

        Recording starts with the first call and goes on for `core.trace.LEASE_S` seconds after the last one.
        """

    def association_log(self) -> Future[tuple[LogEntry, ...]]:
        """What happened on the DLMS port lately, oldest first."""

    def install_meters(self, meters: Collection[MeterConfig]) -> Future[int]:
        """Write meters to config.toml, in this order, and begin to read them; how many those were.

        All or none: fails with `CmeError` where one of them cannot be, also where its address is taken already.
        """

    def change_meter(self, key: int, values: Mapping[str, Any]) -> Future[None]:
        """Save keys of a [[meter]], `None` for a default; one whose address changes goes on with its history.

        Fails with `CmeError`, and then nothing has changed; as do the next ones.
        """

    def remove_meters(self, keys: Collection[int]) -> Future[int]:
        """Take meters out of config.toml; their readings stay in the store. How many those were."""

    def change_line(self, name: str | None, values: Mapping[str, Any]) -> Future[None]:
        """Save keys of a [[line]], `None` for a default; without a name, add a line."""

    def remove_line(self, name: str) -> Future[None]:
        """Take a line out of config.toml. Fails with `CmeError` while meters are installed on it."""

    def estimate_search(self, request: SearchRequest) -> Future[SearchEstimate]:
        """How long a search would take. Fails with `CmeError` where it cannot be made."""

    def start_search(self, request: SearchRequest) -> Future[None]:
        """Begin a search; `LineView.search` tells how it goes. Readouts go on between its probes.

        Fails with `CmeError`, also where one runs on that line.
        """

    def pause_search(self, line: str) -> Future[None]:
        """Have a search rest until `resume_search`. Fails with `CmeError` where none runs; as do the next ones."""

    def resume_search(self, line: str) -> Future[None]:
        """Go on with a search that rests or was stopped, also one of before a restart."""

    def stop_search(self, line: str) -> Future[None]:
        """End a search; what it found stays."""

    def command_meter(self, line: str, address: str, command: Command) -> Future[str]:
        """Tell a meter, installed or not, something, and check by reading it again; what has come of it, a sentence.

        A new primary address or baud rate of an installed meter goes into config.toml as well. Fails with `CmeError`
        where the address is ambiguous, the meter does not do it, or that cannot be known.
        """

    def diagnosis(self, line: str) -> Future[LineDiagnosis]:
        """How a line and its meters do. Fails with `CmeError` where there is no such line; as do the next ones."""

    def reset_diagnosis(self, line: str) -> Future[None]:
        """Count from now."""

    def start_check(self, line: str) -> Future[None]:
        """Ask every meter of a line a few times between its readouts; `LineDiagnosis.check` tells how far it is."""

    def stop_check(self, line: str) -> Future[None]:
        """End that before its end; what was learned stays."""

    def line_trace(self, line: str, after: int) -> Future[tuple[LineTraceEntry, ...]]:
        """What went over a line after that entry, oldest first; the last ones are always kept."""

    def record_line(self, line: str, path: Path | None) -> Future[None]:
        """Write all that goes over a line to a file, from now until None; `cme-tui simulate --replay` plays it."""

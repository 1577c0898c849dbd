"""The one door between the core and everything else: UI, commands, control socket.

A caller on any thread asks with these methods; the work happens in the core's own thread. Nothing else of
the core may be touched from outside while it runs.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.snapshot import LogEntry, MeterDetail, Snapshot, TraceEntry


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

    def trace(self, after: int) -> Future[tuple[TraceEntry, ...]]:
        """APDUs of the DLMS port with an id above `after`, oldest first, at most `core.trace.AT_ONCE` of them.

        Recording starts with the first call and goes on for `core.trace.LEASE_S` seconds after the last one.
        """

    def association_log(self) -> Future[tuple[LogEntry, ...]]:
        """What happened on the DLMS port lately, oldest first."""

"""What goes into the store and comes out of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NamedTuple

from core.errors import CmeError
from core.mbus.address import SecondaryAddress
from core.snapshot import MeterState

GATEWAY_EVENTS = 1000
"""Rows that are kept in each event log of the gateway; a further one takes the place of the oldest."""
METER_EVENTS = 500
"""Rows that are kept in each event log of a meter."""

UNREPORTED = 10
"""So many times as many rows are kept while a report has not taken them."""

_LONG_START = 0x68
_LONG_OVERHEAD = 6  # 68 L L 68 before and checksum 16 after what L counts (EN 13757-2, FT1.2)


class StoreError(CmeError):
    """The database cannot be used, or what was to be written is not in it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One readout of one meter, good or not."""

    meter: int
    line: str
    time_ms: int
    """When the readout began, milliseconds since 1970 UTC."""
    result: MeterState
    frames: tuple[bytes, ...] = ()
    """Whole frames as received; where `result` is not OK, whatever bytes came, as one item."""
    detail: str = ""
    """The sentence that says why it is not OK."""
    id: int = 0
    """Given by the store; grows with each reading and is never used again."""


@dataclass(frozen=True, slots=True)
class StoredMeter:
    """A meter that is or was installed."""

    key: int
    line: str
    address: str
    identification: str
    """8 digits, "" before it was learned from a telegram; the three below as well."""
    manufacturer: str
    version: int | None
    medium: int | None
    installed_ms: int
    removed_ms: int | None
    logical_device: int | None = None
    """The address that it had when the gateway ran last."""
    former_line: str | None = None
    """Where it was before it was moved, until config.toml is seen to have its new place; the next one as well."""
    former_address: str | None = None

    @property
    def identity(self) -> SecondaryAddress | None:
        """What it said of itself, None before it did."""
        if not self.identification:
            return None
        return SecondaryAddress(self.identification, self.manufacturer or None, self.version, self.medium)


class ProfileRow(NamedTuple):
    """A row of a profile: the first good reading at or after a boundary, or just a good reading."""

    boundary_ms: int
    """The time of the reading where there are no boundaries."""
    time_ms: int
    """When the reading was taken; rows are selected by this time, the one that a client sees."""
    reading: int
    joined: bytes
    """The frames as they lie in the database: most rows are known by their reading and never taken apart."""

    @property
    def frames(self) -> tuple[bytes, ...]:
        """Whole frames as received."""
        return split_frames(self.joined)


class CounterRun(NamedTuple):
    """The last run of the gateway, as far as its invocation counters go."""

    mark: bytes
    """At random, 16 bytes: stands in the file of live counters of this run too."""
    before: bytes
    """The mark that the file had at the start of that run; empty for none."""
    clean: bool
    """Whether the run ended in order, so that the ceilings are the exact values."""


class Log(StrEnum):
    """An event log of a logical device."""

    STANDARD = "standard"
    FRAUD = "fraud"


class Event(NamedTuple):
    """Something that happened, as a row of an event log."""

    meter: int | None
    """Key of the meter whose log it is in, `None` for the gateway."""
    log: Log
    time_ms: int
    """When it happened by the gateway's clock, milliseconds since 1970 UTC."""
    code: int
    """0..65535, `core.events.codes`."""
    message: str
    """A line for people, at most 128 bytes of UTF-8; "" where the code says all."""
    id: int = 0
    """Given by the store; grows with each event and is never used again."""


class Origin(NamedTuple):
    """Which events are wanted: of which devices, and of which log."""

    device: Literal["any", "gateway", "meters"] | int = "any"
    """A number is the key of a meter."""
    log: Log | None = None
    """None: both."""


ANYWHERE: Final = Origin()
"""Both logs of the gateway, and those of all meters."""


class LastRun(NamedTuple):
    """How the gateway ran before this start."""

    version: str
    """"" before the first start, and then the rest says nothing."""
    heartbeat_ms: int | None
    """When it was last known to run, milliseconds since 1970 UTC."""
    stopped: bool
    """Whether it was stopped, and did not just end."""
    newest_ms: int | None
    """The latest of heartbeat, last reading and last event: the clock cannot be earlier now."""


def capacity(meter: int | None) -> int:
    """How many rows each event log of this device shows; those that a report has not taken are kept beyond that."""
    return GATEWAY_EVENTS if meter is None else METER_EVENTS


def split_frames(joined: bytes) -> tuple[bytes, ...]:
    """Take apart frames that were stored in a row: each says in its L byte where it ends.

    From the first byte on that begins no whole frame the rest is one item.
    """
    frames = []
    at = 0
    while at + 1 < len(joined) and joined[at] == _LONG_START:
        end = at + joined[at + 1] + _LONG_OVERHEAD
        if end > len(joined):
            break
        frames.append(joined[at:end])
        at = end
    if at < len(joined):
        frames.append(joined[at:])
    return tuple(frames)


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """The sentence for an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", None)
    match code and code & 0xFF:
        case sqlite3.SQLITE_FULL:
            sentence = f"The disk with {path} is full: nothing more is recorded; free space there."
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            sentence = (
                f"The database {path} is damaged ({error}): stop the gateway, keep the file aside "
                "under another name, and restore a backup or start with an empty one."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            sentence = (
                f"The database {path} cannot be opened or written ({error}): give this user the right "
                "to read and write the file and its directory."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            sentence = f"The database {path} is held by another program ({error}): end that one."
        case sqlite3.SQLITE_IOERR:
            sentence = f"The disk with {path} fails ({error}): nothing is recorded; check the disk."
        case _:
            sentence = f"The database {path} refused a request: {error}; please report this."
    return StoreError(sentence)

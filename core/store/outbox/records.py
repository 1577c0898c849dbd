"""What goes into the outbox and comes out of it. All times are ms since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

LEDGER_ROWS: Final = 20_000
"""So many delivered notifications are remembered, and so many that were given up."""
LEDGER_MS: Final = 40 * 86_400_000
"""So long a delivered notification is remembered. Those that were given up are what somebody looks for: they stay."""
KEPT_BODIES: Final = 100
"""So many delivered notifications, the newest, keep their bodies, to be looked at."""
NEWEST: Final = 180
"""With so many rows of its past, at most, a log or profile begins in a new report."""
LARGEST_BODY: Final = 65_400
"""Bytes. With what comes around it when it is ciphered, a body still fits into a wrapper (65535 bytes)."""

ROW_BYTES: Final = 200
"""What a notification takes on the disk, about, besides its body."""

GATEWAY: Final = 0
"""Stands in the tables for the gateway itself, which has no key; keys of meters begin at 1."""


class NotificationState(StrEnum):
    """Where a notification is on its way."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class NewNotification(NamedTuple):
    """A notification to be sent."""

    report: str
    """Type of the report, such as "load_profile_1"."""
    meter: int | None
    """Key of the meter that it tells of, `None` for the gateway."""
    sap: int
    """Server SAP of the logical device that sends it."""
    setup: bytes
    """Logical name of the push set-up object, 6 bytes."""
    rows: int
    first_ms: int | None
    """Earliest and latest time of its rows; `None` where it has none."""
    last_ms: int | None
    body: bytes
    """One A-XDR value, plain, 1 to `LARGEST_BODY` bytes."""
    manual: bool = False
    """Whether a person asked for it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of the ledger."""

    id: int
    """The report id, the same in every try; grows and is never used again."""
    report: str
    meter: int | None
    sap: int
    setup: bytes
    rows: int
    first_ms: int | None
    last_ms: int | None
    manual: bool
    created_ms: int
    size: int
    """Bytes of its body."""
    state: NotificationState
    has_body: bool
    """Whether its body is still kept."""
    tries: int
    last_try_ms: int | None
    next_try_ms: int | None
    """When it is tried again; `None` where nothing went wrong, or nothing comes any more."""
    reason: str
    """Why the last try came to nothing, a sentence; else ""."""
    delivered_ms: int | None
    wire_size: int | None
    """Bytes that went over the wire for it when it was delivered, with the wrapper."""


class Outgoing(NamedTuple):
    """What sending a notification takes."""

    id: int
    report: str
    sap: int
    manual: bool
    created_ms: int
    body: bytes


class ReportState(NamedTuple):
    """Where the schedule of a report is."""

    slot_ms: int | None = None
    """The time by the schedule that was dealt with last."""
    pending_ms: int | None = None
    """When the meter list changed last, where no notification says so yet."""


class Backlog(NamedTuple):
    """What waits of one report."""

    notifications: int
    stored: int
    """Bytes that they take on the disk, about."""
    oldest_ms: int
    """When the oldest of them was made."""


class RowFate(StrEnum):
    """What became of a row of a profile."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    GIVEN_UP = "given up"
    """Its notification has expired or was cancelled."""
    UNSENT = "unsent"
    """No notification has held it yet, or it is older than the report."""


class RowReport(NamedTuple):
    """A row of a profile and how it was reported."""

    boundary_ms: int
    time_ms: int
    fate: RowFate

"""The outbox: notifications that wait on the disk until a head-end has taken them, and the ledger of those before.

A **cursor** for each report and each device says what was put here: the highest reading id of a profile, the
highest event id of a log. Both are raised together with the notifications, in one transaction.
"""

from core.store.outbox.records import (
    Backlog,
    NewNotification,
    Notification,
    NotificationState,
    Outgoing,
    ReportState,
    RowFate,
    RowReport,
)

__all__ = [
    "Backlog",
    "NewNotification",
    "Notification",
    "NotificationState",
    "Outgoing",
    "ReportState",
    "RowFate",
    "RowReport",
]

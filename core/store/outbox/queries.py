"""Every question that can be asked of the outbox; none changes anything. All times are ms since 1970 UTC."""

from __future__ import annotations

import sqlite3
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterable
from itertools import accumulate

from core.store.outbox.records import (
    GATEWAY,
    Backlog,
    Notification,
    NotificationState,
    Outgoing,
    ReportState,
    RowFate,
    RowReport,
)
from core.store.records import Event, Log, ProfileRow

_SERIES = "(SELECT id FROM profile_series WHERE profile = :profile AND state = 'current')"
_NOTIFICATION = (
    "id, report, meter, sap, setup, rows, first_ms, last_ms, manual, created_ms, size, state, has_body, tries, "
    "last_try_ms, next_try_ms, reason, delivered_ms, wire_size"
)
_FATES = {
    NotificationState.DELIVERED: RowFate.DELIVERED,
    NotificationState.WAITING: RowFate.WAITING,
    NotificationState.CANCELLED: RowFate.GIVEN_UP,
    NotificationState.EXPIRED: RowFate.GIVEN_UP,
}
"""What becomes of a row that several notifications hold: the first of these that is true."""


class OutboxQueries:
    """Answers from one connection, on the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def states(self) -> dict[str, ReportState]:
        """Where the schedules of reports are."""
        rows = self._connection.execute("SELECT report, slot_ms, pending_ms FROM push_report")
        return {report: ReportState(slot, pending) for report, slot, pending in rows}

    def unsent(self, report: str) -> dict[int | None, int]:
        """By device: after which reading or event the unsent ones begin. Only installed meters that have some."""
        found = self._connection.execute(
            "SELECT profile, log FROM push_report WHERE report = ?", (report,)
        ).fetchone()
        if found is None or found == (None, None):
            return {}
        profile, log = found
        meters = "SELECT key FROM meter WHERE removed_ms IS NULL"
        if log is not None:
            devices = f"SELECT NULL AS key UNION ALL {meters}"
            more = "SELECT 1 FROM event WHERE meter IS device.key AND log = :log AND id > after"
        else:
            devices = meters
            more = f"SELECT 1 FROM profile_row WHERE series = {_SERIES} AND meter = device.key AND reading > after"
        return dict(
            self._connection.execute(
                f"""SELECT key, after FROM (SELECT key, ifnull((SELECT cursor FROM push_cursor
                    WHERE report = :report AND meter = ifnull(key, {GATEWAY})), 0) AS after
                FROM ({devices})) AS device WHERE EXISTS ({more})""",
                {"report": report, "profile": profile, "log": log},
            ).fetchall()
        )

    def unsent_rows(self, profile: int, meter: int, after: int, limit: int) -> list[ProfileRow]:
        """The first `limit` rows whose readings follow the reading `after`, in the order of the readings."""
        rows = self._connection.execute(
            f"""SELECT p.boundary_ms, p.time_ms, p.reading, r.frames
            FROM profile_row p JOIN reading r ON r.id = p.reading
            WHERE p.series = {_SERIES} AND p.meter = :meter AND p.reading > :after
            ORDER BY p.reading LIMIT :limit""",
            {"profile": profile, "meter": meter, "after": after, "limit": limit},
        )
        return [ProfileRow._make(row) for row in rows]

    def unsent_events(self, meter: int | None, log: Log, after: int, limit: int) -> list[Event]:
        """The first `limit` events of a log that follow the event `after`, in the order in which they came."""
        rows = self._connection.execute(
            "SELECT meter, log, time_ms, code, message, id FROM event "
            "WHERE meter IS ? AND log = ? AND id > ? ORDER BY id LIMIT ?",
            (meter, log, after, limit),
        )
        return [Event(device, Log(kind), *rest) for device, kind, *rest in rows]

    def waiting(self, reports: Collection[str], limit: int, size: int) -> list[Outgoing]:
        """What is to be sent next of these reports: the oldest, at most `limit`, of `size` bytes together.

        The first comes however large it is.
        """
        chosen = sorted(
            row
            for report in reports
            for row in self._connection.execute(
                "SELECT id, report, sap, manual, created_ms, size FROM notification "
                "WHERE state = 'waiting' AND report = ? ORDER BY id LIMIT ?",
                (report, limit),
            )
        )[:limit]
        outgoing: list[Outgoing] = []
        for number, report, sap, manual, created_ms, more in chosen:
            size -= more
            if outgoing and size < 0:
                break
            body = self.body(number)
            if body is not None:  # else it was given up between the two questions
                outgoing.append(Outgoing(number, report, sap, bool(manual), created_ms, body))
        return outgoing

    def body(self, number: int) -> bytes | None:
        """The plain body of a notification, `None` where it is no longer kept."""
        found = self._connection.execute(
            "SELECT body FROM notification_body WHERE id = ?", (number,)
        ).fetchone()
        return zlib.decompress(found[0]) if found else None

    def notification(self, number: int) -> Notification | None:
        """The row of the ledger with this id."""
        return next(iter(self._notifications("WHERE id = :id", {"id": number})), None)

    def ledger(
        self,
        limit: int,
        report: str | None = None,
        meter: int | None = None,
        state: NotificationState | None = None,
    ) -> list[Notification]:
        """The newest first; of one report, one meter (0 = the gateway), in one state where given."""
        wanted = {
            "report = :report": report,
            "meter IS nullif(:meter, 0)": meter,
            "state = :state": state,
        }
        where = " AND ".join(term for term, value in wanted.items() if value is not None)
        return self._notifications(
            f"{where and 'WHERE ' + where} ORDER BY id DESC LIMIT :limit",
            {"report": report, "meter": meter, "state": state, "limit": limit},
        )

    def _notifications(self, which: str, values: dict[str, str | int | None]) -> list[Notification]:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        return [
            _notification(row)
            for row in cursor.execute(f"SELECT {_NOTIFICATION} FROM notification {which}", values)
        ]

    def backlog(self) -> dict[str, Backlog]:
        """By report: what waits."""
        rows = self._connection.execute(
            "SELECT report, count, stored, ifnull((SELECT created_ms FROM notification WHERE state = 'waiting' "
            "AND report = outbox.report ORDER BY id LIMIT 1), 0) FROM outbox WHERE count > 0"
        )
        return {report: Backlog(*rest) for report, *rest in rows}

    def completeness(
        self, profile: int, report: str, meter: int, start_ms: int, end_ms: int
    ) -> list[RowReport]:
        """The rows of the boundaries from `start_ms` until before `end_ms`, and what became of each.

        Where the ledger does not reach back that far, what the cursor has passed counts as delivered: notifications
        that were given up stay longer than those that were delivered.
        """
        values = {"profile": profile, "report": report, "meter": meter, "start": start_ms, "end": end_ms}
        rows = self._connection.execute(
            f"SELECT boundary_ms, time_ms, reading FROM profile_row WHERE series = {_SERIES} AND meter = :meter "
            "AND boundary_ms >= :start AND boundary_ms < :end ORDER BY boundary_ms",
            values,
        ).fetchall()
        if not rows:
            return []
        # A row can be read after the end of its boundary's range, by an interval at most.
        times = [time_ms for _, time_ms, _ in rows]
        held = self._connection.execute(
            "SELECT state, first_ms, last_ms FROM notification WHERE report = :report AND meter = :meter "
            "AND last_ms >= :first AND first_ms <= :last",
            {**values, "first": min(times), "last": max(times)},
        ).fetchall()
        start, cursor = self._connection.execute(
            "SELECT start, cursor FROM push_cursor WHERE report = :report AND meter = :meter", values
        ).fetchone() or (0, 0)
        spans = {
            state: _Spans([(first, last) for kept, first, last in held if kept == state]) for state in _FATES
        }
        found = []
        for boundary_ms, time_ms, reading in rows:
            otherwise = RowFate.DELIVERED if start < reading <= cursor else RowFate.UNSENT
            fates = (fate for state, fate in _FATES.items() if spans[state].hold(time_ms))
            found.append(RowReport(boundary_ms, time_ms, next(fates, otherwise)))
        return found


class _Spans:
    """Spans of time: a month of quarters in hourly notifications makes millions of pairs."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(spans)
        self._firsts = [first for first, _ in ordered]
        self._lasts = list(accumulate((last for _, last in ordered), max))

    def hold(self, moment: int) -> bool:
        """Whether one of them does."""
        begun = bisect_right(self._firsts, moment)
        return begun > 0 and self._lasts[begun - 1] >= moment


def _notification(row: sqlite3.Row) -> Notification:
    values = dict(row)
    values["state"] = NotificationState(values["state"])
    values["manual"], values["has_body"] = bool(values["manual"]), bool(values["has_body"])
    return Notification(**values)

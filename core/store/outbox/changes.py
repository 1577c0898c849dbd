"""Every change that can be made to the outbox. Each runs inside a transaction that somebody else commits."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from core.store.outbox.records import (
    GATEWAY,
    KEPT_BODIES,
    LARGEST_BODY,
    LEDGER_MS,
    LEDGER_ROWS,
    ROW_BYTES,
    NewNotification,
    ReportState,
)
from core.store.records import Log

_SLICE = 100
"""Rows of the ledger that become too old in one go: no more come in."""
_GIVEN_UP = "state IN ('expired', 'cancelled')"  # as the index has it


class OutboxChanges:
    """Changes through one connection, on the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin_report(self, report: str, source: int | Log, newest: int) -> bool:
        """Begin to report a profile (by number) or a log; False where the profile is not cut yet."""
        profile, log = (None, source) if isinstance(source, Log) else (source, None)
        cut = "SELECT 1 FROM profile_series WHERE profile = ? AND state = 'current'"
        if log is None and self._connection.execute(cut, (profile,)).fetchone() is None:
            return False
        begins = self._connection.execute(
            "INSERT INTO push_report (report, profile, log) VALUES (:report, :profile, :log) "
            "ON CONFLICT DO UPDATE SET profile = :profile, log = :log WHERE profile IS NULL AND log IS NULL",
            {"report": report, "profile": profile, "log": log},
        ).rowcount
        if begins:
            # Removed meters too: one that comes back does not send its past. One that is installed later sends all.
            self._connection.execute(
                "INSERT INTO push_cursor (report, meter, start, cursor) "
                f"SELECT :report, ifnull(key, {GATEWAY}), start, start FROM "
                f"(SELECT key, ifnull(({_ROWS if log is None else _EVENTS}), 0) AS start "
                "FROM (SELECT NULL AS key UNION ALL SELECT key FROM meter)) WHERE true "
                "ON CONFLICT DO UPDATE SET cursor = max(cursor, excluded.cursor), "
                "start = iif(excluded.start > cursor, excluded.start, start)",
                {"report": report, "source": source, "newest": newest},
            )
        return True

    def drop_report(self, report: str) -> None:
        """End a report. Its cursors stay: when it begins again, nothing is sent twice."""
        self._connection.execute("DELETE FROM push_report WHERE report = ?", (report,))

    def save_states(self, states: Mapping[str, ReportState]) -> None:
        """Keep where the schedules of reports are."""
        self._connection.executemany(
            "INSERT INTO push_report (report, slot_ms, pending_ms) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET slot_ms = excluded.slot_ms, pending_ms = excluded.pending_ms",
            [(report, *state) for report, state in states.items()],
        )

    def enqueue(
        self,
        notifications: Sequence[NewNotification],
        cursors: Mapping[tuple[str, int | None], int],
        limit: int,
        now_ms: int,
        states: Mapping[str, ReportState],
    ) -> list[int] | None:
        """Put notifications into the outbox and raise cursors; `None`, and nothing done, where it would be full."""
        bodies = [zlib.compress(_checked(new)) for new in notifications]
        stored: Counter[str] = Counter()
        for new, body in zip(notifications, bodies, strict=True):
            stored[new.report] += ROW_BYTES + len(body)
        if any(self._stored(report) + more > limit for report, more in stored.items()):
            return None
        ids = [self._insert(new, body, now_ms) for new, body in zip(notifications, bodies, strict=True)]
        self._connection.executemany(
            "INSERT INTO push_cursor (report, meter, start, cursor) VALUES (?, ?, 0, ?) "
            "ON CONFLICT DO UPDATE SET cursor = max(cursor, excluded.cursor)",
            [(report, meter or GATEWAY, cursor) for (report, meter), cursor in cursors.items()],
        )
        self.save_states(states)
        return ids

    def _stored(self, report: str) -> int:
        found = self._connection.execute("SELECT stored FROM outbox WHERE report = ?", (report,)).fetchone()
        return found[0] if found else 0

    def _insert(self, new: NewNotification, body: bytes, now_ms: int) -> int:
        number = self._connection.execute(
            "INSERT INTO notification (report, meter, sap, setup, rows, first_ms, last_ms, manual, created_ms, "
            "size, stored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*new[:7], new.manual, now_ms, len(new.body), ROW_BYTES + len(body)),
        ).lastrowid
        self._connection.execute("INSERT INTO notification_body (id, body) VALUES (?, ?)", (number, body))
        return number or 0

    def delivered(self, wire_sizes: Mapping[int, int], now_ms: int) -> None:
        """Note that notifications were taken, and what each was on the wire. True also of one given up meanwhile."""
        self._connection.executemany(
            "UPDATE notification SET state = 'delivered', tries = tries + 1, last_try_ms = :now, "
            "next_try_ms = NULL, reason = '', delivered_ms = :now, wire_size = :size "
            "WHERE id = :id AND state <> 'delivered'",
            [{"id": number, "size": size, "now": now_ms} for number, size in wire_sizes.items()],
        )
        self._tidy(now_ms)

    def failed(self, ids: Collection[int], now_ms: int, reason: str, next_try_ms: int) -> None:
        """Note that a try came to nothing."""
        self._connection.executemany(
            "UPDATE notification SET tries = tries + 1, last_try_ms = ?, next_try_ms = ?, reason = ? "
            "WHERE id = ? AND state = 'waiting'",
            [(now_ms, next_try_ms, reason, number) for number in ids],
        )

    def expire(self, before_ms: int, reports: Collection[str]) -> int:
        """Give up what waits since before `before_ms`, of each report a thousand at once; how many those were."""
        count = 0
        for report in reports:
            old = self._connection.execute(
                "SELECT id FROM (SELECT id, created_ms FROM notification WHERE state = 'waiting' AND report = ? "
                "ORDER BY id LIMIT 1000) WHERE created_ms < ?",
                (report, before_ms),
            ).fetchall()
            count += self._give_up("expired", [number for (number,) in old])
        return count

    def cancel(self, ids: Collection[int]) -> int:
        """Give up notifications that wait; how many did."""
        return self._give_up("cancelled", ids)

    def _give_up(self, state: str, ids: Collection[int]) -> int:
        count = 0
        for number in ids:
            count += self._connection.execute(
                "UPDATE notification SET state = ?, next_try_ms = NULL, has_body = 0 "
                "WHERE id = ? AND state = 'waiting'",
                (state, number),
            ).rowcount
        self._connection.executemany(
            "DELETE FROM notification_body WHERE id = ? "
            "AND NOT (SELECT has_body FROM notification WHERE id = notification_body.id)",
            [(number,) for number in ids],
        )
        self._connection.execute(
            f"DELETE FROM notification WHERE {_GIVEN_UP} AND id <= (SELECT id FROM notification "
            f"WHERE {_GIVEN_UP} ORDER BY id DESC LIMIT 1 OFFSET {LEDGER_ROWS})"
        )
        return count

    def retry(self, ids: Collection[int] | None) -> int:
        """Let notifications that wait, `None` for all, be due now; how many those were."""
        if ids is None:
            return self._connection.execute(
                "UPDATE notification SET next_try_ms = NULL "
                "WHERE state = 'waiting' AND next_try_ms IS NOT NULL"
            ).rowcount
        return sum(
            self._connection.execute(
                "UPDATE notification SET next_try_ms = NULL WHERE id = ? AND state = 'waiting'", (number,)
            ).rowcount
            for number in ids
        )

    def _tidy(self, now_ms: int) -> None:
        """Keep what was delivered within its bounds."""
        shown = self._connection.execute(
            "SELECT id FROM notification WHERE state = 'delivered' AND has_body = 1 "
            "ORDER BY id DESC LIMIT -1 OFFSET ?",
            (KEPT_BODIES,),
        ).fetchall()
        self._connection.executemany("DELETE FROM notification_body WHERE id = ?", shown)
        self._connection.executemany("UPDATE notification SET has_body = 0 WHERE id = ?", shown)
        old = self._connection.execute(
            "SELECT id FROM (SELECT id, delivered_ms FROM notification WHERE state = 'delivered' "
            "ORDER BY id LIMIT ?) WHERE delivered_ms < ? UNION SELECT id FROM notification WHERE "
            "state = 'delivered' AND id <= (SELECT id FROM notification WHERE state = 'delivered' "
            "ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (_SLICE, now_ms - LEDGER_MS, LEDGER_ROWS),
        ).fetchall()
        self._connection.executemany("DELETE FROM notification_body WHERE id = ?", old)
        self._connection.executemany("DELETE FROM notification WHERE id = ?", old)


_ROWS = (
    "SELECT reading FROM profile_row WHERE meter = key AND series = "
    "(SELECT id FROM profile_series WHERE profile = :source AND state = 'current') "
    "ORDER BY reading DESC LIMIT 1 OFFSET :newest"
)
_EVENTS = "SELECT id FROM event WHERE meter IS key AND log = :source ORDER BY id DESC LIMIT 1 OFFSET :newest"


def _checked(new: NewNotification) -> bytes:
    if not 0 < len(new.body) <= LARGEST_BODY:
        raise ValueError(f"A body has 1 to {LARGEST_BODY} bytes, not {len(new.body)}.")
    if len(new.setup) != 6:
        raise ValueError(f"A logical name has 6 bytes, not {len(new.setup)}.")
    return new.body

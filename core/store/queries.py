"""Every question that can be asked of the store; none changes anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType

from core.snapshot import MeterState
from core.store.outbox.queries import OutboxQueries
from core.store.records import (
    ANYWHERE,
    CounterRun,
    Event,
    LastRun,
    Log,
    Origin,
    ProfileRow,
    Reading,
    StoredMeter,
    capacity,
    split_frames,
)
from core.store.schema import open_for_reading

_READING = "id, meter, line, time_ms, result, detail, frames"
_READING_ROW = "time_ms, time_ms, id, frames"
_SERIES = "(SELECT id FROM profile_series WHERE profile = :profile AND state = 'current')"
_LAST_GOOD = "SELECT id FROM reading WHERE meter = {} AND result = 'ok' ORDER BY id DESC LIMIT 1"
_LAST_FAILED = "SELECT id FROM reading WHERE meter = {} AND result <> 'ok' ORDER BY id DESC LIMIT 1"
_EVENT = "meter, log, time_ms, code, message, id"
_DEVICE = {"any": "TRUE", "gateway": "meter IS NULL", "meters": "meter IS NOT NULL"}
_IN_LOG = """meter IS :meter AND log = :log AND id > ifnull((SELECT id FROM event
    WHERE meter IS :meter AND log = :log ORDER BY id DESC LIMIT 1 OFFSET :capacity), 0)"""
"""The rows of a log, without older ones that are only kept for a report."""


class StoreReader:
    """Answers from one connection, on the thread that opened it. All times are ms since 1970 UTC."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.outbox = OutboxQueries(connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def meters(self, removed: bool = False) -> list[StoredMeter]:
        """The installed meters by key; with `removed` also those that were."""
        where = "" if removed else "WHERE removed_ms IS NULL"
        rows = self._connection.execute(
            "SELECT key, line, address, identification, manufacturer, version, medium, installed_ms, "
            f"removed_ms, logical_device, former_line, former_address FROM meter {where} ORDER BY key"
        )
        return [StoredMeter(*row) for row in rows]

    def serial(self) -> str:
        """The serial that the gateway had when it ran last, "" before the first time."""
        found = self._connection.execute("SELECT serial FROM gateway").fetchone()
        return str(found[0]) if found else ""

    def reading(self, number: int) -> Reading | None:
        """The reading with this id."""
        found = self._connection.execute(f"SELECT {_READING} FROM reading WHERE id = ?", (number,)).fetchone()
        return _reading(found) if found else None

    def latest(self, meter: int) -> Reading | None:
        """The good reading of a meter that was taken last, whatever the clock said then."""
        found = self._connection.execute(
            f"SELECT {_READING} FROM reading WHERE id = ({_LAST_GOOD.format('?')})", (meter,)
        ).fetchone()
        return _reading(found) if found else None

    def latest_all(self) -> dict[int, Reading]:
        """The good reading that was taken last, of every installed meter that has one."""
        return self._last_of_each(_LAST_GOOD)

    def latest_failures(self) -> dict[int, Reading]:
        """The failed readout that was made last, of every installed meter that has one."""
        return self._last_of_each(_LAST_FAILED)

    def _last_of_each(self, last: str) -> dict[int, Reading]:
        rows = self._connection.execute(
            f"SELECT {_columns('reading', _READING)} FROM meter "
            f"JOIN reading ON reading.id = ({last.format('meter.key')}) WHERE meter.removed_ms IS NULL"
        )
        return {row[1]: _reading(row) for row in rows}

    def sealed_readings(self, meter: int, after: int, limit: int) -> list[Reading]:
        """Readings with an id above `after` that want for the right key, oldest first."""
        rows = self._connection.execute(
            f"SELECT {_READING} FROM reading WHERE meter = ? AND result <> 'ok' AND result IN (?, ?) AND id > ? "
            "ORDER BY id LIMIT ?",
            (meter, MeterState.NO_KEY, MeterState.WRONG_KEY, after, limit),
        )
        return [_reading(row) for row in rows]

    def readings_count(self, meter: int) -> int:
        """How many good readings of a meter are kept."""
        return self._number("SELECT count(*) FROM reading WHERE meter = ? AND result = 'ok'", meter) or 0

    def oldest(self, meter: int) -> int | None:
        """Time of the oldest good reading of a meter."""
        return self._number("SELECT min(time_ms) FROM reading WHERE meter = ? AND result = 'ok'", meter)

    def _number(self, query: str, *values: int) -> int | None:
        found: int | None = self._connection.execute(query, values).fetchone()[0]
        return found

    def profile_rows(
        self, meter: int, profile: int, start_ms: int, end_ms: int, limit: int = 1000
    ) -> list[ProfileRow]:
        """Rows read from `start_ms` to `end_ms`, both included: the newest `limit`, oldest first."""
        # A row of the range can belong to a boundary before it, but to one at most.
        rows = self._connection.execute(
            f"""SELECT p.boundary_ms, p.time_ms, p.reading, r.frames
            FROM profile_row p JOIN reading r ON r.id = p.reading
            WHERE p.series = {_SERIES} AND p.meter = :meter
              AND p.boundary_ms <= :end
              AND p.boundary_ms >= ifnull((SELECT max(boundary_ms) FROM profile_row
                  WHERE series = {_SERIES} AND meter = :meter AND boundary_ms <= :start), :start)
              AND p.time_ms BETWEEN :start AND :end
            ORDER BY p.boundary_ms DESC LIMIT :limit""",
            {"profile": profile, "meter": meter, "start": start_ms, "end": end_ms, "limit": limit},
        )
        return _oldest_first(rows)

    def profile_entries(
        self, meter: int, profile: int, first: int, last: int, limit: int = 1000
    ) -> list[ProfileRow]:
        """Rows number `first` to `last`, both included: the newest `limit` of them, oldest first.

        Entry 1 is the oldest row; `last` 0 is the newest one (Blue Book, profile generic, entry descriptor).
        """
        count = self.profile_count(meter, profile)
        end = count if last == 0 else min(last, count)
        start = max(first, 1, end - limit + 1)
        rows = self._connection.execute(
            f"""SELECT p.boundary_ms, p.time_ms, p.reading, r.frames
            FROM profile_row p JOIN reading r ON r.id = p.reading
            WHERE p.series = {_SERIES} AND p.meter = :meter
            ORDER BY p.boundary_ms DESC LIMIT :rows OFFSET :skip""",
            {"profile": profile, "meter": meter, "rows": max(end - start + 1, 0), "skip": count - end},
        )
        return _oldest_first(rows)

    def profile_count(self, meter: int, profile: int) -> int:
        """How many rows a profile of a meter has."""
        found: int = self._connection.execute(
            f"SELECT count(*) FROM profile_row WHERE series = {_SERIES} AND meter = :meter",
            {"profile": profile, "meter": meter},
        ).fetchone()[0]
        return found

    def reading_rows(self, meter: int, start_ms: int, end_ms: int, limit: int = 1000) -> list[ProfileRow]:
        """Every good reading from `start_ms` to `end_ms`, both included: the newest `limit`, oldest first."""
        rows = self._connection.execute(
            f"SELECT {_READING_ROW} FROM reading WHERE meter = ? AND result = 'ok' "
            "AND time_ms BETWEEN ? AND ? ORDER BY time_ms DESC, id DESC LIMIT ?",
            (meter, start_ms, end_ms, limit),
        )
        return _oldest_first(rows)

    def reading_entries(self, meter: int, first: int, last: int, limit: int = 1000) -> list[ProfileRow]:
        """Good readings number `first` to `last`, both included: the newest `limit` of them, oldest first.

        Entry 1 is the oldest one; `last` 0 is the newest one.
        """
        count = self.readings_count(meter)
        end = count if last == 0 else min(last, count)
        start = max(first, 1, end - limit + 1)
        # Numbers are counted in the index alone: only what is asked for is fetched from the table.
        rows = self._connection.execute(
            f"SELECT {_READING_ROW} FROM reading WHERE id IN (SELECT id FROM reading WHERE meter = ? "
            "AND result = 'ok' ORDER BY time_ms DESC, id DESC LIMIT ? OFFSET ?) ORDER BY time_ms DESC, id DESC",
            (meter, max(end - start + 1, 0), count - end),
        )
        return _oldest_first(rows)

    def fields(self) -> dict[int, list[tuple[int, str]]]:
        """By meter: (telegram, DIB in hex) of all that it ever sent, in the order of first appearance."""
        fields: dict[int, list[tuple[int, str]]] = {}
        for meter, telegram, dib in self._connection.execute(
            "SELECT meter, telegram, dib FROM meter_field ORDER BY id"
        ):
            fields.setdefault(meter, []).append((telegram, dib))
        return fields

    def good_times(self, meter: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        """(time, id) of good readings that follow `after`, in that order; to build a profile in slices."""
        return self._connection.execute(
            "SELECT time_ms, id FROM reading WHERE meter = ? AND result = 'ok' AND (time_ms, id) > (?, ?) "
            "ORDER BY time_ms, id LIMIT ?",
            (meter, *after, limit),
        ).fetchall()

    def counters(self) -> tuple[dict[tuple[bytes, bytes], int], CounterRun | None]:
        """Ceilings of invocation counters by (key, title), and the run that they belong to."""
        rows = self._connection.execute("SELECT key, title, ceiling FROM invocation_counter")
        ceilings = {(key, title): ceiling for key, title, ceiling in rows}
        run = self._connection.execute("SELECT mark, before, clean FROM counter_run").fetchone()
        return ceilings, CounterRun(run[0], run[1], bool(run[2])) if run else None

    def last_run(self) -> LastRun:
        """How the gateway ran before."""
        version, heartbeat_ms, stopped = self._connection.execute(
            "SELECT version, heartbeat_ms, stopped FROM gateway"
        ).fetchone()
        newest = self._connection.execute(
            "SELECT max(time_ms) FROM (SELECT heartbeat_ms AS time_ms FROM gateway "
            "UNION ALL SELECT * FROM (SELECT time_ms FROM reading ORDER BY id DESC LIMIT 1) "
            "UNION ALL SELECT * FROM (SELECT time_ms FROM event ORDER BY id DESC LIMIT 1))"
        ).fetchone()[0]
        return LastRun(version, heartbeat_ms, bool(stopped), newest)

    def clock_offset(self) -> int:
        """How far the gateway's clock is ahead of the machine's, ms."""
        return self._number("SELECT clock_offset_ms FROM gateway") or 0

    def searches(self) -> dict[str, str]:
        """How the last search on each line stands."""
        return dict(self._connection.execute("SELECT line, state FROM search"))

    def last_events(self) -> list[Event]:
        """The last event of every log that has one."""
        logs = "SELECT 'standard' AS log UNION ALL SELECT 'fraud'"
        devices = "SELECT NULL AS meter UNION ALL SELECT key FROM meter"
        rows = self._connection.execute(
            f"SELECT {_columns('event', _EVENT)} FROM ({devices}) AS device JOIN ({logs}) AS kind "
            "JOIN event ON event.id = (SELECT id FROM event WHERE meter IS device.meter AND log = kind.log "
            "ORDER BY id DESC LIMIT 1)"
        )
        return [_event(row) for row in rows]

    def recent_events(
        self, limit: int | None = None, after: int = 0, origin: Origin = ANYWHERE
    ) -> list[Event]:
        """Events with an id above `after`: the newest of them, at most `limit`, oldest first."""
        device = "meter = :device" if isinstance(origin.device, int) else _DEVICE[origin.device]
        rows = self._connection.execute(
            f"SELECT {_EVENT} FROM event WHERE id > :after AND {device} AND log = ifnull(:log, log) "
            "ORDER BY id DESC LIMIT :limit",
            {
                "after": after,
                "device": origin.device,
                "log": origin.log,
                "limit": -1 if limit is None else limit,
            },
        ).fetchall()
        return [_event(row) for row in reversed(rows)]

    def event_rows(
        self, meter: int | None, log: Log, start_ms: int, end_ms: int, limit: int = 1000
    ) -> list[Event]:
        """Events from `start_ms` to `end_ms`, both included: the newest `limit`, oldest first."""
        rows = self._connection.execute(
            f"SELECT {_EVENT} FROM event WHERE {_IN_LOG} AND time_ms BETWEEN :start AND :end "
            "ORDER BY id DESC LIMIT :limit",
            {**_log_of(meter, log), "start": start_ms, "end": end_ms, "limit": limit},
        ).fetchall()
        return [_event(row) for row in reversed(rows)]

    def event_entries(
        self, meter: int | None, log: Log, first: int, last: int, limit: int = 1000
    ) -> list[Event]:
        """Events number `first` to `last`, both included: the newest `limit` of them, oldest first.

        Entry 1 is the oldest row; `last` 0 is the newest one (Blue Book, profile generic, entry descriptor).
        """
        count = self.event_count(meter, log)
        end = count if last == 0 else min(last, count)
        start = max(first, 1, end - limit + 1)
        rows = self._connection.execute(
            f"SELECT {_EVENT} FROM event WHERE {_IN_LOG} ORDER BY id LIMIT :rows OFFSET :skip",
            {**_log_of(meter, log), "rows": max(end - start + 1, 0), "skip": start - 1},
        )
        return [_event(row) for row in rows]

    def event_count(self, meter: int | None, log: Log) -> int:
        """How many rows an event log has."""
        found: int = self._connection.execute(
            f"SELECT count(*) FROM event WHERE {_IN_LOG}", _log_of(meter, log)
        ).fetchone()[0]
        return found


def open_readonly(path: Path) -> StoreReader:
    """Look at the database of a running or stopped gateway. Raises StoreError."""
    return StoreReader(open_for_reading(path))


def _columns(table: str, names: str) -> str:
    return ", ".join(f"{table}.{name}" for name in names.split(", "))


def _log_of(meter: int | None, log: Log) -> dict[str, str | int | None]:
    return {"meter": meter, "log": log, "capacity": capacity(meter)}


def _event(row: tuple[int | None, str, int, int, str, int]) -> Event:
    meter, log, time_ms, code, message, number = row
    return Event(meter, Log(log), time_ms, code, message, number)


def _reading(row: tuple[int, int, str, int, str, str, bytes]) -> Reading:
    number, meter, line, time_ms, result, detail, joined = row
    frames = split_frames(joined) if result == MeterState.OK else ((joined,) if joined else ())
    return Reading(meter, line, time_ms, MeterState(result), frames, detail, number)


def _oldest_first(rows: sqlite3.Cursor) -> list[ProfileRow]:
    return [ProfileRow._make(row) for row in reversed(rows.fetchall())]

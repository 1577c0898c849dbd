"""Every change that can be made to the store. Each runs inside a transaction that somebody else commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from core.interval import Interval
from core.snapshot import MeterState
from core.store.outbox.changes import OutboxChanges
from core.store.records import UNREPORTED, CounterRun, Event, Log, Reading, capacity

_REPORTED = """SELECT min(ifnull((SELECT cursor FROM push_cursor
    WHERE report = push_report.report AND meter = ifnull(:meter, 0)), 0)) FROM push_report WHERE log = :log"""
"""The last event of a log that every report has taken; NULL where nobody reports the log."""


@dataclass(slots=True)
class Series:
    """One profile, cut at one interval in one zone."""

    id: int
    profile: int
    interval: Interval
    zone: ZoneInfo
    state: str
    span: tuple[int, int] = (0, 0)
    """The interval found last; the next reading mostly lies in it too."""

    def boundary(self, ms: int) -> int:
        """Start of the interval that holds `ms`."""
        if not self.span[0] <= ms < self.span[1]:
            self.span = self.interval.span(ms, self.zone)
        return self.span[0]


class StoreChanges:
    """Changes through one connection, on the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.outbox = OutboxChanges(connection)
        self._series: list[Series] = []
        self.refresh()

    def refresh(self) -> None:
        """Forget what is remembered of the database; to be called after a rollback."""
        self._series = [
            Series(number, profile, Interval.parse(interval), ZoneInfo(zone), state)
            for number, profile, interval, zone, state in self._connection.execute(
                "SELECT id, profile, interval, zone, state FROM profile_series"
            )
        ]

    def install_meter(self, line: str, address: str, now_ms: int) -> int:
        """Key of the meter at this place; one that was removed from there comes back with its history."""
        found = self._connection.execute(
            "SELECT key, removed_ms FROM meter WHERE line = ? AND address = ? "
            "ORDER BY removed_ms IS NOT NULL, removed_ms DESC LIMIT 1",
            (line, address),
        ).fetchone()
        if found is None:
            inserted = self._connection.execute(
                "INSERT INTO meter (line, address, installed_ms) VALUES (?, ?, ?)", (line, address, now_ms)
            )
            return inserted.lastrowid or 0
        key, removed_ms = found
        if removed_ms is not None:
            self._connection.execute("UPDATE meter SET removed_ms = NULL WHERE key = ?", (key,))
        return int(key)

    def move_meter(self, key: int, line: str, address: str) -> None:
        """Note that a meter is now on another line or addressed in another way."""
        self._connection.execute(
            "UPDATE meter SET former_line = line, former_address = address, line = ?, address = ? WHERE key = ?",
            (line, address, key),
        )

    def confirm_place(self, key: int) -> None:
        """Forget where a meter was before it was moved."""
        self._connection.execute(
            "UPDATE meter SET former_line = NULL, former_address = NULL WHERE key = ?", (key,)
        )

    def remove_meter(self, key: int, now_ms: int) -> None:
        """Take a meter out; its readings stay."""
        self._connection.execute(
            "UPDATE meter SET removed_ms = ? WHERE key = ? AND removed_ms IS NULL", (now_ms, key)
        )

    def remember(self, serial: str, devices: Mapping[int, int]) -> None:
        """Keep what head-end systems know this gateway and its meters (by key) by."""
        self._connection.execute("UPDATE gateway SET serial = ?", (serial,))
        self._connection.executemany(
            "UPDATE meter SET logical_device = ? WHERE key = ?",
            [(device, key) for key, device in devices.items()],
        )

    def learn_identity(
        self, key: int, identification: str, manufacturer: str, version: int | None, medium: int | None
    ) -> None:
        """Keep what the header of a telegram says about the meter."""
        self._connection.execute(
            "UPDATE meter SET identification = ?, manufacturer = ?, version = ?, medium = ? WHERE key = ?",
            (identification, manufacturer, version, medium, key),
        )

    def learn_fields(self, key: int, fields: Iterable[tuple[int, str]]) -> None:
        """Keep which (telegram, DIB) a meter sends; known ones stay where they are."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO meter_field (meter, telegram, dib) VALUES (?, ?, ?)",
            [(key, telegram, dib) for telegram, dib in fields],
        )

    def add_reading(self, reading: Reading) -> int:
        """Record a readout, and enter it into the profiles where it is the first good one of its interval."""
        inserted = self._connection.execute(
            "INSERT INTO reading (meter, line, time_ms, result, detail, frames) VALUES (?, ?, ?, ?, ?, ?)",
            (
                reading.meter,
                reading.line,
                reading.time_ms,
                reading.result.value,
                reading.detail,
                b"".join(reading.frames),
            ),
        )
        number = inserted.lastrowid or 0
        if reading.result is MeterState.OK:
            self._enter(reading.meter, [(reading.time_ms, number)])
        return number

    def open_readings(self, meter: int, readings: Sequence[Reading]) -> None:
        """Count readings of a meter, in the order of their ids, as good from now on: its key opens them."""
        self._connection.executemany(
            "UPDATE reading SET result = 'ok', detail = '' WHERE id = ?", [(item.id,) for item in readings]
        )
        self._enter(meter, [(reading.time_ms, reading.id) for reading in readings])

    def _enter(self, meter: int, times: Sequence[tuple[int, int]]) -> None:
        for series in self._series:
            if series.state != "retired":
                self.fill_series(series, meter, times)

    def add_readings(self, readings: Sequence[Reading]) -> list[int]:
        """Record many at once."""
        return [self.add_reading(reading) for reading in readings]

    def add_events(self, events: Sequence[Event]) -> list[int]:
        """Put events, in this order, into their logs; the oldest rows that no report waits for make room."""
        ids = []
        for event in events:
            inserted = self._connection.execute(
                "INSERT INTO event (meter, log, time_ms, code, message) VALUES (?, ?, ?, ?, ?)",
                (event.meter, event.log, event.time_ms, event.code, event.message),
            )
            ids.append(inserted.lastrowid or 0)
        for meter, log in {(event.meter, event.log) for event in events}:
            self._trim(meter, log)
        return ids

    def _trim(self, meter: int | None, log: Log) -> None:
        beyond = (
            "SELECT id FROM event WHERE meter IS :meter AND log = :log ORDER BY id DESC LIMIT 1 OFFSET :{}"
        )
        self._connection.execute(
            f"DELETE FROM event WHERE meter IS :meter AND log = :log AND id <= ({beyond.format('rows')}) "
            f"AND (id <= ifnull(({_REPORTED}), id) OR id <= ({beyond.format('most')}))",
            {
                "meter": meter,
                "log": log,
                "rows": capacity(meter),
                "most": capacity(meter) * UNREPORTED,
            },
        )

    def begin_run(self, version: str, now_ms: int) -> None:
        """Note that the gateway runs."""
        self._connection.execute(
            "UPDATE gateway SET version = ?, heartbeat_ms = ?, stopped = 0", (version, now_ms)
        )

    def heartbeat(self, now_ms: int, stopped: bool) -> None:
        """Note that the gateway still runs, or that it ends now."""
        self._connection.execute("UPDATE gateway SET heartbeat_ms = ?, stopped = ?", (now_ms, stopped))

    def set_clock_offset(self, offset_ms: int) -> None:
        """Note how far the gateway's clock is ahead of the machine's."""
        self._connection.execute("UPDATE gateway SET clock_offset_ms = ?", (offset_ms,))

    def begin_series(self, profile: int, interval: Interval, zone: ZoneInfo) -> Series | None:
        """A new, still empty series for a profile; `None` where the one in use is cut like that already.

        What an earlier attempt left unfinished is given up.
        """
        self._connection.execute(
            "UPDATE profile_series SET state = 'retired' WHERE state = 'building' AND profile = ?", (profile,)
        )
        for series in self._series:
            cut = (series.profile, series.interval, series.zone.key, series.state)
            if cut == (profile, interval, zone.key, "current"):
                self.refresh()
                return None
        inserted = self._connection.execute(
            "INSERT INTO profile_series (profile, interval, zone, state) VALUES (?, ?, ?, 'building')",
            (profile, interval.text, zone.key),
        )
        self.refresh()
        return Series(inserted.lastrowid or 0, profile, interval, zone, "building")

    def fill_series(self, series: Series, meter: int, times: Sequence[tuple[int, int]]) -> None:
        """Enter good readings of one meter, (time, id) in order, where they are the first of an interval."""
        rows: dict[int, tuple[int, int]] = {}
        for time_ms, number in times:
            boundary = series.boundary(time_ms)
            if boundary not in rows or number < rows[boundary][1]:
                rows[boundary] = (time_ms, number)
        # The reading that was taken first stands, and ids grow as readings are taken: where the clock was set back, a
        # later one can show an earlier time, but a row that a client has seen never changes.
        self._connection.executemany(
            "INSERT INTO profile_row (series, meter, boundary_ms, time_ms, reading) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET time_ms = excluded.time_ms, reading = excluded.reading "
            "WHERE excluded.reading < profile_row.reading",
            [(series.id, meter, boundary, time_ms, number) for boundary, (time_ms, number) in rows.items()],
        )

    def use_series(self, series: Series) -> None:
        """Put a series to use in place of the one before."""
        self._connection.execute(
            "UPDATE profile_series SET state = 'retired' WHERE profile = ? AND state = 'current'",
            (series.profile,),
        )
        self._connection.execute("UPDATE profile_series SET state = 'current' WHERE id = ?", (series.id,))
        self.refresh()

    def drop_retired(self) -> bool:
        """Delete the rows of one meter of a series that is no longer used; False when nothing is left."""
        found = self._connection.execute(
            "SELECT id FROM profile_series WHERE state = 'retired' ORDER BY id LIMIT 1"
        ).fetchone()
        if found is None:
            return False
        series = found[0]
        meter = self._connection.execute(
            "SELECT min(meter) FROM profile_row WHERE series = ?", (series,)
        ).fetchone()[0]
        if meter is None:
            self._connection.execute("DELETE FROM profile_series WHERE id = ?", (series,))
            self.refresh()
        else:
            self._connection.execute(
                "DELETE FROM profile_row WHERE series = ? AND meter = ?", (series, meter)
            )
        return True

    def save_search(self, line: str, state: str) -> None:
        """Keep how the search on a line stands."""
        self._connection.execute("INSERT OR REPLACE INTO search (line, state) VALUES (?, ?)", (line, state))

    def save_counters(
        self, ceilings: Mapping[tuple[bytes, bytes], int | None], run: CounterRun | None = None
    ) -> None:
        """Set ceilings by (key, title), `None` to delete one; and the run that they belong to."""
        self._connection.executemany(
            "DELETE FROM invocation_counter WHERE key = ? AND title = ?",
            [place for place, ceiling in ceilings.items() if ceiling is None],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO invocation_counter (key, title, ceiling) VALUES (?, ?, ?)",
            [(*place, ceiling) for place, ceiling in ceilings.items() if ceiling is not None],
        )
        if run is not None:
            self._connection.execute(
                "INSERT OR REPLACE INTO counter_run (id, mark, before, clean) VALUES (1, ?, ?, ?)", run
            )

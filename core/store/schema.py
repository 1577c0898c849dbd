"""The tables of gateway.db, and how an older file becomes one of today.

The number of a schema is SQLite's `user_version`. A migration that has been released is never changed; a new
one is added at the end.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from core.store.records import StoreError, store_error

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE meter (
            key INTEGER PRIMARY KEY AUTOINCREMENT,
            line TEXT NOT NULL,
            address TEXT NOT NULL,
            identification TEXT NOT NULL DEFAULT '',
            manufacturer TEXT NOT NULL DEFAULT '',
            version INTEGER,
            medium INTEGER,
            installed_ms INTEGER NOT NULL,
            removed_ms INTEGER,
            logical_device INTEGER
        ) STRICT""",
        # One row: what the gateway knows of itself and of its last run.
        """CREATE TABLE gateway (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            serial TEXT NOT NULL DEFAULT '',
            version TEXT NOT NULL DEFAULT '',
            heartbeat_ms INTEGER,
            stopped INTEGER NOT NULL DEFAULT 1 CHECK (stopped IN (0, 1)),
            clock_offset_ms INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        "INSERT INTO gateway (id) VALUES (1)",
        "CREATE UNIQUE INDEX meter_place ON meter (line, address) WHERE removed_ms IS NULL",
        # The record. All else about values can be made from it again.
        """CREATE TABLE reading (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            meter INTEGER NOT NULL REFERENCES meter (key),
            line TEXT NOT NULL,
            time_ms INTEGER NOT NULL,
            result TEXT NOT NULL,
            detail TEXT NOT NULL,
            frames BLOB NOT NULL
        ) STRICT""",
        "CREATE INDEX reading_good ON reading (meter, time_ms) WHERE result = 'ok'",
        # An index ends in the id: these two find the reading that was taken last, whatever the clock said then.
        "CREATE INDEX reading_last_good ON reading (meter) WHERE result = 'ok'",
        "CREATE INDEX reading_last_failed ON reading (meter) WHERE result <> 'ok'",
        # A series is one profile cut at one interval in one time zone. A new cut is built beside the one in
        # use, so that clients never see half of one.
        """CREATE TABLE profile_series (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            profile INTEGER NOT NULL,
            interval TEXT NOT NULL,
            zone TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('building', 'current', 'retired'))
        ) STRICT""",
        "CREATE UNIQUE INDEX profile_current ON profile_series (profile) WHERE state = 'current'",
        """CREATE TABLE profile_row (
            series INTEGER NOT NULL,
            meter INTEGER NOT NULL,
            boundary_ms INTEGER NOT NULL,
            time_ms INTEGER NOT NULL,
            reading INTEGER NOT NULL,
            PRIMARY KEY (series, meter, boundary_ms)
        ) STRICT, WITHOUT ROWID""",
        # In the order in which a meter first sent them, so that object lists only ever grow at the end.
        """CREATE TABLE meter_field (
            id INTEGER PRIMARY KEY,
            meter INTEGER NOT NULL,
            telegram INTEGER NOT NULL,
            dib TEXT NOT NULL,
            UNIQUE (meter, telegram, dib)
        ) STRICT""",
        # No number above a ceiling was ever used. A key is known by its fingerprint; no title = sending.
        """CREATE TABLE invocation_counter (
            key BLOB NOT NULL,
            title BLOB NOT NULL,
            ceiling INTEGER NOT NULL,
            PRIMARY KEY (key, title)
        ) STRICT, WITHOUT ROWID""",
        # Which file of live counters belongs to this database: that of the last run, or of the one before it.
        """CREATE TABLE counter_run (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            mark BLOB NOT NULL,
            before BLOB NOT NULL,
            clean INTEGER NOT NULL CHECK (clean IN (0, 1))
        ) STRICT""",
        # No meter = the gateway itself. The order of a log is that of the ids: the clock may be set back. A log is
        # so short that its index serves a range of time too.
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            meter INTEGER,
            log TEXT NOT NULL CHECK (log IN ('standard', 'fraud')),
            time_ms INTEGER NOT NULL,
            code INTEGER NOT NULL,
            message TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX event_log ON event (meter, log)",
        # Reports take the rows of a meter in the order of its readings.
        "CREATE INDEX profile_row_reading ON profile_row (series, meter, reading)",
        # A report that has begun names what it reports: a profile or a log.
        """CREATE TABLE push_report (
            report TEXT PRIMARY KEY,
            profile INTEGER,
            log TEXT CHECK (log IN ('standard', 'fraud')),
            slot_ms INTEGER,
            pending_ms INTEGER
        ) STRICT, WITHOUT ROWID""",
        # What was put into the outbox: the reading or event at which the report began, and the last one. Meter 0
        # is the gateway itself.
        """CREATE TABLE push_cursor (
            report TEXT NOT NULL,
            meter INTEGER NOT NULL,
            start INTEGER NOT NULL,
            cursor INTEGER NOT NULL,
            PRIMARY KEY (report, meter)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE notification (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            report TEXT NOT NULL,
            meter INTEGER,
            sap INTEGER NOT NULL,
            setup BLOB NOT NULL,
            rows INTEGER NOT NULL,
            first_ms INTEGER,
            last_ms INTEGER,
            manual INTEGER NOT NULL CHECK (manual IN (0, 1)),
            created_ms INTEGER NOT NULL,
            size INTEGER NOT NULL,
            stored INTEGER NOT NULL,
            state TEXT NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'delivered', 'expired', 'cancelled')),
            has_body INTEGER NOT NULL DEFAULT 1 CHECK (has_body IN (0, 1)),
            tries INTEGER NOT NULL DEFAULT 0,
            last_try_ms INTEGER,
            next_try_ms INTEGER,
            reason TEXT NOT NULL DEFAULT '',
            delivered_ms INTEGER,
            wire_size INTEGER
        ) STRICT""",
        # Apart, so that noting a try does not write the body again. Deflated (zlib).
        "CREATE TABLE notification_body (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
        "CREATE INDEX notification_waiting ON notification (report) WHERE state = 'waiting'",
        "CREATE INDEX notification_delivered ON notification (id) WHERE state = 'delivered'",
        "CREATE INDEX notification_shown ON notification (id) WHERE state = 'delivered' AND has_body = 1",
        "CREATE INDEX notification_given_up ON notification (id) WHERE state IN ('expired', 'cancelled')",
        "CREATE INDEX notification_device ON notification (report, meter)",
        # What waits of each report, so that nobody has to count it.
        """CREATE TABLE outbox (
            report TEXT PRIMARY KEY,
            count INTEGER NOT NULL,
            stored INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TRIGGER notification_comes AFTER INSERT ON notification BEGIN
            INSERT INTO outbox (report, count, stored) VALUES (NEW.report, 1, NEW.stored)
            ON CONFLICT DO UPDATE SET count = count + 1, stored = stored + NEW.stored;
        END""",
        """CREATE TRIGGER notification_goes AFTER UPDATE OF state ON notification
        WHEN OLD.state = 'waiting' AND NEW.state <> 'waiting' BEGIN
            UPDATE outbox SET count = count - 1, stored = stored - OLD.stored WHERE report = OLD.report;
        END""",
    ),
    (
        # Where a meter was before it was moved.
        "ALTER TABLE meter ADD COLUMN former_line TEXT",
        "ALTER TABLE meter ADD COLUMN former_address TEXT",
        # The last search on each line, as core.search goes on with it; versions in between had it in schema 1.
        """CREATE TABLE IF NOT EXISTS search (
            line TEXT PRIMARY KEY,
            state TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
)
"""Statements that lead from schema n to n + 1."""


def open_for_writing(path: Path, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> sqlite3.Connection:
    """Open or make the database, check it and bring it up to date.

    Raises StoreError: damaged, made by a newer version, no right to write. Never deletes anything.
    """
    try:
        # SQLite gives its -wal and -shm files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be opened ({error.strerror}): "
            "give this user the right to write there."
        ) from error
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on the disk when it returns, also through a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(
                f"The database {path} is damaged ({' '.join(found.split())}): keep the file aside "
                "under another name, and restore a backup or start with an empty one."
            )
        _migrate(connection, path, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise store_error(error, path) from error
    except StoreError:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the database without any right to change it, also while a gateway writes. Raises StoreError."""
    if not path.exists():
        raise StoreError(f"There is no database {path} yet: start the gateway once, it makes one.")
    try:
        connection = _connect_readonly(path, "mode=ro")
        try:
            version = _version(connection)
        except sqlite3.OperationalError:
            # WAL mode wants a -shm file beside; where the directory cannot be written and nobody has the file
            # open, it is complete as it is.
            connection.close()
            if path.with_name(path.name + "-wal").exists():
                raise
            connection = _connect_readonly(path, "mode=ro&immutable=1")
            version = _version(connection)
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    if version != len(MIGRATIONS):
        connection.close()
        raise StoreError(
            f"The database {path} has schema {version}, this version of cme-tui knows {len(MIGRATIONS)}: "
            "start the gateway of this version on it, or use the one that wrote it."
        )
    return connection


def _connect_readonly(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None, timeout=5.0)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection, path: Path, migrations: tuple[tuple[str, ...], ...]) -> None:
    version = _version(connection)
    if version > len(migrations):
        raise StoreError(
            f"The database {path} was written by a newer cme-tui (schema {version}, this one knows "
            f"{len(migrations)}): install that version again, or restore a backup made by this one."
        )
    for number, statements in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

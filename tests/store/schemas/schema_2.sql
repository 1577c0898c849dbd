BEGIN TRANSACTION;
CREATE TABLE counter_run (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            mark BLOB NOT NULL,
            before BLOB NOT NULL,
            clean INTEGER NOT NULL CHECK (clean IN (0, 1))
        ) STRICT;
CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            meter INTEGER,
            log TEXT NOT NULL CHECK (log IN ('standard', 'fraud')),
            time_ms INTEGER NOT NULL,
            code INTEGER NOT NULL,
            message TEXT NOT NULL
        ) STRICT;
INSERT INTO "event" VALUES(1,NULL,'standard',1761256800000,2,'Version 0.1.0');
INSERT INTO "event" VALUES(2,1,'standard',1761256801000,4004,'power low');
CREATE TABLE gateway (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            serial TEXT NOT NULL DEFAULT '',
            version TEXT NOT NULL DEFAULT '',
            heartbeat_ms INTEGER,
            stopped INTEGER NOT NULL DEFAULT 1 CHECK (stopped IN (0, 1)),
            clock_offset_ms INTEGER NOT NULL DEFAULT 0
        ) STRICT;
INSERT INTO "gateway" VALUES(1,'0016000000','0.1.0',1761256860000,0,-1500);
CREATE TABLE invocation_counter (
            key BLOB NOT NULL,
            title BLOB NOT NULL,
            ceiling INTEGER NOT NULL,
            PRIMARY KEY (key, title)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "invocation_counter" VALUES(X'00112233445566778899AABBCCDDEEFF',X'',4096);
CREATE TABLE meter (
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
        , former_line TEXT, former_address TEXT) STRICT;
INSERT INTO "meter" VALUES(1,'cellar','5','12345678','HYD',37,7,1,NULL,16,NULL,NULL);
CREATE TABLE meter_field (
            id INTEGER PRIMARY KEY,
            meter INTEGER NOT NULL,
            telegram INTEGER NOT NULL,
            dib TEXT NOT NULL,
            UNIQUE (meter, telegram, dib)
        ) STRICT;
INSERT INTO "meter_field" VALUES(1,1,0,'0c13');
CREATE TABLE notification (
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
        ) STRICT;
INSERT INTO "notification" VALUES(1,'load_profile_1',1,16,X'0001190900FF',1,1761256800000,1761256800000,0,1761256801000,3,211,'waiting',1,1,1761256802000,1761256862000,'It refused.',NULL,NULL);
CREATE TABLE notification_body (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
INSERT INTO "notification_body" VALUES(1,X'789CE3641402000032001D');
CREATE TABLE outbox (
            report TEXT PRIMARY KEY,
            count INTEGER NOT NULL,
            stored INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
INSERT INTO "outbox" VALUES('load_profile_1',1,211);
CREATE TABLE profile_row (
            series INTEGER NOT NULL,
            meter INTEGER NOT NULL,
            boundary_ms INTEGER NOT NULL,
            time_ms INTEGER NOT NULL,
            reading INTEGER NOT NULL,
            PRIMARY KEY (series, meter, boundary_ms)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "profile_row" VALUES(1,1,1761256800000,1761256800000,1);
CREATE TABLE profile_series (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            profile INTEGER NOT NULL,
            interval TEXT NOT NULL,
            zone TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('building', 'current', 'retired'))
        ) STRICT;
INSERT INTO "profile_series" VALUES(1,1,'1 h','Europe/Stockholm','current');
CREATE TABLE push_cursor (
            report TEXT NOT NULL,
            meter INTEGER NOT NULL,
            start INTEGER NOT NULL,
            cursor INTEGER NOT NULL,
            PRIMARY KEY (report, meter)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "push_cursor" VALUES('load_profile_1',1,0,1);
CREATE TABLE push_report (
            report TEXT PRIMARY KEY,
            profile INTEGER,
            log TEXT CHECK (log IN ('standard', 'fraud')),
            slot_ms INTEGER,
            pending_ms INTEGER
        ) STRICT, WITHOUT ROWID;
INSERT INTO "push_report" VALUES('load_profile_1',1,NULL,1761256800000,NULL);
INSERT INTO "push_report" VALUES('on_installation',NULL,NULL,NULL,1761256860000);
CREATE TABLE reading (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            meter INTEGER NOT NULL REFERENCES meter (key),
            line TEXT NOT NULL,
            time_ms INTEGER NOT NULL,
            result TEXT NOT NULL,
            detail TEXT NOT NULL,
            frames BLOB NOT NULL
        ) STRICT;
INSERT INTO "reading" VALUES(1,1,'cellar',1761256800000,'ok','',X'683C3C680808727803491177040E160A0000000C7878034911041331D40000426C0000441300000000046D0B0BCD130227000009FD0E0209FD0F060F00017513D316');
INSERT INTO "reading" VALUES(2,1,'cellar',1761256801000,'no answer','It does not answer.',X'');
CREATE TABLE search (
            line TEXT PRIMARY KEY,
            state TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
INSERT INTO "search" VALUES('cellar','{}');
CREATE UNIQUE INDEX meter_place ON meter (line, address) WHERE removed_ms IS NULL;
CREATE INDEX reading_good ON reading (meter, time_ms) WHERE result = 'ok';
CREATE INDEX reading_last_good ON reading (meter) WHERE result = 'ok';
CREATE INDEX reading_last_failed ON reading (meter) WHERE result <> 'ok';
CREATE UNIQUE INDEX profile_current ON profile_series (profile) WHERE state = 'current';
CREATE INDEX event_log ON event (meter, log);
CREATE INDEX profile_row_reading ON profile_row (series, meter, reading);
CREATE INDEX notification_waiting ON notification (report) WHERE state = 'waiting';
CREATE INDEX notification_delivered ON notification (id) WHERE state = 'delivered';
CREATE INDEX notification_shown ON notification (id) WHERE state = 'delivered' AND has_body = 1;
CREATE INDEX notification_given_up ON notification (id) WHERE state IN ('expired', 'cancelled');
CREATE INDEX notification_device ON notification (report, meter);
CREATE TRIGGER notification_comes AFTER INSERT ON notification BEGIN
            INSERT INTO outbox (report, count, stored) VALUES (NEW.report, 1, NEW.stored)
            ON CONFLICT DO UPDATE SET count = count + 1, stored = stored + NEW.stored;
        END;
CREATE TRIGGER notification_goes AFTER UPDATE OF state ON notification
        WHEN OLD.state = 'waiting' AND NEW.state <> 'waiting' BEGIN
            UPDATE outbox SET count = count - 1, stored = stored - OLD.stored WHERE report = OLD.report;
        END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('meter',1);
INSERT INTO "sqlite_sequence" VALUES('event',2);
INSERT INTO "sqlite_sequence" VALUES('profile_series',1);
INSERT INTO "sqlite_sequence" VALUES('reading',2);
INSERT INTO "sqlite_sequence" VALUES('notification',1);
COMMIT;
PRAGMA user_version = 2;

"""The events screen: both logs of the gateway and those of the meters, what they mean, and their file."""

from __future__ import annotations

import csv
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from recorded import LOGGED, NOW_MS, REMOVED, RecordedGateway

from cme_tui.event_file import GATEWAY, Device, event_csv
from cme_tui.period import Period, PeriodError, parse_period
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.event import EventScreen
from cme_tui.screens.events import MOST, EventsScreen
from cme_tui.screens.help import HelpScreen
from cme_tui.screens.meter import MeterScreen
from cme_tui.widgets.bars import KeyBar
from core.events import Event, EventPage, Log
from core.store import StoreError

HOUR = 3_600_000
BERLIN = ZoneInfo("Europe/Berlin")


def keys(session) -> list[str]:
    return [key for key, _, _ in session.screen.query_one(KeyBar).keys]


def rows(session) -> list[str]:
    table = session.table("#events")
    return [table.text_of(index) for index in range(table.row_count)]


def event(number: int, code: int = 2, meter: int | None = None, message: str = "") -> Event:
    return Event(meter, Log.STANDARD, NOW_MS, code, message, number)


async def again(session) -> None:
    """Another look at the gateway."""
    session.app.pull()
    await session.settle()


async def type_over(session, text: str) -> None:
    await session.press("ctrl+u", *text)


async def test_all_logs_in_one_list(session):
    """Newest last with the cursor on it, time, whose, log, code, name, message; the whole sentence below."""
    async with session() as s:
        await s.press("f7")
        assert isinstance(s.screen, EventsScreen)
        assert s.lines("#count") == f" Events {len(LOGGED)}  all logs"
        assert len(rows(s)) == len(LOGGED)
        assert s.table("#events").cursor == len(LOGGED) - 1
        assert rows(s)[-1].startswith("2026 01-09 11:59:30 gateway ! fraud 50 Replay attack: 192.0.2.7:51035")
        assert rows(s)[4].startswith(
            "2026 01-08 10:00:00 gas boiler standard 100 Communication error M-Bus: No"
        )
        assert rows(s)[3].startswith("2026 01-07 10:00:00 meter 99 standard")
        assert "2026-01-09T11:59:30+00:00 gateway: Replay attack, 192.0.2.7:51035: client 1" in s.status


async def test_times_are_those_of_the_gateway(session):
    """Not of the machine: a gateway may have a time zone of its own."""
    gateway = RecordedGateway()
    settings = tuple(
        replace(one, value="Europe/Berlin") if one.name == "gateway.timezone" else one
        for one in gateway.settings()
    )
    gateway.settings = lambda: settings
    async with session(gateway) as s:
        await s.press("f7")
        assert rows(s)[-1].startswith("2026 01-09 12:59:30")
        await s.press("enter")
        assert "2026-01-09T12:59:30+01:00 Europe/Berlin, 30 s ago" in s.lines("#event")


async def test_l_steps_through_the_logs(session):
    """All, the gateway's standard log, its fraud log, the meters, and all again."""
    seen = []
    async with session() as s:
        await s.press("f7")
        for _ in range(5):
            codes = [row.split("! fraud ")[-1].split("standard ")[-1].split()[0] for row in rows(s)]
            seen.append((s.lines("#count").split("  ")[1], " ".join(codes)))
            await s.press("l")
    assert seen == [
        ("all logs", "1 2 105 100 100 2 4004 102 47 105 46 50"),
        ("gateway, standard log", "1 2 2 47"),
        ("gateway, fraud log", "46 50"),
        ("meters", "105 100 100 4004 102 105"),
        ("all logs", "1 2 105 100 100 2 4004 102 47 105 46 50"),
    ]


async def test_the_filter_takes_words_of_every_column(session):
    """With a count; Esc removes it, and does nothing else."""
    async with session() as s:
        await s.press("f7", "slash", *"gas 100")
        assert s.lines("#count").startswith(f" Events 1 of {len(LOGGED)}")
        await s.press("escape", "slash", *"FRAUD replay", "enter")
        assert [row.split()[6] for row in rows(s)] == ["50"]
        await s.press("escape", "escape")
        assert len(rows(s)) == len(LOGGED)
        assert isinstance(s.screen, EventsScreen)


async def test_new_events_come_at_the_end(session):
    """The cursor goes along on the last row, else it stays; only what is new is asked for."""
    async with session() as s:
        asked = []
        events = s.gateway.events
        s.gateway.events = lambda after, *rest: asked.append(after) or events(after, *rest)
        await s.press("f7")
        table = s.table("#events")
        s.gateway.logged.append(event(100, message="again"))
        await again(s)
        assert rows(s)[-1].endswith("Power up: again again")
        assert table.cursor == len(LOGGED)
        await s.press("up")
        here = table.key
        s.gateway.logged.append(event(101, 105, 55))
        await again(s)
        assert table.row_count == len(LOGGED) + 2
        assert table.key == here
        assert " new meter " in rows(s)[-1]
        assert asked[0] == 0
        assert all(after >= len(LOGGED) for after in asked[1:])


async def test_ten_thousand_events_are_kept(session):
    """The newest of endlessly many; the title says so; the filter finds among them."""
    gateway = RecordedGateway()
    gateway.logged = [event(number, message=f"number {number}") for number in range(1, MOST + 500)]
    async with session(gateway) as s:
        await s.press("f7")
        assert s.lines("#count") == f" Events {MOST}  the newest  all logs"
        gateway.logged.append(event(MOST + 500, message="last"))
        await again(s)
        table = s.table("#events")
        assert (table.row_count, table.key, table.cursor) == (MOST, MOST + 500, MOST - 1)
        await s.press("home", "slash", *str(MOST + 77), "enter")
        assert len(rows(s)) == 1


async def test_a_gateway_that_answers_late_is_not_asked_again(session):
    """One question at a time; an answer about a log that is no longer shown is thrown away."""
    gateway = RecordedGateway()
    events, late, asked = gateway.events, Future(), []
    async with session(gateway) as s:
        gateway.events = lambda *arguments: asked.append(arguments) or late
        await s.pilot.press("f7")
        s.app.pull()
        s.app.pull()
        await s.pilot.press("l")
        assert len(asked) == 1
        gateway.events = events
        late.set_result(EventPage((event(500, message="too late"),), 500, {}))
        await s.settle()
        assert s.lines("#count") == " Events 4  gateway, standard log"


async def test_a_store_that_cannot_be_read_says_so(session):
    """In the status line, as long as it lasts; what was listed stays."""
    async with session() as s:
        await s.press("f7")
        events, failed = s.gateway.events, Future()
        failed.set_exception(StoreError("The database cannot be read: disk I/O error."))
        s.gateway.events = lambda *arguments: failed
        await again(s)
        await again(s)
        assert s.status == " ✗ The database cannot be read: disk I/O error."
        assert len(rows(s)) == len(LOGGED)
        s.gateway.events = events
        await again(s)
        await again(s)
        assert "cannot be read" not in s.status


async def test_a_time_can_be_asked_for(session):
    """What is wrong with it stands below the field; an empty answer shows all times."""
    async with session() as s:
        await s.press("f7", "t")
        assert isinstance(s.screen, AskScreen)
        await s.press(*"yesterday", "enter")
        assert isinstance(s.screen, AskScreen)
        await type_over(s, "24 h")
        await s.press("enter")
        assert s.lines("#count") == f" Events 7 of {len(LOGGED)}  all logs, 24 h"
        await s.press("t")
        await type_over(s, "2026-01-07")
        await s.press("enter")
        assert [row.split()[1] for row in rows(s)] == ["01-07"]
        await s.press("t")
        await type_over(s, "")
        await s.press("enter")
        assert len(rows(s)) == len(LOGGED)


async def test_enter_explains_an_event(session):
    """Cause and what to do; n and p go to its neighbours in the list."""
    async with session() as s:
        await s.press("f7", "enter")
        assert isinstance(s.screen, EventScreen)
        text = " ".join(s.lines("#event").split())
        assert text.startswith(
            f"50 Replay attack {len(LOGGED)} of {len(LOGGED)} When 2026-01-09T11:59:30+00:00 UTC"
        )
        assert "Where gateway, device 1 Log ! fraud log Message 192.0.2.7:51035" in text
        assert "invocation counter that was used before" in text
        assert "What to do If it is your head-end" in text
        await s.press("p")
        assert s.lines("#event").startswith("46 Association authentication failure")
        await s.press("n", "n")
        assert s.lines("#event").startswith("1 Power down")
        await s.press("escape")
        assert isinstance(s.screen, EventsScreen)


async def test_a_status_byte_is_taken_apart(session):
    """Each bit with its meaning."""
    async with session() as s:
        await s.press("f7", "slash", *"4004", "enter", "enter")
        lines = s.lines("#event").splitlines()
        assert lines[0].startswith("4004 M-Bus status changed to 04h")
        assert "  bit 2      1    power low" in lines
        assert "  bit 4      0    no temporary error" in lines


async def test_e_opens_the_events_of_a_meter(session):
    """From its screen, and Esc goes back to it; the other logs are out of reach there."""
    async with session() as s:
        await s.press("f6", "slash", *"gas", "enter", "enter", "e")
        assert isinstance(s.screen, EventsScreen)
        assert s.lines("#count") == " Events 2  gas boiler"
        assert "l" not in keys(s)
        await s.press("l")
        assert len(rows(s)) == 2
        await s.press("slash", *"105", "enter", "escape")
        assert len(rows(s)) == 2
        await s.press("escape")
        assert isinstance(s.screen, MeterScreen)
        await s.press("e", "f7")
        assert len(rows(s)) == len(LOGGED)
        assert not s.app.can_go_back


async def test_the_list_is_written_to_a_file(session, tmp_path):
    """What is shown, and nothing but that; an existing file is overwritten after a yes only."""
    path = tmp_path / "events of today.csv"
    async with session() as s:
        await s.press("f7", "slash", *"gas", "enter", "x")
        assert isinstance(s.screen, AskScreen)
        await type_over(s, str(path))
        await s.press("enter")
        await s.settle()
        assert "".join(s.status.split()) == f"● 2 events written to {path}".replace(" ", "")  # it is folded
        assert path.read_bytes().count(b"\r\n") == 3
        with path.open(encoding="utf-8", newline="") as file:
            written = list(csv.DictReader(file))
        assert written[1] == {
            "time": "2026-01-08T10:00:00+00:00",
            "device": "gas boiler",
            "logical_device": "6",
            "log": "standard",
            "code": "100",
            "name": "Communication error M-Bus",
            "message": LOGGED[4][3],
        }
        path.write_text("mine")
        await s.press("x")
        await type_over(s, str(path))
        await s.press("enter")
        assert isinstance(s.screen, ConfirmScreen)
        await s.press("n")
        assert (path.read_text(), s.screen.query_one("#answer").value) == ("mine", str(path))
        await s.press("enter", "y")
        await s.settle()
        assert path.read_bytes().count(b"\r\n") == 3


async def test_a_file_that_cannot_be_written_is_asked_for_again(session, tmp_path):
    """With the reason, and with the answer as it was; Esc gives it up and leaves nothing behind."""
    async with session() as s:
        await s.press("f7", "x")
        await type_over(s, f"{tmp_path}/nowhere/events.csv")
        await s.press("enter")
        assert isinstance(s.screen, AskScreen)
        assert "no such file or directory" in s.screen.query_one("#question Static").content
        assert s.screen.query_one("#answer").value == f"{tmp_path}/nowhere/events.csv"
        await type_over(s, str(tmp_path))
        await s.press("enter")
        assert isinstance(s.screen, AskScreen)
        await s.press("escape")
        assert isinstance(s.screen, EventsScreen)
        assert list(tmp_path.iterdir()) == []


def test_a_file_harms_no_spreadsheet():
    """Names and messages that begin like a formula get an apostrophe; quotes and commas are quoted (RFC 4180)."""
    devices = {None: GATEWAY, 1: Device("=cmd|' /C calc'!A0", "", None)}
    events = [event(1, 100, 1, '"now", he said'), *(event(2, message=f"{sign}1") for sign in "+-@=")]
    lines = event_csv(events, devices, UTC).split("\r\n")
    assert lines[0] == "time,device,logical_device,log,code,name,message"
    assert lines[1].endswith(
        """,'=cmd|' /C calc'!A0,,standard,100,Communication error M-Bus,\"""now"", he said\""""
    )
    assert [line.rpartition(",")[2] for line in lines[2:]] == ["'+1", "'-1", "'@1", "'=1", ""]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("24 h", NOW_MS - 24 * HOUR, None),
        ("90min", NOW_MS - 90 * 60_000, None),
        (" 7  d ", NOW_MS - 7 * 24 * HOUR, None),
        ("2026-01-09", NOW_MS - 13 * HOUR, NOW_MS + 11 * HOUR),
        ("2026-01-09 13:00", NOW_MS, NOW_MS + 60_000),
        ("2026-01-08..2026-01-09 12:59", NOW_MS - 37 * HOUR, NOW_MS),
        ("2026-01-09T13:00 ..", NOW_MS, None),
        # The day on which daylight saving time begins has 23 hours.
        ("2026-03-29", 1_774_738_800_000, 1_774_738_800_000 + 23 * HOUR),
    ],
)
def test_a_time_is_understood(text, start, end):
    """In the time zone of the gateway, ends included; open to what comes where there is no end."""
    period = parse_period(text, BERLIN, NOW_MS)
    assert period.start_ms == start
    assert period.end_ms == end or (end is None and NOW_MS + 10**12 in period)


def test_the_begin_of_a_time_can_be_left_out():
    """Everything up to the end of that day."""
    assert parse_period(".. 2026-01-09", BERLIN, NOW_MS) == Period(-(1 << 53), NOW_MS + 11 * HOUR)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("yesterday", '"yesterday" is no span of time; "24 h"'),
        ("..", '".." is no span of time'),
        ("24 h .. 2026-01-09", '"24 h" is no span of time'),
        ("2026-02-30", 'There is no "2026-02-30".'),
        ("9999-12-31", 'There is no "9999-12-31".'),
        ("2026-01-09 .. 2026-01-08", "2026-01-09 is after 2026-01-08."),
    ],
)
def test_what_is_no_time_is_said(text, says):
    """In a sentence that shows how it is typed."""
    with pytest.raises(PeriodError) as error:
        parse_period(text, BERLIN, NOW_MS)
    assert str(error.value).startswith(says)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(30, True), (23 * 3600, True), (25 * 3600, False), (None, False)]
)
async def test_the_overview_points_at_the_fraud_log_for_a_day(session, seconds, shown):
    """With the age of its newest event, and the key."""
    gateway = RecordedGateway()
    last = None if seconds is None else NOW_MS - seconds * 1000
    gateway.current = replace(gateway.current, last_fraud_ms=last)
    async with session(gateway) as s:
        assert ("! fraud log: " in s.lines("#alarms")) == shown
        if seconds == 30:
            assert "! fraud log: 30 s ago, see F7" in s.lines("#alarms")


@pytest.mark.parametrize("profile", ["rich", "basic"])
async def test_every_key_that_is_shown_works(session, profile):
    """Each key of the key bars does what it says, and F1 tells them all."""
    async with session(profile=profile) as s:
        await s.press("f7")
        assert keys(s) == ["F1", "Enter", "/", "l", "t", "x", "F12", "F10"]
        await s.press("slash")
        assert keys(s) == ["F1", "Enter", "Esc", "F12", "F10"]
        await s.press(*"ltx", "escape", "enter")
        assert keys(s) == ["F1", "Esc", "n", "p", "F12", "F10"]
        await s.press("f1")
        assert isinstance(s.screen, HelpScreen)
        await s.press("escape", "escape", "f1")
        assert all(word in s.lines("#help") for word in ("next log", "CSV file", "F7"))
        await s.press("escape", "t", "escape", "x", "escape", "f12")
        assert isinstance(s.screen, EventsScreen)
        assert s.app.profile != profile
        await s.press("f10")
        assert isinstance(s.screen, ConfirmScreen)


async def test_nothing_was_logged(session):
    """An empty list offers nothing that needs an event."""
    gateway = RecordedGateway()
    gateway.logged = []
    async with session(gateway) as s:
        await s.press("f7", "enter", "x")
        assert isinstance(s.screen, EventsScreen)
        assert keys(s) == ["F1", "/", "l", "t", "F12", "F10"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (20, 5)])
async def test_bars_fit(session, size):
    """No key is cut off on 80 columns, also where Esc goes back; a small terminal is no error."""
    async with session(size=size) as s:
        for press in (["f7"], ["enter"], ["f6", "enter", "e"], ["slash"]):
            await s.press(*press)
            bar = s.screen.query_one(KeyBar)
            assert sum(len(f" {key} {label} ") for key, label, _ in bar.keys) <= max(80, size[0])


async def test_a_meter_that_goes_away_keeps_its_name(session):
    """Its events are still listed, under the name that they had."""
    async with session() as s:
        await s.press("f7")
        left = tuple(meter for meter in s.gateway.current.meters if meter.name != "gas boiler")
        s.gateway.current = replace(s.gateway.current, meters=left)
        await again(s)
        assert sum(" gas boiler " in row for row in rows(s)) == 2
        assert f" meter {REMOVED.address} " in rows(s)[3]

"""The push screens: reports, destinations, ledger, one report, one notification, the calendar."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest
from recorded import NOW_MS, RecordedGateway
from recorded_push import DAY, REFUSED, failed

from cme_tui.push.wording import spacing
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.completeness import CompletenessScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.help import HelpScreen
from cme_tui.screens.notification import NotificationScreen
from cme_tui.screens.overview import OverviewScreen
from cme_tui.screens.push import PushScreen
from cme_tui.screens.report import ReportScreen
from cme_tui.widgets.bars import KeyBar
from cme_tui.widgets.hexview import HexView
from core.config import PushReportConfig
from core.interval import Interval
from core.store import StoreError
from core.store.outbox import NotificationState

MIDNIGHT = NOW_MS - DAY // 2


def keys(s) -> list[str]:
    return [key for key, _, _ in s.screen.query_one(KeyBar).keys]


def rows(s, name: str) -> list[str]:
    table = s.table(name)
    return [table.text_of(index) for index in range(table.row_count)]


def means(s) -> str:
    return str(s.screen.query_one("#means").render())


def wrong(s) -> str:
    return str(s.screen.query_one("#wrong").render())


def report(s, kind: str) -> PushReportConfig:
    return s.gateway.config().push.described(kind)


async def retyped(s, text: str) -> None:
    """Replace what stands in the field and press Enter."""
    s.screen.query_one("#answer").value = text
    await s.press("enter")


async def test_every_destination_is_told_with_what_fails_first(session):
    """The default HES, who refuses since when and until when, and who took something."""
    async with session() as s:
        await s.press("f5")
        assert isinstance(s.screen, PushScreen)
        assert s.lines("#destinations").splitlines() == [
            " Default HES hes.example.net:4059, client SAP 1",
            " ✗ billing.example.net:4061 since 2 h, next try in 12 min, 2 wait: "
            "refuses connections: start the receiver, or correct the port",
            " ● hes.example.net:4059 delivered 54 min ago, 1 wait",
        ]


async def test_all_six_reports_are_listed(session):
    """Configured or not; with schedule, destination, next and last run and what waits."""
    async with session(size=(120, 40)) as s:
        await s.press("f5")
        assert rows(s, "#reports") == [
            "● load profile 1 every 1 h + 5 min default HES what is unsent 5 min 55 min 0 ",
            "- load profile 2 -      ",
            "✗ billing profile monthly 1 06:00 billing.example.net:4061 what is unsent 22 d 8 d 2 280 B",
            "- standard event log daily 00:30  what is unsent - - 0 ",
            "- fraud event log -      ",
            "○ on installation meters change default HES  - - 1 140 B",
        ]
        assert s.status == " load profile 1 to hes.example.net:4059, the last one delivered 54 min ago"
        await s.press("down")
        assert s.status == " load profile 2 is off; Enter switches it on"
        await s.press("down")
        assert "2 wait (280 B), the oldest for 2 h" in s.status


async def test_a_gateway_without_reports_says_what_to_do(session):
    """All six are off, there is no HES, and the ledger is empty."""
    async with session(push=False) as s:
        await s.press("f5")
        assert s.lines("#destinations") == " Default HES - none yet; press h"
        assert [row[0] for row in rows(s, "#reports")] == ["-"] * 6
        await s.press("tab")
        assert s.status == " Nothing was made yet"
        assert "Enter" not in keys(s)
        await s.press("f2")
        assert s.lines("#pushes") == " Push - no report is enabled"


async def test_the_ledger_tells_what_became_of_each(session):
    """State with symbol, tries, next try, size; the status line has the reason or when it was delivered."""
    async with session() as s:
        await s.press("f5", "tab")
        assert s.lines("#count") == " Ledger 9  newest first"
        shown = rows(s, "#ledger")
        assert shown[0] == "9 ○ waiting on installation gateway 0 0 20 s - (140 B)"
        assert shown[1] == "8 ● delivered load profile 1 water kitchen 2 1 55 min - 166 B"
        assert shown[4] == "5 ! waiting billing profile water kitchen 2 7 2 h 12 min (140 B)"
        assert [row.split()[1] for row in shown] == ["○", "●", "●", "●", "!", "!", "-", "✗", "●"]
        assert "removed, LD 100" in shown[8]
        await s.press("down")
        assert "rows of 2026-01-09 10:05:00" in s.status
        assert "delivered 2026-01-09 11:05:04" in s.status
        await s.press("down", "down", "down")
        assert s.status == f" {REFUSED}"


async def test_the_filter_finds_words_in_the_ledger(session):
    """By report, meter or reason, with a count; Esc removes it, and only then leaves."""
    async with session() as s:
        await s.press("f5", "tab", "slash", *"profile waiting heat", "enter")
        assert s.lines("#count") == " Ledger 1 of 9  newest first"
        assert "heat flat 1" in rows(s, "#ledger")[0]
        await s.press("slash", *"nothing", "enter")
        assert s.status == " No notification has all of these words"
        await s.press("escape")
        assert s.table("#ledger").row_count == 9


async def test_the_ledger_is_asked_for_only_where_something_happened(session):
    """A screen that is looked at does not read the store four times a second."""
    async with session() as s:
        await s.press("f5")
        asked = s.gateway.ledgers
        for _ in range(5):
            s.app.pull()
        assert s.gateway.ledgers == asked
        s.gateway.notifications = s.gateway.notifications[1:]
        s.app.pull()
        assert s.gateway.ledgers == asked + 1
        assert s.table("#ledger").row_count == 8


async def test_a_ledger_that_cannot_be_read_is_told_until_it_can(session):
    """Above the list, which stays as it was."""
    async with session() as s:
        await s.press("f5")
        reads, broken = s.gateway.ledger, Future()
        broken.set_exception(StoreError("The database is locked."))
        s.gateway.ledger = lambda: broken
        s.gateway.notifications = s.gateway.notifications[1:]
        s.app.pull()
        assert s.lines("#count") == " Ledger 9  ✗ The database is locked."
        s.gateway.ledger = reads
        await s.press("y")
        assert s.lines("#count") == " Ledger 8  newest first"


async def test_send_test_and_retry(session):
    """On the report under the cursor; the status line says what came of it."""
    async with session() as s:
        await s.press("f5", "s")
        assert s.status == " ● load profile 1: made, and on its way"
        await s.press("t")
        assert s.status == " ● load profile 1: a test is on its way"
        await s.press("y")
        assert s.status == " ● trying 3 notifications now"
        await s.press("down", "t")
        assert s.status == " ✗ The report load_profile_2 is not enabled; enable it first."
        await s.press("tab", "down", "down", "down", "down", "y", "s")
        assert s.gateway.pushes == [
            "send load_profile_1",
            "test load_profile_1",
            "retry None",
            "retry [5]",
            "send billing_profile",
        ]


async def test_cancel_asks_first_and_names_what_is_lost(session):
    """Only what waits can be given up."""
    async with session() as s:
        await s.press("f5", "x", "tab", "down", "x")
        assert isinstance(s.screen, PushScreen)
        await s.press("down", "down", "down", "x")
        assert isinstance(s.screen, ConfirmScreen)
        question = str(s.screen.query_one("#question").children[0].render())
        assert "notification 5, billing profile of water kitchen with 2 rows?" in question
        await s.press("n")
        assert s.gateway.pushes == []
        await s.press("x", "y")
        assert s.gateway.pushes == ["cancel [5]"]
        assert "- cancelled" in rows(s, "#ledger")[4]


async def test_a_range_is_sent_again(session):
    """Three questions, each with its own check, and a last one that names the effect."""
    async with session() as s:
        await s.press("f5", "r")
        await retyped(s, "yesterday")
        assert "is no time" in wrong(s)
        await retyped(s, "2026-01-07")
        await retyped(s, "2026-01-08 12:00")
        await retyped(s, "atrium")
        assert 'no meter "atrium"' in wrong(s)
        await retyped(s, "water kitchen, 4")
        assert isinstance(s.screen, ConfirmScreen)
        await s.press("y")
        start = MIDNIGHT - 2 * DAY
        assert s.gateway.pushes == [f"resend load_profile_1 [1, 3] {start} {start + DAY + DAY // 2}"]
        assert s.status == " ● 3 notifications are on the way"


@pytest.mark.parametrize(
    "answers", [["escape"], ["enter", "escape"], ["enter", "enter", "escape"], ["enter"] * 3 + ["n"]]
)
async def test_nothing_is_sent_again_where_a_question_is_left(session, answers):
    """Esc at any of them, or no at the last."""
    async with session() as s:
        await s.press("f5", "r", *answers)
        assert isinstance(s.screen, PushScreen)
        assert s.gateway.pushes == []


async def test_a_report_that_is_off_asks_no_questions_first(session):
    """Nor does the one that has no times."""
    async with session() as s:
        await s.press("f5", "down", "r")
        assert "load profile 2 is off" in s.status
        await s.press("end", "r")
        assert "has no times" in s.status


async def test_the_default_hes(session):
    """Three settings in one save; what cannot be one is said below the field."""
    async with session() as s:
        await s.press("f5", "h")
        assert s.screen.query_one("#answer").value == "hes.example.net:4059 1"
        await retyped(s, "two hosts")
        assert "hes.example.net:4059 1" in wrong(s)
        await retyped(s, "192.0.2.7 103")
        assert s.gateway.commands == [
            "configure {'push.host': '192.0.2.7', 'push.port': None, 'push.client_sap': 103}"
        ]
        assert s.lines("#destinations").startswith(" Default HES 192.0.2.7:4059, client SAP 103")


async def test_a_schedule_shows_its_next_runs_while_it_is_typed(session):
    """What is none yet is said, and Enter says how one is written; the others stay as they are."""
    async with session() as s:
        before = s.gateway.config().push.reports
        await s.press("f5", "enter", "down", "enter")
        assert "Fri 2026-01-09 12:05, Fri 2026-01-09 13:05" in means(s)
        await s.press("x")
        assert means(s) == "no schedule yet"
        await s.press("enter")
        assert '"daily 06:00"' in wrong(s)
        s.screen.query_one("#answer").value = "weekly mon 06:00"
        await s.settle()
        assert means(s) == "next: Mon 2026-01-12 06:00, Mon 2026-01-19 06:00, Mon 2026-01-26 06:00"
        await s.press("enter")
        assert report(s, "load_profile_1") == replace(before[0], schedule="weekly mon 06:00")
        assert s.gateway.config().push.reports[1:] == before[1:]
        assert isinstance(s.screen, ReportScreen)
        assert "Mon 2026-01-12 06:00" in s.lines("#runs")


async def test_a_report_that_config_does_not_have_is_switched_on(session):
    """At once; switching it off says what is forgotten, and asks."""
    async with session() as s:
        await s.press("f5", "down", "enter", "space")
        assert report(s, "load_profile_2") == PushReportConfig("load_profile_2")
        assert "● load profile 2 is saved and applied" in s.status
        await s.press("space")
        assert "newest 180 rows" in str(s.screen.query_one("#question").children[0].render())
        await s.press("n")
        assert report(s, "load_profile_2").enabled
        await s.press("space", "y")
        assert not report(s, "load_profile_2").enabled
        assert "- off" in s.lines("#report")


async def test_destination_and_rows_of_a_report(session):
    """Its own HES or the default one; everything unsent or the newest rows."""
    async with session() as s:
        await s.press("f5", "enter", "down", "down", "enter")
        await retyped(s, "[2001:db8::7]:4059 103")
        now = report(s, "load_profile_1")
        assert (now.host, now.port, now.client_sap) == ("2001:db8::7", 4059, 103)
        await s.press("enter")
        await retyped(s, "")
        now = report(s, "load_profile_1")
        assert (now.host, now.port, now.client_sap) == ("", None, None)
        await s.press("down", "enter")
        await retyped(s, "1001")
        assert "from 0 to 1000" in wrong(s)
        await retyped(s, "48")
        assert report(s, "load_profile_1").last_rows == 48
        assert "newest 48" in rows(s, "#settings")[3]


async def test_what_cannot_be_saved_is_said_and_nothing_changes(session):
    """The sentence of the gateway, on the status line."""
    async with session() as s:
        s.gateway.configure = lambda values: failed("The disk is full; free space there.")
        before = s.gateway.config()
        await s.press("f5", "down", "enter", "enter")
        assert s.status == " ✗ The disk is full; free space there."
        assert s.gateway.config() == before


async def test_undo_asks_and_tells_what_was_put_back(session):
    """It takes back the last save, whichever screen it came from."""
    async with session() as s:
        s.gateway.undo = lambda: _restored({"push.report": []})
        await s.press("f5", "enter", "u", "y")
        assert s.status == " ● Taken back: push.report"


def _restored(values):
    future = Future()
    future.set_result(values)
    return future


async def test_the_report_on_installation_has_no_schedule(session):
    """It can be switched on or off, and sent to somebody else."""
    async with session() as s:
        await s.press("f5", "end", "enter")
        assert [row.split()[0] for row in rows(s, "#settings")] == ["Enabled", "Destination"]
        assert s.lines("#runs") == ""


async def test_a_notification_is_decoded_beside_its_bytes(session):
    """What became of it, how it goes over the wire, and each field with its bytes marked."""
    async with session() as s:
        await s.press("f5", "tab", "down", "down", "down", "down", "enter")
        assert isinstance(s.screen, NotificationScreen)
        heading = s.lines("#notification")
        assert "5 billing profile of water kitchen  ! waiting" in heading
        assert "7 tries" in heading
        assert "It goes in clear" in heading
        assert f"{REFUSED} Next try in 12 min." in heading
        values = rows(s, "#parts")
        assert values[0].split() == ["APDU", "data", "notification"]
        assert any("85946" in value for value in values)
        at = next(index for index, value in enumerate(values) if "85946" in value)
        await s.press(*["down"] * at)
        assert "85946" in s.status
        _, part = s.screen.query_one(HexView).lit
        assert len(part) == 5


async def test_it_says_what_goes_ciphered(session):
    """By the policy that holds; of a delivered one by what went over the wire."""
    gateway = RecordedGateway()
    policy = replace(gateway.current.dlms, policy="authenticated-encrypted")
    gateway.current = replace(gateway.current, dlms=policy)
    gateway.notifications[2] = replace(gateway.notifications[2], wire_size=gateway.notifications[2].size + 60)
    async with session(gateway) as s:
        await s.press("f5", "tab", "enter")
        assert "It goes ciphered (general-glo), as the policy authenticated-encrypted has it" in s.lines(
            "#notification"
        )
        await s.press("escape", "down", "enter")
        assert "It went in clear" in s.lines("#notification")
        await s.press("escape", "down", "enter")
        assert "It went ciphered (general-glo)" in s.lines("#notification")


async def test_a_body_that_is_no_longer_kept(session):
    """The ledger's part is still shown."""
    async with session() as s:
        await s.press("f5", "tab", "end", "enter")
        assert "removed, LD 100" in s.lines("#notification")
        assert "no longer kept" in s.status


async def test_the_calendar_has_a_sign_for_each_meter_and_day(session):
    """Delivered, incomplete, given up, waiting, nothing; the status line has the numbers of the chosen day."""
    async with session() as s:
        await s.press("f5", "c")
        assert isinstance(s.screen, CompletenessScreen)
        shown = rows(s, "#days")
        assert shown[0].startswith("water kitchen ● ● ● ! ● ✗ ● ● ○ · ·")
        assert shown[1].startswith("hot water kitchen ● ● ● ● ● ✗ ● ● ○ · ·")
        assert shown[6].split("climate stair ")[1].split() == ["·"] * 31
        assert s.status == " water kitchen, Fri 09 January: 13 rows, 8 delivered, 5 in the outbox"
        await s.press("left", "left", "left", "left", "left")
        assert s.status == " water kitchen, Sun 04 January: 21 of 24 rows, 21 delivered"
        await s.press("p", "p")
        assert "November 2025" in s.lines("#month")
        assert s.status == " water kitchen, Sun 30 November: no rows"
        await s.press("n")
        assert "31 December: 24 rows, 24 delivered" in s.status or "01 December" in s.status


async def test_the_mark_is_above_the_chosen_day(session):
    """On every width."""
    for size in ((80, 24), (120, 40)):
        async with session(size=size) as s:
            await s.press("f5", "c", "left")
            table = s.table("#days")
            heading = "".join(segment.text for segment in table.render_line(0))
            mark = s.lines("#month").splitlines()[2].index("▼")
            assert heading[mark] == "8"
            assert heading[:mark].split()[1:] == list("1234567")


async def test_a_day_is_sent_again(session):
    """From its first to its last moment, of the meter under the cursor; a day without rows is not."""
    async with session() as s:
        await s.press("f5", "c", "left", "down", "r", "y")
        assert s.gateway.pushes == [f"resend load_profile_1 [2] {MIDNIGHT - DAY} {MIDNIGHT - 1}"]
        await s.press("end", "r")
        assert "no row on 08 January" in s.status
        assert isinstance(s.screen, CompletenessScreen)


def test_a_profile_of_all_readings_says_that_each_makes_a_row():
    """And not that it has one every all."""
    assert spacing(Interval.parse("all")) == "a row for every reading"
    assert spacing(Interval.parse("1 h")) == "a row every 1 h"


async def test_the_calendar_of_another_profile(session):
    """In turn; a report without a profile begins with load profile 1."""
    async with session() as s:
        await s.press("f5", "end", "c")
        assert "load profile 1 January 2026, a row every 1 h" in s.lines("#month")
        await s.press("o")
        assert "load profile 2 January 2026, a row every 1 d" in s.lines("#month")
        assert "no rows" in s.status


async def test_the_overview_has_a_line_for_pushes(session):
    """What fails first; where nothing does, the last delivery and the next report."""
    async with session() as s:
        assert isinstance(s.screen, OverviewScreen)
        assert s.lines("#pushes").startswith(
            " Push ✗ billing.example.net:4061 since 2 h, next try in 12 min, 2 wait"
        )
        delivered = NotificationState.DELIVERED
        s.gateway.notifications = [replace(each, state=delivered) for each in s.gateway.notifications]
        s.app.pull()
        assert s.lines("#pushes") == " Push ● all delivered, the last 54 min ago, load profile 1 in 5 min"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize(
    "where",
    [["f5"], ["f5", "tab"], ["f5", "tab", "down"], ["f5", "enter"], ["f5", "tab", "enter"], ["f5", "c"]],
    ids=lambda where: " ".join(where),
)
async def test_the_keys_fit_and_the_help_names_them(session, where, size):
    """No footer is cut off; F1 has every key that works, also where the row had no room for it."""
    async with session(size=size) as s:
        await s.press(*where)
        shown = s.screen.query_one(KeyBar).keys
        assert sum(len(key) + len(label) + 3 for key, label, _ in shown) <= size[0]
        assert {"F1", "F10"} <= set(keys(s))
        about = s.screen
        await s.press("f1")
        assert isinstance(s.screen, HelpScreen)
        text = " ".join(s.lines("#help").split())
        assert "F5" in text
        assert all(binding.tooltip in text for binding in about.BINDINGS if binding.tooltip)


async def test_letters_stay_in_the_field(session):
    """A key of the screen that is typed into a question does nothing else."""
    async with session() as s:
        await s.press("f5", "h", *"xyrtsch")
        assert isinstance(s.screen, AskScreen)
        assert s.screen.query_one("#answer").value.endswith("1xyrtsch")
        await s.press("escape")
        assert s.gateway.pushes == s.gateway.commands == []

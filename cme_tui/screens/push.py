"""F5: the push reports, where they go and how that goes, and the ledger of their notifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.polled import Polled
from cme_tui.push import answers, rows
from cme_tui.push.wording import REPORTS, label
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.completeness import CompletenessScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.notification import NotificationScreen
from cme_tui.screens.report import ReportScreen
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Table
from cme_tui.wording import count
from core.config import Report
from core.snapshot import PushReportView, PushView, Snapshot
from core.store.outbox import Notification, NotificationState

_GIVES_WAY: Final = ("F12", "h", "r", "c", "x")
"""Keys that are not offered where the row is full, the first one first; all of them work, and F1 names them."""

ASK_AGAIN_SECONDS: Final = 10.0
"""The ledger is asked for where something has happened, else this seldom."""


class PushScreen(FilteredScreen):
    """Reports above, the ledger below."""

    TAB = "push"
    AUTO_FOCUS = "#reports"
    HELP = (
        "At the top the default HES, and each destination that something was sent to or waits for: ● delivered, ○ "
        "sending or nothing sent yet, ✗ failing, with the reason and the next try.\n"
        "Then the six reports: - is off, ● delivered, ○ waiting, ✗ look at the status line. Next is when it is made "
        "next, Last when it was made last, Wait how many of its notifications wait. Enter shows and changes one: its "
        "schedule, where it goes, and what it sends.\n"
        "Below, the ledger, newest first: every notification with its rows, tries, age, next try and size on the "
        "wire (in brackets: of its body, before it was sent). Enter shows it decoded beside its bytes. What waits is "
        "kept until it is delivered, over restarts, for 40 days; nothing is sent twice on purpose, but a notification "
        "whose receipt was lost goes again under the same id.\n"
        "The default HES is a part of Settings, too; randomisation, delays and sizes are there only.\n"
        "s, t, r and c work on the report under the cursor; below, on that of the notification. Times that you type "
        "are those of the gateway's time zone.\n"
        "/ filters the ledger: a notification stays if all words are found in its id, report, meter, state or reason."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "open",
            "Open",
            key_display="Enter",
            tooltip="change the report, or look at the notification",
        ),
        Binding(
            "tab",
            "other_side",
            "Ledger",
            key_display="Tab",
            tooltip="from the reports to the ledger, and back",
            priority=True,
        ),
        Binding("shift+tab", "other_side", show=False, priority=True),
        FILTER,
        Binding("s", "send", "Send", tooltip="make the report now, beside its schedule, and send it"),
        Binding("t", "test", "Test", tooltip="send the newest row or event only, to see whether it arrives"),
        Binding(
            "y", "retry", "Retry", tooltip="try what waits now: all, or the notification under the cursor"
        ),
        Binding("x", "cancel", "Cancel", tooltip="give up the notification under the cursor: it is not sent"),
        Binding("r", "resend", "Resend", tooltip="send again what lies between two times"),
        Binding("c", "calendar", "Days", tooltip="calendar: what the HES has of each meter and day"),
        Binding("h", "default_hes", "HES", tooltip="the default HES: host, port and client SAP"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reports: tuple[PushReportView | None, ...] = ()
        self._asked: Polled[tuple[Notification, ...]] = Polled(
            lambda: self.cme.gateway.ledger(), every=ASK_AGAIN_SECONDS
        )
        self._asked_at: PushView | None = None
        self._shown: Sequence[Notification] = ()

    def body(self) -> ComposeResult:
        yield Lines(id="destinations")
        reports = Table(
            [
                Column("Report", 20),
                Column("Schedule", 18),
                Column("Destination", 0),
                Column("Sends", 14, wide=True),
                Column("Next", 6, right=True),
                Column("Last", 6, right=True),
                Column("Wait", 4, right=True),
                Column("Size", 7, right=True, wide=True),
            ],
            id="reports",
        )
        reports.styles.height = 1 + len(REPORTS)
        yield reports
        yield from self.list_title()
        yield Table(
            [
                Column("Id", 6, right=True, wide=True),
                Column("State", 11),
                Column("Report", 18),
                Column("Meter", 0),
                Column("Rows", 4, right=True),
                Column("Tries", 5, right=True),
                Column("Age", 6, right=True),
                Column("Next", 6, right=True),
                Column("Size", 8, right=True),
            ],
            id="ledger",
        )

    @property
    def filtered(self) -> Table:
        return self.query_one("#ledger", Table)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        if snapshot.push != self._asked_at:  # else nothing has happened to a notification
            self._asked_at = snapshot.push
            self._asked.again()
        self._asked.look()
        coarse = self.cme.profile == "basic"
        self.query_one("#destinations", Lines).show(rows.destination_lines(snapshot.push, now_ms, coarse))
        known = {report.type: report for report in snapshot.push.reports}
        reports = self._reports = tuple(known.get(report) for report in REPORTS)
        self.query_one("#reports", Table).show(
            REPORTS,
            lambda index: rows.report_row(REPORTS[index], reports[index], snapshot.push, now_ms, coarse),
        )
        names = {meter.key: meter.name for meter in snapshot.meters}
        shown = self._shown = [
            each for each in self._ledger if all(word in rows.searched(each, names) for word in self.words)
        ]
        self.filtered.show(
            [each.id for each in shown],
            lambda index: rows.notification_row(
                shown[index], rows.device(shown[index], names), now_ms, coarse
            ),
        )
        number = f"{len(shown)} of {len(self._ledger)}" if self.words else str(len(self._ledger))
        problem = (f"  ✗ {self._asked.error}", "bad") if self._asked.error else ("  newest first", "faint")
        self.show_list_title(((f" Ledger {number}", "title"), problem))

    def hint(self) -> Line:
        now_ms = self.cme.clock() + self.cme.current.clock_offset_ms
        coarse = self.cme.profile == "basic"
        if self._above:
            view = self._reports[self._report_index] if self._reports else None
            return rows.about_report(self._report, view, self._ledger, now_ms, coarse)
        found = self._notification
        if found is None:
            text = "Nothing was made yet" if not self._ledger else "No notification has all of these words"
            return ((f" {text}", "faint"),)
        return rows.about_notification(found)

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        found = self._notification
        waits = found is not None and found.state is NotificationState.WAITING
        if self._above:
            missing, labels = {"/", "x"}, {"Enter": "Edit"}
            if not any(view.waiting for view in self.cme.current.push.destinations):
                missing.add("y")
        else:
            missing = {"s", "t", "h"} | (set() if found else {"Enter"}) | (set() if waits else {"x", "y"})
            labels = {"Tab": "Reports"}
        keys = [(key, labels.get(key, text), action) for key, text, action in keys if key not in missing]
        return fitting(keys, self.size.width, _GIVES_WAY)

    def on_table_moved(self) -> None:
        self.update_status()

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_other_side(self) -> None:
        (self.filtered if self._above else self.query_one("#reports", Table)).focus()

    def action_open(self) -> None:
        if self._above:
            self.cme.push_screen(ReportScreen(self._report))
        elif self._notification is not None:
            self.run_worker(self._open(self._notification))

    def action_send(self) -> None:
        report = self._report
        sending = self.cme.gateway.send_report
        self._do(
            lambda: sending(report),
            f"Making {label(report)}",
            lambda _: f"{label(report)}: made, and on its way",
        )

    def action_test(self) -> None:
        report = self._report
        testing = self.cme.gateway.test_report
        self._do(lambda: testing(report), "Making a test", lambda _: f"{label(report)}: a test is on its way")

    def action_retry(self) -> None:
        found = self._notification
        ids = None if self._above or found is None else [found.id]
        self._do(
            lambda: self.cme.gateway.retry_notifications(ids),
            "Trying again",
            lambda tried: f"trying {count(tried, 'notification')} now" if tried else "nothing waits",
        )

    def action_cancel(self) -> None:
        found = self._notification
        if self._above or found is None or found.state is not NotificationState.WAITING:
            return
        device = rows.device(found, {meter.key: meter.name for meter in self.cme.current.meters})

        def decided(yes: bool | None) -> None:
            if yes:
                self._do(
                    lambda: self.cme.gateway.cancel_notifications([found.id]),
                    "Giving up",
                    lambda given_up: (
                        f"notification {found.id} is given up" if given_up else "it waits no more"
                    ),
                )

        held = f" with {count(found.rows, 'row')}" if found.rows else ""
        self.cme.push_screen(
            ConfirmScreen(
                f"Give up notification {found.id}, {label(found.report)} of {device}{held}? It is not sent"
                f"{', unless somebody resends its time' if found.rows else ''}.",
                "Give up",
            ),
            decided,
        )

    def action_resend(self) -> None:
        report = self._report
        if report == "on_installation":
            self.cme.say("The notification on installation has no times; s sends it now.", "warn")
        elif self.cme.gateway.config().push.receiver(report) is None:
            self.cme.say(
                f"{label(report)} is off, or goes nowhere; Enter on the report changes that.", "warn"
            )
        else:
            self._resend(report)

    def action_calendar(self) -> None:
        self.cme.push_screen(CompletenessScreen(self._report))

    def action_default_hes(self) -> None:
        push = self.cme.gateway.config().push
        now = str(answers.Where(push.host, push.port, push.client_sap))

        def given(text: str) -> None:
            where = answers.destination(text)
            values = {
                "push.host": where.host or None,
                "push.port": where.port,
                "push.client_sap": where.client_sap,
            }
            self._do(
                lambda: self.cme.gateway.configure(values),
                "Saving",
                lambda _: f"the default HES is {where}" if where.host else "there is no default HES",
            )

        question = (
            "Default HES: host, port and client SAP, such as hes.example.net:4059 1; reports without a destination of "
            "their own go there. Randomisation, delays and sizes are in Settings (F3)."
        )
        self._ask(question, now, answers.destination, given)

    async def _open(self, found: Notification) -> None:
        asking = self.cme.gateway.notification(found.id)
        if await self.cme.answer(asking, "Fetching"):
            names = {meter.key: meter.name for meter in self.cme.current.meters}
            self.cme.push_screen(NotificationScreen(asking.result(), rows.device(found, names)))

    def _resend(self, report: Report) -> None:
        """Ask from when, to when and of which meters, one after the other, then whether."""
        zone = self.cme.gateway.config().gateway.zone
        now_ms = self.cme.clock() + self.cme.current.clock_offset_ms
        known = self.cme.current.meters
        day, title = answers.local(now_ms, zone, "%Y-%m-%d"), f"Resend {label(report)}"

        def start_of(text: str) -> int:
            return answers.moment(text, zone)

        def end_of(text: str) -> int:
            return answers.moment(text, zone, end=True)

        def begun(begin: str) -> None:
            question = f"{title} from {begin}: to when, included?"
            self._ask(question, day, end_of, lambda end: ended(begin, end))

        def ended(begin: str, end: str) -> None:
            which = "of which meters? Names, ids or logical devices with commas; none: all"
            question = f"{title} from {begin} to {end}: {which}"
            self._ask(
                question, "", lambda text: answers.meters(text, known), lambda text: chosen(begin, end, text)
            )

        def chosen(begin: str, end: str, text: str) -> None:
            meters = answers.meters(text, known)
            of = "every device" if meters is None else ", ".join(meter.name for meter in meters)
            keys = None if meters is None else [meter.key for meter in meters]

            def decided(yes: bool | None) -> None:
                if yes:
                    sending = self.cme.gateway.resend_report
                    self._do(
                        lambda: sending(report, keys, start_of(begin), end_of(end)), "Collecting", _resent
                    )

            question = (
                f"{title} of {of} from {begin} to {end}? The HES gets again what it has of that already."
            )
            self.cme.push_screen(ConfirmScreen(question, "Resend"), decided)

        self._ask(f"{title}: from when on? A day, or day and time", day, start_of, begun)

    def _ask(
        self, question: str, value: str, read: Callable[[str], object], then: Callable[[str], None]
    ) -> None:
        def answered(text: str | None) -> None:
            if text is not None:
                then(text)

        self.cme.push_screen(AskScreen(question, value, wrong=answers.objection(read)), answered)

    def _do(self, begin: Callable[[], Future[Any]], doing: str, done: Callable[[Any], str]) -> None:
        async def work() -> None:
            await self._follow(begin(), doing, done)

        self.run_worker(work())

    async def _follow(self, future: Future[Any], doing: str, done: Callable[[Any], str]) -> None:
        if await self.cme.answer(future, doing):
            self.cme.say(f"● {done(future.result())}", "good")
        self._asked.again()
        self.cme.pull()

    @property
    def _ledger(self) -> Sequence[Notification]:
        return self._asked.value or ()

    @property
    def _above(self) -> bool:
        return self.focused is self.query_one("#reports", Table)

    @property
    def _report_index(self) -> int:
        return self.query_one("#reports", Table).cursor

    @property
    def _report(self) -> Report:
        """The report that the keys work on."""
        found = self._notification
        if not self._above and found is not None:
            return next((report for report in REPORTS if report == found.report), REPORTS[self._report_index])
        return REPORTS[self._report_index]

    @property
    def _notification(self) -> Notification | None:
        cursor = self.filtered.cursor
        return self._shown[cursor] if cursor < len(self._shown) else None


def _resent(number: int) -> str:
    return (
        f"{count(number, 'notification is', 'notifications are')} on the way"
        if number
        else "nothing lies in that time"
    )

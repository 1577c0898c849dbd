"""One push report: whether and when it is made, where it goes, and what it sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.push import answers
from cme_tui.push.answers import Where
from cme_tui.push.wording import label, report_symbol
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from core.config import PushReportConfig, Report
from core.push.schedule import Schedule
from core.settings import changed_reports, report_tables
from core.snapshot import PushReportView, Snapshot
from core.store.outbox.records import NEWEST

MOST_ROWS = 1000
"""Of `last_rows` in config.toml."""


class ReportScreen(GatewayScreen):
    """Its settings, each of which Enter changes; every change is saved at once and can be taken back."""

    TAB = "push"
    HELP = (
        "What config.toml says about one push report. Enter changes the setting under the cursor; it is saved and "
        "applied at once, and u takes back the last save.\n"
        'Schedules follow the local clock of the gateway: "every 15 min", "every 1 h + 5 min", "daily 06:00", "weekly '
        'mon 06:00", "monthly 1 06:00" (day 1 to 28) or "monthly last 06:00"; while you type, the next three runs '
        "are shown. After a downtime a report is made once, with everything that was not sent.\n"
        "A destination is a host with port and client SAP; what is left out is that of the default HES. A report that "
        "is switched off forgets how far it came: switched on again, it begins with the newest 180 rows of each "
        "device."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "change", "Change", key_display="Enter", tooltip="change the setting under the cursor"
        ),
        Binding("space", "switch", "On/off", key_display="Space", tooltip="switch the report on or off"),
        Binding("u", "undo", "Undo", tooltip="take back the last save of settings"),
    ]

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report
        self._changes: list[Callable[[], None]] = []

    def body(self) -> ComposeResult:
        yield Lines(id="report")
        yield Table([Column("Setting", 14), Column("Value", 26), Column("Meaning", 0)], id="settings")
        yield Lines(id="runs")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        config = self.cme.gateway.config()
        report = config.push.described(self._report)
        view = next((each for each in snapshot.push.reports if each.type == self._report), None)
        symbol, tone = report_symbol(view, snapshot.push)
        state = f"{symbol} {'on' if report.enabled else 'off'}"
        self.query_one("#report", Lines).show(
            [((f" Report {label(self._report)}  ", "title"), (state, tone or "strong")), *_problem(view)]
        )
        rows = self._rows(report, snapshot.push.receiver)
        self._changes = [change for _, change in rows]
        self.query_one("#settings", Table).show([row[0] for row, _ in rows], lambda index: rows[index][0])
        runs: list[Line] = []
        if self._report != "on_installation":
            when = answers.next_runs(report.schedule, now_ms, config.gateway.zone)
            runs = [((f" {when}" if report.enabled else " not made while it is off", "faint"),)]
        self.query_one("#runs", Lines).show(runs)

    def hint(self) -> Line:
        return (
            (" Every change is saved in config.toml and holds at once; u takes back the last one", "faint"),
        )

    def on_table_chosen(self) -> None:
        self.action_change()

    def action_change(self) -> None:
        self._changes[self.query_one("#settings", Table).cursor]()

    def action_switch(self) -> None:
        report = self._now
        if not report.enabled:
            self._save(replace(report, enabled=True))
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self._save(replace(report, enabled=False))

        forgets = (
            f" Switched on again, it begins with at most the newest {NEWEST} rows of each device."
            if self._report != "on_installation"
            else ""
        )
        question = f"Switch {label(self._report)} off? What waits of it is not sent while it is off.{forgets}"
        self.cme.push_screen(ConfirmScreen(question, "Switch off"), decided)

    def action_undo(self) -> None:
        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._undo())

        question = (
            "Take back the last save of settings, of this screen or of another? All else stays as it is."
        )
        self.cme.push_screen(ConfirmScreen(question, "Take back"), decided)

    @property
    def _now(self) -> PushReportConfig:
        return self.cme.gateway.config().push.described(self._report)

    def _rows(self, report: PushReportConfig, default: str) -> list[tuple[Row, Callable[[], None]]]:
        on = "on" if report.enabled else "- off"
        own = Where(report.host, report.port, report.client_sap)
        goes = str(own) or f"default{_differing(own)}"
        rows: list[tuple[Row, Callable[[], None]]] = [
            (("Enabled", on, "made and sent, or not"), self.action_switch)
        ]
        if self._report != "on_installation":
            rows.append((("Schedule", report.schedule, "when it is made, local time"), self._ask_schedule))
        rows.append(
            (("Destination", goes, f"default HES: {default or 'none yet'}"), self._ask_destination),
        )
        if self._report != "on_installation":
            sends = f"newest {report.last_rows}" if report.last_rows else "everything unsent"
            rows.append((("Sends", sends, "rows or events of each device"), self._ask_rows))
        return rows

    def _ask_schedule(self) -> None:
        zone = self.cme.gateway.config().gateway.zone
        now_ms = self.cme.clock() + self.cme.current.clock_offset_ms

        def means(text: str) -> str:
            return answers.next_runs(text, now_ms, zone) or "no schedule yet"

        def change(text: str) -> Mapping[str, Any]:
            return {"schedule": Schedule.parse(text).text}

        question = (
            'Schedule, such as "every 1 h + 5 min", "daily 06:00", "weekly mon 06:00" or "monthly last 06:00"'
        )
        self._ask(
            AskScreen(question, self._now.schedule, wrong=answers.schedule_problem, means=means), change
        )

    def _ask_destination(self) -> None:
        now = self._now

        def change(text: str) -> Mapping[str, Any]:
            return answers.destination(text)._asdict()

        question = "Host, port and client SAP of this report, such as hes.example.net:4059 1; empty for the default HES"
        shown = str(Where(now.host, now.port, now.client_sap))
        self._ask(AskScreen(question, shown, wrong=answers.objection(answers.destination)), change)

    def _ask_rows(self) -> None:
        def wrong(text: str) -> str:
            fits = not text.strip() or (text.strip().isdecimal() and int(text) <= MOST_ROWS)
            return (
                ""
                if fits
                else f"A number of rows from 0 to {MOST_ROWS}; 0, or nothing, is everything unsent."
            )

        def change(text: str) -> Mapping[str, Any]:
            return {"last_rows": int(text.strip() or 0)}

        question = (
            "How many of the newest rows each time, whether they were sent before or not? Nothing for everything that "
            "was not sent yet, which loses and repeats none"
        )
        now = self._now.last_rows
        self._ask(AskScreen(question, str(now) if now else "", wrong=wrong), change)

    def _ask(self, screen: AskScreen, change: Callable[[str], Mapping[str, Any]]) -> None:
        def answered(text: str | None) -> None:
            if text is not None:
                self._save(replace(self._now, **change(text)))

        self.cme.push_screen(screen, answered)

    def _save(self, report: PushReportConfig) -> None:
        if report != self._now:
            self.run_worker(self._saved(report))

    async def _saved(self, report: PushReportConfig) -> None:
        tables = report_tables(changed_reports(self.cme.gateway.config().push, report))
        if await self.cme.answer(self.cme.gateway.configure({"push.report": tables}), "Saving"):
            self.cme.say(f"● {label(self._report)} is saved and applied", "good")
        self.cme.pull()

    async def _undo(self) -> None:
        undoing = self.cme.gateway.undo()
        if await self.cme.answer(undoing, "Taking back"):
            names = ", ".join(undoing.result())
            self.cme.say(f"● Taken back: {names}", "good")
        self.cme.pull()


def _problem(view: PushReportView | None) -> list[Line]:
    if view is None or not view.problem or not view.enabled:
        return []
    return [((f" ! {view.problem}", "warn"),)]


def _differing(own: Where) -> str:
    """What a report without a host of its own has different from the default HES."""
    words = []
    if own.port is not None:
        words.append(f"port {own.port}")
    if own.client_sap is not None:
        words.append(f"SAP {own.client_sap}")
    return f", {', '.join(words)}" if words else ""

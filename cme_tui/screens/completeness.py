"""The calendar of completeness: what the head-end has of each meter and day of a month."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.push.wording import DAYS, label, spacing
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import count
from core.config import Report
from core.errors import CmeError
from core.interval import local_time
from core.push.completeness import Day, Month
from core.push.reports import PROFILES
from core.snapshot import MeterView, PushView, Snapshot
from core.store.outbox import RowReport

_DAYS: Final = 31


@dataclass(slots=True)
class _Known:
    """What is known of a meter, and what was asked."""

    days: tuple[Day, ...] = ()
    asked: Future[tuple[RowReport, ...]] | None = None
    asked_at: PushView | None = None


class CompletenessScreen(GatewayScreen):
    """One row a meter, one column a day."""

    TAB = "push"
    HELP = (
        "What the HES has of each meter and day of a month: ● all delivered, ○ waiting, for the outbox or for the "
        "next time at which the report is made, ! incomplete: the meter has fewer rows than the interval of the "
        "profile wants, ✗ given up: a notification of that day has expired or was cancelled, · nothing.\n"
        "How many rows a day should have follows the interval of the profile and the jumps of the local clock, from "
        "the first row of the meter on. The mark above the columns is on the chosen day, and the status line has its "
        "numbers; r sends that day of the meter under the cursor again."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "day(-1)", show=False),
        Binding("right", "day(1)", "Day", key_display="Left/Right", tooltip="the day before or after"),
        Binding("n", "month(1)", "Month", key_display="p n", tooltip="the month before or after"),
        Binding("p", "month(-1)", show=False),
        Binding("o", "other", "Profile", tooltip="load profile 1, load profile 2, billing profile"),
        Binding("r", "resend", "Resend", tooltip="send the day of the meter under the cursor again"),
    ]

    def __init__(self, report: Report) -> None:
        """A report that sends no profile shows load profile 1."""
        super().__init__()
        self._profile: Report = report if report in PROFILES else "load_profile_1"
        self._day: date | None = None
        self._month: Month | None = None
        self._known: dict[int, _Known] = {}
        self._meters: tuple[MeterView, ...] = ()

    def body(self) -> ComposeResult:
        yield Lines(id="month")
        days = [Column(str(number % 10), 1) for number in range(1, _DAYS + 1)]
        yield Table([Column("Meter", 0), *days], id="days")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        config = self.cme.gateway.config()
        zone = config.gateway.zone
        day = self._day = self._day or local_time(now_ms, zone).date()
        if self._month is None:
            self._month = Month(day, getattr(config.profiles, self._profile), zone)
            self._known = {}
        meters = self._meters = snapshot.meters
        table = self.query_one("#days", Table)
        mark = max(0, table.size.width - 2 * _DAYS + 2 * (day.day - 1))
        self.query_one("#month", Lines).show(
            [
                (
                    (f" {label(self._profile)} ", "title"),
                    (f"{day:%B %Y}", "strong"),
                    f", {spacing(getattr(config.profiles, self._profile))}",
                ),
                (" ● delivered  ○ waiting  ! incomplete  ✗ given up  · nothing",),
                (" " * mark, ("▼", "strong")),
            ]
        )
        table.show(
            [meter.key for meter in meters], lambda index: self._row(meters[index], now_ms, snapshot.push)
        )

    def hint(self) -> Line:
        meter, day = self._meter, self._chosen_day
        if meter is None or self._day is None:
            return ((" No meter is installed yet", "faint"),)
        if day is None:
            return ((f" {meter.name}, {self._day:%a %d %B}: looking", "faint"),)
        return (f" {meter.name}, {day.date:%a %d %B}: {_words(day)}",)

    def offered(self) -> list[tuple[str, str, str]]:
        return fitting(super().offered(), self.size.width, ("F12",))

    def on_table_moved(self) -> None:
        self.update_status()

    def action_day(self, by: int) -> None:
        if self._day is not None:
            self._go(self._day + timedelta(days=by))

    def action_month(self, by: int) -> None:
        if self._day is not None:
            first = self._day.replace(day=1)
            self._go((first + timedelta(days=31)).replace(day=1) if by > 0 else first - timedelta(days=1))

    def action_other(self) -> None:
        profiles = list(PROFILES)
        self._profile = profiles[(profiles.index(self._profile) + 1) % len(profiles)]
        self._month = None
        self.update_view()

    def action_resend(self) -> None:
        meter, day = self._meter, self._chosen_day
        if meter is None or day is None:
            return
        if not day.rows:
            self.cme.say(
                f"There is nothing to send again: {meter.name} has no row on {day.date:%d %B}.", "warn"
            )
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._resend(meter, day))

        rows = count(day.rows, "row")
        question = (
            f"Send {label(self._profile)} of {meter.name} of {day.date:%a %d %B} again, {rows}? The HES gets again "
            "what it has of that already."
        )
        self.cme.push_screen(ConfirmScreen(question, "Resend"), decided)

    async def _resend(self, meter: MeterView, day: Day) -> None:
        resending = self.cme.gateway.resend_report(self._profile, [meter.key], day.start_ms, day.end_ms - 1)
        if await self.cme.answer(resending, "Collecting"):
            made = count(resending.result(), "notification is", "notifications are")
            self.cme.say(f"● {made} on the way", "good")
        self.cme.pull()

    def _go(self, day: date) -> None:
        if self._day is None or (day.year, day.month) != (self._day.year, self._day.month):
            self._month = None
        self._day = day
        self.update_view()

    def _row(self, meter: MeterView, now_ms: int, push: PushView) -> Row:
        days = self._days(meter.key, now_ms, push)
        return (meter.name, *(DAYS[day.state] for day in days), *("",) * (_DAYS - len(days)))

    def _days(self, key: int, now_ms: int, push: PushView) -> tuple[Day, ...]:
        """What is known of a meter's days; asks where something was sent since it was asked last."""
        month, known = self._month, self._known.setdefault(key, _Known())
        if month is None:
            return ()
        if known.asked is None and known.asked_at != push:
            known.asked_at = push
            known.asked = self.cme.gateway.completeness(self._profile, key, month.start_ms, month.end_ms)
        if known.asked is not None and known.asked.done():
            try:
                known.days = month.days(known.asked.result(), now_ms)
            except CmeError as error:
                self.cme.say(f"✗ {error}", "bad")
            known.asked = None
        return known.days

    @property
    def _meter(self) -> MeterView | None:
        cursor = self.query_one("#days", Table).cursor
        return self._meters[cursor] if cursor < len(self._meters) else None

    @property
    def _chosen_day(self) -> Day | None:
        meter = self._meter
        known = self._known.get(meter.key) if meter else None
        return next((day for day in known.days if day.date == self._day), None) if known else None


def _words(day: Day) -> str:
    if not day.rows and not day.expected:
        return "no rows"
    of = f" of {day.expected}" if day.expected > day.rows else ""
    words = [f"{day.rows}{of} {'row' if day.rows == 1 and not of else 'rows'}"]
    for number, what in (
        (day.delivered, "delivered"),
        (day.waiting, "in the outbox"),
        (day.given_up, "given up"),
        (day.unsent, "not sent yet"),
    ):
        if number:
            words.append(f"{number} {what}")
    return ", ".join(words)

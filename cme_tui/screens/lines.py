"""The M-Bus lines: their state, what is wrong with them, and the keys that add, change, examine and search them."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.meters.wording import in_short, notes
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.doctor import DoctorScreen
from cme_tui.screens.line_form import LineScreen
from cme_tui.screens.search import open_search
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import SYMBOLS, age, count, until
from core.snapshot import LineView, Snapshot

LOST_MS: Final = 24 * 3_600_000
"""So long a connection that was lost is spoken of."""
LIST_ROWS: Final = 5
"""Rows of the list that stay, however much there is to say about the line under the cursor."""


class LinesScreen(GatewayScreen):
    """All lines; what is known about the one under the cursor stands below them."""

    TAB = "meters"
    HELP = (
        "Every M-Bus line with its state. Below stands all about the line under the cursor: its name and connection in "
        "full, the reason where it is not up and when it is tried again, when and why its connection was lost in the "
        "last day, what the schedule costs, who uses the transparent port, and what the bus doctor says.\n"
        "Enter changes the line under the cursor, a adds one, x takes one out that has no meters. After a save the "
        "gateway connects at once, and the state shows whether it can. f finds the meters on the line, b shows how it "
        "does."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "change", "Change", key_display="Enter", tooltip="change the line under the cursor"),
        Binding("a", "add", "Add", tooltip="add a line"),
        Binding("f", "find", "Find", tooltip="find the meters on the line under the cursor"),
        Binding("b", "doctor", "Bus", tooltip="the bus doctor: how the line under the cursor does, and why"),
        Binding("x", "remove", "Remove", tooltip="take the line out of config.toml; asks first"),
    ]

    def body(self) -> ComposeResult:
        yield Lines(id="lines-title")
        yield Table(
            [
                Column("State", 12),
                Column("Line", 14),
                Column("Connection", 0),
                Column("Baud", 5, right=True),
                Column("Meters", 6, right=True),
                Column("Since", 6, right=True),
            ],
            id="lines-list",
        )
        yield Lines(id="line-notes")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        coarse = self.cme.profile == "basic"
        lines = snapshot.lines
        title: Line = ((f" Lines {len(lines)}", "title"),)
        if not lines:
            title = (*title, "  none yet; a adds one")
        self.query_one("#lines-title", Lines).show([title])
        self.query_one("#lines-list", Table).show(
            [line.name for line in lines], lambda index: _row(lines[index], now_ms, coarse)
        )
        here = self.here
        width = max(20, self.size.width - 2)
        said = _said(here, now_ms, coarse) if here else []
        notes: list[Line] = [
            ((f" {text}", tone),) for sentence, tone in said for text in wrap(sentence, width)
        ]
        self.query_one("#line-notes", Lines).show(notes[: max(LIST_ROWS, self.size.height - LIST_ROWS - 4)])

    def offered(self) -> list[tuple[str, str, str]]:
        keys = [key for key in super().offered() if self.here or key[0] not in ("Enter", "f", "b", "x")]
        return fitting(keys, self.size.width, ("F12",))

    @property
    def here(self) -> LineView | None:
        """The line under the cursor."""
        lines, cursor = self.cme.current.lines, self.query_one("#lines-list", Table).cursor
        return lines[cursor] if cursor < len(lines) else None

    def on_table_moved(self) -> None:
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_change()

    def action_add(self) -> None:
        self.cme.push_screen(LineScreen(None, [line.name for line in self.cme.current.lines]))

    def action_change(self) -> None:
        here = self.here
        config = next(
            (each for each in self.cme.gateway.config().lines if here and each.name == here.name), None
        )
        if config is not None:
            self.cme.push_screen(LineScreen(config, ()))

    def action_find(self) -> None:
        if self.here is not None:
            open_search(self.cme, self.here)

    def action_doctor(self) -> None:
        if self.here is not None:
            self.cme.push_screen(DoctorScreen(self.here.name))

    def action_remove(self) -> None:
        line = self.here
        if line is None:
            return
        if line.meters:
            self.cme.say(
                f"{count(line.meters, 'meter is', 'meters are')} installed on {line.name}; remove them first"
            )
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._remove(line.name))

        port = line.transparent
        cut = f" Its transparent port {port.port} closes." if port else ""
        question = f"Take {line.name} ({line.url}) out of config.toml? The gateway disconnects from it.{cut}"
        self.cme.push_screen(ConfirmScreen(question, "Remove"), decided)

    async def _remove(self, name: str) -> None:
        if await self.cme.answer(self.cme.gateway.remove_line(name), "Removing"):
            self.cme.say(f"● {name} is taken out", "good")
        self.cme.pull()


def _row(line: LineView, now_ms: int, coarse: bool) -> Row:
    symbol, tone = SYMBOLS[line.state]
    return (
        (f"{symbol} {line.state.value}", tone),
        line.name,
        line.url,
        str(line.baud),
        str(line.meters),
        (age(line.since_ms, now_ms, coarse), "faint"),
    )


def _said(line: LineView, now_ms: int, coarse: bool) -> list[tuple[str, str]]:
    """Sentences about a line, with their tones."""
    said = [(f"{line.name}: {line.url}", "strong")]
    if line.reason:
        said.append((_reason(line, now_ms, coarse), "warn"))
    elif line.lost_ms is not None and now_ms - line.lost_ms < LOST_MS:
        said.append((f"! lost {age(line.lost_ms, now_ms, coarse)} ago: {line.lost_reason}", "warn"))
    for note in notes(line, now_ms, coarse):
        said.append((note, "") if isinstance(note, str) else note)
    if search := in_short(line, now_ms, coarse, 20):
        said.append(("".join(span if isinstance(span, str) else span[0] for span in search).strip(), ""))
    schedule = line.schedule
    if schedule is not None and schedule.fits:
        said.append(
            (f"readouts take {age(0, round(schedule.cost_s * 1000))} of every {schedule.interval}", "faint")
        )
    port = line.transparent
    if port is not None and port.listening and not port.client:
        said.append((f"transparent port {port.host}:{port.port}, nobody connected", "faint"))
    return said


def _reason(line: LineView, now_ms: int, coarse: bool) -> str:
    """Why a line is not up, and when it is tried again."""
    if line.next_try_ms is None:
        return line.reason
    again = until(line.next_try_ms, now_ms, coarse)
    return f"{line.reason} Next try {again if again == 'now' else f'in {again}'}."

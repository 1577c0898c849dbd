"""The form of an M-Bus line: where it is, how fast it is, and the port through which others reach it."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from textwrap import wrap
from typing import ClassVar

from textual.binding import Binding, BindingType

from cme_tui.meters.fields import line_fields, typed_values
from cme_tui.screens.form import FormScreen
from cme_tui.widgets.lines import Line
from cme_tui.wording import SYMBOLS, count
from core.config import LineConfig
from core.config_tables import LineChange


class LineScreen(FormScreen):
    """Adds a line, or changes one; what is saved holds at once."""

    TAB = "meters"
    HELP = (
        "One M-Bus line as config.toml describes it. Enter edits the field under the cursor, the arrow keys step "
        "through what is usual there; s saves all of it, and it holds at once.\n"
        "Connection is serial:/dev/ttyUSB0 for a converter on this machine, tcp:host:port for a level converter behind "
        "TCP, rfc2217:host:port for a serial server that can change its baud rate, sim: for a simulated line to try "
        "things with. Whether the line comes up shows in the list of lines, with the reason where it does not.\n"
        "The transparent port lets other M-Bus software use the line between readouts; it has no password."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *FormScreen.BINDINGS,
        Binding("s", "save", "Save", tooltip="save the line; it holds at once"),
    ]

    def __init__(self, line: LineConfig | None, taken: Collection[str]) -> None:
        """`taken` are the names of the lines that there are."""
        self._called = (
            line.name if line else next(n for i in itertools.count(1) if (n := f"line {i}") not in taken)
        )
        super().__init__(line_fields(line, self._called))
        self._line = line.name if line else None

    def heading(self) -> Line:
        if self._line is None:
            return ((" New line", "title"), ("  not saved yet", "faint"))
        return ((f" Line {self._line}", "title"),)

    def outcome(self) -> list[Line]:
        view = next((line for line in self.cme.current.lines if line.name == self._line), None)
        if view is None:
            return []
        symbol, tone = SYMBOLS[view.state]
        lines: list[Line] = [
            ((f" {symbol} {view.state.value}", tone), f"  {count(view.meters, 'meter')} on it")
        ]
        return lines + [((f"   {text}", "warn"),) for text in wrap(view.reason, max(20, self.size.width - 4))]

    def action_save(self) -> None:
        if not self.complete():
            return
        name = self.values["name"] or self._called
        texts = self.differing if self._line is not None else {**self.values, "name": name}
        if self._line is not None and not texts:
            self.cme.say("Nothing is changed; Esc goes back")
            return
        change = LineChange(self._line, typed_values(texts))
        self.run_worker(self.save_weighed(change, lambda: self._save(change, name)))

    async def _save(self, change: LineChange, name: str) -> None:
        future = self.cme.gateway.change_line(change.name, change.values)
        if not await self.cme.answer(future, "Saving"):
            self.refuse(future.exception())
            return
        self.saved()
        self.cme.pull()
        self.cme.say(f"● {name} is saved; its state stands in the list of lines", "good")

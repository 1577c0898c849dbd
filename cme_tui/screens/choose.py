"""A question that is answered by choosing from a list, which typing narrows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from cme_tui.widgets.table import Column, Table


class Option(NamedTuple):
    """One thing to choose."""

    value: int
    name: str
    note: str


class ChooseScreen(ModalScreen[int | None]):
    """Asks for one of the options; Enter gives the one under the cursor, Esc gives None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-8)", show=False),
        Binding("pagedown", "move(8)", show=False),
        Binding("escape", "leave", show=False),
    ]

    def __init__(self, question: str, options: Sequence[Option], value: int) -> None:
        """The cursor stands on the option with `value` at first."""
        super().__init__()
        self._question = question
        self._options = tuple(options)
        self._value = value
        self._found = self._options

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(self._question, markup=False)
            field = Input(placeholder="words to find", id="answer", compact=True, select_on_focus=False)
            field.cursor_blink = False
            yield field
            table = Table([Column("", 22), Column("", 0), Column("", 5, right=True)], id="options")
            table.can_focus = False
            yield table
            yield Static("Up Down and Enter choose, Esc leaves all as it is", id="ask-keys", markup=False)

    def on_mount(self) -> None:
        self._show()
        self._table.move_to(next((n for n, each in enumerate(self._options) if each.value == self._value), 0))
        self.query_one("#answer", Input).focus()

    def on_input_changed(self) -> None:
        self._show()
        self._table.move_to(0)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._found:
            self.dismiss(self._found[self._table.cursor].value)

    def on_table_chosen(self) -> None:
        self.dismiss(self._found[self._table.cursor].value)

    def action_move(self, by: int) -> None:
        self._table.move_to(self._table.cursor + by)

    def action_leave(self) -> None:
        self.dismiss(None)

    @property
    def _table(self) -> Table:
        return self.query_one("#options", Table)

    def _show(self) -> None:
        words = self.query_one("#answer", Input).value.casefold().split()
        found = self._found = tuple(
            each
            for each in self._options
            if all(word in f"{each.value} {each.name} {each.note}".casefold() for word in words)
        )
        self._table.show(
            [each.value for each in found],
            lambda index: (found[index].name, found[index].note, str(found[index].value)),
        )

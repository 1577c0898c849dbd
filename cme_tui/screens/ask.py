"""A question that is answered by typing; what is wrong with the answer stands below the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


def anything(text: str) -> str:
    """Takes every answer."""
    return ""


class AskScreen(ModalScreen[str | None]):
    """Asks for a line of text; Enter gives it, if nothing is wrong with it, Esc gives None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(
        self,
        question: str,
        value: str = "",
        *,
        wrong: Callable[[str], str] = anything,
        hidden: bool = False,
        means: Callable[[str], str] | None = None,
    ) -> None:
        """`wrong` says what is wrong with an answer, "" for nothing. A `hidden` answer is not shown.

        `means` says what the text that stands in the field comes to, while it is typed.
        """
        super().__init__()
        self._question = question
        self._value = value
        self._wrong = wrong
        self._hidden = hidden
        self._means = means

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(self._question, markup=False)
            field = Input(
                self._value, id="answer", compact=True, password=self._hidden, select_on_focus=False
            )
            field.cursor_blink = False
            yield field
            if self._means is not None:
                yield Static(self._means(self._value), id="means", markup=False)
            yield Static("", id="wrong", markup=False)
            yield Static("Enter takes it, Esc leaves all as it is", id="ask-keys", markup=False)

    def on_mount(self) -> None:
        field = self.query_one("#answer", Input)
        field.focus()
        field.cursor_position = len(self._value)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#wrong", Static).update("")
        if self._means is not None:
            self.query_one("#means", Static).update(self._means(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if sentence := self._wrong(event.value):
            self.query_one("#wrong", Static).update(f"✗ {sentence}")
        else:
            self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)

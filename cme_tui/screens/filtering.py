"""What the screens with a filter share: the field above the list, its keys, and the words that are typed into it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Table

FILTER = Binding(
    "slash", "filter", "Filter", key_display="/", tooltip="show only what has all of the words that you type"
)


class FilteredScreen(GatewayScreen):
    """A screen whose list shows only what has all `words`; FILTER belongs among its bindings.

    `body` yields `list_title`, then the list; `show` fills both.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "clear_filter", show=False)]

    def list_title(self) -> ComposeResult:
        """The row above the list: what it is with its count, and the field while there is a filter."""
        with Horizontal(id="list-title"):
            yield Lines(id="count")
            yield Lines(id="prompt")
            field = Input(placeholder="words to find", id="filter", compact=True, select_on_focus=False)
            field.cursor_blink = False
            field.display = False
            yield field

    def show_list_title(self, title: Line) -> None:
        """Show what the list is and how much of it there is."""
        self.query_one("#count", Lines).show([title])
        prompt = self.query_one("#prompt", Lines)
        prompt.display = self._field.display
        prompt.show([(" filter ", ("/", "strong"), " ")])

    @property
    def words(self) -> list[str]:
        """What has been typed, case folded; to be found in what is shown."""
        return self._field.value.casefold().split()

    @property
    def typing(self) -> bool:
        """Whether keys go into the field."""
        return self.focused is self._field

    @property
    def filtered(self) -> Table:
        """The list that the filter narrows."""
        return self.query_one(Table)

    @property
    def _field(self) -> Input:
        return self.query_one("#filter", Input)

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if not self.typing:
            return keys
        own = [("Enter", "Keep", "screen.keep_filter"), ("Esc", "Remove", "screen.clear_filter")]
        return [keys[0], *own, *keys[-2:]]

    def on_input_changed(self) -> None:
        self.update_view()

    def on_input_submitted(self) -> None:
        self.action_keep_filter()

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and self.typing:
            event.stop()
            self.action_keep_filter()

    def action_filter(self) -> None:
        self._field.display = True
        self._field.focus()

    def action_keep_filter(self) -> None:
        self.filtered.focus()
        self._field.display = bool(self._field.value)

    def action_clear_filter(self) -> None:
        """Remove the filter; where there is none, Esc goes back."""
        if not self._field.display:
            self.cme.action_leave()
        self._field.value = ""
        self.action_keep_filter()

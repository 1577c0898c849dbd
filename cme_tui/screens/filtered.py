"""What screens share whose list can be narrowed: the row with its title and the field, the keys of the field, and the
lines that say all about what is under the cursor."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Table

FILTER = Binding("slash", "filter", "Filter", key_display="/", tooltip="show only what has these words")

DETAIL_LINES: Final = 3  # the last one is the status line


class FilteredScreen(GatewayScreen):
    """A screen with a list that `/` narrows. Esc removes the filter before it leaves the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "clear_filter", show=False)]
    SPARE: ClassVar[tuple[str, ...]] = ("/",)  # keys that the footer leaves out first where they do not fit

    @property
    def filtered(self) -> Table:
        """The table that the filter narrows."""
        return self.query_one(Table)

    def detail(self) -> str:
        """What is under the cursor, in full."""
        return ""

    @property
    def words(self) -> list[str]:
        """What a row must contain to be shown, in lower case."""
        return self._field.value.casefold().split()

    @property
    def typing(self) -> bool:
        """Whether keys go into the field."""
        return self.focused is self._field

    @property
    def _field(self) -> Input:
        return self.query_one("#filter", Input)

    def list_title(self) -> ComposeResult:
        """The row above the list: what it is, and the field."""
        with Horizontal(id="list-title"):
            yield Lines(id="count")
            yield Lines(id="prompt")
            field = Input(placeholder="words to find", id="filter", compact=True, select_on_focus=False)
            field.cursor_blink = False
            field.display = False
            yield field

    def show_list_title(self, title: Line) -> None:
        """Bring that row up to date."""
        self.query_one("#count", Lines).show([title])
        prompt = self.query_one("#prompt", Lines)
        prompt.display = self._field.display
        prompt.show([(" filter ", ("/", "strong"), " ")])

    def show_detail(self) -> None:
        """Bring the lines below the lists up to date; the screen has yielded `Lines(id="detail")` for them."""
        self.query_one("#detail", Lines).show([(line,) for line in self._detail_lines()[:-1]])

    def hint(self) -> Line:
        return (self._detail_lines()[-1],)

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            own = [("Enter", "Keep", "screen.keep_filter"), ("Esc", "Remove", "screen.clear_filter")]
            return [keys[0], *own, *keys[-2:]]
        return keys

    def fitting(self, keys: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """As many of the keys as the footer has cells for."""
        return fitting(keys, self.size.width, self.SPARE)

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
        if not self._field.display:
            self.cme.action_leave()
            return
        self._field.value = ""
        self.action_keep_filter()

    def _detail_lines(self) -> list[str]:
        lines = [f" {text}" for text in wrap(self.detail(), max(20, self.size.width - 2))][:DETAIL_LINES]
        return lines + [" "] * (DETAIL_LINES - len(lines))

"""A table of fixed column widths for any number of rows: it renders what is visible and repaints what changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cme_tui.widgets.lines import TONES, Span, clip

Row = tuple[Span, ...]
"""One cell for each column of the table, shown or not."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, its width in cells (0: what the others leave, for one column), numbers to the right."""

    title: str
    width: int
    right: bool = False
    wide: bool = False  # only where the table has at least `WIDE` cells


WIDE = 100
"""Cells from which on the columns marked `wide` are shown."""


CONTEXT = 2
"""Rows that stay visible above and below the cursor."""


class Table(ScrollView, can_focus=True):
    """Rows with a cursor. The cursor stays on its key when rows come, go or move, and in view where it was."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *TONES,
        "table--heading",
        "table--cursor",
        "table--cursor-blurred",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, table: Table) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> Table:
            return self.table

    class Chosen(Moved):
        """A second click on a row."""

    def __init__(self, columns: Sequence[Column], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._keys: Sequence[Hashable] = ()
        self._row: Callable[[int], Row] = lambda index: ()
        self._cursor = 0
        self._at_top = True  # as far as anybody has moved it; rows can bring it there, too
        self._painted: dict[int, Row] = {}

    def show_columns(self, columns: Sequence[Column]) -> None:
        """Have other columns from now on; the rows of the next `show` have a cell for each of them."""
        if tuple(columns) != self._columns:
            self._columns = tuple(columns)
            self._painted.clear()
            self.refresh()

    @property
    def cursor(self) -> int:
        """Index of the row under the cursor; 0 in an empty table."""
        return self._cursor

    @property
    def key(self) -> Hashable | None:
        """Key of the row under the cursor; None in an empty table."""
        return self._keys[self._cursor] if self._keys else None

    @property
    def row_count(self) -> int:
        """Number of rows, visible or not."""
        return len(self._keys)

    def show(self, keys: Sequence[Hashable], row: Callable[[int], Row]) -> None:
        """Show one row for each of `keys`; `row(index)` is asked for visible rows only."""
        before, at, count = self.key, self._cursor, len(self._keys)
        in_view = 0 <= at - self.scroll_offset.y < self.size.height - 1
        moved = len(keys) != count or list(keys) != list(self._keys)
        self._keys, self._row = keys, row
        if moved and before is not None:
            try:
                self._cursor = list(keys).index(before)
            except ValueError:
                self._cursor = max(0, min(self._cursor, len(keys) - 1))
        if count != len(keys):
            self._resize_content()
            self.refresh()
        else:
            self._repaint_changes()
        if in_view and self._cursor != at:
            self._scroll_to_cursor()
        if self.key != before:
            self.post_message(self.Moved(self))

    def show_ordered(self, keys: Sequence[Hashable], row: Callable[[int], Row]) -> None:
        """Show rows of which the first ones matter most: a cursor that was put nowhere else stays on the first row."""
        self.show(keys, row)
        if self._at_top:
            self.move_to(0)

    def show_growing(self, keys: Sequence[Hashable], row: Callable[[int], Row]) -> None:
        """Show rows of which new ones come at the end; a cursor on the last row stays on the last row."""
        at_end = self._cursor >= self.row_count - 1
        self.show(keys, row)
        if at_end:
            self.move_to(len(keys) - 1)

    def text_of(self, index: int) -> str:
        """The row as one line, for tests and for copying."""
        return " ".join(cell if isinstance(cell, str) else cell[0] for cell in self._row(index))

    def move_to(self, index: int) -> None:
        """Put the cursor on a row and bring the row into view."""
        index = max(0, min(index, len(self._keys) - 1))
        self._at_top = index == 0
        if index == self._cursor:
            return
        old, self._cursor = self._cursor, index
        self._scroll_to_cursor()
        for changed in (old, index):
            self._refresh_row(changed)
        self.post_message(self.Moved(self))

    def action_move(self, by: int) -> None:
        self.move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        self.move_to(self._cursor + by * max(1, self.size.height - 2))

    def on_click(self, event: events.Click) -> None:
        index = event.y - 1 + self.scroll_offset.y
        if event.y < 1 or index >= len(self._keys):
            return
        if index == self._cursor and event.chain > 1:
            self.post_message(self.Chosen(self))
        self.move_to(index)

    def on_resize(self) -> None:
        self._resize_content()
        self._scroll_to_cursor()

    def on_focus(self) -> None:
        self._refresh_row(self._cursor)

    def on_blur(self) -> None:
        self._refresh_row(self._cursor)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        if y == 0:
            heading = base + self.get_component_rich_style("table--heading", partial=True)
            return self._strip(tuple(column.title for column in self._columns), width, heading)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._keys):
            return Strip.blank(width, base)
        row = self._row(index)
        self._painted[index] = row
        if index != self._cursor:
            return self._strip(row, width, base)
        name = "table--cursor" if self.has_focus else "table--cursor-blurred"
        return self._strip(row, width, base + self.get_component_rich_style(name, partial=True), plain=True)

    def _strip(self, row: Row, width: int, base: Style, plain: bool = False) -> Strip:
        segments = [Segment(" ", base)]
        for column, cells, cell in self._widths(row, width):
            text, tone = (cell, "") if isinstance(cell, str) else cell
            style = base
            if tone and not plain:
                style = base + self.get_component_rich_style(f"tone--{tone}", partial=True)
            segments.append(Segment(clip(text, cells, column.right), style))
            segments.append(Segment(" ", base))
        return Strip(segments).adjust_cell_length(width, base)

    def _widths(self, row: Row, width: int) -> list[tuple[Column, int, Span]]:
        shown = [(c, s) for c, s in zip(self._columns, row, strict=False) if width >= WIDE or not c.wide]
        rest = max(4, width - 1 - sum(column.width + 1 for column, _ in shown))
        return [(column, column.width or rest, cell) for column, cell in shown]

    def _repaint_changes(self) -> None:
        top = self.scroll_offset.y
        for index in range(top, min(len(self._keys), top + self.size.height - 1)):
            if self._painted.get(index) != self._row(index):
                self._refresh_row(index)

    def _refresh_row(self, index: int) -> None:
        y = index - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _resize_content(self) -> None:
        self._painted.clear()
        self._cursor = max(0, min(self._cursor, len(self._keys) - 1))
        self.virtual_size = Size(self.size.width, len(self._keys) + 1)

    def _scroll_to_cursor(self) -> None:
        visible = max(1, self.size.height - 1)
        around = CONTEXT if visible > 2 * CONTEXT else 0
        top = self.scroll_offset.y
        if self._cursor < top + around:
            self.scroll_to(y=max(0, self._cursor - around), animate=False, immediate=True)
        elif self._cursor >= top + visible - around:
            self.scroll_to(y=self._cursor + around - visible + 1, animate=False, immediate=True)

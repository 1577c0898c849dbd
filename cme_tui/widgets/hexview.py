"""The bytes of a telegram, eight or sixteen a row, with the bytes of one record and of one part lit up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

WIDE = 54
"""Cells that a row of sixteen bytes takes; in less than that, a row has eight."""


class HexView(ScrollView, can_focus=False):
    """Shows `frame`; `light` says which bytes stand out, and scrolls them into view."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"hex--offset", "hex--record", "hex--part"}

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._frame = b""
        self._hidden: tuple[range, ...] = ()
        self._record = range(0)
        self._part = range(0)

    @property
    def bytes_per_row(self) -> int:
        """How many bytes a row shows at the present width."""
        return 16 if self.size.width >= WIDE else 8

    @property
    def lit(self) -> tuple[range, range]:
        """Offsets of the record's bytes and of the part's bytes that stand out."""
        return self._record, self._part

    def show(self, frame: bytes, hidden: Sequence[range] = ()) -> None:
        """Show another telegram; bytes that are `hidden` are asterisks."""
        if (frame, tuple(hidden)) != (self._frame, self._hidden):
            self._frame, self._hidden = frame, tuple(hidden)
            self._resize_content()
            self.refresh()

    def light(self, record: range, part: range) -> None:
        """Make the bytes of `record` stand out, and those of `part` more so."""
        if (record, part) == (self._record, self._part):
            return
        touched = {offset // self.bytes_per_row for span in (*self.lit, record, part) for offset in span}
        self._record, self._part = record, part
        anchor = part or record
        if anchor:
            self._bring_into_view(anchor)
        for row in touched:
            y = row - self.scroll_offset.y
            if 0 <= y < self.size.height:
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        self._resize_content()
        anchor = self._part or self._record
        if anchor:
            self._bring_into_view(anchor)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        start = (y + self.scroll_offset.y) * self.bytes_per_row
        if start >= len(self._frame):
            return Strip.blank(width, base)
        record = base + self.get_component_rich_style("hex--record", partial=True)
        part = base + self.get_component_rich_style("hex--part", partial=True)
        offset = base + self.get_component_rich_style("hex--offset", partial=True)

        def style_of(index: int) -> int:
            return 2 if index in self._part else 1 if index in self._record else 0

        styles = (base, record, part)
        segments = [Segment(f" {start:04x} ", offset)]
        row = self._frame[start : start + self.bytes_per_row]
        for index, byte in enumerate(row, start):
            joined = style_of(index) if index > start and style_of(index - 1) == style_of(index) else 0
            segments.append(Segment(" ", styles[joined]))
            text = "**" if any(index in span for span in self._hidden) else f"{byte:02x}"
            segments.append(Segment(text, styles[style_of(index)]))
        return Strip(segments).adjust_cell_length(width, base)

    def _bring_into_view(self, span: range) -> None:
        first, last = span[0] // self.bytes_per_row, span[-1] // self.bytes_per_row
        top, visible = self.scroll_offset.y, max(1, self.size.height)
        if first < top or last - first >= visible:
            self.scroll_to(y=first, animate=False, immediate=True)
        elif last >= top + visible:
            self.scroll_to(y=last - visible + 1, animate=False, immediate=True)

    def _resize_content(self) -> None:
        rows = -(-len(self._frame) // self.bytes_per_row)
        self.virtual_size = Size(self.size.width, rows)

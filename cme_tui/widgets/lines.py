"""A block of text lines that repaints only the lines that changed, with tones instead of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

Span = str | tuple[str, str]
"""A piece of a line: text, or text with its tone ("good", "warn", "bad", "faint", "strong", "title")."""

Line = tuple[Span, ...]
"""One line of a block."""

TONES = frozenset({"tone--good", "tone--warn", "tone--bad", "tone--faint", "tone--strong", "tone--title"})


def clip(text: str, width: int, right: bool = False) -> str:
    """`text` in exactly `width` cells; what does not fit ends in an ellipsis."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)
    return " " * (width - length) + text if right else text + " " * (width - length)


def flow(spans: Sequence[Span], width: int) -> list[Line]:
    """Spans one behind the other, each that has no more room of `width` cells at the begin of a next line."""
    lines: list[list[Span]] = [[]]
    left = width
    for span in spans:
        cells = cell_len(span if isinstance(span, str) else span[0])
        if cells > left and lines[-1]:
            lines.append([])
            left = width
        lines[-1].append(span)
        left -= cells
    return [tuple(line) for line in lines]


class Lines(Widget):
    """Lines of text. `show` takes the whole block; unchanged lines are not painted again."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONES)
    DEFAULT_CSS = """
    Lines { height: auto; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._lines: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """What is shown, without tones."""
        return "\n".join("".join(s if isinstance(s, str) else s[0] for s in line) for line in self._lines)

    def show(self, lines: Sequence[Line]) -> None:
        """Replace the block by `lines`."""
        new = tuple(lines)
        old, self._lines = self._lines, new
        if len(old) != len(new):
            self.refresh(layout=True)
            return
        for y, (before, after) in enumerate(zip(old, new, strict=True)):
            if before != after:
                self.refresh(Region(0, y, self.size.width, 1))

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        if y >= len(self._lines):
            return Strip.blank(width, base)
        segments = []
        left = width
        for span in self._lines[y]:
            text, tone = (span, "") if isinstance(span, str) else span
            style = base + self._tone(tone) if tone else base
            if cell_len(text) > left:
                text = clip(text, left)
            left -= cell_len(text)
            segments.append(Segment(text, style))
            if left <= 0:
                break
        return Strip(segments).adjust_cell_length(width, base)

    def _tone(self, tone: str) -> Style:
        return self.get_component_rich_style(f"tone--{tone}", partial=True)

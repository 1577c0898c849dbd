"""The first and the last row of every screen: where one is, and which keys there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from cme_tui.widgets.lines import clip
from cme_tui.widgets.table import WIDE


class TitleBar(Widget):
    """Product, the screens with their keys (the present one marked), and the gateway's name to the right.

    On a narrow terminal the product's name gives way to the screens.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bar--active", "bar--key"}
    TABS: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("overview", "F2", "Overview"),
        ("settings", "F3", "Settings"),
        ("mapping", "F4", "OBIS"),
        ("push", "F5", "Push"),
        ("meters", "F6", "Meters"),
        ("events", "F7", "Events"),
        ("dlms", "F8", "DLMS"),
    )

    def __init__(self, active: str) -> None:
        super().__init__()
        self._active = active
        self._right = ""

    def show(self, right: str) -> None:
        """What stands at the right end."""
        if right != self._right:
            self._right = right
            self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        key = base + self.get_component_rich_style("bar--key", partial=True)
        active = base + self.get_component_rich_style("bar--active", partial=True)
        segments = [Segment(self._head, key)]
        for name, shortcut, label in self.TABS:
            marked = name == self._active
            segments += [
                Segment(" ", base),
                Segment(f"{shortcut} ", active if marked else key),
                Segment(label, active if marked else base),
            ]
        left = sum(segment.cell_length for segment in segments)
        room = max(0, self.size.width - left - 2)
        segments.append(Segment(f" {clip(self._right, room, right=True)}", base))
        return Strip(segments).adjust_cell_length(self.size.width, base)

    @property
    def _head(self) -> str:
        return " cme-tui " if self.size.width >= WIDE else ""

    async def on_click(self, event: events.Click) -> None:
        x = len(self._head)
        for name, shortcut, label in self.TABS:
            x += len(f" {shortcut} {label}")
            if event.x < x:
                if event.x >= len(self._head):
                    await self.run_action(f"app.go('{name}')")
                return


Key = tuple[str, str, str]
"""As printed, what it does, action."""


def fitting(keys: Sequence[Key], width: int, gives_way: Sequence[str]) -> list[Key]:
    """`keys` without as many of those in `gives_way`, in that order, as a row of `width` cells has no room for."""
    shown = list(keys)
    for gone in gives_way:
        if sum(len(key) + len(label) + 3 for key, label, _ in shown) <= width:
            break
        shown = [key for key in shown if key[0] != gone]
    return shown


class KeyBar(Widget):
    """The keys of a screen: (key as printed, what it does, action). Each works with the mouse, too."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bar--key"}

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[tuple[str, str, str], ...] = ()

    @property
    def keys(self) -> tuple[tuple[str, str, str], ...]:
        """What is offered now."""
        return self._keys

    def show(self, keys: Sequence[tuple[str, str, str]]) -> None:
        """Offer `keys`."""
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        key_style: Style = base + self.get_component_rich_style("bar--key", partial=True)
        segments = []
        for key, label, _ in self._keys:
            segments += [Segment(f" {key}", key_style), Segment(f" {label} ", base)]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    async def on_click(self, event: events.Click) -> None:
        x = 0
        for key, label, action in self._keys:
            x += len(f" {key} {label} ")
            if event.x < x:
                await self.run_action(action)
                return

"""Choosing a file: a path that can be typed, with what is in its folder below it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import count, moment
from core.snapshot import Snapshot

PARENT: Final = ".."


@dataclass(frozen=True, slots=True)
class Item:
    """A folder, or a file that may be chosen."""

    name: str
    size: int | None  # bytes; None for a folder
    changed_ms: int | None


class PickFileScreen(GatewayScreen):
    """The path is the one field, and keys work on it and on the list at once: there is no focus to be moved."""

    HELP = (
        "A file is chosen by its path. The list shows the folders and the files of the folder that stands in the path, "
        "those whose names begin with what is typed after the last /. Up and Down choose one of them, Enter opens the "
        "folder or takes the file, Tab completes the name. ~/ is the home folder; a USB stick is mostly in /media or "
        "/run/media.\n"
        "A file that cannot be used is refused with the reason and its place in the file, and nothing has changed."
    )
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding(
            "tab",
            "complete",
            "Complete",
            key_display="Tab",
            tooltip="write the name as far as it is the only one",
        ),
        Binding(
            "shift+tab",
            "parent",
            key_display="Shift+Tab",
            tooltip="the folder above",
            show=False,
        ),
    ]

    def __init__(
        self, title: str, tab: str, folder: Path, suffix: str, take: Callable[[Path], Awaitable[str]]
    ) -> None:
        """`take` is called with the chosen file and says why it is refused, "" for nothing."""
        super().__init__()
        self._title = title
        self._tab = tab
        self._start = folder
        self._suffix = suffix
        self._take = take
        self._listed: Path | None = None  # folder of `_items`
        self._items: list[Item] = []
        self._shown: list[Item] = []
        self._narrowed: object = None  # for what `_shown` was made
        self._waiting: list[Callable[[], None]] = []  # to be done when the folder has been read
        self._problem = ""  # why the folder cannot be listed, or the file was refused

    @property
    def tab(self) -> str:
        return self._tab

    def body(self) -> ComposeResult:
        yield Lines(id="pick-title")
        with Horizontal(id="pick-path"):
            yield Lines(id="pick-prompt")
            field = Input(_with_slash(self._start), id="path", compact=True, select_on_focus=False)
            field.cursor_blink = False
            yield field
        table = Table(
            [Column("Name", 0), Column("Bytes", 9, right=True), Column("Changed", 19)],
            id="pick-list",
        )
        table.can_focus = False
        yield table
        yield Lines(id="refused")

    def on_mount(self) -> None:
        self._field.cursor_position = len(self._field.value)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self.query_one("#pick-title", Lines).show([((f" {self._title}", "title"),)])
        self.query_one("#pick-prompt", Lines).show([(" path ",)])
        shown = self._shown
        self.query_one("#pick-list", Table).show(
            [(self._listed, item.name) for item in shown], lambda index: _row(shown[index])
        )
        width = max(20, self.size.width - 2)
        self.query_one("#refused", Lines).show(
            [((f" {text}", "bad"),) for text in wrap(f"✗ {self._problem}", width)] if self._problem else []
        )

    def hint(self) -> Line:
        if self._listed is None or self._problem:
            return ()
        shown = [item for item in self._shown if item.name != PARENT]
        files = sum(item.size is not None for item in shown)
        folders = count(len(shown) - files, "folder")
        return ((f" {folders} and {files} *{self._suffix} in {self._listed}", "faint"),)

    def offered(self) -> list[tuple[str, str, str]]:
        first, *rest = super().offered()
        return [first, ("Enter", "Open", "screen.enter"), *rest]

    def on_input_changed(self) -> None:
        self._problem = ""
        self._with_list(self.update_view)

    def on_input_submitted(self) -> None:
        self.action_enter()

    def on_table_chosen(self) -> None:
        self.action_enter()

    def action_move(self, by: int) -> None:
        self._moved(lambda table: table.action_move(by))

    def action_page(self, by: int) -> None:
        self._moved(lambda table: table.action_page(by))

    def action_parent(self) -> None:
        folder, _ = self._typed()
        self._write(_with_slash(folder.parent))

    def action_complete(self) -> None:
        self._with_list(self._complete)

    def action_enter(self) -> None:
        self._with_list(self._enter)

    def _with_list(self, do: Callable[[], None]) -> None:
        """Do something with the list for what is typed by now: keys may come faster than folders are read."""
        if self._typed()[0] == self._listed:
            self._narrow()
            do()
            return
        self._waiting.append(do)
        if len(self._waiting) == 1:
            self.run_worker(self._list())

    def _complete(self) -> None:
        names = [item.name for item in self._shown if item.name != PARENT]
        folder, begin = self._typed()
        common = os.path.commonprefix(names)  # noqa: RUF071  # of the characters
        if len(names) == 1 and self._shown[-1].size is None:
            self._write(_with_slash(folder / common))
        elif len(common) > len(begin):
            self._write(f"{_with_slash(folder)}{common}")

    def _enter(self) -> None:
        cursor = self.query_one("#pick-list", Table).cursor
        folder, begin = self._typed()
        item = self._shown[cursor] if cursor < len(self._shown) else None
        if item is not None and item.name == PARENT:
            self.action_parent()
        elif item is not None and item.size is None:
            self._write(_with_slash(folder / item.name))
        else:
            name = item.name if item else begin
            self.run_worker(self._choose(folder / name))

    def _moved(self, move: Callable[[Table], None]) -> None:
        self._problem = ""
        move(self.query_one("#pick-list", Table))
        self.update_view()

    @property
    def _field(self) -> Input:
        return self.query_one("#path", Input)

    def _typed(self) -> tuple[Path, str]:
        """The folder in the path, and the begin of a name after it."""
        folder, slash, begin = self._field.value.rpartition("/")
        return typed_path(folder or slash, self._start), begin

    def _write(self, text: str) -> None:
        self._field.value = text
        self._field.cursor_position = len(text)

    async def _list(self) -> None:
        while (folder := self._typed()[0]) != self._listed:
            try:
                self._items, self._problem = await asyncio.to_thread(_items, folder, self._suffix), ""
            except OSError as error:
                self._items, self._problem = [], f"{folder}: cannot be opened: {error.strerror or error}"
            self._listed = folder
        waiting, self._waiting = self._waiting, []
        if self._problem:
            self._narrow()
        else:
            for do in waiting:
                self._with_list(do)

    def _narrow(self) -> None:
        """Show what begins with what is typed; the cursor stays where it is, or goes to what can be wanted first."""
        _, begin = self._typed()
        hidden = begin.startswith(".")
        found = [
            item
            for item in self._items
            if item.name.casefold().startswith(begin.casefold()) and (hidden or not item.name.startswith("."))
        ]
        above = [] if begin or self._listed == Path("/") else [Item(PARENT, None, None)]
        narrowed = (self._listed, [*above, *found], begin)
        if narrowed == self._narrowed:
            return
        self._narrowed, self._shown = narrowed, narrowed[1]
        self.update_view()
        exact = next((place for place, item in enumerate(self._shown) if item.name == begin), None)
        # Not the folder above: Enter must not lead up again.
        first = len(above) if found else 0
        self.query_one("#pick-list", Table).move_to(first if exact is None else exact)

    async def _choose(self, path: Path) -> None:
        refused = await self._take(path)
        if refused:
            self._problem = refused
            self.update_view()


def typed_path(text: str, folder: Path) -> Path:
    """The path that somebody typed: ~/ is the home folder, and one without / at its begin is below `folder`."""
    # Not expanduser: ~nobody may be the name of a file.
    if text == "~" or text.startswith("~/"):
        text = f"{Path.home()}{text[1:]}"
    return folder / text


def _with_slash(folder: Path) -> str:
    text = str(folder)
    return text if text.endswith("/") else f"{text}/"


def _items(folder: Path, suffix: str) -> list[Item]:
    """Folders, then files with the suffix, by name. Raises OSError."""
    found: list[Item] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            # What cannot be typed or shown cannot be chosen.
            if not entry.name.isprintable():
                continue
            try:
                told = entry.stat()
                if entry.is_dir():
                    found.append(Item(entry.name, None, None))
                elif entry.is_file() and entry.name.endswith(suffix):
                    found.append(Item(entry.name, told.st_size, told.st_mtime_ns // 1_000_000))
            except OSError:
                continue  # a link to nowhere
    return sorted(found, key=lambda item: (item.size is not None, item.name.casefold()))


def _row(item: Item) -> Row:
    if item.size is None:
        return ((f"{item.name}/", "strong"), "", "")
    return (item.name, str(item.size), (moment(item.changed_ms), "faint"))

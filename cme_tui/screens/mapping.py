"""F4: the active mapping files, and the meter types in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.mapping_rows import about_file, about_type, file_row, names, type_row
from cme_tui.polled import Polled
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.coach import CoachScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.pick import PickFileScreen, typed_path
from cme_tui.screens.preview import PreviewScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Table
from cme_tui.wording import count
from core.errors import CmeError
from core.mapping.coach import template
from core.mapping.library import read_mapping
from core.mapping.model import MappingError, MappingFile, dump
from core.mapping.workshop import ActiveMapping, Mappings, TypeInUse
from core.snapshot import Snapshot
from core.statedir import write_atomically

ASK_AGAIN_SECONDS: Final = 2.0
"""Somebody else may change mappings, and a readout may bring a type: how often the lists are asked for."""

MOST_TYPES: Final = 4  # that a question names
NOTHING: Final = Mappings((), (), (), "")


class MappingScreen(FilteredScreen):
    """Active mapping files above, meter types below."""

    TAB = "mapping"
    AUTO_FOCUS = ""
    HELP = (
        "A mapping file says which OBIS code shows which M-Bus value of a meter. Above, the active files: the meters "
        "that they are for (medium, manufacturer, version), how many OBIS codes they have, and how many meters use "
        "each. Of several that fit a meter, the one counts that names its version, then its manufacturer, then its "
        "medium alone. ✗ is a file in the folder that cannot be used; the lines below say where it is wrong.\n"
        "Below, the types of the meters that are installed. Enter opens the coach, which proposes an OBIS code for "
        "every field of that type; e writes a template file with them, to be edited elsewhere. A type that was not "
        "read yet has no fields; r reads its meters now.\n"
        "a adds a file, in the place of the active one for the same meters if there is one; before anything is saved "
        "you see what would change for each meter. u takes the last change back. Clients stay connected."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "open", "Look", key_display="Enter", tooltip="look at the file; the coach for a type"
        ),
        Binding("c", "coach", show=False, tooltip="the coach for the type under the cursor"),
        Binding("a", "add", "Add", tooltip="add a mapping file; you see first what it changes"),
        Binding("e", "export", "Export", tooltip="write the file, or a template for the type, to a path"),
        Binding("d,delete", "delete", "Delete", key_display="d", tooltip="delete the file; asks first"),
        Binding("r", "read", "Read", tooltip="read the meters of a type that has no fields yet"),
        Binding("u", "undo", "Undo", tooltip="take back the last change of the active files; asks first"),
        Binding(
            "tab",
            "other_side",
            "Types",
            key_display="Tab",
            tooltip="from the files to the types, and back",
            priority=True,
        ),
        Binding("shift+tab", "other_side", show=False, priority=True),
        FILTER,
    ]
    SPARE = ("/", "Enter")

    def __init__(self) -> None:
        super().__init__()
        self._lists: Polled[Mappings] = Polled(lambda: self.cme.gateway.mappings(), every=ASK_AGAIN_SECONDS)
        self._files: list[ActiveMapping | MappingError] = []
        self._types: list[TypeInUse] = []
        self._on_types = False
        self._reading = False
        self._folder = Path.home()

    def body(self) -> ComposeResult:
        yield from self.list_title()
        yield Table(
            [
                Column("", 1),
                Column("Type", 19),
                Column("Maker", 5),
                Column("Version", 7, right=True),
                Column("Codes", 5, right=True),
                Column("Meters", 6, right=True),
                Column("File", 0),
            ],
            id="active",
        )
        yield Lines(id="types-title")
        yield Table(
            [
                Column("", 1),
                Column("Type", 19),
                Column("Maker", 5),
                Column("Version", 7, right=True),
                Column("Meters", 6, right=True),
                Column("Template", 8),
                Column("Mapping", 0),
            ],
            id="types",
        )
        yield Lines(id="detail")

    def on_mount(self) -> None:
        self.filtered.focus()

    def on_screen_resume(self) -> None:
        self._lists.again()

    @property
    def filtered(self) -> Table:
        return self.query_one("#types" if self._on_types else "#active", Table)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self._lists.look()
        known, words = self._known, self.words
        every: tuple[ActiveMapping | MappingError, ...] = (*known.problems, *known.active)
        files = self._files = [file for file in every if all(w in _haystack(file) for w in words)]
        types = self._types = [each for each in known.types if all(w in _haystack(each) for w in words)]
        self.query_one("#active", Table).show(
            [_key(file) for file in files], lambda index: file_row(files[index])
        )
        self.query_one("#types", Table).show(
            [each.kind for each in types], lambda index: type_row(types[index])
        )
        self.show_list_title(self._files_title())
        self.query_one("#types-title", Lines).show([self._types_title()])
        self.show_detail()

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        file, kind = self._file(), self._type()
        missing = set() if self._known.last_change else {"u"}
        missing |= {"d"} if self._on_types else {"r"}
        labels = {"Tab": "Files", "Enter": "Coach"} if self._on_types else {}
        if not self._on_types:
            missing |= {"e"} if isinstance(file, MappingError) else set()
            missing |= {"Enter"} if isinstance(file, MappingError) else set()
            missing |= {"Enter", "e", "d"} if file is None else set()
        elif kind is None or kind.reason:
            missing |= {"Enter", "e"} if kind else {"Enter", "e", "r"}
        else:
            missing |= {"r"}
        return self.fitting(
            [(key, labels.get(key, label), action) for key, label, action in keys if key not in missing]
        )

    def on_descendant_focus(self) -> None:
        if not self.typing:
            self._on_types = self.focused is self.query_one("#types", Table)

    def on_table_moved(self) -> None:
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_other_side(self) -> None:
        self._on_types = not self._on_types
        self.filtered.focus()

    def action_open(self) -> None:
        file = self._file()
        if self._on_types:
            self.action_coach()
        elif isinstance(file, ActiveMapping):
            self.cme.push_screen(PreviewScreen(file.file))

    def action_coach(self) -> None:
        kind = self._type()
        if self._on_types and kind is not None and kind.kind is not None and not kind.reason:
            self.run_worker(self._coach(kind.kind.label))

    def action_add(self) -> None:
        picker = PickFileScreen(
            "Add a mapping file", self.TAB, self._folder, ".json", lambda path: self._look_at(path, picker)
        )
        self.cme.push_screen(picker)

    def action_export(self) -> None:
        file, kind = self._file(), self._type()
        if self._on_types and kind is not None and kind.kind is not None and not kind.reason:
            self.run_worker(self._template(kind.kind.label))
        elif not self._on_types and isinstance(file, ActiveMapping):
            self._ask_path(file.file)

    def action_delete(self) -> None:
        file = self._file()
        if file is not None and not self._on_types:
            name = file.file.name if isinstance(file, ActiveMapping) else file.file
            self._ask_first(self._loss(name), "Delete", lambda: self._delete(name))

    def action_read(self) -> None:
        kind = self._type()
        if self._on_types and kind is not None and kind.reason and not self._reading:
            self.run_worker(self._read(kind.meters))

    def action_undo(self) -> None:
        change = self._known.last_change
        if change:
            question = f"Take back the last change? {change}; meters show again what they showed before it."
            self._ask_first(question, "Take back", lambda: self._undo(change))
        else:
            self.cme.say("There is nothing to take back: no mapping was changed since the last undo.")

    async def _coach(self, label: str) -> None:
        future = self.cme.gateway.coach(label)
        if await self.cme.answer(future, f"Looking at the fields of {label}") and self.cme.screen is self:
            self.cme.push_screen(CoachScreen(future.result()))

    async def _look_at(self, path: Path, picker: PickFileScreen) -> str:
        """Show what a file would change; why it is refused, "" where it is not."""
        try:
            file = await asyncio.to_thread(read_mapping, path)
        except MappingError as error:
            return str(error)
        self._folder = path.parent

        def saved() -> None:
            if self.cme.screen is picker:
                self.cme.pop_screen()

        if self.cme.screen is picker:
            self.cme.push_screen(PreviewScreen(file, saved))
        return ""

    async def _template(self, label: str) -> None:
        future = self.cme.gateway.coach(label)
        if await self.cme.answer(future, f"Looking at the fields of {label}") and self.cme.screen is self:
            coaching = future.result()
            self._ask_path(template(coaching.proposals, coaching.kind))

    def _ask_path(self, file: MappingFile, answer: str = "", refused: str = "") -> None:
        question = f"Write {file.name} ({file.label}) to which file?"
        told = f"{question}\n✗ {refused}" if refused else question

        def given(text: str | None) -> None:
            if text is not None:
                self.run_worker(self._export(file, text))

        asking = AskScreen(told, answer or str(self._folder / file.name), wrong=_no_path)
        self.cme.push_screen(asking, given)

    async def _export(self, file: MappingFile, answer: str, *, replace: bool = False) -> None:
        """Write a file; where that cannot be, or something is there already, ask again."""
        path = typed_path(answer.strip(), self._folder)
        try:
            path = await asyncio.to_thread(_target, path, file.name)
            if not replace and await asyncio.to_thread(path.exists):
                self._ask_first(
                    f"{path} exists. Its content is lost if it is replaced.",
                    "Replace",
                    lambda: self._export(file, answer, replace=True),
                    lambda: self._ask_path(file, answer, f"{path} exists; give another name"),
                )
                return
            await asyncio.to_thread(write_atomically, path, dump(file).encode(), 0o644)
        except (OSError, CmeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._ask_path(file, answer, f"{path}: {reason}")
            return
        self._folder = path.parent
        self.cme.say(f"● {file.name} is written to {path}", "good")

    async def _delete(self, name: str) -> None:
        if await self.cme.answer(self.cme.gateway.remove_mapping(name), f"Deleting {name}"):
            self._changed(f"● {name} is deleted; u takes it back")

    async def _undo(self, change: str) -> None:
        asked = self.cme.gateway.mappings()
        if not await self.cme.answer(asked, "Looking at the last change"):
            return
        if asked.result().last_change != change:
            self.cme.say(
                "! Nothing is taken back: somebody else changed mappings meanwhile; see above", "warn"
            )
            return
        if await self.cme.answer(self.cme.gateway.undo_mapping(), "Taking back"):
            self._changed(f"● Taken back: {change}")

    def _ask_first(
        self,
        question: str,
        yes: str,
        do: Callable[[], Coroutine[None, None, None]],
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        def decided(answer: bool | None) -> None:
            if answer:
                self.run_worker(do())
            else:
                otherwise()

        self.cme.push_screen(ConfirmScreen(question, yes), decided)

    async def _read(self, names: Sequence[str]) -> None:
        """Read meters one after the other, as long as this screen is looked at."""
        self._reading = True
        try:
            for meter in self.cme.current.meters:
                if meter.name in names and self.is_current:
                    await self.cme.read_meter(meter.key)
        finally:
            self._reading = False
        self._lists.again()
        self.update_view()

    def _changed(self, sentence: str) -> None:
        self.cme.say(sentence, "good")
        self._lists.again()
        self.cme.pull()

    @property
    def _known(self) -> Mappings:
        return self._lists.value or NOTHING

    def _file(self) -> ActiveMapping | MappingError | None:
        cursor = self.query_one("#active", Table).cursor
        return self._files[cursor] if cursor < len(self._files) else None

    def _type(self) -> TypeInUse | None:
        cursor = self.query_one("#types", Table).cursor
        return self._types[cursor] if cursor < len(self._types) else None

    def _files_title(self) -> Line:
        if self._lists.value is None:
            return ((" Active mappings", "title"), ("  looking ...", "faint"))
        total, bad = len(self._known.active), len(self._known.problems)
        title: Line = ((f" Active mappings {total}", "title"),)
        if bad:
            title = (*title, (f"  ✗ {count(bad, 'file')} cannot be used", "bad"))
        if self._known.last_change:
            title = (*title, (f"  u takes back: {self._known.last_change}", "faint"))
        return title if total or bad else (*title, "  none; a adds a file")

    def _types_title(self) -> Line:
        known = self._known
        title: Line = ((f" Meter types in use {len([each for each in known.types if each.kind])}", "title"),)
        return (
            title if known.types else (*title, "  no meter is installed; the Overview (F2) says what to do")
        )

    def detail(self) -> str:
        file, kind = self._file(), self._type()
        if self._on_types:
            return about_type(kind) if kind else ""
        if isinstance(file, MappingError):
            kept = next((each for each in self._known.active if each.file.name == file.file), None)
            return f"✗ {file}{'. What it said before is still used.' if kept else ''}"
        return about_file(file) if file else ""

    def _loss(self, name: str) -> str:
        """The question before a file is deleted: what its meters lose, and which file serves them then."""
        known = self._known
        active = next((each for each in known.active if each.file.name == name), None)
        if active is None:
            return f"Delete {name}? It cannot be used as it is, so no meter loses anything."
        served = [each for each in known.types if each.kind and each.mapping == active.file.label]
        said = [f"Delete {name} ({active.file.label})?", *map(_without_file, served[:MOST_TYPES])]
        if len(served) > MOST_TYPES:
            said.append(
                f"{count(len(served) - MOST_TYPES, 'other type uses', 'other types use')} it as well."
            )
        return " ".join(said if served else [*said, "No meter uses it."])


def _without_file(served: TypeInUse) -> str:
    then = f"show what {served.fallback} says" if served.fallback else "lose all values"
    return f"{names(served.meters)} ({served.kind.label if served.kind else 'not read yet'}) will {then}."


def _no_path(text: str) -> str:
    return "" if text.strip() else "a path, as in /media/stick/water.json"


def _target(path: Path, name: str) -> Path:
    """Where to write: the path, or the file with this name in the folder that it is. Raises `CmeError`."""
    path = path / name if path.is_dir() else path
    if path.exists() and not path.is_file():
        raise CmeError("is no file")
    return path


def _key(file: ActiveMapping | MappingError) -> tuple[str, str]:
    return ("file", file.file.name) if isinstance(file, ActiveMapping) else ("problem", str(file))


def _haystack(item: ActiveMapping | MappingError | TypeInUse) -> str:
    if isinstance(item, ActiveMapping):
        return f"{item.file.name} {item.file.label} {' '.join(item.meters)}".casefold()
    if isinstance(item, MappingError):
        return str(item).casefold()
    return f"{item.kind.label if item.kind else 'not read yet'} {item.mapping} {' '.join(item.meters)}".casefold()

"""A mapping file before it is saved: what is doubtful about it, and what each meter shows now and would show then."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.mapping_rows import (
    CHANGE_COLUMNS,
    ENTRY_COLUMNS,
    VALUE_COLUMNS,
    change_row,
    change_text,
    effect,
    entry_rows,
    entry_text,
    finding_row,
    finding_text,
    matrix_cell,
    users,
    value_row,
)
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Table
from cme_tui.wording import count, obis
from core.mapping.dryrun import MeterChange, ObjectChange
from core.mapping.model import MappingFile
from core.mapping.workshop import Preview
from core.snapshot import Snapshot

VALUES, MATRIX, ENTRIES = "values", "matrix", "entries"
VIEWS: Final = (VALUES, MATRIX, ENTRIES)
"""What `v` steps through; each is the id of its table."""

CODE_COLUMN: Final = Column("OBIS code", 14)
METER_WIDTH: Final = 14  # cells of a meter in the matrix


class PreviewScreen(FilteredScreen):
    """Looks at a mapping file with the meters that would use it; nothing is saved before `s`."""

    TAB = "mapping"
    AUTO_FOCUS = ""
    HELP = (
        "A mapping file, with the last readouts of the meters that would use it; nothing has changed yet.\n"
        "At the top, what is doubtful: a sentence with its place in the JSON of the file. The file works all the same, "
        "but perhaps not as its author thinks. Tab goes there, and the lines below have the whole sentence.\n"
        "Then what clients get from each meter, now and then: + new values, ! other ones, ✗ those that are gone. "
        "v steps to the matrix of OBIS codes and meters (- where the meter has no such value, default where clients "
        "get the default of the entry), and to the entries of the file.\n"
        "s saves it: it is used at once, clients stay connected, and the last change can be taken back."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "tab", "other_side", "Up", key_display="Tab", tooltip="to the doubts and back", priority=True
        ),
        Binding("shift+tab", "other_side", show=False, priority=True),
        Binding("s", "save", "Save", tooltip="use this file from now on; asks first"),
        Binding("v", "view", "View", tooltip="next view: values now and then, matrix, entries of the file"),
        Binding("c", "changes", "All", tooltip="only what changes, or everything that a client gets"),
        FILTER,
        Binding(
            "less_than_sign,left",
            "sideways(-1)",
            "Meters",
            key_display="< >",
            tooltip="other meters of the matrix, as Left and Right do",
        ),
        Binding("greater_than_sign,right", "sideways(1)", show=False),
    ]

    def __init__(self, file: MappingFile, on_saved: Callable[[], None] | None = None) -> None:
        """`on_saved` is called when the file is active and this screen is gone; without it, it cannot be saved."""
        super().__init__()
        self._file = file
        self._on_saved = on_saved
        self._view = VALUES if on_saved else ENTRIES
        self._preview: Preview | None = None
        self._only_changes = on_saved is not None
        self._objects: list[tuple[MeterChange, ObjectChange]] = []
        self._shown: list[tuple[MeterChange, ObjectChange]] = []
        self._meters: list[MeterChange] = []
        self._codes: list[tuple[str, int]] = []
        self._first = 0  # meter in the first column of the matrix
        self._drawn: object = None  # for what the tables were filled

    def body(self) -> ComposeResult:
        yield Lines(id="file")
        findings = Table([Column("", 9), Column("Doubt", 0)], id="findings")
        findings.display = False
        yield findings
        yield from self.list_title()
        yield Table(CHANGE_COLUMNS if self._on_saved else VALUE_COLUMNS, id=VALUES)
        yield Table([CODE_COLUMN], id=MATRIX)
        yield Table(ENTRY_COLUMNS, id=ENTRIES)
        yield Lines(id="detail")

    def on_mount(self) -> None:
        self.filtered.focus()
        self.run_worker(self._load())

    @property
    def filtered(self) -> Table:
        return self.query_one(f"#{self._view}", Table)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self.query_one("#file", Lines).show(self._heading())
        for view in VIEWS:
            self.query_one(f"#{view}", Table).display = view == self._view
        drawn = (self._preview, self._view, tuple(self.words), self._only_changes, self._first, self.size)
        if drawn != self._drawn:
            self._drawn = drawn
            self._fill()
        self.show_list_title(self._title())
        self.show_detail()

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        missing = set()
        if self._on_saved is None or self._preview is None:
            missing.add("s")
        if self._preview is None or not self._preview.findings:
            missing.add("Tab")
        if self._view != VALUES or self._on_saved is None:
            missing.add("c")
        if self._view != MATRIX:
            missing.add("< >")
        if self._view == ENTRIES:
            missing.add("/")
        labels = {
            "Tab": "Down" if self.focused is self.query_one("#findings", Table) else "Up",
            "v": self._next_view().capitalize(),
            "c": "All" if self._only_changes else "Changes",
        }
        return self.fitting(
            [(key, labels.get(key, label), action) for key, label, action in keys if key not in missing]
        )

    def on_table_moved(self) -> None:
        self.update_view()

    def action_other_side(self) -> None:
        findings = self.query_one("#findings", Table)
        (findings if findings.display and self.focused is self.filtered else self.filtered).focus()
        self.update_view()

    def action_view(self) -> None:
        self._view = self._next_view()
        self.filtered.display = True
        self.filtered.focus()
        self.update_view()

    def action_changes(self) -> None:
        if self._view == VALUES:
            self._only_changes = not self._only_changes
            self.update_view()

    def action_sideways(self, by: int) -> None:
        if self._view == MATRIX and self._meters:
            self._first = max(0, min(self._first + by, len(self._meters) - 1))
            self.update_view()

    def action_save(self) -> None:
        if self._on_saved is None or self._preview is None:
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._save())

        self.cme.push_screen(ConfirmScreen(self._question(self._preview), "Save"), decided)

    async def _load(self) -> None:
        future = self.cme.gateway.preview(self._file)
        if not await self.cme.answer(future, "Looking at the meters"):
            return
        self._preview = preview = future.result()
        self._objects = [(meter, each) for meter in preview.changes for each in meter.objects]
        self._only_changes = self._only_changes and any(each.changed for _, each in self._objects)
        findings = self.query_one("#findings", Table)
        findings.display = bool(preview.findings)
        findings.styles.height = 1 + min(len(preview.findings), max(2, self.size.height // 4))
        findings.show(range(len(preview.findings)), lambda index: finding_row(preview.findings[index]))
        self.update_view()

    async def _save(self) -> None:
        preview, done = self._preview, self._on_saved
        assert preview is not None
        assert done is not None
        adding = self.cme.gateway.add_mapping(self._file, replace=bool(preview.replaces))
        if not await self.cme.answer(adding, "Saving"):
            return
        while self in self.cme.screen_stack:
            self.cme.pop_screen()
        self.cme.say(
            f"● {preview.replaces or self._file.name} is used from now on: {self._file.label}", "good"
        )
        done()

    def _question(self, preview: Preview) -> str:
        doubts = (
            f" {count(len(preview.findings), 'doubt is', 'doubts are')} left." if preview.findings else ""
        )
        place = f" in the place of {preview.replaces}" if preview.replaces else ""
        return f"Save {self._file.name} ({self._file.label}){place}? {_capital(effect(preview))}.{doubts}"

    def _heading(self) -> list[Line]:
        file, preview = self._file, self._preview
        replaced = ""
        if self._on_saved and preview and preview.replaces:
            replaced = f"  takes the place of {preview.replaces}"
        first: Line = (
            (f" {file.name}", "title"),
            f"  {file.label}, {count(file.obis_codes, 'OBIS code')}",
            (replaced, "warn"),
        )
        if preview is None:
            return [first, (" ",)]
        doubts = len(preview.findings)
        told = (f"  ! {count(doubts, 'doubt')}", "warn") if doubts else ("  ● no doubt", "good")
        return [first, (f" {_capital(effect(preview) if self._on_saved else users(preview))}", told)]

    def _title(self) -> Line:
        if self._view == ENTRIES:
            return ((f" Entries {len(self._file.document['entries'])}", "title"),)
        if self._preview is not None and not self._preview.changes:
            return ((f" {self._view.capitalize()} 0", "title"),)
        if self._view == MATRIX:
            at = f"  from meter {self._first + 1} on" if self._first else ""
            return (
                (f" Matrix {len(self._codes)} x {len(self._meters)}", "title"),
                ("  OBIS codes x meters", "faint"),
                (at, "faint"),
            )
        total = len(self._objects)
        shown = f"{len(self._shown)} of {total}" if len(self._shown) != total else str(total)
        return ((f" Values {shown}", "title"), ("  only what changes" if self._only_changes else "", "faint"))

    def _fill(self) -> None:
        words = self.words
        if self._view == VALUES:
            shown = self._shown = [
                (meter, each)
                for meter, each in self._objects
                if (each.changed or not self._only_changes)
                and all(word in f"{meter.meter} {obis(each.obis)} {each.obis}".casefold() for word in words)
            ]
            row = change_row if self._on_saved else value_row
            keys = [(meter.meter, each.obis, each.class_id) for meter, each in shown]
            self.query_one(f"#{VALUES}", Table).show(keys, lambda index: row(*shown[index]))
        elif self._view == MATRIX:
            self._fill_matrix(words)
        else:
            marked = (
                {finding.path.split(".")[0] for finding in self._preview.findings} if self._preview else set()
            )
            rows = entry_rows(self._file, marked)
            self.query_one(f"#{ENTRIES}", Table).show(range(len(rows)), rows.__getitem__)

    def _fill_matrix(self, words: list[str]) -> None:
        changes = self._preview.changes if self._preview else ()
        meters = self._meters = [
            each for each in changes if all(word in each.meter.casefold() for word in words)
        ]
        self._first = max(0, min(self._first, len(meters) - 1))
        codes = dict.fromkeys((each.obis, each.class_id) for meter in meters for each in meter.objects)
        self._codes = list(codes)
        table = self.query_one(f"#{MATRIX}", Table)
        room = max(1, (self.size.width - CODE_COLUMN.width - 2) // (METER_WIDTH + 1))
        seen = meters[self._first : self._first + room]
        table.show_columns([CODE_COLUMN, *(Column(each.meter, METER_WIDTH, right=True) for each in seen)])
        cells = [{(each.obis, each.class_id): each for each in meter.objects} for meter in seen]
        table.show(
            self._codes,
            lambda index: (
                obis(self._codes[index][0]),
                *(matrix_cell(cell.get(self._codes[index])) for cell in cells),
            ),
        )

    def detail(self) -> str:
        findings, table = self.query_one("#findings", Table), self.filtered
        if self._preview is None:
            return ""
        if self.focused is findings:
            return finding_text(self._preview.findings[findings.cursor])
        if self._view == VALUES and table.cursor < len(self._shown):
            return change_text(*self._shown[table.cursor])
        if self._view == MATRIX and table.cursor < len(self._codes):
            meter, code = self._meters[self._first], self._codes[table.cursor]
            found_object = next((each for each in meter.objects if (each.obis, each.class_id) == code), None)
            return (
                change_text(meter, found_object) if found_object else f"{meter.meter} has no {obis(code[0])}"
            )
        if self._view == ENTRIES and self._file.document["entries"]:
            return entry_text(self._file, table.cursor)
        return ""

    def _next_view(self) -> str:
        return VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

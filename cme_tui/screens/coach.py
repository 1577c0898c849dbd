"""The coach: every M-Bus field of a meter type, and how it is to be shown to DLMS clients."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.mapping_rows import CLASS_NAMES, type_name
from cme_tui.screens.choice import ChoiceScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.preview import PreviewScreen
from cme_tui.widgets.lines import Line, Lines, Span
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import count, obis
from core.mapping import forms, units
from core.mapping.coach import Choice
from core.mapping.draft import Decision, Draft, DraftError, Item, Shown, begin, scopes
from core.mapping.merge import showing
from core.mapping.model import ANY_MANUFACTURER, ANY_VERSION
from core.mapping.workshop import Coaching
from core.snapshot import Snapshot

MARKS: Final[dict[Decision, tuple[str, str]]] = {
    Decision.TAKEN: ("● take", "good"),
    Decision.OPEN: ("! check", "warn"),
    Decision.SKIPPED: ("- skip", "faint"),
}
WORDS: Final = {Decision.TAKEN: "taken", Decision.OPEN: "to be checked", Decision.SKIPPED: "skipped"}
PANEL_LINES: Final = 8
LONGEST: Final = 32  # characters of a value in the panel
INDENT: Final = 13  # cells before the text of the panel


class CoachScreen(FilteredScreen):
    """The fields of one meter type; each is taken, changed or skipped, then the mapping file can be written."""

    TAB = "mapping"
    AUTO_FOCUS = "#fields"
    HELP = (
        "Every M-Bus field of a meter type with its value now, and what DLMS clients would get for it: OBIS code, "
        "value and unit. The lines below the list say how the field under the cursor is shown, where its code is from, "
        "and what clients get now.\n"
        "Codes of grade A and B are those of the standard table that can be used as they are, and are taken at the "
        "start. Grade C (! check) has to be looked at by a person, with the meter's manual: take or skip each. "
        "A code that the meter declares itself goes before the table. What has no code is skipped; c gives it one.\n"
        "Where there is a mapping file for exactly this type, its codes are the starting point, and what it holds "
        "beyond these fields is kept.\n"
        "w shows what would change, and what is doubtful; nothing is used before it is saved there."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "take", "Take", key_display="Enter", tooltip="show the field as proposed"),
        Binding("s", "skip", "Skip", tooltip="do not show the field"),
        Binding("c", "change", "Change", tooltip="another OBIS code, class, data type, unit or scaler"),
        Binding("o", "other", "Other", tooltip="the next other code that is known for the field"),
        Binding("n", "next", "Next", tooltip="to the next field that has to be checked"),
        Binding("w", "write", "Write", tooltip="what the mapping would change; it is saved there"),
        Binding("a", "sure", "All", tooltip="take every field of grade A or B"),
        Binding("f", "scope", "For", tooltip="for this type, for any version of it, for all manufacturers"),
        FILTER,
    ]
    SPARE: ClassVar[tuple[str, ...]] = ("F12", "/", "f", "a", "o", "c")

    def __init__(self, coaching: Coaching) -> None:
        super().__init__()
        self._coaching = coaching
        self._saved = self._draft = begin(coaching)
        serving = coaching.serving
        self._now = showing(serving, self._draft.readouts) if serving else {}
        self._rows: list[int] = []
        self._refused: tuple[int | None, str] = (None, "")  # a field, and why it cannot be as somebody wanted
        self._known: dict[tuple[int, Choice], Shown] = {}

    def body(self) -> ComposeResult:
        yield from self.list_title()
        yield Lines(id="purpose")
        yield Table(
            [
                Column("", 7),
                Column("Field", 0),
                Column("Value", 13, right=True),
                Column("Unit", 6),
                Column("OBIS code", 13),
                Column("Class", 8, wide=True),
                Column("Data type", 20, wide=True),
                Column("10^", 3, right=True, wide=True),
                Column("Gr", 2, wide=True),
                Column("Client gets", 15, right=True),
            ],
            id="fields",
        )
        yield Lines(id="choice")

    @property
    def filtered(self) -> Table:
        return self.query_one("#fields", Table)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        items, words = self._draft.items, self.words
        self._rows = [n for n, item in enumerate(items) if all(word in _haystack(item) for word in words)]
        rows = self._rows
        self.filtered.show(rows, lambda row: self._row(rows[row]))
        self.show_list_title(self._title())
        serving = self._coaching.serving
        served = f"served by {serving.name} now" if serving else "no mapping serves it now"
        purpose: Line = (
            (" For ", "faint"),
            (self._draft.kind.label, "strong"),
            (f"  {_whom(self._draft)}; {served}", "faint"),
        )
        self.query_one("#purpose", Lines).show([purpose])
        panel = self._panel()[:PANEL_LINES]
        self.query_one("#choice", Lines).show(panel + [(" ",)] * (PANEL_LINES - len(panel)))

    def hint(self) -> Line:
        if self._why_not():
            return ((" ✗ Not done; the reason stands above", "bad"),)
        undecided = len(self._draft.of(Decision.OPEN))
        if undecided:
            fields = count(undecided, "field is", "fields are")
            return ((f" ! {fields} to be checked: n goes there, Enter takes it, s skips it", "warn"),)
        if not self._draft.of(Decision.TAKEN):
            return (" No field is taken yet: Enter takes one, c gives it another OBIS code",)
        return (" w shows what this would change, and saves it",)

    def unsaved(self) -> str:
        """What leaving this screen would lose."""
        if self._draft == self._saved:
            return ""
        return f"what was decided for {self._draft.kind.label}"

    def forget(self) -> None:
        """Drop the decisions."""
        self._draft = self._saved

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        return self.fitting([each for each in keys if each[0] not in self._idle()])

    def on_table_moved(self) -> None:
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        self._decide(Decision.TAKEN)

    def action_skip(self) -> None:
        self._decide(Decision.SKIPPED)

    def action_other(self) -> None:
        if (index := self._index) is not None:
            self._try(lambda: self._draft.turn(index))

    def action_sure(self) -> None:
        self._try(self._draft.take_sure)

    def action_change(self) -> None:
        if (index := self._index) is None:
            return
        if not self._draft.items[index].field.keys:
            self._refuse(self._draft.problem(index, self._draft.items[index].choice))
            return

        def take(choice: Choice) -> None:
            self._try(lambda: self._draft.change(index, choice))

        self.cme.push_screen(ChoiceScreen(self._draft, index, take))

    def action_next(self) -> None:
        undecided = [row for row, index in enumerate(self._rows) if self._is_open(index)]
        if undecided:
            cursor = self.filtered.cursor
            self.filtered.move_to(next((row for row in undecided if row > cursor), undecided[0]))
        elif self._draft.of(Decision.OPEN):
            self.cme.say("What has to be checked is not in the filtered list; Esc removes the filter.")

    def action_scope(self) -> None:
        kinds = scopes(self._coaching.kind)
        kind = kinds[(kinds.index(self._draft.kind) + 1) % len(kinds)]

        async def aim() -> None:
            asked = self.cme.gateway.mappings()
            if await self.cme.answer(asked, "Looking at the active mappings"):
                files = [each.file for each in asked.result().active]
                replaced = next((file for file in files if file.triple == kind), None)
                self._try(lambda: self._draft.aim(kind, replaced))

        self.run_worker(aim(), exclusive=True)

    def action_write(self) -> None:
        try:
            file = self._draft.file()
        except DraftError as error:
            self.action_next()
            self._refuse(str(error))
            return
        self.cme.push_screen(PreviewScreen(file, lambda: self._written(file.label)))

    def _written(self, label: str) -> None:
        values = len(self._draft.of(Decision.TAKEN))
        self.forget()
        if self.cme.screen is self:
            self.cme.pop_screen()
        self.cme.say(f"● {label} is active: {count(values, 'value')} over DLMS", "good")

    @property
    def _index(self) -> int | None:
        """Place in the draft of the field under the cursor."""
        cursor = self.filtered.cursor
        return self._rows[cursor] if cursor < len(self._rows) else None

    def _is_open(self, index: int) -> bool:
        return self._draft.items[index].decision is Decision.OPEN

    def _decide(self, decision: Decision) -> None:
        if (index := self._index) is not None:
            self._try(lambda: self._draft.decide(index, decision))

    def _try(self, decide: Callable[[], Draft]) -> None:
        """Have the decisions that `decide` gives, or say why it cannot."""
        try:
            self._draft = decide()
        except DraftError as error:
            self._refuse(str(error))
        else:
            self._refuse("")

    def _refuse(self, sentence: str) -> None:
        """Tell a sentence for as long as the cursor stays on the field."""
        self._refused = (self._index, sentence)
        self.update_view()

    def _why_not(self) -> str:
        return self._refused[1] if self._refused[0] == self._index else ""

    def _idle(self) -> set[str]:
        """Keys that have nothing to do now."""
        idle = set() if self._draft.of(Decision.OPEN) else {"n"}
        if "n" not in idle or not self._draft.of(Decision.TAKEN):
            idle.add("w")
        if (index := self._index) is None:
            return idle | {"Enter", "s", "c", "o"}
        item = self._draft.items[index]
        if item.decision is Decision.SKIPPED:
            idle.add("s")
        if item.decision is Decision.TAKEN or not item.choice.obis or not item.field.keys:
            idle.add("Enter")
        if not item.field.keys:
            idle.add("c")
        if not item.others:
            idle.add("o")
        sure = (each for each in self._draft.items if each.choice.grade in ("A", "B"))
        return idle if any(each.decision is not Decision.TAKEN for each in sure) else idle | {"a"}

    def _shown(self, index: int) -> Shown:
        choice = self._draft.items[index].choice
        known = self._known.get((index, choice))
        if known is None:
            known = self._known[index, choice] = self._draft.shown(index, choice)
        return known

    def _row(self, index: int) -> Row:
        item = self._draft.items[index]
        record, choice = item.field.record, item.choice
        value: Span = _printable(record.value_text) if record.raw is not None else (record.error, "warn")
        unit = record.unit if record.raw is not None else ""
        skipped = item.decision is Decision.SKIPPED
        start = (MARKS[item.decision], item.field.meaning, value, unit)
        if not choice.obis:
            return (*start, ("-", "faint"), "", "", "", "", "")
        shown = self._shown(index)
        gets: Span = shown.value if shown.value or record.raw is None else ("no value", "warn")
        register = choice.class_id in forms.REGISTERS
        rest = (
            obis(choice.obis),
            CLASS_NAMES[choice.class_id].replace("extended register", "ext. reg"),
            type_name(choice.data_type),
            str(choice.scaler) if register else "",
            choice.grade,
        )
        if skipped:
            return (*start, *((text, "faint") for text in rest), ("-", "faint"))
        return (*start, *rest, gets)

    def _title(self) -> Line:
        shown, total = len(self._rows), len(self._draft.items)
        number = str(total) if shown == total else f"{shown} of {total}"
        counts = (
            (f"  {MARKS[each][0].split()[0]} {len(found)} {word}", MARKS[each][1])
            for each, word in WORDS.items()
            if (found := self._draft.of(each))
        )
        return ((f" Coach: fields {number}", "title"), *counts)

    def _panel(self) -> list[Line]:
        """The field under the cursor in full."""
        if (index := self._index) is None:
            return [(" No field matches",)]
        item = self._draft.items[index]
        field, choice, shown = item.field, item.choice, self._shown(index)
        width = max(20, self.size.width - INDENT - 1)
        value, data = (_shorten(_printable(text)) for text in (field.value, field.record.data.hex()))
        sent = f"{field.meaning} = {value}; record {field.record.dib}, data {data or 'none'}"
        parts: list[tuple[str, str, str]] = [("✗ Refused", self._why_not(), "bad"), ("Meter sends", sent, "")]
        if choice.obis:
            taken = item.decision is Decision.TAKEN
            parts.append(("Shown as" if taken else "Proposed", _form(choice), ""))
            if item.decision is not Decision.SKIPPED:
                parts.append(("Client gets", shown.value or "no value", "strong"))
                if shown.error:
                    parts.append(("", shown.error, "warn"))
        if item.decision is Decision.SKIPPED and item.reason:
            parts.append(("Skipped", item.reason, ""))
        parts.append(("Now", self._gets_now(item), ""))
        parts += [("Look at", doubt, "warn") for doubt in self._draft.doubts(index, choice)]
        parts.append(("Source", choice.source, "faint"))
        if item.others:
            parts.append(("Other codes", ", ".join(obis(each.obis) for each in item.others), "faint"))
        return [line for part in parts if part[1] for line in _wrapped(*part, width)]

    def _gets_now(self, item: Item) -> str:
        entry = self._now.get(item.field.place)
        serving = self._coaching.serving
        if entry is None or serving is None:
            return "clients do not get it"
        return f"{obis(entry.obis_text)} by {serving.name}"


def _haystack(item: Item) -> str:
    mark = MARKS[item.decision][0]
    return f"{mark} {item.field.meaning} {item.field.record.dib} {item.choice.obis} {obis(item.choice.obis)}".casefold()


def _form(choice: Choice) -> str:
    """`"8-0:1.0.0 register, double-long-unsigned, m³ x 10^-3, grade A"`."""
    parts = [f"{obis(choice.obis)} {CLASS_NAMES[choice.class_id]}", type_name(choice.data_type)]
    if choice.class_id in forms.REGISTERS:
        parts.append(f"{units.symbol(choice.unit) or 'no unit'} x 10^{choice.scaler}")
    if choice.default is not None:
        parts.append(f"default {choice.default}")
    if not choice.in_push:
        parts.append("not in push")
    if choice.grade:
        parts.append("declared by the meter" if choice.declared else f"grade {choice.grade}")
    return ", ".join(parts)


def _printable(text: str) -> str:
    """What a terminal can be given of a meter's text."""
    return text if text.isprintable() else text.encode().hex()


def _shorten(text: str) -> str:
    """What a line can hold of a long value."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _wrapped(label: str, text: str, tone: str, width: int) -> list[Line]:
    rows = wrap(text, width)
    return [((f" {'' if n else label:<{INDENT - 1}}", "faint"), (row, tone)) for n, row in enumerate(rows)]


def _whom(draft: Draft) -> str:
    kind = draft.kind
    if kind.manufacturer == ANY_MANUFACTURER:
        return "meters of all manufacturers"
    return "any version of it" if kind.version == ANY_VERSION else "exactly this type"

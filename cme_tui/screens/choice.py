"""How one field is shown to DLMS clients, property by property, with what a client would get now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.mapping_rows import CLASS_NAMES, type_name
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.choose import ChooseScreen, Option
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import obis
from core.cosem.obis import ObisError
from core.mapping import coach, forms, units
from core.mapping.coach import Choice
from core.mapping.draft import Draft, DraftError
from core.snapshot import Snapshot

CODE, CLASS, TYPE, UNIT, SCALER, DEFAULT, PUSH = range(7)
ROWS: Final = ("OBIS code", "Class", "Data type", "Unit", "Scaler", "Default", "In push")
CLASS_NOTES: Final = {
    1: "texts, dates, flags",
    3: "a number with unit and scaler",
    4: "a register with time and status",
    8: "a date with time",
}
TYPE_NOTES: Final = {
    5: "32 bits, signed",
    6: "32 bits",
    13: "0 to 99, one byte",
    15: "8 bits, signed",
    16: "16 bits, signed",
    17: "8 bits",
    18: "16 bits",
    20: "64 bits, signed",
    21: "64 bits",
    23: "float of 32 bits",
    24: "float of 64 bits",
}
LOWEST_SCALER: Final = -128
HIGHEST_SCALER: Final = 127


class ChoiceScreen(GatewayScreen):
    """The form of one field; nothing is taken before `t`."""

    TAB = "mapping"
    HELP = (
        "One field of a meter type and how DLMS clients see it. The lines at the bottom say what a client would get "
        "with the last readout, and why it would get nothing.\n"
        "A register is a number with unit and scaler, a power of ten; an extended register has the time and the status "
        "of the reading besides; data is for texts, dates and flags. Only classes, data types and units are offered "
        "that this field can have. A number is never rounded: where the scaler is too coarse, clients get the default, "
        "or nothing."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "edit", "Edit", key_display="Enter", tooltip="change the property under the cursor"),
        Binding("right", "step(1)", "Next", key_display="< >", tooltip="next or previous value of the list"),
        Binding("left", "step(-1)", show=False),
        Binding("t", "take", "Take", tooltip="show the field like this, and go back"),
    ]

    def __init__(self, draft: Draft, index: int, take: Callable[[Choice], None]) -> None:
        """`take` is called with the choice, which `draft` has no objection to, when this screen is gone."""
        super().__init__()
        self._draft = draft
        self._index = index
        self._take = take
        self._item = draft.items[index]
        self._choice = self._item.choice

    def body(self) -> ComposeResult:
        yield Lines(id="about")
        yield Table([Column("Property", 10), Column("Value", 27), Column("", 0)], id="form")
        yield Lines(id="outcome")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        field = self._item.field
        heading = (
            (f" {field.meaning}", "title"),
            f"  {field.value}",
            (f"  record {field.record.dib}", "faint"),
        )
        self.query_one("#about", Lines).show([heading])
        choice = self._choice
        self.query_one("#form", Table).show(
            range(len(ROWS)), lambda index: (ROWS[index], *_row(index, choice))
        )
        self.query_one("#outcome", Lines).show(self._outcome())

    def hint(self) -> Line:
        if self._draft.problem(self._index, self._choice):
            return ((" ✗ It cannot be taken like this; the reason stands above", "bad"),)
        return ((" t takes it as it stands; Esc leaves the field as it was", "faint"),)

    def unsaved(self) -> str:
        """What leaving this screen would lose."""
        return "" if self._choice == self._item.choice else f"changes of {self._item.field.meaning}"

    def forget(self) -> None:
        """Drop the changes."""
        self._choice = self._item.choice

    def offered(self) -> list[tuple[str, str, str]]:
        idle = {"t"} if self._draft.problem(self._index, self._choice) else set()
        if self._cursor in (CODE, DEFAULT):
            idle.add("< >")
        return [each for each in super().offered() if each[0] not in idle]

    def on_table_moved(self) -> None:
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_edit()

    def action_edit(self) -> None:
        choice, cursor = self._choice, self._cursor
        if cursor == CODE:
            self._ask("OBIS code, 8-0:1.0.0 or 8.0.1.0.0.255", obis(choice.obis), self._with_code)
        elif cursor == SCALER:
            self._ask("Scaler, a power of ten", str(choice.scaler), self._with_scaler)
        elif cursor == DEFAULT:
            text = "" if choice.default is None else str(choice.default)
            self._ask("Value where the meter sends none; empty for no default", text, self._with_default)
        elif cursor == PUSH:
            self.action_step(1)
        elif options := self._options(cursor):
            self._choose(cursor, options)

    def action_step(self, by: int) -> None:
        choice, cursor = self._choice, self._cursor
        if cursor == PUSH:
            self._changed(replace(choice, in_push=not choice.in_push))
        elif cursor == SCALER:
            scaler = max(LOWEST_SCALER, min(choice.scaler + by, HIGHEST_SCALER))
            self._changed(replace(choice, scaler=scaler))
        elif options := self._options(cursor):
            values = [option.value for option in options]
            at = values.index(_value(choice, cursor)) + by if _value(choice, cursor) in values else 0
            self._changed(self._with(cursor, values[at % len(values)]))

    def action_take(self) -> None:
        if self._draft.problem(self._index, self._choice):
            return  # the screen says so
        choice = self._choice
        self.forget()
        self.cme.pop_screen()
        self._take(choice)

    @property
    def _cursor(self) -> int:
        return self.query_one("#form", Table).cursor

    def _changed(self, choice: Choice) -> None:
        self._choice = choice
        self.update_view()

    def _ask(self, question: str, value: str, made: Callable[[str], Choice]) -> None:
        def wrong(text: str) -> str:
            try:
                self._draft.check(self._index, made(text))
            except (DraftError, ObisError) as error:
                return str(error)
            return ""

        def answered(text: str | None) -> None:
            if text is not None:
                self._changed(made(text))

        self.cme.push_screen(AskScreen(question, value, wrong=wrong), answered)

    def _choose(self, cursor: int, options: list[Option]) -> None:
        def chosen(value: int | None) -> None:
            if value is not None:
                self._changed(self._with(cursor, value))

        self.cme.push_screen(ChooseScreen(ROWS[cursor], options, _value(self._choice, cursor)), chosen)

    def _options(self, cursor: int) -> list[Option]:
        record = self._item.field.record
        if cursor == CLASS:
            return [
                Option(number, CLASS_NAMES[number], CLASS_NOTES[number]) for number in forms.classes(record)
            ]
        if cursor == TYPE:
            allowed = forms.data_types(record, self._choice.class_id)
            return [Option(tag, type_name(tag), TYPE_NOTES.get(tag, "")) for tag in allowed]
        if cursor == UNIT and self._choice.class_id in forms.REGISTERS:
            known = units.dlms_units()
            return [
                Option(code, known[code].symbol, known[code].quantity) for code in forms.unit_codes(record)
            ]
        return []

    def _with(self, cursor: int, value: int) -> Choice:
        if cursor == CLASS:
            return forms.with_class(self._choice, self._item.field.record, value)
        if cursor == TYPE:
            return replace(self._choice, data_type=value)
        return replace(self._choice, unit=value)

    def _with_code(self, text: str) -> Choice:
        code = coach.full_code(text)
        known = (self._item.choice, *self._item.others)
        same = next((each for each in known if each.obis == code), None)
        return replace(
            self._choice,
            obis=code,
            grade=same.grade if same else "",
            source=same.source if same else "Typed by hand.",
            quantity=same.quantity if same else self._item.field.record.description,
            declared=bool(same and same.declared),
        )

    def _with_scaler(self, text: str) -> Choice:
        try:
            return replace(self._choice, scaler=int(text))
        except ValueError:
            raise DraftError(f"{text!r} is no whole number; -3 stands for 0.001.") from None

    def _with_default(self, text: str) -> Choice:
        return replace(self._choice, default=forms.default_of(text, self._choice.data_type))

    def _outcome(self) -> list[Line]:
        shown = self._draft.shown(self._index, self._choice)
        width = max(20, self.size.width - 4)
        told = [("✗", self._draft.problem(self._index, self._choice), "bad"), (" ", shown.error, "warn")]
        told += [("!", doubt, "warn") for doubt in self._draft.doubts(self._index, self._choice)]
        told.append((" ", self._choice.source, "faint"))
        return [
            ((" A DLMS client gets ", "title"), (shown.value or "nothing", "strong")),
            *(
                ((f" {' ' if number else mark} {text}", tone),)
                for mark, sentence, tone in told
                for number, text in enumerate(wrap(sentence, width))
            ),
        ]


def _value(choice: Choice, cursor: int) -> int:
    return {CLASS: choice.class_id, TYPE: choice.data_type, UNIT: choice.unit}[cursor]


def _row(index: int, choice: Choice) -> Row:
    """Value and meaning of one property."""
    if index == CODE:
        none: Row = (("none yet", "warn"), "Enter gives it one")
        return (obis(choice.obis), choice.obis) if choice.obis else none
    if index == CLASS:
        return (CLASS_NAMES[choice.class_id], CLASS_NOTES[choice.class_id])
    if index == TYPE:
        return (f"{type_name(choice.data_type)} ({choice.data_type})", TYPE_NOTES.get(choice.data_type, ""))
    if index == UNIT:
        if choice.class_id not in forms.REGISTERS:
            return (("-", "faint"), "only registers have one")
        unit = units.dlms_units().get(choice.unit)
        return (f"{unit.symbol} ({unit.code})", unit.quantity) if unit else (str(choice.unit), "")
    if index == SCALER:
        return (str(choice.scaler), f"one step is 10^{choice.scaler} {units.symbol(choice.unit)}".rstrip())
    if index == DEFAULT:
        return ("none" if choice.default is None else str(choice.default), "where the meter sends no value")
    return ("yes" if choice.in_push else "no", "whether push reports hold it")

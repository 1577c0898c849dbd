"""What the forms share: a list of fields that keys step through or open for typing, each checked when it is left."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, ClassVar, Final

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from cme_tui.screens.ask import anything
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import count
from core.config_tables import TableChange
from core.snapshot import Snapshot

YES: Final = "yes"
NO: Final = "no"
VALUE_CELLS: Final = 30
"""Cells of a value in the list; a longer one stands below it in full."""


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a form. What it holds is the text that a person would type."""

    name: str
    label: str
    value: str
    means: str
    """What it must be and what it is for, a sentence."""
    choices: tuple[str, ...] = ()
    """What the arrow keys step through."""
    only: bool = False
    """Whether it is one of the choices, so that nothing can be typed."""
    wrong: Callable[[str], str] = anything
    """What is wrong with a text, a sentence; "" for nothing."""
    empty: str = ""
    """What an empty text is shown as: "(that of the line)"."""


class FormScreen(GatewayScreen):
    """A form. Subclasses say what it is about (`heading`), what is below it (`outcome`), and finish it with a key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "edit", "Edit", key_display="Enter", tooltip="type what the field under the cursor holds"),
        Binding("right", "step(1)", "Step", key_display="←→", tooltip="the next or previous value"),
        Binding("left", "step(-1)", show=False),
        Binding("space", "step(1)", show=False, key_display="Space", tooltip="the next value"),
        Binding("escape", "leave_field", show=False),
    ]  # fmt: skip

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.values = self._first_values()
        """The text of each field, by name."""
        self._edited: Field | None = None
        self._refusal = ""

    def heading(self) -> Line:
        """What the form is about."""
        raise NotImplementedError

    def outcome(self) -> list[Line]:
        """What would come of it."""
        return []

    def changed(self) -> None:
        """A field holds something else now."""

    def opened(self, field: Field) -> bool:
        """Whether Enter on this field is answered otherwise than by typing."""
        return False

    @property
    def here(self) -> Field:
        """The field under the cursor."""
        return self.fields[self.query_one("#form", Table).cursor]

    @property
    def differing(self) -> dict[str, str]:
        """The fields that do not hold what they held at first."""
        return {name: text for name, text in self.values.items() if text != self._first_values()[name]}

    def complete(self) -> bool:
        """Whether every field holds what it can hold; goes to the first that does not."""
        if self._edited:
            self.action_take()
        for row, field in enumerate(self.fields):
            if field.wrong(self.values[field.name]):
                self.query_one("#form", Table).move_to(row)
                self.cme.say(f"✗ {field.label} has to be corrected first", "bad")
                return False
        return True

    def put(self, name: str, text: str) -> None:
        """Have a field hold something else."""
        if self.values[name] != text:
            self.values[name] = text
            self._refusal = ""
            self.changed()
        self.update_view()

    async def save_weighed(self, change: TableChange, save: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Save, after a question where a line could not keep its schedule then."""
        misfits = self.cme.gateway.misfits(change)
        if not await self.cme.answer(misfits, "Checking"):
            self.refuse(misfits.exception())
        elif not misfits.result():
            await save()
        elif self.cme.screen is self:

            def decided(yes: bool | None) -> None:
                if yes:
                    self.run_worker(save())

            self.cme.push_screen(ConfirmScreen(" ".join(misfits.result()), "Save"), decided)

    def saved(self) -> None:
        """Go back: what was typed is saved."""
        self.forget()
        if self.cme.screen is self:
            self.cme.pop_screen()

    def refuse(self, error: BaseException | None) -> None:
        """Show why the whole cannot be, until something is changed."""
        said = str(error)
        self._refusal = said.partition("config.toml: ")[2] or said  # its path stands nowhere near the form
        self.cme.say("✗ Nothing is done; the reason stands above", "bad", seconds=30)
        self.update_view()

    def body(self) -> ComposeResult:
        yield Lines(id="form-title")
        columns = [Column("", 1), Column("Field", 20), Column("Value", VALUE_CELLS), Column("", 0)]
        yield Table(columns, id="form")
        with Horizontal(id="edit"):
            yield Lines(id="edit-name")
            field = Input(id="field", compact=True, select_on_focus=False)
            field.cursor_blink = False
            yield field
        yield Lines(id="about")
        yield Lines(id="outcome")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self.query_one("#form-title", Lines).show([self.heading()])
        fields = self.fields
        self.query_one("#form", Table).show(
            [field.name for field in fields], lambda row: self._row(fields[row])
        )
        self.query_one("#edit").display = self._edited is not None
        wrong = self.here.wrong(self.values[self.here.name])
        about = self._folded(f"✗ {wrong}", "bad") if wrong else self._folded(self.here.means, "faint")
        text = self.values[self.here.name]
        if cell_len(text) > VALUE_CELLS and self._edited is None:
            about = [*self._folded(text, "strong"), *about]
        self.query_one("#about", Lines).show([*about, *[("",)] * (2 - len(about))])
        refusal = self._folded(f"✗ {self._refusal}", "bad") if self._refusal else []
        self.query_one("#outcome", Lines).show([*self.outcome(), *refusal])

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self._edited:
            own = [("Enter", "Take", "screen.take"), ("Esc", "As it was", "screen.leave_field")]
            return [keys[0], *own, *keys[-2:]]
        idle = set()
        if not self.here.choices:
            idle.add("←→")
        if self.here.only:
            idle.add("Enter")
        return [key for key in keys if key[0] not in idle]

    def unsaved(self) -> str:
        number = len(self.differing)
        return count(number, "change of this form", "changes of this form") if number else ""

    def forget(self) -> None:
        self._edited = None
        self.values = self._first_values()

    def on_input_submitted(self) -> None:
        self.action_take()

    def on_key(self, event: events.Key) -> None:
        if self._edited and event.key in ("up", "down"):
            event.stop()
            self.action_take()
            self.query_one("#form", Table).action_move(1 if event.key == "down" else -1)

    def on_descendant_focus(self) -> None:
        if self._edited and self.focused is not self.query_one("#field"):
            self.action_take()  # left with Tab or the mouse

    def on_table_moved(self) -> None:
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_edit()

    def action_edit(self) -> None:
        field = self.here
        if self.opened(field):
            return
        if field.only:
            self.action_step(1)
            return
        self._edited = field
        name = f" {field.label} "
        self.query_one("#edit-name", Lines).show([((name, "strong"),)])
        self.query_one("#edit-name").styles.width = len(name)
        box = self.query_one("#field", Input)
        box.value = self.values[field.name]
        box.cursor_position = len(box.value)
        self.query_one("#edit").display = True
        self.set_focus(box)
        # It has no width before, so that the end of a long text is not brought into view by itself.
        self.call_after_refresh(lambda: box.scroll_to(x=box.max_scroll_x, animate=False))

    def action_step(self, by: int) -> None:
        choices, now = self.here.choices, self.values[self.here.name]
        if choices:
            at = (choices.index(now) + by) % len(choices) if now in choices else 0
            self.put(self.here.name, choices[at])

    def action_take(self) -> None:
        """Leave the field with what is in it."""
        field, text = self._edited, self.query_one("#field", Input).value.strip()
        self._close_field()
        if field is not None:
            self.put(field.name, text)

    def action_leave_field(self) -> None:
        if self._edited:
            self._close_field()
            self.update_view()
        else:
            self.cme.action_leave()

    def _close_field(self) -> None:
        self._edited = None
        self.set_focus(self.query_one("#form", Table))

    def _first_values(self) -> dict[str, str]:
        return {field.name: field.value for field in self.fields}

    def _folded(self, sentence: str, tone: str) -> list[Line]:
        return [((f" {line}", tone),) for line in wrap(sentence, max(20, self.size.width - 2))]

    def _row(self, field: Field) -> Row:
        text = self.values[field.name]
        wrong = field.wrong(text)
        mark = ("✗", "bad") if wrong else ("*", "strong") if text != field.value else ""
        was = f"was {field.value}" if text != field.value and field.value else ""
        return mark, field.label, text or (field.empty, "faint"), (was, "faint")

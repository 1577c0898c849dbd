"""F3: every setting, password and key: checked on leaving a field, saved together, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from textwrap import wrap
from typing import Any, ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widgets import Input

from cme_tui.screens.base import GatewayScreen
from cme_tui.settings import secrets
from cme_tui.settings.questions import LOWERING, ask
from cme_tui.settings.rows import SECRETS, SettingRows, group, title
from cme_tui.settings.secrets import NEW_METER_KEY
from cme_tui.settings.wording import label, typed_text
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Table
from cme_tui.wording import count
from core.errors import CmeError
from core.secrets import GENERATED, generated
from core.settings import Setting, Value, typed
from core.snapshot import Snapshot

REVEALED_SECONDS: Final = 30.0
"""How long a secret is shown that was asked for."""


class SettingsScreen(GatewayScreen):
    """One list of all there is to set; what is changed is kept until it is saved or dropped."""

    TAB = "settings"
    HELP = (
        "Everything that config.toml and secrets.toml say about the gateway itself. Enter edits the setting under the "
        "cursor; Enter, Up, Down or Tab leave the field, which is then checked, by itself and with the others; Esc "
        "leaves it as it was. What is wrong says so below, keeps its text, and has to be corrected before a save.\n"
        "The marks: * changed and not saved yet, ✗ cannot be saved, ! changed by somebody else meanwhile.\n"
        "The changes stand at the bottom with what they do to clients that are connected. s saves all of them at "
        "once, and they hold at once; an association that they do not touch goes on. To lower authentication or "
        f'policy, the word "{LOWERING}" has to be typed. u takes the last save back, also after a restart.\n'
        "Password and keys are shown as asterisks with a fingerprint: 8 hex digits of the SHA-256 of a key, and only "
        "the length of a password. v shows the one under the cursor until the cursor moves, for half a minute at "
        "most. A new one, by Enter or g, is saved at once, not with the changes; there is no undo.\n"
        "/ filters: a row stays if all words are found in its group, name, key in config.toml or value. "
        "Enter keeps the filter, Esc removes it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "edit", "Edit", key_display="Enter", tooltip="edit, switch or replace what is there"),
        Binding("right", "step(1)", "Step", key_display="←→", tooltip="the next or previous value"),
        Binding("left", "step(-1)", show=False),
        Binding("space", "step(1)", show=False, key_display="Space", tooltip="switch on or off; the next value"),
        Binding("d", "default", "Default", tooltip="back to the default"),
        Binding("v", "reveal", "Show", tooltip="show the secret under the cursor, or hide it again"),
        Binding("g", "generate", "New", tooltip="make the secret under the cursor anew, at random; asks first"),
        Binding("s", "save", "Save", tooltip="save all changes; they hold at once"),
        Binding("x", "discard", "Drop", tooltip="drop all changes"),
        Binding("u", "undo", "Undo", tooltip="take back the last save; asks first"),
        Binding("slash", "filter", "Filter", key_display="/", tooltip="show only what has these words"),
        Binding("escape", "leave_field", show=False),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._rows = SettingRows()
        self._draft = self._rows.draft
        self._names: list[str] = []
        self._edited = ""
        self._revealed = ""
        self._hiding: Timer | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="list-title"):
            yield Lines(id="count")
            yield Lines(id="prompt")
            yield _field("filter", "words to find")
        yield Table(
            [
                Column("", 1),
                Column("Group", 12),
                Column("Setting", 23),
                Column("Value", 24),
                Column("", 0),
            ],
            id="settings",
        )
        with Horizontal(id="edit"):
            yield Lines(id="edit-name")
            yield _field("field")
        yield Lines(id="about")
        yield Lines(id="changes")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        gateway = self.cme.gateway
        self._rows.take(gateway.settings(), gateway.secrets(), snapshot)
        every = self._rows.every
        words = self.query_one("#filter", Input).value.casefold().split()
        names = self._names = self._rows.matching(words)
        self.query_one("#settings", Table).show(
            names, lambda index: self._rows.row(names[index], names[index - 1] if index else "")
        )
        found = f"{len(names)} of {len(every)}" if words else str(len(every))
        self.query_one("#list-title").display = self.query_one("#filter", Input).display
        self.query_one("#count", Lines).show([((f" Settings {found}", "title"),)])
        self.query_one("#prompt", Lines).show([(" filter ", ("/", "strong"), " ")])
        self.query_one("#edit").display = bool(self._edited)
        self.query_one("#about", Lines).show(self._about())
        self.query_one("#changes", Lines).show(self._rows.change_lines(max(4, self.size.height // 4)))

    def offered(self) -> list[tuple[str, str, str]]:
        first, *own, look, leave = super().offered()
        if self._edited:
            own = [("Enter", "Take", "screen.take"), ("Esc", "As it was", "screen.leave_field")]
        elif isinstance(self.focused, Input):
            own = [("Enter", "Keep", "screen.keep_filter"), ("Esc", "Remove", "screen.leave_field")]
        else:
            here, secret = self._actions_here(), _is_secret(self._here)
            own = [
                (key, "Set" if secret and key == "Enter" else name, action)
                for key, name, action in own
                if action in here
            ]
        return [first, *own, look, leave]

    def unsaved(self) -> str:
        number = len(self._draft.changes)
        if self._edited and self._text_differs():
            number += self._edited not in self._draft.changes
        return count(number, "change of settings", "changes of settings") if number else ""

    def forget(self) -> None:
        self._close_field()
        self._draft.clear()

    @property
    def _here(self) -> str:
        """What the cursor is on; "" for nothing."""
        cursor = self.query_one("#settings", Table).cursor
        return self._names[cursor] if cursor < len(self._names) else ""

    def _about(self) -> list[Line]:
        """At least two lines about the row under the cursor."""
        said = self._rows.said(self._here, revealed=self._here == self._revealed != "")
        sentence, tone = (said, "") if isinstance(said, str) else said
        lines: list[Line] = [((f" {line}", tone),) for line in wrap(sentence, max(20, self.size.width - 2))]
        return [*lines, *[("",)] * (2 - len(lines))]

    def _actions_here(self) -> set[str]:
        name = self._here
        setting = self._rows.settings.get(name)
        found = {"screen.save", "screen.discard"} if self._draft.changes else {"screen.undo", "screen.filter"}
        if setting is not None and not setting.fixed:
            found.add("screen.edit")
            if setting.choices:
                found.add("screen.step(1)")
            if self._rows.value(setting) != setting.default:
                found.add("screen.default")
        elif _is_secret(name):
            found.add("screen.edit")
            if name != NEW_METER_KEY:
                found.add("screen.reveal")
            if name in GENERATED:
                found.add("screen.generate")
        return found

    # Editing

    def action_edit(self) -> None:
        name = self._here
        setting = self._rows.settings.get(name)
        if setting is None:
            if _is_secret(name):
                secrets.replace(self.cme, name, self._take_secret)
        elif setting.fixed:
            self.cme.say(f"{label(name)} is made once; head-end systems know the gateway by it")
        elif isinstance(setting.default, bool):
            self.action_step(1)
        else:
            self._open_field(setting)

    def action_step(self, by: int) -> None:
        setting = self._rows.settings.get(self._here)
        if setting is None or not setting.choices:
            return
        choices, now = setting.choices, typed_text(self._rows.value(setting))
        at = (choices.index(now) + by) % len(choices) if now in choices else 0
        self._put(setting, typed(setting.name, choices[at]))

    def action_default(self) -> None:
        setting = self._rows.settings.get(self._here)
        if setting is not None and not setting.fixed:
            self._put(setting, None)

    def action_take(self) -> None:
        """Leave the field with what is in it."""
        setting, differs = self._rows.settings[self._edited], self._text_differs()
        value = typed(setting.name, self.query_one("#field", Input).value.strip())
        self._close_field()
        if differs:
            self._put(setting, value)
        self.update_view()

    def action_leave_field(self) -> None:
        if self._edited:
            self._close_field()
        elif self._revealed:
            self._hide()
        else:
            self.query_one("#filter", Input).value = ""
            self._leave_filter()
        self.update_view()

    def action_filter(self) -> None:
        self._hide()
        field = self.query_one("#filter", Input)
        field.display = True
        self.query_one("#list-title").display = True
        self.set_focus(field)

    def action_keep_filter(self) -> None:
        self._leave_filter()
        self.update_view()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            self.update_view()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            self.action_keep_filter()
        elif self._edited:
            self.action_take()

    def on_key(self, event: events.Key) -> None:
        if event.key not in ("up", "down") or not isinstance(self.focused, Input):
            return
        event.stop()
        if self._edited:
            self.action_take()
            self.query_one("#settings", Table).action_move(1 if event.key == "down" else -1)
        else:
            self.action_keep_filter()

    def on_descendant_focus(self) -> None:
        if self._edited and self.focused is not self.query_one("#field"):
            self.action_take()  # left with Tab or the mouse

    def on_table_moved(self) -> None:
        if self._here != self._revealed:
            self._hide()
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_edit()

    def on_screen_suspend(self) -> None:
        self._hide_and_show()  # a question lies over this screen, and does not cover it

    def _open_field(self, setting: Setting) -> None:
        self._edited = setting.name
        name = f" {label(setting.name)} "
        self.query_one("#edit-name", Lines).show([((name, "strong"),)])
        self.query_one("#edit-name").styles.width = len(name)
        field = self.query_one("#field", Input)
        field.value = typed_text(self._rows.value(setting))
        field.cursor_position = len(field.value)
        self.query_one("#edit").display = True
        self.set_focus(field)

    def _close_field(self) -> None:
        self._edited = ""
        self.set_focus(self.query_one("#settings", Table))

    def _text_differs(self) -> bool:
        now = typed_text(self._rows.value(self._rows.settings[self._edited]))
        return self.query_one("#field", Input).value != now

    def _leave_filter(self) -> None:
        field = self.query_one("#filter", Input)
        self.set_focus(self.query_one("#settings", Table))
        field.display = bool(field.value)

    def _put(self, setting: Setting, value: Value | None) -> None:
        self._draft.put(setting, value)
        self.update_view()
        self.run_worker(self._check(setting.name), group="check", exclusive=True)

    async def _check(self, at: str) -> None:
        """Whether the changes can be saved together; if not, it is the last one that is told so."""
        values = self._draft.values()
        objection = ""
        if values:
            try:
                await asyncio.wrap_future(self.cme.gateway.check(values))
            except CmeError as error:
                objection = _sentence(error)
        self._draft.object(objection, at)
        self.update_view()

    # Saving

    def action_save(self) -> None:
        if wrong := self._draft.wrong:
            self._go_to(wrong)
            self.cme.say(f"✗ {title(wrong)} has to be corrected first, or d for its default", "bad")
        elif self._draft.changes:
            self.run_worker(self._prepare_save(self._draft.values()))

    async def _prepare_save(self, values: Mapping[str, Any], agreed: tuple[str, ...] | None = None) -> None:
        """Save, after the question that it needs; `agreed` is what was said to be lowered by it.

        Somebody else may have changed the same while the question stood there: then it is asked anew.
        """
        future, misfits = self.cme.gateway.check(values), self.cme.gateway.misfits(values)
        if not (
            await self._answered(future, "Checking", values)
            and await self._answered(misfits, "Checking", values)
        ):
            return
        self._draft.object("", "")
        lowered = future.result()
        if lowered == agreed:
            await self._save(values)
        elif self.cme.screen is self and self._draft.values() == values:
            cuts = "; ".join(does for does, clients in map(self._rows.changed, values) if clients)
            disturbs = f"This disturbs clients: {cuts}." if cuts else ""
            question = " ".join(filter(None, (*misfits.result(), disturbs)))
            ask(self.cme, lowered, question, "Save", lambda: self._start(self._prepare_save(values, lowered)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(work)

    async def _save(self, values: Mapping[str, Any]) -> None:
        if await self._answered(self.cme.gateway.configure(values), "Saving", values):
            self.cme.pull()
            self.cme.say(f"● {count(len(values), 'change')} saved and in force; u takes it back", "good")

    async def _answered(self, future: Future[Any], doing: str, values: Mapping[str, Any]) -> bool:
        if await self.cme.answer(future, doing):
            return True
        error = future.exception()
        self._draft.object(_sentence(error) if error else "", list(values)[-1])
        self._go_to(self._draft.objection_at)
        self.cme.say("✗ Nothing is saved; the reason stands above", "bad", seconds=30)
        self.update_view()
        return False

    def action_discard(self) -> None:
        number = len(self._draft.changes)
        self._draft.clear()
        if number:
            self.cme.say(f"{count(number, 'change')} dropped; all is as it was saved")
        self.update_view()

    def action_undo(self) -> None:
        if self._draft.changes:
            self.cme.say("Save or drop the changes first (s, x); then u takes back the last save")
        else:
            self.run_worker(self._prepare_undo())

    async def _prepare_undo(self, agreed: tuple[Mapping[str, Any], tuple[str, ...]] | None = None) -> None:
        """Take back the last save, after a question; `agreed` is what was asked: values, and what they lower.

        Somebody else may have saved while the question stood there: then it is asked anew.
        """
        replaced = self.cme.gateway.replaced()
        if not await self.cme.answer(replaced, "Looking for the last save"):
            return
        values = replaced.result()
        check, misfits = self.cme.gateway.check(values), self.cme.gateway.misfits(values)
        if not (await self.cme.answer(check, "Checking") and await self.cme.answer(misfits, "Checking")):
            return
        lowered = check.result()
        if agreed == (values, lowered):
            await self._undo()
        elif self.cme.screen is self:
            back = ", ".join(self._rows.put_back(name, value) for name, value in values.items())
            question = " ".join((*misfits.result(), f"Take back the last save: {back}?"))
            agreed = (values, lowered)
            ask(self.cme, lowered, question, "Undo", lambda: self._start(self._prepare_undo(agreed)))

    async def _undo(self) -> None:
        if await self.cme.answer(self.cme.gateway.undo(), "Taking back"):
            self.cme.pull()
            self.cme.say("● The last save is taken back", "good")

    def _go_to(self, name: str) -> None:
        if name not in self._names:
            self.query_one("#filter", Input).value = ""
            self._leave_filter()
            self.update_view()
        if name in self._names:
            self.query_one("#settings", Table).move_to(self._names.index(name))

    # Secrets

    def action_reveal(self) -> None:
        name = self._here
        if self._revealed:
            self._hide()
        elif _is_secret(name) and name != NEW_METER_KEY:
            self._revealed = name
            self._hiding = self.set_timer(REVEALED_SECONDS, self._hide_and_show)
        self.update_view()

    def action_generate(self) -> None:
        name = self._here
        if name in GENERATED:
            secrets.generate(
                self.cme, name, lambda which: self._take_secret(which, generated([which])[which])
            )

    def _take_secret(self, name: str, value: str) -> None:
        self.run_worker(self._keep_secret(name, value))

    async def _keep_secret(self, name: str, value: str) -> None:
        if await self.cme.answer(self.cme.gateway.set_secrets({name: value}), "Saving"):
            self.cme.pull()
            self._go_to(name)
            self.cme.say(f"● {secrets.title(name)} is saved and in force; v shows it", "good")

    def _hide(self) -> None:
        self._revealed = ""
        if self._hiding is not None:
            self._hiding.stop()
            self._hiding = None

    def _hide_and_show(self) -> None:
        self._hide()
        self.update_view()


def _field(name: str, placeholder: str = "") -> Input:
    field = Input(placeholder=placeholder, id=name, compact=True, select_on_focus=False)
    field.cursor_blink = False
    if name == "filter":
        field.display = False
    return field


def _is_secret(name: str) -> bool:
    return bool(name) and group(name) == SECRETS


def _sentence(error: BaseException) -> str:
    """An error without the path of the file, which stands nowhere near the field."""
    said = str(error)
    return said.partition("config.toml: ")[2] or said

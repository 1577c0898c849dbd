"""The rows of the settings screen: all there is to set, with what is changed and not saved on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cme_tui.settings import secrets
from cme_tui.settings.draft import Draft, shown
from cme_tui.settings.wording import (
    ADDRESSING,
    GROUPS,
    SYSTEM_TITLE,
    effect,
    explained,
    label,
    remark,
    text,
)
from cme_tui.widgets.lines import Line, Span
from cme_tui.widgets.table import Row
from cme_tui.wording import count
from core.secrets import Secrets, shown_fingerprint
from core.settings import Setting, Value
from core.snapshot import Snapshot

SECRETS: Final = GROUPS["secrets"]

_MASK: Final = "********"
_ELSEWHERE: Final = {"dlms.dialect": "obis"}
"""Settings that stand with those of another table: the dialect gives the codes that [obis] changes."""


class SettingRows:
    """What there is, by name; `take` brings it up to what holds now."""

    def __init__(self) -> None:
        self.draft = Draft()
        self.settings: Mapping[str, Setting] = {}
        self.every: list[str] = []
        self._secrets: Secrets
        self._snapshot: Snapshot

    def take(self, settings: tuple[Setting, ...], kept: Secrets, snapshot: Snapshot) -> None:
        """Show these from now on; changes that hold already are dropped."""
        self.settings = {setting.name: setting for setting in settings}
        self._secrets, self._snapshot = kept, snapshot
        self.draft.settle(self.settings)
        tables: dict[str, list[str]] = {table: [] for table in GROUPS}
        for setting in settings:
            tables.setdefault(_ELSEWHERE.get(setting.name, setting.table), []).append(setting.name)
        tables["gateway"].insert(1, SYSTEM_TITLE)
        tables["dlms"].append(ADDRESSING)
        tables["secrets"] = secrets.names(kept)
        self.every = [name for names in tables.values() for name in names]

    def matching(self, words: list[str]) -> list[str]:
        """The rows in which all of `words` are found: group, title, key in config.toml, value."""
        return [name for name in self.every if all(word in self._haystack(name) for word in words)]

    def value(self, setting: Setting) -> Value:
        """What a setting has, with its change if it has one."""
        return shown(setting, self.draft.changes.get(setting.name))

    def changed(self, name: str) -> tuple[str, int]:
        """What the change of a setting does besides holding, and how many clients it cuts."""
        setting = self.settings[name]
        return effect(name, self.value(setting), setting.value, self._snapshot)

    def row(self, name: str, above: str) -> Row:
        """Mark, group (where the row above has another), title, value, and what stands beside it."""
        mark, value, note = self._cells(name)
        first = not above or group(above) != group(name)
        return mark, (group(name) if first else "", "faint"), title(name), value, (note, "faint")

    def said(self, name: str, *, revealed: bool) -> Span:
        """A sentence about a row: what is wrong with it, else what it can be; or the secret that was asked for."""
        if not name:
            return "Nothing has these words; Esc shows all again."
        if revealed:
            found = secrets.value(self._secrets, name)
            return f"{title(name)}: {found if isinstance(found, str) else found.hex().upper()}", "strong"
        setting = self.settings.get(name)
        if setting is None:
            return _about_other(name), "faint"
        wrong = self._wrong(setting)
        return wrong if wrong[0] else (f"{name}: {explained(setting)}", "faint")

    def change_lines(self, most: int) -> list[Line]:
        """What is not saved, with its effects, in at most `most` lines; none where all is saved."""
        changes = self.draft.changes
        if not changes:
            return []
        head: Line = (
            (f" {count(len(changes), 'change')}", "title"),
            (" not saved:  s saves, x drops", "strong"),
        )
        if wrong := self.draft.wrong or self.draft.objection_at:
            head = (*head, (f"  ✗ cannot be: see {title(wrong)}", "bad"))
        named = list(changes)
        if len(named) >= most:
            named = named[: most - 2]
        lines = [self._change_line(name) for name in named]
        if rest := len(changes) - len(named):
            lines.append(((f"   and {rest} more, marked *", "faint"),))
        return [head, *lines]

    def put_back(self, name: str, value: Value | None) -> str:
        """What an undo sets: "TCP port 4059"."""
        setting = self.settings[name]
        return f"{label(name)} {text(name, setting.default if value is None else value)}"

    def _haystack(self, name: str) -> str:
        setting = self.settings.get(name)
        # With the old value as well: a row must not vanish because it is changed.
        values = {text(name, each) for each in (setting.value, self.value(setting))} if setting else ()
        return " ".join((group(name), title(name), name, *values)).casefold()

    def _cells(self, name: str) -> tuple[Span, str, str]:
        setting = self.settings.get(name)
        if setting is None:
            return "", *self._other_cells(name)
        if name in self.draft.changes:
            return self._mark(setting), text(name, self.value(setting)), f"was {text(name, setting.value)}"
        if setting.fixed:
            return "", text(name, setting.value), "made once"
        return "", text(name, setting.value), _default(setting)

    def _other_cells(self, name: str) -> tuple[str, str]:
        if name == SYSTEM_TITLE:
            return self._snapshot.system_title, "fixed"
        if name == ADDRESSING:
            return "device and channel", "both always"
        if name == secrets.NEW_METER_KEY:
            return "", "Enter adds it"
        return _MASK, shown_fingerprint(secrets.value(self._secrets, name))

    def _mark(self, setting: Setting) -> Span:
        sentence, tone = self._wrong(setting)
        return (sentence[0], tone) if sentence else ("*", "strong")

    def _wrong(self, setting: Setting) -> tuple[str, str]:
        """Why a change cannot or should not be saved, with its tone; "" for neither."""
        name, change = setting.name, self.draft.changes.get(setting.name)
        if change is None:
            return "", ""
        if change.wanted:
            return f"✗ {label(name)} must be {change.wanted}, not {_quoted(change.value)}.", "bad"
        if name == self.draft.objection_at:
            return f"✗ {self.draft.objection}", "bad"
        if change.before != setting.value:
            now = text(name, setting.value)
            return (
                f"! It was set to {now} meanwhile, not here; a save replaces that, x drops the changes.",
                "warn",
            )
        return "", ""

    def _change_line(self, name: str) -> Line:
        setting = self.settings[name]
        what = f"   {label(name)}: {text(name, setting.value)} → {text(name, self.value(setting))}"
        does, _ = self.changed(name)
        return (what, (f"; {does}", "warn")) if does and not self.draft.changes[name].wanted else (what,)


def group(name: str) -> str:
    """The heading that a row stands under."""
    table, dot, _ = name.partition(".")
    if not dot or name.startswith(secrets.NEW_METER_KEY):
        return SECRETS
    table = _ELSEWHERE.get(name, table)
    return GROUPS.get(table, table.capitalize())


def title(name: str) -> str:
    """What a row is called."""
    return secrets.title(name) if group(name) == SECRETS else label(name)


def _default(setting: Setting) -> str:
    if setting.value == setting.default:
        return "default"
    return f"default {text(setting.name, setting.default)}" if setting.default != "" else "not default"


def _about_other(name: str) -> str:
    if group(name) != SECRETS:
        return remark(name)
    if name == secrets.NEW_METER_KEY:
        return "The key of a meter that encrypts its telegrams, by identification. It is saved at once."
    return f"{title(name)}: {secrets.form(name)}. A new one is saved at once, not with the changes."


def _quoted(value: Value | None) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)

"""Changes to settings that are not saved yet: what they are, what is wrong with them, what others changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.settings import Setting, Value


@dataclass(frozen=True, slots=True)
class Change:
    """A new value for one setting."""

    value: Value | None
    """`None` is the default."""
    before: Value
    """What held when the change was made."""
    wanted: str
    """What it must be instead, whatever the others are; "" where it can be."""


class Draft:
    """The changes by name of the setting, in the order in which they were made."""

    def __init__(self) -> None:
        self.changes: dict[str, Change] = {}
        self.objection = ""
        """Why they cannot be saved together, a sentence; "" where they can."""
        self.objection_at = ""
        """The setting whose change led to it."""

    @property
    def wrong(self) -> str:
        """The first setting whose new value cannot be, whatever the others are; "" for none."""
        return next((name for name, change in self.changes.items() if change.wanted), "")

    def values(self) -> dict[str, Value | None]:
        """What can be saved, as `Gateway.configure` takes it: all but what is wrong by itself."""
        return {name: change.value for name, change in self.changes.items() if not change.wanted}

    def put(self, setting: Setting, value: Value | None) -> None:
        """Change a setting, `None` to its default. What it has already is no change."""
        self.changes.pop(setting.name, None)
        if (setting.default if value is None else value) != setting.value:
            wanted = "" if value is None else setting.wanted_instead(value)
            self.changes[setting.name] = Change(value, setting.value, wanted)

    def object(self, sentence: str, at: str) -> None:
        """Note why the changes cannot be saved together; "" where they can.

        It stands where it stood first, also while other settings are changed.
        """
        if not sentence:
            self.objection_at = ""
        elif sentence != self.objection or self.objection_at not in self.changes:
            self.objection_at = at if at in self.changes else next(iter(self.changes), "")
        self.objection = sentence

    def clear(self) -> None:
        """Forget all of it."""
        self.changes.clear()
        self.object("", "")

    def settle(self, settings: Mapping[str, Setting]) -> None:
        """Drop what holds already, as after a save, or because somebody else has saved the same."""
        for name, change in list(self.changes.items()):
            setting = settings.get(name)
            if setting is None or shown(setting, change) == setting.value:
                del self.changes[name]
        if not self.changes:
            self.object("", "")


def shown(setting: Setting, change: Change | None) -> Value:
    """The value that a setting has, or gets with a change."""
    if change is None:
        return setting.value
    return setting.default if change.value is None else change.value

"""Password and keys: their names, and the questions that lead to a new one. None is kept, or shown, here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.settings.wording import label
from cme_tui.wording import count
from core.config import ConfigError
from core.secrets import GENERATED, Secrets, changed_secrets
from core.snapshot import Snapshot

if TYPE_CHECKING:
    from cme_tui.app import CmeApp

NEW_METER_KEY: Final = "meter_keys."
"""Name of the row that adds the key of a meter; with 8 digits it is that of a key."""

_FORMS: Final = {"lls_password": "1 to 64 printable ASCII characters"}
_KEY_FORM: Final = "32 hex digits"

Take = Callable[[str, str], None]
"""Called with the name and the new value of a secret."""


def names(secrets: Secrets) -> list[str]:
    """Those that there are, and the row that adds one."""
    meters = (f"{NEW_METER_KEY}{meter}" for meter in secrets.meter_keys)
    return [*GENERATED, *meters, NEW_METER_KEY]


def title(name: str) -> str:
    """What a secret is called."""
    if name == NEW_METER_KEY:
        return "Key of another meter"
    meter = _meter(name)
    return f"Key of meter {meter}" if meter else label(name)


def value(secrets: Secrets, name: str) -> str | bytes:
    """The secret itself; b"" where it is no more."""
    meter = _meter(name)
    found: str | bytes = secrets.meter_keys.get(meter, b"") if meter else getattr(secrets, name)
    return found


def form(name: str) -> str:
    """What it must be, in words."""
    return _FORMS.get(name, _KEY_FORM)


def replace(app: CmeApp, name: str, take: Take) -> None:
    """Ask for a new value, hidden and twice; for a new meter, first for its identification."""
    if name == NEW_METER_KEY:
        _ask_meter(app, take)
        return
    secrets = app.gateway.secrets()

    def again(first: str | None) -> None:
        if first is None:
            return
        app.push_screen(
            AskScreen(
                f"{title(name)}: the same again",
                wrong=lambda second: "" if second == first else "The two are not the same.",
                hidden=True,
            ),
            lambda second: take(name, second) if second is not None else None,
        )

    question = f"{title(name)}: {form(name)}, not shown while you type. {_effect(name, app.current)}"
    app.push_screen(AskScreen(question, wrong=lambda text: _refusal(secrets, name, text), hidden=True), again)


def generate(app: CmeApp, name: str, take: Callable[[str], None]) -> None:
    """Ask whether to make a new one at random; `take` is called with its name."""
    question = f"{title(name)}: make a new one at random? {_effect(name, app.current)} There is no undo."
    app.push_screen(ConfirmScreen(question, "Generate"), lambda yes: take(name) if yes else None)


def _ask_meter(app: CmeApp, take: Take) -> None:
    secrets = app.gateway.secrets()

    def wrong(text: str) -> str:
        if text in secrets.meter_keys:
            return f"{text} has a key; press Enter on its row to replace it."
        return _refusal(secrets, f"{NEW_METER_KEY}{text}", "0" * 32)

    def named(text: str | None) -> None:
        if text is not None:
            replace(app, f"{NEW_METER_KEY}{text}", take)

    app.push_screen(AskScreen("Identification of the meter: 8 digits, as printed on it.", wrong=wrong), named)


def _refusal(secrets: Secrets, name: str, text: str) -> str:
    try:
        changed_secrets(secrets, {name: text})
    except ConfigError as error:
        return str(error)
    return ""


def _effect(name: str, now: Snapshot) -> str:
    ciphered = sum(client.ciphering != "none" for client in now.associations)
    match name:
        case "lls_password":
            connected = count(len(now.associations), "client that is", "clients that are")
            return f"Head-end systems need it when they associate next; {connected} connected may go on."
        case "master_key":
            return "Head-end systems need it for the next key that they transfer."
        case "authentication_key" | "encryption_key":
            clients = count(ciphered, "ciphered client is", "ciphered clients are")
            return f"Head-end systems need it with their next request; {clients} connected."
    return "The meter's telegrams are deciphered with it from now on."


def _meter(name: str) -> str:
    return name.removeprefix(NEW_METER_KEY) if name.startswith(NEW_METER_KEY) else ""

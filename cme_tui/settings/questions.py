"""The question before a change of settings that cuts clients, or makes the gateway less secure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen

if TYPE_CHECKING:
    from cme_tui.app import CmeApp

LOWERING: Final = "lower"
"""What has to be typed to make the gateway less secure."""


def ask(app: CmeApp, lowered: Sequence[str], question: str, yes: str, go_on: Callable[[], None]) -> None:
    """Go on, after `question` where it is not ""; where something is `lowered`, only for a word."""
    if lowered:
        sentences = " ".join(filter(None, (*lowered, question)))
        screen = AskScreen(f"{sentences} Type {LOWERING} to do it all the same.", wrong=_other_word)
        app.push_screen(screen, lambda word: go_on() if word is not None else None)
    elif question:
        app.push_screen(ConfirmScreen(question, yes), lambda answer: go_on() if answer else None)
    else:
        go_on()


def _other_word(answer: str) -> str:
    return "" if answer.strip() == LOWERING else f"Type {LOWERING}, or leave with Esc."

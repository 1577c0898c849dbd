"""Telling a meter something: which command, with what, a question that names the effect, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.choose import ChooseScreen, Option
from cme_tui.screens.confirm import ConfirmScreen
from core.mbus.commands import (
    ApplicationReset,
    Command,
    SelectApplication,
    SetClock,
    SetPrimaryAddress,
    SwitchBaud,
)
from core.mbus.transport import BAUD_RATES

if TYPE_CHECKING:
    from cme_tui.app import CmeApp

RESULT_SECONDS: Final = 120.0
"""How long the result stands on the status line, unless something else is said; the event log keeps it."""

_COMMANDS: Final = (
    Option(1, "primary address", "give it another one"),
    Option(2, "baud rate", "faster or slower"),
    Option(3, "clock", "to the gateway's time"),
    Option(4, "application reset", "as after power-on"),
    Option(5, "application select", "what it sends"),
)
_RATES: Final = tuple(
    Option(baud, f"{baud} baud", "as most meters come" if baud == 2400 else "") for baud in BAUD_RATES
)


class Target(NamedTuple):
    """The meter that is told."""

    line: str
    address: str
    name: str
    installed: bool


def commission(app: CmeApp, target: Target) -> None:
    """Ask what to tell a meter, and tell it."""

    def chosen(number: int | None) -> None:
        match number:
            case 1:
                app.push_screen(
                    AskScreen("Which primary address, 1 to 250?", wrong=_wrong_address), addressed
                )
            case 2:
                app.push_screen(ChooseScreen("Which baud rate?", _RATES, 2400), switched)
            case 3:
                _confirm(app, target, SetClock(), "Set its clock to the gateway's time?")
            case 4:
                _confirm(
                    app, target, ApplicationReset(), "Reset its application? It answers as after power-on."
                )
            case 5:
                app.push_screen(AskScreen("Which subcode, 0 to 255?", wrong=_wrong_subcode), selected)

    def addressed(text: str | None) -> None:
        if text is not None:
            number = int(text)
            kept = " Its logical device stays the same for the head-end." if target.installed else ""
            _confirm(app, target, SetPrimaryAddress(number), f"Give it primary address {number}?{kept}")

    def switched(baud: int | None) -> None:
        if baud is not None:
            question = f"Switch it to {baud} baud? Where it does not answer then, its rate is looked for."
            _confirm(app, target, SwitchBaud(baud), question)

    def selected(text: str | None) -> None:
        if text is not None:
            question = f"Select application {int(text)}? It sends other values then, and a mapping may no longer fit."
            _confirm(app, target, SelectApplication(int(text)), question)

    app.push_screen(ChooseScreen(f"Tell {target.name} what?", _COMMANDS, 1), chosen)


def _confirm(app: CmeApp, target: Target, command: Command, question: str) -> None:
    def decided(yes: bool | None) -> None:
        if yes:
            app.run_worker(_tell(app, target, command))

    app.push_screen(
        ConfirmScreen(f"{target.name} at {target.address} on {target.line}. {question}", "Tell it"), decided
    )


async def _tell(app: CmeApp, target: Target, command: Command) -> None:
    future = app.gateway.command_meter(target.line, target.address, command)
    if await app.answer(future, f"Telling {target.name}, and reading it again"):
        app.say(f"● {target.name}: {future.result()}", "good", seconds=RESULT_SECONDS)
    app.pull()


def _wrong_address(text: str) -> str:
    number = text.strip()
    if number.isascii() and number.isdigit() and 1 <= int(number) <= 250:
        return ""
    return "Type a number from 1 to 250."


def _wrong_subcode(text: str) -> str:
    number = text.strip()
    if number.isascii() and number.isdigit() and int(number) <= 255:
        return ""
    return "Type a number from 0 to 255."

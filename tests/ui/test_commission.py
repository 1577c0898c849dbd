"""Telling a meter something: what is asked before, and what is said afterwards."""

from __future__ import annotations

import pytest

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.meter import MeterScreen
from core.mbus.commands import (
    ApplicationReset,
    SelectApplication,
    SetClock,
    SetPrimaryAddress,
    SwitchBaud,
)

COMMANDS = [
    (("enter", *"17", "enter"), SetPrimaryAddress(17)),
    (("down", "enter", "down", "enter"), SwitchBaud(4800)),
    (("down", "down", "enter"), SetClock()),
    ((*"reset", "enter"), ApplicationReset()),
    ((*"select", "enter", *"64", "enter"), SelectApplication(64)),
]


@pytest.mark.parametrize(("typed", "command"), COMMANDS, ids=lambda each: type(each).__name__)
async def test_a_command_is_told_after_a_question(session, typed, command):
    """To the meter that is shown; no leaves it alone."""
    async with session() as s:
        await s.press("f6", "down", "enter", "w", *typed)
        assert isinstance(s.screen, ConfirmScreen)
        await s.press("n")
        assert isinstance(s.screen, MeterScreen)
        assert not s.gateway.commands
        await s.press("w", *typed, "y")
        assert s.gateway.commands == [f"command main 5 {command}"]
        assert s.status.startswith(" ● gas boiler: The meter ")


async def test_the_question_says_what_stays(session):
    """A head-end knows the meter by its logical device."""
    async with session() as s:
        await s.press("f6", "down", "enter", "w", "enter", *"17", "enter")
        question = s.screen.query_one("Static").content
        assert "gas boiler at 5 on main. Give it primary address 17?" in question
        assert "Its logical device stays the same" in question


@pytest.mark.parametrize("number", ["0", "251", "x", "", "-1", "1.5", "²"])
async def test_an_address_that_is_none_is_refused_at_once(session, number):
    """Below the field, which keeps what was typed."""
    async with session() as s:
        await s.press("f6", "down", "enter", "w", "enter", *number, "enter")
        assert isinstance(s.screen, AskScreen)
        assert "1 to 250" in str(s.screen.query_one("#wrong").content)
        assert not s.gateway.commands


async def test_a_refusal_stands_on_the_status_line(session):
    """With the reason."""
    async with session() as s:
        s.gateway.refused[SetPrimaryAddress] = "Address 17 is that of water kitchen; choose a free one."
        await s.press("f6", "down", "enter", "w", "enter", *"17", "enter", "y")
        assert s.status == " ✗ Address 17 is that of water kitchen; choose a free one."

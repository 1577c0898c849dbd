"""The settings screen over a running gateway: what is saved with its keys, DLMS clients see."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dlms_wire import CipheredWire, Wire, aarq, fetch
from test_settings_live import NAME, PERIOD, Plant, free_port, goes_on
from textual import events

from cme_tui.app import CmeApp
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Table
from core.config import load_config
from core.dlms import axdr
from core.secrets import load_secrets


class Operator:
    """Somebody with the settings screen of the plant in front of them."""

    def __init__(self, app, pilot):
        self.app, self.pilot = app, pilot

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.settle()

    async def settle(self):
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    async def go(self, words):
        """Put the cursor on the first row with these words, by the filter."""
        await self.press("slash", "ctrl+u")
        self.app.post_message(events.Paste(words))
        await self.press("enter", "home")

    async def set(self, words, text):
        """Type a value for a setting."""
        await self.go(words)
        await self.press("enter", "end", "ctrl+u")
        self.app.post_message(events.Paste(text))
        await self.press("enter")

    def lines(self, name):
        return self.app.screen.query_one(name, Lines).text

    async def saved(self, *keys):
        """Press s, answer with `keys`, and wait for the bar to say that all is saved."""
        await self.press("s")
        if keys:
            await self.press(*keys)
        assert not self.lines("#changes"), self.lines("#about")
        assert "saved and in force" in self.lines("#status")


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant(tmp_path / "state")
    await plant.begin()
    yield plant
    await asyncio.to_thread(plant.gateway.stop)
    plant.line.close()


@contextlib.asynccontextmanager
async def operator(plant):
    app = CmeApp(plant.gateway)
    async with app.run_test(size=(80, 24)) as pilot:
        someone = Operator(app, pilot)
        await someone.press("f3")
        yield someone


async def test_a_client_sees_port_and_intervals_and_goes_on(plant: Plant) -> None:
    """It stays on the old port, reads the new capture period, and others find the new port."""
    port = free_port()
    async with Wire(plant.port) as wire, operator(plant) as who:
        await wire.ask(aarq(plant.password))
        await goes_on(wire)
        await who.set("dlms.port", str(port))
        await who.set("profiles.load_profile_1", "30 min")
        await who.press("slash", "escape")
        assert "2 changes" in who.lines("#changes")
        assert "1 client stays connected" in who.lines("#changes")
        assert axdr.decode(await fetch(wire, PERIOD)).content == 3600
        await who.saved()
        await goes_on(wire)
        assert axdr.decode(await fetch(wire, PERIOD)).content == 1800
        assert await plant.answer(port) == 0
        with pytest.raises(ConnectionRefusedError):
            await plant.answer(plant.port)
        await who.press("u", "y")
        assert "taken back" in who.lines("#status")
        await goes_on(wire)
        assert axdr.decode(await fetch(wire, PERIOD)).content == 3600
    assert await plant.answer(plant.port) == 0


async def test_a_port_that_is_taken_says_so_before_the_save(plant: Plant) -> None:
    """On leaving the field; nothing is saved, the client goes on."""
    before = plant.file.path.read_bytes()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        async with Wire(plant.port) as wire, operator(plant) as who:
            await wire.ask(aarq(plant.password))
            await who.set("dlms.port", str(other.getsockname()[1]))
            assert "choose another port" in who.lines("#about").replace("\n ", " ")
            await who.press("s")
            assert "Nothing is saved" in who.lines("#status")
            await goes_on(wire)
    assert plant.file.path.read_bytes() == before


async def test_authentication_and_policy_are_those_of_the_screen(plant: Plant) -> None:
    """High refuses a password, the policy wants ciphering; both are lowered with the word only."""
    async with operator(plant) as who:
        await who.set("dlms.authentication", "high")
        await who.saved()
        assert await plant.answer(plant.port) != 0
        await who.set("dlms.policy", "authenticated-encrypted")
        await who.saved()
        keys = load_secrets(plant.state_dir / "secrets.toml")
        async with CipheredWire(
            plant.port, encryption=keys.encryption_key, authentication=keys.authentication_key
        ) as wire:
            assert (await wire.open())[0] == 0xC7
            await who.set("dlms.inactivity_timeout", "600")
            await who.saved()
            assert (await wire.ask_ciphered(NAME))[:4] == bytes.fromhex("c401c100")
        await who.set("dlms.policy", "none")
        await who.set("dlms.authentication", "low")
        await who.press("s", *"yes", "enter", "escape")
        assert await plant.answer(plant.port) != 0
        await who.saved(*"lower", "enter")
        assert await plant.answer(plant.port) == 0


async def test_dlms_off_cuts_the_client_after_a_question(plant: Plant) -> None:
    """No leaves it connected; yes cuts it, and on lets it in again."""
    async with operator(plant) as who:
        async with Wire(plant.port) as wire:
            await wire.ask(aarq(plant.password))
            await plant.until("the client", lambda seen: len(seen.associations) == 1)
            who.app.pull()
            await who.go("dlms.enabled")
            await who.press("space", "s", "n")
            await goes_on(wire)
            await who.saved("y")
        with pytest.raises(ConnectionRefusedError):
            await plant.answer(plant.port)
        await who.press("space")
        await who.saved()
        assert await plant.answer(plant.port) == 0


async def test_a_new_password_holds_at_once(plant: Plant) -> None:
    """Pasted twice; the old one is refused. A generated key is another one in the file."""
    old = plant.password
    async with operator(plant) as who:
        await who.go("lls")
        await who.press("enter")
        for _ in range(2):
            who.app.post_message(events.Paste("blue horse 7"))
            await who.press("enter")
        assert await plant.answer(plant.port, old) != 0
        assert await plant.answer(plant.port, b"blue horse 7") == 0
        before = load_secrets(plant.state_dir / "secrets.toml")
        await who.go("master")
        await who.press("g", "y")
        after = load_secrets(plant.state_dir / "secrets.toml")
        assert (after.lls_password, after.master_key != before.master_key) == ("blue horse 7", True)
        await who.press("v")
        assert after.master_key.hex().upper() in who.lines("#about")


async def test_what_a_head_end_and_a_command_change_shows_on_the_screen(plant: Plant) -> None:
    """The newest value stands in the list, and a change of the same setting is marked."""
    async with operator(plant) as who:
        await who.set("dlms.inactivity_timeout", "60")
        await plant.save(dlms__inactivity_timeout=90)
        who.app.pull()
        assert who.app.screen.query_one(Table).text_of(0).startswith("!")
        assert "It was set to 90 s meanwhile" in who.lines("#about")
        await who.saved()
    assert load_config(plant.file.path).dlms.inactivity_timeout == 60

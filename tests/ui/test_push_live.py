"""The push screen over a running gateway, with a head-end that first refuses and then takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cme_tui.app import CmeApp
from cme_tui.screens.push import PushScreen
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Table
from core.config import load_config
from core.facade import RunOptions
from core.launch import open_gateway
from core.push.received import Received
from core.push.receiver import Receiver

LIMIT = 60.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Walk:
    """A technician at the keys of a demo gateway."""

    def __init__(self, app: CmeApp, pilot) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    async def answer(self, text: str) -> None:
        self.app.screen.query_one("#answer").value = text
        await self.press("enter")

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not holds():
                self.app.pull()
                await self.pilot.pause(0.05)

    def lines(self, name: str) -> str:
        return self.app.screen.query_one(name, Lines).text

    def rows(self, name: str) -> list[str]:
        table = self.app.screen.query_one(name, Table)
        return [table.text_of(index) for index in range(table.row_count)]


@pytest.fixture
async def walk(tmp_path: Path) -> AsyncIterator[Walk]:
    gateway = await asyncio.to_thread(open_gateway, RunOptions(tmp_path, demo=True, dlms_port=0))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, gateway.stop)
        app = CmeApp(gateway)
        yield Walk(app, await stack.enter_async_context(app.run_test(size=(120, 40))))


async def test_from_no_report_to_delivered(walk: Walk, tmp_path: Path) -> None:
    """HES and report are set, nobody listens; the screen says so; a receiver comes, and what waited is delivered to it.

    The calendar shows it, and a save is taken back.
    """
    port = free_port()
    await walk.until(lambda: all(meter.last_reading_ms for meter in walk.app.current.meters))
    await walk.press("f5", "h")
    await walk.answer(f"127.0.0.1:{port} 7")
    await walk.press("enter", "space")
    assert load_config(tmp_path / "config.toml").push.receiver("load_profile_1") == ("127.0.0.1", port, 7)
    await walk.press("escape", "t")
    await walk.until(lambda: "✗ 127.0.0.1" in walk.lines("#destinations"))
    assert "refuses connections" in walk.lines("#destinations")
    assert len(walk.rows("#ledger")) == 1
    await walk.until(lambda: "! waiting" in walk.rows("#ledger")[0])

    received: list[Received] = []
    receiver = Receiver(received.append)
    await receiver.start("127.0.0.1", port)
    await walk.press("y")
    await walk.until(lambda: "● delivered" in walk.rows("#ledger")[0])
    assert [(each.report_id, each.client_sap, each.problem) for each in received] == [(1, 7, "")]
    await walk.press("s")
    meters = len(walk.app.current.meters)
    await walk.until(lambda: len(walk.rows("#ledger")) == 1 + meters)
    await walk.press("y")
    await walk.until(lambda: all("● delivered" in row for row in walk.rows("#ledger")))
    assert {each.content.type for each in received if each.content} == {"load_profile_1"}
    await walk.until(lambda: "● 127.0.0.1" in walk.lines("#destinations"))

    await walk.press("tab", "enter")
    await walk.until(lambda: "data notification" in " ".join(walk.rows("#parts")))
    await walk.press("escape", "tab", "c")
    await walk.until(lambda: all("●" in row for row in walk.rows("#days")))
    await walk.press("r", "y")
    await walk.until(lambda: len(received) == 2 + meters)
    await walk.press("escape")
    assert isinstance(walk.app.screen, PushScreen)
    await walk.press("enter", "u", "y")
    assert load_config(tmp_path / "config.toml").push.report("load_profile_1") is None
    await receiver.stop()

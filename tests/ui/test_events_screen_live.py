"""The events of a real gateway: what a DLMS client causes is on the screen, and in the log that a client reads."""

from __future__ import annotations

import asyncio
import time

from dlms_wire import Wire, aarq, fetch, get

from cme_tui.app import CmeApp
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Table
from core.dlms import axdr
from core.facade import RunOptions
from core.launch import open_gateway

LIMIT = 60.0
FRAUD_LOG = bytes((0, 0, 99, 98, 1, 255))


def rows(app: CmeApp) -> list[str]:
    table = app.screen.query_one("#events", Table)
    return [table.text_of(index) for index in range(table.row_count)]


async def until(app: CmeApp, pilot, holds) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, "that is never on the screen"
        await pilot.pause(0.05)
        app.pull()


async def test_a_client_with_a_wrong_password_is_on_the_screen(tmp_path):
    """In the fraud log with its address, on the Overview, and in the log that the head-end reads."""
    gateway = open_gateway(RunOptions(tmp_path, demo=True, dlms_port=0))
    try:
        app = CmeApp(gateway)
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("f7", "l", "l")
            await until(
                app, pilot, lambda: "gateway, fraud log" in app.screen.query_one("#count", Lines).text
            )
            assert rows(app) == []
            port = gateway.snapshot().dlms.port
            async with Wire(port, server=1) as wire:
                await wire.ask(aarq(b"wrong"))
            await until(app, pilot, lambda: len(rows(app)) == 1)
            assert " gateway ! fraud 46 Association authentication failure " in rows(app)[0]
            assert "127.0.0.1:" in rows(app)[0]
            await pilot.press("f2")
            await until(app, pilot, lambda: "! fraud log: " in app.screen.query_one("#alarms", Lines).text)
            async with Wire(port, server=1) as wire:
                await wire.ask(aarq(gateway.secrets().lls_password.encode()))
                buffer = axdr.decode(await fetch(wire, get(7, FRAUD_LOG, 2))).content
            assert [row.content[1].content for row in buffer] == [46]
    finally:
        await asyncio.to_thread(gateway.stop)

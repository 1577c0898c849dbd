"""SIGKILL in the middle of an import, while the running gateway is told to read the folder: it serves old or new."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dlms_wire import AARQ_NONE, Wire, fetch, get
from gateway_process import LIMIT, GatewayProcess
from test_mapping_changes import LITRE, VOLUME_NAME, WATER, Cabinet, entry

from cme_tui.client import ask
from core.dlms import axdr

KILLS = 12
RESTARTS = 3
FILE = "water.json"

_IMPORTS = """
import sys
from pathlib import Path
from cme_tui.commands import mapping
state, *files = map(Path, sys.argv[1:])
while True:
    for file in files:
        assert mapping.add(state, file, replace=True) == 0
"""
"""`cme-tui mapping add --replace` of each file again and again; a line for each on stdout."""


def large(scaler: int) -> dict[str, Any]:
    """A mapping file that takes a while to write."""
    ballast = [chr(0x61 - scaler) * 1000] * 800
    entries = [entry(dlmsScaler=scaler)]
    return {"type": "water", "manufacturer": "all", "version": 0, "vendor": ballast, "entries": entries}


async def volume(port: int) -> tuple[int, Decimal]:
    """The scaler, and the volume in m³ that a new client makes of it; again where the mapping changed in between."""
    async with Wire(port, server=WATER) as wire:
        while True:
            await wire.ask(AARQ_NONE)
            content = axdr.decode(await fetch(wire, get(3, VOLUME_NAME, 3))).content
            assert isinstance(content, list)
            scaler = content[0].content
            assert isinstance(scaler, int)
            answer = await wire.ask(get(3, VOLUME_NAME, 2))
            if answer[3] == 0:
                value = axdr.decode(answer[4:]).content
                assert isinstance(value, int)
                return scaler, Decimal(value).scaleb(scaler)


@pytest.mark.slow
async def test_a_killed_import_leaves_old_or_new(
    tmp_path: Path, start: Callable[..., GatewayProcess]
) -> None:
    """To the gateway that runs and to the one that starts after a SIGKILL of its own; and no litter that grows."""
    cabinet = Cabinet(tmp_path / "state")
    await cabinet.prepare()
    scalers = (LITRE, LITRE - 3)
    sources = []
    for scaler in scalers:
        sources.append(tmp_path / str(scaler) / FILE)
        sources[-1].parent.mkdir()
        sources[-1].write_text(json.dumps(large(scaler)))
    (cabinet.state.mappings / FILE).write_text(sources[0].read_text())
    gateway = await asyncio.to_thread(start, cabinet.state.path)
    chance = random.Random(4)
    for number in range(KILLS):
        await asyncio.to_thread(kill_an_import, cabinet, sources, chance)
        for _ in range(2):
            scaler, shown = await volume(gateway.port)
            assert (scaler in scalers, shown) == (True, cabinet.sent[-1]["0c13"])
            await asyncio.to_thread(ask, cabinet.state.path, "reload")
        assert await asyncio.to_thread(mapping_alarms, cabinet) == []
        assert len(files(cabinet)) <= 4, (
            "the file, the one before for an undo, and what the last import left of each"
        )
        if number % (KILLS // RESTARTS) == 0:
            await asyncio.to_thread(gateway.stop, signal.SIGKILL)
            gateway = await asyncio.to_thread(start, cabinet.state.path)
    await asyncio.to_thread(add, cabinet, sources[0])
    assert files(cabinet) == [FILE, FILE]
    assert await volume(gateway.port) == (LITRE, cabinet.sent[-1]["0c13"])


def files(cabinet: Cabinet) -> list[str]:
    """What is in the folder of mappings, and in the one beside it from which the last change is taken back."""
    return [each.name for each in cabinet.state.path.glob("mappings*/*")]


def mapping_alarms(cabinet: Cabinet) -> list[str]:
    return [each for each in ask(cabinet.state.path, "status")["alarms"] if each.startswith("Mapping ")]


def kill_an_import(cabinet: Cabinet, sources: list[Path], chance: random.Random) -> None:
    """Begin imports, have the gateway reload meanwhile, and kill what imports at any moment."""
    arguments = [sys.executable, "-c", _IMPORTS, str(cabinet.state.path), *map(str, sources)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as imports:
        assert imports.stdout is not None
        for _ in range(chance.randrange(1, 4)):
            assert imports.stdout.readline().endswith(b"The running gateway uses it.\n")
        ask(cabinet.state.path, "reload")
        try:
            imports.wait(chance.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            imports.kill()
        assert imports.wait(LIMIT) == -signal.SIGKILL


def add(cabinet: Cabinet, path: Path) -> None:
    arguments = ["mapping", "add", "--replace", str(path), "--state-dir", str(cabinet.state.path)]
    subprocess.run(
        [sys.executable, "-m", "cme_tui", *arguments], check=True, timeout=LIMIT, capture_output=True
    )

"""SET, ACTION and general block transfer with a client that others wrote, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from dlms_actor import Actor
from dlms_plant import Plant

from core.dlms.limits import ServerLimits

CLIENT = Path(__file__).parent / "pydlms_services.py"
LIMIT = 60.0  # seconds


@pytest.mark.parametrize(
    ("apdu", "arguments"),
    [(1024, ["1024"]), (200, ["200"]), (512, ["128"]), (200, ["300", "1"]), (200, ["300", "63"])],
    ids=["PDU 1024", "PDU 200", "PDU 512 and 128", "general blocks", "general blocks that stream"],
)
async def test_pydlms_writes_and_invokes(plant: Plant, apdu: int, arguments: list[str]) -> None:
    """Short and long values, lists, refusals: it gets what it expects, and the object gets what it sent."""
    actor = Actor.in_plant(plant)
    server = plant.server(ServerLimits(apdu=apdu))
    await server.start("127.0.0.1", 0)
    process = await asyncio.create_subprocess_exec(
        sys.executable, CLIENT, str(server.port), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
        await server.stop()
    assert process.returncode == 0
    long = [bytes(number % 256 for number in range(size)) for size in (3, 100, 1000, 3000)]
    assert actor.done == [*long, *long, long[1][:5], *[long[2][:180]] * 2, *[long[1][:90]] * 2]
    assert json.loads(output) == {
        "echoes": [True] * 4,
        "nothing": True,
        "results": [0, 4, 0],
        "outcomes": [True, True, True],
    }

"""A running server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from dlms_actor import Actor
from dlms_plant import Plant
from dlms_wire import AARQ_LLS, Wire

from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer


@pytest.fixture
def plant() -> Plant:
    return Plant()


@pytest.fixture
async def server(plant: Plant) -> AsyncIterator[DlmsServer]:
    """A server on a free port, which takes no time to refuse."""
    server = plant.server(
        ServerLimits(rejection=0.01, slowdown=0.01, slowdown_most=0.02, wait=0.5, change=0.5)
    )
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
def actor(plant: Plant) -> Actor:
    """An object of the plant with methods, and a note to write."""
    return Actor.in_plant(plant)


@pytest.fixture
async def wire(actor: Actor, server: DlmsServer) -> AsyncIterator[Wire]:
    """A client with LLS; `actor` is in the plant."""
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        yield wire

"""A store of its own and a clock that the test sets, for everything that logs events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.events import Events
from core.store import Store

NOON = 1_767_960_000_000
"""2026-01-09 12:00:00 UTC."""


class HandClock:
    """Shows what the test sets."""

    def __init__(self) -> None:
        self.ms = NOON

    def now_ms(self) -> int:
        return self.ms

    def seconds_until(self, moment_ms: int) -> float:
        return max(moment_ms - self.ms, 0) / 1000


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "gateway.db")
    yield opened
    await opened.close()


@pytest.fixture
async def events(store: Store, clock: HandClock) -> AsyncIterator[Events]:
    opened = await Events.open(store, clock)
    yield opened
    await opened.close()

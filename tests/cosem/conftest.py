"""What several tests of COSEM objects share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_meter import START, Bench

from core.clock import SystemClock
from core.config_file import ConfigFile, Given
from core.events import Events
from core.interval import Interval
from core.secrets import ensure_secrets
from core.security import Security
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store
from tests.cosem.house import BERLIN, House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    state = StateDir(tmp_path)
    state.create()
    bench = Bench()
    config = ConfigFile(state.config).prepare(Given(serial="0016000000"))
    secrets = ensure_secrets(state.secrets)
    store = await Store.open(state.database)
    intervals = {1: Interval.parse("1 h"), 2: Interval.parse("1 d"), 3: Interval.parse("1 month")}
    await store.set_profiles(intervals, BERLIN)
    bench.meter.key = await store.install_meter("cellar", str(bench.meter.address), START)
    frames = bench.simulated.telegrams_at(START / 1000)
    await store.add_reading(Reading(bench.meter.key, "cellar", START, MeterState.OK, frames))
    bench.take()
    events = await Events.open(store, bench.clock)
    security = await Security.open(
        store, state, secrets, config, fresh=True, clock=SystemClock(), changed=events.log
    )
    yield House(store, events, security, bench)
    await security.close()
    await events.close()
    await store.close()

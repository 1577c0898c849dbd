"""A schedule that a line cannot keep is told before it is saved, while it holds, and no longer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import cme_tui

from core.clock import SystemClock
from core.control import status_json
from core.errors import CmeError
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway

METERS = 100  # at 300 baud they need some 9 min
SHORT = {"readout.interval": "5 min"}
SENTENCE = r"Line cellar: 5 min cycle, this line needs \d+ min\. Choose a readout interval of 1\d min, .*"

CONFIG = """\
[dlms]
host = "127.0.0.1"
[readout]
interval = "15 min"
[profiles]
load_profile_1 = "1 h"
[[line]]
name = "cellar"
url = "sim:"
baud = 300
"""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    meters = "".join(f"[[meter]]\naddress = {number}\n" for number in range(1, METERS + 1))
    (tmp_path / "config.toml").write_text(CONFIG + meters)
    running = await asyncio.to_thread(open_gateway, RunOptions(tmp_path, dlms_port=0))
    yield running
    await asyncio.to_thread(running.stop)


async def test_a_cycle_that_does_not_fit_is_told_before_and_while_it_holds(gateway: RunningGateway) -> None:
    """Beforehand by `misfits`; then as an alarm and with the line, until the interval is longer again."""
    assert await asyncio.wrap_future(gateway.misfits({"dlms.inactivity_timeout": 60})) == ()
    (before,) = await asyncio.wrap_future(gateway.misfits(SHORT))
    assert re.fullmatch(SENTENCE, before)
    schedule = gateway.snapshot().lines[0].schedule
    assert schedule is not None
    assert (schedule.interval, schedule.fits, schedule.sentence) == ("15 min", True, "")
    await asyncio.wrap_future(gateway.configure(SHORT))
    snapshot = gateway.snapshot()
    assert [alarm for alarm in snapshot.alarms if re.fullmatch(SENTENCE, alarm)]
    told = status_json(snapshot, SystemClock().now_ms())["lines"][0]["schedule"]
    assert told["interval"] == "5 min"
    assert told["interval_s"] == 300 < told["cost_s"]
    assert not told["fits"]
    assert f"Line cellar: {told['sentence']}" in snapshot.alarms
    # It does not fit as it is: a change that does not make it so says nothing.
    assert await asyncio.wrap_future(gateway.misfits({"dlms.inactivity_timeout": 60})) == ()
    await asyncio.wrap_future(gateway.undo())
    assert not [alarm for alarm in gateway.snapshot().alarms if re.fullmatch(SENTENCE, alarm)]


async def test_what_cannot_be_saved_is_not_weighed(gateway: RunningGateway) -> None:
    """An interval that is none is refused as `configure` refuses it."""
    with pytest.raises(CmeError, match="readout"):
        await asyncio.wrap_future(gateway.misfits({"readout.interval": "7 min"}))


async def test_the_commands_tell_it_too(gateway: RunningGateway, tmp_path: Path) -> None:
    """`config set` when it has saved the interval, `status` as text and as JSON for as long as it holds."""

    def run(*arguments: str) -> str:
        done = cme_tui("--state-dir", str(tmp_path), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    saved = await asyncio.to_thread(run, "config", "set", "readout.interval", "5 min")
    assert re.search(rf"^{SENTENCE}$", saved, re.MULTILINE)
    text = await asyncio.to_thread(run, "status")
    assert re.search(r"^Line cellar .*; 5 min cycle, this line needs \d+ min\.", text, re.MULTILINE)
    as_json = await asyncio.to_thread(run, "status", "--json")
    assert json.loads(as_json)["lines"][0]["schedule"]["fits"] is False

"""A schedule that a line cannot keep is told before it is saved, while it holds, and no longer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import cme_tui

from core.clock import SystemClock
from core.config import MeterConfig
from core.config_tables import LineChange, MeterChange, NewMeters
from core.control import status_json
from core.errors import CmeError
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.address import PrimaryAddress
from core.timing import readout_s

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


async def test_meters_that_are_too_many_are_told_before_they_are_installed(gateway: RunningGateway) -> None:
    """Nothing is changed by that, and nothing is said of what fits or stays as it is."""
    config = gateway.config()
    (told,) = await asyncio.wrap_future(
        gateway.misfits(NewMeters([MeterConfig("cellar", number) for number in range(101, 201)]))
    )
    assert re.fullmatch(
        r"Line cellar: 15 min cycle, this line needs \d+ min\. Choose a readout interval of 30 min, .*", told
    )
    key = gateway.snapshot().meters[0].key
    for change in (
        MeterChange(key, {"interval": "5 min"}),
        LineChange("cellar", {"name": "attic", "baud": 2400}),
    ):
        assert await asyncio.wrap_future(gateway.misfits(change)) == ()
    assert gateway.config() == config


async def test_a_slower_line_and_a_meter_that_comes_to_it_are_weighed(gateway: RunningGateway) -> None:
    """With what their meters are known to need there; a change that fails is refused as it would be."""
    await asyncio.wrap_future(gateway.change_line("cellar", {"baud": 600}))
    await asyncio.wrap_future(gateway.configure(SHORT))
    assert await asyncio.wrap_future(gateway.misfits(LineChange("cellar", {"baud": 1200}))) == ()
    (slower,) = await asyncio.wrap_future(
        gateway.misfits(LineChange("cellar", {"baud": 300, "name": "attic"}))
    )
    assert re.fullmatch(SENTENCE.replace("cellar", "attic"), slower)
    with pytest.raises(CmeError, match="no line"):
        await asyncio.wrap_future(gateway.misfits(MeterChange(1, {"line": "nowhere"})))
    with pytest.raises(CmeError, match="installed already"):
        await asyncio.wrap_future(gateway.misfits(NewMeters([MeterConfig("cellar", 5)])))


async def run(state_dir: Path, *arguments: str) -> CompletedProcess[str]:
    done = await asyncio.to_thread(cme_tui, "--state-dir", str(state_dir), *arguments)
    assert done.returncode == 0, done.stderr
    return done


async def test_the_commands_tell_it_too(gateway: RunningGateway, tmp_path: Path) -> None:
    """`config set` on stderr before it saves, `status` as text and as JSON for as long as it holds."""
    saved = await run(tmp_path, "config", "set", "readout.interval", "5 min")
    assert re.fullmatch(SENTENCE, saved.stderr.strip())
    text = await run(tmp_path, "status")
    assert re.search(r"^Line cellar .*; 5 min cycle, this line needs \d+ min\.", text.stdout, re.MULTILINE)
    as_json = await run(tmp_path, "status", "--json")
    assert json.loads(as_json.stdout)["lines"][0]["schedule"]["fits"] is False
    other = await run(tmp_path, "config", "set", "gateway.name", "cellar 1")
    assert other.stderr == ""  # it does not fit as it is


async def test_a_stopped_gateway_is_weighed_too(tmp_path: Path) -> None:
    """`meters add`, `meters import` with its dry run, and `config set`; one meter more is one too many."""
    most = int(900 // readout_s(300, PrimaryAddress(1)))
    meters = "".join(f"[[meter]]\naddress = {number}\n" for number in range(1, most))
    (tmp_path / "config.toml").write_text(CONFIG + meters)
    sentence = r"Line cellar: 15 min cycle, this line needs 16 min\. Choose a readout interval of 30 min, .*"
    assert (await run(tmp_path, "meters", "add", str(most))).stderr == ""
    told = await run(tmp_path, "meters", "add", str(most + 1))
    assert re.fullmatch(sentence, told.stderr.strip())
    assert "is installed" in told.stdout
    (tmp_path / "more.csv").write_text("primary address\n" + "".join(f"{most + 2 + n}\n" for n in range(20)))
    planned = await run(tmp_path, "meters", "import", str(tmp_path / "more.csv"), "--dry-run", "--json")
    assert json.loads(planned.stdout)["misfits"] == [planned.stderr.strip()]
    assert re.fullmatch(sentence.replace("16 min", "17 min"), planned.stderr.strip())
    saved = await run(
        tmp_path, "config", "set", "readout.interval", "10 min", "profiles.load_profile_1", "1 h"
    )
    assert saved.stderr.startswith("Line cellar: 10 min cycle, this line needs 16 min.")

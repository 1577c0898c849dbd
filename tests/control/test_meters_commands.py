"""`cme-tui meters`: installing, lists, keys and commands, on a gateway in a process of its own and on a stopped one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import cme_tui
from gateway_process import GatewayProcess
from test_core import port_of, serve, simulated

from core.config import load_config
from core.mbus.simulator import Encryption, SimulatedBus
from core.secrets import load_secrets
from core.statedir import StateDir

KEY = "00112233445566778899AABBCCDDEEFF"
FALCON = "70112345.ELS.0A.07"

CONFIG = """\
# Kellerweg 4
[dlms]
host = "127.0.0.1"
port = 4059

[[line]]
name = "cellar"
url = "tcp:127.0.0.1:{line}"
margin_ms = 20
"""


class Site:
    """A state directory with a line of an encrypted water meter at 5 and a heat meter at 6."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = StateDir(path)
        self.processes: list[GatewayProcess] = []

    async def prepare(self) -> asyncio.Server:
        self.water, heat = simulated("70112345", 5), simulated("06855817", 6)
        self.water.encryption = Encryption(5, bytes.fromhex(KEY))
        server = await serve(SimulatedBus([self.water, heat]))
        self.state.create()
        self.state.config.write_text(CONFIG.format(line=port_of(server)))
        return server

    async def run(self) -> None:
        self.processes.append(await asyncio.to_thread(GatewayProcess, self.path))

    async def meters(self, *arguments: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(cme_tui, "meters", *arguments, "--state-dir", str(self.path))

    async def done_meters(self, *arguments: str) -> str:
        done = await self.meters(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def addresses(self) -> list[str]:
        return [str(meter.address) for meter in load_config(self.state.config).meters]

    def file(self, text: str, mode: int = 0o600) -> str:
        path = self.path.with_name("meters.csv")
        path.write_text(text)
        path.chmod(mode)
        return str(path)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path / "state")
    server = await site.prepare()
    yield site
    for process in site.processes:
        process.process.kill()
        await asyncio.to_thread(process.process.wait)
    server.close()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_meters_are_added_and_removed(site: Site, running: bool) -> None:
    """Comments stay; what cannot be is refused in one line with exit 2, and nothing changes."""
    if running:
        await site.run()
    told = await site.done_meters("add", "6", "--name", "heat", "--interval", "1 h", "--baud", "300")
    assert ("next start" in told) is not running
    await site.done_meters("add", FALCON, "--line", "cellar")
    (heat, water) = load_config(site.state.config).meters
    assert (heat.name, heat.address, str(heat.interval), heat.baud, heat.line) == (
        "heat",
        6,
        "1 h",
        300,
        "cellar",
    )
    assert water.address == FALCON
    assert site.state.config.read_text().startswith("# Kellerweg 4\n")
    before = site.state.config.read_bytes()
    for wrong in (("6",), ("70112345",), ("nonsense",), ("7", "--line", "attic"), ("7", "--baud", "5")):
        done = await site.meters("add", *wrong)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert (await site.meters("remove", "heat", "nobody")).returncode == 2
    assert site.state.config.read_bytes() == before
    assert "2 meters removed" in await site.done_meters("remove", "heat", FALCON)
    assert site.addresses() == []


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_a_list_is_installed_with_its_keys(site: Site, running: bool) -> None:
    """After a dry run that changes nothing; the second time everything is there. No key is ever printed."""
    if running:
        await site.run()
    await site.done_meters("add", "6")
    text = f"Name;Secondary address;Primary address;Key\nflat 1;70112345;;{KEY}\nheat;;6;\n"
    path = site.file(text, 0o644)
    before = site.state.config.read_bytes()
    dry = await site.meters("import", path, "--dry-run")
    assert "1 meter would be installed, 1 there already, 1 key would be saved" in dry.stdout
    assert site.state.config.read_bytes() == before
    done = await site.meters("import", path)
    assert done.returncode == 0
    assert "row 2: 70112345 on cellar  flat 1: installed" in done.stdout
    assert "row 3: 6 on cellar  heat: is there already" in done.stdout
    assert done.stderr.startswith("Others can read")
    assert KEY not in done.stdout + done.stderr
    assert site.addresses() == ["6", "70112345"]
    assert load_secrets(site.state.secrets).meter_keys == {"70112345": bytes.fromhex(KEY)}
    site.file(text)
    again = json.loads(await site.done_meters("import", path, "--json"))
    assert (again["installed"], [row["row"] for row in again["present"]], again["keys"]) == ([], [2, 3], 1)
    if running:
        read = json.loads(await site.done_meters("read", "flat 1", "--json"))
        assert (read["state"], read["values"][0]["unit"]) == ("ok", "m3")
        assert "70112345" in await site.done_meters("export")


async def test_a_list_with_a_mistake_installs_nothing(site: Site) -> None:
    """All mistakes are told with their rows, none of the keys is, and not even the keys are saved."""
    path = site.file(f"id;baud;key\n70112345;2400;{KEY}\n1;77;{KEY}\n2;;{KEY[:-1]}\n")
    before = site.state.config.read_bytes()
    done = await site.meters("import", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Row 3: baud" in done.stderr
    assert "Row 4: the key must be 32 hex digits, not 31" in done.stderr
    assert KEY[:-1] not in done.stderr
    assert site.state.config.read_bytes() == before
    assert not site.state.secrets.exists()


async def test_a_running_gateway_opens_what_it_kept_when_the_keys_come(site: Site) -> None:
    """A meter without its key says so, and what to do; with the file of its manufacturer it has values."""
    await site.run()
    await site.done_meters("add", "5", "--name", "flat 1")
    done = await site.meters("read", "flat 1")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "meter_keys.70112345" in done.stderr
    (listed,) = json.loads(await site.done_meters("list", "--json"))
    assert listed["status"] == "no key"
    told = await site.done_meters("keys", site.file(f"70112345;{KEY}\n00000001;{KEY}\n"))
    assert told.startswith("2 keys saved.\n")
    assert KEY not in told
    assert "m3" in await site.done_meters("read", "flat 1")


async def test_a_meter_is_told_its_address(site: Site) -> None:
    """With --yes, since nobody can be asked here; by --line and address where it is not installed."""
    await site.run()
    await site.done_meters("add", "6", "--name", "heat")
    done = await site.meters("set-address", "heat", "66")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--yes" in done.stderr
    told = await site.done_meters("set-address", "heat", "66", "--yes")
    assert "answers at primary address 66 now" in told
    assert site.addresses() == ["66"]
    assert site.water.address == 5
    result = json.loads(
        await site.done_meters("set-address", "70112345", "55", "--line", "cellar", "--yes", "--json")
    )
    assert "55 now" in result["result"]
    assert site.water.address == 55
    for wrong in (("set-address", "heat", "251"), ("set-baud", "heat", "77"), ("select", "heat", "256")):
        assert (await site.meters(*wrong, "--yes")).returncode == 2
    refused = await site.meters("set-baud", "heat", "300", "--yes")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


async def test_bad_input_is_told_from_a_failure(site: Site) -> None:
    """Exit 2 for names, addresses and files that are none, 1 for what could not be done; one line on stderr."""
    await site.run()
    await site.done_meters("add", "99", "--name", "silent")
    bad = (
        ("doctor", "attic"),
        ("doctor", "attic", "--trace"),
        ("doctor", "attic", "--probe"),
        ("doctor", "attic", "--reset"),
        ("doctor", "attic", "--record", str(site.path / "file")),
        ("search", "--line", "attic"),
        ("search", "--pause", "--line", "attic"),
        ("search", "--range", "9-1"),
        ("search", "--mask", "12"),
        ("search", "--expected", "missing.csv"),
        ("add", "5", "--line", "attic"),
        ("read", "nobody"),
        ("remove", "nobody"),
        ("import", "missing.csv"),
        ("keys", "missing.csv"),
        ("reset", "nobody", "--yes"),
        ("reset", "5", "--line", "attic", "--yes"),
        ("reset", "nonsense", "--line", "cellar", "--yes"),
    )
    failed = (("read", "silent"), ("reset", "silent", "--yes"), ("search", "--stop"), ("search", "--resume"))
    for code, calls in ((2, bad), (1, failed)):
        for call in calls:
            done = await site.meters(*call)
            assert (done.returncode, done.stderr.count("\n")) == (code, 1), (call, done.stderr)

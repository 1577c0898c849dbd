"""Searches of a running gateway: over TCP and a serial line, between its readouts, through restarts, by command."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from gateway_process import LIMIT, GatewayProcess, Process

from cme_tui.client import ask
from core.errors import CmeError
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.address import SELECTED, SecondaryAddress
from core.mbus.frame import CI_SELECT, SND_NKE, Frame
from core.mbus.simulator import LineMisfortune, SimulatedBus, SimulatedMeter, fleet, serials, serve_tcp
from core.mbus.simulator.bus import Answer
from core.searching import SearchRequest, SearchState, SearchView, Verdict
from core.snapshot import MeterDetail

NEAR = "700000FF"
"""A mask that has the fleets' first meters: each probe that finds nobody takes a time-out of real time."""

SEARCH = ("meters", "search")

CONFIG = """[dlms]
host = "127.0.0.1"
[readout]
interval = "1 h"
[[line]]
name = "cellar"
url = "{url}"
baud = 38400
margin_ms = 60
"""


class Bus(SimulatedBus):
    """Notes what it is asked, and has something done when a selection is not answered."""

    def __init__(self, meters: list[SimulatedMeter]) -> None:
        super().__init__(meters)
        self.asked: list[Frame] = []
        self.on_silence: Callable[[int], None] = lambda _: None

    def respond(self, frame: Frame) -> Answer | None:
        self.asked.append(frame)
        answer = super().respond(frame)
        if answer is None and frame.ci == CI_SELECT:
            self.on_silence(len(self.asked))
        return answer


def names(meters: list[SimulatedMeter]) -> set[str]:
    return {str(SecondaryAddress.from_header(meter.header)) for meter in meters}


def write_config(state_dir: Path, url: str, *addresses: str) -> None:
    state_dir.mkdir(exist_ok=True)
    meters = "".join(f'[[meter]]\naddress = "{address}"\nname = "meter {address}"\n' for address in addresses)
    (state_dir / "config.toml").write_text(CONFIG.format(url=url) + meters)


class Site:
    """A gateway whose line leads to meters in the test's own hands."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.gateway: RunningGateway | None = None

    async def start(self, meters: list[SimulatedMeter], *installed: str) -> Bus:
        bus = Bus(meters)
        server = await serve_tcp(bus, 38400, fast=True)
        write_config(self.state_dir, f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}", *installed)
        await self.restart()
        return bus

    async def restart(self) -> RunningGateway:
        await self.stop()
        self.gateway = await asyncio.to_thread(lambda: open_gateway(RunOptions(self.state_dir, dlms_port=0)))
        return self.gateway

    async def stop(self) -> None:
        if self.gateway:
            await asyncio.to_thread(self.gateway.stop)
        self.gateway = None

    async def read(self, key: int) -> None:
        assert self.gateway
        await asyncio.wrap_future(self.gateway.read_meter(key))

    def view(self) -> SearchView | None:
        assert self.gateway
        return self.gateway.snapshot().lines[0].search

    async def until(self, holds: Callable[[SearchView], bool]) -> SearchView:
        async with asyncio.timeout(LIMIT):
            while (view := self.view()) is None or not holds(view):  # noqa: ASYNC110  # pulled, as by a UI
                await asyncio.sleep(0.02)
        return view


def done(view: SearchView) -> bool:
    return view.state is SearchState.DONE


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path / "state")
    yield site
    await site.stop()


@pytest.fixture
def command() -> Iterator[Callable[..., Process]]:
    """Starts `cme-tui` with arguments; none outlives the test."""
    running: list[Process] = []

    def begin(*arguments: str) -> Process:
        running.append(Process(*arguments))
        return running[-1]

    yield begin
    for process in running:
        process.process.kill()
        process.process.wait(LIMIT)


async def test_a_search_ends_with_found_missing_and_unexpected(site: Site) -> None:
    """Each with its name; installed meters are known as such."""
    meters = fleet(serials(4))
    first, second, *_ = (str(SecondaryAddress.from_header(meter.header)) for meter in meters)
    await site.start(meters, first)
    assert site.gateway
    request = SearchRequest("cellar", mask=NEAR, expected=(second[:8], "70000099"), names=("roof", "lost"))
    estimate = await asyncio.wrap_future(site.gateway.estimate_search(request))
    assert "3 meters" in estimate.sentence
    await asyncio.wrap_future(site.gateway.start_search(request))
    view = await site.until(done)
    verdicts = {meter.address: (meter.verdict, meter.name, meter.installed) for meter in view.meters}
    assert verdicts[first] == (Verdict.UNEXPECTED, f"meter {first}", True)
    assert verdicts[second] == (Verdict.FOUND, "roof", False)
    assert verdicts["70000099"] == (Verdict.MISSING, "lost", False)
    assert len(verdicts) == 5
    assert (view.share, view.left_s, view.step) == (1.0, 0.0, "")


async def test_who_asks_for_a_value_waits_for_one_probe_at_most(site: Site) -> None:
    """On-demand reads go in between the probes, all through a search."""
    meters = fleet(serials(4))
    installed = sorted(names(meters))[0]
    bus = await site.start(meters, installed)
    assert site.gateway
    gateway, key = site.gateway, site.gateway.snapshot().meters[0].key
    await site.read(key)
    asked: list[tuple[int, Future[MeterDetail]]] = []

    # Asked for while a probe waits for an answer that does not come.
    def ask(place: int) -> None:
        if len(asked) < 3:
            asked.append((place, gateway.read_meter(key)))

    bus.on_silence = ask
    await asyncio.wrap_future(gateway.start_search(SearchRequest("cellar", mask=NEAR)))
    view = await site.until(done)
    bus.on_silence = lambda _: None
    await asyncio.gather(*(asyncio.wrap_future(read) for _, read in asked), return_exceptions=True)
    assert {meter.address for meter in view.meters} == names(meters)
    # A search never deselects, a readout begins with that; a probe selects once or twice.
    place, _ = asked[0]
    first = next(n for n, frame in enumerate(bus.asked[place:]) if is_deselection(frame))
    assert len([frame for frame in bus.asked[place : place + first] if frame.ci == CI_SELECT]) <= 2
    assert any(frame.ci == CI_SELECT for frame in bus.asked[place + first + 3 :])


def is_deselection(frame: Frame) -> bool:
    return frame.control == SND_NKE and frame.address == SELECTED


async def test_a_search_rests_stops_and_goes_on(site: Site) -> None:
    """And nothing of it is lost; what makes no sense is refused with a sentence."""
    meters = fleet(serials(15))
    await site.start(meters)
    assert site.gateway
    gateway = site.gateway
    await asyncio.wrap_future(gateway.start_search(SearchRequest("cellar", mask=NEAR)))
    with pytest.raises(CmeError, match="runs on line cellar already"):
        await asyncio.wrap_future(gateway.start_search(SearchRequest("cellar", mask=NEAR)))
    await site.until(lambda view: len(view.meters) > 2)
    await asyncio.wrap_future(gateway.pause_search("cellar"))
    paused = await site.until(lambda view: view.state is SearchState.PAUSED)
    with pytest.raises(CmeError, match="No search runs"):
        await asyncio.wrap_future(gateway.pause_search("cellar"))
    gateway = await site.restart()
    still = await site.until(lambda view: view.state is SearchState.PAUSED)
    assert still.meters == paused.meters
    assert still.probes == paused.probes
    await asyncio.wrap_future(gateway.resume_search("cellar"))
    await asyncio.wrap_future(gateway.stop_search("cellar"))
    stopped = await site.until(lambda view: view.state is SearchState.STOPPED)
    assert stopped.finished_ms
    await asyncio.wrap_future(gateway.resume_search("cellar"))
    view = await site.until(done)
    assert {meter.address for meter in view.meters} == names(meters)
    for wrong, said in (
        (SearchRequest("attic"), "no line"),
        (SearchRequest("cellar", bauds=(1234,)), "1234 baud"),
        (SearchRequest("cellar", mask="5"), "no secondary address"),
        (SearchRequest("cellar", first=9, last=3), "lower one first"),
        (SearchRequest("cellar", patience_ms=2001), "2001 ms longer"),
    ):
        with pytest.raises(CmeError, match=said):
            await asyncio.wrap_future(gateway.start_search(wrong))


async def test_a_search_obeys_whoever_was_last_however_quickly_it_is_steered(site: Site) -> None:
    """Two starts are one search; a pause that comes with a resume holds."""
    meters = fleet(serials(15))
    await site.start(meters, sorted(names(meters))[0])
    assert site.gateway
    gateway, request = site.gateway, SearchRequest("cellar")

    async def at_once(*commands: Future[None]) -> list[str]:
        outcomes = await asyncio.gather(*map(asyncio.wrap_future, commands), return_exceptions=True)
        return [str(outcome) if outcome else "" for outcome in outcomes]

    started, again = await at_once(gateway.start_search(request), gateway.start_search(request))
    assert (started, "runs on line cellar already" in again) == ("", True)
    await at_once(gateway.pause_search("cellar"), gateway.pause_search("cellar"))
    for _ in range(3):
        assert await at_once(gateway.resume_search("cellar"), gateway.pause_search("cellar")) == ["", ""]
        paused = await site.until(lambda view: view.state is SearchState.PAUSED)
        for _ in range(2):  # a search that went on would have its turn between them
            await site.read(gateway.snapshot().meters[0].key)
        still = site.view()
        assert still
        assert (still.state, still.probes) == (SearchState.PAUSED, paused.probes)
    assert await at_once(gateway.resume_search("cellar"), gateway.stop_search("cellar")) == ["", ""]
    with pytest.raises(CmeError, match="No search runs on line cellar: the last one is stopped"):
        await asyncio.wrap_future(gateway.pause_search("cellar"))


async def test_a_search_goes_on_after_a_kill(tmp_path: Path, start: Callable[..., GatewayProcess]) -> None:
    """By itself, and what had been found is there at once."""
    meters = fleet(serials(15))
    server = await serve_tcp(Bus(meters), 38400, fast=True)
    write_config(tmp_path, f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}")

    def found() -> list[str]:
        search = ask(tmp_path, "search", line="cellar")["search"]
        return [meter["address"] for meter in search["meters"]] if search else []

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.02)

    gateway = await asyncio.to_thread(start, tmp_path)
    await asyncio.to_thread(ask, tmp_path, "start_search", request={"line": "cellar", "mask": NEAR})
    await until(lambda: len(found()) > 3)
    before = await asyncio.to_thread(found)
    gateway.process.kill()
    await asyncio.to_thread(gateway.process.wait, LIMIT)
    await asyncio.to_thread(start, tmp_path)
    after = await asyncio.to_thread(found)
    assert set(before[:-1]) <= set(after)
    await until(lambda: ask(tmp_path, "search", line="cellar")["search"]["state"] == "done")
    assert set(await asyncio.to_thread(found)) == names(meters)
    server.close()


def test_the_command_searches_a_serial_line_and_installs(
    tmp_path: Path, simulate: Callable[..., str], start: Callable[..., GatewayProcess]
) -> None:
    """Estimate and progress on stderr, results on stdout; a missing meter makes the exit code 1."""
    write_config(tmp_path, simulate("--pty", "--meters", "5", "--fast", "--baud", "38400"))
    start(tmp_path)
    listed = tmp_path / "expected.csv"
    listed.write_text(f"serial;name\n{serials(5)[0]};boiler\n55;lost\n")
    estimate = cme_tui(tmp_path, "--estimate")
    assert (estimate.returncode, " for 10 meters; with nobody there " in estimate.stdout) == (0, True)
    done = cme_tui(tmp_path, "--mask", "7000000F", "--expected", str(listed), "--install", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    verdicts = [item["meter"]["verdict"] for item in lines if "meter" in item]
    assert sorted(verdicts) == ["found", "missing", "unexpected", "unexpected", "unexpected", "unexpected"]
    assert lines[0].keys() == {"estimate"}
    assert lines[-2]["search"]["state"] == "done"
    assert lines[-1] == {"installed": 5, "misfits": []}
    assert "lost zeros" in done.stderr
    again = cme_tui(tmp_path, "--mask", "7000000F")
    assert again.returncode == 0
    assert again.stdout.count("installed") == 5
    for wrong in (
        ("--mask", "5"),
        ("--line", "attic"),
        ("--range", "x"),
        ("--patience", "2001"),
        ("--expected", str(tmp_path / "none")),
    ):
        assert cme_tui(tmp_path, *wrong).returncode == 2
    assert cme_tui(tmp_path, "--pause").returncode == 1


async def test_the_command_stops_and_resumes_a_search(
    tmp_path: Path, start: Callable[..., GatewayProcess], command: Callable[..., Process]
) -> None:
    """Ctrl+C and `--stop` end it, and whoever follows it sees that; `--resume` loses nothing of it."""
    meters = fleet(serials(15))
    bus = Bus(meters)

    def cut(place: int) -> None:
        bus.misfortune = LineMisfortune(broken=bus.misfortune.broken or place > 15)

    # From there on the search waits for its line, and so does not come to its end before it is stopped.
    bus.on_silence = cut
    server = await serve_tcp(bus, 38400, fast=True)
    write_config(tmp_path, f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.to_thread(start, tmp_path)

    def interrupt() -> list[str]:
        search = command(*SEARCH, "--state-dir", str(tmp_path), "--mask", NEAR)
        first = search.wait_for("^found")
        assert search.stop(signal.SIGINT) == 1
        search.wait_for("^Search stopped: .* 0 missing")
        search.wait_for('--resume --line "cellar"\' goes on with it')
        assert not any("Traceback" in line for line in search.lines)
        return [first.string, *search.lines]

    def stop() -> None:
        assert cme_tui(tmp_path, "--stop").returncode == 1  # none runs
        search = command(*SEARCH, "--state-dir", str(tmp_path), "--resume")
        search.wait_for("^found")
        stopped = cme_tui(tmp_path, "--stop")
        assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "", "")
        search.wait_for("^Search stopped")
        assert search.process.wait(LIMIT) == 1

    before = {line.split()[1] for line in await asyncio.to_thread(interrupt) if line.startswith("found")}
    await asyncio.to_thread(stop)
    bus.on_silence = lambda _: None
    bus.misfortune = LineMisfortune()
    whole = await asyncio.to_thread(cme_tui, tmp_path, "--resume")
    assert whole.returncode == 0, whole.stderr
    after = [line.split()[1] for line in whole.stdout.splitlines()]
    assert sorted(after) == sorted(names(meters))
    assert before < set(after)
    assert (await asyncio.to_thread(cme_tui, tmp_path, "--resume")).returncode == 1  # it has come to its end
    server.close()


def test_baud_is_installed_only_where_it_is_not_that_of_the_line(
    tmp_path: Path, simulate: Callable[..., str], start: Callable[..., GatewayProcess]
) -> None:
    """So that a line whose rate is changed takes its meters with it."""
    rates = ("--misfortune", "baud:38400@1", "--misfortune", "baud:9600@2")
    write_config(tmp_path, simulate("--pty", "--meters", "2", "--fast", *rates))
    start(tmp_path)
    done = cme_tui(
        tmp_path, "--primary", "--range", "1-2", "--patience", "1", "--baud", "38400", "9600", "--install"
    )
    assert done.returncode == 0, done.stderr
    installed = tomllib.loads((tmp_path / "config.toml").read_text())["meter"]
    assert [(meter["address"], meter.get("baud")) for meter in installed] == [(1, None), (2, 9600)]


def cme_tui(state_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cme_tui", *SEARCH, "--state-dir", str(state_dir), *arguments],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        stdin=subprocess.DEVNULL,
    )

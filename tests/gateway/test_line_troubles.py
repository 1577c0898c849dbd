"""Lines and meters in trouble: what screens, logs and a DLMS client say of it, and that all goes on by itself."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import pytest
from trouble_plant import IDENTIFICATION, KINDS, OBJECT_UNDEFINED, PRIMARY, Converter, Plant, simulated

from core import meter as meter_module
from core.events import EventCode
from core.events import meters as event_causes
from core.mbus import master
from core.mbus.simulator import Misfortune, SimulatedMeter, read_telegrams
from core.mbus.simulator.misfortune import UNHARMED
from core.mbus.simulator.shaping import lengthened
from core.searching import SearchRequest, SearchState, SearchView
from core.snapshot import LineState, MeterState, Snapshot
from tests.conftest import TELEGRAMS
from tests.interop.library import Library

Begin = Callable[..., Awaitable[Plant]]


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    libraries = {name: Library(name) for name in ("gurux", "pydlms")}
    yield libraries
    for library in libraries.values():
        library.stop()


@pytest.fixture
async def begin(
    tmp_path: Path, libraries: dict[str, Library], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Begin]:
    """Starts a plant in which every request of a client leads to a readout, and what stays down is an event at once."""
    monkeypatch.setattr(meter_module, "FRESH_MS", -1)
    monkeypatch.setattr(meter_module, "FAILED_MS", -1)
    monkeypatch.setattr(event_causes, "LINE_DOWN_S", 0.0)
    async with AsyncExitStack() as stack:

        async def start(
            kind: str = "tcp",
            library: str = "pydlms",
            *,
            water: SimulatedMeter | None = None,
            fast: bool = True,
            wait: bool = True,
        ) -> Plant:
            plant = Plant(tmp_path, kind, libraries[library], water or simulated(IDENTIFICATION), fast=fast)
            stack.push_async_callback(plant.stop)
            await plant.start(wait=wait)
            return plant

        yield start


CLOSED = "closed the connection: was it restarted, or taken over?"
REFUSED = "refuses the connection: check the port, and whether it is taken."
GONE = {
    "serial": ("is gone: is its adapter unplugged?", "There is no serial port"),
    "tcp": (CLOSED, REFUSED),
    "rfc2217": (CLOSED, REFUSED),
}
"""What is said of a line at first, and when it was tried again."""


@pytest.mark.parametrize(("kind", "library"), zip(KINDS, ("gurux", "pydlms", "gurux"), strict=True))
async def test_line_that_is_unplugged_and_plugged_in(begin: Begin, kind: str, library: str) -> None:
    """Line and meter say why; a client gets the last value meanwhile, and the next one without anybody's help."""
    plant = await begin(kind, library)
    before = plant.on_the_meter()
    await plant.associate()
    assert await plant.volume() == before
    async with plant.screens() as look:
        await plant.wiring.unplug()
        plant.run_on()
        snapshot = await plant.until("the loss", lambda s: s.lines[0].state is LineState.DOWN)
        assert any(words in snapshot.lines[0].reason for words in GONE[kind])
        states = [(meter.state, meter.reason) for meter in snapshot.meters]
        assert states == [(MeterState.LINE_DOWN, snapshot.lines[0].reason), (MeterState.OK, "")]
        assert await plant.volume() == before
        reason = await plant.read()
        assert any(words in reason for words in GONE[kind])
        await look.until("the alarm", lambda: unspaced(plant.line.reason) in unspaced(look.text("#alarms")))
        assert "✗ down cellar" in look.text("#lines")
        assert "● up attic" in look.text("#lines")
        await look.until("the state", lambda: look.row("#meters", 0).startswith("✗ line down water"))
        assert look.row("#meters", 1).startswith("● ok heat")
        await look.go("f6")
        await look.until("the state", lambda: look.row("#list", 1).startswith("✗ line down water"))
        assert str(Decimal(before).scaleb(-3)) in look.row("#list", 1)
        await look.go("f2")
        told = await plant.event(EventCode.MEASUREMENT_SYSTEM_ERROR)
        assert told.startswith("Line cellar is down: ")

        await plant.wiring.plug()
        await plant.until("the line", lambda s: s.lines[0].state is LineState.UP)
        await plant.shows(MeterState.OK)
        assert await plant.volume() == plant.on_the_meter() > before
        await look.until("the end", lambda: "● none" in look.text("#alarms"))
        await look.until("the state", lambda: look.row("#meters", 0).startswith("● ok water"))
    assert len(await plant.events(EventCode.MEASUREMENT_SYSTEM_ERROR)) == 1
    assert await plant.events(EventCode.METER_LOST) == []


async def test_converter_that_another_master_takes(begin: Begin) -> None:
    """The line is down with that as a reason, and got back, even while the other one stays connected; what it had lost
    can still be read then."""
    plant = await begin()
    assert isinstance(plant.wiring, Converter)
    other = await plant.wiring.taken_over()
    snapshot = await plant.until("the loss", lambda s: s.lines[0].state is LineState.DOWN)
    assert CLOSED in snapshot.lines[0].reason
    await plant.until("the line", lambda s: s.lines[0].state is LineState.UP)
    assert await plant.read() == ""
    other.close()
    async with plant.screens() as look:
        await look.go("l")
        await look.until("the loss", lambda: "! lost" in look.text("#line-notes"))
        assert CLOSED in look.text("#line-notes")


async def test_meter_that_answers_with_the_identification_of_another(begin: Begin) -> None:
    """No value of the stranger is shown to anybody; the state says who answered, and ends when the right one does."""
    plant = await begin()
    before = plant.on_the_meter()
    await plant.associate()
    water = plant.bus.meters[0]
    water.misfortune = Misfortune(impostor=True)
    plant.run_on()
    for _ in range(event_causes.LOST_AFTER):
        assert await plant.volume() == before
    await plant.shows(MeterState.WRONG_METER)
    assert plant.meter.headline
    assert plant.meter.headline.cosem.startswith(f"register {before} ")
    assert "when 70112345" in await plant.event(EventCode.METER_LOST)
    async with plant.screens() as look:
        await look.until("the alarm", lambda: "when 70112345" in look.text("#alarms"))
        assert look.row("#meters", 0).startswith("! wrong meter water")
    water.misfortune = UNHARMED
    assert await plant.volume() == plant.on_the_meter() > before
    await plant.shows(MeterState.OK)
    await plant.event(EventCode.METER_BACK)
    await plant.until("the end", lambda s: not s.alarms)


async def test_stranger_at_the_address_of_a_meter_that_never_answered(begin: Begin) -> None:
    """Until the right one answers, a client finds no value at all: which objects it has is not known."""
    water = simulated(IDENTIFICATION)
    water.misfortune = Misfortune(impostor=True)
    plant = await begin(water=water, wait=False)
    await plant.shows(MeterState.WRONG_METER)
    await plant.associate()
    assert await plant.refusal() == OBJECT_UNDEFINED
    water.misfortune = UNHARMED
    assert await plant.read() == ""
    assert await plant.volume() == plant.on_the_meter()


@pytest.mark.parametrize("kind", KINDS)
async def test_telegram_of_full_length(begin: Begin, kind: str) -> None:
    """L = 255, 261 bytes, at the speed of a wire: all of it is read; one that breaks off is no reading."""
    water = SimulatedMeter([lengthened(read_telegrams(TELEGRAMS / "els_falcon.hex")[0])], address=PRIMARY)
    plant = await begin(kind, water=water, fast=False)
    before = plant.on_the_meter()
    await plant.associate()
    assert await plant.volume() == before
    detail = await asyncio.wrap_future(plant.gateway.meter(plant.meter.key))
    (telegram,) = detail.telegrams
    assert (len(telegram.frame), telegram.frame[1]) == (261, 255)
    water.misfortune = Misfortune(cut=260)
    plant.run_on()
    assert await plant.volume() == before
    await plant.shows(MeterState.GARBLED)
    assert "break off" in plant.meter.reason
    water.misfortune = UNHARMED
    assert await plant.volume() == plant.on_the_meter() > before


async def test_search_on_a_line_that_is_unplugged(begin: Begin) -> None:
    """It waits, says why, and goes on to its end when the line is plugged in."""
    plant = await begin("serial")
    await plant.wiring.unplug()
    await plant.until("the loss", lambda s: s.lines[0].state is LineState.DOWN)
    request = SearchRequest("cellar", ("primary",), first=PRIMARY, last=PRIMARY + 1)
    await asyncio.wrap_future(plant.gateway.start_search(request))

    def shown(snapshot: Snapshot) -> SearchView:
        assert snapshot.lines[0].search
        return snapshot.lines[0].search

    snapshot = await plant.until("the wait", lambda s: shown(s).state is SearchState.WAITING)
    assert any(words in shown(snapshot).reason for words in GONE["serial"])
    await plant.wiring.plug()
    snapshot = await plant.until("its end", lambda s: shown(s).state is SearchState.DONE)
    ((found, installed),) = [(meter.identification, meter.installed) for meter in shown(snapshot).meters]
    assert (found, installed) == (IDENTIFICATION, True)


async def test_line_that_flaps_leaves_nothing_behind(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost and found 20 times: as many open files, tasks and threads as before, and no event."""
    monkeypatch.setattr(master, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(master, "LAST_RETRY", 0.01)
    monkeypatch.setattr(event_causes, "LINE_DOWN_S", 3600.0)
    plant = await begin("serial")

    async def flap() -> None:
        await plant.wiring.unplug()
        await plant.until("the loss", lambda s: s.lines[0].state is LineState.DOWN)
        await plant.wiring.plug()
        await plant.until("the line", lambda s: s.lines[0].state is LineState.UP)
        assert await plant.read() == ""

    await flap()
    before = held()
    for _ in range(20):
        await flap()
    await plant.until(f"{before}", lambda _: held() == before)
    assert await plant.events(EventCode.MEASUREMENT_SYSTEM_ERROR, EventCode.METER_LOST) == []


def unspaced(text: str) -> str:
    """A sentence that a screen may have wrapped, within its words, too."""
    return "".join(text.split())


def held() -> tuple[int, int, list[str]]:
    """Open files, unfinished tasks, and the threads that are not of a pool, in this process."""
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]
    threads = [each.name for each in threading.enumerate() if not each.name.startswith("asyncio_")]
    return len(os.listdir("/proc/self/fd")), len(tasks), sorted(threads)

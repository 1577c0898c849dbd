"""The M-Bus lines that are in use: a master and a reader for each, opened and closed as the configuration says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from core.clock import Clock
from core.config import Config, LineConfig, MeterConfig, Place
from core.errors import BadInputError, CmeError
from core.fleet import NOWHERE
from core.interval import Interval
from core.mbus.address import parse_address
from core.mbus.errors import MbusError
from core.mbus.link import Readout, telegram_follows
from core.mbus.master import Master, Opener
from core.mbus.opener import open_transport
from core.mbus.watch import Try
from core.meter import Meter
from core.reader import LineReader
from core.searching import SearchView
from core.snapshot import LineState, LineView, ScheduleView
from core.timing import Demand, misfits, readout_s, schedule
from core.transparent import TransparentPort


@dataclass(slots=True)
class Line:
    """One line in use."""

    config: LineConfig
    master: Master
    reader: LineReader
    transparent: TransparentPort | None
    schedule: ScheduleView | None = None
    """What its schedule costs, as of the last `Lines.weigh`."""


class Onlooker(Protocol):
    """Sees everything that goes over the lines."""

    def use(self, configs: Iterable[LineConfig], meters_on: Callable[[str], list[Meter]]) -> None:
        """These lines and meters are in use from now on."""

    def watch(self, line: str, item: Try) -> None:
        """This went over a line."""


class Lines:
    """All lines by name. Belongs to the core's event loop."""

    def __init__(
        self,
        clock: Clock,
        record: Callable[[Meter, Readout | MbusError], Awaitable[None]],
        span: Callable[[Meter, int], tuple[int, int]],
        on_change: Callable[[], None],
        open_line: Opener = open_transport,
        onlooker: Onlooker | None = None,
        more_follows: Callable[[bytes], bool | None] = telegram_follows,
    ) -> None:
        """`record` takes what a readout came to; `span` is the readout interval of a meter that holds a moment.

        `more_follows` tells whether a telegram has another one behind it, which can be encrypted.
        """
        self._onlooker = onlooker
        self._clock = clock
        self._record = record
        self._span = span
        self._on_change = on_change
        self._open_line = open_line
        self._more_follows = more_follows
        self._lines: dict[str, Line] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def use(self, configs: Iterable[LineConfig], meters_on: Callable[[str], list[Meter]]) -> None:
        """Make the lines those of `configs`, with the meters that each has; one that did not change goes on."""
        wanted = {config.name: config for config in configs}
        if self._onlooker:
            self._onlooker.use(wanted.values(), meters_on)
        for name in [name for name, line in self._lines.items() if wanted.get(name) != line.config]:
            task = asyncio.ensure_future(_close(self._lines.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for name, config in wanted.items():
            if name not in self._lines:
                self._lines[name] = self._open(config)
            self._lines[name].reader.set_meters(meters_on(name))

    def down(self) -> dict[str, str]:
        """The lines that are down, and why."""
        return {
            name: line.master.reason
            for name, line in self._lines.items()
            if line.master.state is LineState.DOWN
        }

    def master(self, name: str) -> Master:
        """Who speaks on a line. Raises `CmeError` if it is gone."""
        line = self._lines.get(name)
        if line is None:
            raise BadInputError(f"There is no line {name}.")
        return line.master

    async def read(self, meter: Meter) -> None:
        """Read a meter now, in front of any sweep. Raises `CmeError` if its line is gone."""
        line = self._lines.get(meter.config.line)
        if line is None:
            raise CmeError(f"{meter.name} is no longer installed.")
        await line.reader.read(meter)

    def sweep_now(self) -> None:
        """Start a sweep of every line."""
        for line in self:
            line.reader.sweep_now()

    def misfits(
        self, config: Config, meters: Iterable[Meter], moved: Mapping[int, Place] = NOWHERE
    ) -> Iterator[str]:
        """Lines whose schedule does not fit with `config`, a sentence or two each.

        `meters` are the installed ones: what they sent and what their readouts take says what they will cost, also
        those of `moved`, which have another place in `config`.
        """
        known = {moved.get(meter.key, meter.config.place): meter for meter in meters}
        return misfits(config, lambda line, item: self._cost(line, item, known.get(item.place)))

    def weigh(self, line: Line, meters: Iterable[Meter], interval: Interval) -> None:
        """Work out what the schedule of a line costs that has these `meters`; `interval` is that of [readout]."""
        demands = [
            Demand(meter.config.interval or interval, self._cost(line.config, meter.config, meter))
            for meter in meters
            if meter.enabled
        ]
        line.schedule = schedule(demands, skipped=line.reader.skipped, late_s=line.reader.late_s)

    def _cost(self, line: LineConfig, item: MeterConfig, meter: Meter | None) -> float:
        """What a readout takes, s: as measured where that was at the same rate, else by the wire's formula."""
        baud = item.baud or line.baud
        if meter is None:
            return readout_s(baud, parse_address(str(item.address)))
        now = self._lines.get(meter.config.line)
        if now is not None and baud == (meter.config.baud or now.config.baud):
            measured = now.reader.cost_s(meter.key)
            if measured is not None:
                return measured
        if meter.reading is None:
            return readout_s(baud, meter.address)
        return readout_s(baud, meter.address, [len(telegram.frame) for telegram in meter.reading.telegrams])

    async def close(self) -> None:
        """End the readouts that run and give the lines back."""
        await asyncio.gather(*map(_close, self._lines.values()), *self._closing)
        self._lines.clear()

    def _open(self, config: LineConfig) -> Line:
        def changed() -> None:
            reader.line_changed(up=master.state is LineState.UP)
            self._on_change()

        master = Master(
            config.url,
            config.baud,
            margin=config.margin_ms / 1000,
            repeats=config.repeats,
            open_line=self._open_line,
            more_follows=self._more_follows,
            on_change=changed,
            watch=partial(onlooker.watch, config.name) if (onlooker := self._onlooker) else _nobody,
            now=lambda: self._clock.now_ms() / 1000,
        )
        reader = LineReader(master, self._record, self._span, self._clock, self._on_change)
        transparent = None
        if config.transparent_port:
            transparent = TransparentPort(
                master,
                config.transparent_host,
                config.transparent_port,
                on_change=self._on_change,
                now_ms=self._clock.now_ms,
            )
            transparent.start()
        master.start()
        reader.start()
        return Line(config, master, reader, transparent)


def line_view(line: Line, meters: int, search: SearchView | None, health: str) -> LineView:
    """The line as screens show it, with how many `meters` hang on it, the last search, and the bus doctor's verdict."""
    lost = line.master.lost
    return LineView(
        name=line.config.name,
        url=line.config.url,
        baud=line.config.baud,
        state=line.master.state,
        reason=line.master.reason,
        since_ms=round(line.master.since * 1000),
        meters=meters,
        sweep=line.reader.sweep,
        next_sweep_ms=line.reader.next_sweep_ms,
        schedule=line.schedule,
        health=health,
        next_try_ms=None if line.master.next_try is None else round(line.master.next_try * 1000),
        lost_ms=lost and round(lost[0] * 1000),
        lost_reason=lost[1] if lost else "",
        search=search,
        transparent=line.transparent.view() if line.transparent else None,
    )


def _nobody(_item: Try) -> None:
    """Nobody looks on."""


async def _close(line: Line) -> None:
    if line.transparent:
        await line.transparent.close()  # first: the line may be opened again with the same port
    await line.reader.stop()
    await line.master.close()

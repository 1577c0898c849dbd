"""The M-Bus lines that are in use: a master and a reader for each, opened and closed as the configuration says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from core.clock import Clock
from core.config import LineConfig
from core.errors import CmeError
from core.mbus.errors import MbusError
from core.mbus.link import Readout
from core.mbus.master import Master
from core.meter import Meter
from core.reader import LineReader
from core.searching import SearchView
from core.snapshot import LineState, LineView
from core.transparent import TransparentPort


@dataclass(slots=True)
class Line:
    """One line in use."""

    config: LineConfig
    master: Master
    reader: LineReader
    transparent: TransparentPort | None


class Lines:
    """All lines by name. Belongs to the core's event loop."""

    def __init__(
        self,
        clock: Clock,
        record: Callable[[Meter, Readout | MbusError], Awaitable[None]],
        span: Callable[[Meter, int], tuple[int, int]],
        on_change: Callable[[], None],
    ) -> None:
        """`record` takes what a readout came to; `span` is the readout interval of a meter that holds a moment."""
        self._clock = clock
        self._record = record
        self._span = span
        self._on_change = on_change
        self._lines: dict[str, Line] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def use(self, configs: Iterable[LineConfig], meters_on: Callable[[str], list[Meter]]) -> None:
        """Make the lines those of `configs`, with the meters that each has; one that did not change goes on."""
        wanted = {config.name: config for config in configs}
        for name in [name for name, line in self._lines.items() if wanted.get(name) != line.config]:
            task = asyncio.ensure_future(_close(self._lines.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for name, config in wanted.items():
            if name not in self._lines:
                self._lines[name] = self._open(config)
            self._lines[name].reader.set_meters(meters_on(name))

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
            margin=config.margin_ms / 1000 if config.margin_ms else None,
            repeats=config.repeats,
            on_change=changed,
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


def line_view(line: Line, meters: int, search: SearchView | None) -> LineView:
    """The line as screens show it, with how many `meters` hang on it, and the last search."""
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
        search=search,
        transparent=line.transparent.view() if line.transparent else None,
    )


async def _close(line: Line) -> None:
    if line.transparent:
        await line.transparent.close()  # first: the line may be opened again with the same port
    await line.reader.stop()
    await line.master.close()

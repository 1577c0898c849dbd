"""The searches for meters: one job a line, a probe at a time between the readouts, kept through restarts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Final

from core.clock import Clock
from core.errors import BadInputError, CmeError
from core.lines import Line, Lines
from core.mbus.address import SecondaryAddress, parse_address
from core.mbus.effort import Costs, Pace
from core.mbus.errors import LineDown, RateRefused
from core.mbus.finds import Found
from core.mbus.link import ProbeResult
from core.mbus.medium import medium_name
from core.mbus.search import Search
from core.mbus.transport import BAUD_RATES
from core.meter import Meter
from core.searching import (
    MOST_PATIENCE_MS,
    FoundMeter,
    SearchEstimate,
    SearchRequest,
    SearchState,
    SearchView,
    Verdict,
)
from core.store import Store, StoreError

log = logging.getLogger(__name__)

MARGIN_S: Final = 0.05
"""By which answers are taken to come later than the standard says, where the line's configuration says nothing."""

MOST_EXPECTED: Final = 5000
"""Meters that a search may be told to expect."""

_SAVE_S: Final = 1.0  # at most so long is searched without being saved
_LOOK_S: Final = 1.0  # between two looks at a line that is down
_ACTIVE: Final = (SearchState.RUNNING, SearchState.WAITING)


@dataclass(slots=True)
class _Record:
    """A search and how it stands."""

    line: str
    search: Search
    state: SearchState
    reason: str
    started_ms: int
    finished_ms: int | None = None
    saved: float = 0.0  # monotonic, s
    pace: Pace = field(default_factory=Pace)
    view: SearchView | None = None

    def dump(self) -> str:
        state = {"state": self.state, "started_ms": self.started_ms, "finished_ms": self.finished_ms}
        return json.dumps({**state, "search": self.search.dump()}, separators=(",", ":"))

    @classmethod
    def load(cls, line: str, text: str) -> _Record:
        """Raises `CmeError`, `KeyError`, `TypeError` or `ValueError` where the text is none that `dump` gave."""
        kept: Mapping[str, Any] = json.loads(text)
        state = SearchState(kept["state"])
        search = Search.load(kept["search"])
        return cls(line, search, state, "", int(kept["started_ms"]), kept["finished_ms"])


class Searches:
    """The last search on each line. Belongs to the core's event loop."""

    def __init__(
        self,
        store: Store,
        lines: Lines,
        meters_on: Callable[[str], list[Meter]],
        clock: Clock,
        on_change: Callable[[], None],
        show: Callable[[], None],
    ) -> None:
        """`meters_on` are the meters that are installed on a line; `on_change` is called whenever a view changes.

        `show` is called when somebody had it changed, who looks next.
        """
        self._store = store
        self._lines = lines
        self._meters_on = meters_on
        self._clock = clock
        self._on_change = on_change
        self._show = show
        self._records: dict[str, _Record] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Take up the searches of before a restart; those that ran go on by themselves. Raises `StoreError`."""
        for line, text in (await self._store.searches()).items():
            try:
                record = self._records[line] = _Record.load(line, text)
            except (CmeError, KeyError, TypeError, ValueError) as error:
                log.error("The search on line %s cannot be gone on with (%r); start a new one.", line, error)
                continue
            if record.state in _ACTIVE:
                self._begin(record)

    async def close(self) -> None:
        """Save what runs, and end it; it goes on after the next start."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for record in self._records.values():
            if record.state in _ACTIVE:
                await self._save(record)

    async def estimate(self, request: SearchRequest) -> SearchEstimate:
        """How long a search would take. Raises `CmeError` where it cannot be made."""
        return self._plan(request).estimate(self._margin(request.line))

    async def start(self, request: SearchRequest) -> None:
        """Begin a search in the place of the last one. Raises `CmeError`, also where one runs on that line."""
        search = self._plan(request)
        last = self._records.get(request.line)
        if last and last.state in _ACTIVE:
            raise CmeError(
                f"A search runs on line {request.line} already: stop it first, or wait for its end."
            )
        record = _Record(request.line, search, SearchState.RUNNING, "", self._clock.now_ms())
        self._records[request.line] = record
        # Before anything is waited for: whoever steers the search next finds its job.
        self._begin(record)
        await self._save(record)
        self._show()

    async def pause(self, line: str) -> None:
        """Have a search rest. Raises `CmeError` where none runs; as do the next ones."""
        await self._halt(line, SearchState.PAUSED, _ACTIVE)

    async def stop(self, line: str) -> None:
        """End a search; what it found stays, and it can be resumed."""
        await self._halt(line, SearchState.STOPPED, (*_ACTIVE, SearchState.PAUSED))

    async def resume(self, line: str) -> None:
        """Go on with a search that rests or was stopped, also one of before a restart."""
        self._line(line)
        record = self._records.get(line)
        if record is None or record.state not in (SearchState.PAUSED, SearchState.STOPPED):
            last = f"the last one is {record.state}" if record else "start one"
            raise CmeError(f"No search rests on line {line}: {last}.")
        record.finished_ms = None
        self._change(record, SearchState.RUNNING)
        self._begin(record)
        await self._save(record)
        self._show()

    def view(self, line: str) -> SearchView | None:
        """The search on a line, `None` where there was none."""
        record = self._records.get(line)
        if record is None:
            return None
        if record.view is None:
            record.view = self._make_view(record)
        return record.view

    def installed(self) -> None:
        """Other meters are installed than before."""
        for record in self._records.values():
            record.view = None

    def _plan(self, request: SearchRequest) -> Search:
        """Raises `BadInputError` for a request that makes no sense."""
        line = self._line(request.line)
        if not request.methods or not set(request.methods) <= {"secondary", "primary"}:
            raise BadInputError("A search is by secondary or by primary address: name one of them, or both.")
        if wrong := [baud for baud in request.bauds if baud not in BAUD_RATES]:
            rates = ", ".join(map(str, BAUD_RATES))
            raise BadInputError(f"A line cannot be searched at {wrong[0]} baud; choose among {rates}.")
        if not 0 <= request.first <= request.last <= 250:
            raise BadInputError(
                f"Primary addresses {request.first} to {request.last} cannot be searched: give two numbers from 0 to "
                "250, the lower one first."
            )
        if not isinstance(parse_address(request.mask), SecondaryAddress):
            raise BadInputError(
                f"The mask {request.mask!r} is no secondary address: write 12FFFFFF or 12FFFFFF.HYD."
            )
        if not 0 <= request.patience_ms <= MOST_PATIENCE_MS:
            raise CmeError(
                f"A search cannot wait {request.patience_ms} ms longer for each answer: give 0 to {MOST_PATIENCE_MS}."
            )
        if len(request.expected) > MOST_EXPECTED:
            raise BadInputError(
                f"A search can expect {MOST_EXPECTED} meters at most, not {len(request.expected)}."
            )
        known = [address for meter in self._meters_on(request.line) for address in _addresses(meter)]
        return Search(request, known, baud=line.config.baud)

    def _line(self, name: str) -> Line:
        found = next((line for line in self._lines if line.config.name == name), None)
        if found is None:
            names = ", ".join(line.config.name for line in self._lines) or "none"
            raise BadInputError(f"There is no line {name!r}; lines: {names}.")
        return found

    def _margin(self, name: str) -> float:
        return MARGIN_S + self._line(name).config.margin_ms / 1000

    # The job of a line ------------------------------------------------------------------------------------------

    def _begin(self, record: _Record) -> None:
        job = asyncio.create_task(self._run(record), name=f"search {record.line}")
        self._jobs[record.line] = job
        self._on_change()

        def forget(_: asyncio.Task[None]) -> None:
            # The next one may have begun while this one was being saved.
            if self._jobs.get(record.line) is job:
                del self._jobs[record.line]

        job.add_done_callback(forget)

    async def _halt(self, line: str, state: SearchState, among: Iterable[SearchState]) -> None:
        record = self._records.get(line)
        if record is None or record.state not in among:
            last = f": the last one is {record.state}" if record else ""
            raise CmeError(f"No search runs on line {line}{last}.")
        if job := self._jobs.get(line):
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
        if record.state not in among or record is not self._records[line]:
            return  # it came to its end just now, or somebody else was quicker
        if state is SearchState.STOPPED:
            record.finished_ms = self._clock.now_ms()
        self._change(record, state)
        await self._save(record)
        self._show()

    async def _run(self, record: _Record) -> None:
        try:
            while ask := record.search.next():
                began = time.monotonic()
                await asyncio.sleep(ask.pause)
                try:
                    async with self._line(record.line).master.session(ask.baud, ask.extra) as link:
                        probe = await link.probe(ask.address)
                except LineDown as error:
                    self._change(record, SearchState.WAITING, str(error))
                    await asyncio.sleep(_LOOK_S)
                    continue
                except RateRefused as error:
                    record.search.refuse(f"{error} That part of the search was left out.")
                    continue
                new = record.search.tell(probe)
                costs = Costs.at(ask.baud, self._margin(record.line) + ask.extra)
                foreseen = {ProbeResult.ONE: costs.one, ProbeResult.SEVERAL: costs.several}
                usual = ask.pause + foreseen.get(probe.result, costs.nothing)
                record.pace.note(time.monotonic() - began, usual)
                self._change(record, SearchState.RUNNING)
                if new or time.monotonic() - record.saved >= _SAVE_S:
                    await self._save(record)
            record.finished_ms = self._clock.now_ms()
            self._change(record, SearchState.DONE)
        except CmeError as error:
            record.finished_ms = self._clock.now_ms()
            self._change(record, SearchState.STOPPED, str(error))
        except Exception:
            log.exception(
                "The search on line %s failed in an unforeseen way; please report this", record.line
            )
            record.finished_ms = self._clock.now_ms()
            self._change(
                record, SearchState.STOPPED, "It failed in an unforeseen way; please report the log."
            )
        await self._save(record)

    def _change(self, record: _Record, state: SearchState, reason: str = "") -> None:
        record.state, record.reason, record.view = state, reason, None
        self._on_change()

    async def _save(self, record: _Record) -> None:
        """Keep a search; where the store cannot, it goes on all the same."""
        record.saved = time.monotonic()
        try:
            await self._store.save_search(record.line, record.dump())
        except StoreError as error:
            log.error("The search on line %s is not saved: %s", record.line, error)

    # What is seen of it -----------------------------------------------------------------------------------------

    def _make_view(self, record: _Record) -> SearchView:
        search = record.search
        done = record.state is SearchState.DONE
        try:
            margin = self._margin(record.line)
        except CmeError:
            margin = MARGIN_S  # the line is gone
        progress = search.progress(margin)
        left_s = None if progress.left_s is None else progress.left_s * record.pace.factor
        meters = judged(search.request, search.found, self._meters_on(record.line), ended=done)
        return SearchView(
            line=record.line,
            request=search.request,
            state=record.state,
            step="" if done else search.stage,
            reason=record.reason,
            started_ms=record.started_ms,
            finished_ms=record.finished_ms,
            probes=search.probes,
            share=1.0 if done else progress.share,
            left_s=0.0 if done else left_s,
            at_least=progress.at_least and not done,
            meters=meters,
            troubles=search.troubles,
        )


def judged(
    request: SearchRequest, found: Iterable[Found], installed: Iterable[Meter], *, ended: bool
) -> tuple[FoundMeter, ...]:
    """What was found in the light of what is expected and installed; at the end also what is missing."""
    wanted = [
        (address, name)
        for address, name in zip(
            map(parse_address, request.expected),
            chain(request.names, repeat("")),
            strict=False,
        )
    ]
    by_number: dict[str, list[tuple[Any, str]]] = {}
    for address, name in wanted:
        by_number.setdefault(str(address)[:8], []).append((address, name))
    names = {address: meter.name for meter in installed for address in _addresses(meter)}
    meters: list[FoundMeter] = []
    seen: set[str] = set()
    for meter in found:
        identity = parse_address(meter.identity) if meter.identity else None
        places = [text for text in (meter.address, meter.identity) if text]
        expected = [
            (address, name)
            for text in places
            for address, name in by_number.get(text[:8], ())
            if str(address) == text or (identity and _same(address, identity))
        ]
        seen |= {str(address) for address, _ in expected}
        known = next((names[text] for text in (*places, meter.identity[:8]) if text in names), None)
        header = identity if isinstance(identity, SecondaryAddress) else None
        name = known if known is not None else next((name for _, name in expected), "")
        meters.append(
            FoundMeter(
                address=meter.address,
                identification=header.identification if header else "",
                manufacturer=(header.manufacturer or "") if header else "",
                version=header.version if header else None,
                medium=medium_name(header.medium) if header and header.medium is not None else "",
                primary=meter.primary,
                baud=meter.baud,
                verdict=Verdict.FOUND if expected or not wanted else Verdict.UNEXPECTED,
                installed=known is not None,
                name=name,
                note="; ".join(meter.notes),
            )
        )
    if ended:
        missing = ((address, name) for address, name in wanted if str(address) not in seen)
        meters += [_missing(str(address), name, names) for address, name in missing]
    return tuple(meters)


def _missing(address: str, name: str, names: Mapping[str, str]) -> FoundMeter:
    number = address[:8] if len(address) > 3 else ""
    known = names.get(address, names.get(number))
    return FoundMeter(
        address, number, "", None, "", None, 0, Verdict.MISSING, known is not None, known or name
    )


def _same(one: object, other: object) -> bool:
    return isinstance(one, SecondaryAddress) and isinstance(other, SecondaryAddress) and one.agrees(other)


def _addresses(meter: Meter) -> list[str]:
    """What an installed meter answers to, as far as it is known."""
    identity = [] if meter.identity is None else [str(meter.identity)]
    return list(dict.fromkeys([str(meter.address), *identity]))

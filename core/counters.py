"""Invocation counters that survive everything: no number is sent twice, and none is accepted twice.

Each counter has a ceiling in the store that it never passes, raised ahead of need, and the store waits for the
disk. After a power cut a counter goes on at its ceiling. The exact value of what clients sent lies in a file
beside (`core.counter_file`), so that after a crash the client that goes on with its next number is let in.
(Green Book 9.2.3.3.7; counters of 32 bits.)
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.counter_file import CLIENTS, CounterFile, LiveCounters, read_counter_file
from core.dlms.errors import CounterError
from core.store import CounterRun, Store, StoreError

log = logging.getLogger(__name__)

HIGHEST = (1 << 32) - 1
"""The counter at which sending ends: this number itself is never sent."""
BLOCK = 1 << 16
"""Numbers of sending that are reserved at once; the next block follows when half of one is used."""
FIRST_BLOCK = 1 << 12
"""Reserved at a start: less, so that a gateway that is restarted for months does not use up its key."""
STEP = 1 << 10
"""How far the ceiling of a client is raised above what it sent."""

_SENDING = b""
_OTHERS = b"\0"
"""Stands for the title of all clients that have no row of their own; a real title has 8 bytes."""
_TITLE = 8
_FINGERPRINT = 16

_EPOCH_MS = 1_735_689_600_000  # 2025-01-01 UTC
_PER_SECOND = 8

_Place = tuple[bytes, bytes]


class _Row:
    """One counter. All that it ever was is at most `ceiling`, which is on disk."""

    __slots__ = ("ceiling", "half", "last", "slot", "title")

    def __init__(self, title: bytes, slot: int, last: int, ceiling: int) -> None:
        self.title = title
        self.slot = slot
        self.last = last
        self.raise_to(ceiling)

    def raise_to(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.half = self.last + (ceiling - self.last) // 2  # above it the ceiling is raised again

    def wanted(self) -> int:
        """The ceiling that it should have now."""
        if self.title == _SENDING:
            return min(self.last + BLOCK, HIGHEST - 1)
        return self.last if self.title == _OTHERS else min(self.last + STEP, HIGHEST)


class _KeyCounters:
    """All counters under one key."""

    def __init__(self, key: bytes, bank: int, sent: int, reserved: int, received: dict[bytes, int]) -> None:
        """`received`: by title the last counter, which is also its ceiling."""
        self.key = key
        self.bank = bank
        self.current = True  # whether the bank is still that of this key
        self.sending = _Row(_SENDING, 0, sent, reserved)
        self.low: set[_Row] = set()
        self.dropped: set[bytes] = set()
        floor = received.pop(_OTHERS, -1)
        self.others = _Row(_OTHERS, 0, floor, floor)
        # The least recently used first, as far as this run knows.
        self.clients: dict[bytes, _Row] = {}
        # The highest first: a crash can have left more than there is room for, and those below refuse least.
        for title in sorted(received, key=received.__getitem__, reverse=True):
            last = received[title]
            if len(self.clients) < CLIENTS:
                self.clients[title] = _Row(title, len(self.clients) + 1, last, last)
            else:
                self._drop(title, last)
        self.saving: asyncio.Task[None] | None = None

    def rows(self) -> tuple[_Row, ...]:
        return (self.sending, self.others, *self.clients.values())

    def row(self, title: bytes) -> _Row:
        return self.clients.get(title, self.others)

    def use(self, title: bytes) -> _Row:
        """The row of a client, now the most recently used; where it has none, the client that was silent the
        longest gives up its own."""
        row = self.clients.pop(title, None)
        if row is None:
            slot = len(self.clients) + 1
            if slot > CLIENTS:
                silent = self.clients.pop(next(iter(self.clients)))
                self.low.discard(silent)
                self._drop(silent.title, silent.last)
                slot = silent.slot
            self.dropped.discard(title)
            row = _Row(title, slot, self.others.last, self.others.ceiling)
        self.clients[title] = row
        return row

    def _drop(self, title: bytes, last: int) -> None:
        self.others.last = max(self.others.last, last)
        self.low.add(self.others)
        self.dropped.add(title)

    def exact(self) -> dict[_Place, int | None]:
        """What the store should have when none of these counters is used any more."""
        gone: dict[_Place, int | None] = dict.fromkeys((self.key, title) for title in self.dropped)
        return {**gone, **{(self.key, row.title): row.last for row in self.rows()}}


class InvocationCounters:
    """The counters under the encryption key in use. Implements `core.dlms.admission.Counters`.

    All methods belong to one event loop. Counters belong to their key: under a new one they start afresh, and
    under one that comes back they go on. At most 64 client titles are kept under a key; a further one takes the
    place of the one that was silent the longest, and whatever that one had sent is refused from any unknown title.

    Where the database was lost or replaced while the key stayed, or the file beside it, sending goes on far above
    anything used before. Of what clients sent nothing is known without the database: everything is new then.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        """Use `open`."""
        self._store = store
        self._clock = clock
        self._preparing = asyncio.Lock()
        self._retiring: asyncio.Task[None] | None = None
        self._closed = False
        self._failing = False  # to say it once
        self._run: CounterRun
        self._file: CounterFile
        self._counters: _KeyCounters

    @classmethod
    async def open(
        cls, store: Store, path: Path, key: bytes, fresh: bool, clock: Clock
    ) -> InvocationCounters:
        """Take up the counters of `key` (16 bytes), and make a new file of exact ones at `path`.

        `fresh` says that the key was never used before. `clock` should be that of the machine. Raises
        CounterError and StoreError, each a sentence.
        """
        self = cls(store, clock)
        stored, run = await store.counters()
        live = await asyncio.to_thread(read_counter_file, path)
        known = _after(stored, run, live, clock.now_ms())
        # A crash from here on finds the file of before, and it fits still: `before` says so.
        self._run = CounterRun(
            secrets.token_bytes(16), live.mark if live and _belongs(live, run) else b"", False
        )
        spent = live.counters.get((fingerprint(key), _SENDING), 0) if live else 0
        self._counters = self._of_key(key, fresh, 0, known, spent)
        changed = {place: ceiling for place, ceiling in known.items() if stored.get(place) != ceiling}
        await store.save_counters({**changed, **self._reserved(self._counters)}, self._run)
        try:
            self._file = await asyncio.to_thread(CounterFile, path, self._run.mark)
            self._show(self._counters)
        except OSError as error:
            raise CounterError(
                f"The invocation counters cannot be written to {path} ({error.strerror or error}): "
                "free space there, or give this user the right to write."
            ) from error
        return self

    def next(self) -> int:
        """A counter for one protected message, 1 to 2^32-2; none is ever given out twice under a key.

        Raises CounterError where the key is used up, or where the disk has not kept up with reserving.
        """
        counters = self._open_counters()
        row = counters.sending
        number = row.last + 1
        if number >= HIGHEST:
            raise CounterError(
                "All invocation counters of the encryption key are used up: transfer a new encryption key."
            )
        if number > row.half and row.ceiling < HIGHEST - 1:
            counters.low.add(row)
            self._save(counters)
        if number > row.ceiling:
            raise CounterError(
                "No invocation counter is reserved on disk: nothing ciphered is sent before that works again; "
                "check the disk with the database."
            )
        row.last = number
        return number

    def last(self, title: bytes) -> int:
        """The last counter accepted from the client with this system title; -1 before the first."""
        return self._counters.row(title).last

    def highest(self) -> int:
        """The highest counter accepted from any client, 0 for none: whoever goes on from it is let in."""
        rows = (self._counters.others, *self._counters.clients.values())
        return max(0, *(row.last for row in rows))

    def accept(self, title: bytes, counter: int) -> Awaitable[None] | None:
        """Note `counter` (0 to 2^32-1) of the client with this system title (8 bytes) as accepted.

        From the return on it and all below are refused. Where an awaitable is returned, the message must not be
        acted upon before it is done. Both raise CounterError: not above the last one, or it cannot be kept.
        """
        counters = self._open_counters()
        if len(title) != _TITLE:
            raise CounterError(f"A system title has 8 bytes, not {len(title)}.")
        if not counters.row(title).last < counter <= HIGHEST:
            raise CounterError(f"The invocation counter {counter} was used before, or is none.")
        new = title not in counters.clients
        row = counters.use(title)
        try:
            if counter <= row.ceiling:
                self._put(counters, row, counter)
            elif new:
                # What was accepted so far: a crash just after its ceiling is on disk must not leave that alone.
                self._put(counters, row, row.last)
        except OSError as error:
            raise _cannot_keep(error) from error
        # Known at once, so that the same frame on another connection is refused while this one waits.
        row.last = counter
        if counter > row.half:
            counters.low.add(row)
            self._save(counters)
        return _heard(self._kept(counters, title, counter)) if counter > row.ceiling else None

    async def prepare(self, key: bytes, fresh: bool) -> Callable[[], None]:
        """Make ready to use another encryption key; the function that is returned does the switch, at once.

        `fresh` as in `open`. Without the switch nothing has changed. Between a preparation and its switch there
        must be no other. Raises CounterError.
        """
        async with self._preparing:
            if self._retiring is not None:
                await self._retiring
            present = self._open_counters()
            if fingerprint(key) == present.key:
                return lambda: None
            try:
                known, _ = await self._store.counters()
                counters = self._of_key(key, fresh, 1 - present.bank, known, 0)
                await self._store.save_counters(self._reserved(counters))
                self._show(counters)
            except (StoreError, OSError) as error:
                raise _cannot_keep(error) from error
            return lambda: self._switch(counters)

    async def use_key(self, key: bytes, fresh: bool) -> None:
        """Use another encryption key from now on. Raises CounterError, and then has changed nothing."""
        (await self.prepare(key, fresh))()

    async def close(self) -> None:
        """Write the exact values, where the disk lets us; from now on no counter can be used."""
        if self._closed:
            return
        self._closed = True
        async with self._preparing:
            if self._retiring is not None:
                await self._retiring
            await self._retire(self._counters, self._run._replace(clean=True))
            self._file.close()

    def _open_counters(self) -> _KeyCounters:
        if self._closed:
            raise CounterError("The gateway is stopping: no invocation counter can be used any more.")
        return self._counters

    def _of_key(
        self, key: bytes, fresh: bool, bank: int, known: dict[_Place, int], spent: int
    ) -> _KeyCounters:
        """The counters under `key`, of which sending has come as far as `spent` at least."""
        mark = fingerprint(key)
        received = {title: last for (owner, title), last in known.items() if owner == mark}
        sent = received.pop(_SENDING, None)
        if sent is None:
            sent = 0 if fresh else _beyond(self._clock.now_ms())
        sent = max(sent, spent)
        return _KeyCounters(mark, bank, sent, max(sent, min(sent + FIRST_BLOCK, HIGHEST - 1)), received)

    def _reserved(self, counters: _KeyCounters) -> dict[_Place, int | None]:
        return {(counters.key, _SENDING): counters.sending.ceiling}

    def _show(self, counters: _KeyCounters) -> None:
        self._file.begin(counters.bank, counters.key)
        self._put(counters, counters.sending, counters.sending.ceiling)
        for row in counters.clients.values():
            self._put(counters, row, row.last)

    def _put(self, counters: _KeyCounters, row: _Row, value: int) -> None:
        if counters.current:
            self._file.put(counters.bank, counters.key, row.slot, row.title, value)

    def _save(self, counters: _KeyCounters) -> asyncio.Task[None]:
        """Have the ceilings raised that are low, unless that is being done."""
        if counters.saving is None or counters.saving.done():
            counters.saving = _heard(self._raise_ceilings(counters))
        return counters.saving

    async def _raise_ceilings(self, counters: _KeyCounters) -> None:
        wanted = {row: row.wanted() for row in counters.low}
        dropped = set(counters.dropped)
        changes: dict[_Place, int | None] = dict.fromkeys((counters.key, title) for title in dropped)
        changes.update({(counters.key, row.title): ceiling for row, ceiling in wanted.items()})
        try:
            await self._store.save_counters(changes)
            for row, ceiling in wanted.items():
                if row is counters.sending:
                    self._put(counters, row, ceiling)
                elif counters.clients.get(row.title) is row:
                    # It may have gone on above what is on disk now; that far the file must not follow.
                    self._put(counters, row, min(row.last, ceiling))
        except (StoreError, OSError) as error:
            if not self._failing:
                log.error("Invocation counters cannot be reserved: %s", error)
            self._failing = True
            raise _cannot_keep(error) from error
        self._failing = False
        for row, ceiling in wanted.items():
            row.raise_to(ceiling)
            if row.last <= row.half:
                counters.low.discard(row)
        counters.dropped -= dropped

    async def _kept(self, counters: _KeyCounters, title: bytes, counter: int) -> None:
        while counters.row(title).ceiling < counter:
            await asyncio.shield(self._save(counters))

    def _switch(self, counters: _KeyCounters) -> None:
        old, self._counters = self._counters, counters
        if old is not counters:
            self._retiring = asyncio.create_task(self._retire(old))

    async def _retire(self, counters: _KeyCounters, run: CounterRun | None = None) -> None:
        """Write down the exact values of counters that are no longer used."""
        if counters.saving is not None:
            await asyncio.wait([counters.saving])
        try:
            # First here: a file that is ahead of the database is the sign of an older one that was put back.
            self._put(counters, counters.sending, counters.sending.last)
            await self._store.save_counters(counters.exact(), run)
        except (StoreError, OSError) as error:
            log.warning("Invocation counters were not written, they go on at their ceilings: %s", error)
        else:
            for row in counters.rows():
                row.raise_to(row.last)  # who waits for the disk still, waits no longer
        counters.current = False


def fingerprint(key: bytes) -> bytes:
    """What the store knows a key by: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(key).digest()[:_FINGERPRINT]


def _belongs(live: LiveCounters, run: CounterRun | None) -> bool:
    return run is not None and live.mark in (run.mark, run.before)


def _after(
    stored: dict[_Place, int], run: CounterRun | None, live: LiveCounters | None, now_ms: int
) -> dict[_Place, int]:
    """Where each counter goes on after the last run: what is stored, made exact where the file can be believed,
    and raised where the two do not fit: an older database was put back, or the file is lost."""
    fits = live is not None and _belongs(live, run)
    counters = live.counters if live is not None else {}
    behind = any(counter > stored.get(place, counter) for place, counter in counters.items())
    exact = counters if live and fits and live.same_boot and run and not run.clean else {}
    known = {}
    for place, ceiling in stored.items():
        if place[1] == _SENDING:
            known[place] = max(ceiling, counters.get(place, 0), 0 if fits and not behind else _beyond(now_ms))
        else:
            known[place] = min(ceiling, exact.get(place, ceiling))
    return known


def _beyond(now_ms: int) -> int:
    """A sending counter above all that were used before, where nothing is left that says how far they came.

    8 a second since 2025 is more than a gateway sends over the years, so the time says where to go on. Where the
    clock cannot be right, or has come to half of all numbers (2033), chance takes its place: a number between one half
    and three quarters of them.
    """
    number = (now_ms - _EPOCH_MS) // 1000 * _PER_SECOND
    if 0 < number < 1 << 31:
        return number
    return (1 << 31) + secrets.randbelow(1 << 30)


def _heard(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task whose failure nobody has to hear of: who does not wait for it tries again with the next counter."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _cannot_keep(error: Exception) -> CounterError:
    return CounterError(f"An invocation counter cannot be kept: {error}")

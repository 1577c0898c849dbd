"""Threads that own a connection each, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, TypeVar

from core.store.changes import StoreChanges
from core.store.queries import StoreReader
from core.store.records import StoreError, store_error
from core.store.schema import open_for_reading, open_for_writing

T = TypeVar("T")
D = TypeVar("D")

_BATCH = 256
"""Jobs in one commit at most, so that the first of them does not wait for ever."""

_Job = tuple[Callable[[D], Any], "Future[Any]"]


class _Worker(Generic[D]):
    """One thread that does jobs in the order in which they were given."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job[D] | None] = queue.SimpleQueue()
        self._opened: Future[None] = Future()
        self._guard = threading.Lock()
        self._closed = False
        # A daemon: what was acknowledged is on disk, so a process may end without asking.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def start(self) -> None:
        """Open the database. Raises StoreError."""
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    async def do(self, job: Callable[[D], T]) -> T:
        """Have a job done and wait for its result. Raises StoreError, or what the job raises."""
        future: Future[T] = Future()
        with self._guard:
            if self._closed:
                raise StoreError(f"The database {self._path} is closed: the gateway is stopping.")
            self._jobs.put((job, future))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Do what still waits, then close the connection."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            desk = self._open()
        except Exception as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            stopping = False
            while not stopping:
                batch, stopping = self._next_batch()
                wanted = [job for job in batch if job[1].set_running_or_notify_cancel()]
                if wanted:
                    self._do_all(desk, wanted)
        finally:
            self._close(desk)

    def _next_batch(self) -> tuple[list[_Job[D]], bool]:
        """The jobs that wait, once there is one, and whether the end comes after them."""
        batch: list[_Job[D]] = []
        while len(batch) < _BATCH and (not batch or not self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _open(self) -> D:
        raise NotImplementedError

    def _do_all(self, desk: D, batch: list[_Job[D]]) -> None:
        raise NotImplementedError

    def _close(self, desk: D) -> None:
        raise NotImplementedError

    def _known(self, error: Exception) -> Exception:
        return store_error(error, self._path) if isinstance(error, sqlite3.Error) else error


class Reader(_Worker[StoreReader]):
    """Answers questions; has no right to change anything."""

    def _open(self) -> StoreReader:
        return StoreReader(open_for_reading(self._path))

    def _do_all(self, desk: StoreReader, batch: list[_Job[StoreReader]]) -> None:
        for job, future in batch:
            try:
                result = job(desk)
            except Exception as error:
                future.set_exception(self._known(error))
            else:
                future.set_result(result)

    def _close(self, desk: StoreReader) -> None:
        desk.close()


class Writer(_Worker[StoreChanges]):
    """Makes changes. Those that wait together share one commit, and each is on disk before it is reported."""

    _connection: sqlite3.Connection
    _unclear = False
    """Whether the last batch failed, so that nobody knows what of it is still open."""

    def _open(self) -> StoreChanges:
        self._connection = open_for_writing(self._path)
        return StoreChanges(self._connection)

    def _do_all(self, desk: StoreChanges, batch: list[_Job[StoreChanges]]) -> None:
        done: list[tuple[Future[Any], Any, Exception | None]] = []
        try:
            if self._unclear:
                self._recover(desk)
            self._connection.execute("BEGIN IMMEDIATE")
            for job, future in batch:
                done.append((future, *self._do_one(desk, job)))
            self._connection.execute("COMMIT")
        except Exception as error:
            self._unclear = True
            for _, future in batch:
                future.set_exception(self._known(error))
            return
        for future, result, failure in done:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    def _recover(self, desk: StoreChanges) -> None:
        """After a batch that failed. Not right then: what failed, a disk, may fail this too."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        desk.refresh()
        self._unclear = False

    def _do_one(self, desk: StoreChanges, job: Callable[[StoreChanges], Any]) -> tuple[Any, Exception | None]:
        """One change; where it fails, the others of the batch stand."""
        self._connection.execute("SAVEPOINT change")
        try:
            result = job(desk)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # SQLite has given up all of it, as it does on a full disk
            self._connection.execute("ROLLBACK TO change")
            self._connection.execute("RELEASE change")
            desk.refresh()
            return None, self._known(error)
        self._connection.execute("RELEASE change")
        return result, None

    def _close(self, desk: StoreChanges) -> None:
        self._connection.close()

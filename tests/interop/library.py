"""Client libraries in processes of their own, and a wire tap between them and a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

LIBRARIES: Final = ("gurux", "pydlms", "dlms_cosem")
LIMIT: Final = 60.0
"""Seconds for any order; one of the libraries hangs where it does not understand."""

SENT, RECEIVED = "sent", "received"

_addresses = itertools.cycle(range(1, 255))


class Refused(Exception):  # noqa: N818 - what a test expects
    """What the library says went wrong, as `Client.explain` has it."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['type']}: {told['text']}")
        self.told = told


class Library:
    """One process with one client library and any number of clients. Starts with the first order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._alone = threading.Lock()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT)
            self._reader.join(LIMIT)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def order(self, client: str, do: str, /, *args: Any, **named: Any) -> Any:
        """Have a client do something; raises `Refused`, and `TimeoutError` where the library hangs."""
        with self._alone:
            process = self._started()
            assert process.stdin is not None
            order = {"name": client, "do": do, "args": as_json(args), "named": as_json(named)}
            print(json.dumps(order), file=process.stdin, flush=True)
            try:
                line = self._answers.get(timeout=LIMIT)
            except queue.Empty:
                self.stop()
                raise TimeoutError(f"{self.name} hangs: {do} {args} {named}") from None
        assert line, f"{self.name} ended itself: {do} {args} {named}"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            script = Path(__file__).parent / f"{self.name}_client.py"
            self._process = subprocess.Popen(
                [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._answers = queue.Queue()
            arguments = (self._process, self._answers)
            self._reader = threading.Thread(target=_gather, args=arguments, daemon=True)
            self._reader.start()
        return self._process


class Client:
    """One client of a library: `await client.get(1, "0.0.42.0.0.255", 2)`; the methods are those of `tour.Client`."""

    def __init__(self, library: Library, name: str) -> None:
        self._library = library
        self._name = name

    def __getattr__(self, do: str) -> Callable[..., Any]:
        def order(*args: Any, **named: Any) -> Any:
            return asyncio.to_thread(self._library.order, self._name, do, *args, **named)

        return order

    async def refused(self, do: str, /, *args: Any, **named: Any) -> dict[str, Any]:
        """What the library tells of an order that must not succeed."""
        try:
            answer = await getattr(self, do)(*args, **named)
        except Refused as error:
            return error.told
        raise AssertionError(f"{self._library.name}: {do} was not refused: {answer}")


class Tap:
    """Passes connections on to a gateway on 127.0.0.1, and keeps every APDU.

    Each has an address of 127.0.0.0/8 of its own: the gateway slows down the one that fails to authenticate, and that
    must not reach the next test.
    """

    def __init__(self, port: int) -> None:
        self._gateway = port
        self._source = another_address()
        self.frames: list[tuple[str, bytes]] = []  # direction and wrapper frame
        self._onwards: asyncio.StreamWriter | None = None  # of the last connection
        self._injected: asyncio.Future[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def apdus(self, direction: str) -> list[bytes]:
        return [frame[8:] for way, frame in self.frames if way == direction]

    async def inject(self, frame: bytes) -> bytes:
        """Send a frame in the name of the client that is connected; the APDU that comes back, which it never sees."""
        assert self._onwards is not None
        self._injected = asyncio.get_running_loop().create_future()
        self._onwards.write(frame)
        async with asyncio.timeout(LIMIT):
            return (await self._injected)[8:]

    async def __aenter__(self) -> Tap:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onwards = await asyncio.open_connection(
                "127.0.0.1", self._gateway, local_addr=(self._source, 0)
            )
        except OSError:
            writer.close()
            return
        self._onwards = onwards
        for way, source, target in ((SENT, reader, onwards), (RECEIVED, there, writer)):
            task = asyncio.create_task(self._pass(way, source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, way: str, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                while True:
                    header = await source.readexactly(8)
                    frame = header + await source.readexactly(struct.unpack(">H", header[6:])[0])
                    if way == RECEIVED and self._injected is not None:
                        self._injected.set_result(frame)
                        self._injected = None
                        continue
                    self.frames.append((way, frame))
                    target.write(frame)
                    await target.drain()
            finally:
                target.close()


def another_address() -> str:
    """A client's address that the gateway has not seen."""
    return f"127.0.1.{next(_addresses)}"


def as_json(value: Any) -> Any:
    """Arguments as `desk.given` takes them."""
    if isinstance(value, bytes):
        return {"octets": value.hex()}
    if isinstance(value, datetime):
        return {"moment": value.isoformat()}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def _gather(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")

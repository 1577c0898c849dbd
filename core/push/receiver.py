"""The receiver of notifications, for technicians and tests: a TCP server as a head-end system has one.

A connection is closed in order only when the sender has closed its side and all that it sent was handed over. In every
other case, also where this process is killed, it is reset: so the sender knows that it has to try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn

from core.clock import Clock, SystemClock
from core.cosem.codes import Codes
from core.dlms.admission import Keys
from core.dlms.wrapper import LARGEST_APDU, Deframer, WrapperError
from core.errors import CmeError
from core.push.behaviour import Behaviour, Kind
from core.push.received import Opener, Received

MOST_CONNECTIONS: Final = 256
"""At once; further ones are reset."""
SILENCE_S: Final = 180.0
"""Seconds without a byte after which a connection is reset."""

_CHUNK: Final = 65536
_BREATH_S: Final = 0.1
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, also where the process ends
_IN_ORDER: Final = struct.pack("ii", 0, 0)


def _end_process() -> NoReturn:
    os._exit(1)


class Receiver:
    """Listens on one port and hands each notification to `take`. Belongs to one event loop."""

    def __init__(
        self,
        take: Callable[[Received], None],
        *,
        keys: Keys | None = None,
        codes: Codes | None = None,
        behaviours: Iterable[Behaviour] = (),
        clock: Clock | None = None,
        die: Callable[[], NoReturn] = _end_process,
    ) -> None:
        """`take` may raise OSError where it cannot keep a notification: the connection is then reset.

        `keys` opens ciphered notifications; `codes` are the gateway's logical names, if not the usual ones.

        `behaviours`: one for each connection, in the order in which they come; after the last one all are taken.
        """
        self._take = take
        self._opener = Opener(keys, codes)
        self._behaviours = iter(behaviours)
        self._clock = clock or SystemClock()
        self._die = die
        self._address: tuple[str, int] = ("", 0)
        self._family = socket.AF_INET
        self._listener: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self._address[0]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._address[1]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises `CmeError` where that cannot be."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise CmeError(f"{host} is no address of this machine: {error.strerror}.") from error
        self._family, address = found[0][0], found[0][4]
        server = self._listen(str(address[0]), port)
        self._address = server.getsockname()[:2]
        self._listener = asyncio.create_task(self._accept(server))

    async def wait(self) -> None:
        """Until it is stopped, or until it cannot listen again. Raises `CmeError` for the latter."""
        assert self._listener is not None
        await asyncio.wait([self._listener])
        if not self._listener.cancelled():
            self._listener.result()

    async def stop(self, patience_s: float = 0) -> None:
        """Listen no more, and reset the connections that are still open after `patience_s` seconds."""
        await _cancel([self._listener] if self._listener else [])
        if self._connections:
            await asyncio.wait(self._connections, timeout=patience_s)
        await _cancel(list(self._connections))

    def _listen(self, host: str, port: int) -> socket.socket:
        try:
            server = socket.create_server((host, port), family=self._family)
        except OSError as error:
            raise CmeError(
                f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; choose another port, or an address "
                "of this machine."
            ) from error
        server.setblocking(False)
        return server

    async def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    link, peer = await loop.sock_accept(server)
                except OSError:  # gone already, or no file descriptor is left for it
                    await asyncio.sleep(_BREATH_S)
                    continue
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if len(self._connections) >= MOST_CONNECTIONS:
                    link.close()
                    continue
                behaviour = next(self._behaviours, Behaviour())
                if behaviour.kind is Kind.REFUSE:
                    link.close()
                    server.close()
                    await asyncio.sleep(behaviour.amount)
                    server = self._listen(*self._address)
                    continue
                task = asyncio.create_task(self._serve(link, _host_port(peer), behaviour))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
        finally:
            server.close()

    async def _serve(self, link: socket.socket, source: str, behaviour: Behaviour) -> None:
        kind, amount = behaviour
        with link, contextlib.suppress(OSError):
            if kind is Kind.DROP:
                return
            if kind is Kind.DELAY:
                await asyncio.sleep(amount)
            limit = amount if kind is Kind.HALF else None
            if not await self._read(link, source, limit, dies=kind is Kind.DIE):
                return
            if kind is Kind.HANG:
                await asyncio.Event().wait()
            if kind is not Kind.LOSE:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _IN_ORDER)

    async def _read(self, link: socket.socket, source: str, limit: int | None, *, dies: bool) -> bool:
        """Hand over what comes, at most `limit` bytes; whether the sender closed its side behind whole frames."""
        deframer = Deframer(LARGEST_APDU)
        left = limit
        while left is None or left > 0:
            async with asyncio.timeout(SILENCE_S):
                data = await asyncio.get_running_loop().sock_recv(link, _CHUNK if left is None else left)
            if not data:
                if deframer.buffered:
                    self._hand_over_problem(source, "The connection ended in the middle of a notification.")
                return not deframer.buffered
            if dies:
                self._die()
            if left is not None:
                left -= len(data)
            deframer.feed(data)
            try:
                while (frame := deframer.next()) is not None:
                    self._take(self._opener.open(Received(self._clock.now_ms(), source, *frame)))
            except WrapperError as error:
                self._hand_over_problem(source, str(error))
                return False
        return False

    def _hand_over_problem(self, source: str, problem: str) -> None:
        self._take(Received(self._clock.now_ms(), source, problem=problem))


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _host_port(peer: tuple[str, int]) -> str:
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

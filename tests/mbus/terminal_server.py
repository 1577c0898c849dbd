"""A terminal server: pyserial's side of RFC 2217 in front of a serial device, in threads of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import serial
import serial.rfc2217


class Port(serial.Serial):
    """A pseudo terminal in the place of a serial port: it has no parity and no modem lines."""

    cts = dsr = ri = cd = False
    fixed_rate = 0
    """Where not 0, the only rate that the port has."""
    even_parity = True
    """Whether the port can have it."""

    @property
    def parity(self) -> str:
        return self.asked_parity

    @parity.setter
    def parity(self, parity: str) -> None:
        if parity == serial.PARITY_EVEN and not self.even_parity:
            raise ValueError("no even parity")
        self.asked_parity = parity
        self._parity = serial.PARITY_NONE

    @property
    def baudrate(self) -> int:
        return int(serial.Serial.baudrate.fget(self))

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        if self.fixed_rate and baud != self.fixed_rate:
            raise ValueError("fixed rate")
        serial.Serial.baudrate.fset(self, baud)


class _Connection:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)


@contextmanager
def serve_port(
    device: str, make_port: Callable[..., Any] = Port, number: int = 0
) -> Iterator[tuple[int, list[Any]]]:
    """Serve `device` to one client after the other; gives the TCP port, and each client's serial port as it comes.

    `number` is the TCP port to take, 0 for a free one.
    """
    ports: list[Any] = []
    listener = socket.create_server(("127.0.0.1", number))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections.append(connection)
            with make_port(device, 9600, timeout=0.05) as port:
                ports.append(port)
                _serve_client(connection, port)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], ports
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        thread.join(5)


def _serve_client(connection: socket.socket, port: Any) -> None:
    manager = serial.rfc2217.PortManager(port, _Connection(connection))
    gone = threading.Event()

    def send() -> None:
        while not gone.is_set():
            try:
                data = port.read(max(1, port.in_waiting))
            except OSError:  # the client had the buffer emptied just now, or the device is gone
                gone.wait(0.01)
                continue
            for byte in manager.escape(data):
                connection.sendall(byte)  # one by one, so that packets end anywhere

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        while data := connection.recv(1024):
            port.write(b"".join(manager.filter(data)))
    except OSError:
        pass
    gone.set()
    sender.join(5)

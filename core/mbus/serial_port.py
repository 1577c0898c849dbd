"""M-Bus level converters on a serial port. The only place that knows pyserial and pyserial-asyncio."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import termios

import serial
import serial_asyncio

from core.mbus.transport import LineError, Transport, TransportProtocol

BAUD_RATES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400)
"""What EN 13757-2 allows on the bus."""

_MARGIN = 0.05  # s; a USB adapter holds bytes back for up to 16 ms, and the loop has other work


async def open_serial(device: str, baud: int) -> Transport:
    """Open a serial device with 8 data bits, even parity, one stop bit, for this process alone.

    Raises `LineError` where there is no such device, no permission, it is in use, or is no serial port.
    """
    if baud not in BAUD_RATES:
        rates = ", ".join(map(str, BAUD_RATES))
        raise LineError(f"{baud} baud is no rate of an M-Bus: choose one of {rates}.")
    gone = f"The serial port {device} is gone: is its adapter unplugged?"
    loop = asyncio.get_running_loop()
    try:
        # Opening a port may block for as long as its driver likes.
        port = await asyncio.to_thread(_open, device, baud)
        protocol = _SerialProtocol(port, _MARGIN, gone)
        await serial_asyncio.connection_for_serial(loop, lambda: protocol, port)
    except (OSError, ValueError, termios.error) as error:  # serial.SerialException is an OSError
        raise LineError(_explain(device, error)) from error
    await protocol.made.wait()
    return protocol.transport


class _SerialProtocol(TransportProtocol):
    def __init__(self, port: serial.Serial, margin: float, gone: str) -> None:
        super().__init__(margin, gone)
        self.made = asyncio.Event()
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream = transport
        self.transport = Transport(transport.write, self._end, self._margin)
        self.made.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.lose(self._gone)

    def _end(self) -> None:
        if self._stream.is_closing():
            return
        # pyserial-asyncio waits in the loop for unsent bytes when it closes; there must be none.
        self._port.reset_output_buffer()
        self._stream.abort()


def _open(device: str, baud: int) -> serial.Serial:
    # A pseudo terminal has no parity, and setting one is an error there.
    pseudo = os.path.realpath(device).startswith("/dev/pts/")
    parity = serial.PARITY_NONE if pseudo else serial.PARITY_EVEN
    return serial.Serial(device, baud, serial.EIGHTBITS, parity, serial.STOPBITS_ONE, exclusive=True)


def _explain(device: str, error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return f"There is no serial port {device}: check its name and whether the adapter is plugged in."
        case errno.EACCES | errno.EPERM:
            return f"No permission for the serial port {device}: add this user to the group {_group(device)}."
        case errno.EAGAIN | errno.EBUSY:
            return f"The serial port {device} is in use by another program: stop that one first."
    return f"{device} cannot be used as a serial port: {error}."


def _group(device: str) -> str:
    try:
        return grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "that owns it"

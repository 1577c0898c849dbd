"""M-Bus level converters on a serial port. The only place that knows pyserial and pyserial-asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import grp
import os
import termios
from itertools import islice
from pathlib import Path

import serial
import serial_asyncio

from core.apart import apart
from core.mbus.transport import LineError, Transport, TransportProtocol, check_baud

_MARGIN = 0.05  # s; a USB adapter holds bytes back for up to 16 ms, and the loop has other work
_DRAIN_TIMEOUT = 15.0  # s; the longest frame takes 9.6 s at 300 baud
_MOST_PROCESSES, _MOST_FILES = 4096, 1024  # to look at for who has a port open


async def open_serial(device: str, baud: int) -> Transport:
    """Open a serial device with 8 data bits, even parity, one stop bit, for this process alone.

    Raises `LineError` where there is no such device, no permission, it is no serial port, or another program has it
    open, also one that did not lock it: it would take bytes away.
    """
    check_baud(baud)
    gone = f"The serial port {device} is gone: is its adapter unplugged?"
    loop = asyncio.get_running_loop()
    port = await apart("serial-driver", _open, device, baud)
    protocol = _SerialProtocol(port, _MARGIN, gone)
    try:
        await serial_asyncio.connection_for_serial(loop, lambda: protocol, port)
    except (OSError, termios.error) as error:
        port.close()
        raise LineError(gone) from error
    await protocol.made.wait()
    return protocol.transport


class _SerialProtocol(TransportProtocol):
    def __init__(self, port: serial.Serial, margin: float, gone: str) -> None:
        super().__init__(margin, gone)
        self.made = asyncio.Event()
        self._port = port
        self._written = asyncio.Event()  # all was handed to the driver
        self._written.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream = transport
        transport.set_write_buffer_limits(0)
        self.transport = Transport(transport.write, self._end, self._margin, self._change_baud)
        self.made.set()

    def pause_writing(self) -> None:
        self._written.clear()

    def resume_writing(self) -> None:
        self._written.set()

    def _end(self) -> None:
        if self._stream.is_closing():
            return
        # pyserial-asyncio waits in the loop for unsent bytes when it closes; there must be none.
        self._port.reset_output_buffer()
        self._stream.abort()

    async def _change_baud(self, baud: int) -> None:
        device = self._port.port
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                await self._written.wait()
                if self._stream.is_closing():
                    raise LineError(self.gone)
                # A descriptor of its own: the port may be closed, and its number taken, while the thread waits.
                await apart("serial-driver", _drain_and_set_baud, os.dup(self._port.fileno()), baud)
        except TimeoutError as error:
            raise LineError(f"The serial port {device} does not send: check its adapter.") from error
        except (OSError, termios.error) as error:
            raise LineError(f"The serial port {device} does not take {baud} baud: {error}.") from error


def _open(device: str, baud: int) -> serial.Serial:
    # A pseudo terminal has no parity, and setting one is an error there.
    pseudo = _is_pseudo(device)
    parity = serial.PARITY_NONE if pseudo else serial.PARITY_EVEN
    try:
        port = serial.Serial(device, baud, serial.EIGHTBITS, parity, serial.STOPBITS_ONE, exclusive=True)
        # Programs that look at no lock cannot open it from now on. On a pseudo terminal, whose other end keeps it
        # open, that would outlast us.
        if not pseudo:
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    except (OSError, ValueError, termios.error) as error:  # serial.SerialException is an OSError
        raise LineError(_explain(device, error)) from error
    other = _other_program(device)
    if other:
        port.close()
        raise LineError(
            f"The serial port {device} is also open in {other}, which would take bytes away: stop that one first."
        )
    return port


def _is_pseudo(device: str) -> bool:
    return os.path.realpath(device).startswith("/dev/pts/")


def _other_program(device: str) -> str:
    """The program that has a device open, as far as this user may see; "" for none."""
    path, pseudo = os.path.realpath(device), _is_pseudo(device)
    everyone = os.listdir("/proc") if os.path.isdir("/proc") else []
    for process in islice(filter(str.isdigit, everyone), _MOST_PROCESSES):
        if int(process) == os.getpid():
            continue
        # Whoever has the other end of a pseudo terminal plays the bus.
        opened = _files_of(process)
        if path in opened and not (pseudo and any(file.endswith("/ptmx") for file in opened)):
            with contextlib.suppress(OSError):
                return f"{Path('/proc', process, 'comm').read_text().strip()} (process {process})"
    return ""


def _files_of(process: str) -> set[str]:
    folder = f"/proc/{process}/fd"
    files = set()
    with contextlib.suppress(OSError):  # another user's, or it just ended
        for number in islice(os.listdir(folder), _MOST_FILES):
            with contextlib.suppress(OSError):
                files.add(os.readlink(f"{folder}/{number}"))
    return files


def _drain_and_set_baud(descriptor: int, baud: int) -> None:
    """Closes `descriptor`. Raises `termios.error` or `OSError`."""
    try:
        termios.tcdrain(descriptor)
        wanted = [getattr(termios, f"B{baud}")] * 2
        attributes = termios.tcgetattr(descriptor)
        attributes[4:6] = wanted
        termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)
        # It reports success where it could change anything at all.
        if termios.tcgetattr(descriptor)[4:6] != wanted:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    finally:
        os.close(descriptor)


def _explain(device: str, error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return f"There is no serial port {device}: check its name and whether the adapter is plugged in."
        case errno.EACCES | errno.EPERM:
            return f"No permission for the serial port {device}: add this user to the group {_group(device)}."
        case errno.EAGAIN | errno.EBUSY:
            other = _other_program(device)
            if not other and os.path.realpath(device) in _files_of("self"):
                return f"The serial port {device} is in use by another line of this gateway: correct one of the two."
            return f"The serial port {device} is in use by {other or 'another program'}: stop that one first."
    return f"{device} cannot be used as a serial port: {error}."


def _group(device: str) -> str:
    try:
        return grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "that owns it"

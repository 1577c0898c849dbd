"""Opens the line that a URL names: serial port, TCP level converter, terminal server, or simulated bus."""

from __future__ import annotations

import asyncio
import os

from core.mbus.rfc2217 import open_rfc2217
from core.mbus.serial_port import open_serial
from core.mbus.simulator import SimulatedBus, SimulationError, open_simulated, planned_bus
from core.mbus.tcp import TcpProtocol, connect
from core.mbus.transport import LineError, Transport

_LOOK = 2.0  # s between two looks for a device that is unplugged


async def open_transport(url: str, baud: int, *, bus: SimulatedBus | None = None) -> Transport:
    """Open `serial:/dev/ttyUSB0`, `tcp:host:port`, `rfc2217:host:port`, `sim:`, `sim:folder` or `sim:folder?item&item`.

    `baud` is the rate on the bus, 300..38400; a level converter behind `tcp:` must be set to the same. `sim:` leads
    to `bus`, by default one of all telegrams that come with the program; with a folder of .hex files to those, with
    items to misfortunes and fleets (`core.mbus.simulator.planned_bus`). Raises `LineError`.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "serial" and rest:
        return await open_serial(rest, baud)
    if scheme == "tcp":
        host, port = _split_host_port(url, rest)
        return (await connect(host, port, lambda: TcpProtocol(f"level converter {host}:{port}"))).transport
    if scheme == "rfc2217":
        return await open_rfc2217(*_split_host_port(url, rest), baud)
    if scheme == "sim":
        return open_simulated(bus or await _simulated_bus(rest, baud), baud)
    raise LineError(
        f"{url!r} names no line: use serial:/dev/ttyUSB0, tcp:HOST:PORT, rfc2217:HOST:PORT or sim:."
    )


async def wait_to_open(url: str, delay: float) -> bool:
    """Wait `delay` s until a line is tried again, or until the serial device that it lacks is there: then True."""
    loop = asyncio.get_running_loop()
    until = loop.time() + delay
    scheme, _, device = url.partition(":")
    missing = False
    while (left := until - loop.time()) > 0:
        if scheme == "serial":
            there = os.path.exists(device)  # noqa: ASYNC240 - /dev is in memory
            if there and missing:
                return True
            missing = not there
            left = min(left, _LOOK)
        await asyncio.sleep(left)
    return False


async def _simulated_bus(plan: str, baud: int) -> SimulatedBus:
    try:
        return await asyncio.to_thread(planned_bus, plan, baud)
    except SimulationError as error:
        raise LineError(str(error)) from error


def _split_host_port(url: str, rest: str) -> tuple[str, int]:
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise LineError(f"{url!r} names no host: add HOST:PORT with a port from 1 to 65535.")
    return host, int(port)

"""Opens the line that a URL names: serial port, TCP level converter, or simulated bus."""

from __future__ import annotations

import asyncio
import socket

from core.mbus.serial_port import open_serial
from core.mbus.simulator import SimulatedBus, SimulationError, open_simulated, planned_bus
from core.mbus.transport import LineError, Transport, TransportProtocol

_TCP_MARGIN = 0.5  # s; a level converter gathers bytes into packets, and networks take their time
_CONNECT_TIMEOUT = 5.0  # s


async def open_transport(url: str, baud: int, *, bus: SimulatedBus | None = None) -> Transport:
    """Open `serial:/dev/ttyUSB0`, `tcp:host:port`, `sim:`, `sim:folder` or `sim:folder?item&item`.

    `baud` is the rate on the bus, 300..38400; over TCP the level converter must be set to the same. `sim:` leads to
    `bus`, by default one of all telegrams that come with the program; with a folder of .hex files to those, with items
    to misfortunes and fleets (`core.mbus.simulator.planned_bus`). Raises `LineError`.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "serial" and rest:
        return await open_serial(rest, baud)
    if scheme == "tcp":
        return await _open_tcp(*_split_host_port(url, rest))
    if scheme == "sim":
        return open_simulated(bus or await _simulated_bus(rest, baud), baud)
    raise LineError(f"{url!r} names no line: use serial:/dev/ttyUSB0, tcp:HOST:PORT or sim:.")


async def _simulated_bus(plan: str, baud: int) -> SimulatedBus:
    try:
        return await asyncio.to_thread(planned_bus, plan, baud)
    except SimulationError as error:
        raise LineError(str(error)) from error


async def _open_tcp(host: str, port: int) -> Transport:
    loop = asyncio.get_running_loop()
    name = f"{host}:{port}"
    protocol = TransportProtocol(_TCP_MARGIN, f"The level converter {name} closed the connection")
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            stream, _ = await loop.create_connection(lambda: protocol, host, port)
    except TimeoutError as error:
        raise LineError(f"No answer from the level converter {name}: check its power and network.") from error
    except ConnectionRefusedError as error:
        raise LineError(
            f"The level converter {name} refuses the connection: check the port, and whether it is taken."
        ) from error
    except (socket.gaierror, UnicodeError) as error:  # the latter for what can be no name at all
        raise LineError(f"The host name {host!r} is not known: check it, or use the IP address.") from error
    except OSError as error:
        raise LineError(
            f"The level converter {name} cannot be reached: {error.strerror or error}."
        ) from error
    # Without keepalive, a converter that lost its power looks like one whose meters are all dead.
    stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return protocol.transport


def _split_host_port(url: str, rest: str) -> tuple[str, int]:
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise LineError(f"{url!r} names no TCP line: use tcp:HOST:PORT with a port from 1 to 65535.")
    return host, int(port)

"""How near the master comes to the limit of the wire: run as a script, prints a table.

The limit of a readout is (5 + N) bytes of 11 bits, the meter's answer delay and the idle time of the standard;
a selection by secondary address adds 18 bytes, a delay and an idle time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from core.mbus.address import Address, PrimaryAddress, SecondaryAddress
from core.mbus.exchange import IDLE_BITS
from core.mbus.frame import BITS_PER_BYTE, long_frame
from core.mbus.master import Master
from core.mbus.simulator import SimulatedBus, SimulatedMeter, SimulatedPty, open_simulated, serve_tcp
from core.mbus.simulator.serving import DELAY_BITS, DELAY_SECONDS
from core.mbus.transport import Transport

READOUTS = 12
LENGTH = 121  # bytes of a typical telegram

HEADER = bytes.fromhex("7856341224232507 01 00 0000")
TELEGRAM = long_frame(8, 5, 0x72, HEADER + b"\x2f" * (LENGTH - 9 - len(HEADER)))


def limit(baud: int, *, secondary: bool) -> float:
    """Seconds that one readout takes at least."""
    turn = DELAY_BITS / baud + DELAY_SECONDS + IDLE_BITS / baud
    sent = (5 + LENGTH) * BITS_PER_BYTE / baud + turn
    return sent + 18 * BITS_PER_BYTE / baud + turn if secondary else sent


async def measure(
    open_master: Callable[[SimulatedBus, int], Awaitable[Master]], name: str, baud: int
) -> None:
    bus = SimulatedBus([SimulatedMeter([TELEGRAM], address=5)])
    master = await open_master(bus, baud)
    master.start()
    addresses: tuple[Address, ...] = (PrimaryAddress(5), SecondaryAddress("12345678"))
    for address in addresses:
        await master.read(address)
        start = time.perf_counter()
        for _ in range(READOUTS):
            await master.read(address)
        spent = (time.perf_counter() - start) / READOUTS
        least = limit(baud, secondary=isinstance(address, SecondaryAddress))
        kind = type(address).__name__.removesuffix("Address").lower()
        print(
            f"{name:<8} {baud:>6} baud  {kind:<10} {spent:8.4f} s  limit {least:8.4f} s  {least / spent:6.1%}"
        )
    await master.close()


async def in_process(bus: SimulatedBus, baud: int) -> Master:
    async def open_line(_url: str, rate: int) -> Transport:
        return open_simulated(bus, rate)

    return Master("sim:", baud, open_line=open_line)


async def over_pty(bus: SimulatedBus, baud: int) -> Master:
    return Master(f"serial:{SimulatedPty(bus, baud).path}", baud)


async def over_tcp(bus: SimulatedBus, baud: int) -> Master:
    server = await serve_tcp(bus, baud)
    return Master(f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}", baud)


async def main() -> None:
    for baud in (2400, 9600, 38400):
        for name, way in (("sim", in_process), ("pty", over_pty), ("tcp", over_tcp)):
            await measure(way, name, baud)


if __name__ == "__main__":
    asyncio.run(main())

"""How near a sweep comes to the limit of the wire: run as a script, prints a table with the goals.

The limit of a readout is (5 + N) bytes of 11 bits, the meter's answer delay and the idle time of the standard;
a selection by secondary address adds 18 bytes, a delay and an idle time. The links are reset and the meters deselected
before the clock starts, as in every sweep but the first.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Sequence
from functools import partial

from core.mbus.address import Address, PrimaryAddress
from core.mbus.exchange import IDLE_BITS
from core.mbus.frame import BITS_PER_BYTE, long_frame
from core.mbus.master import Master
from core.mbus.simulator import SimulatedBus, SimulatedMeter, SimulatedPty, open_simulated, serve_tcp
from core.mbus.simulator.serving import DELAY_BITS, DELAY_SECONDS
from core.mbus.transport import Transport

METERS = 8
ROUNDS = 3
"""Sweeps of which the best counts, since other programs may use the machine."""
LENGTH = 121  # bytes of a typical telegram
TCP_DELAY = 0.005  # s in each direction
GOALS = {"pty": 0.97, "tcp": 0.90}
"""Share of the limit at 2400 and 9600 baud; what has no goal is for comparison."""


def meter(number: int) -> SimulatedMeter:
    header = (12345600 + number).to_bytes(4, "little").hex()  # hex digits, but as good as any
    telegram = bytes.fromhex(header + "2423250701000000") + b"\x2f" * (LENGTH - 9 - 12)
    return SimulatedMeter([long_frame(8, number, 0x72, telegram)])


def limit(baud: int, *, secondary: bool) -> float:
    """Seconds that one readout takes at least."""
    turn = DELAY_BITS / baud + DELAY_SECONDS + IDLE_BITS / baud
    sent = (5 + LENGTH) * BITS_PER_BYTE / baud + turn
    return sent + 18 * BITS_PER_BYTE / baud + turn if secondary else sent


async def measure(way: str, baud: int) -> None:
    bus = SimulatedBus([meter(number) for number in range(1, METERS + 1)])
    master = await WAYS[way](bus, baud)
    master.start()
    primary = [PrimaryAddress(each.address) for each in bus.meters]
    secondary = [each.identity for each in bus.meters if each.identity]
    for kind, addresses in (("primary", primary), ("secondary", secondary)):
        await sweep(master, addresses)
        spent = min([await sweep(master, addresses) for _ in range(ROUNDS)])
        least = METERS * limit(baud, secondary=kind == "secondary")
        share = least / spent
        goal = GOALS.get(way) if baud in (2400, 9600) else None
        verdict = f"goal {goal:.0%} {'reached' if share >= goal else 'MISSED'}" if goal else ""
        print(
            f"{way:<4} {baud:>6} baud  {kind:<10} {spent:8.3f} s  limit {least:8.3f} s  {share:6.1%}  {verdict}"
        )
    await master.close()


async def sweep(master: Master, addresses: Sequence[Address]) -> float:
    """Seconds that it takes to read them all."""
    start = time.perf_counter()
    for address in addresses:
        await master.read(address)
    return time.perf_counter() - start


async def in_process(bus: SimulatedBus, baud: int) -> Master:
    async def open_line(_url: str, rate: int) -> Transport:
        return open_simulated(bus, rate)

    return Master("sim:", baud, open_line=open_line)


async def over_pty(bus: SimulatedBus, baud: int) -> Master:
    return Master(f"serial:{SimulatedPty(bus, baud).path}", baud)


async def over_tcp(bus: SimulatedBus, baud: int) -> Master:
    converter = await serve_tcp(bus, baud)
    network = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=carry, args=(network, port_of(converter)), daemon=True).start()
    return Master(f"tcp:127.0.0.1:{network.getsockname()[1]}", baud)


WAYS = {"sim": in_process, "pty": over_pty, "tcp": over_tcp}


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def carry(network: socket.socket, port: int) -> None:
    """A network in front of a level converter, on which everything takes `TCP_DELAY`.

    In threads, since the event loop's timers are a millisecond off at worst.
    """
    near, _ = network.accept()
    far = socket.create_connection(("127.0.0.1", port))
    for source, target in ((near, far), (far, near)):
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        for end in (partial(depart, source, under_way), partial(arrive, target, under_way)):
            threading.Thread(target=end, daemon=True).start()


def depart(source: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    while data := source.recv(4096):
        under_way.put((time.perf_counter() + TCP_DELAY, data))


def arrive(target: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    while True:
        due, data = under_way.get()
        time.sleep(max(0.0, due - time.perf_counter()))
        target.sendall(data)


async def main() -> None:
    for baud in (2400, 9600, 38400):
        for way in WAYS:
            await measure(way, baud)


if __name__ == "__main__":
    asyncio.run(main())

"""How fast the DLMS server is, as ratios against peers measured in the same run: `python tests/bench/bench_dlms.py`.

One association on loopback, one blocking client with prebuilt bytes, every server in a process of its own, rounds
interleaved, medians. Goals: GET/s at least 0.6 of a bare asyncio echo of the same bytes and above pydlms's
simulator; a profile of 1000 rows and 10 columns (plain, PDU 1024) in at most a third of its time.
"""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS, GETS = 9, 3000
ROWS, COLUMNS = 1000, 10
AARQ = bytes.fromhex(
    "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738"
    "be10040e01000000065f1f0400007e1f0400"
)
GET = bytes.fromhex("c001c100030800010000ff0200")
PROFILE = bytes.fromhex("c001c1000701006301 00ff0200")
SERVERS = {
    "cme": [str(HERE.parent / "dlms" / "dlms_plant.py"), "0", str(ROWS), str(COLUMNS)],
    "echo": [str(HERE / "dlms_peers.py"), "echo"],
    "pydlms": [str(HERE / "dlms_peers.py"), "pydlms"],
}


class Link:
    """One connection with the wrapper; client 1, logical device 16."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, apdu: bytes) -> bytes:
        self.socket.sendall(struct.pack(">HHHH", 1, 1, 16, len(apdu)) + apdu)
        size = struct.unpack(">H", self.receive(8)[6:])[0]
        return self.receive(size)

    def receive(self, count: int) -> bytes:
        data = self.socket.recv(count)
        while len(data) < count:
            data += self.socket.recv(count - len(data))
        return data

    def gets(self) -> float:
        """Register reads per second."""
        request = struct.pack(">HHHH", 1, 1, 16, len(GET)) + GET
        size = len(self.ask(GET)) + 8
        send, receive = self.socket.sendall, self.socket.recv
        started = time.perf_counter()
        for _ in range(GETS):
            send(request)
            if len(receive(size)) != size:
                raise ValueError("an answer came in pieces")
        return GETS / (time.perf_counter() - started)

    def profile(self) -> float:
        """Seconds for the whole profile."""
        started = time.perf_counter()
        answer = self.ask(PROFILE)
        total, blocks = len(answer), 1
        while not answer[3]:
            answer = self.ask(b"\xc0\x02\xc1" + answer[4:8])
            total += len(answer)
            blocks += 1
        elapsed = time.perf_counter() - started
        if total < ROWS * (COLUMNS - 1) * 5 or blocks < total // 1024:
            raise ValueError(f"the profile has {total} bytes in {blocks} blocks")
        return elapsed


def main() -> None:
    processes = {
        name: subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        for name, command in SERVERS.items()
    }
    try:
        links: dict[str, Link] = {}
        for name, process in processes.items():
            assert process.stdout is not None
            links[name] = Link(int(process.stdout.readline()))
            if name != "echo" and b"\xa2\x03\x02\x01\x00" not in links[name].ask(AARQ):
                raise ValueError(f"{name} refuses the association")
        gets: dict[str, list[float]] = {name: [] for name in links}
        profiles: dict[str, list[float]] = {name: [] for name in links if name != "echo"}
        for _ in range(ROUNDS):
            for name, link in links.items():
                gets[name].append(link.gets())
                if name in profiles:
                    profiles[name].append(link.profile())
    finally:
        for process in processes.values():
            process.kill()
    rate = {name: statistics.median(values) for name, values in gets.items()}
    took = {name: statistics.median(values) for name, values in profiles.items()}
    for name, value in rate.items():
        print(
            f"{name:8} {value:8.0f} GET/s"
            + (f" {took[name] * 1000:8.1f} ms a profile" if name in took else "")
        )
    print(f"GET/s against the bare echo:   {rate['cme'] / rate['echo']:.2f}  (goal 0.60)")
    print(f"GET/s against pydlms:          {rate['cme'] / rate['pydlms']:.2f}  (goal 1.00)")
    print(f"profile against pydlms:        {took['pydlms'] / took['cme']:.2f}  times as fast (goal 3.00)")


if __name__ == "__main__":
    main()

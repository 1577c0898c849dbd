"""How fast the gateway serves DLMS, as ratios against peers measured in one run: `python tests/bench/bench_dlms.py`.

The whole gateway: a meter's register as mapped from its last telegram, a profile out of the store. One association
on loopback, one blocking client with prebuilt bytes, every server in a process of its own, rounds interleaved,
medians. Goals: GET/s at least 0.6 of a bare asyncio echo of the same bytes and above pydlms's
simulator; a profile of 1000 rows and 10 columns (plain, PDU 1024) in at most a third of its time.
"""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS, GETS = 9, 3000
ROWS, COLUMNS = 1000, 10
AARQ = bytes.fromhex(
    "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738"
    "be10040e01000000065f1f0400007e1f0400"
)
REGISTERS = {"gateway": "c001c100030600010000ff0200", "pydlms": "c001c100030800010000ff0200"}
PROFILE = bytes.fromhex("c001c1000701006301 00ff0200")


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

    def gets(self, request: bytes) -> float:
        """Register reads per second."""
        size = len(self.ask(request)) + 8
        request = struct.pack(">HHHH", 1, 1, 16, len(request)) + request
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


def serve(*command: str) -> tuple[subprocess.Popen[str], Link]:
    """Start a server that prints its port at the end of its first line, and connect to it."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    return process, Link(int(process.stdout.readline().rpartition(":")[2]))


def main() -> None:
    processes, links = {}, {}
    with tempfile.TemporaryDirectory() as state:
        try:
            for name, command in {
                "gateway": (str(HERE / "gateway_server.py"), state),
                "pydlms": (str(HERE / "dlms_peers.py"), "pydlms"),
            }.items():
                processes[name], links[name] = serve(*command)
                if b"\xa2\x03\x02\x01\x00" not in links[name].ask(AARQ):
                    raise ValueError(f"{name} refuses the association")
            requests = {name: bytes.fromhex(request) for name, request in REGISTERS.items()}
            requests["echo"] = requests["gateway"]
            answer = links["gateway"].ask(requests["gateway"])
            processes["echo"], links["echo"] = serve(str(HERE / "dlms_peers.py"), "echo", answer.hex())
            cold = links["gateway"].profile()
            gets: dict[str, list[float]] = {name: [] for name in links}
            profiles: dict[str, list[float]] = {name: [] for name in links if name != "echo"}
            for _ in range(ROUNDS):
                for name, link in links.items():
                    gets[name].append(link.gets(requests[name]))
                    if name in profiles:
                        profiles[name].append(link.profile())
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
    rate = {name: statistics.median(values) for name, values in gets.items()}
    took = {name: statistics.median(values) for name, values in profiles.items()}
    for name, value in rate.items():
        print(
            f"{name:8} {value:8.0f} GET/s"
            + (f" {took[name] * 1000:8.1f} ms a profile" if name in took else "")
        )
    print(f"the gateway's first profile, out of the store: {cold * 1000:.0f} ms")
    print(f"GET/s against the bare echo:   {rate['gateway'] / rate['echo']:.2f}  (goal 0.60)")
    print(f"GET/s against pydlms:          {rate['gateway'] / rate['pydlms']:.2f}  (goal 1.00)")
    print(f"profile against pydlms:        {took['pydlms'] / took['gateway']:.2f}  times as fast (goal 3.00)")


if __name__ == "__main__":
    main()

"""How fast the gateway serves DLMS, as ratios against peers measured in one run: `python tests/bench/bench_dlms.py`.

The whole gateway: a meter's register as mapped from its last telegram, a profile out of the store. One association
on loopback, plain and ciphered (glo, security control 30), one blocking client with prebuilt bytes, every server in
a process of its own, short rounds in turn, medians. The CPU time of a request is shown beside: the ratios to the echo
depend on whether the machine sleeps between two requests or has other work.

Goals of GET/s: above pydlms's simulator, and against a bare asyncio echo of the same bytes 0.6, ciphered 0.4. Goal of
a profile of 1000 rows and 10 columns (PDU 1024): at most a third of the simulator's time, and cold, out of the store,
less than 100 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from dlms_link import CipheredLink, Link, value  # noqa: E402

ROUNDS, GETS = 25, 1000
ROWS, COLUMNS, METERS = 1000, 10, 8
REGISTERS = {
    "gateway": bytes.fromhex("c001c100030600010000ff0200"),
    "pydlms": bytes.fromhex("c001c100030800010000ff0200"),
}
PROFILE = bytes.fromhex("c001c100070100630100ff0200")
SERVERS = ("gateway", "pydlms", "echo")
GOALS = {"plain": 0.6, "ciphered": 0.4}  # of the echo


class Case:
    """One server, plain or ciphered, with what was measured."""

    def __init__(self, link: Link, process: int, request: bytes, expected: bytes) -> None:
        self.link = link
        self.gets: list[float] = []
        self.cpu = 0.0  # seconds that the server used for all of them
        self._process = process
        self.profiles: list[float] = []
        self._requests, self._expected = [request] * GETS, [expected] * GETS
        self._blocks: list[bytes] = []

    def learn_profile(self) -> None:
        """See which blocks it has."""
        self._blocks = whole(self.link.fetch(PROFILE))

    def measure(self) -> None:
        before = cpu_seconds(self._process)
        self.gets.append(GETS / self.link.timed(self._requests, self._expected))
        self.cpu += cpu_seconds(self._process) - before
        if self._blocks:
            numbers = range(1, len(self._blocks))
            requests = [PROFILE, *(b"\xc0\x02\xc1" + number.to_bytes(4, "big") for number in numbers)]
            self.profiles.append(self.link.timed(requests, self._blocks))

    @property
    def rate(self) -> float:
        return statistics.median(self.gets)

    @property
    def profile(self) -> float:
        return statistics.median(self.profiles)


def first_profile(port: int, device: int) -> float:
    """Seconds for a profile that nobody has asked for yet."""
    link = Link(port, device=device)
    link.associate()
    started = time.perf_counter()
    whole(link.fetch(PROFILE))
    return time.perf_counter() - started


def whole(blocks: list[bytes]) -> list[bytes]:
    """The blocks; raises `ValueError` unless all rows are in them."""
    data = value(blocks)
    if data[:4] != b"\x01\x82" + ROWS.to_bytes(2, "big") or len(data) < ROWS * (COLUMNS - 1) * 5:
        raise ValueError(f"the profile has {len(data)} bytes: {data[:20].hex()}")
    return blocks


def cpu_seconds(process: int) -> float:
    """CPU time that the threads of a process have used."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


class Servers:
    """Server processes that print their port at the end of their first line."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def start(self, script: str, *arguments: str) -> tuple[int, int]:
        """Process id and port."""
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._processes.append(process)
        assert process.stdout is not None
        return process.pid, int(process.stdout.readline().rpartition(":")[2])


def cases(servers: Servers, started: dict[str, tuple[int, int]], way: str) -> dict[str, Case]:
    """The associations of one kind; the echo gives the gateway's answers."""
    made = {}
    for name, (process, port) in started.items():
        link = Link(port) if way == "plain" else CipheredLink(port, 2 if name == "pydlms" else 1)
        link.associate()
        made[name] = Case(link, process, REGISTERS[name], link.ask(REGISTERS[name]))
    gateway = made["gateway"].link
    answer = gateway.exchange([gateway.frame(gateway.protect(REGISTERS["gateway"]))])[0]
    process, port = servers.start("dlms_peers.py", "echo", answer.hex())
    made["echo"] = Case(Echoed(gateway, port), process, b"", answer)
    return made


class Echoed(Link):
    """To the echo: requests as long as those to the gateway, answers that nobody can decipher twice."""

    def __init__(self, gateway: Link, port: int) -> None:
        super().__init__(port)
        self._request = bytes(len(gateway.protect(REGISTERS["gateway"])))

    def protect(self, plain: bytes) -> bytes:
        return self._request


def main() -> None:
    with tempfile.TemporaryDirectory() as state, Servers() as servers:
        started = {
            "gateway": servers.start("gateway_server.py", state),
            "pydlms": servers.start("dlms_peers.py", "pydlms"),
        }
        ways = {way: cases(servers, started, way) for way in GOALS}
        port = started["gateway"][1]
        cold = [first_profile(port, device) for device in range(16, 16 + METERS)]
        every = [case for way in ways.values() for case in way.values()]
        for way in ways.values():
            for name in started:
                way[name].learn_profile()
        for _ in range(ROUNDS):
            for case in every:
                case.measure()
    report(ways, cold)


def report(ways: dict[str, dict[str, Case]], cold: list[float]) -> None:
    print(f"{'':10}" + "".join(f"{name:>10}" for name in SERVERS) + "   medians of", ROUNDS, "rounds")
    for way, by_name in ways.items():
        rates = "".join(f"{by_name[name].rate:10.0f}" for name in SERVERS)
        times = "".join(f"{by_name[name].profile * 1000:10.1f}" for name in SERVERS[:2])
        used = "".join(f"{by_name[name].cpu / ROUNDS / GETS * 1e6:10.1f}" for name in SERVERS)
        print(f"{way:10}{rates}   register GET/s")
        print(f"{way:10}{used}   us of CPU for one")
        print(f"{way:10}{times}{'':10}   ms for a profile of {ROWS} rows x {COLUMNS} columns")
    print()
    for way, goal in GOALS.items():
        gateway, pydlms, echo = (ways[way][name] for name in SERVERS)
        print(f"{way:10}GET/s against the bare echo  {gateway.rate / echo.rate:6.2f}  (goal {goal:.2f})")
        print(f"{way:10}GET/s against pydlms         {gateway.rate / pydlms.rate:6.2f}  (goal 1.00)")
        print(f"{way:10}profile against pydlms       {pydlms.profile / gateway.profile:6.2f}  (goal 3.00)")
    median, first = statistics.median(cold) * 1000, cold[0] * 1000
    print(
        f"{'cold':10}profile out of the store     {median:6.0f}  ms (goal 100), {first:.0f} ms the very first"
    )


if __name__ == "__main__":
    main()

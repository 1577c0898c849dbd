"""A gateway with a thousand meters, and how soon it is ready: `python tests/bench/bench_scale.py`.

Time from the command to the ready line, memory before and after 20 clients have read the object list and a profile of
every meter, and how fast these 20 are served together (ciphered, values and object lists). Goals: ready within 3 s,
less than 200 MB.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent / "gateway")]

from dlms_link import AUTHENTICATION_KEY, ENCRYPTION_KEY, PASSWORD, CipheredLink  # noqa: E402
from many_meters import MANY, prepare  # noqa: E402

from core.config_file import ConfigFile  # noqa: E402
from core.secrets import Secrets, save_secrets  # noqa: E402
from core.statedir import StateDir  # noqa: E402

STARTS, CLIENTS, GETS = 5, 20, 300
OBJECT_LIST = bytes.fromhex("c001c1000f0000280000ff0200")
PROFILE = bytes.fromhex("c001c100070100630100ff0200")
CLOCK = bytes.fromhex("c001c100080000010000ff0200")
FIRST_DEVICE = 16


class Gateway:
    """A headless gateway that is ready."""

    def __init__(self, state: str) -> None:
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cme_tui", "--state-dir", state, "--headless", "--dlms-port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE.parent.parent,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        self.seconds = time.perf_counter() - started

    def megabytes(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024 / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def read_all(port: int, place: int) -> None:
    """One client: every twentieth meter."""
    for device in range(FIRST_DEVICE + place, FIRST_DEVICE + MANY, CLIENTS):
        link = CipheredLink(
            port, device=device, title=b"CLI\0\0\0\0" + bytes((place,)), counter=1000 * device
        )
        link.associate()
        link.fetch(OBJECT_LIST)
        link.fetch(PROFILE)
        link.socket.close()


def ask(link: CipheredLink, waits: list[float]) -> None:
    """One client of many: mostly values, now and then an object list; seconds for each answer."""
    for number in range(GETS):
        started = time.perf_counter()
        link.ask(OBJECT_LIST if number % 10 == 0 else CLOCK)
        waits.append(time.perf_counter() - started)


def together(work: list[threading.Thread]) -> float:
    """Seconds until all are done."""
    started = time.perf_counter()
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    return time.perf_counter() - started


def measure_starts(state: str) -> None:
    seconds = []
    for _ in range(STARTS):
        gateway = Gateway(state)
        gateway.stop()
        seconds.append(gateway.seconds)
    print(
        f"{MANY} meters: ready after {statistics.median(seconds):.2f} s, {max(seconds):.2f} s at most (goal 3)"
    )


def measure_clients(gateway: Gateway) -> None:
    before = gateway.megabytes()
    readers = [threading.Thread(target=read_all, args=(gateway.port, place)) for place in range(CLIENTS)]
    print(f"object list and profile of every meter, {CLIENTS} clients: {together(readers):.1f} s")
    waits: list[list[float]] = [[] for _ in range(CLIENTS)]
    askers = []
    for place in range(CLIENTS):
        link = CipheredLink(gateway.port, device=FIRST_DEVICE + place, title=b"ALL\0\0\0\0" + bytes((place,)))
        link.associate()
        askers.append(threading.Thread(target=ask, args=(link, waits[place])))
    rate = CLIENTS * GETS / together(askers)
    means = [statistics.mean(each) * 1000 for each in waits]
    print(
        f"{CLIENTS} clients together: {rate:.0f} answers/s, a wait of {min(means):.1f} to {max(means):.1f} ms each"
    )
    print(f"memory: {before:.0f} MB when ready, {gateway.megabytes():.0f} MB after all of this (goal 200)")


def make_state(directory: str) -> None:
    state = StateDir(Path(directory))
    prepare(state)
    ConfigFile(state.config).set_values({"dlms.authentication": "low"})
    secrets = replace(
        Secrets.generate(),
        lls_password=PASSWORD,
        encryption_key=ENCRYPTION_KEY,
        authentication_key=AUTHENTICATION_KEY,
    )
    save_secrets(state.secrets, secrets)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        make_state(directory)
        measure_starts(directory)
        gateway = Gateway(directory)
        try:
            measure_clients(gateway)
        finally:
            gateway.stop()


if __name__ == "__main__":
    main()

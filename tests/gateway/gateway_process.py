"""`cme-tui` in a process of its own, with its output at hand."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from command_line import cme_tui

LIMIT = 30.0  # seconds, for anything that a process has to do


class Process:
    """`cme-tui` with some arguments. Its output is gathered by threads, so that no pipe fills up."""

    def __init__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
        program: Sequence[str] = ("-m", "cme_tui"),
    ) -> None:
        """`before` is called in the new process, before it begins. `program` is what Python runs."""
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=before,
        )
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        for stream in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self._gather, args=(stream,), daemon=True).start()

    def _gather(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._news.put(line.rstrip("\n"))
        self._news.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line, from where the last call ended, that the pattern is found in."""
        ended = 0
        while ended < 2:
            line = self._news.get(timeout=LIMIT)
            if line is None:
                ended += 1
                continue
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} was never printed:\n" + "\n".join(self.lines))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LIMIT)


class GatewayProcess(Process):
    """A headless gateway that is ready."""

    def __init__(self, state_dir: Path, *arguments: str) -> None:
        super().__init__("--state-dir", str(state_dir), "--headless", "--dlms-port", "0", *arguments)
        self.state_dir = state_dir
        self.port = int(self.wait_for(r"^DLMS server listening on \S+:(\d+)$")[1])

    def wait_until(self, what: str, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Look at `meters list --json` until it is as wanted, at most `LIMIT` seconds."""
        deadline = time.monotonic() + LIMIT
        while not holds(meters := list_meters(self.state_dir)):
            assert time.monotonic() < deadline, f"{what} never came: {meters}\n" + "\n".join(self.lines)
            time.sleep(0.1)


def list_meters(state_dir: Path) -> list[dict[str, Any]]:
    """What `cme-tui meters list --json` prints."""
    done = cme_tui("--state-dir", str(state_dir), "meters", "list", "--json")
    assert done.returncode == 0, done.stderr
    meters: list[dict[str, Any]] = json.loads(done.stdout)
    return meters

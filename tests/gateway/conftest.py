"""Gateways and simulated lines in processes of their own; none outlives its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_process import LIMIT, GatewayProcess, Process


@pytest.fixture
def start() -> Iterator[Callable[..., GatewayProcess]]:
    """Starts headless gateways; none outlives the test."""
    running: list[GatewayProcess] = []

    def begin(state_dir: Path, *arguments: str) -> GatewayProcess:
        running.append(GatewayProcess(state_dir, *arguments))
        return running[-1]

    yield begin
    for gateway in running:
        gateway.process.kill()
        gateway.process.wait(LIMIT)


@pytest.fixture
def simulate() -> Iterator[Callable[..., str]]:
    """Starts simulated lines; gives the URL of a line for config.toml."""
    running: list[Process] = []

    def begin(*arguments: str) -> str:
        running.append(Process("simulate", *arguments))
        if "--pty" in arguments:
            return "serial:" + running[-1].wait_for(r"(/dev/\S+)")[1]
        return "tcp:" + running[-1].wait_for(r"(127\.0\.0\.1:\d+)")[1]

    yield begin
    for line in running:
        line.process.kill()
        line.process.wait(LIMIT)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One demo gateway for all tests of a module that change nothing in it."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("demo"), "--demo")
    yield gateway
    assert gateway.stop() == 0

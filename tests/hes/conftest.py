"""One demo gateway for the head-end system's tests, and servers that do not answer."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator

import pytest
from gateway_process import GatewayProcess

from cme_tui.hes.access import Access, load_access


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A demo gateway in which nothing is changed."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("demo"), "--demo")
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture
def access(demo: GatewayProcess) -> Access:
    """What a head-end system must know of the demo gateway."""
    return load_access(demo.state_dir, None, demo.port)


@pytest.fixture
def silent(access: Access) -> Iterator[Access]:
    """Access to something that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield dataclasses.replace(access, port=server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()

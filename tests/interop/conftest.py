"""The client libraries, each in a process of its own that serves all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.library import LIBRARIES, Library


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    """All of them, by name."""
    libraries = {name: Library(name) for name in LIBRARIES}
    yield libraries
    for library in libraries.values():
        library.stop()


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, libraries: dict[str, Library]) -> Library:
    """Each in turn."""
    return libraries[request.param]

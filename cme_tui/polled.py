"""A question that a screen asks the gateway again and again, without ever waiting for the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from core.errors import CmeError

T = TypeVar("T")


class Polled(Generic[T]):
    """Keeps the newest answer. `look` with every look at the screen."""

    def __init__(self, ask: Callable[[], Future[T]], every: float = 0.0) -> None:
        """`every`: at least so many seconds from one question to the next."""
        self.value: T | None = None
        self.error = ""
        """Why the last question had no answer, a sentence."""
        self._ask = ask
        self._every = every
        self._asked: Future[T] | None = None
        self._asked_at: float | None = None

    def again(self) -> None:
        """Ask with the next look, however soon that is."""
        self._asked_at = None

    def look(self) -> bool:
        """Ask if it is time to, and take an answer that has come; whether one has."""
        now = time.monotonic()
        if self._asked is None and (self._asked_at is None or now - self._asked_at >= self._every):
            self._asked, self._asked_at = self._ask(), now
        if self._asked is None or not self._asked.done():
            return False
        asked, self._asked = self._asked, None
        try:
            self.value, self.error = asked.result(), ""
        except CmeError as error:
            self.error = str(error)
        return not self.error

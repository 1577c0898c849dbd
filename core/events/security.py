"""Failures of clients as events of the fraud log, so that a flood of them does not wash everything else out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.events.service import Events

WINDOW_S: Final = 3600.0
"""Failures of a peer are counted for this long from its first one on."""

EACH: Final = 10
"""Failures of a peer that are logged one by one; after that only each time when their number has doubled."""

PEERS: Final = 64
"""Peers counted apart; more in one window are counted together. 64 x `EACH` rows fit into a log."""

OTHERS: Final = "other peers"


@dataclass(slots=True)
class _Count:
    began: float
    failures: int = 0
    next: int = 1  # number of failures that is logged next


class SecurityLog:
    """Logs events 46 (refused association), 49 (not deciphered) and 50 (replay)."""

    def __init__(self, events: Events, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds, as `time.monotonic`."""
        self._events = events
        self._monotonic = monotonic
        self._counts: dict[tuple[int, str], _Count] = {}

    def failed(self, code: int, peer: str, reason: str) -> None:
        """A client failed. `peer`: "192.0.2.7:51034"; `reason`: a few words for people, no secret in them."""
        host = peer.rpartition(":")[0] or peer
        now = self._monotonic()
        host, count = self._count(code, host, now)
        count.failures += 1
        if count.failures < count.next:
            return
        if count.failures <= EACH:
            count.next = count.failures + 1 if count.failures < EACH else 2 * EACH
            self._events.log(code, f"{peer}: {reason}")
        else:
            count.next = 2 * count.failures
            self._events.log(code, f"{count.failures} failures from {host} within 1 h; last: {reason}")

    def _count(self, code: int, host: str, now: float) -> tuple[str, _Count]:
        count = self._counts.get((code, host))
        if count is None or now - count.began >= WINDOW_S:
            self._counts = {key: one for key, one in self._counts.items() if now - one.began < WINDOW_S}
            if sum(key[1] != OTHERS for key in self._counts) >= PEERS:
                host = OTHERS
            count = self._counts.setdefault((code, host), _Count(now))
        return host, count

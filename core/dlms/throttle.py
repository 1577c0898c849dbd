"""Slows down a peer that fails to authenticate again and again, and nobody else."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from core.dlms.limits import ServerLimits


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last: float = 0.0
    due: float = 0.0  # of the peer's last answer


class Throttle:
    """Decides when the answer to an AARQ, or to the second step of HLS, may leave.

    A refusal leaves a fixed time after what it refuses. For a peer with failures every attempt, also one that
    succeeds, waits behind the peer's earlier ones, longer with each failure: parallel connections gain
    nothing.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._peers: OrderedDict[str, _Record] = OrderedDict()

    def failures(self, peer: str) -> int:
        """How many attempts of `peer` have failed since it last came in, or was forgotten."""
        record = self._peers.get(peer)
        return record.failures if record is not None else 0

    def proven(self, peer: str) -> None:
        """A client of `peer` has proved that it has the keys: nobody finds them by trying, so it need not wait behind
        others that fail at the same address."""
        self._peers.pop(peer, None)

    def due(self, peer: str, now: float, *, accepted: bool) -> float:
        """When to answer an attempt of `peer` made at `now`, on the same clock; counts the attempt."""
        record = self._peers.get(peer)
        if record is not None and now - record.last > self.limits.forget:
            record = None
            del self._peers[peer]
        due = now if accepted else now + self.limits.rejection
        if record is not None:
            penalty = self.limits.slowdown * 2 ** min(record.failures - 1, 16)
            due = max(due, record.due) + min(penalty, self.limits.slowdown_most)
        if accepted:
            self._peers.pop(peer, None)
            return due
        record = record or _Record()
        record.failures += 1
        record.last, record.due = now, due
        self._peers[peer] = record
        self._peers.move_to_end(peer)
        while len(self._peers) > self.limits.peers:
            self._peers.popitem(last=False)
        return due

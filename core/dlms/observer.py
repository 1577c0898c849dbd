"""What the DLMS server tells the gateway: who came, who was refused, what the connections are now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionView:
    """One connected client. Times are milliseconds since 1970 UTC."""

    peer: str  # "192.0.2.7:51034"
    client_sap: int | None  # None before the AARQ
    sap: int | None  # the addressed logical device
    channel: int | None  # the selected logical device
    authentication: str  # "none", "low"; "" before the AARQ
    since_ms: int
    last_ms: int
    requests: int


class Observer:
    """Called in the server's loop; override what matters. The methods must not block or raise."""

    def connected(self, peer: str) -> None:
        """A client opened a connection."""

    def associated(self, session: SessionView) -> None:
        """A client opened an association."""

    def requested(self, peer: str, client_sap: int, sap: int) -> None:
        """A client sent an APDU, of whatever kind."""

    def authentication_failed(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        """An AARQ was refused for its client, logical device or authentication; `reason` is a few words."""

    def released(self, peer: str, client_sap: int, sap: int) -> None:
        """An association ended, by release or with its connection."""

    def disconnected(self, peer: str, reason: str) -> None:
        """A connection ended; `reason` is a few words."""

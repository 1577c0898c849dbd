"""What the DLMS server tells the gateway: who came, who was refused, what the connections are now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionView:
    """One association, or a connection that has none. Times are milliseconds since 1970 UTC."""

    peer: str  # "192.0.2.7:51034"
    client_sap: int | None  # None without an association
    sap: int | None  # the addressed logical device
    channel: int | None  # the selected logical device
    authentication: str  # "none", "low", "high"; "" without an association
    ciphering: str  # of the last request: "none", "glo", "ded", "general-glo", "general-ded"
    since_ms: int  # opened
    last_ms: int  # last request
    requests: int  # since it was opened
    errors: int  # requests that were refused or failed
    last_error: str  # the last of them in a few words, "" for none


class Observer:
    """Called in the server's loop; override what matters. The methods must not block or raise."""

    tracing = False  # whether `apdu` is to be called

    def connected(self, peer: str) -> None:
        """A client opened a connection."""

    def associated(self, session: SessionView) -> None:
        """A client opened an association."""

    def requested(self, peer: str, client_sap: int, sap: int) -> None:
        """A client sent an APDU, of whatever kind."""

    def authentication_failed(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        """An AARQ or the second step of HLS was refused for client, device or authentication; `reason`: a few words."""

    def not_deciphered(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        """A ciphered APDU was refused: wrong tag, wrong key, or a protection that is not allowed."""

    def replayed(self, peer: str, client_sap: int, sap: int, counter: int, last: int) -> None:
        """An APDU with a genuine tag had a counter that is not above the last accepted one."""

    def apdu(
        self, peer: str, client_sap: int, sap: int, apdu: bytes, *, sent: bool, protection: str, size: int
    ) -> None:
        """An APDU in clear, as received or before it is sent; `protection` says how it went over the wire
        ("", "glo 30", "ded 30", "general-glo 10", ...) and `size` how many bytes it had there. An APDU that
        could not be deciphered comes as it was received. Only while `tracing`."""

    def released(self, peer: str, client_sap: int, sap: int) -> None:
        """An association ended, by release or with its connection."""

    def disconnected(self, peer: str, reason: str) -> None:
        """A connection ended; `reason` is a few words."""

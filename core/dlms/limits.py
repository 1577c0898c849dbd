"""The bounds of the DLMS server in one place, so that no client can make it use more than these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one `DlmsServer`. Times in seconds, sizes in bytes. Raises `ValueError`."""

    connections: int = 64
    connections_per_peer: int = 32
    associations_per_connection: int = 8  # pairs of client SAP and server SAP
    inactivity: float = 180.0  # without a request, then the connection is closed
    first_request: float = 60.0  # for a connection without an association, and for the second step of HLS
    apdu: int = 8192  # largest APDU, as announced to clients; 64..65535
    tolerance: int = 32  # more that a request may have: clients forget what ciphering and blocks add
    request: int = 1 << 16  # largest request over all its blocks
    answer: int = 4 << 20  # largest answer over all its blocks
    references: int = 512  # attributes in one request with a list
    wait: float = 25.0  # for values that need a meter; past it temporary-failure; below a HES's time-out
    change: float = 60.0  # for writes and actions; above a HES's time-out: what is late is done after all
    rejection: float = 0.3  # from an AARQ or second step to its rejection, whatever the reason
    slowdown: float = 1.0  # more for each failed attempt of one peer, doubled with each
    slowdown_most: float = 8.0
    forget: float = 600.0  # a peer's failures, after so long without another one
    peers: int = 1024  # peers whose failures are kept

    def __post_init__(self) -> None:
        if not 64 <= self.apdu <= 65535:
            raise ValueError(f"the largest APDU has 64 to 65535 bytes, not {self.apdu}")

    @property
    def request_apdu(self) -> int:
        """Bytes of the largest APDU that is taken."""
        return min(self.apdu + self.tolerance, 65535)

"""Push setup (Blue Book 4.4.8): what a notification holds, where it goes and how often it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from core.config import PushConfig, Report
from core.cosem.base import CosemObject
from core.cosem.profile import CaptureObject
from core.dlms.axdr import array, enum, long_unsigned, octet_string, structure, unsigned

_TCP: Final = 0  # transport_service
_XDLMS: Final = 0  # message: an A-XDR encoded xDLMS APDU


@dataclass(frozen=True, slots=True)
class PushTiming:
    """How a notification that cannot be delivered is tried again."""

    randomisation_s: int = 30
    """Longest random delay before the first attempt, so that gateways do not call all at once; 0..65535."""
    retries: int = 10
    """Attempts after the first one; 0..255."""
    repetition_delay_s: int = 60
    """Least time between two attempts; 0..65535."""


PUSH_TIMING: Final = PushTiming()
"""What every push of the gateway follows, and what every push setup shows."""


class PushSetup(CosemObject):
    """Class 40, version 0: object list (2), destination and method (3), communication window (4, always open),
    randomisation start interval (5, s), number of retries (6), repetition delay (7, s).

    Method 1, push, is not granted.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 40
    method_count: ClassVar[int] = 1

    def __init__(
        self,
        logical_name: bytes,
        objects: Sequence[CaptureObject],
        destination: str,
        timing: PushTiming = PUSH_TIMING,
    ) -> None:
        """`objects`: what the notification holds, in order; `destination`: "host:port", "" for none."""
        super().__init__(
            logical_name,
            (
                array([item.encode() for item in objects]),
                structure(enum(_TCP), octet_string(destination.encode()), enum(_XDLMS)),
                array(()),
                long_unsigned(timing.randomisation_s),
                unsigned(timing.retries),
                long_unsigned(timing.repetition_delay_s),
            ),
        )


def destination(push: PushConfig, report: Report) -> str:
    """Where reports of this type go, "host:port", IPv6 in brackets; "" where none is sent."""
    wanted = next((item for item in push.reports if item.type == report and item.enabled), None)
    if wanted is None:
        return ""
    host = wanted.host or push.host
    port = push.port if wanted.port is None else wanted.port
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"

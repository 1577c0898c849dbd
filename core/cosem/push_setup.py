"""Push setup (Blue Book 4.4.8): what a notification holds, where it goes and how often it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from core.config import PushConfig, Report
from core.cosem.base import CosemObject, Method
from core.cosem.profile import CaptureObject
from core.dlms.axdr import array, enum, long_unsigned, octet_string, structure, unsigned

_TCP: Final = 0  # transport_service
_XDLMS: Final = 0  # message: an A-XDR encoded xDLMS APDU


ENDLESS: Final = 255
"""Number of retries, the most that the attribute holds: a notification is tried until its retention ends."""


class PushSetup(CosemObject):
    """Class 40, version 0: object list (2), destination and method (3), communication window (4, always open),
    randomisation start interval (5, s), number of retries (6), repetition delay (7, s).

    Method 1, push, makes the report of the selected logical device now.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 40
    method_count: ClassVar[int] = 1

    def __init__(
        self,
        logical_name: bytes,
        objects: Sequence[CaptureObject],
        push: PushConfig,
        report: Report,
        send: Method,
    ) -> None:
        """`objects`: what the notification holds, in order; `send`: makes the report now, for the device selected."""
        receiver = push.receiver(report)
        super().__init__(
            logical_name,
            (
                array([item.encode() for item in objects]),
                structure(enum(_TCP), octet_string(str(receiver or "").encode()), enum(_XDLMS)),
                array(()),
                long_unsigned(push.randomisation),
                unsigned(ENDLESS),
                long_unsigned(push.repetition_delay),
            ),
            methods={1: send},
        )

"""The xDLMS services of one association: plain request APDUs into plain answer APDUs (Green Book 9.3, 9.4.6, 9.5).

It does no I/O. An answer that needs something slow is a coroutine, which whoever owns the connection runs.
"""

from __future__ import annotations

import logging
from typing import Final

from core.cosem.base import Context
from core.dlms import xdlms
from core.dlms.action import Action
from core.dlms.errors import DecodeError
from core.dlms.get import Get, Wait
from core.dlms.limits import ServerLimits
from core.dlms.service import (
    MALFORMED,
    NOT_NEGOTIATED,
    NOT_POSSIBLE,
    TOO_LONG,
    UNKNOWN_SERVICE,
    Answer,
    Service,
)
from core.dlms.set import Set
from core.dlms.xdlms import Conformance

__all__ = [
    "MALFORMED",
    "NOT_NEGOTIATED",
    "NOT_POSSIBLE",
    "SERVED",
    "TOO_LONG",
    "UNKNOWN_SERVICE",
    "Answer",
    "Services",
    "Wait",
]

_log = logging.getLogger(__name__)

SERVED = (
    Conformance.GET
    | Conformance.SET
    | Conformance.ACTION
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.SELECTIVE_ACCESS
    | Conformance.GENERAL_PROTECTION
    | Conformance.GENERAL_BLOCK_TRANSFER
    | Conformance.DATA_NOTIFICATION
)

_REFUSALS: Final = {
    MALFORMED: "malformed APDU",
    UNKNOWN_SERVICE: "request of an unknown kind",
    NOT_POSSIBLE: "list with too many items",
    NOT_NEGOTIATED: "request that was not negotiated",
    TOO_LONG: "list whose answer would be too long",
}


class Services:
    """The services of one association; `context.conformance` says which of them were negotiated."""

    def __init__(self, context: Context, limits: ServerLimits, wait: Wait) -> None:
        self._context = context
        self._services: dict[int, Service] = {
            xdlms.GET_REQUEST: Get(context, limits, wait),
            xdlms.SET_REQUEST: Set(context, limits),
            xdlms.ACTION_REQUEST: Action(context, limits),
        }

    def handle(self, apdu: bytes, room: int) -> Answer:
        """The answer to a request, of at most `room` bytes (from 32); a coroutine if it needs something slow.

        To be called in the event loop. Never raises.
        """
        service = self._services.get(apdu[0]) if apdu else None
        if service is None:
            self._context.errors += 1
            self._context.last_error = f"service {apdu[:1].hex()}: not known here"
            return UNKNOWN_SERVICE
        service.room = room
        try:
            answer = service.handle(apdu)
        except DecodeError as error:
            _log.debug("%s sent an APDU that is not valid: %s", self._context.peer, error)
            answer = MALFORMED
        if isinstance(answer, bytes) and answer[0] == xdlms.EXCEPTION_RESPONSE:
            service.reset()
            service.failed(_REFUSALS[answer])
        return answer

    def reset(self) -> None:
        """Forget block transfers: the association was released, or is opened anew."""
        for service in self._services.values():
            service.reset()

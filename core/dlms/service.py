"""What the xDLMS services of an association share: whom they serve, within which bounds, and how they refuse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeAlias

from core.cosem.base import Context
from core.dlms import xdlms
from core.dlms.axdr import length
from core.dlms.limits import ServerLimits
from core.dlms.xdlms import Conformance, DataAccessResult, ServiceError, StateError

Answer: TypeAlias = bytes | Coroutine[Any, Any, bytes]
"""An APDU; a coroutine where it needs something slow."""

MALFORMED = xdlms.exception_response(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
UNKNOWN_SERVICE = xdlms.exception_response(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)
NOT_POSSIBLE = xdlms.exception_response(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
NOT_NEGOTIATED = xdlms.exception_response(StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED)
TOO_LONG = xdlms.exception_response(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)


class Service(ABC):
    """One service. A request that is not the next block of its transfer under way ends that transfer."""

    name: ClassVar[str]

    def __init__(self, context: Context, limits: ServerLimits) -> None:
        self.context = context
        self.limits = limits
        self.room = limits.apdu  # bytes of the largest answer to the present request

    @abstractmethod
    def handle(self, apdu: bytes) -> Answer:
        """The answer to a request with its kind and invoke id. Raises `DecodeError`."""

    @abstractmethod
    def reset(self) -> None:
        """Forget block transfers."""

    def negotiated(self, *needed: Conformance) -> bool:
        """Whether all of `needed` were agreed upon."""
        return all(self.context.conformance & bit for bit in needed)

    def failed(self, what: str) -> None:
        """Count and keep what could not be done, for people to see."""
        self.context.errors += 1
        self.context.last_error = f"{self.name} {what}"

    def failed_with(self, reference: object, result: DataAccessResult) -> None:
        """The same, of one attribute or method."""
        self.failed(f"{reference}: {result.name.lower().replace('_', ' ')}")

    def refused_list(self, count: int, answer: int) -> bytes | None:
        """The answer to a list of `count` changes that cannot be carried out; `answer`: bytes of its answer, at least.

        It is refused as a whole before anything is done: the client has to hear what came of each item.
        """
        if not self.negotiated(Conformance.MULTIPLE_REFERENCES):
            return NOT_NEGOTIATED
        if count > self.limits.references:
            return NOT_POSSIBLE
        return TOO_LONG if answer + len(length(count)) > self.room else None

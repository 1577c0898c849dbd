"""The GET service: normal, with list, next block (Green Book 9.3.6, 9.4.6.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from core.cosem.base import Context, DataAccessError
from core.dlms import operations, xdlms
from core.dlms.axdr import length
from core.dlms.blocks import Outgoing
from core.dlms.limits import ServerLimits
from core.dlms.service import MALFORMED, NOT_NEGOTIATED, NOT_POSSIBLE, UNKNOWN_SERVICE, Answer, Service
from core.dlms.xdlms import Conformance, DataAccessResult, Reference

Wait: TypeAlias = Callable[[Sequence[Awaitable[bytes]]], Awaitable[list[bytes | DataAccessResult]]]
"""Settles values that need a meter, all at once and within a time limit; gives a result for each."""

LIST_OVERHEAD = 1 << 16  # of counts and choices around the values of a list


class Get(Service):
    """Reads attributes. The values of a list are waited for together."""

    name = "get"

    def __init__(self, context: Context, limits: ServerLimits, wait: Wait) -> None:
        super().__init__(context, limits)
        self._wait = wait
        self._outgoing: Outgoing | None = None

    def reset(self) -> None:
        """Forget the long answer that the client is fetching."""
        self._outgoing = None

    def handle(self, apdu: bytes) -> Answer:
        """The answer to a GET-Request. Raises `DecodeError`."""
        if not self.context.conformance & Conformance.GET:
            return NOT_NEGOTIATED
        if len(apdu) < 3:
            return MALFORMED
        kind, invoke_id = apdu[1], apdu[2]
        if kind == xdlms.NEXT:
            return self._next_block(invoke_id, xdlms.decode_next(apdu))
        self._outgoing = None
        if kind == xdlms.NORMAL:
            reference = xdlms.decode_get_normal(apdu)
            value = operations.read(self.context, reference)
            if isinstance(value, bytes | DataAccessResult):
                return self._value(invoke_id, reference, value)
            return self._value_later(invoke_id, reference, value)
        if kind == xdlms.WITH_LIST:
            return self._get_list(invoke_id, xdlms.decode_get_list(apdu))
        return UNKNOWN_SERVICE

    async def _value_later(self, invoke_id: int, reference: Reference, value: Awaitable[bytes]) -> bytes:
        (result,) = await self._wait([value])
        return self._value(invoke_id, reference, result)

    def _value(self, invoke_id: int, reference: Reference, value: bytes | DataAccessResult) -> bytes:
        if isinstance(value, DataAccessResult):
            self.failed_with(reference, value)
            return xdlms.get_result(invoke_id, value)
        if len(value) + 4 <= self.room:
            return bytes((xdlms.GET_RESPONSE, xdlms.NORMAL, invoke_id, 0)) + value
        return self._first_block(invoke_id, value)

    def _get_list(self, invoke_id: int, references: list[Reference]) -> Answer:
        if not self.negotiated(Conformance.MULTIPLE_REFERENCES):
            return NOT_NEGOTIATED
        if len(references) > self.limits.references:
            return NOT_POSSIBLE
        budget = _Budget(self.limits.answer)
        values = [budget.spend(operations.read(self.context, reference)) for reference in references]
        ready = [value for value in values if isinstance(value, bytes | DataAccessResult)]
        if len(ready) == len(values):
            return self._list(invoke_id, references, ready)
        return self._list_later(invoke_id, references, values)

    async def _list_later(
        self,
        invoke_id: int,
        references: list[Reference],
        values: list[bytes | DataAccessResult | Awaitable[bytes]],
    ) -> bytes:
        slow = [value for value in values if not isinstance(value, bytes | DataAccessResult)]
        settled = iter(await self._wait(slow))
        results = [
            value if isinstance(value, bytes | DataAccessResult) else next(settled) for value in values
        ]
        return self._list(invoke_id, references, results)

    def _list(
        self, invoke_id: int, references: list[Reference], results: list[bytes | DataAccessResult]
    ) -> bytes:
        parts = [length(len(results))]
        for reference, result in zip(references, results, strict=True):
            if isinstance(result, bytes):
                parts += (b"\x00", result)
            else:
                self.failed_with(reference, result)
                parts += (b"\x01", bytes((result,)))
        answer = b"".join(parts)
        if len(answer) + 3 <= self.room:
            return bytes((xdlms.GET_RESPONSE, xdlms.WITH_LIST, invoke_id)) + answer
        return self._first_block(invoke_id, answer)

    def _first_block(self, invoke_id: int, data: bytes) -> bytes:
        negotiated = self.negotiated(Conformance.BLOCK_TRANSFER_WITH_GET)
        if not negotiated or len(data) > self.limits.answer + LIST_OVERHEAD:
            self.failed("answer: data block unavailable")
            return xdlms.get_result(invoke_id, DataAccessResult.DATA_BLOCK_UNAVAILABLE)
        self._outgoing = Outgoing(data)
        return self._block(invoke_id, self._outgoing)

    def _next_block(self, invoke_id: int, received: int) -> bytes:
        outgoing = self._outgoing
        if outgoing is None:
            return self._ended(invoke_id, received, DataAccessResult.NO_LONG_GET_IN_PROGRESS)
        if received != outgoing.number:
            return self._ended(invoke_id, received, DataAccessResult.DATA_BLOCK_NUMBER_INVALID)
        return self._block(invoke_id, outgoing)

    def _block(self, invoke_id: int, outgoing: Outgoing) -> bytes:
        block = outgoing.next(xdlms.octet_capacity(self.room - xdlms.GET_BLOCK_OVERHEAD))
        if block.last:
            self._outgoing = None
        return xdlms.get_block(invoke_id, block)

    def _ended(self, invoke_id: int, received: int, result: DataAccessResult) -> bytes:
        self._outgoing = None
        self.failed_with(f"block after {received}", result)
        return xdlms.get_block_error(invoke_id, received, result)


class _Budget:
    """Keeps the values of one list within the largest answer, as they come, so that memory stays bounded."""

    def __init__(self, room: int) -> None:
        self._room = room

    def spend(
        self, value: bytes | DataAccessResult | Awaitable[bytes]
    ) -> bytes | DataAccessResult | Awaitable[bytes]:
        """The value; other-reason in place of one for which no room is left."""
        if isinstance(value, DataAccessResult):
            return value
        if not isinstance(value, bytes):
            return self._spend_later(value)
        if len(value) > self._room:
            return DataAccessResult.OTHER_REASON
        self._room -= len(value)
        return value

    async def _spend_later(self, value: Awaitable[bytes]) -> bytes:
        result = self.spend(await value)
        if isinstance(result, bytes):
            return result
        raise DataAccessError(DataAccessResult.OTHER_REASON)

"""The xDLMS services of one association: plain request APDUs into plain answer APDUs (Green Book 9.3, 9.5).

It does no I/O. An answer that needs something slow is a coroutine, which whoever owns the connection runs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from core.cosem.base import (
    CHANNEL_SELECTION,
    MANAGEMENT_DEVICE,
    Access,
    Context,
    CosemObject,
    DataAccessError,
    Selector,
)
from core.dlms import xdlms
from core.dlms.axdr import Value, length
from core.dlms.errors import DecodeError
from core.dlms.limits import ServerLimits
from core.dlms.xdlms import Conformance, DataAccessResult, Reference, ServiceError, StateError

_log = logging.getLogger(__name__)

SERVED = (
    Conformance.GET
    | Conformance.SET
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.SELECTIVE_ACCESS
)

Wait: TypeAlias = Callable[[Sequence[Awaitable[bytes]]], Awaitable[list[bytes | DataAccessResult]]]
"""Settles values that need a meter, all at once and within a time limit; gives a result for each."""

Answer: TypeAlias = bytes | Coroutine[Any, Any, bytes]

LIST_OVERHEAD = 1 << 16  # of counts and choices around the values of a list

MALFORMED = xdlms.exception_response(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
UNKNOWN_SERVICE = xdlms.exception_response(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)
NOT_POSSIBLE = xdlms.exception_response(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
NOT_NEGOTIATED = xdlms.exception_response(StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED)


class Services:
    """The services of one association; `context.conformance` says which of them were negotiated."""

    def __init__(self, context: Context, limits: ServerLimits, wait: Wait) -> None:
        self._context = context
        self._limits = limits
        self._wait = wait
        self._room = limits.apdu  # largest answer to the present request
        self._blocks: _Blocks | None = None  # of the long answer that the client is fetching
        self._services: dict[int, Callable[[bytes], Answer]] = {
            xdlms.GET_REQUEST: self._get,
            xdlms.SET_REQUEST: self._set,
        }

    def handle(self, apdu: bytes, room: int) -> Answer:
        """The answer to a request, of at most `room` bytes (64..65535); a coroutine if it needs something slow.

        Never raises.
        """
        self._room = room
        service = self._services.get(apdu[0]) if apdu else None
        if service is None:
            return UNKNOWN_SERVICE
        try:
            return service(apdu)
        except DecodeError as error:
            _log.debug("%s sent an APDU that is not valid: %s", self._context.peer, error)
            return MALFORMED

    def reset(self) -> None:
        """Forget block transfers: the association was released, or is opened anew."""
        self._blocks = None

    def _get(self, apdu: bytes) -> Answer:
        if not self._context.conformance & Conformance.GET:
            return NOT_NEGOTIATED
        if len(apdu) < 3:
            return MALFORMED
        kind, invoke_id = apdu[1], apdu[2]
        if kind == xdlms.NEXT:
            return self._next_block(invoke_id, xdlms.decode_get_next(apdu))
        self._blocks = None
        if kind == xdlms.NORMAL:
            value = self._read(xdlms.decode_get_normal(apdu))
            if isinstance(value, bytes):
                return self._value(invoke_id, value)
            if isinstance(value, DataAccessResult):
                return xdlms.get_result(invoke_id, value)
            return self._value_later(invoke_id, value)
        if kind == xdlms.WITH_LIST:
            return self._get_list(invoke_id, xdlms.decode_get_list(apdu))
        return UNKNOWN_SERVICE

    async def _value_later(self, invoke_id: int, value: Awaitable[bytes]) -> bytes:
        (result,) = await self._wait([value])
        if isinstance(result, bytes):
            return self._value(invoke_id, result)
        return xdlms.get_result(invoke_id, result)

    def _value(self, invoke_id: int, value: bytes) -> bytes:
        if len(value) + 4 <= self._room:
            return bytes((xdlms.GET_RESPONSE, xdlms.NORMAL, invoke_id, 0)) + value
        return self._first_block(invoke_id, value)

    def _get_list(self, invoke_id: int, references: list[Reference]) -> Answer:
        if not self._context.conformance & Conformance.MULTIPLE_REFERENCES:
            return NOT_NEGOTIATED
        if len(references) > self._limits.references:
            return NOT_POSSIBLE
        budget = _Budget(self._limits.answer)
        values = [budget.spend(self._read(reference)) for reference in references]
        ready = [value for value in values if isinstance(value, bytes | DataAccessResult)]
        if len(ready) == len(values):
            return self._list(invoke_id, ready)
        return self._list_later(invoke_id, values)

    async def _list_later(
        self, invoke_id: int, values: list[bytes | DataAccessResult | Awaitable[bytes]]
    ) -> bytes:
        slow = [value for value in values if not isinstance(value, bytes | DataAccessResult)]
        settled = iter(await self._wait(slow))
        results = [
            value if isinstance(value, bytes | DataAccessResult) else next(settled) for value in values
        ]
        return self._list(invoke_id, results)

    def _list(self, invoke_id: int, results: list[bytes | DataAccessResult]) -> bytes:
        parts = [length(len(results))]
        for result in results:
            parts += (b"\x00", result) if isinstance(result, bytes) else (b"\x01", bytes((result,)))
        answer = b"".join(parts)
        if len(answer) + 3 <= self._room:
            return bytes((xdlms.GET_RESPONSE, xdlms.WITH_LIST, invoke_id)) + answer
        return self._first_block(invoke_id, answer)

    def _first_block(self, invoke_id: int, data: bytes) -> bytes:
        negotiated = self._context.conformance & Conformance.BLOCK_TRANSFER_WITH_GET
        if not negotiated or len(data) > self._limits.answer + LIST_OVERHEAD:
            return xdlms.get_result(invoke_id, DataAccessResult.DATA_BLOCK_UNAVAILABLE)
        self._blocks = _Blocks(data, xdlms.octet_capacity(self._room - 9))
        return self._blocks.send(invoke_id)

    def _next_block(self, invoke_id: int, received: int) -> bytes:
        blocks = self._blocks
        if blocks is None:
            code = DataAccessResult.NO_LONG_GET_IN_PROGRESS
            return xdlms.get_block_error(invoke_id, received, code)
        if received != blocks.number:
            self._blocks = None
            code = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
            return xdlms.get_block_error(invoke_id, received, code)
        answer = blocks.send(invoke_id)
        if blocks.done:
            self._blocks = None
        return answer

    def _read(self, reference: Reference) -> bytes | DataAccessResult | Awaitable[bytes]:
        class_id, logical_name, attribute, selection = reference
        try:
            target = self._object(class_id, logical_name, attribute, Access.READ)
            if selection is None:
                return target.read(attribute, None, self._context)
            if not self._context.conformance & Conformance.SELECTIVE_ACCESS:
                return DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
            return target.read(attribute, Selector(*selection), self._context)
        except DataAccessError as error:
            return error.code
        except Exception:
            _log.exception("Reading class %d %s attribute %d failed", class_id, logical_name.hex(), attribute)
            return DataAccessResult.OTHER_REASON

    def _object(self, class_id: int, logical_name: bytes, attribute: int, access: Access) -> CosemObject:
        """The object, if it has the attribute and the client the right. Raises `DataAccessError`."""
        context = self._context
        device = context.device
        if device is None and (class_id, logical_name) == CHANNEL_SELECTION:
            # The selected meter was removed: the client can still select another one.
            device = context.directory.device(MANAGEMENT_DEVICE)
        if device is None:
            raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
        target = device.objects.get((class_id, logical_name))
        if target is None:
            if any(name == logical_name for _, name in device.objects):
                raise DataAccessError(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
            raise DataAccessError(DataAccessResult.OBJECT_UNDEFINED)
        if not 1 <= attribute <= target.attribute_count:
            raise DataAccessError(DataAccessResult.OBJECT_UNDEFINED)
        if not target.access(self._context.client_sap).attributes[attribute - 1] & access:
            raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
        return target

    def _set(self, apdu: bytes) -> Answer:
        if not self._context.conformance & Conformance.SET:
            return NOT_NEGOTIATED
        if len(apdu) < 3:
            return MALFORMED
        kind, invoke_id = apdu[1], apdu[2]
        if kind == xdlms.NORMAL:
            result = self._write(*xdlms.decode_set_normal(apdu))
            if isinstance(result, DataAccessResult):
                return xdlms.set_result(invoke_id, result)
            return self._set_later(invoke_id, result)
        if kind == xdlms.SET_WITH_LIST:
            writes = xdlms.decode_set_list(apdu)
            if not self._context.conformance & Conformance.MULTIPLE_REFERENCES:
                return NOT_NEGOTIATED
            if len(writes) > self._limits.references:
                return NOT_POSSIBLE
            return self._set_list(invoke_id, writes)
        return UNKNOWN_SERVICE

    async def _set_later(self, invoke_id: int, written: Awaitable[None]) -> bytes:
        return xdlms.set_result(invoke_id, await self._settled(written))

    async def _set_list(self, invoke_id: int, writes: list[tuple[Reference, Value]]) -> bytes:
        results: list[DataAccessResult] = []
        for reference, value in writes:  # one after the other, in the order that the client chose
            result = self._write(reference, value)
            if not isinstance(result, DataAccessResult):
                result = await self._settled(result)
            results.append(result)
        return xdlms.set_list_results(invoke_id, results)

    async def _settled(self, written: Awaitable[None]) -> DataAccessResult:
        async def done() -> bytes:
            await written
            return b""

        (result,) = await self._wait([done()])
        return result if isinstance(result, DataAccessResult) else DataAccessResult.SUCCESS

    def _write(self, reference: Reference, value: Value) -> DataAccessResult | Awaitable[None]:
        class_id, logical_name, attribute, selection = reference
        try:
            target = self._object(class_id, logical_name, attribute, Access.WRITE)
            if selection is not None:
                return DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
            return target.write(attribute, value, self._context) or DataAccessResult.SUCCESS
        except DataAccessError as error:
            return error.code
        except Exception:
            _log.exception("Writing class %d %s attribute %d failed", class_id, logical_name.hex(), attribute)
            return DataAccessResult.OTHER_REASON


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


class _Blocks:
    """A long answer that leaves in blocks."""

    def __init__(self, data: bytes, capacity: int) -> None:
        self._data = data
        self._capacity = capacity
        self._offset = 0
        self.number = 0  # of the block that was sent last; the first is 1

    @property
    def done(self) -> bool:
        return self._offset >= len(self._data)

    def send(self, invoke_id: int) -> bytes:
        part = self._data[self._offset : self._offset + self._capacity]
        self._offset += len(part)
        self.number += 1
        return xdlms.get_block(invoke_id, self.number, part, last=self.done)

"""xDLMS services: bytes of requests into objects, answers into bytes, without state (Green Book 9.3, 9.5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from core.dlms.axdr import Value, decode_from, decode_length, length
from core.dlms.errors import DecodeError

DLMS_VERSION = 6
VAA_NAME_LN = 0x0007  # VAA name with logical name referencing
SMALLEST_PDU = 64  # a client that takes less is refused

GET_REQUEST = 0xC0
SET_REQUEST = 0xC1
ACTION_REQUEST = 0xC3
GET_RESPONSE = 0xC4
SET_RESPONSE = 0xC5
ACTION_RESPONSE = 0xC7
EXCEPTION_RESPONSE = 0xD8

NORMAL = 1  # of every service

NEXT = 2  # of GET requests
WITH_LIST = 3  # of GET and ACTION requests, and of their responses
WITH_DATABLOCK = 2  # of GET responses

SET_WITH_FIRST_DATABLOCK = 2
SET_WITH_DATABLOCK = 3
SET_WITH_LIST = 4
SET_WITH_LIST_AND_FIRST_DATABLOCK = 5

SET_RESPONSE_DATABLOCK = 2
SET_RESPONSE_LAST_DATABLOCK = 3
SET_RESPONSE_LAST_DATABLOCK_WITH_LIST = 4
SET_RESPONSE_WITH_LIST = 5

ACTION_NEXT_PBLOCK = 2
ACTION_WITH_FIRST_PBLOCK = 4
ACTION_WITH_LIST_AND_FIRST_PBLOCK = 5
ACTION_WITH_PBLOCK = 6

ACTION_RESPONSE_WITH_PBLOCK = 2
ACTION_RESPONSE_NEXT_PBLOCK = 4

# Bytes of a response around a block and its length.
GET_BLOCK_OVERHEAD = 9
ACTION_BLOCK_OVERHEAD = 8


class DataAccessResult(IntEnum):
    """Why an attribute was not read or written, or a method not invoked.

    Data-Access-Result and Action-Result of Green Book 9.5, whose numbers are the same; where the names differ, the
    second one is that of ACTION.
    """

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    LONG_ACTION_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    NO_LONG_ACTION_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


class Conformance(IntEnum):
    """Bits of the conformance block as a 24-bit number, bit 0 of the book being the highest."""

    GENERAL_PROTECTION = 1 << (23 - 1)
    GENERAL_BLOCK_TRANSFER = 1 << (23 - 2)
    BLOCK_TRANSFER_WITH_GET = 1 << (23 - 11)
    BLOCK_TRANSFER_WITH_SET = 1 << (23 - 12)
    BLOCK_TRANSFER_WITH_ACTION = 1 << (23 - 13)
    MULTIPLE_REFERENCES = 1 << (23 - 14)
    DATA_NOTIFICATION = 1 << (23 - 16)
    GET = 1 << (23 - 19)
    SET = 1 << (23 - 20)
    SELECTIVE_ACCESS = 1 << (23 - 21)
    ACTION = 1 << (23 - 23)


class StateError(IntEnum):
    """First half of an exception response."""

    SERVICE_NOT_ALLOWED = 1
    SERVICE_UNKNOWN = 2


class ServiceError(IntEnum):
    """Second half of an exception response."""

    OPERATION_NOT_POSSIBLE = 1
    SERVICE_NOT_SUPPORTED = 2
    OTHER_REASON = 3
    PDU_TOO_LONG = 4
    DECIPHERING_ERROR = 5
    INVOCATION_COUNTER_ERROR = 6


class InitiateError(IntEnum):
    """Why a proposed xDLMS context is refused (Green Book 9.5, ServiceError, initiate)."""

    DLMS_VERSION_TOO_LOW = 1
    INCOMPATIBLE_CONFORMANCE = 2
    PDU_SIZE_TOO_SHORT = 3


class Reference(NamedTuple):
    """One attribute, with selective access where asked for."""

    class_id: int
    logical_name: bytes
    attribute: int
    selection: tuple[int, Value] | None  # kind and parameters

    def __str__(self) -> str:
        return f"{self.class_id} {'.'.join(map(str, self.logical_name))}/{self.attribute}"


class MethodReference(NamedTuple):
    """One method."""

    class_id: int
    logical_name: bytes
    method: int

    def __str__(self) -> str:
        return f"{self.class_id} {'.'.join(map(str, self.logical_name))} method {self.method}"


class Outcome(NamedTuple):
    """What came of writing an attribute or of invoking a method."""

    result: DataAccessResult
    returned: bytes | None = None  # the encoded return parameter of a method


class DataBlock(NamedTuple):
    """A part of a long request or answer (Green Book 9.5, DataBlock-SA and DataBlock-G)."""

    last: bool
    number: int  # 32 bits; the first is 1
    data: bytes


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What the client proposes."""

    version: int
    conformance: int  # 24 bits
    client_pdu: int  # largest APDU that the client takes; 0 = any
    dedicated_key: bytes | None = field(default=None, repr=False)


def decode_initiate_request(data: bytes) -> InitiateRequest:
    """Decode the user information of an AARQ. Raises `DecodeError`."""
    try:
        if data[0] != 1:
            raise DecodeError("The user information is no InitiateRequest.")
        offset = 1
        key: bytes | None = None
        if data[offset]:
            size, start = decode_length(data, offset + 1)
            key = data[start : start + size]
            offset = start + size
        else:
            offset += 1
        offset += 2 if data[offset] else 1  # response-allowed
        offset += 2 if data[offset] else 1  # proposed quality of service
        version = data[offset]
        if data[offset + 1 : offset + 5] != b"\x5f\x1f\x04\x00" or len(data) != offset + 10:
            raise DecodeError("The conformance block or the length of the InitiateRequest is not valid.")
    except IndexError:
        raise DecodeError("The InitiateRequest is cut short.") from None
    conformance = int.from_bytes(data[offset + 5 : offset + 8], "big")
    return InitiateRequest(version, conformance, int.from_bytes(data[offset + 8 : offset + 10], "big"), key)


def initiate_response(conformance: int, server_pdu: int) -> bytes:
    """Encode what was agreed: conformance, and the largest APDU that the server takes."""
    return (
        b"\x08\x00\x06\x5f\x1f\x04\x00"
        + conformance.to_bytes(3, "big")
        + server_pdu.to_bytes(2, "big")
        + VAA_NAME_LN.to_bytes(2, "big")
    )


def initiate_error(error: InitiateError) -> bytes:
    """Encode the confirmedServiceError that refuses a proposed context."""
    return bytes((0x0E, 0x01, 0x06, error))


def exception_response(state: StateError, service: ServiceError) -> bytes:
    """Encode an exception response without parameters."""
    return bytes((EXCEPTION_RESPONSE, state, service))


def decode_get_normal(apdu: bytes) -> Reference:
    """Decode `C0 01 invoke-id reference`. Raises `DecodeError`."""
    reference, end = decode_reference(apdu, 3)
    _nothing_left(apdu, end)
    return reference


def decode_next(apdu: bytes) -> int:
    """Decode `C0 02 invoke-id block-number`, or the same of ACTION, to the last block that the client has.

    Raises `DecodeError`.
    """
    if len(apdu) != 7:
        raise DecodeError("A request for the next block has 7 bytes.")
    return int.from_bytes(apdu[3:7], "big")


def decode_get_list(apdu: bytes) -> list[Reference]:
    """Decode `C0 03 invoke-id list of references`. Raises `DecodeError`."""
    references, offset = _references(apdu, 3)
    _nothing_left(apdu, offset)
    return references


def decode_set_normal(apdu: bytes) -> tuple[Reference, Value]:
    """Decode `C1 01 invoke-id reference value`. Raises `DecodeError`."""
    reference, offset = decode_reference(apdu, 3)
    value, end = decode_from(apdu, offset)
    _nothing_left(apdu, end)
    return reference, value


def decode_set_list(apdu: bytes) -> list[tuple[Reference, Value]]:
    """Decode `C1 04 invoke-id references values`. Raises `DecodeError`, also if the counts differ."""
    references, offset = _references(apdu, 3)
    return list(zip(references, _values(apdu, offset, len(references)), strict=True))


def decode_set_first_block(apdu: bytes) -> tuple[Reference, DataBlock]:
    """Decode `C1 02 invoke-id reference block`. Raises `DecodeError`."""
    reference, offset = decode_reference(apdu, 3)
    return reference, decode_block(apdu, offset)


def decode_set_list_first_block(apdu: bytes) -> tuple[list[Reference], DataBlock]:
    """Decode `C1 05 invoke-id references block`. Raises `DecodeError`."""
    references, offset = _references(apdu, 3)
    return references, decode_block(apdu, offset)


def decode_action_normal(apdu: bytes) -> tuple[MethodReference, Value | None]:
    """Decode `C3 01 invoke-id method [parameter]`. Raises `DecodeError`."""
    method, offset = _method(apdu, 3)
    if offset >= len(apdu) or apdu[offset] > 1:
        raise DecodeError("The request does not say whether the method has a parameter.")
    parameter: Value | None = None
    end = offset + 1
    if apdu[offset]:
        parameter, end = decode_from(apdu, end)
    _nothing_left(apdu, end)
    return method, parameter


def decode_action_list(apdu: bytes) -> list[tuple[MethodReference, Value]]:
    """Decode `C3 03 invoke-id methods parameters`. Raises `DecodeError`, also if the counts differ."""
    methods, offset = _methods(apdu, 3)
    return list(zip(methods, _values(apdu, offset, len(methods)), strict=True))


def decode_action_first_block(apdu: bytes) -> tuple[MethodReference, DataBlock]:
    """Decode `C3 04 invoke-id method block`. Raises `DecodeError`."""
    method, offset = _method(apdu, 3)
    return method, decode_block(apdu, offset)


def decode_action_list_first_block(apdu: bytes) -> tuple[list[MethodReference], DataBlock]:
    """Decode `C3 05 invoke-id methods block`. Raises `DecodeError`."""
    methods, offset = _methods(apdu, 3)
    return methods, decode_block(apdu, offset)


def decode_block(apdu: bytes, offset: int) -> DataBlock:
    """Decode the part of a long request that takes the rest of the APDU. Raises `DecodeError`."""
    if offset + _SHORTEST_BLOCK > len(apdu):
        raise DecodeError(f"The block at offset {offset} is cut short.")
    last = apdu[offset] != 0
    number = int.from_bytes(apdu[offset + 1 : offset + 5], "big")
    size, start = decode_length(apdu, offset + 5)
    if start + size != len(apdu):
        raise DecodeError("The length of the block is not that of its data.")
    return DataBlock(last, number, apdu[start:])


def decode_values(data: bytes, count: int) -> list[Value]:
    """Decode the values of a list that came in blocks. Raises `DecodeError`, also if there are not `count`."""
    return _values(data, 0, count)


def decode_reference(apdu: bytes, offset: int) -> tuple[Reference, int]:
    """Decode descriptor and access selection; returns the offset behind. Raises `DecodeError`."""
    if offset + _SHORTEST_REFERENCE > len(apdu):
        raise DecodeError(f"The attribute reference at offset {offset} is cut short.")
    class_id, logical_name, attribute, selective = _REFERENCE.unpack_from(apdu, offset)
    offset += _SHORTEST_REFERENCE
    if not selective:
        return Reference(class_id, logical_name, attribute, None), offset
    if selective != 1 or offset >= len(apdu):
        raise DecodeError("The access selection is not valid.")
    kind = apdu[offset]
    parameters, offset = decode_from(apdu, offset + 1)
    return Reference(class_id, logical_name, attribute, (kind, parameters)), offset


def get_result(invoke_id: int, result: DataAccessResult) -> bytes:
    """Encode a GET-Response-Normal that says why there is no value."""
    return bytes((GET_RESPONSE, NORMAL, invoke_id, 1, result))


def get_block(invoke_id: int, block: DataBlock) -> bytes:
    """Encode a GET-Response-With-Datablock."""
    last, number, part = block
    return (
        bytes((GET_RESPONSE, WITH_DATABLOCK, invoke_id, last))
        + number.to_bytes(4, "big")
        + b"\x00"
        + length(len(part))
        + part
    )


def get_block_error(invoke_id: int, number: int, result: DataAccessResult) -> bytes:
    """Encode the GET-Response-With-Datablock that ends a transfer early."""
    return (
        bytes((GET_RESPONSE, WITH_DATABLOCK, invoke_id, 1)) + number.to_bytes(4, "big") + bytes((1, result))
    )


def octet_capacity(room: int) -> int:
    """Bytes of the longest octet-string that fits, with its length, into `room` bytes (2 to 16 million)."""
    for size, longest in ((1, 0x7F), (2, 0xFF), (3, 0xFFFF)):
        if room - size <= longest:
            return room - size
    return room - 4


def set_result(invoke_id: int, result: DataAccessResult) -> bytes:
    """Encode a SET-Response-Normal."""
    return bytes((SET_RESPONSE, NORMAL, invoke_id, result))


def set_list_results(invoke_id: int, results: Sequence[DataAccessResult]) -> bytes:
    """Encode a SET-Response-With-List."""
    return bytes((SET_RESPONSE, SET_RESPONSE_WITH_LIST, invoke_id)) + length(len(results)) + bytes(results)


def set_block_taken(invoke_id: int, number: int) -> bytes:
    """Encode the SET-Response-Datablock that asks for the next block."""
    return bytes((SET_RESPONSE, SET_RESPONSE_DATABLOCK, invoke_id)) + number.to_bytes(4, "big")


def set_last_block(invoke_id: int, result: DataAccessResult, number: int) -> bytes:
    """Encode the SET-Response-Last-Datablock that ends a transfer, early or not."""
    return bytes((SET_RESPONSE, SET_RESPONSE_LAST_DATABLOCK, invoke_id, result)) + number.to_bytes(4, "big")


def set_last_block_list(invoke_id: int, results: Sequence[DataAccessResult], number: int) -> bytes:
    """Encode the SET-Response-Last-Datablock-With-List that ends a transfer, early or not."""
    return (
        bytes((SET_RESPONSE, SET_RESPONSE_LAST_DATABLOCK_WITH_LIST, invoke_id))
        + length(len(results))
        + bytes(results)
        + number.to_bytes(4, "big")
    )


def action_result(invoke_id: int, outcome: bytes) -> bytes:
    """Encode an ACTION-Response-Normal."""
    return bytes((ACTION_RESPONSE, NORMAL, invoke_id)) + outcome


def action_list_results(invoke_id: int, outcomes: bytes) -> bytes:
    """Encode an ACTION-Response-With-List around a list with its count."""
    return bytes((ACTION_RESPONSE, WITH_LIST, invoke_id)) + outcomes


def action_outcome(result: DataAccessResult, returned: bytes | None = None) -> bytes:
    """Encode an Action-Response-With-Optional-Data."""
    return bytes((result, 0)) if returned is None else bytes((result, 1, 0)) + returned


def action_outcome_without_data(result: DataAccessResult) -> bytes:
    """Encode an Action-Response-With-Optional-Data whose return parameter is too long for the client."""
    return bytes((result, 1, 1, DataAccessResult.DATA_BLOCK_UNAVAILABLE))


def action_block(invoke_id: int, block: DataBlock) -> bytes:
    """Encode an ACTION-Response-With-Pblock."""
    last, number, part = block
    return (
        bytes((ACTION_RESPONSE, ACTION_RESPONSE_WITH_PBLOCK, invoke_id, last))
        + number.to_bytes(4, "big")
        + length(len(part))
        + part
    )


def action_block_taken(invoke_id: int, number: int) -> bytes:
    """Encode the ACTION-Response-Next-Pblock that asks for the next block."""
    return bytes((ACTION_RESPONSE, ACTION_RESPONSE_NEXT_PBLOCK, invoke_id)) + number.to_bytes(4, "big")


_REFERENCE = struct.Struct(">H6sbB")
_SHORTEST_REFERENCE = _REFERENCE.size
_METHOD = struct.Struct(">H6sb")
_SHORTEST_BLOCK = 6


def _references(apdu: bytes, offset: int) -> tuple[list[Reference], int]:
    count, offset = decode_length(apdu, offset)
    if not 0 < count * _SHORTEST_REFERENCE <= len(apdu) - offset:
        raise DecodeError(f"{count} references do not fit into the request.")
    references: list[Reference] = []
    for _ in range(count):
        reference, offset = decode_reference(apdu, offset)
        references.append(reference)
    return references, offset


def _method(apdu: bytes, offset: int) -> tuple[MethodReference, int]:
    end = offset + _METHOD.size
    if end > len(apdu):
        raise DecodeError(f"The method reference at offset {offset} is cut short.")
    return MethodReference(*_METHOD.unpack_from(apdu, offset)), end


def _methods(apdu: bytes, offset: int) -> tuple[list[MethodReference], int]:
    count, offset = decode_length(apdu, offset)
    if not 0 < count * _METHOD.size <= len(apdu) - offset:
        raise DecodeError(f"{count} references do not fit into the request.")
    methods: list[MethodReference] = []
    for _ in range(count):
        method, offset = _method(apdu, offset)
        methods.append(method)
    return methods, offset


def _values(data: bytes, offset: int, expected: int) -> list[Value]:
    """The list of values that takes the rest of the data."""
    count, offset = decode_length(data, offset)
    if count != expected:
        raise DecodeError(f"{expected} references and {count} values do not go together.")
    values: list[Value] = []
    for _ in range(count):
        value, offset = decode_from(data, offset)
        values.append(value)
    _nothing_left(data, offset)
    return values


def _nothing_left(apdu: bytes, end: int) -> None:
    if end != len(apdu):
        raise DecodeError(f"{len(apdu) - end} bytes too many follow the request.")

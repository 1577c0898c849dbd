"""Clients of gurux-dlms, the library that most field engineers know.

It verifies the tag of what is only authenticated, not of what is encrypted as well, and no counters.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from desk import serve
from gurux_dlms import (
    GXByteBuffer,
    GXDateTime,
    GXDLMSException,
    GXDLMSExceptionResponse,
    GXReplyData,
)
from gurux_dlms.enums import Authentication, Conformance, DataType, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSCaptureObject,
    GXDLMSClock,
    GXDLMSProfileGeneric,
    GXDLMSSecuritySetup,
)
from gurux_dlms.secure import GXDLMSSecureClient
from tour import Choice, Column

LEVELS = {"none": Authentication.NONE, "low": Authentication.LOW, "high": Authentication.HIGH_GMAC}
DEDICATED = bytes(range(0x20, 0x30))


class Gurux:
    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._socket: socket.socket | None = None
        self._client = client = GXDLMSSecureClient(
            True, choice.client, choice.server, LEVELS[choice.level], choice.password or None,
            InterfaceType.WRAPPER,
        )  # fmt: skip
        client.maxReceivePDUSize = choice.pdu
        cipher = client.ciphering
        if choice.title:
            cipher.systemTitle = bytearray(choice.title)
            cipher.blockCipherKey = bytearray(choice.encryption)
            cipher.authenticationKey = bytearray(choice.authentication)
        cipher.invocationCounter = choice.counter
        if choice.form != "plain":
            cipher.security = Security(choice.control)
            client.useProtectedRelease = True
        if choice.form in ("glo", "ded"):
            # Where general protection was negotiated it takes the general forms.
            client.proposedConformance &= ~Conformance.GENERAL_PROTECTION
        if choice.form in ("ded", "general-ded"):
            cipher.dedicatedKey = bytearray(DEDICATED)
        if choice.window:
            client.proposedConformance |= Conformance.GENERAL_BLOCK_TRANSFER
            client.gbtWindowSize = choice.window

    def open(self) -> None:
        address = (self._choice.host, self._choice.port)
        self._socket = socket.create_connection(address, timeout=self._choice.timeout)
        self.again()

    def again(self) -> None:
        self._client.parseAareResponse(self._exchange(self._client.aarqRequest()).data)
        if self._choice.level == "high":
            proof = self._exchange(self._client.getApplicationAssociationRequest())
            self._client.parseApplicationAssociationResponse(proof.data)

    def release(self) -> None:
        self._exchange(self._client.releaseRequest())

    def drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def counter(self) -> int:
        return int(self._client.ciphering.invocationCounter)

    def objects(self) -> list[tuple[int, str]]:
        reply = self._exchange(self._client.getObjectsRequest())
        found = self._client.parseObjects(reply.data, False, False)
        return [(int(item.objectType), item.logicalName) for item in found]

    def get(self, class_id: int, name: str, attribute: int) -> Any:
        return self._exchange(self._client._read(name, class_id, attribute)).value

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]:
        wanted = [(self._item(class_id, name), attribute) for class_id, name, attribute in items]
        return list(self._exchange(self._client.readList(wanted)).value)

    def set(self, class_id: int, name: str, attribute: int, value: bytes) -> None:
        # The public way goes through the properties of each class; this is what it ends in.
        content, kind = typed(value)
        write = self._client._GXDLMSClient__write
        self._exchange(write(name, content, kind, class_id, attribute))

    def set_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[int]:
        raise NotImplementedError("writeList of gurux-dlms calls a method that its items do not have")

    def act(self, class_id: int, name: str, method: int, parameter: bytes) -> Any:
        content, kind = typed(parameter)
        return self._exchange(self._client.method(self._item(class_id, name), method, content, kind)).value

    def act_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[Any]:
        raise NotImplementedError("gurux-dlms invokes no lists")

    def rows_by_range(
        self, name: str, start: datetime, end: datetime, columns: Sequence[Column] = ()
    ) -> list[Any]:
        profile = GXDLMSProfileGeneric(name)
        profile.captureObjects.append((GXDLMSClock(), GXDLMSCaptureObject(2, 0)))
        request = self._client.readRowsByRange(
            profile, GXDateTime(start), GXDateTime(end), self._columns(columns)
        )
        return list(self._exchange(request).value)

    def rows_by_entry(self, name: str, first: int, last: int, columns: Sequence[Column] = ()) -> list[Any]:
        # It sends the number of columns for the last one: right only where the choice begins with the first.
        profile = GXDLMSProfileGeneric(name)
        chosen = self._columns(columns)
        profile.captureObjects.extend(chosen)
        request = self._client.readRowsByEntry(profile, first, last - first + 1, chosen)
        return list(self._exchange(request).value)

    def transfer_keys(self, master: bytes, keys: Mapping[str, bytes]) -> None:
        given = [(int(number), bytearray(key)) for number, key in keys.items()]
        self._exchange(GXDLMSSecuritySetup().globalKeyTransfer(self._client, bytearray(master), given))

    def explain(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, GXDLMSExceptionResponse):
            counter = error.serviceErrorValue if error.exceptionServiceError == 6 else None
            return {"exception": [int(error.exceptionStateError), int(error.exceptionServiceError), counter]}
        if isinstance(error, GXDLMSException):
            diagnostic = getattr(error, "diagnostic", None)
            return {"access": int(error.errorCode)} if diagnostic is None else {"rejected": int(diagnostic)}
        return {}

    def _item(self, class_id: int, name: str) -> Any:
        item = self._client.createObject(class_id)
        item.logicalName = name
        return item

    def _columns(self, columns: Sequence[Column]) -> list[tuple[Any, Any]]:
        return [
            (self._item(class_id, name), GXDLMSCaptureObject(attribute, index))
            for class_id, name, attribute, index in columns
        ]

    def _exchange(self, request: Any) -> Any:
        reply = GXReplyData()
        for message in request if isinstance(request, list) else [request]:
            reply = GXReplyData()
            for part in message if isinstance(message, list) else [message]:
                self._ask(part, reply)
                while reply.isMoreData():
                    self._ask(self._client.receiverReady(reply), reply)
        return reply

    def _ask(self, message: bytes, reply: Any) -> None:
        assert self._socket is not None
        self._socket.sendall(message)
        header = self._receive(8)
        frame = GXByteBuffer(header + self._receive(struct.unpack(">H", header[6:])[0]))
        if not self._client.getData(frame, reply, GXReplyData()):
            raise ValueError("the frame is not complete")
        if reply.error:
            raise GXDLMSException(reply.error)

    def _receive(self, count: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the gateway closed the connection")
            data += piece
        return data


def typed(value: bytes) -> tuple[Any, DataType]:
    """A-XDR data as the library takes it: octet-string, enum, integers; an array stays as it is."""
    kind = DataType(value[0])
    if kind == DataType.OCTET_STRING:
        start = 2 if value[1] < 0x80 else 2 + (value[1] & 0x7F)
        return bytearray(value[start:]), kind
    if kind in (DataType.ENUM, DataType.UINT16, DataType.INT8):
        return int.from_bytes(value[1:], "big"), kind
    return bytearray(value), kind


if __name__ == "__main__":
    serve(Gurux)

"""The tour with gurux-dlms, the client that most field engineers know."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import tour
from gurux_dlms import GXByteBuffer, GXDateTime, GXDLMSClient, GXDLMSException, GXReplyData
from gurux_dlms.enums import Authentication, DataType, InterfaceType
from gurux_dlms.objects import GXDLMSCaptureObject, GXDLMSClock, GXDLMSData, GXDLMSProfileGeneric


class Gurux:
    def __init__(self, chosen: Any) -> None:
        self._chosen = chosen
        level = Authentication.LOW if chosen.password else Authentication.NONE
        self._client = GXDLMSClient(
            True, chosen.client, chosen.server, level, chosen.password or None, InterfaceType.WRAPPER
        )
        self._client.maxReceivePDUSize = chosen.pdu

    def open(self) -> None:
        address = (self._chosen.host, self._chosen.port)
        self._socket = socket.create_connection(address, timeout=self._chosen.timeout)
        self._client.parseAareResponse(self._exchange(self._client.aarqRequest()).data)

    def close(self) -> None:
        self._exchange(self._client.releaseRequest())
        self._socket.close()

    def objects(self) -> list[tuple[int, str]]:
        reply = self._exchange(self._client.getObjectsRequest())
        found = self._client.parseObjects(reply.data, False, False)
        return [(int(item.objectType), item.logicalName) for item in found]

    def get(self, class_id: int, name: str, attribute: int) -> Any:
        return self._exchange(self._client._read(name, class_id, attribute)).value

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]:
        wanted = [(self._item(class_id, name), attribute) for class_id, name, attribute in items]
        return list(self._exchange(self._client.readList(wanted)).value)

    def rows_by_range(self, name: str, start: datetime, end: datetime) -> list[Any]:
        profile = GXDLMSProfileGeneric(name)
        profile.captureObjects.append((GXDLMSClock(), GXDLMSCaptureObject(2, 0)))
        request = self._client.readRowsByRange(profile, GXDateTime(start), GXDateTime(end))
        return list(self._exchange(request).value)

    def rows_by_entry(self, name: str, first: int, last: int) -> list[Any]:
        request = self._client.readRowsByEntry(GXDLMSProfileGeneric(name), first, last - first + 1)
        return list(self._exchange(request).value)

    def set_channel(self, number: int) -> None:
        item = GXDLMSData(tour.CHANNEL)
        item.value = number
        item.setDataType(2, DataType.UINT16)
        self._exchange(self._client.write(item, 2))

    def _item(self, class_id: int, name: str) -> Any:
        item = self._client.createObject(class_id)
        item.logicalName = name
        return item

    def _exchange(self, request: Any) -> Any:
        reply = GXReplyData()
        for message in request if isinstance(request, list) else [request]:
            for part in message if isinstance(message, list) else [message]:
                self._ask(part, reply)
                while reply.isMoreData():
                    self._ask(self._client.receiverReady(reply), reply)
        return reply

    def _ask(self, message: bytes, reply: Any) -> None:
        self._socket.sendall(message)
        header = self._receive(8)
        frame = GXByteBuffer(header + self._receive(struct.unpack(">H", header[6:])[0]))
        if not self._client.getData(frame, reply, GXReplyData()):
            raise ValueError("the frame is not complete")
        if reply.error:
            raise GXDLMSException(reply.error)

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the gateway closed the connection")
            data += piece
        return data


if __name__ == "__main__":
    chosen = tour.options()
    with contextlib.redirect_stderr(io.StringIO()):
        tour.run(Gurux(chosen), chosen)

"""The DLMS client itself, gurux-dlms, for a process of its own: `python -m cme_tui.hes.client`.

It reads one JSON object a line from stdin, `{"do": name, ...arguments}`, and answers each with one line on stdout:
`{"ok": value}` or `{"error": {"kind": ..., ...}}`. The library prints and may hang, so its stdout leads nowhere, and
whoever started this process ends it when it takes too long. It does not see a wrong tag in what the gateway
sends: what works here shows that the two understand each other, not that the gateway's answers are authentic.

Kinds of errors: `access` (code: Data-Access-Result), `rejected` (diagnostic: of the AARE), `exception` (state,
service, counter: of the exception response), `closed`, `silent`, `unreachable` and `client` (text).
Values: numbers, texts, booleans, null and lists as they are, octet strings as `{"octets": hex}`.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TextIO

from gurux_dlms import (
    GXByteBuffer,
    GXDateTime,
    GXDLMSException,
    GXDLMSExceptionResponse,
    GXFloat32,
    GXReplyData,
)
from gurux_dlms.enums import Authentication, DataType, InterfaceType, Security
from gurux_dlms.objects import GXDLMSCaptureObject, GXDLMSClock, GXDLMSData, GXDLMSProfileGeneric
from gurux_dlms.secure import GXDLMSSecureClient

_WRAPPER_HEADER: Final = 8
_PDU: Final = 1024
_ASSOCIATION: Final = (15, "0.0.40.0.0.255")
_LEVELS: Final = {
    "none": Authentication.NONE,
    "low": Authentication.LOW,
    "high": Authentication.HIGH_GMAC,
}


class _ClientError(Exception):
    """What went wrong, as the JSON object that the answer carries."""

    def __init__(self, kind: str, **details: object) -> None:
        super().__init__(kind)
        self.as_json = {"kind": kind, **details}


class Client:
    """One association at a time, over one TCP connection."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._library: Any = None

    def associate(
        self,
        *,
        host: str,
        port: int,
        timeout: float,
        client: int,
        server: int,
        level: str,
        password: str = "",
        title: str = "",
        encryption_key: str = "",
        authentication_key: str = "",
        counter: int = 0,
    ) -> dict[str, Any]:
        """Connect and associate client SAP `client` with server SAP `server`; keys and title in hex.

        With keys the association is ciphered, authenticated and encrypted; `counter` is the first invocation
        counter. `timeout` is in seconds, for each answer.
        """
        self.close()
        self._library = library = GXDLMSSecureClient(
            True, client, server, _LEVELS[level], password or None, InterfaceType.WRAPPER
        )
        library.maxReceivePDUSize = _PDU
        if encryption_key:
            library.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            library.ciphering.systemTitle = bytearray.fromhex(title)
            library.ciphering.blockCipherKey = bytearray.fromhex(encryption_key)
            library.ciphering.authenticationKey = bytearray.fromhex(authentication_key)
            library.ciphering.invocationCounter = counter
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            raise _ClientError("unreachable", text=error.strerror or str(error)) from error
        library.parseAareResponse(self._exchange(library.aarqRequest()).data)
        if level == "high":
            proof = self._exchange(library.getApplicationAssociationRequest())
            library.parseApplicationAssociationResponse(proof.data)
        return {"pdu": int(library.maxReceivePDUSize)}

    def close(self) -> None:
        """Close the connection without a release; does nothing where there is none."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def release(self) -> None:
        """Release the association and close the connection."""
        try:
            if request := self._library.releaseRequest():
                self._exchange(request)
        finally:
            self.close()

    def objects(self) -> list[dict[str, Any]]:
        """The object list of the association: class, version, name and access mode of each attribute."""
        listed = []
        for class_id, version, name, (attributes, _methods) in self._get(*_ASSOCIATION, 2):
            listed.append(
                {
                    "class": int(class_id),
                    "version": int(version),
                    "obis": ".".join(str(byte) for byte in bytes(name)),
                    "attributes": {str(int(item[0])): int(item[1]) for item in attributes},
                }
            )
        return listed

    def get(self, *, class_id: int, obis: str, attribute: int) -> Any:
        """The value of an attribute."""
        return _plain(self._get(class_id, obis, attribute))

    def rows_by_range(self, *, obis: str, start: str, end: str) -> Any:
        """Rows of a profile from `start` to `end`, ISO 8601 with offset, both included."""
        profile = GXDLMSProfileGeneric(obis)
        profile.captureObjects.append((GXDLMSClock(), GXDLMSCaptureObject(2, 0)))
        first, last = (GXDateTime(datetime.fromisoformat(moment)) for moment in (start, end))
        return _plain(self._exchange(self._library.readRowsByRange(profile, first, last)).value)

    def rows_by_entry(self, *, obis: str, first: int, last: int) -> Any:
        """Rows number `first` to `last` of a profile, 1 = the oldest."""
        request = self._library.readRowsByEntry(GXDLMSProfileGeneric(obis), first, last - first + 1)
        return _plain(self._exchange(request).value)

    def select(self, *, obis: str, channel: int) -> None:
        """Write the number of a logical device to the channel selection object."""
        item = GXDLMSData(obis)
        item.value = channel
        item.setDataType(2, DataType.UINT16)
        self._exchange(self._library.write(item, 2))

    def notification(
        self, *, frame: str, title: str = "", encryption_key: str = "", authentication_key: str = ""
    ) -> Any:
        """The body of a pushed notification, with its wrapper header, in hex; with keys one that is ciphered."""
        library = GXDLMSSecureClient(True, 1, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
        if encryption_key:
            library.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            library.ciphering.blockCipherKey = bytearray.fromhex(encryption_key)
            library.ciphering.authenticationKey = bytearray.fromhex(authentication_key)
            library.settings.sourceSystemTitle = bytearray.fromhex(title)
        body = GXReplyData()
        library.getData(GXByteBuffer(bytearray.fromhex(frame)), GXReplyData(), body)
        return _plain(body.value)

    def _get(self, class_id: int, name: str, attribute: int) -> Any:
        return self._exchange(self._library._read(name, class_id, attribute)).value

    def _exchange(self, request: Any) -> Any:
        reply = GXReplyData()
        for message in request if isinstance(request, list) else [request]:
            for part in message if isinstance(message, list) else [message]:
                self._ask(part, reply)
                while reply.isMoreData():
                    self._ask(self._library.receiverReady(reply), reply)
        return reply

    def _ask(self, message: bytes, reply: Any) -> None:
        if self._socket is None:
            raise _ClientError("closed")
        try:
            self._socket.sendall(message)
            header = self._receive(_WRAPPER_HEADER)
            frame = GXByteBuffer(header + self._receive(struct.unpack(">H", header[6:])[0]))
        except TimeoutError:
            # An answer that comes late would be taken for the next one.
            self.close()
            raise _ClientError("silent") from None
        except OSError:
            self.close()
            raise _ClientError("closed") from None
        if not self._library.getData(frame, reply, GXReplyData()):
            raise _ClientError("client", text="the answer is not complete")
        if reply.error:
            raise _ClientError("access", code=int(reply.error))

    def _receive(self, count: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data


def main() -> None:
    """Answer commands until stdin ends."""
    answers, commands = os.fdopen(os.dup(1), "w", encoding="utf-8"), os.fdopen(os.dup(0), encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(commands, waiting), daemon=True).start()
    client = Client()
    while True:
        answer = _answer(client, waiting.get())
        print(json.dumps(answer), file=answers, flush=True)


def _listen(commands: TextIO, waiting: queue.Queue[dict[str, Any]]) -> None:
    """Take in commands. Ends the process with stdin, also where the library hangs."""
    for line in commands:
        waiting.put(json.loads(line))
    os._exit(0)


def _answer(client: Client, command: dict[str, Any]) -> dict[str, Any]:
    action: Callable[..., Any] = getattr(client, command.pop("do"))
    try:
        return {"ok": action(**command)}
    except _ClientError as error:
        return {"error": error.as_json}
    except GXDLMSExceptionResponse as error:
        return {
            "error": {
                "kind": "exception",
                "state": int(error.exceptionStateError or 0),
                "service": int(error.exceptionServiceError or 0),
                "counter": int(error.serviceErrorValue or 0),
            }
        }
    except GXDLMSException as error:
        if hasattr(error, "diagnostic"):
            return {"error": {"kind": "rejected", "diagnostic": int(error.diagnostic)}}
        return {"error": {"kind": "client", "text": str(error)}}
    except Exception as error:  # whatever the library makes of what it does not understand
        return {"error": {"kind": "client", "text": f"{type(error).__name__}: {error}"}}


def _plain(value: Any) -> Any:
    """The library's value as JSON."""
    if isinstance(value, bytes | bytearray):
        return {"octets": bytes(value).hex()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, GXFloat32):
        return float(f"{value:.7g}")  # the digits that 32 bits hold
    if isinstance(value, float):
        return float(value)
    return str(value)


if __name__ == "__main__":
    main()

"""What two DLMS clients that others wrote make of pushed notifications.

`python foreign_push.py gurux|pydlms` reads JSON {"frames": [hex of a wrapper frame, ...], "encryption": hex,
"authentication": hex, "title": hex} and prints one object a frame, in a list: {"id", "time", "body"}, octets in hex,
arrays and structures as lists; or {"error": type}. The keys hold for all frames, in their order. In a process of its
own, because one of the libraries prints.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any

Decoder = Callable[[bytes], dict[str, Any]]


def gurux(keys: dict[str, bytes]) -> Decoder:
    from gurux_dlms import GXByteBuffer, GXReplyData
    from gurux_dlms.enums import Authentication, InterfaceType, Security
    from gurux_dlms.secure import GXDLMSSecureClient

    client = GXDLMSSecureClient(True, 1, 16, Authentication.NONE, None, InterfaceType.WRAPPER)
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    client.ciphering.blockCipherKey = bytearray(keys["encryption"])
    client.ciphering.authenticationKey = bytearray(keys["authentication"])
    client.settings.sourceSystemTitle = bytearray(keys["title"])

    def decode(frame: bytes) -> dict[str, Any]:
        reply, notify = GXReplyData(), GXReplyData()
        client.getData(GXByteBuffer(frame), reply, notify)
        # The id stays where it came first.
        number, time = notify.invokeId or reply.invokeId, notify.time.value.isoformat()
        return {"id": number, "time": time, "body": plain(notify.value)}

    return decode


def pydlms(keys: dict[str, bytes]) -> Decoder:
    from pydlms.push import PushDecoder
    from pydlms.security.context import SecurityContext

    context = SecurityContext(keys["encryption"], keys["authentication"], bytes(8), keys["title"])
    decoder = PushDecoder(framing="wrapper", security=context)

    def decode(frame: bytes) -> dict[str, Any]:
        (message,) = decoder.feed(frame)
        note = message.notification
        if not message.complete:
            raise ValueError("decoded in part")
        time = note.timestamp.to_datetime().isoformat()
        return {"id": note.long_invoke_id, "time": time, "body": plain(note.body.to_python())}

    return decode


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value if value is None or isinstance(value, str | bool | float) else str(value)


def main() -> None:
    order = json.load(sys.stdin)
    keys = {name: bytes.fromhex(order[name]) for name in ("encryption", "authentication", "title")}
    found = []
    with contextlib.redirect_stdout(io.StringIO()):
        decode = {"gurux": gurux, "pydlms": pydlms}[sys.argv[1]](keys)
        for frame in order["frames"]:
            try:
                found.append(decode(bytes.fromhex(frame)))
            except Exception as error:
                found.append({"error": type(error).__name__, "text": str(error)})
    print(json.dumps(found))


if __name__ == "__main__":
    main()

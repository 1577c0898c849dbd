"""What three DLMS clients that others wrote make of an object list and of the attributes of a clock.

`python foreign_decoders.py gurux|pydlms|dlms_cosem` reads JSON {"list": hex, "clock": [hex of attribute 2, 3, ...]}
and prints {"objects": [[class, version, name, [mode of each attribute], [mode of each method]], ...], "clock":
[...]}, times in ISO 8601 and local as the client sees them, null for "not specified". In a process of its own: one
of the libraries prints, one hangs on truncated data, and one is under a licence of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any


def gurux(listed: bytes, clock: list[bytes]) -> dict[str, Any]:
    from gurux_dlms import GXByteBuffer, GXDateTime, GXDLMSClient
    from gurux_dlms.enums import DateTimeSkips
    from gurux_dlms.objects import GXDLMSClock

    client = GXDLMSClient(True)
    objects = []
    for item in client.parseObjects(GXByteBuffer(listed), False, False):
        modes = [int(item.getAccess(number + 1)) for number in range(item.getAttributeCount())]
        methods = [int(item.getMethodAccess(number + 1)) for number in range(item.getMethodCount())]
        objects.append([int(item.objectType), item.version, item.logicalName, modes, methods])
    shown = []
    target = GXDLMSClock()
    for number, raw in enumerate(clock, 2):
        client.updateValue(target, number, client.getValue(GXByteBuffer(raw), False))
        value = target.getValues()[number - 1]
        if isinstance(value, GXDateTime):
            skipped = value.skip & DateTimeSkips.YEAR
            value = None if skipped else value.value.replace(tzinfo=None).isoformat()
        shown.append(int(value) if isinstance(value, int) and not isinstance(value, bool) else value)
    return {"objects": objects, "clock": shown}


def pydlms(listed: bytes, clock: list[bytes]) -> dict[str, Any]:
    from pydlms.cosem.access import decode_access_rights
    from pydlms.cosem.data import decode_data
    from pydlms.cosem.time import CosemDateTime

    def time(raw: bytes) -> str | None:
        decoded = CosemDateTime.from_bytes(raw)
        return decoded.to_datetime().replace(tzinfo=None).isoformat() if decoded.is_fully_specified else None

    objects = []
    for item in decode_data(listed)[0].value:
        class_id, version, name, rights = item.value
        decoded = decode_access_rights(rights, 1)
        modes = [int(access.access_mode) for access in decoded.attributes]
        methods = [int(access.access_mode) for access in decoded.methods]
        objects.append([class_id.value, version.value, ".".join(map(str, name.value)), modes, methods])
    values = [decode_data(raw)[0].value for raw in clock]
    return {
        "objects": objects,
        "clock": [time(value) if isinstance(value, bytes) else value for value in values],
    }


def dlms_cosem(listed: bytes, clock: list[bytes]) -> dict[str, Any]:
    from dlms_cosem.parsers import AssociationObjectListParser
    from dlms_cosem.time import datetime_from_bytes
    from dlms_cosem.utils import parse_as_dlms_data

    objects = []
    for item in AssociationObjectListParser.parse_bytes(listed):
        modes, methods = (
            # It gives the bits that are set, by number.
            [sum(1 << bit for bit in access.access_rights) for _, access in sorted(rights.items())]
            for rights in (item.attribute_access_rights, item.method_access_rights)
        )
        name = ".".join(map(str, item.logical_name.to_bytes()))
        objects.append([int(item.interface), item.version, name, modes, methods])
    shown = []
    for raw in clock:
        value = parse_as_dlms_data(raw)
        if isinstance(value, bytes | bytearray):
            specified = value[:2] != b"\xff\xff"
            value = (
                datetime_from_bytes(bytes(value))[0].replace(tzinfo=None).isoformat() if specified else None
            )
        shown.append(value)
    return {"objects": objects, "clock": shown}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    decode = {"gurux": gurux, "pydlms": pydlms, "dlms_cosem": dlms_cosem}[sys.argv[1]]
    with contextlib.redirect_stdout(io.StringIO()):
        report = decode(bytes.fromhex(given["list"]), [bytes.fromhex(text) for text in given["clock"]])
    print(json.dumps(report))

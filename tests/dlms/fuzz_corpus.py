"""Valid requests to the plant and its actor in every form there is: what the fuzz tests start from."""

from __future__ import annotations

from collections.abc import Iterator

from dlms_actor import (
    BROKEN,
    DENIED,
    ECHO,
    PLAIN,
    REFUSING,
    SLOW_ECHO,
    act,
    act_list,
    attribute,
    block,
    cut,
    method,
)
from dlms_plant import (
    ASSOCIATION,
    CHANNEL,
    CLOCK,
    FLOW,
    MAXIMUM,
    NAME,
    NOTE,
    PROFILE,
    SAPS,
    SILENT,
    SLOW,
    VOLUME,
)
from dlms_plant import BROKEN as BROKEN_VALUE
from dlms_wire import get, set_

from core.cosem.base import CosemObject
from core.dlms import axdr
from core.dlms.gbt import Block

ALL_SERVICES = 0x207E1F  # conformance to propose, general block transfer included
BY_ENTRY = bytes.fromhex("010202040600000001060000000512000112 0000")
BY_RANGE = bytes.fromhex(
    "01010204020412000809060000010000ff0f02120000090c07e90214ff00000000ffc400090c07e90215ff00000000ffc4000100"
)
COLUMNS = bytes.fromhex(
    "01010204020412000809060000010000ff0f02120000090c07e90214ff00000000ffc400090c07e90215ff00000000ffc400"
    "0102 020412000809060000010000ff0f02120000 020412000309060800010000ff0f02120000"
)
TEXT = axdr.octet_string(b"some text of a note")
TREE = axdr.structure(axdr.array([axdr.structure(TEXT, axdr.bit_string("10101"))] * 3), axdr.float64(1.5))
TIME = axdr.octet_string(bytes.fromhex("07e9060f070f062800ff8880"))
_GET_LIST = b"\xc0\x03\xc1\x04" + b"".join(
    get(class_id, name, 2)[3:] for class_id, name in ((3, VOLUME), (1, NAME), (3, SLOW), (3, BROKEN_VALUE))
)

SCENARIOS: tuple[tuple[bytes, ...], ...] = (
    *((get(class_id, name, 2),) for class_id, name in (
        (3, VOLUME), (3, FLOW), (3, BROKEN_VALUE), (3, SLOW), (3, SILENT), (1, NAME), (8, CLOCK), (17, SAPS),
        (15, ASSOCIATION), (7, PROFILE), (1, CHANNEL),
    )),
    (get(4, MAXIMUM, 5),),
    (get(3, VOLUME, 9),),
    (get(7, PROFILE, 2, BY_ENTRY),),
    (get(7, PROFILE, 2, BY_RANGE),),
    (get(7, PROFILE, 2, COLUMNS),),
    (get(7, PROFILE, 2), *(b"\xc0\x02\xc1" + number.to_bytes(4, "big") for number in range(1, 5))),
    (_GET_LIST,),
    (b"\xc0\x03\xc1\x02" + get(7, PROFILE, 2, BY_ENTRY)[3:] + get(7, PROFILE, 2)[3:], b"\xc0\x02\xc1\0\0\0\1"),
    (b"\xc0\x03\xc1\x40" + get(15, ASSOCIATION, 2)[3:] * 64, b"\xc0\x02\xc1\0\0\0\1"),
    (set_(1, NOTE, 2, TEXT),),
    (set_(1, NOTE, 2, TREE),),
    (set_(8, CLOCK, 2, TIME),),
    (set_(1, CHANNEL, 2, axdr.long_unsigned(17)), get(1, NAME, 2), set_(1, CHANNEL, 2, axdr.long_unsigned(16))),
    (b"\xc1\x04\xc1\x02" + attribute(2) + get(1, NOTE, 2)[3:] + b"\x02" + TEXT + TEXT,),
    (
        b"\xc1\x02\xc1" + get(1, NOTE, 2)[3:] + block(False, 1, TEXT[:8]),
        b"\xc1\x03\xc1" + block(False, 2, TEXT[8:12]),
        b"\xc1\x03\xc1" + block(True, 3, TEXT[12:]),
    ),
    (
        b"\xc1\x05\xc1\x02" + attribute(2) + attribute(3) + block(False, 1, b"\x02" + TREE[:9]),
        b"\xc1\x03\xc1" + block(True, 2, TREE[9:] + TREE),
    ),
    *((act(number, TEXT),) for number in (ECHO, PLAIN, SLOW_ECHO, DENIED, BROKEN, REFUSING)),
    (act(PLAIN),),
    (act(ECHO, axdr.octet_string(bytes(500))), b"\xc3\x02\xc1\0\0\0\1", b"\xc3\x02\xc1\0\0\0\2"),
    (act_list((ECHO, TEXT), (PLAIN, TREE), (BROKEN, axdr.NULL)), b"\xc3\x02\xc1\0\0\0\1"),
    (
        b"\xc3\x04\xc1" + method(ECHO) + block(False, 1, TEXT[:8]),
        b"\xc3\x06\xc1" + block(True, 2, TEXT[8:]),
        b"\xc3\x02\xc1\0\0\0\1",
    ),
    (
        b"\xc3\x05\xc1\x02" + method(ECHO) * 2 + block(False, 1, b"\x02" + TEXT),
        b"\xc3\x06\xc1" + block(True, 2, TEXT),
    ),
    # Lists whose counts contradict each other: well coded, but to be refused.
    (b"\xc1\x04\xc1\x02" + attribute(2) * 2 + b"\x01" + TEXT,),
    (b"\xc1\x04\xc1\x01" + attribute(2) + b"\x02" + TEXT * 2,),
    (b"\xc1\x05\xc1\x02" + attribute(2) * 2 + block(True, 1, b"\x01" + TEXT),),
    (b"\xc3\x03\xc1\x02" + method(ECHO) * 2 + b"\x03" + TEXT * 3,),
    (b"\xc3\x05\xc1\x01" + method(ECHO) + block(True, 1, b"\x00"),),
    (b"\xc0\x03\xc1\x00",),
)  # fmt: skip
"""Requests that belong together, in the order in which a client sends them."""

REQUESTS = tuple(request for scenario in SCENARIOS for request in scenario)


_VALUES = (
    axdr.NULL, TEXT, TIME, TREE, axdr.enum(0), axdr.enum(3), axdr.long_unsigned(16), axdr.octet_string(b"12345678"),
    axdr.array([axdr.structure(axdr.enum(0), axdr.octet_string(bytes(24)))]),
)  # fmt: skip
"""To be written to, or to invoke a method with."""


def requests_for(item: CosemObject) -> Iterator[tuple[bytes, ...]]:
    """Requests for every attribute and method of any object, whether it is granted or not."""
    name = item.logical_name
    for number in range(1, item.attribute_count + 1):
        yield (get(item.class_id, name, number),)
        yield from ((set_(item.class_id, name, number, value),) for value in _VALUES)
        if number in item.selectors:
            yield from (
                (get(item.class_id, name, number, selection),) for selection in (BY_ENTRY, BY_RANGE, COLUMNS)
            )
    for number in range(1, item.method_count + 1):
        head = b"\xc3\x01\xc1" + method(number, item.class_id, name)
        yield (head + b"\x00",)
        yield from ((head + b"\x01" + value,) for value in _VALUES)


def in_blocks(apdu: bytes, size: int, window: int) -> list[bytes]:
    """An APDU in general blocks that stream, and two acknowledgements of what may come."""
    parts = cut(apdu, size)
    blocks = [
        Block(number == len(parts), number < len(parts), window, number, 0, part).encode()
        for number, part in enumerate(parts, 1)
    ]
    end = len(parts)
    return [*blocks, *(Block(True, False, window, end + more, more, b"").encode() for more in (1, 2))]

"""General block transfer: any APDU, plain or ciphered, in numbered blocks (Green Book 9.4.6.13).

How whoever owns the association uses it, where GENERAL_BLOCK_TRANSFER was negotiated::

    received = transfer.receive(apdu)           # an APDU that starts with TAG; DecodeError: answer MALFORMED
    send all of received.blocks, each in a frame of its own                       # there may be none
    if received.apdu is not None:               # the request is complete: handle it as if it came whole
        room = transfer.answer_room(pdu)        # for `Services.handle`, less the overhead of ciphering
        send all of transfer.send(answer, pdu)  # `answer` protected already; exceptions go this way, too

`pdu` is the largest APDU that the client takes (65535 for any). What the client then acknowledges comes in through
`receive`, which gives out the next blocks, or lost ones again. `reset` when the association opens or ends and
when a request comes that is not in blocks. A long answer to such a request can be sent in blocks, too: `reset`, then
`send`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from core.dlms.axdr import decode_length, length
from core.dlms.errors import DecodeError
from core.dlms.limits import ServerLimits
from core.dlms.xdlms import octet_capacity

TAG = 0xE0
LAST_BLOCK = 0x80
STREAMING = 0x40  # more blocks of the same window follow at once
WINDOW_BITS = 0x3F
LAST_NUMBER = 0xFFFF
WINDOW = 16  # blocks that a client may send before it waits for an acknowledgement

_HEADER = struct.Struct(">BBHH")


class Block(NamedTuple):
    """One general-block-transfer APDU."""

    last: bool
    streaming: bool
    window: int  # blocks that the sender of this one takes before it acknowledges, 0..63
    number: int  # 1..65535; 0 only where the sender gives up
    acknowledged: int  # the last block that the sender has received without a gap before it
    data: bytes

    def encode(self) -> bytes:
        """The APDU."""
        control = self.window | (LAST_BLOCK if self.last else 0) | (STREAMING if self.streaming else 0)
        header = _HEADER.pack(TAG, control, self.number, self.acknowledged)
        return header + length(len(self.data)) + self.data


class Received(NamedTuple):
    """What comes of one block of the client."""

    blocks: list[bytes]  # to be sent now, in this order
    apdu: bytes | None = None  # the request, once it is complete


def decode(apdu: bytes) -> Block:
    """Decode a general-block-transfer APDU. Raises `DecodeError`."""
    if len(apdu) <= _HEADER.size or apdu[0] != TAG:
        raise DecodeError("The general block transfer APDU is cut short.")
    _, control, number, acknowledged = _HEADER.unpack_from(apdu)
    size, start = decode_length(apdu, _HEADER.size)
    if start + size != len(apdu):
        raise DecodeError("The length of the block is not that of its data.")
    return Block(
        bool(control & LAST_BLOCK),
        bool(control & STREAMING),
        control & WINDOW_BITS,
        number,
        acknowledged,
        apdu[start:],
    )


class BlockTransfer:
    """The one exchange in blocks that an association has under way: a request in, its answer out.

    A request is at most `ServerLimits.request` bytes. Its first block has the number 1, and starts the exchange anew
    whatever was there before. Every block that leaves has the next number, acknowledgements included.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._client_window = 1
        self._request: bytearray | None = None  # as far as it has come
        self._received = 0  # the client's last block without a gap before it
        self._number = 0  # the last number used here
        self._answer: bytes | None = None
        self._capacity = 0  # bytes of the answer in one block
        self._before = 0  # number of the block before the answer's first one
        self._last = 0  # number of its last one

    def reset(self) -> None:
        """Forget the exchange."""
        self._request = self._answer = None
        self._received = self._number = 0
        self._client_window = 1

    def receive(self, apdu: bytes) -> Received:
        """Take a block. Raises `DecodeError` for one that makes no sense; the exchange has ended then."""
        try:
            block = decode(apdu)
            if block.number == 0 and not block.acknowledged and not block.data:  # the client gives up
                self.reset()
                return Received([])
            if block.number == 1 and block.data:
                self.reset()
                self._request = bytearray()
            self._client_window = block.window or 1
            if self._request is not None:
                return self._take(self._request, block)
            if self._answer is not None and not block.data:
                return Received(self._after(self._answer, block.acknowledged))
            raise DecodeError(f"Block {block.number} belongs to no general block transfer.")
        except DecodeError:
            self.reset()
            raise

    def answer_room(self, pdu: int) -> int:
        """Bytes of the largest answer that `send` can cut into blocks for a client that takes `pdu`."""
        return min(self._limits.answer, (LAST_NUMBER - self._number) * _capacity(pdu))

    def send(self, answer: bytes, pdu: int) -> list[bytes]:
        """The first window of the answer, at most `answer_room(pdu)` bytes, in APDUs of at most `pdu` bytes."""
        self._request = None
        self._answer = answer
        self._capacity = _capacity(pdu)
        self._before = self._number
        self._last = self._before + -(-len(answer) // self._capacity)
        if self._last > LAST_NUMBER:
            raise ValueError(f"{len(answer)} bytes need blocks with numbers above {LAST_NUMBER}")
        return self._window(answer, self._before + 1)

    def _take(self, request: bytearray, block: Block) -> Received:
        if block.number == self._received + 1:
            if len(request) + len(block.data) > self._limits.request:
                raise DecodeError(f"The request in blocks is longer than {self._limits.request} bytes.")
            request += block.data
            self._received = block.number
            if block.last:
                self._request = None
                return Received([], bytes(request))
        if block.streaming:
            return Received([])
        if self._number == LAST_NUMBER // 2:  # the others are for the answer
            raise DecodeError("The block numbers of the general block transfer are used up.")
        self._number += 1
        return Received([Block(False, False, WINDOW, self._number, self._received, b"").encode()])

    def _after(self, answer: bytes, acknowledged: int) -> list[bytes]:
        """The window that follows the block that the client has received last."""
        if acknowledged > self._number:
            raise DecodeError(f"Block {acknowledged} is acknowledged, but was not sent.")
        if acknowledged == self._last:
            self._answer = None
            return []
        return self._window(answer, max(acknowledged, self._before) + 1)

    def _window(self, answer: bytes, first: int) -> list[bytes]:
        end = min(first + self._client_window - 1, self._last)
        self._number = max(self._number, end)
        blocks = []
        for number in range(first, end + 1):
            start = (number - self._before - 1) * self._capacity
            part = answer[start : start + self._capacity]
            last = number == self._last
            blocks.append(Block(last, number != end, WINDOW, number, self._received, part).encode())
        return blocks


def _capacity(pdu: int) -> int:
    return octet_capacity(pdu - _HEADER.size)

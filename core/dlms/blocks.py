"""Long requests and long answers of one service, block by block (Green Book 9.4.6.3 to 9.4.6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from core.dlms.axdr import Value, decode
from core.dlms.xdlms import DataAccessResult, DataBlock, decode_values

T = TypeVar("T")


class Outgoing:
    """A long answer that the client fetches."""

    def __init__(self, data: bytes) -> None:
        self.number = 0  # of the block that was given out last; the first is 1
        self._data = data
        self._offset = 0

    def next(self, capacity: int) -> DataBlock:
        """The next block, of at most `capacity` bytes."""
        part = self._data[self._offset : self._offset + capacity]
        self._offset += len(part)
        self.number += 1
        return DataBlock(self._offset >= len(self._data), self.number, part)


class Incoming(Generic[T]):
    """A long request that the client sends: what it is about, and the data as far as they have come.

    The data are one encoded value, or, if `listed`, a list with one for each of the references.
    """

    def __init__(self, references: Sequence[T], listed: bool, limit: int) -> None:
        self.references = references
        self.listed = listed
        self._limit = limit  # bytes of data
        self._data = bytearray()
        self._number = 0  # of the last block that was taken; the first is 1

    def refusal(self, block: DataBlock) -> DataAccessResult | None:
        """Take a block; None if it is as it should be, else why the transfer ends."""
        if block.number != self._number + 1:
            return DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        if len(self._data) + len(block.data) > self._limit:
            return DataAccessResult.LONG_SET_ABORTED
        self._number = block.number
        self._data += block.data
        return None

    def values(self) -> list[tuple[T, Value]]:
        """Each reference with its value, once all blocks are there. Raises `DecodeError`."""
        data = bytes(self._data)
        values = decode_values(data, len(self.references)) if self.listed else [decode(data)]
        return list(zip(self.references, values, strict=True))

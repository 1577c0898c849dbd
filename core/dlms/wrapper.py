"""The TCP wrapper of IEC 62056-47 (Green Book 7.3.3): finds APDUs in a stream, frames answers."""

from __future__ import annotations

import struct

from core.dlms.errors import DlmsError

VERSION = 1
HEADER_SIZE = 8
LARGEST_APDU = 0xFFFF  # that a header can announce

_HEADER = struct.Struct(">HHHH")  # version, source SAP, destination SAP, length of the APDU


class WrapperError(DlmsError):
    """A stream that is no wrapper stream; nothing after it can be trusted, so the connection ends."""


def frame(source: int, destination: int, apdu: bytes) -> bytes:
    """An APDU behind its header. SAPs 0..65535, at most 65535 bytes."""
    return _HEADER.pack(VERSION, source, destination, len(apdu)) + apdu


class Deframer:
    """Collects what a client sends and gives it out APDU by APDU."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of the largest APDU that is taken."""
        self._limit = limit
        self._data = b""
        self._offset = 0

    @property
    def buffered(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._data) - self._offset

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._data = self._data[self._offset :] + data if self._offset < len(self._data) else data
        self._offset = 0

    def next(self) -> tuple[int, int, bytes] | None:
        """Source SAP, destination SAP and APDU of the next complete frame; None if more bytes are needed.

        Raises `WrapperError` for another version, length 0, or a length above the limit, as soon as the
        header is there.
        """
        start = self._offset + HEADER_SIZE
        if start > len(self._data):
            return None
        version, source, destination, size = _HEADER.unpack_from(self._data, self._offset)
        if version != VERSION:
            raise WrapperError(f"The wrapper version is {version}; only version 1 is known.")
        if not 0 < size <= self._limit:
            raise WrapperError(f"An APDU of {size} bytes is announced; 1 to {self._limit} are taken.")
        end = start + size
        if end > len(self._data):
            return None
        self._offset = end
        return source, destination, self._data[start:end]

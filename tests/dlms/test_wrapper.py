"""The TCP wrapper: in whatever pieces bytes arrive, APDUs come out whole or are refused."""

from __future__ import annotations

import pytest

from core.dlms.wrapper import Deframer, WrapperError, frame


def test_the_header_is_that_of_the_green_book() -> None:
    """Version 1, source, destination, length, big-endian."""
    assert frame(1, 16, b"\xc0\x01").hex() == "0001000100100002c001"


@pytest.mark.parametrize("piece", [1, 2, 7, 8, 9, 100])
def test_apdus_come_out_whole_in_any_pieces(piece: int) -> None:
    """Three frames, cut into pieces of every size."""
    stream = frame(1, 16, b"a") + frame(2, 17, b"b" * 50) + frame(3, 18, b"c" * 9)
    deframer = Deframer(64)
    found = []
    for start in range(0, len(stream), piece):
        deframer.feed(stream[start : start + piece])
        while (received := deframer.next()) is not None:
            found.append(received)
    assert found == [(1, 16, b"a"), (2, 17, b"b" * 50), (3, 18, b"c" * 9)]
    assert deframer.buffered == 0


@pytest.mark.parametrize(
    "header", ["0002000100100005", "0001000100100000", "0001000100100041", "474554202f204854"]
)
def test_what_is_no_frame_is_refused_from_its_header_on(header: str) -> None:
    """Another version, length 0, a length above the limit, and HTTP."""
    deframer = Deframer(64)
    deframer.feed(bytes.fromhex(header))
    with pytest.raises(WrapperError):
        deframer.next()

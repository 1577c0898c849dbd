"""Frames for the decoder's tests: those of real meters, and hand-made ones around any content."""

from __future__ import annotations

from pathlib import Path

from core.mbus.telegram import Record, decode
from tests.conftest import TELEGRAMS

INVALID = Path(__file__).parent.parent / "data" / "telegrams" / "invalid"
HEADER = bytes.fromhex("78563412 2423 28 07 0A 00 0000")
"""Long header: identification 12345678, HYD, version 40, water, access number 10, status 0, no encryption."""


def recorded(name: str) -> bytes:
    """The frame of a real meter."""
    return read_hex(TELEGRAMS / f"{name}.hex")


def read_hex(path: Path) -> bytes:
    return bytes.fromhex("".join(path.read_text().split()))


def all_recorded() -> list[bytes]:
    return [read_hex(path) for path in sorted(TELEGRAMS.glob("*.hex"))]


def frame(application: bytes | str, *, control: int = 0x08, address: int = 5) -> bytes:
    """A long frame around `application`, which starts with the CI field."""
    content = bytes((control, address)) + (
        bytes.fromhex(application) if isinstance(application, str) else application
    )
    return bytes((0x68, len(content), len(content), 0x68)) + content + bytes((sum(content) & 0xFF, 0x16))


def sealed(damaged: bytes) -> bytes:
    """The same frame with a checksum that is right."""
    return damaged[:-2] + bytes((sum(damaged[4:-2]) & 0xFF, damaged[-1]))


def long_frame(records: bytes | str, header: bytes = HEADER) -> bytes:
    """A telegram with a long header (CI 72h)."""
    return frame(b"\x72" + header + (bytes.fromhex(records) if isinstance(records, str) else records))


def only_record(records: str) -> Record:
    """The one record of a telegram with these bytes."""
    (record,) = decode(long_frame(records)).records
    return record

"""Logical names: the six numbers of an OBIS code as text and as bytes (Blue Book 5, IEC 62056-61)."""

from __future__ import annotations

import re

from core.errors import CmeError


class ObisError(CmeError):
    """A text that is no OBIS code of six numbers."""


def parse(text: str) -> bytes:
    """`"0.0.1.0.0.255"` as 6 bytes. Raises `ObisError`."""
    parts = text.strip().split(".")
    if len(parts) == 6 and all(re.fullmatch("[0-9]{1,3}", p) and int(p) <= 255 for p in parts):
        return bytes(int(p) for p in parts)
    raise ObisError(f"{text!r} is no OBIS code; write six numbers from 0 to 255, as in 8.0.1.0.0.255.")


def text(logical_name: bytes) -> str:
    """6 bytes as `"0.0.1.0.0.255"`."""
    return ".".join(map(str, logical_name))

"""What the decoder says about a record that no meter has sent yet: one made-up telegram for each question.

So a mapping file is checked and written with the decoder's own tables, and cannot disagree with them.
"""

from __future__ import annotations

from core.mbus.telegram import Record, TelegramError, decode

_HEADER = bytes.fromhex(
    "080172" + "78563412" + "24400107" + "00000000"
)  # an 8-digit id, PAD, version 1, water
_LENGTHS = {
    1: 1,
    2: 2,
    3: 3,
    4: 4,
    5: 4,
    6: 6,
    7: 8,
    9: 1,
    10: 2,
    11: 3,
    12: 4,
    14: 6,
}  # of data, by data field
_LVAR = 0x0D
_PLAIN_TEXT_VIF = (0x7C, 0xFC)


def record_for(dib: bytes) -> Record | None:
    """The record that these DIF and VIF bytes announce, its data all zero; None if they announce none."""
    field = dib[0] & 0x0F if dib else 0
    if field in _LENGTHS:
        data = bytes(_LENGTHS[field])
    elif field == _LVAR:
        data = b"\x00"
    else:
        return None
    content = _HEADER + _with_text(dib) + data
    if len(content) > 0xFF:
        return None
    size = len(content)
    frame = bytes((0x68, size, size, 0x68)) + content + bytes((sum(content) & 0xFF, 0x16))
    try:
        records = decode(frame).records
    except TelegramError:
        return None
    return records[0] if len(records) == 1 and records[0].dib == dib.hex() else None


def _with_text(dib: bytes) -> bytes:
    """With the length byte of an empty text behind a plain-text VIF, which a DIB in a key does not have."""
    vif = next((i + 1 for i, byte in enumerate(dib) if not byte & 0x80), len(dib))
    if dib[vif : vif + 1] and dib[vif] in _PLAIN_TEXT_VIF:
        return dib[: vif + 1] + b"\x00" + dib[vif + 1 :]
    return dib

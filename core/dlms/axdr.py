"""A-XDR for COSEM data: encoders for the hot paths, and a decoder that no input can make run away.

Source: IEC 61334-6 (A-XDR), Green Book 9.5 (the `Data` CHOICE and its tags). Everything works on complete
`bytes`; nothing here does I/O. Encoders return the tag and the contents.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple

from core.dlms.errors import DecodeError, EncodeError

MAX_DEPTH = 16  # of arrays and structures inside each other


class Tag(IntEnum):
    """Tags of the `Data` CHOICE that this codec knows (Green Book 9.5)."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27


class Value(NamedTuple):
    """Decoded data. `content` is None, bool, int, float, bytes (octet-string, date-time, date, time), str
    (visible-string, utf8-string, bit-string as "0" and "1") or a list of `Value` (array, structure)."""

    tag: Tag
    content: bool | int | float | bytes | str | list[Value] | None


NULL = b"\x00"


def length(count: int) -> bytes:
    """A-XDR length or count: one byte below 128, else 8x and x bytes, big-endian."""
    if count < 0x80:
        return bytes((count,))
    size = (count.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + count.to_bytes(size, "big")


def _packer(tag: Tag, form: str, name: str) -> Callable[[float], bytes]:
    pack = struct.Struct(">B" + form).pack
    number = int(tag)

    def encode(value: float) -> bytes:
        try:
            return pack(number, value)
        except (struct.error, OverflowError):
            raise EncodeError(
                f"{value!r} does not fit into the data type {name}; choose a larger one."
            ) from None

    encode.__doc__ = f"Encode {name}. Raises `EncodeError` if the number does not fit."
    return encode


integer = _packer(Tag.INTEGER, "b", "integer (8 bits)")
unsigned = _packer(Tag.UNSIGNED, "B", "unsigned (8 bits)")
long = _packer(Tag.LONG, "h", "long (16 bits)")
long_unsigned = _packer(Tag.LONG_UNSIGNED, "H", "long-unsigned (16 bits)")
double_long = _packer(Tag.DOUBLE_LONG, "i", "double-long (32 bits)")
double_long_unsigned = _packer(Tag.DOUBLE_LONG_UNSIGNED, "I", "double-long-unsigned (32 bits)")
long64 = _packer(Tag.LONG64, "q", "long64 (64 bits)")
long64_unsigned = _packer(Tag.LONG64_UNSIGNED, "Q", "long64-unsigned (64 bits)")
enum = _packer(Tag.ENUM, "B", "enum (8 bits)")
bcd = _packer(Tag.BCD, "B", "bcd (8 bits)")
float32 = _packer(Tag.FLOAT32, "f", "float32")
float64 = _packer(Tag.FLOAT64, "d", "float64")


def boolean(value: bool) -> bytes:
    """Encode boolean; true is FF, as the Green Book's examples have it."""
    return b"\x03\xff" if value else b"\x03\x00"


def octet_string(value: bytes) -> bytes:
    """Encode octet-string."""
    return b"\x09" + length(len(value)) + value


def visible_string(text: str) -> bytes:
    """Encode visible-string; the length counts bytes, so that text beyond ASCII (as UTF-8) stays whole."""
    value = text.encode()
    return b"\x0a" + length(len(value)) + value


def utf8_string(text: str) -> bytes:
    """Encode utf8-string; the length counts bytes."""
    value = text.encode()
    return b"\x0c" + length(len(value)) + value


def bit_string(bits: str) -> bytes:
    """Encode bit-string from "0" and "1", first bit first; the length counts bits."""
    packed = int(bits.ljust((len(bits) + 7) // 8 * 8, "0") or "0", 2).to_bytes((len(bits) + 7) // 8, "big")
    return b"\x04" + length(len(bits)) + packed


def date_time(value: bytes) -> bytes:
    """Encode 12 bytes of COSEM date-time as an octet-string, the form that attributes have."""
    return b"\x09\x0c" + value


def structure(*elements: bytes) -> bytes:
    """Encode a structure of encoded elements."""
    return b"\x02" + length(len(elements)) + b"".join(elements)


def array(elements: Iterable[bytes]) -> bytes:
    """Encode an array of encoded elements."""
    items = elements if isinstance(elements, list | tuple) else list(elements)
    return b"\x01" + length(len(items)) + b"".join(items)


def decode(data: bytes) -> Value:
    """Decode one value that takes all of `data`. Raises `DecodeError`, also for bytes that are left over."""
    value, end = decode_from(data, 0)
    if end != len(data):
        raise DecodeError(f"{len(data) - end} bytes too many follow the value that ends at offset {end}.")
    return value


def decode_from(data: bytes, offset: int, depth: int = MAX_DEPTH) -> tuple[Value, int]:
    """Decode the value at `offset`; returns it and the offset behind it. Raises `DecodeError`."""
    if offset >= len(data):
        raise DecodeError(f"The data ends at offset {offset}, where a value should start.")
    tag = data[offset]
    offset += 1
    fixed = _FIXED.get(tag)
    if fixed is not None:
        end = offset + fixed.size
        if end > len(data):
            raise DecodeError(
                f"A value of {fixed.size} bytes at offset {offset} goes beyond the end of the data."
            )
        (content,) = fixed.unpack_from(data, offset)
        return Value(Tag(tag), content), end
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        if depth <= 0:
            raise DecodeError(
                f"Arrays and structures are nested deeper than {MAX_DEPTH} at offset {offset - 1}."
            )
        count, offset = decode_length(data, offset)
        if count > len(data) - offset:
            raise DecodeError(f"{count} elements are announced at offset {offset}, more than bytes are left.")
        items: list[Value] = []
        for _ in range(count):
            item, offset = decode_from(data, offset, depth - 1)
            items.append(item)
        return Value(Tag(tag), items), offset
    if tag == Tag.NULL:
        return Value(Tag.NULL, None), offset
    return _decode_sized(data, tag, offset)


def decode_length(data: bytes, offset: int) -> tuple[int, int]:
    """Decode a length or count of at most 4 bytes; returns it and the offset behind. Raises `DecodeError`."""
    if offset >= len(data):
        raise DecodeError(f"The data ends at offset {offset}, where a length should stand.")
    first = data[offset]
    offset += 1
    if first < 0x80:
        return first, offset
    size = first & 0x7F
    if not 1 <= size <= 4 or offset + size > len(data):
        raise DecodeError(f"The length at offset {offset - 1} is not valid.")
    return int.from_bytes(data[offset : offset + size], "big"), offset + size


def elements(data: bytes) -> list[bytes]:
    """The encoded elements of one encoded array or structure, undecoded. Raises `DecodeError`."""
    if not data or data[0] not in (Tag.ARRAY, Tag.STRUCTURE):
        raise DecodeError("An array or structure was expected.")
    count, offset = decode_length(data, 1)
    parts: list[bytes] = []
    for _ in range(min(count, len(data))):
        end = _end_of(data, offset, MAX_DEPTH)
        parts.append(data[offset:end])
        offset = end
    if len(parts) != count or offset != len(data):
        raise DecodeError("The elements do not fill the array or structure.")
    return parts


_FIXED: dict[int, struct.Struct] = {
    Tag.BOOLEAN: struct.Struct(">?"),
    Tag.DOUBLE_LONG: struct.Struct(">i"),
    Tag.DOUBLE_LONG_UNSIGNED: struct.Struct(">I"),
    Tag.BCD: struct.Struct(">B"),
    Tag.INTEGER: struct.Struct(">b"),
    Tag.LONG: struct.Struct(">h"),
    Tag.UNSIGNED: struct.Struct(">B"),
    Tag.LONG_UNSIGNED: struct.Struct(">H"),
    Tag.LONG64: struct.Struct(">q"),
    Tag.LONG64_UNSIGNED: struct.Struct(">Q"),
    Tag.ENUM: struct.Struct(">B"),
    Tag.FLOAT32: struct.Struct(">f"),
    Tag.FLOAT64: struct.Struct(">d"),
    Tag.DATE_TIME: struct.Struct(">12s"),
    Tag.DATE: struct.Struct(">5s"),
    Tag.TIME: struct.Struct(">4s"),
}


def _decode_sized(data: bytes, tag: int, offset: int) -> tuple[Value, int]:
    if tag not in (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING, Tag.BIT_STRING):
        raise DecodeError(f"The data type {tag} at offset {offset - 1} is not known.")
    count, offset = decode_length(data, offset)
    end = offset + ((count + 7) // 8 if tag == Tag.BIT_STRING else count)
    if end > len(data):
        raise DecodeError(f"A string at offset {offset} goes beyond the end of the data.")
    raw = data[offset:end]
    if tag == Tag.OCTET_STRING:
        return Value(Tag.OCTET_STRING, raw), end
    if tag == Tag.BIT_STRING:
        bits = f"{int.from_bytes(raw, 'big'):0{len(raw) * 8}b}"[:count] if raw else ""
        return Value(Tag.BIT_STRING, bits), end
    try:
        return Value(Tag(tag), raw.decode()), end
    except UnicodeDecodeError:
        raise DecodeError(f"The text at offset {offset} is no text.") from None


def _end_of(data: bytes, offset: int, depth: int) -> int:
    if offset >= len(data):
        raise DecodeError(f"The data ends at offset {offset}, where a value should start.")
    tag = data[offset]
    fixed = _FIXED.get(tag)
    if fixed is not None:
        end = offset + 1 + fixed.size
    elif tag == Tag.NULL:
        end = offset + 1
    elif tag in (Tag.ARRAY, Tag.STRUCTURE):
        count, end = decode_length(data, offset + 1)
        if depth <= 0 or count > len(data) - end:
            raise DecodeError(f"The array or structure at offset {offset} is not valid.")
        for _ in range(count):
            end = _end_of(data, end, depth - 1)
    else:
        return _decode_sized(data, tag, offset + 1)[1]
    if end > len(data):
        raise DecodeError(f"The value at offset {offset} goes beyond the end of the data.")
    return end

"""Tampers with bytes as transmission errors, broken clients and attackers do; the same chance gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

LONGEST = 8192  # bytes; the server takes no longer APDU

_TELLING = (0x00, 0x01, 0x02, 0x0F, 0x10, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xC0, 0xE0, 0xFE, 0xFF)
_LENGTHS = tuple(
    bytes.fromhex(text)
    for text in (
        "00", "01", "7f", "80", "81", "82", "84", "ff", "8100", "817f", "8180", "81ff", "820001", "82ffff",
        "830fffff", "8400000001", "847fffffff", "84ffffffff", "850000000001", "88ffffffffffffffff",
    )
)  # fmt: skip
_LAYERS = ("0101", "0201", "027f", "a080", "300a", "6080", "04820400")
_DEPTHS = (1, 2, 15, 16, 17, 40, 400, 2000)
_TAGS = bytes.fromhex("60 61 62 63 be a6 ac 8a c0 c1 c3 c4 c8 cb d0 d3 d8 db dc dd e0 0e 0f 01 08 21 28")


def mutate(data: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    """`data` changed once or a few times, seldom to itself; `others` are what it can be spliced with. Never empty."""
    for _ in range(chance.choice((1, 1, 1, 1, 2, 2, 3, 6))):
        data = chance.choice(_CHANGES)(data, others, chance)[:LONGEST] or b"\x00"
    return data


def _flip_bit(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes((data[place] ^ 1 << chance.randrange(8),)) + data[place + 1 :]


def _change_byte(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    place = chance.randrange(len(data))
    value = chance.choice((chance.choice(_TELLING), chance.randrange(256), (data[place] + 1) % 256))
    return data[:place] + bytes((value,)) + data[place + 1 :]


def _change_tag(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    return bytes((chance.choice(_TAGS),)) + data[1:]


def _cut_short(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _remove(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + data[place + chance.randrange(1, 9) :]


def _insert(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.choice((1, 1, 2, 4, 200))) + data[place:]


def _change_length(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    """Another length where one stands, or could."""
    places = [place for place in range(1, len(data)) if place + 1 + data[place] <= len(data)]
    exact = [place for place in places if place + 1 + data[place] == len(data)]
    place = chance.choice(chance.choice([found for found in (exact, places) if found] or [[0]]))
    return data[:place] + chance.choice(_LENGTHS) + data[place + 1 :]


def _relength(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    """More data behind, with the last length that covers them adjusted: still right, one level up it is not."""
    exact = [place for place in range(1, len(data)) if place + 1 + data[place] == len(data)]
    more = chance.randbytes(chance.randrange(1, 40))
    if not exact:
        return data + more
    place = chance.choice(exact)
    return data[:place] + bytes((min(0x7F, data[place] + len(more)),)) + data[place + 1 :] + more


def _nest(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    layers = bytes.fromhex(chance.choice(_LAYERS)) * chance.choice(_DEPTHS)
    return data[:place] + layers + data[chance.choice((place, len(data))) :]


def _repeat(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    """A field, or what stands where one could, comes twice or many times."""
    start = chance.randrange(len(data))
    end = start + chance.randrange(1, 1 + min(40, len(data) - start))
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 50)) + data[end:]


def _swap(data: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    first, second = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    size = min(chance.randrange(1, 12), second - first)
    return (
        data[:first]
        + data[second : second + size]
        + data[first + size : second]
        + data[first : first + size]
        + data[second + size :]
    )


def _splice(data: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


def _concatenate(data: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    return data + chance.choice(others)


_CHANGES: tuple[Callable[[bytes, Sequence[bytes], Random], bytes], ...] = (
    _flip_bit, _flip_bit, _change_byte, _change_byte, _change_tag, _cut_short, _remove, _insert, _change_length,
    _change_length, _relength, _nest, _repeat, _swap, _splice, _concatenate,
)  # fmt: skip

"""A telegram's structure, worked out once: a meter always sends the same, so only values are read anew."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from itertools import repeat
from math import isfinite
from operator import itemgetter
from typing import Any, Final, Literal

from core.mbus import values
from core.mbus.record import Record, Template
from core.mbus.values import EXACT, Coding, RawValue, bcd

_INTEGERS: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_SUSPECTS: Final = values.INVALID_CODES | {None}


class Layout:
    """Where everything is in a telegram of one structure. Telegrams of the same structure share one object.

    It is compared by identity, so it serves as a key for what depends on the structure alone.
    """

    __slots__ = (
        "_bcd",
        "_converted",
        "_invalid",
        "_msb_first",
        "_numeric",
        "_pick",
        "_reals",
        "_scales",
        "_unpack",
        "_valueless",
        "header_offset",
        "mask",
        "more_follows",
        "pattern",
        "size",
        "structure",
        "templates",
    )

    def __init__(
        self,
        structure: str,
        body: bytes,
        structural: set[int],
        *,
        header_offset: int,
        templates: tuple[Template, ...] = (),
        more_follows: bool = False,
        msb_first: bool = False,
    ) -> None:
        self.structure = structure
        self.size = len(body)
        self.header_offset = header_offset
        self.templates = templates
        self.more_follows = more_follows
        self.mask = int.from_bytes(bytes(255 if n in structural else 0 for n in range(self.size)), "little")
        self.pattern = int.from_bytes(body, "little") & self.mask
        self._msb_first = msb_first
        self._bcd: list[tuple[int, slice]] = []
        self._reals: list[tuple[int, Decimal]] = []
        self._converted: list[tuple[int, Callable[[Any], RawValue]]] = []
        self._numeric: list[int] = []
        self._scales: list[Decimal] = []
        self._invalid: list[int | None] = []
        self._valueless: list[int] = []
        self._unpack = struct.Struct(self._compile()).unpack
        self._pick = _picker(self._numeric)

    def read(self, body: bytes) -> tuple[Record, ...]:
        """All records of a telegram that has this structure."""
        raws: list[Any] = list(self._unpack(body))
        suspect = bool(self._valueless)
        if self._bcd:
            digits = body.hex() if self._msb_first else body[::-1].hex()
            try:
                for n, place in self._bcd:
                    raws[n] = int(digits[place])
            except ValueError:  # a sign or an error digit, in one of them at least
                suspect = True
                for n, place in self._bcd:
                    raws[n] = bcd(digits[place])
        for n, convert in self._converted:
            raws[n] = convert(raws[n])
        numbers = self._pick(raws)
        if suspect or not _SUSPECTS.isdisjoint(numbers):
            self._drop_invalid(raws)
            scaled: Iterable[RawValue | Decimal] = map(_scale, self._scales, self._pick(raws))
        else:
            scaled = map(EXACT.multiply, self._scales, numbers)
        results = raws.copy()
        for n, value in zip(self._numeric, scaled, strict=True):
            results[n] = value
        for n, scale in self._reals:
            if isfinite(raws[n]):
                results[n] = EXACT.multiply(scale, Decimal(values.shortest(raws[n])))
            else:
                raws[n] = results[n] = None
        return tuple(map(Record, zip(self.templates, raws, results, repeat(body))))

    def _drop_invalid(self, raws: list[Any]) -> None:
        """Put None for every number that stands for "not available"."""
        for n, bad in zip(self._numeric, self._invalid, strict=True):
            if raws[n] == bad:
                raws[n] = None
        for n in self._valueless:
            raws[n] = None

    def _compile(self) -> str:
        """Choose how each value is read; returns the `struct` format that takes them all out of a frame."""
        codes = [">" if self._msb_first else "<"]
        at = 0
        for template in self.templates:
            codes.append(f"{template.data_offset - at}x{self._plan(template)}")
            at = template.data_offset + template.data_length
        codes.append(f"{self.size - at}x")
        return "".join(codes)

    def _plan(self, template: Template) -> str:
        """The `struct` code that takes one value out of a frame; notes the steps that make a number of it."""
        n, size, coding = template.index, template.data_length, template.coding
        if template.error:
            self._valueless.append(n)
            self._converted.append((n, _nothing))
            return f"{size}s"
        match coding:
            case Coding.SIGNED | Coding.OPAQUE | Coding.UNSIGNED | Coding.BITS:
                self._add_number(template, values.invalid_code(coding, size))
                signed = coding in (Coding.SIGNED, Coding.OPAQUE)
                if size in _INTEGERS:
                    return _INTEGERS[size] if signed else _INTEGERS[size].upper()
                order: Literal["big", "little"] = "big" if self._msb_first else "little"
                self._converted.append((n, partial(int.from_bytes, byteorder=order, signed=signed)))
                return f"{size}s"
            case Coding.BCD:
                self._add_number(template, None)
                start, stop = template.data_offset, template.data_offset + size
                if not self._msb_first:
                    start, stop = self.size - stop, self.size - start
                self._bcd.append((n, slice(2 * start, 2 * stop)))
                return f"0s{size}x"
            case Coding.NEGATIVE_BCD:
                self._add_number(template, None)
            case Coding.REAL:
                self._reals.append((n, template.scale))
                return "f"
            case Coding.DATE:
                self._converted.append((n, values.date_g))
                return "H"
            case Coding.DATETIME:
                self._converted.append((n, values.datetime_f))
                return "I"
            case Coding.BYTES:
                return f"{size}s"
        self._converted.append((n, _reader(coding, msb_first=template.msb_first)))
        return f"{size}s"

    def _add_number(self, template: Template, invalid: int | None) -> None:
        self._numeric.append(template.index)
        self._scales.append(template.scale)
        self._invalid.append(invalid)


def _picker(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """A function that takes the items at `places` out of a list."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda items: tuple(items[n] for n in places)


def _scale(scale: Decimal, raw: int | None) -> Decimal | None:
    return None if raw is None else EXACT.multiply(scale, raw)


def _nothing(_data: bytes) -> None:
    return None


def _reader(coding: Coding, *, msb_first: bool) -> Callable[[bytes], RawValue]:
    read = values.READERS.get(coding) or (lambda data: values.read(coding, data).raw)
    return (lambda data: read(data[::-1])) if msb_first else read


class LayoutCache:
    """Layouts by manufacturer, version and medium of a frame; bounded, what goes unused is forgotten.

    Plain dictionary operations only, so that threads can share it without a lock.
    """

    def __init__(self, generation: int = 1024) -> None:
        self._generation = generation
        self._young: dict[bytes, tuple[Layout, ...]] = {}
        self._old: dict[bytes, tuple[Layout, ...]] = {}
        self._shared: dict[tuple[int, int, int], Layout] = {}

    def find(self, body: bytes) -> Layout | None:
        """The layout whose structure `body` has, None if it is not known. It says nothing of the checksum."""
        key = body[11:15]
        layouts = self._young.get(key)
        if layouts is None:
            layouts = self._old.get(key)
            if layouts is None:
                return None
            self._remember(key, layouts)
        size = len(body)
        number = int.from_bytes(body, "little")
        for layout in layouts:
            if layout.size == size and number & layout.mask == layout.pattern:
                return layout
        return None

    def share(self, layout: Layout, body: bytes) -> Layout:
        """Remember a layout for frames that look like `body`; returns the one that all such frames share."""
        if len(self._shared) >= 4 * self._generation:
            self._shared = {}
        layout = self._shared.setdefault((layout.size, layout.mask, layout.pattern), layout)
        key = body[11:15]
        known = self._young.get(key, ())
        if layout not in known:
            self._remember(key, (layout, *known[:15]))
        return layout

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._shared = {}, {}, {}

    def _remember(self, key: bytes, layouts: tuple[Layout, ...]) -> None:
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        self._young[key] = layouts

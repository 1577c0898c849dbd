"""A telegram's structure, worked out once: a meter sends the same one every time, so only values are read anew."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from itertools import repeat
from math import isfinite
from operator import eq
from typing import Any, Final, cast

from core.mbus import values
from core.mbus.record import Record, Template
from core.mbus.values import Coding, RawValue, bcd

_SIGNED: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_make_record = cast("Callable[[tuple[Template, RawValue, bytes]], Record]", partial(tuple.__new__, Record))


class Layout:
    """Where everything is in a telegram of one structure. Telegrams of the same structure share one object.

    It is compared by identity, so it serves as a key for what depends on the structure alone.
    """

    __slots__ = (
        "_bcd",
        "_converted",
        "_invalid",
        "_msb_first",
        "_reals",
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
        self._reals: list[int] = []
        self._converted: list[tuple[int, Callable[[bytes], RawValue] | Callable[[int], RawValue]]] = []
        self._valueless: list[int] = [template.index for template in templates if template.error]
        self._invalid: tuple[int | None, ...] | None = None
        self._unpack = struct.Struct(self._compile()).unpack

    def matches(self, body: bytes) -> bool:
        """Whether `body`, of this layout's size, has this structure."""
        return int.from_bytes(body, "little") & self.mask == self.pattern

    def read(self, body: bytes) -> tuple[Record, ...]:
        """All records of a telegram that has this structure."""
        raws: list[Any] = list(self._unpack(body))
        if self._bcd:
            digits = body.hex() if self._msb_first else body[::-1].hex()
            try:
                for n, place in self._bcd:
                    raws[n] = int(digits[place])
            except ValueError:  # a sign or an error digit, in one of them at least
                for n, place in self._bcd:
                    raws[n] = bcd(digits[place])
        for n, convert in self._converted:
            raws[n] = convert(raws[n])
        if self._invalid is not None and True in map(eq, raws, self._invalid):
            raws = [None if raw == bad else raw for raw, bad in zip(raws, self._invalid, strict=True)]
        for n in self._reals:
            if not isfinite(raws[n]):
                raws[n] = None
        for n in self._valueless:
            raws[n] = None
        return tuple(map(_make_record, zip(self.templates, raws, repeat(body))))  # noqa: B905  # repeat has no end

    def _compile(self) -> str:
        """Choose how each value is read; returns the `struct` format that takes all of them out of a frame."""
        codes = [">" if self._msb_first else "<"]
        invalid: list[int | None] = []
        at = 0
        for template in self.templates:
            codes.append(f"{template.data_offset - at}x")
            code, bad = self._plan(template)
            codes.append(code)
            invalid.append(bad)
            at = template.data_offset + template.data_length
        codes.append(f"{self.size - at}x")
        if any(bad is not None for bad in invalid):
            self._invalid = tuple(invalid)
        return "".join(codes)

    def _plan(self, template: Template) -> tuple[str, int | None]:
        """The `struct` code of one value, and the integer that means "not available"; notes further steps."""
        n, size, coding = template.index, template.data_length, template.coding
        start, stop = template.data_offset, template.data_offset + size
        match coding:
            case Coding.BCD:
                place = (start, stop) if self._msb_first else (self.size - stop, self.size - start)
                self._bcd.append((n, slice(2 * place[0], 2 * place[1])))
                return f"0s{size}x", None
            case Coding.SIGNED if size in _SIGNED:
                return _SIGNED[size], -1 << (8 * size - 1)
            case Coding.OPAQUE if size in _SIGNED:
                return _SIGNED[size], None
            case Coding.UNSIGNED if size in _SIGNED:
                return _SIGNED[size].upper(), (1 << 8 * size) - 1 if size > 1 else None
            case Coding.BITS if size in _SIGNED:
                return _SIGNED[size].upper(), None
            case Coding.REAL:
                self._reals.append(n)
                return "f", None
            case Coding.DATE:
                self._converted.append((n, values.date_g))
                return "H", None
            case Coding.DATETIME:
                self._converted.append((n, values.datetime_f))
                return "I", None
            case _:
                self._converted.append((n, self._reader(coding)))
                return f"{size}s", None

    def _reader(self, coding: Coding) -> Callable[[bytes], RawValue]:
        if self._msb_first:
            return lambda data: values.read(coding, data[::-1]).raw
        return lambda data: values.read(coding, data).raw


class LayoutCache:
    """Layouts by the look of a frame, bounded: what was not used for two generations is forgotten.

    Plain dictionary operations only, so that threads can share it without a lock.
    """

    def __init__(self, generation: int = 1024) -> None:
        self._generation = generation
        self._young: dict[bytes, tuple[Layout, ...]] = {}
        self._old: dict[bytes, tuple[Layout, ...]] = {}
        self._shared: dict[tuple[int, int, int], Layout] = {}

    def find(self, body: bytes) -> Layout | None:
        """The layout whose structure `body` has, None if it is not known. It says nothing of the checksum."""
        key = body[1:2] + body[6:7] + body[11:15]
        layouts = self._young.get(key)
        if layouts is None:
            layouts = self._old.get(key)
            if layouts is None:
                return None
            self._remember(key, layouts)
        size = len(body)
        number = int.from_bytes(body, "little")
        for layout in layouts:
            if number & layout.mask == layout.pattern and layout.size == size:
                return layout
        return None

    def share(self, layout: Layout, body: bytes) -> Layout:
        """Remember a layout for frames that look like `body`; returns the one that all of this structure share."""
        if len(self._shared) >= 4 * self._generation:
            self._shared = {}
        layout = self._shared.setdefault((layout.size, layout.mask, layout.pattern), layout)
        key = body[1:2] + body[6:7] + body[11:15]
        known = self._young.get(key, ())
        if layout not in known:
            self._remember(key, (layout, *known[:7]))
        return layout

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._shared = {}, {}, {}

    def _remember(self, key: bytes, layouts: tuple[Layout, ...]) -> None:
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        self._young[key] = layouts

"""A telegram's structure, worked out once: a meter always sends the same, so only values are read anew."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from itertools import repeat
from math import isfinite
from operator import call, itemgetter
from typing import Any, Final, Literal, TypeAlias

from core.mbus import values
from core.mbus.record import Record, Template
from core.mbus.values import EXACT, Coding, RawValue, bcd

_Plan: TypeAlias = tuple[Template, str, Callable[[Any], RawValue]]
"""A record, the `struct` code that takes its bytes out of a frame, and what makes a value of them."""

_INTEGERS: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_INTEGER_CODINGS: Final = frozenset({Coding.SIGNED, Coding.OPAQUE, Coding.UNSIGNED, Coding.BITS})
_SUSPECTS: Final = values.INVALID_CODES | {None}


class _Group:
    """Values that one `struct` takes out of a frame at once, with their templates and a reader for each."""

    __slots__ = ("readers", "templates", "unpack")

    def __init__(self, plan: list[_Plan], size: int, order: str) -> None:
        codes, at = [order], 0
        for template, code, _ in plan:
            codes.append(f"{template.data_offset - at}x{code}")
            at = template.data_offset + template.data_length
        self.unpack = struct.Struct("".join(codes) + f"{size - at}x").unpack
        self.templates = [template for template, _, _ in plan]
        self.readers = [reader for _, _, reader in plan]


class Layout:
    """Where everything is in a telegram of one structure. Telegrams of the same structure share one object.

    It is compared by identity, so it serves as a key for what depends on the structure alone.
    """

    __slots__ = (
        "_bcd",
        "_integers",
        "_invalid",
        "_msb_first",
        "_numbers",
        "_odd",
        "_reals",
        "_rest",
        "_scales",
        "_sort",
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
        self._compile()

    def read(self, body: bytes) -> tuple[Record, ...]:
        """All records of a telegram that has this structure."""
        numbers: tuple[Any, ...] = self._integers.unpack(body)
        if self._bcd:
            digits = body.hex() if self._msb_first else body[::-1].hex()
            try:
                numbers += tuple([int(digits[place]) for place in self._bcd])
            except ValueError:  # a sign or an error digit, in one of them at least
                numbers += tuple([bcd(digits[place]) for place in self._bcd])
        if self._odd.templates:
            numbers += tuple(map(call, self._odd.readers, self._odd.unpack(body)))
        if _SUSPECTS.isdisjoint(numbers):
            scaled: Iterable[Decimal | None] = map(EXACT.multiply, self._scales, numbers)
        else:
            numbers = tuple(map(_valid, numbers, self._invalid))
            scaled = map(_scale, self._scales, numbers)
        records = list(map(Record, zip(self._numbers, numbers, scaled, repeat(body))))
        if self._reals.templates:
            reals = [real if isfinite(real) else None for real in self._reals.unpack(body)]
            decimals = map(_scale_real, self._reals.templates, reals)
            records += map(Record, zip(self._reals.templates, reals, decimals, repeat(body)))
        if self._rest.templates:
            rest = list(map(call, self._rest.readers, self._rest.unpack(body)))
            records += map(Record, zip(self._rest.templates, rest, rest, repeat(body)))
        return self._sort(records)

    def _compile(self) -> None:
        """Sort the records by how they are read: each kind is then read in one go."""
        size, order = self.size, ">" if self._msb_first else "<"
        integers: list[_Plan] = []
        odd: list[_Plan] = []
        reals: list[_Plan] = []
        rest: list[_Plan] = []
        digits: list[Template] = []
        for template in self.templates:
            coding, length = template.coding, template.data_length
            if template.error:
                rest.append((template, f"{length}s", _nothing))
            elif coding in _INTEGER_CODINGS:
                signed = coding in (Coding.SIGNED, Coding.OPAQUE)
                if length in _INTEGERS:
                    code = _INTEGERS[length] if signed else _INTEGERS[length].upper()
                    integers.append((template, code, _as_it_is))
                else:
                    byte_order: Literal["big", "little"] = "big" if self._msb_first else "little"
                    reader = partial(int.from_bytes, byteorder=byte_order, signed=signed)
                    odd.append((template, f"{length}s", reader))
            elif coding is Coding.BCD:
                digits.append(template)
            elif coding is Coding.NEGATIVE_BCD:
                odd.append((template, f"{length}s", _reader(coding, msb_first=template.msb_first)))
            elif coding is Coding.REAL:
                reals.append((template, "f", _as_it_is))
            elif coding is Coding.DATE:
                rest.append((template, "H", values.date_g))
            elif coding is Coding.DATETIME:
                rest.append((template, "I", values.datetime_f))
            else:
                rest.append((template, f"{length}s", _reader(coding, msb_first=template.msb_first)))
        self._integers, self._odd = _Group(integers, size, order), _Group(odd, size, order)
        self._reals, self._rest = _Group(reals, size, order), _Group(rest, size, order)
        self._bcd = [self._digits_of(template) for template in digits]
        self._numbers = [*self._integers.templates, *digits, *self._odd.templates]
        self._scales = [template.scale for template in self._numbers]
        self._invalid = [
            values.invalid_code(template.coding, template.data_length) for template in self._numbers
        ]
        self._sort = _sorter([*self._numbers, *self._reals.templates, *self._rest.templates])

    def _digits_of(self, template: Template) -> slice:
        """Where the digits of a BCD number are in the hex digits of a frame, turned round if sent LSB first."""
        start, stop = template.data_offset, template.data_offset + template.data_length
        if not self._msb_first:
            start, stop = self.size - stop, self.size - start
        return slice(2 * start, 2 * stop)


def _sorter(templates: list[Template]) -> Callable[[list[Record]], tuple[Record, ...]]:
    """A function that puts records, read in the order of `templates`, into their order in the telegram."""
    places = sorted(range(len(templates)), key=lambda n: templates[n].index)
    return tuple if places == list(range(len(places))) else itemgetter(*places)


def _reader(coding: Coding, *, msb_first: bool) -> Callable[[bytes], RawValue]:
    if coding is Coding.BYTES:
        return _as_it_is
    read = values.READERS.get(coding) or (lambda data: values.read(coding, data).raw)
    return (lambda data: read(data[::-1])) if msb_first else read


def _valid(number: int | None, invalid: int | None) -> int | None:
    return None if number == invalid else number


def _scale(scale: Decimal, number: int | None) -> Decimal | None:
    return None if number is None else EXACT.multiply(scale, number)


def _scale_real(template: Template, real: float | None) -> Decimal | None:
    return None if real is None else EXACT.multiply(template.scale, Decimal(values.shortest(real)))


def _nothing(_data: bytes) -> None:
    return None


def _as_it_is(value: Any) -> Any:
    return value


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

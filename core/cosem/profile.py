"""Profile generic (Blue Book 4.3.6): rows of values, read whole, by range of time, or by entry.

Rows come encoded from a `RowSource` and leave as they are: an answer of 1000 rows is a join. Only a choice of
columns looks into them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from inspect import isawaitable
from typing import ClassVar, Final, NamedTuple, ParamSpec, Protocol, TypeVar

from core.cosem import datetime as cosem_time
from core.cosem.base import Context, CosemObject, DataAccessError, Selector
from core.cosem.clock import CLOCK_NAME
from core.dlms.axdr import (
    NULL,
    Tag,
    Value,
    array,
    double_long_unsigned,
    elements,
    enum,
    integer,
    length,
    long_unsigned,
    octet_string,
    structure,
)
from core.dlms.errors import DecodeError
from core.dlms.xdlms import DataAccessResult
from core.errors import CmeError

MOST_ROWS = 1000  # of one answer; the newest of the selection
BY_RANGE = 1
BY_ENTRY = 2
SORT_FIFO = 1
CLOCK_CLASS = 8

_SLICE: Final = 50  # rows taken apart between two looks at the event loop, about 1 ms

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class CaptureObject(NamedTuple):
    """One column: the attribute it was captured from."""

    class_id: int
    logical_name: bytes
    attribute: int
    data_index: int = 0

    def encode(self) -> bytes:
        """Encode capture_object_definition."""
        return structure(
            long_unsigned(self.class_id),
            octet_string(self.logical_name),
            integer(self.attribute),
            long_unsigned(self.data_index),
        )


_NO_SORT_OBJECT: Final = CaptureObject(0, bytes(6), 0).encode()  # rows stand in the order in which they came


class RowSource(Protocol):
    """What a profile shows. Rows are encoded structures (tag, count, one value a column), oldest first.

    What is asked may raise `CmeError`: the client then gets temporary-failure.
    """

    def columns(self) -> Sequence[CaptureObject]: ...

    def capture_period(self) -> int:
        """Seconds between two rows; 0 where an event makes a row."""

    def capacity(self) -> int:
        """How many rows can be kept (attribute 8)."""

    def entries(self) -> int | Awaitable[int]:
        """How many rows there are (attribute 7)."""

    def rows(
        self, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[bytes] | Awaitable[list[bytes]]:
        """The newest `limit` rows with start <= time <= end, milliseconds UTC; None = open."""

    def rows_by_entry(self, first: int, last: int) -> list[bytes] | Awaitable[list[bytes]]:
        """Rows number `first` to `last`, both included, 1 = the oldest."""


class ProfileGeneric(CosemObject):
    """Class 7, version 1: buffer (2), capture objects (3), period (4), sort method FIFO (5), sort object (6,
    none), entries in use (7), profile entries (8). Methods reset and capture are not granted.

    To a client that has read other capture objects, or another scaler of one of them, than there are now, the buffer
    is refused with object-unavailable until it has read them again.
    """

    __slots__ = ("_rows", "_zone")

    class_id: ClassVar[int] = 7
    version: ClassVar[int] = 1
    method_count: ClassVar[int] = 2
    selectors: ClassVar[dict[int, tuple[int, ...]]] = {2: (BY_RANGE, BY_ENTRY)}

    def __init__(self, logical_name: bytes, source: RowSource, zone: tzinfo, *, public: bool = False) -> None:
        """`zone` is what a range without a deviation is meant in."""
        super().__init__(
            logical_name,
            (NULL, NULL, NULL, enum(SORT_FIFO), _NO_SORT_OBJECT, NULL, NULL),
            public=public,
        )
        self._rows = source
        self._zone = zone

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if attribute == 2:
            if self.misleads(context):
                raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
            return self._buffer(selector)
        if selector is None:
            if attribute == 3:
                context.explain(self, columns := self._encoded_columns())
                return columns
            if attribute == 4:
                return double_long_unsigned(self._rows.capture_period())
            if attribute == 7:
                return self._entries()
            if attribute == 8:
                return double_long_unsigned(self._rows.capacity())
        return super().read(attribute, selector, context)

    def misleads(self, context: Context) -> bool:
        """Whether columns, or scaler or unit of one of them, are others than this client has read."""
        if not context.learned:
            return False
        device = context.device
        objects = device.objects if device else {}
        captured = (objects.get((column.class_id, column.logical_name)) for column in self._rows.columns())
        return context.misleads(self, self._encoded_columns()) or any(
            item is not None and item.misleads(context) for item in captured
        )

    def _encoded_columns(self) -> bytes:
        return array([column.encode() for column in self._rows.columns()])

    async def _entries(self) -> bytes:
        return double_long_unsigned(await _settled(self._rows.entries))

    async def _buffer(self, selector: Selector | None) -> bytes:
        chosen: tuple[int, ...] | None = None
        if selector is None:
            rows = await _settled(self._rows.rows, None, None, MOST_ROWS)
        elif selector.kind == BY_RANGE:
            start_ms, end_ms, chosen = _range(selector.parameters, self._rows.columns(), self._zone)
            rows = await _settled(self._rows.rows, start_ms, end_ms, MOST_ROWS)
        elif selector.kind == BY_ENTRY:
            rows, chosen = await self._by_entry(selector.parameters)
        else:
            raise DataAccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        if chosen is not None:
            rows = await _choose(rows, chosen)
        return b"\x01" + length(len(rows)) + b"".join(rows)

    async def _by_entry(self, parameters: Value) -> tuple[list[bytes], tuple[int, ...] | None]:
        first, last, from_column, to_column = _numbers(parameters)
        count = len(self._rows.columns())
        to_column = to_column or count
        if first < 1 or not 1 <= from_column <= to_column <= count:
            raise DataAccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        entries = await _settled(self._rows.entries)
        last = min(last or entries, entries)
        first = max(first, last - MOST_ROWS + 1)
        chosen = None if (from_column, to_column) == (1, count) else tuple(range(from_column - 1, to_column))
        if first > last:
            return [], None
        return await _settled(self._rows.rows_by_entry, first, last), chosen


async def _settled(ask: Callable[P, T | Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
    """What the row source answers; temporary-failure where it cannot, such as for a disk that fails."""
    try:
        answer = ask(*args, **named)
        return await answer if isawaitable(answer) else answer
    except CmeError as error:
        _log.warning("The rows of a profile cannot be read: %s", error)
        raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE) from error


async def _choose(rows: list[bytes], chosen: tuple[int, ...]) -> list[bytes]:
    picked: list[bytes] = []
    for number, row in enumerate(rows):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        values = elements(row)
        picked.append(structure(*[values[index] for index in chosen]))
    return picked


def _range(
    parameters: Value, columns: Sequence[CaptureObject], zone: tzinfo
) -> tuple[int | None, int | None, tuple[int, ...] | None]:
    """Start, end and columns of a range_descriptor. Raises `DataAccessError`."""
    restricting, start, end, selected = _parts(parameters, 4)
    column = _column(restricting)
    if (column.class_id, column.logical_name, column.attribute) != (CLOCK_CLASS, CLOCK_NAME, 2):
        raise DataAccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    if selected.tag != Tag.ARRAY or not isinstance(selected.content, list):
        raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
    chosen: tuple[int, ...] | None = None
    if selected.content:
        if len(selected.content) > len(columns):
            raise DataAccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        places = {known: index for index, known in enumerate(columns)}
        try:
            chosen = tuple(places[_column(item)] for item in selected.content)
        except KeyError:
            raise DataAccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED) from None
    return _bound(start, zone, last=False), _bound(end, zone, last=True), chosen


def _bound(value: Value, zone: tzinfo, *, last: bool) -> int | None:
    if value.tag == Tag.NULL:
        return None
    if value.tag not in (Tag.OCTET_STRING, Tag.DATE_TIME) or not isinstance(value.content, bytes):
        raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
    try:
        return cosem_time.decode_bound(value.content, zone, last=last)
    except DecodeError:
        raise DataAccessError(DataAccessResult.TYPE_UNMATCHED) from None


def _parts(value: Value, count: int) -> list[Value]:
    if value.tag == Tag.STRUCTURE and isinstance(value.content, list) and len(value.content) == count:
        return value.content
    raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)


def _column(value: Value) -> CaptureObject:
    class_id, name, attribute, index = (part.content for part in _parts(value, 4))
    if (
        isinstance(class_id, int)
        and isinstance(name, bytes)
        and isinstance(attribute, int)
        and isinstance(index, int)
    ):
        return CaptureObject(class_id, name, attribute, index)
    raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)


def _numbers(value: Value) -> tuple[int, int, int, int]:
    """from_entry, to_entry, from_selected_value, to_selected_value of an entry_descriptor."""
    first, last, from_column, to_column = (_number(part) for part in _parts(value, 4))
    return first, last, from_column, to_column


def _number(value: Value) -> int:
    # The book has double-long-unsigned and long-unsigned; some head-ends send other integers.
    if isinstance(value.content, int) and not isinstance(value.content, bool):
        return value.content
    raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)

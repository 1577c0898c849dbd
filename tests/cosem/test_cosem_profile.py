"""Profile generic: which rows a selection gives, which selections are refused, and what a failing disk looks like."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from dlms_plant import CLOCK, FIRST_ROW_MS, PROFILE, STEP_MS, VOLUME, ZONE, Directory, Rows

from core.cosem import datetime as cosem_time
from core.cosem.objects import (
    CaptureObject,
    Context,
    DataAccessError,
    DataAccessResult,
    ProfileGeneric,
    RowSource,
    Selector,
)
from core.dlms import axdr
from core.dlms.axdr import Value
from core.store import StoreError

CONTEXT = Context(1, 1, "test", Directory())
CLOCK_COLUMN = CaptureObject(8, CLOCK, 2)
FIRST_REGISTER = CaptureObject(3, VOLUME[:4] + b"\x00\xff", 2)


async def read(source: RowSource, selector: Selector | None = None, attribute: int = 2) -> Value:
    answer = ProfileGeneric(PROFILE, source, ZONE).read(attribute, selector, CONTEXT)
    return axdr.decode(answer if isinstance(answer, bytes) else await answer)


async def numbers(source: RowSource, selector: Selector | None) -> list[int]:
    """The number of each row, from its first register."""
    value = await read(source, selector)
    return [item[1] // 10 for item in rows(value)]  # type: ignore[operator]


def rows(value: Value) -> list[list[object]]:
    assert isinstance(value.content, list)
    return [[cell.content for cell in row.content] for row in value.content if isinstance(row.content, list)]


def at(row: int) -> bytes:
    return axdr.date_time(cosem_time.encode(FIRST_ROW_MS + row * STEP_MS, ZONE))


def hexed(text: str) -> bytes:
    return axdr.octet_string(bytes.fromhex(text))


def by_range(
    start: bytes, end: bytes, chosen: Sequence[CaptureObject] = (), by: CaptureObject = CLOCK_COLUMN
) -> Selector:
    columns = axdr.array(item.encode() for item in chosen)
    return Selector(1, axdr.decode(axdr.structure(by.encode(), start, end, columns)))


def by_entry(first: int, last: int, from_column: int = 1, to_column: int = 0) -> Selector:
    entries = (axdr.double_long_unsigned(number) for number in (first, last))
    columns = (axdr.long_unsigned(number) for number in (from_column, to_column))
    return Selector(2, axdr.decode(axdr.structure(*entries, *columns)))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (at(10), at(12), range(10, 13)),
        (axdr.NULL, at(2), range(3)),  # open
        (at(1198), axdr.NULL, range(1198, 1200)),
        (hexed("ffffffffffffffffff8000ff"), at(2), range(3)),  # unspecified: open too
        (
            hexed("07e90214ff0107ffff8000ff"),
            hexed("07e90214ff0107ffff8000ff"),
            range(0),
        ),  # 01:07, no row then
        (
            hexed("07e90214ff010fffff8000ff"),
            hexed("07e90214ff010fffff8000ff"),
            range(1, 2),
        ),  # the minute 01:15
        (hexed("07e90214ff02ffffff8000ff"), hexed("07e90214ff02ffffff8000ff"), range(4, 8)),  # the hour
        (hexed("07e90215ffffffffff8000ff"), hexed("07e90215ffffffffff8000ff"), range(92, 188)),  # the day
        (hexed("07e902ffffffffffff8000ff"), hexed("07e902feffffffffff8000ff"), range(860)),  # the month
        (at(12), at(10), range(0)),  # the wrong way round
        (at(-5), at(-1), range(0)),
        (at(1200), axdr.NULL, range(0)),
    ],
)
async def test_a_range_is_of_time_with_both_ends(start: bytes, end: bytes, expected: range) -> None:
    """Fields that are left open stand for all that they can be; local time where the deviation is left open."""
    assert await numbers(Rows(1200), by_range(start, end)) == list(expected)[-1000:]


async def test_the_newest_thousand_are_given_oldest_first() -> None:
    """Whole, by range and by entry."""
    source = Rows(2500)
    newest = list(range(1500, 2500))
    assert await numbers(source, None) == newest
    assert await numbers(source, by_range(axdr.NULL, axdr.NULL)) == newest
    assert await numbers(source, by_entry(1, 0)) == newest
    assert await numbers(source, by_entry(1, 2000)) == list(range(1000, 2000))


async def test_a_profile_without_rows_is_an_empty_array() -> None:
    """However it is asked for."""
    for selector in (None, by_range(axdr.NULL, axdr.NULL), by_entry(1, 0), by_entry(1, 5, 2, 2)):
        assert (await read(Rows(0), selector)).content == []
    assert (await read(Rows(0), attribute=7)).content == 0


async def test_columns_are_chosen_by_object_or_by_number() -> None:
    """By range in the order that the client wants; by entry from one to another, 0 = the last."""
    time = cosem_time.encode(FIRST_ROW_MS, ZONE)
    source = Rows(3)
    got = await read(source, by_range(at(0), at(0), (FIRST_REGISTER, CLOCK_COLUMN)))
    assert rows(got) == [[1, time]]
    assert rows(await read(source, by_entry(1, 1, 1, 2))) == [[time, 1]]
    assert rows(await read(source, by_entry(2, 2, 2))) == [[11, 12]]


@pytest.mark.parametrize(
    ("selector", "code"),
    [
        (by_range(at(0), at(1), by=FIRST_REGISTER), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_range(at(0), at(1), by=CaptureObject(8, CLOCK, 3)), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_range(at(0), at(1), (CaptureObject(3, CLOCK, 2),)), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_range(at(0), at(1), (FIRST_REGISTER,) * 4), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_range(axdr.unsigned(1), at(1)), DataAccessResult.TYPE_UNMATCHED),
        (by_range(at(0), hexed("07e9")), DataAccessResult.TYPE_UNMATCHED),
        (by_range(at(0), hexed("07e90d0fff0000000080000000"[:24])), DataAccessResult.TYPE_UNMATCHED),
        (by_entry(0, 3), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_entry(1, 3, 0), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_entry(1, 3, 2, 1), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (by_entry(1, 3, 1, 4), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (Selector(3, Value(axdr.Tag.NULL, None)), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (Selector(1, Value(axdr.Tag.NULL, None)), DataAccessResult.TYPE_UNMATCHED),
        (
            Selector(2, axdr.decode(axdr.structure(*[axdr.boolean(True)] * 4))),
            DataAccessResult.TYPE_UNMATCHED,
        ),
        (Selector(2, axdr.decode(axdr.structure(axdr.unsigned(1)))), DataAccessResult.TYPE_UNMATCHED),
    ],
)
async def test_what_cannot_be_selected_is_refused(selector: Selector, code: DataAccessResult) -> None:
    """With the result that says why."""
    with pytest.raises(DataAccessError) as refusal:
        await read(Rows(10), selector)
    assert refusal.value.code is code


def test_only_the_buffer_can_be_selected_from() -> None:
    """Selective access to another attribute is no access."""
    profile = ProfileGeneric(PROFILE, Rows(3), ZONE)
    for attribute in (1, 3, 4, 5, 6, 7, 8):
        with pytest.raises(DataAccessError, match="scope-of-access-violated"):
            profile.read(attribute, by_entry(1, 1), CONTEXT)


class Faulty(Rows):
    """Rows on a disk that fails."""

    async def entries(self) -> int:  # type: ignore[override]
        raise StoreError("The disk fails: check the disk.")

    def rows(self, start_ms: int | None, end_ms: int | None, limit: int) -> list[bytes]:
        raise StoreError("The disk fails: check the disk.")

    async def rows_by_entry(self, first: int, last: int) -> list[bytes]:
        raise StoreError("The disk fails: check the disk.")


@pytest.mark.parametrize(
    ("attribute", "selector"),
    [(2, None), (2, by_range(at(0), at(1))), (2, by_entry(1, 1)), (7, None)],
)
async def test_rows_that_cannot_be_loaded_are_a_temporary_failure(
    attribute: int, selector: Selector | None
) -> None:
    """The client may come again; nothing is made up, and the other attributes still answer."""
    with pytest.raises(DataAccessError, match="temporary-failure"):
        await read(Faulty(3), selector, attribute)
    assert (await read(Faulty(3), attribute=8)).content == 5000

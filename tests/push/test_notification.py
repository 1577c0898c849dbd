"""DataNotification: known bytes, and no bytes at all that do more than be refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from push_samples import NOON, SAMPLES, apdu

from core.cosem.codes import Codes
from core.dlms import axdr
from core.dlms.axdr import Tag, Value
from core.dlms.describe import describe
from core.dlms.errors import DecodeError, EncodeError
from core.push import content, notification


def test_the_bytes_are_those_of_the_green_book() -> None:
    """Tag, high priority with 24 bits of the id, date-time, body."""
    encoded = notification.encode(0x01_000011, NOON, axdr.unsigned(7))
    assert encoded.hex() == "0f800000110c07ea0109050d000000ffc4001107"
    assert notification.encode(5, b"", axdr.NULL).hex() == "0f800000050000"
    assert len(encoded) == notification.HEADER_SIZE + 2


def test_what_was_encoded_is_decoded() -> None:
    """Id, time and body come back."""
    decoded = notification.decode(notification.encode(2**24 + 5, NOON, axdr.unsigned(7)))
    assert decoded == (5, NOON, Value(Tag.UNSIGNED, 7), True, False)


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "nothing"),
        ("c001", "c0"),
        ("0f800000", "6 bytes"),
        ("0f80000005 04 0102030400", "0 or 12 bytes, not 4"),
        ("0f80000005 0c 0102", "ends in its date-time"),
        ("0f80000005 00", "where a value should start"),
        ("0f80000005 00 1107 00", "too many"),
        ("0f80000005 00 02 05 00", "more than bytes"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(encoded: str, why: str) -> None:
    """In a sentence."""
    with pytest.raises(DecodeError, match=why):
        notification.decode(bytes.fromhex(encoded))


def test_a_time_of_another_length_is_not_sent() -> None:
    """12 bytes, or none."""
    with pytest.raises(EncodeError, match="12 bytes"):
        notification.encode(1, b"\x00" * 5, axdr.NULL)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_cut_is_refused(name: str) -> None:
    """A notification that is shorter by any number of bytes is none."""
    whole = apdu(name)
    content.read(notification.decode(whole).body)
    for end in range(len(whole)):
        with pytest.raises(DecodeError):
            notification.decode(whole[:end])


def _read(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        content.read(notification.decode(data).body, Codes())


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_else(data: bytes) -> None:
    """Whatever stands behind the header."""
    _read(notification.encode(1, b"", data))


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_no_change_of_a_notification_raises_anything_else(name: str, data: st.DataObject) -> None:
    """Some bytes are others: it is read, or refused with a reason."""
    changed = bytearray(apdu(name))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    _read(bytes(changed))
    describe(bytes(changed))


def test_nesting_is_bounded() -> None:
    """A body of nothing but opened structures is refused."""
    with pytest.raises(DecodeError, match="nested deeper"):
        notification.decode(notification.encode(1, b"", b"\x02\x01" * 10_000))


@pytest.mark.parametrize(
    ("name", "title", "label"),
    [
        ("load_profile_1", "data notification 17 profile", "scalers and units"),
        ("standard_event_log", "data notification 17 event log", "events"),
        ("standard_event_log of a meter", "data notification 17 event log of a meter", "manufacturer"),
        ("on_installation", "data notification 17 on installation", "IP address"),
    ],
)
def test_a_trace_names_the_parts(name: str, title: str, label: str) -> None:
    """What it is stands in the title, and its elements have names."""
    description = describe(apdu(name), sent=True)
    assert description.title == title
    labels = [part.label for part in description.parts if part.depth == 1]
    assert labels[0] == "gateway"
    assert label in labels
    assert description.parts[1].value == "17, unconfirmed, high priority"

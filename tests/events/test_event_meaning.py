"""What the event codes mean: nobody is left alone with a number."""

from __future__ import annotations

import pytest

from core.events import EventCode, event_name
from core.events.meaning import StatusBit, meaning, status_bits

LISTED = [*range(1, 21), *range(40, 53), *range(100, 107), 253, 254, 255]
"""The codes that DLMS/COSEM devices on the market share."""


@pytest.mark.parametrize("code", [*LISTED, *(4000 + status for status in range(256))])
def test_every_code_has_a_cause_and_what_to_do(code: int) -> None:
    """In sentences, below a name."""
    assert event_name(code) != f"Event {code}"
    for text in meaning(code):
        assert text[0].isupper()
        assert text.endswith(".")
        assert not text.startswith("This code is not in the list")


def test_what_the_gateway_logs_is_not_called_unused() -> None:
    """And a code that it never logs says that, so that nobody waits for it."""
    logged = {int(code) for code in EventCode}
    assert {code for code in LISTED if "never logs it" not in meaning(code).cause} == logged


def test_an_unknown_code_says_so() -> None:
    """A database of a later version may have one."""
    assert meaning(77).cause == "This code is not in the list of this version."
    assert meaning(4256) == meaning(77)


def test_a_status_byte_is_taken_apart() -> None:
    """EN 13757-3: two bits of the application, power, permanent and temporary error, three of the manufacturer."""
    assert status_bits(0) == (
        StatusBit("bits 0-1", "00", "no error"),
        StatusBit("bit 2", "0", "no power low"),
        StatusBit("bit 3", "0", "no permanent error"),
        StatusBit("bit 4", "0", "no temporary error"),
        StatusBit("bits 5-7", "000", "none of the manufacturer's own"),
    )
    assert [(bit.value, bit.says) for bit in status_bits(0b1011_0110)] == [
        ("10", "application error"),
        ("1", "power low"),
        ("0", "no permanent error"),
        ("1", "temporary error"),
        ("101", "the manufacturer's own"),
    ]
    assert (
        "B6h now: application error, power low, temporary error, manufacturer's bits 101b."
        in meaning(4182).cause
    )
    assert "battery" in meaning(4004).action
    assert meaning(4000).action == "Nothing: whatever the meter complained about is over."

"""M-Bus keys are read as they are written in the field, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.mapping.keys import KeyFormatError, Source, description_key, parse_key


def test_a_dib_key_names_the_bytes() -> None:
    """Hex in any case, blanks around it."""
    key = parse_key("  mbus.dib.8C1013.unmodifiedvalue ")
    assert (key.source, key.dib, key.scaled) == (Source.DIB, "8c1013", False)


def test_the_value_form_is_scaled() -> None:
    """`.value` is the number in the unit of the VIF."""
    assert parse_key("mbus.dib.0c13.value").scaled


@pytest.mark.parametrize("description", ["volume", "op-time data-error", "a.b 1.2", "0c13", "%rh", "m3.0.0"])
def test_a_description_may_hold_blanks_and_dots(description: str) -> None:
    """The four numbers are storage, tariff, subunit, function, found from the right."""
    key = parse_key(f"mbus.dib.{description}.1.2.3.0.unmodifiedvalue")
    assert (key.source, key.description) == (Source.DESCRIPTION, description)
    assert (key.storage, key.tariff, key.subunit, key.function) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("mbus.frame.raw", Source.FRAME),
        ("mbus.telegram.decoded.value ", Source.DECODED_VALUE),
        ("mbus.telegram.decoded.header ", Source.DECODED_HEADER),
    ],
)
def test_simplified_keys_are_known(text: str, source: Source) -> None:
    """The three keys of simplified mapping, with the blank of the manual's examples."""
    assert parse_key(text).source is source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "volume",
        "mbus.dib",
        "mbus.dib.",
        "mbus.dib.0c13",
        "mbus.dib..unmodifiedvalue",
        "mbus.dib.0c1.unmodifiedvalue",
        "mbus.dib.0c13.raw",
        "mbus.dib.volume.0.0.0.4.unmodifiedvalue",
        "mbus.dib.volume.0.0.0.unmodifiedvalue",
        "mbus.dib.0.0.0.0.unmodifiedvalue",
        "mbus.dib.volume.-1.0.0.0.unmodifiedvalue",
        "mbus.telegram.decoded",
        "x" * 1000,
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """The refusal says what a key looks like or how long it may be."""
    with pytest.raises(KeyFormatError, match=r"is no M-Bus key|is longer than"):
        parse_key(text)


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    """Nothing but `KeyFormatError` is raised, in front of a valid ending too."""
    for candidate in (text, f"mbus.dib.{text}.unmodifiedvalue", f"mbus.dib.{text}.0.0.0.0.value"):
        try:
            assert parse_key(candidate).text == candidate.strip()
        except KeyFormatError:
            continue


def test_keys_that_are_written_can_be_read() -> None:
    """The writers and the reader agree."""
    key = parse_key(description_key("flow-temp", 4, 3, 2, 1))
    assert (key.description, key.storage, key.tariff, key.subunit, key.function) == ("flow-temp", 4, 3, 2, 1)

"""Pictures of the settings screen; a changed picture is looked at before it is accepted (`--snapshot-update`)."""

from __future__ import annotations

import pytest

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
PROFILES = pytest.mark.parametrize("profile", ["rich", "basic"])
TO_PORT = ("f3", *["down"] * 8)
TO_LEVEL = (*TO_PORT, "down")
TO_SECRETS = ("f3", "slash", *"secrets", "enter")


@SIZES
def test_settings(looks_as_accepted, size):
    """From the serial number to the billing profile on one small screen; secrets and codes on a large one."""
    assert looks_as_accepted(*TO_PORT, size=size)


def test_settings_on_a_serial_console(looks_as_accepted):
    """The same without colours."""
    assert looks_as_accepted(*TO_PORT, profile="basic")


@PROFILES
def test_the_field(looks_as_accepted, profile):
    """One line below the list, and below it what the value must be; the keys are those of the field."""
    assert looks_as_accepted(*TO_PORT, "enter", profile=profile)


@PROFILES
def test_a_value_that_cannot_be(looks_as_accepted, profile):
    """Marked in the list, with its sentence, and named in the bar."""
    assert looks_as_accepted(*TO_PORT, "enter", "9", "9", "enter", profile=profile)


@SIZES
def test_changes(looks_as_accepted, size):
    """Their number, the keys, and what each does to those who are connected."""
    level = ("down", "right", "right", "right", "right")
    assert looks_as_accepted(
        *TO_PORT, "enter", "backspace", "0", *level, "up", "up", "up", size=size, clients=2
    )


def test_the_interval_rule(looks_as_accepted):
    """With the numbers in it."""
    keys = ("f3", "slash", *"load profile 1 h", "enter", "left", "left", "left")
    assert looks_as_accepted(*keys)


@PROFILES
def test_the_word_that_lowering_takes(looks_as_accepted, profile):
    """What becomes possible for whom, and the word."""
    assert looks_as_accepted(*TO_LEVEL, "left", "s", *"no", "enter", profile=profile)


@PROFILES
def test_secrets(looks_as_accepted, profile):
    """Asterisks and fingerprints, and the keys that work on them."""
    assert looks_as_accepted(*TO_SECRETS, profile=profile)


def test_a_secret_that_was_asked_for(looks_as_accepted):
    """The one under the cursor, below the list."""
    assert looks_as_accepted(*TO_SECRETS, "down", "v")


def test_the_question_before_a_new_secret(looks_as_accepted):
    """Who needs it, and from when on."""
    assert looks_as_accepted(*TO_SECRETS, "end", "up", "g", clients=2)


def test_help_on_settings(looks_as_accepted):
    """What the screen is for, and every key."""
    assert looks_as_accepted("f3", "f1", size=(120, 40))

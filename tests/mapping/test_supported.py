"""The list of supported meters is what the telegrams say."""

from __future__ import annotations

from core.mapping.supported import PATH, text
from core.mbus.simulator.meter import TELEGRAMS


def test_the_list_is_up_to_date() -> None:
    """Run `python -m core.mapping.supported` after a change of telegrams, table or decoder."""
    assert PATH.read_text(encoding="utf-8") == text()


def test_every_telegram_is_in_the_list() -> None:
    """With a link that leads to its heading."""
    listed = text()
    for path in TELEGRAMS.glob("*.hex"):
        assert f"## {path.stem}\n" in listed
        assert f"[{path.stem}](#" in listed

"""Push decoders that others wrote, each in its own process, see the values that were sent."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from push_samples import KEYS, NOON, SAMPLES, TITLE, apdu, ciphered, framed

from core.dlms.admission import Keys
from core.push import notification

SCRIPT: Final = Path(__file__).parent / "foreign_push.py"


def decoded(library: str, frames: list[bytes]) -> list[dict[str, Any]]:
    order = {
        "frames": [frame.hex() for frame in frames],
        "encryption": KEYS.encryption.hex(),
        "authentication": KEYS.authentication.hex(),
        "title": TITLE.hex(),
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), library],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("library", ["gurux", "pydlms"])
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "ciphered"])
def test_every_type_is_decoded_to_the_values_that_were_sent(library: str, *, secured: bool) -> None:
    """Id, time, names, rows, events, scalers and units."""
    frames = [
        framed(apdu(name, report_id=number, counter=100 + number if secured else None))
        for number, name in enumerate(SAMPLES)
    ]
    for (name, sample), (number, found) in zip(
        SAMPLES.items(), enumerate(decoded(library, frames)), strict=True
    ):
        assert "error" not in found, (name, found)
        assert found["id"] & 0xFFFFFF == number
        assert found["id"] >> 24 == 0x80
        assert datetime.fromisoformat(found["time"]) == datetime(2026, 1, 9, 12, tzinfo=UTC)
        assert found["body"] == sample.seen, name


def test_the_strict_one_refuses_what_is_not_genuine() -> None:
    """Another tag, changed content, a key that is not the gateway's, a counter that does not rise."""
    good = apdu("load_profile_1", counter=5)
    plain = notification.encode(17, NOON, SAMPLES["load_profile_1"].body)
    frames = [
        good[:-1] + bytes((good[-1] ^ 1,)),
        good[:40] + bytes((good[40] ^ 1,)) + good[41:],
        ciphered(plain, 6, Keys(KEYS.encryption, bytes(16))),
        ciphered(plain, 6, Keys(bytes(16), KEYS.authentication)),
        good,
        good,
        apdu("on_installation", counter=4),
        apdu("on_installation", counter=6),
    ]
    answers = decoded("pydlms", [framed(frame) for frame in frames])
    assert ["error" in answer for answer in answers] == [True, True, True, True, False, True, True, False]


def test_the_strict_one_refuses_what_is_cut_short() -> None:
    """A plain notification without its end."""
    whole = apdu("standard_event_log")
    assert all("error" in answer for answer in decoded("pydlms", [framed(whole[:-1]), framed(whole[:40])]))

"""The command `cme-tui decode`: what it takes, what it prints, and its exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from telegram_frames import INVALID, frame, long_frame, read_hex, recorded

from cme_tui.commands.decode import run, split_frames
from tests.conftest import TELEGRAMS

WATER = long_frame("0C 13 46590800")


def as_json(capsys: pytest.CaptureFixture[str], source: str, key: str | None = None) -> tuple[int, Any]:
    code = run(source, as_json=True, key=key)
    return code, json.loads(capsys.readouterr().out)


def test_json_has_the_fields_that_scripts_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a telegram, exact values as decimal strings."""
    code, telegrams = as_json(capsys, WATER.hex())
    assert code == 0
    assert telegrams == [
        {
            "id": "12345678",
            "manufacturer": "HYD",
            "version": 40,
            "medium": "water",
            "medium_code": 7,
            "access_number": 10,
            "status": 0,
            "records": [
                {
                    "dib": "0c13",
                    "description": "volume",
                    "unit": "m3",
                    "value": "85.946",
                    "raw": "85946",
                    "function": "instantaneous",
                    "storage": 0,
                    "tariff": 0,
                    "subunit": 0,
                }
            ],
        }
    ]


def test_a_value_marked_as_invalid_is_null_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """And is no failure of the command."""
    code, (telegram,) = as_json(capsys, long_frame("02 5A 0080").hex())
    assert code == 0
    assert telegram["records"][0]["value"] is None
    assert telegram["records"][0]["error"] == "marked as not available by the meter"


@pytest.mark.parametrize("path", sorted(TELEGRAMS.glob("*.hex")), ids=lambda path: path.stem)
def test_every_recorded_telegram_can_be_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON with one object for each record, and for people within 80 columns."""
    code, (telegram,) = as_json(capsys, str(path))
    assert code == 0
    assert "error" not in telegram
    assert run(str(path), as_json=False, key=None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 1 + len(telegram["records"])
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.hex")), ids=lambda path: path.stem)
def test_an_invalid_telegram_is_an_error_in_its_place(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the reason instead of values; the telegrams beside it are shown."""
    code, telegrams = as_json(capsys, WATER.hex() + read_hex(path).hex() + WATER.hex())
    assert code == 1
    assert [set(telegram) == {"error"} for telegram in telegrams] == [False, True, False]
    assert run(str(path), as_json=False, key=None) == 1
    assert capsys.readouterr().out.strip()


def test_hex_may_be_written_as_people_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blanks, line ends, 0x, commas and comments."""
    digits = WATER.hex()
    written = (
        "# a water meter\n"
        + ", ".join(f"0x{digits[n : n + 2]}" for n in range(0, 20, 2))
        + "  # the header\n"
    )
    file = tmp_path / "meter.txt"
    file.write_text(written + digits[20:].upper() + "\n\n" + digits)
    code, telegrams = as_json(capsys, str(file))
    assert code == 0
    assert [telegram["id"] for telegram in telegrams] == ["12345678", "12345678"]


def test_a_file_may_hold_the_bytes_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several frames, one behind the other."""
    file = tmp_path / "meter.bin"
    file.write_bytes(recorded("EDC") + WATER)
    code, telegrams = as_json(capsys, str(file))
    assert code == 0
    assert [telegram["id"] for telegram in telegrams] == ["11120895", "12345678"]


def test_telegrams_come_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With "-"."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(WATER.hex().encode())))
    code, telegrams = as_json(capsys, "-")
    assert (code, len(telegrams)) == (0, 1)


@pytest.mark.parametrize("source", ["no/such/file", "68 03 03 6", "zz" * 5000, ""])
def test_what_is_neither_file_nor_hex_is_bad_usage(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    assert run(source, as_json=True, key=None) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert output.err.startswith("cme-tui decode: ")


def test_an_empty_or_other_file_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As is a directory."""
    empty, prose = tmp_path / "empty", tmp_path / "prose"
    empty.write_text("# nothing\n")
    prose.write_text("this is no telegram")
    for path in (empty, prose, tmp_path):
        assert run(str(path), as_json=False, key=None) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("key", ["12", "xyz", "00" * 17])
def test_a_key_that_is_none_is_bad_usage_and_is_not_repeated(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key must not end up in a terminal's log."""
    assert run(WATER.hex(), as_json=True, key=key) == 2
    assert capsys.readouterr().err == "cme-tui decode: the key must have 32 hex digits\n"


def test_an_encrypted_telegram_shows_its_header_and_asks_for_the_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1: there is no data."""
    sealed = frame(bytes.fromhex("72 78563412 2423 28 07 0A 00 2005") + bytes(32))
    code, (telegram,) = as_json(capsys, sealed.hex())
    assert code == 1
    assert telegram["id"] == "12345678"
    assert telegram["records"] == []
    assert "give the meter its key" in telegram["error"]


def test_frames_are_cut_by_their_length() -> None:
    """What is no frame stays one piece."""
    assert split_frames(WATER + WATER) == [WATER, WATER]
    assert split_frames(WATER + b"\x01\x02") == [WATER, b"\x01\x02"]
    assert split_frames(WATER[:-4]) == [WATER[:-4]]

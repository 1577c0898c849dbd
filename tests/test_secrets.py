"""Secrets are made at random, stay with their owner, and never reach a message."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from cme_tui.commands import secrets as command
from core.config import ConfigError
from core.config_file import ConfigFile
from core.errors import CmeError
from core.secrets import Secrets, ensure_secrets, load_secrets, save_secrets


def values(secrets: Secrets) -> list[str]:
    keys = (
        secrets.master_key,
        secrets.authentication_key,
        secrets.encryption_key,
        *secrets.meter_keys.values(),
    )
    return [secrets.lls_password, *(key.hex() for key in keys)]


def test_the_first_start_makes_secrets_and_later_ones_keep_them(tmp_path: Path) -> None:
    """Two gateways never share a default."""
    first = ensure_secrets(tmp_path / "a.toml")
    assert ensure_secrets(tmp_path / "a.toml") == first
    other = ensure_secrets(tmp_path / "b.toml")
    assert len({*values(first), *values(other)}) == 8
    assert [len(key) for key in (first.master_key, first.authentication_key, first.encryption_key)] == [
        16
    ] * 3
    assert len(first.lls_password) == 16
    assert not set(first.lls_password) & set("ilIL1oO0")


def test_the_file_is_closed_to_others(tmp_path: Path) -> None:
    """Mode 0600, also after a change and in a directory where others may look."""
    path = tmp_path / "secrets.toml"
    save_secrets(path, ensure_secrets(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_can_read_is_repaired_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning says that the secrets may be known."""
    path = tmp_path / "secrets.toml"
    secrets = ensure_secrets(path)
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert load_secrets(path) == secrets
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "could be read by others (mode 0644)" in caplog.text


def test_what_a_killed_gateway_left_is_taken_away(tmp_path: Path) -> None:
    """A half of a write beside the file holds keys that may be in use elsewhere still."""
    path = tmp_path / "secrets.toml"
    secrets = ensure_secrets(path)
    (tmp_path / ".secrets.toml.x1y2z3").write_text(path.read_text())
    (tmp_path / ".config.toml.x1y2z3").write_text("")
    assert ensure_secrets(path) == secrets
    assert sorted(each.name for each in tmp_path.iterdir()) == [".config.toml.x1y2z3", "secrets.toml"]


def test_the_keys_of_meters_are_kept(tmp_path: Path) -> None:
    """By identification, 16 bytes each."""
    path = tmp_path / "secrets.toml"
    fresh = Secrets.generate()
    secrets = Secrets(
        fresh.lls_password,
        fresh.master_key,
        fresh.authentication_key,
        fresh.encryption_key,
        {"12345678": bytes(16)},
    )
    save_secrets(path, secrets)
    assert load_secrets(path) == secrets


def test_no_secret_is_shown_by_accident() -> None:
    """Neither repr, nor str, nor a format shows one."""
    secrets = Secrets.generate()
    shown = f"{secrets!r} {secrets} {[secrets]}"
    assert not any(value in shown.lower() for value in map(str.lower, values(secrets)))
    assert repr(secrets.master_key) not in shown


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('master_key = "00112233445566778899aabbccddee"', "master_key must be 32 hex digits"),
        ('master_key = "00112233 44556677 8899aabb ccddee"', "master_key must be 32 hex digits"),
        ("master_key = 112233", "master_key must be 32 hex digits"),
        ('lls_password = ""', "lls_password must be 1 to 64"),
        ('lls_password = "grün-112233"', "lls_password must be 1 to 64"),
        ('[meter_keys]\n"112233" = "00112233445566778899aabbccddeeff"', "names meters by their 8 digits"),
        ('[meter_keys]\n12345678 = "112233"', "12345678 must be 32 hex digits"),
        ("meter_keys = 112233", "must be a table"),
        ('masterkey = "112233"', "masterkey is no known key; did you mean master_key?"),
        ('master_key = "112233', "is not valid TOML"),
        ("encryption_key", "encryption_key is missing"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(tmp_path: Path, line: str, says: str) -> None:
    """The sentence names file and key, never the value."""
    path = tmp_path / "secrets.toml"
    ensure_secrets(path)
    name = line.partition(" =")[0]
    kept = [old for old in path.read_text().splitlines() if not old.startswith((name, "[meter_keys]"))]
    path.write_text("\n".join([*kept, line] if " = " in line or "=" in line else kept))
    with pytest.raises(ConfigError) as caught:
        load_secrets(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "112233" not in str(caught.value).replace(says, "")
    assert caught.value.__cause__ is None


def test_secrets_show_prints_what_a_head_end_system_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has exactly the documented keys."""
    config = ConfigFile(tmp_path / "config.toml")
    config.prepare()
    config.set_values({"gateway.serial": "0016000000"})
    secrets = ensure_secrets(tmp_path / "secrets.toml")
    assert command.show(tmp_path, as_json=True, fingerprints=False) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "system_title": "454C560000F42400",
        "lls_password": secrets.lls_password,
        "master_key": secrets.master_key.hex().upper(),
        "authentication_key": secrets.authentication_key.hex().upper(),
        "encryption_key": secrets.encryption_key.hex().upper(),
    }
    assert command.show(tmp_path, as_json=False, fingerprints=False) == 0
    assert secrets.lls_password in capsys.readouterr().out


def test_secrets_show_before_the_first_start_says_what_to_do(tmp_path: Path) -> None:
    """It makes nothing itself."""
    with pytest.raises(CmeError, match="start the gateway once"):
        command.show(tmp_path, as_json=True, fingerprints=False)
    assert list(tmp_path.iterdir()) == []

"""`cme-tui secrets`: password and keys, for the one who has to enter them into a head-end system."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cme_tui.client import change
from cme_tui.commands.arguments import add_actions, misused, state_dir
from core.config import ConfigError, load_config
from core.errors import CmeError
from core.secrets import (
    GENERATED,
    Secrets,
    changed_secrets,
    ensure_secrets,
    generated,
    load_secrets,
    set_secrets,
    shown_fingerprint,
)
from core.statedir import StateDir

_LONGEST: Final = 1024
"""Bytes that are read from stdin; no secret has a tenth of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    action = add_actions(parser)
    showing = action("show", help="print password and keys")
    showing.add_argument("--json", action="store_true")
    showing.add_argument("--fingerprints", action="store_true", help="only what tells them from others")
    replacing = action("set", help="change one; its value is asked for, and never on the command line")
    replacing.add_argument("name", metavar="NAME", help="lls_password, ..._key, or meter_keys.12345678")
    replacing.add_argument(
        "value", nargs="*", help=argparse.SUPPRESS
    )  # else argparse would repeat it on stderr
    replacing.add_argument("--stdin", action="store_true", help="the value is the first line of stdin")
    making = action("generate", help="make new ones at random")
    making.add_argument("names", metavar="NAME", nargs="*", default=[])
    making.add_argument("--all", action="store_true", help="password and all keys of the gateway")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    place = state_dir(arguments)
    match arguments.action:
        case "show":
            return show(place, as_json=arguments.json, fingerprints=arguments.fingerprints)
        case "set" if arguments.value:
            return misused(
                "cme-tui secrets set",
                "the value is asked for, or comes with --stdin: here every user of this machine could read it, so take "
                "another one",
            )
        case "set":
            return set_value(place, arguments.name, from_stdin=arguments.stdin)
    if arguments.all == bool(arguments.names):
        return misused("cme-tui secrets generate", "give names, or --all")
    return generate(place, GENERATED if arguments.all else arguments.names)


def show(state_dir: Path, *, as_json: bool, fingerprints: bool) -> int:
    """Print system title, password and keys, or only what tells them from others.

    Raises CmeError, also before the first start.
    """
    paths = StateDir(state_dir)
    gateway = load_config(paths.config).gateway
    if not gateway.serial or not paths.secrets.exists():
        raise CmeError(f"There are no secrets in {state_dir} yet; start the gateway once, it makes them.")
    secrets = load_secrets(paths.secrets)
    values = {"system_title": gateway.system_title.hex().upper()}
    if fingerprints:
        values |= {name: shown_fingerprint(value) for name, value in _named(secrets).items()}
    else:
        for name in GENERATED:
            value = getattr(secrets, name)
            values[name] = value if isinstance(value, str) else value.hex().upper()
    if as_json:
        print(json.dumps(values))
    else:
        _print(values)
    return 0


def set_value(state_dir: Path, name: str, *, from_stdin: bool) -> int:
    """Save one secret, which is asked for without echo or read from stdin. Raises CmeError, and then has not."""
    return _save(state_dir, {name: _read() if from_stdin else _ask(name)})


def generate(state_dir: Path, names: Sequence[str]) -> int:
    """Make these anew, from the random source of the operating system. Raises CmeError, and then has not."""
    return _save(state_dir, generated(names))


def _save(state_dir: Path, values: Mapping[str, str]) -> int:
    path = StateDir(state_dir).secrets
    if path.exists():
        changed_secrets(load_secrets(path), values)  # so that bad input is told as such
    running = change(state_dir, lambda state: _save_stopped(state, values), "set_secrets", values=values)
    now = _named(load_secrets(path))
    _print({name: shown_fingerprint(now[name]) for name in values})
    if running:
        print(
            "In force from now on: give head-end systems the new values ('cme-tui secrets show' prints them)."
        )
    else:
        print("No gateway is running here: this holds from the next start on.")
    return 0


def _save_stopped(state: StateDir, values: Mapping[str, str]) -> None:
    ensure_secrets(state.secrets)
    set_secrets(state.secrets, values)


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError("There is no terminal to ask for the value on; give it on stdin, with --stdin.")
    try:
        value, again = getpass.getpass(f"{name}: "), getpass.getpass("The same again: ")
    except (EOFError, UnicodeDecodeError):
        # `from None`: the latter quotes what was typed.
        raise ConfigError("No value was typed; nothing has changed.") from None
    if value != again:
        raise ConfigError("The two are not the same; nothing has changed.")
    return value


def _read() -> str:
    # As bytes: a decoder that is strict would quote them. Not one byte outside of ASCII is valid anyway.
    return sys.stdin.buffer.readline(_LONGEST).decode("latin-1").rstrip("\r\n")


def _named(secrets: Secrets) -> dict[str, str | bytes]:
    """All of them by the names that `secrets set` takes."""
    named: dict[str, str | bytes] = {name: getattr(secrets, name) for name in GENERATED}
    return named | {f"meter_keys.{meter}": key for meter, key in secrets.meter_keys.items()}


def _print(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<20}{value}")

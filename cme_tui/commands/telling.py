"""`cme-tui meters set-address`, `set-baud`, `reset`, `select` and `set-clock`, through the running gateway."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cme_tui.client import connect
from cme_tui.commands.stored import fitting, installed_at
from core.config import ConfigError
from core.mbus.address import parse_address
from core.mbus.transport import BAUD_RATES

_QUESTIONS = {
    "set-address": "give it primary address {}",
    "set-baud": "switch it to {} baud",
    "reset": "reset its application",
    "select": "select application {}",
    "set-clock": "set its clock",
}


def tell(
    state_dir: Path,
    command: str,
    wanted: str,
    value: int | None,
    *,
    line: str | None,
    sure: bool,
    as_json: bool,
) -> int:
    """Have the gateway tell a meter something; `wanted` is its address where `line` is given. Raises `CmeError`."""
    _check(command, value)
    config, installed = installed_at(state_dir)
    if line is None:
        meter = fitting(installed, wanted, "a meter that is not installed needs its ADDRESS and --line")
        line, address = meter.config.place
    else:
        if line not in [each.name for each in config.lines]:
            raise ConfigError(f'There is no line "{line}"; "cme-tui status" shows what there is.')
        address = str(parse_address(wanted))
    if not sure and not _agreed(f"Meter {address} on {line}: {_QUESTIONS[command].format(value)}? [y/N] "):
        print("Nothing was sent.", file=sys.stderr)
        return 1
    parameters = {} if value is None else {"value": value}
    with connect(state_dir, timeout=None) as client:
        call = client.call("command_meter", line=line, address=address, command=command, **parameters)
        answer = next(call)
    print(json.dumps(answer, ensure_ascii=False) if as_json else answer["result"])
    return 0


def _check(command: str, value: int | None) -> None:
    match command:
        case "set-address" if value is None or not 0 <= value <= 250:
            raise ConfigError("A primary address is 1 to 250, or 0 for a meter as it comes from the factory.")
        case "set-baud" if value not in BAUD_RATES:
            raise ConfigError(f"A meter speaks at one of {', '.join(map(str, BAUD_RATES))} baud.")
        case "select" if value is None or not 0 <= value <= 255:
            raise ConfigError("The subcode of an application is 0 to 255.")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("There is no terminal to ask on; say --yes.")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

"""What the arguments of several commands have in common. Loads nothing of the core that takes time."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

BAD_USAGE: Final = 2
METER: Final = "NAME|ID|LD"

_STATE_DIR_HELP: Final = "where configuration and data are kept"
_DEMO_HELP: Final = "a simulated line of real meters' telegrams, with a state directory of its own"


class Parser(argparse.ArgumentParser):
    """Says in one line on stderr what is wrong, and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(misused(self.prog, message))


def misused(command: str, sentence: str) -> int:
    """Say what is wrong with the arguments of `command`, such as "cme-tui config set"; the exit code."""
    print(f"{command}: {sentence}; see '{command} --help'", file=sys.stderr)
    return BAD_USAGE


def add_gateway(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which gateway is meant.

    They have no default: behind a command they do not undo what stands in front of it.
    """
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", default=argparse.SUPPRESS, help=_STATE_DIR_HELP
    )
    parser.add_argument("--demo", action="store_true", default=argparse.SUPPRESS, help=_DEMO_HELP)


def add_actions(parser: argparse.ArgumentParser) -> Callable[..., Parser]:
    """Give a command actions; what it returns adds one of them, `action(name, help=...)`."""
    place = Parser(add_help=False)
    add_gateway(place)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)
    return partial(actions.add_parser, parents=[place])


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add where a head-end system finds the gateway, and the form of what is printed."""
    parser.add_argument("--host", metavar="H", help="address of the gateway instead of the configured one")
    parser.add_argument("--port", type=port, metavar="N", help="its DLMS port instead of the configured one")
    parser.add_argument("--json", action="store_true")


def state_dir(arguments: argparse.Namespace) -> Path:
    """The state directory that was chosen, else the default one, which is another for the demo."""
    from core.statedir import default_state_dir

    chosen: Path | None = arguments.state_dir
    return chosen if chosen is not None else default_state_dir(arguments.demo, os.environ)


def port(text: str) -> int:
    """A TCP port, 0 to 65535, for `type=`."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def number(low: int, high: int) -> Callable[[str], int]:
    """A whole number in these bounds, for `type=`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"a number from {low} to {high} is needed, not {text!r}")
        return int(text)

    return read

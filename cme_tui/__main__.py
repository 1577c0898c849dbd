"""The command `cme-tui`: reads the arguments and hands over; each command's work is in `cme_tui.commands`.

Modules are imported where they are needed: `--headless` must not load Textual, and `decode` no database.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from cme_tui.commands.arguments import BAD_USAGE, Parser, add_gateway, port, state_dir
from core import VERSION
from core.errors import CmeError

FAILURE: Final = 1

_COMMANDS: Final = {
    "decode": "explain an M-Bus telegram",
    "simulate": "a virtual M-Bus line, for training and tests",
    "mapping": "mapping files",
    "config": "settings",
    "secrets": "password and keys",
    "meters": "installed meters",
    "rehearse": "try everything that a head-end system does",
    "read": "read objects as a head-end system does",
    "events": "the event logs, newest last, or what a code means",
    "status": "how the running gateway is doing",
    "trace": "what goes over the DLMS port, as it comes",
    "listen": "receive pushed notifications and print them",
    "push": "push reports and what became of them",
    "screenshots": "render the screens of a demo gateway to SVG",
}
"""Each is a module of `cme_tui.commands` with `add_arguments` and `main`."""


class _CommandParser(Parser):
    """Loads its command's module where that command was given."""

    module: str

    def parse_known_args(  # type: ignore[override]  # the overloads tell kinds of namespaces apart
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        module = import_module(self.module)
        module.add_arguments(self)
        self.set_defaults(run=module.main)
        return super().parse_known_args(args, namespace)


def main(argv: list[str] | None = None) -> int:
    """Entry point of the console script. Exit codes: 0 done, 1 failure, 2 bad usage or bad input."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        return code
    except CmeError as error:
        print(f"cme-tui: {error}", file=sys.stderr)
        return BAD_USAGE if error.bad_input else FAILURE
    except KeyboardInterrupt:
        return FAILURE
    except BrokenPipeError:
        # The reader went away ("cme-tui ... | head"); keep the interpreter from complaining when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="cme-tui",
        description="M-Bus to DLMS/COSEM gateway. Without a command: the terminal UI over a running core.",
    )
    parser.add_argument("--version", action="version", version=f"cme-tui {VERSION}")
    add_gateway(parser)
    parser.add_argument("--headless", action="store_true", help="no UI: log to stderr, stop on SIGTERM")
    parser.add_argument(
        "--dlms-port", type=port, metavar="N", help="listen here instead of the configured port"
    )
    parser.add_argument(
        "--dlms-host", metavar="H", help="listen on this address instead of the configured one"
    )
    parser.add_argument(
        "--serial-console", action="store_true", help="black and white, ASCII, few bytes: for slow terminals"
    )
    parser.set_defaults(state_dir=None, demo=False, run=_run_gateway)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_CommandParser)
    for name, about in _COMMANDS.items():
        commands.add_parser(name, help=about).module = f"cme_tui.commands.{name}"
    return parser


def _run_gateway(arguments: argparse.Namespace) -> int:
    from core.facade import RunOptions

    options = RunOptions(
        state_dir=state_dir(arguments),
        demo=arguments.demo,
        dlms_host=arguments.dlms_host,
        dlms_port=arguments.dlms_port,
    )
    if arguments.headless:
        from cme_tui.commands import headless

        return headless.run(options)
    from cme_tui.commands import terminal

    return terminal.run(options, serial_console=arguments.serial_console)


if __name__ == "__main__":
    raise SystemExit(main())

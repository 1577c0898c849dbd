"""`cme-tui meters doctor`: its arguments; the work is in `cme_tui.commands.examining`, loaded when it is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

_HELP = """\
Prints for each line a verdict, what is wrong with its evidence, and the meters that something is wrong with. The
counters begin with the gateway, or with --reset; verdicts look at the last requests only.

A fault is forgotten once so many good answers came that it must be cured, at the latest after a check (--probe); an
FCB fault seen in readouts and a loose contact (for 6 h) until --reset.

--trace prints every request and its answer, in words, from the last 500 on. --record writes them to a new file, until
Ctrl+C; 'cme-tui simulate --replay FILE' plays it. A recording has the telegrams of the meters as they came, with what
these have counted, but no keys and no passwords. It goes on when the configuration of its line changes; played, what
came at random moments (noise) may meet other requests than it did.

--probe asks every meter a few times first, between the readouts, waits longer for answers than these do, and looks for
silent meters at other baud rates where the line can be switched. Ctrl+C stops it.
"""
_EPILOG = """\
--json prints {"lines": [{"line", "verdict", "load" (0..1, of the last 15 min), "statistics", "findings", "meters",
"recording", "recorded", "recording_reason", "check"}]}. "statistics": "since", counters, "delay" {"min", "mean", "max"}
in s. "findings": "severity" (fault, warning, notice), "meter" ("" for the line), "fault", "sentence", "evidence".
"meters": "name", "address", "statistics", "findings". --trace --json prints one object a line: "id", "time", "baud",
"purpose", "address", "meter", "try", "request", "request_meaning", "received", "answer_meaning", "echo", "fault" and
"delay" in s. With --watch, one object a line for each look.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the action takes."""
    parser.description, parser.epilog = _HELP, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("line", metavar="LINE", nargs="?", help="may be left out: all lines, or the only one")
    parser.add_argument("--all", action="store_true", help="show the meters that are well, too")
    parser.add_argument("--probe", action="store_true", help="ask every meter a few times first")
    parser.add_argument("--json", action="store_true", help="one JSON value instead of text")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="look again every 2 s, until Ctrl+C")
    how.add_argument("--trace", action="store_true", help="print requests and answers, until Ctrl+C")
    how.add_argument("--record", type=Path, metavar="FILE", help="write them to a file, until Ctrl+C")
    how.add_argument("--reset", action="store_true", help="count from now")


def run(arguments: argparse.Namespace, state_dir: Path) -> int:
    """Do what the arguments say; 1 where a fault was found. Raises `CmeError`."""
    from cme_tui.commands import examining

    return examining.run(arguments, state_dir)

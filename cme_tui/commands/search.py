"""`cme-tui meters search`: has the running gateway search a line, and shows what it finds as it comes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cme_tui.client import ask
from core.config import ConfigError
from core.errors import CmeError
from core.mbus.address import AddressError, SecondaryAddress, parse_address
from core.mbus.effort import span
from core.mbus.transport import BAUD_RATES
from core.searching import MOST_PATIENCE_MS
from core.serials import parse_serials

_LOOK_S: Final = 0.5
_SAY_S: Final = 10.0  # between two lines of progress where nobody looks at a terminal
_ACTIVE: Final = ("running", "waiting")
_FAILURE: Final = 1

_HELP: Final = """\
Searches a line of the running gateway for meters, between its readouts. The estimate and the progress are on stderr,
each meter on stdout as it is found, in the end those that are missing. Ctrl+C stops the search; what it found stays,
and --resume goes on with it. It goes on by itself after a restart of the gateway.
Exit code: 0 the search came to its end and every expected meter was found, 1 not, 2 bad usage.
"""
_JSON_HELP: Final = """\
--json prints one object a line:
  {"estimate": {"nobody_s", "likely_s", "probes", "sentence"}}   first, and with --estimate alone
  {"meter": {"address", "identification", "manufacturer", "version", "medium", "primary", "baud", "verdict",
             "installed", "name", "note"}}   each; "verdict" is found, unexpected or missing
  {"search": {"line", "state", "step", "reason", "started", "finished", "probes", "share", "left_s",
              "at_least", "troubles"}}   last
  {"installed": N, "misfits": [SENTENCE, ...]}   after that, with --install; lines that cannot keep their schedule then
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the action takes."""
    parser.description, parser.epilog = _HELP, _JSON_HELP
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--line", metavar="LINE", help="may be left out where there is only one")
    parser.add_argument("--primary", action="store_true", help="scan primary addresses instead")
    parser.add_argument(
        "--secondary", action="store_true", help="with --primary: by secondary address as well"
    )
    parser.add_argument(
        "--range", metavar="A-B", default="1-250", help="primary addresses, 1-250 where not given"
    )
    parser.add_argument(
        "--baud",
        type=int,
        metavar="N",
        nargs="+",
        choices=BAUD_RATES,
        default=[],
        help="rates to search at, bit/s",
    )
    parser.add_argument(
        "--mask", metavar="MASK", default="FFFFFFFF", help="12FFFFFF or 12FFFFFF.HYD, F for any digit"
    )
    parser.add_argument("--no-hex", action="store_true", help="identifications have no digits A to E")
    parser.add_argument(
        "--patience",
        type=int,
        metavar="MS",
        default=0,
        help=f"wait longer for each answer, 0 to {MOST_PATIENCE_MS}: finds late meters also by primary address",
    )
    parser.add_argument(
        "--expected", type=Path, metavar="FILE", help="CSV of the serials that should be there"
    )
    parser.add_argument("--install", action="store_true", help="install what was found, at the end")
    steer = parser.add_mutually_exclusive_group()
    steer.add_argument("--estimate", action="store_true", help="only say how long it would take")
    steer.add_argument("--pause", action="store_true", help="have the search that runs rest")
    steer.add_argument("--resume", action="store_true", help="go on with one that rests or was stopped")
    steer.add_argument("--stop", action="store_true", help="end the one that runs")
    parser.add_argument("--json", action="store_true", help="one object a line, see below")


def run(arguments: argparse.Namespace, state_dir: Path) -> int:
    """Do what the arguments say. Raises `CmeError`."""
    line, baud = _line(state_dir, arguments.line)
    for steer in ("pause", "stop"):
        if getattr(arguments, steer):
            ask(state_dir, f"{steer}_search", line=line)
            return 0
    if arguments.resume:
        ask(state_dir, "resume_search", line=line)
    else:
        request = _request(arguments, line)
        estimate = ask(state_dir, "estimate_search", request=request)
        if arguments.json:
            _print_json(estimate=estimate)
        else:
            print(estimate["sentence"], file=sys.stdout if arguments.estimate else sys.stderr)
        if arguments.estimate:
            return 0
        ask(state_dir, "start_search", request=request)
    return _Follower(state_dir, line, baud, as_json=arguments.json).follow(install=arguments.install)


class _Follower:
    """Shows a search until it runs no more."""

    def __init__(self, state_dir: Path, line: str, baud: int, *, as_json: bool) -> None:
        """`baud` is the rate of that line."""
        self._state_dir = state_dir
        self._line = line
        self._baud = baud
        self._json = as_json
        self._shown: set[str] = set()
        self._said = 0.0

    def follow(self, *, install: bool) -> int:
        try:
            while (search := self._look())["state"] in _ACTIVE:
                self._progress(search)
                time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            # It may have come to its end just now; what keeps the gateway from answering is told by the look.
            with suppress(CmeError):
                ask(self._state_dir, "stop_search", line=self._line)
            search = self._look()
        self._end(search)
        found = [meter for meter in search["meters"] if meter["verdict"] != "missing"]
        if install:
            self._install([meter for meter in found if not meter["installed"]])
        return 0 if search["state"] == "done" and len(found) == len(search["meters"]) else _FAILURE

    def _look(self) -> dict[str, Any]:
        search: dict[str, Any] | None = ask(self._state_dir, "search", line=self._line)["search"]
        assert search is not None  # it was started or resumed
        for meter in search["meters"]:
            if meter["address"] not in self._shown:
                self._shown.add(meter["address"])
                if self._json:
                    _print_json(meter=meter)
                else:
                    self._clear()
                    print(_meter_text(meter), flush=True)
        return search

    def _progress(self, search: dict[str, Any]) -> None:
        about = "at least" if search["at_least"] else "about"
        left = "" if search["left_s"] is None else f", {about} {span(search['left_s'])} left"
        state = f"waiting: {search['reason']}" if search["reason"] else search["step"]
        text = (
            f"{search['share']:4.0%}, {search['probes']} probes{left}, {len(search['meters'])} found; {state}"
        )
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text[:110]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._said >= _SAY_S:
            self._said = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def _end(self, search: dict[str, Any]) -> None:
        self._clear()
        if self._json:
            _print_json(search={name: value for name, value in search.items() if name != "meters"})
        for trouble in () if self._json else search["troubles"]:
            print(trouble, file=sys.stderr)
        counts = [
            f"{sum(meter['verdict'] == verdict for meter in search['meters'])} {verdict}"
            for verdict in ("found", "unexpected", "missing")
        ]
        reason = f" ({search['reason']})" if search["reason"] else ""
        print(
            f"Search {search['state']}{reason}: {', '.join(counts)}; {search['probes']} probes.",
            file=sys.stderr,
        )
        if search["state"] in ("stopped", "paused"):
            print(
                f"'cme-tui meters search --resume --line \"{self._line}\"' goes on with it.", file=sys.stderr
            )

    def _install(self, meters: list[dict[str, Any]]) -> None:
        tables = [self._table(meter) for meter in meters]
        count, misfits = 0, list[str]()
        if tables:
            misfits = ask(self._state_dir, "misfits", meters=tables)["misfits"]
            for sentence in misfits:
                print(sentence, file=sys.stderr)
            count = ask(self._state_dir, "install_meters", meters=tables)["installed"]
        if self._json:
            _print_json(installed=count, misfits=misfits)
        else:
            print(f"{count} installed.", file=sys.stderr)

    def _table(self, meter: dict[str, Any]) -> dict[str, Any]:
        """The [[meter]] of a meter that was found."""
        address = meter["address"]
        typed = int(address) if len(address) < 4 else address
        own = {} if meter["baud"] == self._baud else {"baud": meter["baud"]}
        return {"line": self._line, "address": typed, "name": meter["name"], **own}

    def _clear(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _meter_text(meter: dict[str, Any]) -> str:
    more = [f"at {meter['baud']} baud"] if meter["baud"] else []
    if meter["primary"] is not None and str(meter["primary"]) != meter["address"]:
        more.append(f"primary {meter['primary']}")
    more += [text for text in (meter["medium"], meter["name"], meter["note"]) if text]
    if meter["installed"]:
        more.append("installed")
    who = meter["identification"] if len(meter["address"]) < 4 else ""
    return f"{meter['verdict']:10} {meter['address']} {who}{' ' if who else ''}{', '.join(more)}".rstrip()


def _print_json(**item: Any) -> None:
    print(json.dumps(item, ensure_ascii=False), flush=True)


def _line(state_dir: Path, wanted: str | None) -> tuple[str, int]:
    """The line that is meant, and its rate in bit/s."""
    rates: dict[str, int] = {line["name"]: line["baud"] for line in ask(state_dir, "status")["lines"]}
    if wanted is None and len(rates) == 1:
        wanted = next(iter(rates))
    if wanted in rates:
        return wanted, rates[wanted]
    known = ", ".join(rates) or "none; add a [[line]] to config.toml"
    raise ConfigError(f"Which line is to be searched? Give --line; lines: {known}.")


def _request(arguments: argparse.Namespace, line: str) -> dict[str, Any]:
    methods = ["primary"] if arguments.primary else []
    if arguments.secondary or not arguments.primary:
        methods.append("secondary")
    first, _, last = arguments.range.partition("-")
    if not 0 <= arguments.patience <= MOST_PATIENCE_MS:
        raise ConfigError(f"--patience {arguments.patience}: write 0 to {MOST_PATIENCE_MS}.")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) <= 250):
        raise ConfigError(
            f"The range {arguments.range!r} is none of primary addresses: write 1-250, 0 to 250 at most."
        )
    try:
        mask = parse_address(arguments.mask)
    except AddressError as error:
        raise ConfigError(f"--mask: {error}") from error
    if not isinstance(mask, SecondaryAddress):
        raise ConfigError(f"--mask {arguments.mask}: write 12FFFFFF or 12FFFFFF.HYD, F for any digit.")
    request = {
        "line": line,
        "methods": methods,
        "bauds": arguments.baud,
        "mask": str(mask),
        "first": int(first),
        "last": int(last),
        "hex_digits": not arguments.no_hex,
        "patience_ms": arguments.patience,
    }
    if arguments.expected:
        serials = parse_serials(_read(arguments.expected))
        for note in serials.notes:
            print(note, file=sys.stderr)
        request |= {"expected": list(serials.addresses), "names": list(serials.names)}
    return request


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error

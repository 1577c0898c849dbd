"""`cme-tui meters doctor`: how the lines of a running gateway do, what is wrong with them, and why."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cme_tui.client import ClientError, ask
from core.config import ConfigError

POLL_S: Final = 0.5
WATCH_S: Final = 2.0
_WIDTH: Final = 80
_SIGNS: Final = {"fault": "!!", "warning": "! ", "notice": "- "}
_COLUMNS: Final = ("meter", "tries", "silent", "chksum", "coll", "noise", "late", "delay ms")


def run(arguments: argparse.Namespace, state_dir: Path) -> int:
    """Do what the arguments say; 1 where a fault was found. Raises `CmeError`."""
    line: str | None = arguments.line
    try:
        if arguments.probe:
            _probe(state_dir, _only(state_dir, line))
        if arguments.reset:
            return _reset(state_dir, line)
        if arguments.trace:
            return _trace(state_dir, _only(state_dir, line), as_json=arguments.json)
        if arguments.record:
            return _record(state_dir, _only(state_dir, line), arguments.record)
        while True:
            lines = _look(state_dir, line)
            if arguments.json:
                print(json.dumps({"lines": lines}, ensure_ascii=False, indent=None if arguments.watch else 2))
            else:
                print("\n\n".join(text(item, everybody=arguments.all) for item in lines), flush=True)
            if not arguments.watch:
                return int(any(found["severity"] == "fault" for item in lines for found in item["findings"]))
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return 0


def text(diagnosis: Mapping[str, Any], *, everybody: bool) -> str:
    """A diagnosis for people, at most 80 columns wide where names allow; with all meters or the ill ones."""
    statistics = diagnosis["statistics"]
    lines = [
        *_wrapped(f"Line {diagnosis['line']}: {diagnosis['verdict']}", ""),
        f"{statistics['tries']} requests since {_local(statistics['since'])}, the wire was taken for "
        f"{diagnosis['load']:.0%} of the time",
    ]
    if diagnosis["recording"]:
        ended = diagnosis["recording_reason"]
        lines += _wrapped(
            ended or f"Recorded to {diagnosis['recording']}: {diagnosis['recorded']} requests", ""
        )
    for found in diagnosis["findings"]:
        who = f"{found['meter']}, " if found["meter"] else ""
        lines += ["", f"{_SIGNS.get(found['severity'], '  ')} {who}{found['fault']}"]
        lines += _wrapped(found["sentence"], "   ")
        lines += _wrapped(f"Because: {found['evidence']}", "   ")
    shown = [meter for meter in diagnosis["meters"] if everybody or meter["findings"]]
    if shown:
        lines += ["", *_table([_COLUMNS, *map(_row, shown)])]
    return "\n".join(lines)


def _row(meter: Mapping[str, Any]) -> tuple[str, ...]:
    counted, delay = meter["statistics"], meter["statistics"]["delay"]
    kinds = ("tries", "timeouts", "checksum_errors", "collisions")
    noise = counted["noise"] + counted["cut"] + counted["unexpected"]
    times = (
        "-"
        if delay["mean"] is None
        else "/".join(f"{delay[kind] * 1000:.0f}" for kind in ("min", "mean", "max"))
    )
    return (
        textwrap.shorten(meter["name"], 24, placeholder="..."),
        *(str(counted[kind]) for kind in kinds),
        str(noise),
        str(counted["late"]),
        times,
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _look(state_dir: Path, line: str | None) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = ask(state_dir, "diagnosis", line=line)["lines"]
    return lines


def _only(state_dir: Path, line: str | None) -> str:
    """The line that is meant. Raises `ConfigError` where that is not clear."""
    if line is not None:
        return line
    names = [item["line"] for item in _look(state_dir, None)]
    if len(names) != 1:
        raise ConfigError(f"Say which line is meant: {', '.join(names) or 'there is none'}.")
    return str(names[0])


def _reset(state_dir: Path, line: str | None) -> int:
    for item in _look(state_dir, line):
        ask(state_dir, "reset_diagnosis", line=item["line"])
        print(f"The counters of line {item['line']} begin anew.")
    return 0


def _probe(state_dir: Path, line: str) -> None:
    """Check the line; tells how far it is where somebody sees it."""
    ask(state_dir, "start_check", line=line)
    try:
        while (check := _look(state_dir, line)[0]["check"])["running"]:
            _narrate(f"\r{check['done']} of {check['total']}, asking {check['current']}\033[K")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        ask(state_dir, "stop_check", line=line)
        raise
    finally:
        _narrate("\r\033[K")
    if check["reason"]:
        print(
            f"The check ended after {check['done']} of {check['total']} meters: {check['reason']}",
            file=sys.stderr,
        )


def _narrate(words: str) -> None:
    if sys.stderr.isatty():
        print(words, end="", file=sys.stderr, flush=True)


def _trace(state_dir: Path, line: str, *, as_json: bool) -> int:
    last = 0
    while True:
        entries = ask(state_dir, "line_trace", line=line, after=last)["entries"]
        for entry in entries:
            print(json.dumps(entry, ensure_ascii=False) if as_json else "\n".join(_told(entry)), flush=True)
            last = entry["id"]
        if not entries:
            time.sleep(POLL_S)


def _told(entry: Mapping[str, Any]) -> Iterable[str]:
    again = f" (try {entry['try']})" if entry["try"] > 1 else ""
    meter = f"  {entry['meter']}" if entry["meter"] else ""
    clock = datetime.fromisoformat(entry["time"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    yield f"{clock} > {entry['request_meaning']}{again}{meter}"
    yield f"             {_hex(entry['request'])}"
    delay = "" if entry["delay"] is None else f"  after {entry['delay'] * 1000:.0f} ms"
    yield f"             < {entry['answer_meaning']}{delay}"
    if entry["received"]:
        yield f"             {_hex(entry['received'])}"


def _record(state_dir: Path, line: str, path: Path) -> int:
    file = str(path.absolute())
    ask(state_dir, "record_line", line=line, path=file)
    print(f"Recording line {line} to {path}; Ctrl+C ends.", file=sys.stderr)
    found: dict[str, Any] = {"recorded": 0}
    try:
        while (found := _look(state_dir, line)[0])["recording"] == file and not found["recording_reason"]:
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        found = _look(state_dir, line)[0]
    except ClientError as error:
        raise ClientError(
            f"The recording {path} has ended after {found['recorded']} requests. {error}"
        ) from error
    if found["recording"] != file:
        print(f"Somebody else has ended the recording; 'cme-tui simulate --replay {path}' plays it.")
        return 0
    ask(state_dir, "record_line", line=line, path=None)
    reason = str(found["recording_reason"])
    print(
        reason
        or f"{found['recorded']} requests are in {path}; 'cme-tui simulate --replay {path}' plays them."
    )
    return 1 if reason else 0


def _wrapped(words: str, indent: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _hex(digits: str) -> str:
    return " ".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"

"""`cme-tui decode`: explains M-Bus telegrams given as a file, as hex digits, or on stdin."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

from core.mbus.telegram import Record, Telegram, TelegramError, decode

_COMMENT = re.compile(r"(#|;|//).*")
_PREFIX = re.compile(r"0[xX]")
_SEPARATORS = re.compile(r"[\s,:_-]+")
_OVERHEAD: Final = 6
_COLUMNS: Final = 80
_NAME_WIDTH: Final = 44
_VALUE_WIDTH: Final = 19  # a date and time


class _InputError(Exception):
    """What was given can be read neither as a file nor as hex digits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="FILE|HEX|-")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--key", metavar="HEX", help="AES key of the meter, 32 hex digits")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code."""
    return run(arguments.source, as_json=arguments.json, key=arguments.key)


def run(source: str, *, as_json: bool, key: str | None) -> int:
    """Decode every telegram of `source`: a file, hex digits, or "-" for stdin.

    Files hold hex digits (blanks, line ends, "0x" and comments are skipped) or binary frames. Returns the exit
    code: 0, 1 with a telegram that is not valid, 2 for bad input or a bad key.
    """
    try:
        secret = _key(key)
        frames = split_frames(_load(source))
    except _InputError as error:
        print(f"cme-tui decode: {error}", file=sys.stderr)
        return 2
    results = [_decoded(frame, secret) for frame in frames]
    if as_json:
        print(json.dumps([_as_json(result) for result in results], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(_as_text(result) for result in results))
    return 1 if any(_error(result) for result in results) else 0


def split_frames(content: bytes) -> list[bytes]:
    """Cut bytes into frames by their length bytes; what is no long frame stays as one piece to the end."""
    frames = []
    at = 0
    while at < len(content):
        length = len(content) - at
        head = content[at : at + 4]
        if len(head) == 4 and head[0] == head[3] == 0x68 and head[1] == head[2]:
            length = min(length, head[1] + _OVERHEAD)
        frames.append(content[at : at + length])
        at += length
    return frames


def _key(key: str | None) -> bytes | None:
    if key is None:
        return None
    try:
        secret = bytes.fromhex(key)
    except ValueError:
        secret = b""
    if len(secret) != 16:
        raise _InputError("the key must have 32 hex digits")
    return secret


def _load(source: str) -> bytes:
    """The bytes that `source` stands for."""
    if source == "-":
        return _not_empty(_unwrap(sys.stdin.buffer.read(), "stdin"), "stdin")
    try:
        content = Path(source).read_bytes()
    except (OSError, ValueError) as error:
        given = _from_hex(source)
        if given is not None:
            return _not_empty(given, "the hex digits")
        reason = "there is no such file, and it is not hex digits"
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            reason = f"cannot be read: {error.strerror}"
        raise _InputError(f"'{_cut(source, 40)}': {reason}") from None
    return _not_empty(_unwrap(content, source), source)


def _not_empty(content: bytes, where: str) -> bytes:
    if not content:
        raise _InputError(f"there is no telegram in {where}")
    return content


def _unwrap(content: bytes, where: str) -> bytes:
    """The bytes that a file holds, as such or in hex digits."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    given = _from_hex(text)
    if given is not None:
        return given
    if content[0] == 0x68 and content[3:4] == b"\x68":
        return content
    raise _InputError(f"{where} holds neither hex digits nor binary frames")


def _from_hex(text: str) -> bytes | None:
    lines = (_COMMENT.sub("", line) for line in text.splitlines())
    digits = _SEPARATORS.sub("", _PREFIX.sub("", " ".join(lines)))
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def _decoded(frame: bytes, key: bytes | None) -> Telegram | TelegramError:
    try:
        return decode(frame, key)
    except TelegramError as error:
        return error


def _error(result: Telegram | TelegramError) -> str:
    """Why a telegram gives no data; "" if it does."""
    if isinstance(result, TelegramError):
        return str(result)
    if result.structure == "application error":
        return f"The meter answers with an application error: {result.application_error}."
    return f"{result.problem[:1].upper()}{result.problem[1:]}." if result.problem else ""


def _as_json(result: Telegram | TelegramError) -> dict[str, Any]:
    error = _error(result)
    if isinstance(result, TelegramError) or result.structure == "application error":
        return {"error": error}
    fields: dict[str, Any] = {
        "id": result.identification or None,
        "manufacturer": result.manufacturer or None,
        "version": result.version if result.header == "long" else None,
        "medium": result.medium or None,
        "medium_code": result.medium_code if result.medium else None,
        "access_number": result.access_number if result.header != "none" else None,
        "status": result.status if result.header != "none" else None,
        "records": [_record_as_json(record) for record in result.records],
    }
    if result.alarm is not None:
        fields["alarm"] = result.alarm
    if error:
        fields["error"] = error
    return fields


def _record_as_json(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "dib": record.dib,
        "description": record.description,
        "unit": record.unit,
        "value": record.value_text if record.raw is not None else None,
        "raw": record.raw_text,
        "function": record.function.label,
        "storage": record.storage,
        "tariff": record.tariff,
        "subunit": record.subunit,
    }
    if record.raw is None:
        fields["error"] = record.error
    return fields


def _as_text(result: Telegram | TelegramError) -> str:
    if isinstance(result, TelegramError):
        return textwrap.fill(f"not valid: {result}", _COLUMNS)
    lines = [_title(result)]
    if error := _error(result):
        lines.append(textwrap.fill(error, _COLUMNS))
    if result.alarm is not None:
        lines.append(f"alarm status {result.alarm:02X}h")
    names = [_name(record) for record in result.records]
    width = min(max(map(len, names), default=0), _NAME_WIDTH)
    for record, name in zip(result.records, names, strict=True):
        value = record.value_text if record.raw is not None else "--"
        line = f"  {_cut(name, width):<{width}}  {value:>{_VALUE_WIDTH}} {record.error or record.unit}"
        lines.append(_cut(line.rstrip(), _COLUMNS))
    if result.more_follows:
        lines.append("  another telegram follows: the meter has more to say")
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _title(telegram: Telegram) -> str:
    words = [telegram.identification, telegram.manufacturer, telegram.medium]
    if telegram.header == "long":
        words.insert(2, f"version {telegram.version}")
    if telegram.header != "none":
        words += [f"access {telegram.access_number}", f"status {telegram.status:02X}h"]
    return "  ".join(word for word in words if word) or telegram.structure


def _name(record: Record) -> str:
    words = [record.description]
    if record.function:
        words.append(record.function.label)
    if record.storage:
        words.append(f"storage {record.storage}")
    if record.tariff:
        words.append(f"tariff {record.tariff}")
    if record.subunit:
        words.append(f"subunit {record.subunit}")
    return ", ".join(words)

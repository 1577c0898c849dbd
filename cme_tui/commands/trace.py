"""`cme-tui trace`: the APDUs and the events of the DLMS port of a running gateway, as they come."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cme_tui.client import ClientError, connect
from cme_tui.commands.arguments import add_gateway, state_dir
from core.dlms.describe import Part, describe

_HELP: Final = """\
Shows what goes over the DLMS port of the running gateway, until Ctrl+C: each APDU as received (>) or sent (<), with
the client's address, client and server SAP, protection, size on the wire and meaning, and what happens to
connections and associations (*). Ciphered APDUs are shown in clear where the gateway could decipher them. Passwords
and keys are never shown.
"""
_JSON_HELP: Final = """\
--json prints one object a line, either
  {"trace": {"id", "time", "peer", "client", "logical_device", "sent", "protection", "size", "title", "apdu",
             "parts": [{"depth", "label", "value", "offset", "length"}]}}
or
  {"event": {"id", "time", "peer", "client", "logical_device", "event", "text"}}
"time" is ISO 8601 in UTC, "protection" is "" for in clear, "apdu" is hexadecimal, at most 4096 bytes, with ** for
each byte that is not shown. "event" is connected, associated, refused, not deciphered, replay, released or
disconnected.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description, parser.epilog = _HELP, _JSON_HELP
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_gateway(parser)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--peer", metavar="HOST", help="only this client, HOST or HOST:PORT")
    parser.add_argument("--hex", action="store_true", help="the bytes, too")
    parser.add_argument("--once", action="store_true", help="end when the gateway has sent an answer")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    return run(
        state_dir(arguments),
        as_json=arguments.json,
        peer=arguments.peer,
        with_hex=arguments.hex,
        once=arguments.once,
    )


def run(state_dir: Path, *, as_json: bool, peer: str | None, with_hex: bool, once: bool) -> int:
    """Print until Ctrl+C, or with `once` until the gateway has sent an APDU; only of host `peer`, if given.

    Raises `CmeError` where no gateway runs there, or it ends.
    """
    try:
        with connect(state_dir, timeout=None) as client:
            lines = client.call("trace")
            if next(lines, None):
                print(f"Watching the DLMS port of the gateway on {state_dir}; Ctrl+C ends.", file=sys.stderr)
            for line in lines:
                (item,) = line.values()
                if peer is not None and peer not in (item["peer"], _host(item["peer"])):
                    continue
                if "trace" in line:
                    _show_apdu(item, as_json, with_hex)
                else:
                    print(json.dumps(line, ensure_ascii=False) if as_json else _event(item), flush=True)
                if once and "trace" in line and item["sent"]:
                    return 0
    except KeyboardInterrupt:
        return 0
    raise ClientError(
        f"The gateway on {state_dir} ended the trace; see with 'cme-tui status' whether it runs."
    )


def _show_apdu(item: dict[str, Any], as_json: bool, with_hex: bool) -> None:
    parts = describe(bytes.fromhex(item["apdu"].replace("**", "00")), sent=item["sent"]).parts
    if as_json:
        item = {**item, "parts": [_part(part) for part in parts]}
        print(json.dumps({"trace": item}, ensure_ascii=False), flush=True)
        return
    lines = [_heading(item)]
    if with_hex:
        lines += _hex(item["apdu"])
    for part in parts[1:]:
        value = f": {part.value}" if part.value else ""
        lines.append(f"    {'  ' * part.depth}{part.label}{value}")
    print("\n".join(lines), flush=True)


def _part(part: Part) -> dict[str, Any]:
    return {
        "depth": part.depth,
        "label": part.label,
        "value": part.value,
        "offset": part.offset,
        "length": part.length,
    }


def _heading(item: dict[str, Any]) -> str:
    protection = f"  {item['protection']}" if item["protection"] else ""
    return (
        f"{_clock(item['time'])} {'<' if item['sent'] else '>'} {item['peer']}  {_saps(item)}{protection}  "
        f"{item['size']} B  {item['title']}"
    )


def _event(item: dict[str, Any]) -> str:
    text = f": {item['text']}" if item["text"] else ""
    return f"{_clock(item['time'])} * {item['peer']}  {_saps(item)}  {item['event']}{text}"


def _saps(item: dict[str, Any]) -> str:
    return "-" if item["client"] is None else f"{item['client']}->{item['logical_device']}"


def _hex(digits: str) -> list[str]:
    pairs = [digits[at : at + 2] for at in range(0, len(digits), 2)]
    return [f"    {at:04x}  {' '.join(pairs[at : at + 16])}" for at in range(0, len(pairs), 16)]


def _clock(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _host(peer: str) -> str:
    return peer.rpartition(":")[0].strip("[]")

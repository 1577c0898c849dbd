"""`cme-tui status`: how the gateway that runs on a state directory is doing."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from cme_tui.client import ask
from cme_tui.commands.arguments import add_gateway, state_dir
from cme_tui.wording import age, clock_offset, count, lowest, moment

_QUIET = ("ok", "waiting", "disabled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_gateway(parser)
    parser.add_argument("--json", action="store_true")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    return run(state_dir(arguments), as_json=arguments.json)


def run(state_dir: Path, *, as_json: bool) -> int:
    """Print the status. Raises `CmeError` where no gateway runs there."""
    status = ask(state_dir, "status")
    print(json.dumps(status, indent=2, ensure_ascii=False) if as_json else "\n".join(_text(status)))
    return 0


def _text(status: dict[str, Any]) -> list[str]:
    now = _ms(status["time"])
    lines = [
        f"{status['name']}  serial {status['serial']}  system title {status['system_title']}",
        f"version {status['version']}, up {age(_ms(status['started']), now)}, state in {status['state_dir']}",
        f"DLMS server {_server(status['dlms'])}",
        f"Security: {_security(status['dlms'])}",
    ]
    if offset := clock_offset(status["clock_offset_ms"]):
        lines.append(f"Clock {status['time']}, set to {offset}")
    lines += [f"Line {line['name']} {_line(line, now)}{_schedule(line)}" for line in status["lines"]]
    states = Counter(meter["state"] for meter in status["meters"])
    lines.append(
        f"{count(len(status['meters']), 'meter')}{': ' if states else ''}"
        + ", ".join(f"{number} {state}" for state, number in states.most_common())
    )
    lines += [
        f"  {meter['name']} (device {meter['logical_device']}): {meter['reason'] or meter['state']}"
        + (f" Next try {moment(_ms(meter['next_try']))}." if meter["next_try"] else "")
        for meter in status["meters"]
        if meter["state"] not in _QUIET
    ]
    lines.append(count(len(status["associations"]), "DLMS client"))
    lines += [f"  {_client(client, now)}" for client in status["associations"]]
    lines.append(count(len(status["alarms"]), "alarm"))
    lines += [f"  {alarm}" for alarm in status["alarms"]]
    return lines


def _server(dlms: dict[str, Any]) -> str:
    if not dlms["listening"]:
        return f"is not listening: {dlms['reason']}" if dlms["enabled"] else "is switched off"
    devices = count(dlms["logical_devices"], "logical device")
    return f"listens on {dlms['host']}:{dlms['port']}, {devices}"


def _security(dlms: dict[str, Any]) -> str:
    return (
        f"authentication {lowest(dlms['authentication'])}, policy {dlms['policy']}, "
        f"frame counter {dlms['frame_counter']}"
    )


def _line(line: dict[str, Any], now: int) -> str:
    text = f"{line['state']} for {age(_ms(line['since']), now)}: {line['url']}, {line['baud']} baud, "
    text += count(line["meters"], "meter")
    sweep = line["sweep"]
    if line["reason"]:
        return f"{text}; {line['reason']}"
    if sweep is None:
        return f"{text}; not swept yet"
    failed = f", {sweep['failed']} failed" if sweep["failed"] else ""
    if sweep["finished"] is None:
        return f"{text}; sweep {sweep['done']}/{sweep['total']}{failed}"
    read = f"{sweep['done'] - sweep['failed']} of {sweep['total']} read"
    return f"{text}; last sweep {age(_ms(sweep['finished']), now)} ago, {read}{failed}"


def _schedule(line: dict[str, Any]) -> str:
    schedule = line["schedule"]
    if schedule is None:
        return ""
    skipped = f"; {count(schedule['skipped'], 'readout')} skipped" if schedule["skipped"] else ""
    return f"{skipped}; {schedule['sentence']}" if schedule["sentence"] else skipped


def _client(client: dict[str, Any], now: int) -> str:
    words = [client["peer"]]
    if client["client"]:
        channel = client["channel"]
        words += [
            client["client"],
            f"device {client['logical_device']}"
            + (f", channel {channel}" if channel not in (None, client["logical_device"]) else ""),
            f"authentication {client['authentication']}",
            f"ciphering {client['ciphering']}",
        ]
    else:
        words.append("not associated")
    words += [f"for {age(_ms(client['since']), now)}", count(client["requests"], "request")]
    if client["errors"]:
        words.append(f"{count(client['errors'], 'error')}, the last: {client['last_error']}")
    return "  ".join(words)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)

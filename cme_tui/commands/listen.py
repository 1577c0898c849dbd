"""`cme-tui listen`: a head-end system's receiver of notifications, for technicians and tests."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from cme_tui.commands.arguments import number, port
from core.config import ConfigError, load_config
from core.cosem import dialect
from core.cosem.codes import Codes
from core.dlms.admission import Keys
from core.errors import CmeError
from core.events.codes import event_name
from core.push.behaviour import Behaviour, BehaviourError, at_random, in_turn, parse
from core.push.content import Content, Reading
from core.push.received import Received
from core.push.receiver import Receiver
from core.secrets import KEY_BYTES, load_secrets
from core.statedir import StateDir

ENCRYPTION_VARIABLE: Final = "CME_ENCRYPTION_KEY"
AUTHENTICATION_VARIABLE: Final = "CME_AUTHENTICATION_KEY"

_PATIENCE_S: Final = 10.0

_HELP: Final = """\
Receives notifications as a head-end system does and prints them, until Ctrl+C: those of a gateway whose [push] names
this machine and port. A connection is closed in order only when everything in it was printed; else it is reset, and
the gateway tries again.
"""
_MORE: Final = """\
Keys open ciphered notifications. They come from the state directory of the gateway, from two files, or from the
environment (CME_ENCRYPTION_KEY, CME_AUTHENTICATION_KEY), 32 hex digits each; never from the command line.

--misbehave KIND[:N][*TIMES],... treats each connection in the next way of the list, from the start again after the
last one; with --seed in any of them, at random:
  take           as it should be
  drop           reset at once
  delay:SECONDS  read late
  half:BYTES     reset after so many bytes
  refuse:SECONDS reset, and not listen for a while
  hang           taken and never closed
  lose           taken and printed, then reset: the gateway does not hear that it arrived
  die            end without a word when the first bytes come

--json prints one object a line:
  {"received", "source", "type", "gateway", "meter", "setup", "object", "rows" | "events", "ciphered", "report_id"}
"type" is that of the [[push.report]]. "rows": [{"time", "values": [{"object", "value", "unit"}]}], values as exact
decimal numbers in text, null where missing. "events": [{"time", "object", "code", "message"}]. on_installation has
"address" and "system_title" instead. What cannot be read has "type" null, "apdu" in hexadecimal and a "problem".
"""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the keys of the gateway are; never an argument itself, which every user of the machine could see."""

    state_dir: Path | None = None
    encryption_file: Path | None = None
    authentication_file: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description, parser.epilog = _HELP, _MORE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--port", type=port, metavar="N", required=True, help="0 for any free port")
    parser.add_argument("--host", metavar="H", default="0.0.0.0", help="only on this address of the machine")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument(
        "--keys-from", type=Path, metavar="DIR", help="keys of the gateway with this state directory"
    )
    parser.add_argument("--encryption-key-file", type=Path, metavar="FILE")
    parser.add_argument("--authentication-key-file", type=Path, metavar="FILE")
    parser.add_argument("--misbehave", metavar="LIST", help="treat connections badly, see below")
    parser.add_argument("--seed", type=number(0, 2**32), metavar="N", help="misbehave at random")
    parser.add_argument(
        "--count", type=number(1, 1_000_000_000), metavar="N", help="end after so many that could be read"
    )


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    keys = KeySource(arguments.keys_from, arguments.encryption_key_file, arguments.authentication_key_file)
    return run(
        arguments.host,
        arguments.port,
        keys,
        as_json=arguments.json,
        misbehave=arguments.misbehave,
        seed=arguments.seed,
        count=arguments.count,
    )


def run(
    host: str,
    port: int,
    source: KeySource,
    *,
    as_json: bool,
    misbehave: str | None,
    seed: int | None,
    count: int | None,
) -> int:
    """Print notifications until SIGINT or SIGTERM, or until `count` of them could be read; returns 0.

    `misbehave`: what `core.push.behaviour.parse` reads, in turn, or at random for a `seed`. Raises `CmeError` for keys
    that cannot be used, for an unknown behaviour and for a port that is taken.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="replace"
        )  # a letter that the terminal lacks must not lose a notification
    keys = _keys(source, os.environ)
    codes = _codes(source.state_dir)
    return asyncio.run(_listen(host, port, keys, codes, _behaviours(misbehave, seed), as_json, count))


async def _listen(
    host: str,
    port: int,
    keys: Keys | None,
    codes: Codes,
    behaviours: Iterable[Behaviour],
    as_json: bool,
    count: int | None,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for wanted in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(wanted, stop.set)
    printer = _Printer(as_json, count, stop)
    receiver = Receiver(printer.take, keys=keys, codes=codes, behaviours=behaviours)
    await receiver.start(host, port)
    opens = "plain and ciphered ones" if keys else "plain ones; of ciphered ones only the header is shown"
    print(f"Listening for notifications on {receiver.host}:{receiver.port}: {opens}", file=sys.stderr)
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(receiver.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    # Those whose notifications were printed hear of it yet.
    await receiver.stop(_PATIENCE_S if printer.done else 0)
    for end in ends:
        end.cancel()
    if printer.error is not None:
        raise printer.error
    if not stop.is_set():
        ends[1].result()
    return 0


class _Printer:
    def __init__(self, as_json: bool, count: int | None, stop: asyncio.Event) -> None:
        self.error: Exception | None = None
        self._as_json = as_json
        self._left = count
        self._stop = stop

    @property
    def done(self) -> bool:
        """Whether as many were printed as were wanted."""
        return self._left == 0

    def take(self, received: Received) -> None:
        """Print it. Raises OSError where nobody reads the output any more."""
        if self.done:
            raise ConnectionAbortedError("enough were received")
        text = json.dumps(as_object(received), ensure_ascii=False) if self._as_json else as_text(received)
        try:
            print(text, flush=True)
        except OSError as error:
            broken = isinstance(error, BrokenPipeError)
            self.error = error if broken else CmeError(f"The output cannot be written: {error.strerror}.")
            self._stop.set()
            raise
        if self._left is not None and not received.problem:
            self._left -= 1
            if self.done:
                self._stop.set()


def as_object(received: Received) -> dict[str, Any]:
    """The line of `--json`."""
    content = received.content
    result: dict[str, Any] = {
        "received": _utc(received.received_ms),
        "source": received.source,
        "type": content.type if content else None,
        "gateway": content.gateway if content else None,
        "meter": (content.meter or None) if content else None,
        "setup": content.setup if content else None,
        "object": (content.object or None) if content else None,
    }
    if content is None:
        result |= {"apdu": received.apdu.hex(), "problem": received.problem}
    elif content.type == "on_installation":
        result |= {"address": content.address, "system_title": content.system_title.hex().upper()}
    elif content.type.endswith("_log"):
        result["events"] = [
            {"time": _iso(event.time), "object": event.object, "code": event.code, "message": event.message}
            for event in content.events
        ]
    else:
        result["rows"] = [
            {"time": _iso(row.time), "values": [_value(reading) for reading in row.readings]}
            for row in content.rows
        ]
    return result | {"ciphered": received.ciphered, "report_id": received.report_id}


def as_text(received: Received) -> str:
    """Some lines for people. What a sender wrote cannot steer the terminal."""
    return "\n".join(
        "".join(letter if letter.isprintable() else "?" for letter in line) for line in _lines(received)
    )


def _lines(received: Received) -> Iterator[str]:
    how = "ciphered" if received.ciphered else "plain"
    number = "" if received.report_id is None else f"report {received.report_id}, "
    content = received.content
    when = f"{_utc(received.received_ms)} {received.source}"
    if content is None:
        yield f"{when}  {number}not read: {received.problem}"
        if received.apdu:
            yield f"  {received.apdu.hex()}"
        return
    yield f"{when}  {content.type.replace('_', ' ')}, {number}{how}"
    yield f"  {' '.join(part for part in (content.gateway, content.meter, content.object) if part)}"
    if content.manufacturer:
        kind = f"device type {content.device_type}, version {content.version}"
        yield f"  manufacturer {content.manufacturer}, {kind}"
    if content.address:
        yield f"  address {content.address}, system title {content.system_title.hex().upper()}"
    yield from _rows(content)
    for event in content.events:
        words = event_name(event.code) + (f": {event.message}" if event.message else "")
        yield f"  {event.time:%Y-%m-%d %H:%M:%S %z}  {event.code:>4} {words}"


def _rows(content: Content) -> Iterator[str]:
    for row in content.rows:
        yield f"  {row.time:%Y-%m-%d %H:%M:%S %z}"
        for reading in row.readings:
            yield f"    {reading.object:<18} {_exact(reading) or '--':>16} {reading.unit}".rstrip()


def _value(reading: Reading) -> dict[str, Any]:
    return {"object": reading.object, "value": _exact(reading), "unit": reading.unit}


def _exact(reading: Reading) -> str | None:
    return format(reading.value, "f") if isinstance(reading.value, Decimal) else reading.value


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _behaviours(misbehave: str | None, seed: int | None) -> Iterable[Behaviour]:
    if misbehave is None:
        if seed is not None:
            raise BehaviourError("--seed is for --misbehave: say in which ways.")
        return ()
    behaviours = parse(misbehave)
    return in_turn(behaviours) if seed is None else at_random(behaviours, seed)


def _codes(state_dir: Path | None) -> Codes:
    if state_dir is None:
        return Codes()
    state = StateDir(state_dir)
    config = load_config(state.config)
    return dialect.find(config.dlms.dialect, state.dialects).codes_with(config.obis)


def _keys(source: KeySource, environment: Mapping[str, str]) -> Keys | None:
    """The keys, from the first place that has any. Raises `ConfigError`; no message contains a key."""
    if source.state_dir is not None:
        secrets = load_secrets(StateDir(source.state_dir).secrets)
        return Keys(secrets.encryption_key, secrets.authentication_key)
    encryption = _key(source.encryption_file, ENCRYPTION_VARIABLE, environment)
    authentication = _key(source.authentication_file, AUTHENTICATION_VARIABLE, environment)
    if encryption is None and authentication is None:
        return None
    if encryption is None or authentication is None:
        raise ConfigError(
            "Give both keys: a ciphered notification needs the encryption and the authentication key."
        )
    return Keys(encryption, authentication)


def _key(file: Path | None, variable: str, environment: Mapping[str, str]) -> bytes | None:
    where = str(file or variable)
    try:
        text = environment.get(variable) if file is None else file.read_text(encoding="ascii")
        if text is None:
            return None
        key = bytes.fromhex(text.strip())
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.") from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{where} must be a key of {2 * KEY_BYTES} hex digits.")
    return key

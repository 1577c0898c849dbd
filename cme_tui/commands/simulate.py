"""`cme-tui simulate`: a virtual M-Bus line over TCP or a pseudo terminal, for training and tests."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cme_tui.commands.arguments import port
from cme_tui.commands.simulate_keys import misfortune_keys
from core.errors import CmeError
from core.mbus.recording import RecordedBus, read_recording
from core.mbus.simulator import (
    SimulatedBus,
    SimulatedMeter,
    SimulatedPty,
    arrange,
    load_meters,
    make_fleet,
    serve_tcp,
)
from core.mbus.simulator.misfortune import described
from core.mbus.transport import BAUD_RATES

_HOST = "127.0.0.1"
_BAUD = 2400

_HELP: Final = """\
Plays a line of meters, until Ctrl+C: telegrams of real meters whose registers move on, with the times of a wire. In a
terminal, keys turn misfortunes on and off while it runs; ? lists them.
"""
_MORE: Final = """\
--misfortune NAME[:ARG][@METER], of all meters or of the one with this primary or secondary address (F: any digit):
  dead               hears and says nothing
  slow[:SECONDS]     answers late, but in time (0.1)
  late[:SECONDS]     answers after the time-out (0.6)
  checksum[:N]       every n-th telegram has a wrong one (1)
  garbage[:HEX]      bytes in front of every answer (00FF6811)
  cut[:N]            telegrams break off after n bytes (20)
  twin               a second meter has the same addresses
  impostor           its telegrams name another meter
  fcb[:HOW]          the frame count bit is ignored, stuck or lost (ignored)
  repeating          announces a further telegram and repeats itself
  endless            announces further telegrams for ever
  chatty[:SECONDS]   talks unasked, once in so many (2)
  address:N          it has this primary address; two with one address collide
  baud:N             it understands this rate only
  encrypted[:MODE]   it encrypts in security mode 5 or 7 (5)
or of the line:
  echo               the converter repeats what the master sends
  noise[:SHARE]      that many answers, and the idle line, are disturbed (0.2)
  broken             the cable is broken
  loose[:SECONDS]    the cable is whole and broken in turn, for so long (60)
The same words stand in the URL of a gateway's line: sim:?meters:40&echo&late:0.3@5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description, parser.epilog = _HELP, _MORE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--tcp", type=port, metavar="PORT", help="serve on 127.0.0.1:PORT, 0 for any free port"
    )
    where.add_argument("--pty", action="store_true", help="serve on a new pseudo terminal")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--telegrams", type=Path, metavar="DIR", help="folder of .hex telegrams")
    who.add_argument(
        "--meters", type=int, metavar="N", help="a fleet of N meters whose numbers are nearly equal"
    )
    who.add_argument("--replay", type=Path, metavar="FILE", help="answer as a recorded line did")
    parser.add_argument(
        "--misfortune",
        action="append",
        default=[],
        metavar="NAME[:ARG][@METER]",
        help="what goes wrong, see below; may be repeated",
    )
    parser.add_argument(
        "--encrypted",
        type=int,
        choices=(5, 7),
        metavar="5|7",
        help="all meters that can encrypt in this security mode, with keys that are printed",
    )
    parser.add_argument("--baud", type=int, help="2400 by default, or that of the recording")
    parser.add_argument("--fast", action="store_true", help="answer without the wire's delays")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    encrypted = [f"encrypted:{arguments.encrypted}"] if arguments.encrypted else []
    return run(
        tcp=arguments.tcp,
        pty=arguments.pty,
        telegrams=arguments.telegrams,
        baud=arguments.baud,
        fast=arguments.fast,
        meters=arguments.meters,
        replay=arguments.replay,
        items=[*arguments.misfortune, *encrypted],
    )


def run(
    *,
    tcp: int | None,
    pty: bool,
    telegrams: Path | None = None,
    baud: int | None = None,
    fast: bool = False,
    meters: int | None = None,
    replay: Path | None = None,
    items: Sequence[str] = (),
) -> int:
    """Serve the line until SIGINT or SIGTERM; the exit code.

    `tcp` is a port on the local host (0 takes a free one), `pty` a pseudo terminal; one of them is needed.
    `fast` answers at once instead of with the times of a wire at `baud`, by default 2400 or that of the recording.
    The meters are those of the folder `telegrams`, a fleet of so many `meters`, or what was recorded in `replay`.
    `items` are misfortunes and the like (`core.mbus.simulator.arrange`).
    """
    if tcp is None and not pty:
        return _fail("Say how to reach the simulated line: --tcp PORT or --pty.")
    if tcp is not None and not 0 <= tcp < 65536:
        return _fail(f"{tcp} is no TCP port: give one from 1 to 65535, or 0 for a free one.")
    if baud is not None and baud not in BAUD_RATES:
        return _fail(f"{baud} baud is no rate of an M-Bus: choose one of {', '.join(map(str, BAUD_RATES))}.")
    try:
        bus: SimulatedBus
        if replay:
            recording = read_recording(replay)
            bus, baud = RecordedBus(recording.tries), baud or recording.baud
        else:
            baud = baud or _BAUD
            found = load_meters(telegrams) if meters is None else make_fleet(str(meters))
            bus = SimulatedBus(found, time.time, baud=baud)
        arrange(bus, items)
    except CmeError as error:
        return _fail(str(error))
    return asyncio.run(_serve(bus, tcp, pty, baud, fast))


async def _serve(bus: SimulatedBus, tcp: int | None, pty: bool, baud: int, fast: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = None
    if tcp is not None:
        try:
            server = await serve_tcp(bus, baud, _HOST, tcp, fast=fast)
        except OSError as error:
            print(f"Port {tcp} cannot be opened: {error.strerror}. Choose another one.", file=sys.stderr)
            return 1
        print(f"Simulated M-Bus line at tcp:{_HOST}:{server.sockets[0].getsockname()[1]}")
    line = SimulatedPty(bus, baud, fast=fast) if pty else None
    if line:
        print(f"Simulated M-Bus line at serial:{line.path}")
    pace = "as fast as possible" if fast else f"{baud} baud"
    who = "a recording" if isinstance(bus, RecordedBus) else f"{len(bus.meters)} meters"
    print(f"{who}, {pace}; end with Ctrl+C")
    if bus.meters:
        print(f"{'primary':>7}  {'secondary':<18}  medium")
    for meter in sorted(bus.meters, key=lambda meter: meter.address):
        print(_describe(meter).rstrip())
    if wrong := described(bus.misfortune):
        print(f"the line: {wrong}")
    sys.stdout.flush()
    with misfortune_keys(bus):
        await stop.wait()
    if line:
        line.close()
    if server:
        server.close()
    return 0


def _describe(meter: SimulatedMeter) -> str:
    words = [f"{meter.address:>7}", f"{meter.identity or '-'!s:<18}", meter.medium]
    if meter.baud:
        words.append(f"{meter.baud} baud")
    if meter.encryption:
        words.append(f"mode {meter.encryption.mode}, key {meter.encryption.key.hex().upper()}")
    return "  ".join([*words, described(meter.misfortune)])


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 2

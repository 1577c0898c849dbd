"""The bus doctor's check: asks every meter of a line a few times, so that the rules have something to judge."""

from __future__ import annotations

from typing import Final

from core.casefile import CaseFile
from core.diagnosis import CheckView
from core.errors import CmeError
from core.mbus.address import SELECTED, PrimaryAddress
from core.mbus.answer import is_ack, is_answer_of
from core.mbus.errors import LineDown, MbusError, RateRefused
from core.mbus.exchange import LATEST
from core.mbus.frame import Kind, req_ud2, select, snd_nke
from core.mbus.link import Link
from core.mbus.master import Master
from core.mbus.transport import BAUD_RATES
from core.mbus.watch import Purpose
from core.meter import Meter
from core.symptoms import SILENT

READOUTS: Final = 3
"""Of each meter: enough for the rules to judge it."""

EXTRA_S: Final = LATEST
"""For which it waits longer for an answer, so that it learns how late a meter is."""

MOST_ELSEWHERE: Final = 10
"""Silent meters that are looked for at other baud rates; a whole line of them would take an hour."""


async def check(file: CaseFile, master: Master) -> None:
    """Ask each meter; every request has the line for itself only as long as it lasts.

    `file.check` tells how far it is, also after an end before its end.
    """
    meters = list(file.meters.values())
    elsewhere, reason, done = MOST_ELSEWHERE, "", 0
    try:
        for meter in meters:
            file.check = CheckView(done, len(meters), meter.name)
            await _readouts(file, master, meter)
            if file.tally.tally(str(meter.address)).silent >= SILENT and elsewhere:
                elsewhere -= 1
                await _other_rates(file, master, meter)
            done += 1
    except CmeError as error:
        reason = str(error)
    finally:
        stopped = "It was stopped." if done < len(meters) else ""
        file.check = CheckView(done, len(meters), "", reason or stopped)


async def _readouts(file: CaseFile, master: Master, meter: Meter) -> None:
    tally = file.tally.tally(str(meter.address))
    ignored = []
    missed = 0
    for _ in range(READOUTS):
        before = tally.counters.missed
        # Only who is late is waited for: every disturbed answer would cost that time as well.
        async with master.session(file.rate(meter), EXTRA_S if missed else 0.0) as link:
            try:
                await link.read(meter.address, meter.identity)
                ignored.append(await _ignores_fcb(link, meter))
            except LineDown:
                raise
            except MbusError:
                pass  # that is what the counters are for
        if missed and tally.silent >= SILENT:
            break
        missed += tally.counters.missed - before
    # Once it may have been a telegram that came unasked.
    if ignored:
        tally.check_fcb(len(ignored) if len(ignored) > 1 and all(ignored) else 0)


async def _ignores_fcb(link: Link, meter: Meter) -> bool:
    """Whether it sends something else when it is asked again with the same frame count bit (EN 13757-2, 5.7.2)."""
    number = meter.address.number if isinstance(meter.address, PrimaryAddress) else SELECTED
    try:
        await link.ask(_opening(meter), is_ack, meter.address)
        request, accept = req_ud2(number, True), is_answer_of(number)
        first = await link.ask(request, accept, meter.address)
        again = await link.ask(request, accept, meter.address)
    finally:
        link.begin_anew(meter.address)
    return Kind.LONG in (first.kind, again.kind) and first.raw != again.raw


async def _other_rates(file: CaseFile, master: Master, meter: Meter) -> None:
    for baud in BAUD_RATES:
        if baud == file.rate(meter):
            continue
        try:
            async with master.session(baud) as link:
                await link.ask(_opening(meter), is_ack, meter.address, Purpose.COMMAND)
        except RateRefused:
            return
        except LineDown:
            raise
        except MbusError:
            continue


def _opening(meter: Meter) -> bytes:
    return (
        snd_nke(meter.address.number) if isinstance(meter.address, PrimaryAddress) else select(meter.address)
    )

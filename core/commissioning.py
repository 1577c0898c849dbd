"""Tells meters things (address, baud rate, application, clock), and believes only what they show afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from core.clock import Clock
from core.config import LineConfig
from core.errors import BadInputError, CmeError
from core.events import EventCode, Events
from core.fleet import Fleet
from core.installation import Installation
from core.lines import Line, Lines
from core.mbus.address import SELECTED, Address, PrimaryAddress, SecondaryAddress, parse_address
from core.mbus.answer import is_ack
from core.mbus.commands import (
    CI_BAUD,
    CI_DATA,
    Command,
    CommandError,
    MeterTime,
    SelectApplication,
    SetClock,
    SetPrimaryAddress,
    SwitchBaud,
    shown_time,
    user_data,
)
from core.mbus.errors import Garbled, MbusError, NoAnswer, NoData, RateRefused
from core.mbus.frame import select, snd_nke, snd_ud
from core.mbus.link import Link, ProbeResult, Readout
from core.mbus.telegram import Telegram, TelegramError
from core.mbus.watch import Purpose
from core.meter import Meter

log = logging.getLogger(__name__)

_NEAR: Final = timedelta(minutes=2)
"""A clock that was just set is not further off: type F has no seconds, and the meter was read in between."""

_ROUNDS: Final = 3
"""How often a meter with a new address is looked for at both: noise that hides it proves nothing."""

_ADDRESS_FIELD: Final = 5  # of a telegram, behind 68 L L 68 C


class _NotDoneError(CommandError):
    """The meter was told, and was seen to be as it was before."""


@dataclass(slots=True)
class _Target:
    """The one meter that is meant, while its line is held."""

    link: Link
    line: LineConfig
    address: Address
    baud: int  # at which it answers
    installed: Meter | None
    identity: SecondaryAddress | None  # who answered
    open: Callable[[bytes], Telegram]
    before: tuple[Telegram, ...] = ()  # none where it has no data
    told: bool = False  # the command was sent, and may have been heard

    def __str__(self) -> str:
        return f"Meter {self.identity or self.address} on {self.line.name}"

    def decoded(self, readout: Readout) -> tuple[Telegram, ...]:
        """Raises `TelegramError`."""
        if self.installed is not None:
            return self.installed.decode(readout.frames)
        return tuple(map(self.open, readout.frames))


class Commissioning:
    """Belongs to the core's event loop."""

    def __init__(
        self,
        lines: Lines,
        fleet: Fleet,
        installation: Installation,
        events: Events,
        clock: Clock,
        zone: Callable[[], ZoneInfo],
        open_frame: Callable[[bytes], Telegram],
    ) -> None:
        """`zone`: that of the meters' clocks; `open_frame` decodes a telegram, with the key of its meter."""
        self._open = open_frame
        self._zone = zone
        self._lines = lines
        self._fleet = fleet
        self._installation = installation
        self._events = events
        self._clock = clock
        self._tasks: set[asyncio.Task[str]] = set()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def command_meter(self, line: str, address: str, command: Command) -> str:
        """Tell a meter something and check it; what has come of it, a sentence. Goes on where nobody waits for it.

        Raises `CmeError` where more or less than one meter is meant, or the meter does not do it.
        """
        task = asyncio.create_task(self._command(line, parse_address(address), command))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[str]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who asked was told, or is gone

    async def _command(self, name: str, address: Address, command: Command) -> str:
        line = self._line(name)
        place = (name, str(address))
        installed = next((meter for meter in self._fleet if meter.config.place == place), None)
        baud = (installed.config.baud if installed else None) or line.config.baud
        extra = installed.config.margin_ms / 1000 if installed else 0.0
        try:
            async with line.master.session(baud, extra) as link:
                target = await self._find(link, line.config, address, baud, installed)
                result = await self._traced(target, command)
        except CmeError as error:
            log.warning("%s for %s on %s failed: %s", command, address, name, error)
            raise
        log.info("%s for %s on %s: %s", command, address, name, result)
        if target.installed is not None:
            result += await self._configure(target, target.installed, command)
        return f"{target}: {result}"

    async def _traced(self, target: _Target, command: Command) -> str:
        """Carry out a command. There is an event of all that may have changed the meter, also where that failed."""
        code = (
            EventCode.METER_CLOCK_ADJUSTED if isinstance(command, SetClock) else EventCode.PARAMETERS_CHANGED
        )
        key = target.installed.key if target.installed else None
        try:
            result = await self._carry_out(target, command)
        except CmeError as error:
            if target.told and not isinstance(error, _NotDoneError):
                self._events.log(code, f"Not sure: {error}", meter=key)
            raise
        self._events.log(code, f"{target}: {result}", meter=key)
        return result

    def _known(self, line: str, identity: SecondaryAddress | None) -> Meter | None:
        """The installed meter with this identity, which may go by another address."""
        if identity is None or not identity.exact:
            return None
        return next((meter for meter in self._fleet.on_line(line) if meter.known == identity), None)

    def _line(self, name: str) -> Line:
        for line in self._lines:
            if line.config.name == name:
                return line
        raise BadInputError(f'There is no line "{name}".')

    async def _find(
        self, link: Link, line: LineConfig, address: Address, baud: int, installed: Meter | None
    ) -> _Target:
        """Make sure that exactly one meter is meant. Raises `CommandError`, and then nothing was sent to it."""
        where = f"address {address} on {line.name}"
        probe = await link.probe(address)
        installed = installed or self._known(line.name, probe.found)
        if isinstance(address, SecondaryAddress) and probe.found and probe.found.exact:
            # One whose answer got lost may hear a wildcard, too.
            address = dataclasses.replace(probe.found, fabrication=address.fabrication)
        target = _Target(link, line, address, baud, installed, probe.found, self._open)
        if probe.result is ProbeResult.NOTHING:
            raise CommandError(f"No meter answers at {where} at {baud} baud, so nothing was sent.")
        try:
            if probe.result is ProbeResult.SEVERAL:
                raise CommandError(
                    f"Several meters answer at {where}, or the line is disturbed, so nothing was sent: name one by "
                    "its whole secondary address."
                )
            readout = await link.read(address, installed.identity if installed else None)
        except NoData:
            return target
        except MbusError as error:
            raise CommandError(f"{error} Nothing was sent to it.") from error
        try:
            return dataclasses.replace(target, before=target.decoded(readout))
        except TelegramError as error:
            raise CommandError(
                f"The telegram at {where} cannot be read, so nothing was sent: {error}"
            ) from error

    async def _carry_out(self, target: _Target, command: Command) -> str:
        match command:
            case SetPrimaryAddress(number):
                return await self._set_address(target, command, number)
            case SwitchBaud(baud):
                return await self._switch_baud(target, command, baud)
            case SetClock(time_ms):
                return await self._set_clock(target, time_ms)
        acknowledged = await _send(target, *user_data(command))
        after = target.decoded(await _read_again(target, acknowledged))
        if not acknowledged:
            raise CommandError(f"{target}: {_refusal(acknowledged)}.")
        if isinstance(command, SelectApplication):
            return _compared(target.before, after, command.subcode)
        return f"its application was reset; it answers with {_values(after)}."

    async def _set_address(self, target: _Target, command: SetPrimaryAddress, number: int) -> str:
        link, wanted = target.link, PrimaryAddress(number)
        if wanted == target.address:
            return f"it has primary address {number} already."
        taken = [meter for meter in self._fleet if meter.config.place == (target.line.name, str(number))]
        if taken and taken[0] is not target.installed:
            raise CommandError(f"Primary address {number} is that of {taken[0].name}, so nothing was sent.")
        present = await link.probe(wanted)
        if present.result is not ProbeResult.NOTHING:
            if present.result is ProbeResult.ONE and present.found and present.found == target.identity:
                return f"it has primary address {number} already."
            raise CommandError(f"A meter answers at primary address {number} already, so nothing was sent.")
        acknowledged = await _send(target, *user_data(command))
        await _require_at(target, wanted, acknowledged)
        return f"it answers at primary address {number} now{await _left_behind(target)}."

    async def _switch_baud(self, target: _Target, command: SwitchBaud, baud: int) -> str:
        link = target.link
        if baud == target.baud:
            return f"it speaks at {baud} baud already."
        request = user_data(command)
        try:
            await link.use(baud)
        except RateRefused as error:
            raise CommandError(
                f"{error} Nothing was sent to the meter, which could not be heard then."
            ) from error
        await link.use(target.baud)
        acknowledged = await _send(target, *request)
        if await _answers(target, baud):
            return f"it speaks at {baud} baud now."
        if await _answers(target, target.baud):
            raise _NotDoneError(f"{target} still speaks at {target.baud} baud: {_refusal(acknowledged)}.")
        for other in sorted(CI_BAUD, key=lambda rate: abs(rate - 2400)):
            if other not in (baud, target.baud) and await _answers(target, other):
                raise CommandError(
                    f"{target} speaks at {other} baud now, instead of {baud}: set that as its baud."
                )
        raise CommandError(
            f"{target} answers at no baud rate any more; a meter that was not spoken to goes back to {target.baud} "
            "baud by itself, mostly within a minute. Read it again then, and look at the bus if it stays silent."
        )

    async def _set_clock(self, target: _Target, time_ms: int | None) -> str:
        shown = shown_time(target.before)
        moment = self._clock.now_ms() if time_ms is None else time_ms
        wanted = _meter_time(moment, self._zone(), shown)
        acknowledged = await _send(target, CI_DATA, wanted.to_bytes())
        after = shown_time(target.decoded(await _read_again(target, acknowledged)))
        if after is None:
            if not acknowledged:
                raise CommandError(f"{target} did not acknowledge, and its telegram does not show its time.")
            return "it acknowledged; its telegram does not show its time, so that cannot be checked."
        expected = _meter_time(moment, self._zone(), after)
        if abs(after.local - expected.local) > _NEAR:
            raise CommandError(
                f"{target} shows {after.local:%Y-%m-%d %H:%M}, not {expected.local:%Y-%m-%d %H:%M}: "
                f"{_refusal(acknowledged)}."
            )
        return f"its clock shows {after.local:%Y-%m-%d %H:%M} now."

    async def _configure(self, target: _Target, meter: Meter, command: Command) -> str:
        """Have config.toml say what the meter does now; a sentence where it could not."""
        match command:
            case SetPrimaryAddress(number) if isinstance(meter.address, PrimaryAddress):
                values: dict[str, int | None] = {"address": number}
            case SwitchBaud(baud):
                values = {"baud": None if baud == target.line.baud else baud}
            case _:
                return ""
        if all(getattr(meter.config, key) == value for key, value in values.items()):
            return ""
        try:
            await self._installation.change_meter(meter.key, values)
        except CmeError as error:
            return f" But config.toml does not say so yet, correct it there: {error}"
        return ""


async def _send(target: _Target, ci: int, data: bytes) -> bool:
    """Send the command; whether the meter acknowledged. That proves nothing, nor does silence."""
    link, address = target.link, target.address
    target.told = True
    if isinstance(address, PrimaryAddress):
        number, opening = address.number, snd_nke(address.number)
    else:
        number, opening = SELECTED, select(address)
    try:
        await link.ask(opening, is_ack, address, Purpose.COMMAND)
        await link.ask(snd_ud(number, True, ci, data), is_ack, address, Purpose.COMMAND)
    except (NoAnswer, Garbled):
        return False
    finally:
        link.forget()
    return True


async def _require_at(target: _Target, wanted: PrimaryAddress, acknowledged: bool) -> None:
    """Make sure that the meter has this address now. Raises `CommandError` with what is known where that is not seen.

    It is looked for at both addresses: either may be disturbed. By its secondary one it answers in either case, and
    its telegram has its primary address, unless that is 253 as in the request.
    """
    for _ in range(_ROUNDS):
        missing, _ = await _look(target, wanted)
        if missing is None:
            return
        lost, shown = await _look(target, target.address)
        if shown == wanted.number:
            return
        silent = isinstance(missing, NoAnswer)
        if lost is None and (isinstance(target.address, PrimaryAddress) or silent or shown in range(251)):
            raise _NotDoneError(f"{target} still has its old address: {_refusal(acknowledged)} ({missing})")
    if lost is None:
        raise CommandError(
            f"{target} can be read, but whether it answers at primary address {wanted} cannot be told: {missing}"
        )
    raise CommandError(
        f"{target} {_said(acknowledged)} cannot be read any more, neither at primary address {wanted} nor at "
        f"{target.address}, which config.toml keeps; look for it at both when the line is quiet. {missing}"
    )


async def _left_behind(target: _Target) -> str:
    """What is still heard at the primary address that the meter had, to end a sentence."""
    if not isinstance(target.address, PrimaryAddress):
        return ""
    try:
        left = (await target.link.probe(target.address)).result
    except MbusError:
        return ""  # the meter was seen at its new address: that holds
    match left:
        case ProbeResult.ONE:
            return f", but a meter still does at {target.address}, too: there were two"
        case ProbeResult.SEVERAL:
            return f"; what is still heard at {target.address} is another meter, or noise"
    return ""


async def _look(target: _Target, address: Address) -> tuple[MbusError | None, int | None]:
    """What keeps the meter from being read at an address, None where it answers; and the address in its telegram."""
    try:
        readout = await target.link.read(address, target.identity)
    except NoData:
        return None, None
    except MbusError as error:
        return error, None
    return None, readout.frames[0][_ADDRESS_FIELD]


async def _read_again(target: _Target, acknowledged: bool) -> Readout:
    try:
        return await target.link.read(target.address, target.identity)
    except MbusError as error:
        raise CommandError(f"{target} {_said(acknowledged)} cannot be read any more: {error}") from error


async def _answers(target: _Target, baud: int) -> bool:
    """Whether the meter can be read at this rate."""
    await target.link.use(baud)
    try:
        await target.link.read(target.address, target.identity)
    except NoData:
        return True
    except (NoAnswer, Garbled):
        return False
    return True


def _said(acknowledged: bool) -> str:
    return "acknowledged, but" if acknowledged else "did not acknowledge, and"


def _refusal(acknowledged: bool) -> str:
    if acknowledged:
        return "it acknowledged the command and does nothing, so it may be locked, or cannot do that"
    return "it does not acknowledge the command, so it cannot do that"


def _meter_time(moment_ms: int, zone: ZoneInfo, shown: MeterTime | None) -> MeterTime:
    """What a meter is to show: summer time only where it marks its time so, since others have one time all year."""
    local = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(zone)
    ahead = local.dst() or timedelta()
    summer = bool(ahead) and shown is not None and shown.summer
    plain = local.replace(tzinfo=None)
    return MeterTime(plain if summer else plain - ahead, summer, shown is not None and shown.seconds)


def _compared(before: Sequence[Telegram], after: Sequence[Telegram], subcode: int) -> str:
    if _structure(before) == _structure(after):
        return (
            f"it acknowledged application {subcode:02X}h and sends the same as before: it may have no other, or it was "
            "selected already, which cannot be told."
        )
    return f"application {subcode:02X}h is selected: it sends {_values(after)} instead of {_values(before)}."


def _structure(telegrams: Sequence[Telegram]) -> list[str]:
    return [record.dib for telegram in telegrams for record in telegram.records]


def _values(telegrams: Sequence[Telegram]) -> str:
    number = len(_structure(telegrams))
    return "1 value" if number == 1 else f"{number} values"

"""The rehearsal: what a head-end system does with a gateway, tried one step after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cme_tui.client import NoGatewayError, ask
from cme_tui.hes.access import LEVELS, Access, Level
from cme_tui.hes.head_end import (
    ANSWER_SECONDS,
    CHANNEL_SELECTION,
    CLOCK,
    AccessRefusedError,
    HeadEnd,
    HesError,
    ListedObject,
    RejectedError,
    UnansweredError,
)
from cme_tui.hes.values import (
    ASSOCIATION,
    DATA,
    PROFILE,
    REGISTER,
    class_name,
    column_text,
    date_time,
    is_scaled,
    meaning,
    octets,
    rows_text,
    scaled,
    scaler_unit,
    time_text,
)
from cme_tui.hes.values import text as value_text
from cme_tui.wording import count, obis
from core.config import load_config
from core.cosem import dialect
from core.cosem.base import MANAGEMENT_DEVICE, PUBLIC_CLIENT
from core.cosem.codes import Codes
from core.dlms.admission import Keys
from core.errors import CmeError
from core.push import notification
from core.push.received import Received
from core.push.receiver import Receiver
from core.statedir import StateDir

DEVIATION_SECONDS: Final = 60
"""A clock that differs more from this machine's fails its step."""

PROFILE_ROWS: Final = 10
"""So many of the newest rows of a profile are read."""

LIST_LETTERS: Final = 36
"""So much of a list is shown."""

STEP_SECONDS: Final = 300.0
GIVE_UP_AFTER: Final = 3  # steps in a row without an answer

_HERE: Final = "127.0.0.1"
_NAME: Final = (DATA, "0.0.42.0.0.255")
_SAP_ASSIGNMENT: Final = (17, "0.0.41.0.0.255")
_WRONG_PASSWORD: Final = "not the password"  # it is meant to be wrong
_OWN_STEP: Final = ((ASSOCIATION, 2), (PROFILE, 2))  # attributes that other steps read
_NEVER_READ: Final = ((ASSOCIATION, 7),)  # the secret, whatever the object list says
_LEVEL_NAMES: Final[dict[Level, str]] = {
    "none": "no authentication",
    "low": "low (LLS)",
    "high": "high (HLS 5 GMAC)",
}


class Outcome(StrEnum):
    """What a step came to."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One step that has been made. The first line of `text` sums it up, the others say what was seen."""

    name: str
    outcome: Outcome
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Device:
    """One logical device of the SAP assignment."""

    sap: int
    name: str

    @property
    def kind(self) -> str:
        """Manufacturer, medium and version of a meter's name: `ELS` and `070A` of `ELS70112345070A`."""
        return self.name[:3] + self.name[11:]


class _SkippedError(Exception):
    """The step does not apply; the message says why."""


class _FailedError(Exception):
    """The step found something wrong; the message is its text."""


_Check = Callable[[], Awaitable[str]]


class Rehearsal:
    """One rehearsal. Iterate over `steps()`; whoever stops iterating closes the iterator, which ends the client.

    `devices` limits it to these logical devices, `quick` to the first meter of each type. The gateway has
    `answer_seconds` for each answer.
    """

    def __init__(
        self,
        access: Access,
        devices: Sequence[int] = (),
        *,
        quick: bool = False,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.doing = ""
        """The step that is being made."""
        self.total: int | None = None
        """How many steps there are; None until the logical devices are known."""
        self._access = access
        self._wanted = tuple(devices)
        self._quick = quick
        self._head_end = HeadEnd(access, answer_seconds)
        self._level: Level | None = None  # the highest that worked
        self._devices: tuple[Device, ...] = ()
        self._objects: list[ListedObject] = []  # of the device that was listed last
        self._unanswered = 0

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Make the steps; each is given when it has been made."""
        async with self._head_end:
            first = self._first_checks()
            for name, check in first:
                yield await self._step(name, check)
            last = self._last_checks()
            self.total = (
                len(first) + len(last) + sum(len(self._device_checks(each)) for each in self._devices)
            )
            for device in self._devices:
                for name, check in self._device_checks(device):
                    yield await self._step(name, check)
            for name, check in last:
                yield await self._step(name, check)
        self.doing = ""

    async def _step(self, name: str, check: _Check) -> Step:
        self.doing = name
        started = time.monotonic()
        outcome = Outcome.FAILED
        try:
            if self._unanswered >= GIVE_UP_AFTER:
                raise _SkippedError("the gateway does not answer any more")
            async with asyncio.timeout(STEP_SECONDS):
                text = await check()
            outcome = Outcome.PASSED
            self._unanswered = 0
        except _SkippedError as error:
            text, outcome = str(error), Outcome.SKIPPED
        except _FailedError as error:
            text, self._unanswered = str(error), 0
        except TimeoutError:
            text = f"not done after {STEP_SECONDS:.0f} s"
            await self._head_end.close()
        except (TypeError, ValueError, LookupError):
            text, self._unanswered = "an answer has not the form that its class asks for", 0
        except HesError as error:
            text = str(error)
            self._unanswered = self._unanswered + 1 if isinstance(error, UnansweredError) else 0
        return Step(name, outcome, text, time.monotonic() - started)

    def _first_checks(self) -> list[tuple[str, _Check]]:
        levels = [
            (f"management, {_LEVEL_NAMES[level]}", lambda level=level: self._authentication(level))
            for level in LEVELS
        ]
        return [
            ("public client", self._public),
            ("clock", self._clock),
            *levels,
            ("logical devices", self._find_devices),
        ]

    def _device_checks(self, device: Device) -> list[tuple[str, _Check]]:
        return [
            (f"device {device.sap}: object list", lambda: self._object_list(device)),
            (f"device {device.sap}: values", lambda: self._values(device)),
            (f"device {device.sap}: profiles", lambda: self._profiles(device)),
        ]

    def _last_checks(self) -> list[tuple[str, _Check]]:
        return [
            ("channel selection", self._channels),
            ("association with a meter", self._direct),
            ("push to a local receiver", self._push),
            ("wrong password", self._wrong_password),
        ]

    async def _public(self) -> str:
        """What everybody sees."""
        head_end = self._head_end
        await head_end.associate_public()
        listed = await head_end.objects()
        _, lines, refused = await self._read_all(listed)
        await head_end.release()
        hidden = [item for item in listed if item.class_id in (REGISTER, PROFILE)]
        if hidden:
            raise _FailedError(
                f"everybody can see {count(len(hidden), 'object')} with readings: "
                + ", ".join(obis(item.obis) for item in hidden)
            )
        return _summary(f"{count(len(listed), 'object')} for client {PUBLIC_CLIENT}", lines, refused)

    async def _clock(self) -> str:
        """How far the gateway's clock is from the one here."""
        await self._head_end.associate_public()
        raw = octets(await self._head_end.get(*CLOCK, 2))
        now = datetime.now(UTC)
        await self._head_end.release()
        moment = date_time(raw) if raw is not None else None
        if raw is None or moment is None:
            raise _FailedError(f"the clock {CLOCK[1]} holds no complete date and time")
        off = (moment - now).total_seconds()
        sentence = f"{time_text(raw)}, {off:+.1f} s from this machine"
        if abs(off) > DEVIATION_SECONDS:
            raise _FailedError(f"{sentence}; more than {DEVIATION_SECONDS} s: set the clock")
        return sentence

    async def _authentication(self, level: Level) -> str:
        lowest = self._access.lowest
        if LEVELS.index(level) < LEVELS.index(lowest):
            raise _SkippedError(f"not set up: [dlms] authentication asks for {lowest}")
        how = await self._head_end.associate(level)
        name = value_text(await self._head_end.get(*_NAME, 2))
        await self._head_end.release()
        self._level = level
        return f"{name} answers" + (f"; {how}" if how else "")

    async def _find_devices(self) -> str:
        await self._manage()
        found = []
        for item in await self._head_end.get(*_SAP_ASSIGNMENT, 2):
            found.append(Device(item[0], value_text(item[1])))
        self._devices = tuple(self._chosen(found))
        missing = set(self._wanted) - {device.sap for device in found}
        lines = [f"{device.sap:>5}  {device.name}" for device in self._devices]
        if missing:
            raise _FailedError(f"there is no logical device {', '.join(map(str, sorted(missing)))}")
        limited = (
            "" if len(self._devices) == len(found) else f", {len(self._devices)} of them in this rehearsal"
        )
        return "\n".join([f"{count(len(found), 'logical device')} in the SAP assignment{limited}", *lines])

    def _chosen(self, found: list[Device]) -> list[Device]:
        if self._wanted:
            return [device for device in found if device.sap in self._wanted]
        if not self._quick:
            return found
        kinds = {device.kind: device for device in reversed(found) if device.sap != MANAGEMENT_DEVICE}
        return [d for d in found if d.sap == MANAGEMENT_DEVICE or kinds[d.kind] is d]

    async def _manage(self) -> None:
        """See to it that the management client is associated with the management device."""
        if self._level is None:
            raise _SkippedError("no authentication of the management client works")
        if self._head_end.associated_as != f"{self._level} {MANAGEMENT_DEVICE}":
            await self._head_end.associate(self._level)

    async def _select(self, device: Device) -> None:
        await self._manage()
        await self._head_end.select(device.sap)

    async def _object_list(self, device: Device) -> str:
        self._objects = []
        await self._select(device)
        name = value_text(await self._head_end.get(*_NAME, 2))
        if name != device.name:
            raise _FailedError(f"channel {device.sap} is {name}, the SAP assignment says {device.name}")
        listed = await self._head_end.objects()
        keys = {(item.class_id, item.obis) for item in listed}
        if len(keys) != len(listed):
            raise _FailedError(f"{count(len(listed) - len(keys), 'object')} listed twice")
        self._objects = listed
        lines = [f"{obis(item.obis):<16} {class_name(item.class_id)}" for item in listed]
        return "\n".join([f"{device.name}: {count(len(listed), 'object')}", *lines])

    async def _values(self, device: Device) -> str:
        self._need_objects()
        await self._select(device)
        read, lines, refused = await self._read_all(self._objects)
        return _summary(
            f"{count(read, 'attribute')} of {count(len(self._objects), 'object')}", lines, refused
        )

    async def _profiles(self, device: Device) -> str:
        self._need_objects()
        profiles = [item for item in self._objects if item.class_id == PROFILE and 2 in item.readable]
        if not profiles:
            raise _SkippedError("this device has no profile")
        await self._select(device)
        lines: list[str] = []
        wrong: list[str] = []
        for item in profiles:
            try:
                lines += await self._profile(item)
            except (_FailedError, AccessRefusedError) as error:
                wrong.append(f"{obis(item.obis)}: {error}")
        return _summary(count(len(profiles), "profile"), lines, wrong)

    async def _profile(self, item: ListedObject) -> list[str]:
        """The newest rows by entry and once more by range: both have to be the same."""
        head_end = self._head_end
        columns = await head_end.get(PROFILE, item.obis, 3)
        entries = await head_end.get(PROFILE, item.obis, 7)
        title = f"{obis(item.obis)}: {count(entries, 'row')}; {', '.join(map(column_text, columns))}"
        if not entries:
            return [title]
        rows = await head_end.rows_by_entry(item.obis, max(1, entries - PROFILE_ROWS + 1), entries)
        if not rows:
            raise _FailedError(f"{count(entries, 'row')} in use, but none is given by entry")
        if any(len(row) != len(columns) for row in rows):
            raise _FailedError(f"a row has not the {count(len(columns), 'value')} of the capture objects")
        times = [date_time(octets(row[0]) or b"") for row in rows]
        known = [moment for moment in times if moment is not None]
        if len(known) < len(rows):
            raise _FailedError("the first value of a row is no date and time")
        # Not those of the first and the last row: a clock that was set back makes rows go back.
        start, end = (
            min(known).replace(microsecond=0),
            max(known).replace(microsecond=0) + timedelta(seconds=1),
        )
        by_range = await head_end.rows_by_range(item.obis, start.isoformat(), end.isoformat())
        if any(row not in by_range for row in rows):
            raise _FailedError("the rows by range are not those by entry")
        return [title, *(f"  {line}" for line in rows_text(rows))]

    async def _channels(self) -> str:
        """Back to the management device, and an unknown channel leaves it there."""
        await self._manage()
        head_end = self._head_end
        known = {device.sap for device in self._devices}
        unknown = next(sap for sap in range(0xFFFF, 0, -1) if sap not in known)
        await head_end.select(MANAGEMENT_DEVICE)
        try:
            await head_end.select(unknown)
        except AccessRefusedError as error:
            refusal = str(error)
        else:
            raise _FailedError(f"channel {unknown} can be selected, but there is no such device")
        now = await head_end.get(DATA, CHANNEL_SELECTION, 2)
        if now != MANAGEMENT_DEVICE:
            raise _FailedError(
                f"after a refused selection channel {now} is selected, not {MANAGEMENT_DEVICE}"
            )
        await head_end.release()
        return f"back on {MANAGEMENT_DEVICE}; unknown channel {unknown}: {refusal}, selection unchanged"

    async def _direct(self) -> str:
        """A meter as the addressed device, without channel selection."""
        meter = next((device for device in self._devices if device.sap != MANAGEMENT_DEVICE), None)
        if meter is None:
            raise _SkippedError("there is no meter")
        if self._level is None:
            raise _SkippedError("no authentication of the management client works")
        await self._head_end.associate(self._level, meter.sap)
        name = value_text(await self._head_end.get(*_NAME, 2))
        await self._head_end.release()
        if name != meter.name:
            raise _FailedError(f"server SAP {meter.sap} is {name}, the SAP assignment says {meter.name}")
        return f"server SAP {meter.sap} is {name}"

    async def _push(self) -> str:
        """One notification of each report, which the gateway sends here whatever receiver is configured."""
        state_dir = self._access.state_dir
        if state_dir is None:
            raise _SkippedError("only the gateway's own control socket can have it push here")
        arrived: list[Received] = []
        try:
            codes = await asyncio.to_thread(_codes, StateDir(state_dir))
            keys = Keys(self._access.encryption_key, self._access.authentication_key)
            receiver = Receiver(arrived.append, keys=keys, codes=codes)
            await receiver.start(_HERE)
            try:
                sent = await asyncio.to_thread(ask, state_dir, "push_samples", host=_HERE, port=receiver.port)
            finally:
                await receiver.stop()
        except NoGatewayError as error:
            raise _SkippedError(f"only a gateway on this machine can push here: {error}") from error
        except CmeError as error:
            raise _FailedError(f"the gateway could not push: {error}") from error
        if len(arrived) != sent["sent"]:
            raise _FailedError(f"{count(sent['sent'], 'notification')} sent, {len(arrived)} arrived")
        lines = [await self._pushed(received) for received in arrived]
        how = "ciphered" if all(received.ciphered for received in arrived) else "in clear"
        return "\n".join([f"{count(len(arrived), 'notification')}, {how}", *lines])

    async def _pushed(self, received: Received) -> str:
        """One line on what arrived, as the client library decodes it."""
        content = received.content
        if content is None:
            raise _FailedError(f"a notification says nothing: {received.problem}")
        if self._access.ciphered and not received.ciphered:
            raise _FailedError(f"{content.type} came in clear, but the policy wants everything ciphered")
        body = await self._head_end.notification(received)
        names = [value_text(item) for item in body[: 2 if content.meter else 1]]
        sizes = [len(item) for item in body if isinstance(item, list)]
        if names != [name for name in (content.gateway, content.meter) if name] or sizes != _sizes(received):
            raise _FailedError(f"{content.type} is not what was sent")
        gateway = next((device.name for device in self._devices if device.sap == MANAGEMENT_DEVICE), names[0])
        if content.gateway != gateway:
            raise _FailedError(f"{content.type} comes from {content.gateway}, not from {gateway}")
        what = f"{len(content.rows[0].readings)} values" if content.rows else f"{len(content.events)} event"
        about = f"IP {content.address}" if content.address else what
        return f"{content.type} of {content.meter or content.gateway}: {about}"

    async def _wrong_password(self) -> str:
        """One try only, and the last thing: the gateway makes a client wait that fails again and again."""
        try:
            await self._head_end.associate("low", password=_WRONG_PASSWORD)
        except RejectedError as error:
            return f"{error}; the gateway logs it as fraud event 46"
        raise _FailedError("the gateway admits a wrong password")

    def _need_objects(self) -> None:
        if not self._objects:
            raise _SkippedError("there is no object list")

    async def _read_all(self, listed: Sequence[ListedObject]) -> tuple[int, list[str], list[str]]:
        """Read every attribute: how many, one line an object with its main value, and what could not be read."""
        read = 0
        lines: list[str] = []
        refused: list[str] = []
        for item in listed:
            values: dict[int, Any] = {}
            for attribute in item.readable:
                where = (item.class_id, attribute)
                if where in _OWN_STEP or where in _NEVER_READ:
                    continue
                read += 1
                try:
                    values[attribute] = await self._head_end.get(item.class_id, item.obis, attribute)
                except AccessRefusedError as error:
                    refused.append(
                        f"{obis(item.obis)} {class_name(item.class_id)}, attribute {attribute}: {error}"
                    )
            own = values.get(1)
            if own is not None and meaning(item.class_id, 1, own) != item.obis:
                refused.append(f"{obis(item.obis)}: its logical name says {value_text(own)}")
            if 2 in values:
                lines.append(f"{obis(item.obis):<16} {_main_value(item.class_id, values)}")
        return read, lines, refused


def _codes(state: StateDir) -> Codes:
    """The logical names that the gateway uses. Raises `CmeError`."""
    config = load_config(state.config)
    return dialect.find(config.dlms.dialect, state.dialects).codes_with(config.obis)


def _sizes(received: Received) -> list[int]:
    """Of the arrays in the body of a notification."""
    body = notification.decode(received.plain).body.content
    parts = body if isinstance(body, list) else []
    return [len(part.content) for part in parts if isinstance(part.content, list)]


def _main_value(class_id: int, values: dict[int, Any]) -> str:
    unit = scaler_unit(values.get(3)) if is_scaled(class_id, 2) else None
    if unit is not None:
        return scaled(values[2], *unit)
    shown = meaning(class_id, 2, values[2])
    if not isinstance(values[2], list) or len(shown) <= LIST_LETTERS:
        return shown
    return f"{shown[:LIST_LETTERS]}… ({count(len(values[2]), 'item')})"


def _summary(what: str, lines: list[str], wrong: list[str]) -> str:
    """The text of a step. Raises `_FailedError` where something was wrong."""
    if wrong:
        others = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise _FailedError("\n".join([f"{wrong[0]}{others} (of {what})", *wrong[1:], *lines]))
    return "\n".join([what, *lines])

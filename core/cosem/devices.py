"""Which objects the management logical device and the logical device of a meter have, and where they get values.

Tables of objects and rights: the manual's tables 2 and 3 as the product's own decisions complete them; classes:
Blue Book ed. 12, clause 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from core import VERSION
from core.clock import Clock as TimeSource
from core.config import PushConfig
from core.cosem import names
from core.cosem import objects as cosem
from core.cosem.codes import Codes
from core.cosem.notifications import SendReport, gateway_push_setups, meter_push_setups
from core.dlms.axdr import (
    Tag,
    Value,
    array,
    double_long_unsigned,
    integer,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
    visible_string,
)
from core.meter import Meter
from core.store import Event, Log

DATA: Final = 1
EXTENDED_REGISTER: Final = 4
CLOCK: Final = 8

Objects = dict[tuple[int, bytes], cosem.CosemObject]

_EVENT_OBJECTS: Final = (
    (Log.STANDARD, names.STANDARD_EVENT_ID, names.STANDARD_EVENT_MESSAGE, names.STANDARD_EVENT_LOG),
    (Log.FRAUD, names.FRAUD_EVENT_ID, names.FRAUD_EVENT_MESSAGE, names.FRAUD_EVENT_LOG),
)


class EventAccess(Protocol):
    """The event logs: of the gateway (None) and of each meter by its key."""

    def last(self, meter: int | None, kind: Log, /) -> Event | None:
        """The last event of a log; None before the first."""

    def rows(self, meter: int | None, kind: Log, event_id: bytes, zone: tzinfo, /) -> cosem.RowSource:
        """The log as a profile: time, and code in the object `event_id`."""


@dataclass(frozen=True, slots=True)
class Device:
    """A logical device as the DLMS server sees it; replaced as a whole when its objects change."""

    sap: int
    name: str
    objects: Mapping[tuple[int, bytes], cosem.CosemObject]


@dataclass(frozen=True)
class GatewayFacts:
    """What the objects say about the gateway itself."""

    name: str  # logical device name, FLAG id and serial: "ELV0016000000"
    system_title: bytes  # 8 bytes
    clock: TimeSource
    zone: ZoneInfo
    codes: Codes
    push: PushConfig
    signature: bytes  # SHA-256 of the installed package, `core.signature`
    set_time: cosem.SetTime
    security: cosem.SecurityAccess
    events: EventAccess
    send_report: SendReport

    @cached_property
    def of_meters(self) -> Objects:
        """The objects that say the same of every meter: one of each for all their devices."""
        gateway_name = cosem.Data(self.codes.gateway_name, _text(self.name))
        pushes = meter_push_setups(self.push, self.codes, self.send_report)
        return _by_name((*_common(self, management=False), gateway_name, *pushes))


class Directory:
    """The logical devices of the gateway, by server SAP; the server asks it anew with every request."""

    def __init__(self, facts: GatewayFacts) -> None:
        self._facts = facts
        self._meters: dict[int, Device] = {}
        self._management = self._management_device()
        self._all: tuple[Device, ...] = (self._management,)
        self._meter_list: bytes | None = None  # encoded, once somebody has asked for it

    def device(self, sap: int) -> Device | None:
        return self._management if sap == cosem.MANAGEMENT_DEVICE else self._meters.get(sap)

    def devices(self) -> Iterable[Device]:
        return self._all

    def set_meters(self, facts: GatewayFacts, meters: Mapping[int, Device]) -> None:
        """Replace all devices; clients that are connected see it with their next request."""
        self._meters = dict(sorted(meters.items()))
        if facts is not self._facts:
            self._facts = facts
            self._management = self._management_device()
        self._all = (self._management, *self._meters.values())
        self._meter_list = None

    def _management_device(self) -> Device:
        facts = self._facts
        items = (*_common(facts, management=True), *_management_objects(facts, self._read_meter_list))
        return Device(cosem.MANAGEMENT_DEVICE, facts.name, _by_name(items))

    def _read_meter_list(self) -> bytes:
        if self._meter_list is None:
            meters = self._meters.values()
            items = [structure(_text(item.name), long_unsigned(item.sap)) for item in meters]
            self._meter_list = structure(_text(self._facts.name), array(items))
        return self._meter_list


def meter_device(
    facts: GatewayFacts, meter: Meter, name: str, profiles: Mapping[bytes, cosem.RowSource]
) -> Device:
    """The logical device of `meter`; `profiles` gives the rows of each profile by logical name, the own ones first.

    An entry of the mapping cannot take the place of an object that every meter device has: it is left out.
    """
    codes = facts.codes
    found = dict(facts.of_meters)
    own = (
        cosem.Data(names.LOGICAL_DEVICE_NAME, _text(name), public=True),
        cosem.Data(codes.meter_firmware_version, lambda: _text(_firmware_version(meter))),
        cosem.Data(codes.meter_manufacturer, _text(name[:3])),
        cosem.Data(codes.meter_device_type, _device_type(meter)),
        *_event_objects(facts, meter.key),
        *(cosem.ProfileGeneric(code, rows, facts.zone) for code, rows in profiles.items()),
    )
    for item in (*own, *(_mapped_object(meter, position) for position in range(len(meter.objects)))):
        found.setdefault((item.class_id, item.logical_name), item)
    return Device(meter.logical_device, name, found)


def _by_name(items: Iterable[cosem.CosemObject]) -> Objects:
    return {(item.class_id, item.logical_name): item for item in items}


def _common(facts: GatewayFacts, *, management: bool) -> Iterable[cosem.CosemObject]:
    """What every device has alike. Password, policy and keys change in the management device only."""
    security = facts.security
    yield cosem.SapAssignment()
    yield cosem.AssociationLN(set_secret=_secret_setter(security) if management else None)
    yield cosem.Clock(facts.clock.now_ms, facts.zone, set_time=facts.set_time)
    yield cosem.ChannelSelection()
    yield cosem.Data(names.TEST_OBJECT, octet_string(b""))
    yield cosem.Data(names.FRAME_COUNTER, _frame_counter(security), public=True)
    yield cosem.SecuritySetup(security, facts.system_title, changeable=management)


def _management_objects(facts: GatewayFacts, meter_list: cosem.Source) -> Iterable[cosem.CosemObject]:
    yield cosem.Data(names.LOGICAL_DEVICE_NAME, _text(facts.name), public=True)
    yield cosem.Data(names.METER_LIST, meter_list)
    yield cosem.Data(names.SYSTEM_TITLE, octet_string(facts.system_title))
    yield cosem.Data(names.FIRMWARE_VERSION, _text(VERSION))
    yield cosem.Data(names.FIRMWARE_SIGNATURE, octet_string(facts.signature))
    yield cosem.IpAddress(names.IP_ADDRESS)
    yield from _event_objects(facts, None)
    yield from gateway_push_setups(facts.push, facts.send_report)


def _event_objects(facts: GatewayFacts, meter: int | None) -> Iterable[cosem.CosemObject]:
    """Last code, its message and the log, of both logs; 0 and "" before the first event."""
    for kind, event_id, message, log in _EVENT_OBJECTS:
        yield cosem.Data(event_id, _last_code(facts.events, meter, kind))
        yield cosem.Data(message, _last_message(facts.events, meter, kind))
        yield cosem.ProfileGeneric(log, facts.events.rows(meter, kind, event_id, facts.zone), facts.zone)


def _last_code(events: EventAccess, meter: int | None, kind: Log) -> cosem.Source:
    def read() -> bytes:
        event = events.last(meter, kind)
        return long_unsigned(event.code if event else 0)

    return read


def _last_message(events: EventAccess, meter: int | None, kind: Log) -> cosem.Source:
    def read() -> bytes:
        event = events.last(meter, kind)
        return visible_string(event.message if event else "")

    return read


def _frame_counter(security: cosem.SecurityAccess) -> cosem.Source:
    return lambda: double_long_unsigned(security.frame_counter())


def _secret_setter(security: cosem.SecurityAccess) -> cosem.Setter:
    def write(value: Value, context: cosem.Context) -> Awaitable[None]:
        if value.tag != Tag.OCTET_STRING or not isinstance(value.content, bytes):
            raise cosem.DataAccessError(cosem.DataAccessResult.TYPE_UNMATCHED)
        return security.set_lls_password(value.content, context)

    return write


def _text(text: str) -> bytes:
    return octet_string(text.encode("ascii", "replace"))


def _firmware_version(meter: Meter) -> str:
    """What the last reading says (VIF FD 0E, EN 13757-3 table 14), else the version in its header, "" without one."""
    telegrams = meter.reading.telegrams if meter.reading else ()
    for telegram in telegrams:
        for record in telegram.records:
            if record.quantity == "firmware-version" and not record.modifiers and record.value is not None:
                return record.value_text
    version = meter.known.version if meter.known else None
    return "" if version is None else str(version)


def _device_type(meter: Meter) -> bytes:
    """M-Bus device type as an integer; one above 127 does not fit and is sent as unsigned."""
    code = meter.medium_code or 0
    return integer(code) if code < 128 else unsigned(code)


def _mapped_object(meter: Meter, position: int) -> cosem.CosemObject:
    mapped = meter.objects[position]
    value = meter.source(position)
    if mapped.class_id == DATA:
        return cosem.Data(mapped.obis, value)
    if mapped.class_id == CLOCK:
        return cosem.MeterClock(mapped.obis, value)
    scaler, unit = mapped.entry.scaler, mapped.entry.unit
    if mapped.class_id == EXTENDED_REGISTER:
        return cosem.ExtendedRegister(
            mapped.obis, value, scaler, unit, meter.status_source(position), meter.capture_time_source()
        )
    return cosem.Register(mapped.obis, value, scaler, unit)

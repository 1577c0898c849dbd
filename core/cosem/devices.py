"""Which objects the management logical device and the logical device of a meter have, and where they get values.

Tables of objects and rights: the manual's tables 2 and 3 as the product's own decisions complete them; classes:
Blue Book ed. 12, clause 4. Objects that a later version brings are simply not in the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from core import VERSION
from core.clock import Clock as TimeSource
from core.cosem import objects as cosem
from core.cosem.codes import Codes
from core.dlms.axdr import (
    array,
    integer,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from core.meter import Meter

NAME: Final = bytes((0, 0, 42, 0, 0, 255))
METER_LIST: Final = bytes((1, 128, 0, 0, 0, 255))
SYSTEM_TITLE: Final = bytes((0, 0, 96, 1, 0, 255))
FIRMWARE_VERSION: Final = bytes((1, 0, 0, 2, 0, 255))
TEST_OBJECT: Final = bytes((0, 0, 96, 1, 4, 255))
EXTENDED_REGISTER: Final = 4
DATA: Final = 1
CLOCK: Final = 8


@dataclass(frozen=True, slots=True)
class Device:
    """A logical device as the DLMS server sees it; replaced as a whole when its objects change."""

    sap: int
    name: str
    objects: Mapping[tuple[int, bytes], cosem.CosemObject]


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What the objects say about the gateway itself."""

    name: str  # logical device name, FLAG id and serial: "ELV0016000000"
    system_title: bytes  # 8 bytes
    clock: TimeSource
    zone: ZoneInfo
    codes: Codes


class Directory:
    """The logical devices of the gateway, by server SAP; the server asks it anew with every request."""

    def __init__(self, facts: GatewayFacts) -> None:
        self._devices: dict[int, Device] = {}
        self.set_meters(facts, {})

    def device(self, sap: int) -> Device | None:
        return self._devices.get(sap)

    def devices(self) -> Iterable[Device]:
        return self._devices.values()

    def set_meters(self, facts: GatewayFacts, meters: Mapping[int, Device]) -> None:
        """Replace all devices; clients that are connected see it with their next request."""
        listed = dict(sorted(meters.items()))
        management = _management_device(facts, listed.values())
        self._devices = {management.sap: management, **listed}


def meter_device(
    facts: GatewayFacts, meter: Meter, name: str, profiles: Mapping[bytes, cosem.RowSource]
) -> Device:
    """The logical device of `meter`; `profiles` gives the rows of each profile by logical name.

    An entry of the mapping cannot take the place of an object that every meter device has: it is left out.
    """
    fixed = [
        *_common(facts, name),
        cosem.Data(TEST_OBJECT, octet_string(b"")),
        cosem.Data(facts.codes.gateway_name, octet_string(facts.name.encode())),
        cosem.Data(facts.codes.meter_manufacturer, octet_string(name[:3].encode())),
        cosem.Data(facts.codes.meter_device_type, _device_type(meter)),
        *(cosem.ProfileGeneric(code, rows, facts.zone) for code, rows in profiles.items()),
    ]
    mapped = [_mapped_object(meter, position) for position in range(len(meter.objects))]
    found: dict[tuple[int, bytes], cosem.CosemObject] = {}
    for item in (*fixed, *mapped):
        found.setdefault((item.class_id, item.logical_name), item)
    return Device(meter.logical_device, name, found)


def _management_device(facts: GatewayFacts, meters: Iterable[Device]) -> Device:
    meter_list = structure(
        octet_string(facts.name.encode()),
        array(structure(octet_string(meter.name.encode()), long_unsigned(meter.sap)) for meter in meters),
    )
    items: Sequence[cosem.CosemObject] = (
        *_common(facts, facts.name),
        cosem.Data(METER_LIST, meter_list),
        cosem.Data(SYSTEM_TITLE, octet_string(facts.system_title)),
        cosem.Data(FIRMWARE_VERSION, octet_string(VERSION.encode())),
        cosem.Data(TEST_OBJECT, octet_string(b"")),
    )
    return Device(
        cosem.MANAGEMENT_DEVICE, facts.name, {(item.class_id, item.logical_name): item for item in items}
    )


def _common(facts: GatewayFacts, name: str) -> tuple[cosem.CosemObject, ...]:
    return (
        cosem.SapAssignment(),
        cosem.AssociationLN(),
        cosem.Clock(facts.clock.now_ms, facts.zone),
        cosem.Data(NAME, octet_string(name.encode()), public=True),
        cosem.ChannelSelection(),
    )


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
            mapped.obis, value, scaler, unit, meter.status_source(), meter.capture_time_source()
        )
    return cosem.Register(mapped.obis, value, scaler, unit)

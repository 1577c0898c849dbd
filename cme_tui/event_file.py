"""The event logs as a CSV file (RFC 4180) for spreadsheets and scripts: times with their offset, one row an event."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from core.cosem.base import MANAGEMENT_DEVICE
from core.events import Event, event_name
from core.store import StoredMeter

COLUMNS: Final = ("time", "device", "logical_device", "log", "code", "name", "message")

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is one to a spreadsheet; names and messages come from config.toml, meters and clients."""


@dataclass(frozen=True, slots=True)
class Device:
    """Whose event it is."""

    name: str
    identification: str
    logical_device: int | None


GATEWAY: Final = Device("gateway", "", MANAGEMENT_DEVICE)


def removed_meter(record: StoredMeter) -> Device:
    """A meter that is no longer installed goes by its address."""
    return Device(f"meter {record.address}", record.identification, record.logical_device)


def iso_time(event: Event, zone: tzinfo) -> str:
    """When it happened: "2026-10-25T02:30:00+01:00"; with the offset, as in autumn one hour comes twice."""
    return datetime.fromtimestamp(event.time_ms // 1000, zone).isoformat()


def event_csv(events: Iterable[Event], devices: Mapping[int | None, Device], zone: tzinfo) -> str:
    """A heading and one row for each event, times in `zone`. What a spreadsheet would calculate begins with "'"."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for event in events:
        device = devices[event.meter]
        number = "" if device.logical_device is None else device.logical_device
        named = (_harmless(device.name), number, event.log.value, event.code)
        writer.writerow((iso_time(event, zone), *named, event_name(event.code), _harmless(event.message)))
    return text.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text

"""Turns the core's live objects into the immutable views of `core.snapshot`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.cosem.base import MANAGEMENT_CLIENT, PUBLIC_CLIENT
from core.dlms import axdr
from core.dlms.axdr import Tag, Value
from core.dlms.observer import SessionView
from core.mapping import engine, units
from core.mapping.engine import MappedObject, MappedValue, Readout
from core.mapping.lint import MeterReadout
from core.mapping.model import CLASSES
from core.mapping.simplified import Site
from core.mapping.workshop import InstalledMeter
from core.mbus.address import PrimaryAddress
from core.mbus.explain import explain
from core.mbus.medium import medium_name
from core.mbus.telegram import Record, Telegram
from core.meter import Meter
from core.snapshot import AssociationView, MeterDetail, MeterState, MeterView, TelegramView, ValueView

_CLASS_NAMES: Final = {number: name.replace("_", " ") for name, number in CLASSES.items()}
_CLIENTS: Final = {MANAGEMENT_CLIENT: "management", PUBLIC_CLIENT: "public"}
_LONGEST: Final = 40
"""Characters of a text value in a line of a list."""


def meter_view(meter: Meter) -> MeterView:
    """The meter as a line of a list."""
    known, reading = meter.known, meter.reading
    values = value_views(meter) if reading else ()
    return MeterView(
        key=meter.key,
        name=meter.name,
        line=meter.config.line,
        address=f"primary {meter.address}"
        if isinstance(meter.address, PrimaryAddress)
        else str(meter.address),
        identification=known.identification if known else "",
        manufacturer=(known.manufacturer or "") if known else "",
        version=known.version if known else None,
        medium=medium_name(known.medium) if known and known.medium is not None else "",
        medium_code=meter.medium_code,
        logical_device=meter.logical_device,
        state=meter.state,
        reason=meter.reason,
        status=reading.telegrams[0].status if reading else None,
        last_reading_ms=reading.time_ms if reading else None,
        last_try_ms=meter.last_try_ms,
        mapping=meter.mapping.label if meter.mapping else "",
        mapped=len(meter.objects) + len(meter.histories),
        headline=next((value for value in values if value.obis and value.unit and value.text), None),
        next_try_ms=meter.next_try_ms,
        fcb_fault=meter.fcb_fault,
    )


def cut_off(view: MeterView, reason: str | None) -> MeterView:
    """The meter while its line is down for a `reason`: how it was when it was tried last does not hold any more."""
    if reason is None or view.state is MeterState.DISABLED:
        return view
    return replace(view, state=MeterState.LINE_DOWN, reason=reason)


def installed_meter(meter: Meter, site: Site) -> InstalledMeter:
    """The meter with its last readout, for looking at what a mapping makes of it."""
    known, reading = meter.known, meter.reading
    identity = None
    if reading is not None:
        first = reading.telegrams[0]
        identity = (first.medium_code, first.manufacturer, first.version)
    return InstalledMeter(
        name=meter.name,
        identification=known.identification if known else "",
        logical_device=meter.logical_device,
        identity=identity,
        last=MeterReadout(meter.name, Readout(reading.telegrams, reading.time_ms), site) if reading else None,
    )


def meter_detail(
    meter: Meter, telegrams: tuple[TelegramView, ...], readings: int, oldest_ms: int | None
) -> MeterDetail:
    """Everything about one meter; `telegrams` are those of the last reading."""
    return MeterDetail(meter_view(meter), value_views(meter), telegrams, readings, oldest_ms)


def telegram_views(telegrams: Sequence[Telegram]) -> tuple[TelegramView, ...]:
    """The telegrams with the meaning of their bytes."""
    return tuple(TelegramView(telegram.frame, explain(telegram), telegram.problem) for telegram in telegrams)


def value_views(meter: Meter) -> tuple[ValueView, ...]:
    """All records of the last reading, in the order of the telegrams, with what a client gets of them."""
    reading = meter.reading
    if reading is None:
        return ()
    shown = engine.record_of(meter.objects, reading.telegrams)
    by_entry = {value.object.entry: value for value in reading.values}
    return tuple(
        _value_view(
            number,
            record,
            by_entry.get(mapped.entry) if (mapped := shown.get((number, record.index))) else None,
        )
        for number, telegram in enumerate(reading.telegrams)
        for record in telegram.records
    )


def association_view(session: SessionView, offset_ms: int) -> AssociationView:
    """A connected client; the gateway's clock is `offset_ms` ahead of the machine's, which the server goes by."""
    client = "" if session.client_sap is None else _CLIENTS.get(session.client_sap, "client")
    return AssociationView(
        peer=session.peer,
        client=f"{client} ({session.client_sap})" if client else "",
        logical_device=session.sap,
        channel=session.channel,
        authentication=session.authentication,
        since_ms=session.since_ms + offset_ms,
        last_ms=session.last_ms + offset_ms,
        requests=session.requests,
        ciphering=session.ciphering,
        errors=session.errors,
        last_error=session.last_error,
    )


def _value_view(number: int, record: Record, mapped: MappedValue | None) -> ValueView:
    return ValueView(
        description=record.description,
        text=record.value_text,
        unit=record.unit,
        error=record.error,
        function=record.function.label,
        storage=record.storage,
        tariff=record.tariff,
        subunit=record.subunit,
        dib=record.dib,
        telegram=number,
        offset=record.offset,
        length=record.length,
        data_offset=record.data_offset,
        obis=mapped.object.entry.obis_text if mapped else "",
        cosem=_cosem_text(mapped) if mapped else "",
    )


def _cosem_text(mapped: MappedValue) -> str:
    """`"register 85946 x 10^-3 m³"`; why there is no value where there is none."""
    name = _CLASS_NAMES[mapped.object.class_id]
    if mapped.encoded is None:
        return f"{name}, no value: {mapped.error}"
    text = f"{name} {_content(axdr.decode(mapped.encoded))}{_scale(mapped.object)}"
    return f"{text} (default: {mapped.error})" if mapped.from_default else text


def _scale(item: MappedObject) -> str:
    if item.scaler is None or item.unit is None:
        return ""
    power = f" x 10^{item.scaler}" if item.scaler else ""
    symbol = units.symbol(item.unit)
    return f"{power} {symbol}" if symbol else power


def _content(value: Value) -> str:
    content = value.content
    if isinstance(content, bytes):
        text = content.hex() if value.tag != Tag.OCTET_STRING or not content.isascii() else _readable(content)
    else:
        text = str(content)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _readable(content: bytes) -> str:
    text = content.decode("ascii")
    return text if text.isprintable() else content.hex()

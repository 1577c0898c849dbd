"""A gateway that stands still, made of telegrams of real meters: for the tests of the screens."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar

import tomli_w
from recorded_installation import RecordedInstallation, tried
from recorded_lines import RecordedLines
from recorded_push import RecordedPush

from core.config import Config, parse_config
from core.config_tables import TableChange
from core.cosem import dialect
from core.dlms.describe import describe
from core.errors import CmeError
from core.events import Event, EventPage, log_of
from core.mapping import workshop
from core.mapping.engine import Readout
from core.mapping.library import MappingSet
from core.mapping.lint import MeterReadout
from core.mapping.model import MappingFile
from core.mapping.ready import ready_mappings
from core.mapping.simplified import Site
from core.mapping.workshop import Coaching, InstalledMeter, Mappings, Preview
from core.mbus.explain import explain
from core.mbus.telegram import Telegram, decode
from core.secrets import Secrets, changed_secrets
from core.settings import Setting, check_changeable, lowered, settings
from core.snapshot import (
    AssociationView,
    DlmsView,
    LineState,
    LineView,
    LogEntry,
    MeterDetail,
    MeterState,
    MeterView,
    Snapshot,
    SweepView,
    TelegramView,
    TraceEntry,
    ValueView,
)
from core.store import ANYWHERE, Origin, StoredMeter

T = TypeVar("T")

NOW_MS: Final = 1_767_960_000_000
"""2026-01-09 12:00:00 UTC, the moment of every recording."""

TELEGRAMS: Final = Path(__file__).parents[2] / "core" / "mbus" / "telegrams"

INSTALLED: Final = (
    ("water kitchen", "oms_frame2", MeterState.OK, 12),
    ("hot water kitchen", "siemens_water", MeterState.OK, 11),
    ("heat flat 1", "kamstrup_multical_601", MeterState.OK, 10),
    ("heat flat 2", "SEN_Sensus-PolluTherm", MeterState.OK, 9),
    ("gas boiler", "itron_cyble_m-bus_v1.4_gas", MeterState.NO_ANSWER, 3600 * 26),
    ("power cellar", "nzr_dhz_5_63", MeterState.OK, 8),
    ("climate stair", "elv_temp_humid", MeterState.WAITING, None),
)
"""Name, telegram, state, age of the reading in seconds."""

MAPPED: Final = {
    ("electricity", "energy"): "1.0.1.8.0.255",
    ("heat", "energy"): "6.0.1.0.0.255",
    ("heat", "volume"): "6.0.2.0.0.255",
    ("heat", "flow-temp"): "6.0.10.0.0.255",
    ("heat", "return-temp"): "6.0.11.0.0.255",
    ("gas", "volume"): "7.0.3.0.0.255",
    ("water", "volume"): "8.0.1.0.0.255",
    ("warm-water", "volume"): "9.0.1.0.0.255",
}
"""OBIS codes of current values, for the picture only; a gateway takes them from its mappings."""

REASONS: Final = {
    MeterState.NO_ANSWER: "No answer in 3 tries; check the wiring, the address and the baud rate.",
    MeterState.WRONG_METER: "The meter at this address says it is 11490378 ACW; check the address.",
    MeterState.WAITING: "Not read yet; the next sweep reads it, or r now.",
}


EVENTS: Final = (
    (-70_000, 51031, "connected", ""),
    (-69_980, 51031, "refused", "authentication failure"),
    (-69_900, 51031, "disconnected", "closed by the client"),
    (-65_000, 51034, "connected", ""),
    (-64_970, 51034, "associated", "authentication low, ciphering none"),
    (-30_000, 51035, "replay", "counter 17 is not above 42"),
)
"""Milliseconds from the moment of the recording, port of the client, event, text."""

APDUS: Final = (
    (False, "", "6036a1090607608574050801018a0207808b0760857405080201ac0a8008" + "4b7156397a4c3272"
     "be10040e01000000065f1f0400007e1f04b0"),
    (True, "", "6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000181d04000007"),
    (False, "", "c001c100030800010000ff0200"),
    (True, "", "c401c1000600014fbe"),
    (False, "glo 30", "c001c1 0007 0100630100ff 02 00"),
    (True, "glo 30", "c401c1 00 01 02 0202 090c07ea0109050c000000000000 0600014fbe"
     "0202 090c07ea0109050c0f0000000000 0600014fc0"),
    (False, "", "c001c2000308000100ffff0200"),
    (True, "", "c401c20104"),
    (False, "glo 30", "c101c3000f0000280000ff0700090c6e657720706173732e2e2e"),
    (True, "glo 30", "c501c300"),
)  # fmt: skip
"""Sent by the gateway, protection, bytes of the APDU in clear: an LLS association, values, a new password."""

LOGGED: Final = (
    (-260_000, None, 1, "Not stopped cleanly; last seen running at this time"),
    (-259_400, None, 2, "Version 0.1.0"),
    (-259_300, 5, 105, "primary 5"),
    (-180_000, 999, 100, "No answer in 3 tries; check the wiring, the address and the baud rate."),
    (-93_600, 5, 100, "No answer in 3 tries; check the wiring, the address and the baud rate."),
    (-8_040, None, 2, "Version 0.1.0"),
    (-7_300, 3, 4004, "power low (before: no error)"),
    (-7_300, 3, 102, ""),
    (-3_600, None, 47, 'dlms.port, meter "climate stair" added'),
    (-3_599, 7, 105, "primary 7"),
    (-70, None, 46, "192.0.2.7:51031: client 1, device 1: authentication failure"),
    (-30, None, 50, "192.0.2.7:51035: client 1, device 1: counter 17, not above 42"),
)
"""Events: seconds from the moment of the recording, key of the meter, code, message."""

REMOVED: Final = StoredMeter(999, "main", "99", "11490378", "ACW", 20, 7, NOW_MS, NOW_MS, 1000)
"""A meter that is no longer installed."""


class RecordedGateway(RecordedInstallation, RecordedPush, RecordedLines):
    """Implements `core.facade.Gateway` with fixed views.

    `meters` repeats the recorded meters up to that number; `clients` are connected DLMS clients; without `lines` it is
    a gateway as it is after the first start, and without `push` it reports nothing.
    """

    def __init__(
        self, meters: int = len(INSTALLED), clients: int = 1, lines: int = 1, *, push: bool = True
    ) -> None:
        RecordedPush.__init__(self, push=push and lines > 0)
        RecordedLines.__init__(self)
        self._details = {key: _detail(key) for key in range(1, meters + 1)} if lines else {}
        self.set_values: dict[str, Any] = {
            "gateway.serial": "0016000000",
            "gateway.name": "Cellar 3",
            "dlms.authentication": "low",
        }
        self.replaced_values: Mapping[str, Any] = {}
        self.taken_ports = {4070}
        self.misfit: tuple[str, ...] = ()
        self.kept_secrets = Secrets("recorded-password", *(bytes([number]) * 16 for number in (1, 2, 3)))
        self.active = self.previous = MappingSet(ready_mappings())
        self.last_change = ""
        self.now_ms = NOW_MS
        self.watched = 0  # how often somebody looked at the trace
        self.apdus = tuple(_traced(number) for number in range(len(APDUS)))
        self.happened = tuple(_event(number) for number in range(len(EVENTS)))
        self.logged = [_logged(number) for number in range(len(LOGGED))]
        self.current = _snapshot(tuple(d.meter for d in self._details.values()), clients, lines)
        self.set_up()

    def clock(self) -> int:
        """The recorded moment."""
        return self.now_ms

    def snapshot(self) -> Snapshot:
        if self.current.push != (push := self.push_view()):
            self.current = replace(self.current, push=push)
        return self.current

    def meter(self, key: int) -> Future[MeterDetail]:
        return self._done(key)

    def read_meter(self, key: int) -> Future[MeterDetail]:
        self.commands.append(f"read {key}")
        detail = self._details.get(key)
        if detail is not None and detail.meter.state is MeterState.NO_ANSWER:
            return _failed(
                f"{detail.meter.name} does not answer at {detail.meter.address}; check wiring and address."
            )
        return self._done(key)

    def read_all(self) -> Future[None]:
        self.commands.append("read all")
        return _answer(None)

    def reload(self) -> Future[None]:
        self.commands.append("reload")
        return _answer(None)

    def settings(self) -> tuple[Setting, ...]:
        return settings(_config(self.set_values))

    def check(self, values: Mapping[str, Any]) -> Future[tuple[str, ...]]:
        return tried(lambda: self._lowered(values))

    def misfits(self, change: Mapping[str, Any] | TableChange) -> Future[tuple[str, ...]]:
        matters = not isinstance(change, Mapping) or "readout.interval" in change
        return _answer(self.misfit if matters else ())

    def configure(self, values: Mapping[str, Any]) -> Future[None]:
        self.commands.append(f"configure {dict(values)}")
        return tried(lambda: self._configure(values))

    def undo(self) -> Future[Mapping[str, Any]]:
        self.commands.append("undo")
        taken_back, self.replaced_values = self.replaced_values, {}
        self.set_values.update(taken_back)
        return _answer(taken_back)

    def replaced(self) -> Future[Mapping[str, Any]]:
        if self.replaced_values:
            return _answer(self.replaced_values)
        return _failed("There is nothing to take back.")

    def secrets(self) -> Secrets:
        return self.kept_secrets

    def set_secrets(self, values: Mapping[str, str]) -> Future[None]:
        self.commands.append(f"set secrets {', '.join(values)}")
        return tried(lambda: self._keep(values))

    def _lowered(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        check_changeable(values)
        new = _config({**self.set_values, **values})
        if new.dlms.port in self.taken_ports:
            raise CmeError(
                f"The DLMS server cannot listen on {new.dlms.host}:{new.dlms.port} (address already in use); "
                "check the address, stop the program that uses the port, or choose another port."
            )
        return lowered(_config(self.set_values), new)

    def _configure(self, values: Mapping[str, Any]) -> None:
        self._lowered(values)
        self.replaced_values = {name: self.set_values.get(name) for name in values}
        self.set_values.update(values)
        self.set_push({name: value for name, value in values.items() if name.startswith("push.")})

    def _keep(self, values: Mapping[str, str]) -> None:
        self.kept_secrets = changed_secrets(self.kept_secrets, values)

    def mappings(self) -> Future[Mappings]:
        return _answer(workshop.lists(self.active, self._installed(), self.last_change))

    def coach(self, label: str) -> Future[Coaching]:
        return tried(lambda: workshop.coaching(self.active, self._installed(), label))

    def preview(self, file: MappingFile) -> Future[Preview]:
        return _answer(workshop.preview(self.active, file, self._installed()))

    def add_mapping(self, file: MappingFile, *, replace: bool = False) -> Future[None]:
        self.commands.append(f"add mapping {file.name}{', replace' if replace else ''}")
        self.previous, self.active = self.active, self.active.with_file(file)
        self.last_change = f"{file.name} was {'replaced' if replace else 'added'}"
        return _answer(None)

    def remove_mapping(self, name: str) -> Future[None]:
        self.commands.append(f"remove mapping {name}")
        self.previous = self.active
        self.active = MappingSet(file for file in self.active.files if file.name != name)
        self.last_change = f"{name} was removed"
        return _answer(None)

    def undo_mapping(self) -> Future[None]:
        self.commands.append("undo mapping")
        self.active, self.last_change = self.previous, ""
        return _answer(None)

    def _installed(self) -> list[InstalledMeter]:
        return [_installed(detail) for detail in self._details.values()]

    def events(self, after: int = 0, limit: int = 10_000, origin: Origin = ANYWHERE) -> Future[EventPage]:
        found = [event for event in self.logged if event.id > after and _is_from(origin, event)]
        removed = {REMOVED.key: REMOVED} if any(event.meter == REMOVED.key for event in found) else {}
        newest = self.logged[-1].id if self.logged else 0
        return _answer(EventPage(tuple(found[-limit:]), newest, removed))

    def trace(self, after: int) -> Future[tuple[TraceEntry, ...]]:
        self.watched += 1
        return _answer(tuple(entry for entry in self.apdus if entry.id > after))

    def association_log(self) -> Future[tuple[LogEntry, ...]]:
        return _answer(self.happened)

    def _done(self, key: int) -> Future[MeterDetail]:
        detail = self._details.get(key)
        return _failed(f"There is no meter {key}.") if detail is None else _answer(detail)


def _traced(number: int) -> TraceEntry:
    sent, protection, text = APDUS[number]
    apdu = bytes.fromhex(text)
    description = describe(apdu, sent=sent)
    return TraceEntry(
        id=number + 1,
        time_ms=NOW_MS - 4000 + 137 * number,
        peer="192.0.2.7:51034",
        client_sap=1,
        sap=1,
        sent=sent,
        protection=protection,
        size=len(apdu) + (19 if protection else 0),
        title=description.title,
        apdu=description.redacted(apdu),
        hidden=tuple((span.start, len(span)) for span in description.hidden),
    )


def _event(number: int) -> LogEntry:
    ms, port, event, text = EVENTS[number]
    of_connection = event in ("connected", "disconnected")
    sap = None if of_connection else 1
    return LogEntry(number + 1, NOW_MS + ms, f"192.0.2.7:{port}", sap, sap, event, text)


def _config(values: Mapping[str, Any]) -> Config:
    """As config.toml with these keys says, None for none."""
    tables: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        table, _, key = name.partition(".")
        if value is not None:
            tables.setdefault(table, {})[key] = value
    config = parse_config(tomli_w.dumps(tables), Path("/var/lib/cme-tui/config.toml"))
    dialect.find(config.dlms.dialect, Path("/no dialects here")).codes_with(config.obis)
    return config


def _logged(number: int) -> Event:
    seconds, meter, code, message = LOGGED[number]
    return Event(meter, log_of(code, meter), NOW_MS + seconds * 1000, code, message, number + 1)


def _is_from(origin: Origin, event: Event) -> bool:
    device: dict[object, bool] = {
        "any": True,
        "gateway": event.meter is None,
        "meters": event.meter is not None,
    }
    return device.get(origin.device, event.meter == origin.device) and origin.log in (None, event.log)


def _answer(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future


def _installed(detail: MeterDetail) -> InstalledMeter:
    meter = detail.meter
    last = identity = None
    if detail.telegrams:
        telegram = decode(detail.telegrams[0].frame)
        identity = (telegram.medium_code, telegram.manufacturer, telegram.version)
        readout = Readout((telegram,), meter.last_reading_ms or NOW_MS)
        last = MeterReadout(meter.name, readout, Site("0016000000", UTC))
    return InstalledMeter(meter.name, meter.identification, meter.logical_device, identity, last)


def _failed(sentence: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(CmeError(sentence))
    return future


def _detail(key: int) -> MeterDetail:
    name, recording, state, seconds = INSTALLED[(key - 1) % len(INSTALLED)]
    telegram = decode(bytes.fromhex((TELEGRAMS / f"{recording}.hex").read_text()))
    read_ms = None if seconds is None else NOW_MS - seconds * 1000
    values = _values(telegram) if read_ms is not None else ()
    number = f"{(int(telegram.identification) + (key - 1) // len(INSTALLED)) % 10**8:08d}"
    meter = MeterView(
        key=key,
        name=name if key <= len(INSTALLED) else f"{name} {key}",
        line="main",
        address=f"primary {key}" if key <= 250 else f"{number}.{telegram.manufacturer}",
        identification=number,
        manufacturer=telegram.manufacturer,
        version=telegram.version,
        medium=telegram.medium,
        medium_code=telegram.medium_code,
        logical_device=key + 1,
        state=state,
        reason=REASONS.get(state, ""),
        status=None if read_ms is None else telegram.status,
        last_reading_ms=read_ms,
        last_try_ms=NOW_MS - 9000,
        mapping=f"{telegram.medium}/all/0",
        mapped=sum(bool(view.obis) for view in values),
        headline=next((view for view in values if view.obis), None),
    )
    shown = TelegramView(telegram.frame, tuple(explain(telegram)), "")
    return MeterDetail(
        meter=meter,
        values=values,
        telegrams=(shown,) if values else (),
        readings=96 if values else 0,
        oldest_ms=None if read_ms is None else read_ms - 86_400_000,
    )


def _values(telegram: Telegram) -> tuple[ValueView, ...]:
    taken: set[str] = set()
    views = []
    for record in telegram.records:
        code = MAPPED.get((telegram.medium, record.description), "")
        if record.storage or record.tariff or record.subunit or code in taken:
            code = ""
        taken.add(code)
        views.append(
            ValueView(
                description=record.description,
                text=record.value_text,
                unit=record.unit,
                error=record.error,
                function=record.function.label,
                storage=record.storage,
                tariff=record.tariff,
                subunit=record.subunit,
                dib=record.dib,
                telegram=0,
                offset=record.offset,
                length=record.length,
                data_offset=record.data_offset,
                obis=code,
                cosem=f"register {record.raw_text} x 10^{record.exponent} {record.unit}" if code else "",
            )
        )
    return tuple(views)


def _snapshot(meters: tuple[MeterView, ...], clients: int, lines: int) -> Snapshot:
    sweep = SweepView(
        NOW_MS - 12_000, min(4, len(meters)), min(1, len(meters)), len(meters), "power cellar", None
    )
    line = LineView(
        "main",
        "serial:/dev/ttyUSB0",
        2400,
        LineState.UP,
        "",
        NOW_MS - 8_040_000,
        len(meters),
        sweep,
        NOW_MS + 840_000,
    )
    return Snapshot(
        started_ms=NOW_MS - 8_040_000,
        clock_offset_ms=0,
        version="0.1.0",
        name="Cellar 3",
        serial="0016000000",
        system_title="454C560000F42400",
        state_dir="/var/lib/cme-tui",
        demo=False,
        readout_interval="15 min",
        dlms=DlmsView(True, "0.0.0.0", 4059, True, "", "low", "none", 1266, len(meters) + 1),
        lines=tuple(replace(line, name=line.name if not n else f"line {n + 1}") for n in range(lines)),
        meters=meters,
        associations=tuple(
            AssociationView(
                f"192.0.2.7:{51034 + number}",
                "management (1)",
                1,
                None,
                "low",
                NOW_MS - 65_000,
                NOW_MS - 2000,
                14,
                "glo" if number else "none",
                2 * number,
                "get 3 8.0.9.0.0.255/2: object undefined" if number else "",
            )
            for number in range(clients)
        ),
        alarms=tuple(
            f"{meter.name} has not answered since yesterday."
            for meter in meters
            if meter.state is MeterState.NO_ANSWER
        )[:1],
    )

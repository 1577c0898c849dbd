"""A gateway that stands still, made of telegrams of real meters: for the screenshots and the tests of the screens."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from core.errors import CmeError
from core.mbus.medium import medium_name
from core.snapshot import (
    AssociationView,
    DlmsView,
    LineState,
    LineView,
    MeterDetail,
    MeterState,
    MeterView,
    Snapshot,
    SweepView,
    TelegramPart,
    TelegramView,
    ValueView,
)

T = TypeVar("T")

NOW_MS: Final = 1_767_960_000_000
"""2026-01-09 12:00:00 UTC, the moment of every recording."""

TELEGRAMS: Final = Path(__file__).parent.parent / "core" / "mbus" / "telegrams"

INSTALLED: Final = (
    ("water kitchen", "siemens_water", MeterState.OK, 12),
    ("heat flat 1", "kamstrup_multical_601", MeterState.OK, 11),
    ("heat flat 2", "sen_pollusonic_2", MeterState.OK, 10),
    ("gas boiler", "itron_cyble_m-bus_v1.4_gas", MeterState.NO_ANSWER, 3600 * 26),
    ("power cellar", "abb_delta", MeterState.OK, 8),
    ("climate stair", "elv_temp_humid", MeterState.WAITING, None),
)
"""Name, telegram, state, age of the reading in seconds."""

REASONS: Final = {
    MeterState.NO_ANSWER: "No answer in 3 tries; check the wiring, the address and the baud rate.",
    MeterState.WRONG_METER: "The meter at this address says it is 11490378 ACW; check the address.",
    MeterState.WAITING: "Not read yet; the next sweep reads it, or r now.",
}


class RecordedGateway:
    """Implements `core.facade.Gateway` with fixed views.

    `meters` repeats the recorded meters up to that number; `clients` are connected DLMS clients; without `lines` it is
    a gateway as it is after the first start.
    """

    def __init__(self, meters: int = len(INSTALLED), clients: int = 1, lines: int = 1) -> None:
        self._details = {key: _detail(key) for key in range(1, meters + 1)} if lines else {}
        self.now_ms = NOW_MS
        self.commands: list[str] = []
        self.current = _snapshot(tuple(d.meter for d in self._details.values()), clients, lines)

    def clock(self) -> int:
        """The recorded moment."""
        return self.now_ms

    def snapshot(self) -> Snapshot:
        return self.current

    def meter(self, key: int) -> Future[MeterDetail]:
        return self._done(key)

    def read_meter(self, key: int) -> Future[MeterDetail]:
        self.commands.append(f"read {key}")
        detail = self._details.get(key)
        if detail is not None and detail.meter.state is MeterState.NO_ANSWER:
            return _failed(f"{detail.meter.name} does not answer at {detail.meter.address}; check wiring and address.")
        return self._done(key)

    def read_all(self) -> Future[None]:
        self.commands.append("read all")
        return _answer(None)

    def reload(self) -> Future[None]:
        self.commands.append("reload")
        return _answer(None)

    def _done(self, key: int) -> Future[MeterDetail]:
        detail = self._details.get(key)
        return _failed(f"There is no meter {key}.") if detail is None else _answer(detail)


def _answer(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future


def _failed(sentence: str) -> Future[MeterDetail]:
    future: Future[MeterDetail] = Future()
    future.set_exception(CmeError(sentence))
    return future


def _detail(key: int) -> MeterDetail:
    name, telegram, state, seconds = INSTALLED[(key - 1) % len(INSTALLED)]
    frame = bytes.fromhex((TELEGRAMS / f"{telegram}.hex").read_text())
    values, parts = _explain(frame)
    read_ms = None if seconds is None else NOW_MS - seconds * 1000
    number = f"{int(frame[7:11][::-1].hex()) + (key - 1) // len(INSTALLED):08d}"
    meter = MeterView(
        key=key,
        name=name if key <= len(INSTALLED) else f"{name} {key}",
        line="main",
        address=f"primary {key}" if key <= 250 else f"{number}",
        identification=number,
        manufacturer="".join(chr(((frame[11] | frame[12] << 8) >> shift & 31) + 64) for shift in (10, 5, 0)),
        version=frame[13],
        medium=medium_name(frame[14]),
        medium_code=frame[14],
        logical_device=key + 1,
        state=state,
        reason=REASONS.get(state, ""),
        status=None if read_ms is None else frame[16],
        last_reading_ms=read_ms,
        last_try_ms=NOW_MS - 9000,
        mapping=f"{medium_name(frame[14])}/all/0",
        mapped=sum(bool(view.obis) for view in values),
        headline=values[0] if values and read_ms else None,
    )
    return MeterDetail(
        meter=meter,
        values=values if read_ms else (),
        telegrams=(TelegramView(frame, parts, ""),) if read_ms else (),
        readings=96 if read_ms else 0,
        oldest_ms=None if read_ms is None else read_ms - 86_400_000,
    )


def _explain(frame: bytes) -> tuple[tuple[ValueView, ...], tuple[TelegramPart, ...]]:
    values: list[ValueView] = []
    parts: list[TelegramPart] = [
        TelegramPart(0, 1, "start", "68h", None),
        TelegramPart(1, 2, "L field", f"{frame[1]} bytes, twice", None),
        TelegramPart(3, 1, "start", "68h", None),
        TelegramPart(4, 1, "C field", "RSP_UD", None),
        TelegramPart(5, 1, "A field", f"address {frame[5]}", None),
        TelegramPart(6, 1, "CI field", "variable data, least significant byte first", None),
        TelegramPart(7, 12, "header", "fixed data header", None),
    ]
    sizes = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, 0, 6, 0)
    at = 19
    while at < len(frame) - 2:
        start = at
        dif = frame[at]
        if dif & 15 == 15:
            break
        while frame[at] & 128:
            at += 1
        at += 1
        vif = at
        while frame[at] & 128:
            at += 1
        at += 1
        if frame[vif] == 0x7C:
            at += 1 + frame[at]
        data = at
        size = sizes[dif & 15] or frame[at] + 1
        at += size
        record = len(values)
        parts.append(TelegramPart(start, vif - start, "DIF", f"{dif:02x}", record))
        parts.append(TelegramPart(vif, data - vif, "VIF", f"{frame[vif]:02x}", record))
        parts.append(TelegramPart(data, at - data, "data", frame[data:at][::-1].hex(), record))
        values.append(
            ValueView(
                "volume" if record == 0 else f"record {record}", frame[data:at][::-1].hex(), "m3", "", "instantaneous",
                0, 0, 0, frame[start:data].hex(), 0, start, at - start, data,
                "8.0.1.0.0.255" if record < 3 else "", "register 85946 x 10^-3 m³" if record < 3 else "",
            )
        )
    parts.append(TelegramPart(at, len(frame) - 2 - at, "maker's", "manufacturer data", None))
    parts.append(TelegramPart(len(frame) - 2, 1, "checksum", "", None))
    parts.append(TelegramPart(len(frame) - 1, 1, "stop", "", None))
    return tuple(values), tuple(parts)


def _snapshot(meters: tuple[MeterView, ...], clients: int, lines: int) -> Snapshot:
    sweep = SweepView(NOW_MS - 12_000, min(4, len(meters)), min(1, len(meters)), len(meters), "power cellar", None)
    line = LineView(
        "main", "serial:/dev/ttyUSB0", 2400, LineState.UP, "", NOW_MS - 8_040_000, len(meters), sweep, NOW_MS + 840_000
    )
    return Snapshot(
        taken_ms=NOW_MS,
        started_ms=NOW_MS - 8_040_000,
        version="0.1.0",
        name="Cellar 3",
        serial="0016000000",
        system_title="454C560000F42400",
        state_dir="/var/lib/cme-tui",
        demo=False,
        readout_interval="15 min",
        dlms=DlmsView(True, "0.0.0.0", 4059, True, "", "low", len(meters) + 1),
        lines=(line,) * lines,
        meters=meters,
        associations=tuple(
            AssociationView(
                f"192.0.2.7:{51034 + number}", "management (1)", 1, None, "low", NOW_MS - 65_000, NOW_MS - 2000, 14
            )
            for number in range(clients)
        ),
        alarms=tuple(f"{meter.name} has not answered since yesterday." for meter in meters if meter.key == 4),
    )

"""The slave side of commissioning: what a simulated meter does when it is sent data (SND_UD)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

from core.mbus import values
from core.mbus.simulator.meter import SimulatedMeter

CI_RESET = 0x50
"""Application reset; with a subcode, application select (EN 13757-3, 6.2)."""
CI_DATA = 0x51
"""Data for the meter, least significant byte first."""
CI_BAUD = {0xB8 + index: 300 << index for index in range(8)}
"""CI field -> rate that the meter is to speak from then on (EN 13757-3, CI fields B8h to BFh)."""

_Record = Callable[[SimulatedMeter, bytes, float], bool]


def obey(meter: SimulatedMeter, ci: int, data: bytes, now: float) -> bool:
    """Carry out a command other than a selection; whether the meter knows it and has done it.

    `now` is in seconds since 1970-01-01 UTC.
    """
    if ci == CI_RESET:
        meter.application = data[0] if data else 0
        return True
    if ci in CI_BAUD and not data:
        meter.baud = CI_BAUD[ci]
        return True
    return ci == CI_DATA and _write(meter, data, now)


def _write(meter: SimulatedMeter, data: bytes, now: float) -> bool:
    """Records are carried out in their order, up to the first that the meter does not know."""
    done = False
    while data:
        known = _RECORDS.get(data[:2])
        if known is None or len(data) < 2 + known[0]:
            return False
        size, action = known
        if not action(meter, data[2 : 2 + size], now):
            return False
        done, data = True, data[2 + size :]
    return done


def _set_address(meter: SimulatedMeter, data: bytes, _now: float) -> bool:
    if data[0] > 250:
        return False
    meter.address = data[0]
    return True


def _set_clock(meter: SimulatedMeter, data: bytes, now: float) -> bool:
    moment = values.datetime_f(int.from_bytes(data, "little")) if len(data) == 4 else values.datetime_i(data)
    if moment is None:
        return False
    meter.clock_ahead = moment.replace(tzinfo=UTC).timestamp() - now
    return True


_RECORDS: dict[bytes, tuple[int, _Record]] = {
    b"\x01\x7a": (1, _set_address),
    b"\x04\x6d": (4, _set_clock),  # type F
    b"\x06\x6d": (6, _set_clock),  # type I
}
"""DIF and VIF of a record that a master may write -> its bytes of data and what it does."""

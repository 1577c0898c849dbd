"""What a readout, or anything else that is asked of a meter, can end in."""

from __future__ import annotations

from core.errors import CmeError
from core.mbus.address import SecondaryAddress
from core.mbus.watch import Fault


class MbusError(CmeError):
    """A readout that failed. `fault` is what was wrong with the answers, where that is why."""

    fault: Fault | None = None


class NoAnswer(MbusError):  # noqa: N818 - an outcome by name, as are those below
    """The meter is silent; `fault` is `Fault.LATE` where it answered when it was too late."""

    def __init__(self, message: str, fault: Fault = Fault.SILENCE) -> None:
        super().__init__(message)
        self.fault = fault


class NoData(MbusError):  # noqa: N818
    """The meter acknowledges, but has no telegram to send."""


class Garbled(MbusError):  # noqa: N818
    """Bytes came, but no valid answer: `fault` says in which way. `raw` is the last that came."""

    def __init__(self, message: str, raw: bytes, fault: Fault) -> None:
        super().__init__(message)
        self.raw = raw
        self.fault = fault


class WrongMeter(MbusError):  # noqa: N818
    """Another meter than the one wanted answered: `found`, with its telegram in `frames`."""

    def __init__(self, message: str, found: SecondaryAddress, frames: tuple[bytes, ...]) -> None:
        super().__init__(message)
        self.found = found
        self.frames = frames


class Incomplete(MbusError):  # noqa: N818
    """The telegrams of a readout repeat themselves, never end, or some may be missing. `frames` are those that came.

    `fault` is `Fault.FCB` where the meter does not follow the frame count bit.
    """

    def __init__(self, message: str, frames: tuple[bytes, ...], fault: Fault | None = None) -> None:
        super().__init__(message)
        self.frames = frames
        self.fault = fault


class LineDown(MbusError):  # noqa: N818
    """The line is not connected."""


class RateRefused(MbusError):  # noqa: N818
    """The line cannot be switched to another baud rate."""

"""The state that a meter gets from a readout that went wrong."""

from __future__ import annotations

from typing import NoReturn
from zoneinfo import ZoneInfo

import pytest
from fast_loop import fast
from line_rig import PAIR, WATER, WATER_ID, running

from core.clock import SystemClock
from core.config import MeterConfig
from core.mapping.simplified import Site
from core.mbus.address import PrimaryAddress
from core.mbus.errors import MbusError
from core.meter import Meter
from core.outcome import judge
from core.snapshot import MeterState


async def unread(_meter: Meter) -> NoReturn:
    raise AssertionError


@pytest.mark.parametrize(
    ("item", "address", "state", "bytes_kept"),
    [
        ("dead@5", WATER, MeterState.NO_ANSWER, False),
        ("late:1@5", WATER, MeterState.NO_ANSWER, False),
        ("garbage:0033@5", WATER, MeterState.GARBLED, True),
        ("checksum@5", WATER, MeterState.GARBLED, True),
        ("cut:20@5", WATER, MeterState.GARBLED, True),
        ("twin@5", WATER, MeterState.COLLISION, True),
        ("address:5@6", WATER, MeterState.COLLISION, True),
        ("impostor@5", WATER, MeterState.WRONG_METER, True),
        ("fcb:stuck@7", PAIR, MeterState.GARBLED, True),
    ],
)
def test_each_fault_gives_its_state_with_reason_and_bytes(
    item: str, address: PrimaryAddress, state: MeterState, bytes_kept: bool
) -> None:
    """A collision is a state of its own; what the line brought is kept to be looked at."""
    config = MeterConfig(line="rig", address=address.number, name="water", logical_device=16)
    meter = Meter(
        1, config, site=Site("0016000000", ZoneInfo("UTC")), clock=SystemClock(), read=unread, keys={}
    )

    @fast
    async def read() -> None:
        async with running(item) as line:
            with pytest.raises(MbusError) as caught:
                await line.master.read(address, expected=WATER_ID if address is WATER else None)
        outcome = judge(meter, caught.value, 1000)
        assert outcome.state is state
        assert outcome.reason == str(caught.value)
        assert any(outcome.frames) is bytes_kept

    read()

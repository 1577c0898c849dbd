"""Whatever comes from a line, in whatever pieces and at whatever times: no surprise, no hang, no foreign value."""

from __future__ import annotations

import asyncio
import functools

from fast_loop import run_fast
from hypothesis import given, settings
from hypothesis import strategies as st
from line_rig import WATER, WATER_ID, recorded

from core.mbus.address import Address, SecondaryAddress
from core.mbus.errors import MbusError
from core.mbus.frame import ACK, Frame, FrameReader, identity_of, long_frame, req_ud2, select, snd_nke
from core.mbus.link import Link, Probe, ProbeResult, Readout
from core.mbus.transport import Transport

BAUD = 9600
MINE = long_frame(8, 5, 0x72, recorded("frame2")[7:-2])
OTHERS = recorded("metrona_pollutherm")
LONGEST_READ = 60.0
"""Seconds on the line's clock within which every read ends: its tries at their longest, with all reserves."""

Bytes = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from(
        [
            ACK, MINE, OTHERS, MINE[:17], MINE[:-2] + b"\x00\x16", b"\x68", b"\x68\xff\xff\x68", ACK + MINE,
            MINE + OTHERS, snd_nke(5), req_ud2(5, True), req_ud2(253, True), select(WATER_ID),
            long_frame(8, 5, 0x72, b"\x00" * 12), long_frame(8, 5, 0x70, b"\x08"), long_frame(8, 5, 0x72, b""),
        ]
    ),
    st.builds(bytes.__add__, st.binary(max_size=4), st.sampled_from([ACK, MINE, OTHERS])),
)  # fmt: skip
Reaction = st.lists(st.tuples(st.sampled_from([0.0, 0.005, 0.05, 0.2, 0.5, 2.0]), Bytes), max_size=4)
"""What comes after a request, and how many seconds after what came before."""


class Far:
    """The far end of a line: it has a reaction to each request in turn, and begins anew at the end."""

    def __init__(self, reactions: list[list[tuple[float, bytes]]]) -> None:
        self._reactions = reactions
        self._requests = 0
        self.line = Transport(self._react, lambda: None, 0.05)

    def _react(self, _request: bytes) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time()
        for pause, data in self._reactions[self._requests % len(self._reactions)]:
            when += pause
            loop.call_at(when, functools.partial(self.line.deliver, data))
        self._requests += 1


async def read(far: Far, address: Address) -> Readout | None:
    """A readout of the water meter, if there is one."""
    link = Link(far.line, BAUD)
    async with asyncio.timeout(LONGEST_READ):
        try:
            return await link.read(address, WATER_ID)
        except MbusError:
            return None


async def probe(far: Far) -> Probe:
    link = Link(far.line, BAUD)
    async with asyncio.timeout(LONGEST_READ):
        return await link.probe(SecondaryAddress("1234FFFF"))


def parsed(raw: bytes) -> Frame:
    (frame,) = FrameReader().feed(raw)
    assert isinstance(frame, Frame)
    return frame


@settings(max_examples=400, deadline=None)
@given(st.lists(Reaction, min_size=1, max_size=8), st.sampled_from([WATER, WATER_ID]))
def test_read_ends_with_the_right_meters_telegram_or_an_error_of_its_own(
    reactions: list[list[tuple[float, bytes]]], address: Address
) -> None:
    """Every telegram that is handed out is whole, and names the meter that was asked or none at all."""
    readout = run_fast(read(Far(reactions), address))
    for raw in readout.frames if readout else ():
        identity = identity_of(parsed(raw))
        assert identity is None or identity.agrees(WATER_ID)


@settings(max_examples=200, deadline=None)
@given(st.lists(Reaction, min_size=1, max_size=6))
def test_probe_ends_and_finds_only_who_is_meant(reactions: list[list[tuple[float, bytes]]]) -> None:
    """A meter that is found has sent a whole telegram that fits the mask, or none."""
    found = run_fast(probe(Far(reactions)))
    if found.result is ProbeResult.ONE and found.frame:
        identity = identity_of(parsed(found.frame))
        assert identity is None or identity.identification.startswith("1234")

"""Link layer frames: what is built, what is found in a stream, and what is refused and why."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.mbus.address import SecondaryAddress
from core.mbus.frame import (
    ACK,
    LONGEST,
    Frame,
    FrameError,
    FrameReader,
    Garbage,
    Kind,
    identity_of,
    long_frame,
    req_ud2,
    select,
    short_frame,
    snd_nke,
)
from core.mbus.watch import Fault
from tests.conftest import TELEGRAMS

REAL = {path.stem: bytes.fromhex(path.read_text()) for path in sorted(TELEGRAMS.glob("*.hex"))}
NAMES = sorted(REAL)


def test_short_frames_have_the_bytes_of_the_standard() -> None:
    """SND_NKE and REQ_UD2 with both frame count bits, as in EN 13757-2."""
    assert snd_nke(5) == bytes.fromhex("1040054516")
    assert req_ud2(5, False) == bytes.fromhex("105B056016")
    assert req_ud2(5, True) == bytes.fromhex("107B058016")
    assert req_ud2(253, True) == bytes.fromhex("107BFD7816")


def test_select_frame_carries_the_wildcards() -> None:
    """Fields left open are FFFF FF FF; a fabrication number follows as a record (enhanced selection)."""
    assert select(SecondaryAddress("12345678")) == bytes.fromhex("680B0B6853FD5278563412FFFFFFFFB216")
    enhanced = select(SecondaryAddress("12345678", fabrication="00012F45"))
    assert enhanced[:4] == bytes.fromhex("68111168")
    assert enhanced[7:-2] == bytes.fromhex("78563412FFFFFFFF0C78452F0100")
    full = select(SecondaryAddress("1234FFFF", "HYD", 0x25, 0x07))
    assert full[7:15] == bytes.fromhex("FFFF341224232507")


def test_fields_out_of_range_are_refused() -> None:
    """No frame is built from an address of 256 or from 253 bytes of data."""
    with pytest.raises(FrameError, match="address"):
        snd_nke(256)
    with pytest.raises(FrameError, match="253"):
        long_frame(0x53, 1, 0x51, bytes(253))
    assert len(long_frame(0x53, 1, 0x51, bytes(252))) == LONGEST


@pytest.mark.parametrize("name", NAMES)
def test_real_telegram_is_found_byte_by_byte(name: str) -> None:
    """A telegram that comes one byte at a time is complete with its last byte and not before."""
    raw = REAL[name]
    reader = FrameReader()
    for byte in raw[:-1]:
        assert reader.feed(bytes((byte,))) == []
        assert reader.missing > 0
    (frame,) = reader.feed(raw[-1:])
    assert isinstance(frame, Frame)
    assert frame.kind is Kind.LONG
    assert frame.raw == raw
    assert (frame.control, frame.address, frame.ci) == (raw[4], raw[5], raw[6])
    assert reader.missing == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_promises_no_more_bytes_than_follow(name: str) -> None:
    """`missing` never asks for more than the frame still has, so that no deadline is set too late."""
    raw = REAL[name]
    for cut in range(1, len(raw)):
        reader = FrameReader()
        reader.feed(raw[:cut])
        assert 0 < reader.missing <= len(raw) - cut


@pytest.mark.parametrize(
    ("change", "reason", "fault"),
    [
        (lambda raw: raw[:1] + b"\x20" + raw[2:], "length bytes 20 and 1F differ", Fault.COLLISION),
        (lambda raw: raw[:3] + b"\x69" + raw[4:], "second start byte 69 instead of 68", Fault.COLLISION),
        (lambda raw: raw[:-2] + b"\x19" + raw[-1:], "checksum 19 instead of 18", Fault.CHECKSUM),
        (lambda raw: raw[:-1] + b"\x17", "stop byte 17 instead of 16", Fault.COLLISION),
        (lambda raw: b"\x68\x02\x02" + raw[3:], "length byte 02 is below 03", Fault.COLLISION),
        (lambda raw: b"\x60" + raw[1:], "60 is E5 and 68 at once", Fault.COLLISION),
        (lambda raw: b"\x61" + raw[1:], "61 is no start byte", Fault.NOISE),
    ],
)
def test_broken_frame_is_garbage_with_its_reason(change, reason: str, fault: Fault) -> None:  # type: ignore[no-untyped-def]
    """The reason names the byte that is wrong, and the next frame is found all the same."""
    reader = FrameReader()
    found = reader.feed(change(REAL["frame2"]))
    rest = reader.flush()
    garbage = [item for item in [*found, rest] if isinstance(item, Garbage)]
    assert (garbage[0].reason, garbage[0].fault) == (reason, fault)
    assert reader.feed(ACK) == [Frame(Kind.ACK, ACK)]


def test_wrong_checksum_does_not_open_the_content() -> None:
    """A telegram with a wrong checksum is one piece of garbage, even where its data look like an E5."""
    raw = bytearray(long_frame(8, 1, 0x72, ACK * 20))
    raw[-2] ^= 1
    (garbage,) = FrameReader().feed(bytes(raw))
    assert isinstance(garbage, Garbage)
    assert garbage.raw == raw


def test_noise_in_front_does_not_cost_the_frame() -> None:
    """Disturbed bytes at the turn of the line, even start bytes, do not hide the frame behind them."""
    raw = REAL["frame2"]
    for noise in (b"\x00", b"\xff\x00\x33", b"\x68", b"\x68\x68", b"\x68\x1f", b"\x10", b"\x10\x68\x68"):
        found = FrameReader().feed(noise + raw)
        assert isinstance(found[0], Garbage)
        assert b"".join(item.raw for item in found) == noise + raw
        assert isinstance(found[-1], Frame)
        assert found[-1].raw == raw


def test_cut_off_frame_is_given_up_with_a_count() -> None:
    """After a pause the reader hands out what it had and begins anew."""
    reader = FrameReader()
    assert reader.feed(REAL["frame2"][:20]) == []
    garbage = reader.flush()
    assert garbage == Garbage(
        REAL["frame2"][:20], "cut off after 20 bytes, at least 17 more expected", Fault.CUT
    )
    assert reader.flush() is None


def test_header_tells_the_meter() -> None:
    """Variable structure gives the whole secondary address in either order, fixed structure the id only."""

    def parse(raw: bytes) -> Frame:
        (frame,) = FrameReader().feed(raw)
        assert isinstance(frame, Frame)
        return frame

    assert str(identity_of(parse(REAL["frame2"]))) == "12345678.PAD.01.07"
    assert str(identity_of(parse(REAL["sen_pollusonic_2"]))) == "90919293"
    swapped = long_frame(
        8, 1, 0x76, bytes.fromhex("12345678") + bytes.fromhex("4024") + b"\x01\x07" + bytes(4)
    )
    assert str(identity_of(parse(swapped))) == "12345678.PAD.01.07"
    assert identity_of(parse(long_frame(8, 1, 0x70, b"\x08"))) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_no_byte_is_lost_or_invented(chunks: list[bytes]) -> None:
    """Whatever comes, in whatever pieces: frames and garbage together are exactly the bytes received."""
    reader = FrameReader()
    out = b""
    for chunk in chunks:
        out += b"".join(item.raw for item in reader.feed(chunk))
        assert reader.missing <= LONGEST
    rest = reader.flush()
    assert out + (rest.raw if rest else b"") == b"".join(chunks)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.binary(max_size=30).filter(lambda noise: not {0x10, 0x68} & set(noise)),
    st.lists(st.integers(1, 260), max_size=6),
)
def test_pieces_do_not_matter(name: str, noise: bytes, cuts: list[int]) -> None:
    """A frame behind noise is found however the stream is cut."""
    stream = noise + REAL[name]
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    reader = FrameReader()
    found = [item for a, b in itertools.pairwise(edges) for item in reader.feed(stream[a:b])]
    assert isinstance(found[-1], Frame)
    assert found[-1].raw == REAL[name]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=252))
def test_built_frames_are_read_back(control: int, address: int, ci: int, data: bytes) -> None:
    """What the builders make, the reader finds with the same fields."""
    (long,) = FrameReader().feed(long_frame(control, address, ci, data))
    assert isinstance(long, Frame)
    assert (long.control, long.address, long.ci, long.payload) == (control, address, ci, data)
    (short,) = FrameReader().feed(short_frame(control, address))
    assert isinstance(short, Frame)
    assert (short.kind, short.control, short.address) == (Kind.SHORT, control, address)

"""A line that is recorded can be played again, and is the same for whoever asks it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fast_loop import fast, wall_clock

from core.mbus.address import parse_address
from core.mbus.errors import MbusError
from core.mbus.frame import ACK, snd_nke
from core.mbus.master import Master
from core.mbus.recording import Recorder, RecordingError, load_recording, read_recording
from core.mbus.simulator import Misfortune, SimulatedBus, load_meters, open_simulated
from core.mbus.transport import Transport
from core.mbus.watch import Purpose, Try

BAUD = 2400
ANY = Try(0, BAUD, Purpose.READ, "1", 1, snd_nke(1), ACK, False, None, 0.04, 0.1)


def opener(bus: Any) -> Callable[[str, int], Any]:
    async def open_line(url: str, baud: int) -> Transport:
        return open_simulated(bus, baud)

    return open_line


@contextlib.asynccontextmanager
async def line(bus: Any, watch: Callable[[Try], None]) -> AsyncIterator[Master]:
    master = Master("sim:", BAUD, open_line=opener(bus), watch=watch, now=wall_clock)
    master.start()
    try:
        yield master
    finally:
        await master.close()


async def outcome(master: Master, address: str) -> str:
    try:
        return "".join(frame.hex() for frame in (await master.read(parse_address(address))).frames)
    except MbusError as error:
        return type(error).__name__


def troubled_bus() -> tuple[SimulatedBus, list[str]]:
    """Six meters, half of them in trouble, and their addresses: primary and secondary."""
    meters = [meter for meter in load_meters() if meter.identity and meter.identity.exact][:6]
    meters[1].misfortune = Misfortune(dead=True)
    meters[2].misfortune = Misfortune(wrong_checksum=2)
    meters[3].misfortune = Misfortune(noise=b"\x00\xff\x68")
    addresses = [str(m.identity) if index % 2 else str(m.address) for index, m in enumerate(meters)]
    return SimulatedBus(meters, clock=wall_clock), addresses


@fast
async def test_a_replayed_line_gives_what_the_recorded_one_gave(tmp_path: Path) -> None:
    """Telegrams, silence, checksum errors and noise, at primary and secondary addresses, try by try."""
    bus, addresses = troubled_bus()
    path = tmp_path / "line.rec"
    recorder = await Recorder.open(path, "m1", BAUD, 0)
    tries: list[Try] = []

    def watch(item: Try) -> None:
        recorder.add(item)
        tries.append(item)

    async with line(bus, watch) as master:
        first = [await outcome(master, address) for _ in range(3) for address in addresses]
    await recorder.close()
    assert recorder.recorded == len(tries) > 18
    assert {"NoAnswer", "Garbled"} & set(first)

    again: list[Try] = []
    async with line(load_recording(path), again.append) as master:
        second = [await outcome(master, address) for _ in range(3) for address in addresses]
    assert second == first
    assert [(t.request, t.received, t.fault) for t in again] == [
        (t.request, t.received, t.fault) for t in tries
    ]
    for played, recorded in zip(again, tries, strict=True):
        # Bytes come in chunks, so noise in front of an answer is timed to a chunk.
        assert played.delay == (None if recorded.delay is None else pytest.approx(recorded.delay, abs=0.03))


@fast
async def test_a_recording_may_begin_in_the_middle_of_a_conversation(tmp_path: Path) -> None:
    """The reset of the link to the meter was before it; the meter can be read all the same."""
    bus, addresses = troubled_bus()
    tries: list[Try] = []
    async with line(bus, tries.append) as master:
        await outcome(master, addresses[0])
        begin = len(tries)
        telegram = await outcome(master, addresses[0])
    recorder = await Recorder.open(tmp_path / "line.rec", "m1", BAUD, 0)
    for item in tries[begin:]:
        recorder.add(item)
    await recorder.close()
    async with line(load_recording(tmp_path / "line.rec"), lambda _: None) as master:
        assert await outcome(master, addresses[0]) == telegram
        assert await outcome(master, addresses[2]) == "NoAnswer"


@fast
async def test_a_recording_ends_where_it_is_full_and_says_so(tmp_path: Path) -> None:
    """The file is no longer than allowed, and whole."""
    bus, addresses = troubled_bus()
    path = tmp_path / "line.rec"
    recorder = await Recorder.open(path, "m1", BAUD, 0, most_bytes=2000)
    async with line(bus, recorder.add) as master:
        for address in addresses:
            await outcome(master, address)
    await recorder.close()
    assert "is full" in recorder.reason
    assert path.stat().st_size <= 2000
    assert len(read_recording(path).tries) == recorder.recorded > 0


@fast
async def test_a_full_disk_ends_a_recording_with_its_reason() -> None:
    """The line goes on."""
    file = open("/dev/full", "wb")  # noqa: SIM115, ASYNC230 - the recorder closes it
    recorder = Recorder(Path("/dev/full"), file, b"{}\n", 1 << 20)
    bus, addresses = troubled_bus()
    async with line(bus, recorder.add) as master:
        assert await outcome(master, addresses[0])
        await recorder.close()
        assert "No space left on device" in recorder.reason
        recorder.add(ANY)
        assert await outcome(master, addresses[0]) not in ("LineDown", "")
    assert file.closed


@fast
async def test_no_file_is_overwritten_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "line.rec"
    await (await Recorder.open(path, "m1", BAUD, 0)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RecordingError, match="already"):
        await Recorder.open(path, "m1", BAUD, 0)
    with pytest.raises(RecordingError, match="cannot be written"):
        await Recorder.open(tmp_path / "none" / "line.rec", "m1", BAUD, 0)


async def _recorded(path: Path) -> list[bytes]:
    recorder = await Recorder.open(path, "m1", BAUD, 0)
    bus, addresses = troubled_bus()
    async with line(bus, recorder.add) as master:
        await outcome(master, addresses[0])
    await recorder.close()
    return await asyncio.to_thread(lambda: path.read_bytes().splitlines(keepends=True))


@fast
async def test_a_crash_costs_a_recording_its_last_line_only(tmp_path: Path) -> None:
    path = tmp_path / "line.rec"
    lines = await _recorded(path)
    whole = read_recording(path)
    os.truncate(path, path.stat().st_size - 5)
    assert read_recording(path) == replace(whole, tries=whole.tries[:-1])
    assert len(whole.tries) == len(lines) - 1


@fast
async def test_what_is_no_recording_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "line.rec"
    header, first, *_ = await _recorded(path)
    wrong = {
        "is no recording": b"hello\n",
        "no recording of": b"",
        "has format 2": header.replace(b'"format": 1', b'"format": 2'),
        "line 1: the header is not whole": header.replace(b'"baud"', b'"bard"'),
        "line 2: this is no JSON object": header + b"[]\n",
        "line 2: 'fault' is missing": header + first.replace(b'"fault"', b'"vault"'),
        "line 2: non-hexadecimal": header
        + json.dumps({**json.loads(first), "request": "xy"}).encode()
        + b"\n",
        "line 2: 0 baud": header + json.dumps({**json.loads(first), "baud": 0}).encode() + b"\n",
    }
    for reason, content in wrong.items():
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=reason):
            read_recording(path)
    with pytest.raises(RecordingError, match="cannot be read"):
        load_recording(tmp_path / "none.rec")


@fast
async def test_a_disk_that_is_too_slow_ends_a_recording_before_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.mbus.recording.MOST_WAITING", 1000)
    recorder = await Recorder.open(tmp_path / "line.rec", "m1", BAUD, 0)
    for _ in range(20):  # the loop does not run in between
        recorder.add(ANY)
    assert "too slow" in recorder.reason
    await recorder.close()
    assert len(read_recording(tmp_path / "line.rec").tries) == recorder.recorded < 20

"""What a client gets of one meter: fresh values, shared history of failures, defaults, names."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.config import MeterConfig
from core.cosem import datetime as cosem_time
from core.cosem.objects import DataAccessError, DataAccessResult
from core.dlms import axdr
from core.mapping.model import MappingFile, dump, parse_mapping
from core.mapping.ready import ready_mappings
from core.mapping.simplified import Site
from core.mbus.address import SecondaryAddress
from core.mbus.simulator import SimulatedMeter, load_meters
from core.meter import FAILED_MS, FRESH_MS, Meter
from core.snapshot import MeterState
from core.views import meter_view
from tests.mbus.telegram_frames import long_frame

START = 1_770_000_000_000
SITE = Site("0016000000", ZoneInfo("Europe/Stockholm"))
FALCON = "70112345.ELS.0A.07"


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = START

    def now_ms(self) -> int:
        return self.now

    def seconds_until(self, moment_ms: int) -> float:
        return max(moment_ms - self.now, 0) / 1000


class Bench:
    """A meter whose line is this object: `answers` says whether it brings a telegram."""

    def __init__(self, address: str = FALCON, mapping: str = "water.json") -> None:
        self.clock = SetClock()
        self.readouts = 0
        self.answers = True
        self.simulated: SimulatedMeter = next(
            meter for meter in load_meters() if str(meter.identity) == FALCON
        )
        self.mapping: MappingFile = next(file for file in ready_mappings() if file.name == mapping)
        self.meter = Meter(
            1,
            MeterConfig(line="cellar", address=address, logical_device=16),
            site=SITE,
            clock=self.clock,
            read=self.read,
            keys={},
        )

    async def read(self, meter: Meter) -> None:
        self.readouts += 1
        if self.answers:
            self.take()
        else:
            meter.fail(MeterState.NO_ANSWER, "It is silent.", self.clock.now)

    def take(self) -> None:
        telegrams = self.meter.decode(self.simulated.telegrams_at(self.clock.now / 1000))
        self.meter.accept(telegrams, self.clock.now)
        self.meter.remap(self.mapping)

    async def volume(self) -> int:
        place = [item.entry.obis_text for item in self.meter.objects].index("8.0.1.0.0.255")
        source = self.meter.source(place)
        assert callable(source)
        got = source()
        encoded = await got if isinstance(got, Awaitable) else got
        content = axdr.decode(encoded).content
        assert isinstance(content, int)
        return content


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_value_of_up_to_60_seconds_is_given_at_once(bench: Bench) -> None:
    """No readout for a value that is fresh, up to the last millisecond."""
    bench.take()
    bench.clock.now += FRESH_MS
    await bench.volume()
    assert bench.readouts == 0


async def test_an_older_value_is_read_anew(bench: Bench) -> None:
    """One millisecond more, and the client gets what the meter says now."""
    bench.take()
    before = await bench.volume()
    bench.clock.now += 86_400_000
    assert await bench.volume() > before
    assert bench.readouts == 1


async def test_a_failed_readout_gives_the_last_known_value(bench: Bench) -> None:
    """A meter that is silent: its last value, not an error."""
    bench.take()
    known = await bench.volume()
    bench.clock.now += 3_600_000
    bench.answers = False
    assert await bench.volume() == known
    assert bench.readouts == 1


async def test_a_failure_counts_for_a_while(bench: Bench) -> None:
    """A client that asks for many values of a dead meter causes one readout, and another one later."""
    bench.take()
    bench.clock.now += 3_600_000
    bench.answers = False
    for _ in range(5):
        await bench.volume()
    assert bench.readouts == 1
    bench.clock.now += FAILED_MS + 1
    await bench.volume()
    assert bench.readouts == 2


async def test_a_clock_that_was_set_back_makes_no_value_fresh(bench: Bench) -> None:
    """A reading from what is now the future is read anew."""
    bench.take()
    bench.clock.now -= 3_600_000
    await bench.volume()
    assert bench.readouts == 1


async def test_a_record_that_is_invalid_gives_no_value(bench: Bench) -> None:
    """A value that the meter marks as invalid counts as missing: an error, never a number."""
    bench.take()
    source = bench.meter.source([item.entry.obis_text for item in bench.meter.objects].index("8.0.1.0.0.255"))
    frame = bytearray(bench.simulated.telegrams_at(START / 1000)[0])
    at = bench.meter.decode([bytes(frame)])[0].records[0].data_offset
    frame[at] = 0xFA  # no digit
    frame[-2] = sum(frame[4:-2]) & 0xFF
    bench.meter.accept(bench.meter.decode([bytes(frame)]), START)
    bench.meter.remap(bench.mapping)
    assert callable(source)
    with pytest.raises(DataAccessError) as refused:
        source()
    assert refused.value.code is DataAccessResult.OBJECT_UNAVAILABLE


async def test_a_meter_that_was_never_read_has_no_objects_and_no_name() -> None:
    """Behind a primary address nobody knows who answers, so nothing is made up."""
    bench = Bench(address="7")
    bench.meter.remap(bench.mapping)
    assert bench.meter.objects == ()
    assert bench.meter.logical_device_name is None
    bench.take()
    bench.meter.identity = SecondaryAddress("70112345", "ELS", 10, 7)
    assert bench.meter.logical_device_name == "ELS70112345070A"
    assert bench.meter.objects != ()


async def test_objects_stay_when_a_telegram_lacks_a_record(bench: Bench) -> None:
    """What a meter has once sent stays in its object list, without a value."""
    bench.take()
    before = [item.entry for item in bench.meter.objects]
    other = next(meter for meter in load_meters() if str(meter.identity) == "00182007.GWF.35.07")
    bench.meter.accept(bench.meter.decode(other.telegrams_at(START / 1000)), START)
    bench.meter.remap(bench.mapping)
    assert [item.entry for item in bench.meter.objects][: len(before)] == before


def test_a_default_value_shows_an_object_that_the_meter_lacks() -> None:
    """An entry with a default is served for every meter, with the default."""
    bench = Bench()
    bench.mapping = parse_mapping(Path(__file__).parent.joinpath("default.json").read_bytes(), "default.json")
    bench.take()
    (value,) = bench.meter.reading.values if bench.meter.reading else ()
    assert value.from_default
    assert axdr.decode(value.encoded or b"").content == 4711


def test_a_record_that_is_not_sent_once_changes_no_scaler() -> None:
    """A client that keeps the scaler would be wrong by 1000, and the profile would lose its history."""
    bench = Bench()
    fine = long_frame("0412 01020304")
    bench.meter.accept(bench.meter.decode([fine]), START)
    bench.meter.remap(bench.mapping)
    before = bench.meter.columns
    assert [(item.entry.obis_text, item.scaler) for item in before.objects] == [("8.0.1.0.0.255", -6)]
    bench.meter.accept(bench.meter.decode([long_frame("")]), START + 1000)
    bench.meter.remap(bench.mapping)
    assert bench.meter.columns is before
    assert bench.meter.reading is not None
    (value,) = bench.meter.reading.values
    assert (value.object.scaler, value.encoded) == (-6, None)


def test_a_meter_that_counts_in_coarser_steps_for_once_changes_no_scaler() -> None:
    """The finer scaler holds both."""
    bench = Bench()
    for record, number in (("0412 01000000", 100), ("0413 01000000", 1000)):
        bench.meter.accept(bench.meter.decode([long_frame(record)]), START)
        bench.meter.remap(bench.mapping)
        assert bench.meter.reading is not None
        (value,) = bench.meter.reading.values
        assert value.encoded is not None
        assert (value.object.scaler, axdr.decode(value.encoded).content) == (-6, number)


async def test_the_capture_time_is_that_of_the_value_beside_it(bench: Bench) -> None:
    """A client that asks for capture time and value of an old reading at once gets both of the new one."""
    bench.take()
    bench.clock.now += 3_600_000
    read = bench.meter.capture_time_source()
    assert callable(read)
    got = read()
    assert not isinstance(got, bytes)
    assert await got == axdr.octet_string(cosem_time.encode(bench.clock.now, SITE.zone))  # type: ignore[arg-type]
    assert bench.readouts == 1


def test_a_disabled_meter_is_not_enabled_by_a_readout_that_ends_late(bench: Bench) -> None:
    """Its telegram is taken, its state stays."""
    bench.meter.configure(replace(bench.meter.config, enabled=False), SITE, {})
    bench.take()
    assert bench.meter.state is MeterState.DISABLED
    bench.meter.fail(MeterState.NO_ANSWER, "It is silent.", START)
    assert (bench.meter.state, bench.meter.reason) == (MeterState.DISABLED, "")


async def test_reading_the_mapping_files_again_disturbs_no_client_that_waits(bench: Bench) -> None:
    """The same content gives the same objects; a client that waits for a value gets it."""
    bench.take()
    source = bench.meter.source(0)
    bench.meter.remap(parse_mapping(dump(bench.mapping).encode(), bench.mapping.name))
    assert callable(source)
    assert isinstance(source(), bytes)


@pytest.mark.parametrize(
    ("address", "shown"), [("5", "primary 5"), ("70112345", "70112345"), (FALCON, FALCON)]
)
def test_an_address_is_shown_as_what_it_is(address: str, shown: str) -> None:
    """Eight digits are a secondary address, also without manufacturer, version and medium."""
    assert meter_view(Bench(address).meter).address == shown

"""What simulated meters do when they are told: addresses, baud rates, applications, the clock, selections."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.mbus.address import BROADCAST, SELECTED, SecondaryAddress
from core.mbus.frame import ACK, CI_SELECT, Frame, FrameReader, req_ud2, select, snd_nke, snd_ud
from core.mbus.simulator import Misfortune, SimulatedBus, SimulatedMeter, fleet, read_telegrams
from core.mbus.telegram import Telegram, decode
from tests.conftest import TELEGRAMS

BAUD_9600 = 0xBD


class Bench:
    """A bus at 2400 baud and a clock that the test sets."""

    def __init__(self, *meters: SimulatedMeter) -> None:
        self.time = 1_780_000_000.0  # 2026-05-28 20:26:40 UTC
        self.bus = SimulatedBus(meters, lambda: self.time, baud=2400)
        self.bus.rate = 2400

    def ask(self, request: bytes, rate: int = 2400) -> bytes | None:
        self.bus.rate = rate
        (frame,) = FrameReader().feed(request)
        assert isinstance(frame, Frame)
        answer = self.bus.respond(frame)
        return answer.data if answer else None

    def read(self, address: int, fcb: bool = True) -> Telegram:
        self.ask(snd_nke(address))
        answer = self.ask(req_ud2(address, fcb))
        assert answer is not None
        return decode(answer)


def meter(name: str, address: int) -> SimulatedMeter:
    return SimulatedMeter(read_telegrams(TELEGRAMS / f"{name}.hex"), address=address)


def test_a_new_primary_address_holds_at_once() -> None:
    """The acknowledgement still belongs to the old address; from then on only the new one is answered."""
    bench = Bench(meter("frame2", 5))
    assert bench.ask(snd_ud(5, True, 0x51, b"\x01\x7a\x09")) == ACK
    assert bench.ask(snd_nke(5)) is None
    assert bench.read(9).address == 9


def test_a_selected_meter_gets_an_address() -> None:
    """Commissioning by secondary address: select, set, deselect, and the others stay as they were."""
    bench = Bench(meter("frame2", 0), meter("metrona_pollutherm", 0))
    assert bench.ask(select(SecondaryAddress("12345678"))) == ACK
    assert bench.ask(snd_ud(SELECTED, True, 0x51, b"\x01\x7a\x07")) == ACK
    assert bench.ask(snd_nke(SELECTED)) == ACK
    assert bench.ask(snd_nke(SELECTED)) is None
    assert [slave.address for slave in bench.bus.meters] == [7, 0]


def test_a_new_baud_rate_holds_when_it_is_used() -> None:
    """The acknowledgement comes at the old rate; whoever is spoken to at the new one stays there."""
    bench = Bench(meter("frame2", 5))
    assert bench.ask(snd_ud(5, True, BAUD_9600), 2400) == ACK
    assert bench.ask(snd_nke(5), 2400) is None
    assert bench.ask(snd_nke(5), 9600) == ACK
    bench.time += 3600
    assert bench.ask(snd_nke(5), 9600) == ACK
    assert bench.ask(snd_nke(5), 2400) is None


def test_a_new_baud_rate_that_nobody_uses_is_given_up() -> None:
    """After a minute without a word at the new rate the meter is back at the old one."""
    bench = Bench(meter("frame2", 5))
    bench.ask(snd_ud(5, True, BAUD_9600))
    bench.time += 59
    assert bench.ask(snd_nke(5), 2400) is None
    assert bench.ask(snd_nke(6), 9600) is None, "this was for another one"
    bench.time += 2
    assert bench.ask(snd_nke(5), 9600) is None
    assert bench.ask(snd_nke(5), 2400) == ACK


@pytest.mark.parametrize(("ci", "rate"), [(0xB8, 300), (0xBB, 2400), (0xBF, 38400)])
def test_every_rate_has_its_code(ci: int, rate: int) -> None:
    """B8h to BFh are 300 to 38400 baud."""
    bench = Bench(meter("frame2", 5))
    bench.ask(snd_ud(5, True, ci))
    assert bench.ask(snd_nke(5), rate) == ACK


def test_the_clock_goes_on_from_where_it_was_set() -> None:
    """Type F or type I: the date records follow, the registers do not."""
    bench = Bench(meter("siemens_water", 5))

    def shown() -> tuple[str, object]:
        records = bench.read(5).records
        return next(r.value_text for r in records if r.quantity == "datetime"), records[0].raw

    before = shown()
    assert before[0] == "2026-05-28T20:26:00"
    # 2030-01-31 08:15, type F: minute, hour, day and year, month and year
    assert bench.ask(snd_ud(5, True, 0x51, bytes.fromhex("046D 0F08 DF31"))) == ACK
    assert shown() == ("2030-01-31T08:15:00", before[1])
    bench.time += 3600
    assert shown()[0] == "2030-01-31T09:15:00"
    # the same with seconds, type I
    assert bench.ask(snd_ud(5, True, 0x51, bytes.fromhex("066D 1E1E08 DF31 05"))) == ACK
    bench.time += 30
    assert shown()[0] == "2030-01-31T08:31:00"
    ahead = bench.bus.meters[0].clock_ahead
    assert datetime.fromtimestamp(bench.time + ahead, UTC).second == 0


def test_application_reset_and_select() -> None:
    """A subcode picks present or billing values; without one everything comes again, from the first telegram on."""
    bench = Bench(meter("EFE_Engelmann-WaterStar", 5))
    whole = bench.read(5).records
    for subcode, past in ((0x50, False), (0x20, True)):
        assert bench.ask(snd_ud(5, True, 0x50, bytes((subcode,)))) == ACK
        chosen = bench.read(5)
        assert {record.storage > 0 for record in chosen.records} == {past}
        assert len(chosen.records) == sum((record.storage > 0) is past for record in whole)
    assert bench.ask(snd_ud(5, True, 0x50)) == ACK
    assert len(bench.read(5).records) == len(whole)


def test_application_reset_begins_with_the_first_telegram() -> None:
    """A meter that was left in the middle of its telegrams begins anew."""
    pages = [read_telegrams(TELEGRAMS / f"{name}.hex")[0] for name in ("frame2", "siemens_water")]
    bench = Bench(SimulatedMeter(pages, address=5))
    first = bench.ask(req_ud2(5, True))
    assert bench.ask(snd_ud(5, True, 0x50)) == ACK
    again = bench.ask(req_ud2(5, False))
    assert first
    assert again
    assert len(first) == len(again) == len(pages[0])


def test_broadcasts_are_obeyed_and_not_answered() -> None:
    """Who sends to 255 reaches all meters at once and hears nothing."""
    bench = Bench(meter("frame2", 5), meter("metrona_pollutherm", 6))
    assert bench.ask(snd_ud(BROADCAST, True, BAUD_9600)) is None
    assert bench.ask(snd_nke(5), 9600) == ACK
    assert bench.ask(snd_nke(6), 9600) == ACK
    assert bench.ask(snd_nke(6), 2400) is None


def test_a_dead_meter_obeys_nobody() -> None:
    """What was never heard was never done."""
    deaf = meter("frame2", 5)
    deaf.misfortune = Misfortune(dead=True)
    bench = Bench(deaf)
    bench.ask(snd_ud(5, True, 0x51, b"\x01\x7a\x09"))
    assert deaf.address == 5


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("identification", ["70112345", "7A1B2C3D"])
def test_each_digit_can_be_left_open(identification: str, place: int) -> None:
    """F stands for any digit; another digit, also a hex one, deselects."""
    bench = Bench(*fleet([identification]))
    open_one = identification[:place] + "F" + identification[place + 1 :]
    other = identification[:place] + "E" + identification[place + 1 :]
    assert bench.ask(select(SecondaryAddress(open_one))) == ACK
    assert bench.ask(select(SecondaryAddress(other))) is None
    assert bench.ask(req_ud2(SELECTED, True)) is None


def test_manufacturer_version_and_medium_select_too() -> None:
    """Each can be given or left open; the selection of one meter deselects the one before."""
    bench = Bench(meter("frame2", 5), meter("metrona_pollutherm", 6))
    for wanted, found in (
        (SecondaryAddress("FFFFFFFF", "PAD"), "12345678"),
        (SecondaryAddress("FFFFFFFF", "SPX"), "44950146"),
        (SecondaryAddress("FFFFFFFF", None, 0x01), "12345678"),
        (SecondaryAddress("FFFFFFFF", None, None, 0x04), "44950146"),
    ):
        assert bench.ask(select(wanted)) == ACK
        answer = bench.ask(req_ud2(SELECTED, True))
        assert answer
        assert decode(answer).identification == found
    assert bench.ask(select(SecondaryAddress("FFFFFFFF", "PAD", 0x01, 0x04))) is None


def enhanced(identification: str, fabrication: str, ci: int = CI_SELECT) -> bytes:
    header = SecondaryAddress(identification).to_bytes()
    number = bytes.fromhex(fabrication)[::-1]
    if ci != CI_SELECT:
        header, number = header[3::-1] + header[4:], number[::-1]
    return snd_ud(SELECTED, False, ci, header + b"\x0c\x78" + number)


@pytest.mark.parametrize("ci", [0x52, 0x56])
def test_enhanced_selection_by_fabrication_number(ci: int) -> None:
    """Of two meters with one identification the fabrication number selects one; who has none is not selected."""
    numbered = fleet(["70112345", "70112346"])
    for slave in numbered:
        slave.header = SecondaryAddress("11111111").to_bytes()
    bench = Bench(*numbered, meter("frame2", 5))
    assert bench.ask(enhanced("11111111", "70112346", ci)) == ACK
    answer = bench.ask(req_ud2(SELECTED, True))
    assert answer
    assert decode(answer).identification == "70112346"
    assert bench.ask(enhanced("1111FFFF", "7011FFF5", ci)) == ACK
    assert bench.ask(enhanced("11111111", "99999999", ci)) is None
    assert bench.ask(enhanced("12345678", "FFFFFFFF", ci)) is None, "this meter has no such number"


def test_selection_with_the_most_significant_byte_first() -> None:
    """CI 56h has the same fields the other way round."""
    bench = Bench(meter("frame2", 5))
    header = bytes.fromhex("12345678") + (0x4024).to_bytes(2) + bytes((0x01, 0x07))
    assert bench.ask(snd_ud(SELECTED, False, 0x56, header)) == ACK
    assert bench.ask(snd_ud(SELECTED, False, 0x52, header)) is None

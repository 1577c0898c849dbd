"""What the master says and does about each thing that goes wrong on a line, on the wire's own time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fast_loop import fast, wall_clock
from line_rig import (
    HEAT,
    HEAT_ID,
    PAIR,
    PAIR_ID,
    WATER,
    WATER_ID,
    Line,
    identification,
    of_meter,
    recorded,
    running,
)

from core.mbus.address import SELECTED, Address, PrimaryAddress, SecondaryAddress
from core.mbus.answer import moved_on
from core.mbus.errors import Garbled, Incomplete, MbusError, NoAnswer, NoData, RateRefused, WrongMeter
from core.mbus.exchange import LATEST
from core.mbus.frame import ACK, SND_NKE, Frame, Kind, long_frame, req_ud2, select, snd_nke
from core.mbus.link import Link
from core.mbus.master import Master
from core.mbus.simulator import Answer, SimulatedBus, SimulatedMeter, arrange, open_simulated
from core.mbus.simulator.bus import overlay
from core.mbus.simulator.misfortune import UNHARMED
from core.mbus.simulator.shaping import lengthened, renamed, summed
from core.mbus.telegram import decode
from core.mbus.transport import Transport
from core.mbus.watch import Fault


def three_pages() -> list[bytes]:
    first = recorded("svm_f22_telegram1")
    return [first, of_meter(recorded("Elster-F2"), first), of_meter(recorded("frame2"), first)]


def cure(line: Line) -> None:
    for meter in line.bus.meters:
        meter.misfortune = UNHARMED


@pytest.mark.parametrize(
    ("item", "error", "fault", "sentence"),
    [
        ("dead@5", NoAnswer, Fault.SILENCE, "does not answer"),
        ("baud:9600@5", NoAnswer, Fault.SILENCE, "baud rate"),
        ("late:1@5", NoAnswer, Fault.LATE, "larger margin_ms"),
        ("garbage:0033@5", Garbled, Fault.NOISE, "^Noise comes"),
        ("checksum@5", Garbled, Fault.CHECKSUM, "disturbed on their way .*checksum"),
        ("twin@5", Garbled, Fault.COLLISION, "^More than one meter answers .*the same bytes each time.*two meters"),
        ("cut:20@5", Garbled, Fault.CUT, "break off .*after 20 bytes"),
        ("impostor@5", WrongMeter, None, "12345679.* (answers at|is selected)"),
        ("repeating@5", Incomplete, Fault.FCB, "repeats itself"),
        ("endless@5", Incomplete, None, "still announces further telegrams after 32"),
    ],
)  # fmt: skip
def test_fault_of_a_meter_is_named_and_harms_no_other(
    item: str, error: type[MbusError], fault: Fault | None, sentence: str
) -> None:
    """By either address; the neighbour is read at once, and so is the meter when it is well again."""

    @fast
    async def read() -> None:
        for address in (WATER, WATER_ID):
            async with running(item) as line:
                with pytest.raises(error, match=sentence) as caught:
                    await line.master.read(address, expected=WATER_ID)
                assert caught.value.fault is fault
                if fault and error is not NoAnswer and address is WATER and item != "twin@5":
                    assert line.faults == {fault}
                neighbour = await line.master.read(HEAT)
                assert identification(neighbour.frames) == ["44950146"]
                assert neighbour.tries == 1
                cure(line)
                line.bus.meters[0].baud = None
                assert identification((await line.master.read(address)).frames) == ["12345678"]

    read()


@fast
async def test_two_meters_of_different_kind_on_one_address_are_a_collision() -> None:
    """The framing of two telegrams at once tells it in every try; each is read by its secondary address."""
    async with running("address:5@6") as line:
        with pytest.raises(Garbled, match="two meters") as caught:
            await line.master.read(WATER)
        assert caught.value.fault is Fault.COLLISION
        assert line.faults == {Fault.COLLISION}
        for address in (WATER_ID, HEAT_ID):
            assert (await line.master.read(address)).tries == 1


WHOLE = recorded("frame2")
CUT = WHOLE[:12]
DISTURBED = [WHOLE[:9] + bytes((byte,)) + WHOLE[10:] for byte in (1, 2, 3)]  # wrong checksum
TWO_AT_ONCE = WHOLE[:1] + b"\x02" + WHOLE[2:]


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ([CUT, DISTURBED[0], TWO_AT_ONCE], Fault.NOISE),
        ([TWO_AT_ONCE, CUT, TWO_AT_ONCE], Fault.COLLISION),
        (DISTURBED, Fault.CHECKSUM),
        (DISTURBED[:1] * 3, Fault.COLLISION),
        ([b"", CUT, b""], Fault.CUT),
    ],
)
def test_fault_is_what_most_tries_show(answers: list[bytes], fault: Fault) -> None:
    """What differs from try to try is noise; what is the same wrong telegram each time is none."""

    @fast
    async def read() -> None:
        async with running() as line:
            await line.master.read(WATER)
            coming = iter(answers)
            line.bus.instead = lambda frame: Answer(raw) if (raw := next(coming)) else None
            with pytest.raises(Garbled) as caught:
                await line.master.read(WATER)
            assert caught.value.fault is fault

    read()


@pytest.mark.parametrize("item", ["chatty:0.1@6", "chatty:0.7@6"])
def test_who_talks_unasked_is_no_second_meter_at_the_address(item: str) -> None:
    """Where bytes come that nobody asked for, the line is blamed and not the meter's address."""

    @fast
    async def read() -> None:
        faults = set()
        async with running(item) as line:
            for _ in range(30):
                try:
                    await line.master.read(WATER)
                except Garbled as error:
                    faults.add(error.fault)
            assert faults == {Fault.NOISE}
            assert Fault.COLLISION in line.faults
            assert any(each.before for each in line.tries)

    read()


@fast
async def test_line_that_never_falls_silent_holds_no_read_for_ever() -> None:
    """Every try ends with the longest answer that there could be, whatever the line brings."""
    far: list[Transport] = []

    async def open_line(_url: str, _baud: int) -> Transport:
        far.append(Transport(lambda _: None, lambda: None, 0.1))
        return far[0]

    async def chatter() -> None:
        while True:
            await asyncio.sleep(0.01)
            far[0].deliver(b"\x68")

    master = Master("sim:", 2400, open_line=open_line)
    master.start()
    with pytest.raises(NoAnswer):
        await master.read(WATER)
    talking = asyncio.ensure_future(chatter())
    with pytest.raises(Garbled):
        await asyncio.wait_for(master.read(WATER), 20)
    talking.cancel()
    await master.close()


@fast
async def test_however_late_answers_come_nobody_gets_anothers() -> None:
    """From just too late to very late a value that is read is the right meter's, and nobody is accused of FCB faults.

    Up to the longest delay that is reckoned with, no late acknowledgement passes for a meter without data.
    """
    read = 0
    for tenths in range(1, 40):
        tolerated = (NoAnswer, Garbled, WrongMeter) if tenths / 10 < LATEST else MbusError
        async with running(f"late:{tenths / 10}@5") as line:
            for address, wanted in ((WATER, "12345678"), (HEAT, "44950146"), (WATER_ID, "12345678")) * 2:
                with contextlib.suppress(tolerated):
                    readout = await line.master.read(address)
                    assert identification(readout.frames) == [wanted]
                    assert not readout.fcb_fault
                    read += 1
    assert read > 80


@fast
async def test_late_answers_are_told_to_those_who_watch() -> None:
    """What comes before a request, and the late answer that takes the place of the right one."""
    async with running("late:1.5@5") as line:
        for address in (WATER_ID, WATER) * 2:
            with contextlib.suppress(MbusError):
                await line.master.read(address)
        assert Fault.LATE in line.faults
        assert any(each.before for each in line.tries)


@fast
async def test_meter_that_lacks_data_is_not_confused_with_a_late_acknowledgement() -> None:
    """Its acknowledgement counts when it comes again on a line that was silent for long enough."""
    async with running() as line:
        line.bus.instead = lambda frame: Answer(ACK)
        with pytest.raises(NoData):
            await line.master.read(WATER)
        assert line.bus.heard == [snd_nke(5), req_ud2(5, True), req_ud2(5, True)]
        assert line.bus.times[2] - line.bus.times[1] > LATEST


@fast
async def test_per_meter_margin_waits_for_a_slow_meter() -> None:
    """With the time that it needs it is read at the first try, and others are not waited for longer."""
    async with running("late:0.6@5", "dead@6") as line:
        assert (await line.master.read(WATER, extra=0.6)).tries == 1
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(NoAnswer):
            await line.master.read(HEAT)
        assert loop.time() - start < 2


@fast
async def test_margin_of_a_line_comes_on_top_of_that_of_its_transport() -> None:
    """However small it is, it never shortens the time-out."""

    async def opened(_url: str, baud: int) -> Transport:
        return open_simulated(bus, baud)

    bus = Line("late:0.2@5").bus
    master = Master("sim:", 2400, margin=0.02, open_line=opened, now=wall_clock)
    master.start()
    assert (await master.read(WATER)).tries == 1
    await master.close()


@fast
async def test_links_are_reset_at_first_contact_and_after_failures_only() -> None:
    """The frame count bit of each meter is kept over readouts of others."""
    async with running() as line:
        for address in (WATER, HEAT, WATER, HEAT, WATER):
            await line.master.read(address)
        assert line.bus.heard == [
            snd_nke(5), req_ud2(5, True), snd_nke(6), req_ud2(6, True),
            req_ud2(5, False), req_ud2(6, False), req_ud2(5, True),
        ]  # fmt: skip


@fast
async def test_telegram_that_came_unasked_brings_no_old_one_after_it() -> None:
    """A meter that spoke just when it was asked did not hear that, and would send again what it sent before."""

    def unasked(frame: Frame) -> Answer:
        line.bus.instead = None
        return Answer(line.bus.meters[0].telegram_at(wall_clock()))

    async with running() as line:
        telegrams = []
        for number in range(4):
            await asyncio.sleep(300)
            line.bus.instead = unasked if number == 1 else None
            telegrams.append((await line.master.read(WATER)).frames)
        assert len(set(telegrams)) == 4


@fast
async def test_reset_that_the_meter_did_not_hear_brings_no_old_telegram() -> None:
    """The acknowledgement that came was a late one of another meter, far too late to be waited for."""

    def late(frame: Frame) -> Answer:
        line.bus.instead = None
        return Answer(ACK)

    async with running() as line:
        first = (await line.master.read(WATER)).frames
        async with line.master.session() as link:
            link.forget()
        await asyncio.sleep(300)
        line.bus.instead = late
        assert (await line.master.read(WATER)).frames != first


@fast
async def test_late_acknowledgement_of_another_meter_is_no_reset() -> None:
    """Else a meter that was asked with the same bit before would send its old telegram to a new master."""

    async def opened(_url: str, baud: int) -> Transport:
        return open_simulated(line.bus, baud)

    def late(frame: Frame) -> Answer | None:
        line.bus.instead = None
        return Answer(ACK)

    async with running() as line:
        old = (await line.master.read(WATER)).frames
        await asyncio.sleep(300)
        master = Master("sim:", 2400, open_line=opened, now=wall_clock)
        master.start()
        with pytest.raises(NoAnswer):
            await master.read(PrimaryAddress(99))
        line.bus.instead = late
        assert (await master.read(WATER)).frames != old
        await master.close()


@fast
@pytest.mark.parametrize("address", [PAIR, PAIR_ID])
async def test_last_telegram_of_several_is_never_taken_for_all_of_them(address: Address) -> None:
    """The first one got lost, and the meter, which ignores the frame count bit, sent the next when asked again."""

    def lose(frame: Frame) -> Answer | None:
        answer = SimulatedBus.respond(line.bus, frame)
        if frame.kind is Kind.SHORT and frame.control != SND_NKE:
            line.bus.instead = None
            return None
        return answer

    async with running("fcb@7") as line:
        assert len((await line.master.read(address)).frames) == 2
        line.bus.instead = lose
        assert len((await line.master.read(address)).frames) == 2
    async with running("fcb@7") as line:  # a new connection, of which only the last readout is known
        line.bus.instead = lose
        assert len((await line.master.read(address, telegrams=2)).frames) == 2
    async with running("fcb@7") as line:  # a meter that was never read
        line.bus.instead = lose
        assert len((await line.master.read(address)).frames) == 2


@fast
async def test_telegram_in_the_middle_is_never_skipped() -> None:
    """The second of three got lost, and the third came in its place: the readout is begun anew."""
    pages = three_pages()
    requests = 0

    def lose_second(frame: Frame) -> Answer | None:
        nonlocal requests
        answer = SimulatedBus.respond(line.bus, frame)
        requests += frame.kind is Kind.SHORT and frame.control != SND_NKE
        return None if requests == 2 else answer

    for address in (PAIR, PAIR_ID):
        requests = 0
        async with running("fcb@7", meters=[SimulatedMeter(pages, address=7)]) as line:
            line.bus.instead = lose_second
            readout = await line.master.read(address)
            assert [len(frame) for frame in readout.frames] == [len(page) for page in pages]
            assert "next telegram" in readout.fcb_fault


@fast
async def test_repetition_is_believed_of_who_follows_the_frame_count_bit() -> None:
    """Whether a meter does is found out by asking once more, the first time that a request has to be repeated."""
    lost = 0

    def lose(frame: Frame) -> Answer | None:
        nonlocal lost
        answer = SimulatedBus.respond(line.bus, frame)
        if not lost and frame.raw == req_ud2(7, False):
            lost = 1
            return None
        return answer

    async with running(meters=[SimulatedMeter(three_pages(), address=7)]) as line:
        line.bus.instead = lose
        for asked in (3, 2):
            lost = 0
            line.bus.heard.clear()
            assert len((await line.master.read(PAIR)).frames) == 3
            assert line.bus.heard.count(req_ud2(7, False)) == asked
            assert line.bus.heard.count(snd_nke(7)) == 1


@fast
async def test_other_number_of_telegrams_is_believed_when_it_comes_twice() -> None:
    """Fewer or more: what a meter sends may be changed, but the readout could as well lack one."""
    async with running() as line:
        for telegrams in (1, 3, 2):
            line.bus.heard.clear()
            assert len((await line.master.read(PAIR, telegrams=telegrams)).frames) == 2
            assert line.bus.heard.count(req_ud2(7, True)) == (1 if telegrams == 2 else 2)


@fast
@pytest.mark.parametrize("known", [0, 1, 2])
async def test_meter_that_acknowledges_instead_of_its_next_telegram(known: int) -> None:
    """It is read anew, and once more if need be; one that does so each time is not lost, nor read twice for ever."""

    def acknowledge(frame: Frame) -> Answer | None:
        return Answer(ACK) if frame.raw == req_ud2(7, False) else SimulatedBus.respond(line.bus, frame)

    def once(frame: Frame) -> Answer | None:
        line.bus.instead = once if line.bus.heard.count(req_ud2(7, False)) < 2 else None
        return acknowledge(frame)

    async with running() as line:
        line.bus.instead = once
        assert len((await line.master.read(PAIR, telegrams=2)).frames) == 2
        line.bus.instead = acknowledge
        for resets in (1 if known == 1 else 2, 1):
            line.bus.heard.clear()
            assert len((await line.master.read(PAIR, telegrams=known)).frames) == 1
            known = 1
            assert line.bus.heard.count(snd_nke(7)) == resets


@fast
async def test_bytes_that_changed_under_a_right_checksum_are_not_stored() -> None:
    """One in 256 disturbed telegrams has one: of who was disturbed of late every telegram is asked for twice."""
    heard: list[bytes] = []

    def disturb(frame: Frame) -> Answer | None:
        answer = SimulatedBus.respond(line.bus, frame)
        if not answer or answer.data == ACK or frame.address not in (5, SELECTED):
            return answer
        heard.append(answer.data)
        wrong = answer.data[:20] + bytes((answer.data[20] ^ 4,)) + answer.data[21:]
        return Answer({1: wrong, 4: summed(wrong)}.get(len(heard), answer.data))

    for address in (WATER, WATER_ID):
        heard.clear()
        async with running() as line:
            line.bus.instead = disturb
            for requests in (3, 7, 9):
                readout = await line.master.read(address, telegrams=1)
                assert readout.frames == (heard[-1],)
                assert len(heard) == requests
            neighbour = len(line.bus.heard)
            await line.master.read(HEAT, telegrams=1)
            assert line.bus.heard[neighbour:] == [snd_nke(6), req_ud2(6, True)]


@fast
async def test_telegram_with_noise_around_it_is_asked_for_twice() -> None:
    """It may be changed as well, though its checksum is right."""
    async with running("garbage:0033@5") as line:
        line.bus.instead = lambda frame: (
            Answer(ACK) if frame.control == SND_NKE else SimulatedBus.respond(line.bus, frame)
        )
        readout = await line.master.read(WATER, telegrams=1)
        assert identification(readout.frames) == ["12345678"]
        assert line.bus.heard == [snd_nke(5), req_ud2(5, True), req_ud2(5, True)]


@fast
@pytest.mark.parametrize("counts", [True, False])
async def test_meter_that_makes_a_new_telegram_for_every_request_is_read_on_a_disturbed_line(
    counts: bool,
) -> None:
    """Its telegram never comes twice; where its access number stands still as well, it is not even told to do so."""
    number = 0

    def answer(frame: Frame) -> Answer | None:
        nonlocal number
        if frame.control == SND_NKE:
            return Answer(ACK)
        number += 1
        raw = line.bus.meters[0].telegram_at(wall_clock() + 86_400 * number, access=number if counts else 7)
        return Answer(raw[:-2] + bytes((raw[-2] ^ 1,)) + raw[-1:] if number == 1 else raw)

    async with running() as line:
        line.bus.instead = answer
        for _ in range(3):
            assert bool((await line.master.read(WATER, telegrams=1)).fcb_fault) is counts


@fast
async def test_stale_telegram_of_a_meter_that_is_stuck_is_not_taken_for_new() -> None:
    """It comes for both frame count bits; after a reset there is a new one, and from then on it is always reset."""
    async with running("fcb:stuck@5") as line:
        readouts = [await line.master.read(WATER) for _ in range(3)]
        assert len({readout.frames for readout in readouts}) == 3
        assert [bool(readout.fcb_fault) for readout in readouts] == [False, True, True]
        assert line.faults == {Fault.FCB}
        line.bus.heard.clear()
        await line.master.read(WATER)
        assert line.bus.heard == [snd_nke(5), req_ud2(5, True)]


@fast
async def test_meter_whose_telegram_never_changes_is_not_accused() -> None:
    """A reset brings the same again: from then on it is reset before every readout, and read once."""
    raw = SimulatedMeter([recorded("frame2")], address=5).telegram_at(wall_clock())
    async with running() as line:
        line.bus.instead = lambda frame: Answer(raw if frame.control != 0x40 else ACK)
        for _ in range(4):
            assert not (await line.master.read(WATER)).fcb_fault
        assert line.bus.heard.count(snd_nke(5)) == 4
        assert line.bus.heard.count(req_ud2(5, True)) + line.bus.heard.count(req_ud2(5, False)) == 5
        assert line.faults == set()


@pytest.mark.parametrize("how", ["stuck", "lost"])
def test_meter_that_always_sends_its_first_telegram_has_an_fcb_fault(how: str) -> None:
    """The readout ends with the telegram that came and with the evidence, by either address."""

    @fast
    async def read() -> None:
        async with running(f"fcb:{how}@7") as line:
            for address in (PAIR, PAIR_ID):
                with pytest.raises(
                    Incomplete, match=r"repeats itself.*FCB fault: it (sends|begins)"
                ) as caught:
                    await line.master.read(address)
                assert caught.value.fault is Fault.FCB
                assert caught.value.frames
            assert line.faults <= {Fault.FCB, Fault.SILENCE}  # nobody was selected, so nobody deselects

    read()


@fast
async def test_no_telegram_is_missed_of_a_meter_that_takes_repetitions_for_new_requests() -> None:
    """Where the first telegram was disturbed and the second comes in its place, the readout begins anew."""
    for address in (PAIR, PAIR_ID):
        async with running("fcb:ignored@7", "checksum:5@7") as line:
            readout = await line.master.read(address)
            assert [decode(frame).more_follows for frame in readout.frames] == [True, False]
            assert "next telegram when it is asked to repeat" in readout.fcb_fault
            assert {Fault.FCB, Fault.CHECKSUM} <= line.faults


@fast
async def test_meter_that_ignores_the_bit_and_is_never_undisturbed_is_given_up() -> None:
    """Rather no readout than one that lacks a telegram."""
    async with running("fcb:ignored@7", "checksum:2@7") as line:
        with pytest.raises(Incomplete, match="FCB fault") as caught:
            await line.master.read(PAIR)
        assert caught.value.fault is Fault.FCB


@fast
async def test_disturbed_page_is_asked_for_again_and_none_is_doubled() -> None:
    """A meter with several telegrams that follows the frame count bit loses none to wrong checksums."""
    async with running("checksum:2@7") as line:
        for address in (PAIR, PAIR_ID, PAIR):
            readout = await line.master.read(address)
            assert [decode(frame).more_follows for frame in readout.frames] == [True, False]
            assert not readout.fcb_fault


@fast
async def test_page_of_another_meter_in_the_middle_is_refused() -> None:
    """All telegrams of a readout have to name the meter that sent the first, also where none is expected."""
    pages = [recorded("svm_f22_telegram1"), recorded("Elster-F2")]
    async with running(meters=[SimulatedMeter(pages, address=7)]) as line:
        for address in (PAIR, PAIR_ID):
            with pytest.raises(WrongMeter, match=r"00802657.* answers amid the telegrams of 01006089"):
                await line.master.read(address)


@pytest.mark.parametrize(
    ("address", "expected", "sentence"),
    [
        (
            WATER,
            HEAT_ID,
            "12345678.* answers at address 5, where 44950146 is expected: was the meter replaced",
        ),
        (SecondaryAddress("1234567F"), WATER_ID, "12345679.* answers at address 1234567F, where 12345678"),
        (WATER_ID, WATER_ID, "12345679.* answers when 12345678.* is selected.* give its primary address"),
    ],
)
def test_wrong_meter_is_named_with_the_likely_cause(
    address: Address, expected: SecondaryAddress, sentence: str
) -> None:
    """It differs: who is known to be at an address, and who says when it is selected that it is another."""

    @fast
    async def read() -> None:
        async with running(*([] if address == WATER else ["impostor@5"])) as line:
            with pytest.raises(WrongMeter, match=sentence):
                await line.master.read(address, expected=expected)

    read()


def test_telegram_without_a_header_shows_no_access_number() -> None:
    """Disturbed and repeated it is the same, and ends nothing."""
    assert not moved_on(*[long_frame(8, 5, 0x72)] * 2)
    assert moved_on(long_frame(8, 5, 0x7A, b"\x01"), long_frame(8, 5, 0x7A, b"\x02"))


@fast
async def test_longest_telegram_is_read_at_the_lowest_rate() -> None:
    """261 bytes, L = FFh, take 9.6 s at 300 baud."""
    meter = SimulatedMeter([lengthened(recorded("frame2"))], address=5)
    async with running(meters=[meter]) as line:
        for address in (WATER, WATER_ID):
            readout = await line.master.read(address, baud=300)
            assert [len(frame) for frame in readout.frames] == [261]
            assert readout.tries == 1


@pytest.mark.parametrize("digits", ["12345678", "90ABCDE1"])
def test_wildcards_stand_for_any_digit_hex_ones_too(digits: str) -> None:
    """A meter is read with any of its digits left open, and not with another digit in its place."""
    address = SecondaryAddress(digits, "HYD", 0x25, 0x07)
    meter = SimulatedMeter([renamed(recorded("frame2"), address)], address=1)
    open_fields = [
        SecondaryAddress(digits), SecondaryAddress("FFFFFFFF", "HYD"),
        SecondaryAddress("FFFFFFFF", None, 0x25), SecondaryAddress("FFFFFFFF", None, None, 0x07),
    ]  # fmt: skip

    @fast
    async def read() -> None:
        async with running(meters=[meter]) as line:
            for place in range(8):
                mask = digits[:place] + "F" + digits[place + 1 :]
                assert identification((await line.master.read(SecondaryAddress(mask))).frames) == [digits]
                wrong = digits[:place] + ("D" if digits[place] == "2" else "2") + digits[place + 1 :]
                with pytest.raises(NoAnswer):
                    await line.master.read(SecondaryAddress(wrong))
            for mask_of_field in open_fields:
                assert identification((await line.master.read(mask_of_field)).frames) == [digits]

    read()


def same_but_for_fabrication() -> list[SimulatedMeter]:
    raw = recorded("frame2")
    return [
        SimulatedMeter([renamed(raw, WATER_ID, fabrication=number)], address=place)
        for place, number in enumerate(("00012345", "00012346"), 5)
    ]


@fast
async def test_enhanced_selection_tells_meters_apart_that_share_their_address() -> None:
    """Selected by fabrication number, whose wildcards are like those of the identification."""
    async with running(meters=same_but_for_fabrication()) as line:
        with pytest.raises(Garbled) as caught:
            await line.master.read(WATER_ID)
        assert caught.value.fault is Fault.COLLISION
        for number in ("00012345", "00012346", "FFFFFFF6"):
            address = SecondaryAddress("12345678", "PAD", 0x01, 0x07, number)
            (frame,) = (await line.master.read(address)).frames
            assert decode(frame).frame[5] == (5 if number.endswith("5") else 6)


@fast
async def test_fabrication_number_in_the_answer_is_checked() -> None:
    """A meter that takes any enhanced selection for its own is not taken for the one that is meant."""
    async with running(meters=same_but_for_fabrication()[:1]) as line:
        real = line.bus.respond

        def careless(frame: Frame) -> Answer | None:
            line.bus.instead = None
            answer = real(plain if frame.raw == wanted_selection else frame)
            line.bus.instead = careless
            return answer

        wanted = SecondaryAddress("12345678", None, None, None, "00099999")
        wanted_selection = select(wanted)
        raw = select(WATER_ID)
        plain = Frame(Kind.LONG, raw, raw[4], raw[5], raw[6], raw[7:-2])
        line.bus.instead = careless
        with pytest.raises(WrongMeter, match=r"\+00099999"):
            await line.master.read(wanted)


@fast
async def test_good_sweep_by_secondary_address_deselects_nobody() -> None:
    """A selection releases who was selected before; only at first, and after a failure, all are released."""
    async with running("dead@6") as line:
        await line.master.read(WATER_ID)
        await line.master.read(PAIR_ID)
        await line.master.read(WATER_ID)
        assert line.bus.heard.count(snd_nke(253)) == 1
        with pytest.raises(NoAnswer):
            await line.master.read(HEAT_ID)
        await line.master.read(WATER_ID)
        assert line.bus.heard.count(snd_nke(253)) == 2


@fast
async def test_meter_that_stays_selected_is_released_where_it_disturbs() -> None:
    """Not every meter lets go when another one is selected; where two answer, all are deselected and asked anew."""
    async with running() as line:
        clinging = b""

        def answer(frame: Frame) -> Answer | None:
            nonlocal clinging
            line.bus.instead = None
            regular = line.bus.respond(frame)
            line.bus.instead = answer
            if frame.raw == snd_nke(253):
                clinging = b""
            elif regular and regular.data[7:11] == bytes.fromhex("46019544"):
                clinging = regular.data
            elif regular and clinging and regular.data != ACK:
                return Answer(overlay((regular.data, clinging)))
            return regular

        line.bus.instead = answer
        for address in (HEAT_ID, WATER_ID, PAIR_ID):
            readout = await line.master.read(address)
            assert identification(readout.frames[:1]) == [address.identification]
        assert clinging == b""


@fast
async def test_each_meter_is_read_at_its_own_rate() -> None:
    """The line is switched when it is idle, and the links of meters at other rates are kept."""
    async with running("baud:9600@5") as line:
        for _ in range(2):
            assert (await line.master.read(WATER, baud=9600)).tries == 1
            assert (await line.master.read(HEAT)).tries == 1
        assert line.bus.heard.count(snd_nke(5)) == line.bus.heard.count(snd_nke(6)) == 1
        assert [each.baud for each in line.tries[-2:]] == [9600, 2400]


@fast
async def test_one_primary_address_at_two_rates_is_two_links() -> None:
    """Each meter's frame count bit is its own, although both have address 5."""
    async with running("baud:9600@5", "address:5@6") as line:
        line.bus.meters[1].baud = 2400
        for _ in range(2):
            for baud, wanted in ((9600, "12345678"), (2400, "44950146")):
                assert identification((await line.master.read(WATER, baud=baud)).frames) == [wanted]
        fresh = [snd_nke(5), req_ud2(5, True)]
        assert line.bus.heard == [*fresh, *fresh, req_ud2(5, False), req_ud2(5, False)]


@fast
async def test_rate_that_the_line_cannot_have_is_refused_and_the_others_go_on() -> None:
    """A converter that is fixed to its rate: the sentence says where to change it."""
    line = Line()

    async def open_fixed(_url: str, baud: int) -> Transport:
        way = open_simulated(line.bus, baud)
        fixed = Transport(way.write, way.close, 0.1)
        way.deliver = fixed.deliver  # type: ignore[method-assign]
        return fixed

    master = Master("tcp:", 2400, open_line=open_fixed)
    master.start()
    with pytest.raises(RateRefused, match=r"from 2400 to 9600 baud.*fixed by its level converter"):
        await master.read(WATER, baud=9600)
    assert identification((await master.read(WATER)).frames) == ["12345678"]
    await master.close()


@fast
async def test_change_of_rate_that_is_cancelled_is_made_good() -> None:
    """Whoever comes next does not trust the rate that the line was left at."""
    rates: list[int] = []
    asked, done = asyncio.Event(), asyncio.Event()

    async def change(baud: int) -> None:
        rates.append(baud)
        asked.set()
        await done.wait()

    link = Link(Transport(lambda _: None, lambda: None, 0.1, change), 2400)
    switching = asyncio.ensure_future(link.use(9600))
    await asked.wait()
    switching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await switching
    done.set()
    await link.use(2400)
    assert rates == [9600, 2400]


@fast
async def test_sessions_get_the_line_in_the_order_of_asking() -> None:
    """Who waits is not overtaken, not even by one who has just had the line."""
    order: list[str] = []

    async def visit(name: str, times: int) -> None:
        for _ in range(times):
            async with line.master.session() as link:
                order.append(name)
                await link.read(WATER)

    async with running() as line:
        await asyncio.gather(visit("sweep", 4), visit("search", 2), visit("person", 1))
    assert order == ["sweep", "search", "person", "sweep", "search", "sweep", "sweep"]


@fast
async def test_echoing_converter_changes_nothing_but_is_noted() -> None:
    """Readouts by either address are right at the first try; a dead meter's echo is no sign of life."""
    async with running("echo") as line:
        addresses: tuple[Address, ...] = (WATER, WATER_ID, HEAT, PAIR)
        for address in addresses:
            assert (await line.master.read(address)).tries == 1
        deselection = [each for each in line.tries if each.request == snd_nke(253)]
        assert all(each.echo for each in line.tries)
        assert [each.received for each in deselection] == [b""]
        arrange(line.bus, ["dead@5"])
        for address in (WATER, WATER_ID, PrimaryAddress(99)):
            with pytest.raises(NoAnswer):
                await line.master.read(address)


@fast
async def test_of_random_noise_no_value_is_ever_believed() -> None:
    """A third of the answers and the idle line are disturbed: what is read is right, most is read, faults differ."""
    good, failed = 0, 0
    async with running("noise:0.3") as line:
        for count in range(150):
            address, wanted = ((WATER, "12345678"), (PAIR, "01006089"), (HEAT_ID, "44950146"))[count % 3]
            try:
                readout = await line.master.read(address)
            except MbusError:
                failed += 1
            else:
                assert set(identification(readout.frames)) == {wanted}
                assert not readout.fcb_fault
                good += 1
        assert good > 10 * failed
        assert {Fault.NOISE, Fault.CHECKSUM} <= line.faults


def test_pages_of_one_meter_have_one_header() -> None:
    """What the tests above take for the second telegram of a meter carries the address of the first."""
    first = recorded("svm_f22_telegram1")
    assert of_meter(recorded("Elster-F2"), first)[7:15] == first[7:15]

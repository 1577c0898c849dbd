"""The bus doctor names the fault of a line, its evidence, and no other fault; of a healthy line it says that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from doctor_rig import LINE, Rig, installed, played, rig
from fast_loop import fast, wall_clock

from core.diagnosis import LineTraceEntry, Severity
from core.errors import CmeError
from core.findings import (
    BAUD,
    CABLE,
    CHATTY,
    CUT_OFF,
    DEAD,
    DISTURBED,
    ECHO,
    ENDLESS_READOUT,
    FCB_FAULT,
    FOREIGN_LOAD,
    LOADED_LINE,
    LOOSE,
    MASTER,
    MISSES,
    NOBODY,
    NOISY,
    SHORT,
    SLOW,
    SLOW_WAY,
    TWO,
    WRONG,
)
from core.mbus.address import PrimaryAddress
from core.mbus.frame import Frame, req_ud2, snd_nke
from core.mbus.recording import load_recording, read_recording
from core.mbus.simulator import Answer, LineMisfortune, Misfortune, SimulatedBus, fleet, serials
from core.mbus.watch import Purpose, Try

HEALTHY: frozenset[tuple[str, str]] = frozenset()
THIRD = "meter 3"

MATRIX: Mapping[str, tuple[Mapping[str, Any], frozenset[tuple[str, str]]]] = {
    "nothing": ({}, HEALTHY),
    "a dead meter": ({"meter3": Misfortune(dead=True)}, frozenset({(THIRD, DEAD)})),
    "a slow meter": ({"meter3": Misfortune(late=0.1)}, frozenset({(THIRD, SLOW)})),
    "a late meter": ({"meter3": Misfortune(late=0.6)}, frozenset({(THIRD, SLOW)})),
    "every telegram disturbed": ({"meter3": Misfortune(wrong_checksum=1)}, frozenset({(THIRD, DISTURBED)})),
    "every second telegram disturbed": (
        {"meter3": Misfortune(wrong_checksum=2)},
        frozenset({(THIRD, DISTURBED)}),
    ),
    "garbage in front of answers": (
        {"meter3": Misfortune(noise=b"\x00\xff\x68\x11")},
        frozenset({(THIRD, DISTURBED)}),
    ),
    "telegrams that break off": ({"meter3": Misfortune(cut=20)}, frozenset({(THIRD, CUT_OFF)})),
    "two meters on one address": ({"meter3": Misfortune(twin=True)}, frozenset({(THIRD, TWO)})),
    "another meter's telegrams": ({"meter3": Misfortune(impostor=True)}, frozenset({(THIRD, WRONG)})),
    "a page that repeats": ({"meter3": Misfortune(repeating=True)}, frozenset({(THIRD, FCB_FAULT)})),
    "pages without an end": ({"meter3": Misfortune(endless=True)}, frozenset({(THIRD, ENDLESS_READOUT)})),
    "a chatty meter": ({"meter3": Misfortune(chatty=2)}, frozenset({("", CHATTY)})),
    "an echo": ({"line": LineMisfortune(echo=True)}, frozenset({("", ECHO)})),
    "noise": ({"line": LineMisfortune(noise=0.2)}, frozenset({("", NOISY)})),
    "a cable that never was whole": ({"line": LineMisfortune(broken=True)}, frozenset({("", NOBODY)})),
    "a loose cable": ({"line": LineMisfortune(loose=60)}, frozenset({("", LOOSE)})),
    "an echo and two on one address": (
        {"line": LineMisfortune(echo=True), "meter3": Misfortune(twin=True)},
        frozenset({("", ECHO), (THIRD, TWO)}),
    ),
}


@pytest.mark.parametrize("secondary", [False, True], ids=["primary", "secondary"])
@pytest.mark.parametrize("trouble", MATRIX)
def test_each_misfortune_is_named_and_no_other(trouble: str, secondary: bool) -> None:
    """On a line of eight meters, of which the third has it, or the line."""
    made, expected = MATRIX[trouble]

    @fast
    async def run() -> None:
        async with rig(secondary=secondary, **made) as line:
            await line.sweep(30)
            assert await line.faults() == expected
            diagnosis = await line.diagnosis()
            assert all(finding.evidence for finding in diagnosis.findings)
            if not expected:
                assert diagnosis.verdict.startswith("All is well: all 8 meters answer")
            else:
                assert diagnosis.findings[0].sentence in diagnosis.verdict

    run()


@pytest.mark.parametrize("baud", [300, 9600])
@pytest.mark.parametrize("trouble", ["nothing", "a late meter", "two meters on one address", "an echo"])
def test_the_verdict_does_not_depend_on_the_baud_rate(trouble: str, baud: int) -> None:
    made, expected = MATRIX[trouble]
    if trouble == "a late meter":
        made = {"meter3": Misfortune(late=2.0 if baud == 300 else 0.6)}

    @fast
    async def run() -> None:
        async with rig(baud=baud, **made) as line:
            await line.sweep(20)
            assert await line.faults() == expected

    run()


@fast
async def test_meters_that_break_after_they_were_well_are_named_and_not_the_line() -> None:
    """What both were before does not make noise of it."""
    async with rig() as line:
        assert isinstance(line.bus, SimulatedBus)
        await line.sweep(6)
        line.bus.meters[2].misfortune = Misfortune(twin=True)
        line.bus.meters[3].misfortune = Misfortune(cut=20)
        await line.sweep(3)
        assert await line.faults() == {(THIRD, TWO), ("meter 4", CUT_OFF)}
        for meter in line.bus.meters[2:4]:
            meter.misfortune = Misfortune()
        await line.sweep(40)
        assert await line.faults() == HEALTHY


@fast
async def test_a_meter_that_speaks_fcb_wrong_is_named() -> None:
    """One that sends its old telegram again is noticed by reading, the others by a check."""
    for kind in ("stuck", "ignored", "lost"):
        async with rig(meter3=Misfortune(fcb=kind)) as line:
            await line.sweep(4)
            if kind != "stuck":
                await check(line)
            assert await line.faults() == {(THIRD, FCB_FAULT)}, kind


@fast
async def test_a_healthy_line_with_some_noise_is_never_accused() -> None:
    """One answer in a hundred is disturbed, over five thousand requests; it is looked at after each sweep."""
    async with rig(20, line=LineMisfortune(noise=0.01)) as line:
        for _ in range(250):
            await line.sweep()
            assert await line.faults() == HEALTHY
        diagnosis = await line.diagnosis()
        bad = diagnosis.statistics
        assert bad.tries > 5000
        assert bad.checksum_errors + bad.collisions + bad.noise + bad.cut > 10
        assert "All is well" in diagnosis.verdict


@fast
async def test_a_cable_that_breaks_is_told_from_a_line_that_never_worked() -> None:
    """With the time of the last answer; once it is repaired, all is well again."""
    async with rig() as line:
        assert isinstance(line.bus, SimulatedBus)
        await line.sweep(3)
        line.bus.misfortune = LineMisfortune(broken=True)
        await line.sweep(2)
        assert await line.faults() == {("", CABLE)}
        finding = (await line.diagnosis()).findings[0]
        assert finding.evidence == "All 8 meters silent, the last answer was at 2026-05-28 20:28."
        line.bus.misfortune = LineMisfortune()
        await line.sweep(2)
        assert await line.faults() == HEALTHY


@fast
async def test_meters_that_fall_silent_together_point_at_their_cable() -> None:
    """They are named, and none of them is accused alone; one that was silent before is another case."""
    async with rig(12, meter2=Misfortune(dead=True)) as line:
        assert isinstance(line.bus, SimulatedBus)
        await line.sweep(3)
        for meter in line.bus.meters[7:11]:
            meter.misfortune = Misfortune(dead=True)
        await line.sweep(3)
        assert await line.faults() == {("", CABLE), ("meter 2", DEAD)}
        finding = (await line.diagnosis()).findings[0]
        assert "meter 8, meter 9, meter 10, meter 11; the others answer" in finding.evidence
        assert finding.sentence.startswith("4 meters have fallen silent together")


@fast
async def test_meters_that_die_one_by_one_are_no_broken_cable() -> None:
    async with rig(12) as line:
        assert isinstance(line.bus, SimulatedBus)
        for meter in line.bus.meters[3:9:2]:
            await line.sweep(3)
            meter.misfortune = Misfortune(dead=True)
        await line.sweep(3)
        assert await line.faults() == {("meter 4", DEAD), ("meter 6", DEAD), ("meter 8", DEAD)}


@fast
async def test_two_meters_with_telegrams_of_different_length_collide_as_well() -> None:
    """They were given the same primary address; secondary addressing finds both in good health."""
    simulated = fleet(serials(6))
    simulated[3].address = simulated[1].address
    bus = SimulatedBus(simulated, clock=wall_clock)
    meters = installed([*simulated[:3], *simulated[4:]])
    async with played(bus, meters) as line:
        await line.sweep(10)
        assert await line.faults() == {("meter 2", TWO)}
    async with played(bus, installed(simulated, secondary=True)) as line:
        await line.sweep(10)
        assert await line.faults() == HEALTHY


class Intruder(SimulatedBus):
    """A line on which something speaks unasked."""

    said = b""

    def unasked(self) -> tuple[float, Answer] | None:
        return (7.0, Answer(self.said)) if self.said else None


@fast
async def test_another_master_is_heard_by_its_requests() -> None:
    simulated = fleet(serials(6))
    bus = Intruder(simulated, clock=wall_clock)
    bus.said = snd_nke(17) + req_ud2(17, True)
    async with played(bus, installed(simulated)) as line:
        await line.sweep(10)
        assert await line.faults() == {("", MASTER)}


class Shorted(SimulatedBus):
    """A line whose current never stops."""

    def respond(self, frame: Frame) -> Answer | None:
        return Answer(bytes(12))


@fast
async def test_a_short_circuit_is_heard_as_zeros() -> None:
    simulated = fleet(serials(6))
    async with played(Shorted(simulated, clock=wall_clock), installed(simulated)) as line:
        await line.sweep(2)
        assert await line.faults() == {("", SHORT)}


class Babel(SimulatedBus):
    """A line with a meter whose answers are no bytes of ours."""

    def respond(self, frame: Frame) -> Answer | None:
        return Answer(b"\xaa\x55\x99\xc3\x81") if frame.address == 3 else super().respond(frame)


@fast
async def test_answers_without_any_sense_point_at_the_baud_rate() -> None:
    simulated = fleet(serials(6))
    async with played(Babel(simulated, clock=wall_clock), installed(simulated)) as line:
        await line.sweep(5)
        assert await line.faults() == {(THIRD, BAUD)}


class Forgetful(SimulatedBus):
    """A line on which the first meter misses every second request."""

    turn = 0

    def respond(self, frame: Frame) -> Answer | None:
        if frame.address == 1:
            self.turn += 1
            if self.turn % 2:
                return None
        return super().respond(frame)


@fast
async def test_a_meter_that_misses_requests_is_neither_silent_nor_slow() -> None:
    simulated = fleet(serials(4))
    async with played(Forgetful(simulated, clock=wall_clock), installed(simulated)) as line:
        await line.sweep(20)
        assert await line.faults() == {("meter 1", MISSES)}


@fast
async def test_a_slow_way_is_not_the_fault_of_every_meter() -> None:
    slow = {f"meter{number}": Misfortune(late=0.12) for number in range(1, 9)}
    async with rig(**slow) as line:
        await line.sweep(10)
        assert await line.faults() == {("", SLOW_WAY)}


@fast
async def test_a_line_without_a_pause_and_one_that_others_use_are_told() -> None:
    """The load is that of the last quarter of an hour."""
    async with rig() as line:
        for _ in range(400):
            await line.sweep(rest=0.0)
        assert await line.faults() == {("", LOADED_LINE)}
        assert (await line.diagnosis()).load == pytest.approx(1.0, abs=0.1)
        await asyncio.sleep(900)
        assert (await line.diagnosis()).load == 0.0
        now = round(wall_clock() * 1000)
        for minute in range(10, 0, -1):
            busy = Try(now - minute * 60_000, 2400, Purpose.FOREIGN, "", 1, b"", b"", False, None, None, 50.0)
            line.doctor.watch(LINE, busy)
        assert await line.faults() == {("", FOREIGN_LOAD)}
        assert (await line.diagnosis()).statistics.tries == 3200 + 8


@fast
async def test_what_a_search_hears_says_nothing_about_the_meters() -> None:
    """Silence and collisions are what it is made of."""
    async with rig() as line:
        await line.sweep(3)
        before = (await line.diagnosis()).statistics
        async with line.master.session() as link:
            for number in range(100, 150):
                await link.probe(PrimaryAddress(number))
        assert (await line.diagnosis()).statistics == before
        assert await line.faults() == HEALTHY


@fast
async def test_a_fault_of_yesterday_does_not_accuse_today() -> None:
    """The counters remember it, the verdict does not."""
    async with rig(meter3=Misfortune(cut=20)) as line:
        assert isinstance(line.bus, SimulatedBus)
        await line.sweep(20)
        assert await line.faults() == {(THIRD, CUT_OFF)}
        line.bus.meters[2].misfortune = Misfortune()
        await line.sweep(60)
        assert await line.faults() == HEALTHY
        assert (await line.diagnosis()).statistics.cut > 20


@fast
async def test_counters_are_exact_and_begin_anew_on_request() -> None:
    async with rig(2, meter2=Misfortune(dead=True)) as line:
        await line.sweep(2)
        first, second = (await line.diagnosis()).meters
        assert (first.statistics.tries, first.statistics.answers, first.statistics.timeouts) == (3, 3, 0)
        assert (second.statistics.tries, second.statistics.answers, second.statistics.timeouts) == (6, 0, 6)
        least, mean, most = (
            first.statistics.delay_min_s,
            first.statistics.delay_mean_s,
            first.statistics.delay_max_s,
        )
        assert least is not None
        assert mean is not None
        assert most is not None
        assert least <= mean <= most
        assert mean == pytest.approx(33 / 2400 + 0.03, abs=0.001)
        await line.doctor.reset(LINE)
        diagnosis = await line.diagnosis()
        assert diagnosis.statistics.tries == 0
        assert diagnosis.statistics.since_ms == round(wall_clock() * 1000)
        assert diagnosis.verdict.startswith("Nothing can be said yet")


@fast
async def test_an_alarm_waits_until_a_fault_is_seen_twice_and_goes_as_slowly() -> None:
    """So that nothing flickers; what is no fault of the line raises none."""
    async with rig() as line:
        assert isinstance(line.bus, SimulatedBus)
        await line.sweep(3)

        async def look() -> list[str]:
            await line.sweep()
            await line.doctor.look()
            return list(line.doctor.alarms())

        assert [await look() for _ in range(3)] == [[], [], []]
        line.bus.misfortune = LineMisfortune(broken=True)
        assert await look() == []
        assert len(await look()) == 1
        assert next(line.doctor.alarms()).startswith("Line m1: All meters have fallen silent")
        assert line.doctor.health(LINE).startswith("All meters have fallen silent")
        line.bus.misfortune = LineMisfortune()
        assert len(await look()) == 1
        assert await look() == []
        line.bus.meters[0].misfortune = Misfortune(dead=True)
        assert [await look() for _ in range(3)] == [[], [], []]
        assert line.doctor.health(LINE).startswith("meter 1: It has fallen silent")


OF_A_METER = [
    name
    for name, (made, found) in MATRIX.items()
    if "meter3" in made and "line" not in made and (THIRD, FCB_FAULT) not in found  # that is a lasting trait
]


@pytest.mark.parametrize("secondary", [False, True], ids=["primary", "secondary"])
@pytest.mark.parametrize("trouble", [*OF_A_METER, "noise", "a cable that never was whole"])
def test_a_cure_shows_after_one_check(trouble: str, secondary: bool) -> None:
    """Nobody has to wait half a day for the verdict on a repair."""
    made, expected = MATRIX[trouble]

    @fast
    async def run() -> None:
        async with rig(secondary=secondary, **made) as line:
            assert isinstance(line.bus, SimulatedBus)
            await line.sweep(12)
            assert await line.faults() == expected
            line.bus.misfortune = LineMisfortune()
            line.bus.meters[2].misfortune = Misfortune()
            await check(line)
            diagnosis = await line.diagnosis()
            assert diagnosis.findings == ()
            assert diagnosis.verdict.startswith("All is well: all 8 meters answer, and ")
            assert trouble in ("noise", "a chatty meter") or ", and none of the last " in diagnosis.verdict

    run()


@pytest.mark.parametrize("secondary", [False, True], ids=["primary", "secondary"])
@pytest.mark.parametrize("number", [1, 2, 8])
@pytest.mark.parametrize("late", [0.6, 1.5])
def test_late_answers_accuse_nobody_but_who_gives_them(number: int, secondary: bool, late: float) -> None:
    """Neither a lone meter of talking unasked, nor those that were asked next of disturbing."""

    @fast
    async def run() -> None:
        name = f"meter{(number + 1) // 2}"
        async with rig(number, secondary=secondary, **{name: Misfortune(late=late)}) as line:
            await line.sweep(8)
            (finding,) = (await line.diagnosis()).findings
            assert finding.meter == name.replace("meter", "meter ")
            # Of one that is later than the next is asked only a check can tell that it is late.
            assert finding.fault == SLOW or (finding.fault == DEAD and late > 1)
            await check(line)
            (finding,) = (await line.diagnosis()).findings
            assert f"margin_ms = {700 if late == 0.6 else 1600} in config.toml." in finding.sentence

    run()


@fast
async def test_a_meter_that_has_the_margin_it_needs_is_not_slow() -> None:
    """What was advised is enough."""
    async with rig(4, meter2=Misfortune(late=0.6)) as line:
        line.meters[1] = installed(line.bus.meters, margin_ms=700)[1]
        line.use()
        for _ in range(10):
            for meter in line.meters:
                margin = meter.config.margin_ms / 1000
                await line.master.read(meter.address, expected=meter.identity, extra=margin)
        assert await line.faults() == HEALTHY


@fast
async def test_nothing_is_said_of_a_line_before_enough_of_its_meters_were_asked() -> None:
    """A check counts them; two dead ones that come first are no dead line."""
    for dead in (False, True):
        verdicts = []
        async with rig(8, meter1=Misfortune(dead=dead), meter2=Misfortune(dead=dead)) as line:
            await line.doctor.start_check(LINE)
            while (diagnosis := await line.diagnosis()).check is None or diagnosis.check.done < 7:
                verdicts.append(diagnosis.verdict)
                assert {finding.fault for finding in diagnosis.findings} <= {DEAD}
                await asyncio.sleep(1)
        assert not any("All is well" in verdict for verdict in verdicts)
        if not dead:
            assert any(each.startswith("2 of 8 meters were asked often enough so far") for each in verdicts)


@fast
async def test_a_line_at_another_rate_is_told_with_that_rate() -> None:
    """The line, and not each of its meters."""
    async with rig() as line:
        assert isinstance(line.bus, SimulatedBus)
        for meter in line.bus.meters:
            meter.baud = 9600
        await line.sweep(2)
        assert await line.faults() == {("", NOBODY)}
        await check(line)
        assert await line.faults() == {("", BAUD)}
        finding = (await line.diagnosis()).findings[0]
        assert "speak at 9600 baud and are asked at 2400" in finding.sentence
        assert finding.evidence == "8 of 8 meters answered at 9600 baud, and none at 2400."


@fast
async def test_a_search_and_a_check_do_not_make_a_line_too_loaded() -> None:
    """Somebody wants them to take the wire."""
    async with rig(8) as line:
        async with line.master.session() as link:
            for number in range(9, 250):
                await link.probe(PrimaryAddress(number))
                await link.probe(PrimaryAddress(number))
        for _ in range(20):
            await check(line)
            assert await line.faults() == HEALTHY
        assert (await line.diagnosis()).load > 0.9


@fast
async def test_a_check_does_not_acquit_a_meter_of_a_fault_that_only_reading_shows() -> None:
    async with rig(meter3=Misfortune(fcb="stuck")) as line:
        await line.sweep(4)
        await check(line)
        assert await line.faults() == {(THIRD, FCB_FAULT)}


@fast
async def test_a_check_of_the_next_meter_acquits_it_of_what_it_found() -> None:
    """The meter was replaced by one of another make."""
    async with rig(meter3=Misfortune(fcb="ignored")) as line:
        assert isinstance(line.bus, SimulatedBus)
        await check(line)
        assert await line.faults() == {(THIRD, FCB_FAULT)}
        line.bus.meters[2].misfortune = Misfortune()
        await check(line)
        assert await line.faults() == HEALTHY


@fast
async def test_a_late_meter_is_told_as_such_after_a_check_waited_for_it() -> None:
    """As a warning: its answers come too late for readouts."""
    async with rig(meter8=Misfortune(late=0.6)) as line:
        await check(line)
        (finding,) = (await line.diagnosis()).findings
        assert (finding.meter, finding.fault, finding.severity) == ("meter 8", SLOW, Severity.WARNING)
        assert finding.evidence == "An answer took 644 ms, where 188 ms are allowed at 2400 baud."


@fast
async def test_what_a_chatty_meter_says_during_a_check_is_no_fcb_fault() -> None:
    async with rig(meter3=Misfortune(chatty=2)) as line:
        assert isinstance(line.bus, SimulatedBus)
        await line.sweep(2)
        await check(line)
        line.bus.meters[2].misfortune = Misfortune()
        await check(line)
        assert await line.faults() == HEALTHY


@fast
async def test_two_of_many_meters_that_come_and_go_are_no_loose_contact() -> None:
    async with rig(12) as line:
        assert isinstance(line.bus, SimulatedBus)
        for _ in range(4):
            await line.sweep()
            for meter in line.bus.meters[4:6]:
                meter.misfortune = Misfortune(dead=not meter.misfortune.dead)
        await line.sweep(2)
        assert await line.faults() == HEALTHY


async def check(line: Rig) -> None:
    """Check the line, to the end."""
    await line.doctor.start_check(LINE)
    while (view := (await line.diagnosis()).check) is None or view.running:  # noqa: ASYNC110 - as a screen does
        await asyncio.sleep(1)


@fast
async def test_a_check_finds_a_meter_at_another_rate() -> None:
    """It is silent until then; readouts of others go on meanwhile."""
    async with rig(4) as line:
        assert isinstance(line.bus, SimulatedBus)
        line.bus.meters[1].baud = 9600
        await line.sweep(2)
        assert await line.faults() == {("meter 2", DEAD)}
        await asyncio.gather(check(line), line.sweep(2))
        assert await line.faults() == {("meter 2", BAUD)}
        diagnosis = await line.diagnosis()
        assert "speaks at 9600 baud and is asked at 2400" in diagnosis.findings[0].sentence
        assert diagnosis.check is not None
        assert (diagnosis.check.done, diagnosis.check.total, diagnosis.check.reason) == (4, 4, "")


@fast
async def test_a_check_judges_a_line_that_was_never_read() -> None:
    """A healthy one, and one with a late meter, for which it knows the margin."""
    async with rig() as line:
        assert "A check asks all of them now" in (await line.diagnosis()).verdict
        await check(line)
        assert "All is well: all 8 meters answer" in (await line.diagnosis()).verdict
    async with rig(meter3=Misfortune(late=0.6)) as line:
        await check(line)
        assert await line.faults() == {(THIRD, SLOW)}
        assert "margin_ms = 700" in (await line.diagnosis()).findings[0].sentence


@fast
async def test_a_check_can_be_stopped_and_runs_once_at_a_time() -> None:
    async with rig(8) as line:
        await line.doctor.start_check(LINE)
        with pytest.raises(CmeError, match="being checked already"):
            await line.doctor.start_check(LINE)
        await asyncio.sleep(5)
        running = (await line.diagnosis()).check
        assert running is not None
        assert running.running
        assert running.current == f"meter {running.done + 1}"
        await line.doctor.stop_check(LINE)
        stopped = (await line.diagnosis()).check
        assert stopped is not None
        assert not stopped.running
        assert stopped.reason == "It was stopped."
        await line.sweep()
        assert await line.faults() == HEALTHY


@fast
async def test_the_trace_keeps_the_last_requests_in_words() -> None:
    """Whether anybody looks or not, and never more than a set number."""
    async with rig(3, meter2=Misfortune(dead=True), meter3=Misfortune(wrong_checksum=1)) as line:
        await line.sweep()
        entries = await line.doctor.trace(LINE, 0)
        assert [(entry.request_meaning, entry.fault) for entry in entries[:7]] == [
            ("SND_NKE 1", ""),
            ("REQ_UD2 1 FCB 1", ""),
            ("SND_NKE 2", "no answer"),
            ("SND_NKE 2", "no answer"),
            ("SND_NKE 2", "no answer"),
            ("SND_NKE 3", ""),
            ("SND_NKE 3", ""),  # once more, lest the first acknowledgement was a late one of meter 2
        ]
        assert entries[0].answer_meaning == "acknowledgement"
        assert entries[1].answer_meaning == "RSP_UD from 1, ACW 70000000, 9 records"
        assert entries[1].meter == "meter 1"
        assert entries[7].answer_meaning.startswith("checksum error: ")
        assert await line.doctor.trace(LINE, entries[-2].id) == entries[-1:]
        await line.sweep(150)
        last = 0
        kept: list[LineTraceEntry] = []
        while page := await line.doctor.trace(LINE, last):
            kept += page
            last = page[-1].id
        assert len(kept) <= 500
        assert [entry.id for entry in kept] == list(range(kept[0].id, kept[0].id + len(kept)))
        assert sum(len(entry.received) + len(entry.request) for entry in kept) <= 256 * 1024


@fast
async def test_trace_and_recording_go_on_when_the_line_changes(tmp_path: Path) -> None:
    """Its counters begin anew; when the line is gone, the file has all until then."""
    async with rig(2) as line:
        path = tmp_path / "line.rec"
        await line.doctor.record(LINE, path)
        await line.sweep()
        before = (await line.doctor.trace(LINE, 0))[-1].id
        line.use(margin_ms=100)
        assert (await line.diagnosis()).statistics.tries == 0
        await line.sweep()
        diagnosis = await line.diagnosis()
        assert (diagnosis.recorded_to, diagnosis.recorded) == (str(path), before + 2)
        assert [entry.id for entry in await line.doctor.trace(LINE, before)] == [before + 1, before + 2]
        line.doctor.use([], lambda _: [])
        await line.doctor.close()
    assert len(read_recording(path).tries) == before + 2


@fast
async def test_that_nobody_was_selected_is_no_fault_in_the_trace() -> None:
    """Only a meter that is still selected acknowledges the reset of its selection."""
    async with rig(1, secondary=True) as line:
        await line.sweep()
        first = (await line.doctor.trace(LINE, 0))[0]
        assert (first.request_meaning, first.fault) == ("SND_NKE 253", "")
        assert first.answer_meaning == "nobody was selected"


@pytest.mark.parametrize("secondary", [False, True], ids=["primary", "secondary"])
@pytest.mark.parametrize("trouble", [name for name in MATRIX if "loose" not in name])
def test_a_recorded_line_gives_the_same_findings_when_it_is_played(
    trouble: str, secondary: bool, tmp_path: Path
) -> None:
    """Master and doctor see what they saw when it was recorded."""
    made, expected = MATRIX[trouble]
    path = tmp_path / "line.rec"

    @fast
    async def run() -> None:
        async with rig(secondary=secondary, **made) as line:
            await line.doctor.record(LINE, path)
            errors = await line.sweep(30)
            diagnosis = await line.diagnosis()
            assert (diagnosis.recording, diagnosis.recorded > 60) == (str(path), True)
            await line.doctor.record(LINE, None)
            assert (await line.diagnosis()).recording == ""
            meters = line.meters
        async with played(load_recording(path), meters) as line:
            again, faults = await line.sweep(30), await line.faults()
            # What is random in time meets the requests elsewhere, and may disturb others of them.
            assert again == errors or trouble in ("noise", "a chatty meter")
            assert faults == expected or (trouble == "noise" and expected < faults)

    run()


@fast
async def test_a_recording_needs_a_place_and_is_made_once(tmp_path: Path) -> None:
    async with rig(2) as line:
        with pytest.raises(CmeError, match="no absolute path"):
            await line.doctor.record(LINE, Path("line.rec"))
        await line.doctor.record(LINE, tmp_path / "a.rec")
        with pytest.raises(CmeError, match=r"recorded to .*a\.rec already"):
            await line.doctor.record(LINE, tmp_path / "b.rec")
        with pytest.raises(CmeError, match="no line 'm2'; there are: m1"):
            await line.diagnosis("m2")

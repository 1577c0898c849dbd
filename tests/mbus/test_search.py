"""The search for meters, over the real link to simulated lines whose time runs fast."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from fast_loop import START, run_fast, wall_clock

from core.mbus.address import SecondaryAddress, parse_address
from core.mbus.effort import Costs, Pace, foreseen
from core.mbus.link import Link, Probe, ProbeResult
from core.mbus.narrowing import CONTROL
from core.mbus.search import Ask, Progress, Search
from core.mbus.simulator import (
    LineMisfortune,
    Misfortune,
    SimulatedBus,
    SimulatedMeter,
    fleet,
    open_simulated,
    serials,
)
from core.searching import SearchRequest

BAUD = 9600
MOST_PROBES = 5000
LINE = SearchRequest("line")

Between = Callable[[Search, SimulatedBus], Search]


def keep(search: Search, _bus: SimulatedBus) -> Search:
    return search


def search(
    meters: Iterable[SimulatedMeter],
    request: SearchRequest = LINE,
    known: Iterable[str] = (),
    *,
    misfortune: LineMisfortune | None = None,
    between: Between = keep,
) -> Search:
    """Search a line to the end; `between` is called after every probe, and gives the search to go on with."""

    async def run() -> Search:
        bus = SimulatedBus(meters, wall_clock, misfortune=misfortune or LineMisfortune())
        link = Link(open_simulated(bus, BAUD), BAUD, now=wall_clock)
        found = Search(request, sorted(known), baud=BAUD)
        while ask := found.next():
            assert found.probes < MOST_PROBES, found.stage
            await asyncio.sleep(ask.pause)
            await link.use(ask.baud, ask.extra)
            found.tell(await link.probe(ask.address))
            found = between(found, bus)
        return found

    return run_fast(run())


def names(meters: Iterable[SimulatedMeter]) -> set[str]:
    return {str(SecondaryAddress.from_header(meter.header)) for meter in meters}


def identities(done: Search) -> set[str]:
    return {meter.identity for meter in done.found}


def test_a_crowded_line_gives_all_that_can_be_found_and_says_what_cannot() -> None:
    """250 meters with near-equal serials and hex digits, two of them with one number, and a dead stretch amid."""
    meters = fleet([*serials(249), serials(249)[17]])
    meters[100].misfortune = Misfortune(twin=True)
    dead = range(300, 345)

    def cut(done: Search, bus: SimulatedBus) -> Search:
        bus.misfortune = LineMisfortune(broken=done.probes in dead)
        return done

    done = search(meters, between=cut)
    (twin,) = names(meters) - identities(done)
    assert twin in names([meters[100]])
    assert len(done.found) == 249
    said = " ".join(done.troubles)
    assert f"Two or more meters answer to {twin} and cannot be told apart" in said
    assert "nobody answered any more for a while" in said


def test_no_probe_is_wasted_on_a_good_line() -> None:
    """Little more than the least that proves who is there and that nobody else is."""
    numbers = serials(120)
    least = foreseen("FFFFFFFF", numbers, hex_digits=True).total
    assert least <= search(fleet(numbers)).probes <= least + 10
    whole = names(fleet(numbers))
    assert search(fleet(numbers), known=whole).probes <= least + len(numbers)
    assert search([]).probes == 4


def test_known_meters_are_found_first() -> None:
    """As soon as it is certain that there is more than one meter."""
    meters = fleet(serials(20))
    known = sorted(names(meters))[10:13]
    early: list[set[str]] = []

    def look(done: Search, _bus: SimulatedBus) -> Search:
        if done.probes == 1 + len(known):
            early.append(identities(done))
        return done

    done = search(meters, known=known, between=look)
    assert early == [set(known)]
    assert identities(done) == names(meters)


@pytest.mark.parametrize(
    "misfortune",
    [
        LineMisfortune(echo=True),
        LineMisfortune(noise=0.2),
        LineMisfortune(noise=0.5),
        LineMisfortune(loose=50),
    ],
)
def test_a_bad_line_gives_the_same_meters(misfortune: LineMisfortune) -> None:
    """An echoing converter, noise, a loose contact: what is doubtful is asked again."""
    meters = fleet(serials(40))
    # The first minute of a loose cable is one without: the wall clock of the loop begins so.
    assert identities(search(meters, known=names(meters), misfortune=misfortune)) == names(meters)


@pytest.mark.parametrize(
    ("misfortune", "found", "said"),
    [
        (Misfortune(twin=True), False, "cannot be told apart"),
        (Misfortune(impostor=True), False, "calls itself"),
        (Misfortune(wrong_checksum=1), False, "telegrams are broken each time"),
        (Misfortune(cut=20), False, "telegrams are broken each time"),
        (Misfortune(dead=True), False, ""),
        (Misfortune(wrong_checksum=2), True, ""),
        (Misfortune(noise=b"\x00\xff\x68\x11"), True, ""),
        (Misfortune(fcb="stuck"), True, ""),
        (Misfortune(endless=True), True, ""),
    ],
)
def test_one_bad_meter_spoils_no_other(misfortune: Misfortune, found: bool, said: str) -> None:
    """It is found, or it is said why not; its neighbours are found in any case."""
    meters = fleet(serials(24))
    meters[9].misfortune = misfortune
    done = search(meters)
    bad = names([meters[9]])
    assert identities(done) == (names(meters) if found else names(meters) - bad)
    assert said in " ".join(done.troubles)
    assert bool(done.troubles) == bool(said)


def test_meters_with_one_number_are_told_apart_by_what_they_are() -> None:
    """Of other makers, and of one maker by another medium or version; in few probes."""
    same = "12345678"
    wanted = [
        SecondaryAddress(same, "HYD", 0x25, 7),
        SecondaryAddress(same, "KAM", 1, 4),
        SecondaryAddress(same, "KAM", 2, 4),
    ]
    done = search(fleet([*wanted, "12345679"]))
    assert {str(address) for address in wanted} <= identities(done)
    assert len(done.found) == 4
    assert done.troubles == ()


def test_a_line_on_which_every_answer_is_disturbed_makes_no_meters_up() -> None:
    """It takes a bounded number of probes, no meter is made up, and it is said that the line is bad."""
    done = search(fleet(serials(8)), misfortune=LineMisfortune(noise=1))
    assert identities(done) <= names(fleet(serials(8)))
    assert done.troubles


def test_a_line_that_dies_for_good_ends_the_search() -> None:
    """What was found stays, and what was not searched is named."""

    def cut(done: Search, bus: SimulatedBus) -> Search:
        if len(done.found) == 5:
            bus.misfortune = LineMisfortune(broken=True)
        return done

    done = search(fleet(serials(30)), between=cut)
    assert len(done.found) == 5
    assert "Nobody answers any more" in done.troubles[-1]
    assert "not searched: " in done.troubles[-1]


@pytest.mark.parametrize("late", [0.1, 0.15, 0.2, 0.3, 0.6, 1.0])
def test_late_meters_are_found(late: float) -> None:
    """Where nobody answers in time, more time is given, and that is said; a known one is asked again with more."""
    for count in (1, 2):
        meters = fleet(serials(count))
        for meter in meters:
            meter.misfortune = Misfortune(late=late)
        done = search(meters)
        assert identities(done) == names(meters)
        assert any("answer late" in trouble for trouble in done.troubles) == (late > 0.1)
    both = fleet(["11111111", "70000000"])
    both[1].misfortune = Misfortune(late=late)
    assert identities(search(both, known=names(both))) == names(both)


@pytest.mark.parametrize("late", [0.3, 1.0, 1.5])
def test_late_meters_are_found_by_primary_address_where_more_time_is_given(late: float) -> None:
    """And each of them is told of, since readouts will miss it; the others are not slower for it."""
    meters = fleet(serials(8))
    meters[2].misfortune = meters[7].misfortune = Misfortune(late=late)
    request = SearchRequest("line", methods=("primary",), last=9, patience_ms=2000)
    done = search(meters, request)
    assert {meter.address for meter in done.found} == set("12345678")
    assert [meter.address for meter in done.found if "late" in "".join(meter.notes)] == ["3", "8"]
    hurried = Search(replace(request, patience_ms=0), (), baud=BAUD)
    waited = Search(request, (), baud=BAUD)
    assert waited.estimate(0.1).nobody_s == pytest.approx(hurried.estimate(0.1).nobody_s + 9 * 2)


def test_a_lost_question_makes_no_meter_late() -> None:
    """Where the first one of a search is not answered, and the next one at once, no time is wasted on all others."""

    def cut(done: Search, bus: SimulatedBus) -> Search:
        bus.misfortune = LineMisfortune(broken=False)
        return done

    meters = fleet(serials(12))
    once, again = search(meters), search(meters, misfortune=LineMisfortune(broken=True), between=cut)
    assert identities(again) == names(meters)
    assert again.probes == once.probes + 1
    assert again.troubles == ()


def test_a_search_that_begins_on_a_broken_cable_finds_all_when_it_is_mended() -> None:
    """Primary addresses that were silent before anybody answered are asked again once; a known meter shows that the
    tree must be asked again, and not to be slow for that. Where none is known, all are asked once more in the end."""

    def mended(after: int) -> Between:
        def mend(done: Search, bus: SimulatedBus) -> Search:
            bus.misfortune = LineMisfortune(broken=done.probes < after)
            return done

        return mend

    meters = fleet(serials(12))
    cut = LineMisfortune(broken=True)
    request = SearchRequest("line", methods=("primary",), last=20)
    scanned = search(meters, request, misfortune=cut, between=mended(7))
    assert [int(meter.address) for meter in scanned.found] == [8, 9, 10, 11, 12, *range(1, 8)]
    assert scanned.probes == 20 + 7 + 1  # whether those who answered still do, after the silence at the end
    for known in ((), sorted(names(meters))[:2]):
        found = search(meters, known=known, misfortune=cut, between=mended(3 + len(known) // 2))
        assert identities(found) == names(meters)
        assert found.troubles == ()


def test_the_mask_bounds_the_search() -> None:
    """Digits, and the maker."""
    meters = fleet(["12000001", "12000002", "13000001"])
    assert identities(search(meters, SearchRequest("line", mask="12FFFFFF"))) == names(meters[:2])
    maker = SecondaryAddress.from_header(meters[2].header).manufacturer
    request = SearchRequest("line", mask=f"FFFFFFFF.{maker}")
    assert identities(search(meters, request)) == names(meters[2:])
    decimal = fleet(["1200000A", "12000002"])
    assert identities(search(decimal, SearchRequest("line", hex_digits=False))) == names(decimal[1:])


def test_a_meter_is_listed_once_however_often_it_answers() -> None:
    """By primary and by secondary address, and at several rates."""
    meters = fleet(serials(6))
    request = SearchRequest("line", methods=("secondary", "primary"), bauds=(BAUD, 2400), first=0, last=20)
    done = Search(request, (), baud=BAUD)
    by_primary = dict(enumerate(meters, 1))
    while ask := done.next():
        done.tell(answer(ask, meters, by_primary))
    assert sorted(meter.identity for meter in done.found) == sorted(names(meters))
    assert {meter.primary for meter in done.found} == set(by_primary)
    assert all("answers at 2400 baud as well" in meter.notes for meter in done.found)


def answer(ask: Ask, meters: list[SimulatedMeter], by_primary: dict[int, SimulatedMeter]) -> Probe:
    """What an ideal link says."""
    if not isinstance(ask.address, SecondaryAddress):
        there = [by_primary[int(str(ask.address))]] if int(str(ask.address)) in by_primary else []
    else:
        there = [meter for meter in meters if ask.address.matches(meter.header)]
    if not there:
        return Probe(ProbeResult.NOTHING)
    if len(there) > 1:
        return Probe(ProbeResult.SEVERAL, raw=b"\x00")
    (meter,) = there
    return Probe(ProbeResult.ONE, SecondaryAddress.from_header(meter.header), meter.telegram_at(0.0))


def test_two_meters_on_one_primary_address_are_named() -> None:
    """And the others of the scan are found."""
    meters = fleet(serials(5))
    meters[3].address = 2
    done = search(meters, SearchRequest("line", methods=("primary",), last=10))
    assert sorted(meter.address for meter in done.found) == ["1", "3", "5"]
    assert "primary address 2 " in done.troubles[0]


def test_a_rate_that_the_line_refuses_is_left_out_with_its_reason() -> None:
    """All of it, and nothing else."""
    meters = fleet(serials(3))
    done = Search(SearchRequest("line", methods=("primary", "secondary"), bauds=(300, BAUD)), (), baud=BAUD)
    while ask := done.next():
        if ask.baud == 300:
            done.refuse("This line cannot be switched to 300 baud.")
        else:
            done.tell(answer(ask, meters, {}))
    assert identities(done) == names(meters)
    assert [trouble for trouble in done.troubles if "300" in trouble] == [
        "This line cannot be switched to 300 baud."
    ]


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_search_goes_on_from_any_point(seed: int, noise: float) -> None:
    """By way of JSON: after every single probe, or at random ones, the outcome and the probes are the same.

    What was doubted on a noisy line is doubted still.
    """
    meters = fleet([*serials(40), serials(40)[3]])
    meters[7].misfortune = Misfortune(twin=True)
    chance = random.Random(seed)

    def reload(done: Search, _bus: SimulatedBus) -> Search:
        if seed and chance.random() < 0.7:
            return done
        return Search.load(json.loads(json.dumps(done.dump())))

    known = sorted(names(meters))[:5]
    bad = LineMisfortune(noise=noise)
    once = search(meters, known=known, misfortune=bad)
    resumed = search(meters, known=known, misfortune=bad, between=reload)
    assert resumed.dump() == once.dump()
    assert any("disturbed" in trouble for trouble in once.troubles) == bool(noise)


def progress(
    meters: list[SimulatedMeter], known: Iterable[str] = (), request: SearchRequest = LINE
) -> list[Progress]:
    """How far a search is after each of its probes."""
    seen: list[Progress] = []

    def look(done: Search, _bus: SimulatedBus) -> Search:
        seen.append(done.progress(0.1))
        return done

    search(meters, request, known, between=look)
    return seen


def test_progress_never_goes_back_and_ends_at_the_end() -> None:
    """Where all meters are known of, the time left shrinks with each probe, from what was estimated."""
    meters = fleet(serials(50))
    seen = progress(meters, names(meters))
    shares = [each.share for each in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] > 0.95
    left = [each.left_s for each in seen if each.left_s is not None]
    assert left == sorted(left, reverse=True)
    assert not any(each.at_least for each in seen)
    estimate = Search(LINE, names(meters), baud=BAUD).estimate(0.1)
    assert abs(estimate.probes - len(seen)) <= 20
    assert left[0] < estimate.likely_s
    assert estimate.sentence.startswith("about ")
    assert "50 meters" in estimate.sentence


def test_the_time_left_among_strangers_is_told_as_the_least() -> None:
    """Who is not known of takes longer than silence; the share is that of the addresses, which does not go back."""
    meters = fleet(["11111111", "11111119", "5000000A", "E0000000"])
    for known in ((), names(meters[:1])):
        seen = progress(meters, known)
        assert seen[-1].at_least
        shares = [each.share for each in seen]
        assert shares == sorted(shares)
        assert any(0.05 < share < 0.15 for share in shares) or known
        assert shares[-1] < 1
    scan = progress(meters, request=SearchRequest("line", methods=("primary",), last=20))
    assert all(each.at_least for each in scan[:-1])
    assert scan[9].share == pytest.approx(0.5, abs=0.05)
    estimate = Search(LINE, (), baud=BAUD).estimate(0.1)
    assert " to " in estimate.sentence


def test_meters_of_one_number_are_not_counted_for_each_version_that_is_asked() -> None:
    """A few hundred versions that nobody has take a silence each."""
    same = [SecondaryAddress("12345678", "KAM", version, 4) for version in (1, 2)]
    seen = progress(fleet(same), ["12345678"])
    costs = Costs.at(BAUD, 0.1)
    digits = 8 * 15
    assert max(each.left_s or 0.0 for each in seen) < (256 + digits) * costs.nothing


def test_what_slows_a_search_down_counts_for_the_time_left() -> None:
    """Readouts between the probes, once enough of them were seen."""
    pace = Pace()
    pace.note(9.0, 3.0)
    assert pace.factor == 1.0
    pace.note(9.0, 6.0)
    assert pace.factor == 2.0


def test_the_time_for_an_empty_line_is_what_it_takes() -> None:
    """With the time for which late meters are waited for, at each rate; the margin is that of a simulated line."""
    request = SearchRequest("line", bauds=(BAUD, 2400))
    times: list[float] = []

    def look(done: Search, _bus: SimulatedBus) -> Search:
        times.append(wall_clock())
        return done

    search([], request, between=look)
    estimate = Search(request, (), baud=BAUD).estimate(0.1)
    assert estimate.nobody_s == pytest.approx(times[-1] - START, rel=0.05)


def test_the_address_that_no_meter_has_is_no_meter_of_a_fleet() -> None:
    """The proof of noise rests on it."""
    assert CONTROL.exact
    assert parse_address(str(CONTROL)) == CONTROL
    assert not any(CONTROL.matches(meter.header) for meter in fleet(serials(250)))

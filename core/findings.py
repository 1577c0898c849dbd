"""The rules of the bus doctor: what the counters of a line and its meters say about likely faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from itertools import groupby
from statistics import median
from typing import Final

from core.diagnosis import Finding, Severity
from core.mbus.address import SecondaryAddress
from core.mbus.tally import Asked, Sample, Unasked
from core.mbus.watch import Fault
from core.symptoms import GOOD, LATELY, OFTEN, SILENT, Case, Patient, since_cure

FEW: Final = 5
"""Bad answers that it takes at least. On a healthy line with one bad answer in a hundred, five within the window of a
meter that make out `OFTEN` of it are one case in a million."""

ALWAYS: Final = 0.9
"""Share from which on a fault has a cause that is there all the time; the rest is what noise makes of it."""

MOST: Final = 0.5

LINE_FEW: Final = 8
LINE_SHARE: Final = 0.08
"""Bad answers of a whole line: with one in a hundred, eight in a hundred do not happen in ten thousand years."""

GAPS: Final = 3
"""Times that a meter misses requests; once it may have been the line."""

NEAR: Final = 0.7
"""Of the time in which a meter has to answer: the standard's limit holds at every temperature and age, so a meter
that needs that much of it today will miss it one day."""

GROUP: Final = 3
"""Meters that fall silent together: of two that is a coincidence on a line with hundreds."""

STRAYS: Final = 3
"""Times that something comes unasked; once it may be a late answer that was not recognised."""

ENDLESS: Final = 30
"""Telegrams of one readout; no meter is known that has as many."""

LOADED: Final = 0.9
FOREIGN: Final = 0.3
"""Shares of the time in which the wire is taken: at all, and by other software."""

BLACKOUTS: Final = 2
_BLACKOUTS_MS: Final = 6 * 3_600_000
"""Times that a line was dead and came back, and for how long that is told."""

_LOOKED_MS: Final = 5 * 60_000
"""The shortest time that a load is told of."""

_ONE_BIT: Final = {change & 0xFF for bit in range(8) for change in (1 << bit, -(1 << bit))}
"""By how much one bit changes a sum; of what chance makes of it, one in seventeen looks the same."""

_BROKEN: Final = (Fault.NOISE, Fault.CHECKSUM, Fault.COLLISION, Fault.CUT, Fault.UNEXPECTED)


def diagnose(case: Case) -> tuple[list[Finding], dict[str, list[Finding]]]:
    """What is wrong with the line as a whole, and with each meter by its address, worst first.

    A meter is not accused of what is wrong with the line.
    """
    line = [finding for rule in _LINE_RULES if (finding := rule(case))]
    faults = {finding.fault for finding in line}
    explained = _group(case)
    if faults & _DEAD_LINE:
        explained = case.asked
    elif explained:
        line.append(_partly_cut(case, explained))
    late = any(patient.is_late for patient in case.asked)
    if not faults & {CHATTY, MASTER, SHORT} and not late and (noisy := _noisy(case)):
        line.append(noisy)
    faults = {finding.fault for finding in line}
    if late:
        faults.add(SLOW)  # its late answers fall into those of others
    addresses = {patient.address for patient in explained}
    meters = {
        patient.address: [finding]
        for patient in case.asked
        if patient.address not in addresses and (finding := _meter(patient, faults))
    }
    return worst_first(line), meters


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by their severity."""
    order = list(Severity)
    return sorted(findings, key=lambda finding: -order.index(finding.severity))


ECHO: Final = "echoing converter"
SHORT: Final = "short circuit"
CABLE: Final = "broken cable"
LOOSE: Final = "loose contact"
NOBODY: Final = "nobody answers"
NOISY: Final = "noisy line"
CHATTY: Final = "chatty meter"
MASTER: Final = "another master"
FOREIGN_LOAD: Final = "other software"
LOADED_LINE: Final = "line too loaded"
SLOW_WAY: Final = "slow way to the bus"
TWO: Final = "two meters on one address"
BAUD: Final = "wrong baud rate"
SLOW: Final = "slow answerer"
FCB_FAULT: Final = "FCB fault"
WRONG: Final = "wrong meter"
CUT_OFF: Final = "broken-off answers"
DISTURBED: Final = "disturbed meter"
ENDLESS_READOUT: Final = "endless readout"
MISSES: Final = "misses requests"
DEAD: Final = "silent meter"

_DEAD_LINE: Final = {SHORT, CABLE, LOOSE, NOBODY, BAUD}


def _dead_line(case: Case) -> Finding | None:
    """Nobody is heard: a short circuit, a broken cable, or a line that never worked."""
    if shorted := _shorted(case):
        return shorted
    number = len(case.asked)
    if number < max(2, min(FEW, len(case.patients))) or len(case.silent) < number:
        return None
    if elsewhere := _at_another_rate(case):
        return elsewhere
    last = [p.last_answer_ms for p in case.asked if p.last_answer_ms is not None]
    if not last:
        tries = sum(len(patient.samples) for patient in case.asked)
        return Finding(
            Severity.FAULT,
            "",
            NOBODY,
            "No meter has ever answered: check the baud rate of the line, both wires from the level converter to the "
            "bus, and the addresses; a search at several baud rates finds meters that are there.",
            f"{tries} requests to {number} meters at {case.baud} baud, and no byte came back.",
        )
    echo = any(beat.echo for beat in case.beats) and not case.beats[-1].echo
    converter = (
        " The echo of the level converter is gone, too, so begin with its power supply." if echo else ""
    )
    return Finding(
        Severity.FAULT,
        "",
        CABLE,
        "All meters have fallen silent: check the cable at the level converter, its power supply, and whether it "
        f"shows an overload.{converter}",
        f"All {number} meters silent, the last answer was at {case.clock(max(last))}.",
    )


def _at_another_rate(case: Case) -> Finding | None:
    rates = Counter(rate for patient in case.asked for rate in patient.other_rates)
    if not rates:
        return None
    ((baud, number),) = rates.most_common(1)
    return Finding(
        Severity.FAULT,
        "",
        BAUD,
        f"The meters speak at {baud} baud and are asked at {case.baud}: give the line baud = {baud} in config.toml.",
        f"{number} of {len(case.asked)} meters answered at {baud} baud, and none at {case.baud}.",
    )


def _shorted(case: Case) -> Finding | None:
    recent = [sample for patient in case.asked for sample in patient.samples[-SILENT:]]
    blank = sum(sample.blank for sample in recent)
    if len(recent) < FEW or blank < MOST * len(recent) or any(sample.fault in GOOD for sample in recent):
        return None
    return Finding(
        Severity.FAULT,
        "",
        SHORT,
        "Something draws too much current: look for a short circuit or a meter that is defective, by taking parts of "
        "the line off, and whether the level converter is made for that many meters.",
        f"{blank} of the last {len(recent)} answers are zeros only, which is how current that never stops is heard.",
    )


def _loose(case: Case) -> Finding | None:
    times = [time for time in case.blackouts if case.now_ms - time < _BLACKOUTS_MS]
    if len(times) < BLACKOUTS:
        return None
    return Finding(
        Severity.FAULT,
        "",
        LOOSE,
        "The line comes and goes: look for a loose terminal between the level converter and the first meters, and "
        "for a power supply that fails.",
        f"{len(times)} times several meters fell silent at once and came back, last at {case.clock(times[-1])}.",
    )


def _group(case: Case) -> list[Patient]:
    """Silent meters that may have fallen silent at one moment, where those are many enough for one cause."""
    gone = [patient for patient in case.silent if patient.last_answer_ms is not None]
    if len(gone) < GROUP:
        return []
    # The moment lies between the last answer of each and its first silence; most share the one in which it was cut.
    best: list[Patient] = []
    for moment in (patient.silent_since_ms or 0 for patient in gone):
        together = [p for p in gone if (p.last_answer_ms or 0) <= moment <= (p.silent_since_ms or 0)]
        best = max(best, together, key=len)
    return best if len(best) >= GROUP else []


def _partly_cut(case: Case, group: Sequence[Patient]) -> Finding:
    since = min(patient.silent_since_ms or 0 for patient in group)
    return Finding(
        Severity.FAULT,
        "",
        CABLE,
        f"{len(group)} meters have fallen silent together: look for what they have in common, such as a cable or a "
        "junction box behind which they are.",
        f"Silent since {case.clock(since)}: {_names(group)}; the others answer.",
    )


def _noisy(case: Case) -> Finding | None:
    always = {patient.address for patient in case.asked if _always_broken(patient)}
    others = [beat for beat in case.beats if beat.meter not in always and beat.fault is not Fault.SILENCE]
    disturbed = {beat.meter for beat in others if beat.fault in _BROKEN}
    beats = since_cure(others, lambda beat: beat.fault in _BROKEN)
    if not disturbed <= {beat.meter for beat in beats}:
        beats = others  # of some of them nothing was heard since
    bad = Counter(beat.meter for beat in beats if beat.fault in _BROKEN)
    idle = len(_unasked(case, Unasked.NOISE))
    answers = bad.total() >= max(LINE_FEW, LINE_SHARE * len(beats))
    spread = len(bad) >= max(2, len({beat.meter for beat in beats}) / 3)
    if not answers or not spread:
        return None
    kinds = Counter(str(beat.fault) for beat in beats if beat.fault in _BROKEN)
    counted = ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common()) or "none disturbed"
    return Finding(
        Severity.WARNING,
        "",
        NOISY,
        "The line is noisy: keep it away from power cables, drives and lamps, check its shield, and look for a wire "
        "that touches earth.",
        f"Of {len(beats)} answers: {counted}, at {len(bad)} meters; bytes on the idle line {idle} times.",
    )


def _unasked(case: Case, kind: Unasked) -> list[SecondaryAddress | None]:
    beats = since_cure(case.beats, lambda beat: beat.unasked)
    since = beats[0].time_ms if beats else 0
    return [s.identity for s in case.strays if s.kind is kind and s.time_ms >= since]


def _chatty(case: Case) -> Finding | None:
    telegrams = _unasked(case, Unasked.TELEGRAM)
    if len(telegrams) < STRAYS:
        return None
    speakers = Counter(str(identity) for identity in telegrams if identity)
    who = ", ".join(speaker for speaker, _ in speakers.most_common(3)) or "a meter without an identification"
    return Finding(
        Severity.WARNING,
        "",
        CHATTY,
        f"A meter talks without being asked, and disturbs the others: {who}. Have it repaired or replaced.",
        f"{len(telegrams)} telegrams came that nobody had asked for.",
    )


def _others(case: Case) -> Finding | None:
    requests = _unasked(case, Unasked.REQUEST)
    if len(requests) < STRAYS:
        return None
    return Finding(
        Severity.FAULT,
        "",
        MASTER,
        "Another master reads the meters on this line: there must be only one; other software can use the transparent "
        "port of this one.",
        f"{len(requests)} requests were heard that are not ours.",
    )


def _loaded(case: Case) -> Finding | None:
    load, foreign = case.load - case.demanded, case.foreign
    if case.now_ms - case.since_ms < _LOOKED_MS:
        return None
    if foreign >= FOREIGN:
        return Finding(
            Severity.NOTICE,
            "",
            FOREIGN_LOAD,
            "Other software holds the line through the transparent port for much of the time, so readouts come late.",
            f"It had the wire for {foreign:.0%} of the last minutes.",
        )
    if load < LOADED:
        return None
    return Finding(
        Severity.WARNING,
        "",
        LOADED_LINE,
        "The line is at its limit: read meters less often, at a higher baud rate, or move some to another line.",
        f"The wire was taken for {load:.0%} of the last minutes, a search included.",
    )


def _slow_way(case: Case) -> Finding | None:
    timed = [patient for patient in case.asked if len(patient.delays) >= FEW]
    slow = [patient for patient in timed if _is_slow(patient)]
    if len(timed) < GROUP or len(slow) < ALWAYS * len(timed):
        return None
    typical = sorted(median(patient.delays) for patient in slow)[len(slow) // 2]
    return Finding(
        Severity.NOTICE,
        "",
        SLOW_WAY,
        "All answers come late, so it is the way to the bus that takes the time: the network, or a level converter "
        f"that gathers bytes. Give the line margin_ms = {_rounded_ms(typical)} where meters are missed.",
        f"Typically {typical * 1000:.0f} ms until the first byte of an answer, at {len(slow)} of {len(timed)} meters.",
    )


def _echoing(case: Case) -> Finding | None:
    echoes = sum(beat.echo for beat in case.beats)
    if echoes < max(FEW, ALWAYS * len(case.beats)):
        return None
    return Finding(
        Severity.NOTICE,
        "",
        ECHO,
        "The level converter repeats what is sent. This gateway takes that out; other software may not.",
        f"{echoes} of {len(case.beats)} requests came back.",
    )


_LINE_RULES: Final[Sequence[Callable[[Case], Finding | None]]] = (
    lambda case: _loose(case) or _dead_line(case),
    _chatty,
    _others,
    _loaded,
    _slow_way,
    _echoing,
)


def _meter(patient: Patient, line: Set[str]) -> Finding | None:
    """The one finding that explains the meter best."""
    rules: list[Callable[[Patient], Finding | None]] = [_other_rate, _endless]
    if not {CHATTY, MASTER} & line:
        rules += [_other_meter, _broken] if SLOW_WAY in line else [_other_meter, _late, _broken]
        if NOISY not in line:
            rules.append(_fcb)
        if not {NOISY, SLOW} & line:
            rules += [_often_broken, _misses]
        if SLOW_WAY not in line:
            rules.append(_slow)
    rules.append(_silent)
    return next((finding for rule in rules if (finding := rule(patient))), None)


def _other_rate(patient: Patient) -> Finding | None:
    if not patient.other_rates or not patient.is_silent:
        return None
    baud = max(patient.other_rates, key=lambda rate: patient.other_rates[rate])
    return _of(
        patient,
        BAUD,
        f"It speaks at {baud} baud and is asked at {patient.baud}: give it baud = {baud} in config.toml.",
        f"It answered at {baud} baud, and not to {patient.silent} requests at {patient.baud} baud.",
        Severity.FAULT,
    )


def _other_meter(patient: Patient) -> Finding | None:
    seen = [sample.identity for sample in patient.samples if sample.identity is not None][-LATELY:]
    if patient.identity is None:
        return None
    others = [identity for identity in seen if not patient.identity.agrees(identity)]
    if len(others) < 2 or len(others) < MOST * len(seen):
        return None
    return _of(
        patient,
        WRONG,
        f"Meter {others[-1]} answers at its address: if it was replaced, give the new one in config.toml; else look "
        "for two meters that were mixed up.",
        f"{len(others)} of {len(seen)} telegrams name another meter than {patient.identity}.",
    )


def _fcb(patient: Patient) -> Finding | None:
    if not patient.fcb_faults:
        return None
    return _of(
        patient,
        FCB_FAULT,
        "It does not follow the frame count bit: readouts may be old or lack telegrams. Ask its maker about it.",
        f"Telegrams that did not fit the bit of their request: {patient.fcb_faults}.",
    )


def _endless(patient: Patient) -> Finding | None:
    longest = run = 0
    for sample in patient.samples:
        if sample.asked is Asked.DATA and sample.fault in GOOD:
            run, longest = (run + 1, max(longest, run + 1)) if sample.more else (0, 0)
        elif sample.asked is not Asked.DATA:
            run = 0
    if longest < ENDLESS:
        return None
    return _of(
        patient,
        ENDLESS_READOUT,
        "It announces a further telegram for ever: reset its application, or ask its maker for a correction.",
        f"{longest} telegrams in one readout, and each announces another.",
    )


def _broken(patient: Patient) -> Finding | None:
    """Every telegram, or every answer at all, is broken: in which way?"""
    acknowledged = [s for s in patient.samples if s.asked is not Asked.DATA and s.fault is not Fault.SILENCE]
    data = patient.telegrams
    if _all_broken(acknowledged) and not any(sample.fault in GOOD for sample in data):
        if sum(sample.after_garbage for sample in acknowledged) >= MOST * len(acknowledged):
            return _of(
                patient,
                DISTURBED,
                "Something comes in front of its answers: a meter or a repeater that switches its sender on too early.",
                f"{len(acknowledged)} acknowledgements, each with other bytes in front.",
            )
        return _of(
            patient,
            BAUD,
            f"Its answers cannot be read at {patient.baud} baud: it probably speaks at another rate; a search at "
            "several baud rates tells which.",
            f"{len(acknowledged)} answers, and not one byte pattern of an M-Bus frame in them.",
            Severity.FAULT,
        )
    if not _all_broken(data):
        return None
    kind, number = Counter(sample.fault for sample in data).most_common(1)[0]
    evidence = f"{number} of {len(data)} telegrams: {kind}; its acknowledgements are good."
    if kind is Fault.CUT:
        sentence = "Its telegrams break off: its supply from the bus may be weak, or it is defective."
        return _of(patient, CUT_OFF, sentence, evidence)
    if kind is Fault.NOISE or _single_bits(data):
        return _of(
            patient, DISTURBED, "Its telegrams are disturbed: check its terminals and its cable.", evidence
        )
    return _of(
        patient,
        TWO,
        "Two meters answer at its address: give one of them another primary address, or read both by their secondary "
        "addresses; two with one secondary address cannot be on one line.",
        evidence,
        Severity.FAULT,
    )


def _often_broken(patient: Patient) -> Finding | None:
    number = patient.count(*_BROKEN)
    if number < max(FEW, OFTEN * patient.heard):
        return None
    kinds = ", ".join(f"{patient.count(fault)} x {fault}" for fault in _BROKEN if patient.count(fault))
    return _of(
        patient,
        DISTURBED,
        "Its answers are often disturbed: check its terminals and its cable.",
        f"Of {patient.heard} answers: {kinds}.",
    )


def _late(patient: Patient) -> Finding | None:
    if not patient.is_late:
        return None
    late = sum(sample.late for sample in patient.samples)
    if patient.longest_s > patient.limit:
        advice = f"give it margin_ms = {_rounded_ms(patient.longest_s)} in config.toml"
        evidence = f"An answer took {patient.longest_s * 1000:.0f} ms"
    else:
        evidence = f"{late} answers came when nobody waited any more"
        advice = "a check of the line, which asks all its meters, measures the margin_ms that it needs"
    return _of(patient, SLOW, f"It answers too late: {advice}.", f"{evidence}, where {_allowed(patient)}.")


def _slow(patient: Patient) -> Finding | None:
    if not _is_slow(patient):
        return None
    margin = _rounded_ms(patient.longest_s)
    return _of(
        patient,
        SLOW,
        f"It is slow to answer; if it is missed, give it margin_ms = {margin} in config.toml.",
        f"Typically {median(patient.delays) * 1000:.0f} ms, where {_allowed(patient)}.",
        Severity.NOTICE,
    )


def _misses(patient: Patient) -> Finding | None:
    number = patient.count(Fault.SILENCE)
    gaps = sum(silent for silent, _ in groupby(s.fault is Fault.SILENCE for s in patient.samples))
    if patient.is_silent or gaps < GAPS or number < max(FEW, OFTEN * len(patient.samples)):
        return None
    return _of(
        patient,
        MISSES,
        "It misses requests, and then answers again: a check of the line tells whether it is only slow; else look at "
        "its terminals and the voltage of the bus there.",
        f"{number} of {len(patient.samples)} requests got no answer, at {gaps} different times.",
    )


def _silent(patient: Patient) -> Finding | None:
    if not patient.is_silent:
        return None
    before = patient.last_answer_ms is not None
    return _of(
        patient,
        DEAD,
        "It has fallen silent: check its terminals, its cable and, where it has one, its battery."
        if before
        else "It has never answered: check its address, its baud rate and its terminals.",
        f"{patient.silent} requests in a row got no answer.",
    )


def _of(
    patient: Patient, fault: str, sentence: str, evidence: str, severity: Severity = Severity.WARNING
) -> Finding:
    return Finding(severity, patient.name, fault, sentence, evidence)


def _all_broken(samples: Sequence[Sample]) -> bool:
    broken = sum(sample.fault in _BROKEN for sample in samples)
    return broken >= FEW and broken >= ALWAYS * len(samples)


def _single_bits(samples: Sequence[Sample]) -> bool:
    """Whether checksums are wrong as by one bit that was disturbed; where two talk at once, many are."""
    errors = [sample.sum_error for sample in samples if sample.sum_error is not None]
    single = sum(error in _ONE_BIT for error in errors)
    return len(errors) >= MOST * len(samples) and single >= ALWAYS * len(errors)


def _always_broken(patient: Patient) -> bool:
    return _all_broken(patient.telegrams)


def _is_slow(patient: Patient) -> bool:
    standard = patient.limit - patient.margin
    return len(patient.delays) >= FEW and median(patient.delays) - patient.margin > NEAR * standard


def _allowed(patient: Patient) -> str:
    margin = f" and margin_ms = {patient.margin * 1000:.0f}" if patient.margin else ""
    return f"{patient.limit * 1000:.0f} ms are allowed at {patient.baud} baud{margin}"


def _rounded_ms(delay: float) -> int:
    """A margin with which an answer after `delay` s comes in time, with some to spare."""
    return math.ceil(delay * 1000 / 100) * 100


def _names(patients: Sequence[Patient]) -> str:
    shown = ", ".join(patient.name for patient in patients[:5])
    return shown if len(patients) <= 5 else f"{shown} and {len(patients) - 5} more"

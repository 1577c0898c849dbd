"""The bus doctor and the trace of a line: verdict, findings with evidence, counters, and the bytes of each answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recorded import RecordedGateway
from recorded_lines import COLLIDING, METERS, SLOW

from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.doctor import DoctorScreen
from cme_tui.screens.line_trace import LineTraceScreen
from cme_tui.screens.line_try import LineTryScreen
from cme_tui.screens.meters import MetersScreen
from cme_tui.widgets.bars import KeyBar
from cme_tui.widgets.hexview import HexView


def keys(session) -> list[str]:
    return [key for key, _, _ in session.screen.query_one(KeyBar).keys]


def rows(session, name: str) -> list[str]:
    table = session.table(name)
    return [table.text_of(index) for index in range(table.row_count)]


async def test_it_gives_its_verdict_first(session):
    """What is most probably wrong, then what was counted; the worst finding stands first."""
    async with session() as s:
        await s.press("f6", "b")
        assert isinstance(s.screen, DoctorScreen)
        head = s.lines("#doctor").splitlines()
        assert head[0] == " Bus doctor: main  load 43%"
        assert head[1] == f" ✗ {COLLIDING.sentence}"
        assert head[2].endswith("523 requests, 8 time-outs, 1 wrong checksum, 49 collisions")
        assert rows(s, "#findings") == [
            "✗ fault heat flat 1 two meters on one address",
            "! warning gas boiler slow answerer",
        ]


async def test_every_finding_tells_its_evidence(session):
    """Of the meter under the cursor at first; Tab goes to the list of all findings."""
    async with session() as s:
        await s.press("f6", "b")
        said = " ".join((s.lines("#detail") + " " + s.status).split())
        assert said == f"heat flat 1: {COLLIDING.sentence} Evidence: {COLLIDING.evidence}"
        await s.press("tab", "down")
        said = " ".join((s.lines("#detail") + " " + s.status).split())
        assert said == f"gas boiler: {SLOW.sentence} Evidence: {SLOW.evidence}"


async def test_meters_in_trouble_stand_first_and_can_be_sorted_otherwise(session):
    """By trouble, name, the slowest first, and the most tries first."""
    async with session() as s:
        await s.press("f6", "b")
        assert [row[2:13].strip() for row in rows(s, "#meters")][:2] == ["heat flat 1", "gas boiler"]
        await s.press("s")
        assert rows(s, "#meters")[0].split(" ", 1)[1].startswith("gas boiler")
        await s.press("s")
        assert rows(s, "#meters")[0].endswith("168 181 194")
        await s.press("s")
        assert " heat flat 1 3 130 " in rows(s, "#meters")[0]


async def test_the_filter_finds_meters_by_name_address_and_fault(session):
    """And says how many of how many."""
    async with session() as s:
        await s.press("f6", "b", "slash", *"one address")
        assert s.lines("#count").startswith(" Meters 1 of 5")
        assert rows(s, "#meters")[0].startswith("✗ heat flat 1")


async def test_counting_from_now_is_asked_for_first(session):
    """n leaves everything as it is, y resets the counters of this line."""
    async with session() as s:
        await s.press("f6", "b", "z")
        assert isinstance(s.screen, ConfirmScreen)
        await s.press("n")
        assert "reset main" not in s.gateway.commands
        await s.press("z", "y")
        assert "reset main" in s.gateway.commands
        assert "Nothing was asked on this line yet" in s.lines("#doctor")
        assert all(row.startswith("- ") for row in rows(s, "#meters"))
        assert rows(s, "#findings") == []
        assert "Tab" not in keys(s)


async def test_every_meter_can_be_asked_now_and_that_can_be_ended(session):
    """With progress; the same key ends it, and what was asked until then counts."""
    async with session() as s:
        await s.press("f6", "b", "a")
        assert "start check main" in s.gateway.commands
        assert " 2/5  heat flat 1" in s.lines("#doctor")
        await s.press("a")
        assert "stop check main" in s.gateway.commands
        assert "! 2 of 5 meters were asked: it was stopped" in s.lines("#doctor")


async def test_l_goes_to_the_next_line_and_a_line_that_is_gone_says_so(session):
    """The key is offered only where there are several lines."""
    gateway = RecordedGateway()
    async with session(gateway=gateway) as s:
        await s.press("f6", "b")
        assert "l" not in keys(s)
        line = gateway.current.lines[0]
        gateway.current = replace(gateway.current, lines=(line, replace(line, name="attic")))
        s.app.pull()
        assert "l" in keys(s)
        await s.press("l")
        assert "There is no line attic." in s.lines("#doctor")
        await s.press("l")
        assert COLLIDING.sentence in s.lines("#doctor")


async def test_without_a_line_the_key_says_what_to_do(session):
    """Nothing opens."""
    async with session(lines=0) as s:
        await s.press("f6", "b")
        assert isinstance(s.screen, MetersScreen)
        assert "There is no M-Bus line yet" in s.status


async def test_the_trace_shows_request_and_answer_in_words(session):
    """The newest last, under the cursor; a second try is marked, a fault stands in the place of the answer."""
    async with session() as s:
        await s.press("f6", "b", "t")
        assert isinstance(s.screen, LineTraceScreen)
        assert rows(s, "#line-trace")[-1].endswith("heat flat 1 x2 REQ_UD2 3 FCB 1 ✗ collision 72")
        assert s.table("#line-trace").cursor == len(s.gateway.tries) - 1
        await s.press("up", "up")
        assert "RSP_UD from 2, 9 records" in s.lines("#detail")


async def test_the_trace_goes_on_pauses_and_shows_faults_only(session):
    """What comes while it is paused is there afterwards."""
    async with session() as s:
        await s.press("f6", "b", "t", "p")
        newest = replace(s.gateway.tries[-1], id=99, fault="", answer_meaning="acknowledgement")
        s.gateway.tries.append(newest)
        s.app.pull()
        assert s.table("#line-trace").row_count == 12
        assert "paused" in s.lines("#count")
        await s.press("p")
        s.app.pull()
        assert s.table("#line-trace").row_count == 13
        await s.press("f")
        assert s.lines("#count").startswith(" Trace of main 2 of 13")
        assert all("✗ collision" in row for row in rows(s, "#line-trace"))


async def test_enter_explains_the_bytes_of_answer_and_request(session):
    """The part under the cursor is marked among the bytes; t changes sides, n goes on."""
    async with session() as s:
        await s.press("f6", "b", "t", "up", "up", "enter")
        assert isinstance(s.screen, LineTryScreen)
        assert "asked: REQ_UD2 2 FCB 1" in s.lines("#line-try")
        await s.press("down")
        assert s.screen.query_one(HexView).lit[1] == range(1, 2)
        await s.press("t")
        assert "the request, 5 bytes" in s.lines("#line-try")
        await s.press("n", "n")
        assert "heard: ✗ collision" in s.lines("#line-try")


async def test_a_recording_is_begun_shown_and_ended(session, tmp_path: Path):
    """The path is asked for; the title counts; the same key ends it."""
    async with session() as s:
        await s.press("f6", "b", "t", "w", "ctrl+u", *str(tmp_path / "a.mbus"), "enter")
        assert f"record main {tmp_path / 'a.mbus'}" in s.gateway.commands
        s.app.pull()
        assert "● recording 0 requests" in s.lines("#count")
        await s.press("w")
        assert "record main None" in s.gateway.commands
        assert "recording" not in s.lines("#count")


async def test_a_recording_that_ended_by_itself_says_why(session):
    """On both screens; the key begins another one."""
    async with session() as s:
        found = s.gateway.diagnoses["main"]
        reason = "The recording /tmp/a.rec has ended: it is full. Begin another one."
        s.gateway.diagnoses["main"] = replace(found, recording="/tmp/a.rec", recording_reason=reason)
        await s.press("f6", "b")
        assert "! the recording has ended" in s.lines("#doctor")
        await s.press("t")
        assert "! the recording has ended" in s.lines("#count")
        assert "it is full. Begin another one." in " ".join(s.lines("#detail").split())
        assert ("w", "Record") in [(key, label) for key, label, _ in s.screen.query_one(KeyBar).keys]
        await s.press("w", "ctrl+u", *"/tmp/b.rec", "enter")
        assert "record main /tmp/b.rec" in s.gateway.commands


async def test_a_recording_that_cannot_be_written_says_why(session):
    """Nothing is recorded then."""
    async with session() as s:
        await s.press("f6", "b", "t", "w", "ctrl+u", *"/nowhere/a.mbus", "enter")
        assert "there is no such directory" in s.status
        assert "recording" not in s.lines("#count")


@pytest.mark.parametrize("number", range(len(METERS)))
async def test_every_meter_of_the_line_is_listed(session, number):
    """With its counters."""
    async with session() as s:
        await s.press("f6", "b")
        each = METERS[number].statistics
        assert any(f" {METERS[number].name} {number + 1} {each.tries} " in row for row in rows(s, "#meters"))

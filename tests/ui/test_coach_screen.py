"""The coach on screen: every decision by its key, nothing lost, and a newcomer's walk to values over DLMS."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from fractions import Fraction

import pytest
from recorded import TELEGRAMS, RecordedGateway

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.choice import ROWS
from cme_tui.screens.choose import ChooseScreen
from cme_tui.screens.coach import CoachScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.help import HelpScreen
from cme_tui.screens.mapping import MappingScreen
from cme_tui.screens.overview import OverviewScreen
from cme_tui.screens.preview import PreviewScreen
from cme_tui.widgets.bars import KeyBar, TitleBar
from core.facade import RunOptions
from core.launch import open_gateway
from core.mapping.library import MappingSet
from core.mbus.telegram import decode
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store

WATER, HEAT = "water/HYD/41", "heat/SEN/11"


async def coach(s, label=WATER):
    """Opens the coach for a type."""
    s.app.push_screen(CoachScreen(s.gateway.coach(label).result()))
    await s.settle()
    assert isinstance(s.screen, CoachScreen)


def keys(s):
    """What the footer offers."""
    return [key for key, _, _ in s.screen.query_one(KeyBar).keys]


def written(s):
    """The mapping file that became active last."""
    return s.gateway.active.files[-1]


async def type_in(s, text):
    """Replaces what stands in the field of a question."""
    s.screen.query_one("#answer").value = text
    await s.press("enter")


async def test_a_field_stands_beside_what_a_client_would_get(session):
    """Value and meaning of the field, then code, value and unit; below, form, source and what clients get now."""
    async with session() as s:
        await coach(s)
        assert s.table("#fields").text_of(0).split() == [
            "●", "take", "volume", "2850.427", "m3", "8-0:1.0.0", "register", "long64-unsigned", "-3", "A",
            "2850.427", "m³",
        ]  # fmt: skip
        panel = s.lines("#choice")
        assert "volume = 2850.427 m3; record 0c13, data 27048502" in panel
        assert "8-0:1.0.0 register, long64-unsigned, m³ x 10^-3, grade A" in panel
        assert "Standard table, water, volume: grade A" in panel
        assert "8-0:1.0.0 by water.json" in panel
        assert "4 taken  ! 1 to be checked" in s.lines("#count")
        assert "exactly this type; served by water.json now" in s.lines("#purpose")


async def test_what_is_to_be_checked_must_be_decided_first(session):
    """w says what is open and goes there; n does, too; when it is taken, w leads on."""
    async with session() as s:
        await coach(s)
        assert "n" in keys(s)
        assert "w" not in keys(s)
        await s.press("w")
        assert "Still to be decided: date, storage 1" in s.lines("#choice")
        assert "the reason stands above" in s.status
        assert s.table("#fields").cursor == 3
        await s.press("home", "n", "enter")
        assert s.table("#fields").text_of(3).startswith("● take")
        assert "w" in keys(s)
        assert "n" not in keys(s)
        await s.press("w")
        assert isinstance(s.screen, PreviewScreen)


async def test_skip_and_take_go_there_and_back(session):
    """s and Enter; the footer offers what the field can still become."""
    async with session() as s:
        await coach(s)
        await s.press("s")
        assert s.table("#fields").text_of(0).startswith("- skip")
        assert "s" not in keys(s)
        await s.press("space")
        assert s.table("#fields").text_of(0).startswith("● take")
        assert "Enter" not in keys(s)


async def test_a_takes_everything_that_is_sure(session):
    """A and B; what has to be checked stays open."""
    async with session() as s:
        await coach(s)
        await s.press("s", "down", "s", "a")
        assert "4 taken  ! 1 to be checked" in s.lines("#count")


async def test_a_field_without_a_code_says_why_and_can_be_given_one(session):
    """Enter says what is missing; c opens the form, Enter on the code asks for it, t takes it."""
    async with session() as s:
        await coach(s, HEAT)
        await s.press(*["down"] * 4)
        assert "has no sure code" in s.lines("#choice").replace("\n", " ").replace("standard table ", "")
        assert "Enter" not in keys(s)
        await s.press("enter")
        assert "has no OBIS code yet" in s.lines("#choice")
        await s.press("c", "enter")
        assert isinstance(s.screen, AskScreen)
        await type_in(s, "6-0:10.9.0")
        assert s.table("#form").text_of(0) == "OBIS code 6-0:10.9.0 6.0.10.9.0.255"
        await s.press("t")
        row = s.table("#fields").text_of(4)
        assert row.startswith("● take flow-temp, error state")
        assert "6-0:10.9.0" in row


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("8-0:1", "is no OBIS code; write six numbers"),
        ("0-0:1.0.0", "every meter's logical device has"),
        ("8-0:2.0.0", "8.0.2.0.0.255 shows volume-flow (0b3b) already, so volume (0c13) cannot have it"),
    ],
)
async def test_a_code_that_cannot_be_is_refused_at_once(session, typed, sentence):
    """No code, one of the gateway's, and one of another field, both named; what was typed stays."""
    async with session() as s:
        await coach(s)
        await s.press("c", "enter")
        await type_in(s, typed)
        assert isinstance(s.screen, AskScreen)
        shown = str(s.screen.query_one("#wrong").render())
        assert sentence in " ".join(shown.split())
        assert s.screen.query_one("#answer").value == typed
        await s.press("escape", "escape")
        assert isinstance(s.screen, CoachScreen)
        assert s.app.screen.unsaved() == ""


async def test_a_scaler_that_loses_digits_says_so_at_once(session):
    """The reason and the scaler to use; the right one gives the value again."""
    async with session() as s:
        await coach(s)
        await s.press("c", *["down"] * ROWS.index("Scaler"), "right", "right", "right")
        assert "A DLMS client gets nothing" in s.lines("#outcome")
        assert "2850427 in the telegram is no whole number at scaler 0" in s.lines("#outcome")
        assert "use dlmsScaler -3" in s.lines("#outcome")
        await s.press("enter")
        await type_in(s, "three")
        assert "no whole number" in str(s.screen.query_one("#wrong").render())
        await type_in(s, "-4")
        assert "A DLMS client gets 2850.4270 m³" in s.lines("#outcome")


async def test_only_forms_that_fit_are_offered(session):
    """A number has no text unit and no time as type; a date is no register; words narrow the list."""
    async with session() as s:
        await coach(s)
        await s.press("c", *["down"] * ROWS.index("Unit"), "enter")
        assert isinstance(s.screen, ChooseScreen)
        options = s.table("#options")
        assert options.text_of(options.cursor).split() == ["m³", "volume", "13"]
        assert not any(options.text_of(row).startswith("Wh ") for row in range(options.row_count))
        await s.press(*"litre")
        assert options.row_count == 0
        await s.press("enter", *["backspace"] * 5, *"19")
        assert options.text_of(0).startswith("l volume")
        await s.press("enter")
        assert s.table("#form").text_of(ROWS.index("Unit")) == "Unit l (19) volume"
        assert "A DLMS client gets 2850427.000 l" in s.lines("#outcome")
        await s.press("escape")
        assert isinstance(s.screen, ConfirmScreen)
        await s.press("y")
        await s.press("end", "up", "c", "down", "enter")
        options = s.table("#options")
        assert [options.text_of(row).split()[0] for row in range(options.row_count)] == ["data", "clock"]


async def test_every_property_of_the_form_can_be_changed(session):
    """Class, type, scaler, default, push: as chosen, and so they are written."""
    async with session() as s:
        await coach(s)
        await s.press("c", "down", "right")
        assert "extended register" in s.table("#form").text_of(1)
        await s.press("down", "enter", *"long64", "enter")
        assert "long64 (20)" in s.table("#form").text_of(2)
        await s.press("left", "right", "end", "enter", "up", "enter")
        await type_in(s, "much")
        assert "dlmsDefaultValue" in str(s.screen.query_one("#wrong").render())
        await type_in(s, "-1")
        await s.press("t", "n", "s", "w", "s", "y")
        entry = written(s).entries[0]
        made = (entry.class_id, entry.data_type, entry.in_push, entry.default)
        assert made == (4, 20, False, b"\x14" + b"\xff" * 8)


async def test_the_next_other_code(session):
    """o steps through what the table knows beside the proposal."""
    gateway = RecordedGateway()
    async with session(gateway) as s:
        coaching = s.gateway.coach(HEAT).result()
        first = coaching.proposals[0]
        other = replace(first.choice, obis="6.0.1.0.9.255", source="Another row.")
        changed = replace(coaching, proposals=(replace(first, others=(other,)), *coaching.proposals[1:]))
        s.app.push_screen(CoachScreen(changed))
        await s.settle()
        assert "o" in keys(s)
        assert "Other codes 6-0:1.0.9" in s.lines("#choice")
        await s.press("o")
        assert "6-0:1.0.9" in s.table("#fields").text_of(0)
        await s.press("o")
        assert "6-0:1.0.0" in s.table("#fields").text_of(0)


async def test_words_narrow_the_list(session):
    """/ finds by name, record, code and mark, and n says so where what is open is not in the list."""
    async with session() as s:
        await coach(s)
        await s.press("slash", *"flow", "enter")
        assert s.table("#fields").row_count == 1
        assert "fields 1 of 5" in s.lines("#count")
        await s.press("n")
        assert "not in the filtered list" in s.status
        await s.press("s", "escape")
        assert s.table("#fields").text_of(1).startswith("- skip volume-flow")
        assert isinstance(s.screen, CoachScreen)


async def test_a_saved_mapping_is_told_and_becomes_the_starting_point(session):
    """Back on the list with a sentence; the coach then begins with it, and with what was left out."""
    async with session() as s:
        await coach(s)
        await s.press("down", "s", "n", "enter", "w", "s", "y")
        assert isinstance(s.screen, OverviewScreen)
        assert f"● {WATER} is active: 4 values over DLMS" in s.status
        assert [entry.obis_text for entry in written(s).entries] == [
            "8.0.1.0.0.255", "8.0.1.2.0.255", "8.0.0.1.10.255", "0.0.97.97.0.255",
        ]  # fmt: skip
        await coach(s)
        assert "4 taken  - 1 skipped" in s.lines("#count")
        assert "As in water-HYD-41.json" in s.lines("#choice")
        await s.press("down")
        assert "leaves it out" in s.lines("#choice")
        await s.press("w")
        assert "no value" in s.lines("#file")


async def test_it_can_be_for_more_meters(session):
    """f: exactly these, any version, all manufacturers; an active file for them is kept and filled in."""
    async with session() as s:
        await coach(s)
        await s.press("f")
        assert "water/HYD/0  any version of it" in s.lines("#purpose")
        await s.press("f")
        assert "water/all/0  meters of all manufacturers" in s.lines("#purpose")
        before = next(file for file in s.gateway.active.files if file.name == "water.json")
        await s.press("n", "enter", "w")
        assert "takes the place of water.json" in s.lines("#file")
        await s.press("s", "y")
        assert written(s).name == "water.json"
        assert written(s).obis_codes == before.obis_codes + 1


@pytest.mark.parametrize("key", ["escape", "f2", "f6", "f10"])
async def test_leaving_with_decisions_asks_first(session, key):
    """The safe answer stays and keeps them; yes drops them."""
    async with session() as s:
        await coach(s)
        await s.press("s", key)
        assert isinstance(s.screen, ConfirmScreen)
        await s.press("n")
        assert isinstance(s.screen, CoachScreen)
        assert s.table("#fields").text_of(0).startswith("- skip")
        if key != "f10":
            await s.press(key, "y")
            assert not isinstance(s.screen, CoachScreen)


async def test_leaving_without_a_decision_asks_nothing(session):
    """Also after one that was taken back."""
    async with session() as s:
        await coach(s)
        await s.press("s", "enter", "escape")
        assert isinstance(s.screen, OverviewScreen)


@pytest.mark.parametrize("profile", ["rich", "basic"])
async def test_the_help_has_every_key(session, profile):
    """Of the coach and of the form."""
    async with session(profile=profile, size=(120, 60)) as s:
        await coach(s)
        shown = [key for key in keys(s) if not key.startswith("F") and key != "Esc"]
        await s.press("f1")
        assert isinstance(s.screen, HelpScreen)
        for key in (*shown, "o", "n", "w", "a", "f", "/"):
            assert f"\n  {key} " in s.lines("#help")
        await s.press("escape", "c", "f1")
        for key in ("Enter", "< >", "t"):
            assert f"\n  {key} " in s.lines("#help")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("label", [WATER, HEAT, "heat/KAM/8", "electricity/NZR/1"])
async def test_the_footer_fits_at_every_field(session, size, label):
    """On whatever field the cursor stands, no key is cut off."""
    async with session(size=size) as s:
        await coach(s, label)
        for _ in range(s.table("#fields").row_count):
            offered = s.screen.query_one(KeyBar).keys
            assert sum(len(f" {key} {word} ") for key, word, _ in offered) <= size[0], offered
            await s.press("down")


# The newcomer's walk: only keys that the screen itself shows.

PRINTED = {"enter": "Enter", "tab": "Tab", "f2": "F2", "f4": "F4", "f6": "F6"}


def offered(s):
    """Every key that stands on the screen."""
    if isinstance(s.screen, ConfirmScreen):
        return {str(button.label).split()[0] for button in s.screen.query("Button")}
    tabs = {key for _, key, _ in s.screen.query_one(TitleBar).TABS}
    return tabs | set(keys(s))


async def walk(s, *pressed):
    """Presses keys, each of which is offered where it is pressed."""
    for key in pressed:
        assert PRINTED.get(key, key) in offered(s), (key, offered(s), s.screen)
        await s.press(key)


async def test_a_newcomer_maps_an_unknown_meter_on_recorded_meters(session):
    """Without any mapping: the screens' own hints lead from the list of meters to the coach and out of it."""
    gateway = RecordedGateway(meters=1)
    gateway.active = MappingSet()
    gateway.current = replace(
        gateway.current, meters=tuple(replace(each, mapping="", mapped=0) for each in gateway.current.meters)
    )
    async with session(gateway) as s:
        await walk(s, "f6")
        assert "no mapping fits it (F4 makes one)" in " ".join(s.lines("#detail").split())
        await walk(s, "f4", "tab", "enter")
        assert "no mapping serves it now" in s.lines("#purpose")
        assert "n goes there, Enter takes it" in s.status
        await walk(s, "n", "enter")
        assert "w shows what this would change, and saves it" in s.status
        await walk(s, "w", "s", "y")
        assert isinstance(s.screen, MappingScreen)
        assert f"● {WATER} is active: 5 values over DLMS" in s.status


CONFIG = """
[dlms]
host = "127.0.0.1"
authentication = "none"

[[line]]
name = "cellar"
url = "tcp:127.0.0.1:1"

[[meter]]
line = "cellar"
address = 5
logical_device = 20
name = "cold water"
"""


async def unmapped_gateway(directory):
    """A gateway with a water meter that was read, and with no mapping file."""
    state = StateDir(directory)
    state.create()
    state.config.write_text(CONFIG)
    frame = bytes.fromhex((TELEGRAMS / "oms_frame2.hex").read_text())
    telegram = decode(frame)
    now = round(time.time() * 1000)
    store = await Store.open(state.database)
    key = await store.install_meter("cellar", "5", now)
    identity = (telegram.identification, telegram.manufacturer, telegram.version, telegram.medium_code)
    await store.learn_identity(key, *identity)
    await store.add_reading(Reading(key, "cellar", now, MeterState.OK, (frame,)))
    await store.close()
    return await asyncio.to_thread(open_gateway, RunOptions(directory, dlms_port=0)), telegram


async def read_over_dlms(directory, port, *codes):
    """What `cme-tui read`, a DLMS client in a process of its own, gets of logical device 20."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cme_tui", "read", *codes, "--logical-device", "20", "--json",
        "--state-dir", str(directory), "--port", str(port),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    assert out, error.decode()
    return {each["obis"]: each for each in json.loads(out)}


async def test_a_newcomer_goes_from_an_unknown_meter_to_exact_values_over_dlms(session, tmp_path):
    """The Overview says F4; the coach, the preview and the list say the rest; a client reads what the meter sent."""
    gateway, telegram = await unmapped_gateway(tmp_path)
    try:
        async with session(gateway) as s:
            while "cold water" not in s.lines("#alarms"):
                await s.pilot.pause(0.02)
            alarms = " ".join(s.lines("#alarms").split())
            assert "cold water: no mapping fits it, so clients see no values; make one on the OBIS" in alarms
            assert "(F4)" in alarms
            port = gateway.snapshot().dlms.port
            before = await read_over_dlms(tmp_path, port, "8.0.1.0.0.255")
            assert "not in the object list" in before["8.0.1.0.0.255"]["error"]
            await walk(s, "f4", "tab", "enter")
            assert isinstance(s.screen, CoachScreen)
            await walk(s, "n", "enter", "w", "s", "y")
            assert f"● {WATER} is active: 5 values over DLMS" in s.status
            codes = ("8.0.1.0.0.255", "8.0.2.0.0.255", "8.0.1.2.0.255")
            read = await read_over_dlms(tmp_path, port, *codes)
            sent = {(r.description, r.storage): Fraction(r.value) for r in telegram.records if r.unit}
            expected = [sent["volume", 0], sent["volume-flow", 0], sent["volume", 1]]
            got = [Fraction(read[c]["value"]) * Fraction(10) ** read[c]["scaler"] for c in codes]
            assert got == expected
            assert [read[code]["unit"] for code in codes] == ["m³", "m³/h", "m³"]
            await walk(s, "f2")
            while "no mapping fits" in s.lines("#alarms"):
                await s.pilot.pause(0.02)
    finally:
        await asyncio.to_thread(gateway.stop)


def test_a_serial_console_gets_the_coach_within_its_budgets(start):
    """Opening it and its form takes less than 2000 bytes each, a step down less than 700, and then nothing moves."""
    program = start(environment={"TERM": "vt220"})
    program.until_shown("F10 Quit")
    program.press("\x1bOS")
    program.until_shown("Meter types")
    program.press("\t")
    program.bytes_until_quiet()
    for key, text, budget in (
        ("\r", "Client gets", 2000),
        ("j", "volume-flow =", 700),
        ("c", "In push", 2000),
    ):
        before = program.received
        program.press(key)
        program.until_shown(text)
        program.bytes_until_quiet(0.4)
        assert program.received - before < budget, (key, program.received - before)
    assert program.bytes_until_quiet(2.2) == 0
    assert program.screen.text.isascii()

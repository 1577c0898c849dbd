"""The OBIS mapping screen: lists, looking before saving, files in and out, and what a DLMS client sees of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import RecordedGateway
from textual.events import Key, Paste

from cme_tui.app import CmeApp
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.coach import CoachScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.mapping import MappingScreen
from cme_tui.screens.pick import PickFileScreen
from cme_tui.screens.preview import PreviewScreen
from cme_tui.widgets.bars import KeyBar
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Table
from core.facade import RunOptions
from core.launch import open_gateway
from core.mapping.coach import MeterType
from core.mapping.library import MappingSet, read_mapping
from core.mapping.model import MappingError, dump, parse_mapping
from core.mapping.ready import ready_mappings
from core.mapping.workshop import TypeInUse

ENTRY = {
    "mbusKeys": ["mbus.dib.volume.0.0.0.0.unmodifiedvalue"],
    "dlmsObisCode": "8.0.1.0.0.255",
    "dlmsClass": "register",
    "dlmsScaler": -3,
    "dlmsUnit": 13,
    "dlmsDataType": 6,
}


def water(name="own.json", **changes):
    """A mapping for the recorded water meter, or with other properties for another one."""
    document = {"type": "water", "manufacturer": "HYD", "version": 41, "entries": [ENTRY], "note": "kept"}
    return parse_mapping(json.dumps({**document, **changes}), name)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder, where browsing begins."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def answered(result):
    """A future that is done."""
    future = Future()
    future.set_result(result)
    return future


def put(folder: Path, file):
    (folder / file.name).write_text(dump(file))


def rows(s, name):
    table = s.table(name)
    return [table.text_of(index) for index in range(table.row_count)]


def keys(s):
    return {key for key, _, _ in s.screen.query_one(KeyBar).keys}


def detail(s):
    """The lines below the lists, as one text."""
    return " ".join(f"{s.lines('#detail')} {s.status}".split())


async def find(s, name, text):
    """Put the cursor of a list on the row with this text."""
    place = next(index for index, row in enumerate(rows(s, name)) if text in row)
    if not s.table(name).has_focus:
        await s.press("tab")
    s.table(name).move_to(place)
    await s.settle()


async def typed(s, text):
    for character in text:
        await s.pilot.press("slash" if character == "/" else character)
    await s.settle()


async def write_path(s, text):
    """Have another answer in the field that has the focus."""
    s.app.focused.value = ""
    await typed(s, text)


async def test_the_two_lists(session):
    """Files with the meters that use them, types with the file that serves them; a meter not read stands apart."""
    async with session() as s:
        await s.press("f4")
        assert isinstance(s.screen, MappingScreen)
        assert "Active mappings 9" in s.lines("#count")
        heat = next(row for row in rows(s, "#active") if "heat.json" in row)
        assert heat.split() == ["●", "heat", "all", "any", "30", "2", "heat.json"]
        assert "- cooling all any 30 0 cooling.json" in rows(s, "#active")
        assert "Meter types in use 6" in s.lines("#types-title")
        assert "● heat KAM 8 1 ready heat/all/0" in rows(s, "#types")
        await find(s, "#active", "heat.json")
        assert "heat.json: used by heat flat 1, heat flat 2" in detail(s)
        await find(s, "#types", "not read yet")
        assert "climate stair: nothing to map and the template is empty" in detail(s)
        assert "no good readout" not in detail(s)
        assert "after the first good readout" in detail(s)


async def test_a_type_without_a_file_says_what_that_means(session):
    """Clients see no values of it."""
    gateway = RecordedGateway()
    gateway.active = MappingSet(file for file in ready_mappings() if file.type != "water")
    async with session(gateway) as s:
        await s.press("f4")
        await find(s, "#types", "water HYD")
        assert "! water HYD 41 1 ready none" in rows(s, "#types")
        assert "clients see no values" in detail(s)


async def test_a_gateway_without_anything_says_what_to_do(session):
    """Neither a file nor a meter: the keys and the screen that help are named, and nothing else is offered."""
    gateway = RecordedGateway(meters=0)
    gateway.active = MappingSet()
    async with session(gateway) as s:
        await s.press("f4")
        assert "a adds a file" in s.lines("#count")
        assert "no meter is installed; the Overview (F2)" in s.lines("#types-title")
        assert not keys(s) & {"Enter", "e", "d", "u"}
        await s.press("enter", "e", "d", "u", "tab", "enter", "c", "e", "r")
        assert isinstance(s.screen, MappingScreen)
        assert gateway.commands == []


async def test_a_file_that_cannot_be_used_stands_among_the_active_ones(session):
    """With its place in the JSON and the reason; it can be deleted, and then no meter loses anything."""
    gateway = RecordedGateway()
    problem = MappingError(
        "broken.json", "entries[3].dlmsUnit", 'must be a whole number from 0 to 255, not "m3"'
    )
    gateway.active = MappingSet(ready_mappings(), [problem])
    async with session(gateway) as s:
        await s.press("f4")
        assert "✗ 1 file cannot be used" in s.lines("#count")
        await find(s, "#active", "broken.json")
        assert 'broken.json: entries[3].dlmsUnit: must be a whole number from 0 to 255, not "m3"' in detail(s)
        assert "d" in keys(s)
        assert not keys(s) & {"Enter", "e"}
        await s.press("enter", "e", "d")
        assert isinstance(s.screen, ConfirmScreen)
        assert "no meter loses anything" in s.screen._question
        await s.press("y")
        assert gateway.commands == ["remove mapping broken.json"]


async def test_words_narrow_both_lists(session):
    """Files, types and the names of meters; Esc shows all again."""
    async with session() as s:
        await s.press("f4", "slash", *"flat 1".replace(" ", ""))
        assert rows(s, "#active") == []
        await s.press("escape", "slash", "k", "i", "t", "c", "h", "enter")
        assert [row.split()[-1] for row in rows(s, "#active")] == ["hot-water.json", "water.json"]
        assert [row.split()[2] for row in rows(s, "#types")] == ["HYD", "LSE"]
        await s.press("escape")
        assert len(rows(s, "#active")) == 9


@pytest.mark.parametrize("profile", ["rich", "basic"])
async def test_every_footer_fits_80_columns(session, profile, home):
    """On both lists, with and without a change to take back, and on every view of a file."""
    put(home, water(entries=[{**ENTRY, "unknown": 1}]))

    async def fits(s):
        shown = s.screen.query_one(KeyBar).keys
        assert sum(len(f" {key} {label} ") for key, label, _ in shown) <= 80, shown

    async with session(profile=profile) as s:
        await s.press("f4")
        for _ in range(2):
            for key in ("tab", "end", "home", "tab"):
                await s.press(key)
                await fits(s)
            s.gateway.last_change = "water.json was replaced"
            s.screen.on_screen_resume()
            s.app.pull()
        await s.press("a")
        await fits(s)
        await s.press("enter")
        assert isinstance(s.screen, PreviewScreen)
        for key in ("tab", "tab", "c", "v", "v", "v"):
            await s.press(key)
            await fits(s)


async def test_a_file_is_added_by_typing(session, home):
    """Path typed with Tab, looked at, saved after a yes, and the screen is there again; nothing is written before."""
    put(home, water())
    async with session() as s:
        await s.press("f4", "a")
        assert isinstance(s.screen, PickFileScreen)
        await s.press("o", "tab")
        assert s.app.focused.value == f"{home}/own.json"
        await s.press("enter")
        assert isinstance(s.screen, PreviewScreen)
        assert "water/HYD/41, 1 OBIS code" in s.lines("#file")
        await s.press("s")
        assert isinstance(s.screen, ConfirmScreen)
        assert "Save own.json (water/HYD/41)? 1 meter uses it: 3 values gone" in s.screen._question
        await s.press("n")
        assert s.gateway.commands == []
        await s.press("s", "y")
        assert s.gateway.commands == ["add mapping own.json"]
        assert isinstance(s.screen, MappingScreen)
        assert "● own.json is used from now on: water/HYD/41" in s.status
        assert "● water HYD 41 1 1 own.json" in rows(s, "#active")
        assert "u takes back: own.json was added" in s.lines("#count")


async def test_a_file_is_added_by_browsing(session, home):
    """Folders and *.json only; Enter goes into a folder and up again, and takes the file."""
    stick = home / "stick"
    stick.mkdir()
    put(stick, water())
    put(stick, water("second.json"))
    (stick / "photo.jpg").write_bytes(b"x")
    (home / ".hidden").mkdir()
    async with session() as s:
        await s.press("f4", "a")
        assert [row.split()[0] for row in rows(s, "#pick-list")] == ["../", "stick/"]
        await s.press("enter")
        assert s.app.focused.value == f"{stick}/"
        assert [row.split()[0] for row in rows(s, "#pick-list")] == ["../", "own.json", "second.json"]
        await s.press("up", "enter")
        assert s.app.focused.value == f"{home}/"
        await s.press("enter", "shift+tab")
        assert s.app.focused.value == f"{home}/"
        await s.press("enter", "down", "enter")
        assert isinstance(s.screen, PreviewScreen)
        await s.press("s", "y", "a")
        assert s.gateway.commands == ["add mapping second.json"]
        assert s.app.focused.value == f"{stick}/", "the last folder is where browsing begins"


async def test_esc_leaves_the_preview_for_the_files(session, home):
    """Another file can be looked at; Esc again and nothing has happened."""
    put(home, water())
    async with session() as s:
        await s.press("f4", "a", "enter", "escape")
        assert isinstance(s.screen, PickFileScreen)
        await s.press("escape")
        assert isinstance(s.screen, MappingScreen)
        assert s.gateway.commands == []


async def test_a_pasted_path_is_the_one_that_is_taken(session, home):
    """Keys that come faster than folders are read: no other file is taken, nor one whose name only begins so."""
    stick = home / "stick"
    (stick / "own.json.d").mkdir(parents=True)
    put(stick, water())
    put(home, water("another.json"))
    async with session() as s:
        await s.press("f4", "a")
        for character in "stick/own.json":
            s.app.post_message(Key("slash" if character == "/" else character, character))
        s.app.post_message(Key("enter", None))
        for _ in range(200):
            if isinstance(s.screen, PreviewScreen):
                break
            await s.pilot.pause(0.05)
        await s.settle()
        assert "own.json  water/HYD/41" in s.lines("#file")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is no valid JSON"),
        (
            json.dumps({"type": "water", "manufacturer": "HYD", "version": 0, "entries": [{}]}),
            "entries[0].dlmsClass",
        ),
        ("[" * 3000, "nested deeper"),
        ("x" * (1 << 20) + "y", "is larger than 1024 KiB"),
    ],
)
async def test_a_bad_file_is_refused_with_its_place(session, home, content, sentence):
    """The sentence stays until the next key, what was typed stays, and nothing is different."""
    (home / "bad.json").write_text(content)
    async with session() as s:
        await s.press("f4", "a", "b", "enter")
        refused = " ".join(s.lines("#refused").split())
        assert "✗ bad.json: " in refused
        assert sentence in refused
        s.app.pull()
        assert s.lines("#refused")
        assert s.app.focused.value == f"{home}/b"
        await s.press("backspace")
        assert s.lines("#refused") == ""
        assert s.gateway.commands == []


async def test_paths_that_lead_nowhere_are_sentences(session, home):
    """A name that is not there, a folder that is not there, one that may not be opened."""
    async with session() as s:
        await s.press("f4", "a")
        await typed(s, "none.json")
        await s.press("enter")
        assert "none.json: cannot be read: No such file" in s.lines("#refused")
        await write_path(s, "/nowhere/at/all/")
        assert "cannot be opened: No such file" in s.lines("#refused")
        await write_path(s, "~/")
        assert s.lines("#refused") == ""
        assert rows(s, "#pick-list") == ["../  "]


async def test_replacing_names_the_file_that_gives_way(session, home):
    """A file for the meters of an active one takes its place, after a question that says so."""
    put(home, water("mine.json", manufacturer="all", version=0))
    async with session() as s:
        await s.press("f4", "a", "enter")
        assert "takes the place of water.json" in s.lines("#file")
        await s.press("s")
        assert "Save mine.json (water/all/0) in the place of water.json?" in s.screen._question
        await s.press("y")
        assert s.gateway.commands == ["add mapping mine.json, replace"]


async def test_deleting_names_what_is_lost(session):
    """The meters, and the file that serves them then; n keeps it, y deletes it, u brings it back after a question."""
    gateway = RecordedGateway()
    gateway.active = gateway.active.with_file(water())
    async with session(gateway) as s:
        await s.press("f4")
        await find(s, "#active", "own.json")
        await s.press("d")
        assert "water kitchen (water/HYD/41) will show what water/all/0 says." in s.screen._question
        await s.press("n")
        assert gateway.commands == []
        await find(s, "#active", "heat.json")
        await s.press("delete")
        assert "heat flat 1 (heat/KAM/8) will lose all values." in s.screen._question
        await s.press("y")
        assert gateway.commands == ["remove mapping heat.json"]
        assert "heat.json is deleted; u takes it back" in s.status
        assert not any("heat.json" in row for row in rows(s, "#active"))
        await s.press("u")
        assert "heat.json was removed" in s.screen._question
        await s.press("y")
        assert gateway.commands[1:] == ["undo mapping"]
        assert any("heat.json" in row for row in rows(s, "#active"))
        await s.press("u")
        assert "nothing to take back" in s.status


async def test_what_a_screen_said_stays_with_it(session):
    """On the settings screen, u takes back something else."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("d", "y")
        assert "u takes it back" in s.status
        await s.press("f3")
        assert "u takes it back" not in s.status


async def test_an_undo_takes_back_only_what_was_asked(session):
    """Somebody else changes mappings while the question stands there: nothing happens, and the screen says why."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("d", "y", "u")
        s.gateway.remove_mapping("gas.json")
        await s.press("y")
        assert "undo mapping" not in s.gateway.commands
        assert "Nothing is taken back" in s.status
        assert "u takes back: gas.json was removed" in s.lines("#count")
        await s.press("u", "y")
        assert any("gas.json" in row for row in rows(s, "#active"))


async def test_a_file_of_many_types_has_a_question_that_fits(session):
    """Four types with their meters are named, the others counted."""
    served = [
        TypeInUse(MeterType("heat", "KAM", each), (f"m {each}",), "heat/all/0", "", "") for each in range(9)
    ]
    gateway = RecordedGateway()
    lists = gateway.mappings().result()
    gateway.mappings = lambda: answered(replace(lists, types=tuple(served)))
    async with session(gateway) as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("d")
        assert "m 3 (heat/KAM/3) will lose all values. 5 other types use it as well." in s.screen._question


async def test_an_exported_file_comes_back_the_same(session, home, tmp_path):
    """Every property, also those that are not used here."""
    gateway = RecordedGateway()
    gateway.active = gateway.active.with_file(water())
    async with session(gateway) as s:
        await s.press("f4")
        await find(s, "#active", "own.json")
        await s.press("e")
        assert isinstance(s.screen, AskScreen)
        assert s.app.focused.value == f"{home}/own.json"
        await s.press("enter")
        assert f"●own.jsoniswrittento{home}/own.json" in "".join(s.status.split())
        assert read_mapping(home / "own.json").document == water().document
        await s.press("a", "enter", "s", "y")
        back = next(file for file in gateway.active.files if file.name == "own.json")
        assert dump(back) == dump(water())


async def test_export_never_overwrites_without_a_question(session, home):
    """n asks for another name, with the answer still there; y replaces."""
    (home / "heat.json").write_text("precious")
    async with session() as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("e", "enter")
        assert f"{home}/heat.json exists" in s.screen._question
        await s.press("n")
        assert (home / "heat.json").read_text() == "precious"
        assert isinstance(s.screen, AskScreen)
        assert s.app.focused.value == f"{home}/heat.json"
        await s.press("enter", "y")
        assert read_mapping(home / "heat.json").type == "heat"


async def test_a_pasted_nul_ends_nothing(session, home):
    """No path can hold it; what else was pasted is taken."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("e", "ctrl+u")
        s.app.post_message(Paste(f"{home}/a\0b\x1b.json"))
        await s.press("enter")
        assert (home / "ab.json").exists()
        await s.press("a", "ctrl+u")
        s.app.post_message(Paste(f"{home}\0/x\0"))
        await s.settle()
        assert s.app.focused.value == f"{home}/x"


async def test_a_long_sentence_is_shown_to_its_end(session):
    """What to do stands there; the list gives way."""
    async with session() as s:
        await s.press("f4")
        s.app.say(f"✗ {'It cannot be written. ' * 6}Do this.", "bad")
        await s.settle()
        assert s.status.endswith("Do this.")
        assert s.screen.query_one("#status").size.height == 2
        assert s.screen.query_one(KeyBar).region.y == 23


async def test_export_says_why_it_cannot_write(session, home):
    """A folder that is not there is a sentence, and what was typed can be corrected; a folder takes the file's name."""
    (home / "stick").mkdir()
    os.mkfifo(home / "pipe")
    async with session() as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("e")
        for path, sentence in (("~/none/heat.json", "No such file or directory"), ("~/pipe", "is no file")):
            await write_path(s, path)
            await s.press("enter")
            assert isinstance(s.screen, AskScreen)
            assert sentence in s.screen._question
            assert s.app.focused.value == path
        await write_path(s, "~/stick")
        await s.press("enter")
        assert read_mapping(home / "stick" / "heat.json").type == "heat"


async def test_a_template_is_exported_for_a_type(session, home):
    """A valid file for that type, with every field; a type that was not read has none."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#types", "heat KAM")
        await s.press("e", "enter")
        made = read_mapping(home / "heat-KAM-8.json")
        proposals = s.gateway.coach("heat/KAM/8").result().proposals
        assert made.label == "heat/KAM/8"
        assert len(made.document["entries"]) == len(proposals)
        await find(s, "#types", "not read yet")
        assert not keys(s) & {"e", "Enter"}
        await s.press("e", "enter", "c")
        assert isinstance(s.screen, MappingScreen)


async def test_r_reads_the_meters_of_a_type_that_is_not_known(session):
    """Only where there are no fields yet."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#types", "heat KAM")
        assert "r" not in keys(s)
        await s.press("r")
        assert s.gateway.commands == []
        await find(s, "#types", "not read yet")
        assert "r" in keys(s)
        await s.press("r")
        assert s.gateway.commands == ["read 7"]


@pytest.mark.parametrize("key", ["enter", "c"])
async def test_the_coach_opens_for_a_type(session, key):
    """With the type under the cursor; Esc comes back to that row."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#types", "heat SEN")
        await s.press(key)
        assert isinstance(s.screen, CoachScreen)
        await s.press("escape")
        assert s.table("#types").has_focus
        assert "heat SEN" in s.table("#types").text_of(s.table("#types").cursor)


async def test_enter_twice_opens_one_coach(session):
    """Also where the second comes before the fields have been looked at."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#types", "heat")
        for _ in range(2):
            s.app.post_message(Key("enter", None))
        await s.settle()
        assert sum(isinstance(each, CoachScreen) for each in s.app.screen_stack) == 1


async def test_an_active_file_can_be_looked_at(session):
    """Entries, values and matrix; there is nothing to save."""
    async with session() as s:
        await s.press("f4")
        await find(s, "#active", "heat.json")
        await s.press("enter")
        assert isinstance(s.screen, PreviewScreen)
        assert "2 meters use it" in s.lines("#file")
        assert "Entries" in s.lines("#count")
        assert any(
            row.split()[:5] == ["6-0:1.0.0", "register", "Wh", "0", "long64-unsigned"]
            for row in rows(s, "#entries")
        )
        assert "mbus.dib.energy.0.0.0.0.unmodifiedvalue" in detail(s) or "entries[0]" in detail(s)
        assert "s" not in keys(s)
        await s.press("v")
        assert "heat flat 1 6-0:1.0.0" in " ".join(rows(s, "#values"))
        await s.press("v")
        assert "Matrix" in s.lines("#count")
        await s.press("s", "escape")
        assert isinstance(s.screen, MappingScreen)
        assert s.gateway.commands == []


def doubtful():
    """A mapping for one heat meter with a key that never works, a default, and an entry without a code."""
    heat = {
        **ENTRY,
        "dlmsObisCode": "6.0.2.0.0.255",
        "dlmsScaler": -2,
        "mbusKeys": ["mbus.dib.volume.0.0.0.0.unmodifiedvalue", "mbus.dib.0406.unmodifiedvalue"],
    }
    missing = {**ENTRY, "dlmsObisCode": "6.0.2.0.9.255", "mbusKeys": ["mbus.dib.0c99.unmodifiedvalue"]}
    return water(
        "heat.json",
        type="heat",
        manufacturer="all",
        version=0,
        entries=[heat, {**missing, "dlmsDefaultValue": "7"}, {**missing, "dlmsObisCode": None}],
    )


async def test_the_preview_tells_doubts_and_changes(session, home):
    """Each doubt with its place and the whole sentence; values now and then, only those that change at first."""
    put(home, doubtful())
    async with session() as s:
        await s.press("f4", "a", "enter")
        changed = rows(s, "#values")
        assert any(row.split()[:6] == ["+", "new", "heat", "flat", "1", "6-0:2.0.9"] for row in changed)
        assert any(row.startswith("✗ gone heat flat 1 6-0:1.0.0") for row in changed)
        assert "only what changes" in s.lines("#count")
        await s.press("c")
        assert len(rows(s, "#values")) >= len(changed)
        assert "doubts" in s.lines("#file")
        await s.press("tab")
        assert s.table("#findings").has_focus
        first = s.table("#findings").text_of(0)
        assert first.startswith("! warning note: is no property that is known here")
        place = next(i for i, row in enumerate(rows(s, "#findings")) if "no OBIS code yet" in row)
        s.table("#findings").move_to(place)
        await s.settle()
        assert "entries[2].dlmsObisCode: has no OBIS code yet, so clients do not see the value" in detail(s)
        await s.press("tab")
        assert s.table("#values").has_focus


async def test_the_matrix_has_codes_by_meters(session, home):
    """The value, default, or - for none; it moves sideways, and the line below has the cell in full."""
    put(home, doubtful())
    async with session() as s:
        await s.press("f4", "a", "enter", "v")
        cells = rows(s, "#matrix")
        assert next(row for row in cells if row.startswith("6-0:2.0.9")).split()[1:] == ["default", "default"]
        assert next(row for row in cells if row.startswith("6-0:1.0.0")).split()[1:3] == ["-", "-"]
        s.table("#matrix").move_to(next(i for i, row in enumerate(cells) if row.startswith("6-0:2.0.9")))
        await s.press("right")
        assert "heat flat 2, 6-0:2.0.9" in detail(s)
        assert "then 0.007 m³ (the default of the entry)" in detail(s)
        await s.press("less_than_sign")
        assert "heat flat 1, 6-0:2.0.9" in detail(s)
        await s.press("v")
        assert [row.split()[0] for row in rows(s, "#entries")] == [
            "!",
            "6-0:2.0.9",
            "!",
        ] or "no code yet" in " ".join(rows(s, "#entries"))


async def test_a_thousand_meters_can_be_looked_at(session, home):
    """The lists, a file that changes all heat meters, the last column of its matrix, and a filter."""
    put(home, doubtful())
    async with session(meters=1000) as s:
        await s.press("f4", "a", "enter")
        assert "286 meters use it" in s.lines("#file")
        await s.press("v", "slash", *"998", "enter")
        assert "x 1 " in s.lines("#count")
        assert "heat flat 1 998" in detail(s) or "heat flat 2 998" in detail(s)
        await s.press("escape")
        assert "x 286 " in s.lines("#count")


async def test_help_names_every_key(session):
    """F1 on the screen, on the file list and on a preview."""
    async with session() as s:
        await s.press("f4", "f1")
        text = s.lines("#help")
        for key in ("Enter", "a ", "e ", "d ", "r ", "u ", "c ", "Tab", "/"):
            assert f"\n  {key}" in text, key
        await s.press("escape", "a", "f1")
        assert "USB stick" in s.lines("#help")
        await s.press("escape", "escape", "enter", "f1")
        assert "what is doubtful" in s.lines("#help")


def test_a_serial_line_carries_what_changes_only(start):
    """Nothing while nobody presses a key although the lists are asked for again; a moved cursor is two rows."""
    program = start(environment={"TERM": "vt220"})
    program.until_shown("F10 Quit")
    program.press("F4")
    program.until_shown("Meter types in use 6")
    program.bytes_until_quiet()
    assert program.bytes_until_quiet(3) == 0
    program.press("j")
    program.until_shown("electricity.json: used by power cellar")
    assert program.bytes_until_quiet(0.4) < 300


async def seen_by_a_client(gateway, state_dir):
    """The volume of the first water meter as another DLMS client (gurux-dlms) reads it; "" where there is none."""
    command = [
        *(sys.executable, "-m", "cme_tui", "read", "8-0:1.0.0", "--logical-device", "16", "--json"),
        *("--state-dir", str(state_dir), "--port", str(gateway.snapshot().dlms.port)),
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    return [(item["value"], item["scaler"]) for item in json.loads(done.stdout)]


async def test_a_client_of_a_real_gateway_sees_what_was_saved_and_taken_back(tmp_path, home):
    """The next read after the save has the new scaler, after the undo the old one; the commands tell the same."""
    state_dir = tmp_path / "state"
    gateway = await asyncio.to_thread(open_gateway, RunOptions(state_dir, demo=True, dlms_port=0))
    try:
        app = CmeApp(gateway)
        async with app.run_test(size=(80, 24)) as pilot:

            async def until(true):
                for _ in range(600):
                    if true():
                        return
                    await pilot.pause(0.05)
                raise AssertionError(app.screen.query_one("#status", Lines).text)

            def active():
                table = app.screen.query_one("#active", Table)
                return [table.text_of(index) for index in range(table.row_count)]

            await until(lambda: all(meter.last_reading_ms for meter in app.current.meters))
            before = await seen_by_a_client(gateway, state_dir)
            volume, scaler = before[0]
            kind = gateway.mappings().result(10).types[0].kind
            own = water(
                manufacturer=kind.manufacturer, version=kind.version, entries=[{**ENTRY, "dlmsScaler": -5}]
            )
            put(home, own)
            await pilot.press("f4")
            await until(lambda: len(active()) == 9)
            await pilot.press("a")
            await until(lambda: app.screen.query_one("#pick-list", Table).row_count == 2)
            await pilot.press("enter")
            await until(
                lambda: (
                    isinstance(app.screen, PreviewScreen)
                    and "1 meter" in app.screen.query_one("#file", Lines).text
                )
            )
            assert await seen_by_a_client(gateway, state_dir) == before, "looking changes nothing"
            await pilot.press("s", "y")
            await until(lambda: isinstance(app.screen, MappingScreen) and len(active()) == 10)
            assert await seen_by_a_client(gateway, state_dir) == [(volume * 10 ** (scaler + 5), -5)]
            command = [sys.executable, "-m", "cme_tui", "mapping", "list", "--state-dir", str(state_dir)]
            told = (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)).stdout
            (line,) = (line for line in told.splitlines() if "own.json" in line)
            (row,) = (row for row in active() if "own.json" in row)
            assert line.split() == row.split()[1:]
            await pilot.press("u", "y")
            await until(lambda: len(active()) == 9)
            assert await seen_by_a_client(gateway, state_dir) == before
    finally:
        await asyncio.to_thread(gateway.stop)

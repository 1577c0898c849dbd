"""The search of a line: what is asked for, how it goes, and installing what it found."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest
from recorded import RecordedGateway
from recorded_installation import FOUND, MISSING, TROUBLES
from textual import events

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.choose import ChooseScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.meters import MetersScreen
from cme_tui.screens.overview import OverviewScreen
from cme_tui.screens.search import SearchScreen
from cme_tui.screens.search_form import SearchFormScreen
from cme_tui.widgets.bars import KeyBar
from core.errors import CmeError
from core.mbus.commands import SetPrimaryAddress
from core.searching import SearchRequest, SearchState
from core.snapshot import LineState


def keys(s):
    """What the key bar offers."""
    return [key for key, _, _ in s.screen.query_one(KeyBar).keys]


def question(s):
    """The question of a dialogue."""
    return str(s.screen.query_one("#question Static").render())


def rows(s, name="#found"):
    """The rows of a table as text."""
    table = s.table(name)
    return [table.text_of(index) for index in range(table.row_count)]


async def begun(s, **play):
    """Start a search, and have it be so far."""
    await s.press("f6", "f", "s")
    if play:
        s.gateway.play(**play)
    s.app.pull()
    await s.settle()


async def test_the_estimate_stands_there_before_the_start_and_follows_the_form(session):
    """It is that of the request as the fields have it."""
    async with session() as s:
        await s.press("f6", "f")
        assert isinstance(s.screen, SearchFormScreen)
        assert "about 3 min for 12 meters" in s.lines("#outcome")
        await s.press("down", "right", "up", "right", "right")
        assert "about 15 min for 12 meters" in s.lines("#outcome")
        assert s.gateway.commands == []


async def test_the_fields_are_the_request(session):
    """Every field of the form is asked for as it stands there."""
    async with session() as s:
        await s.press("f6", "f", "right", "right", "down", "enter", *"300", "comma", *"9600", "enter")
        await s.press("down", "enter", *["backspace"] * 6, *"ffffff.hyd", "enter", "down", "space")
        await s.press("down", "down", "enter", *["backspace"] * 3, *"99", "enter")
        await s.press("down", "right", "s")
        assert isinstance(s.screen, SearchScreen)
        asked = SearchRequest(
            "main", ("secondary", "primary"), (300, 9600), "FFFFFFFF.HYD", 1, 99, False, 500
        )
        assert s.gateway.commands == [f"search {asked}"]


@pytest.mark.parametrize(
    ("row", "text", "sentence"),
    [
        (1, "2401", "Baud rates are 300, 600, 1200, 2400"),
        (1, "fast", "Baud rates are 300"),
        (2, "G", "A mask has 8 digits with F for any"),
        (5, "0", "Primary addresses are two numbers from 0 to 250"),
        (6, "x", "A longer wait is a number of ms from 0 to 2000"),
    ],
)
async def test_a_field_that_cannot_be_says_so_and_keeps_its_text(session, row, text, sentence):
    """On leaving the field; the search cannot be started before it is corrected."""
    async with session() as s:
        await s.press("f6", "f", *["down"] * row, "enter", *text, "enter")
        assert sentence in s.lines("#about")
        assert s.table("#form").text_of(row).startswith("✗")
        await s.press("home", "s")
        assert isinstance(s.screen, SearchFormScreen)
        assert s.table("#form").cursor == row
        assert "corrected first" in s.status
        assert s.gateway.commands == []
        assert text in s.screen.values[s.screen.here.name]


async def expect(s, path):
    """Choose the file of the meters that should be there."""
    await s.press("f6", "f", *["down"] * 4, "enter", "ctrl+u")
    s.app.post_message(events.Paste(str(path)))
    await s.settle()
    await s.press("enter")


async def test_the_expected_meters_come_from_a_file(session, tmp_path):
    """Their serials and names go into the request; the arrow keys drop them again."""
    path = tmp_path / "serials.csv"
    path.write_text("12345678;attic\n2345678;laundry\n")
    async with session() as s:
        await expect(s, path)
        assert isinstance(s.screen, SearchFormScreen)
        assert "2 meters of serials.csv" in s.table("#form").text_of(4)
        assert "1 of the serials had lost zeros in front" in s.status
        assert s.screen.request.expected == ("12345678", "02345678")
        assert s.screen.request.names == ("attic", "laundry")
        await s.press("left")
        assert s.screen.request.expected == s.screen.request.names == ()


async def test_a_file_without_serials_is_refused(session, tmp_path):
    """Below its path, with the reason."""
    path = tmp_path / "serials.csv"
    path.write_text("12345678\nnobody knows\n")
    async with session() as s:
        await expect(s, path)
        assert "line 2: 'nobody knows'" in " ".join(s.lines("#refused").split())


async def test_a_search_that_is_refused_leaves_the_form_as_it_is(session):
    """The reason stands below the form."""
    gateway = RecordedGateway()
    gateway.show_line(state=LineState.DOWN, reason="/dev/ttyUSB0 does not exist")
    async with session(gateway) as s:
        await s.press("f6", "f", "right", "s")
        assert isinstance(s.screen, SearchFormScreen)
        assert "✗ main is down; plug the converter in" in s.lines("#outcome")
        assert s.screen.values["method"] == "primary addresses"


async def test_it_asks_which_line_where_there_are_several(session):
    """The one of the meter under the cursor first."""
    async with session(lines=2) as s:
        await s.press("f6", "f")
        assert isinstance(s.screen, ChooseScreen)
        await s.press("down", "enter")
        assert "Find meters on line 2" in s.lines("#form-title")


async def test_without_a_line_it_says_what_to_do(session):
    """No form for nothing."""
    async with session(lines=0, clients=0) as s:
        await s.press("f6", "f")
        assert isinstance(s.screen, MetersScreen)
        assert "no M-Bus line yet; l shows the lines" in s.status


async def test_a_running_search_tells_how_far_it_is(session):
    """Share, probes, time left, where it is, and every meter as it comes."""
    async with session() as s:
        await begun(s)
        assert "● running" in s.lines("#search-title")
        assert "0 %, 0 probes" in s.lines("#search-title")
        assert rows(s) == []
        s.gateway.play(0.43, 3)
        s.app.pull()
        title = s.lines("#search-title")
        assert "3 found" in title
        assert "43 %, 349 probes, about 2 min left" in title
        assert "secondary addresses 12FFFFFF at 2400 baud" in title
        first = " ".join(rows(s)[0].split())
        assert first == "✓ found 92752244.HYD.29.07 HYD water 2400 water kitchen ● yes"
        assert "○ no" in rows(s)[1]
        s.gateway.play(0.9999, 5)
        s.app.pull()
        assert "99 %" in s.lines("#search-title")
        assert len(rows(s)) == 5


async def test_expected_meters_end_as_found_missing_and_unexpected(session):
    """A word with a symbol for each, and what is noted about one in full below."""
    async with session() as s:
        await begun(s)
        s.gateway.finish()
        s.app.pull()
        assert "✓ done  7 found, 1 missing" in s.lines("#search-title")
        assert "100 %" in s.lines("#search-title")
        assert [row.split()[1] for row in rows(s)].count("found") == 6
        await s.press("end")
        assert "✗ missing" in rows(s)[-1]
        await s.press("up", "up", "up", "up")
        assert "! unexpected" in rows(s)[s.table("#found").cursor]
        assert "it answers at primary address 1 as well" in s.lines("#detail").replace("\n", "")


async def test_troubles_are_told_in_full(session):
    """Tab leads to them; the one under the cursor is not cut."""
    async with session() as s:
        await begun(s, troubles=2)
        await s.press("tab", "down")
        assert TROUBLES[1] in " ".join(s.lines("#detail").split())
        await s.press("enter")
        assert isinstance(s.screen, SearchScreen)
        await s.press("tab")
        assert s.app.focused is s.table("#found")


async def test_one_key_installs_all_that_was_found(session):
    """It asks with count and names, leaves out what is installed and what is missing, and says how many."""
    async with session() as s:
        await begun(s)
        s.gateway.finish()
        s.app.pull()
        await s.press("i")
        assert isinstance(s.screen, ConfirmScreen)
        assert question(s).startswith("Install 6 meters on main: 70112345.ELS.0A.07,")
        assert "and 2 more?" in question(s)
        assert "1 of them was not expected" in question(s)
        await s.press("n", "i", "y")
        installed = s.gateway.commands[-1]
        assert installed.startswith("install 70112345.ELS.0A.07, 11490378.ACW.0E.16, 01006089.SVM.09.0C,")
        assert len(installed.split(",")) == 6
        assert "6 meters installed" in s.status
        assert len(s.gateway.current.meters) == 13
        assert all("● yes" in row for row in rows(s)[:-1])
        await s.press("i")
        assert "nothing to install" in s.status
        assert "i" not in keys(s)


async def test_what_the_line_cannot_keep_up_with_is_told_in_the_question(session):
    """Before the user confirms."""
    async with session() as s:
        s.gateway.misfit = ("Line main: 15 min cycle, this line needs 17 min.",)
        await begun(s, share=0.6, number=5)
        await s.press("i")
        assert question(s).startswith("Line main: 15 min cycle, this line needs 17 min. Install ")


async def test_space_marks_what_is_to_be_installed(session):
    """Then i installs only that; an installed meter cannot be marked."""
    async with session() as s:
        await begun(s, share=0.6, number=5)
        await s.press("home", "space", "down", "down", "space")
        assert "1 marked" in s.status
        await s.press("i", "y")
        assert s.gateway.commands[-1] == "install 11490378.ACW.0E.16"
        assert "marked" not in s.status


async def test_a_meter_that_speaks_another_rate_is_installed_with_it(session):
    """The baud rate of the line is left to the line."""
    async with session() as s:
        await begun(s)
        s.gateway.finish()
        s.app.pull()
        await s.press("i", "y")
        bauds = {str(meter.address): meter.baud for meter in s.gateway.config().meters[7:]}
        assert bauds.pop("01006089.SVM.09.0C") == 300
        assert set(bauds.values()) == {None}


async def test_a_meter_found_by_primary_address_is_installed_as_a_number(session):
    """As config.toml has it."""
    async with session() as s:
        await begun(s, number=2)
        view = s.gateway.line().search
        s.gateway.show_line(search=replace(view, meters=(replace(view.meters[1], address="42"),)))
        s.app.pull()
        assert "42 (70112345)" in rows(s)[0]
        await s.press("i", "y")
        assert s.gateway.config().meters[-1].address == 42


async def test_a_meter_gets_its_name_before_it_is_installed(session):
    """Leaving with a name that is not saved asks first."""
    async with session() as s:
        await begun(s, number=3)
        await s.press("down", "enter")
        assert isinstance(s.screen, AskScreen)
        assert "ELS version 10 water" in question(s)
        await s.press(*"attic", "enter")
        assert "attic" in rows(s)[1]
        await s.press("f2")
        assert isinstance(s.screen, ConfirmScreen)
        assert "1 name of a meter" in question(s)
        await s.press("n", "i")
        assert "attic, 11490378.ACW.0E.16?" in question(s)
        await s.press("y", "f2")
        assert isinstance(s.screen, OverviewScreen)
        assert "attic" in [meter.name for meter in s.gateway.config().meters]


async def test_the_name_of_an_installed_meter_is_saved_at_once(session):
    """By its key, as the list of meters knows it."""
    gateway = RecordedGateway()
    meters = gateway.current.meters
    gateway.current = replace(
        gateway.current, meters=(replace(meters[0], address="92752244.HYD.29.07"), *meters[1:])
    )
    async with session(gateway) as s:
        await begun(s, number=1)
        await s.press("enter", *" 2", "enter")
        assert s.gateway.commands[-1] == "change meter 1 {'name': 'water kitchen 2'}"


async def test_a_meter_is_told_something_before_it_is_installed(session):
    """Two meters of one primary address are sorted out first; what is said of it names the meter."""
    async with session() as s:
        await begun(s, number=2)
        await s.press("down", "w", "enter", *"17", "enter")
        assert "ELS water at 70112345.ELS.0A.07 on main. Give it primary address 17?" in question(s)
        await s.press("y")
        told = f"command main 70112345.ELS.0A.07 {SetPrimaryAddress(17)}"
        assert s.gateway.commands[-1] == told


async def test_a_meter_that_would_not_hear_it_is_not_told(session):
    """One that is missing, or speaks another rate than its line while the gateway does not know that."""
    async with session() as s:
        await begun(s, number=1)
        view = s.gateway.line().search
        for meter, why in (
            (MISSING, "44950146 was not found"),
            (replace(view.meters[0], installed=False, baud=300), "install it first, then w tells it"),
        ):
            s.gateway.show_line(search=replace(view, meters=(meter,)))
            s.app.pull()
            await s.press("w")
            assert isinstance(s.screen, SearchScreen)
            assert why in s.status


async def test_pause_and_go_on(session):
    """p does both, and the state says which holds."""
    async with session() as s:
        await begun(s, number=1)
        await s.press("p")
        assert "○ paused" in s.lines("#search-title")
        assert "p goes on where it was left" in s.status
        assert ("p", "Go on") in [key[:2] for key in s.screen.query_one(KeyBar).keys]
        await s.press("p")
        assert s.gateway.commands[-2:] == ["pause main", "resume main"]
        assert "● running" in s.lines("#search-title")


async def test_a_key_pressed_twice_is_told_once(session):
    """While the gateway has not done what it was told last, the screen shows the search as it was before."""
    async with session() as s:
        await begun(s, number=1)
        tell, under_way = s.gateway.pause_search, Future()
        s.gateway.pause_search = lambda line: under_way if tell(line) else None
        for _ in range(3):
            s.gateway.play(number=1, state=SearchState.RUNNING)
            await s.pilot.press("p")
        assert s.gateway.commands[-2:] == [s.gateway.commands[0], "pause main"]
        s.gateway.play(number=1, state=SearchState.PAUSED)
        under_way.set_result(None)
        await s.settle()
        assert "○ paused" in s.lines("#search-title")
        await s.press("p")
        assert s.gateway.commands[-1] == "resume main"


async def test_a_search_is_started_once_however_often_the_key_is_pressed(session):
    """And after a refusal it can be tried again."""
    async with session() as s:
        await s.press("f6", "f")
        under_way = Future()
        asked = []
        s.gateway.start_search = lambda request: asked.append(request) or under_way
        await s.pilot.press("s")
        await s.pilot.press("s")
        assert len(asked) == 1
        under_way.set_exception(CmeError("main is down"))
        await s.settle()
        await s.press("s")
        assert len(asked) == 2


async def test_stop_asks_and_keeps_what_was_found(session):
    """And p goes on with it, also later."""
    async with session() as s:
        await begun(s, number=3)
        await s.press("x")
        assert "The 3 meters that were found stay" in question(s)
        await s.press("n")
        assert "stop main" not in s.gateway.commands
        await s.press("x", "y")
        assert "- stopped  3 found" in s.lines("#search-title")
        assert "x" not in keys(s)
        await s.press("x", "p")
        assert s.gateway.commands[-2:] == ["stop main", "resume main"]


async def test_a_search_that_waits_for_the_line_says_why(session):
    """State in a word, the reason below it."""
    async with session() as s:
        await begun(s, state=SearchState.WAITING, reason="/dev/ttyUSB0 does not exist")
        assert "! waits" in s.lines("#search-title")
        assert "/dev/ttyUSB0 does not exist" in s.lines("#search-title")
        s.gateway.show_line(
            search=replace(s.gateway.line().search, reason="The level converter " * 6 + "is off")
        )
        s.app.pull()
        assert "is off" in s.lines("#search-title")


async def test_the_search_goes_on_when_the_screen_is_left(session):
    """f shows it again as it is by then; nothing was stopped."""
    async with session() as s:
        await begun(s, number=1)
        await s.press("escape")
        assert isinstance(s.screen, MetersScreen)
        s.gateway.play(0.8, 6)
        await s.press("f2", "f6", "f")
        assert isinstance(s.screen, SearchScreen)
        assert "80 %" in s.lines("#search-title")
        assert len(s.gateway.commands) == 1


async def test_a_search_of_before_a_restart_can_be_gone_on_with(session):
    """The Overview says so, and p does it."""
    gateway = RecordedGateway()
    gateway.start_search(SearchRequest("main"))
    gateway.play(0.43, 3, state=SearchState.STOPPED)
    async with session(gateway) as s:
        assert "search stopped at 43 %, 3 found; f on Meters (F6) goes on" in s.lines("#lines")
        await s.press("f6", "f", "p")
        assert s.gateway.commands[-1] == "resume main"


async def test_another_search_is_begun_when_one_is_done(session):
    """n leads to the form, and its start back to the new search."""
    async with session() as s:
        await begun(s)
        assert "n" not in keys(s)
        await s.press("n")
        assert isinstance(s.screen, SearchScreen)
        s.gateway.finish()
        s.app.pull()
        await s.press("n", "right", "s")
        assert isinstance(s.screen, SearchScreen)
        assert "primary" in s.gateway.commands[-1]
        assert rows(s) == []
        await s.press("escape")
        assert isinstance(s.screen, MetersScreen)


async def test_the_overview_tells_of_the_search(session):
    """While it runs its progress instead of the sweep; then what there is to install, until it is."""
    gateway = RecordedGateway()
    gateway.start_search(SearchRequest("main"))
    async with session(gateway) as s:
        s.gateway.play(0.43, 3)
        s.app.pull()
        assert "searching ████████░░░░░░░░░░░░ 43 %, 3 found, about 2 min left" in s.lines("#lines")
        s.gateway.finish()
        s.app.pull()
        assert "search done 0 s ago: 6 meters to install, f on Meters (F6)" in s.lines("#lines")
        await s.press("f6", "f", "i", "y", "f2")
        assert "search" not in s.lines("#lines")


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (300, 90)])
async def test_any_size_is_no_error_and_the_key_bar_fits(session, size):
    """Form, search and results; nothing is cut off at 80 columns."""
    async with session(size=size) as s:
        for play in (None, {"number": len(FOUND), "troubles": 2}):
            await s.press("f6", "f")
            if play:
                await s.press("s")
                s.gateway.play(**play)
                s.app.pull()
            bar = s.screen.query_one(KeyBar)
            if size[0] >= 80:
                assert sum(len(f" {key} {label} ") for key, label, _ in bar.keys) <= size[0]
            await s.press("f1", "escape", "escape")

"""Lines and meters that are added, changed and removed with keys; what the Overview says about lines."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest
from recorded import NOW_MS, RecordedGateway
from textual import events

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.doctor import DoctorScreen
from cme_tui.screens.import_meters import ImportScreen
from cme_tui.screens.line_form import LineScreen
from cme_tui.screens.lines import LinesScreen
from cme_tui.screens.meter_form import MeterFormScreen
from cme_tui.screens.meters import MetersScreen
from cme_tui.screens.search_form import SearchFormScreen
from cme_tui.widgets.bars import KeyBar
from core.config import LineConfig
from core.secrets import shown_fingerprint
from core.snapshot import LineState, MeterState, ScheduleView, TransparentView

TOO_SLOW = ScheduleView("15 min", 900, 1020, fits=False, sentence="15 min cycle, this line needs 17 min")
FITS = ScheduleView("15 min", 900, 200, fits=True, sentence="")
HEALTH = "Two meters answer at primary address 3: give one of them another address."
CLIENT = TransparentView("127.0.0.1", 10001, True, "", "192.0.2.9:40000", NOW_MS - 180_000, 12, 240)


def question(s):
    """The question of a dialogue."""
    return str(s.screen.query_one("#question Static").render())


# Lines


async def test_a_line_is_added_from_the_overview(session):
    """The first step of a new gateway: name and connection are typed, the rest is as usual."""
    async with session(lines=0, clients=0) as s:
        await s.press("l", "a", "enter", *"cellar", "down", "right", "s")
        assert isinstance(s.screen, LinesScreen)
        assert s.gateway.config().lines == (LineConfig("cellar", "tcp:192.0.2.10:10001"),)
        assert "● cellar is saved" in s.status
        assert "○ connecting cellar" in s.table("#lines-list").text_of(0)
        s.gateway.show_line(
            "cellar", state=LineState.DOWN, reason="192.0.2.10 refuses port 10001: is it switched on?"
        )
        s.app.pull()
        assert "✗ down" in s.table("#lines-list").text_of(0)
        assert "192.0.2.10 refuses port 10001: is it switched on?" in s.lines("#line-notes")


async def test_a_line_without_a_typed_name_gets_the_one_that_the_form_shows(session):
    """The next free one."""
    async with session(lines=0, clients=0) as s:
        for name in ("line 1", "line 2"):
            await s.press("l", "a")
            assert f"({name})" in s.table("#form").text_of(0)
            await s.press("s", "escape")
        assert [line.name for line in s.gateway.config().lines] == ["line 1", "line 2"]


async def test_only_what_was_changed_of_a_line_is_saved(session):
    """An emptied field is the default again."""
    async with session() as s:
        await s.press("f6", "l", "enter", "down", "down", "right", "down", "enter", "backspace", "down", "s")
        assert s.gateway.commands == ["change line main {'baud': 4800, 'margin_ms': None}"]
        assert s.gateway.config().lines[0].baud == 4800


async def test_a_line_that_cannot_be_keeps_what_was_typed(session):
    """The refusal of the gateway stands below the form until something is changed."""
    async with session(lines=2) as s:
        await s.press("l", "down", "enter", "enter", *["backspace"] * 6, *"main", "enter", "s")
        assert isinstance(s.screen, LineScreen)
        said = " ".join(s.lines("#outcome").split())
        assert said.startswith("● up")
        assert said.endswith('✗ two [[line]] tables have the name "main"; give each its own.')
        assert "the reason stands above" in s.status
        assert s.screen.values["name"] == "main"
        await s.press("enter", *" 2", "enter")
        assert "two [[line]]" not in s.lines("#outcome")
        await s.press("s")
        assert [line.name for line in s.gateway.config().lines] == ["main", "main 2"]


async def test_a_message_goes_with_the_screen_that_said_it(session):
    """What stands above is no longer there."""
    async with session() as s:
        await s.press("l", "a", "enter", *"main", "enter", "s")
        assert "the reason stands above" in s.status
        await s.press("escape", "y")
        assert isinstance(s.screen, LinesScreen)
        assert "the reason stands above" not in s.status


@pytest.mark.parametrize(
    ("row", "text", "sentence"),
    [
        (1, "x", "Connection must be"),
        (1, "sim:?late:x&", "with what can be simulated"),
        (3, "1", ""),
        (3, "x", "must be a whole number"),
        (5, "123456", "65535"),
    ],
)
async def test_fields_of_a_line_are_checked_when_they_are_left(session, row, text, sentence):
    """By the rules of config.toml."""
    async with session() as s:
        await s.press("l", "a", *["down"] * row, "enter", "home", *text, "down")
        assert s.table("#form").cursor == min(row + 1, 6)
        await s.press("up")
        assert (sentence or "Milliseconds more") in s.lines("#about")


async def test_a_long_connection_is_shown_in_full_and_edited_at_its_end(session):
    """The column of values is too narrow for it."""
    url = f"tcp:{'converter.' * 25}example:10001"
    async with session() as s:
        await s.press("l", "a", "down", "enter", "ctrl+u")
        s.screen.query_one("#field").value = url
        await s.press("enter")
        assert url in s.lines("#about").replace("\n", "").replace(" ", "")
        await s.press("s", "end", "enter", "down", "enter")
        assert isinstance(s.screen, LineScreen)
        field = s.screen.query_one("#field")
        assert field.value == url
        assert field.scroll_offset.x > len(url) - field.size.width


async def test_leaving_a_form_with_changes_asks(session):
    """Esc, F-keys and F10 say what would be lost; n leaves all as it was typed."""
    async with session() as s:
        await s.press("l", "enter", "enter", *"x", "enter")
        for key in ("escape", "f2", "f10"):
            await s.press(key)
            assert isinstance(s.screen, ConfirmScreen)
            assert "1 change of this form" in question(s)
            await s.press("n")
            assert s.screen.values["name"] == "mainx"
        await s.press("escape", "y")
        assert isinstance(s.screen, LinesScreen)
        assert s.gateway.commands == []


async def test_esc_in_a_field_leaves_it_as_it_was(session):
    """And not the form."""
    async with session() as s:
        await s.press("l", "enter", "enter", *"xyz", "escape")
        assert isinstance(s.screen, LineScreen)
        assert s.screen.values["name"] == "main"


async def test_a_line_with_meters_is_not_taken_out(session):
    """The meters come first; a line without any asks."""
    async with session(lines=2) as s:
        await s.press("l", "x")
        assert "7 meters are installed on main; remove them first" in s.status
        s.gateway.show_line("line 2", meters=0)
        s.app.pull()
        await s.press("down", "x")
        assert "The gateway disconnects from it" in question(s)
        await s.press("y")
        assert [line.name for line in s.gateway.config().lines] == ["main"]
        assert "line 2 is taken out" in s.status


async def test_the_lines_say_what_is_known_about_each(session):
    """Reason, bus doctor, schedule, transparent port: in full sentences."""
    gateway = RecordedGateway()
    gateway.show_line(health=HEALTH, schedule=TOO_SLOW, transparent=CLIENT)
    async with session(gateway) as s:
        await s.press("l")
        said = s.lines("#line-notes")
        assert HEALTH in said
        assert "15 min cycle, this line needs 17 min" in said
        assert "transparent port 10001: 192.0.2.9:40000 for 3 min" in said
        s.gateway.show_line(transparent=replace(CLIENT, refused=2))
        s.app.pull()
        assert "192.0.2.9:40000 for 3 min, 2 others turned away" in s.lines("#line-notes")
        s.gateway.show_line(health="", schedule=FITS, transparent=replace(CLIENT, client=""))
        s.app.pull()
        assert "readouts take 3 min of every 15 min" in s.lines("#line-notes")
        assert "transparent port 127.0.0.1:10001, nobody connected" in s.lines("#line-notes")


async def test_all_of_a_line_is_told_however_long_it_is(session):
    """Name, connection and reason do not end in an ellipsis, and the list stays in view."""
    url = f"tcp:{'converter.' * 25}example:10001"
    reason = f"The host name '{url[4:-6]}' is not known: check it, or use the IP address."
    gateway = RecordedGateway(lines=8)
    gateway.show_line(
        url=url, state=LineState.DOWN, reason=reason, next_try_ms=NOW_MS + 40_000, health=HEALTH * 12
    )
    async with session(gateway) as s:
        await s.press("l")
        said = s.lines("#line-notes").replace("\n", "").replace(" ", "")
        assert f"main:{url}" in said
        assert f"{reason}Nexttryin40s.".replace(" ", "") in said
        assert s.table("#lines-list").size.height >= 5


async def test_a_line_that_came_back_says_what_it_had_lost(session):
    """For a day; a line that is down says what is now."""
    gateway = RecordedGateway()
    lost = "The level converter 192.0.2.5:10001 closed the connection: was it restarted, or taken over?"
    gateway.show_line(lost_ms=NOW_MS - 180_000, lost_reason=lost)
    async with session(gateway) as s:
        await s.press("l")
        assert "! lost 3 min ago: The level converter 192.0.2.5:10001" in s.lines("#line-notes")
        s.gateway.show_line(state=LineState.DOWN, reason="It refuses the connection.", next_try_ms=NOW_MS)
        s.app.pull()
        assert "It refuses the connection. Next try now." in s.lines("#line-notes")
        assert "lost" not in s.lines("#line-notes")
        s.gateway.show_line(state=LineState.UP, reason="", lost_ms=NOW_MS - 25 * 3_600_000)
        s.app.pull()
        assert "lost" not in s.lines("#line-notes")


async def test_every_key_that_the_lines_show_works(session):
    """Each key of the key bar leads where it says."""
    async with session(size=(120, 40)) as s:
        await s.press("l")
        shown = [key for key, _, _ in s.screen.query_one(KeyBar).keys]
        assert shown == ["F1", "Esc", "Enter", "a", "f", "b", "x", "F12", "F10"]
        for key, screen in (
            ("enter", LineScreen),
            ("a", LineScreen),
            ("f", SearchFormScreen),
            ("b", DoctorScreen),
        ):
            await s.press(key)
            assert isinstance(s.screen, screen)
            await s.press("escape")
            assert isinstance(s.screen, LinesScreen)


MISFIT = (
    "Line main: 15 min cycle, this line needs 17 min. Choose a readout interval of 30 min, a higher baud rate, or a "
    "second line for some of its meters."
)


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        (["l", "enter", "down", "down", "left", "s"], "change line main {'baud': 1200}"),
        (["f6", "a", "down", "enter", *"42", "enter", "s"], "install 42"),
        (
            ["f6", "end", "c", "down", "down", "down", "down", "right", "s"],
            "change meter 1 {'interval': '5 min'}",
        ),
    ],
    ids=["line", "new meter", "meter"],
)
async def test_a_schedule_that_would_not_fit_is_told_before_the_save(session, keys, command):
    """n leaves what was typed, y saves it all the same."""
    gateway = RecordedGateway()
    gateway.misfit = (MISFIT,)
    async with session(gateway) as s:
        await s.press(*keys)
        assert MISFIT in question(s)
        await s.press("n")
        assert gateway.commands == []
        await s.press("s", "y")
        assert gateway.commands == [command]


# Overview


async def test_the_overview_warns_of_a_line(session):
    """The most urgent in its own line, and how many more there are."""
    gateway = RecordedGateway()
    gateway.show_line(schedule=TOO_SLOW)
    async with session(gateway) as s:
        assert "! 15 min cycle, this line needs 17 min" in s.lines("#lines")
        assert "4/7, 1 failed" in s.lines("#lines")
        s.gateway.show_line(health=HEALTH, transparent=CLIENT)
        s.app.pull()
        assert f"(1 of 3, l) ! {HEALTH[:60]}" in s.lines("#lines")


@pytest.mark.parametrize("height", [24, 40])
async def test_many_lines_in_trouble_leave_room_for_the_meters(session, height):
    """Each says its most urgent trouble, and the meters are still in view."""
    gateway = RecordedGateway(lines=8)
    for line in gateway.current.lines:
        gateway.show_line(line.name, health=HEALTH, schedule=TOO_SLOW)
    async with session(gateway, size=(80, height)) as s:
        assert s.lines("#lines").count("Two meters answer at primary address 3") == 4
        assert "and 4 more" in s.lines("#lines")
        assert s.table("#meters").size.height >= 3


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_many_lines_that_are_down_leave_room_for_the_meters(session, size):
    """Which are down is told first, why gives way: that stands with the alarms, and in full in the list of lines."""
    gateway = RecordedGateway(lines=8)
    reasons = [
        f"The level converter 192.0.2.{number}:10001 refuses the connection: check the port, and whether it is taken."
        for number in range(8)
    ]
    for line, reason in zip(gateway.current.lines, reasons, strict=True):
        gateway.show_line(line.name, state=LineState.DOWN, reason=reason)
    alarms = tuple(f"Line {number}: {reason}" for number, reason in enumerate(reasons))
    gateway.current = replace(gateway.current, alarms=alarms)
    async with session(gateway, size=size) as s:
        assert s.lines("#lines").count("✗ down") == 4
        assert "and 4 more, 4 of them not up" in s.lines("#lines")
        assert s.table("#meters").size.height >= 3
        assert ("192.0.2.0" in s.lines("#lines")) == (size[1] == 40)


async def test_what_fails_comes_under_a_cursor_that_nobody_moved(session):
    """The first row is the most urgent one; a meter that was chosen stays chosen."""
    gateway = RecordedGateway(meters=60)
    async with session(gateway) as s:
        table = s.table("#meters")
        await s.press("down")
        chosen = table.key
        silence = {meter.key: replace(meter, state=MeterState.NO_ANSWER) for meter in gateway.current.meters}
        gateway.current = replace(gateway.current, meters=(*gateway.current.meters[:-1], silence[60]))
        s.app.pull()
        assert table.key == chosen
        await s.press("home")
        meters = [silence[meter.key] if meter.key == 1 else meter for meter in gateway.current.meters]
        gateway.current = replace(gateway.current, meters=tuple(meters))
        s.app.pull()
        assert table.key == 1


# Meters


async def test_a_long_reason_is_told_in_full_below_the_list(session):
    """What to do stands at its end."""
    gateway = RecordedGateway()
    reason = "Meter 5 does not answer (3 tries): check its address, its wiring and the baud rate of the line."
    meters = [replace(meter, reason=reason) for meter in gateway.current.meters]
    gateway.current = replace(gateway.current, meters=tuple(meters))
    async with session(gateway) as s:
        await s.press("f6")
        said = f"{s.lines('#detail')}{s.status}".replace("\n", "")
        assert reason in said


async def test_the_cursor_stays_in_view_when_the_order_changes(session):
    """Enter never opens a meter that is not to be seen."""
    async with session(meters=200) as s:
        await s.press("f6", "down")
        table = s.table("#list")
        for _ in range(5):
            await s.press("s")
            assert 0 <= table.cursor - table.scroll_offset.y < table.size.height - 1


async def test_a_narrow_list_shows_the_keys_that_matter_most(session):
    """The others are told by F1."""
    async with session() as s:
        await s.press("f6")
        shown = [key for key, _, _ in s.screen.query_one(KeyBar).keys]
        assert shown == ["F1", "Enter", "/", "b", "f", "a", "l", "r", "F10"]
        await s.press("f1")
        for key in ("s", "i", "c", "x", "d", "R"):
            assert f"\n  {key}  " in s.lines("#help")


async def test_a_meter_is_installed_by_hand(session):
    """Line and address are enough; digits up to three are a primary address."""
    async with session() as s:
        await s.press("f6", "a", "down", "enter", *"42", "down", "enter", *"laundry", "enter", "s")
        assert isinstance(s.screen, MetersScreen)
        meter = s.gateway.config().meters[-1]
        assert (meter.line, meter.address, meter.name) == ("main", 42, "laundry")
        assert (meter.baud, meter.interval, meter.enabled) == (None, None, True)
        assert "laundry is installed" in s.status
        assert "laundry" in " ".join(s.table("#list").text_of(row) for row in range(8))


async def test_all_of_a_meter_can_be_set(session):
    """A secondary address, another baud rate and interval, and switched off."""
    async with session() as s:
        keys = ("enter", *"12345678", "enter", "down", "down", "right", "down", "right", "right", "right")
        await s.press(
            "f6",
            "a",
            "down",
            *keys,
            "down",
            "enter",
            "end",
            "backspace",
            *"120",
            "enter",
            "down",
            "space",
            "s",
        )
        meter = s.gateway.config().meters[-1]
        assert (meter.address, meter.baud, str(meter.interval)) == ("12345678", 300, "15 min")
        assert (meter.margin_ms, meter.enabled) == (120, False)


async def test_an_address_that_is_taken_is_refused_and_kept(session):
    """The sentence of the gateway, and what was typed."""
    async with session() as s:
        await s.press("f6", "a", "down", "enter", *"3", "enter", "s")
        assert isinstance(s.screen, MeterFormScreen)
        assert "address 3 on main is that of meter number 3 already" in " ".join(s.lines("#outcome").split())
        assert s.screen.values["address"] == "3"


async def test_a_meter_without_an_address_is_not_installed(session):
    """The form goes to the field."""
    async with session() as s:
        await s.press("f6", "a", "s")
        assert "Address has to be corrected first" in s.status
        assert "Address must be a primary address from 1 to 250" in s.lines("#about")
        assert s.gateway.commands == []


async def test_a_meter_is_changed(session):
    """Only what differs goes to the gateway; what it is called stands in the list at once."""
    async with session() as s:
        await s.press("f6", "end", "c")
        assert "Meter water kitchen  device 2" in s.lines("#form-title")
        await s.press("down", "down", "enter", *" old", "enter", "s")
        assert s.gateway.commands == ["change meter 1 {'name': 'water kitchen old'}"]
        assert "water kitchen old is saved" in s.status
        await s.press("c", "s")
        assert "Nothing is changed" in s.status


async def test_a_meter_is_removed_after_a_question_that_names_the_effect(session):
    """Its logical device disappears, its readings stay."""
    async with session() as s:
        await s.press("f6", "end", "x")
        assert "logical device 2 disappears for head-end systems; its readings stay" in question(s)
        await s.press("n", "x", "y")
        assert s.gateway.commands == ["remove 1"]
        assert len(s.gateway.current.meters) == 6


async def test_the_key_of_a_meter_is_typed_hidden_and_twice(session):
    """It is shown nowhere; set or not, with a fingerprint."""
    key = "00112233445566778899AABBCCDDEEFF"
    async with session() as s:
        await s.press("f6", "end", "c")
        assert "Decryption key not set" in s.lines("#outcome")
        await s.press("escape", "d", *key, "enter")
        assert isinstance(s.screen, AskScreen)
        assert s.screen.query_one("#answer").password
        await s.press(*key, "enter")
        assert s.gateway.commands == ["set secrets meter_keys.92752244"]
        assert key not in s.status
        await s.press("c")
        assert f"set, fingerprint {shown_fingerprint(bytes.fromhex(key))}" in s.lines("#outcome")


async def test_a_meter_that_never_told_who_it_is_gets_no_key(session):
    """What to do first is said."""
    gateway = RecordedGateway()
    first = replace(gateway.current.meters[0], identification="", state=MeterState.WAITING)
    gateway.current = replace(gateway.current, meters=(first,))
    async with session(gateway) as s:
        await s.press("f6", "d")
        assert isinstance(s.screen, MetersScreen)
        assert "has not told its identification yet" in s.status


# Import


LIST = """name;secondary address;baud rate;addressing mode;primary address;key
laundry;12345678;300;secondary;;
attic;;;primary;42;
kitchen;;;primary;1;
flat 3;87654321;;;;00112233445566778899AABBCCDDEEFF
"""
KEYS = "identification,key\n92752244,00112233445566778899AABBCCDDEEFF\n06855817,FFEEDDCCBBAA99887766554433221100\n"


async def picked(s, path, *kind):
    """Choose what to import, and the file."""
    await s.press("f6", "i", *kind, "enter", "ctrl+u")
    s.app.post_message(events.Paste(str(path)))
    await s.settle()
    await s.press("enter")


async def test_a_list_of_meters_is_shown_before_it_is_imported(session, tmp_path):
    """Row by row: what is installed, what is there already; then it is, keys first, after a question."""
    path = tmp_path / "meters.csv"
    path.write_text(LIST)
    path.chmod(0o600)
    async with session() as s:
        await picked(s, path)
        assert isinstance(s.screen, ImportScreen)
        assert "Import meters.csv  3 meters to install, 1 there already, 1 key to save" in s.lines(
            "#import-title"
        )
        rows = [" ".join(s.table("#import").text_of(row).split()) for row in range(4)]
        assert rows[0] == "+ installs 2 12345678 laundry main 300"
        assert rows[2] == "= there 4 1 kitchen main"
        assert s.lines("#detail") == " laundry: 12345678 on main"
        await s.press("s", "n")
        assert s.gateway.commands == []
        await s.press("s")
        assert "Install 3 meters?" in question(s)
        assert "Save 1 key?" in question(s)
        await s.press("y")
        assert isinstance(s.screen, MetersScreen)
        assert s.gateway.commands == ["set secrets meter_keys.87654321", "install 12345678, 42, 87654321"]
        assert "3 meters installed, 1 key saved" in s.status
        await picked(s, path)
        assert "There is nothing to do" in s.status
        await s.press("s")
        assert isinstance(s.screen, ImportScreen)


async def test_an_import_that_would_not_fit_says_so_in_its_question(session, tmp_path):
    """Before the user confirms."""
    path = tmp_path / "meters.csv"
    path.write_text(LIST)
    path.chmod(0o600)
    gateway = RecordedGateway()
    gateway.misfit = (MISFIT,)
    async with session(gateway) as s:
        await picked(s, path)
        await s.press("s")
        assert question(s).startswith(f"{MISFIT} Install 3 meters?")
        await s.press("y")
        assert "3 meters installed" in s.status


async def test_a_list_with_mistakes_does_nothing(session, tmp_path):
    """All mistakes with their rows; the corrected file is read again."""
    path = tmp_path / "meters.csv"
    path.write_text(LIST.replace("300", "301").replace("42", "420"))
    async with session() as s:
        await picked(s, path)
        assert "✗ 2 mistakes" in s.lines("#import-title")
        rows = [s.table("#import").text_of(row) for row in range(2)]
        assert rows[0].startswith("✗ Row 2:")
        assert rows[1].startswith("✗ Row 3:")
        assert "Row 2:" in s.lines("#detail")
        await s.press("s")
        assert isinstance(s.screen, ImportScreen)
        path.write_text(LIST)
        await s.press("r")
        assert "3 meters to install" in s.lines("#import-title")
        path.unlink()
        await s.press("r")
        assert "cannot be read" in s.status
        assert s.gateway.commands == []


async def test_keys_are_imported_as_fingerprints(session, tmp_path):
    """No key is shown; who can read the file is told afterwards."""
    path = tmp_path / "keys.csv"
    path.write_text(KEYS)
    path.chmod(0o644)
    async with session() as s:
        await picked(s, path, "down")
        assert "Import keys.csv  2 keys to save" in s.lines("#import-title")
        shown = " ".join(s.table("#import").text_of(row) for row in range(2))
        assert shown_fingerprint(bytes.fromhex("00112233445566778899AABBCCDDEEFF")) in shown
        assert "AABBCC" not in shown
        await s.press("s", "y")
        assert s.gateway.commands == ["set secrets meter_keys.92752244, meter_keys.06855817"]
        assert "Others can read" in s.status
        path.write_text(KEYS.replace("FFEE", "0000"))
        await picked(s, path, "down")
        await s.press("s")
        assert "Save 1 key? 1 of them in place of another one." in question(s)


async def test_a_file_that_is_no_list_is_refused(session, tmp_path):
    """With what it needs."""
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    async with session() as s:
        await picked(s, path)
        assert 'Column 1 "a" is not known' in s.table("#import").text_of(0)


async def test_an_empty_list_offers_what_fills_it(session):
    """And nothing that needs a meter."""
    async with session(meters=0) as s:
        await s.press("f6")
        assert [key for key, _, _ in s.screen.query_one(KeyBar).keys] == [
            "F1",
            "b",
            "f",
            "a",
            "i",
            "l",
            "F12",
            "F10",
        ]
        assert "none installed; f finds them" in s.lines("#count")
        await s.press("c", "x", "d")
        assert isinstance(s.screen, MetersScreen)


async def test_a_slow_save_shows_progress(session):
    """After a moment, and the form is gone when it is done."""
    gateway = RecordedGateway()
    slow = Future()
    gateway.remove_meters = lambda keys: slow
    async with session(gateway) as s:
        await s.pilot.press("f6", "x", "y")
        while "Removing ..." not in s.status:
            await s.pilot.pause(0.02)
        slow.set_result(1)
        await s.settle()
        assert "is removed" in s.status


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (120, 40)])
async def test_any_size_is_no_error_and_the_key_bar_fits(session, size):
    """Lists, forms and help."""
    async with session(size=size, lines=3) as s:
        for keys in (["l"], ["enter"], ["f1"], ["f6"], ["a"], ["f6"], ["c"], ["enter"]):
            await s.press(*keys)
            bar = s.screen.query_one(KeyBar)
            if size[0] >= 80:
                assert sum(len(f" {key} {label} ") for key, label, _ in bar.keys) <= size[0]

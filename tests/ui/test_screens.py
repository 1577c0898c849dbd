"""What the screens show, and that every key they offer works."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace

import pytest
from recorded import NOW_MS, RecordedGateway
from rich.cells import cell_len

from cme_tui.screens.ask import AskScreen
from cme_tui.screens.choose import ChooseScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.doctor import DoctorScreen
from cme_tui.screens.help import HelpScreen
from cme_tui.screens.line_form import LineScreen
from cme_tui.screens.lines import LinesScreen
from cme_tui.screens.meter import MeterScreen
from cme_tui.screens.meter_form import MeterFormScreen
from cme_tui.screens.meters import MetersScreen
from cme_tui.screens.overview import OverviewScreen
from cme_tui.screens.search_form import SearchFormScreen
from cme_tui.widgets.bars import KeyBar
from cme_tui.widgets.hexview import HexView
from core.snapshot import LineState, MeterState, ScheduleView


def answered(result):
    """A future that is done."""
    future = Future()
    future.set_result(result)
    return future


async def test_the_overview_tells_the_state_in_words(session):
    """Line, sweep with time left, counts, server and client are named."""
    async with session() as s:
        assert "System title 454C560000F42400" in s.lines("#identity")
        assert "● up" in s.lines("#lines")
        assert "4/7, 1 failed, 9 s left" in s.lines("#lines")
        assert "● 5 ok" in s.lines("#meters-title")
        assert "✗ 1 no answer" in s.lines("#meters-title")
        assert "listening on 0.0.0.0:4059" in s.lines("#dlms")
        assert "192.0.2.7:51034" in s.lines("#dlms")
        assert "gas boiler has not answered" in s.lines("#alarms")


async def test_what_needs_attention_stands_first(session):
    """The silent meter is the first row, and the status line says why."""
    async with session(meters=200) as s:
        assert s.table("#meters").text_of(0).startswith("✗ no answer gas boiler")
        assert "No answer in 3 tries" in s.status


async def test_a_gateway_without_a_line_says_what_to_do(session):
    """The keys that lead on are named and work; so are the file to write by hand and the key that applies it."""
    async with session(lines=0, clients=0) as s:
        advice = s.lines("#next")
        assert "l   then a adds one" in advice
        assert "/var/lib/cme-tui/config.toml" in advice
        assert "[[line]]" in advice
        await s.press("c")
        assert s.gateway.commands == ["reload"]
        assert "read again" in s.status
        await s.press("l", "a")
        assert isinstance(s.screen, LineScreen)


async def test_a_gateway_without_a_meter_says_what_to_do(session):
    """With a line and no meter the next step is a search; no key is offered that needs a meter."""
    async with session(meters=0) as s:
        assert "F6  then f finds the meters" in s.lines("#next")
        assert "[[meter]]" in s.lines("#next")
        assert [key for key, _, _ in s.screen.query_one(KeyBar).keys] == ["F1", "c", "l", "F12", "F10"]
        await s.press("R")
        assert "no meter to read" in s.status
        await s.press("f6", "f")
        assert isinstance(s.screen, SearchFormScreen)


async def test_a_server_that_cannot_listen_says_why(session):
    """The reason stands where the address would be."""
    gateway = RecordedGateway()
    dlms = replace(gateway.current.dlms, listening=False, reason="port 4059 is taken; set [dlms] port")
    gateway.current = replace(gateway.current, dlms=dlms)
    async with session(gateway) as s:
        assert "✗ not listening port 4059 is taken" in s.lines("#dlms")


async def test_a_line_that_is_down_says_why(session):
    """State in a word, and the reason below it."""
    gateway = RecordedGateway()
    line = replace(gateway.current.lines[0], state=LineState.DOWN, reason="/dev/ttyUSB0 does not exist")
    gateway.current = replace(gateway.current, lines=(line,))
    async with session(gateway) as s:
        assert "✗ down" in s.lines("#lines")
        assert "/dev/ttyUSB0 does not exist" in s.lines("#lines")


async def test_a_schedule_that_does_not_fit_stands_with_its_line(session):
    """What the line needs, in the words of the core, and what it left out."""
    gateway = RecordedGateway()
    sentence = "15 min cycle, this line needs 17 min. Choose a readout interval of 30 min."
    schedule = ScheduleView("15 min", 900, 1010, fits=False, sentence=sentence, skipped=12)
    line = replace(gateway.current.lines[0], schedule=schedule)
    gateway.current = replace(gateway.current, lines=(line,))
    async with session(gateway) as s:
        assert sentence in s.lines("#lines")
        assert "12 readouts skipped" in s.lines("#lines")


async def test_a_silent_meter_says_when_it_is_tried_next(session):
    """In the status line of the lists, and on its own screen."""
    gateway = RecordedGateway()
    meters = [
        replace(meter, next_try_ms=NOW_MS) if meter.state is MeterState.NO_ANSWER else meter
        for meter in gateway.current.meters
    ]
    gateway.current = replace(gateway.current, meters=tuple(meters))
    silent = next(meter for meter in meters if meter.next_try_ms)
    at = time.strftime("%H:%M", time.localtime(NOW_MS / 1000))
    async with session(gateway) as s:
        await s.press("home")
        assert f"{silent.name}, next try {at}: {silent.reason}"[:60] in s.status


async def test_a_meter_in_trouble_says_how_its_requests_ended(session):
    """The counters of the bus doctor stand in its head, beside why and when it is tried; b leads to its line."""
    async with session() as s:
        await s.press("home", "enter")
        assert "gas boiler" in s.lines("#meter")
        assert "104 requests in 2 h: 96 good answers, 8 time-outs" in s.lines("#meter")
        await s.press("n")
        assert "requests" not in s.lines("#meter")
        await s.press("b")
        assert isinstance(s.screen, DoctorScreen)


async def test_the_head_of_a_meter_with_a_long_name_is_told_in_full(session):
    """Also line and logical device, whatever the width."""
    gateway = RecordedGateway()
    meters = [replace(meter, name="計" * 32, line="Line " + "x" * 40) for meter in gateway.current.meters]
    gateway.current = replace(gateway.current, meters=tuple(meters))
    async with session(gateway) as s:
        await s.press("f6", "enter")
        head = s.lines("#meter")
        assert all(cell_len(line) <= 80 for line in head.split("\n"))
        assert "計" * 32 in head
        assert f"{'x' * 40}, device" in head


async def test_a_new_snapshot_appears_by_itself(session):
    """The visible screen asks for the newest snapshot; ages go on."""
    async with session() as s:
        meters = tuple(replace(meter, state=MeterState.OK) for meter in s.gateway.current.meters)
        s.gateway.current = replace(s.gateway.current, meters=meters, alarms=())
        s.gateway.now_ms = NOW_MS + 180_000
        while "● 7 ok" not in s.lines("#meters-title"):
            await s.pilot.pause(0.05)
        assert "● none" in s.lines("#alarms")
        assert s.table("#meters").text_of(0).endswith("3 min")


async def test_ages_go_by_the_clock_of_the_gateway(session):
    """A HES set it an hour ahead: what was just read is not an hour old, and the DLMS screen tells the offset."""
    gateway = RecordedGateway()
    gateway.current = replace(gateway.current, clock_offset_ms=3_600_000)
    gateway.now_ms = NOW_MS - 3_600_000
    async with session(gateway) as s:
        assert "Up 2 h" in s.lines("#identity")
        await s.press("f8")
        assert "clock set to 1 h ahead of this machine's" in s.lines("#server")


@pytest.mark.parametrize("profile", ["rich", "basic"])
async def test_every_key_that_the_overview_shows_works(session, profile):
    """Each key of the key bar does what it says."""
    async with session(profile=profile) as s:
        shown = [key for key, _, _ in s.screen.query_one(KeyBar).keys]
        assert shown == ["F1", "Enter", "r", "c", "l", "F12", "F10"]
        await s.press("f1")
        assert isinstance(s.screen, HelpScreen)
        await s.press("escape", "enter")
        assert isinstance(s.screen, MeterScreen)
        await s.press("escape", "down", "r", "R", "c")
        assert s.gateway.commands == ["read 1", "read all", "reload"]
        await s.press("l")
        assert isinstance(s.screen, LinesScreen)
        await s.press("escape", "f12")
        assert s.app.profile != profile
        await s.press("f10")
        assert isinstance(s.screen, ConfirmScreen)


async def test_every_key_that_the_list_shows_works(session):
    """Each key of the key bar does what it says."""
    async with session(size=(160, 40)) as s:
        await s.press("f6")
        assert isinstance(s.screen, MetersScreen)
        shown = [key for key, _, _ in s.screen.query_one(KeyBar).keys]
        keys = ["F1", "Enter", "/", "s", "b", "f", "a", "i", "c", "x", "d", "l", "r", "R", "F12", "F10"]
        assert shown == keys
        for key, screen in (
            ("b", DoctorScreen),
            ("f", SearchFormScreen),
            ("a", MeterFormScreen),
            ("i", ChooseScreen),
            ("c", MeterFormScreen),
            ("x", ConfirmScreen),
            ("d", AskScreen),
            ("l", LinesScreen),
        ):
            await s.press(key)
            assert isinstance(s.screen, screen)
            await s.press("escape")
        await s.press("f1")
        assert isinstance(s.screen, HelpScreen)
        await s.press("escape", "s")
        assert "by state" in s.lines("#count")
        await s.press("home", "r", "R")
        assert s.gateway.commands == ["read 5", "read all"]
        await s.press("enter")
        assert isinstance(s.screen, MeterScreen)
        await s.press("escape", "f12", "f2")
        assert isinstance(s.screen, OverviewScreen)


async def test_a_meter_with_an_fcb_fault_says_so(session):
    """Below its state, since its values may be old."""
    gateway = RecordedGateway()
    fault = "it sends the same telegram for both frame count bits"
    meters = tuple(replace(meter, fcb_fault=fault) for meter in gateway.current.meters)
    gateway.current = replace(gateway.current, meters=meters)
    async with session(gateway=gateway) as s:
        await s.press("f6", "enter")
        said = " ".join(s.lines("#meter").split())
        assert f"It has an FCB fault, so values may be old or missing: {fault}." in said


async def test_every_key_that_a_meter_shows_works(session):
    """Each key of the key bar does what it says."""
    async with session() as s:
        await s.press("f6", "end", "enter")
        shown = [key for key, _, _ in s.screen.query_one(KeyBar).keys]
        assert shown == ["F1", "Esc", "Tab", "r", "e", "w", "b", "F10"]
        await s.press("tab")
        assert s.app.focused is s.table("#parts")
        await s.press("r")
        assert s.gateway.commands == ["read 1"]
        await s.press("p")
        assert "power cellar" in s.lines("#meter")
        await s.press("n")
        assert "water kitchen" in s.lines("#meter")
        await s.press("question_mark")
        assert isinstance(s.screen, HelpScreen)
        await s.press("escape", "escape")
        assert isinstance(s.screen, MetersScreen)


async def test_the_filter_counts_and_keeps_what_matches(session):
    """Words narrow the list; Enter keeps the filter, Esc removes it; letters go to the field."""
    async with session(meters=1000) as s:
        await s.press("f6", "slash", *"heat 7 r")
        assert "of 1000" in s.lines("#count")
        assert s.gateway.commands == []
        names = [s.table("#list").text_of(index) for index in range(s.table("#list").row_count)]
        assert names
        assert all("heat" in name and "7" in name and "r" in name for name in names)
        await s.press("enter", "r")
        assert len(s.gateway.commands) == 1
        await s.press("escape")
        assert s.lines("#count").startswith(" Meters 1000 ")


async def test_the_keys_of_the_filter_are_shown_while_typing(session):
    """While letters go to the field, the key bar offers what works there; Down goes to the list."""
    async with session() as s:
        await s.press("f6", "slash", "g", "a", "s")
        assert [key for key, _, _ in s.screen.query_one(KeyBar).keys] == ["F1", "Enter", "Esc", "F12", "F10"]
        await s.press("down", "r")
        assert s.gateway.commands == ["read 5"]
        assert "1 of 7" in s.lines("#count")


@pytest.mark.parametrize("size", [(20, 5), (300, 90)])
async def test_a_terminal_of_any_size_is_no_error(session, size):
    """A terminal made very small or very large while the app runs does not end it."""
    async with session(meters=50, clients=4) as s:
        for keys in (["f2"], ["f6"], ["enter"], ["f1"], ["escape", "f10"]):
            await s.press(*keys)
            await s.pilot.resize_terminal(*size)
            await s.pilot.resize_terminal(80, 24)
        assert isinstance(s.screen, ConfirmScreen)


async def test_a_long_alarm_is_shown_whole(session):
    """The end of a sentence is what to do, so it is never cut."""
    gateway = RecordedGateway()
    alarm = "The line main has been down for 3 hours because /dev/ttyUSB0 does not exist; plug the converter in again."
    gateway.current = replace(gateway.current, alarms=(alarm, "b" * 50, "c" * 50, "d" * 50))
    async with session(gateway) as s:
        assert "plug the converter in again." in s.lines("#alarms")
        assert "(and 1 more)" in s.lines("#alarms")


async def test_f_keys_work_while_the_filter_has_the_focus(session):
    """F2 leaves the list although a field has the focus, and the filter is kept."""
    async with session() as s:
        await s.press("f6", "slash", *"gas", "f2")
        assert isinstance(s.screen, OverviewScreen)
        await s.press("f6")
        assert "1 of 7" in s.lines("#count")


async def test_the_cursor_stays_on_its_meter_when_the_order_changes(session):
    """Sorting moves the rows, not the choice."""
    async with session() as s:
        await s.press("f6", "down", "down")
        before = s.table("#list").key
        for _ in range(5):
            await s.press("s")
            assert s.table("#list").key == before


async def test_the_order_by_age_puts_the_oldest_first(session):
    """Never read comes before read long ago."""
    async with session() as s:
        await s.press("f6", "s", "s")
        rows = [s.table("#list").text_of(index) for index in range(7)]
        assert "climate stair" in rows[0]
        assert "gas boiler" in rows[1]
        assert "water kitchen" in rows[2]


async def test_moving_over_the_values_marks_the_bytes_of_the_record(session):
    """The marked bytes are those of the record under the cursor, its data more so."""
    async with session() as s:
        await s.press("f6", "end", "enter", "down")
        detail = s.gateway.meter(1).result()
        view = detail.values[1]
        record, data = s.screen.query_one(HexView).lit
        assert (record.start, len(record)) == (view.offset, view.length)
        assert (data.start, data.stop) == (view.data_offset, view.offset + view.length)
        assert detail.telegrams[0].frame[record.start : record.start + 2].hex() == view.dib


async def test_moving_over_the_parts_marks_each_part(session):
    """Each part of the telegram marks exactly its bytes, and the status line says what they mean."""
    async with session() as s:
        await s.press("f6", "end", "enter", "tab", "home")
        parts = s.gateway.meter(1).result().telegrams[0].parts
        for part in parts[:12]:
            _, bright = s.screen.query_one(HexView).lit
            assert (bright.start, len(bright)) == (part.offset, part.length)
            assert f"{part.label}: {part.meaning}" in s.status
            await s.press("down")


async def test_the_bytes_of_the_last_record_are_scrolled_into_view(session):
    """A telegram longer than the view follows the cursor."""
    async with session() as s:
        await s.press("f6", "down", "down", "enter", "end")
        view = s.screen.query_one(HexView)
        record, _ = view.lit
        row = record.start // view.bytes_per_row - view.scroll_offset.y
        assert 0 <= row < view.size.height


async def test_t_steps_through_the_telegrams_of_a_readout(session):
    """A readout of two telegrams offers t; a value of the second one shows that telegram."""
    gateway = RecordedGateway()
    one = gateway.meter(1).result()
    values = (one.values[0], replace(one.values[0], telegram=1))
    two = replace(one, values=values, telegrams=(*one.telegrams, *gateway.meter(2).result().telegrams))
    gateway.meter = lambda key: answered(two)
    async with session(gateway) as s:
        await s.press("f6", "end", "enter")
        assert "t" in [key for key, _, _ in s.screen.query_one(KeyBar).keys]
        assert "Telegram 1 of 2" in s.lines("#telegram-title")
        await s.press("t")
        assert "Telegram 2 of 2" in s.lines("#telegram-title")
        await s.press("t", "tab", "down")
        assert "Telegram 2 of 2" in s.lines("#telegram-title")


async def test_a_meter_that_does_not_answer_shows_the_sentence(session):
    """The error of a readout is put on the status line, and the app goes on."""
    async with session() as s:
        await s.press("r")
        assert s.status.startswith(" ✗ gas boiler does not answer at primary 5")


async def test_a_slow_readout_shows_progress(session):
    """After a moment the status line says what is being done, then the result."""
    gateway = RecordedGateway()
    slow = Future()
    gateway.read_meter = lambda key: slow
    async with session(gateway) as s:
        await s.pilot.press("r")
        while "Reading gas boiler ..." not in s.status:
            await s.pilot.pause(0.02)
        slow.set_result(gateway.meter(1).result())
        await s.settle()
        assert f"read {len(slow.result().values)} values" in s.status


async def test_the_progress_of_a_slow_load_goes_away(session):
    """Loading a meter has no result to say: the hint of the row is back when it is done."""
    gateway = RecordedGateway()
    detail, slow = gateway.meter(1), Future()
    gateway.meter = lambda key: slow
    async with session(gateway) as s:
        await s.pilot.press("f6", "enter")
        while "Loading the meter ..." not in s.status:
            await s.pilot.pause(0.02)
        slow.set_result(detail.result())
        await s.settle()
        assert "Loading" not in s.status


async def test_quit_asks_and_names_what_stops(session):
    """The question counts clients and meters; Enter and n stay, y quits."""
    async with session(clients=2) as s:
        for stay in ("enter", "n", "escape"):
            await s.press("f10")
            question = str(s.screen.query_one("#question Static").render())
            assert "2 DLMS clients are connected, 7 meters are no longer read" in question
            await s.press(stay)
            assert isinstance(s.screen, OverviewScreen)
        await s.press("f10", "y")
        assert not s.app.is_running or s.app._exit


async def test_quit_does_not_ask_where_nothing_stops(session):
    """A gateway without lines and clients ends at once."""
    async with session(lines=0, clients=0) as s:
        await s.press("f10")
        assert s.app._exit


async def test_ctrl_c_and_ctrl_q_do_not_end_the_gateway(session):
    """Keys that belong to terminals and habits are harmless; Ctrl+C says which key quits."""
    async with session() as s:
        await s.press("ctrl+q", "ctrl+c")
        assert isinstance(s.screen, OverviewScreen)
        assert s.status == " F10 quits"


async def test_help_is_about_the_screen_it_lies_over(session):
    """Each screen's help explains that screen, its keys and the files."""
    async with session() as s:
        for keys, words in ((["f2"], "need attention"), (["f6"], "/ filters"), (["enter"], "byte")):
            await s.press(*keys, "f1")
            text = s.lines("#help")
            assert words in text
            assert "/var/lib/cme-tui/config.toml" in text
            assert all(len(line) <= 78 for line in text.split("\n"))
            await s.press("escape")


async def test_a_meter_that_is_removed_meanwhile_is_no_error(session):
    """The open screen says so and Esc goes back."""
    async with session() as s:
        await s.press("f6", "end", "enter")
        s.gateway.current = replace(s.gateway.current, meters=s.gateway.current.meters[1:])
        s.app.pull()
        assert "no longer installed" in s.lines("#meter")
        await s.press("r", "n")
        await s.press("escape")
        assert isinstance(s.screen, MetersScreen)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_key_bar_fits(session, size):
    """No key is cut off, on any screen."""
    async with session(size=size) as s:
        for keys in (["f2"], ["f6"], ["enter"], ["f1"]):
            await s.press(*keys)
            bar = s.screen.query_one(KeyBar)
            assert sum(len(f" {key} {label} ") for key, label, _ in bar.keys) <= size[0]

"""The DLMS screen: clients, what happened to them, and their APDUs."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest
from recorded import APDUS, EVENTS, NOW_MS, RecordedGateway

from cme_tui.screens.apdu import ApduScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.dlms import MOST_APDUS, DlmsScreen
from cme_tui.screens.help import HelpScreen
from cme_tui.widgets.bars import KeyBar, TitleBar
from cme_tui.widgets.hexview import HexView
from core.snapshot import LogEntry, TraceEntry

PASSWORD = "4b7156397a4c3272"


def keys(session) -> list[str]:
    return [key for key, _, _ in session.screen.query_one(KeyBar).keys]


def rows(session, name: str) -> list[str]:
    table = session.table(name)
    return [table.text_of(index) for index in range(table.row_count)]


def apdu(number: int, peer: str = "192.0.2.7:51034") -> TraceEntry:
    title = f"GET request normal 3 8.0.{number}.0.0.255 attribute 2"
    return TraceEntry(number, NOW_MS, peer, 1, 16, False, "", 13, title, bytes.fromhex("c001c1"), ())


async def test_it_shows_who_is_connected(session):
    """Address, client, device, authentication, ciphering, requests and errors; the last error in the status line."""
    async with session(clients=2) as s:
        await s.press("f8")
        assert isinstance(s.screen, DlmsScreen)
        assert "● listening on 0.0.0.0:4059, 8 devices" in s.lines("#server")
        assert "auth low or higher, policy none, frame counter 1266" in s.lines("#server")
        assert rows(s, "#clients")[1] == "192.0.2.7:51035 management (1) 1  low glo 1 min 14 2"
        await s.press("tab", "down")
        assert s.status == " 192.0.2.7:51035: 2 errors, the last: get 3 8.0.9.0.0.255/2: object undefined"


async def test_without_clients_the_log_has_the_focus(session):
    """It says so, and the keys work on what is there."""
    async with session(clients=0) as s:
        await s.press("f8")
        assert "no client connected" in s.lines("#server")
        assert s.app.focused is s.table("#log")
        assert keys(s) == ["F1", "t", "/", "r", "F12", "F10"]


async def test_the_log_tells_what_happened(session):
    """Newest last, with the cursor on it, and the reason in full below."""
    async with session() as s:
        await s.press("f8")
        assert s.lines("#count") == f" Log {len(EVENTS)}"
        assert "✗ refused authentication failure" in rows(s, "#log")[1]
        assert s.table("#log").cursor == len(EVENTS) - 1
        assert "replay: counter 17 is not above 42" in s.status


@pytest.mark.parametrize("leave", ["p", "l", "f2", "f6"])
async def test_the_trace_records_only_while_it_is_looked_at(session, leave):
    """A pause, the log and another screen let the gateway stop recording."""
    async with session() as s:
        await s.press("f8")
        assert s.gateway.watched == 0
        await s.press("t")
        assert s.gateway.watched > 0
        assert "● recording" in s.lines("#count")
        await s.press(leave)
        before = s.gateway.watched
        s.app.pull()
        s.app.pull()
        assert s.gateway.watched == before


async def test_the_trace_follows_what_comes(session):
    """New APDUs come at the end and the cursor goes along; moved up, it stays where it is."""
    async with session() as s:
        await s.press("f8", "t")
        table = s.table("#trace")
        assert rows(s, "#trace")[2].endswith("> " + " 13 GET request normal 3 8.0.1.0.0.255 attribute 2")
        assert table.cursor == len(APDUS) - 1
        s.gateway.apdus += (apdu(100),)
        s.app.pull()
        assert table.cursor == len(APDUS)
        await s.press("up", "up")
        here = table.key
        s.gateway.apdus += (apdu(101),)
        s.app.pull()
        assert table.row_count == len(APDUS) + 2
        assert table.key == here


async def test_a_pause_holds_the_list(session):
    """What comes meanwhile is shown when it goes on."""
    async with session() as s:
        await s.press("f8", "t", "p")
        s.gateway.apdus += (apdu(100),)
        s.app.pull()
        assert s.table("#trace").row_count == len(APDUS)
        await s.press("p")
        assert s.table("#trace").row_count == len(APDUS) + 1


async def test_the_trace_is_bounded(session):
    """Of endless traffic the newest is kept."""
    gateway = RecordedGateway()
    gateway.apdus = tuple(map(apdu, range(1, MOST_APDUS + 200)))
    async with session(gateway) as s:
        await s.press("f8", "t")
        assert s.table("#trace").row_count == MOST_APDUS
        assert s.table("#trace").key == MOST_APDUS + 199


async def test_a_gateway_that_answers_late_is_not_asked_again(session):
    """One question at a time, and the screen never waits for it."""
    gateway = RecordedGateway()
    late: Future[tuple[TraceEntry, ...]] = Future()
    asked = []
    gateway.trace = lambda after: asked.append(after) or late
    async with session(gateway) as s:
        await s.press("f8", "t")
        s.app.pull()
        s.app.pull()
        assert asked == [0]
        assert "Nothing was sent" in s.status
        late.set_result((apdu(7),))
        s.app.pull()
        assert s.table("#trace").row_count == 1
        s.app.pull()
        assert asked[:2] == [0, 7]


async def test_the_filter_works_on_both_lists(session):
    """By address or by words, with a count; Esc removes it."""
    gateway = RecordedGateway()
    gateway.apdus += (apdu(100, "198.51.100.4:40000"),)
    gateway.happened += (LogEntry(100, NOW_MS, "198.51.100.4:40000", None, None, "connected", ""),)
    async with session(gateway) as s:
        await s.press("f8", "slash", *"198.51")
        assert s.lines("#count") == f" Log 1 of {len(EVENTS) + 1}"
        await s.press("enter", "t")
        assert s.lines("#count").startswith(f" Trace 1 of {len(APDUS) + 1}")
        await s.press("escape", "slash", *"set pass", "down")
        assert s.lines("#count").startswith(f" Trace 0 of {len(APDUS) + 1}")
        await s.press("escape")
        assert s.table("#trace").row_count == len(APDUS) + 1


async def test_enter_explains_the_apdu(session):
    """Its fields beside its bytes; moving over the fields marks their bytes; n and p go to its neighbours."""
    async with session() as s:
        await s.press("f8", "t", "home", "down", "down", "enter")
        assert isinstance(s.screen, ApduScreen)
        assert s.lines("#apdu").startswith(" GET request normal 3 8.0.1.0.0.255 attribute 2  3 of 10")
        assert rows(s, "#parts")[3] == "class 3 register"
        await s.press("down", "down", "down", "down")
        _, bright = s.screen.query_one(HexView).lit
        assert (bright.start, bright.stop) == (5, 11)
        assert s.status == " 0005-000a logical name: 8.0.1.0.0.255"
        await s.press("n")
        assert "GET response normal double-long-unsigned 85950" in s.lines("#apdu")
        await s.press("p", "p")
        assert "AARE accepted" in s.lines("#apdu")
        await s.press("escape")
        assert isinstance(s.screen, DlmsScreen)


async def test_a_password_is_nowhere_on_the_screen(session):
    """Asterisks among the bytes, and no value."""
    async with session() as s:
        await s.press("f8", "t", "home", "enter")
        fields = rows(s, "#parts")
        assert "authentication value (not shown)" in fields
        view = s.screen.query_one(HexView)
        shown = "".join(view.render_line(y).text for y in range(view.size.height)).replace(" ", "")
        assert "**" * 4 in shown
        assert PASSWORD not in shown + "".join(fields)
        assert bytes.fromhex(PASSWORD).decode() not in "".join(fields)


@pytest.mark.parametrize("profile", ["rich", "basic"])
async def test_every_key_that_is_shown_works(session, profile):
    """Each key of the key bars does what it says."""
    async with session(profile=profile) as s:
        await s.press("f8")
        assert keys(s) == ["F1", "Tab", "t", "/", "r", "F12", "F10"]
        await s.press("tab")
        assert s.app.focused is s.table("#clients")
        await s.press("tab", "t")
        assert keys(s) == ["F1", "Enter", "Tab", "l", "p", "/", "F12", "F10"]
        await s.press("slash")
        assert keys(s) == ["F1", "Enter", "Esc", "F12", "F10"]
        await s.press("escape", "enter")
        assert keys(s) == ["F1", "Esc", "n", "p", "F12", "F10"]
        await s.press("f1")
        assert isinstance(s.screen, HelpScreen)
        assert "byte" in s.lines("#help")
        await s.press("escape", "escape", "f1")
        assert "/ filters both" in s.lines("#help")
        await s.press("escape", "l")
        assert s.lines("#count").startswith(" Log")
        await s.press("f12")
        assert s.app.profile != profile
        await s.press("f10")
        assert isinstance(s.screen, ConfirmScreen)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_bars_fit(session, size):
    """No key is cut off, and the title bar has room for the screens, and for the gateway's name on a wide one."""
    gateway = RecordedGateway()
    gateway.current = replace(gateway.current, name="Heating cellar, house 12b", demo=True)
    name = "demo · Heating cellar, house 12b" if size[0] > 100 else "demo · "
    async with session(gateway, size=size) as s:
        for press in (["f8"], ["t"], ["p"], ["tab"], ["tab", "enter"], ["f1"]):
            await s.press(*press)
            bar = s.screen.query_one(KeyBar)
            assert sum(len(f" {key} {label} ") for key, label, _ in bar.keys) <= size[0]
            title = s.screen.query_one(TitleBar).render_line(0).text
            assert "F8 DLMS" in title
            assert f" {name}" in title


@pytest.mark.parametrize("size", [(20, 5), (300, 90)])
async def test_a_terminal_of_any_size_is_no_error(session, size):
    """Made very small or very large while the screen is open."""
    async with session(clients=30) as s:
        for press in (["f8"], ["t"], ["enter"]):
            await s.press(*press)
            await s.pilot.resize_terminal(*size)
            await s.pilot.resize_terminal(80, 24)
        assert isinstance(s.screen, ApduScreen)


async def test_many_clients_leave_room_for_the_rest(session):
    """A quarter of the screen at most is theirs; the others are reached by scrolling."""
    async with session(clients=30) as s:
        await s.press("f8", "tab", "end")
        assert s.table("#clients").size.height == 7
        assert s.table("#clients").cursor == 29
        assert s.table("#log").size.height >= 10

"""The driver on a real pseudo-terminal: the right picture, few bytes, and no terminal that can hold up the app."""

import os
import signal

import pytest

CONSOLE = {"TERM": "vt220"}
SETTLED = "F10 Quit"


def test_the_screens_are_the_stock_drivers(start):
    """Characters, colours and attributes of every cell are what Textual's own driver shows, for fewer bytes."""
    own, stock = start(), start(driver="stock")
    for keys, text in (
        ((), "DLMS server"),
        (("F6",), "by name"),
        (("j", "j", "\r"), "OBIS code"),
        (("F1",), "Keys here"),
    ):
        for program in (own, stock):
            program.press(*keys)
            program.until_shown(text)
            program.bytes_until_quiet(0.4)
        assert own.screen.lines == stock.screen.lines
        assert own.screen.looks == stock.screen.looks
    assert own.received < stock.received / 2


def test_a_serial_console_is_within_its_budgets(start):
    """First paint below 3000 bytes, idle 0, one cell below 40, another screen below 2000."""
    program = start(environment=CONSOLE)
    program.until_shown(SETTLED)
    program.bytes_until_quiet()
    assert program.received < 3000
    assert program.bytes_until_quiet(2.2) == 0
    program.process.send_signal(signal.SIGUSR1)
    program.until_shown("2850.428")
    before = program.received
    program.process.send_signal(signal.SIGUSR1)
    program.until_shown("2850.429")
    assert 0 < program.received - before < 40
    switches = (
        ("F6", "Meter id"),
        ("b", "trouble first"),
        ("t", "Trace of"),
        ("F6", "Meter id"),
        ("l", "Connection"),
        ("f", "It takes"),
        ("s", "0 %, 0 probes"),
        ("F3", "Serial number"),
        ("F4", "Meter types in use 6"),
        ("F5", "Ledger"),
        ("F7", "Replay attack"),
        ("F2", "Up 2 h"),
        ("F1", "Keys here"),
    )
    for key, text in switches:
        before = program.received
        program.press(key)
        program.until_shown(text)
        program.bytes_until_quiet(0.4)
        assert program.received - before < 2000, key


def test_a_serial_console_sees_ascii_without_colours(start):
    """Every character is ASCII and no cell has a colour; the cursor is in reverse video."""
    program = start(environment=CONSOLE)
    program.until_shown(SETTLED)
    program.bytes_until_quiet()
    assert program.screen.text.isascii()
    looks = [look for row in program.screen.looks for look in row]
    assert not any(foreground or background for _, _, foreground, background in looks)
    reverse = [
        line
        for line, row in zip(program.screen.lines, program.screen.looks, strict=True)
        if row[5][1] == (7,)
    ]
    assert any("gas boiler" in line for line in reverse)


def test_a_terminal_that_stops_reading_never_holds_up_the_app(start):
    """With the terminal frozen and full the app goes on taking snapshots; after that it shows the newest screen."""
    program = start()
    program.until_shown(SETTLED)
    for _ in range(60):
        program.press("F6", "\x0c", "F2", "\x0c")
    program.beats(12)
    program.press("F6")
    program.beats(4)
    program.until_shown("Meter id")
    program.bytes_until_quiet()
    assert "by name" in program.screen.text


def test_a_frozen_terminal_does_not_keep_the_program_from_ending(start):
    """SIGTERM ends the app although nobody reads what it sends."""
    program = start()
    program.until_shown(SETTLED)
    for _ in range(60):
        program.press("F6", "\x0c", "F2", "\x0c")
    program.beats(4)
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_app_and_gives_the_terminal_back(start, number):
    """Exit code 0, and the screen of the shell is back."""
    program = start()
    program.until_shown(SETTLED)
    tail = bytearray()
    feed = program.screen.feed
    program.screen.feed = lambda data: (tail.extend(data), feed(data))
    program.process.send_signal(number)
    assert program.ended() == 0
    assert b"\x1b[?1049l" in tail
    assert b"\x1b[?25h" in tail


def test_a_hang_up_ends_the_app(start):
    """A terminal that is gone ends the app, without a traceback."""
    program = start()
    program.until_shown(SETTLED)
    os.close(program.master)
    assert program.process.wait(20) == 0
    assert b"Traceback" not in program.process.stderr.read()


def test_another_size_is_painted_anew(start):
    """After a resize the key bar stands in the last row of the larger screen."""
    program = start()
    program.until_shown(SETTLED)
    program.resize(120, 40)
    program.until(lambda: SETTLED in program.screen.lines[39])
    program.bytes_until_quiet(0.5)
    assert "Meter id" in program.screen.text


def test_ctrl_l_repairs_a_garbled_screen(start):
    """What the line has garbled is painted again."""
    program = start(environment=CONSOLE)
    program.until_shown(SETTLED)
    program.bytes_until_quiet()
    good = program.screen.lines
    program.screen.feed(b"\x1b[3;1Hnoise \x1b[10;1Hnoise")
    program.press("\x0c")
    program.until(lambda: program.screen.lines == good)


def test_f12_changes_the_look_and_back(start):
    """Basic is ASCII in black and white, rich has its colours again."""
    program = start()
    program.until_shown("F12 Basic")
    program.bytes_until_quiet(0.5)
    rich = program.screen.looks
    program.press("F12")
    program.until_shown("F12 Rich")
    program.until(lambda: program.screen.text.isascii())
    program.press("F12")
    program.until(lambda: program.screen.looks == rich)


def test_a_lone_escape_is_a_key(start):
    """Esc alone goes back although it could be the begin of a function key."""
    program = start()
    program.until_shown(SETTLED)
    program.press("F6", "\r")
    program.until_shown("OBIS code")
    program.press("\x1b")
    program.until_shown("by name")

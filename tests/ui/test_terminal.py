"""What is checked before the screens start."""

import os
import pty
import subprocess
import sys
import threading

import pytest

from cme_tui.terminal import TerminalError, ask_size, open_terminal


@pytest.fixture
def line():
    """Both ends of a pseudo-terminal that does not know its size, as a serial line."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_without_a_terminal_the_way_out_is_named(monkeypatch):
    """A pipe is refused with one sentence that names --headless."""
    read, write = os.pipe()
    with pytest.raises(TerminalError, match="cme-tui --headless"):
        open_terminal(in_fd=read, out_fd=write)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_type_that_cannot_place_text_is_refused(monkeypatch, line, term):
    """TERM=dumb and no TERM are refused with what to set."""
    monkeypatch.setenv("TERM", term)
    with pytest.raises(TerminalError, match="TERM=vt220"):
        open_terminal(in_fd=line[1], out_fd=line[1])


def test_a_small_terminal_is_refused_with_its_size(start):
    """79 columns are one too few; the sentence says how many there are, without a traceback."""
    program = start(79, 24)
    assert program.ended() == 1
    sentence = program.process.stderr.read().decode()
    assert "79 columns and 24 rows" in sentence
    assert sentence.count("\n") == 1


def test_a_serial_line_is_asked_for_its_size(monkeypatch, line):
    """Where the device knows no size, the terminal's cursor report tells it."""
    monkeypatch.setenv("TERM", "vt220")
    master, slave = line

    def answer():
        asked = b""
        while not asked.endswith(b"\x1b8"):
            asked += os.read(master, 64)
        os.write(master, b"\x1b[50;132R")

    thread = threading.Thread(target=answer)
    thread.start()
    terminal = open_terminal(in_fd=slave, out_fd=slave)
    thread.join()
    assert terminal.size() == (132, 50)
    assert terminal.profile == "basic"


def test_a_silent_line_is_taken_for_80_by_24(monkeypatch, line):
    """No answer means the size that every terminal has."""
    monkeypatch.setenv("TERM", "xterm")
    assert ask_size(line[1], line[1], wait=0.01) is None
    terminal = open_terminal(serial_console=True, in_fd=line[1], out_fd=line[1])
    assert terminal.size() == (80, 24)
    assert terminal.profile == "basic"


def test_the_check_loads_no_textual():
    """What decides whether there are screens at all does not load them."""
    code = "import sys, cme_tui.terminal; sys.exit('textual' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

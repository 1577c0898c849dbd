"""The grid of cells and what is sent to bring a terminal there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cme_tui.cells import BLANK, Cell, Grid, Painter, Style, ascii_cell, basic_cell, rich_cell

STYLES = ["", "1", "7", "4;31", "38;2;1;2;3;48;5;9", "1;7;32;44"]


def shown(virtual_terminal, sent, width=20, height=4):
    screen = virtual_terminal(width, height)
    screen.feed(sent.encode())
    return screen


def test_the_grid_takes_positions_styles_and_line_ends():
    """Text lands where a cursor position, a style and CRLF put it."""
    grid = Grid(10, 3)
    grid.feed("\x1b[2;3Hab\x1b[1;31mc\x1b[0m\r\nx")
    assert grid.rows[1][2:5] == [Cell("a", Style()), Cell("b", Style()), Cell("c", Style(1, "31", ""))]
    assert grid.rows[2][0] == Cell("x", Style())


def test_text_beyond_the_edge_is_cut():
    """Nothing wraps and nothing fails, whatever is written at the right edge."""
    grid = Grid(4, 1)
    grid.feed("\x1b[1;3Habcd水\x1b[1;4H水")
    assert "".join(cell.text for cell in grid.rows[0]) == "  ab"


def test_a_wide_character_takes_two_cells_and_leaves_none_behind():
    """Overwriting one half of a wide character blanks the other half."""
    grid = Grid(6, 1)
    grid.feed("\x1b[1;1H水道\x1b[1;2Hx")
    assert [cell.text for cell in grid.rows[0]] == [" ", "x", "道", "", " ", " "]


def test_an_equal_screen_sends_nothing():
    """What is shown already is not sent again."""
    grid = Grid(20, 4)
    grid.feed("\x1b[1;1Hhello")
    painter = Painter(rich_cell)
    assert painter.paint(grid.rows)
    assert painter.paint(grid.rows) == ""


def test_one_changed_cell_costs_little():
    """A single cell is a move and a character, not a line."""
    grid = Grid(80, 24)
    grid.feed("\x1b[12;1H" + "value 85.946 m3 " * 5)
    painter = Painter(rich_cell)
    painter.paint(grid.rows)
    grid.feed("\x1b[12;40Hx")
    assert painter.paint(grid.rows) == "\x1b[12;40Hx"


def test_forgetting_paints_everything_again(virtual_terminal):
    """After a redraw a garbled terminal shows the screen as it should be."""
    grid = Grid(20, 4)
    grid.feed("\x1b[2;1Hhello")
    painter = Painter(rich_cell)
    painter.paint(grid.rows)
    screen = virtual_terminal(20, 4)
    screen.feed(b"\x1b[1;1Hnoise on the line")
    painter.forget()
    screen.feed(painter.paint(grid.rows).encode())
    assert [line.strip() for line in screen.lines] == ["", "hello", "", ""]


WRITES = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 20),
        st.sampled_from(STYLES),
        st.text(st.sampled_from("ab 水°█é"), min_size=1, max_size=12),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(frames=st.lists(WRITES, min_size=1, max_size=4), basic=st.booleans())
def test_any_sequence_of_frames_ends_in_the_right_picture(virtual_terminal, frames, basic):
    """Whatever was shown before, the differences lead exactly to the wanted cells."""
    grid, screen = Grid(20, 4), virtual_terminal(20, 4)
    translate = basic_cell if basic else rich_cell
    painter = Painter(translate)
    for writes in frames:
        grid.feed("".join(f"\x1b[{y};{x}H\x1b[{sgr}m{text}\x1b[0m" for y, x, sgr, text in writes))
        screen.feed(painter.paint(grid.rows).encode())
        wanted = virtual_terminal(20, 4)
        for y, row in enumerate(grid.rows, 1):
            for x, cell in enumerate(row, 1):
                text, style = translate(cell)
                flags = ";".join(
                    str(code) for bit, code in enumerate((1, 2, 3, 4, 5, 7, 9)) if style.flags >> bit & 1
                )
                sgr = ";".join(part for part in ("0", flags, style.foreground, style.background) if part)
                if text and not (basic and text == "??"):
                    wanted.feed(f"\x1b[{y};{x}H\x1b[{sgr}m{text}".encode())
                elif basic and text:
                    wanted.feed(f"\x1b[{y};{x}H\x1b[{sgr}m??".encode())
        assert screen.looks == wanted.looks


@pytest.mark.parametrize(
    ("text", "plain"),
    [("●", "*"), ("█", "#"), ("m", "m"), ("é", "e"), ("³", "3"), ("水", "??"), ("☃", "?"), ("…", "~")],
)
def test_a_serial_console_gets_ascii_of_the_same_width(text, plain):
    """Every character becomes ASCII in as many cells."""
    assert ascii_cell(text) == plain


def test_a_serial_console_gets_no_colours():
    """Colours go; bold and reverse video stay; a blank needs no style."""
    assert basic_cell(Cell("x", Style(1 | 32, "31", "44"))) == Cell("x", Style(1 | 32))
    assert basic_cell(Cell(" ", Style(1, "31", "44"))) == BLANK

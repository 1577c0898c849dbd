"""A screen as a grid of cells: fed with what Textual writes, painted as the few bytes that bring a terminal there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from rich.cells import get_character_cell_size

BOLD, DIM, ITALIC, UNDERLINE, BLINK, REVERSE, STRIKE = (1 << bit for bit in range(7))

_ON: Final = {
    1: BOLD,
    2: DIM,
    3: ITALIC,
    4: UNDERLINE,
    5: BLINK,
    6: BLINK,
    7: REVERSE,
    9: STRIKE,
    21: UNDERLINE,
}
_OFF: Final = {22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 25: BLINK, 27: REVERSE, 29: STRIKE}
_CODE: Final = {BOLD: "1", DIM: "2", ITALIC: "3", UNDERLINE: "4", BLINK: "5", REVERSE: "7", STRIKE: "9"}
_SHOWS_ON_BLANK: Final = UNDERLINE | REVERSE | STRIKE
_BASIC_FLAGS: Final = BOLD | UNDERLINE | REVERSE


class Style(NamedTuple):
    """How a cell looks (ECMA-48 SGR): flags, and the SGR parameters of its two colours ("" is the default)."""

    flags: int = 0
    foreground: str = ""
    background: str = ""


PLAIN: Final = Style()


class Cell(NamedTuple):
    """One cell. A wide character stands in its left cell; the right one has empty text."""

    text: str
    style: Style


BLANK: Final = Cell(" ", PLAIN)

Row = list[Cell]

_TOKEN: Final = re.compile(
    r"\x1b\[([?>=<]?)([0-9;:]*)([ -/]*[@-~])"  # control sequence
    r"|\x1b\].*?(?:\x07|\x1b\\)"  # operating system command
    r"|\x1b[ -/]*[0-~]"  # other escape sequences
    r"|([\r\n\x07\x08])"
    r"|([^\x00-\x1f\x7f]+)",
    re.DOTALL,
)


class Grid:
    """What the screen is meant to show. `feed` understands what Textual writes: cursor positions, SGR, CRLF, text."""

    def __init__(self, width: int, height: int) -> None:
        self.rows: list[Row] = []
        self.width = self.height = 0
        self._x = self._y = 0
        self._style = PLAIN
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Another size; the content is blank until it is written again."""
        self.width, self.height = width, height
        self.rows = [[BLANK] * width for _ in range(height)]
        self._x = self._y = 0

    def feed(self, data: str) -> None:
        """Apply output to the grid."""
        for found in _TOKEN.finditer(data):
            text = found[5]
            if text is not None:
                self._write(text)
            elif found[4] is not None:
                if found[4] == "\r":
                    self._x = 0
                elif found[4] == "\n":
                    self._y = min(self._y + 1, self.height - 1)
            elif found[3] is not None and not found[1]:
                self._control(found[3], found[2])

    def _control(self, final: str, parameters: str) -> None:
        if final == "m":
            self._style = apply_sgr(self._style, parameters)
        elif final in ("H", "f"):
            row, _, column = parameters.partition(";")
            self._y = max(0, min(int(row or 1), self.height) - 1)
            self._x = max(0, min(int(column or 1), self.width) - 1)
        elif final in "ABCD" and len(final) == 1:
            by = int(parameters or 1)
            if final in "AB":
                self._y = max(0, min(self.height - 1, self._y + (by if final == "B" else -by)))
            else:
                self._x = max(0, min(self.width - 1, self._x + (by if final == "C" else -by)))

    def _write(self, text: str) -> None:
        row, style, width = self.rows[self._y], self._style, self.width
        x = self._x
        if text.isascii():
            for character in text[: max(0, width - x)]:
                if row[x].text == "" or (x + 1 < width and row[x + 1].text == ""):
                    _break_wide(row, x)
                row[x] = Cell(character, style)
                x += 1
            self._x = x + max(0, len(text) - max(0, width - self._x))
            return
        for character in text:
            cells = get_character_cell_size(character)
            if cells == 0:
                left = x - 1 if x > 0 and row[x - 1].text else x - 2
                if left >= 0:
                    row[left] = Cell(row[left].text + character, row[left].style)
                continue
            if x + cells <= width:
                for offset in range(cells):
                    _break_wide(row, x + offset)
                row[x] = Cell(character, style)
                if cells == 2:
                    row[x + 1] = Cell("", style)
            x += cells
        self._x = x


class Painter:
    """Knows what a terminal shows, and writes what takes it from there to a grid.

    `translate` turns a wanted cell into the one to send (colours away, ASCII); it must keep the width.
    """

    def __init__(self, translate: Callable[[Cell], Cell]) -> None:
        self._translate = translate
        self._shown: list[Row] = []
        self._source: list[Row] = []
        self._at: tuple[int, int] | None = None  # row, column; None where it is not sure
        self._style: Style | None = None

    def forget(self, translate: Callable[[Cell], Cell] | None = None) -> None:
        """The terminal may show anything: the next `paint` clears it first."""
        if translate is not None:
            self._translate = translate
        self._shown = []
        self._source = []

    def paint(self, wanted: list[Row]) -> str:
        """What to send so that the terminal shows `wanted`; "" if it does already."""
        out: list[str] = []
        width = len(wanted[0]) if wanted else 0
        if len(self._shown) != len(wanted) or (self._shown and len(self._shown[0]) != width):
            self._shown = [[BLANK] * width for _ in wanted]
            self._source = [[] for _ in wanted]
            self._style, self._at = PLAIN, (0, 0)
            out.append("\x1b[m\x1b[H\x1b[2J")
        for y, row in enumerate(wanted):
            if row != self._source[y]:
                self._source[y] = list(row)
                translate = self._translate
                self._paint_row(y, [translate(cell) for cell in row], out)
        return "".join(out)

    def _paint_row(self, y: int, row: Row, out: list[str]) -> None:
        shown = self._shown[y]
        width = len(row)
        end = width
        while end and row[end - 1] == BLANK:
            end -= 1
        x = 0
        while x < end:
            if row[x] == shown[x]:
                x += 1
                continue
            # The right half of a wide character is written with the left one.
            start = x - 1 if row[x].text == "" and x else x
            stop = self._run_end(row, shown, start, end)
            self._move(y, start, out)
            self._write(row, start, stop, out)
            self._at = (y, stop) if stop < width else None
            x = stop
        if any(cell != BLANK for cell in shown[end:]):
            first = next(x for x in range(end, width) if shown[x] != BLANK)
            last = max(x for x in range(end, width) if shown[x] != BLANK)
            self._move(y, first, out)
            self._sgr(PLAIN, out)
            if last - first < 3 and last + 1 < width:
                out.append(" " * (last - first + 1))
                self._at = (y, last + 1)
            else:
                out.append("\x1b[K")
        self._shown[y] = row

    def _run_end(self, row: Row, shown: Row, start: int, end: int) -> int:
        """Where the run of changes from `start` ends; a short unchanged gap is cheaper than a move."""
        stop = start + 1
        gap = 0
        style = row[start].style
        x = stop
        while x < end:
            if row[x] != shown[x] or row[x].text == "":
                stop, gap = x + 1, 0
                style = row[x].style
            else:
                gap += 1
                if gap > 3 or row[x].style != style:
                    break
            x += 1
        return stop

    def _write(self, row: Row, start: int, stop: int, out: list[str]) -> None:
        for x in range(start, stop):
            cell = row[x]
            if cell.style != self._style and cell.text:
                self._sgr(cell.style, out)
            out.append(cell.text)

    def _move(self, y: int, x: int, out: list[str]) -> None:
        if self._at == (y, x):
            return
        ways = [f"\x1b[{y + 1 if y else ''}{f';{x + 1}' if x else ''}H"]
        if self._at is not None:
            row, column = self._at
            if row == y and x > column:
                ways.append("\x1b[C" if x - column == 1 else f"\x1b[{x - column}C")
            if row == y and x == 0:
                ways.append("\r")
            if row + 1 == y and x == 0:
                ways.append("\r\n")
        out.append(min(ways, key=len))
        self._at = (y, x)

    def _sgr(self, style: Style, out: list[str]) -> None:
        if style == self._style:
            return
        fresh = [_CODE[flag] for flag in _CODE if style.flags & flag]
        fresh += [colour for colour in (style.foreground, style.background) if colour]
        ways = ["\x1b[" + ";".join(["0", *fresh] if fresh else []) + "m"]
        now = self._style
        if now is not None and not now.flags & ~style.flags:
            more = [_CODE[flag] for flag in _CODE if style.flags & ~now.flags & flag]
            if style.foreground != now.foreground:
                more.append(style.foreground or "39")
            if style.background != now.background:
                more.append(style.background or "49")
            ways.append("\x1b[" + ";".join(more) + "m")
        out.append(min(ways, key=len))
        self._style = style


@lru_cache(4096)
def apply_sgr(style: Style, parameters: str) -> Style:
    """`style` after SGR `parameters` ("1;38;5;12")."""
    flags, foreground, background = style
    codes = parameters.replace(":", ";").split(";")
    index = 0
    while index < len(codes):
        code = int(codes[index] or 0)
        if code in (38, 48):
            length = 5 if codes[index + 1 : index + 2] == ["2"] else 3
            colour = ";".join(codes[index : index + length])
            foreground, background = (colour, background) if code == 38 else (foreground, colour)
            index += length
            continue
        if code == 0:
            flags, foreground, background = PLAIN
        elif code in _ON:
            flags |= _ON[code]
        elif code in _OFF:
            flags &= ~_OFF[code]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            foreground = str(code)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            background = str(code)
        elif code == 39:
            foreground = ""
        elif code == 49:
            background = ""
        index += 1
    return Style(flags, foreground, background)


@lru_cache(16384)
def rich_cell(cell: Cell) -> Cell:
    """The cell as it is, without what cannot be seen: the text colour of a blank."""
    text, (flags, foreground, background) = cell
    if text == " ":
        if not flags & _SHOWS_ON_BLANK:
            return Cell(text, Style(0, "", background))
        return Cell(text, Style(flags & _SHOWS_ON_BLANK, foreground, background))
    return Cell(text, Style(flags, foreground, background))


@lru_cache(16384)
def basic_cell(cell: Cell) -> Cell:
    """The cell for a serial console: ASCII, no colours; bold, underline and reverse video stay."""
    flags = cell.style.flags & _BASIC_FLAGS
    text = ascii_cell(cell.text)
    if text == " ":
        flags &= _SHOWS_ON_BLANK
    return Cell(text, Style(flags))


ASCII: Final = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╶▔▁", "-"),
    **dict.fromkeys("│┃║╎╏┆┇┊┋▏▕", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋", "+"),
    **dict.fromkeys("█▓▇▆▅▄▉▊▋▌▐▀■", "#"),
    **dict.fromkeys("░▒", "."),
    **dict.fromkeys("●•◆", "*"),
    **dict.fromkeys("○◦◯", "o"),
    **dict.fromkeys("✗✘×", "x"),
    **dict.fromkeys("‐‑‒–—−·", "-"),
    **dict.fromkeys("‘’´", "'"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("→▶►", ">"),
    **dict.fromkeys("←◀◄", "<"),
    **dict.fromkeys("↑▲", "^"),
    **dict.fromkeys("↓▼", "v"),
    "✓": "+",
    "…": "~",
    "°": "o",
    "µ": "u",
    "μ": "u",
    "Ω": "R",
    "ß": "s",
    "ø": "o",
    "Ø": "O",
    "æ": "a",
    "Æ": "A",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "\u00a0": " ",
}
"""What a serial console shows for what ASCII lacks; the rest loses its accents or becomes a question mark."""


@lru_cache(4096)
def ascii_cell(text: str) -> str:
    """One cell's text in ASCII, in as many cells."""
    if text.isascii():
        return text
    if get_character_cell_size(text[0]) == 2:
        return "??"
    first = text[0]
    if first in ASCII:
        return ASCII[first]
    plain = unicodedata.normalize("NFKD", first)[0]
    return plain if plain.isascii() else "?"


def _break_wide(row: Row, x: int) -> None:
    """Blank the other half of a wide character of which the cell at `x` is about to be overwritten."""
    if row[x].text == "" and x > 0:
        row[x - 1] = Cell(" ", row[x - 1].style)
    elif x + 1 < len(row) and row[x + 1].text == "":
        row[x + 1] = Cell(" ", row[x + 1].style)

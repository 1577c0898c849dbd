"""What is searched for on a line, with how long that takes, before it begins."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from cme_tui.meters.listed import expected_of
from cme_tui.screens.form import NO, YES, Field, FormScreen
from cme_tui.screens.pick import PickFileScreen
from cme_tui.widgets.lines import Line
from cme_tui.wording import count
from core.errors import CmeError
from core.mbus.address import PrimaryAddress, parse_address
from core.mbus.transport import BAUD_RATES
from core.searching import MOST_PATIENCE_MS, Method, SearchRequest
from core.serials import Serials
from core.snapshot import LineView

METHODS: Final[dict[str, tuple[Method, ...]]] = {
    "secondary addresses": ("secondary",),
    "primary addresses": ("primary",),
    "secondary, then primary": ("secondary", "primary"),
}
NOBODY: Final = Serials((), (), ())
_RATES: Final = ("", "300 2400", "300 2400 9600", " ".join(map(str, BAUD_RATES)))
_SPAN: Final = re.compile(r"([0-9]{1,3})\s*-\s*([0-9]{1,3})")


class SearchFormScreen(FormScreen):
    """The form of a search; the line below it says how long it will take."""

    TAB = "meters"
    HELP = (
        "What to look for on a line. A search by secondary addresses finds every meter that has one, also several with "
        "one primary address; it asks for 0 to 9 in each digit and goes on only where somebody answers. A search by "
        "primary addresses asks each of 250. Readouts go on meanwhile. The former notices meters that "
        "answer late; the latter finds them with a longer wait.\n"
        "The mask narrows a secondary search: 12FFFFFF looks for identifications that begin with 12, FFFFFFFF.HYD for "
        "one manufacturer. With hex digits also identifications are found that have A to E in them, which some meters "
        "have by mistake; it takes longer.\n"
        "A CSV file with the serials of the meters that should be there makes the search ask for those "
        "first, and tells at the end which are missing and which were not expected. s starts it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *FormScreen.BINDINGS,
        Binding("s", "start", "Start", tooltip="begin the search"),
    ]

    def __init__(self, line: LineView, started: Callable[[], object]) -> None:
        """`started` is called when the search runs and this screen is gone."""
        super().__init__(_fields(line))
        self._line = line.name
        self._expected = NOBODY
        self._started = started
        self._starting = False
        self._estimate: Line = (" Estimating ...",)

    def heading(self) -> Line:
        return ((f" Find meters on {self._line}", "title"),)

    def outcome(self) -> list[Line]:
        return [self._estimate]

    def on_mount(self) -> None:
        self.changed()

    def changed(self) -> None:
        self.run_worker(self._ask_estimate(), group="estimate", exclusive=True)

    def unsaved(self) -> str:
        return ""  # a form that was not started is nothing that could be lost

    @property
    def request(self) -> SearchRequest | None:
        """The search of this form; None while a field cannot be."""
        if any(field.wrong(self.values[field.name]) for field in self.fields):
            return None
        values = self.values
        span = _SPAN.fullmatch(values["primary"])
        expected = self._expected if values["expected"] else NOBODY
        return SearchRequest(
            line=self._line,
            methods=METHODS[values["method"]],
            bauds=_bauds(values["bauds"]),
            mask=values["mask"].upper(),
            first=int(span[1]) if span else 1,
            last=int(span[2]) if span else 250,
            hex_digits=values["hex"] == YES,
            patience_ms=int(values["patience"]),
            expected=expected.addresses,
            names=expected.names,
        )

    def opened(self, field: Field) -> bool:
        if field.name != "expected":
            return False
        picker = PickFileScreen(
            "Meters that should be there",
            self.TAB,
            Path.home(),
            ".csv",
            lambda path: self._expect(path, picker),
        )
        self.cme.push_screen(picker)
        return True

    async def _expect(self, path: Path, picker: PickFileScreen) -> str:
        """Take the meters of a file; why it is refused, "" where it is not."""
        try:
            expected = await asyncio.to_thread(expected_of, path)
        except CmeError as error:
            return str(error)
        if self.cme.screen is picker:
            self.cme.pop_screen()
            self._expected = expected
            text = f"{count(len(expected.addresses), 'meter')} of {path.name}"
            if text == self.values["expected"]:
                self.changed()  # another file of that name, with as many
            self.put("expected", text)
            if expected.notes:
                self.cme.say(" ".join(expected.notes))
        return ""

    def action_start(self) -> None:
        if not self._starting and self.complete() and (request := self.request):
            self._starting = True
            self.run_worker(self._start(request))

    async def _start(self, request: SearchRequest) -> None:
        future = self.cme.gateway.start_search(request)
        answered = await self.cme.answer(future, "Starting the search")
        self._starting = False
        if not answered:
            self.refuse(future.exception())
        elif self.cme.screen is self:
            self.cme.pop_screen()
            self.cme.pull()
            self._started()

    async def _ask_estimate(self) -> None:
        request = self.request
        if request is None:
            self._estimate = ("",)
        else:
            try:
                estimate = await asyncio.wrap_future(self.cme.gateway.estimate_search(request))
                self._estimate = (" It takes ", (estimate.sentence, "strong"))
            except CmeError as error:
                self._estimate = ((f" ✗ {error}", "bad"),)
        self.update_view()


def _fields(line: LineView) -> list[Field]:
    return [
        Field(
            "method", "Search by", next(iter(METHODS)), "Secondary finds meters that share a primary address as well.",
            tuple(METHODS), only=True,
        ),
        Field(
            "bauds", "Baud rates", "", "One or several, with blanks between them; empty: that of the line.", _RATES,
            wrong=_wrong_bauds, empty=f"({line.baud}, that of the line)",
        ),
        Field(
            "mask", "Mask", "FFFFFFFF",
            "For secondary addresses: 8 digits with F for any, and perhaps the manufacturer: 12FFFFFF.HYD.",
            wrong=_wrong_mask,
        ),
        Field("hex", "Hex digits", YES, "Whether to look for A to E in identifications as well.", (YES, NO), only=True),
        Field(
            "expected", "Expected meters", "",
            "Enter chooses a CSV file of serials or secondary addresses, and perhaps names: those are asked for "
            "first, and told as found, missing or unexpected. The arrow keys drop it.",
            ("",), empty="(none)",
        ),
        Field(
            "primary", "Primary addresses", "1-250", "For primary addresses: the lowest and the highest, 0 to 250.",
            wrong=_wrong_span,
        ),
        Field(
            "patience", "Longer wait (ms)", "0",
            "To wait so much longer for each answer. Finds meters that answer late, which a search by primary "
            "addresses else takes for missing.",
            ("0", "500", "1000", "2000"), wrong=_wrong_patience,
        ),
    ]  # fmt: skip


def _bauds(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.split(r"[\s,;]+", text.strip()) if word)


def _wrong_bauds(text: str) -> str:
    try:
        fits = set(_bauds(text)) <= set(BAUD_RATES)
    except ValueError:
        fits = False
    return "" if fits else f"Baud rates are {', '.join(map(str, BAUD_RATES))}."


def _wrong_mask(text: str) -> str:
    try:
        if not isinstance(parse_address(text), PrimaryAddress):
            return ""
    except CmeError:
        pass
    return "A mask has 8 digits with F for any, such as 12FFFFFF, and perhaps the manufacturer: 12FFFFFF.HYD."


def _wrong_span(text: str) -> str:
    span = _SPAN.fullmatch(text)
    if span and int(span[1]) <= int(span[2]) <= 250:
        return ""
    return "Primary addresses are two numbers from 0 to 250, the lower one first: 1-250."


def _wrong_patience(text: str) -> str:
    if text.isdecimal() and int(text) <= MOST_PATIENCE_MS:
        return ""
    return f"A longer wait is a number of ms from 0 to {MOST_PATIENCE_MS}."

"""The search for meters on one line, as a plan without I/O: which address to probe next, and what the answers mean.

Secondary addresses are a tree: where several meters answer to a mask, the next open digit is asked with every value.
Three rules keep that true on lines as they are. Of two meters that answer together both must be found below, else the
place is asked again. A silence counts only if a meter that was found before still answers afterwards, else what was
asked meanwhile is asked again when it does; as are, in the end, primary addresses that were silent before any meter
answered, and a line on which nobody did. Where something answers to an address that no meter has, answers are noise
until they repeat themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from core.mbus.address import Address, PrimaryAddress, SecondaryAddress, parse_address
from core.mbus.effort import (
    AGAIN_S,
    ROOT_TRIES,
    SLOW_S,
    WAIT_S,
    Costs,
    Effort,
    Probes,
    fits,
    foreseen,
)
from core.mbus.exchange import LATEST
from core.mbus.finds import SURE, Finds, Found, listed
from core.mbus.link import Probe, ProbeResult
from core.mbus.narrowing import CONTROL, NO_FABRICATION, heard_address, stages
from core.searching import Method, SearchEstimate, SearchRequest

LONGEST_WAIT: Final = 120
"""Questions to a line on which nobody answers any more, `WAIT_S` apart, before the search gives up."""

_BLIND_WAIT: Final = 6  # of them, where no meter was ever found
_BLIND_WAITS: Final = 3
_CHECK_AFTER: Final = 30  # silent addresses, after which a meter is asked that was found before
_WITNESSES: Final = 3  # meters that must all be silent for the line to be dead
_CONTROLS: Final = 6  # answers to an address that no meter has, before it is certain that there is always one
_MOST_DOUBT: Final = 2
_MOST_FRUITLESS: Final = 10
_MOST_CLASHES: Final = 15
_MOST_DEATHS: Final = 100
_MOST_HEARD: Final = 20

_Kind = Literal["tree", "known", "control", "alive", "wait", "recheck", "clash", "again"]
_Heard = Literal["nothing", "one", "other", "several"]


@dataclass(frozen=True, slots=True)
class Ask:
    """The next probe of a search."""

    address: Address
    baud: int
    pause: float = 0.0
    """s to wait before it."""
    extra: float = 0.0
    """s for which to wait longer for the answer."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is."""

    share: float  # of the way, 0..1, never less than it was
    left_s: float | None  # s on the wire until the end; None for unknown
    at_least: bool  # `left_s` is the least, since there may be meters that nobody knows of


@dataclass(slots=True)
class _Step:
    """Addresses to ask for one reason."""

    kind: _Kind
    todo: list[str]
    of: str = ""  # the address that was answered by several, of which these are the parts
    later: list[list[str]] = field(default_factory=list)  # parts to ask if these do not explain it
    found: list[str] = field(default_factory=list)  # meters below `of`; two are enough to know
    again: bool = False  # the second time
    size: int = 1  # parts in all


class Search:
    """One search; ask what `next` says and `tell` it the answer, until `next` is None.

    `dump` at any moment gives what `load` goes on from.
    """

    def __init__(self, request: SearchRequest, known: Iterable[str], *, baud: int) -> None:
        """`known` are addresses of meters that should be there; `baud` is the rate where the request names none.

        Raises `AddressError` where the mask or a known address is none.
        """
        self.request = request
        self.probes = 0
        self.finds = Finds()
        mask = parse_address(request.mask)
        self._mask = mask if isinstance(mask, SecondaryAddress) else SecondaryAddress("FFFFFFFF")
        wanted = dict.fromkeys(parse_address(text) for text in (*request.expected, *known))
        self._known = [str(address) for address in wanted]
        self._baud = baud
        self._legs: list[tuple[Method, int]] = [
            (method, rate) for method in request.methods for rate in request.bauds or (baud,)
        ]
        self._leg = -1
        self._steps: list[_Step] = []
        self._heard: list[_Heard] = []  # the answers to the address that is being asked
        self._raw: list[str] = []  # secondary addresses in disturbed telegrams
        self._silent: list[str] = []  # since somebody answered last
        self._answered: list[str] = []  # addresses of meters that answered in this leg
        self._unsure: list[str] = []  # addresses that were silent when there was no doubt yet
        self._blind: list[str] = []  # primary addresses that were silent before anybody answered
        self._slow = False  # meters answer after the time-out
        self._doubt = 0  # how often more an answer must repeat itself
        self._fruitless = 0
        self._waits = 0
        self._deaths = 0  # how often nobody answered any more
        self._began = 0  # probes before this leg
        self._share = 0.0

    # State ------------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """The whole search, for JSON."""
        state = {name: getattr(self, name) for name in _PLAIN}
        return {
            **state,
            "request": asdict(self.request),
            "finds": asdict(self.finds),
            "steps": [asdict(step) for step in self._steps],
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Search:
        """The search that `dump` gave, also by way of JSON. Raises `KeyError`, `TypeError` or `AddressError`."""
        asked = state["request"]
        lists = {name: tuple(value) for name, value in asked.items() if isinstance(value, list | tuple)}
        search = cls(SearchRequest(**{**asked, **lists}), (), baud=state["_baud"])
        for name in _PLAIN:
            setattr(search, name, state[name])
        search._legs = [(method, rate) for method, rate in state["_legs"]]
        search.finds = Finds.load(state["finds"])
        search._steps = [_Step(**step) for step in state["steps"]]
        return search

    # What comes next --------------------------------------------------------------------------------------------

    def next(self) -> Ask | None:
        """What to ask; the same until `tell` or `refuse`. `None` at the end of the search."""
        while self._steps or self._begin_leg():
            step = self._steps[-1]
            if not step.todo:
                self._finish(step)
            elif step.kind == "tree" and self._surely_several(step.todo[0]):
                self._branch(step)
            else:
                slow = SLOW_S if self._slow or step.kind == "again" else 0.0
                extra = max(slow, self._patience)
                return Ask(parse_address(step.todo[0]), self._legs[self._leg][1], self._pause(step), extra)
        return None

    def _pause(self, step: _Step) -> float:
        if step.kind == "wait" or (step.kind == "again" and step.todo[0] == str(self._mask)):
            return WAIT_S
        # The late answer to one question is none to the next.
        late = LATEST if self._heard and self._is_root(step) else 0.0
        # Who talks unasked at a regular time must not meet the same question each time.
        return late + AGAIN_S * len(self._heard)

    @property
    def stage(self) -> str:
        """What is being done, in a few words."""
        if not self._steps:
            return ""
        method, baud = self._legs[self._leg]
        step = self._steps[-1]
        what = {
            "known": "meters that should be there",
            "again": "meters that were silent",
            "wait": "waiting until a meter answers again",
        }.get(step.kind)
        if what is None:
            tree = [item for item in self._steps if item.kind == "tree" and item.todo]
            address = tree[-1].todo[0] if tree else step.of
            what = f"{method} {'addresses' if method == 'secondary' else 'address'} {address}".rstrip()
        return f"{what} at {baud} baud"

    @property
    def found(self) -> list[Found]:
        """The meters that answered, as they came."""
        return self.finds.found

    @property
    def troubles(self) -> tuple[str, ...]:
        """Sentences: what could not be told apart or searched, and why."""
        return self.finds.sentences

    def tell(self, probe: Probe) -> bool:
        """What the probe of `next` gave; whether that is a meter that was not known of before. Ends no search."""
        step = self._steps[-1]
        address = parse_address(step.todo[0])
        self.probes += 1
        self._heard.append(self._classify(address, probe))
        outcome = self._decide(step, address, late=probe.late)
        if outcome is None:
            return False
        disturbed = outcome == "nothing" and set(self._heard) != {"nothing"}
        self._heard = []
        if outcome != "nothing":
            if self._primary and not self._answered:
                self._blind += self._silent
            self._silent.clear()
        before = len(self.found)
        match step.kind:
            case "tree":
                self._tell_tree(step, address, outcome, probe)
            case "control":
                step.todo.pop(0)
                self._tell_control(outcome, disturbed)
            case "clash":
                self._steps.pop()
                if self._tell_control(outcome, disturbed):
                    self._clash(step.of)
            case "recheck":
                self._tell_recheck(step, outcome, probe)
            case "alive":
                if outcome == "nothing":
                    step.todo.pop(0)
                else:
                    self._steps.pop()
            case "wait":
                self._tell_wait(step, outcome)
            case "known":
                step.todo.pop(0)
                if outcome == "one":
                    self._take(address, probe)
            case "again":
                step.todo.pop(0)
                self._tell_again(address, outcome, probe)
        return len(self.found) > before

    def refuse(self, reason: str) -> None:
        """The line cannot be searched at the rate of `next`: leave all of it out, with the sentence that says why."""
        refused = self._legs[self._leg][1]
        self.finds.troubles.append(reason)
        self._steps.clear()
        self._heard.clear()
        self._legs = [leg for place, leg in enumerate(self._legs) if place <= self._leg or leg[1] != refused]

    def _begin_leg(self) -> bool:
        if self._leg + 1 >= len(self._legs):
            return False
        self._leg += 1
        self._silent, self._answered, self._heard, self._unsure, self._blind = [], [], [], [], []
        self._slow = False
        self._doubt = self._fruitless = self._waits = self._deaths = 0
        self._began = self.probes
        known = self._known_here()
        if self._primary:
            numbers = map(str, range(self.request.first, self.request.last + 1))
            root = list(dict.fromkeys([*known, *numbers]))
        else:
            root = [str(self._mask)]
        self._steps = [_Step("again", []), _Step("tree", root)]
        return True

    @property
    def _patience(self) -> float:
        return self.request.patience_ms / 1000

    @property
    def _primary(self) -> bool:
        return self._legs[self._leg][0] == "primary"

    def _known_here(self) -> list[str]:
        """The addresses that should be there, as this leg asks for them, without those that were found."""
        if self._primary:
            return [
                text
                for text in self._known
                if isinstance(address := parse_address(text), PrimaryAddress)
                and text not in self._answered
                and self.request.first <= address.number <= self.request.last
            ]
        identities = [parse_address(meter.identity) for meter in self.found if meter.identity]
        return [
            text
            for text in self._known
            if isinstance(address := parse_address(text), SecondaryAddress)
            and self._mask.agrees(address)
            and not any(isinstance(other, SecondaryAddress) and address.agrees(other) for other in identities)
        ]

    # What an answer means ---------------------------------------------------------------------------------------

    def _classify(self, address: Address, probe: Probe) -> _Heard:
        match probe.result:
            case ProbeResult.NOTHING if probe.found is None:
                return "nothing"
            case ProbeResult.NOTHING:
                return self._meet_stranger(address, str(probe.found))
            case ProbeResult.SEVERAL:
                if isinstance(address, SecondaryAddress) and "F" not in address.identification:
                    self._note_heard(probe.raw)
                return "several"
        # Nobody knows who it is that sends no name, nor how many they are: all digits will tell.
        nameless = isinstance(address, SecondaryAddress) and probe.found is None
        return "several" if nameless and "F" in str(address)[:8] else "one"

    def _meet_stranger(self, address: Address, meter: str) -> _Heard:
        """A meter answered that is not at this address, or not by the name that it has in its telegrams."""
        self.finds.meet(meter, address)
        if isinstance(address, SecondaryAddress) and address != CONTROL and "F" not in address.identification:
            return "other"
        self._doubt_answers()
        return "nothing"

    def _decide(self, step: _Step, address: Address, *, late: bool) -> _Heard | None:
        """What all answers to this address come to; `None` where it has to be asked again."""
        if self._is_root(step):
            return self._decide_root(late=late)
        heard = self._heard
        answers = len(heard) - heard.count("nothing")
        if heard[-1] == "one":
            if answers > 1:
                self._doubt_answers()
            return "one"
        whole = isinstance(address, SecondaryAddress) and "F" not in address.identification
        if step.kind in ("control", "clash"):
            return self._decide_control(step.kind == "control")
        if step.kind in ("wait", "known"):
            needed = 1
        elif step.kind == "recheck" and whole:
            needed = 2 * SURE - 1
        elif "other" in heard or step.kind == "alive" or (step.kind == "tree" and not self._parts(address)):
            needed = SURE
        else:
            needed = 1 + max(self._doubt, whole)
        believed = step.kind != "tree" or not self._doubt
        if heard[0] == "nothing" and (believed or heard[1:2] == ["nothing"]):
            return "nothing"
        if answers >= needed:
            return heard[-1] if heard[-1] != "nothing" else "several"
        return "nothing" if len(heard) - answers >= max(needed, 2) else None

    def _decide_control(self, once: bool) -> _Heard | None:
        """Noise is there now and then, or always: only the latter keeps meters from being found."""
        silent = self._heard.count("nothing")
        if silent > (0 if once else len(self._heard) - silent):
            return "nothing"
        return self._heard[-1] if len(self._heard) >= _CONTROLS else None

    def _decide_root(self, *, late: bool) -> _Heard | None:
        """All that follows hangs on the first answer, so it is asked for more patiently."""
        if self._heard[-1] == "nothing":
            if self._slow and len(self._heard) >= ROOT_TRIES:
                return "nothing"
            self._slow = True
            return None
        self._slow = late
        if late:
            self.finds.troubles.append(
                f"Meters answer late at {self._legs[self._leg][1]} baud, so each was given more time: give the line a "
                "longer time-out (margin_ms), too."
            )
        return "one" if self._heard[-1] == "one" else "several"

    def _is_root(self, step: _Step) -> bool:
        return step.kind == "tree" and len(self._steps) == 2 and not self._primary

    def _parts(self, address: Address) -> list[list[str]]:
        if not isinstance(address, SecondaryAddress):
            return []
        identities = [
            parse_address(text) for text in [*(m.identity for m in self.found), *self._known] if text
        ]
        makers = dict.fromkeys(
            identity.manufacturer
            for identity in identities
            if isinstance(identity, SecondaryAddress) and identity.manufacturer
        )
        raw = [other for text in self._raw if isinstance(other := parse_address(text), SecondaryAddress)]
        parts = stages(address, hex_digits=self.request.hex_digits, makers=makers, heard=raw)
        return [[str(part) for part in stage] for stage in parts]

    def _surely_several(self, text: str) -> bool:
        """Whether two meters are known to answer there, so that it need not be asked."""
        address = parse_address(text)
        if self._primary or self._heard or not isinstance(address, SecondaryAddress) or address.exact:
            return False
        below = [other for other in map(parse_address, self._answered) if isinstance(other, SecondaryAddress)]
        return sum(address.agrees(other) for other in below) > 1

    def _doubt_answers(self, most: int = 1) -> None:
        """Something was heard that was no answer."""
        if not self._doubt:
            self.finds.troubles.append(
                f"The line was disturbed at {self._legs[self._leg][1]} baud (noise, or a meter that talks unasked), so "
                "what was heard and what was silent was asked again."
            )
        self._doubt = max(self._doubt, min(self._doubt + 1, _MOST_DOUBT), most)

    def _note_heard(self, raw: bytes) -> None:
        address = heard_address(raw)
        if address and str(address) not in self._raw:
            self._raw = [*self._raw, str(address)][-_MOST_HEARD:]

    # The tree ---------------------------------------------------------------------------------------------------

    def _tell_tree(self, step: _Step, address: Address, outcome: _Heard, probe: Probe) -> None:
        if isinstance(address, SecondaryAddress) and address.fabrication == NO_FABRICATION:
            step.todo.pop(0)
            if outcome != "nothing":
                step.todo.clear()
        elif outcome == "one":
            step.todo.pop(0)
            self._credit([self._take(address, probe)])
        elif outcome == "nothing":
            text = step.todo.pop(0)
            self._silent.append(text)
            if not self._doubt:
                self._unsure.append(text)
            if len(self._silent) >= _CHECK_AFTER and self._answered:
                self._check_alive()
        elif outcome == "other":
            step.todo.pop(0)
            self._credit([f"{address} by another name"])
        elif self._parts(address):
            self._branch(step)
        else:
            step.todo.pop(0)
            self._steps.append(_Step("clash", [str(CONTROL)], of=str(address)))

    def _branch(self, step: _Step) -> None:
        """Ask for the parts of the address that comes next."""
        root = self._is_root(step)
        address = parse_address(step.todo.pop(0))
        first, *later = self._parts(address)
        self._steps.append(_Step("tree", first, str(address), later, size=len(first)))
        if root:
            self._steps.append(_Step("control", [str(CONTROL)]))
            self._steps.append(_Step("known", self._known_here()))

    def _credit(self, names: Iterable[str]) -> None:
        """Note below which address meters were found."""
        trees = [step for step in self._steps if step.kind == "tree"]
        if trees:
            trees[-1].found = list(dict.fromkeys([*trees[-1].found, *names]))[:2]

    def _finish(self, step: _Step) -> None:
        """All of a step was asked."""
        if step.kind == "alive":
            self._steps.pop()
            self._begin_wait(step.of.split(), LONGEST_WAIT)
            return
        if step.kind != "tree":
            self._steps.pop()
            if step.kind == "again" and not self._answered:
                method, baud = self._legs[self._leg]
                self.finds.troubles.append(
                    f"No meter answered to a {method} address at {baud} baud: look at the cable and the level "
                    "converter, and try other baud rates and a longer wait for answers."
                )
            return
        if not step.of:
            self._finish_root()
            return
        explained = len(step.found) > 1
        if not explained and self._silent and self._answered:
            self._check_alive()
        elif not explained and step.later:
            step.todo, *step.later = step.later
        elif not explained and not (step.again and "F" in step.of):
            step.again = True
            self._steps.append(_Step("recheck", [step.of]))
        else:
            self._leave(step)
            if not explained:
                self._unexplained(
                    f"Something answers to {step.of}, but {'one meter only' if step.found else 'no meter'} below "
                    "it does: look for noise, for a meter that answers late, and for one that chatters."
                )

    def _finish_root(self) -> None:
        """All of a leg was asked, or all that had been silent on a dead line."""
        if self._silent and self._answered:
            self._check_alive()
            return
        doubtful = list(dict.fromkeys([*self._blind, *(self._unsure if self._doubt else ())]))
        if doubtful and len(self._steps) == 2:
            self._steps.append(_Step("tree", doubtful))
            self._unsure, self._blind = [], []
            return
        step = self._steps.pop()
        self._credit(step.found)
        if len(self._steps) == 1 and not self._steps[0].again:
            self._begin_again(self._steps[0])

    def _begin_again(self, step: _Step) -> None:
        """Who was silent may be late, or was not heard, and is asked once more, with more time."""
        step.again = True
        if self._answered or self._legs[self._leg][1] == self._baud:
            step.todo = self._known_here()
        if not self.found and not self._primary:
            step.todo.append(str(self._mask))

    def _tell_again(self, address: Address, outcome: _Heard, probe: Probe) -> None:
        if outcome == "one":
            self._take(address, probe)
        # Whoever was asked together with the first that answers was thought to be silent, too.
        first = len(self._answered) < 2 and not self._primary
        if outcome == "several" or (outcome == "one" and first):
            self._slow = probe.late
            self._steps.append(_Step("tree", [str(self._mask if first else address)]))

    def _leave(self, step: _Step) -> None:
        """The parts of an address are through."""
        self._steps.remove(step)
        self._credit(step.found)

    def _tell_recheck(self, recheck: _Step, outcome: _Heard, probe: Probe) -> None:
        """Several had answered there, and fewer were found."""
        self._steps.pop()
        step = self._steps[-1]
        address = parse_address(step.of)
        if outcome == "one":
            self._doubt_answers()
            step.found = list(dict.fromkeys([*step.found, self._take(address, probe)]))
            self._leave(step)
        elif outcome == "nothing":
            if not self._answered and self._deaths < _BLIND_WAITS:
                self._silent = [step.of]
                self._leave(step)
                self._begin_wait([step.of], _BLIND_WAIT)
                return
            self._doubt_answers()
            self._leave(step)
            self._fruitless += 1
            self._bound()
        elif "F" not in step.of:
            self._leave(step)
            self._steps.append(_Step("clash", [str(CONTROL)], of=step.of))
        else:
            step.todo, *step.later = self._parts(address)

    # Noise, and meters that cannot be told apart ----------------------------------------------------------------

    def _tell_control(self, outcome: _Heard, disturbed: bool) -> bool:
        """What came of asking for a meter that is none; whether the line can be believed."""
        if outcome != "nothing":
            self._noise()
        elif disturbed:
            self._doubt_answers(_MOST_DOUBT)
        return outcome == "nothing"

    def _clash(self, text: str) -> None:
        """Several meters answer to an address that cannot be narrowed any more."""
        self._credit([f"{text} 1", f"{text} 2"])
        if self.finds.clash(text, self._leg, by_primary=self._primary) > _MOST_CLASHES:
            self._noise()

    def _noise(self) -> None:
        """Something answers to an address that no meter has, each time."""
        self.finds.clashes.pop(str(self._leg), None)
        self._give_up(
            "Something answers to every address, also to one that no meter has: look for noise, for a meter that "
            "chatters, and for a wrong baud rate"
        )

    def _unexplained(self, sentence: str) -> None:
        self.finds.troubles.append(sentence)
        self._doubt_answers()
        self._fruitless += 1
        self._bound()

    def _bound(self) -> None:
        if self._fruitless > _MOST_FRUITLESS + len(self.found):
            self._give_up("Too much was heard that no meter stands behind: look for noise")

    def _give_up(self, reason: str) -> None:
        """End this leg; say what is left undone."""
        method, baud = self._legs[self._leg]
        todo = [text for step in self._steps if step.kind == "tree" for text in step.todo]
        rest = f"; not searched: {listed(todo)}" if todo else ""
        self.finds.troubles.append(
            f"{reason}. The search by {method} address at {baud} baud was given up{rest}."
        )
        self._steps.clear()

    # A line on which nobody answers any more --------------------------------------------------------------------

    def _check_alive(self) -> None:
        """See whether meters that were found still answer, else the silence of others says nothing."""
        witnesses = self._answered[: -_WITNESSES - 1 : -1]
        self._steps.append(_Step("alive", (witnesses * _WITNESSES)[:_WITNESSES], of=" ".join(witnesses)))

    def _begin_wait(self, witnesses: list[str], longest: int) -> None:
        """Ask these from time to time; then ask again what has been silent since somebody answered last."""
        if self._answered and not self._deaths:
            self.finds.troubles.append(
                f"At {self._legs[self._leg][1]} baud nobody answered any more for a while, not even {witnesses[0]}, "
                "which had answered before: look at the cable. What was asked meanwhile was asked again."
            )
        self._deaths += 1
        self._waits = longest
        self._steps.append(_Step("tree", self._silent))
        self._steps.append(_Step("wait", witnesses))
        self._silent = []

    def _tell_wait(self, step: _Step, outcome: _Heard) -> None:
        self._waits -= 1
        if outcome != "nothing" and self._deaths <= _MOST_DEATHS:
            self._steps.pop()
        elif self._waits <= 0 or self._deaths > _MOST_DEATHS:
            who = "Nobody answers any more" if self._answered else "Something was heard, but no meter answers"
            self._give_up(f"{who}: look at the cable and the level converter, and for noise")
        else:
            step.todo.append(step.todo.pop(0))

    # What was found ---------------------------------------------------------------------------------------------

    def _take(self, address: Address, probe: Probe) -> str:
        """Note who answered at an address; its name."""
        own = self.finds.take(address, probe, self._leg, self._legs[self._leg][1])
        if own not in self._answered:
            self._answered.append(own)
        return own

    # How far ----------------------------------------------------------------------------------------------------

    def progress(self, margin: float) -> Progress:
        """How far it is; `margin` in s as `Costs.at` has it."""
        if self._leg < 0 or not self._steps:
            return Progress(self._share, None, at_least=False)
        left, known = self._left_of_leg(), self._all_known
        spent = self.probes - self._began
        weights = [Costs.at(baud, 0.0).nothing for _, baud in self._legs]
        counted = known or self._primary
        share = spent / (spent + left.total or 1) if counted else self._place_in_tree
        passed = sum(weights[: self._leg]) + weights[self._leg] * share
        self._share = max(self._share, passed / sum(weights))
        margin += self._patience
        later = self._legs[self._leg + 1 :]
        seconds = sum(Costs.at(leg[1], margin).of(self._effort.likely(leg)) for leg in later)
        seconds += Costs.at(self._legs[self._leg][1], margin).of(left)
        return Progress(self._share, seconds, at_least=not known)

    def estimate(self, margin: float) -> SearchEstimate:
        """How long a search that has not begun will take; `margin` in s as `Costs.at` has it."""
        return self._effort.estimate(self._legs, margin + self._patience)

    @property
    def _effort(self) -> Effort:
        return Effort(self.request, self._known, self._mask, self._baud)

    def _left_of_leg(self) -> Probes:
        """What is to come at each address, if nobody is there but those who are known."""
        known = [] if self._primary else self._known_below()
        total = Probes()
        for step in self._steps:
            if step.kind in ("known", "again"):
                total += Probes(one=len(step.todo))
            if step.kind != "tree":
                continue
            below = [digits for digits in known if not step.of or fits(digits, step.of)]
            if step.of and "F" not in step.of[:8]:
                below = []  # by maker, medium and version most of what is asked for is not there
            for text in step.todo:
                inside = [digits for digits in below if fits(digits, text)]
                total += foreseen(text[:8], inside, hex_digits=self.request.hex_digits)
        # Each is asked for by itself first, and so nobody has to be asked whether there are several.
        return replace(total, several=0)

    @property
    def _all_known(self) -> bool:
        """Whether it is known which meters will answer, as far as can be seen."""
        known = self._effort.identifications(self._known)
        return (
            bool(known)
            and not self._primary
            and set(self._effort.identifications(self._answered)) <= set(known)
        )

    @property
    def _place_in_tree(self) -> float:
        """The share of all addresses that lies in front of the one that comes next, 0..1."""
        place, width = 0.0, 1.0
        for step in (step for step in self._steps if step.kind == "tree" and step.of):
            # The part that is open below this step counts there.
            place += width * max(0, step.size - len(step.todo) - 1) / step.size
            width /= step.size
        return place

    def _known_below(self) -> list[str]:
        """Identifications of meters of which the tree has to take account."""
        asked = len(self._steps) > 2 and not any(step.kind == "known" for step in self._steps)
        found = self._effort.identifications(self._answered)
        if asked:
            return found if self._known else []
        return list(dict.fromkeys([*self._effort.identifications(self._known), *found]))


_PLAIN: Final = (
    "probes", "_known", "_baud", "_legs", "_leg", "_heard", "_raw", "_silent",
    "_answered", "_unsure", "_blind", "_slow", "_doubt", "_fruitless", "_waits", "_deaths", "_began", "_share",
)  # fmt: skip
"""Attributes that JSON can hold as they are."""

"""What a person decides with the coach, field by field, and the mapping file that comes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from core.cosem.obis import ObisError
from core.errors import CmeError
from core.mapping import coach, engine
from core.mapping.coach import Choice, Field, MeterType, Place, Proposal
from core.mapping.dryrun import shown_text
from core.mapping.lint import MeterReadout, findings
from core.mapping.merge import Base
from core.mapping.model import ANY_MANUFACTURER, ANY_VERSION, MappingError, MappingFile, parse_mapping
from core.mapping.workshop import Coaching, one_of_each


class DraftError(CmeError):
    """A decision that cannot be taken."""


class Decision(StrEnum):
    """What becomes of a field."""

    TAKEN = "taken"
    SKIPPED = "skipped"
    OPEN = "open"
    """A person has to look at it: nothing is written before."""


@dataclass(frozen=True, slots=True)
class Item:
    """A field with the choice for it, and whether that is used."""

    field: Field
    choice: Choice  # without a code where nobody knows one
    decision: Decision
    others: tuple[Choice, ...]  # further codes that are known for such a field
    reason: str  # why it was skipped at the beginning; "" where it was not


class Shown(NamedTuple):
    """What a DLMS client gets for a field."""

    value: str  # scaler and unit applied: "85.946 m³"; the default where there is no value; "" for nothing
    error: str  # why there is no value; "" where there is one


@dataclass(frozen=True)
class Draft:
    """The decisions so far. It never changes: each decision makes a new one."""

    kind: MeterType  # which meters the file is for
    items: tuple[Item, ...]
    readouts: tuple[MeterReadout, ...]  # one of each structure
    replaced: MappingFile | None  # the active file for the same meters; what no field has of it is kept
    sent: tuple[frozenset[Place], ...]  # the fields of each readout

    def of(self, decision: Decision) -> tuple[int, ...]:
        """Places in `items` of those with a decision."""
        return tuple(index for index, item in enumerate(self.items) if item.decision is decision)

    def decide(self, index: int, decision: Decision) -> Draft:
        """Take or skip a field. Raises `DraftError` where what is chosen for it cannot be used."""
        item = self.items[index]
        if decision is Decision.TAKEN:
            self.check(index, item.choice)
        return self._with(index, replace(item, decision=decision))

    def change(self, index: int, choice: Choice) -> Draft:
        """Take a field with another choice. Raises `DraftError` where that cannot be used."""
        self.check(index, choice)
        return self._with(index, replace(self.items[index], choice=choice, decision=Decision.TAKEN))

    def turn(self, index: int) -> Draft:
        """Put the next other code in the place of the chosen one, which becomes the last of the others.

        Raises `DraftError` where there is none, or a field that is taken cannot have it.
        """
        item = self.items[index]
        if not item.others:
            raise DraftError(f"No other code is known for {item.field.meaning}; change it by hand.")
        if item.decision is Decision.TAKEN:
            self.check(index, item.others[0])
        others = (*item.others[1:], *((item.choice,) if item.choice.obis else ()))
        return self._with(index, replace(item, choice=item.others[0], others=others))

    def take_sure(self) -> Draft:
        """Take every field whose code is of grade A or B, but where another field has that code."""
        draft = self
        for index, item in enumerate(self.items):
            if item.choice.grade in ("A", "B") and not draft.problem(index, item.choice):
                draft = draft.decide(index, Decision.TAKEN)
        return draft

    def aim(self, kind: MeterType, replaced: MappingFile | None) -> Draft:
        """The same decisions for other meters, whose active file is `replaced`."""
        return replace(self, kind=kind, replaced=replaced)

    def problem(self, index: int, choice: Choice) -> str:
        """Why a field cannot have a choice; "" where it can."""
        try:
            self.check(index, choice)
        except DraftError as error:
            return str(error)
        return ""

    def check(self, index: int, choice: Choice) -> None:
        """Raises `DraftError`, a sentence, where a field cannot have a choice."""
        mine = self.items[index].field
        if not mine.keys:
            raise DraftError(f"{mine.meaning} cannot be mapped. {self.items[index].reason}")
        if not choice.obis:
            raise DraftError(f"{mine.meaning} has no OBIS code yet: give it one first.")
        try:
            coach.full_code(choice.obis)
            coach.entries_of([(mine, choice)], self.kind)
        except ObisError as error:
            raise DraftError(str(error)) from None
        except MappingError as error:
            raise DraftError(f"{error.path.rpartition('.')[2]} {error.reason}.") from None
        for other in self.items:
            same = (other.choice.obis, other.choice.class_id) == (choice.obis, choice.class_id)
            if same and other.decision is Decision.TAKEN and self._compete(mine, other.field):
                raise DraftError(
                    f"{choice.obis} shows {other.field.meaning} ({other.field.record.dib}) already, so "
                    f"{mine.meaning} ({mine.record.dib}) cannot have it: skip one, or give it another code."
                )

    def shown(self, index: int, choice: Choice) -> Shown:
        """What a DLMS client gets for a field with this choice."""
        file = self._alone(index, choice)
        if file is None:
            return Shown("", "")
        meter = self.holder(index)
        value = engine.evaluate(file, meter.readout, meter.site)[0]
        return Shown(shown_text(value) if value.encoded is not None else "", value.error)

    def doubts(self, index: int, choice: Choice) -> tuple[str, ...]:
        """What a choice may do that nobody wants, as the lint says it."""
        file = self._alone(index, choice)
        told = findings(file) if file else ()
        return tuple(dict.fromkeys(each.text for each in told if each.path.startswith("entries")))

    def holder(self, index: int) -> MeterReadout:
        """The meter that sent a field as it is shown."""
        mine = self.items[index].field
        for meter in self.readouts:
            telegrams = meter.readout.telegrams
            if mine.telegram < len(telegrams) and mine.record in telegrams[mine.telegram].records:
                return meter
        raise LookupError(f"{mine.meaning} is in no readout")

    def file(self) -> MappingFile:
        """The mapping file of all decisions. Raises `DraftError` while one is open, and where nothing is taken."""
        if undecided := self.of(Decision.OPEN):
            first = self.items[undecided[0]].field.meaning
            rest = f" and {len(undecided) - 1} more" if len(undecided) > 1 else ""
            raise DraftError(f"Still to be decided: {first}{rest}. Take or skip each first.")
        if not self.of(Decision.TAKEN):
            raise DraftError("No field is taken: such a mapping would show nothing.")
        kind, old = self.kind, self.replaced
        document: dict[str, Any] = (
            dict(old.document)
            if old
            else {"type": kind.type, "manufacturer": kind.manufacturer, "version": kind.version}
        )
        document["entries"] = Base(old, self.readouts).with_decisions(
            [(item.field, item.choice) for item in self.items if item.decision is Decision.TAKEN],
            [item.field for item in self.items if item.decision is Decision.SKIPPED],
        )
        try:
            return parse_mapping(json.dumps(document), old.name if old else kind.file_name)
        except MappingError as error:
            raise DraftError(str(error)) from None

    def _alone(self, index: int, choice: Choice) -> MappingFile | None:
        """A file with this one entry; None where it is not valid."""
        mine = self.items[index].field
        if not mine.keys or not choice.obis:
            return None
        try:
            return coach.entries_of([(mine, choice)], self.kind)
        except MappingError:
            return None

    def _compete(self, one: Field, other: Field) -> bool:
        """Whether a meter sends both fields."""
        places = {one.place, other.place}
        return len(places) == 2 and any(places <= sent for sent in self.sent)

    def _with(self, index: int, item: Item) -> Draft:
        return replace(self, items=(*self.items[:index], item, *self.items[index + 1 :]))


def begin(coaching: Coaching) -> Draft:
    """The decisions to begin with.

    Those of the file for exactly this type, if there is one; else grades A and B are taken, C is open, and what has no
    code is skipped.
    """
    kind, serving = coaching.kind, coaching.serving
    own = serving if serving is not None and serving.triple == kind else None
    readouts = tuple(one_of_each(coaching.readouts))
    base = Base(own, readouts)
    items = (_begun(each, base, own.name if own else "") for each in coaching.proposals)
    sent = (frozenset(each.place for each in coach.fields_of(m.readout.telegrams)) for m in readouts)
    return Draft(kind, tuple(items), readouts, own, tuple(sent))


def scopes(kind: MeterType) -> tuple[MeterType, ...]:
    """Which meters a file made for a type can be for: exactly these, any version of them, those of all makers."""
    wider = kind._replace(version=ANY_VERSION)
    return tuple(dict.fromkeys((kind, wider, wider._replace(manufacturer=ANY_MANUFACTURER))))


def _begun(proposal: Proposal, base: Base, own: str) -> Item:
    """A field as it stands at the beginning."""
    mine = proposal.field
    known = [choice for choice in (proposal.choice, *proposal.others) if choice is not None]
    if chosen := base.choice(mine):
        same = [each for each in known if (each.obis, each.class_id) == (chosen.obis, chosen.class_id)]
        others = tuple(each for each in known if each not in same)
        table = same[0] if same else chosen
        source = f"As in {own}. {table.source}".strip()
        choice = replace(chosen, grade=table.grade, declared=table.declared, source=source)
        return Item(mine, choice, Decision.OPEN if base.marked(mine) else Decision.TAKEN, others, "")
    choice = known[0] if known else coach.unknown(mine.record)
    others = tuple(known[1:])
    if proposal.choice is None:
        return Item(mine, choice, Decision.SKIPPED, others, proposal.reason)
    if own and base.blank(mine) is None:
        return Item(mine, choice, Decision.SKIPPED, others, f"{own}, which serves the type, leaves it out.")
    return Item(mine, choice, Decision.OPEN if choice.grade == "C" else Decision.TAKEN, others, "")

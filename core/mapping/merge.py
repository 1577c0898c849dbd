"""A mapping file in use, and what a person decided for the fields of its meters, made into one list of entries.

What no field of the meters at hand has is kept: entries for other meters, alternative keys, properties that are not
used here.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.mapping import coach, engine
from core.mapping.coach import CHECK, Choice, Field, Place
from core.mapping.keys import Key
from core.mapping.lint import MeterReadout
from core.mapping.model import CLASSES, Entry, MappingFile

_CHOSEN: Final = (
    "includeInPush", "dlmsObisCode", "dlmsScaler", "dlmsUnit", "dlmsClass", "dlmsDataType", "dlmsDefaultValue",
    "mbusDescriptionLong",
)  # fmt: skip
_PROFILE: Final = CLASSES["profile_generic"]
_REGISTERS: Final = (CLASSES["register"], CLASSES["extended_register"])


def showing(file: MappingFile, readouts: Iterable[MeterReadout]) -> Mapping[Place, Entry]:
    """The entry of a file with which each field is shown to clients."""
    found: dict[Place, Entry] = {}
    for meter in readouts:
        telegrams = meter.readout.telegrams
        objects = [each for each in engine.objects(file, telegrams) if each.class_id != _PROFILE]
        shown = engine.record_of(objects, telegrams)
        for each in coach.fields_of(telegrams):
            if item := shown.get((each.telegram, each.record.index)):
                found.setdefault(each.place, item.entry)
    return found


class Base:
    """The entries that are there already, and which fields of some meters they show."""

    def __init__(self, file: MappingFile | None, readouts: Sequence[MeterReadout]) -> None:
        """Without a file there are none."""
        # A profile holds the history of what another entry shows, by one of its keys: it is nobody's field.
        self._entries = [each for each in file.entries if each.class_id != _PROFILE] if file else []
        self._documents: list[dict[str, Any]] = file.document["entries"] if file else []
        self._blank = file.without_code if file else ()
        self._sent = [
            (telegrams, {each.place: each.record for each in coach.fields_of(telegrams)})
            for telegrams in (meter.readout.telegrams for meter in readouts)
        ]
        self.shown = showing(file, readouts) if file else {}

    def choice(self, mine: Field) -> Choice | None:
        """How the file shows a field, None where it does not."""
        entry = self.shown.get(mine.place)
        if entry is None:
            return None
        item = self._documents[entry.index]
        return Choice(
            obis=entry.obis_text,
            class_id=entry.class_id,
            data_type=entry.data_type,
            unit=entry.unit,
            scaler=entry.scaler,
            grade="",
            quantity=_unmarked(item) or mine.record.description,
            source="",
            default=item.get("dlmsDefaultValue"),
            in_push=entry.in_push,
        )

    def marked(self, mine: Field) -> bool:
        """Whether the file says that how it shows a field is still to be checked."""
        entry = self.shown.get(mine.place)
        return entry is not None and _is_marked(self._documents[entry.index])

    def blank(self, mine: Field) -> int | None:
        """The place of a template's entry for a field, which has no code yet."""
        for index in self._blank:
            item = self._documents[index]
            keys = item.get("mbusKeys")
            texts = {key.strip() for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()
            if texts & set(mine.keys) and (item.get("mbusTelegram") or 0) == mine.telegram:
                return index
        return None

    def with_decisions(
        self, taken: Sequence[tuple[Field, Choice]], skipped: Iterable[Field]
    ) -> list[dict[str, Any]]:
        """The entries with fields shown as chosen, and without those skipped; new ones stand last, in that order."""
        slots = self._slots()
        for mine in skipped:
            if mine.place in self.shown:
                self._strip(slots, mine)
        owners = Counter(self.shown[mine.place].index for mine, _ in taken if mine.place in self.shown)
        for mine, choice in taken:
            entry = self.shown.get(mine.place)
            if entry is not None and self._says(entry, choice):
                item = slots[entry.index].document
                if _is_marked(item):
                    item["mbusDescriptionLong"] = _unmarked(item)
            elif entry is not None and owners[entry.index] == 1:
                self._put(slots, mine, choice, entry.index)
            else:
                self._put(slots, mine, choice, self.blank(mine))
        return [slot.document for slot in _merged(slots)]

    def _slots(self) -> list[_Slot]:
        forms = {entry.index: _form(entry.obis_text, entry) for entry in self._entries}
        return [_Slot(item, forms.get(index)) for index, item in enumerate(copy.deepcopy(self._documents))]

    def _put(self, slots: list[_Slot], mine: Field, choice: Choice, at: int | None) -> None:
        """Show a field as chosen: in the entry `at` that is its own, else in a new one."""
        made = coach.entry_of(mine, choice)
        self._strip(slots, mine, spare=at)
        form = _form(choice.obis, choice)
        if at is None:
            slots.append(_Slot(made, form, fresh=True))
        else:
            slots[at].document.update({name: made[name] for name in _CHOSEN})
            slots[at].form, slots[at].fresh = form, True

    def _strip(self, slots: list[_Slot], mine: Field, spare: int | None = None) -> None:
        """Take the keys that read a field out of every entry but `spare`; an entry that is left without one goes."""
        for entry in self._entries:
            item = slots[entry.index].document
            texts = {key.text for key in entry.keys if self._reads(entry, key, mine)}
            if texts and entry.index != spare:
                item["mbusKeys"] = [text for text in item["mbusKeys"] if text.strip() not in texts]
                slots[entry.index].gone = not item["mbusKeys"]

    def _reads(self, entry: Entry, key: Key, mine: Field) -> bool:
        if entry.telegram != mine.telegram:
            return False
        for telegrams, records_of in self._sent:
            record = records_of.get(mine.place)
            if record is not None and coach.reads(key, record, telegrams[mine.telegram].records):
                return True
        return False

    def _says(self, entry: Entry, choice: Choice) -> bool:
        """Whether an entry says in all that a choice says."""
        item = self._documents[entry.index]
        forms = _form(entry.obis_text, entry) == _form(choice.obis, choice)
        said = (entry.data_type, entry.scaler, entry.in_push, item.get("dlmsDefaultValue"))
        return forms and said == (choice.data_type, choice.scaler, choice.in_push, choice.default)


_Form = tuple[str, int, int, int]


@dataclass
class _Slot:
    """One entry of the file to be."""

    document: dict[str, Any]
    form: _Form | None  # two entries of one form have to be one; None without a code
    fresh: bool = False  # as a person chose it
    gone: bool = False


def _form(code: str, one: Entry | Choice) -> _Form:
    return (code, one.class_id, *((one.unit, one.scaler) if one.class_id in _REGISTERS else (0, 0)))


def _merged(slots: Iterable[_Slot]) -> list[_Slot]:
    """Entries of one form as one, with the keys of both."""
    kept: list[_Slot] = []
    for slot in slots:
        if slot.gone:
            continue
        twin = next((each for each in kept if slot.form and each.form == slot.form), None)
        if twin is None:
            kept.append(slot)
            continue
        keys = [*(twin.document.get("mbusKeys") or ()), *(slot.document.get("mbusKeys") or ())]
        if slot.fresh:
            twin.document.update({name: slot.document[name] for name in _CHOSEN})
        twin.document["mbusKeys"] = list(dict.fromkeys(keys))
    return kept


def _is_marked(item: Mapping[str, Any]) -> bool:
    said = item.get("mbusDescriptionLong")
    return isinstance(said, str) and said.startswith(CHECK)


def _unmarked(item: Mapping[str, Any]) -> str:
    said = item.get("mbusDescriptionLong")
    return said.removeprefix(CHECK).removeprefix(":").strip() if isinstance(said, str) else ""

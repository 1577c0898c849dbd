"""The mapping file: what it says, and the checks it must pass before anything uses it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from core.cosem import obis
from core.errors import CmeError
from core.mapping.convert import DATA_TYPES, encode_default
from core.mapping.keys import Key, KeyFormatError, parse_key
from core.mapping.media import normal_type
from core.mapping.units import NO_UNIT

MAX_BYTES = 1 << 20
MAX_DEPTH = 16  # of arrays and objects inside each other
MAX_ENTRIES = 2000
MAX_KEYS = 64  # of one entry

PROFILE = 7
CLASSES = {"data": 1, "register": 3, "extended_register": 4, "profile_generic": PROFILE, "clock": 8}
ANY_MANUFACTURER = "all"
ANY_VERSION = 0


class MappingError(CmeError):
    """A mapping file that cannot be used: `file`, JSON `path` in it ("" = the whole file), and `reason`."""

    def __init__(self, file: str, path: str, reason: str) -> None:
        super().__init__(f"{file}: {path}: {reason}" if path else f"{file}: {reason}")
        self.file = file
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One entry: M-Bus keys in order of preference, and the COSEM object that shows the first one held."""

    index: int  # in `entries`
    keys: tuple[Key, ...]
    obis: bytes  # 6 bytes
    class_id: int
    data_type: int  # A-XDR tag, Green Book 9.5; 0 of a profile, which shows the values of another entry
    scaler: int  # power of ten, -128..127
    unit: int  # Blue Book 4.3.2, 255 = none
    default: bytes | None  # A-XDR with tag, None = no default
    in_push: bool
    telegram: int  # of a multi-telegram readout, 0 = first

    @property
    def obis_text(self) -> str:
        """`"8.0.1.0.0.255"`."""
        return obis.text(self.obis)


@dataclass(frozen=True, slots=True, eq=False)
class MappingFile:
    """A valid mapping file. Compared and hashed by identity, so that plans can be cached by it."""

    name: str  # of the file, for messages
    type: str  # medium, normal form: "water", "heat-cost-allocator"
    manufacturer: str  # three capital letters or "all"
    version: int  # 0..255, 0 = any
    entries: tuple[Entry, ...]
    without_code: tuple[
        int, ...
    ]  # places in `entries` of the file whose OBIS code is null or blank: they are not used yet
    document: dict[str, Any]  # as read, with every property that is not used here

    @property
    def triple(self) -> tuple[str, str, int]:
        """What the file is for; only one active file may have it."""
        return (self.type, self.manufacturer, self.version)

    @property
    def label(self) -> str:
        """`"water/all/0"`."""
        return f"{self.type}/{self.manufacturer}/{self.version}"

    @property
    def obis_codes(self) -> int:
        """How many different COSEM objects the entries give."""
        return len({(entry.obis, entry.class_id) for entry in self.entries})


def parse_mapping(content: str | bytes, name: str) -> MappingFile:
    """Read and check a mapping file of at most 1 MiB. `name` is a bare file name, used in messages.

    Two entries may share an OBIS code and class only as alternatives: with another unit or scaler, so that a
    meter that counts in J or in finer steps is shown right. An entry whose code is null or blank, as templates
    have them, is kept and not used. Raises `MappingError`, and nothing else.
    """
    check_name(name)
    document = _load(content, name)
    file = _Object(name, "", document)
    medium = normal_type(file.text("type", 64))
    if not medium or not medium.isprintable():
        file.fail("type", 'must name a medium, as in "water"')
    manufacturer = file.text("manufacturer", 8).strip()
    if not re.fullmatch(r"[A-Za-z]{3}", manufacturer):
        file.fail("manufacturer", 'must be three letters, or "all" for any')
    every = manufacturer.lower() == ANY_MANUFACTURER
    version = document.get("version")
    version = ANY_VERSION if version == "all" else file.number("version", 0, 255)
    items = document.get("entries")
    if not isinstance(items, list):
        file.fail("entries", "must be a list")
    if len(items) > MAX_ENTRIES:
        file.fail("entries", f"must not have more than {MAX_ENTRIES} items, not {len(items)}")
    without_code = tuple(number for number, item in enumerate(items) if _has_no_code(item))
    entries = tuple(
        _entry(name, number, item) for number, item in enumerate(items) if number not in without_code
    )
    _check_alternatives(name, entries)
    manufacturer = ANY_MANUFACTURER if every else manufacturer.upper()
    return MappingFile(name, medium, manufacturer, version, entries, without_code, document)


PROPERTIES = ("type", "manufacturer", "version", "entries")
"""Properties of a mapping file."""

ENTRY_PROPERTIES = (
    "includeInPush", "mbusTelegram", "mbusKeys", "dlmsObisCode", "dlmsScaler", "dlmsUnit", "dlmsClass", "dlmsDataType",
    "dlmsDefaultValue", "mbusUnit", "mbusDescriptionLong", "mbusTariff", "mbusStorageNumber", "mbusSubUnit",
    "mbusFunction",
)  # fmt: skip
"""Properties of an entry, in the order in which they are written; those that begin with mbus only describe, but for
`mbusTelegram` and `mbusKeys`."""


def dump(mapping: MappingFile) -> str:
    """The file as JSON text, with every property that it was read with, used or not."""
    return json.dumps(mapping.document, indent=2, ensure_ascii=False) + "\n"


def _has_no_code(item: object) -> bool:
    """Whether an entry is one of a template, to be filled in; nothing else of it is looked at before."""
    if not isinstance(item, dict) or "dlmsObisCode" not in item:
        return False
    code = item["dlmsObisCode"]
    return code is None or (isinstance(code, str) and not code.strip())


def _entry(name: str, index: int, item: object) -> Entry:
    path = f"entries[{index}]"
    if not isinstance(item, dict):
        raise MappingError(name, path, f"must be an object, not {_show(item)}")
    entry = _Object(name, path, item)
    class_name = entry.text("dlmsClass", 32).strip().lower()
    if class_name not in CLASSES:
        entry.fail("dlmsClass", f"must be one of {', '.join(CLASSES)}, not {_show(item['dlmsClass'])}")
    class_id = CLASSES[class_name]
    code = entry.text("dlmsObisCode", 32)
    try:
        logical_name = obis.parse(code)
    except CmeError:
        reason = f"must be six numbers from 0 to 255, as in 8.0.1.0.0.255, not {_show(code)}"
        entry.fail("dlmsObisCode", reason)
    if class_id == PROFILE:
        return Entry(
            index=index,
            keys=_keys(entry, optional=False),
            obis=logical_name,
            class_id=class_id,
            data_type=0,
            scaler=0,
            unit=NO_UNIT,
            default=None,
            in_push=False,
            telegram=entry.number("mbusTelegram", 0, 255, absent=0),
        )
    data_type = entry.number("dlmsDataType", 0, 255)
    if data_type not in DATA_TYPES:
        known = ", ".join(map(str, DATA_TYPES))
        entry.fail("dlmsDataType", f"must be the tag of a simple DLMS data type ({known}), not {data_type}")
    default = item.get("dlmsDefaultValue")
    encoded: bytes | None = None
    if default is not None:
        try:
            encoded = encode_default(default, data_type, as_date_time=class_id == CLASSES["clock"])
        except ValueError as error:
            entry.fail("dlmsDefaultValue", str(error))
    return Entry(
        index=index,
        keys=_keys(entry, optional=encoded is not None),
        obis=logical_name,
        class_id=class_id,
        data_type=data_type,
        scaler=entry.number("dlmsScaler", -128, 127, absent=0),
        unit=entry.number("dlmsUnit", 0, 255, absent=NO_UNIT) or NO_UNIT,
        default=encoded,
        in_push=_in_push(entry),
        telegram=entry.number("mbusTelegram", 0, 255, absent=0),
    )


def _keys(entry: _Object, optional: bool) -> tuple[Key, ...]:
    items = entry.item.get("mbusKeys")
    if optional and items is None:
        return ()
    if not isinstance(items, list):
        entry.fail("mbusKeys", "must be a list of M-Bus keys")
    if not items and not optional:
        entry.fail("mbusKeys", "must name at least one M-Bus key")
    if len(items) > MAX_KEYS:
        entry.fail("mbusKeys", f"must not have more than {MAX_KEYS} items, not {len(items)}")
    keys: list[Key] = []
    for number, text in enumerate(items):
        if not isinstance(text, str):
            entry.fail(f"mbusKeys[{number}]", f"must be a text, not {_show(text)}")
        try:
            keys.append(parse_key(text))
        except KeyFormatError as error:
            entry.fail(f"mbusKeys[{number}]", str(error))
    return tuple(keys)


def _in_push(entry: _Object) -> bool:
    value = entry.item.get("includeInPush")
    if value is None:
        return True
    if not isinstance(value, str) or value.strip().upper() not in ("ALL", "NONE"):
        entry.fail("includeInPush", f'must be "ALL" or "NONE", not {_show(value)}')
    return value.strip().upper() == "ALL"


def _check_alternatives(name: str, entries: tuple[Entry, ...]) -> None:
    seen: dict[tuple[bytes, int, int, int], int] = {}
    for entry in entries:
        alone = entry.class_id not in (CLASSES["register"], CLASSES["extended_register"])
        kind = (0, 0) if alone else (entry.unit, entry.scaler)
        first = seen.setdefault((entry.obis, entry.class_id, *kind), entry.index)
        if first != entry.index:
            raise MappingError(
                name,
                f"entries[{entry.index}].dlmsObisCode",
                f"{entry.obis_text} is mapped by entries[{first}] too; put all M-Bus keys into one entry"
                + ("" if alone else ", or give the other one another unit or scaler"),
            )


class _Object:
    """Access to the properties of one JSON object; every failure says where."""

    def __init__(self, name: str, path: str, item: dict[str, Any]) -> None:
        self.name = name
        self.path = path
        self.item = item

    def fail(self, key: str, reason: str) -> NoReturn:
        raise MappingError(self.name, f"{self.path}.{key}" if self.path else key, reason) from None

    def text(self, key: str, limit: int) -> str:
        value = self.item.get(key)
        if not isinstance(value, str) or not value.strip():
            self.fail(key, "is missing" if value is None else f"must be a text, not {_show(value)}")
        if len(value) > limit:
            self.fail(key, f"is longer than {limit} characters")
        return value

    def number(self, key: str, low: int, high: int, absent: int | None = None) -> int:
        value = self.item.get(key)
        if value is None and absent is not None:
            return absent
        if value is None:
            self.fail(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(key, f"must be a whole number from {low} to {high}, not {_show(value)}")
        return value


def check_name(name: str) -> None:
    """Raises `MappingError` for what is no bare name, or has signs that nobody sees or that turn the text around."""
    if (
        not name
        or len(name) > 128
        or name.startswith(".")
        or not name.isprintable()
        or {"/", "\\"} & set(name)
    ):
        reason = "is no name for a mapping file; use a bare name, as in water.json"
        raise MappingError(_show(name), "", reason)


def _load(content: str | bytes, name: str) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise MappingError(name, "", f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content.removeprefix("\ufeff")
        document = json.loads(
            text, object_pairs_hook=_object(name), parse_constant=_refuse(name), parse_float=_finite(name)
        )
    except UnicodeDecodeError as error:
        raise MappingError(name, "", f"is no UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise MappingError(name, "", f"is no valid JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise MappingError(name, "", f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise MappingError(name, "", "has a number with too many digits") from None
    if not isinstance(document, dict):
        raise MappingError(name, "", "must be an object with type, manufacturer, version and entries")
    _check_tree(name, document)
    return document


def _object(name: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise MappingError(name, "", f"the property {_show(twice)} stands twice in one object")
        return result

    return build


def _refuse(name: str) -> Callable[[str], NoReturn]:
    def refuse(text: str) -> NoReturn:
        raise MappingError(name, "", f"{text} is no number")

    return refuse


def _finite(name: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise MappingError(name, "", f"{text[:40]} is too large a number")
        return value

    return read


def _check_tree(name: str, document: dict[str, Any]) -> None:
    pending: list[tuple[object, int]] = [(document, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            if not item.isascii() and re.search(r"[\ud800-\udfff]", item):
                raise MappingError(name, "", f"the text {item[:40]!r} has half of a surrogate pair")
            continue
        if not isinstance(item, dict | list):
            continue
        if depth > MAX_DEPTH:
            raise MappingError(name, "", f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(item, dict):
            pending.extend((key, depth + 1) for key in item)
        pending.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."

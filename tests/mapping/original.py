"""What the CMe3100 DLMS plugin takes for a mapping file: the property tables of its manual (v1.8, 5.3.6) and the form
of its examples (5.3.4), read as strictly as they can be. Shares nothing with the product."""

from __future__ import annotations

import json
import re
from typing import Any

MAXIMA = {"version": 255, "mbusTelegram": 255, "dlmsUnit": 255, "dlmsDataType": 255}
CLASSES = ("clock", "register", "data", "profile_generic")
KEY = re.compile(
    r"mbus\.dib\.(([0-9a-f]{2}){2,}|\S.*\.\d+\.\d+\.\d+\.[0-3])\.unmodifiedvalue"
    r"|mbus\.frame\.raw|mbus\.telegram\.decoded\.(value|header)"
)
ENTRY: dict[str, tuple[type, ...]] = {
    "includeInPush": (str,),
    "mbusTelegram": (int,),
    "mbusKeys": (list,),
    "dlmsObisCode": (str,),
    "dlmsScaler": (int,),
    "dlmsUnit": (int,),
    "dlmsClass": (str,),
    "dlmsDataType": (int,),
    "dlmsDefaultValue": (str, type(None)),
    "mbusUnit": (str, type(None)),
    "mbusDescriptionLong": (str, type(None)),
    "mbusTariff": (int, type(None)),
    "mbusStorageNumber": (int, type(None)),
    "mbusSubUnit": (int, type(None)),
    "mbusFunction": (str, type(None)),
}
"""The properties of an entry in the order of the examples, with the types that they have there."""


def objections(text: str, *, template: bool = False) -> list[str]:
    """Why the original would not take a file, or not as it is meant. A template may lack OBIS codes, and keys then."""
    file = json.loads(text)
    found = []
    if list(file) != ["type", "manufacturer", "version", "entries"]:
        found.append(f"properties {list(file)}")
    if type(file["type"]) is not str or not re.fullmatch("[a-z][a-z-]*", file["type"]):
        found.append(f"type {file['type']!r}")
    if not re.fullmatch("[A-Z]{3}|all", file["manufacturer"]):
        found.append(f"manufacturer {file['manufacturer']!r}")
    found += _number("version", file["version"])
    for number, entry in enumerate(file["entries"]):
        found += [f"entries[{number}]: {each}" for each in _of_entry(entry, template)]
    return found


def _of_entry(entry: dict[str, Any], template: bool) -> list[str]:
    if list(entry) != list(ENTRY):
        return [f"properties {list(entry)}"]
    waits = template and entry["dlmsObisCode"] is None
    found = [
        f"{name} {entry[name]!r}"
        for name, types in ENTRY.items()
        if type(entry[name]) not in types and not (waits and name == "dlmsObisCode")
    ]
    if found:
        return found
    for name in MAXIMA.keys() & entry.keys():
        found += _number(name, entry[name])
    if not -128 <= entry["dlmsScaler"] <= 127:
        found.append(f"dlmsScaler {entry['dlmsScaler']}")
    if entry["includeInPush"] not in ("ALL", "NONE"):
        found.append(f"includeInPush {entry['includeInPush']!r}")
    if entry["dlmsClass"] not in CLASSES:
        found.append(f"dlmsClass {entry['dlmsClass']!r}")
    if not waits:
        if not re.fullmatch(r"(\d{1,3}\.){5}\d{1,3}", str(entry["dlmsObisCode"])):
            found.append(f"dlmsObisCode {entry['dlmsObisCode']!r}")
        if not entry["mbusKeys"]:
            found.append("no mbusKeys")
    return found + [f"key {key!r}" for key in entry["mbusKeys"] if not KEY.fullmatch(key)]


def _number(name: str, value: object) -> list[str]:
    fits = type(value) is int and 0 <= value <= MAXIMA[name]
    return [] if fits else [f"{name} {value!r}"]

"""Dialects: the codes that a head-end system expects where it expects others than the standard ones.

A dialect is a small TOML file, named as the dialect is:

    about = "One sentence, for people."

    [objects]                               # names as in [obis] of config.toml
    load_profile_1 = "0.1.24.3.0.255"

    [values]                                # code in the mapping files, and what clients see instead
    "8.0.2.0.0.255" = "0.1.24.2.4.255"
    "8.0.1.0.0.255" = { code = "0.1.24.2.1.255", class = "extended_register" }

Mapping files keep their standard codes: a dialect is applied where their entries are taken up for clients
(`core.mapping.translation`). Those that come with the program are in the folder beside this module.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.config import DIALECT_NAME, ConfigError, nearest
from core.cosem import codes, names, obis
from core.cosem.codes import Codes

MAX_BYTES: Final = 64 << 10
LONGEST_ABOUT: Final = 200
REGISTERS: Final = {"register": 3, "extended_register": 4}
"""Classes that can be exchanged: an extended register is a register with status and capture time besides."""

_FOLDER: Final = Path(__file__).parent / "dialects"
_KEYS: Final = ("about", "objects", "values")
_CODE: Final = 'an OBIS code of six numbers from 0 to 255 in quotes, as in "0.1.24.2.1.255"'


@dataclass(frozen=True, slots=True)
class Target:
    """What clients see instead of a standard code."""

    code: bytes
    class_id: int | None
    """3 or 4: for registers only, all of which become this class. None: for every class, which stays."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A valid dialect."""

    name: str
    about: str
    codes: Codes
    """Of the objects whose codes are decided here."""
    values: Mapping[bytes, Target]
    """By standard code."""

    def codes_with(self, overrides: Mapping[str, str]) -> Codes:
        """The codes of the decided objects with those of [obis] over them. Raises ConfigError where they cannot be."""
        found = codes.resolve(overrides, self.codes)
        taken = {getattr(found, name): name for name in codes.NAMES}
        for standard, target in self.values.items():
            if target.code in taken:
                raise ConfigError(
                    f"config.toml: [obis] gives {taken[target.code]} the code {obis.text(target.code)}, which is that "
                    f'of {obis.text(standard)} in the dialect "{self.name}"; choose a different one.'
                )
        return found


def known(folder: Path) -> tuple[str, ...]:
    """Names of the dialects that can be chosen: those that ship, then those in `folder`, by name.

    Looks at names only: an own one may still turn out not to be valid. A folder that cannot be read has none.
    """
    try:
        own = [path.stem for path in own_files(folder)]
    except ConfigError:
        own = []
    return (*SHIPPED, *(name for name in own if name not in SHIPPED and re.fullmatch(DIALECT_NAME, name)))


def own_files(folder: Path) -> list[Path]:
    """The dialects in a folder, by name, valid or not; none where there is no folder. Raises ConfigError."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be read: {error.strerror}; give this user the right to."
        ) from error


def find(name: str, folder: Path) -> Dialect:
    """The dialect of this name, shipped or in `folder`. Raises ConfigError where there is none or it is not valid."""
    if name in SHIPPED:
        return _read(_FOLDER / f"{name}.toml")
    path = folder / f"{name}.toml"
    if path not in own_files(folder):
        raise ConfigError(
            f'config.toml: [dlms] dialect "{name}" does not come with the program, and there is no file {path}'
            f"{nearest(name, known(folder))}"
        )
    return read_own(path)


def read_own(path: Path) -> Dialect:
    """The dialect in a file of one's own. Raises ConfigError, which names file and key."""
    if path.stem in SHIPPED:
        raise ConfigError(
            f"{path} has the name of a dialect that comes with the program; give it another one."
        )
    return _read(path)


def _read(path: Path) -> Dialect:
    if not re.fullmatch(DIALECT_NAME, path.stem):
        raise ConfigError(
            f"{path} is no name for a dialect; use 1 to 32 letters without accents, digits, - and _, and .toml."
        )
    raw = _load(path)
    _check_keys(raw, _KEYS, f"{path}:")
    about = raw.get("about")
    if not isinstance(about, str) or not about.isprintable() or not 0 < len(about) <= LONGEST_ABOUT:
        raise ConfigError(f"{path}: about must be a text of 1 to {LONGEST_ABOUT} characters on one line.")
    decided = _objects(_table(raw, "objects", path), f"{path}: [objects]")
    values = _values(_table(raw, "values", path), f"{path}: [values]")
    _check_targets(values, decided, f"{path}: [values]")
    return Dialect(path.stem, about, decided, values)


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is no file.")  # opening a pipe would wait for a writer
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KiB, which no dialect needs.")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give this user the right to.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it there.") from error
    except RecursionError:
        raise ConfigError(f"{path} is nested deeper than any dialect is; correct it there.") from None
    except ValueError:
        raise ConfigError(f"{path} has a number with too many digits; correct it there.") from None


def _table(raw: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} must be a table: write [{name}] on a line of its own.")
    return table


def _objects(table: Mapping[str, Any], where: str) -> Codes:
    for name, text in table.items():
        _code(text, f"{where} {name[:40]} must be {_CODE}.")
    return codes.resolve(table, where=where)


def _values(table: Mapping[str, Any], where: str) -> dict[bytes, Target]:
    found: dict[bytes, Target] = {}
    for key, value in table.items():
        standard = _code(key, f'{where} "{key[:40]}" must be {_CODE}.')
        if standard in found:
            raise ConfigError(
                f"{where} {key} stands there twice, spelled in two ways; delete one of the two."
            )
        found[standard] = _target(value, f"{where} {key}")
    return found


def _target(value: Any, where: str) -> Target:
    if not isinstance(value, dict):
        return Target(_code(value, f"{where} must be {_CODE}, or a table with code and class."), None)
    _check_keys(value, ("code", "class"), where)
    code = _code(value.get("code"), f"{where} code must be {_CODE}.")
    kind = value.get("class")
    if kind is None:
        return Target(code, None)
    if not isinstance(kind, str) or kind not in REGISTERS:
        raise ConfigError(
            f"{where} class must be one of {', '.join(REGISTERS)}: no others can be exchanged without loss."
        )
    return Target(code, REGISTERS[kind])


def _check_targets(values: Mapping[bytes, Target], decided: Codes, where: str) -> None:
    """Refuse what would give two objects of one meter the same code, whatever its mapping."""
    taken = {getattr(decided, name) for name in codes.NAMES} | names.OF_METERS
    first_of: dict[tuple[bytes, int], bytes] = {}
    for standard, target in values.items():
        text = obis.text(standard)
        if target.code in taken:
            raise ConfigError(
                f"{where} {text} must not become {obis.text(target.code)}, which another object of every "
                "meter has; choose a different code."
            )
        # Value group A is the medium: a meter for water has no value of heat that could meet its own there.
        first = first_of.setdefault((target.code, standard[0]), standard)
        if first != standard:
            raise ConfigError(
                f"{where} {obis.text(first)} and {text} are of one medium and cannot both become "
                f"{obis.text(target.code)}; change one of the two."
            )


def _check_keys(table: Mapping[str, Any], known_keys: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known_keys:
            raise ConfigError(f"{where} {key[:40]} is no known key{nearest(key[:40], known_keys)}")


def _code(text: Any, refusal: str) -> bytes:
    try:
        return obis.parse(text if isinstance(text, str) else "")
    except obis.ObisError:
        raise ConfigError(refusal) from None


SHIPPED: Final = tuple(path.stem for path in own_files(_FOLDER))
"""Names of the dialects that come with the program."""

STANDARD: Final = find("en13757", _FOLDER)
"""The one that changes nothing."""

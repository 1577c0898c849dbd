"""Changes to config.toml that keep what a technician wrote there: comments, order, spelling.

Every change is checked as a whole before the file is replaced, and the file is replaced in one step.
"""

from __future__ import annotations

import contextlib
import secrets
import stat
import threading
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli_w
import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from core.config import (
    FIRST_LOGICAL_DEVICE,
    SECTIONS,
    Config,
    ConfigError,
    NotWrittenError,
    PushReportConfig,
    load_config,
    nearest,
    parse_config,
)
from core.cosem import dialect
from core.settings import check_changeable
from core.statedir import StateDir, write_atomically

_PRODUCT = "0016"
"""First four digits of a serial: the product."""

_FIRST_TEXT = """\
# Configuration of this cme-tui gateway. Every key has a default; `cme-tui config check` says what is wrong.
#
# [[line]]
# name = "cellar"
# url = "serial:/dev/ttyUSB0"     # or "tcp:192.0.2.7:10001"
# baud = 2400
#
# [[meter]]
# line = "cellar"
# address = 5                     # primary, or secondary in quotes: "12345678.HYD.25.07"
# name = "cold water"

"""

_UNDO_HEAD: Final = (
    "# What the last save replaced in config.toml; `cme-tui config set --undo` puts it back.\n"
)

_REPORTS: Final = "push.report"

_changing: Final = threading.RLock()
"""One change at a time: a head-end can raise the policy while a reload gives new meters their addresses."""


Edit = Callable[[TOMLDocument, Config], None]
"""Changes a document, of which the configuration is what it says so far."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a gateway gave itself and its meters before; head-end systems know them by it."""

    serial: str = ""
    devices: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Logical device address by line and canonical address."""


class ConfigFile:
    """config.toml as something that can be changed.

    The methods read and write the disk, so they are not for the event loop. Each raises ConfigError and then
    has changed nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.name}.previous")
        """What the last `save` replaced: one level, also over restarts."""

    def load(self) -> Config:
        """What the file says now."""
        return load_config(self.path)

    def prepare(self, before: Given = Given()) -> Config:
        """Give the gateway its serial, and each meter that has none its logical device address; both once.

        A file that lost them, because somebody put another one in its place, gets those from `before` again.
        Called before a configuration is put to use, so that what a head-end system sees is on disk first.
        """
        with _changing:
            config = self.load()
            if config.gateway.serial and all(meter.logical_device is not None for meter in config.meters):
                return config

            def change(document: TOMLDocument) -> None:
                if not config.gateway.serial:
                    _section(document, "gateway")["serial"] = before.serial or new_serial()
                _give_devices(document, config, before)

            return self._change(change)

    def set_values(self, values: Mapping[str, Any]) -> Config:
        """Set keys of plain tables, {"dlms.port": 4060}; `None` removes a key, so that its default holds.

        The push reports are one key, "push.report": a list with a table for each, {"type": "load_profile_1", ...}.
        The dialect is left unchecked: a policy that a head-end raises is saved although its file is gone.
        """
        return self._change(lambda document: self._set(document, values))

    def planned(self, values: Mapping[str, Any]) -> Config:
        """What the file would say after `save`, which is checked as it would be; nothing is written."""
        check_changeable(values)
        config = self._change(lambda document: self._set(document, values), write=False)
        dialects = StateDir(self.path.parent).dialects
        dialect.find(config.dlms.dialect, dialects).codes_with(config.obis)
        return config

    def save(self, values: Mapping[str, Any]) -> Config:
        """`set_values`, by a person, who can take it back with `undo`."""
        with _changing:
            self.planned(values)  # refused before anything is written
            replaced = self._present(values)
            if replaced == values:
                return self.load()
            # First: a crash between the two leaves an undo that changes nothing, not one of an older save.
            self._write(self.previous, _undo_text(replaced), 0o600)
            return self.set_values(values)

    def replaced(self) -> dict[str, Any]:
        """What `undo` sets, as `set_values` takes it."""
        try:
            raw = tomllib.loads(self.previous.read_text(encoding="utf-8"))
            return {str(entry["key"]): entry.get("value") for entry in raw["replaced"]}
        except FileNotFoundError:
            raise ConfigError(
                f"There is nothing to take back on {self.path}: no settings were saved since the last undo."
            ) from None
        except OSError as error:
            raise ConfigError(f"{self.previous} cannot be read: {error.strerror}.") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.previous} is damaged; delete it, and set the values anew.") from error

    def undo(self) -> Config:
        """Put back what the last `save` replaced. All else stays, also what was changed since."""
        with _changing:
            values = self.replaced()
            self.planned(values)
            config = self.set_values(values)
            # One that cannot be deleted would set again what is set already.
            with contextlib.suppress(OSError):
                self.previous.unlink()
            return config

    def edited(self, edit: Edit, given: Given | None = None, *, write: bool = True) -> Config:
        """Change lines and meters as `core.config_tables` has it.

        With `given` meters that are new get their logical device addresses in the same step, as `prepare` gives
        them; without `write` nothing is written.
        """

        def change(document: TOMLDocument) -> None:
            edit(document, config)
            if given is not None:
                _give_devices(document, parse_config(tomlkit.dumps(document), self.path), given)

        with _changing:
            config = self.load()
            return self._change(change, write=write)

    def _set(self, document: TOMLDocument, values: Mapping[str, Any]) -> None:
        for dotted, value in values.items():
            name, _, key = dotted.partition(".")
            if name not in SECTIONS and name != "obis":
                raise ConfigError(
                    f"{self.path}: {name} is no known table{nearest(name, (*SECTIONS, 'obis'))}"
                )
            section = _section(document, name)
            if dotted == _REPORTS:
                _set_reports(section, [] if value is None else value)
                if not section and section.is_super_table():
                    del document[name]  # it had no header of its own
            elif value is not None:
                section[key] = value
            elif key in section:
                del section[key]

    def _present(self, names: Iterable[str]) -> dict[str, Any]:
        raw = tomllib.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        parts = {name: name.partition(".") for name in names}
        return {name: raw.get(table, {}).get(key) for name, (table, _, key) in parts.items()}

    def _change(self, change: Callable[[TOMLDocument], None], *, write: bool = True) -> Config:
        with _changing:
            return self._replace(change, write)

    def _replace(self, change: Callable[[TOMLDocument], None], write: bool) -> Config:
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else _FIRST_TEXT
            parse_config(text, self.path)
            document = tomlkit.parse(text)
            change(document)
            changed = tomlkit.dumps(document)
            # The writer is asked whether it wrote what it meant: a lost key would be found only in the field.
            if tomllib.loads(changed) != document.unwrap():
                raise ConfigError(
                    f"{self.path} is laid out in a way that cannot be changed here; edit it by hand."
                )
            config = parse_config(changed, self.path)
            changed.encode()
            mode = stat.S_IMODE(self.path.stat().st_mode) if self.path.exists() else 0o600
        except (TOMLKitError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{self.path} cannot be changed here: {error}; edit it by hand.") from error
        except UnicodeEncodeError as error:
            raise ConfigError(f"{self.path}: a value holds what is no character; leave it out.") from error
        except OSError as error:
            raise _not_writable(self.path, error) from error
        if write and changed != text:
            self._write(self.path, changed, mode)
        return config

    def _write(self, path: Path, text: str, mode: int) -> None:
        try:
            write_atomically(path, text.encode(), mode)
        except OSError as error:
            raise _not_writable(path, error) from error


def new_serial() -> str:
    """A serial for a gateway that has none: 10 digits, the last six at random."""
    return f"{_PRODUCT}{secrets.randbelow(1_000_000):06d}"


def _not_writable(path: Path, error: OSError) -> NotWrittenError:
    return NotWrittenError(
        f"{path} cannot be written: {error.strerror}; free space there or give this user the right to."
    )


def _undo_text(replaced: Mapping[str, Any]) -> str:
    entries = [
        {"key": name} if value is None else {"key": name, "value": value} for name, value in replaced.items()
    ]
    return _UNDO_HEAD + tomli_w.dumps({"replaced": entries})


def _give_devices(document: TOMLDocument, config: Config, before: Given) -> None:
    for table, device in zip(document.get("meter", []), _devices(config, before), strict=True):
        if "logical_device" not in table:
            table["logical_device"] = device


def _devices(config: Config, before: Given) -> list[int]:
    """The logical device address of each meter: as configured, else as before, else the next free one."""
    devices = [meter.logical_device for meter in config.meters]
    taken = set(devices)
    for number, meter in enumerate(config.meters):
        known = before.devices.get(meter.place)
        if devices[number] is None and known is not None and known not in taken:
            devices[number] = known
            taken.add(known)
    free = (number for number in range(FIRST_LOGICAL_DEVICE, 1 << 16) if number not in taken)
    return [next(free) if device is None else device for device in devices]


def _section(document: TOMLDocument, name: str) -> Any:
    if name not in document:
        _blank_line(document)
        document[name] = tomlkit.table()
    return document[name]


def _set_reports(push: Any, reports: object) -> None:
    """Have exactly these tables, each in the place of the one of its type, so that comments stay where they can."""
    tables = reports if isinstance(reports, list) else [None]
    wanted: dict[str, Any] = {_report_type(table): table for table in tables}
    if len(wanted) != len(tables):
        raise ConfigError("push.report takes each type of report once.")
    present: Any = push.get("report", [])
    for number in reversed(range(len(present))):
        values = wanted.pop(_report_type(present[number]), None)
        if values is None:
            del present[number]
        else:
            _update(present[number], values)
    if "report" in push and not present:
        del push["report"]
    for values in wanted.values():
        append_table(push, "report", values)


def _report_type(table: object) -> str:
    kind = table.get("type", PushReportConfig().type) if isinstance(table, Mapping) else None
    if not isinstance(kind, str):
        raise ConfigError('push.report takes a list of tables, each with its "type" in quotes.')
    return kind


def _update(table: Any, values: Mapping[str, Any]) -> None:
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if table.get(key) != value:
            table[key] = value


def append_table(document: Any, name: str, values: Mapping[str, Any]) -> None:
    """Add a table to a list of tables, such as [[meter]], which is made where there is none."""
    if name not in document:
        _blank_line(document)
        document[name] = tomlkit.aot()
    tables: Any = document[name]
    # The list can also be written on one line, and then only takes tables that are.
    if isinstance(tables, AoT):
        table: Any = tomlkit.table()
        if tables:
            _blank_line(tables[-1])
    else:
        table = tomlkit.inline_table()
    table.update(values)
    tables.append(table)


def _blank_line(before: Any) -> None:
    if before.as_string() and not before.as_string().endswith("\n\n"):
        before.add(tomlkit.nl())

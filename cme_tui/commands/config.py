"""`cme-tui config`: what is set, what is wrong with it, and changing it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cme_tui.client import ask, change
from cme_tui.commands.arguments import add_actions, misused, state_dir
from cme_tui.commands.misfits import tell_misfits
from core.config import Config, ConfigError, load_config, nearest
from core.config_file import ConfigFile
from core.cosem import dialect
from core.cosem.dialect import STANDARD, Dialect
from core.settings import lowered, plain, settings, typed
from core.statedir import StateDir

_YES_HELP: Final = "also where that lowers authentication or policy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    action = add_actions(parser)
    action("check", help="say what is wrong in config.toml")
    getting = action("get", help="print settings")
    getting.add_argument(
        "key", metavar="TABLE.KEY", nargs="?", help="a table, too; everything where not given"
    )
    action("dialects", help="list the dialects for dlms.dialect")
    changing = action("set", help="change settings, also of a running gateway")
    changing.add_argument("words", metavar="TABLE.KEY VALUE", nargs="*", default=[])
    changing.add_argument("--undo", action="store_true", help="take back the last change instead")
    changing.add_argument("--yes", action="store_true", help=_YES_HELP)
    resetting = action("reset", help="set settings back to their defaults")
    resetting.add_argument("keys", metavar="TABLE.KEY", nargs="+")
    resetting.add_argument("--yes", action="store_true", help=_YES_HELP)


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    place = state_dir(arguments)
    match arguments.action:
        case "check":
            return check(place)
        case "get":
            return get(place, arguments.key)
        case "dialects":
            return list_dialects(place)
        case "reset":
            return reset(place, arguments.keys, lower=arguments.yes)
    if arguments.undo == bool(arguments.words):
        return misused("cme-tui config set", "give settings with their values, or --undo")
    if arguments.undo:
        return undo(place, lower=arguments.yes)
    return set_values(place, arguments.words, lower=arguments.yes)


def check(state_dir: Path) -> int:
    """Say whether config.toml can be used; exit 2 and the sentence that says what is wrong where not."""
    path = StateDir(state_dir).config
    try:
        config = load_config(path)
        _dialect(state_dir, config)
    except ConfigError as error:
        return _refuse(str(error))
    if not path.exists():
        print(f"{path} does not exist: every setting has its default.")
        return 0
    print(f"{path} is in order (lines: {len(config.lines)}, meters: {len(config.meters)}).")
    return 0


def get(state_dir: Path, key: str | None) -> int:
    """Print the value of a key such as `dlms.port`, whether set or default; of a table; or of everything.

    Exit 2 where there is no such key. Raises ConfigError where the file cannot be used.
    """
    config = load_config(StateDir(state_dir).config)
    known = _everything(config, _dialect(state_dir, config))
    if key in known:
        print(_text(known[key]))
        return 0
    wanted = {name: value for name, value in known.items() if key is None or name.startswith(f"{key}.")}
    if not wanted:
        return _refuse(f"{key} is no known key{nearest(str(key), known)}")
    for name, value in wanted.items():
        print(f"{name} = {_text(value)}")
    return 0


def list_dialects(state_dir: Path) -> int:
    """Print the dialects that can be chosen, and where own ones are. Exit 2 if one of those cannot be used."""
    problems = []
    for name in dialect.SHIPPED:
        print(f"{name}  (shipped)  {dialect.find(name, StateDir(state_dir).dialects).about}")
    for path in dialect.own_files(StateDir(state_dir).dialects):
        try:
            print(f"{path.stem}  ({path})  {dialect.read_own(path).about}")
        except ConfigError as error:
            problems.append(str(error))
    for problem in problems:
        _refuse(problem)
    return 2 if problems else 0


def set_values(state_dir: Path, words: Sequence[str], *, lower: bool) -> int:
    """Save settings, `words` being names and values in turn, and have a running gateway apply them.

    Exit 2 where that makes the gateway less secure and not `lower`. Raises CmeError, and then nothing has changed.
    """
    if len(words) % 2:
        return _refuse(f"{words[-1]} has no value; write TABLE.KEY VALUE, in turn.")
    names = words[::2]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        return _refuse(f"{repeated} is there twice; give it one value.")
    values = {name: typed(name, text) for name, text in zip(names, words[1::2], strict=True)}
    return _save(state_dir, values, lower)


def reset(state_dir: Path, names: Sequence[str], *, lower: bool) -> int:
    """Save the defaults of settings. Exit code and errors as with `set_values`; exit 2 for a name that is not known."""
    known = [each.name for each in settings(Config())]
    if unknown := next((name for name in names if name not in known), None):
        return _refuse(f"{unknown} is no known key{nearest(unknown, known)}")
    return _save(state_dir, dict.fromkeys(names), lower)


def undo(state_dir: Path, *, lower: bool) -> int:
    """Take back the last save of settings. Exit code and errors as with `set_values`."""
    values = ConfigFile(StateDir(state_dir).config).replaced()
    return _change(state_dir, values, lambda state: ConfigFile(state.config).undo(), lower, "undo", {})


def _save(state_dir: Path, values: Mapping[str, Any], lower: bool) -> int:
    def stopped(state: StateDir) -> None:
        ConfigFile(state.config).save(values)

    return _change(state_dir, values, stopped, lower, "configure", {"values": values})


def _change(
    state_dir: Path,
    values: Mapping[str, Any],
    stopped: Callable[[StateDir], object],
    lower: bool,
    call: str,
    parameters: Mapping[str, Any],
) -> int:
    file = ConfigFile(StateDir(state_dir).config)
    old, new = file.load(), file.planned(values)
    sentences = lowered(old, new)
    if sentences and not lower:
        return _refuse(" ".join((*sentences, "To do it all the same, add --yes.")))
    if old.readout != new.readout:
        tell_misfits(state_dir, new, values=values)
    running = change(state_dir, stopped, call, **parameters)
    _report(state_dir, old, new)
    if not running:
        print("No gateway is running here: this holds from the next start on.")
        return 0
    if old.dlms != new.dlms:
        _tell_of_another_place(state_dir, new)
    return 0


def _report(state_dir: Path, old: Config, new: Config) -> None:
    try:
        spoken = _dialect(state_dir, old)
    except ConfigError:
        spoken = STANDARD  # the change may be the one that puts it right
    before, after = _everything(old, spoken), _everything(new, _dialect(state_dir, new))
    changed = [name for name, value in after.items() if before.get(name) != value]
    for name in changed:
        print(f"{name} = {_text(after[name])} (was {_text(before.get(name, ''))})")
    if not changed:
        print("All of this was set already.")


def _tell_of_another_place(state_dir: Path, config: Config) -> None:
    dlms = ask(state_dir, "status")["dlms"]
    if dlms["listening"] and (dlms["host"], dlms["port"]) != (config.dlms.host, config.dlms.port):
        print(
            f"The gateway goes on listening on {dlms['host']}:{dlms['port']}, as its command line says "
            "(--dlms-host, --dlms-port); start it without to have it use the configured address."
        )


def _dialect(state_dir: Path, config: Config) -> Dialect:
    """The dialect of a configuration. Raises ConfigError where it, or [obis] with it, cannot be used."""
    found = dialect.find(config.dlms.dialect, StateDir(state_dir).dialects)
    found.codes_with(config.obis)
    return found


def _everything(config: Config, spoken: Dialect) -> dict[str, Any]:
    """All keys with their values; lines, meters and reports are numbered in the order of the file."""
    known: dict[str, Any] = {each.name: each.value for each in settings(config, spoken)}
    lists: dict[str, tuple[Any, ...]] = {
        "push.report": config.push.reports,
        "line": config.lines,
        "meter": config.meters,
    }
    for name, tables in lists.items():
        for number, table in enumerate(tables, 1):
            for field in dataclasses.fields(table):
                known[f"{name}.{number}.{field.name}"] = plain(getattr(table, field.name))
    return known


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse(sentence: str) -> int:
    print(f"cme-tui: {sentence}", file=sys.stderr)
    return 2

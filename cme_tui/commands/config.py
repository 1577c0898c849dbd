"""`cme-tui config`: what is set, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from core.config import SECTIONS, ConfigError, load_config, nearest
from core.cosem import codes
from core.statedir import StateDir


def check(state_dir: Path) -> int:
    """Say whether config.toml can be used; exit 2 and the sentence that says what is wrong where not."""
    path = StateDir(state_dir).config
    try:
        config = load_config(path)
        codes.resolve(config.obis)
    except ConfigError as error:
        return _refuse(str(error))
    if not path.exists():
        print(f"{path} does not exist: every setting has its default.")
        return 0
    print(f"{path} is in order (lines: {len(config.lines)}, meters: {len(config.meters)}).")
    return 0


def get(state_dir: Path, key: str) -> int:
    """Print the value of a key such as `dlms.port`, whether set or default.

    Exit 2 where there is no such key. Raises ConfigError where the file cannot be used.
    """
    config = load_config(StateDir(state_dir).config)
    section, _, name = key.partition(".")
    if section == "obis":
        known: dict[str, Any] = dict(config.obis)
    elif section in SECTIONS:
        values = getattr(config, section)
        names = [spec.name for spec in dataclasses.fields(values) if spec.name != "reports"]
        known = {each: getattr(values, each) for each in names}
    else:
        return _refuse(f"{section} is no known table{nearest(section, [*SECTIONS, 'obis'])}")
    if not name:
        for each, value in known.items():
            print(f"{section}.{each} = {_text(value)}")
    elif name in known:
        print(_text(known[name]))
    elif section == "obis":
        return _refuse(f"{key} is not set: the object has the code that it is given by default.")
    else:
        return _refuse(f"[{section}] {name} is no known key{nearest(name, known)}")
    return 0


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse(sentence: str) -> int:
    print(f"cme-tui: {sentence}", file=sys.stderr)
    return 2

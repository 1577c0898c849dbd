"""Files that somebody puts in the place of a mapping file, by accident or not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOOD = {"type": "gas", "manufacturer": "all", "version": 0, "entries": []}
ENTRY = {
    "mbusKeys": ["mbus.dib.0c13.unmodifiedvalue"],
    "dlmsObisCode": "8.0.1.0.0.255",
    "dlmsScaler": -3,
    "dlmsUnit": 13,
    "dlmsClass": "register",
    "dlmsDataType": 6,
}
_HUGE = 1 << 30


def file(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def entries(**changes: Any) -> bytes:
    return file(entries=[{**ENTRY, **changes}])


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n" * 1000,
    "half-written": entries()[:-20],
    "noise": bytes(range(256)) * 16,
    "nul-bytes": entries().replace(b" ", b"\0"),
    "nul-at-the-end": entries() + b"\0" * 4096,
    "utf-16": entries().decode().encode("utf-16"),
    "two-documents": entries() + entries(),
    "deep-list": b'{"entries":' + b"[" * 500_000,
    "deep-objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deeper-than-allowed": file(x=json.loads("[" * 16 + "]" * 16)),
    "a-list": b"[]",
    "a-text": b'"water"',
    "a-number": b"1",
    "null": b"null",
    "type-is-a-list": file(type=["gas"]),
    "type-turns-around": file(type="sag\u202e"),
    "type-with-escapes": file(type="gas\u001b[2J"),
    "manufacturer-is-null": file(manufacturer=None),
    "version-is-a-text": file(version="1"),
    "version-is-true": file(version=True),
    "version-too-large": b'{"type": "gas", "manufacturer": "all", "version": 1' + b"0" * 400 + b"}",
    "entries-is-an-object": file(entries={}),
    "entry-is-a-list": file(entries=[[]]),
    "too-many-entries": file(entries=[{}] * 2001),
    "too-many-keys": entries(mbusKeys=["mbus.frame.raw"] * 65),
    "key-without-end": entries(mbusKeys=["mbus.dib." + "1.1.1.1." * 20_000 + "x.value"]),
    "key-that-almost-fits": entries(mbusKeys=["mbus.dib." + "a .1.1.1." * 20 + "9.value"]),
    "code-without-end": entries(dlmsObisCode="8." * 100_000),
    "scaler-beyond": entries(dlmsScaler=10**400),
    "scaler-is-minus-zero-point-zero": entries().replace(b"-3", b"-0.0"),
    "infinite": entries().replace(b"-3", b"1e999"),
    "not-a-number": entries().replace(b"-3", b"NaN"),
    "digits-without-end": entries().replace(b"-3", b"9" * 100_000),
    "half-a-surrogate-pair": file().replace(b"gas", b"\\ud83d"),
    "default-beyond": entries(dlmsDefaultValue=10**400),
    "default-too-long": entries(dlmsDataType=10, dlmsDefaultValue="x" * 5000),
    "a-property-twice": b'{"type": "gas", ' + file()[1:],
    "a-property-of-an-entry-twice": entries().replace(b'"dlmsUnit"', b'"dlmsScaler": 0, "dlmsUnit"'),
    "one-code-twice": file(entries=[ENTRY, ENTRY]),
}


def _sparse(path: Path) -> None:
    with path.open("wb") as huge:
        huge.write(file())
        huge.truncate(_HUGE)


FILES: dict[str, Callable[[Path], None]] = {
    **{
        name: lambda path, content=content: path.write_bytes(content)  # type: ignore[misc]
        for name, content in CONTENTS.items()
    },
    "a-gigabyte": _sparse,
    "zeros-without-end": lambda path: path.symlink_to("/dev/zero"),
    "noise-without-end": lambda path: path.symlink_to("/dev/urandom"),
    "a-pipe": os.mkfifo,
    "a-link-to-a-folder": lambda path: path.symlink_to("/"),
    "a-folder": Path.mkdir,
    "a-loop": lambda path: path.symlink_to(path),
    "a-link-to-nowhere": lambda path: path.symlink_to(path.parent / "nowhere"),
    "unreadable": lambda path: path.symlink_to("/proc/self/mem"),  # to root as well
    "a-terminal": lambda path: path.symlink_to("/dev/tty"),
}
"""By a name that is fit for a file: what makes it at a path. None of them is a mapping file."""

NAMES = ("nosj.\u202ejson.json", "\x1b[2J.json", "\x9b31m.json", "a\nb.json", "\udcff.json", "a\u2028b.json")
"""Names that nobody may have to look at."""

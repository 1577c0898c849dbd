"""What the installed program is, as one number: a head-end sees whether two gateways run the same."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("cme_tui", "core")


def package_signature() -> bytes:
    """SHA-256 (32 bytes) over names and contents of all installed files of the program, without compiled ones.

    Reads some hundred files: call it once, in a thread.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            root = Path(place)
            for name in sorted(_files(root)):
                content = (root / name).read_bytes()
                # Lengths too, so that no byte can move from a name or a file to the next.
                digest.update(f"{package}/{name} {len(content)}\n".encode())
                digest.update(content)
    return digest.digest()


def _files(root: Path) -> list[str]:
    return [
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    ]

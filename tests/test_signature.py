"""The signature of the installed package follows what is installed, not where or when."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import core

SHOW = "from core.signature import package_signature; print(package_signature().hex())"


def signature(place: Path) -> str:
    """As the program installed in `place` sees it."""
    run = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=place, capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout.strip()


def test_the_signature_changes_with_any_file_and_with_nothing_else(tmp_path: Path) -> None:
    """32 bytes; compiled files do not count; one byte more, another name, or a file more do."""
    place = tmp_path / "one"
    for package in ("core", "cme_tui"):
        shutil.copytree(Path(core.__file__).parent.parent / package, place / package)
    before = signature(place)
    assert len(bytes.fromhex(before)) == 32
    (place / "core" / "old.pyc").write_bytes(b"compiled")
    (place / "cme_tui" / "__pycache__").mkdir(exist_ok=True)
    (place / "cme_tui" / "__pycache__" / "new.cpython-311.pyc").write_bytes(b"compiled")
    place.rename(tmp_path / "two")
    place = tmp_path / "two"
    assert signature(place) == before
    seen = {before}
    help_file = place / "cme_tui" / "note.txt"
    for change in (
        lambda: help_file.write_text("a"),
        lambda: help_file.write_text("b"),
        lambda: help_file.rename(help_file.with_name("other.txt")),
        lambda: (place / "core" / "empty.txt").touch(),
    ):
        change()
        seen.add(signature(place))
    assert len(seen) == 5

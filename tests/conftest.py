"""What every test may need."""

from pathlib import Path

TELEGRAMS = Path(__file__).parent.parent / "core" / "mbus" / "telegrams"

"""What every test may need."""

from pathlib import Path

from hypothesis import settings

TELEGRAMS = Path(__file__).parent.parent / "core" / "mbus" / "telegrams"

# No test asserts a time: on a loaded machine any example can take long.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

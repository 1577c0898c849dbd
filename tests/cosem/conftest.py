"""The way to the small gateway of the DLMS tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "dlms"))

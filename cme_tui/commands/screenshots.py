"""Makes the pictures in screenshots/ by pressing keys in the running app; the same input gives the same bytes."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cme_tui.terminal import Profile

SMALL: Final = (80, 24)
LARGE: Final = (120, 40)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its file name, the size of the terminal in cells, and the keys that lead there."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    profile: Profile = "rich"
    meters: int = 7


SHOTS: Final = (
    Shot("overview", SMALL),
    Shot("overview-large", LARGE, meters=30),
    Shot("overview-serial-console", SMALL, profile="basic"),
    Shot("meters-filter", SMALL, ("f6", "slash", *"heat", "enter"), meters=60),
    Shot("meter", SMALL, ("f6", "down", "down", "enter", "down", "tab", "down", "down")),
    Shot("meter-large", LARGE, ("f6", "down", "down", "enter", "down", "down")),
    Shot("help", LARGE, ("f6", "f1")),
)


def run(directory: Path) -> int:
    """Write one SVG for each of `SHOTS` into `directory`. Returns 0."""
    for name in ("NO_COLOR", "TEXTUAL_THEME", "COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ["TZ"] = "UTC"
    time.tzset()
    directory.mkdir(parents=True, exist_ok=True)
    for shot in SHOTS:
        picture = asyncio.run(take(shot))
        (directory / f"{shot.name}.svg").write_text(picture, encoding="utf-8")
        print(f"{shot.name}.svg")
    return 0


async def take(shot: Shot) -> str:
    """The picture as SVG."""
    # Textual reads the environment when it is imported.
    from cme_tui.app import CmeApp
    from cme_tui.recorded import RecordedGateway

    gateway = RecordedGateway(shot.meters)
    app = CmeApp(gateway, clock=gateway.clock, profile=shot.profile)
    async with app.run_test(size=shot.size) as pilot:
        await pilot.press(*shot.keys)
        await app.workers.wait_for_complete()
        await pilot.pause()
        app.pull()
        await pilot.pause()
        return app.export_screenshot(title="cme-tui")

"""Changes of what the gateway is configured to do: one at a time, saved and applied as one, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from core.config import Config, Place
from core.config_file import ConfigFile, Edit, Given
from core.fleet import NOWHERE
from core.security import NOTHING

T = TypeVar("T")


class Apply(Protocol):
    """Puts a configuration to use: first all that can fail, then `save`, and only then what clients see."""

    async def __call__(
        self,
        config: Config,
        save: Callable[[], Config] | None = None,
        secrets: Mapping[str, str] = NOTHING,
        moved: Mapping[int, Place] = NOWHERE,
    ) -> None:
        """`secrets` are changes as `core.secrets.changed_secrets` takes them; `moved`: meters that change their place.

        Raises `CmeError`, changing nothing.
        """


class Changes:
    """Belongs to the core's event loop. Where a method raises `CmeError` nothing has changed."""

    def __init__(self, path: Path, current: Callable[[], Config], apply: Apply) -> None:
        """`path` is that of config.toml; `current` is the configuration that holds."""
        self._file = ConfigFile(path)
        self._current = current
        self._apply = apply
        self._alone = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def running(self) -> bool:
        """Whether a change is under way."""
        return self._alone.locked()

    async def close(self) -> None:
        """Give up the changes that are under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reload(self) -> None:
        """Apply what config.toml and secrets.toml say now."""

        async def change() -> None:
            await self._apply(await self.prepared())

        await self.alone(change)

    async def planned(self, values: Mapping[str, Any]) -> Config:
        """What config.toml would say after `configure`."""
        return await asyncio.to_thread(self._file.planned, values)

    async def configure(self, values: Mapping[str, Any]) -> None:
        """Save settings, as `ConfigFile.save` takes them, and apply them."""

        async def change() -> None:
            await self.prepared()
            config = await self.planned(values)
            await self._apply(config, save=lambda: self._file.save(values))

        await self.alone(change)

    async def undo(self) -> Mapping[str, Any]:
        """Take back the last save of settings, and apply that; what was put back, None for a default."""

        async def change() -> Mapping[str, Any]:
            await self.prepared()
            values = await self.replaced()
            await self._apply(await self.planned(values), save=self._file.undo)
            return values

        return await self.alone(change)

    async def replaced(self) -> Mapping[str, Any]:
        """What `undo` would put back."""
        return await asyncio.to_thread(self._file.replaced)

    async def set_secrets(self, values: Mapping[str, str]) -> None:
        """Save password and keys; they hold at once."""

        async def change() -> None:
            await self._apply(await self.prepared(), secrets=values)

        await self.alone(change)

    async def alone(self, change: Callable[[], Awaitable[T]]) -> T:
        """Do a change to its end, also where who asked for it does not wait: what is on disk must hold."""
        task = asyncio.create_task(self._locked(change))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _locked(self, change: Callable[[], Awaitable[T]]) -> T:
        async with self._alone:
            return await change()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who asked was told, or is gone

    async def edit(self, edit: Edit, moved: Mapping[int, Place] = NOWHERE) -> None:
        """Save a change of lines or meters, and apply it; to be called by a change that is alone."""
        given = self._given()
        config = await self.planned_edit(edit)
        await self._apply(config, save=lambda: self._file.edited(edit, given), moved=moved)

    async def planned_edit(self, edit: Edit) -> Config:
        """What config.toml would say after `edit`."""
        return await asyncio.to_thread(self._file.edited, edit, self._given(), write=False)

    async def prepared(self) -> Config:
        """What config.toml says, with what the gateway gave itself."""
        return await asyncio.to_thread(self._file.prepare, self._given())

    def _given(self) -> Given:
        now = self._current()
        devices = {meter.place: meter.logical_device or 0 for meter in now.meters}
        return Given(now.gateway.serial, devices)

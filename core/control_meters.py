"""The calls of the control socket that install, remove and command meters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from core.config import MeterConfig, parse_meter
from core.config_tables import NewMeters
from core.control_push import Call
from core.errors import BadInputError, CmeError
from core.facade import Gateway
from core.mbus.commands import (
    ApplicationReset,
    Command,
    SelectApplication,
    SetClock,
    SetPrimaryAddress,
    SwitchBaud,
)

COMMANDS: Final[Mapping[str, Callable[[int], Command]]] = MappingProxyType(
    {
        "set-address": SetPrimaryAddress,
        "set-baud": SwitchBaud,
        "reset": lambda _: ApplicationReset(),
        "select": SelectApplication,
        "set-clock": lambda _: SetClock(),
    }
)
"""Name -> the command that it is with a value, which reset and set-clock do not need."""


async def _install(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"installed": await asyncio.wrap_future(gateway.install_meters(_meters(request)))}


async def _misfits(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    values = request.get("values")
    change = values if isinstance(values, dict) else NewMeters(_meters(request))
    misfits = await asyncio.wrap_future(gateway.misfits(change))
    return {"misfits": list(misfits)}


def _meters(request: Mapping[str, Any]) -> list[MeterConfig]:
    listed = request.get("meters")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise CmeError('The call takes "meters", a list of objects with the keys of a [[meter]].')
    return [parse_meter(item, f"Meter number {number}:") for number, item in enumerate(listed, 1)]


async def _remove(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = request.get("logical_devices")
    if not isinstance(wanted, list):
        raise CmeError('The call takes "logical_devices", a list of numbers.')
    keys = {meter.logical_device: meter.key for meter in gateway.snapshot().meters}
    missing = [device for device in wanted if device not in keys]
    if missing:
        raise BadInputError(
            f"No meter has the logical device {missing[0]!r}; 'cme-tui meters list' names them."
        )
    return {"removed": await asyncio.wrap_future(gateway.remove_meters([keys[device] for device in wanted]))}


async def _command(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    line, address, name, value = map(request.get, ("line", "address", "command", "value"), ("", "", "", 0))
    texts = isinstance(line, str) and isinstance(address, str) and isinstance(name, str)
    if not texts or name not in COMMANDS:
        raise CmeError(f'The call takes "line", "address" and "command", one of {", ".join(COMMANDS)}.')
    if type(value) is not int:
        raise CmeError('The call takes "value", a whole number.')
    sentence = await asyncio.wrap_future(gateway.command_meter(line, address, COMMANDS[name](value)))
    return {"result": sentence}


CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {"install_meters": _install, "misfits": _misfits, "remove_meters": _remove, "command_meter": _command}
)

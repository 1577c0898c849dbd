"""An object with methods and a note that is written slowly, to be put into a device of the plant."""

from __future__ import annotations

import asyncio
import struct
from typing import ClassVar

from dlms_plant import Device, Plant

from core.cosem import obis
from core.cosem.base import Context, CosemObject, DataAccessError
from core.dlms import axdr
from core.dlms.axdr import Value
from core.dlms.xdlms import DataAccessResult

ACTOR = obis.parse("0.0.96.3.10.255")
ECHO, PLAIN, SLOW_ECHO, DENIED, BROKEN, REFUSING = range(1, 7)


class Actor(CosemObject):
    """Class 70 with six methods: echo, plain, slow echo, one that is not granted, a broken one, one that refuses.

    Attribute 2 can be written at once, attribute 3 only when `release` is set; `done` says what was carried out.
    """

    class_id: ClassVar[int] = 70
    method_count: ClassVar[int] = 6

    def __init__(self) -> None:
        methods = {
            ECHO: self._echo,
            PLAIN: self._plain,
            SLOW_ECHO: self._slow_echo,
            BROKEN: self._broken,
            REFUSING: self._refuse,
        }
        super().__init__(
            ACTOR,
            (axdr.NULL, axdr.NULL),
            setters={2: self._write, 3: self._write_late},
            methods=methods,
        )
        self.done: list[object] = []
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

    @classmethod
    def in_plant(cls, plant: Plant, sap: int = 16) -> Actor:
        """A new one, in the device with this SAP."""
        actor = cls()
        device = plant.directory.by_sap[sap]
        objects = {**device.objects, (actor.class_id, actor.logical_name): actor}
        plant.directory.by_sap[sap] = Device(sap, device.name, objects)
        return actor

    def _write(self, value: Value, context: Context) -> None:
        self.done.append(value.content)

    async def _write_late(self, value: Value, context: Context) -> None:
        self.begun.set()
        await self.release.wait()
        self.done.append(value.content)

    def _echo(self, parameter: Value | None, context: Context) -> bytes:
        if parameter is None or not isinstance(parameter.content, bytes):
            raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
        self.done.append(parameter.content)
        return axdr.octet_string(parameter.content)

    def _plain(self, parameter: Value | None, context: Context) -> None:
        self.done.append("plain" if parameter is None else parameter.content)

    async def _slow_echo(self, parameter: Value | None, context: Context) -> bytes:
        self.begun.set()
        await self.release.wait()
        return self._echo(parameter, context)

    def _broken(self, parameter: Value | None, context: Context) -> None:
        raise RuntimeError("a fault in a method")

    def _refuse(self, parameter: Value | None, context: Context) -> None:
        raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE)


def method(number: int, class_id: int = Actor.class_id, name: bytes = ACTOR) -> bytes:
    """An encoded method descriptor."""
    return struct.pack(">H6sb", class_id, name, number)


def act(number: int, parameter: bytes | None = None, invoke: int = 0xC1) -> bytes:
    """An ACTION-Request-Normal to the actor."""
    given = b"\x00" if parameter is None else b"\x01" + parameter
    return bytes((0xC3, 1, invoke)) + method(number) + given


def act_list(*actions: tuple[int, bytes]) -> bytes:
    """An ACTION-Request-With-List to the actor."""
    count = axdr.length(len(actions))
    methods = b"".join(method(number) for number, _ in actions)
    return b"\xc3\x03\xc1" + count + methods + count + b"".join(parameter for _, parameter in actions)


def attribute(number: int) -> bytes:
    """An encoded attribute descriptor of the actor, without selection."""
    return struct.pack(">H6sb", Actor.class_id, ACTOR, number) + b"\x00"


def block(last: bool, number: int, data: bytes) -> bytes:
    """An encoded part of a long request."""
    return bytes((last,)) + number.to_bytes(4, "big") + axdr.length(len(data)) + data


def cut(data: bytes, size: int) -> list[bytes]:
    """The parts of `data`."""
    return [data[start : start + size] for start in range(0, len(data), size)]

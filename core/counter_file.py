"""The file with the exact invocation counters: they outlive a killed process without a wait for the disk.

What a process has written belongs to the kernel, so SIGKILL takes none of it; a power cut may. Therefore the file
carries the boot in which it was written, and the store has a ceiling for each counter in it. It is written with
`pwrite` and not through a memory map: a map answers a full disk with SIGBUS, and that would end the gateway.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.statedir import write_atomically

CLIENTS = 64
"""Client titles under one key that there is room for."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAGIC = b"CMECTR\x01\n"
_HEADER = struct.Struct("<8s36s16sI")  # magic, boot id, mark, CRC-32 of these
_SLOT = struct.Struct("<8sqI4x")  # title, counter, CRC-32 of key, number of the slot, title, counter
_KEY = 16
_BANK = _KEY + (1 + CLIENTS) * _SLOT.size  # the key, the sending counter, the clients
_BANKS = 2  # the key in use and, while keys change, the other one
_SIZE = _HEADER.size + _BANKS * _BANK


@dataclass(frozen=True, slots=True)
class LiveCounters:
    """What the file of an earlier run says."""

    mark: bytes
    """Of that run, 16 bytes."""
    same_boot: bool
    """Whether the machine has run without a break since, so that nothing written got lost."""
    counters: dict[tuple[bytes, bytes], int]
    """By (key, title): the last counter accepted from a client; with no title, the ceiling of sending."""


def read_counter_file(path: Path) -> LiveCounters | None:
    """What is in the file at `path`; `None` where it is missing or no such file. Damaged counters are left out."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) != _SIZE:
        return None
    magic, boot, mark, check = _HEADER.unpack_from(data)
    if magic != _MAGIC or check != zlib.crc32(data[: _HEADER.size - 4]):
        return None
    counters: dict[tuple[bytes, bytes], int] = {}
    for place, counter in _slots(data):
        # Two slots can name one client: it was replaced by another and came back.
        counters[place] = max(counter, counters.get(place, counter))
    return LiveCounters(mark, bool(boot.strip(b"\0")) and boot == _boot_id(), counters)


class CounterFile:
    """The file of the present run. Every method may raise OSError."""

    def __init__(self, path: Path, mark: bytes) -> None:
        """Make the file anew, with no counter in it; waits for the disk."""
        header = _HEADER.pack(_MAGIC, _boot_id(), mark, 0)[:-4]
        data = header + zlib.crc32(header).to_bytes(4, "little")
        write_atomically(path, data.ljust(_SIZE, b"\0"), 0o600)
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def begin(self, bank: int, key: bytes) -> None:
        """Give a bank (0 or 1) to another key, with no counter in it."""
        self._write(key.ljust(_BANK, b"\0"), _HEADER.size + bank * _BANK)

    def put(self, bank: int, key: bytes, slot: int, title: bytes, counter: int) -> None:
        """Note a counter of the key of `bank`: slot 0 for sending, 1 to `CLIENTS` for a client."""
        check = _check(key, slot, title, counter)
        offset = _HEADER.size + bank * _BANK + _KEY + slot * _SLOT.size
        self._write(_SLOT.pack(title, counter, check), offset)

    def close(self) -> None:
        """Leave the file as it is."""
        os.close(self._fd)

    def _write(self, data: bytes, offset: int) -> None:
        # All of it lies in one page, which the kernel fills before it lets a signal through.
        if os.pwrite(self._fd, data, offset) != len(data):
            raise OSError("the file was written by half")


def _slots(data: bytes) -> Iterator[tuple[tuple[bytes, bytes], int]]:
    for start in range(_HEADER.size, _SIZE, _BANK):
        key = data[start : start + _KEY]
        for slot, (title, counter, check) in enumerate(_SLOT.iter_unpack(data[start + _KEY : start + _BANK])):
            if check == _check(key, slot, title, counter):
                yield (key, title if slot else b""), counter


def _check(key: bytes, slot: int, title: bytes, counter: int) -> int:
    return zlib.crc32(b"%b%c%b%d" % (key, slot, title.ljust(8, b"\0"), counter))


def _boot_id() -> bytes:
    """36 bytes, zeros where the kernel tells none: then no file is of this boot."""
    try:
        return _BOOT_ID.read_bytes().strip()[:36].ljust(36, b"\0")
    except OSError:
        return bytes(36)

"""Walks the records of a telegram: where each begins, and what its DIF and VIF say (EN 13757-3 clause 6)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from core.mbus.record import Function, Template
from core.mbus.values import Coding
from core.mbus.vif import MAX_EXTENSIONS, Kind, Meaning, resolve

_SIZES: Final = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, None, 6)
"""Data bytes by data field 0..Eh; Dh says its length itself."""

_TIMES: Final = {2: Coding.DATE, 3: Coding.TIME, 4: Coding.DATETIME, 6: Coding.DATETIME_SECONDS}
_INTEGERS: Final = {
    Kind.UNSIGNED: Coding.UNSIGNED,
    Kind.BITS: Coding.BITS,
    Kind.OPAQUE: Coding.OPAQUE,
    Kind.NUMBER: Coding.SIGNED,
}
_FIXED_UNITS: Final[tuple[tuple[str, str, int], ...]] = (
    *(("energy", "Wh", n) for n in range(9)),
    *(("energy", "J", n) for n in range(3, 12)),
    *(("power", "W", n) for n in range(9)),
    *(("power", "J/h", n) for n in range(3, 12)),
    *(("volume", "m3", n) for n in range(-6, 3)),
    *(("volume-flow", "m3/h", n) for n in range(-6, 3)),
    ("temperature", "°C", -3),
    ("hca-units", "", 0),
)
"""Units 02h..39h of the fixed data structure (EN 1434-3 table of physical units)."""
_FIXED_HISTORIC: Final = 0x3E


_REGISTER_DIFE = 0x00
"""As the last DIFE it says that the storage number is the number of a historic register (OMS vol. 2, annex G): the
first of them is no value at the due date."""


class Walk:
    """The structure of the records between two offsets of a frame.

    `structural` holds the offset of every byte that the structure depends on: a frame with the same bytes
    there has the same structure. `error` says where the records break off, "" if they do not.
    """

    def __init__(self, body: bytes, start: int, end: int, *, msb_first: bool = False) -> None:
        self.templates: list[Template] = []
        self.structural: set[int] = set()
        self.more_follows = False
        self.error = ""
        self._body = body
        self._end = end
        self._msb_first = msb_first
        try:
            at = start
            while at < end:
                at = self._record(at)
        except _BrokenOffError as broken:
            self.error = str(broken)

    def _byte(self, at: int, what: str) -> int:
        if at >= self._end:
            raise _BrokenOffError(
                f"record {len(self.templates)} breaks off in its {what}: it ends at byte {self._end}"
            )
        self.structural.add(at)
        return self._body[at]

    def _record(self, start: int) -> int:
        """Read one record; returns the offset of the next."""
        dif = self._byte(start, "DIF")
        field = dif & 0x0F
        if field == 0x0F:
            return self._special(start, dif)
        storage, tariff, subunit = dif >> 6 & 1, 0, 0
        at = start
        count = 0
        while self._body[at] & 0x80:
            at += 1
            dife = self._byte(at, "DIFE")
            if count == MAX_EXTENSIONS:
                return self._unreadable(start, f"more than {MAX_EXTENSIONS} DIFEs")
            storage |= (dife & 0x0F) << (1 + 4 * count)
            tariff |= (dife >> 4 & 3) << (2 * count)
            subunit |= (dife >> 6 & 1) << count
            count += 1
        vif_at = at + 1
        vif = self._byte(vif_at, "VIF")
        text_at, text, vife_at = 0, "", vif_at + 1
        if vif & 0x7F == 0x7C:
            text_at = self._text_offset(vif_at)
            vife_at, text = self._text(text_at) if text_at == vif_at + 1 else (vif_at + 1, "")
        vib = bytearray([vif])
        while vib[-1] & 0x80:
            vib.append(self._byte(vife_at, "VIFE"))
            vife_at += 1
            if len(vib) > MAX_EXTENSIONS + 1:
                return self._unreadable(start, f"more than {MAX_EXTENSIONS} VIFEs")
        if text_at and text_at != vif_at + 1:
            vife_at, text = self._text(text_at)
        meaning = resolve(bytes(vib), text)
        if storage and self._body[vif_at - 1] == _REGISTER_DIFE:
            meaning = meaning._replace(modifiers=(*meaning.modifiers, "register"))
        data_at = vife_at
        size = _SIZES[field]
        if size is None:
            coding, size = self._variable(self._byte(data_at, "length byte"), meaning)
            data_at += 1
            if size < 0:
                return self._unreadable(start, f"reserved length code {self._body[data_at - 1]:02X}h")
        else:
            coding = _coding(field, size, meaning)
        if data_at + size > self._end:
            raise _BrokenOffError(
                f"record {len(self.templates)} breaks off in its data: needs {size} bytes at byte {data_at}, "
                f"the telegram ends at byte {self._end}"
            )
        error = meaning.error or ("a request for data, not a value" if field == 8 else "")
        self._add(
            meaning,
            coding,
            error,
            function=Function(dif >> 4 & 3),
            numbers=(storage, tariff, subunit),
            dif=self._body[start:vif_at],
            vib=bytes(vib),
            text=(text_at, text),
            spans=(start, data_at, size),
        )
        return data_at + size

    def _special(self, start: int, dif: int) -> int:
        """DIFs with the data field Fh: filler, the manufacturer's own data, or nothing that can be read."""
        if dif == 0x2F:
            return start + 1
        if dif not in (0x0F, 0x1F):
            return self._unreadable(start, f"reserved DIF {dif:02X}h")
        self.more_follows = dif == 0x1F
        size = self._end - start - 1
        meaning = Meaning("manufacturer-data", (), "", 0, Kind.NUMBER, "")
        self._add(meaning, Coding.BYTES, "", dif=bytes([dif]), spans=(start, start + 1, size))
        return self._end

    def _unreadable(self, start: int, reason: str) -> int:
        """Keep what cannot be read as one record to the end: where the next one begins is unknown too."""
        meaning = Meaning("unreadable", (), "", 0, Kind.NUMBER, "")
        error = f"{reason} in the record at byte {start}: this and what follows cannot be read"
        self._add(meaning, Coding.BYTES, error, dif=b"", spans=(start, start, self._end - start))
        return self._end

    def _text_offset(self, vif_at: int) -> int:
        """Where the length byte of a plain-text VIF is: at once (older meters), or behind the VIFEs."""
        if not self._body[vif_at] & 0x80 or self._is_text(vif_at + 1):
            return vif_at + 1
        at = vif_at + 1
        while at < self._end and at <= vif_at + MAX_EXTENSIONS and self._body[at] & 0x80:
            self.structural.add(at)
            at += 1
        return at + 1 if self._is_text(at + 1) else vif_at + 1

    def _is_text(self, at: int) -> bool:
        """Whether a length byte and as many printable characters are there. All it looks at is structure."""
        if at >= self._end:
            return False
        self.structural.add(at)
        stop = at + 1 + self._body[at]
        if stop > self._end or stop == at + 1:
            return False
        for n in range(at + 1, stop):
            self.structural.add(n)
            if not 0x20 <= self._body[n] < 0x7F:
                return False
        return True

    def _text(self, at: int) -> tuple[int, str]:
        """Read a plain text; returns the offset behind it and the text in reading order."""
        stop = at + 1 + self._byte(at, "plain-text VIF")
        for n in range(at + 1, stop):
            self._byte(n, "plain-text VIF")
        text = self._body[at + 1 : stop].decode("latin-1")
        return stop, text if self._msb_first else text[::-1]

    @staticmethod
    def _variable(code: int, meaning: Meaning) -> tuple[Coding, int]:
        """Coding and size by the length byte of variable length data (EN 13757-3, LVAR); -1 if reserved."""
        if code < 0xC0:
            return (Coding.OBIS if meaning.kind is Kind.OBIS else Coding.TEXT), code
        if code <= 0xC9:
            return Coding.BCD, code - 0xC0
        if 0xD0 <= code <= 0xD9:
            return Coding.NEGATIVE_BCD, code - 0xD0
        if 0xE0 <= code <= 0xEF:
            return Coding.BINARY, code - 0xE0
        if 0xF0 <= code <= 0xF4:
            return Coding.BINARY, 4 * (code - 0xEC)
        return Coding.BINARY, {0xF5: 48, 0xF6: 64}.get(code, -1)

    def _add(
        self,
        meaning: Meaning,
        coding: Coding,
        error: str,
        *,
        spans: tuple[int, int, int],
        dif: bytes,
        function: Function = Function.INSTANTANEOUS,
        numbers: tuple[int, int, int] = (0, 0, 0),
        vib: bytes = b"",
        text: tuple[int, str] = (0, ""),
    ) -> None:
        start, data_at, size = spans
        if size == 0 and coding in (Coding.BCD, Coding.NEGATIVE_BCD):
            coding = Coding.NONE
        self.templates.append(
            Template(
                index=len(self.templates),
                function=function,
                storage=numbers[0],
                tariff=numbers[1],
                subunit=numbers[2],
                quantity=meaning.quantity,
                modifiers=meaning.modifiers,
                description=" ".join((meaning.quantity, *meaning.modifiers)),
                unit=meaning.unit,
                exponent=meaning.exponent,
                scale=Decimal((0, (1,), meaning.exponent)),
                coding=coding,
                msb_first=self._msb_first and coding is not Coding.BYTES,
                error=error,
                offset=start,
                length=data_at + size - start,
                dif_length=len(dif),
                vif_length=len(vib),
                text_offset=text[0],
                text=text[1],
                data_offset=data_at,
                data_length=size,
                dif_hex=dif.hex(),
                vif_hex=vib.hex(),
            )
        )


def fixed_templates(
    units: tuple[int, int], *, offset: int, binary: bool, historic: bool, msb_first: bool
) -> list[Template]:
    """The two counters of a fixed data structure (EN 1434-3), 4 bytes each from `offset`.

    `units` are the 6-bit unit codes. A second unit of 3Eh means "as the first, but historic" (storage 1).
    """
    templates = []
    for n, code in enumerate(units):
        stored = historic
        if code == _FIXED_HISTORIC and n == 1:
            code, stored = units[0], True
        if 2 <= code < 2 + len(_FIXED_UNITS):
            quantity, unit, exponent = _FIXED_UNITS[code - 2]
        else:
            quantity, unit, exponent = (
                {0: "time", 1: "date", 0x3F: "dimensionless"}.get(code, f"reserved-{code:02x}"),
                "",
                0,
            )
        templates.append(
            Template(
                index=n,
                function=Function.INSTANTANEOUS,
                storage=int(stored),
                tariff=0,
                subunit=0,
                quantity=quantity,
                modifiers=(),
                description=quantity,
                unit=unit,
                exponent=exponent,
                scale=Decimal((0, (1,), exponent)),
                coding=Coding.SIGNED if binary else Coding.BCD,
                msb_first=msb_first,
                error="",
                offset=offset + 4 * n,
                length=4,
                dif_length=0,
                vif_length=0,
                text_offset=0,
                text="",
                data_offset=offset + 4 * n,
                data_length=4,
                dif_hex="",
                vif_hex="",
            )
        )
    return templates


def _coding(field: int, size: int, meaning: Meaning) -> Coding:
    if field in (0, 8):
        return Coding.NONE
    if field == 5:
        return Coding.REAL
    if field > 8:
        return Coding.BCD
    if meaning.kind is Kind.TIME:
        return _TIMES.get(size, Coding.SIGNED)
    if meaning.kind is Kind.OBIS:
        return Coding.OBIS if size == 6 else Coding.UNSIGNED
    return _INTEGERS[meaning.kind]


class _BrokenOffError(Exception):
    """The telegram ends inside of a record."""

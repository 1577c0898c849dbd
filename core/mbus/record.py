"""One value of a telegram: what every telegram of a meter repeats (template), and what changes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from operator import itemgetter
from typing import Final

from core.mbus import values
from core.mbus.values import Coding, RawValue, Value


class Function(IntEnum):
    """Function field of the DIF (EN 13757-3 clause 6)."""

    INSTANTANEOUS = 0
    MAXIMUM = 1
    MINIMUM = 2
    ERROR = 3

    @property
    def label(self) -> str:
        """The function in words."""
        return _FUNCTION_LABELS[self]


_FUNCTION_LABELS: Final = ("instantaneous", "maximum", "minimum", "error state")


@dataclass(frozen=True, slots=True)
class Template:
    """What the structure of a telegram says about one record; shared by all telegrams of that structure."""

    index: int
    function: Function
    storage: int
    tariff: int
    subunit: int
    quantity: str
    modifiers: tuple[str, ...]
    description: str
    unit: str
    exponent: int
    scale: Decimal  # 10**exponent
    coding: Coding
    msb_first: bool
    error: str  # why this record never holds a value; "" if it can
    offset: int  # of the first byte in the frame
    length: int  # of the whole record
    dif_length: int  # DIF with DIFEs; 0 in the fixed data structure
    vif_length: int  # VIF with VIFEs, without plain text
    text_offset: int  # of the length byte of a plain-text VIF; 0 if there is none
    text: str  # plain text of the VIF, in reading order
    data_offset: int
    data_length: int
    dif_hex: str
    vif_hex: str


class Record(tuple[Template, RawValue, Value, bytes]):
    """One value of a telegram: (template, raw, value, body), by name. Immutable.

    A tuple without a constructor of its own, because a decoder makes more of these than of anything else.
    """

    __slots__ = ()

    template: Template = property(itemgetter(0))  # type: ignore[assignment]
    """What the structure of the telegram says about this record."""
    raw: RawValue = property(itemgetter(1))  # type: ignore[assignment]
    """The value exactly as sent: integers and BCD as int, None when there is no valid value."""
    value: Value = property(itemgetter(2))  # type: ignore[assignment]
    """The exact value in `unit`: a Decimal for numbers, else as `raw`; None with an `error`.

    A 32-bit real number is the shortest decimal that reads back as the same real number.
    """
    body: bytes = property(itemgetter(3))  # type: ignore[assignment]
    """The frame that the offsets refer to; for an encrypted telegram the opened one."""

    def __repr__(self) -> str:
        shown = f"{self.value_text} {self.unit}".strip() if self.raw is not None else self.error
        return f"<Record {self.index}: {self.dib} {self.description} = {shown}>"

    @property
    def index(self) -> int:  # type: ignore[override]  # a record has a place; tuple.index is of no use here
        """Place in the telegram, from 0."""
        return self.template.index

    @property
    def function(self) -> Function:
        """Instantaneous, maximum, minimum, or value during error state."""
        return self.template.function

    @property
    def storage(self) -> int:
        """Storage number, 0 is the current value."""
        return self.template.storage

    @property
    def tariff(self) -> int:
        """Tariff, 0 is the total."""
        return self.template.tariff

    @property
    def subunit(self) -> int:
        """Subunit of the meter, 0 is the meter itself."""
        return self.template.subunit

    @property
    def quantity(self) -> str:
        """Token of what is measured: "volume", "flow-temp"; from a plain-text VIF its text."""
        return self.template.quantity

    @property
    def modifiers(self) -> tuple[str, ...]:
        """Tokens of the VIFEs, in order: ("backward-flow",)."""
        return self.template.modifiers

    @property
    def description(self) -> str:
        """Quantity and modifiers: "op-time data-error"."""
        return self.template.description

    @property
    def unit(self) -> str:
        """Unit of `value`: "m3", "Wh", "°C"; "" for none."""
        return self.template.unit

    @property
    def exponent(self) -> int:
        """Power of ten between `raw` and `value`."""
        return self.template.exponent

    @property
    def coding(self) -> Coding:
        """Data type of the record."""
        return self.template.coding

    @property
    def value_text(self) -> str:
        """The value for people and JSON: "85.946", times as ISO 8601, bytes as hex; "" with an `error`."""
        if self.value is None:
            return ""
        return f"{self.value:f}" if isinstance(self.value, Decimal) else self.raw_text

    @property
    def raw_text(self) -> str:
        """What the meter sent, readable even where it is no valid value: "85946", "2000-00-00", "12E4"."""
        if isinstance(self.raw, int):
            return str(self.raw)
        return values.read(self.template.coding, self.lsb_first).text

    @property
    def error(self) -> str:
        """Why there is no value; "" if there is one."""
        if self.raw is not None:
            return ""
        return self.template.error or values.read(self.template.coding, self.lsb_first).error

    @property
    def summer_time(self) -> bool | None:
        """Whether the meter marks its time as summer time; None where the data type cannot say."""
        return values.summer_time(self.template.coding, self.lsb_first)

    @property
    def obis(self) -> str:
        """OBIS code that the meter itself declares (VIFE 3Fh), "" if this record declares none."""
        return self.raw if self.template.coding is Coding.OBIS and isinstance(self.raw, str) else ""

    @property
    def dib(self) -> str:
        """DIF, DIFEs, VIF and VIFEs as lower-case hex, without the text of a plain-text VIF: "8c1013"."""
        return self.template.dif_hex + self.template.vif_hex

    @property
    def dif_hex(self) -> str:
        """DIF and DIFEs as hex."""
        return self.template.dif_hex

    @property
    def vif_hex(self) -> str:
        """VIF and VIFEs as hex."""
        return self.template.vif_hex

    @property
    def offset(self) -> int:
        """Of the first byte of the record in the frame."""
        return self.template.offset

    @property
    def length(self) -> int:
        """Of the whole record in bytes."""
        return self.template.length

    @property
    def data_offset(self) -> int:
        """Of the first data byte in the frame."""
        return self.template.data_offset

    @property
    def data(self) -> bytes:
        """The data bytes in the order of the wire."""
        start = self.template.data_offset
        return self.body[start : start + self.template.data_length]

    @property
    def lsb_first(self) -> bytes:
        """The data bytes, least significant first."""
        return self.data[::-1] if self.template.msb_first else self.data

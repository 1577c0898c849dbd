"""From one M-Bus record to A-XDR bytes, exactly or not at all.

A number is never rounded into an integer type: where the power of ten, the unit or the range of the data
type do not allow an exact number, there is no value but a reason. Source of tags and forms: Green Book 9.5;
of date and time: Blue Book 4.1.6.1.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING

from core.dlms import axdr
from core.dlms.axdr import Tag
from core.dlms.errors import EncodeError
from core.mbus.values import Coding, shortest

if TYPE_CHECKING:
    from core.mbus.telegram import Record

Converter = Callable[["Record"], bytes]
"""A-XDR with tag for one record. Raises `NoValueError`."""

MAX_TEXT = 4096  # of a default value, in characters


class NoValueError(ValueError):
    """A record that cannot be shown in the entry's form; the message is the reason."""


def _bcd(number: float) -> bytes:
    """One octet of two decimal digits: 42 is 42h."""
    if not 0 <= number <= 99:
        raise EncodeError(f"{number} does not fit into the data type bcd (2 digits); choose a larger one.")
    return axdr.bcd(int(f"{number:.0f}", 16))


_INTEGERS: dict[int, Callable[[float], bytes]] = {
    Tag.DOUBLE_LONG: axdr.double_long,
    Tag.DOUBLE_LONG_UNSIGNED: axdr.double_long_unsigned,
    Tag.BCD: _bcd,
    Tag.INTEGER: axdr.integer,
    Tag.LONG: axdr.long,
    Tag.UNSIGNED: axdr.unsigned,
    Tag.LONG_UNSIGNED: axdr.long_unsigned,
    Tag.LONG64: axdr.long64,
    Tag.LONG64_UNSIGNED: axdr.long64_unsigned,
    Tag.ENUM: axdr.enum,
}
_FLOATS: dict[int, Callable[[float], bytes]] = {Tag.FLOAT32: axdr.float32, Tag.FLOAT64: axdr.float64}
_TEXTS: dict[int, Callable[[str], bytes]] = {
    Tag.OCTET_STRING: lambda text: axdr.octet_string(text.encode()),
    Tag.VISIBLE_STRING: axdr.visible_string,
    Tag.UTF8_STRING: axdr.utf8_string,
}
_PLATE_NUMBERS = ("fabrication-no", "enhanced-id")
_TIMES = (Tag.DATE_TIME, Tag.DATE, Tag.TIME)

DATA_TYPES: tuple[int, ...] = tuple(
    sorted({int(tag) for tag in (*_INTEGERS, *_FLOATS, *_TEXTS, *_TIMES, Tag.BOOLEAN, Tag.BIT_STRING)})
)
"""Tags that an entry may name as its data type."""


def is_numeric(data_type: int) -> bool:
    """Whether the scaler and the unit of an entry matter for this data type."""
    return data_type in _INTEGERS or data_type in _FLOATS


def is_float(data_type: int) -> bool:
    """Whether the data type takes decimal fractions."""
    return data_type in _FLOATS


def number(ratio: Fraction, scaler: int, data_type: int) -> Converter:
    """Converter for a register's number: the sent number times `ratio`, which leads to unit and scaler.

    Integers stay integers; a float data type takes those that it names exactly, if only by its shortest decimal.
    Floats stay floats, whatever integer type the entry names: float32 as sent where the ratio is 1 and the entry
    does not name float64, else float64, correctly rounded from the decimal.
    """
    pack = _INTEGERS.get(data_type) or _FLOATS[data_type]
    exact = data_type in _INTEGERS
    multiplier, divisor = ratio.numerator, ratio.denominator

    def convert(record: Record) -> bytes:
        raw = record.raw
        try:
            if type(raw) is int:
                if not exact:
                    encoded = pack(float(raw * ratio))
                    if not _names(encoded, raw * ratio):
                        raise NoValueError(
                            f"{raw} in the telegram has more digits than data type {data_type}"
                        )
                    return encoded
                if divisor == 1:
                    return pack(raw * multiplier)
                quotient, rest = divmod(raw * multiplier, divisor)
                if rest:
                    raise NoValueError(f"{raw} in the telegram is no whole number at scaler {scaler}")
                return pack(quotient)
            if isinstance(raw, float):
                return _float(record, raw, ratio, data_type)
        except EncodeError as error:
            raise NoValueError(str(error).rstrip(".")) from None
        except OverflowError:
            raise NoValueError("the number is too large for the data type") from None
        raise NoValueError(f"{_kind(raw)} is no number for data type {data_type}")

    return convert


def plain(scaled: bool, data_type: int) -> Converter:
    """Converter for everything that is no scaled number: texts, times, flags."""

    def convert(record: Record) -> bytes:
        raw = record.raw
        if data_type == Tag.BOOLEAN:
            # Of flags any one may be set; of a number more than 1 is no truth.
            if isinstance(raw, int) and (raw in (0, 1) or record.coding is Coding.BITS):
                return axdr.boolean(raw != 0)
        elif data_type == Tag.BIT_STRING:
            if isinstance(raw, int | bytes):
                # M-Bus counts bits from the least significant one; the first bit of a bit-string is bit 0
                bits = "".join(f"{byte:08b}"[::-1] for byte in record.lsb_first)
                return axdr.bit_string(bits)
        elif data_type in _TIMES:
            if isinstance(raw, dt.date | dt.time):
                return bytes((data_type,)) + _time_bytes(raw, data_type)
        elif data_type == Tag.OCTET_STRING and isinstance(raw, bytes):
            return axdr.octet_string(raw)
        elif data_type == Tag.OCTET_STRING and isinstance(raw, dt.date | dt.time):
            return axdr.octet_string(cosem_time(raw))
        else:
            return _TEXTS[data_type](_text(record, scaled))
        raise NoValueError(f"{_kind(raw)} does not fit data type {data_type}")

    return convert


def clock(record: Record) -> bytes:
    """Converter for attribute 2 of class clock: date-time in an octet-string. Raises `NoValueError`."""
    if isinstance(record.raw, dt.date):
        return axdr.octet_string(_time_bytes(record.raw, Tag.DATE_TIME))
    raise NoValueError(f"{_kind(record.raw)} is no date and time")


def text(content: str, data_type: int) -> bytes:
    """A text as visible-, utf8- or octet-string. Raises `NoValueError` for other data types."""
    encode = _TEXTS.get(data_type)
    if encode is None:
        raise NoValueError(f"a text does not fit data type {data_type}, use 9, 10 or 12")
    return encode(content)


def raw_bytes(content: bytes, data_type: int) -> bytes:
    """Bytes as octet-string, or in hex as visible- or utf8-string. Raises `NoValueError` for other types."""
    return axdr.octet_string(content) if data_type == Tag.OCTET_STRING else text(content.hex(), data_type)


def cosem_time(value: dt.date | dt.time) -> bytes:
    """A meter's local date-time (12 bytes), date (5) or time (4); what it does not say is "not specified"."""
    if isinstance(value, dt.datetime):
        return _time_bytes(value, Tag.DATE_TIME)
    return _time_bytes(value, Tag.TIME if isinstance(value, dt.time) else Tag.DATE)


def encode_default(value: object, data_type: int, *, as_date_time: bool = False) -> bytes:
    """A default value (text or number) in the entry's data type, with tag. Raises `ValueError`, the reason.

    The value is the one that a client gets, before any scaler. Times are written `2016-01-06 16:50:00`.
    """
    if isinstance(value, bool):
        value = int(value)
    if not isinstance(value, str | int | float):
        raise ValueError("must be a text, a number or null")
    content = str(value)
    if len(content) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    if as_date_time:
        return axdr.octet_string(_time_bytes(_parse_time(content, Tag.DATE_TIME), Tag.DATE_TIME))
    if data_type in _TEXTS:
        return _TEXTS[data_type](content)
    content = content.strip()
    if data_type in _TIMES:
        return bytes((data_type,)) + _time_bytes(_parse_time(content, data_type), data_type)
    if data_type == Tag.BIT_STRING:
        if not re.fullmatch("[01]*", content):
            raise ValueError("must be made of 0 and 1 for a bit-string")
        return axdr.bit_string(content)
    if data_type == Tag.BOOLEAN:
        if content.lower() not in ("0", "1", "true", "false"):
            raise ValueError("must be true or false for a boolean")
        return axdr.boolean(content.lower() in ("1", "true"))
    return _default_number(content, data_type)


def _default_number(content: str, data_type: int) -> bytes:
    try:
        exact = Decimal(content)
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite() or abs(exact.adjusted()) > 400:
        raise ValueError(f"must be a number for data type {data_type}")
    try:
        if data_type in _FLOATS:
            encoded = _FLOATS[data_type](float(exact))
            if not _names(encoded, Fraction(exact)):
                raise ValueError(f"has more digits than data type {data_type}")
            return encoded
        if exact != exact.to_integral_value():
            raise ValueError(f"must be a whole number for data type {data_type}")
        return _INTEGERS[data_type](int(exact))
    except (EncodeError, OverflowError):
        raise ValueError(f"does not fit into data type {data_type}") from None


def _names(encoded: bytes, number: Fraction) -> bool:
    """Whether an encoded float32 or float64, or the shortest decimal that stands for it, is this number."""
    content = axdr.decode(encoded).content
    assert isinstance(content, float)
    text = shortest(content) if encoded[0] == Tag.FLOAT32 else repr(content)
    return number in (Fraction(content), Fraction(text))


def _float(record: Record, raw: float, ratio: Fraction, data_type: int) -> bytes:
    if not math.isfinite(raw):
        raise NoValueError(f"{raw} is no number")
    if ratio == 1 and data_type != Tag.FLOAT64:
        return axdr.float32(raw)
    value = record.value
    if not isinstance(value, Decimal):
        raise NoValueError("the telegram has no number")
    sent = Fraction(value.scaleb(-record.exponent))  # before the VIF's power of ten
    return axdr.float64(float(sent * ratio))


def _text(record: Record, scaled: bool) -> str:
    raw = record.raw
    if isinstance(raw, dt.datetime):
        return raw.isoformat(" ", "seconds")
    if isinstance(raw, int) and record.quantity in _PLATE_NUMBERS and record.coding is Coding.BCD:
        return str(raw).zfill(2 * len(record.data))  # a number plate has its leading zeros
    return record.value_text if scaled else record.raw_text


def _time_bytes(value: dt.date | dt.time, tag: int) -> bytes:
    if isinstance(value, dt.datetime):
        day, hour = value.date(), value.time()
    elif isinstance(value, dt.time):
        day, hour = None, value
    else:
        day, hour = value, None
    date = b"\xff\xff\xff\xff\xff"
    if day is not None:
        date = day.year.to_bytes(2, "big") + bytes((day.month, day.day, day.isoweekday()))
    time = b"\xff\xff\xff\xff" if hour is None else bytes((hour.hour, hour.minute, hour.second, 0xFF))
    if tag == Tag.DATE:
        if day is None:
            raise NoValueError("a time is no date")
        return date
    if tag == Tag.TIME:
        if hour is None:
            raise NoValueError("a date is no time")
        return time
    return date + time + b"\x80\x00\xff"  # deviation and clock status not specified


def _parse_time(content: str, tag: int) -> dt.date | dt.time:
    try:
        value: dt.date | dt.time
        if tag == Tag.TIME:
            value = dt.time.fromisoformat(content)
        elif tag == Tag.DATE:
            value = dt.date.fromisoformat(content)
        else:
            value = dt.datetime.fromisoformat(content)
        if isinstance(value, dt.datetime | dt.time) and (value.tzinfo or value.microsecond):
            raise ValueError  # a meter's time has neither
        return value
    except ValueError:
        form = {Tag.TIME: "16:50:00", Tag.DATE: "2016-01-06"}.get(Tag(tag), "2016-01-06 16:50:00")
        raise ValueError(f"must be written as {form}") from None


def _kind(raw: object) -> str:
    names = {str: "a text", bytes: "a string of bytes", float: "a float", type(None): "no value"}
    return names.get(type(raw), "a time" if isinstance(raw, dt.date | dt.time) else f"{raw!r}")

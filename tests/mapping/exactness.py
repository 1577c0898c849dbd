"""Whether what a client gets is the telegram's value, digit for digit."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

from core.dlms import axdr
from core.dlms.axdr import Tag
from core.mapping import convert
from core.mapping.units import factor
from core.mbus.telegram import Record


def is_exact(encoded: bytes, scaler: int | None, unit: int | None, record: Record) -> bool:
    """Value x 10^scaler in the DLMS unit against the record; texts and times as the meter wrote them."""
    shown = axdr.decode(encoded)
    if scaler is None or unit is None or not isinstance(record.value, Decimal):
        if shown.tag is Tag.OCTET_STRING:
            assert isinstance(record.raw, dt.date)
            return shown.content == convert.cosem_time(record.raw)
        return str(shown.content) in (record.raw_text, record.raw_text.zfill(2 * len(record.data)))
    wanted = Fraction(record.value) * (factor(record.unit, unit) if record.unit else 1)
    assert isinstance(shown.content, int | float)
    if shown.tag is Tag.FLOAT32:  # the bits as sent, whose shortest decimal is the value
        return encoded == axdr.float32(float(record.raw_text)) and scaler == record.exponent
    served = Fraction(Decimal(repr(shown.content)))
    return wanted == served * Fraction(10) ** scaler

"""Whatever the bytes: only the decoder's own error, the same answer warm and cold, every byte explained."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from telegram_frames import all_recorded, frame, long_frame, sealed

from core.mbus import values
from core.mbus.explain import explain
from core.mbus.telegram import Telegram, TelegramError, decode, forget_layouts
from core.mbus.values import Coding

REAL = all_recorded()
KEYS = st.sampled_from([None, bytes(16), b"wrong"])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A telegram of a real meter with some bytes changed, removed or added; often with a right checksum."""
    real = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(4, len(real) - 3))
        match draw(st.integers(0, 3)):
            case 0 if len(real) > 20:
                del real[place]
            case 1 if len(real) < 255:
                real.insert(place, draw(st.integers(0, 255)))
            case _:
                real[place] = draw(st.integers(0, 255))
    if draw(st.integers(0, 9)):
        real[1] = real[2] = len(real) - 6
        return sealed(bytes(real))
    return bytes(real)


FRAMES = st.one_of(
    mutated(),
    st.binary(max_size=80),
    st.binary(min_size=1, max_size=200).map(frame),
    st.binary(max_size=200).map(long_frame),
    st.builds(
        lambda ci, rest: frame(bytes([ci]) + rest),
        st.sampled_from([0x70, 0x71, 0x72, 0x73, 0x76, 0x77, 0x78, 0x7A, 0x90]),
        st.binary(max_size=120),
    ),
)


def outcome(raw: bytes, key: bytes | None) -> Telegram | str:
    try:
        return decode(raw, key)
    except TelegramError as error:
        return str(error)


def shown(result: Telegram | str) -> object:
    """Everything that can be seen of a telegram."""
    if isinstance(result, str):
        return result
    header = (
        result.structure,
        result.address,
        result.ci,
        result.identification,
        result.manufacturer,
        result.version,
        result.medium_code,
        result.medium,
        result.access_number,
        result.status,
        result.signature,
        result.more_follows,
        result.application_error,
        result.alarm,
        result.encrypted,
        result.problem,
    )
    records = [
        (
            record.dib,
            record.description,
            record.unit,
            record.exponent,
            record.function.label,
            record.storage,
            record.tariff,
            record.subunit,
            repr(record.raw),
            record.value_text,
            record.raw_text,
            record.error,
            record.obis,
            record.summer_time,
            record.data,
        )
        for record in result.records
    ]
    return header, records


@settings(max_examples=600, deadline=None)
@given(raw=FRAMES, key=KEYS)
def test_only_a_telegram_error_is_ever_raised(raw: bytes, key: bytes | None) -> None:
    """Every property of every record can be looked at, and a record has either a value or an error."""
    result = outcome(raw, key)
    shown(result)
    if isinstance(result, Telegram):
        for record in result.records:
            assert (record.raw is None) == bool(record.error)
            assert (record.raw is None) == (record.value is None)


@settings(max_examples=400, deadline=None)
@given(raw=FRAMES, others=st.lists(mutated(), max_size=3))
def test_a_known_structure_gives_what_a_new_one_gives(raw: bytes, others: list[bytes]) -> None:
    """Whatever was decoded before: original and other mutations of telegrams, and the frame itself."""
    forget_layouts()
    cold = shown(outcome(raw, None))
    forget_layouts()
    for real in REAL:
        decode(real)
    for other in (*others, raw):
        outcome(other, None)
    assert shown(outcome(raw, None)) == cold


@settings(max_examples=400, deadline=None)
@given(raw=FRAMES)
def test_fast_readers_agree_with_the_data_types(raw: bytes) -> None:
    """What is read in one go is what reading each record's bytes by its data type gives, exactly scaled."""
    result = outcome(raw, None)
    if isinstance(result, str):
        return
    for record in result.records:
        if record.template.error:
            continue
        data = record.data[::-1] if record.template.msb_first else record.data
        reading = values.read(record.coding, data)
        assert reading.raw == record.raw
        assert type(reading.raw) is type(record.raw)
        if isinstance(record.raw, int):
            assert record.value == Decimal(record.raw).scaleb(record.exponent)
        elif record.coding is Coding.REAL and record.raw is not None:
            assert record.value == Decimal(reading.text).scaleb(record.exponent)


@settings(max_examples=500, deadline=None)
@given(raw=FRAMES)
def test_every_byte_is_explained_whatever_the_bytes(raw: bytes) -> None:
    """In order, without gaps, and without an exception."""
    at = 0
    for part in explain(raw):
        assert part.offset == at
        assert part.length > 0
        assert part.label
        at += part.length
    assert at == len(raw)

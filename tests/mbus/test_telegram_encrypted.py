"""Encrypted telegrams: opened with the right key, and never believed with a wrong one."""

from __future__ import annotations

from decimal import Decimal

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from telegram_frames import frame

from core.mbus.address import SecondaryAddress
from core.mbus.crypto import Seal
from core.mbus.explain import explain
from core.mbus.telegram import decode

KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
OTHER = bytes.fromhex("0F0E0D0C0B0A09080706050403020100")
IDENTITY = bytes.fromhex("78563412 2423 28 07")
PLAIN = bytes.fromhex("2F2F 0C13 46590800 02 5A 1201 2F2F2F2F") + bytes.fromhex("2F" * 16)


def encrypt(key: bytes, vector: bytes, plain: bytes = PLAIN) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def mode_5(key: bytes = KEY, plain: bytes = PLAIN, tail: bytes = b"") -> bytes:
    """Vector: manufacturer, identification, version, medium, and the access number eight times."""
    vector = IDENTITY[4:6] + IDENTITY[:4] + IDENTITY[6:8] + b"\x0a" * 8
    configuration = bytes((len(plain) // 16 << 4, 0x05))
    return frame(b"\x72" + IDENTITY + b"\x0a\x00" + configuration + encrypt(key, vector, plain) + tail)


def mode_7(key: bytes = KEY, *, derived: bool = True, counter: int = 0x01020304) -> bytes:
    """With an authentication layer that carries the message counter, if the key is derived from it."""
    used, layer, extension = key, b"", b"\x00"
    if derived:
        derivation = CMAC(algorithms.AES(key))
        derivation.update(b"\x00" + counter.to_bytes(4, "little") + IDENTITY[:4] + b"\x07" * 7)
        used, extension = derivation.finalize(), b"\x10"
        layer = b"\x90\x0f" + bytes.fromhex("002C 25") + counter.to_bytes(4, "little") + bytes(8)
    content = encrypt(used, bytes(16))
    return frame(layer + b"\x72" + IDENTITY + b"\x0a\x00" + b"\x20\x07" + extension + content)


@pytest.mark.parametrize(
    "sealed", [mode_5(), mode_7(), mode_7(derived=False)], ids=["5", "7 derived", "7 as it is"]
)
def test_the_right_key_opens_the_telegram(sealed: bytes) -> None:
    """Security modes 5 and 7; offsets are those of the frame, data those of the opened one."""
    telegram = decode(sealed, KEY)
    assert (telegram.encrypted, telegram.problem) == (False, "")
    assert telegram.identification == "12345678"
    assert [record.value for record in telegram.records] == [Decimal("85.946"), Decimal("27.4")]
    assert telegram.frame == sealed
    volume = telegram.records[0]
    assert telegram.body[volume.data_offset : volume.data_offset + 4] == bytes.fromhex("46590800")
    again = decode(sealed, KEY)
    assert again.layout is telegram.layout
    assert again.records == telegram.records


@pytest.mark.parametrize(
    "sealed", [mode_5(), mode_7(), mode_7(derived=False)], ids=["5", "7 derived", "7 as it is"]
)
@pytest.mark.parametrize(
    ("key", "problem"),
    [(None, "give the meter its key"), (OTHER, "is not the one"), (b"short", "5 bytes instead of 16")],
)
def test_without_the_right_key_there_is_no_record_but_the_header(
    sealed: bytes, key: bytes | None, problem: str
) -> None:
    """Also after the same telegram was opened with the right one."""
    assert not decode(sealed, KEY).encrypted
    telegram = decode(sealed, key)
    assert telegram.encrypted
    assert telegram.records == ()
    assert problem in telegram.problem
    assert telegram.identification == "12345678"


def test_what_follows_the_encrypted_blocks_is_read_as_it_is() -> None:
    """The configuration word says how many blocks are encrypted."""
    telegram = decode(mode_5(tail=bytes.fromhex("01 13 05")), KEY)
    assert [record.raw for record in telegram.records] == [85946, 274, 5]


def test_content_without_the_check_bytes_is_not_believed() -> None:
    """2F 2F must come out in front."""
    assert decode(mode_5(plain=bytes.fromhex("0C13 46590800") + b"\x2f" * 10), KEY).encrypted


def test_a_short_header_lacks_what_mode_5_needs() -> None:
    """The initialisation vector is made of the identification."""
    telegram = decode(frame(b"\x7a\x0a\x00\x20\x05" + bytes(32)), KEY)
    assert telegram.encrypted
    assert "lacks the identification" in telegram.problem


def test_an_unsupported_mode_is_named() -> None:
    """DES, for one."""
    telegram = decode(frame(b"\x72" + IDENTITY + b"\x0a\x00\x20\x02" + bytes(32)), KEY)
    assert "security mode 2" in telegram.problem


def test_blocks_that_are_not_there_are_no_encryption() -> None:
    """A configuration word that asks for more than the telegram has is an old signature."""
    telegram = decode(frame(b"\x72" + IDENTITY + b"\x0a\x00\xf0\x05" + bytes.fromhex("0C13 46590800")))
    assert telegram.records[0].value == Decimal("85.946")


def test_encrypted_bytes_are_explained_as_such_and_opened_ones_in_words() -> None:
    """Every byte, either way."""
    closed = explain(decode(mode_7()))
    assert sum(part.length for part in closed) == len(mode_7())
    assert "encrypted content" in [part.label for part in closed]
    opened = explain(decode(mode_7(), KEY))
    assert "85.946 m3" in [part.meaning for part in opened]
    assert "authentication layer" in [part.label for part in opened]


def test_a_configuration_word_is_obeyed_however_often_the_same_content_came_in_plain() -> None:
    """A known structure is no way around the key."""
    content = bytes.fromhex("2F2F 0C13 46590800 2F2F2F2F2F2F2F2F")
    plain = frame(b"\x72" + IDENTITY + b"\x0a\x00\x10\x00" + content)
    assert decode(plain).records == decode(plain).records != ()
    for _ in range(2):
        assert decode(frame(b"\x72" + IDENTITY + b"\x0a\x00\x10\x05" + content)).encrypted


def test_a_short_header_is_opened_with_what_is_known_of_its_sender() -> None:
    """It does not name its meter, whose identity is part of how mode 5 encrypts; another one does not do."""
    vector = IDENTITY[4:6] + IDENTITY[:4] + IDENTITY[6:8] + b"\x0a" * 8
    sealed = frame(b"\x7a\x0a\x00\x20\x05" + encrypt(KEY, vector)[:32])
    assert decode(sealed, KEY).seal is Seal.UNKNOWN
    opened = decode(sealed, KEY, SecondaryAddress.from_header(IDENTITY))
    assert [record.raw for record in opened.records] == [85946, 274]
    assert decode(sealed, KEY, SecondaryAddress("12345678", "KAM", 0x28, 7)).seal is Seal.WRONG_KEY
    assert decode(sealed, None, SecondaryAddress.from_header(IDENTITY)).seal is Seal.NO_KEY

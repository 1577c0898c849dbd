"""Suite 0 without a server: the Green Book's known answers, and what the bytes around a ciphered APDU may be."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from core.dlms import security
from core.dlms.errors import DecipherError, DecodeError
from core.dlms.security import DED, GENERAL_DED, GENERAL_GLO, GLO, Ciphering, Suite

EK = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
AK = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
SERVER = bytes.fromhex("4D4D4D0000BC614E")
CLIENT = bytes.fromhex("4D4D4D0000000001")
PLAIN = bytes.fromhex("C0010000080000010000FF0200")
COUNTER = 0x01234567
SUITE = Suite(EK, AK)
FORMS = (GLO, DED, GENERAL_GLO, GENERAL_DED)

KNOWN = {
    0x30: "3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
    0x10: "1001234567C0010000080000010000FF020006725D910F9221D263877516",
}


@pytest.mark.parametrize("control", KNOWN)
def test_the_ciphered_apdus_of_the_green_book(control: int) -> None:
    """Authenticated and encrypted, and authenticated only: made byte for byte, and understood."""
    known = bytes.fromhex(KNOWN[control])
    assert SUITE.protect(control, SERVER, COUNTER, PLAIN) == known
    message = security.decode_ciphered(security.encode_ciphered(GLO, PLAIN[0], SERVER, known), GLO)
    assert (message.control, message.counter) == (control, COUNTER)
    assert SUITE.unprotect(SERVER, message) == PLAIN


def test_the_ciphertext_of_the_green_book_is_the_same_without_a_tag() -> None:
    """Encryption alone is never sent or taken; its ciphertext is that of authenticated encryption."""
    assert SUITE.protect(0x30, SERVER, COUNTER, PLAIN)[5:-12].hex().upper() == "411312FF935A47566827C467BC"


def test_the_challenges_of_the_green_book() -> None:
    """f(StoC) by the client, f(CtoS) by the server."""
    of_client = bytes.fromhex("10000000011A52FE7DD3E72748973C1E28")
    of_server = bytes.fromhex("1001234567FE1466AFB3DBCD4F9389E2B7")
    assert SUITE.gmac(CLIENT, 1, b"P6wRJ21F") == of_client
    assert SUITE.gmac(SERVER, COUNTER, b"K56iVagY") == of_server
    assert SUITE.proves(CLIENT, b"P6wRJ21F", of_client)
    assert SUITE.proves(SERVER, b"K56iVagY", of_server)


def test_a_challenge_is_proven_by_nothing_else() -> None:
    """Not by another's title, another challenge, other keys, a changed bit, a shorter or longer answer."""
    answer = SUITE.gmac(CLIENT, 1, b"P6wRJ21F")
    assert not SUITE.proves(SERVER, b"P6wRJ21F", answer)
    assert not SUITE.proves(CLIENT, b"P6wRJ21G", answer)
    assert not Suite(AK, AK).proves(CLIENT, b"P6wRJ21F", answer)
    assert not Suite(EK, EK).proves(CLIENT, b"P6wRJ21F", answer)
    for bit in range(len(answer) * 8):
        wrong = bytearray(answer)
        wrong[bit // 8] ^= 1 << bit % 8
        assert not SUITE.proves(CLIENT, b"P6wRJ21F", bytes(wrong))
    for size in range(len(answer)):
        assert not SUITE.proves(CLIENT, b"P6wRJ21F", answer[:size])
    assert not SUITE.proves(CLIENT, b"P6wRJ21F", answer + b"\0")


@pytest.mark.parametrize("control", KNOWN)
def test_no_changed_bit_is_taken(control: int) -> None:
    """Of the control byte, the counter, the content or the tag."""
    known = bytes.fromhex(KNOWN[control])
    for bit in range(len(known) * 8):
        wrong = bytearray(known)
        wrong[bit // 8] ^= 1 << bit % 8
        message = security.decode_ciphered(security.encode_ciphered(GLO, 0xC0, SERVER, bytes(wrong)), GLO)
        with pytest.raises(DecipherError):
            SUITE.unprotect(SERVER, message)
    for title, suite in ((CLIENT, SUITE), (SERVER, Suite(AK, AK)), (SERVER, Suite(EK, EK))):
        message = security.decode_ciphered(security.encode_ciphered(GLO, 0xC0, SERVER, known), GLO)
        with pytest.raises(DecipherError):
            suite.unprotect(title, message)


@given(plain=st.binary(min_size=1, max_size=300), counter=st.integers(0, 2**32 - 1))
def test_it_is_aes_gcm_as_the_library_of_others_has_it(plain: bytes, counter: int) -> None:
    """A decryptor with tags of 12 bytes takes what is made here, and what it would make is taken."""
    protected = SUITE.protect(0x30, SERVER, counter, plain)
    iv = SERVER + counter.to_bytes(4, "big")
    decryptor = Cipher(algorithms.AES(EK), modes.GCM(iv, protected[-12:], 12)).decryptor()
    decryptor.authenticate_additional_data(b"\x30" + AK)
    assert decryptor.update(protected[5:-12]) + decryptor.finalize() == plain
    message = security.decode_ciphered(
        security.encode_ciphered(GENERAL_GLO, 0xC0, SERVER, protected), GENERAL_GLO
    )
    assert SUITE.unprotect(SERVER, message) == plain


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
@pytest.mark.parametrize("size", [1, 13, 110, 111, 238, 239, 240, 300, 70000])
def test_every_form_is_taken_apart_as_it_was_put_together(form: Ciphering, size: int) -> None:
    """Where the length takes one byte, two, three; cut short anywhere it is refused."""
    plain = bytes((0xC0,)) + bytes(size - 1)
    apdu = security.encode_ciphered(form, 0xC0, CLIENT, SUITE.protect(0x30, CLIENT, 5, plain))
    message = security.decode_ciphered(apdu, form)
    assert message.title == (None if form.offset else CLIENT)
    assert SUITE.unprotect(CLIENT, message) == plain
    for wrong in range(1, min(len(apdu), 400)):
        with pytest.raises(DecodeError):
            security.decode_ciphered(apdu[:wrong], form)
    with pytest.raises(DecodeError):
        security.decode_ciphered(apdu + b"\0", form)


def test_an_apdu_that_holds_nothing_is_refused() -> None:
    """Header and tag around no plain APDU, however genuine."""
    apdu = security.encode_ciphered(GLO, 0xC0, CLIENT, SUITE.protect(0x30, CLIENT, 5, b""))
    with pytest.raises(DecodeError):
        security.decode_ciphered(apdu, GLO)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
def test_the_room_for_the_plain_apdu_is_used_and_never_exceeded(form: Ciphering) -> None:
    """At every size around which a length takes another byte."""
    for size in (*range(64, 300), *range(65530, 65560)):
        room = form.room(size)
        whole = len(security.encode_ciphered(form, 0xC4, SERVER, SUITE.protect(0x30, SERVER, 1, bytes(room))))
        more = len(
            security.encode_ciphered(form, 0xC4, SERVER, SUITE.protect(0x30, SERVER, 1, bytes(room + 1)))
        )
        assert whole <= size < more

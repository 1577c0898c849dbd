"""ACSE and the xDLMS context: the Green Book's examples, byte for byte, and refusal of everything else."""

from __future__ import annotations

import pytest
from dlms_wire import AARQ_LLS, AARQ_NONE, aarq_of, ber

from core.dlms import acse, xdlms
from core.dlms.acse import Diagnostic, Mechanism
from core.dlms.admission import Keys
from core.dlms.errors import DecodeError


def test_the_aarq_of_the_green_book_without_authentication_is_understood() -> None:
    """Lowest level security, conformance 007E1F, PDU size 1200."""
    request = acse.decode_aarq(AARQ_NONE)
    assert request.mechanism is Mechanism.NONE
    assert request.authentication_value is None
    assert xdlms.decode_initiate_request(request.user_information) == xdlms.InitiateRequest(6, 0x007E1F, 1200)


def test_the_aarq_of_the_green_book_with_lls_is_understood() -> None:
    """Mechanism 1 and the password 12345678."""
    request = acse.decode_aarq(AARQ_LLS)
    assert request.context_name == acse.LN_CONTEXT
    assert (request.mechanism, request.authentication_value) == (Mechanism.LOW, b"12345678")


def test_secrets_do_not_show_where_an_object_is_printed() -> None:
    """In a traceback or a log: password, keys, dedicated key."""
    secret = b"SixteenBytesHere"
    initiate = b"\x01\x01\x10" + secret + bytes.fromhex("0000065f1f0400007e1f0000")
    shown = [
        acse.decode_aarq(aarq_of(1, secret, initiate)),
        xdlms.decode_initiate_request(initiate),
        Keys(secret, secret),
    ]
    assert shown[1] != xdlms.decode_initiate_request(initiate.replace(secret, bytes(16)))
    assert "Sixteen" not in repr(shown)


def test_the_aare_of_the_green_book_is_what_is_sent() -> None:
    """Accepted, conformance 00501F, PDU size 500."""
    assert acse.aare_accepted(xdlms.initiate_response(0x00501F, 500)).hex() == (
        "6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000501f01f40007"
    )


def test_the_aare_of_a_refusal_carries_the_diagnostic() -> None:
    """Rejected permanently, authentication failure; an unfit context also says which part of it."""
    assert acse.aare_rejected(Diagnostic.AUTHENTICATION_FAILURE).hex() == (
        "6117a109060760857405080101a203020101a305a10302010d"
    )
    refused = acse.aare_rejected(
        Diagnostic.NO_REASON_GIVEN, xdlms.initiate_error(xdlms.InitiateError.PDU_SIZE_TOO_SHORT)
    )
    assert refused.hex().endswith("a203020101a305a103020101be0604040e010603")


def test_an_aarq_may_carry_title_and_user() -> None:
    """Calling AP title, client user id and a dedicated key are found."""
    initiate = bytes.fromhex("0101100102030405060708090a0b0c0d0e0f1000000" + "65f1f0400007e1f0400")
    body = (
        bytes.fromhex("a109060760857405080101a60a04084d4d4d0000bc614ea903020107be")
        + bytes((len(initiate) + 2, 4, len(initiate)))
        + initiate
    )
    request = acse.decode_aarq(bytes((0x60, len(body))) + body)
    assert request.calling_ap_title == bytes.fromhex("4d4d4d0000bc614e")
    assert xdlms.decode_initiate_request(request.user_information).dedicated_key == bytes(range(1, 17))


@pytest.mark.parametrize("size", range(len(AARQ_LLS)))
def test_an_aarq_that_is_cut_short_anywhere_is_refused(size: int) -> None:
    """Also with its outer length put right."""
    for data in (AARQ_LLS[:size], bytes((0x60, max(size - 2, 0))) + AARQ_LLS[2:size]):
        with pytest.raises(DecodeError):
            xdlms.decode_initiate_request(acse.decode_aarq(data).user_information)


def test_a_field_that_stands_twice_is_refused() -> None:
    """Two application contexts cannot both be meant."""
    body = AARQ_NONE[2:13] + AARQ_NONE[2:]
    with pytest.raises(DecodeError):
        acse.decode_aarq(bytes((0x60, len(body))) + body)


def test_the_aare_of_the_first_step_of_hls_carries_title_and_challenge() -> None:
    """Accepted, authentication required, responding AP title, mechanism 5, StoC."""
    aare = acse.aare_accepted(
        xdlms.initiate_response(0x00501F, 500), title=bytes.fromhex("4d4d4d0000bc614e"), challenge=b"P6wRJ21F"
    )
    assert aare.hex() == (
        "614ea109060760857405080101a203020100a305a10302010ea40a04084d4d4d0000bc614e"
        "88020780890760857405080205aa0a8008" + b"P6wRJ21F".hex() + "be10040e0800065f1f040000501f01f40007"
    )


def test_the_aare_answers_in_the_context_that_was_asked_for() -> None:
    """With ciphering or without, accepted or refused."""
    for aare in (
        acse.aare_accepted(bytes(30), ciphered=True),
        acse.aare_rejected(Diagnostic.AUTHENTICATION_FAILURE, ciphered=True),
    ):
        assert acse.LN_CIPHERED_CONTEXT in aare
        assert acse.LN_CONTEXT not in aare


@pytest.mark.parametrize("size", [0, 20, 60, 64, 80, 100, 120])
def test_an_aare_of_any_length_can_be_taken_apart(size: int) -> None:
    """Also where its length takes two bytes."""
    aare = acse.aare_accepted(bytes(size), ciphered=True, title=bytes(8), challenge=bytes(16))
    start = 2 if aare[1] < 0x80 else 3
    assert aare[start - 1] == len(aare) - start
    fields = ber(aare[start:])
    assert fields[0xAA] == b"\x80\x10" + bytes(16)
    assert (0xBE in fields) == (size > 0)
    assert len(fields.get(0xBE, b"\0\0")) == size + 2


def test_the_user_information_of_a_rlrq_is_found() -> None:
    """With and without; a reason alone is no user information."""
    assert acse.decode_rlrq(bytes.fromhex("6200")) == b""
    assert acse.decode_rlrq(bytes.fromhex("6203800100")) == b""
    assert acse.decode_rlrq(bytes.fromhex("620a800100be050403010203")) == b"\x01\x02\x03"
    assert acse.rlre(b"\x01\x02\x03").hex() == "630a800100be050403010203"

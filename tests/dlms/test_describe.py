"""What people read about an APDU: every service by name, values as values, and secrets never."""

from __future__ import annotations

import pytest
from dlms_wire import AARQ_NONE, RLRQ, aarq, get, set_
from hypothesis import given
from hypothesis import strategies as st

from core.cosem import obis
from core.dlms import acse, axdr, xdlms
from core.dlms.describe import MAX_PARTS, NOT_SHOWN, Description, describe

VOLUME = obis.parse("8.0.1.0.0.255")
ASSOCIATION = obis.parse("0.0.40.0.0.255")
SECURITY = obis.parse("0.0.43.0.0.255")
SECRET = bytes.fromhex("f1e2d3c4b5a697887a6b5c4d3e2f1e0d")
WORD = b"Xq7vKz9wJp3t"  # a password: printable, and no two letters of it stand in anything else
NOON = bytes.fromhex("07ea0109050d000000ffc400")


def values(description: Description) -> dict[str, str]:
    """Value of each label; the first one where several have it."""
    found: dict[str, str] = {}
    for part in description.parts:
        found.setdefault(part.label, part.value)
    return found


def action(class_id: int, name: bytes, method: int, parameter: bytes) -> bytes:
    return bytes((0xC3, 1, 0xC1)) + class_id.to_bytes(2, "big") + name + bytes((method, 1)) + parameter


def leaks(apdu: bytes, secret: bytes, *, sent: bool = False) -> list[str]:
    """Every pair of bytes of the secret that can be found in what is shown, as hexadecimal or as text."""
    description = describe(apdu, sent=sent)
    kept = description.redacted(apdu)
    text = " ".join([description.title, *(f"{part.label} {part.value}" for part in description.parts)])
    pairs = {secret[at : at + 2] for at in range(len(secret) - 1)}
    found = [f"{pair.hex()} in the bytes" for pair in pairs if pair in kept]
    found += [f"{pair.hex()} in {text}" for pair in pairs if pair.hex() in text.replace(" ", "")]
    return found + [f"{pair!r} in {text}" for pair in pairs if pair.isalnum() and pair.decode() in text]


@pytest.mark.parametrize(
    ("apdu", "title"),
    [
        (AARQ_NONE, "AARQ"),
        (aarq(b"12345678"), "AARQ authentication low"),
        (acse.rlre(), "RLRE"),
        (RLRQ, "RLRQ"),
        ("61 29 a109060760857405080101 a203020101 a305a10302010d be10040e0800065f1f040000181d04000007",
         "AARE rejected for good authentication failure"),
        (get(3, VOLUME, 2), "GET request normal 3 8.0.1.0.0.255 attribute 2"),
        ("c002c1 00000007", "GET request next 7"),
        ("c003c1 02 00030800010000ff0200 00010000600100ff0200", "GET request with list of 2"),
        ("c401c1 00 06 0001 4fbe", "GET response normal double-long-unsigned 85950"),
        ("c401c1 01 04", "GET response normal object-undefined"),
        ("c402c1 01 00000003 00 02 abcd", "GET response with block 3, the last"),
        ("c402c1 01 00000003 01 13", "GET response with block 3, the last data-block-number-invalid"),
        ("c403c1 02 00 1105 01 0b", "GET response with list of 2"),
        (set_(1, VOLUME, 2, b"\x11\x05"), "SET request normal 1 8.0.1.0.0.255 attribute 2"),
        ("c501c1 03", "SET response normal read-write-denied"),
        ("c502c1 00000001", "SET response block"),
        ("c503c1 00 00000002", "SET response last block success"),
        ("c505c1 02 00 03", "SET response with list of 2"),
        (action(8, VOLUME, 6, b"\x10\x00\x05"), "ACTION request normal 8 8.0.1.0.0.255 method 6"),
        ("c302c1 00000002", "ACTION request next block 2"),
        ("c701c1 00 01 00 0902abcd", "ACTION response normal success"),
        ("c701c1 0c 00", "ACTION response normal type-unmatched"),
        ("d8 01 06 0000002a", "exception response invocation-counter-error (last 42)"),
        ("0e 01 06 03", "confirmed service error initiate PDU size too short"),
        ("c8 15 30 01234567 411312ff 935a47566827c467bc7d825c", "glo GET request counter 19088743"),
        ("db 08 4d4d4d0000bc614e 12 30 00000009 00 000102030405060708090a0b",
         "general-glo-ciphering counter 9"),
        ("e0 80 0001 0000 0d" + get(3, VOLUME, 2).hex(), "general block transfer 1, acknowledges 0, the last"),
        ("0f 00000001 00 02 01 1105", "data notification 1 structure of 1"),
        ("05 01 02", "read request"),
        ("77", "unknown APDU 77"),
        ("", "empty APDU"),
    ],
)  # fmt: skip
def test_every_service_has_a_title(apdu: bytes | str, title: str) -> None:
    """The title names service, form and what it is about."""
    assert describe(bytes.fromhex(apdu) if isinstance(apdu, str) else apdu).title == title


def test_a_get_request_is_explained_field_by_field() -> None:
    """Each field with its name and its value in words."""
    shown = values(describe(get(3, VOLUME, 2)))
    assert shown["invoke id"] == "1, confirmed, high priority"
    assert shown["class"] == "3 register"
    assert shown["logical name"] == "8.0.1.0.0.255"
    assert shown["attribute"] == "2"


def test_an_aarq_is_explained() -> None:
    """Context, mechanism and what the client proposes."""
    shown = values(describe(aarq(b"12345678", pdu=1200, conformance=0x001018)))
    assert shown["application context"] == "logical names"
    assert shown["authentication mechanism"] == "low"
    assert shown["authentication value"] == NOT_SHOWN
    assert shown["conformance"] == "block-transfer-with-get, get, set"
    assert shown["client's largest APDU"] == "1200"


def test_an_aare_is_explained() -> None:
    """Result and what was agreed."""
    shown = values(describe(acse.aare_accepted(xdlms.initiate_response(0x001018, 1024)), sent=True))
    assert shown["result"] == "accepted"
    assert shown["server's largest APDU"] == "1024"


def test_values_are_shown_as_people_write_them() -> None:
    """Date-time, logical name, text, numbers, bits and nested data."""
    value = axdr.structure(
        axdr.octet_string(NOON),
        axdr.octet_string(VOLUME),
        axdr.octet_string(b"ELV0016000000"),
        axdr.visible_string("flat 1"),
        axdr.array([axdr.long(-12), axdr.float32(1.5)]),
        axdr.bit_string("101"),
        axdr.NULL,
        axdr.octet_string(b"\x00\x9f\x01"),
    )
    shown = [part.value for part in describe(b"\xc4\x01\xc1\x00" + value, sent=True).parts[3:]]
    assert shown == [
        "structure of 8",
        "octet-string 2026-01-09 13:00:00 UTC+01:00",
        "octet-string 8.0.1.0.0.255",
        'octet-string "ELV0016000000"',
        'visible-string "flat 1"',
        "array of 2",
        "long -12",
        "float32 1.5",
        "bit-string 101",
        "null-data",
        "octet-string 009f01",
    ]


def test_the_depth_tells_the_tree() -> None:
    """What is inside a structure is deeper than the structure, and the offsets are those of its bytes."""
    apdu = b"\xc4\x01\xc1\x00" + axdr.structure(axdr.unsigned(7), axdr.array([axdr.unsigned(8)]), axdr.NULL)
    parts = describe(apdu, sent=True).parts[3:]
    assert [part.depth for part in parts] == [0, 1, 1, 2, 1]
    assert [apdu[part.offset : part.offset + part.length].hex() for part in parts] == [
        "0203110701011108" + "00", "1107", "01011108", "1108", "00",
    ]  # fmt: skip


def test_what_cannot_be_decoded_is_shown_with_the_reason() -> None:
    """The good fields stay, the rest stands there in hexadecimal."""
    description = describe(bytes.fromhex("c401c10012aa"), sent=True)
    assert description.title == "GET response normal"
    last = description.parts[-1]
    assert last.label == "not decoded"
    assert last.value.startswith("12aa ")
    assert "goes beyond the end" in last.value


def test_a_long_answer_is_explained_as_far_as_people_read() -> None:
    """The number of parts is bounded, and the last one says that there is more."""
    rows = axdr.array([axdr.structure(axdr.unsigned(1))] * 1000)
    parts = describe(b"\xc4\x01\xc1\x00" + rows, sent=True).parts
    assert len(parts) == MAX_PARTS + 1
    assert "More is not explained" in parts[-1].value


def test_the_content_of_general_block_transfer_is_explained() -> None:
    """An APDU that fits into one block is explained inside of it."""
    shown = values(describe(bytes.fromhex("e0800001 0000 0d") + get(3, VOLUME, 2)))
    assert shown["block control"] == "window 0, last block"
    assert shown["class"] == "3 register"


def test_the_header_of_a_ciphered_apdu_is_explained() -> None:
    """Security control, counter and title; of the rest the size."""
    apdu = bytes.fromhex("db084d4d4d0000bc614e1230000000090042" + "00" * 11)
    shown = values(describe(apdu))
    assert shown["system title"] == "4d4d4d0000bc614e"
    assert shown["security control"] == "30 suite 0, authenticated, encrypted"
    assert shown["invocation counter"] == "9"
    assert shown["ciphered content"] == "1 bytes"


def test_challenges_are_no_secret() -> None:
    """CtoS of an HLS association and f(StoC) are shown."""
    challenge = b"K56iVagY"
    apdu = bytearray(aarq(challenge))
    apdu[apdu.index(bytes.fromhex("0760857405080201")) + 7] = 5
    assert values(describe(bytes(apdu)))["authentication value"] == challenge.hex()
    reply = action(15, ASSOCIATION, 1, axdr.octet_string(b"\x10" + SECRET))
    assert SECRET.hex() in values(describe(reply))["parameter"]


def dedicated(key: bytes) -> bytes:
    initiate = b"\x01\x01" + bytes((len(key),)) + key + bytes.fromhex("0000065f1f0400007e1f04b0")
    body = bytes.fromhex("a109060760857405080101be") + bytes((len(initiate) + 2, 4, len(initiate))) + initiate
    return bytes((0x60, len(body))) + body


def transfer(key: bytes) -> bytes:
    return axdr.array([axdr.structure(axdr.enum(0), axdr.octet_string(key))])


def block(kind: int, last: int, number: int, piece: bytes) -> bytes:
    """A SET or ACTION request without a reference."""
    return bytes((kind, last)) + number.to_bytes(4, "big") + axdr.length(len(piece)) + piece


def target(class_id: int, name: bytes, member: int) -> bytes:
    return class_id.to_bytes(2, "big") + name + bytes((member,))


LIST = b"\x02" + target(1, VOLUME, 2) + b"\x00" + target(15, ASSOCIATION, 7) + b"\x00"
METHODS = b"\x02" + target(8, VOLUME, 6) + target(64, SECURITY, 2)


def secrets(secret: bytes) -> dict[str, bytes]:
    """Every way in which a client sends a secret in clear."""
    value = axdr.octet_string(secret)
    written = set_(15, ASSOCIATION, 7, value)
    return {
        "LLS password": aarq(secret),
        "dedicated key": dedicated(secret),
        "new password": written,
        "new password, wrong class": set_(1, ASSOCIATION, 7, value),
        "new password, wrong name": set_(15, VOLUME, 7, value),
        "in a list": b"\xc1\x04\xc1" + LIST + b"\x02\x11\x05" + value,
        "first block": b"\xc1\x02\xc1" + target(15, ASSOCIATION, 7) + b"\x00" + block(0, 0, 1, value)[1:],
        "later block": b"\xc1\x03\xc1" + block(1, 0, 2, secret),
        "list, first block": b"\xc1\x05\xc1" + LIST + block(0, 0, 1, b"\x02\x11\x05" + value),
        "HLS secret": action(15, ASSOCIATION, 2, value),
        "key transfer": action(64, SECURITY, 2, transfer(secret)),
        "key transfer, wrong class": action(1, SECURITY, 2, transfer(secret)),
        "method list": b"\xc3\x03\xc1" + METHODS + b"\x02\x11\x05" + transfer(secret),
        "method, first block": b"\xc3\x04\xc1" + target(64, SECURITY, 2) + block(0, 0, 1, value)[1:],
        "method, list, first block": b"\xc3\x05\xc1" + METHODS + block(0, 0, 1, value),
        "method, later block": b"\xc3\x06\xc1" + block(1, 0, 2, secret),
        "general block transfer": b"\xe0\x80\x00\x01\x00\x00" + axdr.length(len(written)) + written,
        "one block of several": b"\xe0\x00\x00\x02\x00\x00" + axdr.length(len(secret)) + secret,
        "only authenticated": b"\xc9" + axdr.length(len(written) + 17) + bytes.fromhex("1000000005") + written
        + bytes(12),
        "general-glo, only authenticated": b"\xdb\x08" + bytes(8) + axdr.length(len(written) + 17)
        + bytes.fromhex("1000000005") + written + bytes(12),
        "wrapped key": b"\xdd" + bytes(5) + b"\x01\x02\x01" + value + b"\x05\x30" + bytes(4),
        "short names": b"\x06\x01\x02\xfa\x00\x01" + value,
        "access request": b"\xd9" + bytes(5) + b"\x01\x02" + target(15, ASSOCIATION, 7) + b"\x01" + value,
    }  # fmt: skip


@pytest.mark.parametrize("secret", [SECRET, WORD], ids=["key", "password"])
@pytest.mark.parametrize("way", secrets(SECRET))
def test_a_secret_is_never_shown(way: str, secret: bytes) -> None:
    """Not in the title, not in a value, not in the bytes, neither in full nor where the APDU is cut short."""
    apdu = secrets(secret)[way]
    assert secret in apdu
    for end in range(len(apdu) + 1):
        assert leaks(apdu[:end], secret) == [], f"cut to {end} bytes"


@pytest.mark.parametrize("way", secrets(SECRET))
def test_what_is_left_is_explained_as_before(way: str) -> None:
    """Who has only the redacted bytes gets the same explanation."""
    apdu = secrets(SECRET)[way]
    description = describe(apdu)
    assert describe(description.redacted(apdu)) == description


@pytest.mark.parametrize("way", secrets(SECRET))
def test_a_secret_is_not_shown_where_bytes_follow_that_do_not_belong_there(way: str) -> None:
    """An APDU that is too long is no way to see what is in it either."""
    assert leaks(secrets(SECRET)[way] + b"\x00\x11", SECRET) == []


def test_what_is_written_elsewhere_is_shown() -> None:
    """Only what is a secret is hidden: a head-end's other writes can be looked at."""
    assert values(describe(set_(1, VOLUME, 2, b"\x12\x00\x11")))["value"] == "long-unsigned 17"
    first = b"\xc1\x02\xc1" + target(1, VOLUME, 2) + b"\x00" + block(0, 0, 1, b"\xab\xcd\xef")[1:]
    assert values(describe(first))["piece"] == "abcdef"
    assert values(describe(bytes.fromhex("e00000020000 03 abcdef"), sent=True))["block data"] == "abcdef"


@given(st.binary(max_size=80) | st.builds(lambda tag, rest: bytes((tag, 1)) + rest,
       st.sampled_from([0x60, 0x61, 0xC0, 0xC1, 0xC3, 0xC4, 0xC7, 0xC8, 0xDB, 0xDD, 0xE0, 0x0F, 0x0E, 0xD8]),
       st.binary(max_size=80)), st.booleans())  # fmt: skip
def test_no_bytes_at_all_raise_anything(apdu: bytes, sent: bool) -> None:
    """Whatever comes, there is a description, and its parts lie in the APDU."""
    description = describe(apdu, sent=sent)
    assert description.title
    assert all(0 <= part.offset <= part.offset + part.length <= len(apdu) for part in description.parts)

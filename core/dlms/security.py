"""Security suite 0: AES-GCM-128 around APDUs, and GMAC for HLS 5 (Green Book 9.2.3.3, 9.2.7.2).

Pure functions of keys, titles and counters. Who may send what, and which counters are fresh, the association says.
"""

from __future__ import annotations

import hmac
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.dlms.axdr import decode_length, length
from core.dlms.errors import DecipherError, DecodeError
from core.dlms.xdlms import octet_capacity

AUTHENTICATED = 0x10  # bits of the security control byte; the suite in the low four
ENCRYPTED = 0x20
BROADCAST = 0x40  # the key set
COMPRESSED = 0x80

KEY_SIZE = 16
TITLE_SIZE = 8
TAG_SIZE = 12
HEADER_SIZE = 5  # security control and invocation counter
LAST_COUNTER = 2**32 - 1

_HEADER = struct.Struct(">BI")
_IV = struct.Struct(">8sI")
_GMAC_SIZE = HEADER_SIZE + TAG_SIZE
_CLIPPED = 16 - TAG_SIZE  # of the tag as AES-GCM makes it


class Ciphering(NamedTuple):
    """One of the forms in which a ciphered APDU comes (Green Book 9.5)."""

    label: str  # "glo", "ded", "general-glo", "general-ded"
    dedicated: bool  # under the dedicated key
    offset: int  # from the tag of the plain APDU to that of the ciphered one; 0 where the latter is `tag`
    tag: int = 0

    def room(self, size: int) -> int:
        """Bytes of the largest plain APDU whose ciphered form has at most `size` bytes (64 or more)."""
        around = 1 if self.offset else 2 + TITLE_SIZE
        return octet_capacity(size - around) - HEADER_SIZE - TAG_SIZE


GLO = Ciphering("glo", False, 0x08)
DED = Ciphering("ded", True, 0x10)
GENERAL_GLO = Ciphering("general-glo", False, 0, 0xDB)
GENERAL_DED = Ciphering("general-ded", True, 0, 0xDC)

SERVICE_CIPHERINGS = {
    0xC8: GLO, 0xC9: GLO, 0xCB: GLO, 0xD0: DED, 0xD1: DED, 0xD3: DED, 0xDB: GENERAL_GLO, 0xDC: GENERAL_DED,
}  # fmt: skip
"""By the tags of ciphered GET, SET and ACTION requests."""

INITIATE_CIPHERINGS = {0x21: Ciphering("glo", False, 0x20), 0xDB: GENERAL_GLO}
"""By the tags of a ciphered InitiateRequest."""


class Ciphered(NamedTuple):
    """A ciphered APDU, taken apart but not deciphered."""

    title: bytes | None  # of the sender, where the form carries it
    control: int
    counter: int
    content: bytes  # ciphertext, or plaintext that is only authenticated
    tag: bytes


class Suite:
    """Suite 0 under one encryption key and one authentication key, 16 bytes each."""

    def __init__(self, encryption: bytes, authentication: bytes) -> None:
        self._gcm = AESGCM(encryption)
        self._authentication = authentication

    def protect(self, control: int, title: bytes, counter: int, plain: bytes) -> bytes:
        """Security header, content and tag of an APDU that the owner of `title` (8 bytes) sends.

        `control` has the authentication bit. `counter` (0..2^32-1) must never come twice under one key.
        """
        header = _HEADER.pack(control, counter)
        associated = header[:1] + self._authentication
        iv = _IV.pack(title, counter)
        if control & ENCRYPTED:
            return header + self._gcm.encrypt(iv, plain, associated)[:-_CLIPPED]
        return header + plain + self._gcm.encrypt(iv, b"", associated + plain)[:TAG_SIZE]

    def unprotect(self, title: bytes, message: Ciphered) -> bytes:
        """The plain APDU that the owner of `title` sent. Raises `DecipherError` if the tag does not verify."""
        _, control, counter, content, tag = message
        associated = bytes((control,)) + self._authentication
        iv = _IV.pack(title, counter)
        if control & ENCRYPTED:
            # The key stream is its own inverse: encrypting the ciphertext gives the plaintext, and encrypting that
            # gives the tag that belongs to it. Three times as fast as a decryptor that takes tags of 12 bytes.
            plain = self._gcm.encrypt(iv, content, None)[: len(content)]
            expected = self._gcm.encrypt(iv, plain, associated)[-16:-_CLIPPED]
        else:
            plain = content
            expected = self._gcm.encrypt(iv, b"", associated + plain)[:TAG_SIZE]
        if not hmac.compare_digest(expected, tag):
            raise DecipherError("The authentication tag does not verify.")
        return plain

    def gmac(self, title: bytes, counter: int, challenge: bytes) -> bytes:
        """f(challenge) of HLS 5: security control, counter and tag, 17 bytes."""
        associated = bytes((AUTHENTICATED,)) + self._authentication + challenge
        tag = self._gcm.encrypt(_IV.pack(title, counter), b"", associated)[:TAG_SIZE]
        return _HEADER.pack(AUTHENTICATED, counter) + tag

    def proves(self, title: bytes, challenge: bytes, answer: bytes) -> bool:
        """Whether `answer` is f(challenge) by the owner of `title` with these keys, whatever its counter."""
        if len(answer) != _GMAC_SIZE or answer[0] != AUTHENTICATED:
            return False
        _, counter = _HEADER.unpack_from(answer)
        return hmac.compare_digest(self.gmac(title, counter, challenge), answer)


def decode_ciphered(apdu: bytes, form: Ciphering) -> Ciphered:
    """Take a ciphered APDU of known form apart. Raises `DecodeError` unless every length is exact."""
    title: bytes | None = None
    offset = 1
    if not form.offset:
        if apdu[1:2] != b"\x08" or len(apdu) < 2 + TITLE_SIZE:
            raise DecodeError("A ciphered APDU of the general form carries a system title of 8 bytes.")
        offset = 2 + TITLE_SIZE
        title = apdu[2:offset]
    size, offset = decode_length(apdu, offset)
    if offset + size != len(apdu) or size <= HEADER_SIZE + TAG_SIZE:
        raise DecodeError("The length of the ciphered APDU is not that of its contents, or it holds nothing.")
    control, counter = _HEADER.unpack_from(apdu, offset)
    return Ciphered(title, control, counter, apdu[offset + HEADER_SIZE : -TAG_SIZE], apdu[-TAG_SIZE:])


def encode_ciphered(form: Ciphering, tag: int, title: bytes, protected: bytes) -> bytes:
    """Put what `Suite.protect` gave into its form; `tag` is that of the plain APDU, `title` the sender's."""
    if form.offset:
        return bytes((tag + form.offset,)) + length(len(protected)) + protected
    return bytes((form.tag, TITLE_SIZE)) + title + length(len(protected)) + protected

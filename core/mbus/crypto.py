"""Opens and makes encrypted telegrams (EN 13757-7 security modes 5 and 7); believes what passes the 2F 2F check."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

_BLOCK: Final = 16
_CHECK: Final = b"\x2f\x2f"
_OLD_SIGNATURES: Final = (0xFFFF, 0xB627, 0x27B6)
_UNSUPPORTED_MODES: Final = frozenset({2, 3, 4, 6, 8, 9, 10, 13})


class Seal(Enum):
    """Why a telegram stays closed."""

    NO_KEY = "no key"
    WRONG_KEY = "wrong key"  # it is whole, but 2F 2F does not come out
    UNKNOWN = "unknown"  # no key would help: security mode, missing identification


class Envelope(NamedTuple):
    """How the content of a telegram is encrypted."""

    mode: int
    start: int  # offset of the first encrypted byte
    stop: int  # offset behind the last


class Identity(NamedTuple):
    """What of the header goes into the key or the initialisation vector, least significant byte first."""

    identification: bytes  # 4 bytes, b"" without a long header
    manufacturer: bytes
    version: int
    medium: int
    access_number: int


def envelope(signature: int, content: int, end: int) -> Envelope | None:
    """How the bytes between `content` and `end` are encrypted, None if they are not.

    The configuration word took the place of the signature field of older meters (FFFF, B627), which says
    nothing about encryption. What it calls encrypted must be there: at least one block, and no more than the
    telegram has.
    """
    mode = signature >> 8 & 0x1F
    length = (signature >> 4 & 0xF) * _BLOCK
    if signature in _OLD_SIGNATURES or length == 0:
        return None
    start = content + 1 if mode == 7 else content  # mode 7 has one more configuration byte
    if (mode not in (5, 7) and mode not in _UNSUPPORTED_MODES) or start + length > end:
        return None
    return Envelope(mode, start, start + length)


def opened(
    body: bytes, sealed: Envelope, key: bytes | None, identity: Identity, counter: bytes
) -> tuple[bytes, str, Seal | None]:
    """The frame with its content decrypted, or an empty one, the reason and its kind.

    `counter`: 4 bytes, mode 7 only. `key` must have 16 bytes. Content that does not start with 2F 2F was made with
    another key.
    """
    if sealed.mode not in (5, 7):
        problem = f"the telegram is encrypted in security mode {sealed.mode}, which is not supported"
        return b"", problem, Seal.UNKNOWN
    if key is None:
        problem = f"the telegram is encrypted (security mode {sealed.mode}): give the meter its key"
        return b"", problem, Seal.NO_KEY
    if len(key) != _BLOCK:
        return b"", f"the key of the meter has {len(key)} bytes instead of 16", Seal.WRONG_KEY
    if not identity.identification and (sealed.mode == 5 or body[sealed.start - 1] >> 4 & 3):
        problem = (
            "the telegram is encrypted but its short header lacks the identification that decryption needs"
        )
        return b"", problem, Seal.UNKNOWN
    if sealed.mode == 5:
        vector = _vector(identity)
        keys = [key]
    else:
        vector = bytes(_BLOCK)
        keys = [key] if not body[sealed.start - 1] >> 4 & 3 else [_ephemeral(key, counter, identity)]
    content = body[sealed.start : sealed.stop]
    for candidate in keys:
        decryptor = Cipher(algorithms.AES(candidate), modes.CBC(vector)).decryptor()
        plain = decryptor.update(content) + decryptor.finalize()
        if plain.startswith(_CHECK):
            return body[: sealed.start] + plain + body[sealed.stop :], "", None
    problem = "the telegram cannot be opened: the key of the meter is not the one it was encrypted with"
    return b"", problem, Seal.WRONG_KEY


def missing(signature: int, content: int, end: int) -> int:
    """How many of the bytes that the configuration word calls encrypted (mode 5 or 7) the telegram lacks.

    Older meters have a signature there: only of a meter that is known to encrypt this says something.
    """
    mode, length = signature >> 8 & 0x1F, (signature >> 4 & 0xF) * _BLOCK
    if signature in _OLD_SIGNATURES or mode not in (5, 7):
        return 0
    return max(0, content + (mode == 7) + length - end)


def sealed(mode: Literal[5, 7], key: bytes, identity: Identity, records: bytes) -> bytes:
    """Configuration word and encrypted records, as they follow the status byte of a header (CI 72h).

    `key` must have 16 bytes; mode 7 uses it as it is, without a message counter. At most 238 bytes of records, so that
    they fit into the 15 blocks that a configuration word can tell of.
    """
    plain = _CHECK + records
    plain += b"\x2f" * (-len(plain) % _BLOCK)
    vector = _vector(identity) if mode == 5 else bytes(_BLOCK)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    word = bytes((len(plain) // _BLOCK << 4, mode)) + (b"" if mode == 5 else b"\x00")
    return word + encryptor.update(plain) + encryptor.finalize()


def _vector(identity: Identity) -> bytes:
    """Initialisation vector of mode 5."""
    header = identity.manufacturer + identity.identification + bytes((identity.version, identity.medium))
    return header + bytes([identity.access_number]) * 8


def _ephemeral(key: bytes, counter: bytes, identity: Identity) -> bytes:
    """Key for one message, by the derivation function of EN 13757-7 clause 9.6 (meter, encryption)."""
    derivation = CMAC(algorithms.AES(key))
    derivation.update(b"\x00" + counter + identity.identification + b"\x07" * 7)
    return derivation.finalize()

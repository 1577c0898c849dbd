"""What a receiver makes of an APDU that was pushed to it: deciphered, checked and taken apart. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from core.cosem.codes import Codes
from core.dlms import security
from core.dlms.admission import Keys
from core.dlms.errors import DecipherError, DlmsError, StaleCounterError
from core.dlms.security import AUTHENTICATED, ENCRYPTED, GENERAL_GLO, Suite
from core.push import content, notification
from core.push.content import Content

_CONTROL: Final = AUTHENTICATED | ENCRYPTED
_MOST_TITLES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Received:
    """A notification as it arrived, or what arrived instead of one."""

    received_ms: int
    """Milliseconds since 1970 UTC."""
    source: str
    """"host:port" of the sender."""
    server_sap: int | None = None
    """Logical device that sent it; None where not even an APDU arrived."""
    client_sap: int | None = None
    apdu: bytes = b""
    """As it came."""
    ciphered: bool = False
    title: bytes = b""
    """System title of a ciphered one."""
    counter: int | None = None
    """Invocation counter of a ciphered one."""
    plain: bytes = b""
    """The DataNotification; empty where it could not be deciphered."""
    report_id: int | None = None
    """Low 24 bits of the id of the report: the same where it is delivered twice."""
    content: Content | None = None
    problem: str = ""
    """Why there is no content; "" where there is."""


class Opener:
    """Opens APDUs one after the other, and remembers the invocation counter of each gateway."""

    def __init__(self, keys: Keys | None = None, codes: Codes | None = None) -> None:
        """`keys` of the gateways; `codes`: their logical names, where they are not the usual ones."""
        self._suite = Suite(keys.encryption, keys.authentication) if keys else None
        self._codes = codes or Codes()
        self._counters: dict[bytes, int] = {}  # the last genuine one, by system title

    def open(self, arrived: Received) -> Received:
        """`arrived`, of which only the APDU is known, with what it says, or with the problem. Raises nothing."""
        result = arrived
        try:
            if arrived.apdu[:1] == bytes((GENERAL_GLO.tag,)):
                result = replace(result, ciphered=True)
                message = security.decode_ciphered(arrived.apdu, GENERAL_GLO)
                title = message.title or b""
                result = replace(result, title=title, counter=message.counter)
                plain = self._deciphered(title, message)
            else:
                plain = arrived.apdu
            opened = notification.decode(plain)
            result = replace(result, plain=plain, report_id=opened.report_id)
            return replace(result, content=content.read(opened.body, self._codes))
        except DlmsError as error:
            return replace(result, problem=str(error))

    def _deciphered(self, title: bytes, message: security.Ciphered) -> bytes:
        """The plain APDU. Checks security control, tag and counter, in this order (Green Book 9.2.7)."""
        if message.control != _CONTROL:
            raise DecipherError(
                f"The security control is {message.control:02x}; a notification has 30, authenticated and encrypted."
            )
        if self._suite is None:
            raise DecipherError(
                f"It is ciphered by {title.hex().upper()}; the keys of that gateway are needed."
            )
        plain = self._suite.unprotect(title, message)
        last = self._counters.get(title, -1)
        if message.counter <= last:
            raise StaleCounterError(message.counter, last)
        if len(self._counters) < _MOST_TITLES or title in self._counters:
            self._counters[title] = message.counter
        return plain

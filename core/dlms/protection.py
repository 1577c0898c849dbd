"""What one association deciphers and ciphers with: the keys that hold now, its dedicated key, the counters.

Security suite 0 with its order of checks (Green Book 9.2.3.3, 9.2.7). No I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple

from core.dlms import security
from core.dlms.admission import Credentials, Keys, Policy
from core.dlms.errors import DecipherError, DecodeError, StaleCounterError
from core.dlms.security import AUTHENTICATED, ENCRYPTED, GLO, Ciphering, Suite

_ENCRYPTED = AUTHENTICATED | ENCRYPTED


class Envelope(NamedTuple):
    """How a request was ciphered; its answer is ciphered in the same way."""

    form: Ciphering
    control: int

    @property
    def label(self) -> str:
        """Such as "glo 30"."""
        return f"{self.form.label} {self.control:02x}"


class Protection:
    """Looks keys and policy up with every use. The client is known by `client_title`, 8 bytes from its AARQ."""

    def __init__(self, credentials: Credentials) -> None:
        self.client_title = b""
        self._credentials = credentials
        self._keys: Keys | None = None  # that the suites below were made of
        self._global: Suite
        self._dedicated: Suite | None = None
        self._dedicated_key = b""
        self._dedicated_under = b""  # the global encryption key that the dedicated key came under
        self._dedicated_last = -1  # counter accepted under the dedicated key

    def agree(self, dedicated_key: bytes) -> None:
        """Use another dedicated key from now on; empty for none.

        Raises `DecodeError` unless it has 16 bytes and differs from the global one, whose counters it would bypass.
        """
        under = self._credentials.keys().encryption
        if dedicated_key and (len(dedicated_key) != security.KEY_SIZE or dedicated_key == under):
            raise DecodeError("A dedicated key has 16 bytes and is not the global encryption key.")
        self._dedicated_key, self._dedicated_under, self._dedicated_last = dedicated_key, under, -1
        self._keys = None

    def decipher(self, apdu: bytes, form: Ciphering) -> tuple[bytes, Envelope, Awaitable[None] | None]:
        """The plain APDU, how it came, and what to wait for before it may be acted upon.

        Checks lengths, suite and security control, policy, tag, counter, in this order. Raises `DecodeError`,
        `DecipherError`, `StaleCounterError`, `CounterError`.
        """
        message = security.decode_ciphered(apdu, form)
        control = message.control
        if control != _ENCRYPTED:
            if control != AUTHENTICATED:
                raise DecipherError(f"The security control {control:02x} is not allowed.")
            if self._credentials.policy() != Policy.NONE:
                raise DecipherError("The security policy wants encryption, not authentication only.")
        if message.title is not None and message.title != self.client_title:
            raise DecipherError("The system title is not the one of the association.")
        plain = self._suite(form).unprotect(self.client_title, message)
        if form.offset and plain[0] != apdu[0] - form.offset:
            raise DecodeError(f"The tag {apdu[0]:02x} does not fit to the plain APDU {plain[0]:02x}.")
        return plain, Envelope(form, control), self._accept(message.counter, dedicated=form.dedicated)

    def cipher(self, plain: bytes, envelope: Envelope) -> bytes:
        """Cipher an answer under the keys that hold now. Raises `CounterError`, `DecipherError`.

        Keys and their counters change together, so that no nonce comes twice, also for an answer that took long.
        """
        form, control = envelope
        suite = self._suite(form)
        title = self._credentials.system_title()
        counter = self._credentials.counters.next()
        return security.encode_ciphered(form, plain[0], title, suite.protect(control, title, counter, plain))

    def proves(self, challenge: bytes, answer: bytes) -> bool:
        """Whether `answer` is the client's f(StoC), whatever its counter: the challenge is fresh."""
        return self._suite(GLO).proves(self.client_title, challenge, answer)

    def prove(self, challenge: bytes) -> bytes:
        """The gateway's f(CtoS). Raises `CounterError`."""
        counter = self._credentials.counters.next()
        return self._suite(GLO).gmac(self._credentials.system_title(), counter, challenge)

    def _accept(self, counter: int, *, dedicated: bool) -> Awaitable[None] | None:
        if dedicated:
            if counter <= self._dedicated_last:
                raise StaleCounterError(counter, self._dedicated_last)
            self._dedicated_last = counter
            return None
        counters = self._credentials.counters
        last = counters.last(self.client_title)
        if counter <= last:
            raise StaleCounterError(counter, last)
        return counters.accept(self.client_title, counter)

    def _suite(self, form: Ciphering) -> Suite:
        """The suite for the keys that hold now. Raises `DecipherError` without a dedicated key that holds."""
        keys = self._credentials.keys()
        if keys != self._keys:
            self._keys = keys
            self._global = Suite(keys.encryption, keys.authentication)
            # Sending counters are unique under one global key only, and the dedicated key shares them.
            holds = self._dedicated_key and keys.encryption == self._dedicated_under
            self._dedicated = Suite(self._dedicated_key, keys.authentication) if holds else None
        if not form.dedicated:
            return self._global
        if self._dedicated is None:
            raise DecipherError(
                "There is no dedicated key, or the global key that it came under was changed."
            )
        return self._dedicated

"""What can go wrong between the bytes of a client and an answer; never reaches the technician as a crash."""

from __future__ import annotations

from core.errors import CmeError


class DlmsError(CmeError):
    """Base of every error of the DLMS layers."""


class DecodeError(DlmsError):
    """Bytes that are no valid APDU or no valid A-XDR data; the message says what was expected where."""


class EncodeError(DlmsError):
    """A value that does not fit into the data type that it should have."""


class DecipherError(DlmsError):
    """A ciphered APDU whose protection does not verify or is not allowed; the message says which."""


class StaleCounterError(DlmsError):
    """A genuine ciphered APDU whose counter is not above the last one that was accepted."""

    def __init__(self, counter: int, last: int) -> None:
        super().__init__(f"The invocation counter is {counter}; it must be above {last}.")
        self.counter = counter
        self.last = last


class CounterError(DlmsError):
    """No invocation counter can be used: the key is used up, or the disk does not keep them."""

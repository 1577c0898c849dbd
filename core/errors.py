"""The errors that reach people. Each message says what is wrong, where, and what to do."""

from typing import ClassVar


class CmeError(Exception):
    """Base of every error that the core raises on purpose; `str(error)` is a sentence for people."""

    bad_input: ClassVar[bool] = False
    """Whether what a person gave is wrong (a name, a number, a file): commands end with another exit code then."""


class BadInputError(CmeError):
    """What a person gave is wrong."""

    bad_input = True

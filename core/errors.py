"""The errors that reach people. Each message says what is wrong, where, and what to do."""


class CmeError(Exception):
    """Base of every error that the core raises on purpose; `str(error)` is a sentence for people."""


class BadInputError(CmeError):
    """What a person gave is wrong: a name, a number, a file. Commands end with another exit code for it."""

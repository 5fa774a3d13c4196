"""Passwords and user names that no text shows: a repr, a log line or an error that holds one has asterisks there.

redis-py puts its arguments into reprs, and some of its versions put these into errors and logs.
"""

from typing import Any

_SHOWN = "***"


class _Hidden:
    # Sockets take the bytes of a text, and never ask for its str() or repr().
    def __repr__(self) -> str:
        return _SHOWN

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, _: str) -> str:
        return _SHOWN


class SecretText(_Hidden, str):
    """A text that is what it is, and is not shown."""


class SecretBytes(_Hidden, bytes):
    """Bytes that are what they are, and are not shown."""


def hidden(value: Any) -> Any:
    """Return the same text or bytes, hidden; anything else as it is."""
    if isinstance(value, _Hidden):
        return value
    if isinstance(value, str):
        return SecretText(value)
    return SecretBytes(value) if isinstance(value, bytes) else value

"""Hide passwords and user names: a repr, a log line or an error shows asterisks instead.

redis-py puts its arguments into reprs, and some versions of redis-py put these reprs into errors and logs.
"""

from typing import Any

_SHOWN = "***"


class _Hidden:
    # A socket sends the bytes of a text. It never calls str() or repr().
    def __repr__(self) -> str:
        return _SHOWN

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, _: str) -> str:
        return _SHOWN


class SecretText(_Hidden, str):
    """A text with its usual value, shown as asterisks."""


class SecretBytes(_Hidden, bytes):
    """Bytes with their usual value, shown as asterisks."""


def hidden(value: Any) -> Any:
    """Return the same text or bytes, but hidden. Return any other value unchanged."""
    if isinstance(value, _Hidden):
        return value
    if isinstance(value, str):
        return SecretText(value)
    return SecretBytes(value) if isinstance(value, bytes) else value

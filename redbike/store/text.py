"""Convert text to bytes and back. The job ids and schedules of other programs may contain bytes that are not UTF-8."""


def encode(text: str) -> bytes:
    """Return the bytes of a text in Redis. This is the inverse of `decode`, also for bytes that are not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # this text did not come from Redis


def decode(raw: bytes) -> str:
    """Return bytes as text. Never fails: bytes that are not UTF-8 become lone surrogates (PEP 383)."""
    return raw.decode("utf-8", "surrogateescape")

"""Read the queries and the bodies of requests, and write job ids into addresses.

A job id may hold any bytes. In an address, its bytes are percent-encoded.
"""

from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from redbike.store.text import decode, encode

_MOST_FIELDS = 50


def fields(raw: bytes) -> dict[str, str]:
    """Return the fields of a query or of a form, by name. Raise ValueError if there are too many."""
    text = decode(raw)
    return dict(
        parse_qsl(text, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MOST_FIELDS, separator="&")
    )


def query_of(given: dict[str, str], **changes: str) -> str:
    """Return a query with these fields, without those that are empty."""
    merged = {name: value for name, value in {**given, **changes}.items() if value}
    return urlencode({name: encode(value) for name, value in merged.items()}, quote_via=quote)


def quoted(text: str) -> str:
    """Return a text for an address."""
    return quote(encode(text), safe="")


def unquoted(raw: bytes) -> str:
    """Return the text of a part of an address."""
    return decode(unquote_to_bytes(raw))

"""Notes: which load owns a job, and of which row it came. Redis keeps them in P:loaded.

A note is the name of the load, a line break, the digest of the row, and perhaps marks and the time of the first run.
"""

from hashlib import blake2b
from typing import NamedTuple

from redbike.csvfile import Row
from redbike.schedule.forms import PAUSED

_HAS_PAYLOAD, _IS_PAUSED = "p", "z"


class Note(NamedTuple):
    """A note after reading it."""

    owner: str
    digest: str
    has_payload: bool  # the row named a payload
    is_paused: bool  # the row was paused
    first: str  # the time of the first run; "" without a time

    @classmethod
    def of(cls, text: str) -> "Note":
        """Read a note. A text that is no note belongs to nobody."""
        owner, _, rest = text.rpartition("\n")
        digest, _, rest = rest.partition(" ")
        marks, _, first = rest.partition(" ")
        return cls(owner, digest, _HAS_PAYLOAD in marks, _IS_PAUSED in marks, first)


def written(name: str, row: Row) -> str:
    """Return the note for a job that comes from this row of the load with this name."""
    digest = blake2b(row.schedule.encode(errors="surrogatepass"), digest_size=8)
    marks = ""
    if row.payload is not None:
        digest.update(b"\0" + row.payload.encode(errors="surrogatepass"))
        marks += _HAS_PAYLOAD
    if row.schedule.lstrip().startswith(PAUSED):
        marks += _IS_PAUSED
    first = "" if row.first is None else f"{row.first:.15g}"
    return f"{name}\n{digest.hexdigest()} {marks} {first}".rstrip()

"""Read the counters of runs that the scripts keep in P:metrics. They outlive processes, and hold for the whole fleet.

Fields that cannot be read are skipped, because another program may have written them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from redbike.server.refusals import is_wrong_type
from redbike.store.keys import Keys
from redbike.store.text import decode

LIMITS_S = (*(2**power / 1000 for power in range(24)), math.inf)
"""The upper limits of the buckets of lateness, in seconds. A run is in the first bucket whose limit is above it."""

_UNKNOWN = "-"
_BUCKETS = {**{str(power): power for power in range(24)}, "inf": 24}
_LONGEST_NUMBER = 18  # digits


@dataclass(frozen=True)
class Counts:
    """The counters of one prefix since they were begun, each by the name of the queue."""

    started: dict[str, int] = field(default_factory=dict)
    """Runs that began."""
    lateness: dict[str, list[int]] = field(default_factory=dict)
    """Runs that began for the first time and whose due time is known, by bucket: see `LIMITS_S`."""
    late_s: dict[str, float] = field(default_factory=dict)
    """The sum of the lateness of these runs, in seconds."""
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    """Runs that ended, by queue and outcome."""
    retried: dict[str, int] = field(default_factory=dict)
    """Failed and lost runs that are tried again."""
    halted_at: int | None = None
    """When HALT was sent last, Unix seconds."""

    @classmethod
    def read(cls, client: redis.Redis, keys: Keys) -> "Counts":
        """Read the counters, in one round trip. Return empty counters if the key has a wrong type."""
        try:
            fields: Any = client.hgetall(keys.metrics)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            fields = {}
        return cls.of(fields)

    @classmethod
    def of(cls, fields: Mapping[bytes, bytes]) -> "Counts":
        """Return the counters that these fields of the hash hold."""
        counts = cls(halted_at=_number(fields.get(b"halted", b"")))
        for name, text in fields.items():
            what, _, rest = decode(name).partition(" ")
            number = _number(text)
            if number is None or not rest:
                continue
            if what == "late_ms":
                counts.late_s[rest] = number / 1000
            elif what == "retried":
                counts.retried[rest] = number
            else:
                word, _, queue = rest.partition(" ")
                if what == "ended" and word and queue:
                    counts.ended[queue, word] = number
                elif what == "started" and queue:
                    counts._add_started(word, queue, number)
        return counts

    def _add_started(self, bucket: str, queue: str, number: int) -> None:
        if bucket in _BUCKETS:
            self.lateness.setdefault(queue, [0] * len(LIMITS_S))[_BUCKETS[bucket]] += number
        elif bucket != _UNKNOWN:
            return
        self.started[queue] = self.started.get(queue, 0) + number


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= _LONGEST_NUMBER else None

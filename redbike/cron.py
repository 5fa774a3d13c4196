"""Cron expressions: five fields as Debian's cron reads them (crontab(5)), and the IANA zone that they are meant in.

The reading and the rules for changes of the clock are cronsim's; nothing here knows what the time is.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_FIRST = 0  # 1970; no schedule of ours was meant to run before
_LAST = 253_402_300_799 - 60 * 366 * 86_400  # cronsim looks 50 years ahead, and dates end with the year 9999


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a zone."""

    expression: str
    zone: str | None
    """The IANA name; None: UTC, and none was given."""

    def after(self, reference: float) -> int | None:
        """Unix seconds of the first run strictly after `reference`; None where there is none within fifty years."""
        if reference > _LAST:
            return None
        moment = datetime.fromtimestamp(max(int(reference // 1), _FIRST), _zone(self.zone))
        try:
            return int(next(CronSim(self.expression, moment)).timestamp())
        except StopIteration:
            return None


def parse(text: str) -> Cron:
    """Read `FIELD FIELD FIELD FIELD FIELD [ZONE]`. Raises ValueError, which names the field or the zone."""
    words = text.split()
    if len(words) not in (5, 6):
        raise ValueError(f"{len(words)} fields where five are needed ({' '.join(_FIELDS)}), and a zone if you like")
    expression, zone = " ".join(words[:5]), words[5] if len(words) == 6 else None
    _zone(zone)
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(_reason(words, str(error))) from error
    return Cron(expression, zone)


def _reason(words: list[str], error: str) -> str:
    for name, word in zip(_FIELDS, words, strict=False):
        if re.search(rf"\b{name}\b", error):
            return f"the {name} field {word[:40]!r} cannot be read, or never comes"
    return error


@lru_cache(maxsize=256)
def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time zone {name[:60]!r} is unknown: an IANA name is needed, such as Europe/Berlin") from None

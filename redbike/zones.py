"""Time zones of the IANA database by name, in whatever case it was written. Knows nothing of schedules or offsets."""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_SHOWN_CHARS = 60


def zone_named(name: str) -> ZoneInfo:
    """The zone of this name; raises ValueError, whose text is a sentence that names it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    canonical = _canonical_names().get(name.casefold())
    if canonical is None:
        shown = ascii(name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "...")
        raise ValueError(f"{shown} is not a time zone of the IANA database, such as Europe/Berlin")
    return ZoneInfo(canonical)


@lru_cache(maxsize=1)
def _canonical_names() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}

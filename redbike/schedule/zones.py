"""Time zones of the IANA database by name, in upper or lower case. Knows nothing of schedules or offsets."""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_SHOWN_CHARS = 60


def zone_named(name: str) -> ZoneInfo:
    """Return the zone with this name. Raise ValueError, with the name in its text, if there is none."""
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

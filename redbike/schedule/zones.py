"""Time zones of the IANA database by name, in upper or lower case. Knows nothing of schedules or offsets."""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_SHOWN_CHARS = 60
_ABBREVIATIONS = {"est": "America/New_York", "mst": "America/Denver", "hst": "Pacific/Honolulu"}
# What these mean depends on the machine, or on no place at all.
_NO_PLACES = ("localtime", "posixrules", "factory", "posix/", "right/")


def zone_named(name: str) -> ZoneInfo:
    """Return the zone with this name. Raise ValueError, with the name and the way out in its text, if there is none."""
    folded = name.casefold()
    if folded in _ABBREVIATIONS:
        raise ValueError(
            f"{_shown(name)} is an abbreviation, whose clock would never change: write the zone of a place, such as"
            f" {_ABBREVIATIONS[folded]}"
        )
    if folded.startswith(_NO_PLACES):
        raise ValueError(f"{_shown(name)} means no place: write the zone of a place, such as Europe/Berlin")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    canonical = _canonical_names().get(folded)
    if canonical is None:
        raise ValueError(_reason(name, folded))
    return ZoneInfo(canonical)


def _reason(name: str, folded: str) -> str:
    from redbike.schedule.windows_zones import WINDOWS_ZONES

    for windows, iana in WINDOWS_ZONES.items():
        if windows.casefold() == folded:
            return f"{_shown(name)} is the name of a zone in Windows: write {iana}"
    # `Berlin`, `America/New York`, `/example.org/20060101/Europe/Berlin`
    parts = folded.replace(" ", "_").split("/")
    for count in (3, 2, 1):
        meant = _canonical_names().get("/".join(parts[-count:])) or _cities().get(parts[-1])
        if meant is not None:
            return f"{_shown(name)} is not a time zone of the IANA database: write {meant}"
    return f"{_shown(name)} is not a time zone of the IANA database, such as Europe/Berlin"


def _shown(name: str) -> str:
    return ascii(name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "...")


@lru_cache(maxsize=1)
def _canonical_names() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}


@lru_cache(maxsize=1)
def _cities() -> dict[str, str]:
    """Return the zones of cities by the name of the city."""
    regions = ("africa/", "america/", "asia/", "atlantic/", "australia/", "europe/", "indian/", "pacific/")
    return {
        folded.rpartition("/")[2]: name
        for folded, name in sorted(_canonical_names().items())
        if folded.startswith(regions)
    }

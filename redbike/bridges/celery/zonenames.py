"""The IANA names of zones, for schedule texts. Pure: knows neither Celery, Redis nor a clock."""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from redbike.schedule.zones import zone_named

_HOUR = timedelta(hours=1)
_UTC_NAMES = ("UTC", "Etc/UTC")


@lru_cache(maxsize=256)
def checked_zone(name: str | None) -> str:
    """Return the name of a zone as the IANA database spells it; "UTC" for None.

    Raise ValueError, with the name and the way out, for a name that Redbike does not know.
    """
    if name is None or name in _UTC_NAMES:
        return "UTC"
    return zone_named(name).key


def zone_name(zone: tzinfo) -> str | None:
    """Return the IANA name of a zone of zoneinfo or pytz, and "UTC" for a clock that is always UTC; None for others."""
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if isinstance(name, str):
        return name
    try:
        return "UTC" if zone.utcoffset(None) == timedelta() else None
    except Exception:  # such as Celery's LocalTimezone, which knows no offset without a moment
        return None


def zone_at(moment: datetime, fallback: str, *, stored: bool = False) -> str:
    """Return the IANA name of the zone of an aware moment.

    A fixed offset of whole hours is a zone such as `Etc/GMT-2` (two hours east of Greenwich). `stored` says that the
    moment comes from a store that keeps no zone, only its offset: a moment at which `fallback` has this offset is then
    in `fallback`. Raise ValueError, with the zone and the way out, for a zone without a name.
    """
    zone = moment.tzinfo
    assert zone is not None
    name = zone_name(zone)
    if name is not None and not (stored and name == "UTC"):
        return checked_zone(name)
    offset = moment.utcoffset()
    if stored and offset == moment.astimezone(zone_named(checked_zone(fallback))).utcoffset():
        return checked_zone(fallback)
    if name is not None:
        return "UTC"
    if offset is not None and offset == zone.utcoffset(None) and offset % _HOUR == timedelta():
        east = offset // _HOUR
        if -12 <= east <= 14:
            return f"Etc/GMT{-east:+d}"
    raise ValueError(
        f"{moment.isoformat()}: the zone {str(zone)!r} has no IANA name: give the moment the zone of a place, such as"
        " zoneinfo.ZoneInfo('Europe/Berlin')"
    )


def in_zone(moment: datetime, zone: str, *, stored: bool = False) -> tuple[datetime, str]:
    """Return a moment without its zone, as the clock shows it, and the name of its zone.

    A moment without a zone is in UTC, as Celery reads it, and is shown by the clock of `zone`. For `stored`, and for
    errors, see `zone_at`.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        zone = checked_zone(zone)
        moment = moment.replace(tzinfo=UTC).astimezone(zone_named(zone))
    else:
        zone = zone_at(moment, zone, stored=stored)
    return moment.astimezone(zone_named(zone)).replace(tzinfo=None, microsecond=0, fold=0), zone

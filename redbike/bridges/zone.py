"""Find the time zone of this machine, by its IANA name."""

import os
from pathlib import Path

from redbike.schedule.zones import zone_named

_LOCALTIME = Path("/etc/localtime")


def zone_here() -> str:
    """Return the name of the zone in which cron on this machine reads times: TZ, else that of /etc/localtime, else UTC.

    Raise ValueError if the machine does not name its zone.
    """
    named = os.environ.get("TZ", "").removeprefix(":")
    if not named:
        if not _LOCALTIME.exists():
            return "UTC"
        _, _, zone = str(_LOCALTIME.resolve()).partition("/zoneinfo/")
        named = zone or str(_LOCALTIME)
    return zone_named(named).key

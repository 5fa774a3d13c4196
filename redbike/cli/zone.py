"""Read the option --zone."""

from redbike.bridges.zone import zone_here
from redbike.cli.opening import Failure
from redbike.schedule.zones import zone_named


def zone_of(name: str | None) -> str:
    """Return a zone as the IANA database spells it; without a name, that of this machine, which cron uses.

    Raise Failure for a zone that is not known.
    """
    try:
        return zone_here() if name is None else zone_named(name).key
    except ValueError as error:
        where = "the zone of this machine cannot be found; write --zone=ZONE" if name is None else "--zone"
        raise Failure(f"{where}: {error}") from None

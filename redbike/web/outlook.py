"""What a schedule leads to: its next runs, and the changes of the clock between them."""

from datetime import datetime, timedelta
from typing import NamedTuple

from redbike.schedule.forms import PAUSED
from redbike.schedule.preview import Preview, next_runs

MOST = 10
LONGEST_SCHEDULE = 20_000


class NextRun(NamedTuple):
    """One of the next runs."""

    at: float
    wall: str
    """On the clock of the schedule, or of this machine."""
    shift: str
    """How the clock changes between the run before and this run; empty if it does not."""


class Outlook(NamedTuple):
    """The next runs of a schedule."""

    text: str
    runs: tuple[NextRun, ...] = ()
    zone: str = ""
    warnings: tuple[str, ...] = ()
    reason: str = ""
    """Why it cannot be read."""


def outlook(schedule: str | None, now: float, planned: float | None = None, count: int = MOST) -> Outlook:
    """Return the outlook of a schedule, from now or from the run that is planned."""
    text = (schedule or "").removeprefix(PAUSED)
    if not text or len(text) > LONGEST_SCHEDULE:
        return Outlook(text, reason="The schedule is too long." if text else "There is no schedule.")
    # A job of one run is registered as STOP, with its run on the timeline.
    preview = next_runs(text, after=now if planned is None else planned, count=count)
    if preview.reason is not None:
        return Outlook(text, reason=preview.reason)
    stamps = [run.timestamp() for run in preview.runs]
    if planned is not None:
        stamps = [planned, *(stamp for stamp in stamps if stamp > planned)][:count]
    warnings = () if planned is not None and text == "STOP" else tuple(preview.warnings)
    return Outlook(text, tuple(_runs(stamps, preview, now)), preview.zone.key if preview.zone else "", warnings)


def _runs(stamps: list[float], preview: Preview, now: float) -> list[NextRun]:
    found, before = [], _offset(now, preview)
    for stamp in stamps:
        offset = _offset(stamp, preview)
        found.append(NextRun(stamp, _wall(stamp, preview), _shift(before, offset)))
        before = offset
    return found


def _moment(stamp: float, preview: Preview) -> datetime:
    return datetime.fromtimestamp(stamp, preview.zone) if preview.zone else datetime.fromtimestamp(stamp).astimezone()


def _offset(stamp: float, preview: Preview) -> timedelta | None:
    try:
        return _moment(stamp, preview).utcoffset()
    except (ValueError, OverflowError, OSError):
        return None


def _wall(stamp: float, preview: Preview) -> str:
    try:
        moment = _moment(stamp, preview)
    except (ValueError, OverflowError, OSError):
        return str(stamp)
    return f"{moment:%a} {moment.replace(tzinfo=None).isoformat(' ', 'seconds')} {moment:%Z}"


def _shift(before: timedelta | None, after: timedelta | None) -> str:
    if before is None or after is None or before == after:
        return ""
    minutes = round(abs((after - before).total_seconds()) / 60)
    length = f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
    return f"before this run, the clock goes {'forward' if after > before else 'back'} by {length}"

"""Times and lengths of time in words, for tables, sentences and pages. Pure: the caller gives the present time."""

from datetime import datetime

_UNITS = ((86_400.0, "day"), (3_600.0, "h"), (60.0, "min"))
_DAY_S = 86_400


def length(seconds: float) -> str:
    """Return a length of time by its largest unit, rounded down: `3 s`, `5 min`, `2 h`, `1 day`, `4 days`."""
    seconds = max(0.0, seconds)
    for size, unit in _UNITS:
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{int(seconds)} s"


def ago(seconds: float) -> str:
    """Return how long something is ago: `3 s ago`, or `now` within the second."""
    return f"{length(seconds)} ago" if seconds >= 1 else "now"


def ahead(seconds: float) -> str:
    """Return how far ahead a time is: `in 3 h`, `now`, or `5 min ago` for a time that has passed."""
    return f"in {length(seconds)}" if seconds >= 1 else ago(-seconds)


def duration(seconds: float) -> str:
    """Return how long a run took or how late it was, to three digits: `0.004 s`, `2.31 s`, `75 s`, `12 min`."""
    seconds = max(0.0, seconds)
    if seconds >= 600:
        return length(seconds)
    if seconds >= 99.95:
        return f"{seconds:.0f} s"
    digits = 3 if seconds < 1 else 2 if seconds < 9.995 else 1
    return f"{seconds:.{digits}f} s"


def moment(stamp: float, now: float) -> str:
    """Return a Unix time on the clock of this machine, as short as it can be told from `now`.

    `18:20:03` on the same day, `Mon 18:20` within six days, else `2026-12-24 18:20`.
    """
    at, present = _local(stamp), _local(now)
    if at is None or present is None:
        return str(stamp)
    if at.date() == present.date():
        return f"{at:%H:%M:%S}"
    if abs(stamp - now) < 6 * _DAY_S:
        return f"{_WEEKDAYS[at.weekday()]} {at:%H:%M}"
    return f"{at:%Y-%m-%d %H:%M}"


def exact(stamp: float) -> str:
    """Return a Unix time on the clock of this machine, in ISO 8601 with its offset, to the second."""
    at = _local(stamp)
    return str(stamp) if at is None else at.isoformat(" ", "seconds")


def plural(number: int, noun: str, many: str = "") -> str:
    """Return a number with its noun: `1 job`, `1,204 jobs`. `many`: a plural that does not end in s."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def shortened(text: str, most: int) -> str:
    """Return a text with at most so many characters; an ellipsis shows where it was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _local(stamp: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(stamp).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


# Not by strftime: the words of Redbike are English, whatever the locale of the program is.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

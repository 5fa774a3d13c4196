"""What a text that is no schedule was probably meant to be. Imported only for such a text."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from redbike.schedule.cron import NAMES
from redbike.schedule.forms import READERS, WORDS, read
from redbike.schedule.plan import Action

_PREFIXES = (*(prefix.removesuffix(":") for prefix in READERS), "RRULE", "DTSTART")
_PROPERTIES = re.compile(r"(?:DTSTART|RRULE|EXRULE|RDATE|EXDATE)[:;]|(?:^|[;\s])[A-Z]+=", re.IGNORECASE)
_CRON_FIELD = re.compile(r"[0-9*/,\-?#LW]+|(?:[A-Z]{3}[,\-]?)+|(?:CRON_)?TZ=\S*", re.ASCII | re.IGNORECASE)
_UNITS = {"s": "s", "second": "s", "sec": "s", "m": "m", "minute": "m", "min": "m", "h": "h", "hour": "h", "hr": "h"}
_UNITS |= {"d": "d", "day": "d"}
_INTERVAL = re.compile(rf"(?:every ?:? ?)?([0-9]{{1,9}})? ?({'|'.join(_UNITS)})s?", re.ASCII | re.IGNORECASE)
_MOST_CHARS = 200


def looks_like_a_recurrence(text: str) -> bool:
    """Return True if a part or a line of the text has the form of a recurrence."""
    return len(text) > _MOST_CHARS or bool(_PROPERTIES.search(text))


def suggestion(text: str) -> str | None:
    """Return the schedule that a text was probably meant to be; None if it may be a recurrence, or nothing is near."""
    meant = _guess(text)
    if meant is None or not meant.isprintable():
        return None
    # A cron expression is suggested in any case: its own reason says more.
    return meant if meant.startswith("CRON:") or read(meant).first(0).action is not Action.BAD else None


def _guess(text: str) -> str | None:
    if match := re.fullmatch(r"(RRULE|DTSTART|RDATE)\s+(\S.*)", text, re.IGNORECASE):
        return f"{match[1].upper()}:{match[2]}"
    if len(text) > _MOST_CHARS or _PROPERTIES.search(re.sub(r"(?:CRON_)?TZ=", "", text)):
        return None
    words = text.split()
    if match := _INTERVAL.fullmatch(" ".join(words)):
        return f"EVERY:{match[1] or 1}{_UNITS[match[2].lower()]}"
    name = f"@{text.lower().lstrip('@')}"
    if name in NAMES:
        return f"CRON:{name}"
    if len(words) >= 5 and all(map(_CRON_FIELD.fullmatch, words[:5])):
        return f"CRON:{' '.join(words)}"
    if text.startswith("@"):
        return f"CRON:{text}"
    if re.fullmatch(r"[0-9]{9,11}|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]*)?(?:Z|[+-][0-9:]+)?", text):
        return f"AT:{text}"
    word, separator, rest = re.match(r"([A-Za-z]*)([:\s]?\s*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    near = nearest(word.upper(), _PREFIXES if separator and rest else WORDS)
    if near is None:
        return None
    return f"{near}:{rest}" if rest else near


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like a text; None if none is like it."""
    return next(iter(get_close_matches(text, list(known), 1, 0.6)), None)

"""Why a cron expression cannot be read, and what to write instead. Imported only for such an expression."""

import re
from itertools import pairwise

from redbike.schedule.cron import MONTHS, NAMES, WEEKDAYS
from redbike.schedule.suggest import nearest
from redbike.schedule.zones import zone_named

FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES: tuple[tuple[str, ...], ...] = ((), (), (), ("", *MONTHS), WEEKDAYS)
_NAME = "|".join((*MONTHS, *WEEKDAYS))
_FIELD = re.compile(rf"(?:[0-9*/,\-?#LW]|{_NAME})+", re.ASCII | re.IGNORECASE)
_SHOWN_CHARS = 40


def wrong_words(words: list[str], has_zone: bool) -> str:
    """Return why these words are not five fields and a zone."""
    if words and words[0].startswith("@"):
        return _wrong_name(words[0])
    for before, after in pairwise(words):
        if before.endswith(",") or after.startswith(","):
            return f"a blank in a list: write {_shown(before + after)} without the blank"
    if len(words) < 6:
        behind = ", and optionally a zone" if not has_zone else " after the zone"
        return f"five fields are needed ({', '.join(FIELDS)}){behind}, not {len(words)} words"
    if _FIELD.fullmatch(words[5]):
        five = words[:5] if re.fullmatch("[12][0-9]{3}", words[5]) else words[1:6]
        return (
            "six fields: there is none for seconds or years; leave it out, and keep five"
            f" ({', '.join(FIELDS)}), such as {_shown(' '.join(five))}"
        )
    try:
        zone_named(" ".join(words[5:]))
    except ValueError as error:
        return f"only a zone may follow the five fields: {error}"
    return "a zone stands before the fields and another behind them: leave out one"


def _wrong_name(name: str) -> str:
    if name.lower() == "@reboot":
        return "'@reboot' has no meaning here: write NOW for one run, as soon as possible"
    hint = nearest(name.lower(), NAMES)
    return f"{_shown(name)} is not known; known are {', '.join(NAMES)}" + (f": did you mean {hint}?" if hint else "")


def wrong_field(words: list[str]) -> str:
    """Return why one of five fields is not valid, or why no day matches them."""
    for index, word in enumerate(words):
        why = next(filter(None, (_wrong_term(index, term.upper()) for term in word.split(","))), None)
        if why is not None:
            return f"the {FIELDS[index]} field {_shown(word)} is not valid: {why}"
    return (
        f"never comes: no month of the month field {_shown(words[3])} has a day of the day-of-month field"
        f" {_shown(words[2])}"
    )


def _wrong_term(index: int, term: str) -> str | None:
    """Return what is wrong with a term of a list, in capitals; None if it is valid."""
    low, high = _LIMITS[index]
    allowed = f"write numbers from {low} to {high}" + (f", or names such as {_NAMES[index][1]}" if index > 2 else "")
    base, slash, step = term.partition("/")
    if not term:
        return "a comma has no value beside it"
    if "?" in term:
        return "write * in place of ?"
    if slash and not (re.fullmatch("[0-9]+", step) and int(step)):
        return f"the step {_shown(step)} is not a number from 1 on"
    if index == 2 and base in ("L", "LW"):
        return f"{base} is a single day and takes no step: write {base}" if slash else None
    if index == 4 and (special := re.fullmatch(r"(\w+)#[1-5]|([0-7])L", term)):
        return None if _number(index, special[1] or special[2]) is not None else allowed
    if base == "*":
        return None
    first, dash, last = base.partition("-")
    numbers = [_number(index, text) for text in ((first, last) if dash else (first,))]
    valid = [number for number in numbers if number is not None]
    if len(valid) < len(numbers):
        return allowed
    if valid[0] > valid[-1]:
        return f"the range runs backwards: write {first}-{min(high, 6) if index == 4 else high},{low}-{last}"
    return None


def _number(index: int, text: str) -> int | None:
    low, high = _LIMITS[index]
    if text in _NAMES[index] and text:
        return _NAMES[index].index(text)
    return int(text) if re.fullmatch("[0-9]+", text) and low <= int(text) <= high else None


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARS])

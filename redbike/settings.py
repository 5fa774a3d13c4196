"""Declare the settings of Redbike. Each is declared once: its name, default, limits, and a reader for its text.

The conf file, the arguments of `Redbike` and the error texts use these declarations. redbike.conf.example explains
the settings.
"""

import configparser
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class OnFailure(StrEnum):
    """What happens to a job after its run has failed or was lost."""

    DROP = "drop"  # it does not run until it is set again: `redbike lost` finds it
    RESCHEDULE = "reschedule"  # its schedule decides, as after a successful run
    RETRY = "retry"  # it runs again a few times, with growing delays; then its schedule decides


LONGEST_S = 1e9
MOST_RETRIES = 100
LEVELS = ("debug", "info", "warning", "error")
MOST_RECORDS = 100_000_000
SHORTEST_DEAD_AFTER_S = 15.0  # three heartbeats


# Readers convert the text of a setting to its value. Their ValueError says what is wrong with the text.


def read_lines(text: str) -> str:
    """Read a text that may have line breaks."""
    return text


def read_line(text: str) -> str:
    """Read a text of one line."""
    if "\n" in text:  # do not quote the text: it could be a password
        raise ValueError("continues on an indented line; a setting starts at the left edge")
    return text


def read_word(text: str) -> str:
    """Read a text without spaces."""
    if not text.isprintable() or any(map(str.isspace, text)):
        raise ValueError(f"{text!r} holds a space or an unprintable character; remove it")
    return text


def read_flag(text: str) -> bool:
    """Read yes or no, or another word for it: true, on and 1, false, off and 0."""
    try:
        return configparser.RawConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither yes nor no") from None


def read_whole_number(text: str, least: int = 0, most: int = 2**31 - 1) -> int:
    """Read a whole number from `least` to `most`."""
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if not least <= number <= most:
        raise ValueError(f"{text!r} is out of range; write a whole number from {least} to {most}")
    return number


def read_seconds(text: str) -> float:
    """Read a length of time in seconds."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    # Redis counts in milliseconds, and neither Redis nor a socket accepts an infinite time.
    if not 0.001 <= number <= LONGEST_S:
        raise ValueError(f"{text!r} is out of range; write a number of seconds from 0.001 to {LONGEST_S:.0f}")
    return number


def read_dead_after(text: str) -> float:
    """Read the seconds without a heartbeat after which a worker counts as dead; 0 for never."""
    number = read_seconds(text) if text.strip("0.") else 0.0
    if 0 < number < SHORTEST_DEAD_AFTER_S:
        raise ValueError(f"{text!r} is out of range; write at least {SHORTEST_DEAD_AFTER_S:g} seconds, or 0 for never")
    return number


def read_level(text: str) -> str:
    """Read the name of a log level."""
    if text.lower() not in LEVELS:
        raise ValueError(f"{text!r} is not one of {', '.join(LEVELS)}")
    return text.lower()


def read_form(text: str) -> str:
    """Read the form of log lines."""
    if text not in ("text", "json"):
        raise ValueError(f"{text!r} is neither text nor json")
    return text


def read_url(text: str) -> str:
    """Read the URL of a server."""
    if not text.startswith(("redis://", "rediss://", "unix://")):
        # Do not quote the text: it could hold a password.
        raise ValueError("does not begin with redis://, rediss:// or unix://")
    return text


def read_header(text: str) -> str:
    """Read the name of an HTTP header."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", text):
        raise ValueError(f"{text[:40]!r} is not the name of an HTTP header; write letters, digits and dashes")
    return text


def read_hosts(text: str) -> tuple[str, ...]:
    """Read names of hosts, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]", name):
            raise ValueError(f"{name[:40]!r} is not the name of a host; write names without scheme and port")
    return names


def read_on_failure(text: str) -> str:
    """Read a word of OnFailure."""
    if text not in list(OnFailure):
        raise ValueError(f"{text!r} is not one of {', '.join(OnFailure)}")
    return text


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting."""

    read: Callable[[str], object]
    """Convert the text to the value. A ValueError says what is wrong with the text."""
    default: Any = None
    optional: bool = False
    """True if an empty text means None."""


SETTINGS: Mapping[str, Setting] = {
    "prefix": Setting(read_word, "redbike"),
    "worker": Setting(read_lines, optional=True),
    "timefile": Setting(read_line, ".redbike.timefile"),
    "default_timeout": Setting(read_seconds, 10.0),
    "on_timeout": Setting(read_on_failure, "drop"),
    "on_error": Setting(read_on_failure, "drop"),
    "history": Setting(functools.partial(read_whole_number, most=MOST_RECORDS), 10_000),
    "dead_after": Setting(read_dead_after, 30.0),
    "retries": Setting(functools.partial(read_whole_number, least=1, most=MOST_RETRIES), 3),
    "metrics": Setting(read_flag, True),
}
"""The settings of the section [redbike]. `Config` has fields, and `Redbike` has arguments, with these names."""


COMMAND_SETTINGS: Mapping[str, Setting] = {
    "log_level": Setting(read_level, optional=True),
    "log_format": Setting(read_form, "text"),
    "web_password": Setting(read_line, optional=True),
    "web_user_header": Setting(read_header, optional=True),
    "web_hosts": Setting(read_hosts, optional=True),
    "web_hide_payloads": Setting(read_flag, False),
}
"""Settings of the section [redbike] for the command line alone."""


def default(name: str) -> Any:
    """Return the default of a setting."""
    return (SETTINGS.get(name) or COMMAND_SETTINGS[name]).default

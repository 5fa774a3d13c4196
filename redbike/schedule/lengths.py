"""Read a length of time as people write it: `90`, `90s`, `5m`, `2h`, `1d`. Pure."""

import re

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_length(text: str) -> int | None:
    """Return the seconds of a whole number with a unit; a number without a unit is in seconds. None: any other text."""
    match = re.fullmatch(r"(\d{1,9}) ?([smhd]?)", text, re.ASCII)
    return int(match[1]) * _SECONDS[match[2]] if match else None

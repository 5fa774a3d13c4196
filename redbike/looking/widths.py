"""How many columns of a terminal a text takes, and texts made to fit. Pure, and without a library."""

import unicodedata

ELLIPSIS = "…"


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal: two for wide characters, none for combining characters."""
    if text.isascii():
        return len(text)
    return sum(map(_width_of, text))


def cut(text: str, columns: int) -> str:
    """Return a text that takes at most so many columns. An ellipsis at its end shows that it was cut."""
    if width(text) <= columns:
        return text
    return f"{_head(text, columns - 1)}{ELLIPSIS}" if columns > 0 else ""


def cut_inside(text: str, columns: int) -> str:
    """Return a text cut in the middle: of a job id, the beginning and the end tell the most."""
    if width(text) <= columns or columns < 3:
        return cut(text, columns)
    tail = _head(text[::-1], (columns - 1) // 3)[::-1]
    return f"{_head(text, columns - 1 - width(tail))}{ELLIPSIS}{tail}"


def padded(text: str, columns: int) -> str:
    """Return a text with blanks behind it, so that it takes so many columns."""
    return text + " " * (columns - width(text))


def wrapped(text: str, columns: int) -> list[str]:
    """Return a text in lines, broken at blanks. A word that is longer than a line is cut inside."""
    lines: list[str] = []
    for word in text.split(" "):
        fitting = cut_inside(word, columns)
        if lines and width(lines[-1]) + 1 + width(fitting) <= columns:
            lines[-1] += f" {fitting}"
        else:
            lines.append(fitting)
    return lines


def _head(text: str, columns: int) -> str:
    taken = 0
    for number, char in enumerate(text):
        taken += _width_of(char)
        if taken > columns:
            return text[:number]
    return text


def _width_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1

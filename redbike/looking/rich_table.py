"""Colours for the lines of plain.py, by the library rich: it knows what the terminal can show, and obeys NO_COLOR.

The colours are those of the terminal's own palette that can be read on a light and on a dark ground.
"""

from typing import TextIO

from rich.console import Console
from rich.text import Text

from redbike.looking.plain import Line
from redbike.looking.table import Tone

_STYLES = {
    Tone.PLAIN: "",
    Tone.HEAD: "bold",
    Tone.GOOD: "green",
    Tone.WARN: "magenta",
    Tone.BAD: "bold red",
    Tone.DIM: "dim",
}


class Painter:
    """Turns lines into texts with the escape sequences of a terminal."""

    def __init__(self, stream: TextIO) -> None:
        # No markup, no highlighting, no emoji: the texts are those of others.
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def painted(self, line: Line) -> str:
        """Return one line, without a line break."""
        text = Text.assemble(*((part, _STYLES[tone]) for part, tone in line), no_wrap=True, end="")
        with self._console.capture() as capture:
            self._console.print(text, end="", soft_wrap=True)
        return capture.get()

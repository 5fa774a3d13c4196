"""Make HTML of the templates. Every text in them is escaped, and so are characters that cannot be seen."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import Response

from redbike.logs import printable
from redbike.web.fields import query_of, quoted

_LONGEST_ID = 120
_HERE = Path(__file__).parent


def _seen(value: object) -> object:
    """Return a text in which every character can be seen. Marks for text from right to left could disguise an id."""
    return printable(value, keep="\n\t") if type(value) is str else value


def short(text: str, most: int = _LONGEST_ID) -> str:
    """Return the text, or its beginning and its length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def iso(stamp: float | None) -> str:
    """Return a time for the attribute `datetime`."""
    try:
        return "" if stamp is None else datetime.fromtimestamp(stamp, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""


def local(stamp: float | None) -> str:
    """Return a time on the clock of this machine, in full."""
    try:
        return "" if stamp is None else datetime.fromtimestamp(stamp).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return str(stamp)


def many(number: int) -> str:
    """Return a number that is short enough for a tile."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1_000_000:.2f} M"


def clock(stamp: float) -> str:
    """Return hours and minutes on the clock of this machine."""
    return time.strftime("%H:%M", time.localtime(stamp))


def environment() -> Environment:
    """Return the templates."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"short": short, "iso": iso, "local": local, "clock": clock, "many": many, "quoted": quoted}
    made.globals |= {"query_of": query_of}
    return made


class Pages:
    """The templates of one page, and what all of them show."""

    def __init__(self, shared: Mapping[str, Any], filters: Mapping[str, Any]) -> None:
        self._environment = environment()
        self._environment.globals |= shared
        self._environment.filters |= filters
        for name in self._environment.list_templates():
            self._environment.get_template(name)  # compiled now, and not while somebody waits

    def render(self, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """Return a page."""
        html = self._environment.get_template(name).render(values)
        return Response(html.encode("utf-8", "backslashreplace"), status, media_type="text/html")

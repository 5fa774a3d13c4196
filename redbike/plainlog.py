"""Texts for a log or a terminal: foreign names in them can hold escape sequences, line breaks and what hides text.

All log lines of Redbike go through `PlainLog`, and those of the command line through `PlainFormatter` too.
"""

import logging
from collections.abc import MutableMapping
from typing import Any, cast


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with each character that does not print (but those to keep) written as in `\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


class _Adapter(logging.LoggerAdapter[logging.Logger]):
    """Hands lines on to a logger, of which those that hold anything else than printable characters in plain text."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs  # the class above would take away `extra`

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        line = str(msg) % args if args else str(msg)
        if not line.isprintable():
            msg, args = "%s", (printable(line),)
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *args, **kwargs)


def plain(log: logging.Logger) -> logging.Logger:
    """Return what may be used in place of this logger, and logs one printable line at a time."""
    return cast(logging.Logger, _Adapter(log))


class PlainFormatter(logging.Formatter):
    """Formats for a terminal: also tracebacks, which may quote foreign names, and what others than Redbike log."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] == "redbike"
        return printable(super().formatMessage(record), keep="" if ours else "\n\t")

    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei), keep="\n\t")

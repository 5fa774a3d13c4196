"""Make texts safe for a log or a terminal. Foreign names in them may contain escape sequences and line breaks.

All log lines of Redbike go through `plain`. The command line also formats them with `PlainFormatter`.
"""

import json
import logging
import time
from collections.abc import MutableMapping
from typing import Any, cast


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with unprintable characters replaced by escapes such as `\x1b`, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


class _Adapter(logging.LoggerAdapter[logging.Logger]):
    """Pass lines to a logger. If a line contains unprintable characters, replace them by escapes."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Change nothing: the method of the base class would remove `extra`."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log one line, with escapes for unprintable characters."""
        if not self.isEnabledFor(level):
            return
        line = str(msg) % args if args else str(msg)
        if not line.isprintable():
            msg, args = "%s", (printable(line),)
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *args, **kwargs)


def plain(log: logging.Logger) -> logging.Logger:
    """Return an object to use in place of this logger. It writes each message as one printable line."""
    return cast(logging.Logger, _Adapter(log))


class PlainFormatter(logging.Formatter):
    """Format log lines for a terminal: also tracebacks, which may quote foreign names, and lines of other libraries."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line with escapes for unprintable characters. Lines of other libraries keep their line breaks."""
        ours = record.name.partition(".")[0] == "redbike"
        return printable(super().formatMessage(record), keep="" if ours else "\n\t")

    def formatException(self, ei: Any) -> str:
        """Return the traceback with escapes for unprintable characters. It keeps its line breaks."""
        return printable(super().formatException(ei), keep="\n\t")


RUNS = "runs"
"""The child logger with one line per run."""

_OF_A_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Format each log line as a JSON object: time (UTC), level, logger, message, the extra fields, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OF_A_RECORD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(log: logging.Logger, level: str | None, form: str, runs: bool) -> None:
    """Set level and form of the lines of a command. Without a level: INFO, but one line per run only if `runs`."""
    root = logging.getLogger()
    if form == "json":
        for handler in root.handlers:
            handler.setFormatter(JsonFormatter())
    if level is not None:
        root.setLevel(level.upper())
    elif not runs:
        log.getChild(RUNS).setLevel(logging.WARNING)


_REPORT_EVERY_S = 60.0
_MOST_SUBJECTS = 1000  # before old ones are forgotten


class RateLimitedLog:
    """A log of errors that last until somebody corrects them. Each subject is logged at most once per minute."""

    def __init__(self, log: logging.Logger) -> None:
        """Write errors to this log."""
        self._log = log
        self._reported_at: dict[str, float] = {}  # subject -> time of its latest log line, monotonic
        self._most_subjects = _MOST_SUBJECTS

    def report(self, subject: str, error: str) -> None:
        """Log the error, unless an error of the same subject was logged within the last minute."""
        now = time.monotonic()
        if now - self._reported_at.get(subject, -_REPORT_EVERY_S) >= _REPORT_EVERY_S:
            self._reported_at[subject] = now
            if len(self._reported_at) > self._most_subjects:
                self._forget(now)
            self._log.error("%s: %s", subject, error)

    def _forget(self, now: float) -> None:
        """Forget the subjects that may be logged again. They hold ids of jobs, so there is no end of them."""
        recent = {subject: at for subject, at in list(self._reported_at.items()) if now - at < _REPORT_EVERY_S}
        self._reported_at = recent
        # Not at each line, if there are many subjects in a minute.
        self._most_subjects = max(_MOST_SUBJECTS, 2 * len(recent))

"""What commands share: open what the conf names, read times and counts, and speak to the user."""

import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from redbike import config, streams
from redbike.bike import Redbike, StopEvent
from redbike.engine.planning import MAX_PAYLOAD_BYTES
from redbike.errors import RedbikeError, WorkerError
from redbike.logs import configure, printable
from redbike.schedule.forms import read_time
from redbike.schedule.lengths import read_length
from redbike.settings import SETTINGS, read_level
from redbike.worker import RoundRobin, Worker

T = TypeVar("T")

Arguments = dict[str, Any]
DEFAULT_CONF = ".redbike.conf"

ASSUMED = RoundRobin("")
"""In place of a worker, where none is needed: it names queues."""


class Failure(RedbikeError):
    """A command has failed, or has done only a part of its task. The message is one line."""


@contextmanager
def opened(
    arguments: Arguments,
    stop: StopEvent | None = None,
    needs_worker: bool = False,
    looks: bool = False,
) -> Iterator[Redbike]:
    """Open what the conf names. `looks`: the command does without the worker if that cannot be imported."""
    path, conf = loaded(arguments)
    expression = arguments["<WORKER>"] or conf.worker
    try:
        worker = _worker(expression, path, needs_worker)
    except (Exception, SystemExit) as error:
        if not looks:
            raise
        lines = (str(error) or type(error).__name__).splitlines()
        fault = (
            lines[0] if isinstance(error, WorkerError) else f"worker {expression!r}: {type(error).__name__}: {lines[0]}"
        )
        say(f"{fault}; the queue names of RoundRobin are assumed")
        worker = ASSUMED
    settings = {name: getattr(conf, name) for name in SETTINGS if name != "worker"}
    own = getattr(worker, "conf_defaults", {})
    settings |= {name: value for name, value in own.items() if name in settings and name not in conf.given}
    with Redbike(worker, redis_config=conf.redis, stop_event=stop, **settings) as bike:
        yield bike


def loaded(arguments: Arguments) -> tuple[str, config.Config]:
    """Load the conf, and let it and the arguments decide what is logged. Return the path of the conf, and the conf."""
    path = arguments["--config"] or os.environ.get("REDBIKE_CONFIG") or DEFAULT_CONF
    conf = config.load(path)
    level = arguments["--log-level"]
    try:
        level = conf.log_level if level is None else read_level(level)
    except ValueError as error:
        raise Failure(f"--log-level: {error}") from None
    configure(logging.getLogger("redbike"), level, conf.log_format, streams.is_tty(sys.stderr))
    return path, conf


def _worker(expression: str | None, conf: str, is_needed: bool) -> Worker:
    if expression is None and not is_needed:
        return ASSUMED
    from redbike import resolve

    if expression is None:
        raise WorkerError(f"{conf}, [redbike]: no worker is set, and no worker is given: write {resolve.FORM}")
    worker = resolve.resolve(expression, os.path.dirname(conf))  # noqa: PTH120 - sys.path holds text
    performs = all(hasattr(worker, name) for name in ("queue_for", "queue_names", "timeout", "perform"))
    if not (performs or isinstance(worker, Worker)):
        raise WorkerError(
            f"worker {expression!r} returns a {type(worker).__name__}, which lacks some of queue_for, queue_names,"
            " timeout, and work or perform: subclass redbike.RoundRobin"
        )
    return cast(Worker, worker)


def unknown(prefix: str, jobid: str) -> str:
    """Return the line that says that there is no such job."""
    return f"there is no job {jobid!r} under the prefix {prefix!r}: redbike schedules lists the jobs"


def say_unknown(bike: Redbike, jobid: str) -> None:
    """Tell the user that there is no such job."""
    say(unknown(bike.prefix, jobid))


def say(line: str) -> None:
    """Write a line to stderr."""
    streams.complain(f"redbike: {printable(line)}")


def timestamp(arguments: Arguments, option: str, now: Callable[[], float] | None = None) -> float | None:
    """Return the time of an option, or None without the option. For `now`, return the result of `now`, or None.

    With `now`, a length of time after a plus sign, such as +10m, counts from now.
    """
    text = arguments[option]
    if text is None:
        return None
    if text.lower() == "now":
        return None if now is None else now()
    ahead = read_length(text[1:]) if text.startswith("+") else None
    if ahead is not None and now is not None:
        return now() + ahead
    try:
        timestamp = float(text)
    except ValueError:
        timestamp = math.nan
    if not math.isfinite(timestamp):
        try:
            timestamp = read_time(text)
        except ValueError as error:
            raise Failure(f"{option}: {error}, or now") from error
    return int(timestamp) if float(timestamp).is_integer() else timestamp


def count(arguments: Arguments, most: int, default: int) -> int:
    """Return the number of an option `--count`, from 1 to `most`."""
    text = arguments["--count"]
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise Failure(f"--count: {text[:40]!r} is not a number from 1 to {most}")
    return int(text)


def read_option(arguments: Arguments, option: str, reader: Callable[[str], T]) -> T | None:
    """Return the value of an option by a reader of settings.py; None without the option. Raise Failure."""
    text = arguments[option]
    try:
        return None if text is None else reader(text)
    except ValueError as error:
        raise Failure(f"{option}: {error}") from None


def payload_of(arguments: Arguments) -> str | None:
    """Return the payload of an option: its text, the content of a file after `@`, or stdin for `-`."""
    text: str | None = arguments["--payload"]
    if text is None or not (text == "-" or text.startswith("@")):
        return text
    name = "stdin" if text == "-" else text[1:]
    try:
        if text == "-":
            raw = b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(MAX_PAYLOAD_BYTES + 1)
        return raw.decode()
    except OSError as error:
        raise Failure(f"--payload: {name!r} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Failure(f"--payload: {name!r} is not UTF-8: a payload is text; encode other data, as in base64") from None

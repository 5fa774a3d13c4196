"""The command `redbike info`: jobs, queues, runs and processes, once or live."""

import json
import math
import os
import sys
from importlib import import_module
from typing import Any

from redbike import streams
from redbike.bike import Redbike
from redbike.cli.opening import Arguments, Failure, opened, say_unknown, unknown
from redbike.cli.watching import watch
from redbike.looking.answer import LIMIT, Answer, Asked, ask
from redbike.looking.calls import Calls
from redbike.looking.plain import lines, plain_text

_MOST_SECONDS = 3600.0
_LEAST_SECONDS = 0.1
_INSTALL = "-i needs the library rich: pip install 'redbike[rich]'"


def do_info(arguments: Arguments) -> None:
    """Print the table of jobs and the sections below it. Raise Failure if a job id is not known."""
    output = streams.output()
    is_live = arguments["--live"] or arguments["--interval"] is not None
    interval_s = _interval(arguments["--interval"])
    asked = _asked(arguments, is_live)
    if is_live and arguments["--json"]:
        raise Failure("info: choose one of --live and --json")
    # Before the worker is imported: a module in the folder of the worker cannot take the place of rich.
    rich_table = _rich_table() if streams.is_terminal() else None
    if is_live:
        if not (streams.is_terminal() and streams.is_tty(sys.stdin)):
            raise Failure("info: -i needs a terminal; without -i, info prints once")
        if rich_table is None:
            raise Failure(f"info: {_INSTALL}")
        with opened(arguments, looks=True) as bike:
            watch(bike, asked, _checked(asked, bike), interval_s, rich_table.Painter(output))
        return
    with opened(arguments, looks=True) as bike:
        _checked(asked, bike)
        answer = ask(bike, asked)
    if arguments["--json"]:
        print(json.dumps(answer.as_json(), indent=2, ensure_ascii=False, allow_nan=False), file=output)
    else:
        _print(answer, rich_table)
    if answer.unknown:
        for jobid in answer.unknown[:-1]:
            say_unknown(bike, jobid)
        raise Failure(unknown(bike.prefix, answer.unknown[-1]))


def _asked(arguments: Arguments, is_live: bool) -> Asked:
    return Asked(
        jobids=tuple(arguments["<JOB>"]),
        queue=arguments["--queue"],
        state=arguments["--status"] or arguments["--schedules"],
        match=arguments["--match"],
        sort=arguments["--sort"] or Asked().sort,
        by_queue=arguments["--by-queue"],
        limit=_limit(arguments["--limit"], 0 if is_live else LIMIT),
    )


def _checked(asked: Asked, bike: Redbike) -> tuple[str, ...]:
    """Return the names of the columns of the worker. Raise Failure if a word of the options is not known."""
    heads = Calls(bike).heads
    try:
        asked.check(heads)
    except ValueError as error:
        raise Failure(str(error)) from None
    return heads


def _print(answer: Answer, rich_table: Any) -> None:
    output = streams.output()
    columns = os.get_terminal_size(output.fileno()).columns or None if streams.is_terminal() else None
    painter = None if rich_table is None else rich_table.Painter(output)
    for line in lines(answer, columns):
        print(plain_text(line) if painter is None else painter.painted(line), file=output)


def _rich_table() -> Any:
    """Return the module that needs the library rich; None without the library."""
    try:
        return import_module("redbike.looking.rich_table")
    except ImportError:
        return None


def _limit(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Failure(f"--limit: {text[:40]!r} is not a number; 0 shows all jobs")
    return int(text)


def _interval(text: str | None) -> float:
    try:
        seconds = 1.0 if text is None else float(text)
    except ValueError:
        seconds = math.nan
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise Failure(f"--interval: {str(text)[:40]!r} is not a number of seconds from {_LEAST_SECONDS} to 3600")
    return seconds

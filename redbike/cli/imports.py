"""The command `redbike import`: read the job list of another scheduler, and set its jobs where they differ.

This file reads crontabs. moving.py reads stores in Redis.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from redbike import streams
from redbike.bike import Redbike
from redbike.cli.commands import _warn_if_unserved
from redbike.cli.opening import Arguments, Failure, opened, say
from redbike.cli.zone import zone_of
from redbike.csvfile import write_rows
from redbike.errors import JobIdError
from redbike.importers.crontab import Row, read_crontab
from redbike.logs import printable
from redbike.schedule.forms import PAUSED

_SYSTEM_CRONTAB, _SYSTEM_CRONTABS = "/etc/crontab", "/etc/cron.d/"


def do_import(arguments: Arguments) -> None:
    """Make jobs of a crontab or another store, or print them with --dry-run. Raise Failure if one was left out."""
    if arguments["redbeat"] or arguments["rediscron"]:
        # Now, before a worker is resolved. Only this command needs the readers of stores and the bridges.
        importlib.import_module("redbike.cli.moving").do_move(arguments)
        return
    path = arguments["<FILE>"]
    shown = "stdin" if path == "-" else path
    rows, complaints = read_crontab(
        _text_of(path),
        queue=_queue(arguments["--queue"]),
        zone=zone_of(arguments["--zone"]),
        system=arguments["--system"] or _is_system_crontab(path),
        prefix=arguments["--prefix-name"] or "",
    )
    for complaint in complaints:
        say(f"{shown}:{complaint.line}: {complaint.text}")
    left_out = sum(complaint.is_left_out for complaint in complaints)
    if arguments["--dry-run"]:
        write_rows(streams.output(), ((row.jobid, row.schedule, row.payload) for row in rows))
    else:
        left_out += _set(rows, shown, arguments)
    if left_out:
        raise Failure(f"{shown}: left out, as said above: {left_out} lines or settings; jobs read: {len(rows)}")


def _set(rows: Iterable[Row], shown: str, arguments: Arguments) -> int:
    """Set the jobs that are new or differ. Return how many could not be set."""
    counts = {"set": 0, "unchanged": 0, "left out": 0}
    with opened(arguments) as bike:
        queues: set[str] = set()
        for row in rows:
            try:
                counts["set" if _set_job(bike, row) else "unchanged"] += 1
            except JobIdError as error:
                counts["left out"] += 1
                say(f"{shown}:{row.line}: {error}")
                continue
            if (queue := bike.worker.queue_for(row.jobid)) not in queues:
                queues.add(queue)
                _warn_if_unserved(bike, row.jobid)
    if streams.is_terminal():
        print(printable(f"{shown}: jobs set: {counts['set']}, unchanged: {counts['unchanged']}"), file=streams.output())
    return counts["left out"]


def _set_job(bike: Redbike, row: Row) -> bool:
    """Set a job if it differs. Return False if it is as it should be. A paused job stays paused."""
    known = bike.details(row.jobid)
    schedule, payload = str(known["schedule"] or ""), known["payload"] or ""
    paused = PAUSED if schedule.startswith(PAUSED) else ""
    if schedule.removeprefix(PAUSED) != row.schedule:
        bike.set(row.jobid, f"{paused}{row.schedule}", payload=row.payload)
    elif payload != row.payload:
        bike.set_payload(row.jobid, row.payload)  # the next run stays where it is
    else:
        return False
    return True


def _text_of(path: str) -> str:
    """Return the text of a file, or of stdin. Bytes that are not UTF-8 stay in it as surrogates."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{path}: cannot be read ({fault}); name a crontab, or - for stdin") from error
    return content.decode("utf-8", "surrogateescape")


def _is_system_crontab(path: str) -> bool:
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path keeps `..`
    return absolute == _SYSTEM_CRONTAB or absolute.startswith(_SYSTEM_CRONTABS)


def _queue(code: str | None) -> str:
    """Return what follows the colon of the job ids: A, also for the name of the queue, work-A."""
    if code is not None and (not code or ":" in code):
        raise Failure(f"--queue: {code!r} is not the name of one queue: write what follows the colon, such as A")
    return (code or "A").removeprefix("work-")

"""Redbike, a simple, flexible scheduler for pools of distributed workers on Redis.

Usage:
  redbike [--config=<CONF>] set <JOBID> <SCHEDULE> [--after=<TIMESTAMP>]
  redbike [--config=<CONF>] unset <JOBID>
  redbike [--config=<CONF>] dispatch [<WORKER>] [--schedules=<SCHEDULESCSV> [--after=<TIMESTAMP>]]
  redbike [--config=<CONF>] work [<WORKER>]
  redbike [--config=<CONF>] statuses [--before=<TIMESTAMP>]
  redbike [--config=<CONF>] schedules
  redbike [--config=<CONF>] tell <JOBID>
  redbike [--config=<CONF>] control <SIGNAL>
  redbike [--config=<CONF>] lost [--before=<TIMESTAMP>] [--reset]
  redbike next <SCHEDULE> [--after=<TIMESTAMP>] [--count=<N>]
  redbike --help
  redbike --version

Commands:
  set        Register a job with a schedule: NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or RRULE.
  unset      Forget a job and its schedule.
  dispatch   Move jobs that are due into their queues, until halted.
  work       Take jobs from the queues and do them, until halted.
  statuses   Print the latest event of each job as CSV: job id, event, Unix time.
  schedules  Print the schedule of each job as CSV, ready for dispatch --schedules.
  tell       Print what is known of one job as JSON.
  control    Give a signal to all dispatchers and workers: HALT stops them.
  lost       Print jobs in no place, though their schedule asks for further runs, as CSV like statuses.
  next       Print the next runs of a schedule, and warn of what you might not have meant; asks no Redis.

Options:
  -c <CONF>, --config=<CONF>                    The configuration file [default: .redbike.conf].
  -s <SCHEDULESCSV>, --schedules=<SCHEDULESCSV> A CSV of JOBID,SCHEDULE rows to set before dispatching.
  -a <TIMESTAMP>, --after=<TIMESTAMP>           The reference time of the first run, in Unix seconds.
  -b <TIMESTAMP>, --before=<TIMESTAMP>          Only events up to this time, in Unix seconds.
  --reset                                       Put each lost job back by its schedule.
  -n <N>, --count=<N>                           How many runs to print [default: 5].
  -h, --help                                    Show this text.
  --version                                     Show the version.
"""

import errno
import json
import logging
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any, TextIO

import docopt

from redbike import config, resolve
from redbike.bike import Redbike
from redbike.errors import RedbikeError, WorkerError
from redbike.preview import MOST_RUNS, next_runs
from redbike.schedule import Step
from redbike.schedulefile import write_rows
from redbike.worker import RoundRobin, Worker

_OUTPUT_ERRORS = {
    *(errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.ENXIO, errno.ESTALE),
    *(errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN, errno.ETIMEDOUT),
}
"""What writing to stdout may end in, where it is a file, a terminal or a socket."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)

Arguments = dict[str, Any]


class Failure(RedbikeError):
    """A command that did what it could, and has one line to say about what it could not."""


class StopFlag:
    """Set by a signal handler, which may interrupt anything: unlike an Event, it takes no lock."""

    ends_naps = True

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        arguments: Arguments = docopt.docopt(__doc__, argv, version=version("redbike"))
    except SystemExit as end:
        # Help and version say what they have to say on stdout; a misuse is one line and the usage on stderr.
        if end.code is None:
            return 0
        given = shlex.join(sys.argv[1:] if argv is None else argv)
        fault = f"no command takes these arguments: {given}" if given else "a command is needed"
        usage = str(end.code)[str(end.code).find("Usage:") :]
        print(f"redbike: {fault}\n{usage}", file=sys.stderr)
        return 1
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _speak_any_bytes(sys.stdout)
    try:
        command = next(name for name in COMMANDS if arguments[name])
        COMMANDS[command](arguments)
        sys.stdout.flush()
    except RedbikeError as error:
        print(f"redbike: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads us has seen enough (`redbike statuses | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS or error.filename is not None or sys.stdout.closed:
            raise
        print(f"redbike: the output cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def do_set(arguments: Arguments) -> None:
    with _bike(arguments) as bike, _without_reasons(bike.log):
        plan = bike.set(arguments["<JOBID>"], arguments["<SCHEDULE>"], after=_timestamp(arguments, "--after"))
    if plan is not None and plan.step is Step.BAD:
        raise Failure(f"job {arguments['<JOBID>']!r} is BAD: {plan.reason}")


def do_unset(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        bike.unset(arguments["<JOBID>"])


def do_dispatch(arguments: Arguments) -> None:
    stop, after = StopFlag(), _timestamp(arguments, "--after")
    with _bike(arguments, stop) as bike, _stopping(stop, bike):
        if not bike.reach():
            return
        bike.clear_control()
        bike.dispatch(after=after, csvfilename=arguments["--schedules"])


def do_work(arguments: Arguments) -> None:
    stop = StopFlag()
    with _bike(arguments, stop, needs_worker=True) as bike, _stopping(stop, bike):
        if bike.reach():
            bike.clear_control()
            bike.work()


def do_statuses(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        write_rows(sys.stdout, bike.get_statuses(before=_timestamp(arguments, "--before")))


def do_schedules(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        write_rows(sys.stdout, bike.get_schedules())


def do_tell(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        print(json.dumps(bike.tell(arguments["<JOBID>"]), indent=2, ensure_ascii=False))


def do_control(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        bike.control(arguments["<SIGNAL>"])


def do_lost(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        for status in bike.get_lost(before=_timestamp(arguments, "--before")):
            if not arguments["--reset"] or bike.reset(status[0]):
                write_rows(sys.stdout, [status])


def do_next(arguments: Arguments) -> None:
    try:
        preview = next_runs(arguments["<SCHEDULE>"], after=_timestamp(arguments, "--after"), count=_count(arguments))
    except ValueError as error:
        raise Failure(f"--{error}") from error
    if preview.reason is not None:
        raise Failure(preview.reason)
    for line in preview.lines():
        print(line)
    for warning in preview.warnings:
        print(f"redbike: {warning}", file=sys.stderr)


COMMANDS: dict[str, Callable[[Arguments], None]] = {
    name.removeprefix("do_"): command for name, command in list(globals().items()) if name.startswith("do_")
}


@contextmanager
def _bike(
    arguments: Arguments,
    stop: StopFlag | None = None,
    needs_worker: bool = False,
) -> Iterator[Redbike]:
    conf = config.load(arguments["--config"])
    expression = arguments["<WORKER>"] or conf.worker
    if expression is None and needs_worker:
        raise WorkerError(
            f"{arguments['--config']}, [redbike]: no worker is set, and none is given: say {resolve.FORM}"
        )
    worker = RoundRobin("") if expression is None else resolve.resolve(expression)
    if not isinstance(worker, Worker):
        raise WorkerError(
            f"worker {expression!r} gives a {type(worker).__name__} without all of queue_for, queue_names, work and"
            " timeout: subclass redbike.RoundRobin"
        )
    with Redbike(
        worker,
        prefix=conf.prefix,
        redis_config=conf.redis,
        timefile=conf.timefile,
        stop_event=stop,
        default_timeout=conf.default_timeout,
        on_timeout=conf.on_timeout,
        on_error=conf.on_error,
        retries=conf.retries,
    ) as bike:
        yield bike


@contextmanager
def _stopping(stop: StopFlag, bike: Redbike) -> Iterator[None]:
    """While this lasts, signals let the job in hand be finished and end a wait at once."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        bike.nap.interrupt()

    former = {number: signal.signal(number, handle) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _without_reasons(log: logging.Logger) -> Iterator[None]:
    """While this lasts, why a schedule is bad is left to be said by the command, in its one line."""

    def is_something_else(record: logging.LogRecord) -> bool:
        return not hasattr(record, "bad_schedule")

    log.addFilter(is_something_else)
    try:
        yield
    finally:
        log.removeFilter(is_something_else)


def _timestamp(arguments: Arguments, option: str) -> float | None:
    text = arguments[option]
    if text is None:
        return None
    try:
        timestamp = float(text)
    except ValueError:
        timestamp = math.nan
    if not math.isfinite(timestamp):
        raise Failure(f"{option}: {text!r} is not a time in Unix seconds, such as 1790000000")
    return int(timestamp) if timestamp.is_integer() else timestamp


def _count(arguments: Arguments) -> int:
    text = arguments["--count"]
    if not re.fullmatch("[0-9]{1,4}", text):
        raise Failure(f"--count: {text[:40]!r} is not a number of runs from 1 to {MOST_RUNS}")
    return int(text)


def _speak_any_bytes(stream: TextIO) -> None:
    """What was not UTF-8 in Redis goes out as the bytes that it was."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def run() -> None:
    """The command `redbike`."""
    sys.exit(main())

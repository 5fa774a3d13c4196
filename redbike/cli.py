"""Run the command `redbike`: its commands, exit codes, errors and signals. Its usage is in usage.py."""

import logging
import math
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import docopt

from redbike import config, streams
from redbike.bike import Redbike
from redbike.errors import RedbikeError, WorkerError
from redbike.logs import PlainFormatter, printable
from redbike.schedule.plan import Action
from redbike.settings import SETTINGS
from redbike.usage import USAGE
from redbike.worker import RoundRobin, Worker

Arguments = dict[str, Any]


class Failure(RedbikeError):
    """A command has failed, or has done only a part of its task. The message is one line."""


class StopFlag:
    """A flag for a signal handler. Unlike an Event, it takes no lock, because the handler may interrupt its holder."""

    ends_waits = True

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask the loops to stop."""
        self._set = True

    def is_set(self) -> bool:
        """Return True after `set`."""
        return self._set


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    streams.prepare()
    try:
        return _obey(sys.argv[1:] if argv is None else argv)
    except RedbikeError as error:
        streams.complain(f"redbike: {printable(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        streams.drop()  # the reader has read enough (`redbike statuses | head`)
        return 0
    except OSError as error:
        fault = streams.fault(error)
        if fault is None:
            raise
        streams.complain(f"redbike: {printable(fault)}")
        streams.drop()
        return 1


def _obey(argv: list[str]) -> int:
    try:
        arguments: Arguments = docopt.docopt(USAGE, argv, version=_Version())
    except SystemExit as end:
        # Help and version print to stdout. A mistake in the arguments prints one line and the usage to stderr.
        if end.code is None:
            streams.output().flush()
            return 0
        import shlex

        given = shlex.join(argv)
        fault = f"no command takes these arguments: {given}" if given else "a command is needed"
        usage = str(end.code)[str(end.code).find("Usage:") :]
        streams.complain(f"redbike: {printable(fault)}\n{usage}")
        return 1
    handler = streams.LogHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    command = next(name for name in COMMANDS if arguments[name])
    COMMANDS[command](arguments)
    streams.flush()
    return 0


def do_set(arguments: Arguments) -> None:
    """Register a job with a schedule. Raise Failure if the job is BAD."""
    with _bike(arguments) as bike, _without_reasons(bike.log):
        plan = bike.set(arguments["<JOBID>"], arguments["<SCHEDULE>"], after=_timestamp(arguments, "--after", bike.now))
    if plan is not None and plan.action is Action.BAD:
        raise Failure(f"job {arguments['<JOBID>']!r} is BAD: {plan.reason}")


def do_unset(arguments: Arguments) -> None:
    """Remove a job and its schedule."""
    with _bike(arguments) as bike:
        bike.unset(arguments["<JOBID>"])


def do_dispatch(arguments: Arguments) -> None:
    """Set the jobs of a CSV file if one is given, and dispatch until HALT or a signal."""
    stop = StopFlag()
    with _bike(arguments, stop) as bike, _stopping(stop, bike):
        if not bike.reach():
            return
        after = _timestamp(arguments, "--after", bike.now)
        bike.clear_control()
        bike.dispatch(after=after, csvfilename=arguments["--schedules"])


def do_work(arguments: Arguments) -> None:
    """Run jobs until HALT or a signal."""
    stop = StopFlag()
    with _bike(arguments, stop, needs_worker=True) as bike, _stopping(stop, bike):
        if bike.reach():
            bike.clear_control()
            bike.work()


def do_statuses(arguments: Arguments) -> None:
    """Print the latest event of each job as CSV."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with _bike(arguments) as bike:
        write_rows(output, bike.get_statuses(before=_timestamp(arguments, "--before")))


def do_schedules(arguments: Arguments) -> None:
    """Print the schedule of each job as CSV."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with _bike(arguments) as bike:
        write_rows(output, bike.get_schedules())


def do_tell(arguments: Arguments) -> None:
    """Print all data of one job as JSON."""
    import json

    output = streams.output()
    with _bike(arguments) as bike:
        print(json.dumps(bike.tell(arguments["<JOBID>"]), indent=2, ensure_ascii=False, allow_nan=False), file=output)


def do_control(arguments: Arguments) -> None:
    """Send a signal to all dispatchers and workers."""
    with _bike(arguments) as bike:
        bike.control(arguments["<SIGNAL>"])


def do_lost(arguments: Arguments) -> None:
    """Print the lost jobs as CSV. With --reset, reschedule them, and print only those that were still lost."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with _bike(arguments) as bike:
        for status in bike.get_lost(before=_timestamp(arguments, "--before")):
            if not arguments["--reset"] or bike.reset(status[0]):
                write_rows(output, [status])


def do_next(arguments: Arguments) -> None:
    """Print the next runs of a schedule to stdout, and warnings to stderr."""
    from redbike.schedule.preview import MOST_RUNS, next_runs

    output = streams.output()
    try:
        preview = next_runs(
            arguments["<SCHEDULE>"], after=_timestamp(arguments, "--after"), count=_count(arguments, MOST_RUNS)
        )
    except ValueError as error:
        raise Failure(f"--{error}") from error
    if preview.reason is not None:
        raise Failure(preview.reason)
    for line in preview.lines():
        print(line, file=output)
    for warning in preview.warnings:
        streams.complain(f"redbike: {printable(warning)}")


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
    worker = _worker(expression, arguments["--config"], needs_worker)
    if not isinstance(worker, Worker):
        raise WorkerError(
            f"worker {expression!r} returns a {type(worker).__name__}, which lacks some of queue_for, queue_names, work"
            " and timeout: subclass redbike.RoundRobin"
        )
    settings = {name: getattr(conf, name) for name in SETTINGS if name != "worker"}
    with Redbike(worker, redis_config=conf.redis, stop_event=stop, **settings) as bike:
        yield bike


def _worker(expression: str | None, conf: str, is_needed: bool) -> object:
    if expression is None and not is_needed:
        return RoundRobin("")
    from redbike import resolve

    if expression is None:
        raise WorkerError(f"{conf}, [redbike]: no worker is set, and no worker is given: write {resolve.FORM}")
    return resolve.resolve(expression)


@contextmanager
def _stopping(stop: StopFlag, bike: Redbike) -> Iterator[None]:
    """In this block, a signal ends a wait at once, and stops the loop after the running job."""
    from redbike.engine.signals import STOP_SIGNALS
    from redbike.resolve import import_the_rest

    import_the_rest()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        bike.interruptible_wait.interrupt()

    former = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _without_reasons(log: logging.Logger) -> Iterator[None]:
    """In this block, do not log why a schedule is bad: the command prints the reason in its one line."""

    def is_other(record: logging.LogRecord) -> bool:
        return not hasattr(record, "bad_schedule")

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


def _timestamp(arguments: Arguments, option: str, now: Callable[[], float] | None = None) -> float | None:
    """Return the time of an option, or None without the option. For `now`, return the result of `now`, or None."""
    text = arguments[option]
    if text is None:
        return None
    if text.lower() == "now":
        return None if now is None else now()
    try:
        timestamp = float(text)
    except ValueError:
        timestamp = math.nan
    if not math.isfinite(timestamp):
        raise Failure(f"{option}: {text!r} is not a time in Unix seconds, such as 1790000000, or now")
    return int(timestamp) if timestamp.is_integer() else timestamp


def _count(arguments: Arguments, most: int) -> int:
    text = arguments["--count"]
    if not re.fullmatch("[0-9]{1,4}", text):
        raise Failure(f"--count: {text[:40]!r} is not a number of runs from 1 to {most}")
    return int(text)


class _Version:
    """The version as text. It is looked up when docopt prints it."""

    def __str__(self) -> str:
        from importlib.metadata import version

        return version("redbike")


def run() -> None:
    """Run the command `redbike` and exit with its exit code."""
    sys.exit(main())

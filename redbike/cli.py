"""The command `redbike`: its usage, its commands, and what becomes of their errors and of signals."""

import json
import logging
import math
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

import docopt

from redbike import config, resolve, streams
from redbike.bike import Redbike
from redbike.errors import RedbikeError, WorkerError
from redbike.plainlog import PlainFormatter, printable
from redbike.preview import MOST_RUNS, next_runs
from redbike.schedule import Step
from redbike.schedulefile import write_rows
from redbike.signals import STOP_SIGNALS
from redbike.worker import RoundRobin, Worker

USAGE = """Redbike, a simple, flexible scheduler for pools of distributed workers on Redis.

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
  -a <TIMESTAMP>, --after=<TIMESTAMP>           The reference time of the first run, in Unix seconds, or now.
  -b <TIMESTAMP>, --before=<TIMESTAMP>          Only events up to this time, in Unix seconds.
  --reset                                       Put each lost job back by its schedule.
  -n <N>, --count=<N>                           How many runs to print [default: 5].
  -h, --help                                    Show this text.
  --version                                     Show the version.
"""
"""For docopt. No docstring: `python -OO` takes these away."""

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
    streams.prepare()
    try:
        return _obey(sys.argv[1:] if argv is None else argv)
    except RedbikeError as error:
        streams.complain(f"redbike: {printable(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        streams.drop()  # who reads us has seen enough (`redbike statuses | head`)
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
        arguments: Arguments = docopt.docopt(USAGE, argv, version=version("redbike"))
    except SystemExit as end:
        # Help and version say what they have to say on stdout; a misuse is one line and the usage on stderr.
        if end.code is None:
            streams.output().flush()
            return 0
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
    with _bike(arguments) as bike, _without_reasons(bike.log):
        plan = bike.set(arguments["<JOBID>"], arguments["<SCHEDULE>"], after=_timestamp(arguments, "--after", bike.now))
    if plan is not None and plan.step is Step.BAD:
        raise Failure(f"job {arguments['<JOBID>']!r} is BAD: {plan.reason}")


def do_unset(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        bike.unset(arguments["<JOBID>"])


def do_dispatch(arguments: Arguments) -> None:
    stop = StopFlag()
    with _bike(arguments, stop) as bike, _stopping(stop, bike):
        if not bike.reach():
            return
        after = _timestamp(arguments, "--after", bike.now)
        bike.clear_control()
        bike.dispatch(after=after, csvfilename=arguments["--schedules"])


def do_work(arguments: Arguments) -> None:
    stop = StopFlag()
    with _bike(arguments, stop, needs_worker=True) as bike, _stopping(stop, bike):
        if bike.reach():
            bike.clear_control()
            bike.work()


def do_statuses(arguments: Arguments) -> None:
    output = streams.output()
    with _bike(arguments) as bike:
        write_rows(output, bike.get_statuses(before=_timestamp(arguments, "--before")))


def do_schedules(arguments: Arguments) -> None:
    output = streams.output()
    with _bike(arguments) as bike:
        write_rows(output, bike.get_schedules())


def do_tell(arguments: Arguments) -> None:
    output = streams.output()
    with _bike(arguments) as bike:
        print(json.dumps(bike.tell(arguments["<JOBID>"]), indent=2, ensure_ascii=False, allow_nan=False), file=output)


def do_control(arguments: Arguments) -> None:
    with _bike(arguments) as bike:
        bike.control(arguments["<SIGNAL>"])


def do_lost(arguments: Arguments) -> None:
    output = streams.output()
    with _bike(arguments) as bike:
        for status in bike.get_lost(before=_timestamp(arguments, "--before")):
            if not arguments["--reset"] or bike.reset(status[0]):
                write_rows(output, [status])


def do_next(arguments: Arguments) -> None:
    output = streams.output()
    try:
        preview = next_runs(arguments["<SCHEDULE>"], after=_timestamp(arguments, "--after"), count=_count(arguments))
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

    former = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
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


def _timestamp(arguments: Arguments, option: str, now: Callable[[], float] | None = None) -> float | None:
    """The time that an option gives; None: now, or what else goes without the option, for which `now` is needed."""
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


def _count(arguments: Arguments) -> int:
    text = arguments["--count"]
    if not re.fullmatch("[0-9]{1,4}", text):
        raise Failure(f"--count: {text[:40]!r} is not a number of runs from 1 to {MOST_RUNS}")
    return int(text)


def run() -> None:
    """The command `redbike`."""
    sys.exit(main())

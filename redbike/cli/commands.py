"""The commands of `redbike`: each function `do_…` runs one of them. usage.py has their usage."""

import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redbike import config, streams
from redbike.bike import Redbike, StopEvent
from redbike.errors import RedbikeError, WorkerError
from redbike.logs import printable
from redbike.schedule.forms import read, read_time
from redbike.schedule.plan import Action
from redbike.settings import SETTINGS
from redbike.store.keys import Event
from redbike.worker import RoundRobin, Worker

Arguments = dict[str, Any]
DEFAULT_CONF = ".redbike.conf"

_ASSUMED = RoundRobin("")
"""In place of a worker, where none is needed: it names queues."""


class Failure(RedbikeError):
    """A command has failed, or has done only a part of its task. The message is one line."""


def do_init(_arguments: Arguments) -> None:
    """Write a conf and a worker to try, and print what to do next."""
    from redbike.cli import start

    output = streams.output()
    print(start.write_files(), end="", file=output)
    if fault := start.missing():
        _say(fault)


def do_set(arguments: Arguments) -> None:
    """Register a job with a schedule. Raise Failure if the job is BAD, ScheduleError if it keeps its old schedule."""
    jobid, schedule = arguments["<JOBID>"], arguments["<SCHEDULE>"]
    with _bike(arguments) as bike, _without_reasons(bike.log):
        after = _timestamp(arguments, "--after", bike.now)
        former = bike.get_schedule(jobid) if _is_for_one_run(schedule) else None
        plan = bike.set(jobid, schedule, after=after, keep_readable=True)
        if plan is None or plan.action is Action.BAD:
            raise Failure(f"job {jobid!r} is BAD: {plan and plan.reason}")
        if former is not None and read(former).again(bike.now()).leads_on:
            from redbike.cli import notes

            _say(notes.replaced(jobid, schedule, former, arguments["--config"]))
        if plan.leads_on:
            _warn_if_unserved(bike, jobid)
        if streams.is_terminal():
            from redbike.cli import notes

            print(printable(notes.outlook(jobid, plan, bike.now())), file=streams.output())


def do_enqueue(arguments: Arguments) -> None:
    """Run a job once, as soon as possible."""
    jobid = arguments["<JOBID>"]
    with _bike(arguments) as bike:
        is_registered = bike.get_schedule(jobid) is not None
        bike.enqueue(jobid)
        if not _warn_if_unserved(bike, jobid) and not is_registered:
            _say(f"job {jobid!r} has no schedule: it runs once and is forgotten; redbike schedules lists the jobs")
        if streams.is_terminal():
            print(printable(f"{jobid}: queued"), file=streams.output())


def do_unset(arguments: Arguments) -> None:
    """Remove a job and its schedule."""
    jobid = arguments["<JOBID>"]
    with _bike(arguments, looks=True) as bike:
        told = bike.tell(jobid)
        bike.unset(jobid)
        if not any(told.values()):
            _say_unknown(bike, jobid)


def do_dispatch(arguments: Arguments) -> None:
    """Set the jobs of a CSV file if one is given, and dispatch until HALT or a signal."""
    from redbike.cli.stopping import StopFlag, stopping

    stop = StopFlag()
    with _bike(arguments, stop) as bike, stopping(stop, bike):
        if not bike.reach():
            return
        after = _timestamp(arguments, "--after", bike.now)
        bike.clear_control()
        bike.log.info("dispatching: %s", bike.describe())
        bike.dispatch(after=after, csvfilename=arguments["--schedules"])


def do_work(arguments: Arguments) -> None:
    """Run jobs until HALT or a signal."""
    from redbike.cli.stopping import StopFlag, stopping
    from redbike.cli.terminal import is_in_front, shield_children

    stop, at_terminal = StopFlag(), is_in_front()
    if at_terminal:
        shield_children()
    with _bike(arguments, stop, needs_worker=True) as bike, stopping(stop, bike, at_terminal):
        if bike.reach():
            bike.clear_control()
            bike.log.info("working: %s", bike.describe())
            bike.work()


def do_statuses(arguments: Arguments) -> None:
    """Print the latest event of each job as CSV."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with _bike(arguments, looks=True) as bike:
        write_rows(output, bike.get_statuses(before=_timestamp(arguments, "--before")))


def do_schedules(arguments: Arguments) -> None:
    """Print the schedule of each job as CSV."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with _bike(arguments, looks=True) as bike:
        write_rows(output, bike.get_schedules())


def do_tell(arguments: Arguments) -> None:
    """Print all data of one job as JSON."""
    import json

    output = streams.output()
    with _bike(arguments, looks=True) as bike:
        told = bike.tell(arguments["<JOBID>"])
        print(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False), file=output)
        if not any(told.values()):
            _say_unknown(bike, arguments["<JOBID>"])


def do_control(arguments: Arguments) -> None:
    """Send a signal to all dispatchers and workers."""
    with _bike(arguments, looks=True) as bike:
        bike.control(arguments["<SIGNAL>"])


def do_lost(arguments: Arguments) -> None:
    """Print the lost and BAD jobs as CSV. With --reset, reschedule them, and print those that were rescheduled."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with _bike(arguments, looks=not arguments["--reset"]) as bike:
        for jobid, event, timestamp in bike.get_lost(before=_timestamp(arguments, "--before")):
            if not arguments["--reset"] or bike.reset(jobid):
                write_rows(output, [(jobid, event, timestamp)])
            elif event == Event.BAD:
                _say(f"job {jobid!r} is BAD and cannot be reset: set it again")


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
        _say(warning)


COMMANDS: dict[str, Callable[[Arguments], None]] = {
    name.removeprefix("do_"): command for name, command in list(globals().items()) if name.startswith("do_")
}


@contextmanager
def _bike(
    arguments: Arguments,
    stop: StopEvent | None = None,
    needs_worker: bool = False,
    looks: bool = False,
) -> Iterator[Redbike]:
    """Open what the conf names. `looks`: the command does without the worker if that cannot be imported."""
    path = arguments["--config"] or os.environ.get("REDBIKE_CONFIG") or DEFAULT_CONF
    conf = config.load(path)
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
        _say(f"{fault}; the queue names of RoundRobin are assumed")
        worker = _ASSUMED
    settings = {name: getattr(conf, name) for name in SETTINGS if name != "worker"}
    with Redbike(worker, redis_config=conf.redis, stop_event=stop, **settings) as bike:
        yield bike


def _worker(expression: str | None, conf: str, is_needed: bool) -> Worker:
    if expression is None and not is_needed:
        return _ASSUMED
    from redbike import resolve

    if expression is None:
        raise WorkerError(f"{conf}, [redbike]: no worker is set, and no worker is given: write {resolve.FORM}")
    worker = resolve.resolve(expression, os.path.dirname(conf))  # noqa: PTH120 - sys.path holds text
    if not isinstance(worker, Worker):
        raise WorkerError(
            f"worker {expression!r} returns a {type(worker).__name__}, which lacks some of queue_for, queue_names, work"
            " and timeout: subclass redbike.RoundRobin"
        )
    return worker


def _warn_if_unserved(bike: Redbike, jobid: str) -> bool:
    """Warn of a job that the configured worker would never take. Return True for such a job."""
    if bike.worker is _ASSUMED:
        return False
    queue, served = bike.worker.queue_for(jobid), bike.worker.queue_names()
    if queue in served:
        return False
    from redbike.cli import notes

    _say(notes.unserved(jobid, queue, served))
    return True


def _say_unknown(bike: Redbike, jobid: str) -> None:
    _say(f"there is no job {jobid!r} under the prefix {bike.prefix!r}: redbike schedules lists the jobs")


def _say(line: str) -> None:
    streams.complain(f"redbike: {printable(line)}")


def _is_for_one_run(schedule: str) -> bool:
    """Return True for `NOW` and `AT`, which take the place of the schedule of the job."""
    meant = read(schedule)
    return not meant.needs_reference and (plan := meant.first(0)).leads_on and plan.registered == "STOP"


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
        try:
            timestamp = read_time(text)
        except ValueError as error:
            raise Failure(f"{option}: {error}, or now") from error
    return int(timestamp) if float(timestamp).is_integer() else timestamp


def _count(arguments: Arguments, most: int) -> int:
    text = arguments["--count"]
    if not re.fullmatch("[0-9]{1,4}", text):
        raise Failure(f"--count: {text[:40]!r} is not a number of runs from 1 to {most}")
    return int(text)

"""The commands of `redbike`: each function `do_…` runs one of them. usage.py has their usage."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from redbike import streams
from redbike.bike import Redbike
from redbike.cli.opening import ASSUMED, Arguments, Failure, count, opened, payload_of, say, say_unknown, timestamp
from redbike.logs import printable
from redbike.schedule.forms import read
from redbike.schedule.plan import Action
from redbike.store.keys import Event


def do_init(_arguments: Arguments) -> None:
    """Write a conf and a worker to try, and print what to do next."""
    from redbike.cli import start

    output = streams.output()
    print(start.write_files(), end="", file=output)
    if fault := start.missing():
        say(fault)


def do_set(arguments: Arguments) -> None:
    """Register a job with a schedule. Raise Failure if the job is BAD, ScheduleError if it keeps its old schedule."""
    jobid, schedule = arguments["<JOBID>"], arguments["<SCHEDULE>"]
    with opened(arguments) as bike, _without_reasons(bike.log):
        after = timestamp(arguments, "--after", bike.now)
        former = bike.get_schedule(jobid) if _is_for_one_run(schedule) else None
        payload, first = payload_of(arguments), timestamp(arguments, "--first", bike.now)
        plan = bike.set(jobid, schedule, after=after, payload=payload, first=first, keep_readable=True)
        if plan is None or plan.action is Action.BAD:
            raise Failure(f"job {jobid!r} is BAD: {plan and plan.reason}")
        if former is not None and read(former).again(bike.now()).leads_on:
            from redbike.cli import notes

            say(notes.replaced(jobid, schedule, former, arguments["--config"]))
        if plan.leads_on:
            _warn_if_unserved(bike, jobid)
        if streams.is_terminal():
            from redbike.cli import notes

            print(printable(notes.outlook(jobid, plan, bike.now())), file=streams.output())


def do_enqueue(arguments: Arguments) -> None:
    """Run a job once, as soon as possible."""
    jobid = arguments["<JOBID>"]
    with opened(arguments) as bike:
        is_registered = bike.get_schedule(jobid) is not None
        bike.enqueue(jobid, payload_of(arguments))
        if not _warn_if_unserved(bike, jobid) and not is_registered:
            say(f"job {jobid!r} has no schedule: it runs once and is forgotten; redbike schedules lists the jobs")
        if streams.is_terminal():
            print(printable(f"{jobid}: queued"), file=streams.output())


def do_statuses(arguments: Arguments) -> None:
    """Print the latest event of each job as CSV."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with opened(arguments, looks=True) as bike:
        write_rows(output, bike.get_statuses(before=timestamp(arguments, "--before")))


def do_schedules(arguments: Arguments) -> None:
    """Print the schedule of each job as CSV."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with opened(arguments, looks=True) as bike:
        write_rows(output, bike.get_payloads() if arguments["--payloads"] else bike.get_schedules())


def do_tell(arguments: Arguments) -> None:
    """Print all data of one job as JSON."""
    import json

    output = streams.output()
    with opened(arguments, looks=True) as bike:
        told = bike.tell(arguments["<JOBID>"])
        print(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False), file=output)
        if not any(told.values()):
            say_unknown(bike, arguments["<JOBID>"])


def do_control(arguments: Arguments) -> None:
    """Send a signal to all dispatchers and workers."""
    with opened(arguments, looks=True) as bike:
        bike.control(arguments["<SIGNAL>"])


def do_lost(arguments: Arguments) -> None:
    """Print the lost and BAD jobs as CSV. With --reset, reschedule them, and print those that were rescheduled."""
    from redbike.csvfile import write_rows

    output = streams.output()
    with opened(arguments, looks=not arguments["--reset"]) as bike:
        for jobid, event, at in bike.get_lost(before=timestamp(arguments, "--before")):
            if not arguments["--reset"] or bike.reset(jobid):
                write_rows(output, [(jobid, event, at)])
            elif event == Event.BAD:
                say(f"job {jobid!r} is BAD and cannot be reset: set it again")


def do_next(arguments: Arguments) -> None:
    """Print the next runs of a schedule to stdout, and warnings to stderr."""
    from redbike.schedule.preview import MOST_RUNS, next_runs

    output = streams.output()
    try:
        preview = next_runs(
            arguments["<SCHEDULE>"], after=timestamp(arguments, "--after"), count=count(arguments, MOST_RUNS, 5)
        )
    except ValueError as error:
        raise Failure(f"--{error}") from error
    if preview.reason is not None:
        raise Failure(preview.reason)
    for line in preview.lines():
        print(line, file=output)
    for warning in preview.warnings:
        say(warning)


def _of_module(module: str, name: str, arguments: Arguments) -> int | None:
    code: int | None = getattr(import_module(f"redbike.cli.{module}"), f"do_{name}")(arguments)
    return code


_ELSEWHERE = {
    "unset": "pausing",
    "pause": "pausing",
    "resume": "pausing",
    "show": "past",
    "history": "past",
    "load": "load",
    "import": "imports",
    "info": "info",
    "why": "why",
    "check": "check",
    "metrics": "metrics",
    "web": "web",
    "dispatch": "loops",
    "work": "loops",
    "run": "loops",
}
"""The modules of further commands, imported when called: `redbike set` does without them."""

COMMANDS: dict[str, Callable[[Arguments], int | None]] = {
    **{name.removeprefix("do_"): command for name, command in list(globals().items()) if name.startswith("do_")},
    **{name: partial(_of_module, module, name) for name, module in _ELSEWHERE.items()},
}


def _warn_if_unserved(bike: Redbike, jobid: str) -> bool:
    """Warn of a job that the configured worker would never take. Return True for such a job."""
    if bike.worker is ASSUMED:
        return False
    queue, served = bike.worker.queue_for(jobid), bike.worker.queue_names()
    if queue in served:
        return False
    from redbike.cli import notes

    say(notes.unserved(jobid, queue, served))
    return True


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

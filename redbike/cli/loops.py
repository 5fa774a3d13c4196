"""The commands that run until they are halted: a dispatcher, a worker, and several of them under one parent."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import redbike
from redbike.bike import Redbike
from redbike.cli.opening import Arguments, loaded, opened, read_option, timestamp
from redbike.cli.stopping import StopFlag, stopping
from redbike.cli.terminal import is_in_front, shield_children
from redbike.fleet.child import Child, Limits
from redbike.fleet.link import Link, take
from redbike.fleet.notify import LoopNotes, Notifier, named
from redbike.fleet.parent import Parent
from redbike.fleet.slot import Slot
from redbike.logs import PlainFormatter
from redbike.settings import read_seconds, read_whole_number

T = TypeVar("T")

_MOST_PROCESSES = 1000
_NEED_A_PARENT = "--processes", "--max-jobs", "--max-memory", "--kill-late"
_OF_ALL = "--config", "--log-level"
_OF_A_WORKER = "--max-jobs", "--max-memory"


def do_dispatch(arguments: Arguments) -> None:
    """Set the jobs of a CSV file if one is given, and dispatch until HALT or a signal."""
    link = take(os.environ)
    notifier = Notifier.take(os.environ, has_parent=link is not None)
    stop = StopFlag(notifier.stopping)
    with _child(arguments, stop, link) as child, opened(arguments, stop) as bike, stopping(stop, bike):
        if not bike.reach():
            return
        after, path = timestamp(arguments, "--after", bike.now), arguments["--schedules"]
        if not child.may_start(bike):
            return
        bike.log.info("dispatching: %s", bike.describe())
        if (child.has_parent or notifier.is_on) and path is not None:
            # The parent does not let a second dispatcher set these jobs again, if this one dies after it is ready. For
            # systemd, a dispatcher is ready when these jobs are set.
            bike.load_csv(path, after)
            path = None
        child.start()
        with LoopNotes(notifier, bike.life, named("dispatching to", _queues(bike))):
            bike.dispatch(after=after, csvfilename=path)


def do_work(arguments: Arguments) -> None:
    """Run jobs until HALT or a signal."""
    link = take(os.environ)
    notifier = Notifier.take(os.environ, has_parent=link is not None)
    if link is None and any(arguments[option] is not None for option in _NEED_A_PARENT):
        _lead(arguments, [], notifier)
        return
    stop, at_terminal = StopFlag(notifier.stopping), is_in_front()
    if at_terminal:
        shield_children()
    with (
        _child(arguments, stop, link) as child,
        opened(arguments, stop, needs_worker=True) as bike,
        stopping(stop, bike, at_terminal),
    ):
        if bike.reach() and child.may_start(bike):
            bike.log.info("working: %s", bike.describe())
            child.follow(bike)
            child.start()
            with LoopNotes(notifier, bike.life, named("serving", _queues(bike)), bike.consumer.present):
                bike.work()


def do_run(arguments: Arguments) -> None:
    """Run a dispatcher and workers under one parent, until HALT or a signal."""
    _lead(arguments, [Slot("dispatcher", partial(_dispatcher_command, arguments))], Notifier.take(os.environ))


def _lead(arguments: Arguments, first: list[Slot], notifier: Notifier) -> None:
    """Run workers under this process, after these slots. Exit with the code of the parent."""
    loaded(arguments)
    number = _whole_number(arguments, "--processes", _MOST_PROCESSES) or 1
    kill_late_s = read_option(arguments, "--kill-late", read_seconds)
    _limits(arguments)  # a mistake is an error of this process
    workers = [Slot(f"worker {n}", lambda _: _worker_command(arguments), kill_late_s) for n in range(1, number + 1)]
    # The others start when the first worker is ready. So a mistake in the conf or in the worker is reported once.
    code = Parent([first, workers[:1], workers[1:]], is_in_front(), notifier).run()
    if code:
        raise SystemExit(code)


def _queues(bike: Redbike) -> list[str]:
    """Return the names of the queues of the worker, each once."""
    return list(dict.fromkeys(map(str, bike.worker.queue_names())))


@contextmanager
def _child(arguments: Arguments, stop: StopFlag, link: Link | None) -> Iterator[Child]:
    """In this block, this process may be a child. Afterwards, exit with the code that the parent expects."""
    child = Child(link, _limits(arguments), stop.set)
    if link is not None:
        for handler in logging.getLogger().handlers:
            handler.addFilter(partial(_name, link.name))
            handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(child)s: %(message)s"))
    yield child
    code = child.end(stop.is_set())
    if code:
        raise SystemExit(code)


def _name(child: str, record: logging.LogRecord) -> bool:
    """Add the name of the child to a log line."""
    record.child = child
    return True


def _limits(arguments: Arguments) -> Limits:
    return Limits(
        max_jobs=_whole_number(arguments, "--max-jobs"),
        max_memory_mb=_whole_number(arguments, "--max-memory"),
        burst=arguments["--burst"],
    )


def _whole_number(arguments: Arguments, option: str, most: int = 1_000_000_000) -> int | None:
    return read_option(arguments, option, partial(read_whole_number, least=1, most=most))


def _dispatcher_command(arguments: Arguments, is_first: bool) -> list[str]:
    # A dispatcher that takes the place of another would set jobs on NOW again.
    options = ("--schedules", "--after") if is_first else ()
    return _command("dispatch", arguments, (*_OF_ALL, *options))


def _worker_command(arguments: Arguments) -> list[str]:
    return [*_command("work", arguments, (*_OF_ALL, *_OF_A_WORKER)), *(["--burst"] if arguments["--burst"] else [])]


def _command(name: str, arguments: Arguments, options: tuple[str, ...]) -> list[str]:
    given = [f"{option}={arguments[option]}" for option in options if arguments[option] is not None]
    worker = [] if arguments["<WORKER>"] is None else [arguments["<WORKER>"]]
    return [sys.executable, *_flags(), "-m", "redbike", name, *given, *worker]


def _flags() -> list[str]:
    """Return the flag that keeps modules of the current folder from taking the place of the standard library.

    Without the flag if the current folder is where Redbike itself is.
    """
    source = Path(redbike.__file__).parent.parent
    try:
        return [] if source == Path.cwd() else ["-P"]
    except FileNotFoundError:  # the current folder was deleted
        return ["-P"]

"""The commands that pause, resume and unset jobs, one or many, and that hold queues."""

import fnmatch
import re
from collections.abc import Callable, Iterator

from redbike import streams
from redbike.bike import Redbike
from redbike.cli.opening import Arguments, opened, say, say_unknown, timestamp
from redbike.logs import printable
from redbike.schedule.forms import PAUSED


def do_pause(arguments: Arguments) -> None:
    """Pause jobs, or hold a queue."""
    with opened(arguments, looks=True) as bike:
        note, queue = arguments["--note"], arguments["--queue"]
        if queue is not None:
            if bike.hold(queue, note) and note is None:
                say(f"queue {queue!r} was held already")
            return
        until = timestamp(arguments, "--until", bike.now)

        def pause(jobid: str) -> str:
            return f"{jobid}: {bike.pause(jobid, until, note)}"

        _each(bike, arguments, pause, lambda _, schedule: not schedule.startswith(PAUSED) or bool(until or note))


def do_resume(arguments: Arguments) -> None:
    """Resume jobs, or release a queue."""
    with opened(arguments, looks=True) as bike:
        queue = arguments["--queue"]
        if queue is not None:
            if not bike.release(queue):
                say(f"queue {queue!r} was not held")
            return

        def resume(jobid: str) -> str:
            plan = bike.resume(jobid)
            if plan is None:
                say(f"job {jobid!r} is not paused")
                return ""
            return f"{jobid}: {plan.registered}"

        _each(bike, arguments, resume, lambda _, schedule: schedule.startswith(PAUSED))


def do_unset(arguments: Arguments) -> None:
    """Remove jobs and their schedules."""
    with opened(arguments, looks=True) as bike:

        def unset(jobid: str) -> str:
            is_known = arguments["--match"] is not None or any(bike.tell(jobid).values())
            bike.unset(jobid)
            if not is_known:
                say_unknown(bike, jobid)
            return f"{jobid}: removed" if arguments["--match"] is not None else ""

        _each(bike, arguments, unset, lambda _jobid, _schedule: True)


def _each(bike: Redbike, arguments: Arguments, act: Callable[[str], str], concerns: Callable[[str, str], bool]) -> None:
    """Do this with the job, or with each registered job that matches the pattern, and print what was done."""
    for jobid in _jobids(bike, arguments, concerns):
        if _tries(arguments, jobid):
            continue
        line = act(jobid)
        if line and (arguments["--match"] is not None or streams.is_terminal()):
            print(printable(line.replace("\n", "\\n")), file=streams.output())


def _jobids(bike: Redbike, arguments: Arguments, concerns: Callable[[str, str], bool]) -> Iterator[str]:
    pattern = arguments["--match"]
    if pattern is None:
        yield arguments["<JOBID>"]
        return
    matches = re.compile(fnmatch.translate(pattern)).match
    # A list first: the hash may change while it is read page by page, and this command changes it.
    found = [jobid for jobid, schedule in bike.get_schedules() if matches(jobid) and concerns(jobid, schedule)]
    if not found:
        say(f"--match: no job matches {pattern!r}: redbike schedules lists the jobs")
    yield from sorted(found)


def _tries(arguments: Arguments, line: str) -> bool:
    """With --dry-run, print what would be done, and return True."""
    if arguments["--dry-run"]:
        print(printable(line), file=streams.output())
        return True
    return False

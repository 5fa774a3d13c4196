"""The sections below the table of jobs: states, queues, runs, what is overdue, lost or paused, processes, lateness."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from redbike.looking.answer import Answer
from redbike.looking.overview import Overview, Process, Queue
from redbike.looking.rows import State
from redbike.looking.table import URGENCY, Cell, Section, Tone
from redbike.looking.words import ago, ahead, duration, length, moment, plural

T = TypeVar("T")
_MOST = 20  # lines of a section


def sections(answer: Answer, most: int = _MOST) -> Iterator[Section]:
    """Yield the sections of an answer. `most`: the most lines of a section; 0 for all."""
    found = answer.overview
    if found.is_halted:
        since = "" if found.halted_since is None else f" since {moment(found.halted_since, found.now)}"
        yield Section("HALT", f"is set{since}: dispatchers and workers end, and no run begins", Tone.BAD)
    if found.hold is not None:
        yield Section("HELD", f"all queues {held(found.hold, found.now)}", Tone.WARN)
    yield Section("JOBS", _states(found))
    yield _queues(found, most)
    yield _running(found, most)
    yield _overdue(found)
    yield Section("LOST", _named(answer.tally.lost, found.lost, "lost"), Tone.BAD if found.lost else Tone.PLAIN)
    yield _paused(answer)
    yield _processes(found, most)
    yield _lateness(found)


def _states(found: Overview) -> str:
    known = [f"{found.states[state]:,} {state}" for state in URGENCY if found.states[state]]
    failing = f"; the last run failed: {found.failing:,}" if found.failing else ""
    return f"{plural(sum(found.states.values()), 'job')}{': ' if known else ''}{', '.join(known)}{failing}"


def _queues(found: Overview, most: int) -> Section:
    named = sorted(found.queues, key=lambda queue: (not queue.jobs, queue.name))
    chosen, rest = _first(named, most)
    return Section(
        "QUEUES",
        f"{plural(len(named), 'queue')}{rest}" if named else "none",
        heads=("QUEUE", "JOBS", "OLDEST", "WORKERS", "HELD"),
        rows=[
            (
                (queue.name, Tone.PLAIN),
                (f"{queue.jobs:,}", Tone.PLAIN),
                (_oldest(queue, found.now), Tone.PLAIN),
                (str(queue.workers), Tone.BAD if queue.jobs and not queue.workers else Tone.PLAIN),
                (held(queue.hold, found.now), Tone.WARN if queue.hold else Tone.PLAIN),
            )
            for queue in chosen
        ],
    )


def _oldest(queue: Queue, now: float) -> str:
    if queue.oldest is None:
        return "-"
    return queue.oldest if queue.oldest_since is None else f"{length(now - queue.oldest_since)} {queue.oldest}"


def held(hold: Mapping[str, object] | None, now: float) -> str:
    """Return who holds a queue, since when and why; `-` if nobody does."""
    if hold is None:
        return "-"
    since = hold.get("since")
    when = f" since {moment(since, now)}" if isinstance(since, float | int) else ""
    return f"by {hold.get('by', '?')}{when}{': ' if hold.get('note') else ''}{hold.get('note') or ''}"


def _running(found: Overview, most: int) -> Section:
    chosen, _ = _first(found.running, most)
    more = found.running_count - len(chosen)
    return Section(
        "RUNNING",
        (plural(found.running_count, "run") if found.running_count else "none")
        + (f"; not shown: {more:,}" if more > 0 else ""),
        heads=("JOB", "QUEUE", "WORKER", "SINCE", "TIMEOUT") if chosen else (),
        rows=[
            (
                (run.jobid, Tone.PLAIN),
                (run.queue, Tone.PLAIN),
                (run.worker or "?", Tone.PLAIN),
                ("?" if run.since is None else ago(found.now - run.since), Tone.PLAIN),
                (ahead(run.ends - found.now), Tone.BAD if run.ends < found.now else Tone.PLAIN),
            )
            for run in chosen
        ],
    )


def _overdue(found: Overview) -> Section:
    parts = []
    if found.overdue:
        since = "" if found.overdue_since is None else f", the first for {length(found.now - found.overdue_since)}"
        parts.append(f"{plural(found.overdue, 'job')} due, but in no queue{since}")
    if found.overdue_runs:
        parts.append(f"{plural(found.overdue_runs, 'run')} beyond the timeout")
    return Section("OVERDUE", "; ".join(parts) or "none", Tone.BAD if parts else Tone.PLAIN)


def _paused(answer: Answer) -> Section:
    number = answer.overview.states[State.PAUSED]
    return Section("PAUSED", _named(answer.tally.paused, number, "paused"))


def _processes(found: Overview, most: int) -> Section:
    dispatchers, workers = len(found.of_kind("dispatcher")), len(found.of_kind("worker"))
    silent = sum(process.is_silent for process in found.processes)
    chosen, rest = _first(sorted(found.processes, key=lambda process: not process.is_silent), most)
    return Section(
        "PROCESSES",
        f"{plural(dispatchers, 'dispatcher')}, {plural(workers, 'worker')}"
        f"{f', {silent} silent' if silent else ''}{rest}",
        Tone.PLAIN if dispatchers and workers and not silent else Tone.BAD,
        heads=("KIND", "PROCESS", "HEARD", "SINCE", "QUEUES", "RUNS", "FAILED") if chosen else (),
        rows=[_process(process, found.now) for process in chosen],
    )


def _process(process: Process, now: float) -> Sequence[Cell]:
    heard = f"silent for {length(now - process.heard)}" if process.is_silent else ago(now - process.heard)
    is_worker = process.kind == "worker"
    return (
        (process.kind, Tone.PLAIN),
        (process.name, Tone.PLAIN),
        (heard, Tone.BAD if process.is_silent else Tone.PLAIN),
        (moment(process.since, now), Tone.PLAIN),
        (", ".join(dict.fromkeys(process.queues)) or "-", Tone.PLAIN),
        (f"{process.runs:,}" if is_worker else "-", Tone.PLAIN),
        (f"{process.failures:,}" if is_worker else "-", Tone.PLAIN),
    )


def _lateness(found: Overview) -> Section:
    if found.lateness is None:
        return Section("LATENESS", "no runs within the last hour")
    late, cut = found.lateness, " at least" if found.lateness_is_cut else ""
    return Section(
        "LATENESS",
        f"p50 {duration(late.p50_s)}, p99 {duration(late.p99_s)}, worst {duration(late.worst_s)};"
        f"{cut} {plural(found.runs, 'run')} within the last hour, {found.failures:,} failed",
    )


def _named(jobids: Sequence[str], number: int, state: str) -> str:
    """Return the first of these jobs, and how to see the others."""
    if not number:
        return "none"
    more = f" and {number - len(jobids):,} more: redbike info -s {state}" if number > len(jobids) else ""
    return f"{', '.join(jobids)}{more}"


def _first(found: Sequence[T], most: int) -> tuple[Sequence[T], str]:
    """Return the first of these, and a text that says how many are left out."""
    chosen = found[:most] if most else found
    left_out = len(found) - len(chosen)
    return chosen, f"; not shown: {left_out:,}" if left_out else ""

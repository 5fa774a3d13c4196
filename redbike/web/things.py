"""Queues, processes and runs of an overview, as the pages show them: without ages, which change by themselves."""

from typing import NamedTuple

from redbike.looking.overview import Overview, Queue, Running


class Worked(NamedTuple):
    """A dispatcher or a worker, and what it runs now."""

    kind: str
    host: str
    pid: int
    since: float
    silent_since: float | None
    """The time of its last heartbeat if that is too long ago; None while it is alive."""
    worker: str
    version: str
    queues: tuple[str, ...]
    runs: int
    failures: int
    running: tuple[Running, ...]


def queues(overview: Overview | None) -> list[Queue]:
    """Return the queues by name."""
    return [] if overview is None else overview.queues


def running(overview: Overview | None) -> list[Running]:
    """Return the runs in progress, the longest first."""
    return [] if overview is None else sorted(overview.running, key=lambda run: (run.since or 0.0, run.jobid))


def processes(overview: Overview | None) -> list[Worked]:
    """Return the processes: silent ones first, then by kind, host and pid."""
    if overview is None:
        return []
    runs = running(overview)
    found = [
        Worked(
            *(one.kind, one.host, one.pid, one.since, one.heard if one.is_silent else None, one.worker, one.version),
            *(tuple(dict.fromkeys(one.queues)), one.runs, one.failures),
            tuple(run for run in runs if run.worker == one.name),
        )
        for one in overview.processes
    ]
    return sorted(found, key=lambda one: (one.silent_since is None, one.kind, one.host, one.pid))

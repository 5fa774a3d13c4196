"""What is wrong now, in sentences, the most urgent first."""

from redbike.looking.overview import Overview
from redbike.looking.words import plural
from redbike.web.digest import Digest

_WAITS_S = 60.0


def troubles(overview: Overview, digest: Digest) -> list[str]:
    """Return a sentence per trouble."""
    found = []
    if overview.is_halted:
        found.append("HALT is set: dispatchers and workers have stopped.")
    if not overview.of_kind("dispatcher") and overview.registered:
        found.append("No dispatcher is alive: no job becomes due.")
    if overview.hold is not None:
        found.append("All queues are held.")
    for queue in overview.queues:
        if queue.jobs and not queue.workers:
            found.append(f"No worker serves {queue.name}, where {plural(queue.jobs, 'job')} wait.")
        elif queue.hold is not None and queue.jobs:
            found.append(f"{queue.name} is held, and {plural(queue.jobs, 'job')} wait.")
    for process in overview.processes:
        if process.is_silent:
            found.append(f"The {process.kind} {process.name} is silent.")
    if overview.overdue_runs:
        found.append(f"{plural(overview.overdue_runs, 'run')} exceeded the timeout.")
    if overview.overdue:
        found.append(f"{plural(overview.overdue, 'job')} on the timeline are overdue.")
    if digest.lost_count:
        found.append(f"{plural(digest.lost_count, 'job')} should run again, but will not: lost, failed or bad.")
    if overview.failures:
        found.append(f"{plural(overview.failures, 'run')} of the last hour did not succeed.")
    return found

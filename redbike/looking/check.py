"""Judge a prefix in one line for a monitoring system, in the format of plugins of Nagios."""

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from redbike.looking import sentences
from redbike.looking.overview import Overview, Process, Queue, look
from redbike.looking.rows import Rows
from redbike.looking.sentences import named
from redbike.looking.settled import settled
from redbike.looking.troubles import Jobs
from redbike.looking.words import length, plural

if TYPE_CHECKING:
    from redbike.bike import Redbike

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_MOST_FAULTS = 5  # the most faults that the line names


class Limits(NamedTuple):
    """The highest figures that are still fine. None: this figure is not judged."""

    late_s: float = 60.0
    wait_s: float | None = None
    failing: int | None = None
    lost: int | None = None


@dataclass
class Verdict:
    """The exit code, the sentence, and the figures."""

    code: int = OK
    faults: list[tuple[int, str]] = field(default_factory=list)
    text: str = ""
    figures: list[str] = field(default_factory=list)

    def add(self, code: int, fault: str) -> None:
        """Add a fault."""
        self.code = max(self.code, code)
        self.faults.append((code, fault))

    def line(self) -> str:
        """Return the line: the status, the text, and the figures after a bar."""
        faults = [fault for _, fault in sorted(self.faults, key=lambda one: -one[0])]
        more = len(faults) - _MOST_FAULTS
        text = "; ".join(faults[:_MOST_FAULTS]) + (f"; and {more} more: redbike why" if more > 0 else "")
        # A bar in the text would end it: the figures begin after the bar.
        text = (text or self.text).replace("|", "/")
        return f"REDBIKE {WORDS[self.code]} - {text}" + (f"|{' '.join(self.figures)}" if self.figures else "")


def check(bike: "Redbike", limits: Limits) -> Verdict:
    """Look at a prefix, and judge it. The states of the jobs are read only where the limits need them."""
    # The ids of all jobs name the queues, also those that no worker serves.
    overview = look(bike, Rows(bike).queues() - {"?"})
    needs_jobs = limits.failing is not None or limits.lost is not None
    return judge(overview, Jobs.of(settled(bike, Rows(bike).all())) if needs_jobs else None, limits)


def check_host(bike: "Redbike") -> Verdict:
    """Judge the processes of this host alone: at least one process has to be alive."""
    host = os.uname().nodename
    verdict = Verdict()
    own = [process for process in look(bike).processes if process.host == host]
    alive = [process for process in own if not process.is_silent]
    if alive:
        verdict.text = f"{plural(len(alive), 'process', 'processes')} of {host}: {', '.join(_kinds(alive))}"
    elif own:
        verdict.add(CRITICAL, f"no process of {host} is alive: {len(own)} silent")
    else:
        verdict.add(CRITICAL, f"no process of {host} is known")
    verdict.figures = [f"processes={len(alive)};;1:;0"]
    return verdict


def _kinds(processes: list[Process]) -> list[str]:
    kinds = sorted({process.kind for process in processes})
    return [plural(sum(process.kind == kind for process in processes), kind) for kind in kinds]


def judge(overview: Overview, jobs: Jobs | None, limits: Limits) -> Verdict:
    """Judge an overview. Pure."""
    now, verdict = overview.now, Verdict()
    late_s = 0.0 if not overview.overdue or overview.overdue_since is None else max(0.0, now - overview.overdue_since)
    waits = [(now - queue.oldest_since, queue) for queue in overview.queues if queue.oldest_since is not None]
    wait_s, slowest = max(waits, key=lambda wait: wait[0], default=(0.0, None))
    if text := sentences.halt(overview):
        verdict.add(CRITICAL, text)
    if text := sentences.no_dispatcher(overview):
        verdict.add(CRITICAL, text)
    for queue in overview.queues:
        if queue.jobs and (text := sentences.no_worker(overview, queue.name)):
            verdict.add(CRITICAL, f"queue {queue.name}: {sentences.jobs_wait(queue.jobs)}, and {text}")
    if text := sentences.hold(overview):
        verdict.add(WARNING, text)
    elif late_s > limits.late_s:
        # Under a hold, due jobs wait because somebody wants them to wait.
        first = named(overview.next[0][0]) if overview.next else "the first"
        others = plural(overview.overdue, "job")
        verdict.add(CRITICAL, f"{others} due, but not queued: {first} for {length(late_s)}")
    if limits.wait_s is not None and wait_s > limits.wait_s and slowest is not None:
        verdict.add(WARNING, f"{_waiting(slowest)} for {length(wait_s)}")
    if jobs is not None and limits.failing is not None and jobs.failing > limits.failing:
        verdict.add(WARNING, f"{plural(jobs.failing, 'job')} failing")
    if jobs is not None and limits.lost is not None and jobs.lost > limits.lost:
        verdict.add(WARNING, f"{plural(jobs.lost, 'job')} lost")
    verdict.text = _summary(overview)
    verdict.figures = [
        f"late={late_s:.0f}s;;{limits.late_s:g};0",
        f"wait={wait_s:.0f}s;{_limit(limits.wait_s)};;0",
        f"queued={sum(queue.jobs for queue in overview.queues)};;;0",
        f"running={overview.running_count};;;0",
        f"planned={overview.timeline};;;0",
        f"dispatchers={len(overview.of_kind('dispatcher'))};;1:;0",
        f"workers={len(overview.of_kind('worker'))};;;0",
    ]
    if jobs is not None and limits.failing is not None:
        verdict.figures.append(f"failing={jobs.failing};{_limit(limits.failing)};;0")
    if jobs is not None and limits.lost is not None:
        verdict.figures.append(f"lost={jobs.lost};{_limit(limits.lost)};;0")
    return verdict


def _waiting(queue: Queue) -> str:
    held = ", which is held," if queue.hold is not None else ""
    return f"{named(queue.oldest or '')} has waited in {queue.name}{held}"


def _limit(limit: float | None) -> str:
    return "" if limit is None or not math.isfinite(limit) else f"{limit:g}"


def _summary(overview: Overview) -> str:
    queued = sum(queue.jobs for queue in overview.queues)
    processes = [plural(len(overview.of_kind(kind)), kind) for kind in ("dispatcher", "worker")]
    return (
        f"{', '.join(processes)}, {overview.timeline:,} planned, {queued:,} queued, {overview.running_count:,} running"
    )

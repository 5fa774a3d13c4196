"""Sentences on the fleet, for the answers to "why?" and for the list of troubles. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from redbike.looking.overview import Overview, Process
from redbike.looking.words import ago, length, moment, plural, shortened

_MOST_NAMED = 5  # queues
_LONGEST_ID = 200


class Reason(NamedTuple):
    """A sentence on a job, and whether it says that something is wrong."""

    text: str
    is_wrong: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the reason as `--json` prints it."""
        return {"text": self.text, "wrong": self.is_wrong}


def named(jobid: str) -> str:
    """Return a job id as sentences show it."""
    return repr(shortened(jobid, _LONGEST_ID))


def sentence(text: str) -> str:
    """Return a text with a capital and a full stop."""
    end = "" if text.endswith((".", '"')) else "."
    return f"{text[0].upper()}{text[1:]}{end}"


def since(stamp: float, now: float) -> str:
    """Return since when something is so: `since 18:20:03 (5 min)`."""
    return f"since {moment(stamp, now)} ({length(now - stamp)})"


def at(stamp: float, now: float) -> str:
    """Return when something was: `at 18:20:03 (5 min ago)`."""
    return f"at {moment(stamp, now)} ({ago(now - stamp)})"


def halt(overview: Overview) -> str | None:
    """Return the sentence on HALT; None if it is not set."""
    if not overview.is_halted:
        return None
    start = "HALT is set"
    if overview.halted_since is not None:
        start = f"HALT has been set {since(overview.halted_since, overview.now)}"
    return f"{start}: dispatchers and workers end, and no run begins"


def hold(overview: Overview) -> str | None:
    """Return the sentence on a hold of the whole prefix; None without a hold."""
    if overview.hold is None:
        return None
    return f"the whole prefix is held{by(overview.hold, overview.now)}; no job is queued, and no run begins"


def by(entry: Mapping[str, object], now: float) -> str:
    """Return who held or paused it, since when, until when and why, from an entry of P:held or P:pauses."""
    words = f" by {entry['by']}" if entry.get("by") else ""
    begin, end = entry.get("since"), entry.get("until")
    if isinstance(begin, int | float):
        words += f" {since(begin, now)}"
    if isinstance(end, int | float):
        words += f" until {moment(end, now)}"
    return words + (f': "{entry["note"]}"' if entry.get("note") else "")


def no_dispatcher(overview: Overview) -> str | None:
    """Return the sentence on a prefix without a dispatcher; None if a dispatcher is alive."""
    return _none_of(overview, "dispatcher", "no job is queued when it is due")


def no_worker(overview: Overview, queue: str) -> str | None:
    """Return the sentence on a queue without a worker; None if a worker serves it."""
    workers = overview.of_kind("worker")
    if not workers:
        return _none_of(overview, "worker", "no run begins")
    if any(queue in worker.queues for worker in workers):
        return None
    served = sorted({name for worker in workers for name in worker.queues})
    shown = ", ".join(served[:_MOST_NAMED]) + (", …" if len(served) > _MOST_NAMED else "")
    return f"no worker serves {queue} (workers serve {shown})"


def silent(process: Process, now: float) -> str:
    """Return the sentence on a process whose heartbeat is missing."""
    return f"{process.kind} {process.name} is silent: its last heartbeat was {at(process.heard, now)}"


def _none_of(overview: Overview, kind: str, effect: str) -> str | None:
    if overview.of_kind(kind):
        return None
    heard = max((process.heard for process in overview.processes if process.kind == kind), default=None)
    if heard is None:
        return f"no {kind} is alive: {effect}"
    return f"no {kind} has been alive for {length(overview.now - heard)}: {effect}"


def jobs_wait(number: int) -> str:
    """Return how many jobs wait, as a clause."""
    return f"{plural(number, 'job')} {'waits' if number == 1 else 'wait'} in it"

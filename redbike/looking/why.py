"""Why a job does what it does now, in sentences: the job first, then what it waits for, then its last run."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from redbike.looking import sentences
from redbike.looking.calls import called
from redbike.looking.facts import Facts, Past, near_ids
from redbike.looking.overview import Overview
from redbike.looking.rows import DECIDED, Row, State
from redbike.looking.schedules import schedule_in_words
from redbike.looking.sentences import Reason, named, sentence
from redbike.looking.troubles import bad_because, failing_because, lost_because
from redbike.looking.words import ahead, duration, moment, plural, shortened
from redbike.schedule.forms import read
from redbike.settings import OnFailure

if TYPE_CHECKING:
    from redbike.bike import Redbike

_KNOWN_AFTER_S = 5.0  # a process that has just started has not written its first heartbeat yet
_LONGEST_SCHEDULE = 120  # characters


def reasons(bike: "Redbike", jobid: str, overview: Overview | None = None) -> list[Reason]:
    """Return why this job does what it does now. `overview`: the overview, if it was read just now."""
    facts = Facts.read(bike, jobid, overview)
    if facts.row is None:
        return unknown(bike, jobid)
    return because(facts)


def reasons_as_json(overview: Overview, jobid: str, at: float | None, found: Sequence[Reason]) -> dict[str, object]:
    """Return the sentences as `redbike why JOBID --json` prints them. `at`: the time that was asked about."""
    told = [reason.as_json() for reason in found]
    is_wrong = any(reason.is_wrong for reason in found)
    return {"now": overview.now, "wrong": is_wrong, "job": jobid, "time": at, "reasons": told}


def because(facts: Facts) -> list[Reason]:
    """Return the sentences on a known job. Pure."""
    assert facts.row is not None
    found = list(_STATES[facts.row.state](facts))
    if facts.row.state in _WAITING:
        found += obstacles(facts)
    found += _calls(facts)
    found += _last_run(facts)
    return [Reason(sentence(text), is_wrong) for text, is_wrong in found]


def unknown(bike: "Redbike", jobid: str) -> list[Reason]:
    """Return the sentences on a job id that is not registered."""
    found = [Reason(f"There is no job {named(jobid)} under the prefix {bike.prefix!r}.", True)]
    near = near_ids(bike, jobid)
    if near:
        found.append(Reason(f"Jobs with similar ids: {', '.join(map(named, near))}."))
    records = Past.read(bike, jobid).records
    if records:
        record, when = records[0], sentences.at(records[0].ended, bike.now())
        found.append(
            Reason(f"A run of this job id ended {when}: {record.outcome}. The job was unset, or had no schedule.")
        )
    return found


def _planned(facts: Facts) -> Iterator[Reason]:
    row, now, planned = _row(facts), facts.overview.now, facts.planned
    due = row.next_run if row.next_run is not None else now
    when = f"{moment(due, now)}, {ahead(due - now)}"
    if planned is None or planned.again_at is None or abs(planned.again_at - due) > 0.01:
        yield Reason(f"it is not due until {when}{_by_schedule(facts)}")
        return
    outcome = None if row.last is None else row.last["outcome"]
    tries = f"attempt {planned.attempt}"
    if planned.attempt == 1:
        yield Reason(f"queue {row.queue} did not accept it: it is tried again at {when}", True)
    elif outcome == "later":
        yield Reason(f"its run raised Later: it begins again at {when}, as {tries}")
    else:
        most = facts.policy.retries + 1
        is_retried = OnFailure.RETRY in (facts.policy.on_error, facts.policy.on_timeout)
        of = f" of {most}" if is_retried and planned.attempt <= most else ""
        yield Reason(f"its last run did not succeed: it is tried again at {when} ({tries}{of})", True)


def _by_schedule(facts: Facts) -> str:
    words = DECIDED if _row(facts).worker_decides else schedule_in_words(facts.schedule)
    return "" if words in ("-", "no more") else f" ({shortened(words, _LONGEST_SCHEDULE)})"


def _due(facts: Facts) -> Iterator[Reason]:
    row, now = _row(facts), facts.overview.now
    since = "" if row.next_run is None else f" {sentences.since(row.next_run, now)}"
    yield Reason(f"it has been due{since}, but no dispatcher has queued it", True)
    overview = facts.overview
    dispatchers = len(overview.of_kind("dispatcher"))
    if dispatchers and overview.hold is None and not overview.is_halted:
        others = f", and {plural(overview.overdue, 'job')} overdue" if overview.overdue > 1 else ""
        yield Reason(f"{plural(dispatchers, 'dispatcher')} alive{others}")


def _queued(facts: Facts) -> Iterator[Reason]:
    row, now = _row(facts), facts.overview.now
    since = "" if row.since is None else f" {sentences.since(row.since, now)}"
    if facts.position == 0:
        where = f"is the next in {row.queue}"
    elif facts.position is not None:
        where = f"waits behind {plural(facts.position, 'other')} in {row.queue}"
    else:
        where = f"waits in {row.queue}, where {plural(facts.depth, 'job')} wait"
    yield Reason(f"it {where}{since}")
    if row.schedule is None:
        yield Reason("it has no schedule: it runs once, and is then forgotten")
    workers = [worker for worker in facts.overview.of_kind("worker") if row.queue in worker.queues]
    busy = [run for run in facts.overview.running if run.worker in {worker.name for worker in workers}]
    if workers and not facts.overview.is_halted:
        serve, run = ("serves", "runs") if len(workers) == 1 else ("serve", "run")
        such_as = ":" if len(busy) == 1 else ", such as"
        at_work = f", and {run} {plural(len(busy), 'job')} now{such_as} {named(busy[0].jobid)}" if busy else ""
        yield Reason(f"{plural(len(workers), 'worker')} {serve} {row.queue}{at_work}")


def _running(facts: Facts) -> Iterator[Reason]:
    row, now, process = _row(facts), facts.overview.now, facts.holder_process
    where = f" on {process.name}" if process is not None else ""
    since = "" if row.since is None else f" {sentences.since(row.since, now)}"
    left = "" if facts.lease_ends is None else f"; its lease ends {ahead(facts.lease_ends - now)}"
    yield Reason(f"it has been running{where}{since}{left}")
    if process is not None and process.is_silent:
        yield Reason(f"{sentences.silent(process, now)}. If it has died, the run will be lost", True)
    elif process is None and row.since is not None and now - row.since > _KNOWN_AFTER_S:
        yield Reason("the worker that runs it is not known. If it has died, the run will be lost", True)
    if facts.pause is not None:
        yield from _paused(facts)
    elif row.next_run is not None and row.next_run <= now + 1:
        yield Reason("its next run is due, and waits for the end of this run")
    elif row.next_run is not None:
        yield Reason(f"a further run is planned at {moment(row.next_run, now)}, {ahead(row.next_run - now)}")


def _paused(facts: Facts) -> Iterator[Reason]:
    now, pause = facts.overview.now, facts.pause or {}
    if pause.get("by") or pause.get("since"):
        yield Reason(f"it is paused{sentences.by(pause, now)}")
    else:
        until = sentences.by(pause, now)
        yield Reason(f"it is paused{until}: its schedule begins with PAUSED:, and it is not known who paused it")


def _stopped(facts: Facts) -> Iterator[Reason]:
    row, now, text = _row(facts), facts.overview.now, facts.schedule
    when = "" if row.since is None else f" {sentences.since(row.since, now)}"
    if text is None:
        yield Reason(f"it has been stopped{when}: it has no schedule")
        return
    plan = read(text).again(now)
    if row.last is not None and row.last["outcome"] == "stopped":
        yield Reason(f"it has been stopped{when}, because its last run raised StopWork: its schedule is {text.strip()}")
    elif plan.leads_on:
        yield Reason(f"it has been stopped{when}, although its schedule has further runs: set it again", True)
    elif text.strip() == "STOP":
        yield Reason(f"it has been stopped{when}: its schedule is STOP, so it has no further run")
    else:
        ended = "has ended" if row.since is None else f"ended {sentences.at(row.since, now)}"
        yield Reason(f"its schedule {ended}: {plan.reason or 'its only run has happened'}")


def _failed(facts: Facts) -> Iterator[Reason]:
    row, now = _row(facts), facts.overview.now
    if row.is_lost:
        yield Reason(f"it {lost_because(row, now)}", True)
    else:
        yield Reason(f"it {failing_because(row, now)}; redbike enqueue runs it again", True)


def _lost(facts: Facts) -> Iterator[Reason]:
    row, now = _row(facts), facts.overview.now
    yield Reason(f"it {lost_because(row, now)}", True)
    names = set() if row.last is None else set(str(row.last["error"]).split())
    for run in facts.overview.running:
        if run.jobid == facts.jobid:
            names.add(run.worker)
            who = f"worker {run.worker}" if run.worker else "an unknown worker"
            yield Reason(f"{who} was running it; the lease of this run ended {sentences.at(run.ends, now)}", True)
    for process in facts.overview.processes:
        if process.kind == "worker" and process.name in names:
            heard = "is silent" if process.is_silent else "is alive"
            yield Reason(f"worker {process.name} {heard}: its last heartbeat was {sentences.at(process.heard, now)}")


def _bad(facts: Facts) -> Iterator[Reason]:
    row, now = _row(facts), facts.overview.now
    if facts.id_fault is not None and read(facts.schedule or "STOP").again(now).reason is None:
        when = "" if row.since is None else f" {sentences.since(row.since, now)}"
        yield Reason(f"it has been BAD{when}, because no queue can take it: {facts.id_fault}", True)
    else:
        yield Reason(f"it {bad_because(row, now)}", True)


def _new(facts: Facts) -> Iterator[Reason]:
    row = _row(facts)
    if row.is_lost:
        yield Reason(f"it {lost_because(row, facts.overview.now)}", True)
    else:
        yield Reason(f"another program has registered it; its schedule has no further run{_by_schedule(facts)}")


def obstacles(facts: Facts) -> Iterator[Reason]:
    """Yield the obstacles before the next step of the job, now or when it is due."""
    overview, queue = facts.overview, facts.queue
    state = _row(facts).state
    for text in (sentences.halt(overview), sentences.hold(overview)):
        if text:
            yield Reason(text, True)
    if state in (State.PLANNED, State.DUE) and (text := sentences.no_dispatcher(overview)):
        yield Reason(text, True)
    if text := sentences.no_worker(overview, queue):
        yield Reason(text, True)
    held = next((one.hold for one in overview.queues if one.name == queue), None)
    if held is not None:
        yield Reason(f"queue {queue} is held{sentences.by(held, overview.now)}: workers take nothing from it", True)


def _calls(facts: Facts) -> Iterator[Reason]:
    row = _row(facts)
    if text := called(row.calls):
        yield Reason(text)
    if row.worker_decides:
        yield Reason(
            "no schedule text can express its schedule, so its payload has it: its worker decides the next run"
        )


def _last_run(facts: Facts) -> Iterator[Reason]:
    row, now = _row(facts), facts.overview.now
    if row.last is None or row.state in (State.FAILED, State.TIMED_OUT, State.BAD):
        return
    began, ended = float(str(row.last["began"])), float(str(row.last["ended"]))
    outcome, error = row.last["outcome"], row.last["error"]
    if row.failures:
        which = "its last run" if row.failures == 1 else f"{row.failures:,} runs in a row failed; the last of them"
        how = "was lost" if outcome == "lost" else "failed"
        yield Reason(f"{which} {how} {sentences.at(ended, now)}{f' with {error}' if error else ''}", True)
    else:
        took = duration(ended - began)
        yield Reason(f"its last run ended {sentences.at(ended, now)}, after {took}: {outcome}")


def _row(facts: Facts) -> Row:
    assert facts.row is not None
    return facts.row


_STATES: dict[State, Callable[[Facts], Iterator[Reason]]] = {
    State.PLANNED: _planned,
    State.DUE: _due,
    State.QUEUED: _queued,
    State.RUNNING: _running,
    State.PAUSED: _paused,
    State.STOPPED: _stopped,
    State.FAILED: _failed,
    State.TIMED_OUT: _lost,
    State.LOST: _lost,
    State.BAD: _bad,
    State.NEW: _new,
}
_WAITING = frozenset({State.PLANNED, State.DUE, State.QUEUED})

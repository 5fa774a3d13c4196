"""Anything in any order: a state machine drives the real scripts and a plain-Python model of them side by side.

The test suite plays it (tests/test_model.py), and so does the soak. Needs hypothesis, of the extra `test`.
"""

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from redbike import BadJob, Later, Redbike, RoundRobin, Run, ScheduleError, StopWork, UnsetJob
from redbike.engine.outcome import TakenRun
from tests.state import state

JOBS = ["a:A", "b:A", "c:B"]
PAST, FUTURE = 1_000, 4_000_000_000
SWEPT_UP_TO = 2_000_000_000
BACKOFF_S = 3_000_000_000
DAILY = "DTSTART:20990101T000000\nRRULE:FREQ=DAILY"
OVER = "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;COUNT=2"
SCHEDULES = [
    *("NOW", "CONTINUE", "STOP", f"AT:{PAST}", f"AT:{FUTURE}", DAILY, OVER, "nonsense"),
    *("PAUSED:CONTINUE", "PAUSED:NOW", f"PAUSED:{DAILY}"),
]
"""Schedules whose plans are the same whenever they are made, so that the model needs no clock."""

ENDS = ["returns", "backs off", "stops", "unsets itself", "dies", "is put off", "is bad"]
PAYLOADS = [None, None, "", "one", "two"]
PAUSED = "PAUSED:"


@dataclass
class Job:
    """What the model knows of a job."""

    schedule: str | None = None
    event: str | None = None
    due: str | None = None
    """On the timeline: 'past', 'postponed' (found due while it ran), 'future'; None: it is not there."""
    run: int | None = None
    """Which run holds its tag."""
    extra: bool = False
    """Whether it is to run once more, beside the later run that the timeline has."""
    payload: str | None = None
    taken: str | None = None
    """Its schedule when the present run was taken."""

    @property
    def is_paused(self) -> bool:
        return (self.schedule or "").startswith(PAUSED)


@dataclass
class Model:
    """What the contract says, in a few lines of Python."""

    jobs: dict[str, Job] = field(default_factory=lambda: {jobid: Job() for jobid in JOBS})
    queues: dict[str, list[str]] = field(default_factory=lambda: {"A": [], "B": []})
    runs: Iterator[int] = field(default_factory=itertools.count)
    held: set[str] = field(default_factory=set)
    """The queues from which nothing is taken."""

    def queue_of(self, jobid: str) -> list[str]:
        return self.queues[jobid[-1]]

    def set(self, jobid: str, schedule: str, payload: str | None = None) -> None:
        job, is_at = self.jobs[jobid], schedule.startswith("AT:")
        if payload is not None:
            job.payload = payload or None
        if schedule.startswith(PAUSED):
            self._pause(jobid, schedule)
            return
        job.schedule = "STOP" if is_at or schedule == "NOW" else schedule
        job.due, job.extra = None, False
        if schedule in ("NOW", "CONTINUE"):
            self.enqueue(jobid)
        elif is_at or schedule == DAILY:
            job.due, job.event = ("past" if schedule == f"AT:{PAST}" else "future"), "TML"
        else:
            job.event = "BAD" if schedule == "nonsense" else "STP"

    def set_payload(self, jobid: str, payload: str) -> None:
        if self.jobs[jobid].schedule is not None:
            self.jobs[jobid].payload = payload or None

    def pause(self, jobid: str) -> None:
        job = self.jobs[jobid]
        if job.schedule is None or job.is_paused:
            return
        text = job.schedule
        if text == "STOP" and jobid in self.queue_of(jobid):
            text = "NOW"
        elif text == "STOP" and (job.due or job.extra):
            text = f"AT:{job.due or 'past'}"
        self._pause(jobid, PAUSED + text)

    def resume(self, jobid: str) -> None:
        job = self.jobs[jobid]
        if not job.is_paused:
            return
        text = str(job.schedule).removeprefix(PAUSED)
        if text.startswith("AT:") and not text[3:].isdigit():
            job.schedule, job.due, job.event, job.extra = "STOP", text[3:], "TML", False
        else:
            self.set(jobid, text)

    def hold(self, code: str) -> None:
        self.held.add(code)

    def release(self, code: str) -> None:
        self.held.discard(code)

    def _pause(self, jobid: str, text: str) -> None:
        job = self.jobs[jobid]
        job.schedule, job.due, job.extra, job.event = text, None, False, "STP"
        if jobid in self.queue_of(jobid):
            self.queue_of(jobid).remove(jobid)

    def enqueue(self, jobid: str) -> None:
        job = self.jobs[jobid]
        if job.is_paused:
            return
        if job.run is None:
            self._enter_queue(jobid)
        else:
            self._run_soon(job)

    def unset(self, jobid: str) -> None:
        self.jobs[jobid] = Job(run=self.jobs[jobid].run, taken=self.jobs[jobid].taken)
        if jobid in self.queue_of(jobid):
            self.queue_of(jobid).remove(jobid)

    def sweep(self) -> None:
        for jobid, job in self.jobs.items():
            if job.due in ("past", "postponed"):
                if job.run is not None:
                    job.due = "postponed"
                else:
                    job.due = None
                    if jobid not in self.queue_of(jobid):
                        self._enter_queue(jobid)
            if job.extra and job.run is None:
                job.extra = False
                if jobid not in self.queue_of(jobid):
                    self._enter_queue(jobid)

    def take(self, code: str) -> tuple[str, int] | None:
        if not self.queues[code] or code in self.held:
            return None
        jobid = self.queues[code].pop(0)
        job = self.jobs[jobid]
        if job.is_paused:
            job.event = "STP"
            return None
        if job.run is not None:
            self._run_soon(job)
            return None
        job.run, job.event, job.taken = next(self.runs), "WRK", job.schedule
        return jobid, job.run

    def end(self, jobid: str, run: int, how: str) -> None:
        job = self.jobs[jobid]
        if job.run != run:
            return
        job.run = None
        if how == "is put off" and job.event == "WRK":
            # It has not happened: it is due again.
            if job.due in ("future", "postponed"):
                job.extra = True
            else:
                job.due = "past"
            job.event = "TML"
        elif how == "is put off" and job.schedule == f"{PAUSED}STOP":
            job.schedule, job.due, job.event = f"{PAUSED}AT:past", None, "STP"
        elif job.schedule is None or how == "unsets itself":
            self.unset(jobid)
        elif how == "dies":
            job.event = "DIE"
        elif how == "is bad" and job.event != "WRK" and job.schedule == job.taken:
            pass  # somebody has set it meanwhile
        elif how == "is bad" and job.schedule == job.taken:
            job.due, job.event, job.extra = None, "BAD", False
        elif how == "stops":
            was, job.schedule = job.schedule, "STOP"
            job.extra = False
            self._stop(jobid, was)
        elif job.schedule == DAILY or (job.schedule == "CONTINUE" and how == "backs off"):
            job.due, job.event = job.due or "future", "TML"
        elif job.schedule == "CONTINUE":
            job.due = None
            self._enter_queue(jobid)
        elif job.schedule == "nonsense":
            job.due, job.event, job.extra = None, "BAD", False
        else:
            self._stop(jobid, job.schedule)

    def _run_soon(self, job: Job) -> None:
        """Run again when the run in hand is over; what the timeline has for later stays there."""
        if job.due in ("future", "postponed"):
            job.extra = True
        else:
            job.due = "past"
        job.event = "TML"

    def _enter_queue(self, jobid: str) -> None:
        if jobid not in self.queue_of(jobid):
            self.queue_of(jobid).append(jobid)
        self.jobs[jobid].event = "ENQ"

    def _stop(self, jobid: str, schedule: str) -> None:
        """A one-off that was asked for during the run is still to come; anything else is over."""
        job = self.jobs[jobid]
        if schedule != "STOP" or job.due is None:
            job.due, job.event = None, "STP"
        elif job.due == "past":
            job.due = None
            self._enter_queue(jobid)
        else:
            job.event = "TML"


class Script(RoundRobin):
    """A worker whose jobs do what the machine tells them."""

    machine: "Machine"

    def perform(self, run: Run) -> object:
        return self.machine.perform(run)


@dataclass
class Tally:
    """What was really done."""

    steps: int = 0
    """Verbs, passes, turns and the like: those within a run of a job, too."""
    runs: int = 0
    """Of jobs."""


late_runs: set[str] = set()
"""Tags of runs that outlived their timeout: by the clock of their worker, too."""


def elapsed_s(run: TakenRun) -> float:
    """For how long a run has been in hand, as the machine has it."""
    return run.timeout_s + 1 if run.tag in late_runs else 0.0


Action = tuple[Any, ...]
ITSELF = "the job that runs"


def actions(jobids: st.SearchStrategy[str]) -> st.SearchStrategy[Action]:
    return st.one_of(
        st.tuples(st.just("set"), jobids, st.sampled_from(SCHEDULES), st.sampled_from(PAYLOADS)),
        st.tuples(st.just("set_payload"), jobids, st.sampled_from(["", "three"])),
        st.tuples(st.sampled_from(["pause", "resume"]), jobids),
        st.tuples(st.sampled_from(["hold", "release", "release"]), st.sampled_from("AB")),
        st.tuples(st.just("enqueue"), jobids),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("queue by hand"), jobids),
        st.tuples(st.just("work"), st.sampled_from(ENDS)),
        st.tuples(st.just("unset"), jobids),
        st.tuples(st.just("time out"), jobids),
    )


outside = actions(st.sampled_from(JOBS))
during = actions(st.sampled_from([ITSELF, ITSELF, *JOBS]))


class Machine(RuleBasedStateMachine):
    """Verbs, single passes and single turns in any order, also while jobs run; Redis then holds what the model says."""

    socket: str
    folder: Path
    prefixes = itertools.count()
    tally: "Tally"

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.prefix = f"model{next(self.prefixes)}"
        self.inside: list[Action] = []
        self.how = "returns"
        self.depth = 0
        self.sweeps = itertools.count(SWEPT_UP_TO, 10)
        self.workers = [self.make(), self.make()]
        """Two of them, for one works while a job of the other runs; each has its own place in the order."""
        self.places = [0, 0]
        self.bike = self.make()
        self.bike.control("HALT")
        for jobid in JOBS:
            self.bike.set(jobid, "CONTINUE")
            self.model.set(jobid, "CONTINUE")

    def make(self) -> Redbike:
        worker = Script("A:B")
        worker.machine = self
        log = logging.getLogger("redbike.model")
        log.setLevel(logging.CRITICAL)  # jobs die here by the thousand
        return Redbike(worker, self.prefix, {"unix_socket_path": self.socket}, self.folder / self.prefix, log)

    def teardown(self) -> None:
        if hasattr(self, "bike"):
            self.bike.flush()
            left = state(self.bike.redis, self.prefix)
            for bike in (self.bike, *self.workers):
                bike.close()
            assert left == {}

    @rule(action=outside)
    def act(self, action: Action) -> None:
        """One thing after the other."""
        self.do(action)

    @rule(how=st.sampled_from(ENDS), inside=st.lists(during, min_size=1, max_size=5))
    def work(self, how: str, inside: list[Action]) -> None:
        """A turn of work, and what happens while its job runs, other turns included."""
        self.tally.steps += 1
        code = "AB"[self.places[0] % 2]
        if not self.model.queues[code]:
            self.do(("enqueue", next(jobid for jobid in JOBS if jobid.endswith(code))))
        self.inside = inside
        self.turn(how)
        self.inside = []

    def do(self, action: Action) -> None:
        name, *arguments = action
        self.tally.steps += 1
        match name:
            case "set":
                jobid, schedule, payload = arguments
                self.bike.set(jobid, schedule, payload=payload)
                self.model.set(jobid, schedule, payload)
            case "hold" | "release":
                getattr(self.bike, name)(f"work-{arguments[0]}")
                getattr(self.model, name)(*arguments)
            case "unset" | "enqueue" | "set_payload" | "pause" | "resume":
                with suppress(ScheduleError):  # it is paused, or has no schedule
                    getattr(self.bike, name)(*arguments)
                getattr(self.model, name)(*arguments)
            case "queue by hand":
                self.queue_by_hand(*arguments)
            case "sweep":
                self.sweep()
            case "time out":
                tag: bytes | None = self.bike.redis.getdel(f"{self.bike.queue_for(arguments[0])}-{arguments[0]}")  # type: ignore[assignment]
                late_runs.add((tag or b"").decode())
                self.model.jobs[arguments[0]].run = None
            case "work":
                self.turn(*arguments)

    def queue_by_hand(self, jobid: str) -> None:
        """What a program does that knows nothing of run tags."""
        queue_key = self.bike.queue_for(jobid)
        if self.bike.redis.sadd(f"{queue_key}-members", jobid):
            self.bike.redis.lpush(queue_key, jobid)
            self.model.queue_of(jobid).append(jobid)

    def sweep(self) -> None:
        extra = f"{self.prefix}:extra"
        for jobid, _ in self.bike.redis.zscan_iter(extra):
            self.bike.redis.zadd(extra, {jobid: PAST})  # the second is over for which a running job was put off
        before = {code: list(queue) for code, queue in self.model.queues.items()}
        self.bike._parts.make_dispatcher().run(next(self.sweeps))
        self.model.sweep()
        for code, queue in self.model.queues.items():
            # Among jobs that were due together, the order in which they are queued is nobody's promise.
            queued = self.queued(code)
            assert queued[: len(before[code])] == before[code]
            assert sorted(queued) == sorted(queue)
            queue[:] = queued

    def turn(self, how: str) -> None:
        depth = self.depth
        taken = self.model.take("AB"[self.places[depth] % 2])
        self.places[depth] += 1
        self.how, self.taken = how, taken
        self.depth += 1
        self.workers[depth].work()
        self.depth -= 1
        if taken is None:
            assert self.taken is None, "a job ran that the model knows nothing of"
        else:
            assert self.taken == (), "no job ran"
            self.model.end(*taken, how)

    def perform(self, run: Run) -> object:
        """The job that runs now; called by the worker."""
        jobid = run.jobid
        assert self.taken, "no job was to be taken"
        assert jobid == self.taken[0]
        assert run.payload == (self.model.jobs[jobid].payload or "")
        self.tally.runs += 1
        how, inside, self.inside = self.how, self.inside, []
        for action in inside:
            self.do(tuple(jobid if word == ITSELF else word for word in action))
            self.check()
        self.taken = ()
        if how == "stops":
            raise StopWork
        if how == "unsets itself":
            raise UnsetJob
        if how == "dies":
            raise ValueError("as it was told")
        if how == "is put off":
            raise Later(0)
        if how == "is bad":
            raise BadJob("as it was told")
        return BACKOFF_S if how == "backs off" else None

    def queued(self, code: str) -> list[str]:
        found: list[bytes] = self.bike.redis.lrange(f"{self.prefix}-work-{code}", 0, -1)
        return [jobid.decode() for jobid in reversed(found)]

    @invariant()
    def check(self) -> None:
        """Redis holds what the model says, and every job that is to run again is in some place."""
        if not hasattr(self, "bike"):
            return
        found = state(self.bike.redis, self.prefix)
        jobs = self.model.jobs
        for code, queue in self.model.queues.items():
            queued = list(reversed(found.get(f"-work-{code}", [])))
            assert queued == queue
            assert len(set(queued)) == len(queued), "a job is in its queue at most once"
            assert found.get(f"-work-{code}-members", set()) == set(queued)
        assert {jobid: status[:3] for jobid, status in found.get("-statuses", {}).items()} == {
            jobid: job.event for jobid, job in jobs.items() if job.event
        }
        assert {jobid: symbolic(text) for jobid, text in found.get("-schedules", {}).items()} == {
            jobid: job.schedule for jobid, job in jobs.items() if job.schedule
        }
        assert {jobid: when(due_at) for jobid, due_at in found.get("-timeline", {}).items()} == {
            jobid: job.due for jobid, job in jobs.items() if job.due
        }
        assert found.get(":payloads", {}) == {jobid: job.payload for jobid, job in jobs.items() if job.payload}
        assert set(found.get(":extra", {})) == {jobid for jobid, job in jobs.items() if job.extra}
        for jobid, job in jobs.items():
            assert (f"-work-{jobid[-1]}-{jobid}" in found) == (job.run is not None)
            if job.event in ("TML", "ENQ"):
                is_placed = job.due or job.extra or jobid in self.model.queue_of(jobid) or job.run is not None
                assert is_placed, f"{jobid} is nowhere"


def symbolic(schedule: str) -> str:
    """Return a schedule as the model has it: a paused one-off with the time in words."""
    time_of_it = schedule.removeprefix(f"{PAUSED}AT:")
    return schedule if time_of_it == schedule else f"{PAUSED}AT:{when(float(time_of_it))}"


def when(due_at: float) -> str:
    if due_at >= FUTURE:
        return "future"
    return "postponed" if due_at > time.time() + 1 else "past"


def play(
    socket: str, folder: Path, tally: Tally, runs: int, steps: int, seed: int | None = None, *, is_long: bool = False
) -> None:
    """Play the machine on this server: so many times, so many steps each. Fails where Redis and the model disagree.

    Without a seed it is the same each time. `is_long`: a failure is made small, which takes minutes.
    """
    machine = type("Machine", (Machine,), {"socket": socket, "folder": folder, "tally": tally})
    if seed is not None:
        machine = hypothesis.seed(seed)(machine)
    with mock.patch.object(TakenRun, "elapsed_s", elapsed_s):
        _run(machine, runs, steps, seed, is_long)


def _run(machine: type[Machine], runs: int, steps: int, seed: int | None, is_long: bool) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=seed is None,
            phases=[Phase.generate, Phase.shrink] if is_long else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )

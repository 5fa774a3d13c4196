"""The class `Redbike`: one method per command. Its parts do the work, and are built when first needed (parts.py)."""

import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from redbike.bulk import Bulk
from redbike.engine.policy import Policy, is_number
from redbike.engine.retry import Stopped
from redbike.errors import ConfigError, ScheduleError, SignalError
from redbike.logs import plain
from redbike.parts import Parts
from redbike.schedule.plan import Plan
from redbike.settings import LONGEST_S, default
from redbike.worker import Worker

if TYPE_CHECKING:
    from redbike.engine.interruptible import InterruptibleWait
    from redbike.engine.processor import Consumer

SIGNALS = ("HALT", "PAUSE", "RESUME")


class StopEvent(Protocol):
    """An object that stops loops from outside: a threading.Event, or another object with this method.

    It may have a true attribute `ends_waits`, if setting it also ends waits (`Redbike.interruptible_wait`). Then idle
    workers may sleep for more than a second at a time.
    """

    def is_set(self) -> bool:
        """Return True if loops should stop."""


class Redbike(Bulk):
    """The scheduler on one prefix of one Redis.

    Threads may share an object, but only one thread may use `dispatch`, and only one thread `work` or `consumer`.
    Methods raise ServerError if Redis stays out of reach or refuses a command. `dispatch` and `work` wait until Redis
    is back.
    """

    def __init__(
        self,
        worker: Worker,
        prefix: str | None = None,
        redis_config: Mapping[str, object] | None = None,
        timefile: str | Path | None = None,
        log: logging.Logger | None = None,
        stop_event: StopEvent | None = None,
        default_timeout: float = default("default_timeout"),
        *,
        on_timeout: str = default("on_timeout"),
        on_error: str = default("on_error"),
        retries: int = default("retries"),
        history: int = default("history"),
        dead_after: float = default("dead_after"),
        metrics: bool = default("metrics"),
    ) -> None:
        """Check the arguments, without connecting to Redis. Raise ConfigError for an impossible setting.

        `prefix`: the beginning of every key (default `redbike`).
        `redis_config`: the arguments of `redis.Redis`, or `{"embedded": FOLDER}`.
        `timefile`: the file to which `dispatch` writes the time of its progress (default `.redbike.timefile`).
        `log`: a logger (default: the logger `redbike`).
        `stop_event`: when it is set, loops stop within a second.
        `default_timeout`: the seconds after which a run counts as lost.
        `on_timeout` and `on_error`: what happens to a job whose run was lost or raised an exception. With `drop`, it
        does not run any more. With `reschedule`, its schedule decides, as after any run. With `retry`, it runs up to
        `retries` more times, after 1, 2, 4 … seconds, five minutes at most; then its schedule decides.
        `history`: the number of runs that the history holds; 0 for none.
        `dead_after`: without `drop`, the runs of a worker that has been silent for so many seconds are lost at once,
        not at their timeout; 0 for never.
        `metrics`: count runs and their lateness in Redis, by queue.
        """
        if not is_number(default_timeout) or not 0 < default_timeout <= LONGEST_S:
            raise ConfigError(
                f"default_timeout: {default_timeout!r} is not a number of seconds from 0 to {LONGEST_S:.0f}"
            )
        self.worker = worker
        self.prefix = prefix or default("prefix")
        self.timefile = str(timefile or default("timefile"))
        self.log = log or logging.getLogger("redbike")
        self.plain_log = plain(self.log)
        self.stop_event = stop_event
        self.default_timeout = default_timeout
        policy = Policy.of(on_timeout, on_error, retries, history, dead_after, metrics)
        self._parts = Parts(self, redis_config, policy)
        self.schedules_key, self.statuses_key, self.timeline_key, self.control_key = self._parts.keys.common()[:4]

    @property
    def consumer(self) -> "Consumer":
        """The consumer of the worker's queues: an iterator over single turns."""
        return self._parts.consumer

    @property
    def interruptible_wait(self) -> "InterruptibleWait":
        """The wait of idle loops; a signal handler may call its `interrupt`."""
        return self._parts.wait

    def set(
        self,
        jobid: str,
        schedule: str | None,
        after: float | None = None,
        *,
        payload: str | None = None,
        first: float | None = None,
        keep_readable: bool = False,
    ) -> Plan | None:
        """Register a job's schedule in place of its former schedule, and carry out its next action. Return the plan.

        The reference time of a recurrence is `after` (Unix seconds), else the time in the time file, else now.
        Afterwards the job is in its queue (`NOW`, `CONTINUE`), on the timeline (`AT:`, a recurrence) or in neither
        (`STOP`, a recurrence without further runs, or a schedule that cannot be read: status `BAD` and a warning).
        If the job is running, a run that is due now waits until the present run is over. A run that is already queued
        still happens, unless the schedule begins with `PAUSED:`. The plan has the `reason` of a bad schedule, and
        `warnings`; both are logged. `schedule=None` unsets the job and returns None.

        `payload`: the text for the job's runs, up to 1 MiB: None leaves the present payload, "" removes it.
        `first`: the time of the first run (Unix seconds), whatever the schedule says.
        `keep_readable`: raise ScheduleError rather than replace a schedule that can be read by one that cannot.
        Raise JobIdError for a job id that cannot be registered, PayloadError for a payload that is too long, ValueError
        or TypeError if a time is no finite number, or a schedule or payload no text.
        """
        if schedule is None:
            self.unset(jobid)
            return None
        reference = self._parts.references.of(after)
        registered = partial(self.get_schedule, jobid) if keep_readable else None
        plan, placement = self._parts.planner.plan(jobid, schedule, reference, registered, payload, first)
        self._parts.placing.place(placement)
        self._parts.planner.warn(jobid, plan.warnings)
        reference.warn_if_stale(jobid, plan.due_at)
        return plan

    def unset(self, jobid: str) -> None:
        """Forget a job: its schedule, its status, and its places on the timeline and in the queue.

        A present run continues to its end, and changes nothing then.
        """
        self._parts.placing.unset(jobid, self._parts.queue_for_any(jobid))

    def set_payload(self, jobid: str, payload: str) -> None:
        """Change the payload of a registered job, and never its plan. Raise ScheduleError if it has no schedule."""
        if not self._parts.placing.place(self._parts.planner.carry(jobid, payload), only_payload=True):
            raise ScheduleError(
                f"job {jobid!r} has no schedule, so it has no payload: redbike schedules lists the jobs"
            )

    def pause(self, jobid: str, until: float | None = None, note: str | None = None) -> str:
        """Pause a job: put `PAUSED:` before its schedule. Return the schedule as it is registered now.

        It leaves the timeline and its queue; a present run continues to its end. `until`: when it resumes by itself
        (Unix seconds). `note`: why, for people. Raise ScheduleError for a job without a schedule.
        """
        if until is not None and not math.isfinite(until):
            raise ValueError(f"until: {until!r} is not a time in Unix seconds")
        return self._parts.pausing.pause(jobid, self._parts.queue_for_any(jobid), until, note)

    def resume(self, jobid: str) -> Plan | None:
        """Plan a paused job from now, without the runs that it missed. Return its plan; None if it is not paused.

        A job for one run whose time has passed meanwhile is due at once.
        """
        return self._parts.pausing.resume(jobid)

    def hold(self, queue: str | None = None, note: str | None = None) -> bool:
        """Hold a queue, by its name as the worker knows it: workers take nothing from it, but jobs still enter it.

        Without a name, hold all of the prefix: then jobs that become due also stay on the timeline. A hold outlives
        restarts. Return True if it was held before.
        """
        return self._parts.pausing.hold(self._parts.checked_queue(queue), note)

    def release(self, queue: str | None = None) -> bool:
        """Let workers take jobs from a queue again; without a name, from the prefix. Return True if it was held."""
        was_held = self._parts.pausing.release(self._parts.checked_queue(queue))
        self._parts.wake(queue)
        return was_held

    def enqueue(self, jobid: str, payload: str | None = None) -> None:
        """Run a job once, as soon as possible. Its schedule does not change.

        A job that is already in its queue stays there, and runs only once. A registered job that is running runs again
        afterwards. A job without a schedule runs once and is forgotten. If that run fails, it is not retried.
        `payload`: for the next run only, in place of the payload of the job. Raise ScheduleError for a paused job.
        """
        if not self._parts.placing.place(self._parts.planner.run_now(jobid, payload)):
            raise ScheduleError(f"job {jobid!r} is paused, so it does not run: resume it first")

    def reset(self, jobid: str) -> bool:
        """Reschedule a lost job as if a run had just ended. Return True if it was lost."""
        return self._parts.reset(jobid)

    def dispatch(self, after: float | None = None, csvfilename: str | Path | None = None) -> None:
        """Load the CSV, then move due jobs from the timeline into their queues until halted.

        The first pass uses the time `after` (Unix seconds), else the time in the time file, else the server's time, but
        never a time that the server's clock has not reached. Later passes use the server's time. Each pass writes the
        time file. Raise TimeFileError if that is impossible, ScheduleFileError for a bad CSV, and ServerError if Redis
        is away at the start. If Redis is away later, wait until it is back.
        """
        self._parts.timefile.check_writable()
        if not self.reach():
            return
        first_now = self._parts.references.first_pass(after)
        if csvfilename is not None:
            self.load_csv(csvfilename, after)
        self._parts.make_dispatcher().run(first_now)

    def work(self) -> None:
        """Take jobs from the worker's queues and do them, one after the other, until halted.

        The first turn looks at one place of the worker's order and ignores a halt. So under `HALT`, a call is exactly
        one turn. The worker's `queue_names()` and `timeout()` are called at the start. Raise WorkerError if their
        results cannot be used, and ServerError if Redis is away at the start. If Redis is away later, wait until it is
        back.
        """
        if self.reach():
            self._parts.warn_of_no_name()
            self.consumer.work()

    def reach(self) -> bool:
        """Reach the server before a loop starts, and wait while it loads its data. Return False if asked to stop.

        Raise ServerError if the server is away, or lacks a command that loops need.
        """
        try:
            return self.interruptible_wait.take(self._parts.reach) is True
        except Stopped:
            return False

    def control(self, signal: str) -> None:
        """Send a signal to all loops of the prefix.

        `HALT`, in small or capital letters, stops them within a second, a worker after its current job. If the signal
        is cleared before a loop has seen it, that loop continues. `PAUSE` and `RESUME` are `hold()` and `release()`.
        """
        name = signal.upper()
        if name not in SIGNALS:
            raise SignalError(f"signal {signal!r} is not known: the known signals are {', '.join(SIGNALS)}")
        if name == "PAUSE":
            self.hold()
        elif name == "RESUME":
            self.release()
        else:
            self._parts.ask(self._parts.store.signal, name)

    def clear_control(self) -> None:
        """Remove the signal, so that loops can start again. Raise ServerError if another program uses the key."""
        self._parts.check_keys(again=True)
        self._parts.ask(self.redis.delete, self.control_key)

    def flush(self) -> int:
        """Delete the keys of this prefix, and no others. Return how many were deleted.

        The keys are found from the jobs, and from the queues of the worker. Two kinds are not found: a queue of another
        worker without a known job, and the run tag of a job that was unset during its run, until its timeout.
        """
        return self._parts.ask(self._parts.query.flush, self.worker.queue_names(), self.queue_for)

    def close(self) -> None:
        """Close the connections to Redis, and leave the embedded server. The object may still be used afterwards.

        `dispatch` in another thread ends. `work` in another thread ends after its current job.
        """
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

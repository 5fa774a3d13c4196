"""Redbike itself: one method a verb. Every change of a job's state is one call of a script; listing reads in pages.

Loops and waiting live in dispatcher and consumer; what a schedule means, in schedule.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, Self

from redbike.calling import check_plain, warn_of_no_name
from redbike.connection import Link, check_commands, check_server, check_writable, is_loading
from redbike.consumer import LONGEST_TIMEOUT_S, Consumer
from redbike.dispatcher import Dispatcher
from redbike.ending import Endings, OnFailure, Policy, is_number
from redbike.errors import ConfigError, JobIdError, ScheduleFileError, ServerError, SignalError, WorkerError
from redbike.guard import Guard
from redbike.keys import Keys
from redbike.loop import Loop
from redbike.nonces import Nonces
from redbike.patience import Attempt, Patience, Stopped, T, repeats_within_s
from redbike.plainlog import plain
from redbike.recovery import Recovery
from redbike.registrar import Registrar
from redbike.registry import Registry, Told
from redbike.schedule import Plan, read
from redbike.schedulefile import opened
from redbike.scripts import Scripts
from redbike.steps import Placement, encode
from redbike.timefile import TimeFile
from redbike.trouble import Troubles
from redbike.uncopied import Uncopied
from redbike.waiting import LONGEST_SLEEP_S, LONGEST_WAIT_S, Bells, Nap, WakeCalls, longest_wait_s
from redbike.watch import IdleWorkers, Watch
from redbike.worker import Worker

DEFAULT_PREFIX = "redbike"
DEFAULT_TIMEFILE = ".redbike.timefile"
DEFAULT_TIMEOUT_S = 10
SIGNALS = ("HALT",)
_TIMES_AGREE_S = 5.0  # a dispatcher writes the time file every second or so


class StopEvent(Protocol):
    """What stops loops from outside: a threading.Event, or anything that can be asked like one.

    One that also ends naps when it is set (`Redbike.nap`) says so with a true attribute `ends_naps`: then idle workers
    may sleep for longer than a second at a time.
    """

    def is_set(self) -> bool: ...


class Redbike(Uncopied):
    """The scheduler on one prefix of one Redis.

    Threads may share an object for everything but `dispatch`, `work` and `consumer`, which are for one thread each.
    Methods raise ServerError where Redis stays out of reach or refuses; `dispatch` and `work` outlive its absence.
    """

    def __init__(
        self,
        worker: Worker,
        prefix: str | None = None,
        redis_config: Mapping[str, object] | None = None,
        timefile: str | Path | None = None,
        log: logging.Logger | None = None,
        stop_event: StopEvent | None = None,
        default_timeout: float = DEFAULT_TIMEOUT_S,
        *,
        on_timeout: str = "drop",
        on_error: str = "drop",
        retries: int = 3,
    ) -> None:
        """Connects to nothing yet.

        `prefix` begins every key (default `redbike`); `redis_config` are the arguments of `redis.Redis`, or
        `{"embedded": FOLDER}`; `timefile` is where `dispatch` notes how far it has come (default `.redbike.timefile`);
        `log` is a logger (default the one called `redbike`); once `stop_event` is set, loops stop within a second;
        `default_timeout` is how many seconds a run may take before it counts as lost. `on_timeout` and `on_error` say
        what becomes of a job whose run was lost or raised: `drop`, `reschedule` (its schedule decides, as after any
        run) or `retry` (up to `retries` more times, 1, 2, 4 … seconds apart, at most five minutes; then its schedule
        decides). Raises ConfigError for a setting that makes no sense.
        """
        self.worker = worker
        self.prefix = prefix or DEFAULT_PREFIX
        self.timefile = str(timefile or DEFAULT_TIMEFILE)
        self.log = log or logging.getLogger("redbike")
        self._log = plain(self.log)
        self.stop_event = stop_event
        self.default_timeout = default_timeout
        if not is_number(default_timeout) or not 0 < default_timeout <= LONGEST_TIMEOUT_S:
            raise ConfigError(
                f"default_timeout: {default_timeout!r} is not a number of seconds from 0 to {LONGEST_TIMEOUT_S:.0f}"
            )
        self.nap = Nap()

        self._keys = Keys(self.prefix)
        self.schedules_key = self._keys.schedules
        self.statuses_key = self._keys.statuses
        self.timeline_key = self._keys.timeline
        self.control_key = self._keys.control

        self._link = Link(redis_config)
        self.redis = self._link.client
        self._policy = Policy.of(on_timeout, on_error, retries)
        self._watches = self._policy.on_timeout is not OnFailure.DROP
        self._guard = Guard(self._keys, worker, self.queue_for)
        self._endings = Endings(self._guard.queue_key_for, self._policy, self._log)
        self._scripts = self._make_scripts()
        self._timefile = TimeFile(self.timefile, self._log)
        self._patience = Patience(
            self._link.where, self._log, self.nap, self._link.forget_idle, is_closed=lambda: self._is_closed
        )
        self._troubles = Troubles(self._log)
        self._registrar = Registrar(self._scripts, Nonces(), self._keys, worker, self.queue_for, self._log)
        self._registry = Registry(self.redis, self._keys, self._troubles)
        self._server_checked = self._keys_checked = self._is_closed = self._has_warned_of_time = False
        may_sleep = stop_event is None or getattr(stop_event, "ends_naps", False)
        timeout_s = self._link.socket_timeout_s
        self._loop = Loop(
            stop=lambda: self._is_closed or self._told_to_stop(),
            nap=self.nap,
            patience=self._patience,
            troubles=self._troubles,
            longest_wait_s=longest_wait_s(timeout_s),
            longest_sleep_s=longest_wait_s(timeout_s, LONGEST_SLEEP_S if may_sleep else LONGEST_WAIT_S),
            log=self._log,
        )
        self.consumer = Consumer(
            scripts=self._make_scripts(),
            keys=self._keys,
            worker=worker,
            default_timeout_s=lambda: self.default_timeout,
            endings=self._endings,
            bells=Bells(self.redis, self._troubles),
            idle=IdleWorkers(self.redis, self._keys),
            loop=self._loop,
        )

    def set(self, jobid: str, schedule: str | None, after: float | None = None) -> Plan | None:
        """Register a job's schedule, in place of the one it had, and carry out what comes next.

        The reference time of a recurrence is `after` (Unix seconds), else the time in the time file, else now.
        Afterwards the job is in its queue (`NOW`, `CONTINUE`), on the timeline (`AT:`, a recurrence) or in neither
        (`STOP`, a recurrence without further runs, or a schedule that cannot be read: status `BAD` and a warning).
        A job that is running is not started a second time: one that is due now runs when that run is over.
        A run that is already in the queue still happens, whatever the new schedule is.
        Returns the plan, whose `reason` says what is wrong with a bad schedule; None where `schedule` is None,
        which unsets the job. Raises JobIdError for a job id that cannot be registered, ValueError or TypeError for an
        `after` that is no finite number and a schedule that is no text.
        """
        if schedule is None:
            self.unset(jobid)
            return None
        noted: float | None = None

        def reference() -> float:
            nonlocal noted
            time_s, noted = self._reference(after)
            return time_s

        plan, placement = self._registrar.planned(jobid, schedule, reference)
        self._registrar.place(placement, self._briefly)
        if noted is not None and plan.due_at is not None:
            self._tell_of_stale_time(jobid, noted, plan.due_at)
        return plan

    def unset(self, jobid: str) -> None:
        """Forget a job: its schedule, its status, and its places on the timeline and in the queue.

        A run that is running continues to its end, and leaves nothing.
        """
        self._registrar.unset(jobid, self._queue_for_any(jobid), self._briefly)

    def enqueue(self, jobid: str) -> None:
        """Run a job once, as soon as possible. Its schedule does not change.

        A job that is already in its queue stays there once. A job that is running runs again after that run, if it has
        a schedule. A job without a schedule runs once and is forgotten, and is not retried.
        """
        self._registrar.place(self._registrar.by_hand(jobid), self._briefly)

    def tell(self, jobid: str) -> Told:
        """Return what is known of a job: None and False for an unknown job. `next_run` is in Unix seconds."""
        queue_key = self._queue_for_any(jobid)
        return self._briefly(lambda _: self._registry.tell(jobid, queue_key))

    def get_statuses(self, before: float | None = None) -> Iterator[tuple[str, str, int]]:
        """Job id, event code and Unix time of each status not younger than `before` (default: now), in no order.

        Read in pages: a job whose status changes meanwhile may be given as it was before or after.
        """
        latest = self.now() if before is None else before
        return (status for status in self._registry.statuses(self._briefly) if status[2] <= latest)

    def get_schedules(self) -> Iterator[tuple[str, str]]:
        """Job id and schedule text of each registered job, in no order, read in pages."""
        return self._registry.schedules(self._briefly)

    def get_lost(self, before: float | None = None) -> Iterator[tuple[str, str, int]]:
        """Find jobs that should run again, but are neither queued nor on the timeline nor running.

        Their run died with its worker, exceeded its timeout or raised an exception, and `on_timeout` or `on_error` was
        `drop`; or Redis lost data. A job that had only one run (`NOW`, `AT:`) is not among them. Yields job id, last
        event and its Unix time, up to `before` (default: now).
        """
        now = self.now()
        lost = self._registry.lost(self._briefly, self._scripts, self.queue_for, now)
        return (status for status in lost if status[2] <= (now if before is None else before))

    def reset(self, jobid: str) -> bool:
        """Reschedule a lost job, as if a run had just ended. Return True if it was lost."""
        schedule = self.tell(jobid)["schedule"]
        if schedule is None:
            return False
        plan = read(schedule).again(self.now())
        if not plan.leads_on:
            return False
        placement = Placement(jobid, self.queue_for(jobid), schedule, plan.step, plan.due_at)
        return self._briefly(lambda _: self._scripts.place(placement, only_lost=True))

    def is_working(self, jobid: str) -> bool:
        """Return whether a run of this job is running and has not exceeded its timeout."""
        tag = encode(self._keys.tag(self.queue_for(jobid), jobid))
        return self._briefly(lambda _: bool(self.redis.exists(tag)))

    def load_csv(self, csvfilename: str | Path, after: float | None = None) -> None:
        """Set every `JOBID,SCHEDULE` row of a file, with one reference time for all.

        A row whose schedule cannot be read becomes `BAD` and the rest goes on. A file with a malformed row is refused
        whole: ScheduleFileError names the line, and nothing of it is set.
        """
        reference, _ = self._reference(after)
        with opened(csvfilename) as file:
            for row in file.rows():
                try:
                    self._registrar.check(row.jobid)
                except JobIdError as error:
                    raise ScheduleFileError(
                        f"{csvfilename}:{row.line}: {error}; nothing of the file was set"
                    ) from error
            # Read once more, piece by piece: plans of a million rows would take half a gigabyte.
            rows = file.rows()
            placements = (self._registrar.planned(row.jobid, row.schedule, lambda: reference)[1] for row in rows)
            self._registrar.place_all(placements, self._briefly)

    def dispatch(self, after: float | None = None, csvfilename: str | Path | None = None) -> None:
        """Load the CSV, then move due jobs from the timeline into their queues until halted.

        The first pass goes by `after` (Unix seconds), else by the time file, else by the server's time, and never by a
        time that the server's clock has not reached; every later pass goes by the server's time. The time file is
        replaced as time goes on. Raises TimeFileError where that cannot be, ScheduleFileError for a bad CSV, and
        ServerError where Redis is not there at the start; after that, its absence is waited out.
        """
        self._timefile.check_writable()
        if not self.reach():
            return
        first_now = self._noted_time() if after is None else min(_timestamp("after", after), self.now())
        if csvfilename is not None:
            self.load_csv(csvfilename, after)
        self._make_dispatcher().run(first_now)

    def _make_dispatcher(self) -> Dispatcher:
        scripts, wake_calls = self._make_scripts(), WakeCalls(self.redis, self._keys.wake, self._troubles)
        self._link.keep(wake_calls)
        return Dispatcher(
            scripts=scripts,
            queue_key_for=self._guard.queue_key_for,
            wake_calls=wake_calls,
            timefile=self._timefile,
            recovery=Recovery(scripts, self._endings, self._troubles, self._log) if self._watches else None,
            watch=Watch(scripts, self.redis, self._keys, self.queue_names()),
            loop=self._loop,
        )

    def work(self) -> None:
        """Take jobs from the worker's queues and do them, one after the other, until halted.

        The first turn looks at one place of the worker's order and heeds no halt, so that under `HALT` a call is
        exactly one turn. The worker's `queue_names()` and `timeout()` are asked as it starts. Raises WorkerError where
        these make no sense, and ServerError where Redis is not there at the start; after that, its absence is waited
        out.
        """
        if self.reach():
            warn_of_no_name(self.worker, self._log)
            self.consumer.work()

    def reach(self) -> bool:
        """Reach the server before a loop is started, and wait while it loads its data.

        False where this process is told to stop meanwhile. Raises ServerError where the server is not there, or lacks
        what loops need.
        """

        def reach() -> bool:
            self._reach()
            return True

        try:
            return self.nap.take(reach) is True
        except Stopped:
            return False

    def control(self, signal: str) -> None:
        """Give a signal to all loops of the prefix.

        `HALT`, in small or capital letters, stops them within a second, workers after the current job. A loop that has
        not seen the signal before somebody clears it continues.
        """
        name = signal.upper()
        if name not in SIGNALS:
            raise SignalError(f"signal {signal!r} is not known: the known signals are {', '.join(SIGNALS)}")
        self._briefly(lambda _: self._scripts.signal(name))

    def clear_control(self) -> None:
        """Clear the signal, so that loops can be started again. Raise ServerError if another program uses a key."""
        self._keys_checked = False
        self._check_keys()
        self._briefly(lambda _: self.redis.delete(self.control_key))

    def is_halted(self) -> bool:
        """Whether loops on this object should stop: the stop event is set, or the prefix is halted."""
        return self._told_to_stop() or self._briefly(lambda _: self.redis.get(self.control_key)) == b"HALT"

    def point_in_time(self) -> float:
        """Return the Unix time in the time file, or the time of this machine if there is no such file."""
        noted = self._timefile.read()
        return time.time() if noted is None else noted

    def now(self) -> float:
        """The server's time, Unix seconds."""
        return self._briefly(lambda _: self._scripts.now())

    def queue_for(self, jobid: str) -> str:
        """The key of the queue that the worker names for this job."""
        name = self.worker.queue_for(jobid)
        fault = self._keys.queue_fault(name)
        if fault is not None:
            raise WorkerError(f"worker {type(self.worker).__name__}: queue_for({jobid!r}): {fault}")
        return self._keys.queue(name)

    def queue_names(self) -> list[str]:
        """The keys of the worker's queues in the order in which they are served, repetitions included."""
        return [self._keys.queue(name) for name in self.worker.queue_names()]

    def flush(self) -> int:
        """Delete the keys of this prefix, and no others. Return how many were deleted.

        They are found from the jobs, and from the queues of the worker. Not found are a queue that is not the worker's
        and has no known job, and the run tag of a job that was unset during its run, which goes at its timeout.
        """
        return self._briefly(lambda _: self._registry.flush(self.worker.queue_names(), self.queue_for))

    def close(self) -> None:
        """Close the connections to Redis, and leave the embedded server. The object may still be used afterwards.

        `work` and `dispatch` in other threads end, after the current job.
        """
        self._is_closed = True
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _queue_for_any(self, jobid: str) -> str:
        """The key of a job's queue, also for what others wrote and no queue can be told for: then one that is empty."""
        try:
            return self.queue_for(jobid)
        except WorkerError:
            return self._keys.queue("?")

    def _reference(self, after: float | None) -> tuple[float, float | None]:
        """The reference time, and the time in the time file where it is that one."""
        if after is not None:
            return _timestamp("after", after), None
        noted = self._noted_time()
        return self.now() if noted is None else noted, noted

    def _noted_time(self) -> float | None:
        """The time in the time file; never one that the server's clock has not reached."""
        noted = self._timefile.read()
        if noted is None:
            return None
        now = self.now()
        if noted - now > _TIMES_AGREE_S and not self._has_warned_of_time:
            self._has_warned_of_time = True
            self._log.warning(
                "time file %s: %d is %.0f s ahead of the server's clock: the server's time is taken in its place",
                self.timefile,
                noted,
                noted - now,
            )
        return min(noted, now)

    def _tell_of_stale_time(self, jobid: str, noted: float, due_at: float) -> None:
        """Say so where a time file that nobody has written for a while makes a run due at once."""
        now = self.now()
        if due_at <= now and now - noted > _TIMES_AGREE_S:
            self._log.warning(
                "job %r is due at once: its schedule counts from the time file %s, which is %.0f s old; to count from"
                " now, set it with --after=now, or remove the file",
                jobid,
                self.timefile,
                now - noted,
            )

    def _make_scripts(self) -> Scripts:
        """Each loop has its own, and with it a connection of its own."""
        return Scripts(
            self.redis,
            self._keys,
            self._link.wires(),
            self._watches,
            memo_s=repeats_within_s(self._link.socket_timeout_s),
            is_cluster=self._link.is_cluster,
        )

    def _told_to_stop(self) -> bool:
        return self.stop_event is not None and self.stop_event.is_set()

    def _briefly(self, attempt: Attempt[T], stop: Callable[[], bool] = lambda: False) -> T:
        if not self._server_checked:
            self._patience.try_briefly(lambda _: check_server(self._link, self.prefix, self._log), stop)
            self._server_checked = True
        return self._patience.try_briefly(attempt, stop)

    def _reach(self) -> None:
        """Reach the server, or say why not: who starts a loop should not have to find out from a log that it waits."""
        check_plain(self.worker)
        self._is_closed = self._server_checked = has_said_so = False
        while True:
            try:
                self._briefly(lambda _: check_writable(self._link), self._told_to_stop)
                self._briefly(lambda _: check_commands(self._link, self.control_key), self._told_to_stop)
                self._check_keys()
            except ServerError as error:
                if not is_loading(error.__cause__):
                    raise
                if not has_said_so:
                    self._log.warning("%s; waiting until it is done", error)
                    has_said_so = True
            else:
                return

    def _check_keys(self) -> None:
        """Refuse a prefix of which another program uses keys, but once for a command that asks twice."""
        if not self._keys_checked:
            self._briefly(lambda _: self._registry.check_types())
        self._keys_checked = not self._keys_checked


def _timestamp(name: str, value: float) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{name}: {value!r} is not a time in Unix seconds")
    return value

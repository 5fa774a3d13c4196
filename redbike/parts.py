"""The parts of a `Redbike`: each is built when a command first needs it, so that a short command builds few."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from redbike.engine.interruptible import InterruptibleWait
from redbike.engine.placing import Placing
from redbike.engine.planning import Planner
from redbike.engine.reference import ReferenceTimes
from redbike.engine.retry import Attempt, RetryPolicy, never, repeats_within_s
from redbike.errors import ServerError, WorkerError
from redbike.logs import RateLimitedLog
from redbike.server.checks import check_commands, check_server, check_writable, is_loading
from redbike.server.client import Client
from redbike.store.jobid import Collisions, Guard
from redbike.store.keys import Keys
from redbike.store.query import Query
from redbike.store.requests import RequestIds
from redbike.store.store import Store
from redbike.timefile import TimeFile

if TYPE_CHECKING:
    from redbike.bike import Redbike
    from redbike.engine.dispatcher import Dispatcher
    from redbike.engine.outcome import RunEnds
    from redbike.engine.pausing import Pausing
    from redbike.engine.policy import Policy
    from redbike.engine.processor import Consumer
    from redbike.engine.runtime import Runtime

_MOST_QUEUES_NAMED = 10

P = ParamSpec("P")
T = TypeVar("T")


class part(Generic[T]):
    """A method of `Parts` that is called once, when its result is first read as an attribute.

    Takes no lock, unlike functools.cached_property in Python 3.11: a child that is forked while another thread holds a
    lock would wait for good. Threads that come at the same time all get the result that was kept first.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, parts: Any, _owner: object) -> T:
        if parts is None:
            raise AttributeError(f"{self._name} is an attribute of objects")
        result: T = parts.__dict__.setdefault(self._name, self._make(parts))
        return result


class Parts:
    """The parts of one `Redbike`, and how it calls Redis."""

    def __init__(self, bike: "Redbike", redis_config: Mapping[str, object] | None, policy: "Policy") -> None:
        self._bike = bike
        self._policy = policy
        self._server_checked = self._keys_checked = False
        self.is_closed = False
        self.log: logging.Logger = bike.plain_log
        self.wait = InterruptibleWait()
        self.keys = Keys(bike.prefix)
        self.client = Client(redis_config)
        self.limited_log = RateLimitedLog(self.log)
        self.timefile = TimeFile(bike.timefile, self.log)
        self.retry = RetryPolicy(
            self.client.where, self.log, self.wait, self.client.forget_idle, is_closed=lambda: self.is_closed
        )

    def call(self, attempt: Attempt[T], stop: Callable[[], bool] = never) -> T:
        """Call Redis for a single command. Raise ServerError when Redis stays out of reach or refuses."""
        self.check_server(stop)
        return self.retry.retry(attempt, stop)

    def check_server(self, stop: Callable[[], bool] = never) -> None:
        """Check once that Redbike can use the server. Raise ServerError if it cannot."""
        if not self._server_checked:
            self.retry.retry(partial(check_server, self.client, self._bike.prefix, self.log), stop)
            self._server_checked = True

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call Redis through this function, with the retries of `call`."""
        return self.call(lambda _: function(*args, **kwargs))

    @part
    def store(self) -> Store:
        """The store that commands use. Each loop has a separate store."""
        return self.make_store()

    @part
    def collisions(self) -> Collisions:
        """The object that finds keys that two uses would share."""
        return Collisions(self.keys)

    @part
    def planner(self) -> Planner:
        """The object that checks and plans a `set`."""
        return Planner(self.collisions, self._bike.worker, self._bike.queue_for, self.log)

    @part
    def placing(self) -> Placing:
        """The object that places jobs in Redis."""
        return Placing(self.store, RequestIds(), self.check_server, self.retry)

    @part
    def pausing(self) -> "Pausing":
        """The object that pauses jobs and holds queues."""
        from redbike.engine.pausing import Pausing

        return Pausing(self.placing, self.planner, self._bike.get_schedule, self._bike.now)

    def checked_queue(self, name: str | None) -> str:
        """Return the name of a queue; "" for None, which means all of the prefix. Raise WorkerError for another."""
        fault = None if name is None else self.keys.queue_fault(name)
        if fault is not None:
            raise WorkerError(fault)
        return name or ""

    def wake(self, queue: str | None) -> None:
        """Wake the workers of a queue, or of all queues of the worker, if jobs are in it."""
        names = self._bike.worker.queue_names() if queue is None else [queue]
        self.ask(self.store.wake, [self.keys.queue(name) for name in names])

    @part
    def query(self) -> Query:
        """The object that lists jobs."""
        return Query(self.client.redis, self.keys, self.limited_log)

    @part
    def references(self) -> ReferenceTimes:
        """The reference times of schedules."""
        return ReferenceTimes(self.timefile, self._bike.now, self.log)

    def queue_for_any(self, jobid: str) -> str:
        """Return the key of a job's queue; of a queue that is always empty if queue_for() refuses the id or fails."""
        try:
            return self._bike.queue_for(jobid)
        except WorkerError:
            pass
        except Exception as error:
            self.limited_log.report(f"job {jobid!r}: queue_for() failed", str(error))
        return self.keys.queue("?")

    @part
    def guard(self) -> Guard:
        """The object that keeps jobs out of the queues that their ids would break."""
        return Guard(self.keys, self.collisions, self._bike.worker, self._bike.queue_for)

    @part
    def run_ends(self) -> "RunEnds":
        """The object that decides the next action after a run."""
        from redbike.engine.outcome import RunEnds

        return RunEnds(self.guard.queue_key_for, self._policy, self.log)

    @part
    def runtime(self) -> "Runtime":
        """The services that a loop needs from its process."""
        from redbike.loops import make_runtime

        return make_runtime(self, self._bike)

    @part
    def consumer(self) -> "Consumer":
        """The consumer of the worker's queues."""
        from redbike.loops import make_consumer

        return make_consumer(self, self._bike)

    def make_dispatcher(self) -> "Dispatcher":
        """Make a dispatcher."""
        from redbike.loops import make_dispatcher

        return make_dispatcher(self, self._bike, self._policy)

    def make_store(self, wants_runs: bool = False) -> Store:
        """Make a store. Each loop has its own store, and so its own connection."""
        return Store(
            self.keys,
            self.client.script_connection(),
            self._policy.keeps_an_index,
            memo_s=repeats_within_s(self.client.socket_timeout_s),
            is_cluster=self.client.is_cluster,
            records=self._policy.history,
            process=f"{os.uname().nodename}:{os.getpid()}",
            wants_runs=wants_runs,
            metrics=self._policy.metrics,
        )

    def is_asked_to_stop(self) -> bool:
        """Return True if the stop event is set."""
        stop_event = self._bike.stop_event
        return stop_event is not None and stop_event.is_set()

    def close(self) -> None:
        """Close the connections. Loops in other threads end."""
        self.is_closed = True
        self.client.close()

    def lost(self, before: float | None) -> Iterator[tuple[str, str, int]]:
        """Return the lost jobs with an event up to `before`."""
        now = self._bike.now()
        found = self.query.lost(self.call, self.store, self._bike.queue_for, now)
        return (status for status in found if status[2] <= (now if before is None else before))

    def reset(self, jobid: str) -> bool:
        """Reschedule a lost job. Return True if it was lost."""
        schedule = self._bike.get_schedule(jobid)
        placement = schedule and self.planner.again(jobid, schedule, self._bike.now())
        return bool(placement and self.ask(self.store.place, [placement], only_lost=True))

    def describe(self) -> str:
        """Return server, prefix, worker, queues and the settings for runs, in one line."""
        bike, policy = self._bike, self._policy
        names = list(dict.fromkeys(map(str, bike.worker.queue_names())))
        queues = ", ".join(names[:_MOST_QUEUES_NAMED]) + (", …" if len(names) > _MOST_QUEUES_NAMED else "")
        return (
            f"Redis at {self.client.where}, prefix {bike.prefix}, worker {type(bike.worker).__name__}, queues {queues};"
            f" default-timeout {bike.default_timeout:g} s, on-timeout {policy.on_timeout}, on-error {policy.on_error}"
        )

    def warn_of_no_name(self) -> None:
        """Log a warning for an initstring that names an empty queue."""
        from redbike.engine.calling import warn_of_no_name

        warn_of_no_name(self._bike.worker, self.log)

    def reach(self) -> bool:
        """Reach the server before a loop starts, and wait while it loads its data. Return True when it is reached.

        So a user who starts a loop sees an error at once. Otherwise the loop would wait, and only the log would show
        why.
        """
        from redbike.engine.calling import check_plain

        check_plain(self._bike.worker)
        self.is_closed = self._server_checked = has_logged = False
        stop = self.is_asked_to_stop
        while True:
            try:
                self.call(lambda _: check_writable(self.client), stop)
                self.call(lambda _: check_commands(self.client, self.keys.control), stop)
                self.check_keys()
            except ServerError as error:
                if not is_loading(error.__cause__):
                    raise
                if not has_logged:
                    self.log.warning("%s; waiting until it is done", error)
                    has_logged = True
            else:
                return True

    def check_keys(self, again: bool = False) -> None:
        """Raise ServerError if another program uses keys of the prefix. Check only once per command, unless `again`."""
        if again or not self._keys_checked:
            self.ask(self.query.check_types)
        self._keys_checked = again or not self._keys_checked

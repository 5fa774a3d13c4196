"""Read the figures of a fleet for metrics: some at each scrape, and those that need a look at every job in a thread.

A scrape costs a few round trips, whatever the number of jobs. A look at every job takes at most 5 % of the time.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from redbike.errors import RedbikeError
from redbike.looking import metrics
from redbike.looking.overview import Overview, look
from redbike.looking.rows import Rows, State
from redbike.looking.settled import settled
from redbike.looking.troubles import Jobs
from redbike.store.counts import Counts

if TYPE_CHECKING:
    from redbike.bike import Redbike

WAIT_S = 4.0
"""How long a scrape waits for Redis. Prometheus gives up after ten seconds."""
_KINDS = ("dispatcher", "worker")
_SHARE = 20  # a look at all jobs may take a twentieth of the time
_SHORTEST_S = 5.0  # between two such looks


class Latest:
    """The figures of a fleet. Scrapes that come at the same time share one look, and wait for a limited time."""

    def __init__(self, bike: "Redbike", wait_s: float = WAIT_S) -> None:
        self._bike = bike
        self._wait_s = wait_s
        self._labels = metrics.Labels()
        self._version = version("redbike")
        self._changed = threading.Condition()
        self._is_reading = False
        self._begun = self._done = 0
        self._result: metrics.Figures | Exception | None = None
        self._jobs: tuple[metrics.Jobs, float, frozenset[str]] | None = None

    def answer(self, accept: str = "") -> tuple[str, bytes]:
        """Return content type and text of the metrics, for this header Accept; few metrics if Redis does not answer."""
        began, figures = time.monotonic(), None
        try:
            figures = self._figures()
        except RedbikeError as error:
            self._bike._parts.limited_log.report("metrics", str(error))
        took_s = time.monotonic() - began
        found = [] if figures is None else list(metrics.families(figures, self._labels))
        found += metrics.of_the_exporter(self._version, self._bike.prefix, figures is not None, took_s)
        return metrics.written(found, accept)

    def print_out(self) -> str:
        """Return the text of all metrics, after a look at every job. Raise ServerError if Redis does not answer."""
        began = time.monotonic()
        self._count_jobs()
        figures = self._read()
        found = [*metrics.families(figures, self._labels)]
        found += metrics.of_the_exporter(self._version, self._bike.prefix, True, time.monotonic() - began)
        return metrics.written(found)[1].decode()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """In this block, a thread looks at every job from time to time."""
        ends = threading.Event()

        def count() -> None:
            while True:
                began = time.monotonic()
                try:
                    self._count_jobs()
                except RedbikeError as error:
                    self._bike._parts.limited_log.report("metrics", str(error))
                except Exception:
                    if ends.is_set():
                        return  # the connection was closed
                    self._bike.log.exception("the jobs cannot be counted for the metrics")
                if ends.wait(max(_SHORTEST_S, _SHARE * (time.monotonic() - began))):
                    return

        # A daemon: a process that has to end does not wait for a Redis that hangs.
        threading.Thread(target=count, name="jobs of redbike", daemon=True).start()
        try:
            yield
        finally:
            ends.set()

    def _figures(self) -> metrics.Figures:
        """Return the figures of a look that ends after this call. Raise RedbikeError if it takes too long."""
        with self._changed:
            if not self._is_reading:
                self._start()
            wanted = self._begun
            if not self._changed.wait_for(lambda: self._done >= wanted, self._wait_s):
                raise RedbikeError(f"Redis has not answered for {self._wait_s:g} s")
            if isinstance(self._result, Exception):
                raise self._result
            assert self._result is not None
            return self._result

    def _start(self) -> None:
        # A thread per look, because the caller leaves it behind if Redis hangs.
        self._is_reading = True
        self._begun += 1
        threading.Thread(target=self._fetch, args=(self._begun,), name="metrics of redbike", daemon=True).start()

    def _fetch(self, number: int) -> None:
        result: metrics.Figures | Exception
        try:
            result = self._read()
        except Exception as error:
            result = error
        with self._changed:
            self._result, self._done, self._is_reading = result, number, False
            self._changed.notify_all()

    def _read(self) -> metrics.Figures:
        parts = self._bike._parts
        counts = parts.ask(Counts.read, self._bike.redis, parts.keys)
        jobs, looked_at, queues = self._jobs or (None, 0.0, frozenset())
        # A queue without workers is known by its jobs, or by former runs.
        overview = look(self._bike, [*sorted(queues), *sorted(counts.started.keys() - queues)])
        if jobs is not None:
            jobs = jobs._replace(age_s=time.monotonic() - looked_at)
        return figures(overview, counts, jobs)

    def _count_jobs(self) -> None:
        found = Jobs.of(settled(self._bike, Rows(self._bike).all()))
        by_status = {state.value: found.states[state] for state in State}
        jobs = metrics.Jobs(by_status, found.failing, found.lost, found.states[State.PAUSED], 0.0)
        self._jobs = jobs, time.monotonic(), frozenset(found.queued)


def figures(overview: Overview, counts: Counts, jobs: metrics.Jobs | None) -> metrics.Figures:
    """Return the figures of one look."""
    # Another program may write anything as the kind of a process, and a label must not take any value.
    kinds = Counter(p.kind if p.kind in _KINDS else "other" for p in overview.processes if not p.is_silent)
    return metrics.Figures(
        counts=counts,
        queues=[
            metrics.Queue(
                queue.name,
                queue.jobs,
                0.0 if queue.oldest_since is None else overview.now - queue.oldest_since,
                queue.hold is not None,
                queue.workers,
            )
            for queue in overview.queues
        ],
        processes=kinds,
        running=overview.running_count,
        planned=overview.timeline,
        overdue=overview.overdue,
        overdue_s=0.0 if overview.overdue_since is None else overview.now - overview.overdue_since,
        is_halted=overview.is_halted,
        is_paused=overview.hold is not None,
        jobs=jobs,
    )

"""Turn figures of the fleet into metrics, with names and units as OpenMetrics wants them. This module reads nothing.

Job ids are never labels. A label has at most as many values as there are queues, and at most 1,001: the figures of
further queues are summed up under one name.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import CollectorRegistry

from redbike.logs import printable
from redbike.store.counts import LIMITS_S, Counts

MOST_QUEUES = 1000
OTHER = "…other"
"""The label of all queues beyond the first thousand."""

_OUTCOMES = frozenset({"done", "failed", "stopped", "unset", "later", "bad", "lost", "late"})
_LONGEST_NAME = 200  # characters
_LIMITS = ["+Inf" if math.isinf(limit) else str(limit) for limit in LIMITS_S]
CLASSIC_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Queue:
    """The figures of one queue."""

    name: str
    jobs: int
    oldest_s: float = 0.0
    """How long the oldest job has waited."""
    is_paused: bool = False
    workers: int = 0


class Jobs(NamedTuple):
    """Figures that need a look at every job. `age_s`: how long ago that was."""

    by_status: Mapping[str, int]
    failing: int
    lost: int
    paused: int
    age_s: float


@dataclass(frozen=True)
class Figures:
    """The figures of a fleet at one moment."""

    counts: Counts = field(default_factory=Counts)
    queues: Iterable[Queue] = ()
    processes: Mapping[str, int] = field(default_factory=dict)
    """The number of living processes of each kind."""
    running: int = 0
    planned: int = 0
    """Jobs on the timeline."""
    overdue: int = 0
    overdue_s: float = 0.0
    """How long the job that is overdue for the longest time has been due."""
    is_halted: bool = False
    is_paused: bool = False
    jobs: Jobs | None = None
    """None until the jobs have been looked at."""


class Labels:
    """The values of the label `queue`. A queue keeps its value as long as the process lives, so that counters grow."""

    def __init__(self, most: int = MOST_QUEUES) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def of(self, queue: str) -> str:
        """Return the label of a queue."""
        label = self._known.get(queue)
        if label is None:
            if len(self._known) >= self._most:
                return OTHER
            # A name may hold bytes that are not UTF-8, and be as long as Redis allows.
            label = printable(queue)
            label = label if len(label) <= _LONGEST_NAME else f"{label[:_LONGEST_NAME]}…"
            self._known[queue] = label
        return label


def families(figures: Figures, labels: Labels) -> Iterator[Metric]:
    """Yield the metrics of a fleet."""
    for queue in sorted({queue.name for queue in figures.queues} | figures.counts.started.keys()):
        labels.of(queue)  # in alphabetical order, so that a restarted exporter uses the same labels
    yield from _of_runs(figures.counts, labels)
    yield from _of_queues(figures.queues, labels)
    yield _gauge("redbike_timeline_jobs", "Jobs on the timeline.", figures.planned)
    yield _gauge("redbike_timeline_overdue_jobs", "Jobs on the timeline that are due.", figures.overdue)
    yield _gauge(
        "redbike_timeline_overdue_seconds",
        "How long the job that is overdue for the longest time has been due.",
        max(0.0, figures.overdue_s),
    )
    yield _gauge("redbike_runs_running", "Runs in progress.", figures.running)
    processes = _gauge("redbike_processes", "Processes with a recent heartbeat, by kind.", labels=["kind"])
    for kind, number in sorted({"dispatcher": 0, "worker": 0, **figures.processes}.items()):
        processes.add_metric([printable(kind)], number)
    yield processes
    yield _gauge("redbike_halted", "1 if HALT is set: no job starts.", figures.is_halted)
    yield _gauge("redbike_paused", "1 if the whole prefix is held: no job starts.", figures.is_paused)
    if figures.jobs is not None:
        yield from _of_jobs(figures.jobs)


def _of_runs(counts: Counts, labels: Labels) -> Iterator[Metric]:
    started = CounterMetricFamily("redbike_runs_started", "Runs that began.", labels=["queue"])
    for name, number in _summed(counts.started, labels).items():
        started.add_metric([name], number)
    yield started
    ended = CounterMetricFamily("redbike_runs_ended", "Runs that ended, by outcome.", labels=["queue", "outcome"])
    sums: dict[tuple[str, str], float] = {}
    for (queue, outcome), number in counts.ended.items():
        if outcome not in _OUTCOMES:
            continue  # of another program: the number of labels has a limit
        key = labels.of(queue), outcome
        sums[key] = sums.get(key, 0) + number
    for key, total in sums.items():
        ended.add_metric(key, total)
    yield ended
    retried = CounterMetricFamily("redbike_runs_retried", "Runs that are tried again.", labels=["queue"])
    for name, number in _summed(counts.retried, labels).items():
        retried.add_metric([name], number)
    yield retried
    late = HistogramMetricFamily(
        "redbike_run_lateness_seconds",
        "The time from the due time of a run to its begin.",
        labels=["queue"],
        unit="seconds",
    )
    buckets: dict[str, list[int]] = {}
    for queue, numbers in counts.lateness.items():
        former = buckets.get(labels.of(queue))
        buckets[labels.of(queue)] = numbers if former is None else [a + b for a, b in zip(former, numbers, strict=True)]
    late_s = _summed(counts.late_s, labels)
    for name, numbers in buckets.items():
        total, cumulative = 0, []
        for limit, each in zip(_LIMITS, numbers, strict=True):
            total += each
            cumulative.append((limit, float(total)))
        late.add_metric([name], cumulative, late_s.get(name, 0.0))
    yield late


def _of_queues(queues: Iterable[Queue], labels: Labels) -> Iterator[Metric]:
    jobs = _gauge("redbike_queue_jobs", "Jobs in the queue.", labels=["queue"])
    oldest = _gauge(
        "redbike_queue_oldest_seconds", "How long the oldest job in the queue has waited.", labels=["queue"]
    )
    paused = _gauge("redbike_queue_paused", "1 if the queue is held: workers take nothing from it.", labels=["queue"])
    workers = _gauge("redbike_queue_workers", "Living workers that serve the queue.", labels=["queue"])
    found: dict[str, Queue] = {}
    for queue in queues:
        name = labels.of(queue.name)
        one = found.get(name, Queue(name, 0))
        found[name] = Queue(
            name,
            one.jobs + queue.jobs,
            max(one.oldest_s, queue.oldest_s),
            one.is_paused or queue.is_paused,
            max(one.workers, queue.workers),
        )
    for name, one in found.items():
        jobs.add_metric([name], one.jobs)
        oldest.add_metric([name], max(0.0, one.oldest_s))
        paused.add_metric([name], one.is_paused)
        workers.add_metric([name], one.workers)
    yield from (jobs, oldest, paused, workers)


def _of_jobs(jobs: Jobs) -> Iterator[Metric]:
    by_status = _gauge("redbike_jobs", "Registered jobs, by status.", labels=["status"])
    for status, number in jobs.by_status.items():
        by_status.add_metric([status], number)
    yield by_status
    for name, words, number in (
        (
            "lost",
            "Jobs that should run again but are neither planned, queued nor running.",
            jobs.lost,
        ),
        ("failing", "Jobs whose last run failed.", jobs.failing),
        ("paused", "Jobs that are paused.", jobs.paused),
    ):
        yield _gauge(f"redbike_jobs_{name}", words, number)
    yield _gauge(
        "redbike_index_age_seconds", "The age of the figures that need a look at every job.", max(0.0, jobs.age_s)
    )


def _gauge(name: str, words: str, value: float | None = None, labels: list[str] | None = None) -> GaugeMetricFamily:
    """Return a gauge. Its unit is the end of its name."""
    return GaugeMetricFamily(name, words, value, labels, unit="seconds" if name.endswith("_seconds") else "")


def _summed(numbers: Mapping[str, float], labels: Labels) -> dict[str, float]:
    sums: dict[str, float] = {}
    for queue, number in numbers.items():
        sums[labels.of(queue)] = sums.get(labels.of(queue), 0) + number
    return sums


def of_the_exporter(version: str, prefix: str, is_up: bool, took_s: float) -> Iterator[Metric]:
    """Yield the metrics that are there even if Redis is away."""
    info = {"version": version, "prefix": printable(prefix)}
    yield InfoMetricFamily("redbike", "The version and the prefix of the exporter.", info)
    yield _gauge("redbike_up", "1 if Redis answers.", is_up)
    yield _gauge("redbike_scrape_duration_seconds", "How long this look at Redis took.", took_s)


def written(metrics: Iterable[Metric], accept: str = "") -> tuple[str, bytes]:
    """Return the content type and the text of the metrics: of OpenMetrics if the header Accept names it.

    Without it, the text is in the older format, which all programs read.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(metrics))
    if "application/openmetrics-text" in accept:
        return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    return CLASSIC_TYPE, generate_latest(registry)


class _Once:
    """A collector of metrics that are already there."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self._metrics

    def describe(self) -> list[Metric]:
        """Return no names: a registry for one answer needs no check for duplicates."""
        return []

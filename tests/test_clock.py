"""C1, D1: what a long-lived object keeps in memory: the server's time, and the order of a worker's queues."""

import time
import tracemalloc
from types import SimpleNamespace

import pytest
from conftest import Fleet, Recorder

from redbike import Redbike


def asked(bike: Redbike) -> int:
    """Return how many script calls the server has received."""
    return int(bike.redis.info("commandstats")["cmdstat_evalsha"]["calls"])


@pytest.mark.parametrize(
    ("wall_s", "monotonic_s", "asks"),
    [(0.1, 0.1, False), (1.5, 1.5, False), (2.1, 2.1, True), (1.0, 0.1, True), (-3600.0, 0.1, True), (0.1, 1.0, True)],
)
def test_the_time_is_asked_for_again(
    bike: Redbike, monkeypatch: pytest.MonkeyPatch, wall_s: float, monotonic_s: float, asks: bool
) -> None:
    """C1: the server's time is read again after two seconds, and after this machine slept or its clock changed."""
    bike.now()
    before, now, wall, monotonic = asked(bike), bike.now(), time.time(), time.monotonic()
    clocks = SimpleNamespace(time=lambda: wall + wall_s, monotonic=lambda: monotonic + monotonic_s)
    monkeypatch.setattr("redbike.store.clock.time", clocks)
    then = bike.now()
    assert (asked(bike) > before) == asks
    assert then == pytest.approx(now + (0 if asks else monotonic_s), abs=0.5)


def test_ten_thousand_queues_are_small(fleet: Fleet) -> None:
    """D1: the memory for a worker's order grows with the number of its queues, not with its square."""
    worker = Recorder(":".join(str(number) for number in range(10_000)))
    bike = fleet(worker)
    bike.control("HALT")
    bike.set("j:1", "NOW")
    tracemalloc.start()
    try:
        began = time.monotonic()
        bike.work()
        bike.work()
        assert time.monotonic() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert worker.done == ["j:1"]

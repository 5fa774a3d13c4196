"""How many messages a second go out while more are due than can be sent: one beat, two, and the rival."""

import time
from collections.abc import Callable

from benchmarks.bridges.sides import Side, fill, wait_for

ENTRIES = 2_000


def rate(side: Side, start: Callable[[], object], beats: int, seconds: float) -> float:
    """Return the messages per second in the broker's list, counted for so long from two seconds after the first."""
    for _ in range(beats):
        start()
    wait_for(side.messages, 60, "the first message", side)
    time.sleep(2)
    before, began = side.messages(), time.perf_counter()
    time.sleep(seconds)
    return (side.messages() - before) / (time.perf_counter() - began)


def redbike(side: Side, beats: int, seconds: float) -> float:
    """Return the rate of so many beats of Redbike, with entries of every second."""
    side.clear()
    with side.bike() as bike:
        fill(bike, side, "EVERY:1s", [bike.now()] * ENTRIES)
    return rate(side, side.start_beat, beats, seconds)


def rival(side: Side, seconds: float) -> float:
    """Return the rate of the rival. Only one process of it sends at a time."""
    side.clear()
    side.fill_rival(ENTRIES, is_due=True)
    return rate(side, side.start_rival, 1, seconds)

"""Messages per second while more runs are due than can be sent: one beat, two beats, and the rival."""

import time
from collections.abc import Callable
from statistics import median

from benchmarks.bridges.findings import Finding, Sizes
from benchmarks.bridges.sides import Side, fill, wait_for


def rate(side: Side, start: Callable[[], object], beats: int, sizes: Sizes) -> float:
    """Return the messages per second in the broker's list, counted for a while after the first message."""
    for _ in range(beats):
        start()
    wait_for(side.messages, 60, "the first message", side)
    time.sleep(sizes.warm_s)
    before, began = side.messages(), time.perf_counter()
    time.sleep(sizes.window_s)
    return (side.messages() - before) / (time.perf_counter() - began)


def redbike(side: Side, beats: int, sizes: Sizes) -> float:
    """Return the rate of this number of beats of Redbike, with entries that run every second."""
    side.clear()
    with side.bike() as bike:
        fill(bike, side, "EVERY:1s", [bike.now()] * sizes.senders)
    return rate(side, side.start_beat, beats, sizes)


def rival(side: Side, sizes: Sizes) -> float:
    """Return the rate of the rival. Only one of its processes sends at a time."""
    side.clear()
    side.fill_rival(sizes.senders, is_due=True)
    return rate(side, side.start_rival, 1, sizes)


def rates(side: Side, sizes: Sizes) -> list[Finding]:
    """Measure one beat, two beats and the rival in alternation. Return medians."""
    found: dict[str, list[float]] = {"one": [], "two": [], "rival": []}
    for number in range(sizes.rounds):
        for name in sorted(found, reverse=number % 2 == 1):
            if name == "rival":
                found[name].append(rival(side, sizes))
            else:
                found[name].append(redbike(side, 1 + (name == "two"), sizes))
    one, two, yardstick = (median(found[name]) for name in ("one", "two", "rival"))
    return [
        Finding("messages, one beat", f"{one:,.0f} per s", f"1.0 x {side.rival}", one >= yardstick),
        Finding("messages, two beats", f"{two:,.0f} per s", f"1.5 x {side.rival}", two >= 1.5 * yardstick),
        Finding(f"  {side.rival}", f"{yardstick:,.0f} per s"),
        Finding("  times better", f"{one / yardstick:.2f}, {two / yardstick:.2f}" if yardstick else "-"),
    ]

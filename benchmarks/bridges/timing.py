"""How long it takes until a message is in the broker, and what an idle beat costs."""

import random
import time
from pathlib import Path
from statistics import median

from benchmarks.bridges.findings import Finding, Sizes
from benchmarks.bridges.sent import Arrivals
from benchmarks.bridges.sides import Side, end, fill, wait_for


def now(side: Side, sizes: Sizes) -> list[Finding]:
    """Measure from the call of `set` with `NOW` until the message has arrived, one at a time, with one idle beat."""
    took_ms = []
    some = random.Random(1)
    with side.bike() as bike, Arrivals(side) as arrivals:
        side.start_beat()
        bike.set("first", "NOW", payload=side.payload())
        wait_for(lambda: arrivals.seen, 30, "the first message", side)
        for number in range(sizes.now_runs):
            time.sleep(0.03 + 0.1 * some.random())
            began = time.time()
            bike.set(f"now-{number}", "NOW", payload=side.payload())
            wait_for(lambda count=number + 2: len(arrivals.seen) >= count, 30, "a message", side)
            took_ms.append(1000 * (arrivals.seen[-1][1] - began))
    middle, longest = median(took_ms), max(took_ms)
    return [
        Finding("NOW to the broker, p50", f"{middle:.2f} ms", "5 ms", middle <= 5),
        Finding("NOW to the broker, max", f"{longest:.2f} ms", "50 ms", longest <= 50),
    ]


def first(side: Side, sizes: Sizes) -> list[Finding]:
    """Measure from the start of the process until its first message: one entry of many is due, or all are due.

    The other scheduler starts once.
    """
    findings = []
    count = f"{sizes.entries:,} entries"
    for title, all_due in (
        (f"exec to first message, {count}, one is due", False),
        (f"the same, {count} are due", True),
    ):
        side.clear()
        with side.bike() as bike:
            fill(bike, side, "EVERY:1h", [bike.now() + (0 if all_due else 3600)] * sizes.entries)
            own_s = []
            for _ in range(sizes.rounds):
                bike.set("due", "NOW", payload=side.payload())
                own_s.append(_first_s(side))
                side.broker.client.delete(side.list_key)
        took_s = median(own_s)
        findings.append(Finding(title, f"{took_s:.2f} s", "1 s", took_s <= 1))
        side.clear()
        side.fill_rival(sizes.entries, is_due=all_due, also_due=1)
        rival_s = _first_s(side, is_rival=True)
        findings.append(Finding(f"  {side.rival}", f"{rival_s:.2f} s"))
    return findings


def idle(side: Side, sizes: Sizes) -> list[Finding]:
    """Count the commands of an idle beat per second on both servers, and its memory."""
    with side.bike() as bike:
        fill(bike, side, "EVERY:1d", [bike.now() + 86_400] * sizes.entries)
        bike.set("first", "NOW", payload=side.payload())
    beat = side.start_beat()
    wait_for(side.messages, 30, "the first message", side)
    time.sleep(sizes.warm_s)
    servers = (side.home.client, side.broker.client)
    before = [int(server.info("stats")["total_commands_processed"]) for server in servers]
    time.sleep(sizes.idle_s)
    after = [int(server.info("stats")["total_commands_processed"]) for server in servers]
    rate = sum(late - early - 1 for early, late in zip(before, after, strict=True)) / sizes.idle_s
    status = Path(f"/proc/{beat.pid}/status").read_text()
    mebibytes = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    title = f"idle beat, {sizes.entries:,} entries"
    return [
        Finding(f"{title}: commands", f"{rate:.1f} per s", "6 per s", rate <= 6),
        Finding(f"{title}: memory", f"{mebibytes:.0f} MiB", "70 MiB", mebibytes <= 70),
    ]


def _first_s(side: Side, is_rival: bool = False) -> float:
    began = time.time()
    process = side.start_rival() if is_rival else side.start_beat()
    took_s = wait_for(side.messages, 300, "the first message", side) - began
    end(process)
    return took_s

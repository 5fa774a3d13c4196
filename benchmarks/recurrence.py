"""What one next run costs: ours, cached and uncached, beside plain python-dateutil, which walks from DTSTART.

Run: python benchmarks/recurrence.py [YEARS]   (how long ago DTSTART lies; 30 by default)
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection

from dateutil.rrule import rrulestr

from redbike.recurrence import Recurrence
from redbike.schedule import read

RULES = (
    "FREQ=YEARLY",
    "FREQ=YEARLY;BYMONTH=3,9;BYDAY=-1SU",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    "FREQ=WEEKLY;BYDAY=MO,WE,FR",
    "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,TH",
    "FREQ=DAILY",
    "FREQ=DAILY;BYHOUR=6,12,18",
    "FREQ=HOURLY",
    "FREQ=HOURLY;INTERVAL=6;BYDAY=MO,TU,WE,TH,FR",
    "FREQ=MINUTELY",
    "FREQ=MINUTELY;INTERVAL=15;BYHOUR=8,9,10,11,12,13,14,15,16,17",
    "FREQ=MINUTELY;INTERVAL=7",
    "FREQ=SECONDLY",
    "FREQ=SECONDLY;INTERVAL=10",
    "FREQ=DAILY;COUNT=1000000",
)
CHAINED_RUNS = 3_000
UNCACHED_PARSES = 200
# Plain python-dateutil is given this long for one answer.
PATIENCE_S = 5.0
NOW = datetime(2026, 11, 22, 3, 14, 15, tzinfo=UTC)


def percentile(samples: list[float], share: float) -> float:
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def chained(text: str) -> list[float]:
    """Seconds for each of many next runs, the text looked up in the cache each time, as a scheduler does."""
    reference: float = NOW.timestamp()
    samples = []
    for _ in range(CHAINED_RUNS):
        begin = time.perf_counter()
        found = read(text).again(reference).due_at
        samples.append(time.perf_counter() - begin)
        reference = NOW.timestamp() if found is None else found
    return samples


def uncached(text: str) -> list[float]:
    """Seconds for reading the text and finding one run, without any cache."""
    samples = []
    for _ in range(UNCACHED_PARSES):
        begin = time.perf_counter()
        Recurrence(text).after(NOW.timestamp())
        samples.append(time.perf_counter() - begin)
    return samples


def walked(text: str) -> str:
    """Milliseconds that plain python-dateutil takes, in a process of its own that can be ended."""
    receiver, sender = Pipe(duplex=False)
    process = Process(target=_walk, args=(text, sender))
    process.start()
    answered = receiver.poll(PATIENCE_S)
    process.kill()
    process.join()
    return f"{receiver.recv() * 1e3:,.3f}" if answered else f"> {PATIENCE_S * 1e3:,.0f}"


def _walk(text: str, sender: Connection) -> None:
    begin = time.perf_counter()
    rrulestr(text).after(NOW.replace(tzinfo=None))
    sender.send(time.perf_counter() - begin)


def main() -> None:
    years = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    start = NOW - timedelta(days=round(365.25 * years), seconds=7)
    print(f"DTSTART {years} years ago: {start:%Y%m%dT%H%M%S}; µs a next run, and python-dateutil's ms beside them\n")
    print(f"{'rule':62}{'median':>8}{'p99':>8}{'in zone p99':>13}{'uncached':>10}{'python-dateutil ms':>20}")
    for rule in RULES:
        text = f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{rule}"
        zoned = f"DTSTART;TZID=Europe/Berlin:{start:%Y%m%dT%H%M%S}\nRRULE:{rule}"
        runs = chained(text)
        print(
            f"{rule:62}{percentile(runs, 0.5) * 1e6:8.1f}{percentile(runs, 0.99) * 1e6:8.1f}"
            f"{percentile(chained(zoned), 0.99) * 1e6:13.1f}{percentile(uncached(text), 0.5) * 1e6:10.1f}"
            f"{walked(text):>20}",
            flush=True,
        )


if __name__ == "__main__":
    main()

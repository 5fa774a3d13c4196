"""The cost of one next run, cached and uncached, compared with plain python-dateutil, which walks from DTSTART.

Run: python benchmarks/recurrence.py [YEARS]   (DTSTART is this many years ago; default 30)
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection

from dateutil.rrule import rrulestr

from redbike.schedule.forms import read
from redbike.schedule.rrule.recurrence import Recurrence

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
# Plain python-dateutil may take this long for one answer.
LONGEST_S = 5.0
NOW = datetime(2026, 11, 22, 3, 14, 15, tzinfo=UTC)


def percentile(samples: list[float], share: float) -> float:
    """Return the sample below which this share of the samples lies."""
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def chained(text: str) -> list[float]:
    """Return the seconds for each of many next runs. As in a scheduler, the text comes from the cache each time."""
    reference: float = NOW.timestamp()
    samples = []
    for _ in range(CHAINED_RUNS):
        begin = time.perf_counter()
        found = read(text).again(reference).due_at
        samples.append(time.perf_counter() - begin)
        reference = NOW.timestamp() if found is None else found
    return samples


def uncached(text: str) -> list[float]:
    """Return the seconds to read the text and find one run, without a cache."""
    samples = []
    for _ in range(UNCACHED_PARSES):
        begin = time.perf_counter()
        Recurrence(text).after(NOW.timestamp())
        samples.append(time.perf_counter() - begin)
    return samples


def walked(text: str) -> str:
    """Return the milliseconds that plain python-dateutil takes, in a separate process that can be ended."""
    receiver, sender = Pipe(duplex=False)
    process = Process(target=_walk, args=(text, sender))
    process.start()
    answered = receiver.poll(LONGEST_S)
    process.kill()
    process.join()
    return f"{receiver.recv() * 1e3:,.3f}" if answered else f"> {LONGEST_S * 1e3:,.0f}"


def _walk(text: str, sender: Connection) -> None:
    begin = time.perf_counter()
    rrulestr(text).after(NOW.replace(tzinfo=None))
    sender.send(time.perf_counter() - begin)


def main() -> None:
    """Print the table."""
    years = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    start = NOW - timedelta(days=round(365.25 * years), seconds=7)
    print(f"DTSTART {years} years ago: {start:%Y%m%dT%H%M%S}; µs per next run, and python-dateutil's in ms\n")
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

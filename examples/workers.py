"""A worker to try Redbike with: what a job does is said by the first word of its id."""

import time
from pathlib import Path

from redbike import RoundRobin, StopWork, UnsetJob

DIARY = Path("diary.txt")


class Demo(RoundRobin):
    """Job `nap:cat:slow` goes into the queue `work-slow`, and naps."""

    def work(self, jobid: str) -> float | None:
        with DIARY.open("a") as diary:
            diary.write(f"{jobid}\n")
        match jobid.partition(":")[0]:
            case "greet":
                print("Hello from", jobid, flush=True)
            case "nap":
                time.sleep(0.5)
            case "oversleep":
                time.sleep(3)  # Longer than the timeout of its queue: this run counts as lost.
            case "poll":
                return 1.5  # On CONTINUE, a backoff: not again for so many seconds.
            case "thrice" if DIARY.read_text().count(f"{jobid}\n") >= 3:
                raise StopWork  # No further runs: the schedule becomes STOP.
            case "leave":
                raise UnsetJob  # The job is forgotten.
            case "fail":
                raise ValueError("this job always fails")
        return None

    def timeout(self, queue_name: str) -> float | None:
        return 2 if queue_name.endswith("-slow") else None  # None: the default, 10 seconds

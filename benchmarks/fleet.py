"""What two hundred idle workers cost, and how many of them one job wakes. Of the checkout alone: as many workers of
0.13.1, which ask without a pause, would only show how many cores the machine has.
"""

import threading
import time

from benchmarks.bikes import NoOp, client, commands_processed, make_bike
from benchmarks.figures import Figure, Measurement
from benchmarks.slowlog import Recording

_SETTLE_S = 6.0  # from one look of every worker to the next
_GAP_S = 0.02  # between two jobs: time enough to do one


def idle_fleet(socket: str, workers: int, seconds: float, jobs: int) -> dict[str, float]:
    """Commands a second of all workers, threads of this process, and their dispatcher; then looks for each job.

    A job that is done ends with a turn, which looks for the next one; what is counted are the turns on top of these,
    of workers that were woken.
    """
    server = client(socket)
    bikes = [make_bike(socket, NoOp("A:A:B")) for _ in range(workers + 1)]
    loops = [threading.Thread(target=bike.work) for bike in bikes[1:]]
    loops.append(threading.Thread(target=bikes[0].dispatch))
    for loop in loops:
        loop.start()
    time.sleep(_SETTLE_S)
    commands, started_at = commands_processed(server), time.perf_counter()
    time.sleep(seconds)
    own = 1
    commands, elapsed_s = commands_processed(server) - commands - own, time.perf_counter() - started_at
    with Recording(server) as recording:
        for number in range(jobs):
            bikes[0].set(f"{number}:A", "NOW")
            time.sleep(_GAP_S)
        time.sleep(1.0)
    turns = len(recording.ms_of("turn"))
    bikes[0].control("HALT")
    for loop in loops:
        loop.join()
    return {"commands": commands / elapsed_s, "woken": (turns - jobs) / jobs}


MEASUREMENTS = (
    Measurement(
        "benchmarks.fleet:idle_fleet",
        {
            "commands": Figure("idle: a dispatcher and 200 workers", "commands/s", "less", limit=250),
            "woken": Figure("200 idle workers: one job wakes", "workers", "less", limit=1.05),
        },
        rounds=2,
        full={"workers": 200, "seconds": 12.0, "jobs": 200},
        quick={"workers": 200, "seconds": 6.0, "jobs": 100},
        compared=False,
    ),
)

"""The cost of a dispatcher and a worker together while there is nothing to do."""

import threading
import time

from benchmarks.bikes import NoOp, client, commands_processed, make_bike
from benchmarks.figures import Figure, Measurement

_SETTLE_S = 2.0


def idle_cost(socket: str, seconds: float, jobs: int = 0) -> dict[str, float]:
    """Return the commands per second and the CPU time of both, with `jobs` jobs on the timeline that are due in years.

    Both are threads of this process, which is otherwise idle.
    """
    server = client(socket)
    bikes = [make_bike(socket, NoOp("A:A:B")) for _ in range(2)]
    for number in range(jobs):
        bikes[0].set(f"{number}:A", "AT:4000000000")
    loops = [threading.Thread(target=bikes[0].dispatch), threading.Thread(target=bikes[1].work)]
    for loop in loops:
        loop.start()
    time.sleep(_SETTLE_S)
    commands = commands_processed(server)
    cpu_s, started_at = time.process_time(), time.perf_counter()
    time.sleep(seconds)
    cpu_s, elapsed_s = time.process_time() - cpu_s, time.perf_counter() - started_at
    own = 1  # the first of the two INFO commands
    commands = commands_processed(server) - commands - own
    bikes[0].control("HALT")
    for loop in loops:
        loop.join()
    return {"commands": commands / elapsed_s, "cpu": 100 * cpu_s / elapsed_s}


MEASUREMENTS = (
    Measurement(
        "benchmarks.idle:idle_cost",
        {
            "commands": Figure("idle: a dispatcher and a worker", "commands/s", "less", limit=4),
            "cpu": Figure("idle: a dispatcher and a worker", "% of a core", "less", limit=0.3),
        },
        rounds=2,
        full={"seconds": 12.0},
        quick={"seconds": 6.0},
    ),
    Measurement(
        "benchmarks.idle:idle_cost",
        {"commands": Figure("idle: the same, 1,000 jobs on the timeline", "commands/s", "less")},
        rounds=2,
        full={"seconds": 12.0, "jobs": 1_000},
        quick={"seconds": 6.0, "jobs": 1_000},
    ),
)

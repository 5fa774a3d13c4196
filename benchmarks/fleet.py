"""The cost of two hundred idle workers, and how many of them one job wakes.

Only the checkout is measured. As many workers of 0.13.1 poll without a pause: they would only measure the machine.
"""

import threading
import time
from collections.abc import Callable

from benchmarks.bikes import PREFIX, NoOp, client, commands_processed, make_bike
from benchmarks.children import running
from benchmarks.figures import Figure, Measurement
from benchmarks.slowlog import Recording

_PROCESSES = 8  # in a single process, the woken worker would wait for the threads of all others
_READY_WITHIN_S = 40.0
_SETTLE_S = 5.0  # until all workers know that a dispatcher watches their queues
_GAP_S = 0.05  # between two jobs: enough time to run one


def serve_workers(socket: str, workers: int) -> dict[str, float]:
    """Run one process of the fleet: a thread per worker, until halted."""
    loops = [threading.Thread(target=make_bike(socket, NoOp("A:A:B")).work) for _ in range(workers)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    return {}


def idle_fleet(socket: str, workers: int, seconds: float, jobs: int) -> dict[str, float]:
    """Return the commands per second of idle workers and their dispatcher, and the workers that one job wakes.

    The turn that ends a run is not counted. Every other turn is a worker that woke up and looked for a job.
    """
    server = client(socket)
    bike = make_bike(socket, NoOp("A:A:B"))
    loops = ["benchmarks.fleet:serve_workers"] * _PROCESSES
    with running(bike, loops, {"socket": socket, "workers": workers // _PROCESSES}):
        _wait_until(lambda: server.info("clients")["blocked_clients"] >= workers)
        with running(bike, ["benchmarks.latency:serve_dispatch"], {"socket": socket}):
            _wait_until(lambda: server.exists(f"{PREFIX}:watch:work-A"))
            time.sleep(_SETTLE_S)
            commands, started_at = commands_processed(server), time.perf_counter()
            time.sleep(seconds)
            own = 1
            commands, elapsed_s = commands_processed(server) - commands - own, time.perf_counter() - started_at
            with Recording(server) as recording:
                for number in range(jobs):
                    bike.set(f"{number}:A", "NOW")
                    time.sleep(_GAP_S)
    return {"commands": commands / elapsed_s, "woken": (len(recording.ms_of("turn")) - jobs) / jobs}


def _wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + _READY_WITHIN_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"the fleet is not ready after {_READY_WITHIN_S:.0f} s")
        time.sleep(0.2)


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

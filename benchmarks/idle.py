"""What a dispatcher and a worker cost while there is nothing to do."""

import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.bikes import NoOp, client, commands_processed, make_bike
from benchmarks.figures import Figure, Measurement

_SETTLE_S = 1.0


class _Sampler(threading.Thread):
    """Reads the counters twice while the loop runs in the main thread, then stops it."""

    def __init__(self, server: Any, seconds: float) -> None:
        super().__init__(daemon=True)
        self.stop_event = threading.Event()
        self._server, self._seconds = server, seconds
        self.commands_per_s = self.cpu_percent = 0.0

    def run(self) -> None:
        """Wait until the loop has settled, watch it, stop it."""
        commands_processed(self._server)
        time.sleep(_SETTLE_S)
        commands = commands_processed(self._server)
        cpu_s, started_at = time.process_time(), time.perf_counter()
        time.sleep(self._seconds)
        elapsed_s = time.perf_counter() - started_at
        self.cpu_percent = 100 * (time.process_time() - cpu_s) / elapsed_s
        own = 1  # the first of the two questions
        self.commands_per_s = (commands_processed(self._server) - commands - own) / elapsed_s
        self.stop_event.set()


def idle_cost(socket: str, seconds: float) -> dict[str, float]:
    """Commands a second and CPU time of an idle dispatcher, and of an idle worker on three places."""
    numbers = {}
    for name in ("dispatch", "work"):
        sampler = _Sampler(client(socket), seconds)
        bike = make_bike(socket, NoOp("A:A:B"), sampler.stop_event)
        loop: Callable[[], None] = getattr(bike, name)
        sampler.start()
        loop()
        sampler.join()
        numbers[f"{name}_commands"] = sampler.commands_per_s
        numbers[f"{name}_cpu"] = sampler.cpu_percent
    return numbers


MEASUREMENTS = (
    Measurement(
        "benchmarks.idle:idle_cost",
        {
            "dispatch_commands": Figure("idle dispatcher", "commands/s", "less"),
            "dispatch_cpu": Figure("idle dispatcher", "% of a core", "less"),
            "work_commands": Figure("idle worker", "commands/s", "less", wanted=100),
            "work_cpu": Figure("idle worker", "% of a core", "less"),
        },
        rounds=3,
        full={"seconds": 5.0},
        quick={"seconds": 2.0},
    ),
)

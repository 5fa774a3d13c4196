"""Runs `work` and `dispatch` of Redbike objects in threads, and ends them without waiting until they poll."""

import threading
from collections.abc import Callable
from typing import Self

from conftest import Fleet

from redbike import Redbike, RoundRobin
from redbike.store.keys import Keys


class Loop:
    """One loop in one thread."""

    def __init__(self, bike: Redbike, run: Callable[[], object], stop_event: threading.Event) -> None:
        self.bike = bike
        self.error: BaseException | None = None
        self._run = run
        self._stop_event = stop_event
        self._thread = threading.Thread(target=self._keep_error, daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def tell(self) -> None:
        """Tell the loop to end when it next looks."""
        self._stop_event.set()

    def stop(self, within_s: float = 10) -> None:
        """End the loop now, and wait for that. Raise what it raised."""
        self.tell()
        if self.is_running():
            self._wake()
        self.join(within_s)

    def join(self, within_s: float = 10) -> None:
        self._thread.join(within_s)
        assert not self._thread.is_alive(), f"the loop did not end within {within_s} s"
        if self.error is not None:
            raise self.error

    def _keep_error(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error

    def _wake(self) -> None:
        keys = Keys(self.bike.prefix)
        with self.bike.redis.pipeline(transaction=False) as pipeline:
            for name in set(self.bike.queue_names()):
                pipeline.lpush(keys.bell(name), "1")
            pipeline.execute()
        self.bike.redis.publish(keys.wake, "")


class Loops:
    """Starts loops on the objects of a fleet, and stops those that still run."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loops: list[Loop] = []

    def work(self, worker: RoundRobin | None = None, **kwargs: object) -> Loop:
        stop_event = threading.Event()
        bike = self._fleet(worker, stop_event=stop_event, **kwargs)
        return self._started(Loop(bike, bike.work, stop_event))

    def dispatch(self, worker: RoundRobin | None = None, **kwargs: object) -> Loop:
        stop_event = threading.Event()
        bike = self._fleet(worker, stop_event=stop_event, **kwargs)
        return self._started(Loop(bike, bike.dispatch, stop_event))

    def stop(self) -> None:
        # Tell all loops before waking the first, because a loop that goes on would take another's token.
        for loop in self._loops:
            loop.tell()
        for loop in self._loops:
            loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _started(self, loop: Loop) -> Loop:
        self._loops.append(loop)
        return loop

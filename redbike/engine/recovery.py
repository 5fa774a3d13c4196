"""End lost runs: those that exceeded their timeout without an end, and those whose worker is dead.

The dispatcher does this between its passes. With several dispatchers, the index of running jobs makes sure that only
one of them ends a run.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress

import redis

from redbike.engine.outcome import RunEnds
from redbike.logs import RateLimitedLog
from redbike.server.refusals import is_wrong_type
from redbike.store.looks import Looks
from redbike.store.messages import EndReply, Overdue
from redbike.store.requests import CLIENT_ID_LENGTH, RequestIds
from redbike.store.store import Store

_LOOK_EVERY_S = 0.25  # the shortest time between two looks, even if the dispatcher is busy
_LOOK_WITHIN_S = 0.9  # the longest time between two looks: a run is ended within a second of its timeout
_BATCH = 100
_LOOK_FOR_DEAD_EVERY_S = 2.0
_LOOK_WHEN_IDLE_EVERY_S = 30.0
OBSERVED_S = 7.0
"""How long a dispatcher itself sees no heartbeat before it calls a worker dead: longer than the time between two
heartbeats. So a step of the server's clock kills nobody, and a fleet that comes back after an outage has time."""


class Recovery:
    """A dispatcher's look at lost runs."""

    def __init__(
        self,
        store: Store,
        looks: Looks,
        run_ends: RunEnds,
        limited_log: RateLimitedLog,
        log: logging.Logger,
        dead_after_s: float,
        *,
        ends_runs: bool,
        is_heard: Callable[[], bool],
    ) -> None:
        """`dead_after_s`: the seconds without a heartbeat after which a worker counts as dead; 0 for never.

        `ends_runs`: whether its runs are lost then. Else they are lost at their timeout. `is_heard`: whether Redis has
        accepted a heartbeat of this process lately. If not, it may refuse those of living workers, too.
        """
        self._store = store
        self._looks = looks
        self._run_ends = run_ends
        self._limited_log = limited_log
        self._log = log
        self._dead_after_s = dead_after_s
        self._ends_runs = ends_runs
        self._is_heard = is_heard
        self._request_ids = RequestIds()
        self._looked_at = self._looked_for_dead_at = -math.inf  # monotonic
        self._silent: dict[str, tuple[float, float]] = {}
        """Client id -> its last heartbeat (server's time), and when this dispatcher first saw it (monotonic)."""

    def look(self, some_run: bool) -> None:
        """End lost runs if it is time to look for them. End at most one batch, so that due jobs do not wait long.

        `some_run`: whether a run may be in progress.
        """
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        ended = 0
        try:
            for run in self._looks.overdue(_BATCH) if some_run else ():
                ended += self._end(run, f"no end was reported within its timeout{self._by(run)}")
            every_s = _LOOK_FOR_DEAD_EVERY_S if some_run else _LOOK_WHEN_IDLE_EVERY_S
            if self._dead_after_s and now - self._looked_for_dead_at >= every_s:
                self._bury(self._dead(now))
                self._looked_for_dead_at = now
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            # A broken index must not delay the jobs that are due.
            self._limited_log.report("runs that exceed their timeout cannot be found", str(error))
        # Set this last: a look that has failed is then repeated.
        self._looked_at = -math.inf if ended == _BATCH else now

    def wait_s(self) -> float:
        """Return the seconds that the dispatcher may sleep before the next look."""
        return max(0.0, self._looked_at + _LOOK_WITHIN_S - time.monotonic())

    def _dead(self, now: float) -> list[str]:
        """Return the processes that have been silent for too long, by the server's clock and by our own."""
        silent_s = max(0.0, self._dead_after_s - OBSERVED_S)
        silent = self._looks.silent_since(self._store.now() - silent_s)
        former, self._silent = self._silent, {}
        for client_id, beat_at in silent.items():
            seen = former.get(client_id)
            self._silent[client_id] = seen if seen is not None and seen[0] == beat_at else (beat_at, now)
        if not self._is_heard():
            self._silent.clear()
        return [client_id for client_id, (_, seen_at) in self._silent.items() if now - seen_at >= OBSERVED_S]

    def _bury(self, client_ids: list[str]) -> None:
        """End the runs of dead workers, and forget the workers."""
        if not client_ids:
            return
        for run in self._looks.runs_of(client_ids) if self._ends_runs else ():
            name = self._worker_of(run) or run.tag[:CLIENT_ID_LENGTH]
            self._end(run, f"its worker {name} has been silent for {self._dead_after_s:g} s")
        for client_id in client_ids:
            self._looks.forget_process(client_id)
            self._silent.pop(client_id, None)

    def _by(self, run: Overdue) -> str:
        name = self._worker_of(run)
        return f" by {name}" if name else ""

    def _worker_of(self, run: Overdue) -> str:
        """Return host and pid of the worker that has this run in hand; an empty text if it is not known."""
        with suppress(ValueError, KeyError, TypeError):
            noted = json.loads(self._looks.process(run.tag[:CLIENT_ID_LENGTH]))
            return f"{noted['host']}:{noted['pid']}"
        return ""

    def _end(self, run: Overdue, why: str) -> bool:
        request_id = self._request_ids.new()
        while True:
            run_end = self._run_ends.of_lost(run, self._store.now(), why)
            turn = self._store.turn(request_id, run_end=run_end)
            if turn.ended is EndReply.CHANGED:
                request_id, run = self._request_ids.new(), run._replace(text=turn.changed_text)
            elif turn.ended is EndReply.OUTDATED:
                request_id = self._request_ids.renew()
            else:
                break
        if turn.ended is EndReply.DONE:
            self._log.warning("%s", self._run_ends.lost_line(run, why))
        return turn.ended is EndReply.DONE

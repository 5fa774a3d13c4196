"""End lost runs, which exceeded their timeout and have no end yet, if `on-timeout` asks for it.

The dispatcher does this between its passes. With several dispatchers, the index of running jobs makes sure that only
one of them ends a run.
"""

import logging
import math
import time

import redis

from redbike.engine.outcome import RunEnds
from redbike.logs import RateLimitedLog
from redbike.server.refusals import is_wrong_type
from redbike.store.looks import Looks
from redbike.store.messages import EndReply, Overdue
from redbike.store.requests import RequestIds
from redbike.store.store import Store

_LOOK_EVERY_S = 0.25  # the shortest time between two looks, even if the dispatcher is busy
_LOOK_WITHIN_S = 0.9  # the longest time between two looks: a run is ended within a second of its timeout
_BATCH = 100


class Recovery:
    """A dispatcher's look at overdue runs."""

    def __init__(
        self, store: Store, looks: Looks, run_ends: RunEnds, limited_log: RateLimitedLog, log: logging.Logger
    ) -> None:
        self._store = store
        self._looks = looks
        self._run_ends = run_ends
        self._limited_log = limited_log
        self._log = log
        self._request_ids = RequestIds()
        self._looked_at = -math.inf  # monotonic

    def look(self) -> None:
        """End overdue runs if it is time to look for them. End at most one batch, so that due jobs do not wait long."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        ended = 0
        try:
            for run in self._looks.overdue(_BATCH):
                ended += self._end(run)
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

    def _end(self, run: Overdue) -> bool:
        request_id = self._request_ids.new()
        while True:
            run_end = self._run_ends.of_lost(run, self._store.now())
            turn = self._store.turn(request_id, run_end=run_end)
            if turn.ended is EndReply.CHANGED:
                request_id, run = self._request_ids.new(), run._replace(text=turn.changed_text)
            elif turn.ended is EndReply.OUTDATED:
                request_id = self._request_ids.renew()
            else:
                break
        if turn.ended is EndReply.DONE:
            self._log.warning("job %r: a run exceeded its timeout; on-timeout decides what comes next", run.jobid)
        return turn.ended is EndReply.DONE

"""Ending the runs that nobody ended: those that outlived their timeout, where `on-timeout` asks for it.

The dispatcher does it between its passes. Among several, the index of running jobs lets each run be ended once.
"""

import logging
import math
import time

import redis

from redbike.ending import Endings
from redbike.nonces import Nonces
from redbike.scripts import Scripts
from redbike.steps import Ended, Overdue
from redbike.trouble import Troubles

_LOOK_EVERY_S = 0.25  # at the most, however busy the dispatcher is
_LOOK_WITHIN_S = 0.9  # at the least, so that a run is ended within a second of its timeout
_BATCH = 100


class Recovery:
    """A dispatcher's look at overdue runs."""

    def __init__(self, scripts: Scripts, endings: Endings, troubles: Troubles, log: logging.Logger) -> None:
        self._scripts = scripts
        self._endings = endings
        self._troubles = troubles
        self._log = log
        self._nonces = Nonces()
        self._looked_at = -math.inf  # monotonic

    def look(self) -> None:
        """End overdue runs, if it is time to look for them: at most a batch, so that due jobs do not wait for long."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        ended = 0
        try:
            for run in self._scripts.overdue(_BATCH):
                ended += self._end(run)
        except redis.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            # A broken index must not hold up the jobs that are due.
            self._troubles.report("runs that outlived their timeout cannot be looked after", str(error))
        # Only now: a look that failed is made again.
        self._looked_at = -math.inf if ended == _BATCH else now

    def wait_s(self) -> float:
        """How long the dispatcher may sleep before its next look, seconds."""
        return max(0.0, self._looked_at + _LOOK_WITHIN_S - time.monotonic())

    def _end(self, run: Overdue) -> bool:
        nonce = self._nonces.new()
        while True:
            ending = self._endings.of_lost(run, self._scripts.now())
            turn = self._scripts.turn(nonce, ending=ending)
            if turn.ended is Ended.CHANGED:
                nonce, run = self._nonces.new(), run._replace(text=turn.changed_text)
            elif turn.ended is Ended.OUTDATED:
                nonce = self._nonces.renew()
            else:
                break
        if turn.ended is Ended.DONE:
            self._log.warning("a run of job %r outlived its timeout: on-timeout says what comes next", run.jobid)
        return turn.ended is Ended.DONE

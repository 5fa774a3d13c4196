"""One log line per run, at INFO, on the logger `….runs`: so a program can choose them apart from the other lines.

The fields are also in `extra`: job, outcome, took_s, late_s, attempt, queue_key.
"""

import logging

from redbike.engine.outcome import EndedRun
from redbike.logs import RUNS, plain


class RunLog:
    """Logs the runs of one loop."""

    def __init__(self, log: logging.Logger) -> None:
        """Log to the child `runs` of this logger."""
        logger = getattr(log, "logger", log)
        self._logger: logging.Logger = logger.getChild(RUNS) if isinstance(logger, logging.Logger) else log
        self._log = plain(self._logger)

    def note(self, ended: EndedRun, ended_at: float) -> None:
        """Log a run that ended at this time of the server, Unix seconds."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        run = ended.run
        took_s = max(0.0, ended_at - run.began_at)
        late_s = None if run.due_at is None else max(0.0, run.began_at - run.due_at)
        late = "" if late_s is None else f", {late_s:.3f} s late"
        attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
        self._log.info(
            "job %r: %s after %.3f s%s%s",
            *(run.jobid, ended.outcome.value, took_s, late, attempt),
            extra={
                "job": run.jobid,
                "outcome": ended.outcome.value,
                "took_s": round(took_s, 6),
                "late_s": late_s,
                "attempt": run.attempt,
                "queue_key": run.queue_key,
            },
        )

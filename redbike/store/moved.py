"""Read what Redis holds of jobs that come from another scheduler, and write their past runs."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import redis

from redbike.store.details import LastRun
from redbike.store.keys import Keys
from redbike.store.query import Call
from redbike.store.text import decode, encode

_DONE = "done"


class PastRuns(NamedTuple):
    """The runs that another scheduler has made of a job."""

    number: int
    began: int  # when the last run began, whole Unix seconds

    def entry(self, held: bytes | None) -> bytes | None:
        """Return the entry of P:runs that counts these runs, too; None if the entry stays as it is.

        An entry keeps the last run if that began later, and has the larger of the two counts.
        """
        last = LastRun.of(held)
        if last is None:
            return f"{self.number} {_DONE} {self.began} {self.began} 0 ".encode()
        count, began = int(str(last["count"])), float(str(last["began"]))
        if began < self.began and count <= self.number:
            return f"{self.number} {_DONE} {self.began} {self.began} 0 ".encode()
        if count < self.number and held is not None:
            return b"%d %s" % (self.number, held.partition(b" ")[2])
        return None


class Held(NamedTuple):
    """What Redis holds of a job."""

    text: str | None  # the registered schedule
    payload: str  # "" without a payload
    next_run: float | None  # Unix seconds; None: it is not on the timeline
    run: bytes | None  # its entry of P:runs

    @property
    def has_run(self) -> bool:
        """True if Redbike itself has run the job: it writes the end of a run with three decimals."""
        words = (self.run or b"").split(b" ", 4)
        return len(words) > 3 and b"." in words[3]


class Moved:
    """The jobs of one prefix that come from another scheduler."""

    def __init__(self, client: redis.Redis, keys: Keys, call: Call) -> None:
        """`call` calls Redis with retries."""
        self._client = client
        self._keys = keys
        self._call = call

    def held(self, jobids: Sequence[str]) -> dict[str, Held]:
        """Return what Redis holds of each job, in one round trip."""
        return self._call(partial(self._held, jobids)) if jobids else {}

    def _held(self, jobids: Sequence[str], _repeated: bool) -> dict[str, Held]:
        fields = [encode(jobid) for jobid in jobids]
        keys = self._keys
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.hmget(keys.schedules, fields).hmget(keys.payloads, fields).zmscore(keys.timeline, fields)
        pipeline.hmget(keys.runs, fields)
        return {
            jobid: Held(None if text is None else decode(text), decode(payload or b""), next_run, run)
            for jobid, text, payload, next_run, run in zip(jobids, *pipeline.execute(), strict=True)
        }

    def write_runs(self, runs: Mapping[str, PastRuns], held: Mapping[str, Held]) -> None:
        """Write the past runs of jobs to P:runs, unless `held` already has them.

        A job without an entry gets the entry only if it still has none. For another job, the count of a run that ends
        between `held` and this call may be lost.
        """
        entries = {jobid: past.entry(held[jobid].run) for jobid, past in runs.items()}
        if any(entry is not None for entry in entries.values()):
            self._call(partial(self._write_runs, entries, held))

    def _write_runs(self, entries: Mapping[str, bytes | None], held: Mapping[str, Held], _repeated: bool) -> None:
        pipeline: Any = self._client.pipeline(transaction=False)
        for jobid, entry in entries.items():
            if entry is not None:
                write = pipeline.hsetnx if held[jobid].run is None else pipeline.hset
                write(self._keys.runs, encode(jobid), entry)
        pipeline.execute()

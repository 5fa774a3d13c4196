"""The worker of the fleets under test: records on a separate server when a run begins and when it ends.

The records have the time of that server, so a wrong clock of this process does not matter. They also have the number of
the thread, which in a process with one thread is the number of the process.
"""

import threading
import time

import redis

from redbike import Later, RoundRobin, Run

_NOTE = """
local time = redis.call('TIME')
local stamp = string.format('%d.%06d', time[1], time[2])
redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. stamp .. ' ' .. ARGV[3])
"""

LATER = "later"
"""Jobs with this payload put their first attempt off."""

OFTEN = "often"
"""Jobs with such ids are on CONTINUE, and ask for a short pause between runs."""


class Recorder(RoundRobin):
    """A worker that records its runs in a list on the notary, a server that no fault touches."""

    def __init__(self, initstring: str, notary_socket: str, notes_key: str, nap_s: float = 0.0) -> None:
        super().__init__(initstring)
        self._notary = redis.Redis(unix_socket_path=notary_socket)
        self._note = self._notary.register_script(_NOTE)
        self._key = notes_key
        self._nap_s = nap_s

    def perform(self, run: Run) -> float | None:
        """Check what the run carries, and do the job. A lost payload is an empty payload, and no fault."""
        if run.payload == LATER and run.attempt == 1:
            raise Later(0.05)
        if run.payload not in ("", LATER, run.jobid) or run.began_at < run.due_at - 1:
            self._note(keys=[self._key], args=["odd", run.jobid, threading.get_native_id()])
        return self.work(run.jobid)

    def work(self, jobid: str) -> float | None:
        """Record begin and end. Only 0.13.1 calls this itself."""
        self._note(keys=[self._key], args=["begin", jobid, threading.get_native_id()])
        if self._nap_s:
            time.sleep(self._nap_s)
        self._note(keys=[self._key], args=["end", jobid, threading.get_native_id()])
        return 0.05 if jobid.startswith(OFTEN) else None

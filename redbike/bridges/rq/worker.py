"""The worker that enqueues functions in RQ. Making it neither imports RQ nor connects; its first run does."""

import importlib
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import redis

from redbike.bridges.identity import run_id
from redbike.bridges.rq import payload
from redbike.bridges.rq.settings import settings_of
from redbike.bridges.sending import LEASE_S, Sender
from redbike.errors import ConfigError
from redbike.logs import RateLimitedLog, plain
from redbike.server.arguments import completed
from redbike.worker import Later, LeaseLost, Run

if TYPE_CHECKING:
    from redbike.bridges.rq.broker import Broker

PREFIX = "redbike:rq"
"""The default prefix of the bridge."""
QUEUE = "rq"
"""The queue of Redbike for runs that wait to be enqueued. It is not a queue of RQ."""

_LOG = RateLimitedLog(plain(logging.getLogger("redbike.bridges")))
_SURE_S = 5.0  # a worker counts as dead no sooner than 15 s after its last heartbeat, and heartbeats come every 5 s
_LATER_S = 10.0  # after this time, a run comes again that RQ's Redis refuses while it accepts other runs


def memory_key(prefix: str, jobid: str) -> str:
    """Return the key in RQ's Redis that holds the id of the run of this job that was enqueued last."""
    return f"rq:redbike:{prefix}:{jobid}"


class Prepared(NamedTuple):
    """A run that can be sent."""

    call: payload.Call
    id: str
    ends_s: float  # the end of the lease, monotonic


class RQWorker(Sender):
    """A worker that enqueues the function of each run in RQ, exactly once.

    `redbike work "redbike.bridges.rq:RQWorker('redis://localhost:6379/0')"` sends, beside any number of other workers.
    The payload of a job says which function, in which queue of RQ (payload.py). The function travels by name. The id
    of RQ's job is the id of the run (identity.py), the same for every try. RQ's Redis remembers which run of each job
    was enqueued last (broker.py), even if RQ has removed its job.
    """

    default_prefix = PREFIX

    def __init__(
        self,
        url: str | None = None,
        lease: float = LEASE_S,
        *,
        connection: redis.Redis | None = None,
        history: bool = False,
        **redis_options: Any,
    ) -> None:
        """Send to the Redis of RQ at this URL, or with these arguments of `redis.Redis`; else at localhost:6379.

        `lease`: the seconds within which a run is handed over, at least twice the `socket_timeout` (10 s by default).
        `connection`: connect as this client does, with separate connections. `embedded=FOLDER`: the embedded server.
        `history`: also write RQ's history of cron jobs, under the job id. It needs RQ 2.12.
        """
        super().__init__(QUEUE, lease)
        self._given = redis_options if url is None else {**redis_options, "url": url}
        self._connection = connection
        self._history = history
        self._broker: Broker | None = None

    @staticmethod
    def columns(text: str) -> dict[str, str]:
        """Return what a payload calls, for `redbike info`: the function, and the queue of RQ."""
        return payload.columns(text)

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings of the connection. They may hold a password."""
        return settings_of(self._connection, self._given)

    @property
    def broker(self) -> str:
        """The broker and its address for log lines, without a password."""
        return f"RQ's Redis at {self.sender.where}"

    @property
    def sender(self) -> "Broker":
        """The connection to RQ's Redis. Raise ConfigError for settings that cannot be used."""
        if self._broker is None:
            self.check()
            module = importlib.import_module("redbike.bridges.rq.broker")
            self._broker = module.Broker(self.settings, self._history)
        return self._broker

    def check(self) -> None:
        """Raise ConfigError if RQ is not installed, or if the settings cannot be used. Connect to nothing."""
        self.check_installed("RQ", "rq")
        given = completed(self.settings)
        if given.get("cluster") or "nodes" in given:
            raise ConfigError("RQWorker: RQ cannot use a Redis Cluster: name a server, or its Sentinels")
        self.check_timeout("socket_timeout", given["socket_timeout"])

    def prepare(self, run: Run) -> Prepared:
        """Read the payload. Raise BadJob if it cannot be enqueued."""
        ends_s = time.monotonic() + self.lease_s
        return Prepared(payload.read(run.payload), run_id(run.prefix, run.jobid, run.due_at), ends_s)

    def send(self, prepared: Prepared, run: Run) -> None:
        """Enqueue a run, unless it was enqueued before. Raise Away, or Later if only this run is refused."""
        check = partial(_check_lease, run, prepared.ends_s - self.lease_s, self.lease_s)
        job = prepared.call, run.prefix, run.jobid
        refusal = self.sender.enqueue(*job, prepared.id, run.due_at, prepared.ends_s, check)
        if refusal is not None:
            _LOG.report(
                f"job {run.jobid!r}: RQ's Redis refuses it for queue {prepared.call.queue!r}",
                f"{refusal}; it is tried again every {_LATER_S:g} s",
            )
            raise Later(_LATER_S)

    def disconnect(self) -> None:
        """Close the connections to RQ's Redis that are not in use."""
        if self._broker is not None:
            self._broker.disconnect()


def _check_lease(run: Run, began_s: float, lease_s: float) -> None:
    """Raise LeaseLost if another process may have this run, and Later if Redbike's Redis cannot be asked.

    `began_s`: the begin of the run, monotonic. A run that has just begun has its lease.
    """
    if time.monotonic() - began_s < _SURE_S:
        return
    try:
        run.extend(lease_s)
    except LeaseLost:
        raise
    except Exception as error:
        _LOG.report(f"job {run.jobid!r}", f"its lease cannot be checked: {type(error).__name__}: {error}")
        raise Later(1) from None

"""How an idle process waits: without polling, woken within a millisecond, at most a second at a time.

A dispatcher listens on the wake channel; a worker blocks on the bells of its queues. Neither moves a job here: the real
queue is never popped by a blocking command, because a pop outside a script could lose the job on its way to us.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis

from redbike.refusals import is_withheld
from redbike.trouble import Troubles

T = TypeVar("T")

LONGEST_WAIT_S = 1.0
"""After this long an idle process looks by itself: it notices what others wrote without a wake-up call."""


LONGEST_SLEEP_S = 3.0
"""The same for a worker whose queues are watched by a dispatcher."""


_MOST_CALLS_AT_ONCE = 200


class Interrupted(Exception):
    """Raised by a signal handler out of a nap, and nowhere else."""


class Nap:
    """A stretch of waiting that a signal handler of the same thread may cut short. Threads may share one.

    Python restarts an interrupted system call after the handler has run, so a handler that only sets a flag would
    leave an idle process waiting. In a nap there is nothing but waiting, so an exception from a handler
    breaks nothing.
    """

    def __init__(self) -> None:
        self._napping: set[int] = set()  # threads

    def take(self, wait: Callable[[], T]) -> T | None:
        """What `wait` gives, or None where a handler ended it. A nap within a nap is ended with the outer one."""
        thread = threading.get_ident()
        is_inner = thread in self._napping
        try:
            try:
                self._napping.add(thread)
                return wait()
            finally:
                if not is_inner:
                    self._napping.discard(thread)
        except Interrupted:
            if is_inner:
                raise
            return None

    def interrupt(self) -> None:
        """For a signal handler: end the nap of its thread, if there is one.

        Another thread's is not cut short, for nothing can be raised there: it ends by itself within seconds.
        """
        thread = threading.get_ident()
        if thread in self._napping:
            self._napping.discard(thread)
            raise Interrupted


class WakeCalls:
    """A dispatcher's ear: published to when a job becomes due sooner than the dispatcher could know."""

    def __init__(self, client: redis.Redis, channel: str, troubles: Troubles) -> None:
        self._client = client
        self._channel = channel
        self._troubles = troubles
        self._is_refused = self._is_stale = False
        self._pubsub: redis.client.PubSub | None = None
        self._heard_from: str | None = None

    @property
    def is_listening(self) -> bool:
        """Whether calls are heard. After `subscribe`, the timeline has to be looked at once more."""
        return self._is_refused or (
            self._pubsub is not None and not self._is_stale and self._node() == self._heard_from
        )

    def reopen(self) -> None:
        """Subscribe anew before the next wait: a server that stands still, and is replaced, closes no connection."""
        self._is_stale = True

    def subscribe(self) -> None:
        """Listen from now on; where the server refuses that, there are no calls, and looking once a second remains."""
        self.close()
        self._is_stale = False
        self._heard_from = self._node()
        self._pubsub = self._client.pubsub()
        try:
            self._pubsub.subscribe(self._channel)
            # The confirmation has to be read before the next look: calls between them would find nobody.
            self._pubsub.get_message(timeout=LONGEST_WAIT_S)
        except redis.ResponseError as error:
            self.close()
            if not is_withheld(error):
                raise
            self._is_refused = True
            self._troubles.report(f"channel {self._channel}: jobs may be queued up to a second late", str(error))
        except Exception:
            self.close()
            raise

    def wait(self, timeout_s: float) -> bool:
        """True as soon as there is a call, and those that wait are taken as one; False after the timeout."""
        if self._is_refused:
            time.sleep(timeout_s)
            return False
        assert self._pubsub is not None
        try:
            called = self._pubsub.get_message(timeout=timeout_s) is not None
            # Not without end: somebody may publish faster than we read. What is left ends the next wait.
            for _ in range(_MOST_CALLS_AT_ONCE if called else 0):
                if self._pubsub.get_message(timeout=0) is None:
                    break
        except Exception:
            # A new subscription is simpler than knowing in which state this one is.
            self.close()
            raise
        return called

    def _node(self) -> str | None:
        """The node that has the channel's slot, as far as the client of a Cluster knows; elsewhere None.

        A Cluster passes a call on to all its nodes. A node that has left it hears none, and closes no connection.
        """
        find: Any = getattr(self._client, "get_node_from_key", None)
        if find is None:
            return None
        try:
            return str(find(self._channel).name)
        except redis.exceptions.SlotNotCoveredError:
            return None

    def close(self) -> None:
        """Stop listening."""
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None


class Bells:
    """What an idle worker listens to: one bell for each of its queues, rung by whoever leaves a job there.

    A bell is a list of at most one token. One token wakes one worker, who rings again if it leaves jobs behind.
    """

    def __init__(self, client: redis.Redis, troubles: Troubles) -> None:
        self._client = client
        self._troubles = troubles

    def wait(self, bell_keys: Sequence[str], timeout_s: float = LONGEST_WAIT_S) -> bool:
        """True as soon as one rings, False after the timeout (Redis checks it ten times a second)."""
        try:
            return self._client.blpop(list(bell_keys), timeout=timeout_s) is not None
        except redis.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            # Without its bell a worker still finds its work, once a second.
            self._troubles.report(f"bells {' '.join(bell_keys)}", str(error))
            time.sleep(timeout_s)
            return False


def longest_wait_s(socket_timeout_s: float | None, wanted_s: float = LONGEST_WAIT_S) -> float:
    """How long a blocking call may wait on a connection whose replies must come within `socket_timeout_s`."""
    return wanted_s if socket_timeout_s is None else min(wanted_s, socket_timeout_s / 2)


def pause(nap: Nap, seconds: float) -> None:
    """Sleep, unless a signal handler ends the nap."""
    nap.take(lambda: time.sleep(seconds))

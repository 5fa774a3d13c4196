"""Let an idle process wait without polling: it wakes within a millisecond, and waits a few seconds at most.

A dispatcher listens on the wake channel. A worker blocks on the bells of its queues. No job moves here. A blocking
command never pops a queue, because a pop outside a script could lose the job on its way to us.
"""

import time
from collections.abc import Sequence
from typing import Any

import redis

from redbike.logs import RateLimitedLog
from redbike.server.refusals import is_withheld, is_wrong_type

LONGEST_WAIT_S = 1.0
"""After this time an idle process looks without a message, because other programs may write keys and send none."""

LONGEST_SLEEP_S = 3.0
"""The same for a worker whose queues a dispatcher monitors."""

_MOST_CALLS_AT_ONCE = 200


class WakeChannel:
    """A dispatcher's subscription. A message means that a job is due earlier than the dispatcher expects."""

    def __init__(self, client: redis.Redis, channel: str, limited_log: RateLimitedLog) -> None:
        self._client = client
        self._channel = channel
        self._limited_log = limited_log
        self._is_refused = self._is_stale = False
        self._pubsub: redis.client.PubSub | None = None
        self._heard_from: str | None = None

    @property
    def is_listening(self) -> bool:
        """Whether messages arrive. After `subscribe`, look at the timeline once more."""
        return self._is_refused or (
            self._pubsub is not None and not self._is_stale and self._node() == self._heard_from
        )

    def reopen(self) -> None:
        """Subscribe again before the next wait. A frozen server that was replaced does not close its connections."""
        self._is_stale = True

    def subscribe(self) -> None:
        """Listen from now on. If the server refuses, no messages come, and the dispatcher looks once per second."""
        self.close()
        self._is_stale = False
        self._heard_from = self._node()
        self._pubsub = self._client.pubsub()
        try:
            self._pubsub.subscribe(self._channel)
            # Read the confirmation before the next look. Otherwise a message between the two would be missed.
            self._pubsub.get_message(timeout=LONGEST_WAIT_S)
        except redis.ResponseError as error:
            self.close()
            if not is_withheld(error):
                raise
            self._is_refused = True
            self._limited_log.report(f"channel {self._channel}: jobs may be queued up to a second late", str(error))
        except Exception:
            self.close()
            raise

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as there is a message, or several; return False after the timeout."""
        if self._is_refused:
            time.sleep(timeout_s)
            return False
        assert self._pubsub is not None
        try:
            called = self._pubsub.get_message(timeout=timeout_s) is not None
            # Read a limited number: another program may publish faster than we read. The rest ends the next wait.
            for _ in range(_MOST_CALLS_AT_ONCE if called else 0):
                if self._pubsub.get_message(timeout=0) is None:
                    break
        except Exception:
            # The state of this subscription is unknown now. A new subscription is simpler.
            self.close()
            raise
        return called

    def close(self) -> None:
        """Stop listening."""
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None

    def _node(self) -> str | None:
        """Return the node that has the channel's slot, if the client of a Cluster knows it. Without a Cluster, None.

        A Cluster forwards a message to all its nodes. A node that has left the Cluster gets no messages, and does not
        close its connections.
        """
        find: Any = getattr(self._client, "get_node_from_key", None)
        if find is None:
            return None
        try:
            return str(find(self._channel).name)
        except redis.exceptions.SlotNotCoveredError:
            return None


class Bells:
    """The bells on which an idle worker blocks: one per queue. Each script that leaves a job in a queue rings its bell.

    A bell is a list of at most one token. A token wakes one worker. If that worker leaves jobs behind, it rings again.
    """

    def __init__(self, client: redis.Redis, limited_log: RateLimitedLog) -> None:
        self._client = client
        self._limited_log = limited_log

    def wait(self, bell_keys: Sequence[str], timeout_s: float = LONGEST_WAIT_S) -> bool:
        """Return True as soon as a bell rings, False after the timeout, which Redis checks ten times per second."""
        try:
            return self._client.blpop(list(bell_keys), timeout=timeout_s) is not None
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            # Without its bell, a worker still looks for jobs once per second.
            self._limited_log.report(f"bells {' '.join(bell_keys)}", str(error))
            time.sleep(timeout_s)
            return False


def longest_wait_s(socket_timeout_s: float | None, wanted_s: float = LONGEST_WAIT_S) -> float:
    """Return the longest wait of a blocking call, on a connection whose replies must come within `socket_timeout_s`."""
    return wanted_s if socket_timeout_s is None else min(wanted_s, socket_timeout_s / 2)

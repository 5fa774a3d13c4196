"""The services that a loop needs from its process: when to stop, how to call Redis, how to wait, where to log."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from redbike.engine.interruptible import InterruptibleWait
from redbike.engine.retry import RetryPolicy
from redbike.logs import RateLimitedLog

P = ParamSpec("P")
T = TypeVar("T")


class Runtime:
    """The surroundings of a dispatcher's or worker's loop."""

    def __init__(
        self,
        stopping: Callable[[], bool],
        wait: InterruptibleWait,
        policy: RetryPolicy,
        limited_log: RateLimitedLog,
        log: logging.Logger,
        longest_wait_s: float,
        longest_sleep_s: float,
    ) -> None:
        """Keep these services. `stopping` returns True if the process was asked to stop.

        After `longest_wait_s`, a loop looks without a message. After `longest_sleep_s`, an idle worker does so if a
        dispatcher monitors its queues.
        """
        self.stopping = stopping
        self.wait = wait.take
        self.sleep = wait.sleep
        self.retry = policy.retry
        self.retry_forever = policy.retry_forever
        self.report = limited_log.report
        self.log = log
        self.longest_wait_s = longest_wait_s
        self.longest_sleep_s = longest_sleep_s

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call Redis until it answers, however long that takes. Raise Stopped if the process is asked to stop."""
        return self.retry_forever(lambda _: function(*args, **kwargs), self.stopping)

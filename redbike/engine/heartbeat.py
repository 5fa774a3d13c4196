"""The heartbeat of a loop: every five seconds, a thread notes in Redis that this process is alive.

So a dispatcher can distinguish a long job from a dead worker (recovery.py). A job that holds the interpreter's lock for
longer than `dead-after`, as some C code does, stops this thread, and its run counts as lost.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import redis

from redbike.engine.signals import leave_to_main_thread
from redbike.store.keys import Keys

EVERY_S = 5.0
_FIRST_AFTER_S = 0.25  # a call of `work()` that does one turn leaves no note
_AGAIN_S = 1.0  # after a beat that failed
_REFRESHED_EVERY = 6  # beats: the server's time is asked, and the description is written
_ENDS_WITHIN_S = 0.5


class Heartbeat:
    """Keeps one process in P:alive, and its description in P:processes, while a loop runs."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        log: logging.Logger,
        client_id: str,
        describe: Callable[[], Mapping[str, object]],
        count: Callable[[], Mapping[str, int]],
    ) -> None:
        """`client_id`: of the loop, which may change it. `describe` returns what the process is.

        `count` returns what the loop has counted. It is called from the thread, and must not call the user's code.
        """
        self.client_id = client_id
        self._client = client
        self._keys = keys
        self._log = log
        self._describe = describe
        self._count = count
        self._about: Mapping[str, object] = {}
        self._since = 0.0
        self._noted: str | None = None
        self._heard_at = -math.inf  # monotonic: when Redis has accepted the latest beat
        self._is_heard = False  # whether it has accepted the latest try
        self._server_time: tuple[float, float] | None = None  # the server's time, and ours: monotonic
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def was_heard_within(self, seconds: float) -> bool:
        """Return True if Redis has accepted a beat within so many seconds. Else it may refuse those of others, too."""
        return time.monotonic() - self._heard_at < seconds

    def __enter__(self) -> Self:
        """Begin."""
        self._ends.clear()
        self._noted, self._server_time, self._since, self._is_heard = None, None, 0.0, False
        with suppress(Exception):  # the user's code: without it, the process is alive all the same
            self._about = dict(self._describe())
        thread = threading.Thread(target=self._beat, name="heartbeat of redbike", daemon=True)
        with suppress(RuntimeError):  # the system allows no further thread: nobody knows of this process then
            thread.start()
            self._thread = thread
        return self

    def __exit__(self, *_: object) -> None:
        """End, and remove the process from Redis."""
        self._ends.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_ENDS_WITHIN_S)
        has_ended = thread is None or not thread.is_alive()
        if self._noted is not None and self._is_heard and has_ended:
            with suppress(Exception):  # no loss: dispatchers forget a process that is silent
                self._forget(self._noted)

    def _beat(self) -> None:
        leave_to_main_thread()
        beats, has_failed = 0, False
        if self._ends.wait(_FIRST_AFTER_S):
            return
        while True:
            wait_s = EVERY_S
            try:
                self._is_heard = False
                self._note()
                self._is_heard, self._heard_at = True, time.monotonic()
                if beats % _REFRESHED_EVERY == 0:
                    self._write_about()
                beats, has_failed = beats + 1, False
            except redis.ResponseError as error:
                if not has_failed:
                    self._log.warning(
                        "this process cannot write its heartbeat: %s; dispatchers may take it for dead (dead-after)",
                        error,
                    )
                has_failed = True
            except Exception:  # Redis is away, or another thread has closed the connection: the loop reports that
                beats, wait_s = 0, _AGAIN_S
                self._server_time = None
            if self._ends.wait(wait_s):
                return

    def _note(self) -> None:
        client_id = self.client_id
        if self._server_time is None or time.monotonic() - self._server_time[1] > _REFRESHED_EVERY * EVERY_S:
            moment: Any = self._client.time()
            self._server_time = moment[0] + moment[1] / 1e6, time.monotonic()
            self._since = self._since or round(self._server_time[0], 3)
        if self._noted is not None and self._noted != client_id:
            self._forget(self._noted)
            self._noted = None
        server_time, at = self._server_time
        self._client.zadd(self._keys.alive, {client_id: server_time + time.monotonic() - at})
        if self._noted is None:
            self._noted = client_id
            self._write_about()

    def _write_about(self) -> None:
        about = {"host": os.uname().nodename, "pid": os.getpid(), "since": self._since, **self._about, **self._count()}
        self._client.hset(self._keys.processes, self.client_id, json.dumps(about, ensure_ascii=False, default=str))

    def _forget(self, client_id: str) -> None:
        self._client.zrem(self._keys.alive, client_id)
        self._client.hdel(self._keys.processes, client_id)

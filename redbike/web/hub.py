"""Look at Redis once per second while somebody looks at the page, whatever the number of viewers; else never.

All calls of Redis are made in two threads: one for what takes milliseconds, one for reading all jobs. Pages are made
from what is in memory. If Redis is away, the last known state stays.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import ParamSpec, Protocol, TypeVar

from redbike.errors import ServerError
from redbike.logs import RateLimitedLog

EVERY_S = 1.0
_WAITS_FOR_NEWS_S = 0.06
"""How long a page waits for a look that is newer than a second."""
_WAITS_FOR_INDEX_S = 0.03
_WAITS_FOR_FIRST_S = 3.0
_WAITS_FOR_ANSWER_S = 10.0
_WAITS_FOR_ANSWER_WHILE_AWAY_S = 2.0

P = ParamSpec("P")
T = TypeVar("T")


class NotKnown(ServerError):
    """Redis was asked and has not answered in time, so it may still do what it was asked."""


class Source(Protocol):
    """What the hub looks at."""

    def look(self) -> None:
        """Look at Redis by a few calls, and keep the results. Raise ServerError."""

    def read_index(self) -> None:
        """Read all jobs if it is time. Raise ServerError."""


class Hub:
    """Looks while there are viewers, and tells them of each look."""

    def __init__(self, source: Source, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self.viewers = 0
        """How many browsers wait for changes."""
        self.looks = 0
        """How often Redis was asked."""
        self.away_since: float | None = None
        """When Redis went away, Unix seconds; None while it is there."""
        self.faulty_since: dict[str, float] = {}
        """Which of our two kinds of look fails by a fault of ours, and since when, Unix seconds."""
        self.is_stopping = False
        self._source = source
        self._limited_log = RateLimitedLog(log)
        self._clock = clock
        self._looked_at = -1e9
        self._has_looked = False
        self._is_wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._news = asyncio.Condition()
        self._fast = ThreadPoolExecutor(1, "redbike web")
        self._slow = ThreadPoolExecutor(1, "redbike web index")
        self._index: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Look until stopped."""
        while not self.is_stopping:
            if not self.viewers:
                await self._is_wanted.wait()
            self._is_wanted.clear()
            if self.is_stopping:
                return
            began_at = self._clock()
            await self._look()
            rest_s = EVERY_S - (self._clock() - began_at)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, rest_s)):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _look(self) -> None:
        self.looks += 1
        try:
            await asyncio.get_running_loop().run_in_executor(self._fast, self._source.look)
        except ServerError as error:
            self._is_away(error)
        except Exception as error:  # or nobody would look again
            self._is_faulty("the look of the page", error)
        else:
            self.away_since = None
            self.faulty_since.pop("the look of the page", None)
            if self._index is None or self._index.done():
                self._index = asyncio.ensure_future(self._read_index())
            # Few jobs are read at once, and then the pages need not change again.
            await asyncio.wait([self._index], timeout=_WAITS_FOR_INDEX_S)
        self._looked_at, self._has_looked = self._clock(), True
        async with self._news:
            self._news.notify_all()

    def _is_away(self, error: ServerError) -> None:
        self.away_since = self.away_since or time.time()
        self._limited_log.report("the page", str(error))

    def _is_faulty(self, what: str, error: Exception) -> None:
        if self.is_stopping:
            return  # the threads take no more calls
        self.faulty_since.setdefault(what, time.time())
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        self._limited_log.report(f"{what} failed", f"{type(error).__name__}: {error}{place}")

    async def _read_index(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._slow, self._source.read_index)
        except ServerError:
            pass  # the next look says so
        except Exception as error:
            self._is_faulty("reading all jobs for the page", error)
        else:
            self.faulty_since.pop("reading all jobs for the page", None)

    async def fresh(self) -> None:
        """Return when the state is at most a second old, or after a moment with the state that is known."""
        if self._clock() - self._looked_at <= EVERY_S or self.is_stopping:
            return
        self._is_wanted.set()
        looks = self.looks
        waits_s = _WAITS_FOR_NEWS_S if self._has_looked else _WAITS_FOR_FIRST_S
        with suppress(TimeoutError):
            async with asyncio.timeout(waits_s), self._news:
                await self._news.wait_for(lambda: self.looks > looks and self._clock() - self._looked_at <= EVERY_S)

    def expect_news(self) -> None:
        """Let the next page wait for a new look, because something was changed."""
        self._looked_at = -1e9
        self._hurry.set()

    @contextmanager
    def viewing(self) -> Iterator[None]:
        """In this block, there is one more viewer."""
        self.viewers += 1
        self._is_wanted.set()
        try:
            yield
        finally:
            self.viewers -= 1

    async def changed(self, within_s: float) -> bool:
        """Wait for the next look, so many seconds at most. Return False if there was none."""
        looks = self.looks
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: self.is_stopping or self.looks > looks)
        return self.looks > looks

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call Redis through this function, in the thread.

        Raise ServerError if Redis is away, or if the thread had no time for the call: it is then never made. Raise
        NotKnown if the call has begun and lasts too long.
        """
        call = self._fast.submit(function, *args, **kwargs)
        asked = asyncio.wrap_future(call)
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        waits_s = _WAITS_FOR_ANSWER_WHILE_AWAY_S if self.away_since else _WAITS_FOR_ANSWER_S
        await asyncio.wait([asked], timeout=waits_s)
        if call.cancel():
            raise ServerError("Redis does not answer: nothing was done")
        if not call.done():
            raise NotKnown("Redis has not answered yet: it is not known whether this was done")
        try:
            return call.result()
        except ServerError as error:
            self._is_away(error)
            raise

    async def stop(self) -> None:
        """End the looks, and the waits of viewers."""
        self.is_stopping = True
        self._is_wanted.set()
        self._hurry.set()
        async with self._news:
            self._news.notify_all()
        self._fast.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)

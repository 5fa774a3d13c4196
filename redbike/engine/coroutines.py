"""Run coroutines of the worker on one event loop, which lives as long as the worker's loop.

So a worker can keep clients and connection pools between its jobs. One job runs at a time.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


class EventLoop:
    """An event loop that is made when it first runs a coroutine."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Return the result of the coroutine. A KeyboardInterrupt cancels the coroutine, and is raised when it ends."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        loop = self._runner.get_loop()
        task = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            with suppress(asyncio.CancelledError, KeyboardInterrupt):
                loop.run_until_complete(task)
            raise

    def close(self) -> None:
        """Cancel what still runs on the loop, and close it."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

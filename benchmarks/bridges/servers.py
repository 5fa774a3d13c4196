"""Servers on loopback ports that can be killed, frozen and started again. Each has a separate temporary folder."""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.server import NoServerError, free_port, server_program

_STARTS_WITHIN_S = 10.0


class Server:
    """A server, within a `with` block. With `keeps`, it has an append-only file, so a restart finds all messages."""

    def __init__(self, keeps: bool = False) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="redbike-bridges-"))
        self._keeps = keeps
        self.client = redis.Redis(port=self.port, socket_timeout=30)

    @property
    def url(self) -> str:
        """The address for Celery, RQ and Redbike."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self._folder)]
        options += ["--appendonly", "yes" if self._keeps else "no"]
        self._process = subprocess.Popen([server_program(), *options], stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                self.client.ping()
                return
            except redis.RedisError:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    raise NoServerError(f"{server_program()}: does not start on port {self.port}") from None
                time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server at once."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Suspend the server: connections stay open, and replies do not come."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen server."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.client.close()
        process: Any = getattr(self, "_process", None)
        if process is not None:
            process.kill()  # also a frozen process
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

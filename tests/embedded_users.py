"""Users of an embedded server, in processes that the tests start and end, and what can be seen of the server."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import redis
from nodes import eventually

from redbike.server.embedded import SOCKET_NAME, EmbeddedServer
from redbike.server.filelock import FileLock
from redbike.server.process import LOG_NAME, PID_NAME

BOUND_S = 10.0


USER = """
import os, signal, sys
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redbike.server.embedded import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
client = server.client(retry=Retry(ConstantBackoff(0.01), 20), retry_on_error=[redis.ConnectionError])
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class User:
    """A process that uses the server in a folder, and evaluates the expressions that it receives."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, expression: str) -> str:
        self.tell(expression)
        return self.answer()

    def exit(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(BOUND_S) == 0

    def kill(self) -> None:
        """Send SIGKILL. Close the pipes without reading them, because children may have them open too."""
        self.process.kill()
        self.process.wait(BOUND_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def is_running(pid: int) -> bool:
    """Return True if the process runs. A zombie does not run: it only waits for its parent."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return status.stdout.strip()[:1] not in ("", "Z")


def pid_of(server: EmbeddedServer) -> int:
    with server.client() as client:
        return int(client.info("server")["process_id"])


def server_pids(folder: Path) -> set[int]:
    """Return the pids of all servers that have written their start to the log of the folder."""
    lines = (folder / LOG_NAME).read_text().splitlines()
    return {int(line.split(":", 1)[0]) for line in lines if "just started" in line}


def is_served(folder: Path) -> bool:
    """Return True if a server process has the lock of the folder."""
    with FileLock(folder) as lock:
        return not lock.try_acquire()


def kill_server(folder: Path) -> None:
    """Kill the server process once all data are in its file, and wait until it is gone."""
    with redis.Redis(unix_socket_path=str(folder / SOCKET_NAME)) as client:
        eventually(lambda: client.info("persistence")["aof_buffer_length"] == 0)
    os.kill(int((folder / PID_NAME).read_text()), signal.SIGKILL)
    eventually(lambda: not is_served(folder))

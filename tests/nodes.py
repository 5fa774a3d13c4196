"""Server processes on loopback ports, and what belongs together: a primary with a replica and a Sentinel.

Needs nothing of pytest, for the soak (benchmarks/chaos) plays with them too. Everything started here stands in a
temporary folder and is ended by its pid.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SERVICE = "redbike-test"


def server_binary() -> str:
    """Return the path of the server under test: REDBIKE_TEST_SERVER, or else the Valkey of the extra `embedded`."""
    named = os.environ.get("REDBIKE_TEST_SERVER")
    if named:
        return named
    from redbike.server.process import server_binary

    return server_binary()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until the condition holds. Fail if it does not hold within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.005)


class CannotStart(Exception):
    """The server ends at its start with these settings."""


def free_port() -> int:
    """Return a free loopback port outside the range of ports for outgoing connections."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Node:
    """A server process on its own port, which a test can kill and start again on the same data."""

    def __init__(self, settings: str = "", binary: str | None = None, **connection: Any) -> None:
        """`settings`: lines of its conf, in which `{port}` and `{bus}` stand for free ports."""
        self.folder = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
        self.port, self.bus = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._binary = binary or server_binary()
        retry = Retry(NoBackoff(), 0)
        self._connection: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "retry": retry, **connection}
        given = settings.replace("{port}", str(self.port)).replace("{bus}", str(self.bus))
        port = "" if "tls-port" in given else f"port {self.port}\n"
        (self.folder / "conf").write_text(f'{port}bind 127.0.0.1\ndir {self.folder}\nsave ""\n{given}\n')
        self._mode = ["--sentinel"] if "sentinel monitor" in given else []
        self.start()

    def start(self) -> None:
        """Start the server, without waiting until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._binary, str(self.folder / "conf"), *self._mode],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> Self:
        """Wait until the node answers, and return it."""
        with self.client() as client:
            eventually(lambda: answers(client) or self._is_over(), 20)
        if self._is_over():
            raise CannotStart((self.folder / "log").read_text()[-500:])
        return self

    def client(self, **kwargs: object) -> redis.Redis:
        return redis.Redis(**(self._connection | kwargs))

    def ask(self, *command: object) -> Any:
        """Return the reply to one command."""
        with self.client(decode_responses=True) as client:
            return client.execute_command(*command)

    @property
    def config(self) -> dict[str, object]:
        """Return the arguments with which a Redbike connects."""
        return {"host": "127.0.0.1", "port": self.port}

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop the process with SIGSTOP; its connections stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def revive(self) -> Self:
        """Start or continue the server, and wait until it answers. A killed server has lost its data."""
        if self._is_over():
            self.start()
        else:
            assert self.process is not None
            self.process.send_signal(signal.SIGCONT)
        return self.ready()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_over(self) -> bool:
        return self.process is not None and self.process.poll() is not None


class Group:
    """Nodes that belong together, and end together."""

    def __init__(self, binary: str | None = None) -> None:
        self.nodes: list[Node] = []
        self._binary = binary
        try:
            self._start()
        except BaseException:
            self.remove()
            raise

    def _start(self) -> None:
        """Start the nodes, and wait until they know each other."""
        raise NotImplementedError

    def add(self, settings: str = "") -> Node:
        node = Node(settings, self._binary)
        self.nodes.append(node)
        return node

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Watched(Group):
    """A primary and a replica, watched by one Sentinel, which decides alone."""

    def __init__(self, binary: str | None = None, down_after_ms: int = 1000, failover_timeout_ms: int = 2000) -> None:
        self._down_after_ms, self._failover_timeout_ms = down_after_ms, failover_timeout_ms
        super().__init__(binary)

    def _start(self) -> None:
        self.primary, self.replica = self.add("repl-diskless-sync-delay 0"), self.add("repl-diskless-sync-delay 0")
        self.primary.ready()
        self.replica.ready()
        self._replicate()
        self.sentinel = self.add(
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} {self._failover_timeout_ms}\n"
        ).ready()
        eventually(lambda: self._master()["flags"] == "master" and self._knows_a_sound_replica(), 20)

    @property
    def config(self) -> dict[str, object]:
        """Return the arguments with which a Redbike connects."""
        return {"sentinels": f"127.0.0.1:{self.sentinel.port}", "service_name": SERVICE}

    def hold_up(self) -> None:
        """Delay every write on the primary from now on. Return when the replica has all earlier writes."""
        self.primary.ask("CLIENT", "PAUSE", 60_000, "WRITE")
        self.catch_up()

    def catch_up(self) -> None:
        """Return when the replica has all writes that the primary has now."""
        # WAIT does not help: it is delayed as well, and counts only the writes of the connection that asks.
        written = self._replication(self.primary)["master_repl_offset"]
        eventually(lambda: self._replication(self.replica)["slave_repl_offset"] >= written)

    def has_failed_over(self) -> bool:
        """Return True if the Sentinel sends clients to the replica."""
        return bool(self._master()["port"] == self.replica.port)

    def change_places(self) -> None:
        """Bring the former primary back as the replica, after a failover."""
        self.primary, self.replica = self.replica, self.primary
        self.replica.revive()
        self._replicate()
        self.replica.ask("CLIENT", "UNPAUSE")  # delayed writes now reach a replica
        eventually(lambda: self._knows_a_sound_replica(), 20)

    def _replicate(self) -> None:
        self.replica.ask("REPLICAOF", "127.0.0.1", self.primary.port)
        eventually(lambda: self._replication(self.replica).get("master_link_status") == "up", 20)
        eventually(lambda: self._replication(self.primary).get("slave0", {}).get("state") == "online", 20)

    def _master(self) -> dict[str, Any]:
        """Return what the Sentinel knows about the primary."""
        with self.sentinel.client() as client:
            masters: Any = client.sentinel_masters()
            return dict(masters[SERVICE])

    def _knows_a_sound_replica(self) -> bool:
        with self.sentinel.client() as client:
            known: Any = client.sentinel_slaves(SERVICE)
            return any(one["port"] == self.replica.port and one["flags"] == "slave" for one in known)

    def _replication(self, node: Node) -> dict[str, Any]:
        with node.client() as client:
            info: dict[str, Any] = client.info("replication")
            return info

"""Real servers of other kinds, on loopback ports: a primary with a replica and a Sentinel, a Cluster, one with TLS.

The program is the server under test. Everything started here stands in a temporary folder and is ended by its pid.
"""

import random
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis
from conftest import Server, answers, eventually, server_binary
from redis.backoff import NoBackoff
from redis.retry import Retry

DEBIAN = "/usr/bin/redis-server"
SERVICE = "redbike-test"
SLOTS = 16384


class CannotStart(Exception):
    """The program ends as soon as it is started with such settings."""


def free_port() -> int:
    """A loopback port that nobody uses, out of the range from which the system takes those of outgoing connections."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Node:
    """A server process on a port of its own, which can be killed and started again on the same data."""

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
        """Start it, without waiting until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._binary, str(self.folder / "conf"), *self._mode],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> Self:
        """The node, once it answers."""
        with self.client() as client:
            eventually(lambda: answers(client) or self._is_over(), 20)
        if self._is_over():
            raise CannotStart((self.folder / "log").read_text()[-500:])
        return self

    def client(self, **kwargs: object) -> redis.Redis:
        return redis.Redis(**(self._connection | kwargs))

    def ask(self, *command: object) -> Any:
        """The reply to one command."""
        with self.client(decode_responses=True) as client:
            return client.execute_command(*command)

    @property
    def config(self) -> dict[str, object]:
        """How a Redbike gets there."""
        return {"host": "127.0.0.1", "port": self.port}

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_over(self) -> bool:
        return self.process is not None and self.process.poll() is not None


class Group:
    """Nodes that belong together; ends them all."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        try:
            self._start()
        except BaseException:
            self.remove()
            raise

    def _start(self) -> None:
        """Start the nodes, and wait until they know of each other."""
        raise NotImplementedError

    def add(self, settings: str = "") -> Node:
        node = Node(settings)
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
    """A primary and a replica, watched by one Sentinel whose word is enough."""

    def _start(self) -> None:
        self.primary, self.replica = self.add("repl-diskless-sync-delay 0"), self.add("repl-diskless-sync-delay 0")
        self.primary.ready()
        self.replica.ready().ask("REPLICAOF", "127.0.0.1", self.primary.port)
        eventually(lambda: "master_link_status:up" in self._replication(self.replica), 20)
        eventually(lambda: "state=online" in self._replication(self.primary), 20)
        self.sentinel = self.add(
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        ).ready()
        eventually(lambda: self.sentinel.ask("SENTINEL REPLICAS", SERVICE), 20)

    @property
    def config(self) -> dict[str, object]:
        """How a Redbike gets there."""
        return {"sentinels": f"127.0.0.1:{self.sentinel.port}", "service_name": SERVICE}

    def has_failed_over(self) -> bool:
        """Whether the Sentinel tells clients to go to the replica."""
        with self.sentinel.client() as client:
            return bool(client.sentinel_masters()[SERVICE]["port"] == self.replica.port)

    def _replication(self, node: Node) -> str:
        with node.client() as client:
            client.set_response_callback("INFO", bytes.decode)
            return str(client.info("replication")).replace("\r\n", " ")


class Cluster(Group):
    """Primaries without replicas that share the slots evenly, and keep an append-only file."""

    def __init__(self, size: int = 3) -> None:
        self._size = size
        super().__init__()

    def _start(self) -> None:
        size = self._size
        settings = "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 1000\nappendonly yes"
        for _ in range(size):
            self.add(settings)
        for number, node in enumerate(self.nodes):
            node.ready().ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER ADDSLOTS", *range(SLOTS * number // size, SLOTS * (number + 1) // size))
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port, node.bus)
        self.wait_until_whole()

    @property
    def config(self) -> dict[str, object]:
        """How a Redbike gets there."""
        return {"host": "127.0.0.1", "port": self.nodes[0].port, "cluster": True}

    def wait_until_whole(self) -> None:
        """Until every node knows of every slot."""
        eventually(lambda: all(self._is_whole(node) for node in self.nodes), 20)

    def owner(self, key: str) -> Node:
        """The node that has the key's slot."""
        slot = int(self.nodes[0].ask("CLUSTER KEYSLOT", key))
        return self.nodes[next(n for n in range(len(self.nodes)) if slot < SLOTS * (n + 1) // len(self.nodes))]

    def _is_whole(self, node: Node) -> bool:
        info = node.ask("CLUSTER INFO")
        found = dict(line.split(":") for line in info.split()) if isinstance(info, str) else info
        return found["cluster_state"] == "ok" and int(found["cluster_known_nodes"]) == len(self.nodes)


class ClusterNode(Server):
    """The suite's server as a Cluster of one node: the port is for Redbike, the socket for everybody else."""

    def __init__(self) -> None:
        self.port = free_port()
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        super().__init__("--port", str(self.port), "--bind", "127.0.0.1", *cluster)
        with self.client() as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(SLOTS))
            eventually(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 20)

    @property
    def config(self) -> dict[str, object]:
        return {"host": "127.0.0.1", "port": self.port, "cluster": True}


class Certificates:
    """A certificate authority made for a test, and a server's certificate for 127.0.0.1 signed by it."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where there is no openssl."""
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        ca_key = folder / "ca.key"
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        _openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", ca_key, "-out", self.ca)
        request, names = folder / "server.csr", folder / "names"
        _openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", self.key, "-out", request)
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        signed_by = ("-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-extfile", names)
        _openssl("x509", "-req", "-in", request, "-days", "2", *signed_by, "-out", self.cert)


def secured(certificates: Certificates) -> Node:
    """A server that listens for TLS only. Raises CannotStart where no server at hand knows TLS."""
    settings = (
        f"port 0\ntls-port {{port}}\ntls-cert-file {certificates.cert}\ntls-key-file {certificates.key}\n"
        f"tls-ca-cert-file {certificates.ca}\ntls-auth-clients no\n"
    )
    reason = "no server"
    for binary in dict.fromkeys([server_binary(), DEBIAN]):
        if not Path(binary).exists():
            continue
        node = Node(settings, binary, ssl=True, ssl_ca_certs=str(certificates.ca))
        try:
            return node.ready()
        except CannotStart as error:
            node.remove()
            reason = str(error).splitlines()[-1]
    raise CannotStart(reason)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)

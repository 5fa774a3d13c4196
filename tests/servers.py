"""Real servers of other kinds, on loopback ports: a Cluster, one with TLS. (One with a Sentinel: see nodes.py.)

The program is the server under test. Everything started here stands in a temporary folder and is ended by its pid.
"""

import subprocess
from pathlib import Path

from conftest import Server
from nodes import CannotStart, Group, Node, eventually, free_port, server_binary

DEBIAN = "/usr/bin/redis-server"
SLOTS = 16384


class Cluster(Group):
    """Primaries that share the slots evenly and keep an append-only file, each with one replica on request."""

    def __init__(self, size: int = 3, *, replicas: bool = False) -> None:
        self._size, self._has_replicas = size, replicas
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
        if self._has_replicas:
            self._add_replicas(settings)

    def _add_replicas(self, settings: str) -> None:
        primaries = list(self.nodes)
        for _ in primaries:
            self.add(f"{settings}\nrepl-diskless-sync-delay 0\ncluster-replica-validity-factor 0").ready()
            self.nodes[0].ask("CLUSTER MEET", "127.0.0.1", self.nodes[-1].port, self.nodes[-1].bus)
        self.wait_until_whole()
        for primary, replica in zip(primaries, self.nodes[len(primaries) :], strict=True):
            replica.ask("CLUSTER REPLICATE", primary.ask("CLUSTER MYID"))
            eventually(lambda node=replica: "master_link_status:up" in str(_info(node)), 20)

    @property
    def config(self) -> dict[str, object]:
        """Return the arguments with which a Redbike connects."""
        return {"host": "127.0.0.1", "port": self.nodes[0].port, "cluster": True}

    def wait_until_whole(self) -> None:
        """Wait until every node knows every slot."""
        eventually(lambda: all(self._is_whole(node) for node in self.nodes), 20)

    def owner(self, key: str) -> Node:
        """Return the node that has the key's slot."""
        slot = int(self.nodes[0].ask("CLUSTER KEYSLOT", key))
        return self.nodes[next(n for n in range(self._size) if slot < SLOTS * (n + 1) // self._size)]

    def _is_whole(self, node: Node) -> bool:
        info = node.ask("CLUSTER INFO")
        found = dict(line.split(":") for line in info.split()) if isinstance(info, str) else info
        return found["cluster_state"] == "ok" and int(found["cluster_known_nodes"]) == len(self.nodes)


class ClusterNode(Server):
    """The server of the tests as a Cluster of one node: Redbike uses the port, all others use the socket."""

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
        # Python 3.13 asks for all that RFC 5280 does: what a key is for, and by which key a certificate was signed.
        use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl(*new, "-x509", *use, "-days", "2", "-subj", "/CN=test authority", "-keyout", ca_key, "-out", self.ca)
        request, names = folder / "server.csr", folder / "names"
        _openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", self.key, "-out", request)
        names.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        signed_by = ("-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-extfile", names)
        _openssl("x509", "-req", "-in", request, "-days", "2", *signed_by, "-out", self.cert)


def _info(node: Node) -> str:
    with node.client() as client:
        client.set_response_callback("INFO", bytes.decode)
        return str(client.info("replication"))


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
        except BaseException:
            node.remove()
            raise
    raise CannotStart(reason)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)

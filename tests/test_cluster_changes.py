"""A Cluster that changes while Redbike works: slots that move, nodes that fail over, stand still or leave."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder
from helpers import lines
from nodes import Node, eventually, free_port
from servers import Cluster
from threads import Loops

from redbike import Redbike
from redbike.cli import main
from redbike.errors import ConfigError, ServerError
from redbike.store.keys import Keys


def listeners(node: Node, prefix: str) -> int:
    """Return how many dispatchers of the prefix listen at this node."""
    with node.client() as client:
        numbers: Any = client.pubsub_numsub(Keys(prefix).wake)
        return int(numbers[0][1])


class Move:
    """The slot of a prefix, which moves from one node to another."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self.source = cluster.owner(prefix)
        self.target = next(node for node in cluster.nodes if node is not self.source)
        self._cluster = cluster
        self._slot = int(self.source.ask("CLUSTER KEYSLOT", prefix))

    def begin(self) -> None:
        """Open the slot, and move one key: the others stay."""
        self.target.ask("CLUSTER SETSLOT", self._slot, "IMPORTING", self.source.ask("CLUSTER MYID"))
        self.source.ask("CLUSTER SETSLOT", self._slot, "MIGRATING", self.target.ask("CLUSTER MYID"))
        self._migrate(1)

    def end(self) -> None:
        """Move the rest, and close the slot."""
        while self._migrate(100):
            pass
        target = self.target.ask("CLUSTER MYID")
        for node in (self.target, self.source, *self._cluster.nodes):
            node.ask("CLUSTER SETSLOT", self._slot, "NODE", target)

    def _migrate(self, count: int) -> int:
        keys = self.source.ask("CLUSTER GETKEYSINSLOT", self._slot, count)
        if keys:
            self.source.ask("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)


@contextmanager
def soon(do: Any, after_s: float) -> Iterator[None]:
    timer = threading.Timer(after_s, do)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_an_open_slot_is_waited_out(
    cluster: Cluster, tagged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G1: while a slot is being moved, loops wait with one plain line, and so does a single verb for a while."""
    caplog.set_level(logging.INFO)
    fleet, worker, move = Fleet(cluster, tagged, tmp_path), Recorder(), Move(cluster, tagged)
    with Loops(fleet) as loops:
        bike = fleet()
        for n in range(20):
            bike.set(f"far{n}:A", "AT:4000000000")
            bike.set(f"waits{n}:B", "NOW")
        loops.work(worker)
        loops.dispatch()
        bike.set("before:A", "NOW")
        eventually(lambda: worker.done == ["before:A"] and listeners(move.source, tagged))
        move.begin()
        with pytest.raises(ServerError, match=r"^Redis Cluster at 127\.0\.0\.1:\d+ is moving the slot of this prefix"):
            bike.set("refused:A", "NOW")
        eventually(lambda: lines(caplog, "is moving the slot"), 20)
        with soon(move.end, 1.0):
            bike.set("after:A", "NOW")
        bike.set("later:A", f"AT:{time.time() + 0.3}")
        eventually(lambda: worker.done == ["before:A", "after:A", "later:A"], 20)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines(caplog, "trying until it is back")) <= 2, "one for each loop"
    fleet.close()


def test_a_dispatcher_listens_where_its_slot_is(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """Waiting: a dispatcher whose slot has moved listens at its new node, because the old one may leave the Cluster."""
    fleet, move = Fleet(cluster, tagged, tmp_path), Move(cluster, tagged)
    with Loops(fleet) as loops:
        loops.dispatch()
        eventually(lambda: listeners(move.source, tagged))
        move.begin()
        move.end()
        eventually(lambda: listeners(move.target, tagged), 5)
        eventually(lambda: not listeners(move.source, tagged))
    fleet.close()


def test_a_blip_does_not_refuse_a_command(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """C7: a verb waits for a Cluster that is down for a moment."""
    fleet = Fleet(cluster, tagged, tmp_path)
    bike = fleet()
    bike.set("first:A", "NOW")
    node = cluster.owner(tagged)
    slot = node.ask("CLUSTER KEYSLOT", tagged)
    node.ask("CLUSTER DELSLOTS", slot)
    with soon(lambda: node.ask("CLUSTER ADDSLOTS", slot), 1.5):
        bike.set("second:A", "NOW")
    assert bike.tell("second:A")["schedule"] == "STOP"
    fleet.close()


class Replicated:
    """A Cluster with a replica of each primary, and its faults."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self.primary = cluster.owner(prefix)
        self.replica = cluster.nodes[cluster.nodes.index(self.primary) + len(cluster.nodes) // 2]

    def has_failed_over(self) -> bool:
        with self.replica.client() as client:
            info: Any = client.info("replication")
            return bool(info["role"] == "master")


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    with Cluster(replicas=True) as cluster:
        yield cluster


def test_a_graceful_failover_is_no_outage(
    replicated: Cluster, tagged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: a worker whose wait is ended by a failover (UNBLOCKED) goes on at the new primary, and logs nothing."""
    caplog.set_level(logging.INFO)
    fleet, worker, pair = Fleet(replicated, tagged, tmp_path), Recorder(), Replicated(replicated, tagged)
    with Loops(fleet) as loops:
        for _ in range(3):
            loops.work(worker)
        bike = fleet()
        with pair.primary.client() as client:
            eventually(lambda: sum(one["cmd"] == "blpop" for one in client.client_list()) == 3)
        pair.replica.ask("CLUSTER FAILOVER")
        eventually(pair.has_failed_over, 20)
        bike.set("new:A", "NOW")
        eventually(lambda: worker.done == ["new:A"], 20)
    assert not lines(caplog, "UNBLOCKED")
    assert not lines(caplog, "trying until it is back")
    fleet.close()


def test_a_wait_that_a_change_of_roles_ends_is_no_outage(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: UNBLOCKED, with which a new replica ends all waits, counts as a cut connection."""
    caplog.set_level(logging.INFO)
    node = Node().ready()
    try:
        fleet, worker = Fleet(node, prefix, tmp_path), Recorder()
        with Loops(fleet) as loops:
            loops.work(worker)
            with node.client() as client:
                eventually(lambda: any(one["cmd"] == "blpop" for one in client.client_list()))
                pipeline: Any = client.pipeline(transaction=True)
                pipeline.execute_command("REPLICAOF", "127.0.0.1", free_port())
                pipeline.execute_command("REPLICAOF", "NO", "ONE").execute()
                errors: Any = client.info("errorstats")
                assert "errorstat_UNBLOCKED" in errors
            bike = fleet()
            bike.set("new:A", "NOW")
            eventually(lambda: worker.done == ["new:A"])
        assert not lines(caplog, "trying until it is back")
        fleet.close()
    finally:
        node.remove()


def test_a_frozen_primary_costs_one_time_limit(replicated: Cluster, tagged: str, tmp_path: Path) -> None:
    """C7: a dispatcher leaves a frozen primary with all its connections at once, and hears calls again."""
    limit_s = 4.0
    fleet, pair = Fleet(replicated, tagged, tmp_path), Replicated(replicated, tagged)
    with Loops(fleet) as loops:
        loops.dispatch(redis_config=replicated.config | {"socket_timeout": limit_s})
        eventually(lambda: listeners(pair.primary, tagged))
        threading.Event().wait(1.5)  # until it has polled, on its other connection
        pair.primary.freeze()
        frozen_at = time.monotonic()
        eventually(pair.has_failed_over, 20)
        failed_over_s = time.monotonic() - frozen_at
        eventually(lambda: listeners(pair.replica, tagged), 30)
        deaf_s = time.monotonic() - frozen_at
    assert deaf_s < 1.6 * limit_s, (failed_over_s, deaf_s)
    pair.primary.revive()
    fleet.close()


def test_several_nodes(
    cluster: Cluster, tagged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """G1: `nodes` names several nodes of a Cluster, and a dead node is passed over."""
    nodes = f"127.0.0.1:{free_port()} 127.0.0.1:{cluster.nodes[0].port}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".redbike.conf").write_text(f"[redbike]\nprefix: {tagged}\n[redbike-redis]\nnodes: {nodes}\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    capsys.readouterr()
    assert main(["schedules"]) == 0
    assert capsys.readouterr().out.splitlines() == ["j:A,CONTINUE"]
    assert main(["unset", "j:A"]) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cluster": True, "url": "redis://localhost/3"}, "database 3: a Cluster has only database 0"),
        ({"cluster": True, "db": 3}, "database 3: a Cluster has only database 0"),
        ({"nodes": "somewhere"}, "nodes: 'somewhere' is not HOST:PORT"),
        ({"nodes": " "}, "nodes: holds no address"),
    ],
)
def test_settings_of_a_cluster_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    """G1: a setting that a Cluster does not have, or a bad address, gives an error that says so."""
    with pytest.raises(ConfigError, match=message):
        Redbike(Recorder(), prefix="{p}", redis_config=settings)


def test_database_0_of_a_cluster(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """G1: database 0 may be named, because it is the database of a Cluster."""
    port = cluster.nodes[0].port
    for config in ({"url": f"redis://127.0.0.1:{port}/0"}, {"host": "127.0.0.1", "port": port, "db": 0}):
        with Redbike(
            Recorder(), prefix=tagged, redis_config={"cluster": True, **config}, timefile=tmp_path / "t"
        ) as bike:
            assert bike.tell("j:A")["schedule"] is None

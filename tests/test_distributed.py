"""Redis as more than one server: Sentinel and Cluster.

The servers are real, on loopback ports (nodes.py, servers.py). A test that no server on the machine can serve is
skipped, with the reason.
"""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Fleet, Recorder
from helpers import HOURLY, ROOT, lines, run_through, state_of, write_conf
from nodes import Node, Watched, eventually
from servers import Cluster
from state import state
from threads import Loops

from redbike import Redbike
from redbike.cli import main
from redbike.errors import ServerError
from redbike.store.keys import Keys

# Sentinel


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with Watched() as watched:
        yield watched


def test_sentinels_from_a_conf(watched: Watched, prefix: str, in_a_folder: Path) -> None:
    """G1: `sentinels` and `service-name` in the conf lead to the primary; a Sentinel that does not answer is passed
    over.
    """
    sentinels = f"127.0.0.1:1 127.0.0.1:{watched.sentinel.port}"
    write_conf(in_a_folder, prefix, f"sentinels: {sentinels}\nservice-name: redbike-test\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    with watched.primary.client() as client:
        assert state(client, prefix)["-work-A"] == ["j:A"]


def test_a_sentinel_that_is_taken_for_a_server(watched: Watched, prefix: str, tmp_path: Path) -> None:
    """G4: if the address of a Sentinel is given as the server, the error says which setting it belongs to."""
    bike = Fleet(watched.sentinel, prefix, tmp_path)()
    with pytest.raises(ServerError, match=r"is a Sentinel and stores no data: write its address into sentinels"):
        bike.set("j:A", "NOW")


def test_a_replica_is_refused_by_loops(watched: Watched, prefix: str, tmp_path: Path) -> None:
    """G4: a loop that reaches a replica says so, and names the primary."""
    fleet = Fleet(watched.replica, prefix, tmp_path)
    with pytest.raises(ServerError, match=rf"read-only replica: name its primary, 127.0.0.1:{watched.primary.port}"):
        fleet().dispatch()


@pytest.mark.usefixtures("impatient")
def test_sentinels_that_know_no_such_service(watched: Watched, prefix: str, tmp_path: Path) -> None:
    """G4: a service that the Sentinels do not watch gives an error that names it."""
    config = watched.config | {"service_name": "nobody"}
    with pytest.raises(
        ServerError, match=r"nobody \(by the Sentinels .*no primary is known: .* does not monitor 'nobody'"
    ):
        Redbike(Recorder(), prefix, config, tmp_path / "timefile").set("j:A", "NOW")


def test_a_failover_is_outlived(
    watched: Watched, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: when Sentinels promote a replica, dispatcher and worker go on there, with one line for each of them."""
    # The last test that uses these servers, because it kills one.
    caplog.set_level(logging.INFO)
    fleet = Fleet(watched, prefix, tmp_path)
    worker = Recorder()
    worker.acts["often:A"] = lambda: 0.05
    with Loops(fleet) as loops:
        loops.work(worker)
        loops.dispatch(on_timeout="retry")
        bike = fleet()
        bike.set("often:A", "CONTINUE")
        bike.set("soon:A", f"AT:{time.time() + 2.5}")
        eventually(lambda: worker.done.count("often:A") > 2)
        watched.catch_up()

        watched.primary.kill()
        eventually(lambda: len(gone(caplog)) == 2)
        eventually(watched.has_failed_over, 20)
        eventually(lambda: len(lines(caplog, "is back after")) >= 2, 20)
        bike.set("new:A", "NOW")
        bike.set("later:A", f"AT:{time.time() + 0.2}")
        eventually(lambda: {"new:A", "later:A", "soon:A"} <= set(worker.done), 20)
        info: Any = bike.redis.info()
        assert (info["role"], info["tcp_port"]) == ("master", watched.replica.port)
    assert len(gone(caplog)) == 2, "one line for each loop"
    assert len(lines(caplog, "is back after")) == len(lines(caplog, "trying until it is back")), (
        "and one with the downtime"
    )
    assert all("redbike-test (by the Sentinels 127.0.0.1:" in line for line in lines(caplog, "is back after"))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    fleet.close()


@pytest.mark.parametrize("kind", ["dispatch", "work"])
def test_a_primary_that_stands_still_is_left_in_one_go(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """C7: with a `socket_timeout`, a loop leaves a frozen primary with all its connections, also the one on which a
    dispatcher waits for calls. It logs one line when the server is away and one when it is back.
    """
    caplog.set_level(logging.INFO)
    with Watched(down_after_ms=500, failover_timeout_ms=1000) as watched:
        fleet = Fleet(watched, prefix, tmp_path)
        with Loops(fleet) as loops:
            getattr(loops, kind)(redis_config=watched.config | {"socket_timeout": 0.5})
            with watched.primary.client() as client:
                eventually(lambda: is_waiting(client, prefix, kind))
            watched.primary.freeze()
            eventually(watched.has_failed_over, 20)
            with watched.replica.client() as client:
                eventually(lambda: is_waiting(client, prefix, kind), 20)
                eventually(lambda: len(lines(caplog, "is back after")) == 1)
            # A job, so that each of its connections is used before the lines are counted.
            aside = fleet()
            aside.set("j:A", "AT:1" if kind == "dispatch" else "NOW")
            eventually(lambda: str(aside.tell("j:A")["status"]).startswith("ENQ" if kind == "dispatch" else "STP"))
        assert len(gone(caplog)) == 1
        assert len(lines(caplog, "is back after")) == len(lines(caplog, "trying until it is back"))
        fleet.close()


def gone(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that report an outage. A Sentinel may revoke its first answer about the new primary until it
    has reached that primary: such a line is not counted."""
    return [line for line in lines(caplog, "trying until it is back") if "no primary is known" not in line]


def is_waiting(client: redis.Redis, prefix: str, kind: str) -> bool:
    """Return True if a dispatcher waits there for calls, or a worker for its bell."""
    numbers: Any = client.pubsub_numsub(Keys(prefix).wake) if kind == "dispatch" else [(b"", 0)]
    clients: Any = client.client_list()
    return bool(numbers[0][1]) or (kind == "work" and any(one["cmd"] == "blpop" for one in clients))


# Cluster


@pytest.fixture
def cluster_fleet(cluster: Cluster, tagged: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(cluster, tagged, tmp_path)
    yield fleet
    fleet.close()


def keys_on(cluster: Cluster) -> list[list[str]]:
    """Return the keys of each node."""
    return [sorted(node.ask("KEYS *")) for node in cluster.nodes]


@pytest.mark.parametrize("prefix", ["shop", "{}shop", "shop}{", "{shop", "shop{}"])
def test_an_untagged_prefix_is_refused(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A6: a prefix that would scatter its keys over a Cluster is refused in a sentence that says how to tag it."""
    bike = Redbike(Recorder(), prefix, cluster.config, tmp_path / "timefile")
    for verb in (lambda: bike.set("j:A", "NOW"), bike.dispatch, bike.work, lambda: list(bike.get_schedules())):
        with pytest.raises(ServerError) as error:
            verb()
        assert f"put braces around the prefix, {{{prefix}}}, to keep its keys together" in str(error.value)
        assert "\n" not in str(error.value)
    assert keys_on(cluster) == [[], [], []]
    bike.close()


def test_a_cluster_that_is_taken_for_a_server(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """G4: if the address of a Cluster node is given as the server, the error says what to write."""
    config = {"host": "127.0.0.1", "port": cluster.nodes[0].port}
    with pytest.raises(ServerError, match=r"is a node of a Cluster: write cluster: yes into \[redbike-redis\]"):
        Redbike(Recorder(), tagged, config, tmp_path / "timefile").set("j:A", "NOW")


def test_a_cluster_that_is_away(tagged: str, tmp_path: Path) -> None:
    """G4: a Cluster of which no node answers gives an error with the address."""
    with pytest.raises(ServerError, match=r"Redis Cluster at 127\.0\.0\.1:1 is out of reach"):
        Redbike(Recorder(), tagged, {"host": "127.0.0.1", "port": 1, "cluster": True}, tmp_path / "timefile")


@pytest.mark.parametrize("node", [0, 1, 2])
def test_every_verb_on_a_cluster(cluster: Cluster, cluster_fleet: Fleet, tagged: str, node: int) -> None:
    """A6: with a tagged prefix every method works on a Cluster, whichever node the conf names."""
    worker = Recorder()
    bike = cluster_fleet(worker, redis_config=cluster.config | {"port": cluster.nodes[node].port}, on_timeout="retry")
    run_through(bike, worker)
    bike.set("j:A", "CONTINUE")
    bike.enqueue("j:A")
    bike.set("hourly:A", HOURLY)
    assert bike.tell("j:A")["schedule"] == "CONTINUE"
    assert dict(bike.get_schedules()) == {"j:A": "CONTINUE", "hourly:A": HOURLY}
    assert next(bike.consumer)[0] == "j:A"
    assert bike.is_working("j:A")
    bike.unset("j:A")
    bike.redis.hset(bike.schedules_key, "lost:A", "CONTINUE")
    assert [lost[0] for lost in bike.get_lost()] == ["lost:A"]
    assert bike.reset("lost:A")
    assert list(bike.get_lost()) == []
    assert not bike.is_halted()
    held = keys_on(cluster)
    assert len([keys for keys in held if keys]) == 1, "one prefix is one slot"
    assert all(key.startswith(tagged) for keys in held for key in keys)
    bike.flush()
    assert keys_on(cluster) == [[], [], []]


def test_flush_leaves_other_prefixes_alone(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A5: `flush` on a Cluster deletes the keys of its prefix on every node, and no others."""
    bikes = [
        Redbike(Recorder(), f"{{{prefix}:{n}}}", cluster.config, tmp_path / f"timefile{n}", on_timeout="retry")
        for n in range(6)
    ]
    for bike in bikes:
        bike.set("j:A", "CONTINUE")
        bike.set("k:A", "NOW")
        assert next(bike.consumer)[0] == "j:A"
    left = set(range(6))
    for n, bike in enumerate(bikes):
        bike.flush()
        bike.close()
        left.discard(n)
        found = {int(re.search(r":(\d)\}", key)[1]) for keys in keys_on(cluster) for key in keys}  # type: ignore[index]
        assert found == left


def test_parts_are_spread_as_the_docs_show(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A6: the example in docs/scaling.md spreads jobs over parts, and parts over nodes; each job is in its part."""
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "scaling.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    bikes = names["bikes"](Recorder(), redis_config=cluster.config)
    jobids = [f"{n}:A" for n in range(100)]
    for jobid in jobids:
        bikes[names["part_of"](jobid)].set(jobid, "CONTINUE")
    assert [len([key for key in keys if key.endswith("-schedules")]) for keys in keys_on(cluster)] == [6, 5, 5]
    assert sorted(jobid for bike in bikes for jobid, _ in bike.get_schedules()) == sorted(jobids)
    for bike in bikes:
        bike.flush()
        bike.close()
    assert keys_on(cluster) == [[], [], []]


def test_a_bulk_load_on_a_cluster(cluster_fleet: Fleet, tmp_path: Path) -> None:
    """C3: a CSV of more than one batch is loaded completely, also with a `SCRIPT FLUSH` in between."""
    bike = cluster_fleet()
    rows = tmp_path / "rows.csv"
    rows.write_text("".join(f"{n}:A,CONTINUE\n" for n in range(1203)))
    bike.load_csv(rows)
    assert bike.redis.llen(bike.queue_for("0:A")) == 1203
    bike.redis.script_flush()
    rows.write_text("".join(f"{n}:B,CONTINUE\n" for n in range(1203)))
    bike.load_csv(rows)
    assert bike.redis.llen(bike.queue_for("0:B")) == 1203
    assert len(dict(bike.get_schedules())) == 2406


def test_loops_on_a_cluster(cluster_fleet: Fleet) -> None:
    """C1, E1: dispatcher and worker on a Cluster wake at once for a new job, and `HALT` ends them within a second."""
    worker, bike = Recorder(), cluster_fleet()
    with Loops(cluster_fleet) as loops:
        started = [loops.work(worker), loops.dispatch()]
        bike.set("first:A", "NOW")
        eventually(lambda: "first:A" in worker.done)
        for n in range(5):
            began = time.time()
            bike.set(f"now{n}:A", "NOW")
            bike.set(f"at{n}:A", f"AT:{began + 0.1}")
            eventually(lambda n=n: {f"now{n}:A", f"at{n}:A"} <= set(worker.done))  # type: ignore[misc]
            assert time.time() - began < 0.9, "nobody waited for a look of his own"
        bike.control("halt")
        began = time.monotonic()
        for loop in started:
            loop.join(5)
        assert time.monotonic() - began < 1.5


def test_a_lost_run_is_tried_again_on_a_cluster(cluster_fleet: Fleet) -> None:
    """C7: what `on-timeout` promises holds on a Cluster."""
    bike = cluster_fleet(on_timeout="retry", default_timeout=0.1)
    bike.set("j:A", "CONTINUE")
    assert next(bike.consumer)[0] == "j:A"
    eventually(lambda: not bike.is_working("j:A"))
    with Loops(cluster_fleet) as loops:
        loops.dispatch(on_timeout="retry")
        eventually(lambda: bike.redis.hgetall(f"{bike.prefix}:retries") == {b"j:A": b"1"}, 3)
    assert state_of(bike)["-timeline"].keys() == {"j:A"}


def test_a_node_that_is_killed_and_comes_back(
    cluster: Cluster, cluster_fleet: Fleet, tagged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: loops survive the loss of the node with their prefix: one line when it goes, one when it is back, nothing
    lost.
    """
    caplog.set_level(logging.INFO)
    worker, bike = Recorder(), cluster_fleet()
    worker.acts["often:A"] = lambda: 0.05
    node = cluster.owner(tagged)
    with Loops(cluster_fleet) as loops:
        loops.work(worker)
        loops.dispatch(on_timeout="retry")
        bike.set("often:A", "CONTINUE")
        bike.set("soon:A", f"AT:{time.time() + 1}")
        eventually(lambda: worker.done.count("often:A") > 2)
        eventually(lambda: "aof_pending_bio_fsync:0" in aof(node))
        node.kill()
        eventually(lambda: len(lines(caplog, "trying until it is back")) == 2)
        with pytest.raises(ServerError, match=r"out of reach|cluster is down"):
            bike.set("lost:A", "NOW")
        node.start()
        node.ready()
        cluster.wait_until_whole()
        eventually(lambda: len(lines(caplog, "is back after")) == 2, 20)
        bike.set("new:A", "NOW")
        before = worker.done.count("often:A")
        eventually(lambda: {"new:A", "soon:A"} <= set(worker.done), 20)
        eventually(lambda: worker.done.count("often:A") > before, 20)
    assert worker.done.count("soon:A") == 1
    assert len(gone(caplog)) == 2, "one line for each loop"
    assert len(lines(caplog, "is back after")) == len(lines(caplog, "trying until it is back")), (
        "and one with the downtime"
    )
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def aof(node: Node) -> str:
    with node.client() as client:
        client.set_response_callback("INFO", bytes.decode)
        return str(client.info("persistence"))


def test_a_cluster_from_a_conf(cluster: Cluster, tagged: str, in_a_folder: Path, capsys: Any) -> None:
    """G1, G4: `cluster: yes` works in the conf, with host and port or a URL; an untagged prefix gives one line and exit
    code 1.
    """
    port = cluster.nodes[1].port
    write_conf(in_a_folder, tagged, f"host: 127.0.0.1\nport: {port}\ncluster: yes\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    write_conf(in_a_folder, tagged, f"url: redis://127.0.0.1:{port}\ncluster: yes\n")
    capsys.readouterr()
    assert main(["schedules"]) == 0
    assert capsys.readouterr().out.splitlines() == ["j:A,CONTINUE"]
    assert main(["unset", "j:A"]) == 0
    write_conf(in_a_folder, "shop", f"url: redis://127.0.0.1:{port}\ncluster: yes\n")
    assert main(["set", "j:A", "CONTINUE"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.usefixtures("impatient")
def test_sentinels_with_ipv6_and_commas(prefix: str, tmp_path: Path) -> None:
    """G1: addresses of Sentinels may have brackets and be separated by commas; errors name the Sentinels that do not
    answer.
    """
    config = {"sentinels": "[::1]:1,127.0.0.1:1", "service_name": "x"}
    with pytest.raises(ServerError, match=r"no primary is known: the Sentinel at \[::1\]:1 is out of reach"):
        Redbike(Recorder(), prefix, config, tmp_path / "timefile").set("j:A", "NOW")

"""Redis that is more than one plain server: Sentinel, Cluster, TLS, users with few rights, and URLs to all of them.

Real servers on loopback ports (nodes.py, servers.py). What no server at hand can play is skipped, with the reason.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import ON_A_CLUSTER, Fleet, Recorder, Server, eventually
from nodes import CannotStart, Node, Watched
from processes import Site
from servers import Certificates, Cluster, secured
from state import state
from threads import Loops

from redbike import Redbike
from redbike.cli import COMMANDS, main
from redbike.errors import ConfigError, ServerError
from redbike.keys import Keys

ROOT = Path(__file__).parent.parent
HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [message for message in caplog.messages if part in message]


def events(bike: Redbike) -> dict[str, str]:
    return {jobid: event for jobid, event, _ in bike.get_statuses(before=9e9)}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again without the pause that a real outage is given."""
    monkeypatch.setattr("redbike.patience._delay_s", lambda _failures: 0.001)


def run_through(bike: Redbike, worker: Recorder) -> None:
    """Set jobs, dispatch and do them, and look at what became of them."""
    bike.control("HALT")
    bike.set("now:A", "NOW")
    bike.set("at:A", "AT:1")
    bike.set("often:A", "CONTINUE")
    bike.dispatch()
    for _ in range(3):
        bike.work()
    assert sorted(worker.done) == ["at:A", "now:A", "often:A"]
    assert events(bike) == {"now:A": "STP", "at:A": "STP", "often:A": "ENQ"}
    bike.clear_control()
    assert bike.flush() > 0


# Sentinel


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with Watched() as watched:
        yield watched


def test_sentinels_from_a_conf(watched: Watched, prefix: str, in_a_folder: Path) -> None:
    """G1: `sentinels` and `service-name` in the conf lead to the primary; a Sentinel that is away is passed over."""
    sentinels = f"127.0.0.1:1 127.0.0.1:{watched.sentinel.port}"
    conf(in_a_folder, prefix, f"sentinels: {sentinels}\nservice-name: redbike-test\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    with watched.primary.client() as client:
        assert state(client, prefix)["-work-A"] == ["j:A"]


def test_a_sentinel_that_is_taken_for_a_server(watched: Watched, prefix: str, tmp_path: Path) -> None:
    """G4: whoever names the Sentinel as if it were the server is told where it belongs."""
    bike = Fleet(watched.sentinel, prefix, tmp_path)()
    with pytest.raises(ServerError, match=r"is a Sentinel, which holds no data: name it under sentinels"):
        bike.set("j:A", "NOW")


def test_a_replica_is_refused_by_loops(watched: Watched, prefix: str, tmp_path: Path) -> None:
    """G4: a loop that is led to a replica says so, and names the primary."""
    fleet = Fleet(watched.replica, prefix, tmp_path)
    with pytest.raises(ServerError, match=rf"read-only replica: name its primary, 127.0.0.1:{watched.primary.port}"):
        fleet().dispatch()


@pytest.mark.usefixtures("impatient")
def test_sentinels_that_know_no_such_service(watched: Watched, prefix: str, tmp_path: Path) -> None:
    """G4: a name that the Sentinels do not watch is an error that names it."""
    config = watched.config | {"service_name": "nobody"}
    with pytest.raises(ServerError, match=r"nobody \(by the Sentinels .*no primary is known: .* watches no 'nobody'"):
        Redbike(Recorder(), prefix, config, tmp_path / "timefile").set("j:A", "NOW")


def test_a_failover_is_outlived(
    watched: Watched, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: when Sentinels make a replica the primary, dispatcher and worker go on there, with one line each way."""
    # The last to use these servers: afterwards one of them is gone.
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
    """C7: with a `socket_timeout`, a loop leaves a primary that closes no connection: all its connections lead to the
    new one, also the one on which a dispatcher waits for calls, and it says one line each way."""
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
            # A job for it, so that each of its connections is used before the lines are counted.
            aside = fleet()
            aside.set("j:A", "AT:1" if kind == "dispatch" else "NOW")
            eventually(lambda: str(aside.tell("j:A")["status"]).startswith("ENQ" if kind == "dispatch" else "STP"))
        assert len(gone(caplog)) == 1
        assert len(lines(caplog, "is back after")) == len(lines(caplog, "trying until it is back"))
        fleet.close()


def gone(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that say that the server is gone. A Sentinel may take back its first word on the new primary, until it
    has reached that one itself: that is not counted."""
    return [line for line in lines(caplog, "trying until it is back") if "no primary is known" not in line]


def is_waiting(client: redis.Redis, prefix: str, kind: str) -> bool:
    """Whether a dispatcher waits there for calls, or a worker for its bell."""
    numbers: Any = client.pubsub_numsub(Keys(prefix).wake) if kind == "dispatch" else [(b"", 0)]
    clients: Any = client.client_list()
    return bool(numbers[0][1]) or (kind == "work" and any(one["cmd"] == "blpop" for one in clients))


# Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def tagged(prefix: str) -> str:
    return f"{{{prefix}}}"


@pytest.fixture
def cluster_fleet(cluster: Cluster, tagged: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(cluster, tagged, tmp_path)
    yield fleet
    fleet.close()


def keys_on(cluster: Cluster) -> list[list[str]]:
    """The keys of each node."""
    return [sorted(node.ask("KEYS *")) for node in cluster.nodes]


@pytest.mark.parametrize("prefix", ["shop", "{}shop", "shop}{", "{shop", "shop{}"])
def test_an_untagged_prefix_is_refused(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A6: a prefix whose keys would be scattered over a Cluster is refused with a sentence that says how to tag it."""
    bike = Redbike(Recorder(), prefix, cluster.config, tmp_path / "timefile")
    for verb in (lambda: bike.set("j:A", "NOW"), bike.dispatch, bike.work, lambda: list(bike.get_schedules())):
        with pytest.raises(ServerError) as error:
            verb()
        assert f"put braces around it, {{{prefix}}}, which keep them together" in str(error.value)
        assert "\n" not in str(error.value)
    assert keys_on(cluster) == [[], [], []]
    bike.close()


def test_a_cluster_that_is_taken_for_a_server(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """G4: whoever names a node of a Cluster as if it were a server is told what to write."""
    config = {"host": "127.0.0.1", "port": cluster.nodes[0].port}
    with pytest.raises(ServerError, match=r"is a node of a Cluster: write cluster: yes into \[redbike-redis\]"):
        Redbike(Recorder(), tagged, config, tmp_path / "timefile").set("j:A", "NOW")


def test_a_cluster_that_is_away(tagged: str, tmp_path: Path) -> None:
    """G4: a Cluster none of whose nodes answers is an error that names the address."""
    with pytest.raises(ServerError, match=r"Redis Cluster at 127\.0\.0\.1:1 is out of reach"):
        Redbike(Recorder(), tagged, {"host": "127.0.0.1", "port": 1, "cluster": True}, tmp_path / "timefile")


@pytest.mark.parametrize("node", [0, 1, 2])
def test_every_verb_on_a_cluster(cluster: Cluster, cluster_fleet: Fleet, tagged: str, node: int) -> None:
    """A6: with a tagged prefix every verb works on a Cluster, whichever node it was pointed to."""
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
    """A5: `flush` on a Cluster deletes its own prefix on whichever node, and no other."""
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
    """A6: the example in docs/scaling.md spreads jobs over parts, parts over nodes; each job is in its part."""
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
    """C3: a CSV of more than one batch is loaded whole, `SCRIPT FLUSH` in between or not."""
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
    """C1, E1: dispatcher and worker on a Cluster wake at once for what is set, and `HALT` ends them within a second."""
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


def state_of(bike: Redbike) -> dict[str, Any]:
    return state(bike.redis, bike.prefix)


def test_a_node_that_is_killed_and_comes_back(
    cluster: Cluster, cluster_fleet: Fleet, tagged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: loops outlive the node that holds their prefix: one line when it goes, one when it is back, nothing lost."""
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
    """G1, G4: `cluster: yes` in the conf, with host and port or a URL; an untagged prefix is one line and exit 1."""
    port = cluster.nodes[1].port
    conf(in_a_folder, tagged, f"host: 127.0.0.1\nport: {port}\ncluster: yes\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    conf(in_a_folder, tagged, f"url: redis://127.0.0.1:{port}\ncluster: yes\n")
    capsys.readouterr()
    assert main(["schedules"]) == 0
    assert capsys.readouterr().out.splitlines() == ["j:A,CONTINUE"]
    assert main(["unset", "j:A"]) == 0
    conf(in_a_folder, "shop", f"url: redis://127.0.0.1:{port}\ncluster: yes\n")
    assert main(["set", "j:A", "CONTINUE"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


# URLs, TLS, users


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def conf(folder: Path, prefix: str, connection: str) -> None:
    (folder / ".redbike.conf").write_text(f"[redbike]\nprefix: {prefix}\n[redbike-redis]\n{connection}")


def test_a_unix_socket_as_a_url(server: Server, prefix: str, tmp_path: Path) -> None:
    """G1: `url: unix://` leads to a server on a unix socket."""
    worker = Recorder()
    run_through(Redbike(worker, prefix, {"url": f"unix://{server.socket}"}, tmp_path / "timefile"), worker)


@pytest.fixture
def tcp_node() -> Iterator[Node]:
    node = Node().ready()
    yield node
    node.remove()


def test_a_database_by_url(tcp_node: Node, prefix: str, tmp_path: Path) -> None:
    """G1: `url: redis://` leads to a server by TCP, and into the database that it names."""
    worker = Recorder()
    bike = Redbike(worker, prefix, {"url": f"redis://127.0.0.1:{tcp_node.port}/3"}, tmp_path / "timefile")
    run_through(bike, worker)
    bike.set("j:A", "CONTINUE")
    with tcp_node.client(db=3) as client:
        assert state(client, prefix)["-work-A"] == ["j:A"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["redis://us:secret@127.0.0.1:1/0", "rediss://:secret@127.0.0.1:1"])
def test_a_password_in_a_url_is_not_told(url: str, prefix: str, tmp_path: Path) -> None:
    """G4: a server that is out of reach is named without the password that stands in its URL."""
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1") as error:
        Redbike(Recorder(), prefix, {"url": url}, tmp_path / "timefile").set("j:A", "NOW")
    assert "secret" not in str(error.value)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Certificates]]:
    try:
        certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    except FileNotFoundError:
        pytest.skip("there is no openssl to make certificates with")
    try:
        node = secured(certificates)
    except CannotStart as error:
        pytest.skip(f"neither the server under test nor Debian's redis-server speaks TLS: {error}")
    yield node, certificates
    node.remove()


@pytest.mark.parametrize("way", ["url", "arguments"])
def test_tls(tls: tuple[Node, Certificates], prefix: str, in_a_folder: Path, way: str) -> None:
    """G1: `rediss://`, or `ssl: yes`, with the authority that signed the server's certificate."""
    node, certificates = tls
    to = f"url: rediss://127.0.0.1:{node.port}/0" if way == "url" else f"host: 127.0.0.1\nport: {node.port}\nssl: yes"
    conf(in_a_folder, prefix, f"{to}\nssl_ca_certs: {certificates.ca}\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    with node.client() as client:
        assert state(client, prefix)["-work-A"] == ["j:A"]


@pytest.mark.usefixtures("impatient")
def test_tls_with_an_unknown_authority(
    tls: tuple[Node, Certificates], prefix: str, in_a_folder: Path, capsys: Any
) -> None:
    """G4: a certificate that nobody vouches for is refused, in one line."""
    conf(in_a_folder, prefix, f"url: rediss://127.0.0.1:{tls[0].port}/0\n")
    assert main(["set", "j:A", "CONTINUE"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "out of reach" in line
    assert "certificate" in line


def acl_rules(prefix: str, more: str = "") -> list[str]:
    """The rules that docs/scaling.md gives for a user, for this prefix."""
    text = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    rules = re.search(r"^    ACL SETUSER redbike on >secret (.*(?:\n        .*)*)", text, re.MULTILINE)
    assert rules
    return [*rules[1].replace("{myapp}", prefix).split(), *more.split()]


@pytest.fixture
def few(server: Server, prefix: str) -> Iterator[str]:
    """The name of a user of the suite's server with the rights on this prefix that docs/scaling.md gives."""
    name = "user-" + prefix.strip("{}")
    more = "+cluster|slots +command" if ON_A_CLUSTER else ""
    with server.client() as admin:
        admin.execute_command("ACL SETUSER", name, "on", ">secret", "-@all", *acl_rules(prefix, more))
        yield name
        admin.acl_deluser(name)


def test_a_user_with_few_rights(few: str, server: Server, fleet: Fleet, tmp_path: Path, loops: Loops) -> None:
    """G1: with the rules in docs/scaling.md a user can do all that Redbike does on its prefix, and nothing else."""
    config = server.config | {"username": few, "password": "secret"}
    worker = Recorder()
    own: dict[str, Any] = {"redis_config": config, "on_timeout": "retry", "on_error": "retry", "default_timeout": 0.2}
    bike = fleet(worker, **own)
    run_through(bike, worker)
    worker.acts["dies:A"] = worker.acts["once:A"] = lambda: 1 / 0
    bike.set("lost:B", "CONTINUE")
    next(fleet(Recorder("B"), **own).consumer)
    loops.work(worker, **own)
    loops.dispatch(**own)
    for jobid, schedule in (("dies:A", "CONTINUE"), ("once:A", "NOW"), ("at:A", f"AT:{time.time() + 0.3}")):
        bike.set(jobid, schedule)
    eventually(lambda: {"dies:A", "once:A", "at:A"} <= set(worker.done))
    eventually(lambda: (bike.tell("lost:B")["status"] or "")[:3] in ("TML", "ENQ"))
    rows = tmp_path / "rows.csv"
    rows.write_text("row:A,CONTINUE\nhourly:A,FREQ=HOURLY\n")
    bike.load_csv(rows)
    bike.redis.hset(bike.schedules_key, "nowhere:C", "CONTINUE")
    assert bike.reset("nowhere:C")
    assert list(bike.get_lost()) == []
    bike.unset("row:A")
    loops.stop()
    bike.flush()
    assert refusals(server, few) == []
    for command in ("KEYS *", "FLUSHALL", "CONFIG GET *", "SCRIPT FLUSH"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            bike.redis.execute_command(*command.split())
    with pytest.raises(redis.exceptions.NoPermissionError):
        bike.redis.get("another-prefix-schedules")


def refusals(server: Server, user: str) -> list[object]:
    """What the server has refused to this user."""
    with server.client() as admin:
        return [entry for entry in admin.acl_log() if entry["username"] == user]


def test_every_command_with_few_rights(few: str, server: Server, prefix: str, tmp_path: Path) -> None:
    """G1: each command of the usage does its work with the rules in docs/scaling.md, and asks for nothing beyond."""
    (tmp_path / "rows.csv").write_text("row:A,NOW\n")
    given = {
        "set": [["lost:A", "CONTINUE"], ["at:A", f"AT:{time.time() + 0.5:.3f}"], ["odd:A", "FREQ=ODD"]],
        "unset": [["odd:A"]],
        "lost": [[], ["--reset"]],
        "statuses": [[]],
        "schedules": [[]],
        "tell": [["lost:A"]],
        "next": [["EVERY:5"]],
        "control": [["HALT"]],
    }
    loops = {"dispatch": ["--schedules", "rows.csv"], "work": []}
    assert given.keys() | loops.keys() == COMMANDS.keys()
    with Site(tmp_path, server, prefix) as site:
        with (tmp_path / ".redbike.conf").open("a") as conf:
            conf.write(f"username: {few}\npassword: secret\n")
        # All but HALT, before the loops start.
        done = {
            command: [site.run(command, *arguments) for arguments in calls]
            for command, calls in given.items()
            if command != "control"
        }
        assert {command: [call.returncode for call in calls] for command, calls in done.items()} == {
            command: [int("odd:A" in arguments and command == "set") for arguments in given[command]]
            for command in done
        }
        site.run("set", "lost:A", "STOP")
        processes = [site.start_idle(command, *arguments) for command, arguments in loops.items()]
        eventually(lambda: {"row:A", "at:A"} <= set(site.runs()), 20)
        assert site.run("control", "HALT").returncode == 0
        assert [process.wait(10) for process in processes] == [0, 0]
        assert [site.stderr_of(process) for process in processes] == ["", ""]
    assert refusals(server, few) == []


def test_every_method_with_few_rights(few: str, server: Server, fleet: Fleet, tmp_path: Path) -> None:
    """G1: each public method of the library does its work with the rules in docs/scaling.md."""
    rows = tmp_path / "rows.csv"
    rows.write_text("row:A,CONTINUE\n")
    bike = fleet(redis_config=server.config | {"username": few, "password": "secret"})
    calls: dict[str, Callable[[], object]] = {
        "reach": bike.reach,
        "now": bike.now,
        "point_in_time": bike.point_in_time,
        "queue_for": lambda: bike.queue_for("j:A"),
        "queue_names": bike.queue_names,
        "control": lambda: bike.control("HALT"),
        "is_halted": bike.is_halted,
        "set": lambda: bike.set("j:A", "AT:1"),
        "enqueue": lambda: bike.enqueue("k:A"),
        "load_csv": lambda: bike.load_csv(rows),
        "tell": lambda: bike.tell("j:A"),
        "is_working": lambda: bike.is_working("j:A"),
        "dispatch": bike.dispatch,
        "work": bike.work,
        "get_statuses": lambda: list(bike.get_statuses()),
        "get_schedules": lambda: list(bike.get_schedules()),
        "get_lost": lambda: list(bike.get_lost()),
        "reset": lambda: bike.reset("row:A"),
        "unset": lambda: bike.unset("row:A"),
        "clear_control": bike.clear_control,
        "flush": bike.flush,
        "close": bike.close,
    }
    assert calls.keys() == {name for name in vars(Redbike) if not name.startswith("_")}
    for call in calls.values():
        call()
    assert refusals(server, few) == []


@pytest.fixture
def loops(fleet: Fleet) -> Iterator[Loops]:
    with Loops(fleet) as loops:
        yield loops


def test_a_user_with_few_rights_on_a_cluster(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """G1: the same rules, and the two that docs/scaling.md adds for a Cluster, do on a Cluster."""
    for node in cluster.nodes:
        rules = acl_rules(tagged, "+cluster|slots +command")
        node.ask("ACL SETUSER", "few", "on", ">secret", "-@all", *rules)
    worker = Recorder()
    config = cluster.config | {"username": "few", "password": "secret"}
    run_through(Redbike(worker, tagged, config, tmp_path / "timefile", on_timeout="retry"), worker)
    stop = threading.Event()
    bike = Redbike(worker, tagged, config, tmp_path / "timefile", stop_event=stop, on_timeout="retry")
    loops = [threading.Thread(target=loop) for loop in (bike.work, bike.dispatch)]
    for thread in loops:
        thread.start()
    bike.set("j:A", f"AT:{time.time() + 0.2}")
    eventually(lambda: "j:A" in worker.done)
    stop.set()
    for thread in loops:
        thread.join(5)
    for node in cluster.nodes:
        assert node.ask("ACL LOG") == []
    assert "+cluster|slots +command" in (ROOT / "docs" / "scaling.md").read_text("utf-8")


@pytest.mark.parametrize(("user", "password"), [("nobody", "x"), ("default", "wrong")])
def test_a_user_that_is_refused(tcp_node: Node, prefix: str, tmp_path: Path, user: str, password: str) -> None:
    """G4: a wrong user or password is refused at once, with where to set it, and without the password."""
    tcp_node.ask("CONFIG SET", "requirepass", "right")
    bike = Redbike(Recorder(), prefix, {"url": f"redis://{user}:{password}@127.0.0.1:{tcp_node.port}"}, tmp_path / "t")
    with pytest.raises(ServerError, match=r"refuses us: .*username and password are set in \[redbike-redis\]") as error:
        bike.set("j:A", "NOW")
    assert f":{password}@" not in str(error.value)


# Settings that make no sense


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sentinels": "a:1"}, "sentinels: service-name is needed too"),
        ({"sentinels": "a", "service_name": "x"}, "sentinels: 'a' is not HOST:PORT"),
        ({"sentinels": "a:x", "service_name": "x"}, "sentinels: 'a:x' is not HOST:PORT"),
        ({"sentinels": " ", "service_name": "x"}, "sentinels: none is given"),
        ({"url": "http://x"}, "url: does not begin with redis://"),
    ],
)
def test_settings_that_lead_nowhere(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    """G4: settings that name no server are refused when the object is made."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Redbike(Recorder(), "p", settings, tmp_path / "timefile")


@pytest.mark.usefixtures("impatient")
def test_sentinels_with_ipv6_and_commas(prefix: str, tmp_path: Path) -> None:
    """G1: addresses of Sentinels may be in brackets and parted by commas; ones that are away are named."""
    config = {"sentinels": "[::1]:1,127.0.0.1:1", "service_name": "x"}
    with pytest.raises(ServerError, match=r"no primary is known: the Sentinel at \[::1\]:1 is out of reach"):
        Redbike(Recorder(), prefix, config, tmp_path / "timefile").set("j:A", "NOW")

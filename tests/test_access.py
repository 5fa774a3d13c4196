"""Servers by URL, with TLS, with a password, and for users that may do little."""

import contextlib
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import ON_A_CLUSTER, Fleet, Recorder, Server
from helpers import ROOT, run_through, write_conf
from nodes import CannotStart, Node, eventually, free_port
from processes import Site
from servers import Certificates, Cluster, secured
from state import state
from threads import Loops

from redbike import Redbike
from redbike.cli import COMMANDS, main
from redbike.errors import ConfigError, ServerError
from redbike.server.client import Client


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
    """G1: `url: redis://` leads to a server by TCP, and to the database in the URL."""
    worker = Recorder()
    bike = Redbike(worker, prefix, {"url": f"redis://127.0.0.1:{tcp_node.port}/3"}, tmp_path / "timefile")
    run_through(bike, worker)
    bike.set("j:A", "CONTINUE")
    with tcp_node.client(db=3) as client:
        assert state(client, prefix)["-work-A"] == ["j:A"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["redis://us:secret@127.0.0.1:1/0", "rediss://:secret@127.0.0.1:1"])
def test_a_password_in_a_url_is_not_told(url: str, prefix: str, tmp_path: Path) -> None:
    """G4: the error about an unreachable server names its URL without the password."""
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
    """G1: `rediss://` or `ssl: yes` work with the authority that signed the server's certificate."""
    node, certificates = tls
    to = f"url: rediss://127.0.0.1:{node.port}/0" if way == "url" else f"host: 127.0.0.1\nport: {node.port}\nssl: yes"
    write_conf(in_a_folder, prefix, f"{to}\nssl_ca_certs: {certificates.ca}\n")
    assert main(["set", "j:A", "CONTINUE"]) == 0
    with node.client() as client:
        assert state(client, prefix)["-work-A"] == ["j:A"]


@pytest.mark.usefixtures("impatient")
def test_tls_with_an_unknown_authority(
    tls: tuple[Node, Certificates], prefix: str, in_a_folder: Path, capsys: Any
) -> None:
    """G4: a certificate of an unknown authority is refused in one line."""
    write_conf(in_a_folder, prefix, f"url: rediss://127.0.0.1:{tls[0].port}/0\n")
    assert main(["set", "j:A", "CONTINUE"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "out of reach" in line
    assert "certificate" in line


def acl_rules(prefix: str, more: str = "") -> list[str]:
    """Return the ACL rules of docs/scaling.md, for this prefix."""
    text = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    rules = re.search(r"^    ACL SETUSER redbike on >secret (.*(?:\n        .*)*)", text, re.MULTILINE)
    assert rules
    return [*rules[1].replace("{myapp}", prefix).split(), *more.split()]


def test_sentinels_as_redis_py_has_them() -> None:
    """A list of pairs, as other libraries need it, means the same as the text of a conf."""
    client = Client({"sentinels": [("a", 1), ("b", 2)], "service_name": "x"})
    assert client.where == "x (by the Sentinels a:1 b:2)"
    client.close()


@pytest.fixture
def few(server: Server, prefix: str) -> Iterator[str]:
    """A user with the rights of docs/scaling.md on this prefix: the user's name."""
    name = "user-" + prefix.strip("{}")
    more = "+cluster|slots +command" if ON_A_CLUSTER else ""
    with server.client() as admin:
        admin.execute_command("ACL SETUSER", name, "on", ">secret", "-@all", *acl_rules(prefix, more))
        yield name
        admin.acl_deluser(name)


def test_a_user_with_few_rights(few: str, server: Server, fleet: Fleet, tmp_path: Path, loops: Loops) -> None:
    """G1: with the rules in docs/scaling.md, a user can do everything that Redbike does on its prefix, and nothing
    else.
    """
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
    """Return the commands that the server has refused to this user."""
    with server.client() as admin:
        return [entry for entry in admin.acl_log() if entry["username"] == user]


def answers_at(port: int, path: str, part: bytes) -> bool:
    """Return True if the page at this port answers with this part."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as page:
        return part in page.read()
    return False


def test_every_command_with_few_rights(few: str, server: Server, prefix: str, tmp_path: Path) -> None:
    """G1: each command of the usage works with the rules in docs/scaling.md, and needs no more."""
    (tmp_path / "rows.csv").write_text("row:A,NOW\n")
    (tmp_path / "none.csv").write_text("# no jobs\n")
    (tmp_path / "jobs").write_text("0 1 * * * true\n")
    given = {
        "set": [["lost:A", "CONTINUE"], ["at:A", f"AT:{time.time() + 0.5:.3f}"], ["odd:A", "FREQ=ODD"]],
        "enqueue": [["lost:A"]],
        "load": [["rows.csv", "--sync"], ["rows.csv"], ["none.csv", "--sync", f"--name={tmp_path}/rows.csv"]],
        "unset": [["odd:A"]],
        "pause": [["lost:A", "--note=why"], ["--queue=work-B"], ["--match=lost*", "--until=+1h"]],
        "resume": [["lost:A"], ["--queue=work-B"]],
        "show": [["lost:A"], ["lost:A", "--json"]],
        "history": [[], ["lost:A", "--json"]],
        "lost": [[], ["--reset"]],
        "statuses": [[]],
        "schedules": [[]],
        "tell": [["lost:A"]],
        "next": [["EVERY:5"]],
        "import": [["crontab", "jobs"]],
        "control": [["HALT"]],
    }
    loops = {"dispatch": ["--schedules", "rows.csv"], "work": [], "run": []}
    looks = {"info": [], "why": ["lost:A"], "check": [], "metrics": []}
    assert given.keys() | loops.keys() | looks.keys() | {"init", "web"} == COMMANDS.keys()
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
        for command, arguments in looks.items():
            assert site.run(command, *arguments).stdout, command
        port = free_port()
        page = site.start("web", f"--port={port}")
        eventually(lambda: answers_at(port, "/jobs", b"lost:A"), 20)
        page.terminate()
        page.wait(10)
        assert site.run("control", "HALT").returncode == 0
        assert [process.wait(10) for process in processes] == [0, 0, 0]
        said = [site.stderr_of(process) for process in processes[:2]]
        assert [re.sub(r"^.* INFO (dispatching|working): .*\n", "", text) for text in said] == ["", ""]
    assert refusals(server, few) == []


def test_every_method_with_few_rights(few: str, server: Server, fleet: Fleet, tmp_path: Path) -> None:
    """G1: each public method of the library works with the rules in docs/scaling.md."""
    rows = tmp_path / "rows.csv"
    rows.write_text("row:A,CONTINUE\n")
    bike = fleet(redis_config=server.config | {"username": few, "password": "secret"})
    calls: dict[str, Callable[[], object]] = {
        "reach": bike.reach,
        "describe": bike.describe,
        "now": bike.now,
        "point_in_time": bike.point_in_time,
        "queue_for": lambda: bike.queue_for("j:A"),
        "queue_names": bike.queue_names,
        "control": lambda: bike.control("HALT"),
        "is_halted": bike.is_halted,
        "set": lambda: bike.set("j:A", "AT:1", payload="text"),
        "set_payload": lambda: bike.set_payload("j:A", ""),
        "pause": lambda: bike.pause("j:A", until=1),
        "resume": lambda: bike.resume("j:A"),
        "hold": lambda: bike.hold("work-A"),
        "get_held": bike.get_held,
        "release": lambda: bike.release("work-A"),
        "enqueue": lambda: bike.enqueue("k:A", "once"),
        "details": lambda: bike.details("j:A"),
        "set_many": lambda: bike.set_many([("row:A", "CONTINUE")]),
        "load_csv": lambda: bike.load_csv(rows),
        "tell": lambda: bike.tell("j:A"),
        "is_working": lambda: bike.is_working("j:A"),
        "dispatch": bike.dispatch,
        "work": bike.work,
        "get_statuses": lambda: list(bike.get_statuses()),
        "get_schedule": lambda: bike.get_schedule("j:A"),
        "get_schedules": lambda: list(bike.get_schedules()),
        "get_lost": lambda: list(bike.get_lost()),
        "get_payloads": lambda: list(bike.get_payloads()),
        "newest_record": bike.newest_record,
        "follow_history": lambda: bike.follow_history("0-0", 0.01),
        "get_history": lambda: list(bike.get_history()),
        "reset": lambda: bike.reset("row:A"),
        "unset": lambda: bike.unset("row:A"),
        "clear_control": bike.clear_control,
        "flush": bike.flush,
        "close": bike.close,
    }
    assert calls.keys() == {name for name, _ in getmembers(Redbike, isfunction) if not name.startswith("_")}
    for call in calls.values():
        call()
    assert refusals(server, few) == []


def test_a_user_with_few_rights_on_a_cluster(cluster: Cluster, tagged: str, tmp_path: Path) -> None:
    """G1: the same rules work on a Cluster, with the two that docs/scaling.md adds."""
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
    """G4: a wrong user or password is refused at once; the error says where to set it, and hides the password."""
    tcp_node.ask("CONFIG SET", "requirepass", "right")
    bike = Redbike(Recorder(), prefix, {"url": f"redis://{user}:{password}@127.0.0.1:{tcp_node.port}"}, tmp_path / "t")
    with pytest.raises(
        ServerError, match=r"access denied: .*username and password are set in \[redbike-redis\]"
    ) as error:
        bike.set("j:A", "NOW")
    assert f":{password}@" not in str(error.value)


# Settings that make no sense


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sentinels": "a:1"}, "sentinels: also set service-name"),
        ({"sentinels": 5, "service_name": "x"}, "sentinels, nodes: write HOST:PORT, separated by spaces"),
        ({"nodes": [("a", 1, 2)]}, "sentinels, nodes: write HOST:PORT, separated by spaces"),
        ({"sentinels": "a", "service_name": "x"}, "sentinels: 'a' is not HOST:PORT"),
        ({"sentinels": "a:x", "service_name": "x"}, "sentinels: 'a:x' is not HOST:PORT"),
        ({"sentinels": " ", "service_name": "x"}, "sentinels: holds no address"),
        ({"url": "http://x"}, "url: does not begin with redis://"),
    ],
)
def test_settings_that_lead_nowhere(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    """G4: settings that name no server are refused when the object is created."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Redbike(Recorder(), "p", settings, tmp_path / "timefile")

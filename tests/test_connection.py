"""How a connection is made: with time limits, by TLS, out of a URL or a pool of the user's own, with any redis-py."""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Recorder, Server
from nodes import Node, Watched, eventually
from servers import Certificates, Cluster
from tls_front import TlsFront

from redbike import Redbike
from redbike.errors import ConfigError, RedbikeError, ServerError
from redbike.server import arguments

FEW_S = 10.0  # far less than forever, and enough for a busy machine


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A server by TCP."""
    node = Node()
    yield node.ready()
    node.remove()


def opened(bike: Redbike) -> Any:
    """Return a used connection of this object."""
    bike.redis.ping()
    client: Any = bike.redis
    of_one_node = client.nodes_manager.default_node.redis_connection if hasattr(client, "nodes_manager") else client
    return of_one_node.client().connection


WAYS = ("arguments", "url", "unix_socket", "sentinels", "cluster", "pool", "embedded")


@pytest.fixture
def config(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Iterator[dict[str, object]]:
    """A `redis_config` for the kind of server that the test names, without time limits."""
    way = request.param
    if way == "arguments":
        yield node.config
    elif way == "url":
        yield {"url": f"redis://127.0.0.1:{node.port}/0"}
    elif way == "pool":
        yield {"connection_pool": redis.ConnectionPool(host="127.0.0.1", port=node.port)}
    elif way == "embedded":
        yield {"embedded": str(tmp_path / "e")}
    elif way == "unix_socket":
        server = Server()
        yield server.config
        server.remove()
    else:
        with Watched() if way == "sentinels" else Cluster(1) as group:
            yield group.config


@pytest.mark.parametrize("config", WAYS, indirect=True)
def test_a_reply_has_to_come_in_time(config: dict[str, object], tmp_path: Path) -> None:
    """The default time limit for a reply is five seconds, with every redis-py and for every kind of server."""
    with Redbike(Recorder(), "{p}", config, tmp_path / "t") as bike:
        connection = opened(bike)
        assert connection._sock.gettimeout() == arguments.SOCKET_TIMEOUT_S
        if connection._sock.family != socket.AF_UNIX:
            assert connection.socket_connect_timeout == arguments.SOCKET_TIMEOUT_S
            assert connection._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert bike._parts.client.socket_timeout_s == arguments.SOCKET_TIMEOUT_S


def test_sentinels_have_to_answer_in_time_too(tmp_path: Path) -> None:
    """The time limit also holds for Sentinels, because a Sentinel may be frozen."""
    with Redbike(Recorder(), "p", {"sentinels": "127.0.0.1:1", "service_name": "x"}, tmp_path / "t") as bike:
        pool: Any = bike.redis.connection_pool
        [sentinel] = pool.sentinel_manager.sentinels
        assert sentinel.get_connection_kwargs()["socket_timeout"] == arguments.SOCKET_TIMEOUT_S
        assert sentinel.get_connection_kwargs()["socket_keepalive"]


@pytest.mark.parametrize(
    ("given", "reply_s", "connect_s"),
    [
        ({"socket_timeout": 0.5}, 0.5, 0.5),
        ({"socket_timeout": 60}, 60, 5.0),
        ({"socket_timeout": None}, None, 5.0),
        ({"socket_timeout": 60, "socket_connect_timeout": 30}, 60, 30),
        ({"url": "redis://localhost?socket_timeout=7.5"}, 7.5, 5.0),
    ],
)
def test_what_is_asked_for_is_what_holds(given: dict[str, object], reply_s: float | None, connect_s: float) -> None:
    """G1: a time limit of the user holds, also None."""
    known = Redbike(Recorder(), redis_config=given).redis.get_connection_kwargs()
    assert (known["socket_timeout"], known["socket_connect_timeout"]) == (reply_s, connect_s)


def test_no_keepalive_where_that_is_asked_for() -> None:
    """G1: `socket_keepalive: no` turns keepalive off."""
    known = Redbike(Recorder(), redis_config={"socket_keepalive": False}).redis.get_connection_kwargs()
    assert not known["socket_keepalive"]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make half a second the default time limit."""
    monkeypatch.setattr(arguments, "SOCKET_TIMEOUT_S", 0.5)


@pytest.mark.usefixtures("hurried")
def test_a_frozen_server_is_given_up(prefix: str, tmp_path: Path) -> None:
    """G4: a command ends with one line if the server is frozen, also without a configured time limit."""
    node = Node().ready()
    try:
        with Redbike(Recorder(), prefix, node.config, tmp_path / "t") as bike:
            bike.set("a:A", "STOP")
            node.freeze()
            before = time.monotonic()
            with pytest.raises(ServerError, match="out of reach"):
                bike.set("b:A", "NOW")
            assert time.monotonic() - before < FEW_S
    finally:
        node.remove()


@pytest.mark.usefixtures("hurried")
def test_idle_loops_get_along_with_the_time_limit(
    node: Node, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wait for a bell or a wake-up call is not a late reply: idle loops lose no connection and log nothing."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, logger="redbike.runs")
    stop, worker = threading.Event(), Recorder()
    bikes = [Redbike(worker, prefix, node.config, tmp_path / "t", stop_event=stop) for _ in range(2)]
    loops = [threading.Thread(target=loop) for loop in (bikes[0].work, bikes[1].dispatch)]
    for thread in loops:
        thread.start()
    ready = time.monotonic() + 2.0  # several times the limit
    with node.client() as client:
        eventually(lambda: len([c for c in client.client_list() if c["cmd"] in ("blpop", "subscribe")]) >= 2)
        known = {c["id"] for c in client.client_list() if c["cmd"] in ("blpop", "subscribe")}
        eventually(lambda: time.monotonic() > ready)
        assert known <= {c["id"] for c in client.client_list()}
    bikes[0].set("j:A", f"AT:{time.time() + 0.1}")
    eventually(lambda: worker.done == ["j:A"])
    stop.set()
    for thread in loops:
        thread.join(5)
    assert caplog.text == ""
    for bike in bikes:
        bike.close()


# URLs


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("redis://", {}),
        ("redis://h", {"host": "h"}),
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h/", {"host": "h"}),
        ("redis://[::1]:1/2/", {"host": "::1", "port": 1, "db": 2}),
        ("redis://us:p%2Fw%40%25@h", {"host": "h", "username": "us", "password": "p/w@%"}),
        ("redis://:p@w@h", {"host": "h", "password": "p@w"}),
        ("redis://us@h", {"username": "us"}),
        ("redis://h?db=3&client_name=a%20b", {"db": 3, "client_name": "a b"}),
        ("redis://h/1?password=x%23", {"db": 1, "password": "x#"}),
        ("redis://h?health_check_interval=30&socket_keepalive=no", {"health_check_interval": 30}),
        ("unix:///run/a%20b.sock?db=4", {"path": "/run/a b.sock", "db": 4}),
        ("unix://us:pw@/run/s", {"path": "/run/s", "username": "us", "password": "pw"}),
    ],
)
def test_a_url(url: str, known: dict[str, object]) -> None:
    """G1: a URL names the server, the user, the database and options; %XX stands for other characters."""
    found = Redbike(Recorder(), redis_config={"url": url}).redis.get_connection_kwargs()
    assert {name: found.get(name) for name in known} == known


FORM = re.escape("the form is redis://USER:PASSWORD@HOST:PORT/DB")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/abc", "is not the number of a database, such as /0$"),
        ("redis://h/1/2", "is not the number of a database"),
        ("redis://h/-1", "is not the number of a database"),
        ("redis://h?foo=bar", r"option foo: is unknown\. Known names: "),
        ("redis://h?socket_timout=5", "option socket_timout: is unknown; did you mean socket_timeout"),
        ("redis://h?socket_timeout=soon", "option socket_timeout: 'soon' is not a number of seconds"),
        ("redis://h?db=x", "option db: 'x' is not a whole number"),
        ("redis://h?db=1&db=2", "option db is given twice"),
        ("redis://h?retry=3", "option retry: needs an object"),
        ("redis://h?db", "write an option as NAME=VALUE"),
        ("redis://h:x", "the text after the host is not a port; " + FORM),
        ("redis://h:99999", "the text after the host is not a port; " + FORM),
        ("redis://[h", FORM),
        ("http://h", "does not begin with redis://, rediss:// or unix://; " + FORM),
        ("redis://:se/cret@h", "write %2F for /"),
        ("redis://:se?cret@h", "write %2F for /, %3F for"),
        ("redis://h#x", "%23 for #"),
        ("redis://:se\ncret@h", "holds a line break or another control character; in a user"),
        ("unix://run/redis.sock", r"with its first slash: unix:///run/redis\.sock"),
        ("unix://", "write the path of a socket after unix://"),
        (5, "url: a text is needed, not int"),
    ],
)
def test_a_url_that_makes_no_sense(url: object, said: str) -> None:
    """G4: any mistake in a URL, also an unknown option, gives one line."""
    with pytest.raises(ConfigError, match=said) as error:
        Redbike(Recorder(), redis_config={"url": url})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (redis.Redis(port=1), "a dict of arguments of redis.Redis is needed, not Redis: such as"),
        ("redis://h", "a dict of arguments of redis.Redis is needed, not str"),
        ([("port", 1)], "a dict of arguments of redis.Redis is needed, not list"),
        ({"connection_pool": "x"}, "connection_pool: a redis.ConnectionPool is needed, not str"),
        ({"host": "redis://h"}, "host: holds @ or /; write a URL into url"),
        ({"sentinels": "u:p@h:1", "service_name": "x"}, "sentinels: write HOST:PORT; a user and a password"),
        ({"ssl": True, "ssl_cert_reqs": "perhaps"}, "ssl_cert_reqs: 'perhaps' is not one of"),
    ],
)
def test_a_redis_config_of_another_kind(settings: Any, said: str) -> None:
    """H: a `redis_config` that is not a dict of arguments is refused, and leads to no other server."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        Redbike(Recorder(), redis_config=settings).set("a:A", "STOP")


def test_a_cluster_has_one_database(tmp_path: Path) -> None:
    """G4: a database that a Cluster cannot have gives one line, and is not treated as an outage."""
    with pytest.raises(ConfigError, match="has only database 0; remove the number"):
        Redbike(Recorder(), "{p}", {"url": "redis://127.0.0.1:1/3", "cluster": True}, tmp_path / "t")


@pytest.mark.skipif(os.environ.get("HOME") is None, reason="needs a home to do without")
def test_an_embedded_server_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: `embedded: ~/x` without a home folder, as in many containers, gives one line."""
    monkeypatch.setattr(Path, "expanduser", _no_home)
    with pytest.raises(ConfigError, match=r"embedded server: the folder ~/x: .*name the folder without ~"):
        Redbike(Recorder(), redis_config={"embedded": "~/x"})


def _no_home(_: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


# The user's pool


@pytest.mark.parametrize("text", [True, False])
def test_the_users_pool_is_left_to_its_users(node: Node, prefix: str, tmp_path: Path, text: bool) -> None:
    """H: with `connection_pool`, `close()` closes no connection of others, and the pool may decode replies or not."""
    pool = redis.ConnectionPool(host="127.0.0.1", port=node.port, decode_responses=text)
    theirs, waited = redis.Redis(connection_pool=pool), []
    waiter = threading.Thread(target=lambda: waited.append(theirs.blpop([f"{prefix}-theirs"], timeout=5)))
    waiter.start()
    worker = Recorder()
    with Redbike(worker, prefix, {"connection_pool": pool}, tmp_path / "t") as bike:
        bike.set("j:A", "NOW")
        assert bike.tell("j:A")["schedule"] == "STOP"
        next(bike.consumer)
        assert bike.redis.get_connection_kwargs()["decode_responses"] is False
    theirs.rpush(f"{prefix}-theirs", "x")
    waiter.join(5)
    key, value = (f"{prefix}-theirs", "x") if text else (f"{prefix}-theirs".encode(), b"x")
    assert waited == [(key, value)]
    assert theirs.get("nothing") is None
    pool.disconnect()


def test_the_users_pool_on_a_dead_port(tmp_path: Path) -> None:
    """G4: messages name the pool's server, and its retries are not used: a dead port is reported within seconds."""
    pool = redis.ConnectionPool(host="127.0.0.1", port=1)
    before = time.monotonic()
    with pytest.raises(ServerError, match=r"Redis at 127\.0\.0\.1:1 is out of reach"):
        Redbike(Recorder(), "p", {"connection_pool": pool}, tmp_path / "t").tell("j:A")
    assert time.monotonic() - before < 5


class OwnConnection(redis.Connection):
    """A class of connections of the user."""


def test_the_users_pool_keeps_its_settings(server: Server, node: Node, prefix: str, tmp_path: Path) -> None:
    """H: we use the pool's database, user and class of connections, by TCP and by a unix socket."""
    pool = redis.ConnectionPool(OwnConnection, host="127.0.0.1", port=node.port, db=2, client_name="theirs")
    with Redbike(Recorder(), prefix, {"connection_pool": pool}, tmp_path / "t") as bike:
        assert isinstance(opened(bike), OwnConnection)
        assert bike.redis.client_getname() in (b"theirs", "theirs")
        bike.set("j:A", "CONTINUE")
        with node.client(db=2) as client:
            assert client.exists(bike.schedules_key)
    pool = redis.BlockingConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=server.socket, max_connections=9
    )
    with Redbike(Recorder(), prefix, {"connection_pool": pool}, tmp_path / "t") as bike:
        bike.set("j:A", "CONTINUE")
        assert bike.redis.connection_pool.max_connections == 9
        bike.flush()


# TLS


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TlsFront, Certificates]]:
    """The server of the tests by TLS, with a certificate for 127.0.0.1."""
    try:
        certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    except FileNotFoundError:
        pytest.skip("there is no openssl to make certificates with")
    with TlsFront(server.socket, certificates.cert, certificates.key) as front:
        yield front, certificates


@pytest.mark.not_on_a_cluster("the certificate is for one way to the server")
@pytest.mark.parametrize(("host", "fits"), [("127.0.0.1", True), ("localhost", False)])
@pytest.mark.parametrize("way", ["arguments", "url"])
def test_the_name_in_the_certificate_is_compared(
    front: tuple[TlsFront, Certificates], prefix: str, tmp_path: Path, host: str, fits: bool, way: str
) -> None:
    """A server whose TLS certificate has another name is refused by every version of redis-py."""
    port, ca = front[0].port, str(front[1].ca)
    at: dict[str, object] = (
        {"host": host, "port": port, "ssl": True} if way == "arguments" else {"url": f"rediss://{host}:{port}"}
    )
    with Redbike(Recorder(), prefix, {**at, "ssl_ca_certs": ca}, tmp_path / "t") as bike:
        if fits:
            bike.set("j:A", "STOP")
            bike.flush()
        else:
            with pytest.raises(ServerError, match="certificate"):
                bike.set("j:A", "STOP")
    with Redbike(Recorder(), prefix, {**at, "ssl_ca_certs": ca, "ssl_check_hostname": False}, tmp_path / "t") as bike:
        bike.set("j:A", "STOP")
        bike.flush()
    with Redbike(Recorder(), prefix, {**at, "ssl_cert_reqs": "none"}, tmp_path / "t") as bike:
        bike.set("j:A", "STOP")
        bike.flush()


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path"])
def test_a_missing_certificate_is_named(name: str, tmp_path: Path) -> None:
    """G4: a missing or wrong file for TLS is named before any connection is opened."""
    with pytest.raises(ConfigError, match=rf"{name}: {tmp_path}/none\.pem cannot be read \(No such file"):
        Redbike(Recorder(), redis_config={"ssl": True, name: str(tmp_path / "none.pem")})
    if name in ("ssl_ca_certs", "ssl_certfile"):
        (tmp_path / "none.pem").write_text("no certificate")
        with pytest.raises(ConfigError, match=rf"{name}: {tmp_path}/none\.pem .*PEM"):
            Redbike(Recorder(), redis_config={"url": "rediss://h", name: str(tmp_path / "none.pem")})


@pytest.mark.parametrize("way", ["url", "sentinels", "cluster"])
def test_tls_to_a_port_without(node: Node, tmp_path: Path, way: str) -> None:
    """G4: TLS to a port without TLS gives an error that says so, within seconds."""
    config: dict[str, object] = {
        "url": {"url": f"rediss://127.0.0.1:{node.port}"},
        "sentinels": {"sentinels": f"127.0.0.1:{node.port}", "service_name": "x", "ssl": True},
        "cluster": {"host": "127.0.0.1", "port": node.port, "ssl": True, "cluster": True, "ssl_check_hostname": False},
    }[way]
    before = time.monotonic()
    with pytest.raises(RedbikeError, match=rf"port {node.port} of 127\.0\.0\.1 does not speak TLS: set ssl to no"):
        Redbike(Recorder(), "{p}", config, tmp_path / "t").set("j:A", "STOP")
    assert time.monotonic() - before < FEW_S


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "needs a password: set sentinel_password"), ({"sentinel_password": "x"}, "does not accept sentinel_user")],
)
def test_a_sentinel_that_asks_for_a_password(tmp_path: Path, given: dict[str, object], said: str) -> None:
    """G4: a Sentinel that needs a password, or another password, gives one short line."""
    node = Node("requirepass right\nsentinel monitor x 127.0.0.1 9 1", password="right").ready()
    try:
        config = {"sentinels": f"127.0.0.1:{node.port}", "service_name": "x", **given}
        with pytest.raises(ServerError, match=rf"the Sentinel at 127\.0\.0\.1:{node.port} {said}") as error:
            Redbike(Recorder(), "p", config, tmp_path / "t").set("j:A", "STOP")
        assert len(str(error.value)) < 250
    finally:
        node.remove()

"""Private servers for the tests, and what many of them start from: a Redbike on an empty prefix.

Nothing of Redis is mocked. Every server listens on a unix socket in a temporary folder and is ended by its pid.
With REDBIKE_TEST_CLUSTER=1 the server is a Cluster of one node, and the prefixes are tagged.
"""

import contextlib
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
import redis
from helpers import ROOT, Answer, Command, halt_at_once
from nodes import answers, eventually, server_binary

from redbike import Redbike, RoundRobin

# A shell lets programs in the background ignore Ctrl-C, and so would all processes that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests also use benchmarks/. Behind everything else, so that `redbike` stays the package under test.
sys.path.append(str(ROOT))

if TYPE_CHECKING:
    from bad_inputs import Shop
    from bench import Bench
    from celeries import Project
    from embedded_users import User
    from pages import Page, Visitor
    from processes import Site
    from proxy import Proxy
    from servers import Cluster
    from threads import Loops

    from benchmarks.chaos.proxy import FaultProxy
    from redbike.server.embedded import EmbeddedServer

Running = Callable[[Callable[[threading.Event], Callable[[], object]]], threading.Event]

ON_A_CLUSTER = os.environ.get("REDBIKE_TEST_CLUSTER") == "1"


class Reachable(Protocol):
    """One server or several servers."""

    @property
    def config(self) -> dict[str, object]:
        """Return the arguments with which a Redbike connects."""


class Server:
    """A real server, which a test can kill and start again on the same data."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
        self.socket = str(self.folder / "s")
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [server_binary(), "--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder), "--save", ""]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        with self.client() as client:
            eventually(lambda: answers(client), 20)

    @property
    def config(self) -> dict[str, object]:
        """Return the arguments with which a Redbike connects."""
        return {"unix_socket_path": self.socket}

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self, **kwargs: object) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket, **kwargs)  # type: ignore[arg-type]

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all tests of this process that do not harm it; every test has its own prefix."""
    server = make_cluster() if ON_A_CLUSTER else Server()
    yield server
    server.remove()


def make_cluster() -> Server:
    """Start a node that has all slots of its Cluster. It refuses commands and scripts that need several slots."""
    from servers import ClusterNode

    return ClusterNode()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server for one test, which may kill it: it keeps an append-only file."""
    server = Server("--appendonly", "yes")
    yield server
    server.remove()


_numbers = itertools.count(1)


@pytest.fixture
def prefix() -> str:
    name = f"test{os.getpid()}n{next(_numbers)}"
    return f"{{{name}}}" if ON_A_CLUSTER else name


@pytest.fixture(autouse=True)
def _not_on_a_cluster(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("not_on_a_cluster")
    if ON_A_CLUSTER and marker is not None:
        pytest.skip(f"not on a Cluster: {marker.args[0]}")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "not_on_a_cluster(reason): cannot be run with REDBIKE_TEST_CLUSTER=1")


class Recorder(RoundRobin):
    """A worker that lists the jobs that it ran. `acts` holds functions that jobs call, by job id."""

    def __init__(self, initstring: str = "A") -> None:
        super().__init__(initstring)
        self.done: list[str] = []
        self.acts: dict[str, Callable[[], object]] = {}
        self.timeouts: dict[str, float] = {}

    def work(self, jobid: str) -> object:
        self.done.append(jobid)
        return self.acts[jobid]() if jobid in self.acts else None

    def timeout(self, queue_name: str) -> float | None:
        return self.timeouts.get(queue_name)


class Fleet:
    """Creates Redbike objects on one prefix of one server, and closes them."""

    def __init__(self, server: Reachable, prefix: str, folder: Path) -> None:
        self.server, self.prefix, self.folder = server, prefix, folder
        self.log = logging.getLogger(f"redbike.{prefix}")
        self._made: list[Redbike] = []
        self._timefiles = itertools.count()

    def __call__(self, worker: RoundRobin | None = None, **kwargs: object) -> Redbike:
        given: dict[str, object] = {
            "prefix": self.prefix,
            "redis_config": self.server.config,
            "timefile": self.folder / f"timefile{next(self._timefiles)}",
            "log": self.log,
        }
        bike = Redbike(worker or Recorder(), **(given | kwargs))  # type: ignore[arg-type]
        self._made.append(bike)
        return bike

    def close(self) -> None:
        for bike in self._made:
            bike.flush()
            bike.close()


@pytest.fixture
def fleet(server: Server, prefix: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(server, prefix, tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture
def worker() -> Recorder:
    return Recorder()


@pytest.fixture
def bike(fleet: Fleet, worker: Recorder) -> Redbike:
    """A Redbike on an empty prefix, with a worker that serves the queue `work-A`."""
    return fleet(worker)


@pytest.fixture
def halted(bike: Redbike) -> Redbike:
    """The bike of the test on a halted prefix: each call of `work` is one turn, each call of `dispatch` is one pass."""
    bike.control("HALT")
    return bike


@pytest.fixture
def loops(fleet: Fleet) -> Iterator["Loops"]:
    """Runs `work` and `dispatch` in threads, and ends them after the test."""
    from threads import Loops

    with Loops(fleet) as loops:
        yield loops


@pytest.fixture
def running(bike: Redbike) -> Iterator[Running]:
    """Runs methods of Redbike objects in threads: `running(lambda stop: fleet(stop_event=stop).work)`.

    Stops and joins the threads after the test.
    """
    threads: list[tuple[threading.Thread, threading.Event]] = []

    def run(make: Callable[[threading.Event], Callable[[], object]]) -> threading.Event:
        stop = threading.Event()
        thread = threading.Thread(target=make(stop), daemon=True)
        thread.start()
        threads.append((thread, stop))
        return stop

    yield run
    halt_at_once(bike)
    for _, stop in threads:
        stop.set()
    for thread, _ in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path) -> Iterator["Site"]:
    """A folder with a conf and a worker module, where the command `redbike` is called."""
    from processes import Site

    with Site(tmp_path, server, prefix) as site:
        yield site


@pytest.fixture
def project(server: Server, prefix: str, tmp_path: Path) -> Iterator["Project"]:
    """A folder with a Celery project, whose broker is the server of the tests."""
    from celeries import Project

    with server.client() as client, Project(tmp_path, client, f"redis+socket://{server.socket}", prefix) as project:
        yield project
        keys = list(client.scan_iter(match=f"*{prefix}*"))
        if keys:
            client.delete(*keys)


@pytest.fixture
def proxy(server: Server) -> Iterator["Proxy"]:
    """A proxy before the server of the tests, which loses commands or replies."""
    from proxy import Proxy

    with Proxy(server.socket) as proxy:
        yield proxy


@pytest.fixture
def fault_proxy(server: Server) -> Iterator["FaultProxy"]:
    """The proxy of the soak test before the server of the tests."""
    from benchmarks.chaos.proxy import FaultProxy

    with FaultProxy(server.socket) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make loops try again without the pause that they make in a real outage."""
    monkeypatch.setattr("redbike.engine.retry._delay_s", lambda _failures: 0.001)


@pytest.fixture(scope="module")
def cluster() -> Iterator["Cluster"]:
    """A Cluster for the tests of one file."""
    from servers import Cluster

    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def tagged(prefix: str) -> str:
    """An empty prefix with a hash tag, for a Cluster."""
    return f"{{{prefix}}}"


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def conf(server: Server, prefix: str, in_a_folder: Path) -> Path:
    """A conf without a worker, in the folder where the test runs."""
    path = in_a_folder / ".redbike.conf"
    path.write_text(f"[redbike]\nprefix: {prefix}\n[redbike-redis]\nunix_socket_path: {server.socket}\n")
    return path


@pytest.fixture
def silent_root() -> Iterator[None]:
    """Removes the log handler that a command adds to its process."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.fixture
def command(conf: Path, silent_root: None, capsys: pytest.CaptureFixture[str]) -> Command:  # noqa: ARG001
    """Calls `redbike` with arguments, in the folder of the conf."""
    from redbike import cli

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = cli.main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture
def bench(server: Server, prefix: str) -> Iterator["Bench"]:
    """The Lua scripts on an empty prefix."""
    from bench import Bench

    with server.client() as client:
        bench = Bench(client, prefix)
        yield bench
        bench.clear()


@pytest.fixture
def shop(
    in_a_folder: Path,
    bike: Redbike,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator["Shop"]:
    """A folder with a conf and some jobs, on which bad input is tried."""
    from bad_inputs import Shop

    before = list(sys.path)
    yield Shop(in_a_folder, bike, server, capsys, caplog)
    sys.path[:] = before
    for name in ("workers", "broken", "torn", "needy"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for an embedded server, with a short path."""
    from embedded_users import is_served

    from redbike.server.process import PID_NAME

    folder = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
    yield folder
    if is_served(folder):  # left behind by a test that failed
        os.kill(int((folder / PID_NAME).read_text()), signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], "User"]]:
    """Starts processes that use the embedded server of the folder."""
    from embedded_users import User

    started: list[User] = []

    def start() -> User:
        started.append(User(folder))
        return started[-1]

    yield start
    for user in started:
        user.kill()


@pytest.fixture
def embedded_server(folder: Path) -> Iterator["EmbeddedServer"]:
    """This process as a user of the embedded server of the folder."""
    from redbike.errors import RedbikeError
    from redbike.server.embedded import EmbeddedServer

    server = EmbeddedServer(folder)
    yield server
    with contextlib.suppress(RedbikeError):
        server.leave()


@pytest.fixture
def page(bike: Redbike) -> "Iterator[Page]":
    """The web page of the prefix, served in a thread."""
    from pages import Page

    with Page(bike) as page:
        yield page


@pytest.fixture
def visitor(page: "Page") -> "Visitor":
    """A browser without a screen for the page."""
    return page.visitor()


@pytest.fixture(scope="module")
def rq_server() -> Iterator[Server]:
    """A server for RQ and Redbike. RQ's keys have no prefix, so each test begins on an empty server."""
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def rq_client(rq_server: Server) -> Iterator[redis.Redis]:
    """RQ's Redis, empty."""
    from rq_users import homes_closed

    with rq_server.client() as client, homes_closed():
        client.flushall()
        yield client


@pytest.fixture
def rq_bike(rq_server: Server, rq_client: redis.Redis, prefix: str) -> Iterator[Redbike]:  # noqa: ARG001 - empty first
    """A Redbike that sends to RQ, on a halted prefix: each call of `work` is one turn."""
    from rq_users import make_bike

    with make_bike(rq_server, prefix) as bike:
        bike.control("HALT")
        yield bike

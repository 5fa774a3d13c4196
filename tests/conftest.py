"""Private servers for the tests, and what many of them start from: a Redbike on an empty prefix of its own.

Nothing of Redis is mocked. Every server listens on a unix socket in a temporary folder and is ended by its pid.
With REDBIKE_TEST_CLUSTER=1 the server is a Cluster of one node, and the prefixes are tagged.
"""

import itertools
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import redis
from nodes import answers, eventually, server_binary

from redbike import Redbike, RoundRobin

ON_A_CLUSTER = os.environ.get("REDBIKE_TEST_CLUSTER") == "1"


class Reachable(Protocol):
    """A server, or several."""

    @property
    def config(self) -> dict[str, object]:
        """How a Redbike gets there."""


class Server:
    """A real server of one's own, which can be killed and started again on the same data."""

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
        """How a Redbike gets there."""
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
    """One server for all tests of this process that do not hurt it; every test has a prefix of its own."""
    server = make_cluster() if ON_A_CLUSTER else Server()
    yield server
    server.remove()


def make_cluster() -> Server:
    """A node that has all slots of its Cluster, and refuses commands and scripts that need more than one of them."""
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
    """A worker that notes what it did; what a job shall do beyond that is put into `acts` by job id."""

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


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


def dispatch_at(bike: Redbike, at: float) -> None:
    """What `dispatch` of a halted prefix does when it is so late: one pass. No dispatcher believes a time to come."""
    bike._make_dispatcher().run(at)


class Fleet:
    """Makes Redbike objects on one prefix of one server, and closes them."""

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
def running() -> Iterator[Callable[..., threading.Event]]:
    """Runs loops of Redbike objects in threads: `running(bike.work)`; stops and joins them at the end."""
    threads: list[tuple[threading.Thread, threading.Event]] = []

    def run(make: Callable[[threading.Event], Callable[[], object]]) -> threading.Event:
        stop = threading.Event()
        thread = threading.Thread(target=make(stop), daemon=True)
        thread.start()
        threads.append((thread, stop))
        return stop

    yield run
    for _, stop in threads:
        stop.set()
    for thread, _ in threads:
        thread.join(10)
        assert not thread.is_alive()

"""What systemd receives: READY, STATUS, STOPPING, and signs of life that come from the loop itself."""

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Server
from fleets import ODD, Led
from nodes import eventually
from processes import Site

from redbike.engine.life import SignOfLife
from redbike.fleet.notify import Notifier, named

WATCHDOG_S = 1.0
A_FEW = 6  # signs of life, more than a stuck loop still sends

STUCK = """
import os, time
from workers import Scribe

class Stuck(Scribe):
    def queue_for(self, jobid):
        while jobid.startswith("stuck") and os.path.exists("stuck"):
            time.sleep(0.01)
        return super().queue_for(jobid)

    def work(self, jobid):
        if jobid.startswith("asks"):
            names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
            open("environment", "w").write(repr([os.environ.get(name) for name in names]))
        while jobid.startswith("long") and not os.path.exists("go-on"):
            time.sleep(0.01)
        super().work(jobid)
"""
WORKER = "stuck:Stuck('A')"


class Manager:
    """The socket of a service manager, and the messages that came."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        self._socket.setblocking(False)
        self._lines: list[str] = []

    def lines(self, name: str) -> list[str]:
        """Return the values of all lines with this name so far."""
        while True:
            try:
                self._lines += self._socket.recv(8192).decode().split("\n")
            except BlockingIOError:
                return [value for key, _, value in (line.partition("=") for line in self._lines) if key == name]

    def wait_for(self, name: str, part: str = "", more: int = 1) -> None:
        """Wait for so many more lines of this name that hold this text."""

        def number() -> int:
            return sum(part in value for value in self.lines(name))

        before = number() if more > 1 else 0
        eventually(lambda: number() >= before + more, 20)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A manager that expects signs of life, in the environment of all processes that the test starts."""
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(f"{folder}/notify" if request.param == "path" else f"@redbike-{os.getpid()}-{time.time_ns()}")
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        monkeypatch.setenv("WATCHDOG_USEC", str(int(1_000_000 * WATCHDOG_S)))
        yield manager
        manager.close()


by_path = pytest.mark.parametrize("manager", ["path"], indirect=True)


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, server, prefix) as site:
        (tmp_path / "stuck.py").write_text(STUCK)
        yield site


def silent(manager: Manager) -> bool:
    """Return True if no sign of life comes for longer than a watchdog waits."""
    manager.lines("WATCHDOG")
    before = len(manager.lines("WATCHDOG"))
    time.sleep(1.5 * WATCHDOG_S)
    return len(manager.lines("WATCHDOG")) == before


def test_a_worker(manager: Manager, site: Site) -> None:
    """A worker says that it is ready, what it serves and how many runs it had, and that it stops."""
    process = site.start("work", WORKER)
    manager.wait_for("READY", "1")
    site.run("enqueue", "asks:A")
    manager.wait_for("STATUS", "serving work-A: 1 run, last ")
    manager.wait_for("WATCHDOG", "1", A_FEW)
    assert manager.lines("STOPPING") == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert (manager.lines("READY"), manager.lines("STOPPING")) == (["1"], ["1"])
    assert (site.folder / "environment").read_text() == "[None, None, None]"


@by_path
def test_a_dispatcher(manager: Manager, site: Site) -> None:
    """A dispatcher is ready when the jobs of its file are set, and says that it stops, also for a halt."""
    (site.folder / "jobs.csv").write_text("a:A,EVERY:1h\n")
    process = site.start("dispatch", "--schedules=jobs.csv")
    manager.wait_for("READY", "1")
    assert site.redis.hexists(f"{site.prefix}-schedules", "a:A")
    manager.wait_for("STATUS", "dispatching to work-A")
    manager.wait_for("WATCHDOG", "1", A_FEW)
    site.run("control", "HALT")
    assert process.wait(10) == 0
    assert manager.lines("STOPPING") == ["1"]


@by_path
def test_a_long_job_is_a_life(manager: Manager, site: Site) -> None:
    """A worker sends signs of life during a job that takes longer than the watchdog waits."""
    process = site.start("work", WORKER)
    site.run("enqueue", "long:A")
    manager.wait_for("STATUS", "in a run for 2 s")
    assert not silent(manager)
    process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING")
    assert not silent(manager)
    (site.folder / "go-on").touch()
    assert process.wait(10) == 0


@by_path
def test_a_stuck_loop_is_no_life(manager: Manager, site: Site) -> None:
    """A loop that neither waits for Redis nor runs a job sends no sign of life. It sends them again when it goes on."""
    stuck = site.folder / "stuck"
    stuck.touch()
    process = site.start("dispatch", WORKER)
    manager.wait_for("WATCHDOG", "1", A_FEW)
    site.redis.zadd(f"{site.prefix}-timeline", {"stuck:A": 1})
    eventually(lambda: silent(manager), 20)
    assert process.poll() is None
    stuck.unlink()
    manager.wait_for("WATCHDOG", "1", A_FEW)


@by_path
@pytest.mark.parametrize("command", ["dispatch", "work"])
def test_a_frozen_server_is_no_reason_to_restart(
    manager: Manager, own_server: Server, prefix: str, tmp_path: Path, command: str
) -> None:
    """A loop that waits for a frozen Redis, or for one that is gone, sends signs of life."""
    with Site(tmp_path, own_server, prefix) as site:
        site.start(command)
        manager.wait_for("WATCHDOG", "1", A_FEW)
        assert own_server.process is not None
        own_server.process.send_signal(signal.SIGSTOP)
        time.sleep(2 * WATCHDOG_S)
        assert not silent(manager)
        own_server.kill()
        time.sleep(2 * WATCHDOG_S)
        assert not silent(manager)


@by_path
def test_a_loop_says_that_redis_is_away(
    manager: Manager, own_server: Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status says since when a loop waits for Redis."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    with Site(tmp_path, own_server, prefix) as site:
        site.start_idle("work")
        own_server.kill()
        manager.wait_for("STATUS", "serving work-A: 0 runs; waiting for Redis for 1")


@by_path
def test_a_parent(manager: Manager, site: Site) -> None:
    """A parent is ready when all its children are, and only the parent tells, while its own loop turns."""
    led = Led(site, "run", "--processes=2", ODD)
    try:
        manager.wait_for("READY", "1")
        assert led.log().count("working: ") == 2
        manager.wait_for("STATUS", "3 of 3 processes are ready")
        manager.wait_for("WATCHDOG", "1", A_FEW)
        assert not [line for line in manager.lines("STATUS") if "serving" in line or "dispatching" in line]
        os.kill(led.pid, signal.SIGSTOP)
        try:
            assert silent(manager)
        finally:
            os.kill(led.pid, signal.SIGCONT)
        os.kill(led.children("work")[0], signal.SIGKILL)
        manager.wait_for("STATUS", "2 of 3 processes are ready")
        os.kill(led.pid, signal.SIGTERM)
        assert led.code() == 0
        assert (manager.lines("READY"), manager.lines("STOPPING")) == (["1"], ["1"])
    finally:
        led.close()


# the environment


def test_the_variables_are_taken_out() -> None:
    """The variables of systemd leave the environment, and a child of a parent tells nothing."""
    for has_parent in (False, True):
        environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()), "A": ""}
        notifier = Notifier.take(environment, has_parent)
        assert environment == {"A": ""}
        assert (notifier.is_on, notifier.watchdog_s) == ((False, None) if has_parent else (True, 2.0))
        notifier.ready("to nobody")
        notifier.close()


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_s"),
    [("", "", None), ("0", "", None), ("soon", "", None), ("3000000", "1", None), ("3000000", "", 3.0)],
)
def test_whose_watchdog(usec: str, pid: str, watchdog_s: float | None) -> None:
    """A watchdog for another process, without a time or with a time that is no number, is none."""
    notifier = Notifier.take({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
    assert notifier.watchdog_s == watchdog_s
    notifier.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_other_addresses(address: str) -> None:
    """Without the address of a Unix socket, nothing is sent."""
    assert not Notifier.take({"NOTIFY_SOCKET": address}).is_on


def test_names_are_one_line() -> None:
    """A status is one line, whatever the names of the queues, and names at most ten of them."""
    assert "\n" not in named("serving", ["a\nSTOPPING=1"])
    assert named("serving", [f"q{n}" for n in range(12)]).endswith("q9 and 2 more")


# the sign of life


def test_only_the_loop_is_noted() -> None:
    """A call of Redis in another thread, as of a job, says nothing about the loop."""
    life = SignOfLife()
    life.begin()

    def call(then: Callable[[], object]) -> None:
        with life:
            then()

    noted: list[float] = []
    thread = threading.Thread(target=call, args=[lambda: noted.append(life.waiting_s())])
    thread.start()
    thread.join()
    assert noted == [0.0]
    call(lambda: noted.append(life.own_work_s()))
    assert noted == [0.0, 0.0]
    assert life.own_work_s() > 0

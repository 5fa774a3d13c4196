"""The commands of examples/container as processes, with the conf and the environment of the containers.

There is no container runtime here. The last tests put a command into separate namespaces, as a runtime does.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, idle_loops
from nodes import Node, eventually, free_port
from processes import environment

from redbike import Redbike, RoundRobin

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

CONTAINER = ROOT / "examples" / "container"
PASSWORD = "correct-horse-battery"

IN_A_BOX = """
set -e
hostname "$BOX"
mount -t tmpfs -o size=16m,mode=0700 tmpfs "$REDBIKE_STATE"
mount -t tmpfs -o size=16m tmpfs /var/tmp
# Everything else is read-only, as with `read_only: true`.
mount -o remount,ro,bind /
findmnt -rno TARGET | grep -E '^/(tmp|root|work|home)' | while read -r place; do
    [ "$place" = "$REDBIKE_STATE" ] || mount -o remount,ro,bind "$place" 2>/dev/null || :
done
exec "$@"
"""
"""Become process 1 of a machine with another name and a read-only root."""


def may_make_namespaces() -> bool:
    if os.getuid() != 0 or shutil.which("unshare") is None or shutil.which("findmnt") is None:
        return False
    tried = subprocess.run(["unshare", "--mount", "--pid", "--uts", "--fork", "true"], capture_output=True)
    return tried.returncode == 0


class Boxes:
    """Processes with the commands of the containers."""

    def __init__(self, folder: Path, node: Node) -> None:
        self.node = node
        self.app, self.state = folder / "app", folder / "state"
        self.app.mkdir()
        self.state.mkdir()
        shutil.copy(CONTAINER / "jobs.py", self.app)
        found = yaml.safe_load((CONTAINER / "compose.yaml").read_text("utf-8"))
        self.services: dict[str, dict[str, Any]] = found["services"]
        self.environment = environment() | {
            **self.services["worker"]["environment"],
            "REDBIKE_CONFIG": str(CONTAINER / "redbike.conf"),
            "REDBIKE_STATE": str(self.state),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(node.port),
            "REDIS_PASSWORD": PASSWORD,
        }
        self._started: list[subprocess.Popen[str]] = []

    def command(self, service: str) -> list[str]:
        """Return the command of a service of compose, with a free port that only this machine reaches."""
        replaced = {"--host=0.0.0.0": "--host=127.0.0.1"}
        if service in ("page", "exporter"):
            self.port = free_port()
            replaced |= dict.fromkeys(("--port=8730", "--port=9109"), f"--port={self.port}")
        return [replaced.get(word, word) for word in self.services[service]["command"]]

    def start(self, *command: str, before: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "redbike", *command],
            cwd=self.app,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._started.append(process)
        return process

    def start_loop(self, service: str, **options: Any) -> subprocess.Popen[str]:
        """Start a dispatcher or a worker, and return it once it is idle."""
        with self.node.client() as client:
            before = idle_loops(client)
            process = self.start(*self.command(service), **options)
            eventually(lambda: idle_loops(client) > before or process.poll() is not None, 20)
        assert process.poll() is None, process.communicate()
        return process

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "redbike", *command],
            cwd=self.app,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
        )

    def bike(self) -> Redbike:
        config = {"host": "127.0.0.1", "port": self.node.port, "password": PASSWORD}
        return Redbike(RoundRobin("A:A:B"), "redbike", config)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as answer:
            text: str = answer.read().decode()
        return text

    def is_served(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def node() -> Iterator[Node]:
    """A server with the password and the settings of the Valkey of compose."""
    node = Node(f"appendonly yes\nmaxmemory-policy noeviction\nrequirepass {PASSWORD}", password=PASSWORD)
    yield node.ready()
    node.remove()


@pytest.fixture
def boxes(tmp_path: Path, node: Node) -> Iterator[Boxes]:
    boxes = Boxes(tmp_path, node)
    yield boxes
    boxes.end()


def test_a_fleet_works_and_ends_on_sigterm(boxes: Boxes) -> None:
    """Two dispatchers and three workers run a job; on SIGTERM, a worker finishes its job, and all end with 0."""
    dispatchers = [boxes.start_loop("dispatcher") for _ in range(boxes.services["dispatcher"]["deploy"]["replicas"])]
    workers = [boxes.start_loop("worker") for _ in range(boxes.services["worker"]["deploy"]["replicas"])]
    assert (len(dispatchers), len(workers)) == (2, 3)
    assert boxes.run("set", "nap:1:A", f"AT:{time.time() + 0.2}").returncode == 0
    with boxes.bike() as bike:
        eventually(lambda: bike.is_working("nap:1:A"))
        for process in (*dispatchers, *workers):
            process.send_signal(signal.SIGTERM)
        printed = [process.communicate(timeout=10) for process in (*dispatchers, *workers)]
        assert [process.returncode for process in (*dispatchers, *workers)] == [0] * 5
        assert "".join(out for out, _ in printed) == "nap:1:A is done\n"
        assert bike.details("nap:1:A")["last_run"]["outcome"] == "done"  # type: ignore[index]
    lines = [line for _, err in printed for line in err.splitlines() if "web-password: is unknown" not in line]
    assert {json.loads(line)["level"] for line in lines} == {"INFO"}


def test_a_halt_ends_loops_with_0(boxes: Boxes) -> None:
    """HALT ends dispatcher and worker with 0, so that compose does not start them again; the exporter goes on."""
    pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    exporter = boxes.start(*boxes.command("exporter"))
    eventually(boxes.is_served, 20)
    loops = [boxes.start_loop("dispatcher"), boxes.start_loop("worker")]
    assert "\nredbike_halted 0.0\n" in boxes.metrics()
    assert boxes.run("control", "HALT").returncode == 0
    assert [process.wait(10) for process in loops] == [0, 0]
    assert boxes.services["worker"]["restart"] == "on-failure"
    eventually(lambda: "\nredbike_halted 1.0\n" in boxes.metrics())
    exporter.send_signal(signal.SIGTERM)
    assert exporter.wait(5) == 0


@pytest.mark.parametrize("service", ["dispatcher", "worker", "exporter"])
def test_exit_codes_of_a_failed_start(boxes: Boxes, service: str) -> None:
    """A variable that is not set ends a container with 78 and names the variable, and never its value."""
    if service == "exporter":
        pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    del boxes.environment["REDIS_PASSWORD"]
    process = boxes.start(*boxes.command(service))
    _, err = process.communicate(timeout=20)
    assert process.returncode == os.EX_CONFIG
    assert "the environment variable REDIS_PASSWORD is not set" in err


@pytest.mark.parametrize("service", ["dispatcher", "worker"])
def test_a_start_without_redis_fails(boxes: Boxes, service: str) -> None:
    """While Redis is away at the start, a loop ends with 1, and compose starts it again."""
    process = boxes.start(*boxes.command(service), REDIS_PORT=str(free_port()))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert PASSWORD not in err


@pytest.mark.skipif(find_spec("redbike.cli.check") is None, reason="there is no redbike check")
def test_the_health_check(boxes: Boxes) -> None:
    """`redbike check --self` fails before a loop of this host is alive, and succeeds while one is."""
    assert boxes.run("check", "--self").returncode != 0
    boxes.start_loop("worker")
    eventually(lambda: boxes.run("check", "--self").returncode == 0, 20)


@pytest.mark.skipif(find_spec("redbike.cli.web") is None, reason="there is no redbike web")
def test_the_page_is_served(boxes: Boxes) -> None:
    """The command of the page serves its port, and ends on SIGTERM."""
    page = boxes.start(*boxes.command("page"), REDBIKE_WEB_PASSWORD="a-long-password-of-the-page")
    eventually(boxes.is_served, 20)
    page.send_signal(signal.SIGTERM)
    assert page.wait(15) in (0, -signal.SIGTERM)  # uvicorn ends in order, and then sends itself the signal


@pytest.mark.skipif(not may_make_namespaces(), reason="no namespaces can be made here: needs root and unshare")
@pytest.mark.parametrize("service", ["dispatcher", "worker"])
def test_process_1_of_a_machine_with_a_read_only_root(boxes: Boxes, service: str) -> None:
    """Each loop works as process 1, on a read-only root, and is known by the name of its container."""
    box = ("unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child", "sh", "-c", IN_A_BOX, "sh")
    unshare = boxes.start_loop(service, before=box, BOX="f00dcafe1234")
    with boxes.bike() as bike:

        def about() -> list[Any]:
            return [json.loads(text) for text in bike.redis.hgetall("redbike:processes").values()]

        eventually(lambda: [(one["host"], one["pid"]) for one in about()] == [("f00dcafe1234", 1)])
    assert not list(boxes.state.iterdir())  # the time file is in the tmpfs of the box
    [loop] = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
    os.kill(int(loop), signal.SIGTERM)
    _, err = unshare.communicate(timeout=10)
    assert unshare.returncode == 0, err
    assert "Traceback" not in err

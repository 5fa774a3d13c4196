"""Servers that lack something: a command, memory, their data (still loading), or an answer."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from conftest import Fleet, Recorder
from helpers import lines
from nodes import Node, eventually
from processes import Site
from threads import Loops

from redbike.errors import ServerError


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A server with the settings that the test gives as parameter."""
    node = Node(getattr(request, "param", ""))
    yield node.ready()
    node.remove()


def without(*names: str) -> str:
    return "\n".join(f'rename-command {name} ""' for name in names)


@pytest.mark.parametrize("node", [without("INFO", "SUBSCRIBE")], indirect=True)
def test_a_server_without_info_and_subscribe(
    node: Node, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G1: without INFO and SUBSCRIBE, loops work as if these were forbidden; a line says what that costs."""
    fleet, worker = Fleet(node, prefix, tmp_path), Recorder()
    with Loops(fleet) as loops:
        loops.work(worker)
        loops.dispatch()
        bike = fleet()
        bike.set("now:A", "NOW")
        bike.set("at:A", f"AT:{time.time() + 0.5}")
        eventually(lambda: sorted(worker.done) == ["at:A", "now:A"])
    assert len(lines(caplog, "may be queued up to a second late")) == 1
    assert not lines(caplog, "trying until it is back")
    fleet.close()


@pytest.mark.parametrize("kind", ["dispatch", "work"])
@pytest.mark.parametrize(
    ("node", "name"), [(without(name), name) for name in ("EVALSHA", "SCRIPT", "BLPOP")], indirect=["node"]
)
def test_a_server_without_a_needed_command_is_refused(
    node: Node, prefix: str, tmp_path: Path, kind: str, name: str
) -> None:
    """G1: a loop refuses at its start a server that lacks a necessary command, and names the command."""
    bike = Fleet(node, prefix, tmp_path)()
    with pytest.raises(ServerError, match=rf"localhost|127\.0\.0\.1:\d+ lacks the command {name}, .*rename-command"):
        getattr(bike, kind)()
    bike.close()


@pytest.mark.parametrize("node", [without("EVALSHA")], indirect=True)
def test_a_command_on_a_server_without_scripts(node: Node, prefix: str, tmp_path: Path) -> None:
    """G1: a method names the command that the server lacks, in one line."""
    bike = Fleet(node, prefix, tmp_path)()
    with pytest.raises(ServerError, match=r"lacks a command that Redbike needs: .*EVALSHA.*rename-command"):
        bike.set("j:A", "NOW")
    bike.close()


@pytest.mark.parametrize("kind", ["dispatch", "work"])
def test_a_loop_that_is_stopped_in_an_outage_does_not_say_that_it_is_over(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """C7: "is back" is only logged if the server answered, not if the loop ended first."""
    node = Node().ready()
    try:
        fleet = Fleet(node, prefix, tmp_path)
        with Loops(fleet) as loops:
            loop = getattr(loops, kind)()
            with node.client() as client:
                eventually(lambda: any(one["cmd"] in ("blpop", "subscribe") for one in client.client_list()))
            node.kill()
            eventually(lambda: lines(caplog, "trying until it is back"))
            loop.tell()
            loop.join()
    finally:
        node.remove()
    assert not lines(caplog, "is back after")


FULL = "maxmemory-policy noeviction"


@pytest.mark.parametrize("node", [FULL], indirect=True)
def test_halt_gets_through_where_memory_is_full(node: Node, prefix: str, tmp_path: Path) -> None:
    """D1: HALT stops loops also while the server is out of memory and refuses every command that needs more."""
    fleet = Fleet(node, prefix, tmp_path)
    bike = fleet()
    threads = [threading.Thread(target=getattr(fleet(), kind)) for kind in ("dispatch", "work")]
    for thread in threads:
        thread.start()
    with node.client() as client:
        eventually(lambda: sum(one["cmd"] in ("blpop", "subscribe") for one in client.client_list()) == 2)
        node.ask("CONFIG SET", "maxmemory", 1)
        try:
            with pytest.raises(ServerError, match="maxmemory"):
                bike.set("j:A", "NOW")
            bike.control("HALT")
            assert client.get(bike.control_key) == b"HALT"
            for thread in threads:
                thread.join(3)
            assert not any(thread.is_alive() for thread in threads)
            bike.clear_control()
        finally:
            node.ask("CONFIG SET", "maxmemory", 0)
            bike.control("HALT")
            for thread in threads:
                thread.join(5)
    fleet.close()


class BlackHole:
    """An address that accepts connections and never replies."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.config: dict[str, object] = {"host": "127.0.0.1", "port": self._listener.getsockname()[1]}

    def client(self) -> object:
        return self

    def close(self) -> None:
        self._listener.close()

    def wait_for_somebody(self) -> socket.socket:
        self._listener.settimeout(20)
        return self._listener.accept()[0]


@pytest.mark.parametrize("command", ["dispatch", "work"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_without_an_answer_can_be_stopped(
    tmp_path: Path, prefix: str, command: str, number: signal.Signals
) -> None:
    """D2: a stop signal ends a loop that waits at its start for a server that never answers, within two seconds."""
    hole = BlackHole()
    with Site(tmp_path, hole, prefix) as site:  # type: ignore[arg-type]
        process = site.start(command)
        with hole.wait_for_somebody():
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == 0
            assert time.monotonic() - began < 2
        assert site.stderr_of(process) == ""


@pytest.mark.parametrize("command", ["dispatch", "work"])
def test_a_server_that_loads_is_waited_for_with_one_line(tmp_path: Path, prefix: str, command: str) -> None:
    """C7: a loop that starts while the server loads its data says so once, waits, and then works."""
    node = Node("save 3600 1\nkey-load-delay 500\nloading-process-events-interval-bytes 1024").ready()
    try:
        with node.client() as client:
            client.mset({f"filler{n}": "x" * 100 for n in range(8_000)})
            client.save()
        node.kill()
        node.start()
        eventually(lambda: is_loading(node))
        with Site(tmp_path, node, prefix) as site:  # type: ignore[arg-type]
            process = site.start_idle(command)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            said = site.stderr_of(process)
        assert said.count("still loading its data") == 1, said
        assert len([line for line in said.splitlines() if " INFO " not in line]) == 1, said
    finally:
        node.remove()


def is_loading(node: Node) -> bool:
    with node.client() as client:
        try:
            return bool(client.info("persistence")["loading"])
        except redis.RedisError:
            return False  # not yet

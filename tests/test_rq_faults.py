"""RQWorker under faults: lost replies, killed and frozen processes, and RQ's Redis away or without memory."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Server
from helpers import lines
from nodes import eventually
from processes import environment
from proxy import Loss, Proxy
from rq_users import looping, make_bike, payload, run_rq_worker, sent, texts

from redbike import Redbike
from redbike.bridges.rq import RQWorker
from redbike.bridges.rq.broker import Broker, memory_key
from redbike.bridges.rq.payload import Call
from redbike.worker import Later, LeaseLost, Run

LONG_S = 60.0


@pytest.mark.parametrize("loss", Loss)
def test_lost_commands_and_replies_send_once(
    rq_server: Server, rq_client: redis.Redis, prefix: str, loss: Loss, caplog: pytest.LogCaptureFixture
) -> None:
    """If any command or reply of a send is lost, the run is in RQ's queue once."""
    with Proxy(rq_server.socket) as proxy:
        worker = RQWorker(unix_socket_path=proxy.socket)
        with make_bike(rq_server, prefix, worker) as bike:
            bike.control("HALT")
            bike.set("job", "NOW", payload=payload(args=["warm"]))
            bike.work()
            proxy.cut(lambda _: None)
            bike.set("job", "NOW", payload=payload(args=["count"]))
            bike.work()
            commands = list(proxy.commands)
            assert commands == ["EVALSHA"]
            for number in range(len(commands)):
                proxy.cut_once(number, loss)
                bike.set("job", "NOW", payload=payload(args=[f"{number}"]))
                bike.work()
    wanted = [str(number) for number in range(len(commands))]
    assert texts(rq_client) == ["warm", "count", *wanted]
    assert lines(caplog, "Traceback") == []


@pytest.mark.parametrize("next_is_sent", [False, True])
def test_of_two_senders_of_a_run_one_sends(rq_server: Server, rq_client: redis.Redis, next_is_sent: bool) -> None:
    """A process that was frozen between two calls does not send what another one has sent."""
    slow, fast = (Broker({"unix_socket_path": rq_server.socket}, False) for _ in range(2))
    call, add, ends_s = Call("tasks.note", "q", ["x"]), slow._add, time.monotonic() + 0.2

    def frozen(*args: Any) -> None:
        fast.enqueue(call, "p", "job", "id-1", 1.0, time.monotonic() + LONG_S, bool)
        if next_is_sent:
            fast.enqueue(call, "p", "job", "id-2", 2.0, time.monotonic() + LONG_S, bool)
            eventually(lambda: time.monotonic() > ends_s)
        add(*args)

    slow._add = frozen  # type: ignore[method-assign]
    if next_is_sent:
        with pytest.raises(Later):
            slow.enqueue(call, "p", "job", "id-1", 1.0, ends_s, bool)
    else:
        assert slow.enqueue(call, "p", "job", "id-1", 1.0, ends_s, bool) is None
    assert [job.id for job in sent(rq_client)] == ["id-1", "id-2"][: 1 + next_is_sent]


def test_a_sender_that_was_frozen_looks_at_its_lease(rq_bike: Redbike, rq_client: redis.Redis) -> None:
    """If others have sent the run and the next run meanwhile, a process that wakes up does not send its run again."""
    worker = rq_bike.worker
    assert isinstance(worker, RQWorker)
    other = RQWorker(connection=rq_client)
    asked: list[float] = []

    def extend(seconds: float) -> bool:
        asked.append(seconds)
        return False

    def run_at(due: float, lease: Callable[[float], bool] = lambda _: True) -> Run:
        text = payload(args=[due])
        return Run("job", text, due, due, 1, "rq", "EVERY:1h", 60.0, "tag", lease, prefix=rq_bike.prefix)

    mine = run_at(1.0, extend)
    prepared = worker.prepare(mine)._replace(ends_s=time.monotonic() + 60 - 31)  # it has begun 31 s ago
    for due in (1.0, 2.0):
        other.perform(run_at(due))
    with pytest.raises(LeaseLost):
        worker.send(prepared, mine)
    assert asked == [60.0]
    assert len(sent(rq_client)) == 2


KILLED = """
import os, sys, threading
sys.path.insert(0, {tests!r})
from rq_users import make_bike
from redbike.bridges.rq import RQWorker

class Stuck(RQWorker):
    def send(self, prepared, run):
        super().send(prepared, run)
        print("sent", flush=True)
        threading.Event().wait()

class Server:
    socket = {socket!r}
    config = {{"unix_socket_path": socket}}

rq_bike = make_bike(Server, {prefix!r}, Stuck(lease=1, socket_timeout=0.5, **Server.config))
rq_bike.work()
"""


def test_kill_between_send_and_end_sends_once(
    rq_server: Server, rq_client: redis.Redis, prefix: str, tmp_path: Path
) -> None:
    """The run of a worker that was killed after its send is tried again, and RQ gets it once, also after it has run."""
    code = KILLED.format(tests=str(Path(__file__).parent), socket=rq_server.socket, prefix=prefix)
    worker = RQWorker(unix_socket_path=rq_server.socket, lease=1, socket_timeout=0.5)
    with make_bike(rq_server, prefix, worker, stop_event=threading.Event(), history=10) as bike:
        bike.set("job", "NOW", payload=payload(args=["once"], result_ttl=0))
        process = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"sent\n"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        assert run_rq_worker(rq_server, tmp_path) == ["once"]
        with looping(bike):
            eventually(lambda: [record.outcome for record in bike.get_history()] == ["done", "lost"], 10)
    assert sent(rq_client) == []


def test_workers_share_the_queue(rq_server: Server, rq_client: redis.Redis, prefix: str) -> None:
    """Three workers and 150 jobs: each is sent once."""
    bikes = [make_bike(rq_server, prefix, stop_event=threading.Event()) for _ in range(3)]
    wanted = [f"job {number}" for number in range(150)]
    bikes[0].set_many((name, "NOW", payload(args=[name])) for name in wanted)
    with looping(*bikes):
        eventually(lambda: len(texts(rq_client)) >= len(wanted))
    for bike in bikes:
        bike.close()
    assert sorted(texts(rq_client)) == sorted(wanted)


@pytest.fixture
def brokers(rq_server: Server, rq_client: redis.Redis, prefix: str) -> Iterator[tuple[Server, Redbike]]:  # noqa: ARG001
    """A server that only RQ uses, which a test may harm, and a Redbike elsewhere that sends to it."""
    broker = Server("--appendonly", "yes")
    worker = RQWorker(unix_socket_path=broker.socket, socket_timeout=0.5, lease=4)
    with make_bike(rq_server, prefix, worker, stop_event=threading.Event()) as bike:
        yield broker, bike
    broker.remove()


def test_broker_away_and_back(brokers: tuple[Server, Redbike], caplog: pytest.LogCaptureFixture) -> None:
    """While RQ's Redis is down, runs wait; afterwards each is sent once. One line says it is gone, one it is back."""
    broker, bike = brokers
    with looping(bike), broker.client() as client:
        broker.kill()
        wanted = [f"job {number}" for number in range(60)]
        bike.set_many((name, "NOW", payload(args=[name])) for name in wanted)
        eventually(lambda: lines(caplog, "out of reach"))
        broker.start()
        eventually(lambda: len(texts(client)) == len(wanted))
        eventually(lambda: lines(caplog, "is back after"))
    with broker.client() as client:
        assert sorted(texts(client)) == sorted(wanted)
    assert len(lines(caplog, "out of reach")) == len(lines(caplog, "is back after")) == 1
    assert f"RQ's Redis at {broker.socket} is out of reach" in lines(caplog, "out of reach")[0]


def test_broker_frozen(brokers: tuple[Server, Redbike]) -> None:
    """While RQ's Redis does not answer, and carries commands out later, each run is sent once."""
    broker, bike = brokers
    assert broker.process is not None
    with looping(bike), broker.client() as client:
        bike.set("warm", "NOW", payload=payload(args=["warm"]))
        eventually(lambda: texts(client) == ["warm"])
        wanted = [f"job {number}" for number in range(20)]
        broker.process.send_signal(signal.SIGSTOP)
        try:
            bike.set_many((name, "NOW", payload(args=[name])) for name in wanted)
            eventually(lambda: bike.worker._away_since is not None)  # type: ignore[attr-defined]
        finally:
            broker.process.send_signal(signal.SIGCONT)
        eventually(lambda: len(texts(client)) == 1 + len(wanted))
    with broker.client() as client:
        assert sorted(texts(client)) == sorted(["warm", *wanted])


def test_broker_full(brokers: tuple[Server, Redbike], caplog: pytest.LogCaptureFixture) -> None:
    """A server without memory takes no messages at all: that is an outage, and no fault of the job."""
    broker, bike = brokers
    with looping(bike), broker.client() as client:
        client.config_set("maxmemory", 1)
        bike.set("job", "NOW", payload=payload(args=["secret word"]))
        eventually(lambda: lines(caplog, "out of reach"))
        client.config_set("maxmemory", 0)
        eventually(lambda: texts(client) == ["secret word"])
    [line] = lines(caplog, "out of reach")
    assert "OOM" in line or "memory" in line
    assert "secret word" not in line


def test_a_queue_of_another_kind_holds_up_no_other(
    rq_bike: Redbike, rq_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The run of a queue whose key holds a set comes again later; the other runs are sent; later it is sent too."""
    rq_client.sadd("rq:queue:q", "x")
    for name, queue in (("ill", "q"), ("well", "other")):
        rq_bike.set(name, "NOW", payload=payload(args=[name], queue=queue))
    rq_bike.work()
    rq_bike.work()
    assert texts(rq_client, "other") == ["well"]
    assert len(rq_client.keys("rq:job:*")) == 1, "nothing of the other run is in RQ"  # type: ignore[arg-type]
    assert 8 < rq_bike.tell("ill")["next_run"] - time.time() < 11  # type: ignore[operator]
    [line] = lines(caplog, "refuses it")
    assert "'ill'" in line and "WRONGTYPE" in line and "every 10 s" in line
    rq_client.delete("rq:queue:q")
    rq_bike.set("ill", "NOW")
    rq_bike.work()
    assert texts(rq_client) == ["ill"]


def test_a_script_that_fails_in_part_is_not_remembered(rq_bike: Redbike, rq_client: redis.Redis) -> None:
    """Redis does not undo a script: the run whose id could not enter the queue is sent again."""
    rq_bike.set("job", "NOW", payload=payload(args=["first"]))
    rq_bike.work()
    held = rq_client.get(memory_key(rq_bike.prefix, "job"))
    rq_client.delete("rq:queue:q")
    rq_client.sadd("rq:queue:q", "x")
    rq_bike.set("job", "NOW", payload=payload(args=["second"]))
    rq_bike.work()
    assert rq_client.get(memory_key(rq_bike.prefix, "job")) == held
    rq_client.delete("rq:queue:q")
    rq_bike.set("job", "NOW")
    rq_bike.work()
    assert texts(rq_client) == ["second"]

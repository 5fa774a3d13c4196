"""CeleryWorker and brokers that fail: away, frozen, full of wrong keys, or with lost replies."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celeries import ADD, Project, Tries, a_run, run_due, server_time
from conftest import Server
from helpers import event, lines, take
from nodes import Node, eventually
from proxy import Loss, Proxy

from redbike import Redbike
from redbike.bridges.celery import CeleryWorker
from redbike.bridges.celery.conf import make_bike
from redbike.bridges.identity import run_id
from redbike.bridges.running import Running
from redbike.errors import ServerError
from redbike.worker import BadJob, Later, Run

if TYPE_CHECKING:
    import celery

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")


@pytest.fixture
def broker() -> Iterator[Node]:
    """A separate broker, on a loopback port, which keeps its data when it is killed."""
    node = Node("appendonly yes\nappendfsync always").ready()
    yield node
    node.remove()


@pytest.fixture
def apart(broker: Node, server: Server, prefix: str, tmp_path: Path) -> Iterator[Project]:
    """A project whose broker is not the server of Redbike. Each reply of the broker may take half a second."""
    with Project(tmp_path, broker.client(), f"redis://127.0.0.1:{broker.port}/0", prefix) as project:
        yield project
    with server.client() as client:
        client.delete(*[*client.scan_iter(match=f"{prefix}*"), "nothing"])


def impatient_app(project: Project, server: Server) -> "celery.Celery":
    """Return an app for a broker apart, whose time limit for replies is half a second."""
    return project.app(
        redbike_url=f"unix://{server.socket}", redbike_lease=2, broker_transport_options={"socket_timeout": 0.5}
    )


@pytest.fixture
def running() -> Iterator[Any]:
    """Runs the loops of a worker in threads, and ends them after the test."""
    started: list[tuple[Running, Redbike]] = []

    def run(app: "celery.Celery", worker: CeleryWorker) -> Redbike:
        def prepare() -> None:
            bike.clear_control()

        loops = Running(prepare)
        bike = make_bike(app, worker, loops.stop_event)
        loops.start(bike)
        started.append((loops, bike))
        return bike

    yield run
    for loops, bike in started:
        assert loops.stop(10)
        assert loops.failure is None
        bike.close()


def test_a_broker_that_was_away_gets_every_run_once(
    apart: Project, broker: Node, server: Server, running: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """While the broker is away, runs wait. When it is back, it gets each run once."""
    caplog.set_level(logging.INFO)
    app = impatient_app(apart, server)
    worker = Tries(app, 2)
    bike = running(app, worker)
    bike.set("before", "NOW", payload=ADD)
    eventually(lambda: event(bike, "before") == "STP")
    broker.kill()
    began = time.monotonic()
    due = bike.now()
    for number in range(50):
        bike.set(f"job {number}", "EVERY:1h", payload=ADD, first=due)
    # Each run waits for half its lease, and then makes room for the next run.
    eventually(lambda: len({run.jobid for _, run in worker.tries}) > 3)
    assert 2 < time.monotonic() - began < 5
    broker.revive()
    back = time.monotonic()
    eventually(lambda: len(apart.messages()) >= 51)
    assert time.monotonic() - back < 5
    ids = [message.id for message in apart.messages()][1:]
    assert sorted(ids) == sorted(run_id(bike.prefix, f"job {number}", due) for number in range(50))
    assert len(lines(caplog, "is out of reach")) == 1
    assert len(lines(caplog, "is back after")) == 1


def test_a_frozen_broker_gets_a_run_again_only_with_its_id(
    apart: Project, broker: Node, server: Server, running: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that does not answer may get a run twice, and then with the same id."""
    app = impatient_app(apart, server)
    bike = running(app, Tries(app, 2))
    bike.set("before", "NOW", payload=ADD)
    eventually(lambda: event(bike, "before") == "STP")
    broker.freeze()
    due = bike.now()
    for number in range(20):
        bike.set(f"job {number}", "EVERY:1h", payload=ADD, first=due)
    eventually(lambda: lines(caplog, "is out of reach"))
    broker.revive()
    wanted = {run_id(bike.prefix, f"job {number}", due) for number in range(20)}
    eventually(lambda: wanted <= {message.id for message in apart.messages()})
    ids = [message.id for message in apart.messages()][1:]
    assert set(ids) == wanted
    assert len(ids) <= 20 + 2
    assert len(lines(caplog, "is back after")) == 1


def test_no_try_begins_in_the_second_half_of_the_lease(apart: Project, broker: Node, server: Server) -> None:
    """A worker begins no try in the second half of the lease, because another worker may send the run after it."""
    worker = Tries(impatient_app(apart, server), 2)
    broker.kill()
    began = time.monotonic()
    with pytest.raises(Later) as later:
        worker.perform(a_run())
    assert later.value.seconds == 1
    assert len(worker.tries) >= 3
    assert all(at - began < 1 for at, _ in worker.tries)
    assert time.monotonic() - began < 2


def test_a_run_whose_preparation_takes_half_the_lease_is_not_sent(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that is prepared too slowly is not sent, and one log line says so."""

    class Slow(Tries):
        def prepare(self, run: Run) -> Any:
            prepared = super().prepare(run)
            time.sleep(0.06)
            return prepared

    worker = Slow(project.app(), 0.1)
    with pytest.raises(Later):
        worker.perform(a_run())
    assert worker.tries == []
    assert len(lines(caplog, "job 'one': its run was not sent")) == 1


def test_the_next_broker_of_a_list_is_tried(apart: Project, server: Server) -> None:
    """If the first broker of a list is away, the worker sends to the next broker."""
    app = apart.app(redbike_url=f"unix://{server.socket}", broker_url=["redis://127.0.0.1:1/0", apart.url])
    worker = Tries(app)
    worker.perform(a_run())
    assert len(apart.messages()) == 1


def test_the_run_of_a_sender_that_died_is_sent_by_another(project: Project, running: Any) -> None:
    """If a sender dies, another sender sends its run with the same id."""
    app = project.app(broker_transport_options={"socket_timeout": 0.05})
    bike = project.bike(app, CeleryWorker(app, 0.2))
    due = bike.now()
    bike.set("one", "EVERY:1h", payload=ADD, first=due)
    bike.dispatch()
    assert take(bike) == "one"
    running(app, CeleryWorker(app, 0.2))
    eventually(project.messages)
    assert [message.id for message in project.messages()] == [run_id(project.prefix, "one", due)]


def test_a_server_that_is_away_at_the_start_is_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, project: Project
) -> None:
    """If Redis is away at the start, the log has one line about it."""
    monkeypatch.setattr("redbike.bridges.running._AGAIN_S", 0.001)
    tries: list[int] = []

    def prepare() -> None:
        tries.append(len(tries))
        raise ServerError(f"Redis is out of reach, try {len(tries)}")

    loops = Running(prepare)
    loops.start(project.bike(project.app()))
    eventually(lambda: len(tries) > 20)
    assert loops.stop(5)
    assert lines(caplog, "Redis") == ["start: Redis is out of reach, try 1; trying again"]


def test_a_stop_ends_the_wait_for_the_broker_at_once(apart: Project, broker: Node, server: Server) -> None:
    """A worker that waits for its broker ends at once when it is asked to stop."""
    worker = Tries(impatient_app(apart, server), 60)
    broker.kill()
    stopping = threading.Event()
    timer = threading.Timer(0.3, stopping.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Later) as later:
        worker.perform(a_run(stopping=stopping))
    assert later.value.seconds == 0
    assert 0.25 < time.monotonic() - began < 1
    timer.join()


def test_a_queue_of_a_wrong_type_delays_only_its_own_job(project: Project) -> None:
    """If the key of a queue has a wrong type, only the job of this queue waits."""
    queue = f"{project.prefix}-wrong"
    project.redis.set(queue, "no list")
    bike = project.bike(project.app())
    payload = json.dumps({"task": "proj.add", "args": [1], "options": {"queue": queue}})
    due = server_time(project.redis)
    bike.set("wrong", "EVERY:1h", payload=payload, first=due)
    bike.set("good", "EVERY:1h", payload=ADD, first=due)
    began = time.monotonic()
    run_due(bike)
    assert time.monotonic() - began < 2
    assert len(project.messages()) == 1
    next_run = bike.tell("wrong")["next_run"]
    assert next_run is not None
    assert 5 < next_run - due < 15
    project.redis.delete(queue)
    run_due(bike, 20)
    assert [message.id for message in project.messages(queue)] == [run_id(project.prefix, "wrong", due)]


def test_each_try_pushes_once_when_a_reply_is_lost(project: Project, server: Server) -> None:
    """If a reply of the broker is lost, no library repeats the push: each try pushes once."""
    with Proxy(server.socket) as proxy:
        app = project.app(
            broker_url=f"redis+socket://{proxy.socket}",
            redbike_url=f"unix://{server.socket}",
            broker_transport_options={"retry_on_timeout": True},  # redis-py then tries every command twice
        )
        worker = Tries(app)
        bike = project.bike(app, worker)
        bike.set("warm", "NOW", payload=ADD)
        run_due(bike)
        proxy.cut(lambda _: None)
        bike.set("warm", "NOW", payload=ADD)
        run_due(bike)
        number = proxy.commands.index("LPUSH")
        proxy.cut_once(number, Loss.REPLY)
        worker.tries.clear()
        bike.set("one", "NOW", payload=ADD)
        run_due(bike)
        assert len(worker.tries) == 2
        assert proxy.commands.count("LPUSH") == 2
        worker.disconnect()
    first, second = project.messages()[-2:]
    assert first.id == second.id


def test_a_password_is_in_no_message(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """No log line about the broker holds its password."""
    worker = CeleryWorker(project.app(broker_url="redis://me:s3cret@127.0.0.1:1/0"))
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Later):
        worker.perform(a_run(stopping=stopping))
    assert "127.0.0.1:1/0 is out of reach" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_bad_job_is_bad_before_the_broker_is_asked(apart: Project, broker: Node, server: Server) -> None:
    """A payload that cannot be read makes its job BAD, even while the broker is away."""
    worker = Tries(impatient_app(apart, server), 2)
    broker.kill()
    with pytest.raises(BadJob):
        worker.perform(a_run("{}"))
    assert worker.tries == []

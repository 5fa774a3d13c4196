"""The worker that enqueues in RQ: what it sends, exactly once, and what it does while RQ's Redis is away."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from conftest import Server
from helpers import event
from nodes import eventually
from processes import environment
from rq_users import make_bike, payload, run_rq_worker, sent, texts

from redbike import Redbike
from redbike.bridges.identity import run_id
from redbike.bridges.rq import RQWorker
from redbike.bridges.rq.broker import Broker
from redbike.bridges.rq.payload import Call
from redbike.bridges.rq.worker import memory_key
from redbike.bridges.sending import Away
from redbike.errors import ConfigError
from redbike.worker import Later

LONG_S = 60.0


def test_a_run_becomes_a_job_of_rq(rq_bike: Redbike, rq_client: redis.Redis) -> None:
    """Function, arguments and options arrive as the payload says; the id is that of the run."""
    options = {"timeout": "3m", "result_ttl": 0, "ttl": 60, "failure_ttl": 70, "meta": {"a": 1}, "description": "odd"}
    rq_bike.set("full", "AT:1000000000", payload=payload("shop.mail", args=[1, "ä"], kwargs={"to": None}, **options))
    rq_bike.dispatch()
    rq_bike.work()
    [job] = sent(rq_client)
    assert (job.func_name, job.args, job.kwargs, job.meta) == ("shop.mail", (1, "ä"), {"to": None}, {"a": 1})
    assert (job.timeout, job.result_ttl, job.ttl, job.failure_ttl) == (180, 0, 60, 70)
    assert (job.id, job.description, job.origin) == (run_id(rq_bike.prefix, "full", 1_000_000_000), "odd", "q")
    assert event(rq_bike, "full") == "STP"


def test_calls_go_to_the_front_if_they_ask_for_it(rq_bike: Redbike, rq_client: redis.Redis) -> None:
    """`at_front`, and the queue `default` where the payload names none."""
    for name, members in (("first", {}), ("second", {"at_front": True})):
        rq_bike.set(name, "NOW", payload=payload(args=[name], **members))
        rq_bike.work()
    rq_bike.set("plain", "NOW", payload='{"func": "tasks.note", "args": ["plain"]}')
    rq_bike.work()
    assert (texts(rq_client), texts(rq_client, "default")) == (["second", "first"], ["plain"])


def test_end_to_end_with_the_commands(rq_server: Server, rq_client: redis.Redis, prefix: str, tmp_path: Path) -> None:
    """`redbike dispatch` and `redbike work` send, and a worker of RQ runs, all as separate processes."""
    worker = f"redbike.bridges.rq:RQWorker('unix://{rq_server.socket}')"
    conf = f"[redbike]\nprefix: {prefix}\nworker: {worker}\n[redbike-redis]\nunix_socket_path: {rq_server.socket}\n"
    (tmp_path / ".redbike.conf").write_text(conf)
    command = [sys.executable, "-m", "redbike"]
    started = [
        subprocess.Popen([*command, loop], cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
        for loop in ("dispatch", "work")
    ]
    try:
        text = payload(args=["by the command"])
        subprocess.run([*command, "set", "a", "NOW", f"--payload={text}"], cwd=tmp_path, env=environment(), check=True)
        eventually(lambda: sent(rq_client), 20)
    finally:
        for process in started:
            process.terminate()
            assert process.wait(10) == 0
    assert run_rq_worker(rq_server, tmp_path) == ["by the command"]


def test_a_copy_is_recognised_after_rq_has_forgotten_the_job(rq_bike: Redbike, rq_client: redis.Redis) -> None:
    """With `result_ttl` 0, RQ forgets a job when it has run. The run is not sent again all the same."""
    worker = rq_bike.worker
    assert isinstance(worker, RQWorker)
    call, ends_s = Call("tasks.note", "q", ["once"], result_ttl=0), time.monotonic() + LONG_S
    assert worker.sender.enqueue(call, "p", "job", "id-1", 1.0, ends_s, bool) is None
    [job] = sent(rq_client)
    job.delete()
    assert worker.sender.enqueue(call, "p", "job", "id-1", 1.0, ends_s, bool) is None
    assert sent(rq_client) == []
    assert worker.sender.enqueue(call, "p", "job", "id-2", 2.0, ends_s, bool) is None
    assert len(sent(rq_client)) == 1
    assert 6 * 86_400 < rq_client.ttl(memory_key("p", "job")) <= 7 * 86_400  # type: ignore[operator]


def test_a_send_after_the_lease_is_put_off(rq_bike: Redbike, rq_client: redis.Redis) -> None:
    """A process that was frozen before the look sends nothing: another may have sent this run and the next."""
    worker = rq_bike.worker
    assert isinstance(worker, RQWorker)
    with pytest.raises(Later):
        worker.sender.enqueue(Call("tasks.note", "q"), "p", "job", "id-1", 1.0, time.monotonic() - 1, bool)
    assert sent(rq_client) == []


def test_history_of_cron_jobs(rq_server: Server, rq_client: redis.Redis, prefix: str) -> None:
    """With `history`, RQ's own functions find the runs of a job by its id."""
    cron = pytest.importorskip("rq.cron")
    if not hasattr(cron, "get_cron_job_ids"):
        with pytest.raises(ConfigError, match="install RQ 2"):
            Broker({}, True)
        return
    with make_bike(rq_server, prefix, RQWorker(unix_socket_path=rq_server.socket, history=True)) as bike:
        bike.control("HALT")
        for _ in range(2):
            bike.set("nightly", "NOW", payload=payload(args=["x"]))
            bike.work()
    assert sorted(cron.get_cron_job_ids("nightly", rq_client)) == sorted(job.id for job in sent(rq_client))
    assert cron.cron_job_registry.get_names(rq_client) == ["nightly"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lease": 19}, "lease: 19 s is less than twice socket_timeout (10 s)"),
        ({"lease": 0}, "lease: 0 is not a number of seconds"),
        ({"url": "redis://:geheim@host:port"}, "url: "),
        ({"url": "http://geheim"}, "url: does not begin with redis://"),
        ({"cluster": True}, "RQ cannot use a Redis Cluster"),
        ({"connection": "redis://geheim"}, "connection: a redis.Redis is needed, not str"),
        ({"socket_timeout": "geheim"}, "socket_timeout: "),
    ],
)
def test_settings_that_cannot_be_used(arguments: dict[str, object], says: str) -> None:
    """A worker's loop asks for its timeout first, and then says what is wrong, without a password."""
    with pytest.raises(ConfigError) as caught:
        RQWorker(**arguments).timeout("q")  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value) or "socket_timeout" in arguments


def test_password_is_not_shown(rq_server: Server) -> None:
    """No repr, address or error holds the password of the URL."""
    worker = RQWorker("redis://user:geheim@127.0.0.1:1/0", socket_timeout=1)
    with pytest.raises(Away) as caught:
        worker.sender.enqueue(Call("a.b"), "p", "job", "id", 1.0, time.monotonic() + LONG_S, bool)
    shown = f"{caught.value} {worker.broker} {worker.sender.where} {worker.timeout('x')}"
    assert "geheim" not in shown and "redis://127.0.0.1:1/0" in shown
    assert rq_server


def test_a_given_connection_is_not_used_itself(rq_server: Server, rq_client: redis.Redis, prefix: str) -> None:
    """A client of the application may decode replies and have no time limit: only its address is used."""
    with (
        redis.Redis(unix_socket_path=rq_server.socket, decode_responses=True, socket_timeout=None) as given,
        make_bike(rq_server, prefix, RQWorker(connection=given)) as bike,
    ):
        bike.control("HALT")
        bike.set("job", "NOW", payload=payload(args=["x"]))
        bike.work()
        assert texts(rq_client) == ["x"]
        assert bike.worker.settings["socket_timeout"] == 10  # type: ignore[attr-defined]


def test_making_a_worker_imports_nothing() -> None:
    """A conf with an RQWorker costs the commands that only look neither RQ nor a connection."""
    code = (
        "import sys; from redbike.bridges.rq import RQWorker; w = RQWorker('redis://127.0.0.1:1'); w.queue_names();"
        " w.timeout('x'); w.columns('{}'); print([m for m in sys.modules if m.split('.')[0] in ('rq', 'celery')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

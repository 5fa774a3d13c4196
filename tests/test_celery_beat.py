"""`celery beat` with Redbike as its scheduler, in processes as a project has them: brokers, beats and workers."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import celery.beat
import pytest
from celeries import Project, server_time
from conftest import Server
from helpers import idle_loops
from nodes import Node, eventually

from redbike import Redbike, RoundRobin
from redbike.bridges.celery import RedbikeEntry

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")

EACH_SECOND = {"each": {"task": "proj.note", "schedule": 1.0, "args": ["each"]}}


@pytest.fixture
def port() -> Iterator[Node]:
    """A server on a loopback port."""
    node = Node().ready()
    yield node
    node.remove()


@pytest.fixture
def bike(server: Server, project: Project) -> Iterator[Redbike]:
    """The Redbike of the project's prefix, for what other programs do with it."""
    with Redbike(RoundRobin("A"), project.prefix, server.config) as bike:
        yield bike


def idle_beat(project: Project, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a beat, and return it when its two loops wait for something to do."""
    before = idle_loops(project.redis)
    beat = project.beat(*arguments)
    project.until(lambda: idle_loops(project.redis) >= before + 2, beat)
    return beat


def test_a_static_entry_arrives_at_a_worker_and_sigterm_ends_the_beat_at_once(project: Project) -> None:
    """A worker of Celery runs the task of a static entry. SIGTERM ends the beat at once."""
    project.configure(beat_schedule=EACH_SECOND)
    worker = project.worker()
    beat = project.beat("--pidfile", "beat.pid")
    project.until(lambda: len(project.notes()) >= 2, beat)
    assert all(line.endswith("('each',) {}") for line in project.notes())
    assert (project.folder / "beat.pid").read_text().strip() == str(beat.pid)
    began = time.monotonic()
    ended = project.stop(beat)
    assert ended.code == 0
    assert time.monotonic() - began < 4
    assert not (project.folder / "beat.pid").exists()
    assert "Scheduler: Sending due task each (proj.note)" in ended.err
    assert "Traceback" not in ended.err
    assert project.stop(worker).code == 0


def test_the_banner_names_server_and_prefix_and_hides_the_password(port: Node, tmp_path: Path) -> None:
    """The banner of `celery beat` names the server and the prefix, without the password."""
    port.ask("ACL", "SETUSER", "default", "resetpass", ">s3cret")
    url = f"redis://default:s3cret@127.0.0.1:{port.port}/0"
    with Project(tmp_path, port.client(password="s3cret"), url, "shown") as project:
        project.configure(beat_schedule=EACH_SECOND)
        beat = project.beat()
        project.until(project.messages, beat)
        ended = project.stop(beat)
    assert f"127.0.0.1:{port.port}" in ended.out
    assert "prefix -> shown" in ended.out
    assert "RedbikeScheduler" in ended.out
    assert "s3cret" not in ended.out + ended.err


def test_halt_ends_the_beat_and_it_can_start_again(project: Project, bike: Redbike) -> None:
    """HALT ends a beat. A beat that starts later sends again."""
    beat = idle_beat(project)
    bike.control("HALT")
    ended = project.ended(beat, 5)
    assert ended.code == 0
    assert "halted" in ended.err
    assert "Traceback" not in ended.err
    project.configure(beat_schedule=EACH_SECOND)
    again = project.beat()
    project.until(project.messages, again)
    assert project.stop(again).code == 0


def test_two_beats_send_each_run_once_and_the_second_goes_on_alone(project: Project) -> None:
    """Two beats share the runs. If the first beat ends, the second beat sends all of them."""
    project.configure(beat_schedule={f"each{n}": EACH_SECOND["each"] for n in range(10)})
    first, second = project.beat(), project.beat()
    for beat in (first, second):
        project.until(lambda beat=beat: "Sending due task" in project.err_of(beat), beat)
    seen = len(project.messages())
    project.until(lambda: len(project.messages()) >= seen + 10, second)
    ids = [message.id for message in project.messages()]
    assert len(ids) == len(set(ids))
    first.kill()
    seen = len(project.messages())
    project.until(lambda: len(project.messages()) >= seen + 15, second)
    assert project.stop(second).code == 0
    ids = [message.id for message in project.messages()]
    assert len(ids) - len(set(ids)) <= 1


def test_a_beat_that_starts_without_its_server_waits_and_then_works(
    own_server: Server, prefix: str, tmp_path: Path
) -> None:
    """A beat that starts while Redis is away waits for it, and then sends."""
    own_server.kill()
    with Project(tmp_path, own_server.client(), f"redis+socket://{own_server.socket}", prefix) as project:
        project.configure(beat_schedule=EACH_SECOND)
        beat = project.beat()
        project.until(lambda: "trying again" in project.err_of(beat), beat)
        own_server.start()
        project.until(project.messages, beat)
        ended = project.stop(beat)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert ended.err.count("trying again") <= 3


def test_sigterm_ends_a_beat_at_once_while_the_broker_is_away(project: Project, server: Server) -> None:
    """A beat that waits for its broker ends at once on SIGTERM."""
    project.configure(
        beat_schedule=EACH_SECOND, redbike_url=f"unix://{server.socket}", broker_url="redis://me:pw@127.0.0.1:1"
    )
    beat = project.beat()
    project.until(lambda: "is out of reach" in project.err_of(beat), beat)
    began = time.monotonic()
    ended = project.stop(beat)
    assert ended.code == 0
    assert time.monotonic() - began < 4
    assert "Traceback" not in ended.err
    assert "me:pw" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"redbike_url": "http://somebody:s3cret@localhost"}, "redbike_url: "),
        (
            {"redbike_lease": 19},
            "lease (setting redbike_lease): 19 s is less than twice socket_timeout or socket_connect_timeout of",
        ),
        ({"task_always_eager": True}, "task_always_eager: "),
    ],
    ids=["redbike_url", "redbike_lease", "task_always_eager"],
)
def test_a_bad_setting_ends_the_beat_with_one_line(project: Project, conf: dict[str, object], told: str) -> None:
    """The beat logs one line that names the setting, and exits with 78."""
    project.configure(**conf)
    ended = project.ended(project.beat())
    assert ended.code == 78
    lines = [line for line in ended.err.splitlines() if "CRITICAL" in line]
    assert len(lines) == 1, ended.err
    assert told in lines[0]
    assert "Traceback" not in ended.err
    assert "s3cret" not in ended.out + ended.err


@pytest.mark.skipif(not hasattr(celery.beat, "BeatPidbox"), reason="this Celery's beat has no remote control")
def test_a_beat_answers_to_inspect_ping(project: Project) -> None:
    """The remote control of Celery still works beside a beat of Redbike."""
    beat = idle_beat(project, "--enable-remote-control", "-n", f"{project.prefix}@here")
    project.until(lambda: "beat pidbox: Connected" in project.err_of(beat), beat)
    answer = project.ended(project.start("inspect", "ping", "-t", "3", "-d", f"{project.prefix}@here"))
    assert answer.code == 0, answer
    assert "pong" in answer.out
    assert project.stop(beat).code == 0


def test_a_worker_has_the_beat_inside(project: Project) -> None:
    """`celery worker -B` runs the beat of Redbike in its own process."""
    project.configure(beat_schedule=EACH_SECOND)
    worker = project.worker("-B", "-S", "redbike")
    project.until(lambda: len(project.notes()) >= 2, worker)
    ended = project.stop(worker)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    eventually(lambda: idle_loops(project.redis) == 0, 5)


def test_the_command_redbike_sends_without_a_beat(project: Project, server: Server) -> None:
    """`redbike dispatch` and `redbike work` send the task of a job without `celery beat`."""
    (project.folder / ".redbike.conf").write_text(
        f"[redbike]\nprefix: {project.prefix}\nworker: redbike.bridges.celery:CeleryWorker('proj')\n"
        f"[redbike-redis]\nunix_socket_path: {server.socket}\n"
    )
    redbike = [project.start(loop, program="redbike") for loop in ("dispatch", "work")]
    payload = '{"task": "proj.note", "args": ["by", "hand"]}'
    assert project.ended(project.start("set", "one", "EVERY:1s", f"--payload={payload}", program="redbike")).code == 0
    project.until(lambda: len(project.messages()) >= 2, redbike[1])
    assert project.messages()[0].args == ["by", "hand"]
    for process in redbike:
        assert project.stop(process).code == 0


def test_the_commands_that_look_and_set_do_not_import_the_app(project: Project, server: Server) -> None:
    """`redbike info` and similar commands work without importing the app."""
    (project.folder / "proj.py").write_text("raise RuntimeError('imported')")
    (project.folder / ".redbike.conf").write_text(
        f"[redbike]\nprefix: {project.prefix}\nworker: redbike.bridges.celery:CeleryWorker('proj')\n"
        f"[redbike-redis]\nunix_socket_path: {server.socket}\n"
    )
    payload = '--payload={"task": "proj.note"}'
    for words in (["set", "one", "EVERY:1h", payload], ["info"], ["schedules"], ["pause", "one"], ["unset", "one"]):
        ended = project.ended(project.start(*words, program="redbike"))
        assert ended.code == 0, ended
    ended = project.ended(project.start("work", program="redbike"))
    assert ended.code != 0
    assert "imported" in ended.err


def test_an_edit_is_seen_at_once(project: Project) -> None:
    """A running beat follows a change of an entry at once."""
    beat = idle_beat(project)
    app = project.app()
    RedbikeEntry("edited", "proj.note", 3600, args=["old"], app=app).save()
    entry = RedbikeEntry("edited", "proj.note", 1, args=["new"], app=app).save()
    saved = time.monotonic()
    project.until(project.messages, beat, 5)
    assert time.monotonic() - saved < 4
    assert project.messages()[0].args == ["new"]
    entry.delete()
    seen = len(project.messages())
    RedbikeEntry("other", "proj.note", 1, app=app).save()
    project.until(lambda: len(project.messages()) > seen, beat, 5)
    assert project.stop(beat).code == 0


def test_three_commands_of_redis_make_an_entry_that_runs_at_once(project: Project) -> None:
    """Another program makes an entry with three commands of Redis. It runs at once, then by its schedule."""
    beat = idle_beat(project)
    client, prefix = project.redis, project.prefix
    began = server_time(client)
    client.hset(f"{prefix}-schedules", "foreign", "EVERY:1h")
    client.hset(f"{prefix}:payloads", "foreign", '{"task": "proj.note", "kwargs": {"language": "Go"}}')
    client.zadd(f"{prefix}-timeline", {"foreign": 0})
    project.until(project.messages, beat, 5)
    assert server_time(client) - began < 4
    (message,) = project.messages()
    assert message.kwargs == {"language": "Go"}
    eventually(lambda: client.zscore(f"{prefix}-timeline", "foreign"), 5)
    assert 3590 < float(str(client.zscore(f"{prefix}-timeline", "foreign"))) - began < 3610
    assert project.stop(beat).code == 0

"""Lost replies, and servers that are killed and come back: no job is lost, and none runs twice."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Fleet, Recorder, Server
from helpers import HOUR_S, HOURLY, check_places, events, idle_loops, state_of, take
from nodes import eventually
from proxy import Loss, Proxy
from state import records
from threads import Loops

from redbike import Redbike, StopWork
from redbike.errors import ServerError
from redbike.store.store import Store

SECONDLY = "DTSTART:20200101T000000\nRRULE:FREQ=SECONDLY"


# Lost replies and commands


class Scene(NamedTuple):
    """The objects of one round: one bike behind the proxy, and one beside it."""

    bike: Redbike
    aside: Redbike
    worker: Recorder


def play(scene: Scene, steps: list[Callable[[Scene], object]]) -> None:
    for step in steps:
        step(scene)


def set_all(scene: Scene) -> None:
    recent = scene.aside.redis.time()[0] - 2 * HOUR_S
    for jobid, schedule in (
        ("continue:A", "CONTINUE"),
        ("now:A", "NOW"),
        ("at:A", "AT:1"),
        ("later:A", "AT:4000000000"),
        ("rrule:A", HOURLY),
        ("stop:A", "STOP"),
        ("bad:A", "whenever"),
        ("unset:A", "CONTINUE"),
        ("back:A", "CONTINUE"),
        ("quits:A", "CONTINUE"),
    ):
        scene.bike.set(jobid, schedule, after=recent)
    scene.bike.unset("unset:A")
    scene.bike.set("paused:A", "CONTINUE", payload="old")
    scene.bike.set_payload("paused:A", "new")
    scene.bike.pause("paused:A", until=4_000_000_000, note="why")
    scene.bike.set("resumed:A", "AT:4000000000")
    scene.bike.pause("resumed:A")
    scene.bike.resume("resumed:A")
    scene.bike.hold("work-Y")
    scene.bike.hold("work-Z")
    scene.bike.release("work-Z")


def dispatch(scene: Scene) -> None:
    scene.bike.dispatch()


def work(scene: Scene) -> None:
    scene.worker.acts["back:A"] = lambda: 1000
    scene.worker.acts["quits:A"] = quit_work
    for _ in range(6):
        scene.bike.work()


def quit_work() -> None:
    raise StopWork


def check_all(scene: Scene, steps: int) -> None:
    """Check the state after so many steps, whatever was lost."""
    aside, done = scene.aside, Counter(scene.worker.done)
    check_places(aside)
    expected = {
        "continue:A": "ENQ",
        "now:A": "ENQ",
        "at:A": "TML" if steps < 2 else "ENQ",
        "later:A": "TML",
        "rrule:A": "TML" if steps < 2 else "ENQ",
        "stop:A": "STP",
        "bad:A": "BAD",
        "back:A": "ENQ",
        "quits:A": "ENQ",
        "paused:A": "STP",
        "resumed:A": "TML",
    }
    held = state_of(aside)
    assert held[":payloads"] == {"paused:A": "new"}
    assert held["-schedules"]["paused:A"] == "PAUSED:CONTINUE"
    assert held["-timeline"]["resumed:A"] == 4_000_000_000
    assert (list(held[":pauses"]), held[":resume"]) == (["paused:A"], {"paused:A": 4_000_000_000})
    assert list(aside.get_held()) == ["work-Y"]
    if steps == 3:
        expected |= {"now:A": "STP", "at:A": "STP", "rrule:A": "TML", "back:A": "TML", "quits:A": "STP"}
        assert done == Counter(["continue:A", "now:A", "at:A", "rrule:A", "back:A", "quits:A"])
        assert aside.redis.lrange(aside.queue_for("continue:A"), 0, -1) == [b"continue:A"]
        ends = Counter({"done": 5, "stopped": 1})
        assert Counter(record.outcome for record in aside.get_history()) == ends
        runs = records(aside.redis, aside.prefix)[":runs"]
        assert {jobid: text.split()[0] for jobid, text in runs.items()} == dict.fromkeys(done, "1")
        assert ":running" not in held
    assert events(aside) == expected
    due = aside.redis.zscore(aside.timeline_key, "rrule:A")
    assert due is None or due % HOUR_S == 0
    assert not any(aside.is_working(jobid) for jobid in expected)


STEPS = [set_all, dispatch, work]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
@pytest.mark.parametrize("upto", [1, 2, 3], ids=["set", "dispatch", "work"])
def test_a_loss_at_any_command_changes_nothing(proxy: Proxy, fleet: Fleet, prefix: str, upto: int, loss: Loss) -> None:
    """C7: any command of a method, a pass or a turn may be lost, or its reply: each job runs once and ends up right."""
    number, total = 0, 1
    while number < total:
        names = f"{prefix}.{number}"
        worker = Recorder()
        aside = fleet(prefix=names)
        bike = fleet(worker, prefix=names, redis_config={"unix_socket_path": proxy.socket})
        scene = Scene(bike, aside, worker)
        aside.control("HALT")
        play(scene, STEPS[: upto - 1])
        proxy.cut_once(number, loss)
        play(scene, [STEPS[upto - 1]])
        total = len(proxy.commands)
        lost = proxy.commands[number] if number < total else "nothing"
        try:
            check_all(scene, upto)
        except AssertionError as error:
            raise AssertionError(f"after the loss of {loss.name} {number} of {total}, {lost}: {error}") from error
        bike.close()
        number += 1
    assert total > 3, "the proxy saw no commands"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("schedule", ["NOW", "AT:1"])
def test_a_one_off_that_ran_before_set_knew_is_not_run_again(proxy: Proxy, fleet: Fleet, schedule: str) -> None:
    """B1: `set` whose reply is lost tries again, and the job that ran in between does not run a second time."""
    worker = Recorder()
    other = fleet(worker)
    other.control("HALT")
    bike = fleet(redis_config={"unix_socket_path": proxy.socket})
    bike.set("warm-up:A", "STOP")

    def meanwhile() -> None:
        other.dispatch()
        other.work()

    proxy.cut_once(0, Loss.REPLY, meanwhile)
    bike.set("j:A", schedule)
    assert proxy.commands[0] == "EVALSHA"
    assert worker.done == ["j:A"]
    other.dispatch()
    other.work()
    assert worker.done == ["j:A"]


@pytest.mark.usefixtures("impatient")
def test_an_enqueued_run_is_not_doubled_by_a_lost_reply(proxy: Proxy, fleet: Fleet) -> None:
    """C7: the same holds for `enqueue`."""
    worker = Recorder()
    other = fleet(worker)
    other.control("HALT")
    bike = fleet(redis_config={"unix_socket_path": proxy.socket})
    bike.set("j:A", "STOP")
    proxy.cut_once(0, Loss.REPLY, other.work)
    bike.enqueue("j:A")
    other.work()
    assert worker.done == ["j:A"]


@pytest.mark.usefixtures("impatient")
def test_a_job_whose_handing_out_was_lost_is_handed_out_again(proxy: Proxy, fleet: Fleet) -> None:
    """D2: a worker that did not see the reply gets the same job again, whatever other workers take."""
    bike = fleet(redis_config={"unix_socket_path": proxy.socket})
    other = fleet()
    for jobid in ("1:A", "2:A", "3:A"):
        other.set(jobid, "CONTINUE")
    proxy_worker = bike.consumer
    assert next(proxy_worker)[0] == "1:A"  # from here on, each turn is one command
    seen: list[object] = []
    proxy.cut_once(0, Loss.REPLY, lambda: seen.append(take(other)))
    jobid, tag = next(proxy_worker)
    assert (jobid, seen) == ("2:A", ["3:A"])
    assert other.redis.get(f"{other.prefix}-work-A-2:A") == tag.encode()


@pytest.mark.usefixtures("impatient")
def test_loops_live_with_a_line_that_breaks_all_the_time(
    proxy: Proxy, fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: with every ninth command or reply lost, a dispatcher and two workers still do each job exactly once."""
    config = {"unix_socket_path": proxy.socket}
    workers = [Recorder(), Recorder()]
    for worker in workers:
        worker.acts |= dict.fromkeys([f"often{n}:A" for n in range(4)], lambda: 0.05)
        loops.work(worker, redis_config=config)
    loops.dispatch(redis_config=config)
    bike = fleet()
    eventually(lambda: {"blpop", "subscribe"} <= {client["cmd"] for client in bike.redis.client_list()})
    proxy.cut(lambda n: (Loss.REPLY if n % 2 else Loss.COMMAND) if n % 9 == 8 else None)
    once = [f"once{n}:A" for n in range(60)]
    for n in range(4):
        bike.set(f"often{n}:A", "CONTINUE")
    for n, jobid in enumerate(once):
        bike.set(jobid, "NOW" if n % 2 else f"AT:{time.time() + 0.2}")

    def runs() -> Counter[str]:
        return Counter(jobid for worker in workers for jobid in worker.done)

    eventually(lambda: all(runs()[jobid] for jobid in once), 20)
    before = runs()
    eventually(lambda: all(runs()[f"often{n}:A"] > before[f"often{n}:A"] for n in range(4)), 20)
    proxy.cut(lambda _: None)
    loops.stop()
    assert [jobid for jobid in once if runs()[jobid] != 1] == []
    aside = fleet()
    check_places(aside)
    assert {jobid: event for jobid, event in events(aside).items() if jobid in once} == dict.fromkeys(once, "STP")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# Lost connections and scripts


def circulating(worker: Recorder, jobids: list[str]) -> Callable[[], bool]:
    """Return a condition: each of these jobs has run again."""
    before = Counter(worker.done)
    return lambda: all(Counter(worker.done)[jobid] > before[jobid] for jobid in jobids)


def test_scripts_are_loaded_again_after_a_flush(fleet: Fleet, loops: Loops, tmp_path: Path) -> None:
    """C7: neither loops nor methods of a running fleet notice `SCRIPT FLUSH`."""
    worker = Recorder()
    jobids = ["1:A", "2:A"]
    worker.acts |= dict.fromkeys(jobids, lambda: 0.01)
    bike = fleet()
    for jobid in jobids:
        bike.set(jobid, "CONTINUE")
    loops.work(worker)
    loops.dispatch()
    rows = tmp_path / "rows.csv"
    for n in range(5):
        rows.write_text(f"row{n}:B,CONTINUE\n")
        bike.load_csv(rows)
        bike.redis.script_flush()
        eventually(circulating(worker, jobids))
        bike.redis.script_flush()
        bike.load_csv(rows)
        bike.redis.script_flush()
        bike.set(f"set{n}:B", "NOW")
        bike.redis.script_flush()
        bike.unset(f"row{n}:B")
    assert bike.redis.llen(f"{bike.prefix}-work-B") == 5


def test_a_server_that_goes_while_a_file_is_loaded(proxy: Proxy, fleet: Fleet, tmp_path: Path) -> None:
    """C3, G4: rows that are set one by one, because a queue has a wrong type, are given up once the server is gone."""
    bike = fleet(redis_config={"unix_socket_path": proxy.socket})
    bike.redis.set(f"{bike.prefix}-work-B", "of a wrong type")
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{n}:{'AB'[n % 2]},CONTINUE\n" for n in range(100)))
    proxy.cut(lambda n: Loss.COMMAND if n > 20 else None)
    with pytest.raises(ServerError, match="out of reach"):
        bike.load_csv(path)
    assert len(proxy.commands) < 60
    proxy.cut(lambda _: None)
    with pytest.raises(ServerError, match=r"job '1:B' is not set: .*WRONGTYPE"):
        bike.load_csv(path)
    assert bike.redis.llen(f"{bike.prefix}-work-A") == 50


def test_a_set_within_a_set(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: a signal handler that sets a job during another `set` does not disturb that `set`."""
    bike, place, inner = fleet(), Store.place, iter(["inner:A"])

    def interrupted(*args: Any, **kwargs: Any) -> bool:
        for jobid in inner:
            bike.set(jobid, "NOW")
        return place(*args, **kwargs)

    monkeypatch.setattr(Store, "place", interrupted)
    bike.set("outer:A", "NOW")
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"outer:A", b"inner:A"]


def test_the_call_after_one_that_was_broken_off_is_noted(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: an interrupted `set` may still arrive, so the next `set` leaves its request id in the memo."""
    bike = fleet()
    bike.set("j:A", "STOP")
    assert not list(bike.redis.scan_iter(f"{bike.prefix}:memo:*", count=1000))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "place", interrupt)
        bike.set("j:A", "CONTINUE")
    bike.set("j:A", "STOP")
    [memo] = bike.redis.scan_iter(f"{bike.prefix}:memo:*", count=1000)
    bike.redis.delete(memo)
    bike.set("j:A", "STOP")
    assert not bike.redis.exists(memo)


def interrupt(*_: object, **__: object) -> bool:
    raise KeyboardInterrupt


def test_threads_that_come_and_go_leave_one_memo(fleet: Fleet) -> None:
    """Idle cost: the number of memos does not grow with the number of threads that have ended."""
    bike = fleet()
    for n in range(50):
        thread = threading.Thread(target=bike.set, args=(f"{n}:A", "NOW"))
        thread.start()
        thread.join()
    assert len(list(bike.redis.scan_iter(f"{bike.prefix}:memo:*", count=1000))) <= 2
    assert bike.redis.llen(f"{bike.prefix}-work-A") == 50


def test_killed_connections_are_made_again(fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture) -> None:
    """C7: if every connection is closed, loops go on without a log line, because the server was always there."""
    worker = Recorder()
    jobids = ["1:A", "2:A", "3:A"]
    worker.acts |= dict.fromkeys(jobids, lambda: 0.01)
    bike = fleet()
    for jobid in jobids:
        bike.set(jobid, "CONTINUE")
    loops.work(worker)
    loops.dispatch()
    for _ in range(5):
        eventually(circulating(worker, jobids))
        bike.redis.client_kill_filter(_type="normal", skipme=True)
        bike.redis.client_kill_filter(_type="pubsub", skipme=True)
    eventually(circulating(worker, jobids))
    loops.stop()
    check_places(bike)
    assert caplog.messages == []


# A server that is killed


def test_a_server_that_is_killed_and_comes_back(
    own_server: Server, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: a dispatcher and two workers survive a server killed with SIGKILL; each job runs as often as it should."""
    fleet = Fleet(own_server, prefix, tmp_path)
    workers = [Recorder(), Recorder()]
    often = ["often1:A", "often2:A"]
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(20)

    for worker in workers:
        worker.acts |= {**dict.fromkeys(often, lambda: 0.02), "held:A": hold}

    def runs() -> Counter[str]:
        return Counter(jobid for worker in workers for jobid in worker.done)

    def messages(part: str) -> list[str]:
        return [message for message in caplog.messages if part in message]

    caplog.set_level(logging.INFO)
    bike = fleet()
    with Loops(fleet) as loops:
        for worker in workers:
            loops.work(worker)
        loops.dispatch()
        for jobid in often:
            bike.set(jobid, "CONTINUE")
        bike.set("tick:A", SECONDLY)
        bike.set("held:A", "NOW")
        bike.set("soon:A", f"AT:{time.time() + 0.5}")
        eventually(lambda: begun.is_set() and all(runs()[jobid] > 3 for jobid in often))

        own_server.kill()
        eventually(lambda: len(messages("out of reach")) == 2)
        with pytest.raises(ServerError, match="out of reach"):
            bike.set("lost:A", "NOW")
        go_on.set()
        eventually(lambda: len(messages("out of reach")) == 3)  # no server hears the end of the held job
        own_server.start()

        eventually(lambda: len(messages("is back after")) == 3, 20)
        before = runs()
        eventually(lambda: all(runs()[jobid] > before[jobid] + 3 for jobid in [*often]), 20)
        eventually(lambda: runs()["tick:A"] > before["tick:A"] and runs()["soon:A"] == 1, 20)
        assert runs()["held:A"] == 1
        eventually(lambda: events(bike).get("held:A") == "STP")
        bike.set("after:A", "NOW")
        eventually(lambda: runs()["after:A"] == 1)
    assert len(messages("out of reach")) == 3, "one line for each loop"
    assert len(messages("is back after")) == 3, "and one with the downtime"
    assert runs()["soon:A"] == 1
    check_places(bike)
    assert set(events(bike)) == {*often, "tick:A", "held:A", "soon:A", "after:A"}
    fleet.close()


def test_loops_can_be_stopped_while_the_server_is_away(
    own_server: Server, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """E1: an idle dispatcher or worker that waits for its server ends at once when it is stopped."""
    fleet = Fleet(own_server, prefix, tmp_path)
    stop = threading.Event()
    threads = [
        threading.Thread(target=getattr(fleet(stop_event=stop), kind), daemon=True) for kind in ("work", "dispatch")
    ]
    for thread in threads:
        thread.start()
    with own_server.client() as client:
        eventually(lambda: idle_loops(client) == 2)
    own_server.kill()
    eventually(lambda: sum("out of reach" in message for message in caplog.messages) == 2)
    stop.set()
    began = time.monotonic()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert time.monotonic() - began < 3
    own_server.start()
    fleet.close()

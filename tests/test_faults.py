"""What goes wrong: lost replies, killed servers and processes. No job is lost, and none done twice."""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Fleet, Recorder, Server, eventually
from processes import Site
from proxy import Loss, Proxy
from state import state
from threads import Loops

from redbike import Redbike, StopWork
from redbike.errors import ServerError
from redbike.scripts import Scripts

HOUR_S = 3600
HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"
SECONDLY = "DTSTART:20200101T000000\nRRULE:FREQ=SECONDLY"


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.socket) as proxy:
        yield proxy


@pytest.fixture
def loops(fleet: Fleet) -> Iterator[Loops]:
    with Loops(fleet) as loops:
        yield loops


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again without the pause that a real outage is given."""
    monkeypatch.setattr("redbike.patience._delay_s", lambda _failures: 0.001)


def events(bike: Redbike) -> dict[str, str]:
    return {jobid: event for jobid, event, _ in bike.get_statuses(before=9e9)}


def check_places(bike: Redbike) -> None:
    """Each job is in its queue at most once, in the member set exactly if it is there, and not on the timeline too."""
    found = state(bike.redis, bike.prefix)
    queued, members = found.get("-work-A", []), found.get("-work-A-members", set())
    assert max(Counter(queued).values(), default=1) == 1
    assert set(queued) == members
    assert not members & set(found.get("-timeline", {}))


# A reply, or a command, that is lost


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
    """What must hold after the first so many steps, whatever was lost."""
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
    }
    if steps == 3:
        expected |= {"now:A": "STP", "at:A": "STP", "rrule:A": "TML", "back:A": "TML", "quits:A": "STP"}
        assert done == Counter(["continue:A", "now:A", "at:A", "rrule:A", "back:A", "quits:A"])
        assert aside.redis.lrange(aside.queue_for("continue:A"), 0, -1) == [b"continue:A"]
    assert events(aside) == expected
    due = aside.redis.zscore(aside.timeline_key, "rrule:A")
    assert due is None or due % HOUR_S == 0
    assert not any(aside.is_working(jobid) for jobid in expected)


STEPS = [set_all, dispatch, work]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
@pytest.mark.parametrize("upto", [1, 2, 3], ids=["set", "dispatch", "work"])
def test_a_loss_at_any_command_changes_nothing(proxy: Proxy, fleet: Fleet, prefix: str, upto: int, loss: Loss) -> None:
    """C7: whichever command of a verb, a pass or a turn is lost, or its reply, each job runs once and ends up right."""
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
def test_a_run_by_hand_is_not_doubled_by_a_lost_reply(proxy: Proxy, fleet: Fleet) -> None:
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
    """D2: a worker that did not see the reply gets the same job again, not another one, whatever others take."""
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


def take(bike: Redbike) -> str | None:
    return next(bike.consumer)[0]


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
    # A loop that has not reached the server yet ends with an error, as it should.
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


# Connections and scripts that are gone


def circulating(worker: Recorder, jobids: list[str]) -> Callable[[], bool]:
    """A condition: each of these jobs has run again since now."""
    before = Counter(worker.done)
    return lambda: all(Counter(worker.done)[jobid] > before[jobid] for jobid in jobids)


def test_scripts_are_loaded_again_after_a_flush(fleet: Fleet, loops: Loops, tmp_path: Path) -> None:
    """C7: `SCRIPT FLUSH` under a running fleet goes unnoticed, by loops as by verbs."""
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
    """C3, G4: rows that are set one by one, because of a spoiled queue, are given up once the server is gone."""
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
    """C7: a signal handler that sets a job while another is being set takes nothing away from that one."""
    bike, place, inner = fleet(), Scripts.place, iter(["inner:A"])

    def interrupted(*args: Any, **kwargs: Any) -> bool:
        for jobid in inner:
            bike.set(jobid, "NOW")
        return place(*args, **kwargs)

    monkeypatch.setattr(Scripts, "place", interrupted)
    bike.set("outer:A", "NOW")
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"outer:A", b"inner:A"]


def test_the_call_after_one_that_was_broken_off_is_noted(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: after a `set` that was broken off, and may still arrive, the next one leaves its name against it."""
    bike = fleet()
    bike.set("j:A", "STOP")
    assert not list(bike.redis.scan_iter(f"{bike.prefix}:memo:*", count=1000))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Scripts, "place", interrupt)
        bike.set("j:A", "CONTINUE")
    bike.set("j:A", "STOP")
    [memo] = bike.redis.scan_iter(f"{bike.prefix}:memo:*", count=1000)
    bike.redis.delete(memo)
    bike.set("j:A", "STOP")
    assert not bike.redis.exists(memo)


def interrupt(*_: object, **__: object) -> bool:
    raise KeyboardInterrupt


def test_threads_that_come_and_go_leave_one_memo(fleet: Fleet) -> None:
    """Idle cost: what is noted against lost replies does not grow with the number of threads that ever were."""
    bike = fleet()
    for n in range(50):
        thread = threading.Thread(target=bike.set, args=(f"{n}:A", "NOW"))
        thread.start()
        thread.join()
    assert len(list(bike.redis.scan_iter(f"{bike.prefix}:memo:*", count=1000))) <= 2
    assert bike.redis.llen(f"{bike.prefix}-work-A") == 50


def test_connections_that_are_killed_are_made_anew(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: with every connection closed, loops go on without a word: the server was there all the time."""
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
    """C7: a dispatcher and two workers outlive a server killed with SIGKILL; each job runs as often as it should."""
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
        eventually(lambda: len(messages("out of reach")) == 3)  # the end of the held job finds nobody
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


def test_loops_can_be_told_to_stop_while_the_server_is_away(
    own_server: Server, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """E1: an idle dispatcher or worker that waits for its server ends at once when it is told to stop."""
    fleet = Fleet(own_server, prefix, tmp_path)
    stop = threading.Event()
    threads = [
        threading.Thread(target=getattr(fleet(stop_event=stop), kind), daemon=True) for kind in ("work", "dispatch")
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: idle(own_server) == 2)
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


def idle(server: Server) -> int:
    with server.client() as client:
        return sum(one["cmd"] in ("blpop", "subscribe") for one in client.client_list())


# Processes that are killed


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, server, prefix) as site:
        yield site


def test_a_worker_killed_between_jobs_loses_nothing(site: Site, bike: Redbike) -> None:
    """C7: what is queued when an idle worker is killed, and after it, is done by the next one."""
    site.start_idle("work").kill()
    for jobid in ("1:A", "2:A"):
        bike.set(jobid, "NOW")
    eventually(lambda: bike.redis.llen(bike.queue_for("1:A")) == 2)
    site.start("work")
    eventually(lambda: site.runs() == ["1:A", "2:A"], 20)


def test_a_worker_killed_in_a_job(site: Site, bike: Redbike) -> None:
    """D6: a job whose worker was killed is at work until its timeout, and does no harm to the others meanwhile."""
    worker = site.start_idle("work")
    bike.set("slow-1:A", "CONTINUE")
    eventually(lambda: site.runs("begin") == ["slow-1:A"])
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
    site.start_idle("work")
    bike.set("quick-1:A", "NOW")
    eventually(lambda: "quick-1:A" in site.runs())
    told = bike.tell("slow-1:A")
    assert (told["working"], (told["status"] or "")[:3]) == (True, "WRK")
    bike.redis.pexpire(f"{bike.prefix}-work-A-slow-1:A", 1)
    eventually(lambda: not bike.is_working("slow-1:A"))
    (site.folder / "go-on").touch()
    bike.set("slow-1:A", "NOW")
    eventually(lambda: "slow-1:A" in site.runs())


def test_a_dispatcher_killed_in_a_pass_loses_nothing(site: Site, bike: Redbike) -> None:
    """C7: wherever in a pass over thousands of due jobs a dispatcher is killed, each is in one place."""
    jobids = {f"{n}:A" for n in range(30_000)}
    dispatcher = site.start_idle("dispatch")
    for start in range(0, 30_000, 10_000):
        bike.redis.zadd(bike.timeline_key, {f"{n}:A": 1 for n in range(start, start + 10_000)})
    queue_key = bike.queue_for("1:A")
    eventually(lambda: bike.redis.llen(queue_key) > 1000)
    dispatcher.kill()
    dispatcher.wait(10)
    queued = [jobid.decode() for jobid in bike.redis.lrange(queue_key, 0, -1)]
    left = {jobid.decode() for jobid in bike.redis.zrange(bike.timeline_key, 0, -1)}
    assert len(queued) == len(set(queued))
    assert set(queued) | left == jobids
    assert not set(queued) & left
    bike.control("HALT")
    bike.dispatch()
    assert bike.redis.llen(queue_key) == 30_000
    assert bike.redis.zcard(bike.timeline_key) == 0


@pytest.mark.parametrize("news", ["a foreign writer", "HALT"])
def test_a_killed_dispatcher_leaves_no_worker_asleep(site: Site, bike: Redbike, news: str) -> None:
    """E1, A1: right after a dispatcher was killed, workers still notice foreign writers and `HALT` within a second."""
    dispatcher, worker = site.start("dispatch"), site.start("work")
    eventually(lambda: site.waiting() >= 2, 20)
    time.sleep(1.5)  # for whatever workers and dispatchers agree on between them
    dispatcher.kill()
    dispatcher.wait(10)
    began = time.monotonic()
    if news == "HALT":
        bike.control("HALT")
        worker.wait(10)
    else:
        bike.redis.lpush(bike.queue_for("by-hand:A"), "by-hand:A")
        eventually(lambda: "by-hand:A" in site.runs())
    assert time.monotonic() - began < 1.7

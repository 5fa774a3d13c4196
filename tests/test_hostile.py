"""Other programs on the same Redis, servers that refuse a command, locales, and copies of processes."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from nodes import eventually
from state import memos, state
from threads import Loops

from redbike import Redbike, RoundRobin
from redbike.nonces import Caller
from redbike.patience import repeats_within_s
from redbike.scripts import Scripts

# Behind everything else, so that `redbike` stays the one under test.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.chaos.proxy import Fate, FaultProxy

LOCALES = ("cs_CZ.UTF-8", "da_DK.UTF-8")


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.socket) as proxy:
        yield proxy


@pytest.fixture
def loops(fleet: Fleet) -> Iterator[Loops]:
    with Loops(fleet) as loops:
        yield loops


@pytest.fixture
def halted(fleet: Fleet, worker: Recorder) -> Redbike:
    """A Redbike whose `work` is one turn, and whose `dispatch` is one pass."""
    bike = fleet(worker)
    bike.control("HALT")
    return bike


def turns(bike: Redbike, number: int) -> None:
    for _ in range(number):
        bike.work()


def now(bike: Redbike) -> int:
    time: Any = bike.redis.time()
    return int(time[0])


# The server's locale


@pytest.fixture(params=LOCALES)
def foreign_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that sorts text as another country does; skips where the machine lacks the locale (CI makes it)."""
    name: str = request.param
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout
    if name.lower() not in listed.lower().replace("utf8", "utf-8").split():
        if os.environ.get("CI"):
            pytest.fail(f"the locale {name} is missing: .ci/run makes it")
        pytest.skip(f"this machine has no locale {name}")
    monkeypatch.setenv("LC_ALL", name)
    server = Server()
    monkeypatch.delenv("LC_ALL")
    yield server
    server.remove()


@pytest.mark.not_on_a_cluster("its server has no slots")
def test_the_order_of_text_is_not_asked_for(foreign_server: Server, tmp_path: Any) -> None:
    """C7: under any locale of the server, every `set` counts, and a worker does them all: no script compares texts."""
    fleet = Fleet(foreign_server, "redbike", tmp_path)
    worker = Recorder()
    bike = fleet(worker)
    jobs = [f"j{number}:A" for number in range(400)]
    for jobid in jobs:
        bike.set(jobid, "NOW")
    assert bike.redis.llen("redbike-work-A") == len(jobs)
    assert len(memos(bike.redis, "redbike")) == 1, "no call was taken for a late one, and made under another name"
    with Loops(fleet) as loops:
        loop = loops.work(worker)
        eventually(lambda: len(worker.done) == len(jobs))
        bike.control("HALT")
        loop.join()
    for jobid in jobs:
        bike.set(jobid, "EVERY:1h")
        bike.unset(jobid)
    assert list(bike.get_schedules()) == []
    fleet.close()


# Keys of others


class Urgent(Recorder):
    """Queues of which one's name begins like the other's: `jobs` and `jobs-urgent`."""

    def queue_for(self, jobid: str) -> str:
        return "jobs-urgent" if jobid.startswith("u") and jobid != "urgent" else "jobs"

    def queue_names(self) -> list[str]:
        return ["jobs", "jobs-urgent"]


@pytest.mark.parametrize("expiring", [False, True])
def test_a_foreign_id_leaves_a_queue_alone(fleet: Fleet, expiring: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A4: a job of another program whose run tag would be the key of a queue is BAD when it comes due, and the log
    names it; the queue stays as it is, and does not expire."""
    bike = fleet(Urgent())
    bike.control("HALT")
    queue = f"{bike.prefix}-jobs-urgent"
    bike.redis.lpush(queue, *(f"u{number}" for number in range(5)))
    bike.redis.zadd(bike.timeline_key, {"urgent": 1, "good": 1})
    bike.redis.hset(bike.schedules_key, mapping={"urgent": "CONTINUE", "good": "CONTINUE"})
    if expiring:
        bike.redis.expire(queue, 100)
    bike.dispatch()
    assert bike.redis.llen(queue) == 5
    assert bike.redis.ttl(queue) == (100 if expiring else -1)
    assert (bike.tell("urgent")["status"] or "")[:4] == "BAD:"
    assert (bike.tell("good")["status"] or "")[:4] == "ENQ:"
    assert "'urgent'" in caplog.text


@pytest.mark.parametrize("kind", ["list", "set", "halt"])
def test_a_run_tag_that_is_another_key_is_no_run(fleet: Fleet, kind: str) -> None:
    """A4: where the key of a run tag holds something that is no run tag, promote changes and expires nothing of it."""
    bike = fleet(RoundRobin("B"))  # which knows nothing of the queue work-A
    bike.control("HALT")
    key = f"{bike.prefix}-work-A-x:A"
    match kind:
        case "list":
            bike.redis.rpush(key, "a job")
        case "set":
            bike.redis.sadd(key, "a job")
        case "halt":
            bike.redis.set(key, "HALT")
    bike.redis.zadd(bike.timeline_key, {"x:A": 1})
    before = state(bike.redis, bike.prefix)
    bike.dispatch()
    after = state(bike.redis, bike.prefix)
    assert after["-work-A-x:A"] == before["-work-A-x:A"]
    assert bike.redis.ttl(key) == -1
    assert (bike.tell("x:A")["status"] or "")[:4] == "BAD:"
    assert "-timeline" not in after


def test_a_foreign_id_does_not_stop_a_queue(fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture) -> None:
    """A4: ids of other programs that would make a list of a queue's set of members are BAD, and the queue serves on."""
    worker = Recorder()
    bike = fleet(worker)
    bike.redis.zadd(bike.timeline_key, {"x:A-members": 1, "members": 1, "x:A-members-members": 1})
    loops.dispatch(Recorder())
    loops.work(worker)
    eventually(lambda: "BAD:" in (bike.tell("x:A-members")["status"] or ""))
    bike.set("good:A", "NOW")
    eventually(lambda: worker.done == ["good:A"])
    assert "'x:A-members'" in caplog.text
    assert bike.redis.type(f"{bike.prefix}-work-A-members") in (b"none", b"set")


def test_a_foreign_entry_of_a_list_does_not_stop_a_queue(halted: Redbike, worker: Recorder) -> None:
    """A4: an id that would take the set of members for its run tag is BAD when it is found in a list."""
    halted.redis.lpush(f"{halted.prefix}-work-A", "members", "good:A")
    halted.redis.sadd(f"{halted.prefix}-work-A-members", "members", "good:A")
    halted.redis.hset(halted.schedules_key, "members", "CONTINUE")
    turns(halted, 2)
    assert worker.done == ["good:A"]
    assert (halted.tell("members")["status"] or "")[:4] == "BAD:"
    assert f"{halted.prefix}-work-A-members".encode() not in halted.redis.scan_iter()


def test_a_foreign_job_in_hand_does_not_stop_a_queue(halted: Redbike, worker: Recorder) -> None:
    """A4: a job that another program put into a list, and that would go into a set from there, ends as BAD."""
    halted.redis.lpush(f"{halted.prefix}-work-A", "x:A-members")
    halted.redis.sadd(f"{halted.prefix}-work-A-members", "x:A-members")
    halted.redis.hset(halted.schedules_key, "x:A-members", "CONTINUE")
    turns(halted, 1)
    assert worker.done == ["x:A-members"]
    assert (halted.tell("x:A-members")["status"] or "")[:4] == "BAD:"
    halted.set("good:A", "NOW")
    turns(halted, 1)
    assert worker.done[1:] == ["good:A"]


# Lists and sets that part

MANY = 101  # more than a list has that is looked through in any case


@pytest.fixture
def crowded(fleet: Fleet) -> Redbike:
    """A queue with many jobs, and a stale member in its set."""
    bike = fleet()
    bike.control("HALT")
    for number in range(MANY):
        bike.set(f"{number}:A", "NOW")
    bike.redis.sadd(f"{bike.prefix}-work-A-members", "v:A")
    return bike


def queued(bike: Redbike) -> list[str]:
    found: list[bytes] = bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1)
    return [jobid.decode() for jobid in found]


def test_a_stale_member_of_a_long_queue_is_queued_when_due(crowded: Redbike) -> None:
    """C7: a job that others left in the set of a long queue, and not in its list, enters the list when it comes due."""
    crowded.set("v:A", "AT:1000")
    crowded.dispatch()
    assert queued(crowded)[0] == "v:A"
    assert crowded.redis.zscore(crowded.timeline_key, "v:A") is None


@pytest.mark.parametrize("verb", ["set", "enqueue", "end", "reset"])
def test_a_stale_member_of_a_long_queue_is_queued_when_set(fleet: Fleet, crowded: Redbike, verb: str) -> None:
    """C7: the same for every other way into the queue: `set`, `enqueue`, `reset`, and the end of a run."""
    if verb == "set":
        crowded.set("v:A", "NOW")
    elif verb == "enqueue":
        crowded.enqueue("v:A")
    elif verb == "reset":
        crowded.redis.hset(crowded.schedules_key, "v:A", "CONTINUE")
        assert [jobid for jobid, _, _ in crowded.get_lost()] == ["v:A"]
        assert crowded.reset("v:A")
    else:
        worker = Recorder("B:A")
        bike = fleet(worker)
        worker.queue_for = lambda _: "work-A"  # type: ignore[method-assign]
        bike.redis.hset(bike.schedules_key, "v:A", "CONTINUE")
        bike.redis.lpush(f"{bike.prefix}-work-B", "v:A")
        bike.work()
        assert worker.done == ["v:A"]
    assert queued(crowded).count("v:A") == 1
    assert len(queued(crowded)) == MANY + 1


def test_lost_sees_stale_members_whatever_the_length(crowded: Redbike) -> None:
    """F: `lost` lists a job that is in the set of a long queue and not in its list, and none of those in the list."""
    crowded.redis.hset(crowded.schedules_key, mapping={f"{number}:A": "CONTINUE" for number in range(MANY)})
    crowded.redis.hset(crowded.schedules_key, "v:A", "EVERY:1h")
    assert [jobid for jobid, _, _ in crowded.get_lost()] == ["v:A"]


@pytest.mark.parametrize("verb", ["set", "due", "end"])
def test_a_job_in_the_list_alone_is_not_queued_twice(fleet: Fleet, verb: str) -> None:
    """C5: a job that others left in the list, and not in the set, does not enter the list a second time."""
    worker = Recorder("B:A")
    bike = fleet(worker)
    bike.control("HALT")
    for number in range(MANY):
        bike.set(f"{number}:A", "NOW")
    bike.redis.lpush(f"{bike.prefix}-work-A", "v:A")
    if verb == "set":
        bike.set("v:A", "NOW")
    elif verb == "due":
        bike.set("v:A", "AT:1000")
        bike.dispatch()
    else:
        worker.queue_for = lambda _: "work-A"  # type: ignore[method-assign]
        bike.redis.hset(bike.schedules_key, "v:A", "CONTINUE")
        bike.redis.lpush(f"{bike.prefix}-work-B", "v:A")
        bike.work()
    assert queued(bike).count("v:A") == 1
    assert bike.redis.sismember(f"{bike.prefix}-work-A-members", "v:A")


def test_order_survives_an_unset(fleet: Fleet) -> None:
    """D1: first come, first served in a long queue, whatever is unset in it; and a job that is set again runs once."""
    worker = Recorder()
    bike = fleet(worker)
    jobs = [f"j{number}:A" for number in range(1_500)]
    for jobid in jobs:
        bike.redis.lpush(f"{bike.prefix}-work-A", jobid)
        bike.redis.sadd(f"{bike.prefix}-work-A-members", jobid)
    for unset in ("j0:A", "j2:A", "j500:A", "j501:A"):
        bike.unset(unset)
    bike.set("j501:A", "NOW")
    bike.control("HALT")
    turns(bike, 1_500)
    rest = [jobid for jobid in jobs if jobid not in ("j0:A", "j2:A", "j500:A", "j501:A")]
    assert [jobid for jobid in worker.done if jobid != "j501:A"] == rest
    assert worker.done.count("j501:A") == 1
    assert f"{bike.prefix}:holes".encode() not in bike.redis.scan_iter()


# What is wished for during a run


def test_a_later_run_survives_what_is_wished_for_during_a_run(halted: Redbike, worker: Recorder) -> None:
    """B10: `enqueue` of a running job runs it once more, and leaves its later time on the timeline."""
    at = now(halted) + 500
    halted.set("j:A", f"AT:{at}")
    halted.enqueue("j:A")
    worker.acts["j:A"] = lambda: worker.acts.pop("j:A") and halted.enqueue("j:A")
    turns(halted, 1)
    assert halted.tell("j:A")["next_run"] == at
    halted.dispatch()
    turns(halted, 2)
    assert worker.done == ["j:A", "j:A"]
    assert halted.tell("j:A")["next_run"] == at
    assert halted.tell("j:A")["status"] == f"TML:{(halted.tell('j:A')['status'] or '')[4:]}"


def test_no_entry_is_skipped_for_one_that_is_gone(fleet: Fleet) -> None:
    """D1: once a short queue has lost all entries of an unset job, the one that another program pushes is taken."""
    bike = fleet(Recorder("A"))
    for number in range(1002):
        bike.set(f"j{number}:A", "NOW")
    bike.unset("j500:A")
    for _ in range(10):
        next(bike.consumer)
    bike.set("j500:A", "NOW")
    bike.unset("j500:A")
    bike.redis.rpush(bike.queue_for("j500:A"), "j500:A")
    assert next(bike.consumer)[0] == "j500:A"


@pytest.mark.parametrize("end", ["set", "unset"])
def test_a_new_schedule_replaces_what_was_wished_for(halted: Redbike, worker: Recorder, end: str) -> None:
    """B8: setting or unsetting a job also takes back the extra run that waits."""
    halted.set("j:A", f"AT:{now(halted) + 500}")
    halted.enqueue("j:A")

    def act() -> None:
        halted.enqueue("j:A")
        halted.set("j:A", "STOP") if end == "set" else halted.unset("j:A")

    worker.acts["j:A"] = act
    turns(halted, 1)
    halted.dispatch()
    turns(halted, 2)
    assert worker.done == ["j:A"]
    assert ":extra" not in state(halted.redis, halted.prefix)


def test_a_retry_leaves_a_later_run_alone(fleet: Fleet) -> None:
    """B2: a run by `enqueue` that fails and is tried again does not replace the job's own later run."""
    worker = Recorder()
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")
    at = now(bike) + 500
    bike.set("j:A", f"AT:{at}")
    bike.enqueue("j:A")
    worker.acts["j:A"] = lambda: 1 / 0
    turns(bike, 1)
    assert bike.tell("j:A")["next_run"] == at
    assert list(bike.redis.zrange(f"{bike.prefix}:extra", 0, -1)) == [b"j:A"]


# Servers that refuse a command


class Refused:
    """A user who may not use one command, and a Redbike of that user."""

    def __init__(self, fleet: Fleet, server: Server, command: str, worker: RoundRobin) -> None:
        self.name = f"user-{fleet.prefix}-{command}"
        self._bike = fleet()
        self._bike.redis.acl_setuser(
            self.name, enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", f"-{command}"]
        )
        settings = dict(server.config) | {"username": self.name, "password": "any"}
        self.bike = fleet(worker, redis_config=settings, default_timeout=60)

    def allow(self) -> None:
        self._bike.redis.acl_setuser(
            self.name, enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all"]
        )


WRITES = (
    "set",
    "del",
    "rpop",
    "lpush",
    "sadd",
    "srem",
    "zadd",
    "zrem",
    "hset",
    "hdel",
    "get",
    "hget",
    "exists",
    "lpop",
)


@pytest.mark.not_on_a_cluster("the users of the client are other ones")
@pytest.mark.parametrize("command", WRITES)
def test_a_refused_command_loses_no_job(
    fleet: Fleet, server: Server, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C7: whichever single command an ACL denies, a job that waits, is due, runs or is set again is still there after:
    on the timeline, in a queue or in hand; and it goes on when the ACL is mended."""
    monkeypatch.setattr("redbike.consumer._AFTER_STOP_S", 0.3)
    worker = Recorder()
    refused = Refused(fleet, server, command, worker)
    bike, observer = refused.bike, fleet()
    observer.control("HALT")
    observer.set("queued:A", "CONTINUE")
    observer.set("due:A", "DTSTART:20200101T000000Z\nRRULE:FREQ=SECONDLY", after=1_600_000_000)
    observer.set("once:A", "AT:1000")
    for verb in (bike.work, bike.dispatch, bike.work):
        stop = threading.Event()
        bike.stop_event = stop
        threading.Timer(0.3, stop.set).start()
        with contextlib.suppress(Exception):
            verb()
    bike.stop_event = None
    found = state(observer.redis, observer.prefix)
    for jobid in ("queued:A", "due:A", "once:A"):
        places = [
            jobid in found.get("-timeline", {}),
            jobid in found.get("-work-A", []),
            f"-work-A-{jobid}" in found,
            worker.done.count(jobid) > 0 and jobid == "once:A",
        ]
        assert any(places), (jobid, found)
    refused.allow()
    worker.done.clear()
    observer.redis.delete(*[f"{observer.prefix}-work-A-{jobid}" for jobid in ("queued:A", "due:A", "once:A")])
    observer.dispatch()
    turns(observer, 6)


@pytest.mark.not_on_a_cluster("the users of the client are other ones")
def test_an_end_whose_tag_cannot_be_read_is_not_late(fleet: Fleet, server: Server) -> None:
    """D6: a server that refuses to show a run tag has not said that the run is over: its end is tried again."""
    worker = Recorder()
    refused = Refused(fleet, server, "object", worker)
    bike = refused.bike
    bike.set("j:A", "CONTINUE")
    deny = ["+@all", "-get"]
    stop = threading.Event()
    bike.stop_event = stop

    def act() -> None:
        bike_of_all.redis.acl_setuser(
            refused.name, enabled=True, nopass=True, keys=["*"], channels=["*"], commands=deny
        )
        threading.Timer(0.5, refused.allow).start()
        threading.Timer(1.0, stop.set).start()

    bike_of_all = fleet()
    worker.acts["j:A"] = lambda: worker.acts.pop("j:A") and act()
    bike.work()
    assert len(worker.done) >= 2 or queued(bike) == ["j:A"]


# Memory that runs out


@pytest.mark.not_on_a_cluster("its server is another one")
def test_jobs_go_on_without_memory(own_server: Server, tmp_path: Any) -> None:
    """C7: without memory to spare, jobs that are due still enter their queues, also beside one that runs."""
    fleet = Fleet(own_server, "redbike", tmp_path)
    worker = Recorder()
    bike = fleet(worker)
    bike.control("HALT")
    bike.set("runs:A", "CONTINUE")

    def act() -> None:
        bike.redis.zadd(bike.timeline_key, {"runs:A": 1})
        bike.redis.config_set("maxmemory", "1")
        bike.dispatch()
        bike.redis.config_set("maxmemory", "0")
        bike.redis.zadd(bike.timeline_key, {"due:A": 1})
        bike.redis.config_set("maxmemory", "1")
        bike.dispatch()

    stop = threading.Event()
    bike.stop_event = stop
    watch = threading.Timer(5, stop.set)  # it would try for as long as memory is full
    watch.start()
    worker.acts["runs:A"] = act
    turns(bike, 1)
    watch.cancel()
    assert not stop.is_set()
    assert "runs:A" in state(bike.redis, "redbike").get("-timeline", {}) or "runs:A" in queued(bike)
    assert "due:A" in queued(bike)
    bike.redis.config_set("maxmemory", "0")
    fleet.close()


# Queues that take nothing


def test_a_broken_queue_is_put_off_longer_and_longer(fleet: Fleet, loops: Loops) -> None:
    """A2: jobs of a queue of a wrong type are due again after 1, 2, 4 … 60 seconds, and enter it when it is mended."""
    bike = fleet(RoundRobin("A:B"))
    bike.redis.set(f"{bike.prefix}-work-B", "not a list")
    bike.redis.zadd(bike.timeline_key, {f"{number}:B": 1 for number in range(300)})
    loops.dispatch(RoundRobin("A:B"))

    def put_off_s() -> float:
        scores = [score for _, score in bike.redis.zrange(bike.timeline_key, 0, -1, withscores=True)]  # type: ignore[union-attr,misc]
        return max(scores) - now(bike)

    eventually(lambda: put_off_s() > 4, 20)
    bike.redis.delete(f"{bike.prefix}-work-B")
    eventually(lambda: bike.redis.zcard(bike.timeline_key) == 0, 30)
    assert bike.redis.llen(f"{bike.prefix}-work-B") == 300


# Memos


@pytest.mark.parametrize(("socket_timeout", "least"), [(None, 86_400), (30, 4 * 30), (5, 4 * 5), (0.1, 60)])
def test_a_memo_outlives_every_repetition(fleet: Fleet, socket_timeout: float | None, least: float) -> None:
    """B1: the memo of a `set` lives longer than its last repetition may take, whatever the socket's timeout."""
    bike = fleet(redis_config=dict(fleet.server.config) | {"socket_timeout": socket_timeout})
    bike.set("j:A", "NOW")
    [memo] = [key for key in bike.redis.scan_iter(match="*:memo:*") if key.startswith(bike.prefix.encode())]
    assert bike.redis.ttl(memo) >= least - 1
    assert repeats_within_s(socket_timeout) >= least


def test_a_worker_that_was_cut_off_leaves_its_memo(proxy: FaultProxy, fleet: Fleet) -> None:
    """C7: a worker that ends in good order, after a reply was lost, leaves its memo: a call of it may still be on its
    way, and would take a job for nobody."""
    bike = fleet(Recorder(), redis_config={"unix_socket_path": proxy.socket})
    observer = fleet()
    observer.control("HALT")
    bike.work()
    assert memos(observer.redis, observer.prefix) == []
    lost: list[str] = []
    proxy.judge = lambda _, kind: Fate.LOSE_REPLY if kind == "EVALSHA turn" and not lost else Fate.PASS
    proxy.before_cut = lambda: lost.append("the reply")
    bike.work()
    assert lost
    assert len(memos(observer.redis, observer.prefix)) == 1


def test_copies_of_a_process_do_not_take_each_other_for_late(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: two processes with one name for their calls, such as copies of a virtual machine, both set and both work."""
    worker, twin_worker = Recorder(), Recorder()
    names = iter(["0123456789abcdef"] * 20)
    fresh = Caller.renew

    def same_name(self: Caller) -> None:
        fresh(self)
        name = next(names, None)
        if name is not None:
            self._name = name

    monkeypatch.setattr(Caller, "renew", same_name)
    bike, twin = fleet(worker), fleet(twin_worker)
    bike.control("HALT")
    for number in range(5):
        bike.set(f"a{number}:A", "NOW")
    for number in range(5):
        twin.set(f"b{number}:A", "NOW")
    assert len(queued(bike)) == 10
    twin.unset("b4:A")
    assert len(queued(bike)) == 9
    for _ in range(5):
        bike.work()
    for _ in range(5):
        twin.work()
    assert sorted(worker.done + twin_worker.done) == sorted(
        [*(f"a{n}:A" for n in range(5)), *(f"b{n}:A" for n in range(4))]
    )


# Outages longer than a timeout


def test_a_short_run_counts_after_a_long_outage(own_server: Server, tmp_path: Any) -> None:
    """D6: a run that ended within its timeout counts, although Redis was away until its tag had expired."""
    fleet = Fleet(own_server, "redbike", tmp_path)
    worker = Recorder()
    bike = fleet(worker, default_timeout=1)
    bike.control("HALT")
    worker.acts["j:A"] = lambda: own_server.kill() or 3600
    bike.set("j:A", "CONTINUE")
    done = threading.Thread(target=bike.work)
    done.start()
    eventually(lambda: worker.done == ["j:A"])
    started = threading.Event()
    threading.Timer(2.0, lambda: (own_server.start(), started.set())).start()
    done.join(20)
    assert started.is_set() or started.wait(5)
    assert bike.tell("j:A")["next_run"] is not None
    assert (bike.tell("j:A")["status"] or "")[:4] == "TML:"
    assert list(bike.get_lost()) == []
    fleet.close()


@pytest.mark.parametrize("meanwhile", ["set", "unset", "taken", "queued", "stopped"])
def test_a_run_without_its_tag_counts_only_where_nothing_has_happened(
    fleet: Fleet, worker: Recorder, meanwhile: str, caplog: pytest.LogCaptureFixture
) -> None:
    """D6: a run whose tag is gone changes nothing where its job was set, unset, queued or handed out since."""
    bike, other_worker = fleet(worker), Recorder()
    bike.control("HALT")
    other = fleet(other_worker)
    before: list[object] = []

    def act() -> None:
        bike.redis.delete(f"{bike.prefix}-work-A-j:A")
        match meanwhile:
            case "set":
                other.set("j:A", "EVERY:1h")
            case "unset":
                other.unset("j:A")
            case "queued":
                other.enqueue("j:A")
            case "stopped":
                other.set("j:A", "STOP")
            case "taken":
                other.enqueue("j:A")
                other_worker.acts["j:A"] = lambda: (
                    bike.redis.delete(f"{bike.prefix}-work-A-j:A"),
                    bike.redis.hset(bike.statuses_key, "j:A", "WRK:1"),
                )
                with contextlib.suppress(Exception):
                    other.work()
        before.append(state(bike.redis, bike.prefix))

    worker.acts["j:A"] = act
    bike.set("j:A", "CONTINUE")
    bike.work()
    assert state(bike.redis, bike.prefix) == before[0]
    assert [record for record in caplog.records if record.levelno == logging.WARNING]


# Many queues


def test_a_burst_over_many_queues_costs_as_many_turns(fleet: Fleet) -> None:
    """D1: a worker of many queues with a job in each does one turn a job, and few more; each turn names few keys."""
    names = [f"{number}" for number in range(300)]
    worker = Recorder(":".join(names))
    bike = fleet(worker)
    for name in reversed(names):
        bike.set(f"j:{name}", "NOW")
    stop = threading.Event()
    bike.stop_event = stop
    with bike.redis.monitor() as monitor:
        thread = threading.Thread(target=bike.work)
        thread.start()
        eventually(lambda: len(worker.done) == len(names))
        eventually(lambda: not [name for name in state(bike.redis, bike.prefix) if ":bell:" in name])
        bike.redis.echo("over")
        turns = []
        while not (command := monitor.next_command()["command"]).startswith("ECHO"):
            if command.startswith("EVALSHA") and f"{bike.prefix}-work-" in command:
                turns.append(int(command.split()[2]))
    stop.set()
    thread.join(10)
    assert worker.done == [f"j:{name}" for name in names]
    assert len(turns) < len(names) + 3 * len(names) // 64 + 10
    assert max(turns) < 9 + 4 + 3 * 64 + 1


def test_an_order_is_kept_over_its_blocks(fleet: Fleet) -> None:
    """D1: an order that is longer than what one turn looks at is served as it is written, repetitions included."""
    order = ["a", "b", "a", *(f"{number}" for number in range(70)), "a", "c", "a"]
    worker = Recorder(":".join(order))
    bike = fleet(worker)
    for name in dict.fromkeys(order):
        for number in range(4):
            bike.set(f"{number}:{name}", "NOW")
    bike.control("HALT")
    turns(bike, 2 * len(order))
    assert [jobid.partition(":")[2] for jobid in worker.done[: len(order)]] == order


def test_an_empty_look_silences_the_bells(fleet: Fleet) -> None:
    """D1: a worker that finds all its queues empty leaves no token in a bell: it would wake workers for nothing."""
    names = [f"{number}" for number in range(20)]
    worker = Recorder(":".join(names))
    bike = fleet(worker)
    for name in names:
        bike.set(f"j:{name}", "NOW")
    stop = threading.Event()
    bike.stop_event = stop
    thread = threading.Thread(target=bike.work)
    thread.start()
    eventually(lambda: len(worker.done) == len(names))
    eventually(lambda: not [name for name in state(bike.redis, bike.prefix) if ":bell:" in name])
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_plan_made_again_remembers_an_unanswered_call(
    proxy: FaultProxy, fleet: Fleet, worker: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C7: a worker whose call went unanswered, and that has to plan again, asks as for a repetition: the lost call
    may have handed out a job."""
    bike, other = fleet(worker, redis_config={"unix_socket_path": proxy.socket}), fleet()
    other.control("HALT")
    asked: list[tuple[str, bool]] = []
    turn = Scripts.turn

    def noting(self: Scripts, nonce: str, *args: Any, **kwargs: Any) -> Any:
        asked.append((nonce, kwargs["repeated"]))
        return turn(self, nonce, *args, **kwargs)

    def act() -> None:
        other.set("j:A", "EVERY:1h")
        asked.clear()
        lost: list[str] = []
        proxy.judge = lambda _, kind: Fate.LOSE_COMMAND if kind == "EVALSHA turn" and not lost else Fate.PASS
        proxy.before_cut = lambda: lost.append("the call")

    monkeypatch.setattr(Scripts, "turn", noting)
    worker.acts["j:A"] = act
    other.set("j:A", "CONTINUE")
    bike.work()
    assert len({nonce for nonce, _ in asked[:3]}) == 1
    assert [repeated for _, repeated in asked[:3]] == [False, True, True]
    assert (other.tell("j:A")["status"] or "")[:4] == "TML:"

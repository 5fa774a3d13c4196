"""Other programs on the same Redis: ids that make two keys collide, stale entries of queues, and other locales."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from helpers import queued, server_now, turns
from nodes import eventually
from state import memos, state
from threads import Loops

from redbike import Redbike, RoundRobin

LOCALES = ("cs_CZ.UTF-8", "da_DK.UTF-8")


# The server's locale


@pytest.fixture(params=LOCALES)
def foreign_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that sorts text as in another country. Skipped if the machine lacks the locale (CI creates it)."""
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
    """C7: under any locale of the server every `set` counts and a worker runs every job, because no script compares
    texts.
    """
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
    """A worker with two queues, one name a prefix of the other: `jobs` and `jobs-urgent`."""

    def queue_for(self, jobid: str) -> str:
        return "jobs-urgent" if jobid.startswith("u") and jobid != "urgent" else "jobs"

    def queue_names(self) -> list[str]:
        return ["jobs", "jobs-urgent"]


@pytest.mark.parametrize("expiring", [False, True])
def test_a_foreign_id_leaves_a_queue_alone(fleet: Fleet, expiring: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A4: a job of another program whose run tag would be the key of a queue becomes BAD when it is due, and the log
    names it; the queue does not change or expire.
    """
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
    """A4: if the key of a run tag holds something else, promote does not change it or let it expire."""
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
    """A4: ids of other programs that would turn a queue's set of members into a list become BAD, and the queue works
    on.
    """
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
    """A4: an id whose run tag would be the set of members becomes BAD when it is found in a list."""
    halted.redis.lpush(f"{halted.prefix}-work-A", "members", "good:A")
    halted.redis.sadd(f"{halted.prefix}-work-A-members", "members", "good:A")
    halted.redis.hset(halted.schedules_key, "members", "CONTINUE")
    turns(halted, 2)
    assert worker.done == ["good:A"]
    assert (halted.tell("members")["status"] or "")[:4] == "BAD:"
    assert f"{halted.prefix}-work-A-members".encode() not in halted.redis.scan_iter()


def test_a_foreign_job_in_hand_does_not_stop_a_queue(halted: Redbike, worker: Recorder) -> None:
    """A4: a running job that another program put into a list, and that would go into a set afterwards, ends as BAD."""
    halted.redis.lpush(f"{halted.prefix}-work-A", "x:A-members")
    halted.redis.sadd(f"{halted.prefix}-work-A-members", "x:A-members")
    halted.redis.hset(halted.schedules_key, "x:A-members", "CONTINUE")
    turns(halted, 1)
    assert worker.done == ["x:A-members"]
    assert (halted.tell("x:A-members")["status"] or "")[:4] == "BAD:"
    halted.set("good:A", "NOW")
    turns(halted, 1)
    assert worker.done[1:] == ["good:A"]


# Lists and sets that differ

MANY = 101  # more jobs than a list that is always searched


@pytest.fixture
def crowded(fleet: Fleet) -> Redbike:
    """A queue with many jobs, and a stale member in its set."""
    bike = fleet()
    bike.control("HALT")
    for number in range(MANY):
        bike.set(f"{number}:A", "NOW")
    bike.redis.sadd(f"{bike.prefix}-work-A-members", "v:A")
    return bike


def test_a_stale_member_of_a_long_queue_is_queued_when_due(crowded: Redbike) -> None:
    """C7: a job that is in the set of a long queue but not in its list enters the list when it is due."""
    crowded.set("v:A", "AT:1000")
    crowded.dispatch()
    assert queued(crowded)[-1] == "v:A"
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
    """F: `lost` lists a job that is in the set of a long queue but not in its list, and no job of the list."""
    crowded.redis.hset(crowded.schedules_key, mapping={f"{number}:A": "CONTINUE" for number in range(MANY)})
    crowded.redis.hset(crowded.schedules_key, "v:A", "EVERY:1h")
    assert [jobid for jobid, _, _ in crowded.get_lost()] == ["v:A"]


@pytest.mark.parametrize("verb", ["set", "due", "end"])
def test_a_job_in_the_list_alone_is_not_queued_twice(fleet: Fleet, verb: str) -> None:
    """C5: a job that is in the list but not in the set does not enter the list a second time."""
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
    """D1: a long queue stays first in, first out, whatever is unset in it; a job that is set again runs once."""
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


# Changes during a run


def test_a_later_run_survives_an_enqueue_during_a_run(halted: Redbike, worker: Recorder) -> None:
    """B10: `enqueue` of a running job runs it once more, and keeps its later time on the timeline."""
    at = int(server_now(halted)) + 500
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
    """D1: if a short queue has lost all entries of an unset job, a new entry from another program is taken."""
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
def test_a_new_schedule_cancels_an_enqueued_run(halted: Redbike, worker: Recorder, end: str) -> None:
    """B8: setting or unsetting a job also cancels the extra run that waits."""
    halted.set("j:A", f"AT:{int(server_now(halted)) + 500}")
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
    """B2: an enqueued run that fails and is tried again does not replace the job's later run."""
    worker = Recorder()
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")
    at = int(server_now(bike)) + 500
    bike.set("j:A", f"AT:{at}")
    bike.enqueue("j:A")
    worker.acts["j:A"] = lambda: 1 / 0
    turns(bike, 1)
    assert bike.tell("j:A")["next_run"] == at
    assert list(bike.redis.zrange(f"{bike.prefix}:extra", 0, -1)) == [b"j:A"]

"""Servers that refuse a command, run out of memory or lose a call; and bursts of jobs over many queues."""

import contextlib
import logging
import threading
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from helpers import queued, server_now, turns
from nodes import eventually
from state import memos, state
from threads import Loops

from benchmarks.chaos.proxy import Fate, FaultProxy
from redbike import RoundRobin
from redbike.engine.retry import repeats_within_s
from redbike.store.requests import Caller
from redbike.store.store import Store

# Servers that refuse a command


class Refused:
    """A user without the right to one command, and that user's Redbike."""

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
    """C7: an ACL may deny any single command: a job that waits, is due, runs or is set again is still on the timeline,
    in a queue or running; it goes on when the ACL is corrected.
    """
    monkeypatch.setattr("redbike.engine.processor._AFTER_STOP_S", 0.3)
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
    """D6: if a server refuses to show a run tag, the run is not over: its end is tried again."""
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
    """C7: without free memory, due jobs still enter their queues, also beside a running job."""
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
    watch = threading.Timer(5, stop.set)  # it would go on trying while memory is full
    watch.start()
    worker.acts["runs:A"] = act
    turns(bike, 1)
    watch.cancel()
    assert not stop.is_set()
    assert "runs:A" in state(bike.redis, "redbike").get("-timeline", {}) or "runs:A" in queued(bike)
    assert "due:A" in queued(bike)
    bike.redis.config_set("maxmemory", "0")
    fleet.close()


# Broken queues


def test_a_broken_queue_is_put_off_longer_and_longer(fleet: Fleet, loops: Loops) -> None:
    """A2: jobs of a queue of a wrong type are due again after 1, 2, 4 … 60 seconds, and enter it after a repair."""
    bike = fleet(RoundRobin("A:B"))
    bike.redis.set(f"{bike.prefix}-work-B", "not a list")
    bike.redis.zadd(bike.timeline_key, {f"{number}:B": 1 for number in range(300)})
    loops.dispatch(RoundRobin("A:B"))

    def put_off_s() -> float:
        scores = [score for _, score in bike.redis.zrange(bike.timeline_key, 0, -1, withscores=True)]  # type: ignore[union-attr,misc]
        return max(scores) - int(server_now(bike))

    eventually(lambda: put_off_s() > 4, 20)
    bike.redis.delete(f"{bike.prefix}-work-B")
    eventually(lambda: bike.redis.zcard(bike.timeline_key) == 0, 30)
    assert bike.redis.llen(f"{bike.prefix}-work-B") == 300


# Memos


@pytest.mark.parametrize(("socket_timeout", "least"), [(None, 86_400), (30, 4 * 30), (5, 4 * 5), (0.1, 60)])
def test_a_memo_outlives_every_repetition(fleet: Fleet, socket_timeout: float | None, least: float) -> None:
    """B1: the memo of a `set` lives longer than its last repetition may take, whatever the socket's timeout is."""
    bike = fleet(redis_config=dict(fleet.server.config) | {"socket_timeout": socket_timeout})
    bike.set("j:A", "NOW")
    [memo] = [key for key in bike.redis.scan_iter(match="*:memo:*") if key.startswith(bike.prefix.encode())]
    assert bike.redis.ttl(memo) >= least - 1
    assert repeats_within_s(socket_timeout) >= least


def test_a_worker_that_was_cut_off_leaves_its_memo(fault_proxy: FaultProxy, fleet: Fleet) -> None:
    """C7: a worker that ends normally after a lost reply leaves its memo, because its call may still arrive and would
    take a job that no worker runs.
    """
    bike = fleet(Recorder(), redis_config={"unix_socket_path": fault_proxy.socket})
    observer = fleet()
    observer.control("HALT")
    bike.work()
    assert memos(observer.redis, observer.prefix) == []
    lost: list[str] = []
    fault_proxy.judge = lambda _, kind: Fate.LOSE_REPLY if kind == "EVALSHA turn" and not lost else Fate.PASS
    fault_proxy.before_cut = lambda: lost.append("the reply")
    bike.work()
    assert lost
    assert len(memos(observer.redis, observer.prefix)) == 1


def test_copies_of_a_process_do_not_take_each_other_for_late(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: two processes with the same client id, such as copies of a virtual machine, can both set and both work."""
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
    """D6: a run whose tag is gone changes nothing if its job was set, unset, queued or taken since."""
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
    """D1: a worker of many queues with a job in each needs about one turn per job; each turn names few keys."""
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
    assert max(turns) < 17 + 4 + 3 * 64 + 1


def test_an_order_is_kept_over_its_blocks(fleet: Fleet) -> None:
    """D1: an order that is longer than one turn can search is served as it is written, with its repetitions."""
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
    """D1: a worker that finds all its queues empty leaves no token in a bell, because it would wake a worker for
    nothing.
    """
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
    fault_proxy: FaultProxy, fleet: Fleet, worker: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C7: a worker that got no reply and has to plan again marks its call as a repetition, because the lost call may
    have taken a job.
    """
    bike, other = fleet(worker, redis_config={"unix_socket_path": fault_proxy.socket}), fleet()
    other.control("HALT")
    asked: list[tuple[str, bool]] = []
    turn = Store.turn

    def noting(self: Store, request_id: str, *args: Any, **kwargs: Any) -> Any:
        asked.append((request_id, kwargs["repeated"]))
        return turn(self, request_id, *args, **kwargs)

    def act() -> None:
        other.set("j:A", "EVERY:1h")
        asked.clear()
        lost: list[str] = []
        fault_proxy.judge = lambda _, kind: Fate.LOSE_COMMAND if kind == "EVALSHA turn" and not lost else Fate.PASS
        fault_proxy.before_cut = lambda: lost.append("the call")

    monkeypatch.setattr(Store, "turn", noting)
    worker.acts["j:A"] = act
    other.set("j:A", "CONTINUE")
    bike.work()
    assert len({request_id for request_id, _ in asked[:3]}) == 1
    assert [repeated for _, repeated in asked[:3]] == [False, True, True]
    assert (other.tell("j:A")["status"] or "")[:4] == "TML:"

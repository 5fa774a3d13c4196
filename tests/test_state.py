"""The state in Redis as programs of any make share it: entries by hand, odd bytes, collisions, flush, slots."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from conftest import Fleet, Recorder, Server, dispatch_at, eventually, raising
from loops import halt_at_once
from state import state, whole_server

from redbike import Redbike, RoundRobin, StopWork
from redbike.errors import JobIdError
from redbike.keys import ADDED_STATE

PAST, FUTURE = 1_000_000_000, 4_000_000_000
ODD = b"\xff\xfe:A"

Running = Callable[[Callable[[threading.Event], Callable[[], object]]], threading.Event]


@pytest.fixture
def running(running: Running, bike: Redbike) -> Iterator[Running]:
    yield running
    halt_at_once(bike)


def unix_now(client: redis.Redis) -> float:
    moment: Any = client.time()
    return float(moment[0] + moment[1] / 1e6)


def until(condition: Callable[[], object]) -> float:
    """Wait for the condition: how many seconds that took."""
    began = time.monotonic()
    eventually(condition)
    return time.monotonic() - began


# A1: others write, and we notice


def test_timeline_entry_by_hand(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: a job that somebody writes onto the timeline by hand is noticed within a second by an idle dispatcher, and
    run by an idle worker."""
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    running(lambda stop: fleet(stop_event=stop).dispatch)
    bike.set("warm:A", "NOW")
    eventually(lambda: worker.done == ["warm:A"])
    time.sleep(0.1)  # both are idle again, and have just begun to wait
    bike.redis.hset(bike.schedules_key, "hand:A", "STOP")
    bike.redis.zadd(bike.timeline_key, {"hand:A": PAST})
    assert until(lambda: "hand:A" in worker.done) < 1.2


def test_future_timeline_entry_by_hand_is_on_time(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: a job put onto the timeline by hand for a moment within the coming second is not run before that moment."""
    ran_at: list[float] = []
    worker = Recorder()
    worker.acts["hand:A"] = lambda: ran_at.append(unix_now(bike.redis))
    running(lambda stop: fleet(worker, stop_event=stop).work)
    running(lambda stop: fleet(stop_event=stop).dispatch)
    due_at = unix_now(bike.redis) + 0.4
    bike.redis.zadd(bike.timeline_key, {"hand:A": due_at})
    eventually(lambda: ran_at)
    assert 0 <= ran_at[0] - due_at < 1.2


def test_queue_entry_by_hand(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: a job that somebody puts into a queue by hand, without ringing a bell, is noticed within a second."""
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    bike.set("warm:A", "NOW")
    eventually(lambda: worker.done == ["warm:A"])
    time.sleep(0.1)
    bike.redis.hset(bike.schedules_key, "hand:A", "STOP")
    bike.redis.lpush(bike.queue_for("hand:A"), "hand:A")
    bike.redis.sadd(f"{bike.queue_for('hand:A')}-members", "hand:A")
    assert until(lambda: "hand:A" in worker.done) < 1.2
    eventually(lambda: bike.tell("hand:A")["status"] not in (None, "WRK"))
    assert state(bike.redis, bike.prefix)["-schedules"] == {"warm:A": "STOP", "hand:A": "STOP"}


def test_halt_by_hand(bike: Redbike, fleet: Fleet) -> None:
    """A1: HALT that somebody writes by hand stops an idle dispatcher and an idle worker within about a second."""
    loops = [threading.Thread(target=loop, daemon=True) for loop in (fleet().dispatch, fleet().work)]
    for loop in loops:
        loop.start()
    time.sleep(0.1)
    bike.redis.set(bike.control_key, "HALT")
    began = time.monotonic()
    for loop in loops:
        loop.join(5)
        assert not loop.is_alive()
    assert time.monotonic() - began < 1.4


def test_added_keys_are_never_needed(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: while somebody keeps deleting every key that 0.13.1 does not know, each job still runs, and only once."""
    workers = [Recorder(), Recorder()]
    for worker in workers:
        running(lambda stop, worker=worker: fleet(worker, stop_event=stop).work)  # type: ignore[misc]
    running(lambda stop: fleet(stop_event=stop).dispatch)
    jobs = [f"{number}:A" for number in range(150)]

    def deleting(stop: threading.Event) -> Callable[[], None]:
        def delete() -> None:
            while not stop.wait(0.001):
                for key in bike.redis.scan_iter(match=f"{bike.prefix}:*", count=1000):
                    bike.redis.delete(key)

        return delete

    running(deleting)
    for number, job in enumerate(jobs):
        bike.set(job, "NOW" if number % 2 else f"AT:{PAST}")
    eventually(lambda: sum(len(worker.done) for worker in workers) >= len(jobs))
    assert sorted(workers[0].done + workers[1].done) == sorted(jobs)


def test_added_keys_carry_other_names(bike: Redbike, worker: Recorder) -> None:
    """A1: every key and every channel used is one of the table, or is named differently from all of them."""
    worker.acts["c:A"] = lambda: 100
    for job, schedule in (("n:A", "NOW"), ("c:A", "CONTINUE"), ("r:A", "RRULE:FREQ=DAILY"), ("b:A", "garbage")):
        bike.set(job, schedule)
    next(bike.consumer)
    bike.control("HALT")
    bike.work()
    bike.dispatch()
    shared = {"-schedules", "-statuses", "-timeline", "-control", "-work-A", "-work-A-members", "-work-A-n:A"}
    assert all(doc.key.startswith("P:") for doc in ADDED_STATE)
    for name in state(bike.redis, bike.prefix):
        assert name in shared or name.startswith(":"), name


def test_state_of_another_make_is_understood(bike: Redbike, worker: Recorder) -> None:
    """A1: a state that was written by another program in full, to the keys of the table alone, is worked off."""
    client, prefix = bike.redis, bike.prefix
    client.hset(f"{prefix}-schedules", mapping={"q:A": "STOP", "t:A": "CONTINUE"})
    client.hset(f"{prefix}-statuses", mapping={"q:A": "ENQ:1500000000", "t:A": "TML:1500000000"})
    client.zadd(f"{prefix}-timeline", {"t:A": 1_500_000_000})
    client.lpush(f"{prefix}-work-A", "q:A")
    client.sadd(f"{prefix}-work-A-members", "q:A")
    client.set(f"{prefix}-control", "HALT")
    bike.dispatch()
    bike.work()
    bike.work()
    assert worker.done == ["q:A", "t:A"]
    after = state(client, prefix)
    after["-statuses"] = {job: status[:4] for job, status in after["-statuses"].items()}
    assert after == {
        "-schedules": {"q:A": "STOP", "t:A": "CONTINUE"},
        "-statuses": {"q:A": "STP:", "t:A": "ENQ:"},
        "-control": "HALT",
        "-work-A": ["t:A"],
        "-work-A-members": {"t:A"},
        ":bell:work-A": ["1"],
    }


def other_take(client: redis.Redis, prefix: str, job: str) -> None:
    """What a worker of another make does as it takes a job from the queue work-A."""
    assert client.rpop(f"{prefix}-work-A") == job.encode()
    client.srem(f"{prefix}-work-A-members", job)
    client.set(f"{prefix}-work-A-{job}", "their tag", ex=10)
    client.hset(f"{prefix}-statuses", job, "WRK:1500000000")


def test_run_of_another_make_is_respected(bike: Redbike, worker: Recorder) -> None:
    """A1: a job that a worker of another make has in hand is neither queued by us nor started a second time, and a run
    that is asked for meanwhile comes after it."""
    client, prefix = bike.redis, bike.prefix
    bike.set("x:A", "CONTINUE")
    other_take(client, prefix, "x:A")
    assert bike.is_working("x:A")
    bike.control("HALT")
    bike.set("x:A", "NOW")
    bike.dispatch()
    assert next(bike.consumer)[0] is None
    client.delete(f"{prefix}-work-A-x:A")
    client.hset(f"{prefix}-statuses", "x:A", "STP:1500000000")
    dispatch_at(bike, FUTURE)
    bike.work()
    assert worker.done == ["x:A"]


def test_members_without_a_list_entry_do_not_block(bike: Redbike, worker: Recorder) -> None:
    """A1: an id that others left among the members without being in the list is queued again all the same."""
    bike.redis.sadd(f"{bike.queue_for('x:A')}-members", "x:A")
    bike.control("HALT")
    bike.set("x:A", "NOW")
    bike.work()
    bike.redis.sadd(f"{bike.queue_for('x:A')}-members", "y:A")
    bike.set("y:A", f"AT:{PAST}")
    bike.dispatch()
    bike.work()
    assert worker.done == ["x:A", "y:A"]


def test_queue_entry_by_hand_during_a_run_waits(bike: Redbike, fleet: Fleet, worker: Recorder) -> None:
    """A1: a running job that somebody queues by hand is not started a second time, and runs after that run."""
    second = Recorder()
    other = fleet(second)
    bike.control("HALT")

    def queued_by_hand() -> None:
        bike.redis.lpush(bike.queue_for("x:A"), "x:A")
        bike.redis.sadd(f"{bike.queue_for('x:A')}-members", "x:A")
        other.work()

    worker.acts["x:A"] = queued_by_hand
    bike.set("x:A", "NOW")
    bike.work()
    dispatch_at(other, FUTURE)
    other.work()
    assert (worker.done, second.done) == (["x:A"], ["x:A"])


# A2: odd bytes


def put_odd(bike: Redbike, place: str) -> None:
    client = bike.redis
    queue = bike.queue_for("x:A")
    if place == "timeline":
        client.zadd(bike.timeline_key, {ODD: 1})
    elif place == "queue":
        client.lpush(queue, ODD)
        client.sadd(f"{queue}-members", ODD)
    elif place == "queue and schedules":
        client.hset(bike.schedules_key, ODD, b"CONTINUE")
        client.lpush(queue, ODD)
        client.sadd(f"{queue}-members", ODD)
    elif place == "schedule":
        client.hset(bike.schedules_key, "odd:A", b"\xff")
        client.lpush(queue, "odd:A")
        client.sadd(f"{queue}-members", "odd:A")
    elif place == "statuses":
        client.hset(bike.statuses_key, ODD, b"\xff\xfe")
        assert list(bike.get_statuses(before=FUTURE)) == [("good:A", "TML", bike_second(bike, "good:A"))]
    elif place == "schedules":
        client.hset(bike.schedules_key, ODD, b"\xff")
        assert dict(bike.get_schedules()) == {"good:A": "STOP", "\udcff\udcfe:A": "\udcff"}
    else:
        client.set(bike.control_key, b"\xff")


def bike_second(bike: Redbike, job: str) -> int:
    return int(str(bike.tell(job)["status"]).partition(":")[2])


@pytest.mark.parametrize(
    ("place", "reported"),
    [
        ("timeline", True),
        ("queue", True),
        ("queue and schedules", True),
        ("schedule", True),
        ("statuses", True),
        ("schedules", False),
        ("control", False),
    ],
)
def test_odd_bytes(
    bike: Redbike, fleet: Fleet, running: Running, caplog: pytest.LogCaptureFixture, place: str, reported: bool
) -> None:
    """A2: bytes that are not UTF-8, in whichever key, stop neither a dispatcher nor a worker nor a listing: that job is
    reported and not run, and the others go on."""
    bike.set("good:A", f"AT:{PAST}")
    put_odd(bike, place)
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    running(lambda stop: fleet(stop_event=stop).dispatch)
    eventually(lambda: "good:A" in worker.done)
    bike.set("later:A", "NOW")
    eventually(lambda: "later:A" in worker.done)
    assert set(worker.done) <= {"good:A", "later:A", "odd:A"}
    warnings = [record.getMessage() for record in caplog.records]
    assert any(r"\xff" in line or "odd:A" in line or r"\udcff" in line for line in warnings) == reported, warnings


@pytest.mark.parametrize("where", ["timeline", "queue"])
def test_odd_id_is_bad(bike: Redbike, where: str) -> None:
    """A2, A3: a registered job whose id is not UTF-8 becomes BAD, and is in no queue and not on the timeline."""
    bike.redis.hset(bike.schedules_key, ODD, b"CONTINUE")
    put_odd(bike, where)
    bike.control("HALT")
    bike.dispatch()
    bike.work()
    after = state(bike.redis, bike.prefix)
    assert after.pop("-statuses")["\udcff\udcfe:A"].startswith("BAD:")
    after.pop(":bell:work-A", None)  # a halt wakes idle workers
    assert after == {"-schedules": {"\udcff\udcfe:A": "CONTINUE"}, "-control": "HALT"}


# A3: event codes


def test_event_codes(bike: Redbike, worker: Recorder) -> None:
    """A3: each event of a job's life is told by its code and the whole second of it, and by nothing else."""
    seen: dict[str, str] = {}

    def note(job: str) -> str:
        status = str(bike.tell(job)["status"])
        assert re.fullmatch(r"(TML|ENQ|BAD|WRK|STP|DIE):\d{10}", status)
        assert abs(int(status[4:]) - unix_now(bike.redis)) < 3
        seen[status[:3]] = job
        return status[:3]

    bike.control("HALT")
    worker.acts["run:A"] = lambda: note("run:A")
    worker.acts["die:A"] = raising(RuntimeError("on purpose"))
    worker.acts["quit:A"] = raising(StopWork())
    for job, schedule, code in (
        ("time:A", f"AT:{FUTURE}", "TML"),
        ("rule:A", "RRULE:FREQ=DAILY", "TML"),
        ("bad:A", "garbage", "BAD"),
        ("stop:A", "STOP", "STP"),
        ("run:A", "NOW", "ENQ"),
    ):
        bike.set(job, schedule)
        assert note(job) == code
    bike.work()
    assert note("run:A") == "STP"
    for job, code in (("die:A", "DIE"), ("quit:A", "STP")):
        bike.set(job, "CONTINUE")
        bike.work()
        assert note(job) == code
    bike.set("due:A", f"AT:{PAST}")
    bike.dispatch()
    assert note("due:A") == "ENQ"
    assert set(seen) == {"TML", "ENQ", "BAD", "WRK", "STP", "DIE"}


# A4: collisions


class Fixed(RoundRobin):
    """A worker whose jobs say their queue before the colon."""

    def __init__(self, *names: str) -> None:
        super().__init__("")
        self._names = list(names)

    def queue_names(self) -> list[str]:
        return self._names

    def queue_for(self, jobid: str) -> str:
        return jobid.partition(":")[0]


class OneQueue(Fixed):
    """A worker that puts everything into the first of its queues."""

    def queue_for(self, jobid: str) -> str:  # noqa: ARG002 - the protocol
        return self._names[0]


@pytest.mark.parametrize(
    ("worker", "job"),
    [
        (RoundRobin("A"), "members"),  # the run tag is the member set of work-members
        (RoundRobin("members"), "members"),
        (OneQueue("jobs"), "members"),
        (OneQueue("jobs", "jobs-x"), "x"),  # the run tag is the other list
        (OneQueue("jobs", "jobs-x"), "x-members"),  # ... or its member set
        (RoundRobin("A:A-A"), "A-A"),  # the list is the run tag of job A
    ],
)
def test_colliding_job_id(fleet: Fleet, worker: RoundRobin, job: str) -> None:
    """A4: a job id that would make two keys one is refused by an error that names it, by every way in, and nothing is
    written."""
    bike = fleet(worker)
    ways_in: list[Callable[[], object]] = [lambda: bike.set(job, "CONTINUE"), lambda: bike.enqueue(job)]
    for way_in in ways_in:
        with pytest.raises(JobIdError, match=repr(job)) as error:
            way_in()
        assert "\n" not in str(error.value)
    assert state(bike.redis, bike.prefix) == {}


@pytest.mark.parametrize("job", ["members:A", "A", "schedules", "control:A", "x-members:A", "memo", "bell:A"])
def test_harmless_job_id(bike: Redbike, job: str) -> None:
    """A4: a job id that only looks like a key, and collides with none, is accepted and runs beside others."""
    bike = Redbike(
        Recorder("A:memo:schedules"),
        bike.prefix,
        {"unix_socket_path": bike._link.where},
        timefile=bike.timefile,
    )
    with bike:
        bike.control("HALT")
        for jobid in (job, "other:A"):
            bike.set(jobid, "NOW")
        for _ in range(6):
            bike.work()
        assert sorted(bike.worker.done) == sorted([job, "other:A"])  # type: ignore[attr-defined]


# A5: flush


def busy(bike: Redbike) -> None:
    """Bring about every kind of key that there is."""
    for job, schedule in (("n:A", "NOW"), ("c:A", "CONTINUE"), ("r:A", "RRULE:FREQ=DAILY"), ("b:A", "garbage")):
        bike.set(job, schedule)
    assert next(bike.consumer)[0] == "n:A"
    bike.control("HALT")


@pytest.mark.parametrize("other", ["{}-benchmark", "{}-work-A-x", "{}x", "{}-", "x{}", "{}-schedules", "{}:bell"])
def test_flush_leaves_other_prefixes(fleet: Fleet, bike: Redbike, other: str) -> None:
    """A5: flushing a prefix leaves alone a prefix that begins like it, with its queues, run tags and all."""
    neighbour = fleet(prefix=other.format(bike.prefix))
    busy(neighbour)
    before = {key: held for key, held in whole_server(bike.redis).items() if bike.prefix in key}
    busy(bike)
    assert bike.flush() > 0
    assert {key: held for key, held in whole_server(bike.redis).items() if bike.prefix in key} == before


def test_flush_deletes_everything(bike: Redbike) -> None:
    """A5: flush leaves no key of the prefix, and returns how many there were."""
    busy(bike)
    keys = [key for key in whole_server(bike.redis) if key.startswith((f"{bike.prefix}-", f"{bike.prefix}:"))]
    assert len(keys) >= 7
    assert bike.flush() == len(keys)
    assert not [key for key in whole_server(bike.redis) if key.startswith(bike.prefix)]
    assert bike.flush() == 0


@pytest.mark.parametrize("prefix_form", ["{}*", "{}[a]", "{}?", "{}\\"])
def test_flush_takes_a_prefix_literally(fleet: Fleet, bike: Redbike, prefix_form: str) -> None:
    """A5: characters in a prefix that mean something in a pattern mean nothing to flush."""
    odd = fleet(prefix=prefix_form.format(bike.prefix))
    busy(odd)
    neighbour = fleet(prefix=f"{bike.prefix}a")
    busy(neighbour)
    before = state(neighbour.redis, neighbour.prefix)
    odd.flush()
    assert state(neighbour.redis, neighbour.prefix) == before
    assert state(odd.redis, odd.prefix) == {}


@pytest.mark.parametrize("key", ["-schedules", "-statuses", "-timeline", "-work-A"])
def test_flush_gets_rid_of_wrong_types(bike: Redbike, key: str) -> None:
    """A5: a key that somebody made with a wrong type is deleted by flush like the rest."""
    busy(bike)
    bike.redis.delete(bike.prefix + key)
    bike.redis.set(bike.prefix + key, "wrong")
    bike.flush()
    assert state(bike.redis, bike.prefix) == {}


# A6: hash tags


def test_everything_in_one_slot(bike: Redbike, fleet: Fleet) -> None:
    """A6: with a hash tag as prefix, every key is in the slot of that tag, whatever braces a job id has."""
    tagged = fleet(prefix=f"{{{bike.prefix}}}")
    busy(tagged)
    tagged.clear_control()
    tagged.set("{other}:A", "NOW")
    tagged.set("}{:A", "NOW")
    while next(tagged.consumer)[0] is not None:
        pass
    keys = [key for key in whole_server(bike.redis) if bike.prefix in key]
    assert any("-work-A-{other}:A" in key for key in keys)
    assert {key[: key.index("}") + 1] for key in keys} == {f"{{{bike.prefix}}}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[int]]:
    """The ports of the two nodes of a Redis Cluster, which have half of the slots each."""
    ports, buses = [free_port(), free_port()], [free_port(), free_port()]
    nodes = [
        Server("--cluster-enabled", "yes", "--bind", "127.0.0.1", "--port", str(port), "--cluster-port", str(bus))
        for port, bus in zip(ports, buses, strict=True)
    ]
    clients = [node.client() for node in nodes]
    for client, slots in zip(clients, ((0, 8191), (8192, 16383)), strict=True):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
    clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1], buses[1])
    for client in clients:
        eventually(lambda client=client: is_whole(client))  # type: ignore[misc]
        client.close()
    yield ports
    for node in nodes:
        node.remove()


def is_whole(client: redis.Redis) -> bool:
    info: Any = client.execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", "2")


@pytest.mark.parametrize("tag", ["{myapp}", "{other}-shop"])
def test_works_on_a_cluster(cluster: list[int], fleet: Fleet, running: Running, tag: str) -> None:
    """A6: on a Redis Cluster of two nodes, everything works with a hash tag in the prefix, whichever of them has it."""
    worker = Recorder("A:B")
    at: dict[str, Any] = {
        "prefix": tag,
        "redis_config": {"cluster": True, "host": "127.0.0.1", "port": cluster[0]},
    }
    bike = fleet(worker, **at)
    path = fleet.folder / "schedules.csv"
    path.write_text("csv:A,NOW\ncsv:B,CONTINUE\nbad:A,garbage\n")
    worker.acts["csv:B"] = lambda: 3600
    bike.set("due:B", f"AT:{PAST}")
    bike.set("rule:B", "RRULE:FREQ=DAILY")
    bike.set("gone:A", "CONTINUE")
    bike.unset("gone:A")
    bike.control("HALT")
    bike.dispatch(csvfilename=path)
    for _ in range(6):
        bike.work()
    assert sorted(worker.done) == ["csv:A", "csv:B", "due:B"]
    assert sorted(event for _, event, _ in bike.get_statuses()) == ["BAD", "STP", "STP", "TML", "TML"]
    assert len(dict(bike.get_schedules())) == 5
    assert bike.tell("csv:A")["schedule"] == "STOP"

    bike.clear_control()
    running(lambda stop: fleet(worker, stop_event=stop, **at).work)
    running(lambda stop: fleet(stop_event=stop, **at).dispatch)
    bike.set("later:B", f"AT:{unix_now(bike.redis) + 0.2:.3f}")
    eventually(lambda: "later:B" in worker.done)
    halt_at_once(bike)
    assert bike.flush() > 4
    assert dict(bike.get_schedules()) == {}

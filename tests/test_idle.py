"""What an idle fleet costs, and how soon it wakes. The server counts the commands, those inside scripts included."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from conftest import Fleet, Recorder, Server
from helpers import idle_loops, server_now
from nodes import eventually
from threads import Loops

from redbike import Redbike
from redbike.store.keys import Keys

WATCHED_S = 2.0
PROMPT_S = 0.5  # a few milliseconds on an idle machine; a poll comes after up to a second


@pytest.fixture
def quiet(prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet on a server that receives no other commands."""
    server = Server()
    fleet = Fleet(server, prefix, tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.close()
    server.remove()


def calls(bike: Redbike) -> Counter[str]:
    stats = bike.redis.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()})


def spent(bike: Redbike, seconds: float = WATCHED_S) -> Counter[str]:
    """Return the commands that the server carries out in so many seconds, without ours."""
    before = calls(bike)
    threading.Event().wait(seconds)
    after = calls(bike)
    after.subtract(before)
    for ours in ("info", "client|list"):
        after.pop(ours, None)
    return +after


@pytest.mark.parametrize(
    ("kinds", "number"), [(["dispatch"], 1), (["work"], 1), (["dispatch", "work", "work", "work"], 4)]
)
def test_an_idle_fleet_sends_three_commands_a_second_each(quiet: Fleet, kinds: list[str], number: int) -> None:
    """Idle cost: an idle dispatcher or worker sends at most three commands per second."""
    with Loops(quiet) as loops:
        for kind in kinds:
            getattr(loops, kind)(Recorder("A:B:C"))
        bike = quiet()
        bike.now()  # loads the script by which a dispatcher asks for the time
        bike.set("far:A", "AT:4000000000")
        eventually(lambda: idle_loops(bike.redis) == number)
        eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive) == number)  # the first heartbeats cost more
        time.sleep(0.1)  # the wake-up call of the job that was just set
        sent = spent(bike)
    assert sent.total() <= 3 * number * (WATCHED_S + 0.5), sent


def test_an_idle_worker_of_many_queues_costs_no_more(quiet: Fleet) -> None:
    """Idle cost: it does not grow with the number of queues."""
    with Loops(quiet) as loops:
        loops.work(Recorder(":".join(f"Q{n}" for n in range(50))))
        bike = quiet()
        eventually(lambda: idle_loops(bike.redis) == 1)
        eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive) == 1)  # the first heartbeat costs more
        sent = spent(bike, 1.0)
    assert sent.total() <= 3 * 1.5, sent


def test_a_running_job_that_is_due_again_does_not_keep_the_dispatcher_busy(quiet: Fleet) -> None:
    """Idle cost: a due job that still runs is checked once per second."""
    bike = quiet()
    bike.set("j:A", "CONTINUE")
    next(bike.consumer)
    bike.set("j:A", "NOW")
    with Loops(quiet) as loops:
        loops.dispatch()
        eventually(lambda: idle_loops(bike.redis) == 1)
        sent = spent(bike)
        assert bike.redis.zscore(bike.timeline_key, "j:A") is not None
    assert sent["evalsha"] <= 3 * (WATCHED_S + 1), sent


def test_one_job_wakes_one_worker(quiet: Fleet) -> None:
    """Idle cost: one queued job wakes one of several idle workers; the others stay idle."""
    workers = [Recorder() for _ in range(5)]
    with Loops(quiet) as loops:
        for worker in workers:
            loops.work(worker)
        bike = quiet()
        bike.set("warm-up:A", "NOW")
        eventually(lambda: sum(len(worker.done) for worker in workers) == 1)
        eventually(lambda: idle_loops(bike.redis) == 5)
        woken = 0
        for n in range(5):
            before = calls(bike)["evalsha"]
            bike.set(f"{n}:A", "NOW")
            eventually(lambda n=n: sum(len(worker.done) for worker in workers) == n + 2)
            eventually(lambda: idle_loops(bike.redis) == 5)
            # One call to set the job, one to take it, one to end it; a poll at this moment may be one more.
            woken += calls(bike)["evalsha"] - before - 3
    assert woken <= 5


def test_a_job_starts_at_once(fleet: Fleet, loops: Loops) -> None:
    """Waiting: an idle worker starts a queued job long before its wait would have ended."""
    worker, started = Recorder(), threading.Event()
    worker.acts["j:A"] = started.set
    loops.work(worker)
    bike = fleet()
    took = [latency(started, lambda: bike.set("j:A", "NOW")) for _ in range(5)]
    assert sorted(took)[2] < PROMPT_S / 5, took
    assert max(took) < PROMPT_S, took


def latency(started: threading.Event, cause: Callable[[], object]) -> float:
    """Return the seconds from the call to the start of the job."""
    started.clear()
    began = time.monotonic()
    cause()
    assert started.wait(10)
    return time.monotonic() - began


def test_a_due_job_starts_on_time(fleet: Fleet, loops: Loops) -> None:
    """Waiting: a job on the timeline starts when it is due, not before, and not only when the dispatcher polls."""
    worker, started = Recorder(), threading.Event()
    began: list[float] = []

    def act() -> None:
        began.append(server_now(bike))
        started.set()

    worker.acts["j:A"] = act
    bike = fleet()
    loops.work(worker)
    loops.dispatch()
    late = []
    for ahead in (0.15, 0.4, 0.05):
        due_at = server_now(bike) + ahead
        started.clear()
        bike.set("j:A", f"AT:{due_at:.3f}")
        assert started.wait(10)
        late.append(began[-1] - due_at)
    assert min(late) > -0.002, late
    assert max(late) < PROMPT_S, late


def test_an_earlier_job_wakes_the_dispatcher(fleet: Fleet, loops: Loops) -> None:
    """Waiting: a dispatcher that waits for a later job is woken for a job that is due sooner."""
    worker, started = Recorder(), threading.Event()
    worker.acts["soon:A"] = started.set
    bike = fleet()
    bike.set("later:A", f"AT:{server_now(bike) + 0.9}")
    loops.work(worker)
    loops.dispatch()
    eventually(lambda: idle_loops(bike.redis) >= 2)
    assert latency(started, lambda: bike.set("soon:A", "AT:1")) < PROMPT_S
    assert worker.done == ["soon:A"]


def test_many_jobs_wake_many_workers(fleet: Fleet, loops: Loops) -> None:
    """Waiting: jobs that are queued together are run by all idle workers at the same time; each wakes the next."""
    together = threading.Barrier(4)
    workers = [Recorder() for _ in range(4)]
    jobids = [f"{n}:A" for n in range(4)]
    for worker in workers:
        worker.acts |= dict.fromkeys(jobids, lambda: together.wait(10))
        loops.work(worker)
    bike = fleet()
    eventually(lambda: idle_loops(bike.redis) >= 4)
    for jobid in jobids:
        bike.set(jobid, "NOW")
    eventually(lambda: sum(len(worker.done) for worker in workers) == 4 and not together.broken)
    eventually(lambda: all(not bike.is_working(jobid) for jobid in jobids))


@pytest.mark.parametrize("kind", ["list", "timeline"])
def test_what_others_write_is_noticed_within_a_second(fleet: Fleet, loops: Loops, kind: str) -> None:
    """A1: a job that another program puts into a queue or onto the timeline, without a call, starts within a second."""
    worker, started = Recorder(), threading.Event()
    worker.acts["j:A"] = started.set
    loops.work(worker)
    loops.dispatch()
    bike = fleet()
    eventually(lambda: idle_loops(bike.redis) >= 2)

    def write() -> None:
        bike.redis.hset(bike.schedules_key, "j:A", "STOP")
        if kind == "list":
            bike.redis.lpush(f"{bike.prefix}-work-A", "j:A")
            bike.redis.sadd(f"{bike.prefix}-work-A-members", "j:A")
        else:
            bike.redis.zadd(bike.timeline_key, {"j:A": 1})

    assert latency(started, write) < 2 + PROMPT_S


@pytest.mark.parametrize("whose", ["foreign", "own"])
def test_only_idle_workers_of_the_prefix_are_counted(quiet: Fleet, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    """Idle cost: workers rely on a dispatcher's queue monitor if many workers of their prefix are idle, whatever else
    is blocked.
    """
    monkeypatch.setattr("redbike.engine.monitor._FIRST_OFFER_AFTER_S", 1.5)
    bike = quiet()
    foreign = [quiet.server.client() for _ in range(20 if whose == "foreign" else 0)]  # type: ignore[attr-defined]
    blocked = [threading.Thread(target=one.blpop, args=(["elsewhere"],)) for one in foreign]
    for thread in blocked:
        thread.start()
    watch_key = Keys(quiet.prefix).watch(bike.queue_for("j:A"))
    with Loops(quiet) as loops:
        for _ in range(2 if whose == "foreign" else 17):
            loops.work()
        eventually(lambda: idle_loops(bike.redis) == (22 if whose == "foreign" else 17))
        eventually(lambda: bike.redis.scard(Keys(quiet.prefix).idle) == (2 if whose == "foreign" else 17))
        loops.dispatch()
        eventually(lambda: bike.redis.scard(Keys(quiet.prefix).idle) == 0)  # they were counted
        if whose == "own":
            eventually(lambda: bike.redis.exists(watch_key))
        else:
            threading.Event().wait(0.3)  # the key must not come, for which there is no condition
            assert not bike.redis.exists(watch_key)
    for _ in foreign:
        bike.redis.lpush("elsewhere", "x")
    for thread in blocked:
        thread.join(5)
    for one in foreign:
        one.close()

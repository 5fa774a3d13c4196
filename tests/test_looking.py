"""F: looking at jobs, one or all, and forgetting them."""

import json
import re
import time
import tracemalloc

import pytest
from conftest import Fleet, Recorder
from helpers import HOURLY, server_now
from nodes import eventually
from threads import Loops

from redbike import Redbike
from redbike.errors import RedbikeError

UNKNOWN = {"status": None, "next_run": None, "schedule": None, "working": False}
MANY = 30_000  # jobs: thirty pages


def commands(bike: Redbike) -> dict[str, int]:
    """Return the number of calls of each command on this server."""
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in bike.redis.info("commandstats").items()}


# F1


def test_tell_of_an_unknown_job(bike: Redbike) -> None:
    """F1: for an unknown job, `tell` returns only None and False, in the order of the contract."""
    told = bike.tell("nobody:A")
    assert told == UNKNOWN
    assert list(told) == ["status", "next_run", "schedule", "working"]
    assert told["working"] is False


@pytest.mark.parametrize(
    ("schedule", "event", "next_run", "registered"),
    [
        ("NOW", "ENQ", None, "STOP"),
        ("CONTINUE", "ENQ", None, "CONTINUE"),
        ("AT:4000000000", "TML", 4000000000, "STOP"),
        ("AT:4000000000.25", "TML", 4000000000.25, "STOP"),
        ("STOP", "STP", None, "STOP"),
        ("RRULE:FREQ=DAILY;COUNT=1", "STP", None, "RRULE:FREQ=DAILY;COUNT=1"),
        ("gibberish", "BAD", None, "gibberish"),
    ],
)
def test_tell_of_a_job(bike: Redbike, schedule: str, event: str, next_run: float | None, registered: str) -> None:
    """F1: `tell` returns the status with its time, the next run in Unix seconds, the schedule, and whether the job
    runs.
    """
    before = int(server_now(bike))
    bike.set("j:A", schedule)
    told = bike.tell("j:A")
    assert told["status"] is not None
    assert re.fullmatch(rf"{event}:\d+", told["status"])
    assert before <= int(told["status"][4:]) <= int(server_now(bike))
    assert {**told, "status": ""} == {
        "status": "",
        "next_run": next_run,
        "schedule": registered,
        "working": False,
    }


def test_next_run_is_a_whole_number_where_it_is_one(bike: Redbike) -> None:
    """F1: whole seconds are an int, so that JSON shows them without a fraction."""
    bike.set("j:A", "AT:4000000000")
    assert json.dumps(bike.tell("j:A")["next_run"]) == "4000000000"


def test_tell_of_a_running_job(bike: Redbike) -> None:
    """F1: while a job runs, `working` is true, until its end or its timeout."""
    bike.set("j:A", "CONTINUE")
    next(bike.consumer)
    assert bike.tell("j:A")["working"] is True
    assert bike.is_working("j:A") is True
    bike.redis.pexpire(f"{bike.prefix}-work-A-j:A", 1)
    eventually(lambda: bike.tell("j:A")["working"] is False)
    assert bike.is_working("j:A") is False


def test_tell_reads_what_others_wrote(bike: Redbike) -> None:
    """F1: entries of another program are returned as they are, odd bytes as lone surrogates."""
    bike.redis.hset(bike.schedules_key, "j:A", b"caf\xe9")
    bike.redis.hset(bike.statuses_key, "j:A", "TML:12")
    bike.redis.zadd(bike.timeline_key, {"j:A": 99})
    assert bike.tell("j:A") == {"status": "TML:12", "next_run": 99, "schedule": "caf\udce9", "working": False}


def test_telling_changes_nothing(bike: Redbike) -> None:
    """F1: `tell`, lists and questions leave no key behind."""
    bike.tell("j:A")
    bike.is_working("j:A")
    bike.is_halted()
    assert list(bike.get_statuses()) == []
    assert list(bike.get_schedules()) == []
    assert bike.redis.keys(f"{bike.prefix}*") == []


# F2


def test_get_statuses_yields_triples(bike: Redbike) -> None:
    """F2: job id, event and timestamp of each job, as text, text and int."""
    bike.set("a:A", "NOW")
    bike.set("ü,b:A", "STOP")
    bike.set("c:A", "nonsense")
    found = sorted(bike.get_statuses())
    assert [(jobid, event) for jobid, event, _ in found] == [("a:A", "ENQ"), ("c:A", "BAD"), ("ü,b:A", "STP")]
    assert all(type(timestamp) is int and abs(timestamp - int(server_now(bike))) <= 1 for _, _, timestamp in found)


@pytest.mark.parametrize(
    ("before", "found"),
    [(99, []), (100, ["a:A"]), (100.5, ["a:A"]), (199, ["a:A"]), (200, ["a:A", "b:A"]), (5_000_000_000, None)],
)
def test_get_statuses_before_a_time(bike: Redbike, before: float, found: list[str] | None) -> None:
    """F2: `get_statuses` yields only statuses with a timestamp of at most `before`."""
    stamps = {"a:A": 100, "b:A": 200, "later:A": 4_999_999_999}
    bike.redis.hset(bike.statuses_key, mapping={jobid: f"STP:{stamp}" for jobid, stamp in stamps.items()})
    jobids = sorted(jobid for jobid, _, _ in bike.get_statuses(before=before))
    assert jobids == (sorted(stamps) if found is None else found)
    assert sorted(jobid for jobid, _, _ in bike.get_statuses(before)) == jobids


def test_get_statuses_goes_up_to_now(bike: Redbike) -> None:
    """F2: without `before`, a status with a future time is left out, and a status of the present second is not."""
    bike.set("now:A", "STOP")
    bike.redis.hset(bike.statuses_key, "future:A", f"TML:{int(server_now(bike)) + 3600}")
    assert [jobid for jobid, _, _ in bike.get_statuses()] == ["now:A"]


def test_a_status_that_cannot_be_read_is_reported(bike: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """F2: a status that is not `EVENT:TIMESTAMP` is reported with its job, and the others are listed."""
    bad = {"b1:A": "TML", "b2:A": "TML:soon", "b3:A": b"\xff\xfe", "b4:A": "", "b5:A": "TML:-4"}
    bike.redis.hset(bike.statuses_key, mapping={"good:A": "STP:100", **bad})
    assert list(bike.get_statuses()) == [("good:A", "STP", 100)]
    assert len(caplog.records) == len(bad)
    assert all(any(repr(jobid) in message for message in caplog.messages) for jobid in bad)


# F3


def test_get_schedules_gives_pairs(bike: Redbike) -> None:
    """F3: `get_schedules` yields job id and schedule text of every registered job, unchanged."""
    texts = {"a:A": "CONTINUE", "b:A": HOURLY, "ü:A": "STOP", "d,\"':A": "no such, schedule"}
    for jobid, text in texts.items():
        bike.set(jobid, text)
    pairs = list(bike.get_schedules())
    assert dict(pairs) == texts
    assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
    assert dict(bike.get_schedules()) == texts, "and can be asked for again"


def test_bytes_that_are_not_utf8_do_not_stop_a_listing(bike: Redbike) -> None:
    """F3: ids and texts in odd bytes are listed as lone surrogates, which can be turned back into the bytes."""
    bike.redis.hset(bike.schedules_key, b"caf\xe9:A", b"\xff")
    ((jobid, text),) = bike.get_schedules()
    assert jobid.encode("utf-8", "surrogateescape") == b"caf\xe9:A"
    assert text.encode("utf-8", "surrogateescape") == b"\xff"


# F4


def fill(bike: Redbike) -> None:
    pipeline = bike.redis.pipeline(transaction=False)
    for start in range(0, MANY, 5000):
        jobids = [f"job number {n}:A" for n in range(start, start + 5000)]
        pipeline.hset(bike.schedules_key, mapping=dict.fromkeys(jobids, HOURLY))
        pipeline.hset(bike.statuses_key, mapping=dict.fromkeys(jobids, "TML:100"))
    pipeline.execute()


def test_listing_reads_in_pages(bike: Redbike) -> None:
    """F4: a long listing is complete, comes page by page, and never uses a command that reads a whole hash."""
    fill(bike)
    before = commands(bike)
    assert len({jobid for jobid, _ in bike.get_schedules()}) == MANY
    assert len({jobid for jobid, _, _ in bike.get_statuses()}) == MANY
    used = {name for name, calls in commands(bike).items() if calls > before.get(name, 0)}
    assert not used & {"hgetall", "hkeys", "hvals", "keys"}
    pages = commands(bike)["hscan"] - before.get("hscan", 0)
    assert MANY / 5000 <= pages <= 2 * MANY / 100


def test_listing_fills_no_memory(bike: Redbike) -> None:
    """F4: a long listing never holds more than some pages in memory."""
    fill(bike)
    tracemalloc.start()
    try:
        for _ in bike.get_schedules():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000, "all of it would be well above that"


def test_the_first_page_comes_at_once(bike: Redbike) -> None:
    """F4: the first job of a long listing is yielded after one page."""
    fill(bike)
    before = commands(bike).get("hscan", 0)
    next(iter(bike.get_schedules()))
    next(iter(bike.get_statuses()))
    assert commands(bike)["hscan"] - before == 2


def test_a_listing_outlives_changes(bike: Redbike) -> None:
    """F4: jobs that stay while others come and go during a listing are all listed."""
    fill(bike)
    seen = set()
    for n, (jobid, _) in enumerate(bike.get_schedules()):
        seen.add(jobid)
        if n % 1000 == 0:
            bike.set(f"new {n}:A", "CONTINUE")
            bike.unset(f"new {n - 1000}:A")
    assert {f"job number {n}:A" for n in range(MANY)} <= seen


# F5


@pytest.mark.parametrize("schedule", ["NOW", "CONTINUE", "AT:4000000000", HOURLY, "STOP", "bad"])
def test_unset_removes_every_trace(bike: Redbike, schedule: str) -> None:
    """F5: `unset` removes schedule, status, timeline entry, queue entry and membership."""
    bike.set("j:A", schedule)
    bike.unset("j:A")
    assert bike.tell("j:A") == UNKNOWN
    assert {key for key in bike.redis.keys(f"{bike.prefix}*") if b":bell:" not in key and b":memo:" not in key} == set()


def test_unset_leaves_the_others_alone(bike: Redbike) -> None:
    """F5: the jobs before and behind the unset job keep their places in the queue."""
    for jobid in ("1:A", "2:A", "3:A"):
        bike.set(jobid, "CONTINUE")
    bike.unset("2:A")
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"3:A", b"1:A"]
    assert bike.redis.smembers(f"{bike.prefix}-work-A-members") == {b"1:A", b"3:A"}
    assert dict(bike.get_schedules()) == {"1:A": "CONTINUE", "3:A": "CONTINUE"}


@pytest.mark.parametrize("times", [1, 2])
def test_unset_of_an_unknown_job_is_nothing(bike: Redbike, times: int) -> None:
    """F5: unsetting an unknown job, or a job twice, is no error."""
    bike.set("j:A", "NOW")
    for _ in range(times):
        bike.unset("nobody:A")
        assert bike.unset("j:A") is None  # type: ignore[func-returns-value]


def test_a_running_job_completes_and_leaves_nothing(fleet: Fleet, worker: Recorder) -> None:
    """F5: a run during which its job is unset keeps its tag to the end, and then nothing is left."""
    bike = fleet(worker)
    bike.control("HALT")
    working: list[bool] = []

    def act() -> float:
        bike.unset("j:A")
        working.append(bike.is_working("j:A"))
        return 5

    worker.acts["j:A"] = act
    bike.set("j:A", "CONTINUE")
    bike.work()
    assert working == [True]
    assert bike.tell("j:A") == UNKNOWN
    assert bike.redis.keys(f"{bike.prefix}-*") == [bike.control_key.encode()]


@pytest.mark.parametrize("schedule", ["NOW", "CONTINUE", "AT:1"])
def test_a_job_set_again_after_unset_runs_again(fleet: Fleet, loops: Loops, schedule: str) -> None:
    """F5: a queued job that was unset and set again runs: its old place in the queue does not prevent this."""
    worker = Recorder()
    worker.acts["j:A"] = lambda: 60
    bike = fleet(worker)
    bike.set("j:A", "CONTINUE")
    bike.unset("j:A")
    bike.set("j:A", schedule)
    loops.work(worker)
    loops.dispatch()
    eventually(lambda: worker.done == ["j:A"])


def test_a_job_set_again_during_its_run_after_unset_lives(fleet: Fleet, worker: Recorder) -> None:
    """F5: a job unset and set again while it runs does not start twice, and its new schedule decides."""
    bike = fleet(worker)
    bike.control("HALT")

    def act() -> None:
        bike.unset("j:A")
        bike.set("j:A", "CONTINUE")
        assert bike.redis.llen(f"{bike.prefix}-work-A") == 0

    worker.acts["j:A"] = act
    bike.set("j:A", "NOW")
    bike.work()
    assert bike.tell("j:A")["schedule"] == "CONTINUE"
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"j:A"]
    assert bike.redis.zcard(bike.timeline_key) == 0


def test_unset_finds_its_job_in_a_long_queue(bike: Redbike) -> None:
    """F5: a queue entry behind tens of thousands of others is removed as well."""
    key = f"{bike.prefix}-work-A"
    others = [f"{n}:A" for n in range(MANY)]
    bike.set("j:A", "CONTINUE")
    bike.redis.lpush(key, *others)
    bike.redis.sadd(f"{key}-members", *others)
    bike.unset("j:A")
    assert bike.redis.lpos(key, "j:A") is None
    assert bike.redis.llen(key) == MANY


def test_looking_at_a_wrong_type_is_one_clear_error(bike: Redbike) -> None:
    """F1: if another program put a wrong type under one of our keys, the error is a RedbikeError of one line."""
    bike.redis.set(bike.schedules_key, "no hash")
    for look in (lambda: bike.tell("j:A"), lambda: list(bike.get_schedules()), lambda: bike.set("j:A", "NOW")):
        with pytest.raises(RedbikeError) as raised:
            look()
        assert "\n" not in str(raised.value)


def test_looking_is_quick(bike: Redbike) -> None:
    """F1: `tell` takes no longer if there are very many jobs."""
    fill(bike)
    bike.tell("job number 7:A")
    began = time.monotonic()
    for _ in range(20):
        bike.tell("job number 7:A")
    assert time.monotonic() - began < 0.5

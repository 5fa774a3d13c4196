"""`get_lost` and `redbike lost`: which jobs should run again but are in no place, and how they are put back."""

import csv
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from failures import JOB
from helpers import EXHAUSTED, FUTURE, HOUR_S, HOURLY, raising, server_now, state_of

from redbike import Redbike, RoundRobin
from redbike.cli import main

# redbike lost


@pytest.fixture
def mixed(fleet: Fleet, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Redbike:
    """Jobs in every place. Three are lost: it died, its worker died, or another program wrote it."""
    worker = Recorder("A:B:C")
    bike = fleet(worker)
    bike.control("HALT")
    worker.acts["died:A"] = worker.acts["died once:A"] = raising(ValueError())
    for jobid, schedule in (("died:A", "CONTINUE"), ("died once:A", "NOW")):
        bike.set(jobid, schedule)
        next_turn(bike, worker, jobid)
    bike.set("killed:B", HOURLY)
    bike.enqueue("killed:B")
    bike.redis.zrem(bike.timeline_key, "killed:B")
    while next(bike.consumer)[0] != "killed:B":
        pass
    bike.redis.delete(f"{bike.prefix}-work-B-killed:B")
    bike.redis.hset(bike.schedules_key, "written:A", HOURLY)
    bike.set("working:C", "CONTINUE")
    while next(bike.consumer)[0] != "working:C":
        pass
    live = ("queued:A", "CONTINUE"), ("now:A", "NOW"), ("hourly:A", HOURLY), ("stopped:A", "STOP"), ("bad:A", "x")
    for jobid, schedule in (*live, ("at:A", f"AT:{FUTURE}"), ("over:A", EXHAUSTED)):
        bike.set(jobid, schedule)
    bike.redis.hset(bike.schedules_key, "old one-off:A", "NOW")
    monkeypatch.chdir(tmp_path)
    connection = "".join(f"{name}: {value}\n" for name, value in server.config.items())
    Path(".redbike.conf").write_text(f"[redbike]\nprefix: {bike.prefix}\n[redbike-redis]\n{connection}")
    return bike


def next_turn(bike: Redbike, worker: Recorder, jobid: str) -> None:
    while jobid not in worker.done:
        bike.work()


LOST = {"died:A": "DIE", "killed:B": "WRK", "written:A": ""}
BAD = {"bad:A": "BAD"}


def test_lost_finds_jobs_in_no_place(mixed: Redbike) -> None:
    """`get_lost` yields the jobs in no place that should run again, and BAD jobs, with their last event."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    found = list(mixed.get_lost())
    assert {jobid: event for jobid, event, _ in found} == LOST | BAD
    now = server_now(mixed)
    for _, last, timestamp in found:
        assert timestamp == 0 if last == "" else now - 5 < timestamp <= now


def test_lost_up_to_a_time(mixed: Redbike) -> None:
    """`before` leaves out jobs with a later event."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    mixed.redis.hset(mixed.statuses_key, "died:A", "DIE:1000")
    assert {jobid for jobid, *_ in mixed.get_lost(before=1000)} == {"died:A", "written:A"}
    assert {jobid for jobid, *_ in mixed.get_lost(before=999)} == {"written:A"}


def test_reset_puts_back_what_is_lost(mixed: Redbike, capsys: pytest.CaptureFixture[str]) -> None:
    """`redbike lost --reset` prints the lost jobs as CSV and reschedules exactly these. BAD jobs stay as they are."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    before = state_of(mixed)
    assert main(["lost"]) == 0
    listed = capsys.readouterr().out
    assert {row[0]: row[1] for row in csv.reader(listed.splitlines())} == LOST | BAD
    assert state_of(mixed) == before, "looking changes nothing"
    assert main(["lost", "--reset"]) == 0
    printed = capsys.readouterr()
    assert sorted(printed.out.splitlines()) == sorted(line for line in listed.splitlines() if ",BAD," not in line)
    assert printed.err == "redbike: job 'bad:A' is BAD and cannot be reset: set it again\n"
    after = state_of(mixed)
    assert set(after["-work-A"]) - set(before["-work-A"]) == {"died:A"}
    put_back = {jobid for jobid in after["-timeline"] if jobid not in before["-timeline"]}
    assert put_back == {"killed:B", "written:A"}
    assert all(after["-timeline"][jobid] % HOUR_S == 0 for jobid in put_back)
    assert after["-schedules"] == before["-schedules"]
    untouched = set(before["-statuses"]) - set(LOST)
    assert {jobid: after["-statuses"][jobid] for jobid in untouched} == {
        jobid: before["-statuses"][jobid] for jobid in untouched
    }
    assert main(["lost", "--reset"]) == 0
    assert capsys.readouterr().out == ""
    assert state_of(mixed) == after


def test_reset_by_time(mixed: Redbike, capsys: pytest.CaptureFixture[str]) -> None:
    """`redbike lost --before --reset` reschedules only jobs that were lost by then."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    mixed.redis.hset(mixed.statuses_key, "died:A", "DIE:1000")
    assert main(["lost", "--before=1000", "--reset"]) == 0
    assert {row.partition(",")[0] for row in capsys.readouterr().out.splitlines()} == {"died:A", "written:A"}
    assert {jobid for jobid, *_ in mixed.get_lost()} == {"killed:B", "bad:A"}


@pytest.mark.parametrize(
    "jobid", ["queued:A", "now:A", "hourly:A", "stopped:A", "bad:A", "at:A", "over:A", "working:C"]
)
def test_reset_leaves_others_alone(mixed: Redbike, jobid: str) -> None:
    """`reset` of a job that is in a place, or has no further run, changes nothing and says so."""
    before = state_of(mixed)
    assert mixed.reset(jobid) is False
    assert mixed.reset("unknown:A") is False
    assert state_of(mixed) == before


def test_a_job_that_is_set_meanwhile_is_not_reset(fleet: Fleet) -> None:
    """`reset` uses the state at that moment: of two calls at the same time, one reschedules the job."""
    bike = fleet()
    bike.redis.hset(bike.schedules_key, JOB, "CONTINUE")
    [(lost, _, _)] = bike.get_lost()
    assert [bike.reset(lost), bike.reset(lost)] == [True, False]
    assert state_of(bike)["-work-A"] == [JOB]


def test_lost_in_pages(fleet: Fleet) -> None:
    """F4: thousands of jobs are checked in pages, with calls of limited size."""
    bike = fleet()
    numbers = range(5000)
    bike.redis.hset(bike.schedules_key, mapping={f"{n}:A": "CONTINUE" for n in numbers})
    bike.redis.zadd(bike.timeline_key, {f"{n}:A": FUTURE for n in numbers if n % 10})
    calls: list[int] = []
    scripts = bike._parts.store
    look = scripts.lost

    def counting(jobs: Any) -> Any:
        calls.append(len(jobs))
        return look(jobs)

    scripts.lost = counting  # type: ignore[method-assign]
    assert sorted(int(jobid[:-2]) for jobid, *_ in bike.get_lost()) == list(range(0, 5000, 10))
    assert max(calls) <= 1000
    assert len(calls) >= 5
    lost = bike.get_lost()
    assert next(lost)
    assert len(calls) < 2 * 5000 // max(calls), "a page is read when it is asked for"


def test_one_job_without_a_queue_does_not_hide_the_others(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """A2: a job for which `queue_for` fails is reported, and the other lost jobs are found."""

    class Picky(RoundRobin):
        def queue_for(self, jobid: str) -> str:
            if jobid == "odd":
                raise ValueError("not mine")
            return super().queue_for(jobid)

    bike = fleet(Picky("A"))
    bike.redis.hset(bike.schedules_key, mapping={"odd": "CONTINUE", JOB: "CONTINUE", b"\xff:A": "CONTINUE"})
    assert {jobid for jobid, *_ in bike.get_lost()} == {JOB, "\udcff:A"}
    assert any("'odd'" in message for message in caplog.messages)

"""What became of runs: the history, the last run of a job, and the heartbeats by which dead workers are found."""

import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from helpers import HOURLY, event, put, queued, raising, server_now, state_of, turns
from nodes import eventually
from processes import Site
from state import records
from threads import Loops

from redbike import ConfigError, Redbike, StopWork, UnsetJob
from redbike.engine import heartbeat, recovery
from redbike.engine.outcome import Outcome
from redbike.store.keys import Keys

JOB = "j:A"


def outcomes(bike: Redbike, jobid: str | None = None) -> list[str]:
    """Return the outcomes in the history, the oldest first."""
    return [record.outcome for record in bike.get_history(jobid)][::-1]


# the history


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (None, "done", ""),
        (StopWork(), "stopped", ""),
        (UnsetJob(), "unset", ""),
        (ValueError("no\nsuch   thing"), "failed", "ValueError: no such thing"),
        (KeyError("x" * 500), "failed", "KeyError: 'xxx"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
)
def test_a_record(halted: Redbike, worker: Recorder, error: BaseException | None, outcome: str, said: str) -> None:
    """A run leaves one record: job, due time, begin, end, outcome, attempt, worker, and an error of one short line."""
    if error is not None:
        worker.acts[JOB] = raising(error)
    at = round(server_now(halted)) - 10
    halted.set(JOB, f"AT:{at}")
    halted.dispatch()
    halted.work()
    [record] = halted.get_history()
    assert (record.jobid, record.due, record.outcome, record.attempt) == (JOB, at, outcome, 1)
    assert at < record.began <= record.ended <= server_now(halted)
    assert record.worker == f"{os.uname().nodename}:{os.getpid()}"
    assert record.error.startswith(said)
    assert len(record.error) <= 200
    assert record.outcome in list(Outcome)


def test_the_history_is_capped(fleet: Fleet) -> None:
    """The history holds about as many records as the setting says, and none with 0."""
    for most, least, upto in ((200, 200, 450), (0, 0, 0)):
        bike = fleet(history=most)
        bike.control("HALT")
        bike.set(JOB, "CONTINUE")
        turns(bike, 600)
        count = bike.redis.xlen(f"{bike.prefix}:history")
        assert least <= count <= upto, count
        bike.flush()


def test_a_record_is_small(halted: Redbike) -> None:
    """A record takes at most 200 bytes of Redis's memory."""
    halted.set(JOB, "CONTINUE")
    turns(halted, 1000)
    used: Any = halted.redis.memory_usage(f"{halted.prefix}:history", samples=0)
    assert used / 1000 <= 200


def test_choosing_records(halted: Redbike, worker: Recorder) -> None:
    """`get_history` yields the latest run first, and chooses by job, outcome and time."""
    worker.acts["bad:A"] = raising(ValueError("no"))
    for jobid in ("a:A", "bad:A", "b:A"):
        halted.set(jobid, "NOW")
        halted.work()
        time.sleep(0.01)
    assert [record.jobid for record in halted.get_history()] == ["b:A", "bad:A", "a:A"]
    assert [record.jobid for record in halted.get_history(outcome="failed")] == ["bad:A"]
    assert [record.jobid for record in halted.get_history("a:A")] == ["a:A"]
    since = next(halted.get_history("bad:A")).ended
    assert [record.jobid for record in halted.get_history(since=since)] == ["b:A", "bad:A"]


def test_foreign_records_are_skipped(halted: Redbike) -> None:
    """A2: an entry of the stream that another program wrote stops nobody."""
    halted.set(JOB, "NOW")
    halted.work()
    for fields in ({"x": "y"}, {"job": "j", "run": "done"}, {"job": b"\xff", "run": "done 1 x 2 3 4"}):
        halted.redis.xadd(f"{halted.prefix}:history", fields)  # type: ignore[arg-type]
    assert outcomes(halted) == ["done"]


def test_a_late_end_is_recorded(fleet: Fleet, loops: Loops) -> None:
    """A run that was lost is recorded once as lost, by one dispatcher, and its end as late."""
    for on_timeout in ("drop", "retry"):
        worker = Recorder()
        bike = fleet(worker, default_timeout=0.3, on_timeout=on_timeout, retries=1)
        worker.acts[JOB] = lambda: time.sleep(1.6)
        bike.set(JOB, HOURLY)
        bike.redis.delete(bike.timeline_key)
        bike.enqueue(JOB)
        for _ in range(2):
            loops.dispatch(default_timeout=0.3, on_timeout=on_timeout)
        loops.work(worker, default_timeout=0.3, on_timeout=on_timeout)
        eventually(lambda bike=bike: "late" in outcomes(bike), 10)
        loops.stop()
        lost = [record for record in bike.get_history() if record.outcome == "lost" and record.attempt == 1]
        assert len(lost) == 1
        assert "no end was reported within its timeout" in lost[0].error
        if on_timeout == "drop":
            assert outcomes(bike) == ["lost", "late"]
            assert event(bike, JOB) == "WRK"
            assert [jobid for jobid, *_ in bike.get_lost()] == [JOB]
        bike.flush()


# the last run


def test_the_last_run(halted: Redbike, worker: Recorder) -> None:
    """The last run of a job counts its runs and the failures in a row, and is gone with `unset`."""
    acts = iter([raising(ValueError("one")), raising(ValueError("two")), lambda: None, raising(ValueError("three"))])
    worker.acts[JOB] = lambda: next(acts)()
    halted.set(JOB, "CONTINUE")
    seen = []
    for _ in range(4):
        halted.enqueue(JOB)
        halted.work()
        last: Any = halted.details(JOB)["last_run"]
        seen.append((last["count"], last["outcome"], last["failures"], last["error"]))
    assert seen == [
        (1, "failed", 1, "ValueError: one"),
        (2, "failed", 2, "ValueError: two"),
        (3, "done", 0, ""),
        (4, "failed", 1, "ValueError: three"),
    ]
    halted.unset(JOB)
    assert ":runs" not in records(halted.redis, halted.prefix)
    assert halted.details(JOB)["last_run"] is None


def test_the_last_run_may_be_edited(halted: Redbike) -> None:
    """Another program may write the last run: the next run counts on from it. A text that is none counts from 0."""
    halted.set(JOB, "CONTINUE")
    for text, count in (("41 done 1 2 0 ", 42), ("odd", 1), ("", 1)):
        halted.redis.hset(f"{halted.prefix}:runs", JOB, text)
        halted.work()
        last: Any = halted.details(JOB)["last_run"]
        assert last["count"] == count


def test_details(halted: Redbike) -> None:
    """`details` returns tell, payload, last run, pause and the place in the queue, in one round trip."""
    put(halted, "first:A", "second:A")
    halted.set(JOB, "CONTINUE", payload="text")
    details = halted.details(JOB)
    assert details == {
        **halted.tell(JOB),
        "payload": "text",
        "last_run": None,
        "pause": None,
        "queue": "work-A",
        "position": 2,
        "queue_held": False,
    }
    unknown = halted.details("unknown:A")
    assert {name for name, value in unknown.items() if value} == {"queue"}


def test_several_workers_write_each_record_once(fleet: Fleet, loops: Loops) -> None:
    """Each run of a fleet has exactly one record."""
    workers = [Recorder() for _ in range(3)]
    bike = fleet()
    for worker in workers:
        loops.work(worker)
    for number in range(200):
        bike.set(f"{number}:A", "NOW")
    eventually(lambda: bike.redis.xlen(f"{bike.prefix}:history") == 200)
    assert sorted(record.jobid for record in bike.get_history()) == sorted(f"{n}:A" for n in range(200))


@pytest.mark.parametrize("history", [-1, 1.5, True, "many"])
def test_an_impossible_history(fleet: Fleet, history: Any) -> None:
    """`history` is a whole number from 0 on."""
    with pytest.raises(ConfigError, match="history"):
        fleet(history=history)


@pytest.mark.parametrize("dead_after", [-1, 3, float("nan"), "soon"])
def test_an_impossible_dead_after(fleet: Fleet, dead_after: Any) -> None:
    """`dead_after` is 0, or at least three heartbeats."""
    with pytest.raises(ConfigError, match="dead_after"):
        fleet(dead_after=dead_after)


# log lines


def test_a_line_per_run(halted: Redbike, worker: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """A run is one line at INFO on a separate logger, with its fields."""
    caplog.set_level(logging.INFO)
    worker.acts["bad:A"] = raising(ValueError("no"))
    for jobid in (JOB, "bad:A"):
        halted.set(jobid, "NOW")
        halted.work()
    found: list[Any] = [record for record in caplog.records if record.name.endswith(".runs")]
    assert [(line.job, line.outcome, line.attempt) for line in found] == [(JOB, "done", 1), ("bad:A", "failed", 1)]
    assert all(0 <= line.took_s < 5 and 0 <= line.late_s < 5 for line in found)
    assert f"job '{JOB}': done after 0." in found[0].getMessage()


def test_lines_of_the_command(server: Server, prefix: str, tmp_path: Path) -> None:
    """The command writes a line per run with --log-level=info, none by default, and JSON where the conf says so."""
    with Site(tmp_path, server, prefix) as site:
        for options, conf in (([], ""), (["--log-level=info"], ""), (["--log-level=info"], "log-format: json\n")):
            text = (tmp_path / ".redbike.conf").read_text().replace("[redbike]\n", f"[redbike]\n{conf}", 1)
            (tmp_path / ".redbike.conf").write_text(text)
            site.run("set", "j:A", "NOW")
            process = site.start_idle("work", *options)
            eventually(lambda: site.run("tell", "j:A").stdout.count("STP") == 1, 10)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            said = [line for line in site.stderr_of(process).splitlines() if "done" in line]
            assert len(said) == bool(options)
            if conf:
                line = json.loads(said[0])
                assert (line["job"], line["outcome"], line["level"]) == ("j:A", "done", "INFO")
        assert "--log-level: 'loud' is not one of" in site.run("work", "--log-level=loud").stderr


# heartbeats


def alive(bike: Redbike) -> list[Any]:
    """Return what the processes of the prefix note about themselves."""
    return [json.loads(text) for text in bike.redis.hvals(Keys(bike.prefix).processes)]


def test_loops_note_that_they_are_alive(fleet: Fleet, loops: Loops) -> None:
    """A dispatcher and a worker note what they are, and their notes are gone when they end."""
    bike = fleet()
    loops.dispatch()
    loops.work(Recorder("A:B"))
    eventually(lambda: len(alive(bike)) == 2)
    by_kind = {about["kind"]: about for about in alive(bike)}
    assert set(by_kind) == {"dispatcher", "worker"}
    worker = by_kind["worker"]
    assert (worker["pid"], worker["host"], worker["queues"]) == (os.getpid(), os.uname().nodename, ["work-A", "work-B"])
    assert (worker["runs"], worker["failures"], worker["worker"]) == (0, 0, "Recorder")
    assert abs(worker["since"] - server_now(bike)) < 10
    assert bike.redis.zcard(Keys(bike.prefix).alive) == 2
    loops.stop()
    assert (alive(bike), bike.redis.zcard(Keys(bike.prefix).alive)) == ([], 0)


def lose_a_worker(fleet: Fleet, bike: Redbike, seconds_ago: float) -> None:
    """Let a worker take the job, note itself once, and be silent since then."""
    next(fleet(on_timeout="retry", default_timeout=7200).consumer)
    [entry] = state_of(bike)[":running"]
    client_id = entry.split("\n")[0][:16]
    bike.redis.zadd(Keys(bike.prefix).alive, {client_id: server_now(bike) - seconds_ago})
    bike.redis.hset(Keys(bike.prefix).processes, client_id, json.dumps({"host": "there", "pid": 7}))


@pytest.fixture
def observant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatchers that need less patience than five seconds between heartbeats ask for."""
    monkeypatch.setattr(recovery, "OBSERVED_S", 0.5)
    monkeypatch.setattr(recovery, "_LOOK_FOR_DEAD_EVERY_S", 0.1)


@pytest.mark.usefixtures("observant")
def test_the_run_of_a_dead_worker(fleet: Fleet, loops: Loops) -> None:
    """Without `drop`, a silent worker's run is lost long before its timeout, once, whatever number of dispatchers."""
    bike = fleet(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    lose_a_worker(fleet, bike, 60)
    for _ in range(3):
        loops.dispatch(on_timeout="retry")
    eventually(lambda: outcomes(bike) == ["lost"], 10)
    eventually(lambda: queued(bike) == [JOB], 10)
    [record] = bike.get_history()
    assert record.error == "its worker there:7 has been silent for 30 s"
    assert not bike.is_working(JOB)
    eventually(lambda: len(alive(bike)) == 3 and "there" not in {about["host"] for about in alive(bike)})


@pytest.mark.usefixtures("observant")
@pytest.mark.parametrize(
    ("ago_s", "settings"),
    [(5, {}), (60, {"dead_after": 0}), (60, {"on_timeout": "drop"})],
)
def test_who_is_not_dead(fleet: Fleet, loops: Loops, ago_s: float, settings: dict[str, Any]) -> None:
    """A worker that was heard of lately, or with `dead-after: 0` or `drop`, keeps its run until its timeout."""
    bike = fleet(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    lose_a_worker(fleet, bike, ago_s)
    loops.dispatch(**{"on_timeout": "retry", **settings})
    time.sleep(2)  # a dispatcher would have found it by now
    assert bike.is_working(JOB)
    assert outcomes(bike) == []


@pytest.mark.usefixtures("observant")
def test_a_dispatcher_that_is_not_heard_buries_nobody(
    fleet: Fleet, loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may refuse heartbeats, as when its memory is full: then those of living workers are missing, too."""
    monkeypatch.setattr(heartbeat.Heartbeat, "was_heard_within", lambda *_: False)
    bike = fleet(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    lose_a_worker(fleet, bike, 60)
    loops.dispatch(on_timeout="retry")
    time.sleep(2)  # a dispatcher would have found it by now
    assert bike.is_working(JOB)


def test_a_description_that_fails(fleet: Fleet, loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is alive also if the user's code cannot describe it."""

    def fail(*_: object) -> dict[str, object]:
        raise OSError("no list today")

    monkeypatch.setattr("redbike.loops._about", fail)
    bike = fleet()
    loops.work(Recorder())
    eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive) == 1)


@pytest.mark.usefixtures("observant")
def test_a_step_of_the_clock_kills_nobody(fleet: Fleet, loops: Loops) -> None:
    """A worker whose note is old by the server's clock, but changes, is alive."""
    bike = fleet(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    lose_a_worker(fleet, bike, 90)
    [client_id] = [name.decode() for name in bike.redis.zrange(Keys(bike.prefix).alive, 0, -1)]
    loops.dispatch(on_timeout="retry")
    give_up_at = time.monotonic() + 2
    while time.monotonic() < give_up_at:
        bike.redis.zadd(Keys(bike.prefix).alive, {client_id: server_now(bike) - 90 + time.monotonic() % 1})
        time.sleep(0.1)
    assert bike.is_working(JOB)


def test_a_worker_that_was_never_heard_of(fleet: Fleet, loops: Loops) -> None:
    """A1: a worker of an earlier version, which sends no heartbeat, keeps its run until its timeout."""
    bike = fleet(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    next(fleet(on_timeout="retry", default_timeout=7200).consumer)
    loops.dispatch(on_timeout="retry")
    time.sleep(1.5)  # some looks of the dispatcher
    assert bike.is_working(JOB)

"""Config files of RQ's own cron, which call `rq.cron.register`: they run unchanged."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from nodes import eventually
from rq_users import sent

from redbike.bridges.rq import RedbikeCronScheduler
from redbike.store.loaded import Loaded
from redbike.syncing.load import Load

CONFIG = """
import posixpath
from rq import cron

cron.register(posixpath.commonpath, queue_name="q", args=("a",), interval=600)
cron.register(posixpath.commonpath, queue_name="q", args=("b",), interval=600, job_timeout=60, result_ttl=0)
cron.register(posixpath.basename, queue_name="slow", kwargs={"p": "c"}, cron="0 5 * * *", meta={"by": "cron"})
"""


@pytest.fixture
def scheduler(rq_client: redis.Redis) -> Iterator[RedbikeCronScheduler]:
    scheduler = RedbikeCronScheduler(rq_client)
    yield scheduler
    scheduler.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cron_config.py"
    path.write_text(CONFIG)
    return path


def test_a_config_file_runs_unchanged(
    scheduler: RedbikeCronScheduler, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs have stable ids, and arguments and options as the file says; intervals are due at once."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    scheduler.load_config_from_file(str(config))
    named, *shared = scheduler.get_all_jobs()
    assert (named.id, named.queue_name) == ("posixpath.basename", "slow")
    assert (named.kwargs, named.meta) == ({"p": "c"}, {"by": "cron"})
    assert (named.cron, named.zone) == ("0 5 * * *", "Europe/Berlin")
    assert {job.id.rpartition(":")[0] for job in shared} == {"posixpath.commonpath"}
    assert {job.args for job in shared} == {("a",), ("b",)}
    assert [job.job_options for job in shared if job.args == ("b",)] == [{"job_timeout": 60, "result_ttl": 0}]
    now = datetime.now(UTC)
    assert [job.next_enqueue_time is not None and job.next_enqueue_time <= now for job in shared] == [True, True]


def test_a_second_load_changes_only_what_differs(
    scheduler: RedbikeCronScheduler, config: Path, rq_client: redis.Redis
) -> None:
    """Unchanged jobs keep their next run, changed jobs are edited, jobs that are gone are deleted; others stay."""
    scheduler.register("a.b", "q", id="by hand", interval=60)
    scheduler.load_config_from_file(str(config))
    before = {job.id: job.next_enqueue_time for job in scheduler.get_all_jobs()}
    second = RedbikeCronScheduler(rq_client)
    second.load_config_from_file(str(config))
    second.close()
    assert {job.id: job.next_enqueue_time for job in scheduler.get_all_jobs()} == before
    lines = CONFIG.splitlines()
    config.write_text("\n".join([*lines[:4], lines[-1].replace("slow", "quick")]))
    scheduler.load_config_from_file(str(config))
    jobs = {job.id: job for job in scheduler.get_all_jobs()}
    assert sorted(jobs) == ["by hand", "posixpath.basename"]
    assert jobs["posixpath.basename"].queue_name == "quick"
    assert jobs["posixpath.basename"].next_enqueue_time == before["posixpath.basename"]


def test_a_bad_config_changes_nothing(scheduler: RedbikeCronScheduler, config: Path) -> None:
    """The error names the job."""
    config.write_text(CONFIG.replace('("b",)', "(object(),)"))
    with pytest.raises(ValueError, match=r"cron job 'posixpath\.commonpath': args: cannot be written as JSON"):
        scheduler.load_config_from_file(str(config))
    config.write_text(CONFIG.replace('("b",)', '("b" * 1_100_000,)'))
    with pytest.raises(ValueError, match=r"job 'posixpath\.commonpath:.*at most 1048576.*nothing was registered"):
        scheduler.load_config_from_file(str(config))
    with pytest.raises((ImportError, OSError)):
        scheduler.load_config_from_file(str(config.parent / "none.py"))
    assert scheduler.get_all_jobs() == []


def test_its_jobs_are_enqueued(scheduler: RedbikeCronScheduler, config: Path, rq_client: redis.Redis) -> None:
    """Intervals run at once, as with RQ's own scheduler."""
    scheduler.load_config_from_file(str(config))
    thread = threading.Thread(target=scheduler.start, daemon=True)
    thread.start()
    eventually(lambda: len(sent(rq_client)) == 2)
    scheduler.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert sorted(job.args for job in sent(rq_client)) == [("a",), ("b",)]


@pytest.mark.parametrize(("owner", "step"), [(Loaded, "found"), (Load, "sync")], ids=["found", "set"])
def test_two_schedulers_load_a_new_file(
    scheduler: RedbikeCronScheduler,
    config: Path,
    rq_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
) -> None:
    """Another process loads the file and runs the jobs when this load has found none, or has set them: all run once."""
    other = RedbikeCronScheduler(rq_client)
    other.bike.control("HALT")
    taken, others = getattr(owner, step), [other]

    def run() -> None:
        other.bike.dispatch()
        for _ in range(2):
            other.bike.work()

    def take(*args: Any) -> Any:
        found = taken(*args)
        if others:
            others.pop().load_config_from_file(str(config))
            run()
        return found

    monkeypatch.setattr(owner, step, take)
    scheduler.load_config_from_file(str(config))
    run()
    assert sorted(job.args for job in sent(rq_client)) == [("a",), ("b",)]
    soon = datetime.now(UTC) + timedelta(seconds=500)
    intervals = [job for job in other.get_jobs() if job.interval]
    assert [job.next_enqueue_time is not None and job.next_enqueue_time > soon for job in intervals] == [True, True]
    other.close()

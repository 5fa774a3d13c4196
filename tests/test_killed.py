"""Workers and dispatchers that are killed with SIGKILL: no job is lost."""

import signal
import time

import pytest
from nodes import eventually
from processes import Site

from redbike import Redbike

# Killed processes


def test_a_worker_killed_between_jobs_loses_nothing(site: Site, bike: Redbike) -> None:
    """C7: jobs that are queued before or after an idle worker is killed are run by the next worker."""
    site.start_idle("work").kill()
    for jobid in ("1:A", "2:A"):
        bike.set(jobid, "NOW")
    eventually(lambda: bike.redis.llen(bike.queue_for("1:A")) == 2)
    site.start("work")
    eventually(lambda: site.runs() == ["1:A", "2:A"], 20)


def test_a_worker_killed_in_a_job(site: Site, bike: Redbike) -> None:
    """D6: a job whose worker was killed counts as running until its timeout, and does not disturb other jobs."""
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
    """C7: a dispatcher may be killed at any point of a pass over thousands of due jobs: each job is in one place."""
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
    time.sleep(1.5)  # so that workers already rely on the dispatcher
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

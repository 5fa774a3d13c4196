"""The command as its users run it: dispatchers and workers as separate processes on one server, told to stop."""

import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import Server
from nodes import eventually
from processes import Site

from redbike import Redbike

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP]
AT_ONCE_S = 0.8  # half of it is the end of Python on a busy machine; a poll comes after up to a second
A_SECOND_S = 2.5

CSV = """\
once-1:A,NOW
past-1:B,AT:1
"often-1:A","RRULE:FREQ=SECONDLY"
backs-1:A,CONTINUE
stops-1:B,CONTINUE
dies-1:A,CONTINUE
unset-1:B,CONTINUE
odd-1:A,whenever
"""


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, server, prefix, "A:B") as site:
        yield site


def ends(process: subprocess.Popen[str], within_s: float) -> float:
    """Return how many seconds the process takes to end."""
    began = time.monotonic()
    process.wait(10)
    took_s = time.monotonic() - began
    assert took_s < within_s
    return took_s


def begun_at(site: Site, jobid: str) -> list[float]:
    return [float(when) for what, name, _, when in site.notes() if (what, name) == ("begin", jobid)]


def test_a_day_in_the_life(site: Site, bike: Redbike) -> None:
    """G: two dispatchers and three workers, fed by a CSV and by `set`, do each job as its schedule says."""
    (site.folder / "jobs.csv").write_text(CSV)
    workers = [site.start("work") for _ in range(3)]
    first = site.start("dispatch", "--schedules=jobs.csv")
    second = site.start("dispatch")
    fleet = [*workers, first, second]

    soon = time.time() + 2
    assert site.run("set", "soon-1:B", f"AT:{soon}").returncode == 0
    eventually(lambda: site.runs().count("often-1:A") >= 3, 20)
    bike.set("often-1:A", "STOP")
    bike.set("backs-1:A", "STOP")
    eventually(lambda: "soon-1:B" in site.runs(), 20)
    told = {
        jobid: bike.tell(jobid) for jobid in ("once-1:A", "stops-1:B", "dies-1:A", "unset-1:B", "odd-1:A", "often-1:A")
    }
    assert site.run("control", "halt").returncode == 0
    for process in fleet:
        ends(process, A_SECOND_S)
        assert process.returncode == 0, site.stderr_of(process)
        assert process.stdout is not None
        assert process.stdout.read() == ""

    once = ("once-1:A", "past-1:B", "soon-1:B", "stops-1:B", "dies-1:A", "unset-1:B")
    assert [site.runs().count(jobid) for jobid in once] == [1] * len(once)
    assert "odd-1:A" not in site.runs("begin")
    ticks = begun_at(site, "often-1:A")
    assert len({int(tick) for tick in ticks}) == len(ticks), "one run a second"
    assert all(tick % 1 < 0.9 for tick in ticks), "at the full second"
    backs = begun_at(site, "backs-1:A")
    assert len(backs) >= 3
    assert all(later - earlier >= 0.29 for earlier, later in pairwise(backs))
    assert begun_at(site, "soon-1:B")[0] >= soon - 0.01
    assert {jobid: (job["schedule"], (job["status"] or "")[:4]) for jobid, job in told.items()} == {
        "once-1:A": ("STOP", "STP:"),
        "stops-1:B": ("STOP", "STP:"),
        "dies-1:A": ("CONTINUE", "DIE:"),
        "unset-1:B": (None, ""),
        "odd-1:A": ("whenever", "BAD:"),
        "often-1:A": ("STOP", "STP:"),
    }
    assert sum("as it was told" in site.stderr_of(process) for process in workers) == 1
    assert abs(int((site.folder / ".redbike.timefile").read_text()) - time.time()) < 5


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_stops_idle_processes_at_once_and_busy_ones_after_the_job(
    site: Site, bike: Redbike, number: signal.Signals
) -> None:
    """E3: each of the five signals ends idle processes at once, and a busy worker after its job; exit code 0."""
    dispatcher, idler = site.start("dispatch"), site.start("work")
    busy = site.start("work", "workers:Scribe('C')")
    eventually(lambda: site.waiting() >= 3, 20)
    bike.set("slow-1:C", "CONTINUE")
    eventually(lambda: site.runs("begin") == ["slow-1:C"])
    for process in (dispatcher, idler):
        process.send_signal(number)
        ends(process, AT_ONCE_S)
        assert process.returncode == 0
    busy.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        busy.wait(0.3)
    assert site.runs() == [], "the job in hand is not interrupted"
    (site.folder / "go-on").touch()
    ends(busy, AT_ONCE_S)
    assert busy.returncode == 0
    assert site.runs() == ["slow-1:C"]
    assert bike.redis.lrange(bike.queue_for("slow-1:C"), 0, -1) == [b"slow-1:C"], "its schedule is carried out"
    assert "Traceback" not in "".join(site.stderr_of(process) for process in (dispatcher, idler, busy))


def test_signals_that_come_twice_do_no_harm(site: Site, bike: Redbike) -> None:
    """E3: a second signal does not interrupt the running job."""
    worker = site.start_idle("work")
    bike.set("slow-1:A", "NOW")
    eventually(lambda: site.runs("begin") == ["slow-1:A"])
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        worker.send_signal(number)
        time.sleep(0.02)  # so that the signals arrive one by one
    (site.folder / "go-on").touch()
    ends(worker, AT_ONCE_S)
    assert worker.returncode == 0
    assert (bike.tell("slow-1:A")["status"] or "").startswith("STP:")


def test_a_worker_that_never_rests_stops_by_signal(site: Site) -> None:
    """E3: a signal also ends a worker that is never idle; no job is lost."""
    worker = site.start_idle("work")
    for n in range(3):
        site.redis.hset(f"{site.prefix}-schedules", f"j{n}:A", "CONTINUE")
        site.redis.lpush(f"{site.prefix}-work-A", f"j{n}:A")
        site.redis.sadd(f"{site.prefix}-work-A-members", f"j{n}:A")
    eventually(lambda: len(site.runs()) > 30)
    worker.send_signal(signal.SIGTERM)
    ends(worker, A_SECOND_S)
    assert worker.returncode == 0
    assert sorted(site.redis.lrange(f"{site.prefix}-work-A", 0, -1)) == [b"j0:A", b"j1:A", b"j2:A"]
    assert site.redis.keys(f"{site.prefix}-work-A-j*") == []


def test_halt_stops_idle_processes_within_a_second(site: Site) -> None:
    """E1: `redbike control HALT` ends idle dispatchers and workers within about a second, with exit code 0."""
    fleet = [site.start("dispatch"), site.start("work"), site.start("work", "workers:Scribe('B')")]
    eventually(lambda: site.waiting() >= 3, 20)
    assert site.run("control", "HALT").returncode == 0
    for process in fleet:
        ends(process, A_SECOND_S)
        assert process.returncode == 0


def test_starting_clears_a_halt(site: Site, bike: Redbike) -> None:
    """E2: `redbike work` and `redbike dispatch` clear the control key as they start."""
    for command in ("work", "dispatch"):
        bike.control("HALT")
        process = site.start_idle(command)
        assert not bike.is_halted()
        process.send_signal(signal.SIGTERM)
        ends(process, AT_ONCE_S)

"""`redbike why` alone: all that is wrong now, most urgent first; each trouble is brought about by real processes."""

import json
import re
from pathlib import Path

from conftest import Recorder, Server
from helpers import FUTURE, HOURLY, server_now
from nodes import eventually
from processes import Site
from test_why import short
from threads import Loops
from whys import HOST, configure, kill, kinds, set_back, wrong

from redbike import Redbike
from redbike.looking.overview import look
from redbike.looking.rows import Rows, State
from redbike.looking.settled import settled
from redbike.looking.troubles import MOST_NAMED, Jobs, troubles
from redbike.store.keys import Keys


def text_of(bike: Redbike, kind: str) -> str:
    """Return the texts of the troubles of a kind, a line each."""
    return "\n".join(trouble.text for trouble in wrong(bike) if trouble.kind == kind)


def start_fleet(site: Site, bike: Redbike) -> None:
    """Start a dispatcher and a worker, and wait until both are known."""
    site.start_idle("dispatch")
    site.start_idle("work")
    eventually(lambda: bike.redis.hlen(Keys(bike.prefix).processes) == 2)


def test_nothing_is_wrong(site: Site, bike: Redbike) -> None:
    """With a fleet and no trouble, the command prints one line with the counts, and exits with 0."""
    bike.set("j:A", "EVERY:1d")
    bike.set("p:A", "PAUSED:EVERY:1d")
    start_fleet(site, bike)
    answer = site.run("why")
    assert answer.stdout == "Nothing is wrong: 2 jobs (1 planned, 1 paused), 1 dispatcher, 1 worker.\n"
    assert (answer.returncode, answer.stderr) == (0, "")
    told = json.loads(site.run("why", "--json").stdout)
    assert (told["wrong"], told["troubles"]) == (False, [])


def test_no_fleet(site: Site, bike: Redbike) -> None:
    """Without processes, the list names the missing dispatcher and the queue that no worker serves; the exit is 1."""
    bike.set("j:A", "NOW")
    bike.enqueue("k:Q")
    assert kinds(bike) == ["no dispatcher", "no worker", "no worker"]
    site.start_idle("work")
    eventually(lambda: "workers serve" in text_of(bike, "no worker"))
    assert (
        text_of(bike, "no worker")
        == "Queue work-Q: 1 job waits in it, and no worker serves work-Q (workers serve work-A)."
    )
    [trouble] = [trouble for trouble in wrong(bike) if trouble.kind == "no worker"]
    assert (trouble.queue, trouble.jobid) == ("work-Q", None)
    answer = site.run("why")
    assert answer.returncode == 1
    heading, first, *_ = answer.stdout.splitlines()
    assert re.fullmatch(rf"{bike.prefix} at \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d:", heading)
    assert first == "- No dispatcher is alive: no job is queued when it is due."


def test_halted_and_held(site: Site, bike: Redbike) -> None:
    """HALT comes first, then a hold of the prefix, and a held queue with jobs after the fleet's troubles."""
    bike.set("j:A", "NOW")
    site.run("control", "PAUSE")
    site.run("pause", "--queue=work-A", "--note=disk")
    site.run("control", "HALT")
    assert kinds(bike) == ["halt", "held", "no dispatcher", "no worker", "held queue"]
    assert re.fullmatch(
        r'Queue work-A: 1 job waits in it, and it is held by \S+ since \S+ \(\d s\): "disk"',
        text_of(bike, "held queue"),
    )


def test_silent_processes(site: Site, bike: Redbike) -> None:
    """Processes whose heartbeats are missing are named, with the age of the last of them."""
    start_fleet(site, bike)
    names = [kill(site, process) for process in site._started]
    set_back(site.redis, bike.prefix)
    assert kinds(bike) == ["no dispatcher", "silent", "silent"]
    assert re.match(
        rf"Dispatcher {names[0]} is silent: its last heartbeat was at \S+ \(4\d s ago\)\.\nWorker {names[1]} is",
        text_of(bike, "silent"),
    )


def test_overdue(site: Site, bike: Redbike) -> None:
    """Jobs that are due and not queued are counted, and the first of them is named."""
    for number in range(3):
        bike.set(f"{number}:A", f"AT:{server_now(bike) - 100 - number:.0f}")
    text = text_of(bike, "overdue")
    assert re.fullmatch(r"3 jobs are due, but not queued; '2:A' has been due since \S+ \(1 min\)\.", text)
    site.start_idle("dispatch")
    eventually(lambda: "overdue" not in kinds(bike))


def test_past_its_lease(site: Site, bike: Redbike) -> None:
    """A run without an end after its lease is named with its worker, and its job is lost."""
    short(site)
    bike.set("slow-1:A", "CONTINUE")
    worker = site.start("work")
    eventually(lambda: "past its lease" in kinds(bike))
    pattern = (
        rf"Job 'slow-1:A': worker {HOST}:{worker.pid} has been running it since \S+ \(\d s\), and its lease ended at "
    )
    assert re.match(pattern, text_of(bike, "past its lease"))
    assert re.match(
        r"Job 'slow-1:A' began to run at \S+ \(.*\), and its run is lost: redbike lost", text_of(bike, "lost")
    )


def test_lost_and_bad_jobs(bike: Redbike) -> None:
    """Lost jobs and BAD jobs are named with what became of them."""
    bike.set("j:A", "CONTINUE")
    bike.redis.delete(f"{bike.prefix}-work-A", f"{bike.prefix}-work-A-members")
    bike.set("bad:A", "CRON:61 * * * *")
    assert re.match(r"Job 'j:A' is neither planned, queued nor running; its last event was at", text_of(bike, "lost"))
    assert re.match(r"Job 'bad:A' has been BAD since \S+ \(\d s\): schedule 'CRON:61 ", text_of(bike, "bad"))


def test_failing_jobs(site: Site, bike: Redbike) -> None:
    """Failing jobs are named with their errors, those with the most failures in a row first."""
    configure(site, on_error="reschedule")
    bike.set("dies-1:A", "EVERY:1s")
    bike.set("dies-2:A", "NOW")
    site.start("run")
    eventually(lambda: re.match(r"Job 'dies-1:A' has failed [3-9] times", text_of(bike, "failing")))
    first, second = text_of(bike, "failing").splitlines()
    assert re.search(r"in a row, the last time at \S+ \(\S+.*\) with ValueError: as it was told; ", first)
    assert re.match(r"Job 'dies-2:A' failed at \S+ \(.*\) with ValueError: as it was told; no further run", second)


def test_a_long_wait(site: Site, bike: Redbike) -> None:
    """A job that waits for very long in a served queue is named."""
    bike.set("slow-1:A", "NOW")
    site.start("work")
    eventually(lambda: site.runs("begin"))
    bike.set("j:A", "NOW")
    keys = Keys(bike.prefix)
    at = int(server_now(bike)) - 1200
    bike.redis.hset(keys.due, "j:A", f"{at} 1 {at}")
    eventually(lambda: "no worker" not in kinds(bike))
    assert text_of(bike, "waits") == "Queue work-A: 1 job waits in it, and 'j:A' has waited for 20 min."


def test_the_list_is_bounded(bike: Redbike) -> None:
    """At most twenty troubles of a kind are named, then how many more there are, and where to see them."""
    pipeline = bike.redis.pipeline()
    keys = Keys(bike.prefix)
    for number in range(320):
        pipeline.hset(bike.schedules_key, f"{number}:A", HOURLY)
        pipeline.zadd(bike.timeline_key, {f"{number}:A": FUTURE})
        pipeline.hset(keys.runs, f"{number}:A", f"{number + 1} failed 100 101 {number + 1} ValueError: x")
    pipeline.execute()
    failing = text_of(bike, "failing").splitlines()
    assert len(failing) == MOST_NAMED + 1
    assert failing[0].startswith("Job '319:A' has failed 320 times in a row, the last time at 1970-01-01")
    assert failing[-1] == "and 300 more: redbike info -s failing"
    jobs = Jobs.of(Rows(bike).all())
    assert sum(map(len, jobs.worst.values())) == MOST_NAMED
    assert (jobs.count, jobs.failing, jobs.states[State.PLANNED]) == (320, 320, 320)


def test_troubles_need_no_second_look(bike: Redbike) -> None:
    """From an overview and rows alone, without Redis, the list is complete: also for a queue that nobody has named."""
    bike.enqueue("k:Q")
    overview, rows = look(bike), list(Rows(bike).all())
    assert "work-Q" not in [queue.name for queue in overview.queues]
    bike.close()
    assert [trouble.queue for trouble in troubles(overview, rows) if trouble.queue] == ["work-Q"]


def test_busy_jobs_do_not_seem_lost(loops: Loops, bike: Redbike) -> None:
    """While jobs go from queues to workers and back all the time, none of them is called lost."""
    for number in range(40):
        bike.set(f"{number}:A", "CONTINUE")
    for _ in range(2):
        loops.work(Recorder())
    seen = set()
    for _ in range(60):
        seen |= {row.state for row in settled(bike, Rows(bike).all()) if row.is_lost}
    assert seen == set()


def test_a_server_that_is_away(own_server: Server, prefix: str, tmp_path: Path) -> None:
    """If the server is away, the command says so in one line, and exits with 1."""
    with Site(tmp_path, own_server, prefix) as site:
        own_server.kill()
        for arguments in (("why",), ("why", "j:A")):
            answer = site.run(*arguments)
            assert (answer.returncode, answer.stdout) == (1, "")
            assert re.fullmatch(r"redbike: Redis at .*\n", answer.stderr)

"""Why a job does what it does now: each sentence, with the state that it tells of brought about by real processes."""

import json
import re

from conftest import Fleet
from helpers import EXHAUSTED, FUTURE, server_now
from nodes import eventually
from processes import Site
from whys import HOST, configure, kill, set_back, why

from redbike import Redbike
from redbike.store.keys import Keys

SHORT = """
from redbike import BadJob, Later
from workers import Scribe


class Short(Scribe):
    def timeout(self, queue_name):
        return 1

    def work(self, jobid):
        if jobid.startswith("later"):
            raise Later(3600)
        if jobid.startswith("bad"):
            raise BadJob("no such report")
        return super().work(jobid)
"""
FLEET = "worker: workers:Scribe('A')", "worker: short:Short('A')"


def short(site: Site) -> None:
    """Give the site a worker with a timeout of a second, whose jobs may raise Later or BadJob."""
    (site.folder / "short.py").write_text(SHORT)
    conf = site.folder / ".redbike.conf"
    conf.write_text(conf.read_text().replace(*FLEET))


def test_not_due_yet(site: Site, bike: Redbike) -> None:
    """A planned job is not due until its time, and with a fleet at work nothing is wrong."""
    bike.set("j:A", "EVERY:1d")
    site.start_idle("dispatch")
    site.start_idle("work")
    eventually(lambda: "is alive" not in why(bike, "j:A"))
    assert re.fullmatch(r" It is not due until [\w :-]+, in 23 h \(daily at [^)]*\)\.", why(bike, "j:A"))


def test_due_without_a_dispatcher(bike: Redbike) -> None:
    """A job that is due says that no dispatcher has queued it, and that no dispatcher is alive."""
    bike.set("j:A", f"AT:{server_now(bike) - 301:.0f}")
    text = why(bike, "j:A")
    assert re.search(r"^!It has been due since [\w :]+ \(5 min\), but no dispatcher has queued it\.$", text, re.M)
    assert "!No dispatcher is alive: no job is queued when it is due." in text


def test_a_dispatcher_that_was_killed(site: Site, bike: Redbike) -> None:
    """For a dispatcher that was killed, the sentence says for how long no dispatcher has been alive."""
    bike.set("j:A", f"AT:{FUTURE}")
    dispatcher = site.start_idle("dispatch")
    eventually(lambda: "No dispatcher" not in why(bike, "j:A"))
    kill(site, dispatcher)
    set_back(site.redis, bike.prefix)
    assert re.search(r"^!No dispatcher has been alive for 4\d s: ", why(bike, "j:A"), re.M)


def test_a_dispatcher_that_is_behind(site: Site, bike: Redbike) -> None:
    """A due job under a dispatcher that is alive, but stopped, says that it is alive and how many jobs are overdue."""
    dispatcher = site.start_idle("dispatch")
    eventually(lambda: "No dispatcher" not in why(bike, "j:A") and bike.redis.hlen(bike._parts.keys.processes))
    dispatcher.send_signal(19)
    for name in "ijk":
        bike.set(f"{name}:A", f"AT:{server_now(bike) - 60:.0f}")
    assert " 1 dispatcher alive, and 3 jobs overdue." in why(bike, "j:A")


def test_waiting_behind_others(site: Site, bike: Redbike) -> None:
    """A queued job says how many jobs are before it, since when, and what the workers of its queue do."""
    configure(site)
    for name in ("slow-1", "b", "c", "j"):
        bike.set(f"{name}:A", "NOW")
    site.start("work")
    eventually(lambda: site.runs("begin"))
    eventually(lambda: "worker serves" in why(bike, "j:A"))
    text = why(bike, "j:A")
    assert re.search(r"^ It waits behind 2 others in work-A since [\d:]+ \(\d+ s\)\.$", text, re.M)
    assert " 1 worker serves work-A, and runs 1 job now: 'slow-1:A'." in text
    assert " It is the next in work-A since" in why(bike, "b:A")
    assert "!" not in text


def test_no_worker_serves_the_queue(site: Site, bike: Redbike) -> None:
    """A job in a queue that no worker serves says so, and which queues are served."""
    bike.enqueue("j:Q")
    assert "!No worker is alive: no run begins." in why(bike, "j:Q")
    site.start_idle("work")
    eventually(lambda: "!No worker serves work-Q (workers serve work-A)." in why(bike, "j:Q"))
    assert " It has no schedule: it runs once, and is then forgotten." in why(bike, "j:Q")


def test_paused_with_a_note(site: Site, bike: Redbike) -> None:
    """A paused job says who paused it, since when, until when and why."""
    bike.set("j:A", "EVERY:1h")
    assert site.run("pause", "j:A", "--until=+2h", "--note=the printer burns").returncode == 0
    pattern = r' It is paused by \S+@\S+ since [\d:]+ \(\d+ s\) until [\w :]+: "the printer burns"'
    assert re.fullmatch(pattern, why(bike, "j:A"))


def test_paused_by_another_program(bike: Redbike) -> None:
    """A job that is paused by its schedule alone says that nobody has noted who did it."""
    bike.set("j:A", "PAUSED:EVERY:1h")
    assert why(bike, "j:A") == (" It is paused: its schedule begins with PAUSED:, and it is not known who paused it.")


def test_a_held_queue_and_a_held_prefix(site: Site, bike: Redbike) -> None:
    """A job that waits in a held queue, or under a held prefix, says who holds it, since when and why."""
    bike.set("j:A", "NOW")
    site.run("pause", "--queue=work-A", "--note=the disk is full")
    held = r'!Queue work-A is held by \S+ since [\d:]+ \(\d+ s\): "the disk is full": workers take nothing from it\.'
    assert re.search(held, why(bike, "j:A"))
    site.run("control", "PAUSE")
    assert re.search(r"!The whole prefix is held by \S+ since [\d:]+ \(\d+ s\); no job is queued", why(bike, "j:A"))


def test_halted(site: Site, bike: Redbike) -> None:
    """A job that waits under HALT says since when it is set."""
    bike.set("j:A", "NOW")
    site.run("control", "HALT")
    pattern = r"!HALT has been set since [\d:]+ \(\d+ s\): dispatchers and workers end, and no run begins\."
    assert re.search(pattern, why(bike, "j:A"))


def test_running(site: Site, bike: Redbike) -> None:
    """A running job says which process runs it, since when, and when its lease ends."""
    bike.set("slow-1:A", "NOW")
    worker = site.start("work")
    eventually(lambda: site.runs("begin"))
    eventually(lambda: HOST in why(bike, "slow-1:A"))
    assert re.match(rf" It has been running on {HOST}:{worker.pid} since [\d:]+ \(\d s\); its", why(bike, "slow-1:A"))
    bike.set("slow-1:A", "NOW")
    pattern = rf" It has been running on {HOST}:{worker.pid}; its lease ends in 5\d s\."
    first, second = why(bike, "slow-1:A").splitlines()
    assert re.fullmatch(pattern, first)
    assert second == " Its next run is due, and waits for the end of this run."


def test_running_on_a_dead_worker(site: Site, bike: Redbike) -> None:
    """A run of a killed worker says when its last heartbeat was, and that the run will be lost."""
    bike.set("slow-1:A", "NOW")
    worker = site.start("work")
    eventually(lambda: site.runs("begin"))
    eventually(lambda: HOST in why(bike, "slow-1:A"))
    name = kill(site, worker)
    set_back(site.redis, bike.prefix)
    assert re.search(
        rf"!Worker {name} is silent: its last heartbeat was at \S+ \(4\d s ago\)\. If it has died, ",
        why(bike, "slow-1:A"),
    )
    bike.redis.delete(bike._parts.keys.alive)
    bike.redis.hset(bike.statuses_key, "slow-1:A", f"WRK:{server_now(bike) - 30:.0f}")
    assert "!The worker that runs it is not known." in why(bike, "slow-1:A")


def test_a_lease_that_has_ended(site: Site, bike: Redbike) -> None:
    """After the lease, the job says which worker was running it, when the lease ended, and if the worker is alive."""
    short(site)
    bike.set("slow-1:A", "CONTINUE")
    worker = site.start("work")
    eventually(lambda: site.runs("begin"))
    eventually(lambda: "was running it" in why(bike, "slow-1:A"))
    text = why(bike, "slow-1:A")
    name = f"{HOST}:{worker.pid}"
    assert re.search(
        r"^!It began to run at \S+ \((\d+ s ago|now)\), and its run is lost: redbike lost --reset", text, re.M
    )
    assert re.search(rf"^!Worker {name} was running it; the lease of this run ended at \S+ (.*)\.$", text, re.M)
    assert f" Worker {name} is alive: its last heartbeat was at " in text
    kill(site, worker)
    set_back(site.redis, bike.prefix)
    assert f" Worker {name} is silent: its last heartbeat was at " in why(bike, "slow-1:A")


def test_a_lost_run_names_its_worker(site: Site, bike: Redbike) -> None:
    """Once a dispatcher has noted that a run is lost, the job still says which worker was running it."""
    short(site)
    bike.set("slow-1:A", "CONTINUE")
    worker = site.start("work")
    eventually(lambda: site.runs("begin"))
    site.start("dispatch")
    eventually(lambda: f"no end was reported within its timeout by {HOST}:{worker.pid}" in why(bike, "slow-1:A"))
    assert f" Worker {HOST}:{worker.pid} is alive: its last heartbeat was at " in why(bike, "slow-1:A")


def test_failed_and_tried_again(fleet: Fleet, site: Site, bike: Redbike) -> None:
    """A job whose run failed, and is tried again, says with which error, when, and which attempt it will be."""
    configure(site, on_error="retry", retries=12)
    bike.set("dies-1:A", "NOW")
    bike.redis.hset(bike._parts.keys.retries, "dies-1:A", "7")
    site.start("work")
    asks = fleet(on_error="retry", retries=12)
    eventually(lambda: "tried again" in why(asks, "dies-1:A"))
    text = why(asks, "dies-1:A")
    assert re.search(
        r"^!Its last run did not succeed: it is tried again at \S+, in \d \w+ \(attempt 2 of 13\)\.$", text, re.M
    )
    assert re.search(r"^!Its last run failed at \S+ \((\d s ago|now)\) with ValueError: as it was told\.$", text, re.M)


def test_failed_and_dropped(site: Site, bike: Redbike) -> None:
    """A job whose run failed with `drop` says that it does not run again, and how to plan it again."""
    bike.set("dies-1:A", "EVERY:1h", first=server_now(bike))
    bike.set("dies-2:A", "NOW")
    site.start("run")
    eventually(lambda: len(site.runs()) == 2)
    pattern = (
        r"!It failed at \S+ \((\d+ s ago|now)\) with ValueError: as it was told, and does not run again"
        r" \(on-error: drop\): redbike lost --reset plans it again\."
    )
    eventually(lambda: re.fullmatch(pattern, why(bike, "dies-1:A")))
    assert re.fullmatch(
        r"!It failed at \S+ \((\d+ s ago|now)\) with ValueError: as it was told; no further run is planned; redbike"
        r" enqueue runs it again\.",
        why(bike, "dies-2:A"),
    )


def test_failures_in_a_row(site: Site, bike: Redbike) -> None:
    """A job that goes on failing by its schedule says how many runs in a row have failed."""
    configure(site, on_error="reschedule")
    bike.set("dies-1:A", "EVERY:1s")
    site.start("run")
    eventually(lambda: site.runs().count("dies-1:A") >= 2)
    eventually(
        lambda: re.search(
            r"!\d runs in a row failed; the last of them failed at \S+ \((\d s ago|now)\) with Val",
            why(bike, "dies-1:A"),
        )
    )


def test_put_back_by_later(site: Site, bike: Redbike) -> None:
    """A job whose run raised Later says that the run has not happened yet, and when it begins again."""
    short(site)
    bike.set("later:A", "NOW")
    site.start("work")
    pattern = r" Its run raised Later: it begins again at [\w :]+, in 59 min, as attempt 2\."
    eventually(lambda: re.search(pattern, why(bike, "later:A")))


def test_ended_and_stopped(site: Site, bike: Redbike) -> None:
    """A job without a further run says whether its schedule has ended, is STOP, or was ended by StopWork."""
    bike.set("ended:A", EXHAUSTED)
    bike.set("stop:A", "STOP")
    bike.set("stops-1:A", "NOW")
    site.start("work")
    assert re.fullmatch(
        r" Its schedule ended at \S+ \((\d+ s ago|now)\): the recurrence has no further run\.", why(bike, "ended:A")
    )
    assert " its schedule is STOP, so it has no further run." in why(bike, "stop:A")
    eventually(lambda: "because its last run raised StopWork: its schedule is STOP." in why(bike, "stops-1:A"))
    assert re.search(
        r"^ Its last run ended at \S+ \((\d+ s ago|now)\), after 0\.\d+ s: stopped\.$", why(bike, "stops-1:A"), re.M
    )


def test_bad(site: Site, bike: Redbike) -> None:
    """A BAD job says why: its schedule, its run, or its id."""
    short(site)
    bike.set("j:A", "CRON:61 * * * *")
    bike.set("bad:A", "NOW")
    bike.redis.hset(bike.schedules_key, "members", "EVERY:1h")
    bike.redis.hset(bike.statuses_key, "members", "BAD:1790000000")
    site.start("work")
    assert re.match(r"!It has been BAD since \S+ \(\d+ s\): schedule 'CRON:61 \* \* \* \*': ", why(bike, "j:A"))
    eventually(lambda: re.match(r"!It has been BAD since \S+ \(\d s\): .*no such report", why(bike, "bad:A")))


def test_lost_by_redis(bike: Redbike) -> None:
    """A job that another program took out of its queue is in no place, and says how it is planned again."""
    bike.set("j:A", "CONTINUE")
    bike.redis.delete(f"{bike.prefix}-work-A", f"{bike.prefix}-work-A-members")
    text = why(bike, "j:A")
    assert re.match(
        r"!It is neither planned, queued nor running; its last event was at \S+ \((\d s ago|now)\): redbike lost", text
    )
    bike.redis.hdel(bike.statuses_key, "j:A")
    assert "!It is registered, but nobody has planned it: redbike lost --reset plans it." in why(bike, "j:A")


def test_unknown(site: Site, bike: Redbike) -> None:
    """An unknown job is said to be unknown, with ids that may have been meant, and what is known of a past run."""
    bike.set("report:A", "EVERY:1h")
    assert why(bike, "reprot:A").splitlines() == [
        f"!There is no job 'reprot:A' under the prefix '{bike.prefix}'.",
        " Jobs with similar ids: 'report:A'.",
    ]
    assert " Jobs with similar ids: 'report:A'." in why(bike, "port")
    bike.enqueue("once:A")
    site.start("work")
    eventually(lambda: "The job was unset, or had no schedule." in why(bike, "once:A"))


def test_the_command(site: Site, bike: Redbike) -> None:
    """The command names the zone once, escapes what may be hostile, and exits with 1 if anything is wrong."""
    bike.redis.hset(bike.schedules_key, "j\x1b[31m:A", "EVERY:1d")
    bike.redis.zadd(bike.timeline_key, {"j\x1b[31m:A": FUTURE})
    bike.redis.set(Keys(bike.prefix).held, '{"": {"note": "\\u001b[31m\\nred"}}')
    answer = site.run("why", "j\x1b[31m:A")
    assert "\x1b" not in answer.stdout
    assert len(answer.stdout.splitlines()) == 5
    assert answer.returncode == 1
    heading, first, *_ = answer.stdout.splitlines()
    assert re.fullmatch(r"j\\x1b\[31m:A at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d:", heading)
    assert first.startswith("- It is not due until ")
    told = json.loads(site.run("why", "j\x1b[31m:A", "--json").stdout)
    assert (told["job"], told["wrong"], told["time"]) == ("j\x1b[31m:A", True, None)
    assert {"text", "wrong"} == set(told["reasons"][0])
    assert told["reasons"][2] == {
        "text": "No dispatcher is alive: no job is queued when it is due.",
        "wrong": True,
    }

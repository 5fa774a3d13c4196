"""What became of an occurrence of a job's schedule, or why it did not run; brought about by real processes."""

import json
import re
import time

from conftest import Fleet
from helpers import HOURLY, server_now
from nodes import eventually
from processes import Site
from test_why import short
from whys import HOST, configure, what_became

from redbike import Redbike
from redbike.looking.rows import Rows
from redbike.store.keys import Keys

HOUR_S = 3600


def every_second(bike: Redbike, jobid: str) -> None:
    """Set a job that is due in each second, from a while ago."""
    bike.set(jobid, "DTSTART:20200101T000000\nRRULE:FREQ=SECONDLY")


def ended(bike: Redbike, jobid: str) -> list[tuple[float, float, float]]:
    """Return due time, begin and end of the runs of a job, the latest first."""
    return [(record.due, record.began, record.ended) for record in bike.get_history(jobid)]


def test_it_ran(site: Site, bike: Redbike) -> None:
    """The answer on a past run has its due time, begin, duration, outcome, worker and error."""
    configure(site, on_error="reschedule")
    every_second(bike, "dies-1:A")
    process = site.start("work")
    site.start("dispatch")
    eventually(lambda: ended(bike, "dies-1:A"))
    due = ended(bike, "dies-1:A")[-1][0]
    first, second = what_became(bike, "dies-1:A", due + 0.3).splitlines()
    assert re.fullmatch(r" An occurrence of its schedule was due at \d\d:\d\d:\d\d\.", first)
    assert re.fullmatch(
        rf"!The run that was due at \S+ began at \S+,( \d+ s late,)? and ended after 0\.\d+ s: failed,"
        rf" on {HOST}:{process.pid} \(ValueError: as it was told\)\.",
        second,
    )


def test_skipped_while_running(site: Site, bike: Redbike) -> None:
    """An occurrence during a run is said to be skipped, and that run is shown; also while it is in progress."""
    every_second(bike, "slow-1:A")
    site.start("run")
    eventually(lambda: site.runs("begin"))
    began = time.time()
    eventually(lambda: server_now(bike) > began + 3)
    during = int(began) + 2
    eventually(lambda: "present run has been in progress since" in what_became(bike, "slow-1:A", during))
    (site.folder / "go-on").touch()
    eventually(lambda: ended(bike, "slow-1:A"))
    eventually(
        lambda: (
            "It was skipped, because the previous run was in progress: the run that was due at"
            in what_became(bike, "slow-1:A", during)
        )
    )


def test_coalesced(site: Site, bike: Redbike) -> None:
    """Occurrences while no dispatcher was there are coalesced: one run for all of them, which is named."""
    every_second(bike, "j:A")
    eventually(lambda: server_now(bike) > bike.details("j:A")["next_run"] + 3)
    due = bike.details("j:A")["next_run"]
    assert isinstance(due, int | float)
    waiting = what_became(bike, "j:A", due + 2)
    assert "!It is coalesced with the run that has been due since" in waiting
    assert "!No dispatcher is alive" in waiting
    assert "!It is still due: no dispatcher has queued it." in what_became(bike, "j:A", due)
    dispatcher = site.start("dispatch")
    eventually(lambda: Rows(bike).of(["j:A"])[0].state == "queued")
    assert re.search(
        r"It is coalesced with the run that was due at \S+, which is queued now", what_became(bike, "j:A", due + 2)
    )
    assert "This run has been waiting in its queue since" in what_became(bike, "j:A", due)
    site.start("work")
    eventually(lambda: ended(bike, "j:A"))
    text = what_became(bike, "j:A", due + 2)
    assert re.search(
        r" It was coalesced with the run that was due at \S+, \d+ s late: one run for several occurrences\.", text
    )
    assert f"on {HOST}:" in text
    assert dispatcher.poll() is None


def test_paused(site: Site, bike: Redbike) -> None:
    """An occurrence since the job was paused did not run for that reason; a future one may run."""
    every_second(bike, "j:A")
    site.run("pause", "j:A", "--until=+1h", "--note=moving")
    at = server_now(bike)
    eventually(lambda: server_now(bike) > at + 2)
    assert re.search(
        r' It did not run, because the job is paused by \S+ since .*"moving"', what_became(bike, "j:A", int(at) + 1)
    )
    assert "It will run then: the job is paused, but resumes earlier, at" in what_became(bike, "j:A", at + 2 * HOUR_S)
    assert "It will not run unless the job is resumed: it is paused by" in what_became(bike, "j:A", at + 1800)


def test_not_continued_after_a_failure(site: Site, bike: Redbike) -> None:
    """An occurrence after a failed run with `drop` did not run, and the failed run is shown."""
    every_second(bike, "dies-1:A")
    site.start("run")
    eventually(lambda: ended(bike, "dies-1:A"))
    eventually(lambda: server_now(bike) > ended(bike, "dies-1:A")[0][2] + 2)
    text = what_became(bike, "dies-1:A", int(ended(bike, "dies-1:A")[0][2]) + 1)
    assert "!It did not run, because the job did not continue after the previous run: the run that was due" in text
    assert "ValueError: as it was told" in text
    future = what_became(bike, "dies-1:A", server_now(bike) + 60)
    assert "!It will not run: the state of the job is 'failed'; redbike why without a time says more." in future


def test_lost(site: Site, bike: Redbike) -> None:
    """The occurrence of a run that was lost names the worker that was running it."""
    short(site)
    every_second(bike, "slow-1:A")
    worker = site.start("work")
    site.start("dispatch")
    eventually(lambda: ended(bike, "slow-1:A"))
    due = ended(bike, "slow-1:A")[0][0]
    text = what_became(bike, "slow-1:A", due)
    assert re.search(
        rf"!The run that was due .*: lost, noticed by {HOST}:\d+ \(no end .* by {HOST}:{worker.pid}\)", text
    )


def test_before_the_job_was_set(bike: Redbike) -> None:
    """For a time before anything is known of the job, the sentence says from when on something is."""
    bike.set("j:A", HOURLY)
    now = server_now(bike)
    assert re.search(
        r" It did not run: nothing is known of the job before \S+, so it may have been set then\.",
        what_became(bike, "j:A", now - 3 * HOUR_S),
    )
    bike.set("k:A", "EVERY:1h")
    text = what_became(bike, "k:A", now - 3 * HOUR_S)
    assert "No occurrence of its schedule was due at" in text
    assert "Its schedule begins at" in text


def test_the_history_does_not_reach_so_far(site: Site, bike: Redbike) -> None:
    """If the history begins later, and lacks runs of the job, the sentence says how far it reaches."""
    bike.set("j:A", HOURLY)
    bike.enqueue("j:A")
    bike.enqueue("other:A")
    site.start("work")
    eventually(lambda: len(list(bike.get_history())) == 2)
    keys = Keys(bike.prefix)
    [oldest, *_] = bike.redis.xrange(keys.history)
    bike.redis.xdel(keys.history, oldest[0])
    bike.redis.hset(keys.runs, "j:A", "7 done 1 2 0 ")
    text = what_became(bike, "j:A", server_now(bike) - 3 * HOUR_S)
    assert re.search(r" Whether it ran is not known: the history reaches back only to \S+", text)


def test_the_history_is_off(fleet: Fleet, bike: Redbike) -> None:
    """Without a history, the sentence says so."""
    bike.set("j:A", HOURLY)
    asks = fleet(history=0)
    assert " Whether it ran is not known: the history is off (history: 0)." in what_became(asks, "j:A", 1_700_000_000)


def test_the_future(bike: Redbike) -> None:
    """A future occurrence will run: the next is on the timeline, a later occurrence if the previous run has ended."""
    bike.set("j:A", HOURLY)
    due = bike.details("j:A")["next_run"]
    assert isinstance(due, int | float)
    assert re.search(r" It will run then, in \d+ \w+: it is on the timeline\.", what_became(bike, "j:A", due + 20))
    assert "if the previous run has ended by then." in what_became(bike, "j:A", due + HOUR_S)
    bike.set("once:A", f"AT:{due}")
    assert re.search(r" It will run at \S+, in \d+ \w+: it is on the timeline\.", what_became(bike, "once:A", due))
    assert " No run is planned at" in what_became(bike, "once:A", due + 1000)


def test_the_nearest_occurrences_are_named(bike: Redbike) -> None:
    """If nothing was due within a minute, the nearest occurrences are named, and the nearest of them is explained."""
    bike.set("j:A", HOURLY)
    full = int(server_now(bike)) // HOUR_S * HOUR_S - HOUR_S
    text = what_became(bike, "j:A", full - 600)
    assert re.search(r" No occurrence of its schedule was due at [^:]*\S+: the nearest are \S+( \S+)? and \S+", text)
    assert " This is what became of " in text


def test_a_job_for_one_run(site: Site, bike: Redbike) -> None:
    """A job without times in its schedule tells of the runs near the time, or of the nearest."""
    bike.set("j:A", "NOW")
    site.start("work")
    eventually(lambda: ended(bike, "j:A"))
    at = ended(bike, "j:A")[0][1]
    assert " The run that was due at " in what_became(bike, "j:A", at)
    text = what_became(bike, "j:A", at - 5 * HOUR_S)
    assert " No run of the job was due or in progress at " in text
    assert " The nearest run: the run that was due at " in text
    bike.set("k:A", "RRULE:FREQ=HOURLY")
    assert " Its schedule has no DTSTART: " in what_became(bike, "k:A", at - 5 * HOUR_S)


def test_the_time_of_the_command(site: Site, bike: Redbike) -> None:
    """The command reads Unix seconds and ISO 8601, in UTC without an offset, and refuses another text in one line."""
    bike.set("j:A", HOURLY)
    for text in ("1700002800", "2023-11-14T23:00:00", "2023-11-15T00:00:00+01:00"):
        told = json.loads(site.run("why", "j:A", text, "--json").stdout)
        assert told["time"] == 1_700_002_800
    answer = site.run("why", "j:A", "yesterday")
    assert (answer.returncode, answer.stderr.startswith("redbike: <TIME>: 'yesterday' is not a time in Unix")) == (
        1,
        True,
    )

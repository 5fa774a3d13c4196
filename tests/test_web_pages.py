"""What the page shows and does, without a browser; and what it costs Redis."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from helpers import DAY_S, FUTURE, server_now
from nodes import eventually
from pages import Page, Visitor, of_job, words

pytest.importorskip("starlette")

from redbike import Redbike, RoundRobin
from redbike.web.actions import NotDone, _until
from redbike.web.outlook import outlook
from redbike.web.past import Past
from redbike.web.render import environment

if TYPE_CHECKING:
    from conftest import Recorder, Server
    from processes import Site


def shown(visitor: Visitor, path: str) -> str:
    return words(visitor.get(path).text)


def acted(visitor: Visitor, jobid: str, action: str, **form: str) -> str:
    """Do an action on the page of a job, and return what the next page says."""
    visitor.get("/queues")
    answer = visitor.post(of_job(jobid, f"/job/{action}"), **form)
    assert answer.status == 303
    return shown(visitor, answer.headers["location"])


def test_actions_of_a_job(bike: Redbike, visitor: Visitor) -> None:
    """A job can be set, run now, paused with a time and a note, resumed and unset, and the page says each result."""
    assert "The schedule is set." in acted(visitor, "job:A", "set", schedule="EVERY:1h")
    assert "Queued" in acted(visitor, "job:A", "enqueue")
    assert bike.tell("job:A")["status"].startswith("ENQ")  # type: ignore[union-attr]
    told = acted(visitor, "job:A", "pause", until="+2h", note="the <b>tape</b> is full")
    assert "Paused." in told
    assert "“the <b>tape</b> is full”" in told
    assert "in 2 h" in told or "in 1 h" in told
    assert abs(bike.details("job:A")["pause"]["until"] - server_now(bike) - 7200) < 10  # type: ignore[index]
    assert "is paused, so it does not run" in acted(visitor, "job:A", "enqueue")
    assert "Resumed." in acted(visitor, "job:A", "resume")
    assert "Unset" in acted(visitor, "job:A", "unset")
    assert bike.get_schedule("job:A") is None


def test_a_schedule_that_cannot_be_read_changes_nothing(bike: Redbike, visitor: Visitor) -> None:
    """A schedule that cannot be read does not replace a schedule that can, and the page says why."""
    bike.set("job:A", "CRON:0 8 * * *")
    told = acted(visitor, "job:A", "set", schedule="EVERY:5 parsecs")
    assert "Not done: job 'job:A' keeps its schedule" in told
    assert "empty" in acted(visitor, "job:A", "set", schedule=" \r\n")
    assert bike.get_schedule("job:A") == "CRON:0 8 * * *"


def test_a_schedule_of_several_lines(bike: Redbike, visitor: Visitor) -> None:
    """The line breaks that a browser sends become line breaks of a schedule."""
    acted(visitor, "job:A", "set", schedule="DTSTART:20260101T000000\r\nRRULE:FREQ=DAILY\r\n")
    assert bike.get_schedule("job:A") == "DTSTART:20260101T000000\nRRULE:FREQ=DAILY"


def test_reset(halted: Redbike, visitor: Visitor, worker: "Recorder") -> None:
    """A job that failed for good can be reset; a job that is not lost stays as it is."""
    halted.set("job:A", "EVERY:1h", first=1)
    halted.dispatch()
    worker.acts["job:A"] = lambda: 1 / 0
    halted.work()
    assert "Reset" in shown(visitor, of_job("job:A"))
    assert "Rescheduled." in acted(visitor, "job:A", "reset")
    assert "not lost" in acted(visitor, "job:A", "reset")


def test_hold_and_release(bike: Redbike, visitor: Visitor) -> None:
    """A queue, or all queues, can be held with a note, and released."""
    visitor.get("/queues")
    assert visitor.post("/hold?queue=work-A", what="hold", note="new disk").status == 303
    assert "held by" in shown(visitor, "/queue?name=work-A")
    assert "“new disk”" in shown(visitor, "/queues")
    visitor.post("/hold", what="hold")
    assert "All queues are held" in shown(visitor, "/")
    visitor.post("/hold", what="release")
    visitor.post("/hold?queue=work-A", what="release")
    assert bike.get_held() == {}


def test_jobs_are_found(bike: Redbike, visitor: Visitor) -> None:
    """Jobs are found by a part of their id, a pattern, their status and their queue, sorted, and shown in pages."""
    bike.set_many((f"job{n:03}:A", "EVERY:1h") for n in range(60))
    bike.set("other:B", "STOP")

    def ids(query: str) -> list[str]:
        return re.findall(r'class="row cut"[^>]*>([^<]+)<', visitor.get(f"/jobs?{query}").text)

    eventually(lambda: ids("q=other"))  # all jobs were read
    assert ids("") == [f"job{n:03}:A" for n in range(50)]
    assert ids("page=2") == [*(f"job{n:03}:A" for n in range(50, 60)), "other:B"]
    assert ids("q=THER") == ids("status=stopped") == ids("queue=work-B") == ids("q=o*B") == ["other:B"]
    assert ids("sort=-job")[0] == "other:B"
    assert ids("q=nothing") == []
    assert ids("page=9999") == ids("page=2")
    assert ids("page=x&sort=y&status=z") == []


def test_history_of_one_job(halted: Redbike, visitor: Visitor, worker: "Recorder") -> None:
    """Past runs are filtered by job, outcome and time, and the page of a job draws how long they took."""
    worker.acts["bad:A"] = lambda: 1 / 0
    for jobid in ("good:A", "bad:A"):
        halted.set(jobid, "NOW")
        halted.work()
    eventually(lambda: "ZeroDivisionError: division by zero" in shown(visitor, "/history"))
    assert "good:A" not in shown(visitor, "/history?outcome=failed").split("Past runs")[1]
    assert "bad:A" not in shown(visitor, "/history?job=good%3AA").split("Past runs")[1]
    html = visitor.get(of_job("good:A")).text
    assert 'aria-label="durations of the last 1 runs' in html


def test_the_next_runs_show_changes_of_the_clock() -> None:
    """The next runs are on the clock of the schedule, and a run after a change of this clock says so."""
    text = "DTSTART;TZID=Europe/Berlin:20260101T080000\nRRULE:FREQ=DAILY"
    found = outlook(text, 1_774_600_000)  # 2026-03-27, two days before the clock goes forward
    assert found.zone == "Europe/Berlin"
    assert [run.wall for run in found.runs[:3]] == [
        *("Sat 2026-03-28 08:00:00 CET", "Sun 2026-03-29 08:00:00 CEST", "Mon 2026-03-30 08:00:00 CEST"),
    ]
    assert [run.shift for run in found.runs[:3]] == ["", "before this run, the clock goes forward by 1 h", ""]
    assert len(found.runs) == 10


def test_the_outlook_begins_with_the_planned_run() -> None:
    """The first of the next runs is the run on the timeline, also of a job for one run."""
    assert [run.at for run in outlook("STOP", 0, planned=500).runs] == [500]
    assert [run.at for run in outlook("EVERY:1h", 0, planned=500, count=2).runs] == [500, 4100]
    assert outlook("nonsense", 0).reason
    assert outlook(None, 0).runs == ()


def test_a_schedule_is_checked_while_it_is_typed(visitor: Visitor) -> None:
    """The check shows the next runs of a text, or why it cannot be read, and warns; it changes nothing."""
    assert "UTC" in shown(visitor, "/check?schedule=CRON:0+8+*+*+*")
    assert "EVERY:5x" in shown(visitor, "/check?schedule=EVERY:5x")
    assert "&lt;b&gt;" in visitor.get("/check?schedule=%3Cb%3E").text


def test_the_end_of_a_pause() -> None:
    """A pause ends after a length of time, at a time of this day or the next, or at a full time."""
    now = 1_774_600_000.0
    assert _until("+2h", lambda: now) == now + 7200
    assert _until("30 m", lambda: now) == now + 1800
    assert _until("+ 90", lambda: now) == now + 90
    assert _until("1790000000", lambda: now) == 1_790_000_000
    assert _until("", lambda: now) is None
    at = _until("08:30", lambda: now)
    assert at is not None
    assert now < at <= now + DAY_S
    assert time.strftime("%H:%M", time.localtime(at)) == "08:30"
    assert _until("2026-12-24T18:00:00Z", lambda: now) == 1_798_135_200
    for text in ("soon", "2020-01-01", "99999999999999999999", "99:99", "24:00", "12:60", "١٢:٣٠"):
        with pytest.raises(NotDone, match="Until: "):
            _until(text, lambda: now)


def test_a_pause_over_a_change_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause until a time of the next day ends at this time by the clock, also when the clock changes until then."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        now = 1_774_695_600.0  # 2026-03-28 12:00; the clock goes forward in the night
        assert _until("11:30", lambda: now) == now + 22.5 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_every_text_of_a_template_is_escaped() -> None:
    """A text in a template is escaped, and so is what cannot be seen, whichever template shows it."""
    template = environment().from_string("{{ text }}|{{ text|short(3) }}")
    assert template.render(text="<a>\u202e\udcff\x1b") == r"&lt;a&gt;\u202e\udcff\x1b|&lt;a&gt;… (6 characters)"


def test_unknown_jobs_and_pages(visitor: Visitor) -> None:
    """A job that does not exist, and an address that leads nowhere, are answered with 404."""
    for path in ("/job?id=x", "/job", "/queue", "/nowhere", "/api/nowhere", "/api/jobs/x"):
        assert visitor.get(path).status == 404, path


def test_an_unknown_job_costs_little(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of an unknown job does not look for reasons, which would read all ids."""
    asked: list[object] = []
    monkeypatch.setattr("redbike.web.sight.reasons", lambda *given: asked.append(given))
    assert visitor.get("/job?id=x").status == 404
    assert asked == []


# The API is what the commands print


def test_the_api_is_what_the_commands_print(site: "Site", visitor: Visitor, bike: Redbike) -> None:
    """The API returns exactly what the command prints with --json, byte by byte."""
    bike.control("HALT")
    for jobid in ("dies-1:A", "ends-1:A"):
        bike.set(jobid, "EVERY:1h", payload="ü €", first=1)
    bike.dispatch()
    assert site.run("work", "--burst").returncode == 0
    for jobid in ("dies-1:A", "ends-1:A", "a b"):
        printed = site.run("show", jobid, "--json")
        answer = visitor.get(f"/api/jobs/{of_job(jobid)[8:]}")
        assert (answer.status == 200) == (jobid != "a b")
        assert answer.status != 200 or answer.text == printed.stdout
    assert visitor.get("/api/history?count=5").text == site.run("history", "--json", "--count=5").stdout
    assert visitor.get("/api/history?outcome=failed").text == site.run("history", "--json", "--outcome=failed").stdout
    for query in ("count=0", "count=x", "count=10001", "count=000000001000000000", "outcome=x", "since=x"):
        answer = visitor.get(f"/api/history?{query}")
        assert answer.status == 400
        assert json.loads(answer.text)["error"].startswith(query.partition("=")[0])


def test_the_api_tells_why(site: "Site", visitor: Visitor, bike: Redbike) -> None:
    """`/api/why` returns what `redbike why --json` prints, but for the ages in its sentences."""
    bike.set("odd:A", "FOO")
    bike.set("far:A", "AT:4000000000")

    def told(text: str) -> str:
        return re.sub(r'"now": [0-9.]+|[0-9]+ s\b', "", text)

    eventually(lambda: "odd:A" in visitor.get("/api/why").text)
    assert told(visitor.get("/api/why").text) == told(site.run("why", "--json").stdout)
    for jobid, more in (("far:A", ()), ("nobody:A", ()), ("far:A", ("1790000000",))):
        query = f"job={jobid}" + (f"&time={more[0]}" if more else "")
        printed = site.run("why", jobid, *more, "--json").stdout
        assert told(visitor.get(f"/api/why?{query}").text) == told(printed)
    assert visitor.get("/api/why?job=far:A&time=x").status == 400


def test_the_page_explains_a_job(visitor: Visitor, bike: Redbike) -> None:
    """The page of a job says what `redbike why` says of it, and the list of troubles leads to the jobs."""
    bike.set("odd:A", "FOO")
    assert "It has been BAD since" in shown(visitor, "/job?id=odd:A")
    eventually(lambda: 'href="/job?id=odd%3AA">Job &#39;odd:A&#39; has been BAD' in visitor.get("/troubles").text)


def test_the_api_has_the_table(site: "Site", visitor: Visitor, bike: Redbike) -> None:
    """/api/info has the object of `redbike info --json`, with the same choices; a wrong word is an error of 400."""
    for jobid in ("a:A", "b:A", "c:B"):
        bike.set(jobid, "EVERY:1h")
    eventually(lambda: len(json.loads(visitor.get("/api/info").text)["jobs"]) == 3)  # all jobs have been read
    for query, arguments in {
        "sort=job": ("--sort=job",),
        "sort=-job&limit=1": ("--sort=-job", "--limit=1"),
        "queue=work-B": ("-q", "work-B"),
        "status=planned&match=a*": ("-s", "planned", "--match=a*"),
    }.items():
        told = json.loads(site.run("info", "--json", *arguments).stdout)
        found = json.loads(visitor.get(f"/api/info?{query}").text)
        assert (found["jobs"], found["left_out"], found["states"]) == (told["jobs"], told["left_out"], told["states"])
        assert found.keys() == told.keys()
    for query in ("status=sleeping", "sort=size", "limit=-1"):
        assert visitor.get(f"/api/info?{query}").status == 400


def test_the_api_is_described(visitor: Visitor) -> None:
    """The description has every address of the API, in OpenAPI and on a page for people."""
    found = json.loads(visitor.get("/api/openapi.json").text)
    assert found["openapi"] == "3.1.0"
    page = visitor.get("/api").text
    for path, verbs in found["paths"].items():
        assert f"GET {path}" in page
        assert list(verbs) == ["get"]


# What it costs Redis


def commands(client: redis.Redis) -> int:
    found: Any = client.info("stats")
    return int(found["total_commands_processed"])


@pytest.fixture
def own_page(own_server: "Server", tmp_path: Path) -> Iterator[Page]:
    """A page on a server that nobody else uses, with one job."""
    timefile = tmp_path / "timefile"
    with Redbike(RoundRobin("A"), "own", own_server.config, timefile) as bike:
        bike.set("job:A", "EVERY:1h")
        with Page(bike) as page:
            yield page


def test_the_page_asks_once_per_second_for_any_number_of_viewers(own_page: Page, own_server: "Server") -> None:
    """Fifty viewers cost Redis no more than a single viewer: one look per second."""
    hub, counts = own_page.site.hub, []
    for number in (1, 50):
        streams = [own_page.connect() for _ in range(number)]
        for stream in streams:
            stream.request("GET", "/events?page=/")
            stream.getresponse()
        eventually(lambda number=number: hub.viewers == number)
        with own_server.client() as client:
            before, looks = commands(client), hub.looks
            eventually(lambda looks=looks: hub.looks == looks + 3)
            counts.append(commands(client) - before)
        for stream in streams:
            stream.close()
        eventually(lambda: hub.viewers == 0, 20)
    assert counts[1] <= counts[0] * 3  # a read of all jobs may come between


def test_nobody_looks_nothing_asks(own_page: Page, own_server: "Server") -> None:
    """Without viewers, the page sends no command at all."""
    own_page.get("/")
    time.sleep(1.2)  # the look that the page wanted is over
    with own_server.client() as client:
        before = commands(client)
        time.sleep(2.2)
        assert commands(client) - before == 1  # our own INFO


def test_redis_goes_away(own_page: Page, own_server: "Server") -> None:
    """While Redis is away, every page still comes, says so, and shows the last known state; then it recovers."""
    visitor = own_page.visitor()
    eventually(lambda: "job:A" in visitor.get("/jobs").text)
    own_server.kill()
    eventually(lambda: "Redis has not answered since" in words(visitor.get("/jobs").text))
    for path in ("/", "/jobs", "/history", "/fleet", "/queues", "/queue?name=work-A", of_job("job:A")):
        answer = visitor.get(path)
        assert answer.status == 200
        assert "Redis has not answered since" in words(answer.text)
    assert "job:A" in visitor.get("/jobs").text
    assert "FREQ=HOURLY" in visitor.get(of_job("job:A")).text
    assert visitor.get("/api/jobs/job:A").status == 503
    visitor.get("/queues")
    answer = visitor.post(of_job("job:A", "/job/enqueue"))
    assert answer.status == 303
    assert "Not done: Redis at" in shown(visitor, "/jobs")
    own_server.start()
    eventually(lambda: "Redis does not answer" not in visitor.get("/jobs").text)


def test_the_past_follows_the_history(halted: Redbike) -> None:
    """The newest records stay in memory, and each look adds those that are new."""
    past = Past(halted)
    assert past.refresh() is False
    for number in range(5):
        halted.set(f"job{number}:A", "NOW")
        halted.work()
        assert past.refresh() is True
    assert [record.jobid for record in past.latest_first()] == [f"job{number}:A" for number in (4, 3, 2, 1, 0)]
    assert [record.jobid for record in past.latest_first("job2:A", "done")] == ["job2:A"]
    assert sum(minute.runs for minute in past.minutes(server_now(halted))) == 5
    assert past.minutes(FUTURE)[0].runs == 0

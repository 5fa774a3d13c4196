"""`redbike import redbeat`: a store that the real RedBeat wrote is moved, and never changed."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab, schedule
from conftest import Fleet, Server
from dateutil.rrule import FR, MO
from helpers import Answer, Command, state_of, turns, utc
from redbeat import RedBeatSchedulerEntry
from redbeat.schedulers import RedBeatScheduler
from redbeat.schedules import rrule
from redbeats import Beat

from redbike import Redbike
from redbike.bridges.celery.static import sync
from redbike.worker import Run

pytestmark = pytest.mark.not_on_a_cluster("the keys of RedBeat have no tag")

WORKER = "worker: redbike.bridges.celery:CeleryWorker('proj')\n"
LAST = datetime(2026, 11, 29, 8, 0, 5, 250_000, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def beat(server: Server, prefix: str) -> Iterator[Beat]:
    beat = Beat(server, prefix)
    yield beat
    beat.close()


@pytest.fixture
def move(command: Command, conf: Path, beat: Beat) -> Callable[..., Answer]:
    """Calls `redbike import redbeat` with a conf that names the worker for Celery."""
    conf.write_text(conf.read_text().replace("[redbike]\n", f"[redbike]\n{WORKER}"))
    return lambda *options: command("import", "redbeat", f"--prefix={beat.prefix}", *options)


Move = Callable[..., Answer]


class OneQueue:
    """A worker that serves the queue of the worker for Celery, and sends nothing."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def queue_for(self, jobid: str) -> str:  # noqa: ARG002 - part of the protocol
        return "celery"

    def queue_names(self) -> list[str]:
        return ["celery"]

    def timeout(self, queue_name: str) -> float | None:  # noqa: ARG002 - part of the protocol
        return 60

    def perform(self, run: Run) -> None:
        self._done.append(run.jobid)


def registered(bike: Redbike) -> dict[str, str]:
    return dict(bike.get_schedules())


def payload(bike: Redbike, jobid: str) -> object:
    text = bike.details(jobid)["payload"]
    assert isinstance(text, str)
    return json.loads(text)


def summary(imported: int, unchanged: int = 0, left_out: int = 0) -> str:
    jobs = "1 job" if imported == 1 else f"{imported} jobs"
    return f"redbeat: {jobs} imported, {unchanged} unchanged, {left_out} left out"


def test_the_schedules_of_a_store(beat: Beat, move: Move, bike: Redbike) -> None:
    """Each schedule of RedBeat becomes a text with the same runs, and each next run is the same second."""
    beat.save("interval", schedule(90), last=LAST, count=3, at=4_000_000_000)
    beat.save("cron", crontab(minute="*/5", hour="8-18", day_of_week="mon-fri"), last=LAST, count=3)
    beat.save("both days", crontab(minute=0, hour=0, day_of_month="13", day_of_week="fri"), last=LAST, count=3)
    start = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    rule = rrule("WEEKLY", dtstart=start, byweekday=[MO, FR], count=500)
    beat.save("rule", rule, last=LAST, count=3, at=4_000_000_007)
    scores = {name: beat.score(name) for name in ("interval", "cron", "both days", "rule")}
    answer = move()
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(summary(4))
    texts = registered(bike)
    first = datetime.fromtimestamp(scores["interval"], UTC)
    assert texts["interval"] == f"DTSTART:{first:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;INTERVAL=90"
    assert texts["cron"] == "CRON:*/5 8-18 * * mon-fri"
    assert "BYMONTHDAY=13" in texts["both days"]
    assert texts["rule"].startswith("DTSTART;TZID=UTC:20260105T093000\n") or texts["rule"].startswith("DTSTART:2026")
    assert "BYDAY=MO,FR" in texts["rule"]
    assert "COUNT=500" in texts["rule"]
    scores["cron"] = max(scores["cron"], utc(2026, 11, 30, 8))
    scores["both days"] = max(scores["both days"], utc(2027, 8, 13))
    assert {name: bike.tell(name)["next_run"] for name in scores} == scores


@pytest.mark.parametrize("relative", [False, True])
def test_a_score_that_is_too_early(beat: Beat, move: Move, bike: Redbike, relative: bool) -> None:
    """RedBeat scores an entry too early if it is saved between two runs. The next run is that of its schedule."""
    now = datetime.fromtimestamp(bike.now(), UTC)
    last, due = now - timedelta(hours=1), (now + timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    beat.save("cron", crontab(hour=str(due.hour), minute="0"), last=last, count=1)
    beat.save("rule", rrule("DAILY", dtstart=due - timedelta(days=9)), last=last, count=1)
    beat.save("interval", schedule(4 * 3600, relative=relative), last=last, count=1)
    RedBeatSchedulerEntry.from_key(f"{beat.prefix}cron", app=beat.app).save()
    RedBeatSchedulerEntry.from_key(f"{beat.prefix}interval", app=beat.app).save()
    assert beat.score("cron") < due.timestamp()
    assert move().code == 0
    assert bike.tell("cron")["next_run"] == bike.tell("rule")["next_run"] == due.timestamp()
    expected = due if relative else last + timedelta(hours=4)
    assert bike.tell("interval")["next_run"] == int(expected.timestamp())


def test_the_call_of_an_entry(beat: Beat, move: Move, bike: Redbike) -> None:
    """Task, arguments and options become the payload; a time among the arguments is still a time for the task."""
    moment = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=timezone(timedelta(hours=2)))
    beat.save(
        "full",
        task="proj.mail",
        args=["a", 1, [moment]],
        kwargs={"to": "ä@example.org", "at": datetime(2026, 1, 1)},
        options={"queue": "emails", "expires": 30, "priority": 3},
    )
    beat.save("short")
    assert move().code == 0
    assert payload(bike, "full") == {
        "task": "proj.mail",
        "args": ["a", 1, [{"__type__": "datetime", "__value__": "2026-03-04T05:06:07.000008+02:00"}]],
        "kwargs": {"to": "ä@example.org", "at": {"__type__": "datetime", "__value__": "2026-01-01T00:00:00+00:00"}},
        "options": {"queue": "emails", "expires": 30, "priority": 3},
    }
    assert payload(bike, "short") == {"task": "proj.add"}
    from kombu.utils import json as kombu_json

    text = bike.details("full")["payload"]
    assert isinstance(text, str)
    assert kombu_json.loads(text)["args"][2] == [moment]


def test_counts_and_last_runs(beat: Beat, move: Move, bike: Redbike) -> None:
    """The count and the last run go along; an entry that never ran has none. A run that is overdue comes at once."""
    beat.save("often", last=LAST, count=5_000)
    beat.save("never")
    beat.save("overdue", at=1_700_000_000, last=LAST, count=1)
    assert move().code == 0
    last = bike.details("often")["last_run"]
    assert isinstance(last, dict)
    assert (last["count"], last["outcome"], last["began"]) == (5_000, "done", int(LAST.timestamp()))
    assert bike.details("never")["last_run"] is None
    assert bike.tell("never")["next_run"] == beat.score("never")
    assert bike.tell("overdue")["next_run"] == int(LAST.timestamp()) + 60


def test_a_disabled_entry_is_paused(beat: Beat, move: Move, bike: Redbike) -> None:
    """A disabled entry has `PAUSED:` before its schedule, and its rhythm when it resumes."""
    beat.save("off", crontab(minute=0), enabled=False)
    beat.save("off too", schedule(3600), enabled=False, last=LAST, count=1)
    assert move().code == 0
    assert registered(bike)["off"] == "PAUSED:CRON:0 * * * *"
    assert bike.tell("off")["next_run"] is None
    plan = bike.resume("off too")
    assert plan is not None
    assert plan.due_at is not None
    assert (plan.due_at - beat.score("off too")) % 3600 == 0


def test_the_zone_of_the_app(beat: Beat, move: Move, bike: Redbike) -> None:
    """`--zone` is the time zone of the app: of crontabs, and of rules whose times have its offset."""
    beat.app.conf.timezone = "Europe/Berlin"
    beat.save("cron", crontab(minute=30, hour=2), last=LAST, count=1)
    rule = rrule("DAILY", dtstart=datetime(2026, 7, 1, 8, tzinfo=BERLIN), byhour=8, byminute=0, bysecond=0)
    beat.save("rule", rule, last=LAST, count=1)
    assert move("--zone=europe/berlin").code == 0
    texts = registered(bike)
    assert texts["cron"] == "CRON:30 2 * * * Europe/Berlin"
    assert texts["rule"].startswith("DTSTART;TZID=Europe/Berlin:20260701T080000\n")
    assert bike.tell("cron")["next_run"] == max(beat.score("cron"), utc(2026, 11, 30, 1, 30))


def test_schedules_that_no_text_says(beat: Beat, move: Move, bike: Redbike) -> None:
    """A fraction of a second: the worker decides the next run. A relative interval keeps its rounding."""
    beat.save("often", schedule(0.5), last=LAST, count=1)
    beat.save("hours", schedule(7200, relative=True), last=LAST, count=1)
    assert move().code == 0
    assert registered(bike)["often"] == "CONTINUE"
    assert bike.tell("often")["next_run"] == beat.score("often")
    found = payload(bike, "often")
    assert isinstance(found, dict)
    assert "schedule" in found
    assert registered(bike)["hours"].startswith("DTSTART;TZID=UTC:")
    assert bike.tell("hours")["next_run"] == beat.score("hours")


def test_an_entry_without_a_further_run(beat: Beat, move: Move, bike: Redbike) -> None:
    """An rrule that is over stays over. Its last run, if it is overdue, still comes. A score below 0 is a pause."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    beat.save("over", rrule("DAILY", dtstart=past, count=2), last=LAST, count=2)
    beat.save("overdue", rrule("DAILY", dtstart=past, count=2), last=past, count=1, at=1_577_923_200)
    assert beat.score("over") == -1
    assert move().code == 0
    assert bike.tell("over")["next_run"] is None
    assert bike.tell("overdue")["next_run"] == 1_577_923_200
    beat.save("parked", crontab(minute=0), last=LAST, count=2, at=-5)
    assert "parked: its score -5 is below 0, so RedBeat never runs it: it is paused here" in move().err
    assert registered(bike)["parked"] == "PAUSED:CRON:0 * * * *"


def test_static_entries(beat: Beat, move: Move, bike: Redbike) -> None:
    """Entries of `beat_schedule` are imported, and named. The beat of Redbike then lets their next runs be."""
    beat.app.conf.beat_schedule = {
        "nightly": {"task": "proj.add", "schedule": crontab(minute=0, hour=3), "args": (1, 2)},
        "often": {"task": "proj.add", "schedule": 30.0},
    }
    beat.app.conf.redbeat_lock_key = None
    RedBeatScheduler(beat.app, lazy=False)
    beat.save("dynamic")
    answer = move()
    assert answer.code == 0
    assert answer.out.startswith(summary(3 + ("celery.backend_cleanup" in registered(bike))))
    (line,) = answer.err.splitlines()
    assert line.startswith("redbike: 2 static: nightly, often: imported with their next runs;")
    assert registered(bike)["nightly"] == "CRON:0 3 * * *"
    before = {name: (bike.tell(name)["next_run"], payload(bike, name)) for name in ("nightly", "often")}
    beat_schedule = {name: entry for name, entry in beat.app.conf.beat_schedule.items() if name in before}
    texts = registered(bike)
    sync(beat.app, bike, beat_schedule)
    assert {name: (bike.tell(name)["next_run"], payload(bike, name)) for name in before} == before
    assert registered(bike) == texts


DEFINITION = {"name": "x", "task": "proj.add", "args": [], "kwargs": {}, "options": {}, "enabled": True}
EVERY = {"__type__": "interval", "every": 10.0, "relative": False}
CRON = {"__type__": "crontab"}
BAD: dict[str, tuple[object, str]] = {
    "no json": ("{", "its definition is not JSON"),
    "deep": ("[" * 100_000, "its definition nests lists or objects too deeply"),
    "NaN": ('{"task": NaN}', "its definition is not JSON: NaN is not a number of JSON"),
    "a list": ([], "its definition is [], not an object"),
    "no task": ({**DEFINITION, "task": None, "schedule": EVERY}, "its task is None, not the name of a task"),
    "empty task": ({**DEFINITION, "task": "", "schedule": EVERY}, "its task is '', not the name of a task"),
    "args": ({**DEFINITION, "args": "abc", "schedule": EVERY}, "its args is 'abc', not a list"),
    "kwargs": ({**DEFINITION, "kwargs": [1], "schedule": EVERY}, "its kwargs is [1], not an object"),
    "options": ({**DEFINITION, "options": 5, "schedule": EVERY}, "its options is 5, not an object"),
    "member": ({**DEFINITION, "schedule": EVERY, "extra": 1}, "its definition has 'extra', which RedBeat"),
    "enabled": ({**DEFINITION, "schedule": EVERY, "enabled": "no"}, "enabled is 'no', not true or false"),
    "expires": (
        {
            **DEFINITION,
            "schedule": EVERY,
            "options": {"expires": {"__type__": "datetime", "year": 2027, "month": 1, "day": 1}},
        },
        "its option expires is a fixed time; write seconds",
    ),
    "object": ({**DEFINITION, "schedule": EVERY, "args": [EVERY]}, "its args hold an object of the type 'interval'"),
    "moment": ({**DEFINITION, "schedule": EVERY, "args": [{"__type__": "datetime"}]}, "not a time of RedBeat"),
    "no schedule": (DEFINITION, "its schedule is None, not an object with '__type__'"),
    "solar": (
        {**DEFINITION, "schedule": {"__type__": "solar", "event": "dawn"}},
        "its schedule is of the type 'solar': crontab, interval and rrule are known; save the entry again as"
        " redbike.bridges.celery.RedbikeEntry",
    ),
    "every 0": ({**DEFINITION, "schedule": {**EVERY, "every": 0}}, "every is 0 seconds, so it has no next run"),
    "every text": ({**DEFINITION, "schedule": {**EVERY, "every": "1"}}, "every is '1', not a number of seconds"),
    "every more": ({**DEFINITION, "schedule": {**EVERY, "x": "1"}}, "an interval has no field 'x'"),
    "cron range": ({**DEFINITION, "schedule": {**CRON, "minute": "61"}}, "minute"),
    "cron field": ({**DEFINITION, "schedule": {**CRON, "second": "1"}}, "a crontab has no field 'second'"),
    "cron value": ({**DEFINITION, "schedule": {**CRON, "hour": {}}}, "hour is {}, not a text, a number or a list"),
    "rule freq": ({**DEFINITION, "schedule": {"__type__": "rrule", "freq": 9, "dtstart": 0}}, "freq=9"),
    "rule start": ({**DEFINITION, "schedule": {"__type__": "rrule", "freq": 3, "dtstart": "x"}}, "dtstart is 'x'"),
    "rule offset": (
        {**DEFINITION, "schedule": {"__type__": "rrule", "freq": 3, "dtstart": 0, "dtstart_tz": 17}},
        "has no IANA name",
    ),
    "long": ({**DEFINITION, "schedule": EVERY, "args": ["x" * 1_100_000]}, "its payload has 11000"),
    "line\nbreak": ({**DEFINITION, "schedule": EVERY}, "has a line break or another control character"),
}


def test_bad_entries_beside_a_good_one(beat: Beat, move: Move, bike: Redbike, server: Server) -> None:
    """Each entry that cannot be moved is named with its reason, and the others are moved. The exit code is 1."""
    for name, (definition, _) in BAD.items():
        beat.write(name, definition)
    beat.redis.zadd(f"{beat.prefix}:schedule", {f"{beat.prefix}gone": 1, "elsewhere": 2})
    beat.redis.set(f"{beat.prefix}text", "x")
    beat.plan("text", 1)
    beat.write("infinite", {**DEFINITION, "schedule": EVERY}, score=float("inf"))
    beat.write("unplanned", {**DEFINITION, "schedule": EVERY})
    beat.redis.zrem(f"{beat.prefix}:schedule", f"{beat.prefix}unplanned")
    beat.save("good")
    with server.client() as raw:
        raw.hset(f"{beat.prefix}\xff".encode("latin-1"), "definition", b"\xff")
        raw.zadd(f"{beat.prefix}:schedule", {f"{beat.prefix}\xff".encode("latin-1"): 5})
    answer = move()
    assert answer.code == 1
    lines = answer.err.splitlines()
    expected = {
        **{name: reason for name, (_, reason) in BAD.items()},
        "gone": "is in the schedule, but has no definition",
        "elsewhere": f"is in the schedule, but its key does not begin with {beat.prefix!r}",
        "text": "its key holds a string, not a hash",
        "infinite": "its next run is at inf, which is no time in Unix seconds",
        "unplanned": "is not in the schedule, so RedBeat never runs it",
        "\\xff": "is not valid UTF-8",
    }
    for name, reason in expected.items():
        shown = name.replace("\n", "\\n")
        found = [line for line in lines if line.startswith(f"redbike: {shown}: ")]
        assert len(found) == 1, (name, found)
        assert reason in found[0]
    assert len(lines) == len(expected) + 1
    assert lines[-1] == f"redbike: redbeat: {len(expected)} left out, as said above"
    assert answer.out.startswith(summary(1, left_out=len(expected)))
    assert registered(bike).keys() == {"good"}


def test_deep_arguments_beside_a_good_entry(beat: Beat, move: Move, bike: Redbike) -> None:
    """Python reads some of them, and cannot go through some that it reads. Each is moved or named."""
    for depth in range(100, 6000, 200):
        text = json.dumps({**DEFINITION, "schedule": EVERY, "args": ["deep"]})
        beat.write(f"n{depth}", text.replace('"deep"', "[" * depth + "]" * depth))
    beat.save("good")
    answer = move()
    named = [line.partition(": ")[2].partition(": ")[0] for line in answer.err.splitlines() if "too deeply" in line]
    assert {*named} | registered(bike).keys() == {"good", *(f"n{depth}" for depth in range(100, 6000, 200))}


def test_meta_that_cannot_be_read(beat: Beat, move: Move, bike: Redbike) -> None:
    """An entry without a readable last run is moved without it, and this is said."""
    beat.write("torn", {**DEFINITION, "schedule": EVERY}, "{")
    beat.write("odd", {**DEFINITION, "schedule": EVERY}, {"last_run_at": "yesterday", "total_run_count": 4})
    beat.write("none", {**DEFINITION, "schedule": EVERY})
    answer = move()
    assert answer.code == 0
    assert [line.partition(";")[2] for line in answer.err.splitlines()] == [
        " it is imported without its count and its last run, so it runs at 4000000000 (Unix seconds)"
    ] * 2
    assert bike.tell("torn")["next_run"] == bike.tell("odd")["next_run"] == 4_000_000_000


def test_a_number_is_an_interval(beat: Beat, move: Move, bike: Redbike) -> None:
    """Other programs write a plain number of seconds, and leave out what is empty."""
    beat.write("plain", {"task": "proj.add", "schedule": 30})
    assert move().code == 0
    assert registered(bike)["plain"].endswith("RRULE:FREQ=SECONDLY;INTERVAL=30")


def test_a_dry_run_changes_nothing(beat: Beat, move: Move, bike: Redbike) -> None:
    """A dry run prints the jobs as `redbike load` reads them, and the complaints."""
    beat.save("cron", crontab(minute=0), last=LAST, count=1)
    beat.write("bad", "{")
    answer = move("--dry-run")
    assert answer.code == 1
    assert json.loads(answer.out) == {
        "job": "cron",
        "schedule": "CRON:0 * * * *",
        "payload": '{"task": "proj.add"}',
        "first": beat.score("cron"),
    }
    assert answer.err.splitlines()[0].startswith("redbike: bad: its definition is not JSON")
    assert state_of(bike) == {}
    beat.redis.zrem(f"{beat.prefix}:schedule", f"{beat.prefix}bad")
    assert move().code == 1
    assert move("--dry-run").out == ""


def test_a_second_import_changes_nothing(beat: Beat, move: Move, bike: Redbike) -> None:
    """A job that is as it should be keeps its next run and its state."""
    beat.save("cron", crontab(minute=0), last=LAST, count=7)
    beat.save("often", schedule(60), last=LAST, count=7)
    beat.save("off", schedule(60), enabled=False)
    beat.save("now", schedule(60))
    assert move().out.startswith(summary(4))
    before = state_of(bike)
    answer = move()
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(summary(0, 4))
    assert state_of(bike) == before


def test_the_old_store_decides_until_redbike_runs_a_job(beat: Beat, move: Move, halted: Redbike) -> None:
    """A trial import, RedBeat goes on, and the final import has its next runs and counts."""
    beat.save("a", schedule(60), last=LAST, count=7, at=4_000_000_000)
    beat.save("b", crontab(minute=0), last=LAST, count=7, at=4_000_000_000)
    assert move().code == 0
    later = LAST + timedelta(hours=3)
    beat.save("a", schedule(60), last=later, count=9, at=4_000_000_123)
    beat.save("b", crontab(minute=30), last=later, count=9, at=4_000_000_456)
    assert move().out.startswith(summary(2))
    for name in ("a", "b"):
        assert halted.tell(name)["next_run"] == beat.score(name)
        last = halted.details(name)["last_run"]
        assert isinstance(last, dict)
        assert (last["count"], last["began"]) == (9, int(later.timestamp()))
    assert registered(halted)["b"] == "CRON:30 * * * *"


def test_a_job_that_has_run_here_stays(beat: Beat, move: Move, fleet: Fleet) -> None:
    """After its first run under Redbike, a job keeps its next run. If the old store differs, this is said."""
    beat.save("same", schedule(60), last=LAST, count=7)
    beat.save("other", schedule(60), last=LAST, count=7)
    assert move().code == 0
    done: list[str] = []
    bike = fleet(OneQueue(done))  # type: ignore[arg-type]
    bike.control("HALT")
    bike.dispatch()
    turns(bike, 2)
    assert sorted(done) == ["other", "same"]
    before = {name: bike.tell(name)["next_run"] for name in done}
    beat.save("other", schedule(90), last=LAST + timedelta(hours=1), count=100)
    beat.plan("same", 4_000_000_007)  # RedBeat goes on, too, in its own rhythm
    answer = move()
    assert answer.code == 0
    assert answer.out.startswith(summary(0, 2))
    (line,) = answer.err.splitlines()
    assert line.startswith("redbike: other: Redbike has run or queued this job since it was set, so it stays as it is")
    assert {name: bike.tell(name)["next_run"] for name in done} == before
    runs = {name: bike.details(name)["last_run"] for name in done}
    assert runs["same"]["count"] == 8  # type: ignore[index]
    assert runs["other"]["count"] == 100  # type: ignore[index]
    assert runs["other"]["began"] > LAST.timestamp() + 3600  # type: ignore[index]


def test_a_paused_job_stays_paused(beat: Beat, move: Move, bike: Redbike) -> None:
    """A job that somebody has paused here stays paused, also with another schedule."""
    beat.save("a", crontab(minute=0), last=LAST, count=7)
    assert move().code == 0
    bike.pause("a")
    assert move().out.startswith(summary(0, 1))
    beat.save("a", crontab(minute=5), last=LAST, count=7)
    assert move().out.startswith(summary(1))
    assert registered(bike)["a"] == "PAUSED:CRON:5 * * * *"
    assert bike.tell("a")["next_run"] is None


def test_the_old_store_is_only_read(beat: Beat, move: Move, server: Server) -> None:
    """A user without write rights is enough for the old store. A password is never shown."""
    beat.save("a", schedule(60), last=LAST, count=7)
    beat.write("bad", "{")
    with server.client() as client:
        client.acl_setuser(
            "reader", enabled=True, passwords=["+s3cret"], keys=[f"{beat.prefix}*"], categories=["+@read"]
        )
        try:
            answer = move(f"--url=unix://reader:s3cret@{server.socket}")
            assert answer.code == 1
            assert answer.out.startswith(summary(1, left_out=1))
            assert "s3cret" not in answer.out + answer.err
            answer = move(f"--url=unix://reader:wr0ng@{server.socket}")
            assert "access denied" in answer.one_line()
            assert "wr0ng" not in answer.err
            assert "--url" in answer.err
        finally:
            client.acl_deluser("reader")


def test_what_the_command_refuses(beat: Beat, command: Command, conf: Path, bike: Redbike) -> None:
    """No worker that serves the queue, no store, no server, a bad URL or zone: one line with the way out."""
    beat.save("a")
    prefix = f"--prefix={beat.prefix}"
    line = command("import", "redbeat", prefix).one_line()
    assert "prefix: redbike:celery" in line
    assert "worker: redbike.bridges.celery:CeleryWorker('proj')" in line
    assert state_of(bike) == {}
    assert '"job": "a"' in command("import", "redbeat", prefix, "--dry-run").out
    conf.write_text(conf.read_text().replace("[redbike]\n", f"[redbike]\n{WORKER}"))
    line = command("import", "redbeat", "--prefix=other:").one_line()
    assert "there is no key 'other::schedule'; name the server with --url" in line
    assert "out of reach" in command("import", "redbeat", "--url=redis://127.0.0.1:1/0").one_line()
    assert command("import", "redbeat", "--url=http://x:y@z/").one_line().startswith("redbike: --url: does not begin")
    assert "write Europe/Berlin" in command("import", "redbeat", prefix, "--zone=Berlin").one_line()
    beat.redis.set(f"{beat.prefix}x:schedule", "text")
    assert "belongs to another program" in command("import", "redbeat", f"{prefix}x").one_line()
    assert "import takes no 'file'; write: redbike" in command("import", "redbeat", "file").one_line()
    assert "import needs crontab or redbeat or rediscron next" in command("import", "apscheduler").one_line()


def test_ten_thousand_entries(beat: Beat, move: Move, bike: Redbike) -> None:
    """A large store is read in pages."""
    pipeline = beat.redis.pipeline(transaction=False)
    for number in range(10_000):
        name = f"{beat.prefix}n{number}"
        pipeline.hset(name, "definition", json.dumps({**DEFINITION, "schedule": {**EVERY, "every": number + 1.0}}))
        pipeline.zadd(f"{beat.prefix}:schedule", {name: 4_000_000_000 + number})
    pipeline.execute()
    began = time.monotonic()
    assert move().out.startswith(summary(10_000))
    assert time.monotonic() - began < 10
    assert bike.tell("n9999")["next_run"] == 4_000_009_999

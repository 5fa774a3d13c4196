"""The command `redbike load`: set the jobs of a file, and keep Redis in step with the file."""

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from conftest import Recorder
from helpers import FUTURE, PAST, Command, checked_queue, events, queued, state_of, timeline, turns
from processes import Site, run_command

from redbike import Redbike, ServerError
from redbike.jobfile import opened
from redbike.syncing.load import Counts, Load

DAILY = "CRON:0 6 * * *"
HOURLY = "CRON:0 * * * *"


@pytest.fixture
def rows(conf: Path) -> Path:
    """The path of a file of jobs in the folder of the conf."""
    return conf.parent / "jobs.csv"


def synced(command: Command, *options: str, file: str = "jobs.csv") -> list[str]:
    """Sync the file, and return the changes, and behind them the counts."""
    code, out, err = command("load", file, "--sync", *options)
    assert (code, err) == (0, "")
    return out.splitlines()


# load


def test_load_sets_every_row(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: `load` sets each row of a file, also a row that is as it was, and prints how many there are."""
    rows.write_text('# ours\njob,schedule,payload\na:A,NOW,\nb:A,CONTINUE,"{""x"": 1}"\nc:A,EVERY:5m,\n')
    assert command("load", "jobs.csv") == (0, "3 set\n", "")
    assert checked_queue(bike) == ["a:A", "b:A"]
    assert bike.details("b:A")["payload"] == '{"x": 1}'
    bike.unset("a:A")
    assert command("load", "jobs.csv").out == "3 set\n"
    assert checked_queue(bike) == ["b:A", "a:A"]


def test_load_takes_json_lines(command: Command, bike: Redbike, conf: Path) -> None:
    """C3: `load` takes JSON Lines, with payloads and the time of the first run."""
    line = '{"job": "a:A", "schedule": "EVERY:5m", "payload": {"x": 1}, "first": %d}\n'
    (conf.parent / "jobs.jsonl").write_text(line % FUTURE)
    assert command("load", "jobs.jsonl").out == "1 set\n"
    assert timeline(bike) == {"a:A": FUTURE}
    assert bike.details("a:A")["payload"] == '{"x":1}'


def test_load_reads_stdin(site: Site, bike: Redbike) -> None:
    """C3: `load -` reads stdin, in the form that `--format` names, or that its first character shows."""
    for text, options in (
        ("a:A,STOP\n", []),
        ('{"job": "b:A", "schedule": "STOP"}', []),
        ("{c}:A,STOP", ["--format=csv"]),
    ):
        done = run_command(site.folder, "load", "-", *options, stdin=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, "1 set\n", "")
    assert set(dict(bike.get_schedules())) == {"a:A", "b:A", "{c}:A"}
    assert ":loaded" not in state_of(bike)
    done = run_command(site.folder, "load", "-", "--sync", "--name=x", stdin="a:A,STOP\n")
    assert done.stdout == "0 added, 0 changed, 0 removed, 1 unchanged\n"


def test_load_says_which_jobs_are_bad(command: Command, bike: Redbike, rows: Path) -> None:
    """C3, G4: a schedule that cannot be read makes its job BAD, the other rows are set, and the exit code is 1."""
    rows.write_text("a:A,garbage\nb:A,STOP\n")
    for options in ([], ["--sync"], ["--sync"]):
        code, out, err = command("load", "jobs.csv", *options)
        assert code == 1
        assert out in ("2 set\n", "0 added, 0 changed, 0 removed, 2 unchanged\n")
        *_, last = err.splitlines()
        assert last.startswith("redbike: jobs.csv: 1 job is BAD: the lines above say why; correct the schedules, and")
        assert events(bike) == {"a:A": "BAD", "b:A": "STP"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a:A,NOW\nb:A\n", "jobs.csv:2: 1 field instead of JOBID,SCHEDULE"),
        ("a:A,NOW\n,NOW\n", "jobs.csv:2: job id '' is empty"),
        ("a:A,NOW\nb:A,NOW," + "x" * 1_048_577, "jobs.csv:2: job 'b:A': its payload has 1048577 bytes"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--sync"], ["--dry-run"]])
def test_nothing_of_a_malformed_file(
    command: Command, bike: Redbike, rows: Path, content: str, said: str, options: list[str]
) -> None:
    """C3, G4: a malformed row is one line with file and line, exit 78, and nothing of the file is set."""
    bike.set("old:A", DAILY)
    before = state_of(bike)
    rows.write_text(content)
    line = command("load", "jobs.csv", *options).one_line(78)
    assert line.startswith(f"redbike: {said}")
    assert line.endswith("nothing of the file was set")
    assert state_of(bike) == before


def test_a_first_time_that_cannot_be(command: Command, conf: Path) -> None:
    """C3, G4: a time of the first run outside the calendar is an error with file and line."""
    (conf.parent / "jobs.jsonl").write_text('{"job": "a:A", "schedule": "NOW", "first": 1e300}\n')
    line = command("load", "jobs.jsonl").one_line(78)
    assert line.startswith("redbike: jobs.jsonl:1: first: 1e+300 is not a time in Unix seconds")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none.csv"], 78, "none.csv: cannot be read (No such file or directory); name a readable file of schedules"),
        (["jobs.csv", "--format=xml"], 1, "--format: 'xml' is not known: the formats are csv and jsonl"),
        (["jobs.csv", "--name= "], 1, "--name: ' ' cannot be the name of a load: write 1 to 1000 printable characters"),
        (["jobs.csv", "--name=" + "x" * 1001], 1, "cannot be the name of a load"),
        (["-", "--sync"], 1, "--sync: stdin has no path by which the jobs of the last load are found; add --name=NAME"),
        (["jobs.csv", "--sync"], 78, "jobs.csv: the file is empty, and --sync would unset all its jobs"),
        (["twice.csv", "--sync"], 78, "twice.csv:3: job 'a:A' is in line 1 already; leave one row per job; nothing of"),
        (["jobs.csv", "--after=soon"], 1, "--after: 'soon' is not a time"),
        (["jobs.csv", "--synk"], 1, "there is no option --synk; did you mean --sync?"),
        (["jobs.csv", "--dryrun"], 1, "there is no option --dryrun; did you mean --dry-run?"),
        ([], 1, "load needs <FILE>"),
    ],
)
def test_what_load_says(command: Command, rows: Path, arguments: list[str], code: int, said: str) -> None:
    """G4: a mistake in the arguments, or a file that cannot be loaded, is one line with the way out."""
    rows.write_text("\n \n")
    (rows.parent / "twice.csv").write_text("a:A,NOW\nb:A,NOW\na:A,STOP\n")
    assert said in command("load", *arguments).one_line(code)


# load --sync


def test_sync_changes_what_differs(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: `--sync` prints and makes the changes between file and Redis, and unsets jobs that have left the file."""
    bike.set("other:A", DAILY)
    rows.write_text(f'a:A,{DAILY}\nb:A,{DAILY}\n"#c:A","DTSTART:20260101T000000\nRRULE:FREQ=DAILY"\nd:A,EVERY:5m\n')
    assert synced(command) == [
        f"+ a:A {DAILY}",
        f"+ b:A {DAILY}",
        "+ #c:A DTSTART:20260101T000000\\nRRULE:FREQ=DAILY",
        "+ d:A EVERY:5m",
        "4 added, 0 changed, 0 removed, 0 unchanged",
    ]
    rows.write_text(f"a:A,{DAILY}\nb:A,{HOURLY}\nd:A,EVERY:5m\n")
    plan = [f"~ b:A {DAILY} -> {HOURLY}", "- #c:A", "0 added, 1 changed, 1 removed, 2 unchanged"]
    before = state_of(bike)
    assert synced(command, "--dry-run") == [*plan[:2], f"{plan[2]} (dry run: nothing was changed)"]
    assert state_of(bike) == before
    assert synced(command) == plan
    assert sorted(dict(bike.get_schedules())) == ["a:A", "b:A", "d:A", "other:A"]
    assert bike.get_schedule("b:A") == HOURLY


def test_unchanged_jobs_keep_their_next_run(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: a job whose schedule and payload are as in the file is not set again, even without a note."""
    texts = {"a:A": DAILY, "b:A": "EVERY:5m", "c:A": "STOP", "d:A": "DTSTART:20260101T000000\\nRRULE:FREQ=DAILY"}
    for jobid, text in texts.items():
        bike.set(jobid, text, payload="p", first=FUTURE if text != "STOP" else None)
    rows.write_text("job,schedule,payload\n" + "".join(f"{jobid},{text},p\n" for jobid, text in texts.items()))
    before = state_of(bike)
    for _ in range(2):
        assert synced(command) == ["0 added, 0 changed, 0 removed, 4 unchanged"]
        found = state_of(bike)
        assert set(found.pop(":loaded")) == set(texts)
        assert found == before
    rows.write_text(rows.read_text().replace("5m", "6m"))
    assert synced(command)[-1] == "0 added, 1 changed, 0 removed, 3 unchanged"


def test_jobs_changed_by_hand_are_reset(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: a job whose text in Redis somebody has changed gets the text of the file again, and so does a missing job."""
    rows.write_text(f"a:A,{DAILY}\nb:A,EVERY:5m\nc:A,{DAILY}\n")
    synced(command)
    bike.set("a:A", "STOP")
    bike.set("b:A", "EVERY:6m")
    bike.unset("c:A")
    old = bike.get_schedule("b:A")
    assert old is not None
    assert synced(command) == [
        f"~ a:A STOP -> {DAILY}",
        "~ b:A " + old.replace("\n", "\\n") + " -> EVERY:5m",
        f"+ c:A {DAILY}",
        "1 added, 2 changed, 0 removed, 0 unchanged",
    ]


def test_payloads_follow_the_file(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: a payload changes without a new plan of its job; a payload that the file brought leaves with it."""
    bike.set("b:A", DAILY, payload="own")
    for content, payload, changes in (
        ("p", "p", 1),
        ("q", "q", 1),
        ("q", "q", 0),
        ("", None, 1),
        ("r", "r", 1),
        (None, None, 1),
        (None, None, 0),
    ):
        first = FUTURE if timeline(bike).get("a:A") else None
        if first:
            bike.redis.zadd(bike.timeline_key, {"a:A": FUTURE})
        rows.write_text(f"a:A,{DAILY}\nb:A,{DAILY}\n" if content is None else f'b:A,{DAILY}\na:A,"{DAILY}",{content}\n')
        *lines, counts = synced(command)
        assert len(lines) == changes
        if first and changes:
            assert lines == [f"~ a:A {DAILY} -> {DAILY} (new payload)"]
        assert bike.details("a:A")["payload"] == payload
        assert bike.details("b:A")["payload"] == "own"
        assert first is None or timeline(bike)["a:A"] == FUTURE
        assert counts.endswith(f" {2 - changes} unchanged")


def test_the_first_run_follows_the_file(command: Command, bike: Redbike, conf: Path) -> None:
    """C3: a new time of the first run is set once, and does not return with each load."""
    path = conf.parent / "jobs.jsonl"
    for first, changes in ((FUTURE, 1), (FUTURE, 0), (FUTURE + 1, 1), (FUTURE + 1, 0)):
        path.write_text(f'{{"job": "a:A", "schedule": "{DAILY}", "first": {first}}}')
        assert len(synced(command, "--name=x", file="jobs.jsonl")) == changes + 1
        assert timeline(bike) == {"a:A": first}


def test_a_job_for_one_run_runs_once(command: Command, halted: Redbike, worker: Recorder, rows: Path) -> None:
    """C3: a row NOW or AT is carried out once, not at each load, and again when its text changes."""
    rows.write_text(f"now:A,NOW\npast:A,AT:{PAST}\nto-come:A,AT:{FUTURE}\nforgotten:A,NOW\n")
    assert synced(command)[-1] == "4 added, 0 changed, 0 removed, 0 unchanged"
    halted.dispatch()
    turns(halted, 4)
    halted.unset("forgotten:A")  # as UnsetJob does
    assert sorted(worker.done) == ["forgotten:A", "now:A", "past:A"]
    before = state_of(halted)
    assert synced(command) == ["0 added, 0 changed, 0 removed, 4 unchanged"]
    assert synced(command, "--name=another") == ["0 added, 0 changed, 0 removed, 4 unchanged"]
    assert state_of(halted) | {":loaded": 0} == before | {":loaded": 0}
    rows.write_text(f"now:A,NOW,again\npast:A,AT:{PAST}\nto-come:A,AT:{FUTURE + 1}\nforgotten:A,NOW\n")
    assert synced(command, "--name=another") == [
        "~ now:A STOP -> NOW",
        f"~ to-come:A STOP -> AT:{FUTURE + 1}",
        "0 added, 2 changed, 0 removed, 2 unchanged",
    ]
    assert queued(halted) == ["now:A"]
    assert timeline(halted) == {"to-come:A": FUTURE + 1}


def test_a_job_for_one_run_that_was_changed_by_hand(command: Command, halted: Redbike, rows: Path) -> None:
    """C3: it gets the rest of its row: the run that is still to come, or none if the run has been."""
    rows.write_text(f"now:A,NOW\nto-come:A,AT:{FUTURE}\n")
    synced(command)
    turns(halted, 1)
    for jobid in ("now:A", "to-come:A"):
        halted.set(jobid, DAILY)
    plan = [
        f"~ now:A {DAILY} -> STOP",
        f"~ to-come:A {DAILY} -> AT:{FUTURE}",
        "0 added, 2 changed, 0 removed, 0 unchanged",
    ]
    assert synced(command) == plan
    assert timeline(halted) == {"to-come:A": FUTURE}
    assert queued(halted) == []
    assert synced(command) == ["0 added, 0 changed, 0 removed, 2 unchanged"]


def test_paused_jobs_stay_paused(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: a job that somebody has paused stays paused, also with a new text; a job that the file has paused resumes."""
    rows.write_text(f"a:A,{DAILY}\nb:A,EVERY:5m\nc:A,AT:{FUTURE}\nd:A,PAUSED:{DAILY}\n")
    synced(command)
    for jobid in ("a:A", "b:A", "c:A"):
        bike.pause(jobid, note="under repair")
    before = state_of(bike)
    assert synced(command) == ["0 added, 0 changed, 0 removed, 4 unchanged"]
    assert state_of(bike) == before
    rows.write_text(f"a:A,{HOURLY}\nb:A,EVERY:5m\nc:A,AT:{FUTURE}\nd:A,{DAILY}\n")
    assert synced(command) == [
        f"~ a:A PAUSED:{DAILY} -> PAUSED:{HOURLY}",
        f"~ d:A PAUSED:{DAILY} -> {DAILY}",
        "0 added, 2 changed, 0 removed, 2 unchanged",
    ]
    assert list(timeline(bike)) == ["d:A"]
    assert synced(command) == ["0 added, 0 changed, 0 removed, 4 unchanged"]


# Who owns a job


def test_names_own_their_jobs(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: `--sync` unsets only jobs that a load of the same name has set last, whichever file held them."""
    other = rows.parent / "other.csv"
    rows.write_text(f"a:A,{DAILY}\nmoves:A,{DAILY}\n")
    other.write_text(f"b:A,{DAILY}\n")
    synced(command, "--name=jobs")
    synced(command, file="other.csv")
    other.write_text(f"b:A,{DAILY}\nmoves:A,{DAILY}\n")
    assert synced(command, file="other.csv") == ["0 added, 0 changed, 0 removed, 2 unchanged"]
    rows.rename(rows.parent / "renamed.csv")
    (rows.parent / "renamed.csv").write_text("# no jobs\n")
    assert synced(command, "--name=jobs", file="renamed.csv") == ["- a:A", "0 added, 0 changed, 1 removed, 0 unchanged"]
    assert sorted(dict(bike.get_schedules())) == ["b:A", "moves:A"]


def test_a_load_without_sync_also_owns(command: Command, bike: Redbike, rows: Path) -> None:
    """C3: jobs of a plain `load` belong to its name, so a later `--sync` unsets those that have left the file."""
    rows.write_text(f"a:A,{DAILY}\nb:A,{DAILY}\ngone:A,{DAILY}\n")
    command("load", "jobs.csv")
    bike.unset("gone:A")
    rows.write_text(f"a:A,{DAILY}\n")
    assert (
        command("load", "jobs.csv", "--dry-run").out
        == "0 added, 0 changed, 1 set again (dry run: nothing was changed)\n"
    )
    assert synced(command) == ["- b:A", "0 added, 0 changed, 1 removed, 1 unchanged"]
    assert list(state_of(bike)[":loaded"]) == ["a:A"]


def test_the_notes_may_be_missing(command: Command, bike: Redbike, rows: Path) -> None:
    """A1: without its notes, a load unsets nothing and changes no job that recurs; `flush` deletes the notes."""
    rows.write_text(f"a:A,{DAILY}\nb:A,{DAILY}\n")
    synced(command)
    bike.redis.delete(f"{bike.prefix}:loaded")
    rows.write_text(f"a:A,{DAILY}\n")
    assert synced(command) == ["0 added, 0 changed, 0 removed, 1 unchanged"]
    bike.flush()
    assert state_of(bike) == {}


def test_notes_of_another_program(command: Command, bike: Redbike, rows: Path) -> None:
    """G4: a key of the notes that holds something else is an error in one line, before a job is set."""
    rows.write_text("a:A,NOW\n")
    bike.redis.set(f"{bike.prefix}:loaded", "of a wrong type")
    for options in ([], ["--sync"]):
        assert "WRONGTYPE" in command("load", "jobs.csv", *options).one_line()
    assert list(state_of(bike)) == [":loaded"]
    bike.redis.delete(f"{bike.prefix}:loaded")
    bike.redis.hset(f"{bike.prefix}:loaded", "a:A", b"\xff no note")
    assert synced(command) == ["+ a:A NOW", "1 added, 0 changed, 0 removed, 0 unchanged"]


def test_a_note_of_an_id_that_is_no_text(command: Command, bike: Redbike, rows: Path) -> None:
    """A2: a note of a job id that is not UTF-8, which another program wrote, is removed like other notes."""
    bike.redis.hset(f"{bike.prefix}:loaded", mapping={b"\xff:A": "x\n01", b"\xfe:A": "x\n01"})  # type: ignore[arg-type]
    bike.redis.hset(bike.schedules_key, b"\xff:A", "STOP")  # type: ignore[arg-type]
    rows.write_text("a:A,STOP\n")
    assert synced(command, "--name=x")[1:] == [r"- \udcff:A", "1 added, 0 changed, 1 removed, 0 unchanged"]
    assert list(state_of(bike)[":loaded"]) == ["a:A"]


# Many jobs


def test_a_large_file(bike: Redbike, tmp_path: Path) -> None:
    """C3: the second sync of a file of any length writes nothing, and compares in pages, in little memory."""
    path, rows = tmp_path / "jobs.csv", 8_000
    path.write_text("".join(f'job-{number}:A,"{DAILY}",payload\n' for number in range(rows)))
    counts = []
    for _ in range(2):
        written: Any = bike.redis.info("commandstats")["cmdstat_evalsha"]["calls"] if counts else 0
        with opened(path) as file:
            load = Load(bike, file, "name", progress=counts.append)
            tracemalloc.start()
            load.check(unique=True)
            found = load.sync()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        counts.append(found)
        after: Any = bike.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert peak < 4_000_000
    assert after - written <= 1  # the time
    assert [one for one in counts if not isinstance(one, int)] == [Counts(added=rows), Counts(unchanged=rows)]
    assert counts.count(rows) == 4
    path.write_text("# no jobs\n")
    with opened(path) as file:
        load = Load(bike, file, "name")
        load.check(unique=True)
        assert load.sync() == Counts(removed=rows)
    assert dict(bike.get_schedules()) == {}


# Two at once, and killed


def test_two_syncs_at_once(bike: Redbike, worker: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C3: if two syncs of a file compare at the same time, a job for one run still runs once."""
    bike.control("HALT")
    path = tmp_path / "jobs.csv"
    path.write_text(f"a:A,NOW\nb:A,{DAILY}\n")
    ready = threading.Barrier(2)
    place_all = type(bike._parts.placing).place_all
    begun = set()

    def place_when_both_have_compared(self: Any, placements: Any, *args: Any, **kwargs: Any) -> int:
        if threading.current_thread() not in begun:
            begun.add(threading.current_thread())
            ready.wait(10)
            if len(begun) == 2 and threading.current_thread() is second:
                first.join(10)
                turns(bike, 1)
        return place_all(self, placements, *args, **kwargs)

    monkeypatch.setattr(type(bike._parts.placing), "place_all", place_when_both_have_compared)

    def sync() -> None:
        with opened(path) as file:
            load = Load(bike, file, "name")
            load.check(unique=True)
            load.sync()

    first, second = threading.Thread(target=sync), threading.Thread(target=sync)
    first.start(), second.start()
    second.join(20)
    assert worker.done == ["a:A"]
    assert queued(bike) == []
    assert bike.get_schedule("b:A") == DAILY


def test_a_job_that_moves_during_a_sync_stays(bike: Redbike) -> None:
    """C3: a sync that has found a job gone does not unset it if another load takes the job in between."""
    bike.set("a:A", DAILY)
    note = "first\n0123"
    bike.redis.hset(f"{bike.prefix}:loaded", "a:A", "second\n0123")
    assert bike._parts.placing.unset("a:A", bike.queue_for("a:A"), note) is False
    assert bike.get_schedule("a:A") == DAILY


@pytest.mark.parametrize("calls", range(1, 6))
def test_a_sync_that_is_cut_off(
    bike: Redbike, worker: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """C3, C7: a sync that ends at any call of Redis is completed by the next sync, and no job for one run is lost."""
    bike.control("HALT")
    path = tmp_path / "jobs.csv"
    path.write_text(f"old:A,{DAILY}\nx:A,{DAILY}\n")

    def sync() -> str:
        with opened(path) as file:
            load = Load(bike, file, "name")
            load.check(unique=True)
            return repr(load.sync())

    sync()
    path.write_text(f"x:A,{HOURLY}\nnow:A,NOW\nnew:A,{DAILY}\n")
    send, made = type(bike._parts.retry).retry, 0

    def send_some(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal made
        made += 1
        if made > calls:
            raise ServerError("cut off")
        return send(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(bike._parts.retry), "retry", send_some)
        try:
            sync()
        except ServerError:
            assert made > calls
    turns(bike, 2)
    sync()
    turns(bike, 2)
    assert dict(bike.get_schedules()) == {"x:A": HOURLY, "now:A": "STOP", "new:A": DAILY}
    assert worker.done == ["now:A"]
    assert sync() == "Counts(added=0, changed=0, removed=0, unchanged=3, bad=0)"

"""What commands do so that nobody is hurt: they keep what is good, say what they did, and leave the rest as it is."""

import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest
from conftest import Fleet, Server
from helpers import FUTURE, Command
from processes import environment, run_command
from state import whole_server

from redbike import Redbike, RoundRobin, ScheduleError

DAILY = "CRON:0 6 * * *"
TYPO = "RRULE:FREQ=DALY"


@pytest.fixture
def conf(conf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The conf without a worker; what a test imports from its folder is forgotten after it."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield conf
    sys.modules.pop("workers", None)


def serve(conf: Path, source: str = "", worker: str = "workers:Mine('A:B')") -> None:
    """Name a worker in the conf, and write its module."""
    source = source or "from redbike import RoundRobin\n\n\nclass Mine(RoundRobin):\n    pass\n"
    (conf.parent / "workers.py").write_text(source)
    conf.write_text(conf.read_text().replace("[redbike]", f"[redbike]\nworker: {worker}"))


# A schedule that can be read is kept


@pytest.mark.parametrize("former", [DAILY, "CONTINUE", "STOP", "RRULE:FREQ=DAILY", f"AT:{FUTURE}"])
@pytest.mark.parametrize("typo", [TYPO, "", "EVERY:5x", "CRON:0 25 * * *", "x" * 70_000])
def test_set_keeps_a_good_schedule(command: Command, bike: Redbike, former: str, typo: str) -> None:
    """B6: `redbike set` never replaces a schedule that can be read by one that cannot: exit 1, nothing changed."""
    bike.set("report:B", former)
    before = whole_server(bike.redis)
    registered = bike.tell("report:B")["schedule"]
    code, out, [line] = command("set", "report:B", typo).by_lines()
    assert (code, out) == (1, "")
    assert line.startswith(f"redbike: job 'report:B' keeps its schedule {registered!r}: schedule ")
    assert whole_server(bike.redis) == before


def test_set_of_a_new_or_bad_job_is_as_before(command: Command, bike: Redbike) -> None:
    """B6: a new job, and one whose schedule cannot be read either, become BAD with the new text."""
    for text in (TYPO, "EVERY:5x"):
        code, out, [line] = command("set", "report:B", text).by_lines()
        assert (code, out) == (1, "")
        assert line.startswith(f"redbike: job 'report:B' is BAD: schedule '{text}'")
        assert bike.tell("report:B")["schedule"] == text
    assert command("set", "report:B", DAILY).code == 0
    assert (bike.tell("report:B")["status"] or "").startswith("TML:")


def test_the_library_and_a_csv_replace_all_the_same(bike: Redbike, tmp_path: Path) -> None:
    """B6: `Redbike.set` and a row of a CSV make the job BAD, whatever its schedule was."""
    for jobid in ("one:A", "two:A"):
        bike.set(jobid, DAILY)
    bike.set("one:A", TYPO)
    (tmp_path / "rows.csv").write_text(f"two:A,{TYPO}\n")
    bike.load_csv(tmp_path / "rows.csv")
    for jobid in ("one:A", "two:A"):
        assert bike.tell(jobid)["schedule"] == TYPO
        assert (bike.tell(jobid)["status"] or "").startswith("BAD:")


def test_the_library_can_keep_too(bike: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """H: `set(..., keep_readable=True)` raises ScheduleError in place of replacing, and logs nothing."""
    bike.set("one:A", DAILY)
    with pytest.raises(ScheduleError, match="'one:A' keeps its schedule"):
        bike.set("one:A", TYPO, keep_readable=True)
    assert caplog.messages == []
    assert bike.tell("one:A")["schedule"] == DAILY


class Choosy(RoundRobin):
    """A worker that has no queue for some jobs."""

    def queue_for(self, jobid: str) -> str:
        if jobid.startswith("odd"):
            raise KeyError(jobid)
        return super().queue_for(jobid)


def test_lost_lists_bad_jobs(fleet: Fleet, command: Command) -> None:
    """`redbike lost` lists BAD jobs, for whatever reason they are; `--reset` says that it cannot help, and goes on."""
    bike = fleet()
    bike.set("typo:A", TYPO)
    bike.set("good:A", DAILY)
    bike.set("died:A", DAILY)
    bike.redis.zrem(bike.timeline_key, "died:A")
    bike.redis.hset(bike.schedules_key, mapping={"odd:A": DAILY, "odd waits:A": DAILY})
    bike.redis.hset(bike.statuses_key, mapping={"odd:A": "BAD:1790000000", "odd waits:A": "ENQ:1790000000"})
    assert {jobid for jobid, *_ in fleet(Choosy("A")).get_lost()} == {"typo:A", "died:A", "odd:A"}
    listed = {line.split(",")[0]: line.split(",")[1] for line in command("lost").out.splitlines()}
    assert listed == {"typo:A": "BAD", "died:A": "TML", "odd:A": "BAD", "odd waits:A": "ENQ"}
    code, out, err = command("lost", "--reset").by_lines()
    assert code == 0
    assert {line.split(",")[0] for line in out.splitlines()} == {"died:A", "odd:A", "odd waits:A"}
    assert err == ["redbike: job 'typo:A' is BAD and cannot be reset: set it again"]
    assert command("lost").out.startswith("typo:A,BAD,")
    assert fleet(Choosy("A")).reset("odd:A") is False


# One run, now


def test_enqueue_leaves_the_schedule_alone(command: Command, bike: Redbike) -> None:
    """`redbike enqueue` queues one run; schedule and next run stay as they are."""
    bike.set("report:A", DAILY)
    before = bike.tell("report:A")
    assert command("enqueue", "report:A") == (0, "", "")
    after = bike.tell("report:A")
    assert (after["schedule"], after["next_run"]) == (before["schedule"], before["next_run"])
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"report:A"]


def test_enqueue_of_an_unknown_job_says_so(command: Command, bike: Redbike) -> None:
    """`redbike enqueue` runs a job that has no schedule, and says on stderr that it has none; a bad id is refused."""
    assert command("enqueue", "typo:A") == (
        0,
        "",
        "redbike: job 'typo:A' has no schedule: it runs once and is forgotten; redbike schedules lists the jobs\n",
    )
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"typo:A"]
    code, _, [line] = command("enqueue", "").by_lines()
    assert (code, line) == (1, "redbike: job id '' is empty: give the job a name")


@pytest.mark.parametrize("former", [DAILY, "CONTINUE", "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;BYHOUR=6"])
@pytest.mark.parametrize("schedule", ["NOW", f"AT:{FUTURE}", " NOW "])
def test_set_says_what_it_replaced(command: Command, bike: Redbike, former: str, schedule: str) -> None:
    """`set NOW` and `set AT` over a recurring schedule say on stderr how to put it back, and these words do so."""
    bike.set("it's:A", former)
    code, out, [line] = command("set", "it's:A", schedule).by_lines()
    assert (code, out) == (0, "")
    assert line.startswith(f'redbike: job "it\'s:A": {schedule} replaced its schedule; to put that back: redbike set ')
    assert ("redbike enqueue" in line) == (schedule.strip() == "NOW")
    back = line.partition("to put that back: ")[2].partition("; the next time")[0]
    assert command(*shlex.split(back)[1:]) == (0, "", "")
    assert bike.tell("it's:A")["schedule"] == former


def test_what_was_replaced_is_put_back_with_the_same_conf(command: Command, conf: Path, bike: Redbike) -> None:
    """The words that put a schedule back name the conf that was given."""
    other = conf.rename(conf.with_name("my conf"))
    bike.set("report:A", DAILY)
    code, _, [line] = command("--config", str(other), "set", "report:A", "NOW").by_lines()
    assert code == 0
    assert f"redbike --config '{other}' set report:A '{DAILY}'" in line


@pytest.mark.parametrize("former", [None, "STOP", "NOW", TYPO, "RRULE:FREQ=DAILY;UNTIL=20200101T000000Z"])
def test_set_is_silent_where_nothing_is_lost(command: Command, bike: Redbike, former: str | None) -> None:
    """`set NOW` of a job that is new or has no further run says nothing; nor does a recurrence in place of another."""
    if former is not None:
        bike.set("report:A", former)
    assert command("set", "report:A", "NOW") == (0, "", "")
    for schedule in (DAILY, "EVERY:2h", "CONTINUE", "STOP"):
        assert command("set", "report:A", schedule) == (0, "", "")


# No silent success


@pytest.mark.parametrize("verb", [["set", "foo:Q", "NOW"], ["set", "foo:Q", DAILY], ["enqueue", "foo:Q"]])
def test_a_job_that_no_queue_takes_is_a_warning(command: Command, conf: Path, bike: Redbike, verb: list[str]) -> None:
    """A job in a queue that the configured worker does not serve is set all the same, with a line on stderr."""
    serve(conf)
    bike.set("foo:Q", "STOP")
    assert command(*verb) == (
        0,
        "",
        "redbike: job 'foo:Q' goes into the queue 'work-Q', which the configured worker does not serve (it serves"
        " work-A, work-B): start a worker that does, or choose another job id\n",
    )
    assert command("set", "foo:Q", "STOP") == (0, "", "")
    assert command("set", "foo:A", "STOP") == (0, "", "")
    assert command(verb[0], "foo:B", *verb[2:])[2] == ("" if verb[0] == "set" else ANY)


def test_without_a_worker_no_queue_is_missing(command: Command) -> None:
    """Where the conf names no worker, nobody knows which queues are served, and nothing is said."""
    assert command("set", "foo:Q", "NOW") == (0, "", "")


@pytest.mark.parametrize("verb", ["tell", "unset"])
def test_an_unknown_job_is_a_line_on_stderr(command: Command, bike: Redbike, verb: str) -> None:
    """F1, F5: `tell` and `unset` of a job that nobody knows say so on stderr and exit with 0."""
    code, _, err = command(verb, "nobdy:A").by_lines()
    assert code == 0
    assert err == [
        f"redbike: there is no job 'nobdy:A' under the prefix {bike.prefix!r}: redbike schedules lists the jobs"
    ]
    bike.set("somebody:A", "STOP")
    assert command(verb, "somebody:A").err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "j:A", "NOW"], "j:A: queued"),
        (["set", "j:A", "CONTINUE"], "j:A: queued"),
        (["set", "j:A", "STOP"], "j:A: no further run"),
        (["set", "j:A", "AT:5"], "j:A: next run now"),
        (["set", "j:A", "AT:4000000000"], r"j:A: next run 2096-10-02 07:06:40 UTC, in \d{5} days"),
        (["set", "j:A", "EVERY:14h"], r"j:A: next run 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC, in 14 h"),
        (["set", "j:A", "EVERY:90"], r"j:A: next run .* UTC, in (90|89) s"),
        (["set", "j:A", "EVERY:5m"], r"j:A: next run .* UTC, in 5 min"),
        (["set", "\u202e[1m:A", "NOW"], r"\\u202e\[1m:A: queued"),
        (["enqueue", "j:A"], "j:A: queued"),
    ],
)
def test_on_a_terminal_set_says_the_next_run(
    command: Command, bike: Redbike, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """On a terminal, `set` and `enqueue` print one line with the next run; elsewhere they print nothing."""
    bike.set("j:A", "STOP")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    answer = command(*arguments)
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(said, answer.out.removesuffix("\n")), answer.out


def test_a_real_terminal(conf: Path) -> None:
    """The line about the next run is there on a pseudo-terminal, and not in a pipe."""
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "redbike", "set", "j:A", "NOW"]
    with os.fdopen(ours, "rb", buffering=0) as terminal, os.fdopen(theirs, "wb", buffering=0) as its_side:
        subprocess.run(arguments, cwd=conf.parent, env=environment(), stdout=its_side, check=True, timeout=30)
        assert terminal.read(100) == b"j:A: queued\r\n"
    piped = subprocess.run(arguments, cwd=conf.parent, env=environment(), stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b""


# A worker that cannot be imported


@pytest.mark.parametrize(
    ("source", "expression", "said"),
    [
        ("import nowhere\n", "workers:Mine('A')", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise OSError('no database')\n", "workers:Mine('A')", "OSError: no database"),
        ("import sys\nsys.exit('needs a license')\n", "workers:Mine('A')", "SystemExit: needs a license"),
        ("def (\n", "workers:Mine('A')", "SyntaxError: "),
        ("raise ValueError\n", "workers:Mine('A')", "ValueError: ValueError"),
        ("x = 1\n", "workers:Mine('A')", "the module 'workers' has no 'Mine'; it defines no class or function"),
        ("x = 1\n", "absent:Mine('A')", "there is no module 'absent'"),
        ("x = 1\n", "collections:Counter()", "returns a Counter, which lacks some of queue_for"),
    ],
)
@pytest.mark.parametrize(
    "verb",
    [["statuses"], ["schedules"], ["tell", "j:A"], ["lost"], ["control", "HALT"], ["unset", "j:A"]],
    ids=lambda verb: verb[0],
)
def test_commands_that_look_work_without_the_worker(
    command: Command, conf: Path, bike: Redbike, verb: list[str], source: str, expression: str, said: str
) -> None:
    """G3: a worker that cannot be imported is one line on stderr, and commands that need no worker do their work."""
    bike.set("j:A", "CONTINUE")
    plainly = command(*verb)
    assert (plainly.code, plainly.err) == (0, "")
    if verb[0] == "unset":
        bike.set("j:A", "CONTINUE")
    serve(conf, source, expression)
    code, out, [line] = command(*verb).by_lines()
    assert (code, out) == (0, plainly.out)
    assert line.startswith(f"redbike: worker {expression!r}")
    assert said in line
    assert line.endswith("; the queue names of RoundRobin are assumed")
    if verb[0] == "unset":
        assert bike.redis.keys(f"{bike.prefix}-*") == []


@pytest.mark.parametrize("verb", [["set", "j:A", "NOW"], ["enqueue", "j:A"], ["lost", "--reset"]])
def test_commands_that_place_jobs_need_the_worker(command: Command, conf: Path, bike: Redbike, verb: list[str]) -> None:
    """G4: a command that would put a job into a queue does not guess which: without its worker it changes nothing."""
    serve(conf, "x = 1\n")
    before = whole_server(bike.redis)
    code, out, [line] = command(*verb).by_lines()
    assert (code, out) == (os.EX_CONFIG, "")
    assert "has no 'Mine'" in line
    assert whole_server(bike.redis) == before


# The conf: where, and what it leads to


def test_redbike_config(command: Command, conf: Path, bike: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: REDBIKE_CONFIG names the conf; `--config` wins over it; an empty one counts as none."""
    other = conf.rename(conf.parent / "other.conf")
    monkeypatch.setenv("REDBIKE_CONFIG", str(other))
    assert command("set", "a:A", "STOP").code == 0
    code, _, [line] = command("set", "b:A", "STOP", "--config=absent.conf").by_lines()
    assert (code, "absent.conf: there is no such file" in line) == (os.EX_CONFIG, True)
    monkeypatch.setenv("REDBIKE_CONFIG", "nowhere.conf")
    code, _, [line] = command("schedules").by_lines()
    assert (code, "nowhere.conf: there is no such file" in line) == (os.EX_CONFIG, True)
    assert command("set", "c:A", "STOP", "-c", str(other)).code == 0
    monkeypatch.setenv("REDBIKE_CONFIG", "")
    other.rename(conf)
    assert command("set", "d:A", "STOP").code == 0
    assert {jobid for jobid, _ in bike.get_schedules()} == {"a:A", "c:A", "d:A"}


def test_redbike_url(
    command: Command, conf: Path, bike: Redbike, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: with REDBIKE_URL, the conf needs no server; the server that it names is not touched."""
    conf.write_text(f"[redbike]\nprefix: {bike.prefix}\n[redbike-redis]\nembedded: elsewhere\n")
    monkeypatch.setenv("REDBIKE_URL", f"unix://{server.socket}")
    assert command("set", "a:A", "STOP").code == 0
    assert bike.tell("a:A")["schedule"] == "STOP"
    assert not Path("elsewhere").exists()


def test_a_conf_of_another_folder(
    command: Command, conf: Path, bike: Redbike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G2: from another folder, a conf leads to the same time file and the same worker as from its own."""
    serve(conf)
    conf.with_name(".redbike.timefile").write_text("1500000000")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert command("-c", "../.redbike.conf", "set", "j:A", "DTSTART:20170101T000000\nRRULE:FREQ=DAILY").code == 0
    assert bike.tell("j:A")["next_run"] == 1500076800
    assert command("-c", str(conf), "statuses") == (0, command("-c", str(conf), "statuses").out, "")
    assert list(elsewhere.iterdir()) == []


def test_one_embedded_server_from_every_folder(tmp_path: Path) -> None:
    """G1: `redbike -c /srv/app/.redbike.conf` from elsewhere uses the server there, and makes no second one."""
    with tempfile.TemporaryDirectory(prefix="rb-") as short:
        conf = Path(short) / "c"
        conf.write_text("[redbike]\n[redbike-redis]\nembedded: s\n")
        for folder, arguments in ((Path(short), ["set", "j:A", "STOP"]), (tmp_path, ["schedules"])):
            done = run_command(folder, "-c", str(conf), *arguments, timeout_s=60)
            assert done.returncode == 0, done.stderr
        assert done.stdout == "j:A,STOP\n"
        assert list(tmp_path.iterdir()) == []


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["schedules", "--config=absent"], 78),
        (["work"], 78),
        (["work", "absent:Worker('A')"], 78),
        (["dispatch", "--schedules=absent.csv"], 78),
        (["set", "", "NOW"], 1),
        (["set", "j:A", TYPO], 1),
        (["set", "j:A", "NOW", "--after=soon"], 1),
        (["control", "STOPP"], 1),
        (["stauses"], 1),
        ([], 1),
    ],
)
def test_exit_codes(command: Command, arguments: list[str], code: int) -> None:
    """G4: 78 for what a restart cannot mend (conf, worker, file of schedules), 1 for the rest."""
    assert command(*arguments).code == code


def test_exit_code_of_a_server_out_of_reach(command: Command, conf: Path) -> None:
    """G4: a server that is away may come back, so that a restart helps: 1."""
    conf.write_text("[redbike]\n[redbike-redis]\nunix_socket_path: no/such.socket\n")
    assert command("schedules").code == 1


@pytest.mark.parametrize("worker", ["nowhere:Mine('${TOKEN}')", "workers:Mine('${TOKEN}', 1, 2)", "${TOKEN}"])
def test_no_message_quotes_the_environment(
    command: Command, conf: Path, monkeypatch: pytest.MonkeyPatch, worker: str
) -> None:
    """G4: an error in a value that comes from the environment shows the name of the variable, and not its value."""
    monkeypatch.setenv("TOKEN", "canary-5'x")
    serve(conf, worker=worker)
    for arguments in (["work"], ["statuses"]):
        said = command(*arguments).err
        assert "canary" not in said
        assert "${TOKEN}" in said
    monkeypatch.setenv("PORT", "canary")
    conf.write_text("[redbike]\n[redbike-redis]\nport: ${PORT}\n")
    assert command("statuses").err == "redbike: .redbike.conf, [redbike-redis] port: '${PORT}' is not a whole number\n"

"""`redbike import crontab`: jobs are set where they differ, and what is left out is named. Then the commands run."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Server
from helpers import ROOT, Command, event, queued
from nodes import eventually
from processes import Site

from redbike import Redbike
from redbike.cli import COMMANDS
from redbike.commands import Shell

EXAMPLE = ROOT / "examples" / "crontab"


@pytest.fixture
def crontab(in_a_folder: Path) -> Path:
    return in_a_folder / "crontab.txt"


def registered(bike: Redbike) -> dict[str, tuple[str, str]]:
    """Return schedule and payload of each job."""
    return {jobid: (schedule, payload) for jobid, schedule, payload in bike.get_payloads()}


def test_a_crontab_is_imported(command: Command, bike: Redbike, crontab: Path) -> None:
    """Each line becomes a job with the schedule and the command of the line, in silence."""
    crontab.write_text("CRON_TZ=Europe/Berlin\n30 2 * * * /usr/bin/backup.sh --all\n@daily cat%in\n")
    assert command("import", "crontab", "crontab.txt") == (0, "", "")
    assert registered(bike) == {
        "backup.sh:A": ("CRON:30 2 * * * Europe/Berlin", "/usr/bin/backup.sh --all"),
        "cat:A": ("CRON:@daily Europe/Berlin", "printf '%s\\n' 'in' | /bin/sh -c 'cat'"),
    }
    assert bike.tell("backup.sh:A")["next_run"] is not None


def test_a_second_import_changes_nothing(command: Command, bike: Redbike, crontab: Path) -> None:
    """A second import leaves jobs as they are, with their next runs; only jobs that differ are set."""
    crontab.write_text("0 1 * * * one\n0 2 * * * two\n0 3 * * * three\n")
    assert command("import", "crontab", "crontab.txt", "--zone=UTC").code == 0
    for jobid in ("one:A", "two:A", "three:A"):
        bike.redis.zadd(bike.timeline_key, {jobid: 4_000_000_000})
    assert command("import", "crontab", "crontab.txt", "--zone=UTC").code == 0
    assert {bike.tell(jobid)["next_run"] for jobid in registered(bike)} == {4_000_000_000}
    crontab.write_text("0 1 * * * one\n0 2 * * * two --now\n0 4 * * * three\n")
    assert command("import", "crontab", "crontab.txt", "--zone=UTC").code == 0
    assert registered(bike) == {
        "one:A": ("CRON:0 1 * * *", "one"),
        "two:A": ("CRON:0 2 * * *", "two --now"),
        "three:A": ("CRON:0 4 * * *", "three"),
    }
    assert bike.tell("one:A")["next_run"] == bike.tell("two:A")["next_run"] == 4_000_000_000
    assert bike.tell("three:A")["next_run"] != 4_000_000_000


def test_a_paused_job_stays_paused(command: Command, bike: Redbike, crontab: Path) -> None:
    """An import changes schedule and command of a paused job, and does not resume it."""
    crontab.write_text("0 1 * * * one\n")
    command("import", "crontab", "crontab.txt", "--zone=UTC")
    bike.pause("one:A")
    assert command("import", "crontab", "crontab.txt", "--zone=UTC").code == 0
    assert registered(bike) == {"one:A": ("PAUSED:CRON:0 1 * * *", "one")}
    crontab.write_text("0 2 * * * one -x\n")
    assert command("import", "crontab", "crontab.txt", "--zone=UTC").code == 0
    assert registered(bike) == {"one:A": ("PAUSED:CRON:0 2 * * *", "one -x")}
    assert bike.tell("one:A")["next_run"] is None


def test_what_is_left_out(command: Command, bike: Redbike, crontab: Path) -> None:
    """What has no counterpart is named with file and line, the exit code is 1, and the rest is imported."""
    crontab.write_text("0 1 * * * one\n@reboot two\n61 * * * * three\n")
    assert command("import", "crontab", "crontab.txt").by_lines() == (
        1,
        "",
        [
            "redbike: crontab.txt:2: @reboot has no counterpart, because a job belongs to no machine: use systemd",
            "redbike: crontab.txt:3: the minute field '61' is not valid: write numbers from 0 to 59",
            "redbike: crontab.txt: left out, as said above: 2 lines or settings; jobs read: 1",
        ],
    )
    assert list(registered(bike)) == ["one:A"]


def test_a_hint_is_no_fault(command: Command, crontab: Path) -> None:
    """A hint is a line on stderr, and the exit code is 0."""
    crontab.write_text("13/5 1 * * * one\n")
    answer = command("import", "crontab", "crontab.txt")
    assert (answer.code, answer.out) == (0, "")
    assert (
        answer.err
        == "redbike: crontab.txt:1: '13/5' runs from 13 to the end of the range; some crons ignore this step\n"
    )


def test_dry_run(command: Command, crontab: Path, bike: Redbike, in_a_folder: Path) -> None:
    """--dry-run prints JOBID,SCHEDULE,PAYLOAD rows, and needs neither a server nor a conf."""
    crontab.write_text('0 1 * * * echo "a, b"\n@daily x\n')
    (in_a_folder / ".redbike.conf").unlink()
    assert command("import", "crontab", "crontab.txt", "--dry-run", "--zone=Asia/Tokyo", "--queue=B") == (
        0,
        '"echo-a-b:B","CRON:0 1 * * * Asia/Tokyo","echo ""a, b"""\n"x:B","CRON:@daily Asia/Tokyo","x"\n',
        "",
    )
    assert registered(bike) == {}


def test_dry_run_can_be_loaded(command: Command, bike: Redbike, in_a_folder: Path) -> None:
    """`redbike load` sets what --dry-run prints: the same jobs as the import itself."""
    if "load" not in COMMANDS:
        pytest.skip("there is no command load yet")
    (in_a_folder / "jobs.csv").write_text(command("import", "crontab", str(EXAMPLE), "--dry-run").out)
    assert command("load", "jobs.csv").code == 0
    loaded = registered(bike)
    assert len(loaded) == 20
    assert command("import", "crontab", str(EXAMPLE)).code == 0
    assert registered(bike) == loaded


def test_an_id_that_would_break_a_queue(command: Command, crontab: Path, bike: Redbike) -> None:
    """A job that Redbike refuses to register is named with its line, and the exit code is 1."""
    crontab.write_text("0 1 * * * one\n")
    answer = command("import", "crontab", "crontab.txt", "--queue=-members")
    first, last = answer.err.splitlines()
    assert first.startswith("redbike: crontab.txt:1: job id 'one:-members' would share the key")
    assert last == "redbike: crontab.txt: left out, as said above: 1 lines or settings; jobs read: 1"
    assert registered(bike) == {}


def test_stdin(site: Site) -> None:
    """`-` reads the crontab from stdin."""
    ended = subprocess.run(
        [sys.executable, "-m", "redbike", "import", "crontab", "-", "--dry-run", "--zone=UTC"],
        input="0 1 * * * one\n@reboot two\n",
        cwd=site.folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert (ended.returncode, ended.stdout) == (1, '"one:A","CRON:0 1 * * *","one"\n')
    assert ended.stderr.startswith("redbike: stdin:2: @reboot has no counterpart")


def test_system_form(command: Command, crontab: Path) -> None:
    """--system reads the sixth field as a user; --prefix-name begins the ids."""
    crontab.write_text("0 1 * * * root one\n")
    answer = command("import", "crontab", "crontab.txt", "--system", "--prefix-name=web1", "--dry-run", "--zone=UTC")
    assert (answer.code, answer.out) == (1, '"web1-one:A","CRON:0 1 * * *","one"\n')
    assert answer.err.startswith("redbike: crontab.txt:1: user 'root' is left out")


@pytest.mark.skipif(not Path("/etc/crontab").exists(), reason="there is no /etc/crontab")
def test_the_crontab_of_the_system(command: Command) -> None:
    """/etc/crontab is read in the system form without --system."""
    assert "'root' looks like" not in command("import", "crontab", "/etc/crontab", "--dry-run").err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.txt"], "none.txt: cannot be read (No such file or directory); name a crontab, or - for stdin"),
        (["."], ".: cannot be read (Is a directory); name a crontab, or - for stdin"),
        (["x", "--zone=Mars"], "--zone: 'Mars' is not a time zone of the IANA database, such as Europe/Berlin"),
        (["x", "--queue=A:B"], "--queue: 'A:B' is not the name of one queue: write what follows the colon, such as A"),
        (["x", "--queue="], "--queue: '' is not the name of one queue: write what follows the colon, such as A"),
    ],
)
def test_mistakes(command: Command, in_a_folder: Path, arguments: list[str], line: str) -> None:
    """G4: a mistake in the arguments is one line."""
    (in_a_folder / "x").write_text("")
    assert command("import", "crontab", *arguments).one_line() == f"redbike: {line}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["import"], "import needs crontab or redbeat or rediscron next; write: redbike"),
        (["import", "cron", "x"], "import needs crontab or redbeat or rediscron next; write: redbike"),
        (["import", "crontab"], "import needs <FILE>; write: redbike"),
        (["import", "crontab", "a", "b"], "import takes no 'b'; put a value with spaces into quotes; write: redbike"),
    ],
)
def test_misuse(command: Command, arguments: list[str], line: str) -> None:
    """G4: arguments that fit no import are one line, which names what is missing."""
    assert command(*arguments).one_line().startswith(f"redbike: {line}")


@pytest.mark.parametrize(
    ("named", "zone"), [("Europe/Berlin", " Europe/Berlin"), (":Asia/Tokyo", " Asia/Tokyo"), ("UTC", ""), ("", None)]
)
def test_the_zone_of_the_machine(
    command: Command, crontab: Path, monkeypatch: pytest.MonkeyPatch, named: str, zone: str | None
) -> None:
    """Without --zone, times are in the zone of this machine, as in cron: that of TZ, else of /etc/localtime."""
    monkeypatch.setenv("TZ", named)
    crontab.write_text("0 1 * * * one\n")
    answer = command("import", "crontab", "crontab.txt", "--dry-run")
    if zone is None:
        assert answer.out.startswith('"one:A","CRON:0 1 * * *') or "write --zone=ZONE" in answer.err
    else:
        assert answer.out == f'"one:A","CRON:0 1 * * *{zone}","one"\n'


def test_a_zone_that_is_no_place(command: Command, crontab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the zone of the machine has no name, the import asks for it, because a guess would shift the jobs."""
    monkeypatch.setenv("TZ", "CET-1CEST")
    crontab.write_text("0 1 * * * one\n")
    assert (
        command("import", "crontab", "crontab.txt")
        .one_line()
        .startswith(
            "redbike: the zone of this machine cannot be found; write --zone=ZONE: 'CET-1CEST' is not a time zone"
        )
    )


def test_bytes_that_are_not_utf_8(command: Command, crontab: Path) -> None:
    """A line with bytes that are not UTF-8 is left out, and the others are imported."""
    crontab.write_bytes(b"0 1 * * * one\n0 2 * * * tw\xf6\n")
    answer = command("import", "crontab", "crontab.txt", "--dry-run", "--zone=UTC")
    assert (answer.code, answer.out) == (1, '"one:A","CRON:0 1 * * *","one"\n')
    assert "crontab.txt:2: '0 2 * * * tw\\udcf6' is not UTF-8" in answer.err


def test_a_terminal_says_how_many(
    command: Command, crontab: Path, monkeypatch: pytest.MonkeyPatch, bike: Redbike
) -> None:
    """On a terminal, an import says how many jobs were set, and how many were as they should be."""
    monkeypatch.setattr("redbike.streams.is_terminal", lambda: True)
    crontab.write_text("0 1 * * * one\n0 1 * * * two\n")
    bike.set("one:A", "CRON:0 1 * * *", payload="one")
    assert command("import", "crontab", "crontab.txt", "--zone=UTC").out == "crontab.txt: jobs set: 1, unchanged: 1\n"


def last_run(bike: Redbike, jobid: str) -> dict[str, Any]:
    found: Any = bike.details(jobid)["last_run"]
    return found or {}


def work_all(bike: Redbike) -> None:
    """Run all jobs that are in the queue A, one per turn."""
    bike.control("HALT")
    while queued(bike):
        bike.work()
    bike.clear_control()


def test_runs_of_commands(fleet: Fleet) -> None:
    """Exit codes decide: 0 is done, 75 is later, without a command the job is BAD, else the run has failed."""
    bike = fleet(Shell("A"), on_error="reschedule")
    commands = {"good": "true", "later": "exit 75", "bad": "echo oh dear; exit 3", "none": ""}
    for name, command in commands.items():
        bike.set(f"{name}:A", "NOW", payload=command)
    work_all(bike)
    assert last_run(bike, "good:A")["outcome"] == "done"
    assert last_run(bike, "later:A")["outcome"] == "later"
    assert (last_run(bike, "bad:A")["outcome"], last_run(bike, "bad:A")["error"]) == (
        "failed",
        "CommandFailed: exit 3: oh dear",
    )
    assert event(bike, "none:A") == "BAD"
    assert bike.tell("later:A")["next_run"] == pytest.approx(bike.now() + 60, abs=5)


def test_a_late_command_fails_and_is_not_lost(fleet: Fleet) -> None:
    """A command that exceeds its timeout is a failed run with a clear error, and no lost run."""
    bike = fleet(Shell("A"), on_error="reschedule", on_timeout="reschedule", default_timeout=1)
    bike.set("slow:A", "CRON:0 1 * * *", payload="echo began; exec sleep 60")
    bike.enqueue("slow:A")
    work_all(bike)
    assert last_run(bike, "slow:A")["outcome"] == "failed"
    assert last_run(bike, "slow:A")["error"] == (
        "CommandFailed: timeout after 1 s; default-timeout of the conf sets it (killed by SIGTERM): began"
    )


def test_a_stop_waits_for_the_command(site: Site, server: Server, tmp_path: Path) -> None:
    """E3: after TERM, a worker finishes its command, and ends with 0."""
    with Redbike(Shell("A"), site.prefix, server.config, tmp_path / "timefile") as bike:
        bike.set("slow:A", "NOW", payload="echo $$ >pid; while [ ! -e go-on ]; do sleep 0.02; done; echo end >end")
    process = site.start("work", "redbike.commands:Shell('A')")
    eventually((site.folder / "pid").exists)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)  # nothing happens: the command goes on
    (site.folder / "go-on").touch()
    assert process.wait(10) == 0
    assert (site.folder / "end").read_text() == "end\n"


def test_a_crontab_of_twenty_lines_runs(server: Server, prefix: str, tmp_path: Path) -> None:
    """The crontab of examples/ is imported, enqueued at once, and run by a worker process: each command is done."""
    with Site(tmp_path, server, prefix) as site:
        conf = (site.folder / ".redbike.conf").read_text().replace("workers:Scribe('A')", "redbike.commands:Shell('A')")
        (site.folder / ".redbike.conf").write_text(conf)
        imported = site.run("import", "crontab", str(EXAMPLE))
        assert (imported.returncode, imported.stdout, imported.stderr) == (0, "", "")
        with Redbike(Shell("A"), prefix, server.config, site.folder / "timefile") as bike:
            jobids = list(registered(bike))
            assert len(jobids) == 20
            worker = site.start("work")
            for jobid in jobids:
                bike.enqueue(jobid)
            eventually(lambda: all(last_run(bike, jobid) for jobid in jobids), 30)
            assert {last_run(bike, jobid)["outcome"] for jobid in jobids} == {"done"}, site.stderr_of(worker)
            assert all(bike.tell(jobid)["next_run"] for jobid in jobids)
            worker.terminate()
            assert worker.wait(10) == 0
            log = site.stderr_of(worker)
            bike.flush()
    for line in (
        "INFO job 'echo-GREETING-from:A': Good morning from echo-GREETING-from:A",
        "INFO job 'wc:A': 2",
        "INFO job 'pwd:A': /tmp",
        "INFO job 'PWD-tmp:A': in bash",
        "INFO job 'echo-five-o-clock:A': five o'clock somewhere",
    ):
        assert re.search(f"{re.escape(line)}$", log, re.MULTILINE), log


def test_the_example_is_complete(command: Command) -> None:
    """Nothing of examples/crontab is left out, and its twenty jobs have different ids."""
    answer = command("import", "crontab", str(EXAMPLE), "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("CRON:") == 20
    assert not os.stat(EXAMPLE).st_mode & stat.S_IXUSR  # noqa: PTH116 - read, not run

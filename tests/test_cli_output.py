"""F, G5: what the commands print on stdout and stderr, also when these are closed or full."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Fleet
from helpers import HOURLY, Command
from processes import Site, environment

from redbike import Redbike

pytestmark = pytest.mark.usefixtures("silent_root")


# what commands print


def test_set_and_unset_print_nothing(command: Command) -> None:
    """G5: a command that worked prints nothing."""
    for arguments in (["set", "j:A", HOURLY], ["set", "j:A", "STOP"], ["unset", "j:A"], ["control", "halt"]):
        answer = command(*arguments)
        assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_set_takes_a_typed_line_break(command: Command, bike: Redbike) -> None:
    """B11: the two characters backslash and n in a schedule count as a line break."""
    assert command("set", "j:A", "DTSTART:20990101T000000\\nRRULE:FREQ=DAILY").code == 0
    assert bike.tell("j:A")["next_run"] == 4070908800


def test_set_after(command: Command, bike: Redbike) -> None:
    """B9: `--after` is the reference time: the next run is strictly after it."""
    for after, next_run in (("4070908799", 4070908800), ("4070908800", 4070995200), ("4070908799.5", 4070908800)):
        assert command("set", "j:A", "DTSTART:20990101T000000\nRRULE:FREQ=DAILY", "-a", after).code == 0
        assert bike.tell("j:A")["next_run"] == next_run


def test_set_goes_by_the_time_file(command: Command, conf: Path, bike: Redbike) -> None:
    """B9: without `--after`, `set` uses the time in the time file."""
    (conf.parent / ".redbike.timefile").write_text("1500000000")
    assert command("set", "j:A", "DTSTART:20170101T000000\nRRULE:FREQ=DAILY").code == 0
    assert bike.tell("j:A")["next_run"] == 1500076800


def test_tell_prints_json(command: Command, bike: Redbike) -> None:
    """F1: `tell` prints status, next_run, schedule and working as JSON in this order, indented by 2."""
    bike.redis.hset(bike.statuses_key, "ü:A", "TML:1795312521")
    bike.redis.hset(bike.schedules_key, "ü:A", HOURLY)
    bike.redis.zadd(bike.timeline_key, {"ü:A": 1795316121})
    assert command("tell", "ü:A").out == (
        "{\n"
        '  "status": "TML:1795312521",\n'
        '  "next_run": 1795316121,\n'
        '  "schedule": "DTSTART:20200101T000000\\nRRULE:FREQ=HOURLY",\n'
        '  "working": false\n'
        "}\n"
    )


def test_tell_of_an_unknown_job_is_no_error(command: Command) -> None:
    """F1: for an unknown job, `tell` prints null, null, null and false, with exit code 0 and a line on stderr."""
    answer = command("tell", "nobody:A")
    assert answer.code == 0
    assert answer.err.startswith("redbike: there is no job 'nobody:A' under the prefix ")
    assert answer.out == '{\n  "status": null,\n  "next_run": null,\n  "schedule": null,\n  "working": false\n}\n'


def test_tell_prints_valid_json_of_anything(command: Command, bike: Redbike) -> None:
    """F1: quotes, line breaks and letters of any script make valid JSON."""
    text = 'quote " backslash \\ tab \t 日本 €'
    bike.redis.hset(bike.schedules_key, "j:A", text)
    assert json.loads(command("tell", "j:A").out)["schedule"] == text


def test_statuses_prints_csv(command: Command, bike: Redbike) -> None:
    """F2: `statuses` prints job id, event and timestamp as CSV."""
    bike.redis.hset(bike.statuses_key, mapping={"a:A": "STP:100", 'b,"c":A': "TML:200", "ü:A": "DIE:300"})
    answer = command("statuses")
    assert sorted(answer.out.splitlines()) == ['"b,""c"":A",TML,200', "a:A,STP,100", "ü:A,DIE,300"]
    assert command("statuses", "--before=200").out.count("\n") == 2
    assert command("statuses", "-b", "99").out == ""


def test_schedules_prints_csv(command: Command, bike: Redbike) -> None:
    """F3: `schedules` prints job id and schedule as CSV, with quotes where they are needed."""
    bike.redis.hset(bike.schedules_key, mapping={"a:A": "CONTINUE"})
    assert command("schedules").out == "a:A,CONTINUE\n"
    bike.redis.hset(bike.schedules_key, mapping={"a:A": HOURLY})
    assert command("schedules").out == f'a:A,"{HOURLY}"\n'


def test_what_schedules_prints_can_be_loaded_again(command: Command, conf: Path, bike: Redbike) -> None:
    """C3: `dispatch --schedules` loads the output of `schedules`."""
    texts = {"a:A": "CONTINUE", "b:A": HOURLY, 'c,"d":A': "STOP", "e ü:A": "RRULE:FREQ=DAILY;BYHOUR=1,2"}
    for jobid, text in texts.items():
        bike.set(jobid, text)
    printed = command("schedules").out
    assert dict(csv.reader(io.StringIO(printed))) == texts
    (conf.parent / "rows.csv").write_bytes(printed.encode())
    bike.flush()
    bike.load_csv(conf.parent / "rows.csv")
    assert dict(bike.get_schedules()) == texts


def test_control_halts(command: Command, bike: Redbike) -> None:
    """E1: `control` in any case halts the prefix of the conf."""
    assert command("control", "Halt").code == 0
    assert bike.redis.get(bike.control_key) == b"HALT"


# as processes


def test_data_goes_to_stdout_and_log_lines_to_stderr(site: Site, fleet: Fleet) -> None:
    """G5: an unreadable status is a log line on stderr; the other statuses are data on stdout."""
    bike = fleet()
    bike.redis.hset(bike.statuses_key, mapping={"good:A": "STP:100", "bad:A": "what"})
    answer = site.run("statuses")
    assert (answer.returncode, answer.stdout) == (0, "good:A,STP,100\n")
    assert "bad:A" in answer.stderr
    answer = site.run("set", "j:A", "gibberish")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "Traceback" not in answer.stderr


def test_output_is_utf8_whatever_the_locale(site: Site, fleet: Fleet) -> None:
    """G5: in the C locale, ids in any script, also bytes that are not UTF-8, are printed as they are in Redis."""
    bike = fleet()
    bike.redis.hset(bike.schedules_key, b"\xe6\x97\xa5\xff:A", "STOP")
    answer = subprocess.run(
        [sys.executable, "-m", "redbike", "schedules"],
        cwd=site.folder,
        env={**environment(), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        timeout=30,
    )
    assert (answer.returncode, answer.stdout) == (0, b"\xe6\x97\xa5\xff:A,STOP\n"), answer.stderr


def test_a_reader_who_has_seen_enough_is_no_error(site: Site, fleet: Fleet) -> None:
    """G4: `redbike schedules | head -n 1` ends with 0 and prints nothing on stderr."""
    bike = fleet()
    bike.redis.hset(bike.schedules_key, mapping={f"{n}:A": HOURLY for n in range(20_000)})
    process = subprocess.Popen(
        [sys.executable, "-m", "redbike", "schedules"],
        cwd=site.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(20) == 0


# times


def test_set_says_where_a_stale_time_file_makes_a_run_due_at_once(site: Site, fleet: Fleet) -> None:
    """B9: if an old time file makes a run due at once, stderr says so; with `--after=now` it does not."""
    (site.folder / ".redbike.timefile").write_text("1500000000")
    done = site.run("set", "j:A", "EVERY:1h")
    said = r"'j:A' is due at once: .*\.redbike\.timefile, which is \d+ s old; .*--after=now"
    assert (done.returncode, bool(re.search(said, done.stderr))) == (0, True)
    done = site.run("set", "j:A", "EVERY:1h", "--after=now")
    assert (done.returncode, done.stderr) == (0, "")
    bike = fleet()
    assert bike.tell("j:A")["next_run"] == pytest.approx(bike.now() + 3600, abs=5)


def test_now_is_a_time_for_every_command(command: Command, bike: Redbike) -> None:
    """G: `now` is accepted for every time."""
    bike.set("j:A", "NOW")
    assert command("statuses", "--before=now").out.startswith("j:A,ENQ,")
    assert command("lost", "--before=NOW").code == 0
    assert command("next", "EVERY:1h", "--after=now", "--count=1").code == 0
    bike.control("HALT")


# streams


@pytest.mark.parametrize("arguments", [["set", "j:A", "NOW"], ["unset", "j:A"], ["control", "halt"]])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(site: Site, fleet: Fleet, arguments: list[str], closed: str) -> None:
    """G4: a command that prints nothing works and ends with 0, whichever streams are closed."""
    fleet().set("j:A", "STOP")
    done = shell(site, arguments, closed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["statuses"], ["schedules"], ["tell", "j:A"], ["lost"], ["next", "NOW"], ["--help"]]
)
@pytest.mark.parametrize(("to", "said"), [(">&-", "closed"), (">/dev/full", "No space left")])
def test_data_that_has_nowhere_to_go_is_one_line(
    site: Site, fleet: Fleet, arguments: list[str], to: str, said: str
) -> None:
    """G4: if stdout is closed or full, a command that prints data says so in one line and exits with 1."""
    bike = fleet()
    bike.set("j:A", "CONTINUE")
    next(bike.consumer)
    bike.redis.delete(f"{bike.prefix}-work-A-j:A")
    done = shell(site, arguments, to)
    assert done.returncode == 1
    assert re.fullmatch(f"redbike: the output cannot be written: .*{said}.*\n", done.stderr)


def test_errors_do_not_go_to_stdout(site: Site) -> None:
    """G5: with stderr closed, no error is printed on stdout."""
    done = shell(site, ["set", "j:A", "SOMETIMES"], "2>&-")
    assert (done.returncode, done.stdout) == (1, "")


def shell(site: Site, arguments: list[str], redirection: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m redbike "$@" {redirection}', sys.executable, *arguments],
        cwd=site.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )

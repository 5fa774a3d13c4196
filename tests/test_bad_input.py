"""Wrong arguments and files on the command line: exit code 1, one line that helps, and nothing changed in Redis."""

import errno
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_inputs import Shop
from conftest import Fleet
from helpers import PAST

from redbike import Redbike

# Timestamps

NO_TIMES = ["", " ", "noon", "2026-13-01", "1e", "nan", "inf", "-inf", "1e999", "0x10", "1,5", "१२a"]


@pytest.mark.parametrize("text", NO_TIMES)
@pytest.mark.parametrize(
    "command",
    [
        ["set", "new:A", "RRULE:FREQ=DAILY", "--after"],
        ["dispatch", "--schedules=new.csv", "--after"],
        ["statuses", "--before"],
    ],
    ids=lambda command: command[0],
)
def test_bad_timestamp(shop: Shop, command: list[str], text: str) -> None:
    """G4: a timestamp that is not a number gives one line with the option, the value, and the form of a timestamp."""
    Path("new.csv").write_text("new:A,NOW\n")
    line = shop.refused(*command[:-1], f"{command[-1]}={text}")
    assert f"{command[-1]}: {text!r} is not a time in Unix seconds, such as 1790000000" in line


@pytest.mark.parametrize("text", ["0", "-5", "1e300", "-1e300", "1500000000.5"])
def test_extreme_timestamp(shop: Shop, text: str) -> None:
    """G4: a timestamp that is a number is accepted, however far away it is."""
    code, _, lines = shop.run("set", "new:A", "RRULE:FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0", f"--after={text}")
    assert (code, lines) == (0, [])
    assert shop.run("statuses", f"--before={text}")[0] == 0


# The file of schedules


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"new:A\n", 1, "1 field instead of JOBID,SCHEDULE"),
        (b"new:A,NOW\nnewer:A,RRULE:FREQ=DAILY;BYHOUR=1,2\n", 2, "3 fields"),
        (b'new:A,NOW\nnewer:A,"NOW\n', 2, "unexpected end of data"),
        (b"new:A,NOW\nnew\xff:A,NOW\n", 2, "byte 0xff is not UTF-8"),
        (b"new:A,NOW\n,NOW\n", 2, "job id '' is empty"),
        (b"new:A,NOW\nmembers,NOW\n", 2, "job id 'members'"),
        (b"new:A,NOW\n" + 100_000 * b"x" + b":A,NOW\n", 2, "100002 bytes long"),
        (b'new:A,NOW\n"a\nb:A",NOW\n', 3, "line break"),
        (b"\x80\x81\x82", 1, "byte 0x80 is not UTF-8"),
    ],
)
def test_malformed_csv(shop: Shop, content: bytes, line: int, said: str) -> None:
    """G4, C3: a malformed file of schedules gives one line with file, line and reason, and no job is set."""
    Path("new.csv").write_bytes(content)
    message = shop.misconfigured("dispatch", "--schedules=new.csv", clears_control=True)
    assert f"new.csv:{line}: " in message
    assert said in message


@pytest.mark.parametrize(("name", "said"), [("missing.csv", "No such file"), (".", "Is a directory")])
def test_missing_csv(shop: Shop, name: str, said: str) -> None:
    """G4: a file of schedules that cannot be read gives one line that names it."""
    message = shop.misconfigured("dispatch", f"--schedules={name}", clears_control=True)
    assert f"{name}: cannot be read ({said}" in message


# Job ids


@pytest.mark.parametrize(
    ("jobid", "said"),
    [
        ("", "job id '' is empty: give the job a name"),
        ("members", "job id 'members' would share the key"),
        ("a\nb:A", r"job id 'a\nb:A' has a line break"),
        ("a\r:A", r"job id 'a\r:A' has a line break"),
        ("a\x00:A", r"job id 'a\x00:A' has a line break or another control character"),
        ("x" * 100_000 + ":A", "is 100002 bytes long: at most 4096 are allowed"),
        ("ä" * 4_000 + ":A", "is 8002 bytes long"),
        ("\udcff:A", "is not valid UTF-8"),
    ],
    ids=range(8),
)
def test_bad_job_id(shop: Shop, jobid: str, said: str) -> None:
    """G4, A4: `set` refuses an impossible job id in one line that says what is wrong; nothing is set."""
    assert said in shop.refused("set", jobid, "NOW")


# Schedules


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("", "schedule is empty"),
        ("garbage", "'garbage'"),
        ("RRULE:FREQ=DAILY;COUNT=0", "COUNT='0'"),
        ("RRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL='0'"),
        ("RRULE:FREQ=FORTNIGHTLY", "FORTNIGHTLY"),
        ("AT:noon", "'noon'"),
        ("AT:1790000000000", "is it in milliseconds?"),
        ("now", "in capitals"),
        ("x" * 100_000, "at most 65536"),
        ("\udcff", "not valid UTF-8"),
    ],
    ids=range(10),
)
def test_bad_schedule(shop: Shop, schedule: str, said: str) -> None:
    """G4, B6: a schedule that cannot be read gives exit code 1 and a line that says why; only that job becomes BAD."""
    before = shop.jobs()
    code, out, lines = shop.run("set", "new:A", schedule)
    assert (code, out, len(lines)) == (1, "", 1)
    assert lines[0].startswith("redbike: job 'new:A' is BAD: ")
    assert said in lines[0]
    assert len(lines[0]) < 1_000
    after = shop.jobs()
    assert after["-schedules"].pop("new:A") == schedule
    assert after["-statuses"].pop("new:A").startswith("BAD:")
    assert after == before


def test_bad_schedule_is_one_line(shop: Shop) -> None:
    """G4: `set` reports a bad schedule in one line on stderr, once."""
    done = shop.process("set", "new:A", "garbage")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    "schedule",
    [
        "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "RRULE:FREQ=DAILY;UNTIL=20200101T000000",
        "DTSTART:20200101T000000\nRRULE:FREQ=MINUTELY\nEXRULE:FREQ=MINUTELY",
    ],
)
def test_rule_that_never_matches(shop: Shop, schedule: str) -> None:
    """B5: a rule without a further occurrence is decided within a moment: the job is stopped or BAD, and not on the
    timeline.
    """
    before = shop.jobs()
    began = time.monotonic()
    code, _, lines = shop.run("set", "new:A", schedule)
    assert time.monotonic() - began < 2
    after = shop.jobs()
    event = after["-statuses"].pop("new:A")[:3]
    assert (code, event, len(lines)) in ((0, "STP", 0), (0, "STP", 1), (1, "BAD", 1))
    del after["-schedules"]["new:A"]
    assert after == before


# The time file


def nowhere(folder: Path) -> str:
    return str(folder / "missing" / "timefile")


def inside_a_file(folder: Path) -> str:
    return str(folder / "workers.py" / "timefile")


def a_folder(folder: Path) -> str:
    return str(folder)


@pytest.mark.parametrize("place", [nowhere, inside_a_file, a_folder])
def test_time_file_that_cannot_be_written(shop: Shop, place: Callable[[Path], str]) -> None:
    """G4: a dispatcher that cannot write its time file says so at its start, in one line with the path and the way out,
    and dispatches nothing.
    """
    path = place(shop.folder)
    shop.conf(f"timefile: {path}")
    shop.bike.redis.zadd(shop.bike.timeline_key, {"due:A": PAST})
    line = shop.refused("dispatch", logged=True, clears_control=True)
    assert f"time file {path}: cannot be written (" in line
    assert "set timefile in the conf to another file" in line


@pytest.mark.parametrize("content", ["garbage", None])
def test_time_file_that_cannot_be_read(shop: Shop, fleet: Fleet, content: str | None) -> None:
    """C4: a time file that cannot be read gives one warning, and `set` uses the present."""
    path = fleet.folder / "odd"
    path.mkdir() if content is None else path.write_text(content)
    shop.conf(f"timefile: {path}")
    done = shop.process("set", "new:A", "EVERY:1d")
    assert (done.returncode, done.stdout) == (0, "")
    [line] = done.stderr.splitlines()
    assert f"WARNING time file {path}: " in line
    assert shop.bike.tell("new:A")["next_run"] == pytest.approx(time.time() + 86_400, abs=30)


# Signals


@pytest.mark.parametrize("signal", ["PAUSED", "", "HALT ", "HALTED", "stop", "ﬀ", "🚲"])
def test_unknown_signal(shop: Shop, signal: str) -> None:
    """G4, E1: an unknown signal gives one line with the known signals, and nothing is written."""
    shop.bike.clear_control()
    line = shop.refused("control", signal)
    assert f"signal {signal!r} is not known: the known signals are HALT, PAUSE, RESUME" in line


def test_users_log_is_left_alone() -> None:
    """G5: importing the library sets up no logging."""
    assert logging.getLogger("redbike").handlers == []


def test_output_that_cannot_be_written(shop: Shop) -> None:
    """G4: a full disk under stdout gives one line, and exit code 1."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-P", "-m", "redbike", "schedules"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, cwd=shop.folder)
    assert (done.returncode, done.stderr) == (1, "redbike: the output cannot be written: No space left on device\n")


def test_a_fault_elsewhere_is_not_blamed_on_the_output(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: an error of the system that does not concern the output is raised unchanged."""

    def fail(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(Redbike, "get_schedules", fail)
    with pytest.raises(OSError, match="Invalid argument"):
        shop.run("schedules")

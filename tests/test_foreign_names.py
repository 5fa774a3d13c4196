"""Names that other programs wrote: no line that Redbike logs or prints does more to a terminal than show a text."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from nodes import eventually
from processes import Site, environment

from redbike.cli import commands
from redbike.logs import PlainFormatter, plain, printable

HOSTILE = "x\x1b[2J\r\x07\x9b31m\u202e\u2028\nfake line:A"


def test_what_is_printable_stays() -> None:
    """Text in any language is shown unchanged; all other characters are shown as escapes."""
    for text in ("plain", "žluťoučký kůň — 馬", "", "a 'quoted' \\ one"):
        assert printable(text) == text
    assert printable("a\x1bb\r\nc\x9b\u202e\ud800") == r"a\x1bb\r\nc\x9b\u202e\ud800"
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_our_log_lines_stay_one_line_in_any_format(caplog: pytest.LogCaptureFixture) -> None:
    """A program's log format receives lines without control characters, and plain lines unchanged."""
    log = plain(logging.getLogger("redbike.foreign"))
    caplog.set_level(logging.INFO)
    log.warning("job %s: %d", "a:A", 1, extra={"bad_schedule": True})
    log.error("job %s", HOSTILE)
    log.debug("job %s: %d", "not shown, so not formatted")
    first, second = caplog.records
    assert (first.msg, first.args, first.funcName) == (
        "job %s: %d",
        ("a:A", 1),
        "test_our_log_lines_stay_one_line_in_any_format",
    )
    assert first.bad_schedule  # type: ignore[attr-defined]
    assert second.getMessage().isprintable()
    assert second.filename == "test_foreign_names.py"


def test_a_traceback_is_made_of_printable_lines() -> None:
    """The log format of the command shows a traceback in lines, without the control characters of a foreign job id."""
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("redbike", logging.ERROR, "", 0, "job %r died", ("x",), sys.exc_info())
    text = PlainFormatter("%(message)s").format(record)
    assert text.startswith("job 'x' died\nTraceback")
    assert all(line.isprintable() for line in text.splitlines())
    theirs = logging.LogRecord("theirs", logging.INFO, "", 0, "two\nlines\x1b", (), None)
    assert PlainFormatter("%(message)s").format(theirs) == "two\nlines\\x1b"


def test_foreign_keys_and_ids_in_the_log(fleet: Fleet, worker: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """Ids and keys of other programs with control characters reach a log as printable text only."""
    bike = fleet(worker)
    queue = bike.queue_for(HOSTILE.replace("\n", ""))
    hostile = HOSTILE.replace("\n", "")
    worker.acts[hostile] = lambda: 1 / 0
    bike.redis.hset(bike.schedules_key, hostile, "no schedule\x1b[31m")
    bike.redis.hset(bike.statuses_key, hostile, "no status\x1b[31m")
    bike.redis.zadd(bike.timeline_key, {hostile: 1})
    bike.redis.set(f"{bike.prefix}-work-\x1b[2J", "of a wrong type")
    bike.redis.zadd(bike.timeline_key, {"y:\x1b[2J": 1})
    bike.control("HALT")
    bike.dispatch()
    list(bike.get_statuses())
    bike.work()
    assert queue == bike.queue_for("j:A")
    assert hostile in worker.done
    assert caplog.records
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()
    bike.redis.delete(f"{bike.prefix}-work-\x1b[2J")


def test_foreign_ids_on_a_terminal(server: Server, prefix: str, tmp_path: Path) -> None:
    """`redbike work` with a job that dies writes printable lines to stderr, also in the traceback."""
    with Site(tmp_path, server, prefix) as site:
        worker = site.start_idle("work")
        site.redis.hset(f"{prefix}-schedules", "dies-\x1b[2J\r:A", "CONTINUE")
        site.redis.sadd(f"{prefix}-work-A-members", "dies-\x1b[2J\r:A")
        site.redis.lpush(f"{prefix}-work-A", "dies-\x1b[2J\r:A")
        eventually(lambda: "as it was told" in site.stderr_of(worker))
        assert all(line.isprintable() for line in site.stderr_of(worker).split("\n"))
        done = site.run("tell", "dies-\x1b[2J:\r")
        assert json.loads(done.stdout)["schedule"] is None
        refused = site.run("set", "dies-\x1b[2J\r:A", "NOW")
        assert refused.returncode == 1
        assert refused.stderr.removesuffix("\n").isprintable()
        site.run("control", "HALT")


@pytest.mark.parametrize("score", ["inf", "-inf"])
def test_tell_is_json_whatever_the_timeline_says(
    fleet: Fleet, score: str, caplog: pytest.LogCaptureFixture, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1: an invalid time that another program wrote is no next run, and a line in the log names the job."""
    bike = fleet()
    bike.redis.zadd(bike.timeline_key, {"j:A": score})
    assert bike.tell("j:A")["next_run"] is None
    assert f"job 'j:A': is on the timeline at {score}, which is not a Unix time" in caplog.text
    monkeypatch.setattr(commands, "opened", lambda _, **_looks: bike)
    commands.do_tell({"<JOBID>": "j:A"})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["next_run"] is None


@pytest.mark.parametrize("command", [["--help"], ["set", "a:A", "NOW"], ["tell", "a:A"], ["no", "command"], []])
def test_without_docstrings(server: Server, prefix: str, tmp_path: Path, command: list[str]) -> None:
    """G4: with PYTHONOPTIMIZE=2, which removes docstrings and assertions, the commands work the same."""
    with Site(tmp_path, server, prefix) as site:
        plainly = site.run(*command)
        optimized = subprocess.run(
            [sys.executable, "-OO", "-m", "redbike", *command],
            cwd=site.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (optimized.returncode, optimized.stderr) == (plainly.returncode, plainly.stderr)
        assert "Traceback" not in optimized.stderr
        assert optimized.stdout.split(":")[0] == plainly.stdout.split(":")[0]
        if "--help" in command:
            assert optimized.stdout == plainly.stdout
            assert "Usage:" in optimized.stdout

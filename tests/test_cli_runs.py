"""The commands about runs and pauses: payloads, pause, resume, unset --match, show and history."""

import io
import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Fleet, Recorder, Server
from helpers import FUTURE, HOURLY, Command, raising, server_now, state_of, timeline
from nodes import eventually
from processes import Site

from redbike import Redbike


def payloads(bike: Redbike) -> dict[str, str]:
    """Return the payloads in Redis, by job id."""
    found: dict[str, str] = state_of(bike).get(":payloads", {})
    return found


# payloads


def test_payload_from_an_argument_a_file_and_stdin(
    command: Command, bike: Redbike, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--payload` is a text, the content of a file after @, or stdin for -; without it, the payload stays."""
    Path("mail.json").write_text('{"to": "ann"}\n')
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("🚲".encode())))
    for text, kept in (("plain", "plain"), ("@mail.json", '{"to": "ann"}\n'), ("-", "🚲"), (None, "🚲")):
        arguments = ["set", "j:A", "NOW", *([] if text is None else [f"--payload={text}"])]
        assert command(*arguments).code == 0
        assert payloads(bike) == {"j:A": kept}
    assert command("set", "j:A", "NOW", "--payload=").code == 0
    assert payloads(bike) == {}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("@missing", "'missing' cannot be read (No such file or directory)"),
        ("@.", "'.' cannot be read (Is a directory)"),
        ("@odd", "'odd' is not UTF-8"),
        ("@big", "1048577 bytes: at most 1048576 are allowed"),
    ],
)
def test_payloads_that_cannot_be_read(command: Command, bike: Redbike, payload: str, said: str) -> None:
    """G4: a payload that cannot be read is an error in one line, and the job is not set."""
    Path("odd").write_bytes(b"\xff")
    Path("big").write_bytes(b"x" * 2_000_000)
    assert said in command("set", "j:A", "NOW", f"--payload={payload}").one_line()
    assert state_of(bike) == {}


def test_first_and_schedules_with_payloads(command: Command, bike: Redbike) -> None:
    """`--first` is a time or a length of time from now; `schedules --payloads` has three columns."""
    assert command("set", "j:A", "EVERY:1d", f"--first={FUTURE}", "--payload=a,b").code == 0
    assert timeline(bike) == {"j:A": FUTURE}
    assert command("set", "j:A", "CONTINUE", "--first=+10m").code == 0
    assert timeline(bike)["j:A"] == pytest.approx(server_now(bike) + 600, abs=5)
    assert '"a,b"' in command("schedules", "--payloads").out
    assert command("schedules").out == "j:A,CONTINUE\n"
    assert "--first: 'soon' is not a time" in command("set", "j:A", "NOW", "--first=soon").one_line()


# pauses


def test_pause_and_resume(command: Command, bike: Redbike) -> None:
    """`pause` and `resume` are quiet when all is well, and say what is wrong."""
    bike.set("j:A", HOURLY)
    assert command("pause", "j:A", "--until=+2h", "--note=why") == (0, "", "")
    assert bike.get_schedule("j:A") == f"PAUSED:{HOURLY}"
    shown = command("show", "j:A").out
    assert "paused" in shown
    assert ": why" in shown
    assert command("resume", "j:A") == (0, "", "")
    assert "job 'j:A' is not paused" in command("resume", "j:A").err
    assert "job 'x:A' has no schedule" in command("pause", "x:A").one_line()
    assert "--until: 'never' is not a time" in command("pause", "j:A", "--until=never").one_line()


def test_many_jobs_at_once(command: Command, bike: Redbike) -> None:
    """`--match` takes all jobs that match, `--dry-run` only prints them."""
    for jobid in ("a1:A", "a2:A", "b:A"):
        bike.set(jobid, HOURLY)
    before = state_of(bike)
    for name in ("pause", "unset"):
        assert command(name, "--match=a*", "--dry-run").out == "a1:A\na2:A\n"
    assert state_of(bike) == before
    assert command("pause", "--match=a*").out.count("PAUSED:") == 2
    assert command("pause", "--match=*:A").out.count("PAUSED:") == 1, "paused jobs stay as they are"
    assert len(command("resume", "--match=a?:A").out.splitlines()) == 2
    assert command("unset", "--match=a*").out == "a1:A: removed\na2:A: removed\n"
    assert dict(bike.get_schedules()) == {"b:A": f"PAUSED:{HOURLY}"}
    assert "no job matches 'z*'" in command("unset", "--match=z*").err


def test_queues(command: Command, bike: Redbike) -> None:
    """`pause --queue` holds a queue, `resume --queue` releases it, and both say when nothing changes."""
    assert command("pause", "--queue=work-A") == (0, "", "")
    assert list(bike.get_held()) == ["work-A"]
    assert "was held already" in command("pause", "--queue=work-A").err
    assert command("resume", "--queue=work-A") == (0, "", "")
    assert "was not held" in command("resume", "--queue=work-A").err
    assert "'' is not a queue name" in command("pause", "--queue=").one_line(78)


def test_control(command: Command, bike: Redbike) -> None:
    """E4: `control PAUSE` holds the prefix, `control RESUME` releases it."""
    assert command("control", "PAUSE").code == 0
    assert list(bike.get_held()) == [""]
    assert command("control", "resume").code == 0
    assert bike.get_held() == {}


# show and history


def test_show(command: Command, fleet: Fleet) -> None:
    """`show` prints all that is known of a job, for people, or as JSON as `details` returns it."""
    worker = Recorder()
    worker.acts["j:A"] = raising(ValueError("no\x1b[31m luck"))
    bike = fleet(worker)
    bike.control("HALT")
    bike.set("j:A", "CONTINUE", payload="text\nof two lines")
    bike.work()
    shown = command("show", "j:A").out
    for part in ("schedule     CONTINUE", "failed since", "1 in a row: ValueError: no", r"text\nof two lines"):
        assert part in shown
    assert "\x1b" not in shown
    assert json.loads(command("show", "j:A", "--json").out) == bike.details("j:A")
    unknown = command("show", "x:A")
    assert unknown.code == 0
    assert "there is no job 'x:A'" in unknown.err


def test_history(command: Command, fleet: Fleet) -> None:
    """`history` prints the latest runs, the latest last, and chooses by job, outcome, time and number."""
    worker = Recorder()
    worker.acts["bad:A"] = raising(ValueError("no"))
    bike = fleet(worker)
    bike.control("HALT")
    for number in range(25):
        bike.set(f"{number}:A", "NOW")
        bike.work()
    bike.set("bad:A", "NOW")
    bike.work()
    lines = command("history").out.splitlines()
    assert len(lines) == 20
    assert lines[-1].endswith("bad:A  ValueError: no")
    assert len(command("history", "--count=3").out.splitlines()) == 3
    assert len(command("history", "--outcome=failed").out.splitlines()) == 1
    assert len(command("history", "7:A").out.splitlines()) == 1
    record = json.loads(command("history", "7:A", "--json").out)
    assert (record["jobid"], record["outcome"], record["attempt"]) == ("7:A", "done", 1)
    assert command("history", "--since=+1h").out == ""
    assert "--outcome: 'good' is not one of done, " in command("history", "--outcome=good").one_line()
    assert "--count: '0' is not a number from 1" in command("history", "--count=0").one_line()


def test_follow(server: Server, prefix: str, tmp_path: Path) -> None:
    """`history --follow` prints each run as it ends, until Ctrl-C."""
    with Site(tmp_path, server, prefix) as site:
        site.start_idle("work")
        follower = site.start("history", "--follow", "--json")
        eventually(lambda: any(one["cmd"].startswith("xread") for one in site.redis.client_list()), 10)  # type: ignore[union-attr]
        for jobid in ("a:A", "b:A"):
            site.run("set", jobid, "NOW")
        assert follower.stdout is not None
        lines = [json.loads(follower.stdout.readline()) for _ in range(2)]
        assert [line["jobid"] for line in lines] == ["a:A", "b:A"]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130

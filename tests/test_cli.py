"""G: the command line. It is called in this process where that shows all there is, and as a process where it does not.

The conf, its settings and the worker expression have tests of their own; here it is what the user sees.
"""

import csv
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import docopt
import pytest
from conftest import Fleet, Server
from processes import Site, environment

from redbike import Redbike, cli

HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"

USAGE = """\
  redbike [--config=<CONF>] set <JOBID> <SCHEDULE> [--after=<TIMESTAMP>]
  redbike [--config=<CONF>] unset <JOBID>
  redbike [--config=<CONF>] dispatch [<WORKER>] [--schedules=<SCHEDULESCSV> [--after=<TIMESTAMP>]]
  redbike [--config=<CONF>] work [<WORKER>]
  redbike [--config=<CONF>] statuses [--before=<TIMESTAMP>]
  redbike [--config=<CONF>] schedules
  redbike [--config=<CONF>] tell <JOBID>
  redbike [--config=<CONF>] control <SIGNAL>
"""


class Answer:
    """What a command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def one_line(self) -> str:
        """The one line on stderr of a command that failed as the contract has it."""
        assert self.code == 1, (self.code, self.err)
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Redbikes = Callable[..., Answer]


@pytest.fixture
def conf(server: Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A conf without a worker, in the folder where the commands of this test are called."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".redbike.conf"
    path.write_text(f"[redbike]\nprefix: {prefix}\n[redbike-redis]\nunix_socket_path: {server.socket}\n")
    return path


@pytest.fixture
def command(conf: Path, capsys: pytest.CaptureFixture[str]) -> Redbikes:  # noqa: ARG001 - the folder is the conf's
    """Calls redbike with arguments."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = cli.main(list(arguments))
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def silent_root() -> Iterator[None]:
    """The command sets up logging, for its process; here the handler is taken away again."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


# usage


def parsed(*arguments: str) -> dict[str, object]:
    found: dict[str, object] = docopt.docopt(cli.USAGE, list(arguments))
    return {name: value for name, value in found.items() if value not in (None, False)}


def test_the_usage_of_the_contract_is_part_of_the_help(command: Redbikes) -> None:
    """G: `--help` shows the usage of the contract, line by line, and each command and option once more in words."""
    answer = command("--help")
    assert answer.code == 0
    assert answer.err == ""
    assert USAGE in answer.out
    for name in ("set", "unset", "dispatch", "work", "statuses", "schedules", "tell", "control"):
        assert re.search(rf"^  {name} +[A-Z]", answer.out, re.MULTILINE)
    for option in ("-c", "-a", "-b", "-s", "--help", "--version"):
        assert option in answer.out
    assert command("-h").out == answer.out


def test_version(command: Redbikes) -> None:
    """G: `--version` prints the version and nothing else."""
    answer = command("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"{version('redbike')}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["ride"],
        ["set"],
        ["set", "j:A"],
        ["set", "j:A", "NOW", "more"],
        ["tell"],
        ["tell", "a", "b"],
        ["statuses", "x"],
        ["unset", "j:A", "--after=5"],
        ["control"],
        ["--frobnicate", "schedules"],
        ["set", "j:A", "NOW", "--after"],
        ["SET", "j:A", "NOW"],
    ],
)
def test_misuse_shows_the_usage_and_exits_with_1(command: Redbikes, arguments: list[str]) -> None:
    """G4: what is no command shows the usage on stderr, prints nothing, and exits with 1."""
    answer = command(*arguments)
    assert answer.code == 1
    assert answer.out == ""
    assert "redbike [--config=<CONF>] tell <JOBID>" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "j:A", "NOW", "--after=7", "--config=x"],
        ["set", "j:A", "NOW", "--after", "7", "--config", "x"],
        ["--config=x", "set", "j:A", "NOW", "--after=7"],
        ["--after=7", "--config=x", "set", "j:A", "NOW"],
        ["set", "--after=7", "j:A", "--config=x", "NOW"],
        ["set", "-a", "7", "j:A", "-c", "x", "NOW"],
        ["-a7", "-cx", "set", "j:A", "NOW"],
        ["set", "j:A", "-cx", "NOW", "-a7"],
    ],
)
def test_options_may_stand_anywhere(arguments: list[str]) -> None:
    """G: options, short or long, with or without `=`, may stand anywhere."""
    given = parsed(*arguments)
    given.pop("--count", None)
    assert given == {"set": True, "<JOBID>": "j:A", "<SCHEDULE>": "NOW", "--after": "7", "--config": "x"}


@pytest.mark.parametrize(
    ("arguments", "option", "value"),
    [
        (["statuses", "-b", "7"], "--before", "7"),
        (["-b7", "statuses"], "--before", "7"),
        (["dispatch", "-s", "f.csv"], "--schedules", "f.csv"),
        (["dispatch", "m:W('A')", "-s", "f.csv", "-a", "5"], "<WORKER>", "m:W('A')"),
        (["dispatch", "-a", "5", "-s", "f.csv"], "--after", "5"),
        (["work", "m:W('A')", "-c", "c"], "--config", "c"),
        (["schedules"], "--config", ".redbike.conf"),
        (["control", "HALT", "-c", "c"], "<SIGNAL>", "HALT"),
    ],
)
def test_short_options(arguments: list[str], option: str, value: str) -> None:
    """G: `-c` config, `-a` after, `-b` before, `-s` schedules, in each command that knows them."""
    assert parsed(*arguments)[option] == value


# G1


def test_the_conf_of_the_current_folder_is_used(command: Redbikes, bike: Redbike) -> None:
    """G1: without `--config` it is `.redbike.conf` in the current folder."""
    assert command("set", "j:A", "CONTINUE").code == 0
    assert bike.tell("j:A")["schedule"] == "CONTINUE"


def test_another_conf_can_be_named(command: Redbikes, conf: Path, bike: Redbike) -> None:
    """G1: `--config` names another file, in any folder."""
    other = conf.parent / "else" / "where.conf"
    other.parent.mkdir()
    conf.rename(other)
    assert command("set", "j:A", "CONTINUE", "-c", "else/where.conf").code == 0
    assert command(f"--config={other}", "set", "k:A", "CONTINUE").code == 0
    assert dict(bike.get_schedules()) == {"j:A": "CONTINUE", "k:A": "CONTINUE"}


def test_the_conf_reaches_the_scheduler(
    command: Redbikes, conf: Path, bike: Redbike, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: prefix, timefile and default-timeout of the conf are those that a command goes by."""
    conf.write_text(conf.read_text().replace("[redbike-redis]", "timefile: t\ndefault-timeout: 2.5\n[redbike-redis]"))
    seen: list[Redbike] = []
    monkeypatch.setattr(Redbike, "unset", lambda self, _jobid: seen.append(self))
    assert command("unset", "j:A").code == 0
    assert (seen[0].prefix, seen[0].timefile, seen[0].default_timeout) == (bike.prefix, "t", 2.5)


# G2, G3


WORKER = """
from pathlib import Path
from redbike import RoundRobin

Path("imported").touch()


class Lines(RoundRobin):
    def queue_for(self, jobid):
        return "line"
"""


def test_commands_run_without_a_worker(command: Redbikes, bike: Redbike) -> None:
    """G3: without a worker in the conf, jobs go where RoundRobin would have them."""
    for arguments in (
        ["set", "j:A", "NOW"],
        ["tell", "j:A"],
        ["statuses"],
        ["schedules"],
        ["unset", "k:B"],
        ["control", "HALT"],
    ):
        assert command(*arguments).code == 0, arguments
    assert bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1) == [b"j:A"]


def test_a_worker_of_the_current_folder_names_the_queues(command: Redbikes, conf: Path, bike: Redbike) -> None:
    """G2: the worker of the conf is found in the current folder, and its `queue_for` decides where jobs go."""
    (conf.parent / "g2_lines.py").write_text(WORKER)
    conf.write_text(conf.read_text().replace("[redbike]", "[redbike]\nworker: g2_lines:Lines('A')"))
    assert command("set", "j:A", "CONTINUE").code == 0
    assert (conf.parent / "imported").exists()
    assert bike.redis.lrange(f"{bike.prefix}-line", 0, -1) == [b"j:A"]
    bike.redis.delete(f"{bike.prefix}-line", f"{bike.prefix}-line-members")


def test_work_needs_a_worker(command: Redbikes) -> None:
    """G4: `work` without any worker says where to name one, and how."""
    assert re.search(r"\.redbike\.conf, \[redbike\].*no worker.*package\.module:", command("work").one_line())


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("g2_none:Lines('A')", "'g2_none'"),
        ("Lines", "'Lines'"),
        ("json:dumps('A')", "str"),
        ("redbike:RoundRobin()", "initstring"),
        ("redbike:Redbik('A')", "Redbik"),
    ],
)
@pytest.mark.parametrize("verb", ["work", "dispatch"])
def test_a_worker_that_cannot_be_found_is_one_line(command: Redbikes, verb: str, expression: str, said: str) -> None:
    """G4: a worker expression that is wrong is one line that says what in it is."""
    assert said in command(verb, expression).one_line()


# G4: what else a user can cause


def test_a_missing_conf(command: Redbikes, conf: Path) -> None:
    """G4: without a conf, the file is named, and what to do."""
    conf.unlink()
    assert re.fullmatch(r"redbike: \.redbike\.conf: .*--config", command("schedules").one_line())
    assert "no/such.conf" in command("-c", "no/such.conf", "schedules").one_line()


@pytest.mark.parametrize("text", ["", "[other]\n", "prefix: x\n", "[redbike]\ndefault-timeout: ten\n", "\udcff"])
def test_a_malformed_conf(command: Redbikes, conf: Path, text: str) -> None:
    """G4: a conf that cannot be read is one line that names it."""
    conf.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert ".redbike.conf" in command("schedules").one_line()


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "j:A", "NOW"],
        ["unset", "j:A"],
        ["tell", "j:A"],
        ["statuses"],
        ["schedules"],
        ["control", "HALT"],
        ["dispatch"],
        ["work", "redbike:RoundRobin('A')"],
    ],
)
def test_redis_out_of_reach(command: Redbikes, conf: Path, arguments: list[str]) -> None:
    """G4: where no server answers, each command says so within seconds, and which server it is."""
    conf.write_text("[redbike]\n[redbike-redis]\nunix_socket_path: no/such.socket\n")
    assert re.match(r"redbike: Redis at no/such\.socket is out of reach: ", command(*arguments).one_line())


def test_a_refused_port(command: Redbikes, conf: Path) -> None:
    """G4: the same for host and port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        conf.write_text(f"[redbike]\n[redbike-redis]\nhost: 127.0.0.1\nport: {port}\n")
        assert f"127.0.0.1:{port} is out of reach" in command("schedules").one_line()


@pytest.mark.parametrize("text", ["soon", "", "1e", "nan", "inf", "2026-01-01", "0x10"])
def test_a_bad_timestamp(command: Redbikes, text: str, bike: Redbike) -> None:
    """G4: a timestamp that is none is one line with option and value, and nothing is done."""
    assert command("set", "j:A", "NOW", f"--after={text}").one_line().startswith(f"redbike: --after: {text!r} is not")
    assert command("statuses", f"--before={text}").one_line().startswith(f"redbike: --before: {text!r} is not")
    assert command("dispatch", f"--after={text}").one_line().startswith(f"redbike: --after: {text!r} is not")
    assert list(bike.get_schedules()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"rows\.csv: .*No such file"),
        ("a:A,CONTINUE\nb:A\n", r"rows\.csv:2: 1 field"),
        ("a:A,CONTINUE,5\n", r"rows\.csv:1: 3 field"),
        ('a:A,"CONTINUE\n', r"rows\.csv:\d: "),
        ("a:A,CONTINUE\n\udcff:A,STOP\n", r"rows\.csv:2: .*UTF-8"),
        ("a:A,CONTINUE\n,STOP\n", r"rows\.csv:2: .*job id ''"),
    ],
)
def test_a_bad_csv(command: Redbikes, conf: Path, bike: Redbike, content: str | None, said: str) -> None:
    """G4: a malformed CSV is one line with file and line, and nothing of it is set."""
    if content is not None:
        (conf.parent / "rows.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert re.search(said, command("dispatch", "--schedules=rows.csv").one_line())
    assert list(bike.get_schedules()) == []


def test_an_unknown_signal(command: Redbikes, bike: Redbike) -> None:
    """G4: an unknown signal is one line that names the known ones."""
    assert re.search(r"'STOPP'.*HALT", command("control", "STOPP").one_line())
    assert not bike.is_halted()


@pytest.mark.parametrize("schedule", ["every day", "", "AT:tomorrow", "RRULE:FREQ=OFTEN", "now"])
def test_a_bad_schedule(command: Redbikes, bike: Redbike, schedule: str) -> None:
    """B6: `set` with a schedule that cannot be read says why in one line, exits with 1, and the job is `BAD`."""
    line = command("set", "j:A", schedule).one_line()
    assert line.startswith("redbike: job 'j:A' is BAD: ")
    assert len(line) > len("redbike: job 'j:A' is BAD: ")
    assert bike.tell("j:A")["schedule"] == schedule
    assert (bike.tell("j:A")["status"] or "").startswith("BAD:")


@pytest.mark.parametrize("jobid", ["", "members", "a\nb:A", "x" * 5000])
def test_a_bad_job_id(command: Redbikes, jobid: str, bike: Redbike) -> None:
    """G4: a job id that would do harm is refused in one line, and nothing is written."""
    assert "job id" in command("set", jobid, "NOW").one_line()
    assert list(bike.get_schedules()) == []


def test_a_timefile_that_cannot_be_written(command: Redbikes, conf: Path) -> None:
    """G4: a dispatcher whose time file cannot be written says so as it starts."""
    conf.write_text(conf.read_text().replace("[redbike-redis]", "timefile: no/folder/t\n[redbike-redis]"))
    assert "no/folder/t" in command("dispatch").one_line()


# what commands print


def test_set_and_unset_print_nothing(command: Redbikes) -> None:
    """G5: a command that worked has nothing to say."""
    for arguments in (["set", "j:A", HOURLY], ["set", "j:A", "STOP"], ["unset", "j:A"], ["control", "halt"]):
        answer = command(*arguments)
        assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_set_takes_a_typed_line_break(command: Redbikes, bike: Redbike) -> None:
    """B11: the two characters backslash and n in a schedule count as a line break."""
    assert command("set", "j:A", "DTSTART:20990101T000000\\nRRULE:FREQ=DAILY").code == 0
    assert bike.tell("j:A")["next_run"] == 4070908800


def test_set_after(command: Redbikes, bike: Redbike) -> None:
    """B9: `--after` is the reference time: the next run is strictly after it."""
    for after, next_run in (("4070908799", 4070908800), ("4070908800", 4070995200), ("4070908799.5", 4070908800)):
        assert command("set", "j:A", "DTSTART:20990101T000000\nRRULE:FREQ=DAILY", "-a", after).code == 0
        assert bike.tell("j:A")["next_run"] == next_run


def test_set_goes_by_the_time_file(command: Redbikes, conf: Path, bike: Redbike) -> None:
    """B9: without `--after`, `set` goes by the time in the time file."""
    (conf.parent / ".redbike.timefile").write_text("1500000000")
    assert command("set", "j:A", "DTSTART:20170101T000000\nRRULE:FREQ=DAILY").code == 0
    assert bike.tell("j:A")["next_run"] == 1500076800


def test_tell_prints_json(command: Redbikes, bike: Redbike) -> None:
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


def test_tell_of_an_unknown_job_is_no_error(command: Redbikes) -> None:
    """F1: an unknown job is told as null, null, null and false, with exit code 0."""
    answer = command("tell", "nobody:A")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == '{\n  "status": null,\n  "next_run": null,\n  "schedule": null,\n  "working": false\n}\n'


def test_tell_prints_valid_json_of_anything(command: Redbikes, bike: Redbike) -> None:
    """F1: quotes, line breaks and letters of any script make valid JSON."""
    text = 'quote " backslash \\ tab \t 日本 €'
    bike.redis.hset(bike.schedules_key, "j:A", text)
    assert json.loads(command("tell", "j:A").out)["schedule"] == text


def test_statuses_prints_csv(command: Redbikes, bike: Redbike) -> None:
    """F2: `statuses` prints job id, event and timestamp as CSV."""
    bike.redis.hset(bike.statuses_key, mapping={"a:A": "STP:100", 'b,"c":A': "TML:200", "ü:A": "DIE:300"})
    answer = command("statuses")
    assert sorted(answer.out.splitlines()) == ['"b,""c"":A",TML,200', "a:A,STP,100", "ü:A,DIE,300"]
    assert command("statuses", "--before=200").out.count("\n") == 2
    assert command("statuses", "-b", "99").out == ""


def test_schedules_prints_csv(command: Redbikes, bike: Redbike) -> None:
    """F3: `schedules` prints job id and schedule as CSV, with quotes where they are needed."""
    bike.redis.hset(bike.schedules_key, mapping={"a:A": "CONTINUE"})
    assert command("schedules").out == "a:A,CONTINUE\n"
    bike.redis.hset(bike.schedules_key, mapping={"a:A": HOURLY})
    assert command("schedules").out == f'a:A,"{HOURLY}"\n'


def test_what_schedules_prints_can_be_loaded_again(command: Redbikes, conf: Path, bike: Redbike) -> None:
    """C3: what `schedules` prints is what `dispatch --schedules` loads."""
    texts = {"a:A": "CONTINUE", "b:A": HOURLY, 'c,"d":A': "STOP", "e ü:A": "RRULE:FREQ=DAILY;BYHOUR=1,2"}
    for jobid, text in texts.items():
        bike.set(jobid, text)
    printed = command("schedules").out
    assert dict(csv.reader(io.StringIO(printed))) == texts
    (conf.parent / "rows.csv").write_bytes(printed.encode())
    bike.flush()
    bike.load_csv(conf.parent / "rows.csv")
    assert dict(bike.get_schedules()) == texts


def test_control_halts(command: Redbikes, bike: Redbike) -> None:
    """E1: `control` in any case halts the prefix of the conf."""
    assert command("control", "Halt").code == 0
    assert bike.redis.get(bike.control_key) == b"HALT"


# as processes


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, server, prefix) as site:
        yield site


def test_data_goes_to_stdout_and_log_lines_to_stderr(site: Site, fleet: Fleet) -> None:
    """G5: a status that cannot be read is a log line on stderr, the others are data on stdout."""
    bike = fleet()
    bike.redis.hset(bike.statuses_key, mapping={"good:A": "STP:100", "bad:A": "what"})
    answer = site.run("statuses")
    assert (answer.returncode, answer.stdout) == (0, "good:A,STP,100\n")
    assert "bad:A" in answer.stderr
    answer = site.run("set", "j:A", "gibberish")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "Traceback" not in answer.stderr


def test_output_is_utf8_whatever_the_locale(site: Site, fleet: Fleet) -> None:
    """G5: in the C locale, ids in any script and even bytes that are no UTF-8 come out as they are in Redis."""
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
    """G4: `redbike schedules | head -n 1` ends with 0 and without a word on stderr."""
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


def test_the_installed_script_is_the_same_command() -> None:
    """G: the console script `redbike` is `redbike.cli:run`, which ends the process with the exit code of `main`."""
    script = Path(sys.executable).with_name("redbike")
    if not os.access(script, os.X_OK):
        pytest.skip("redbike is not installed in this environment")
    answer = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=30, env=environment())
    assert (answer.returncode, answer.stdout) == (0, f"{version('redbike')}\n")


def test_run_exits_with_the_code_of_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """G4: `run` reads the arguments of the process and exits with what `main` gives."""
    monkeypatch.setattr(sys, "argv", ["redbike", "ride"])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("redbike: no command takes these arguments: ride\nUsage:\n")


def test_no_command_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """G4: `redbike` alone says that a command is needed, and shows which there are."""
    assert cli.main([]) == 1
    assert capsys.readouterr().err.startswith("redbike: a command is needed\nUsage:\n")


# times


def test_set_says_where_a_stale_time_file_makes_a_run_due_at_once(site: Site, fleet: Fleet) -> None:
    """B9: a run that is due at once because the time file is old is said on stderr; with `--after=now` none is."""
    (site.folder / ".redbike.timefile").write_text("1500000000")
    done = site.run("set", "j:A", "EVERY:1h")
    said = r"'j:A' is due at once: .*\.redbike\.timefile, which is \d+ s old; .*--after=now"
    assert (done.returncode, bool(re.search(said, done.stderr))) == (0, True)
    done = site.run("set", "j:A", "EVERY:1h", "--after=now")
    assert (done.returncode, done.stderr) == (0, "")
    bike = fleet()
    assert bike.tell("j:A")["next_run"] == pytest.approx(bike.now() + 3600, abs=5)


def test_now_is_a_time_for_every_command(command: Redbikes, bike: Redbike) -> None:
    """G: `now` is understood wherever a time is."""
    bike.set("j:A", "NOW")
    assert command("statuses", "--before=now").out.startswith("j:A,ENQ,")
    assert command("lost", "--before=NOW").code == 0
    assert command("next", "EVERY:1h", "--after=now", "--count=1").code == 0
    bike.control("HALT")


# streams


@pytest.mark.parametrize("arguments", [["set", "j:A", "NOW"], ["unset", "j:A"], ["control", "halt"]])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(site: Site, arguments: list[str], closed: str) -> None:
    """G4: a command that prints nothing does its work and ends with 0, whatever streams are closed."""
    done = shell(site, arguments, closed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["statuses"], ["schedules"], ["tell", "j:A"], ["lost"], ["next", "NOW"], ["--help"]]
)
@pytest.mark.parametrize(("to", "said"), [(">&-", "closed"), (">/dev/full", "No space left")])
def test_data_that_has_nowhere_to_go_is_one_line(
    site: Site, fleet: Fleet, arguments: list[str], to: str, said: str
) -> None:
    """G4: where stdout is closed or full, a command that prints data says so in one line and exits with 1."""
    bike = fleet()
    bike.set("j:A", "CONTINUE")
    next(bike.consumer)
    bike.redis.delete(f"{bike.prefix}-work-A-j:A")
    done = shell(site, arguments, to)
    assert done.returncode == 1
    assert re.fullmatch(f"redbike: the output cannot be written: .*{said}.*\n", done.stderr)


def test_errors_do_not_go_to_stdout(site: Site) -> None:
    """G5: with stderr closed, what would be said there is not said on stdout."""
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

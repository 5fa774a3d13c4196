"""G: the command line: usage, options, the conf and the worker, and exit codes.

Most tests call the command in this process. Some start a process, where only that shows the behaviour.
"""

import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import docopt
import pytest
from helpers import Command
from processes import environment

from redbike import Redbike, cli, usage

pytestmark = pytest.mark.usefixtures("silent_root")


USAGE = """\
  redbike [--config=<CONF>] set <JOBID> <SCHEDULE> [--after=<TIMESTAMP>]
  redbike [--config=<CONF>] enqueue <JOBID>
  redbike [--config=<CONF>] unset <JOBID>
  redbike [--config=<CONF>] dispatch [<WORKER>] [--schedules=<SCHEDULESCSV> [--after=<TIMESTAMP>]]
  redbike [--config=<CONF>] work [<WORKER>]
  redbike [--config=<CONF>] statuses [--before=<TIMESTAMP>]
  redbike [--config=<CONF>] schedules
  redbike [--config=<CONF>] tell <JOBID>
  redbike [--config=<CONF>] control <SIGNAL>
"""


# usage


def parsed(*arguments: str) -> dict[str, object]:
    found: dict[str, object] = docopt.docopt(usage.USAGE, list(arguments))
    return {name: value for name, value in found.items() if value not in (None, False)}


def test_the_usage_of_the_contract_is_part_of_the_help(command: Command) -> None:
    """G: `--help` shows the usage of the contract line by line, and describes each command and option once."""
    answer = command("--help")
    assert answer.code == 0
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert [ours for ours in USAGE.splitlines() if not any(line.startswith(ours) for line in lines)] == []
    for name in ("set", "unset", "dispatch", "work", "statuses", "schedules", "tell", "control"):
        assert re.search(rf"^  {name} +[A-Z]", answer.out, re.MULTILINE)
    for option in ("-c", "-a", "-b", "-s", "--help", "--version"):
        assert option in answer.out
    assert command("-h").out == answer.out


def test_version(command: Command) -> None:
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
def test_misuse_is_one_line(command: Command, arguments: list[str]) -> None:
    """G4: arguments that fit no command give one line on stderr, print nothing, and exit with 1."""
    assert command(*arguments).one_line().startswith("redbike: ")


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
    given.pop("<JOB>")
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
        (["schedules", "-c", "c"], "--config", "c"),
        (["control", "HALT", "-c", "c"], "<SIGNAL>", "HALT"),
    ],
)
def test_short_options(arguments: list[str], option: str, value: str) -> None:
    """G: `-c` config, `-a` after, `-b` before, `-s` schedules, in each command that knows them."""
    assert parsed(*arguments)[option] == value


# G1


def test_the_conf_of_the_current_folder_is_used(command: Command, bike: Redbike) -> None:
    """G1: without `--config`, the conf is `.redbike.conf` in the current folder."""
    assert command("set", "j:A", "CONTINUE").code == 0
    assert bike.tell("j:A")["schedule"] == "CONTINUE"


def test_another_conf_can_be_named(command: Command, conf: Path, bike: Redbike) -> None:
    """G1: `--config` names another file, in any folder."""
    other = conf.parent / "else" / "where.conf"
    other.parent.mkdir()
    conf.rename(other)
    assert command("set", "j:A", "CONTINUE", "-c", "else/where.conf").code == 0
    assert command(f"--config={other}", "set", "k:A", "CONTINUE").code == 0
    assert dict(bike.get_schedules()) == {"j:A": "CONTINUE", "k:A": "CONTINUE"}


def test_the_conf_reaches_the_scheduler(
    command: Command, conf: Path, bike: Redbike, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: a command uses prefix, timefile and default-timeout of the conf."""
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


def test_commands_run_without_a_worker(command: Command, bike: Redbike) -> None:
    """G3: without a worker in the conf, RoundRobin decides into which queue a job goes."""
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


def test_a_worker_of_the_current_folder_names_the_queues(command: Command, conf: Path, bike: Redbike) -> None:
    """G2: the worker of the conf is found in the current folder, and its `queue_for` decides into which queue a job
    goes.
    """
    (conf.parent / "g2_lines.py").write_text(WORKER)
    conf.write_text(conf.read_text().replace("[redbike]", "[redbike]\nworker: g2_lines:Lines('A')"))
    assert command("set", "j:A", "CONTINUE").code == 0
    assert (conf.parent / "imported").exists()
    assert bike.redis.lrange(f"{bike.prefix}-line", 0, -1) == [b"j:A"]
    bike.redis.delete(f"{bike.prefix}-line", f"{bike.prefix}-line-members")


def test_work_needs_a_worker(command: Command) -> None:
    """G4: without a worker, `work` says where and how to name it."""
    assert re.search(
        r"\.redbike\.conf, \[redbike\].*no worker.*package\.module:", command("work").one_line(os.EX_CONFIG)
    )


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
def test_a_worker_that_cannot_be_found_is_one_line(command: Command, verb: str, expression: str, said: str) -> None:
    """G4: a wrong worker expression gives one line that says what is wrong."""
    assert said in command(verb, expression).one_line(os.EX_CONFIG)


# G4: other mistakes of a user


def test_a_missing_conf(command: Command, conf: Path) -> None:
    """G4: without a conf, the error names the file and the way out."""
    conf.unlink()
    assert re.fullmatch(
        r"redbike: \.redbike\.conf: .*redbike init.*--config", command("schedules").one_line(os.EX_CONFIG)
    )
    assert "no/such.conf" in command("-c", "no/such.conf", "schedules").one_line(os.EX_CONFIG)


@pytest.mark.parametrize("text", ["", "[other]\n", "prefix: x\n", "[redbike]\ndefault-timeout: ten\n", "\udcff"])
def test_a_malformed_conf(command: Command, conf: Path, text: str) -> None:
    """G4: a conf that cannot be read gives one line that names it."""
    conf.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert ".redbike.conf" in command("schedules").one_line(os.EX_CONFIG)


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
def test_redis_out_of_reach(command: Command, conf: Path, arguments: list[str]) -> None:
    """G4: if no server answers, each command says so within seconds, and names the server."""
    conf.write_text("[redbike]\n[redbike-redis]\nunix_socket_path: no/such.socket\n")
    assert re.match(r"redbike: Redis at no/such\.socket is out of reach: ", command(*arguments).one_line())


def test_a_refused_port(command: Command, conf: Path) -> None:
    """G4: the same for host and port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        conf.write_text(f"[redbike]\n[redbike-redis]\nhost: 127.0.0.1\nport: {port}\n")
        assert f"127.0.0.1:{port} is out of reach" in command("schedules").one_line()


@pytest.mark.parametrize("text", ["soon", "", "1e", "nan", "inf", "2026-13-01", "0x10"])
def test_a_bad_timestamp(command: Command, text: str, bike: Redbike) -> None:
    """G4: a bad timestamp gives one line with option and value, and nothing is done."""
    assert command("set", "j:A", "NOW", f"--after={text}").one_line().startswith(f"redbike: --after: {text!r} is not")
    assert command("statuses", f"--before={text}").one_line().startswith(f"redbike: --before: {text!r} is not")
    assert command("dispatch", f"--after={text}").one_line().startswith(f"redbike: --after: {text!r} is not")
    assert list(bike.get_schedules()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"rows\.csv: .*No such file"),
        ("a:A,CONTINUE\nb:A\n", r"rows\.csv:2: 1 field"),
        ("a:A,CONTINUE,5,6\n", r"rows\.csv:1: 4 field"),
        ('a:A,"CONTINUE\n', r"rows\.csv:\d: "),
        ("a:A,CONTINUE\n\udcff:A,STOP\n", r"rows\.csv:2: .*UTF-8"),
        ("a:A,CONTINUE\n,STOP\n", r"rows\.csv:2: .*job id ''"),
    ],
)
def test_a_bad_csv(command: Command, conf: Path, bike: Redbike, content: str | None, said: str) -> None:
    """G4: a malformed CSV gives one line with file and line, and no job is set."""
    if content is not None:
        (conf.parent / "rows.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert re.search(said, command("dispatch", "--schedules=rows.csv").one_line(os.EX_CONFIG))
    assert list(bike.get_schedules()) == []


def test_an_unknown_signal(command: Command, bike: Redbike) -> None:
    """G4: an unknown signal gives one line with the known signals."""
    assert re.search(r"'STOPP'.*HALT", command("control", "STOPP").one_line())
    assert not bike.is_halted()


@pytest.mark.parametrize("schedule", ["every day", "", "AT:tomorrow", "RRULE:FREQ=OFTEN", "now"])
def test_a_bad_schedule(command: Command, bike: Redbike, schedule: str) -> None:
    """B6: `set` with a schedule that cannot be read says why in one line and exits with 1; the job is `BAD`."""
    line = command("set", "j:A", schedule).one_line()
    assert line.startswith("redbike: job 'j:A' is BAD: ")
    assert len(line) > len("redbike: job 'j:A' is BAD: ")
    assert bike.tell("j:A")["schedule"] == schedule
    assert (bike.tell("j:A")["status"] or "").startswith("BAD:")


@pytest.mark.parametrize("jobid", ["", "members", "a\nb:A", "x" * 5000])
def test_a_bad_job_id(command: Command, jobid: str, bike: Redbike) -> None:
    """G4: a job id that would do harm is refused in one line, and nothing is written."""
    assert "job id" in command("set", jobid, "NOW").one_line()
    assert list(bike.get_schedules()) == []


def test_a_timefile_that_cannot_be_written(command: Command, conf: Path) -> None:
    """G4: a dispatcher that cannot write its time file says so at its start."""
    conf.write_text(conf.read_text().replace("[redbike-redis]", "timefile: no/folder/t\n[redbike-redis]"))
    assert "no/folder/t" in command("dispatch").one_line()


def test_the_installed_script_is_the_same_command() -> None:
    """G: the console script `redbike` is `redbike.cli:run`, which ends the process with the exit code of `main`."""
    script = Path(sys.executable).with_name("redbike")
    if not os.access(script, os.X_OK):
        pytest.skip("redbike is not installed in this environment")
    answer = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=30, env=environment())
    assert (answer.returncode, answer.stdout) == (0, f"{version('redbike')}\n")


def test_run_exits_with_the_code_of_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """G4: `run` reads the arguments of the process and exits with the code that `main` returns."""
    monkeypatch.setattr(sys, "argv", ["redbike", "ride"])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("redbike: there is no command 'ride'; ")


def test_no_command_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """G4: `redbike` alone says that a command is needed, and lists the commands."""
    assert cli.main([]) == 1
    listed = capsys.readouterr().err.removeprefix("redbike: a command is needed: ")
    assert set(listed.partition("; redbike --help explains them\n")[0].split(", ")) == set(cli.COMMANDS)

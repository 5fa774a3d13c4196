"""Ten typos at each place where a user types: each answer is one line with the thing, the value and the way out."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Server
from state import whole_server

from redbike import Redbike, cli

CONF = 78  # what a restart cannot mend
DAILY = "CRON:0 6 * * *"


class Typo(NamedTuple):
    """A command line, or a file with a typo, and the answer."""

    typed: tuple[str, ...] | str
    thing: str
    value: str
    way_out: str
    code: int = 1


COMMANDS = [
    Typo(("stauses",), "command", "'stauses'", "did you mean statuses?"),
    Typo(("shedules",), "command", "'shedules'", "did you mean schedules?"),
    Typo(("sett", "report:B", "NOW"), "command", "'sett'", "did you mean set?"),
    Typo(("Set", "report:B", "NOW"), "command", "'Set'", "did you mean set?"),
    Typo(("unst", "report:B"), "command", "'unst'", "did you mean unset?"),
    Typo(("dipsatch",), "command", "'dipsatch'", "did you mean dispatch?"),
    Typo(("wrok",), "command", "'wrok'", "did you mean work?"),
    Typo(("enque", "report:B"), "command", "'enque'", "did you mean enqueue?"),
    Typo(("contrl", "HALT"), "command", "'contrl'", "did you mean control?"),
    Typo(("help",), "command", "'help'", "the commands are init, set, enqueue"),
]

OPTIONS = [
    Typo(("statuses", "--befroe=5"), "option", "--befroe", "did you mean --before?"),
    Typo(("lost", "--rest"), "option", "--rest", "did you mean --reset?"),
    Typo(("schedules", "--conf-file=x"), "option", "--conf-file", "did you mean --config?"),
    Typo(("dispatch", "--schedule-file", "x"), "option", "--schedule-file", "did you mean --schedules?"),
    Typo(("set", "report:B", "NOW", "--Aftr=5"), "option", "--Aftr", "did you mean --after?"),
    Typo(("next", DAILY, "--c=5"), "option", "--c", "may be --config or --count; write it out"),
    Typo(("next", DAILY, "--count"), "--count", "needs a value", "write --count=VALUE"),
    Typo(("lost", "--reset=yes"), "--reset", "takes no value", "write --reset"),
    Typo(
        ("tell", "report:B", "--after=5"), "tell", "no option --after", "write: redbike [--config=<CONF>] tell <JOBID>"
    ),
    Typo(("statuses", "-x"), "option", "-x", "redbike --help"),
]

JOBIDS = [
    Typo(("tell", "reprot:B"), "job", "'reprot:B'", "redbike schedules lists the jobs", 0),
    Typo(("unset", "report:b"), "job", "'report:b'", "redbike schedules lists the jobs", 0),
    Typo(("enqueue", "report:A "), "job", "'report:A '", "start a worker that does, or choose another job id", 0),
    Typo(("enqueue", "reprot:A"), "job", "'reprot:A'", "redbike schedules lists the jobs", 0),
    Typo(("set", "report:C", DAILY), "job", "'report:C'", "start a worker that does, or choose another job id", 0),
    Typo(("set", "", "NOW"), "job id", "''", "give the job a name"),
    Typo(("set", "a\nb:B", "NOW"), "job id", r"'a\nb:B'", "leave it out"),
    Typo(("set", "x" * 5000 + ":B", "NOW"), "job id", "'xxxx", "at most 4096 are allowed"),
    Typo(("set", "report:members", "NOW"), "job", "'report:members'", "choose another job id", 0),
    Typo(("set", "report:B"), "set", "needs <SCHEDULE>", "write: redbike [--config=<CONF>] set <JOBID> <SCHEDULE>"),
]

SCHEDULES = [
    Typo("RRULE:FREQ=DALY", "FREQ", "'DALY'", "give one of YEARLY, MONTHLY, WEEKLY, DAILY"),
    Typo("RRULE:FREQ=DAILY;BYHOUR=25", "BYHOUR", "'25'", "out of range"),
    Typo("RRULE:FREQ=DAILY;BYHUOR=6", "BYHUOR", "BYHUOR", "BYHOUR"),
    Typo("now", "schedule", "'now'", "write NOW in capitals"),
    Typo("NOW please", "schedule", "'NOW please'", "nothing may follow NOW"),
    Typo("AT:tomorrow", "AT:", "'tomorrow'", "such as 1790000000"),
    Typo("AT:1790000000000", "AT:", "1790000000000", "is it in milliseconds?"),
    Typo("EVERY:5 minutes", "EVERY:", "'5 minutes'", "EVERY:5m"),
    Typo("CRON:0 8 * *", "CRON:", "'CRON:0 8 * *'", "five fields"),
    Typo("", "schedule", "empty", "give one of NOW, AT:TIME, CONTINUE"),
]

KEYS = [
    Typo("[redbike]\nprefx: a\n", "[redbike]", "prefx", "did you mean prefix?", 0),
    Typo("[redbike]\nonerror: retry\n", "[redbike]", "onerror", "did you mean on-error?", 0),
    Typo("[redbike]\ntime-file: a\n", "[redbike]", "time-file", "did you mean timefile?", 0),
    Typo("[redbike]\non-error: retyr\n", "on-error", "'retyr'", "drop, reschedule, retry", CONF),
    Typo("[redbike]\ndefault-timeout: 10s\n", "default-timeout", "'10s'", "number of seconds", CONF),
    Typo("[redbike]\nretries: 0\n", "retries", "'0'", "from 1 to 100", CONF),
    Typo("[redbike]\n[redbike-redis]\nhots: a\n", "[redbike-redis]", "hots", "did you mean host?", CONF),
    Typo("[redbike]\n[redbike-redis]\nport: 637g\n", "[redbike-redis] port", "'637g'", "whole number", CONF),
    Typo("[redbike]\nprefix: ${HOEM}\n", "[redbike] prefix", "HOEM", "is not set; set it", CONF),
    Typo("[redbike]\nprefix a\n", "line 2", "not a setting", "write name: value", CONF),
]

SECTIONS = [
    Typo("[redbke]\n", "section", "[redbke]", "did you mean [redbike]?", CONF),
    Typo("[Redbike]\n", "section", "[Redbike]", "did you mean [redbike]?", CONF),
    Typo("[redbike ]\n", "section", "[redbike ]", "did you mean [redbike]?", CONF),
    Typo("[redbikes]\n", "section", "[redbikes]", "did you mean [redbike]?", CONF),
    Typo("[redbike]\n[redbike-reds]\n", "section", "[redbike-reds]", "did you mean [redbike-redis]?", CONF),
    Typo("[redbike]\n[redbike_redis]\n", "section", "[redbike_redis]", "did you mean [redbike-redis]?", CONF),
    Typo("[redbike]\n[redis-redbike]\n", "section", "[redis-redbike]", "did you mean [redbike-redis]?", CONF),
    Typo("[redbike]\n[redbike]\n", "section", "[redbike]", "merge the two", CONF),
    Typo("redbike:\nprefix: a\n", "line 1", "above the first [section]", "move it into a section", CONF),
    Typo("[shop]\nprefix: a\n", "section", "[redbike]", "write the line [redbike] above the settings", CONF),
]

WORKERS = [
    Typo("wrokers:Mine('A')", "module", "'wrokers'", "did you mean workers?", CONF),
    Typo("workers:Mien('A')", "module 'workers'", "'Mien'", "did you mean Mine?", CONF),
    Typo("workers.Mine('A')", "worker", "workers.Mine", "write package.module:Name('argument', ...)", CONF),
    Typo("workers:Mine", "worker", "'workers:Mine'", "write workers:Mine()", CONF),
    Typo("workers:Mine(A)", "worker", "'A'", "write text in quotes", CONF),
    Typo("workers:Mine('A'", "worker", "workers:Mine('A'", "write package.module:Name('argument', ...)", CONF),
    Typo("workers:Mine()", "worker", "'initstring'", "write Mine(initstring", CONF),
    Typo("workers:Mine(initstrnig='A')", "worker", "initstrnig", "write Mine(initstring", CONF),
    Typo("workers:number('A')", "'workers'", "'number'", "not a class or function", CONF),
    Typo("workers.py:Mine('A')", "worker", "'workers.py'", "did you mean workers?", CONF),
]

ROWS = [
    Typo("report:B;NOW", "rows.csv:1", "1 field instead", "put a comma between job id and schedule", CONF),
    Typo("report:B", "rows.csv:1", "1 field instead", "JOBID,SCHEDULE", CONF),
    Typo(
        "report:B,RRULE:FREQ=DAILY;BYHOUR=1,2", "rows.csv:1", "3 fields", "put a field with a comma into quotes", CONF
    ),
    Typo("report:B,NOW,a,b", "rows.csv:1", "4 fields", "put a field with a comma into quotes", CONF),
    Typo(",NOW", "rows.csv:1", "job id ''", "give the job a name", CONF),
    Typo('report:B,"NOW', "rows.csv:1", "unexpected end of data", "quote", CONF),
    Typo('report:B,"NOW" ', "rows.csv:1", "expected after", "quote", CONF),
    Typo("report:B,NOW\nmembers,NOW", "rows.csv:2", "'members'", "choose another job id", CONF),
    Typo("report:B,NOW\nr\udcffport:B,NOW", "rows.csv:2", "byte 0xff", "UTF-8", CONF),
    Typo("report:B,NOW\n\treport:B,NOW", "rows.csv:2", r"'\treport:B'", "leave it out", CONF),
]


class Desk:
    """A folder with a conf and a worker, and two jobs that no typo may change."""

    def __init__(self, folder: Path, bike: Redbike, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._bike, self._server, self._capsys = folder, bike, server, capsys
        (folder / "workers.py").write_text(
            "from redbike import RoundRobin\n\nnumber = 5\n\n\nclass Mine(RoundRobin):\n    pass\n"
        )
        self.conf("[redbike]\n")
        bike.set("report:A", DAILY)
        bike.set("report:B", DAILY)

    def conf(self, text: str) -> None:
        """Write a conf of this text, with a prefix, a worker and a server where the text leaves room for them."""
        ours = f"[redbike]\nworker: workers:Mine('A:B')\nprefix: {self._bike.prefix}\n"
        if "prefix" not in text.replace("prefx", "prefix"):
            text = text.replace("[redbike]\n", ours, 1)
        if "[redbike-redis]" not in text:
            text += f"[redbike-redis]\nunix_socket_path: {self._server.socket}\n"
        (self.folder / ".redbike.conf").write_text(text)

    def answer(self, typo: Typo, *argv: str) -> str:
        """The one line that a command says."""
        self._capsys.readouterr()
        code = cli.main(list(argv))
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        [line] = captured.err.splitlines()
        assert (code, len(line) < 1000) == (typo.code, True), line
        assert code == 0 or captured.out == ""
        for part in (typo.thing, typo.value, typo.way_out):
            assert part in line
        return line

    def state(self) -> object:
        return whole_server(self._bike.redis)


@pytest.fixture
def desk(
    tmp_path: Path,
    bike: Redbike,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("HOEM", raising=False)
    yield Desk(tmp_path, bike, server, capsys)
    sys.modules.pop("workers", None)


def named(typos: list[Typo]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("typo", typos, ids=range(len(typos)))


@named([*COMMANDS, *OPTIONS])
def test_commands_and_options(desk: Desk, typo: Typo) -> None:
    """G4: a misspelled command or option is one line, exit 1, and nothing is changed."""
    before = desk.state()
    desk.answer(typo, *typo.typed)
    assert desk.state() == before


@named(JOBIDS)
def test_job_ids(desk: Desk, typo: Typo) -> None:
    """G4: an id that nobody knows, that no queue takes, or that cannot be an id, is one line."""
    desk.answer(typo, *typo.typed)


@named(SCHEDULES)
def test_schedules(desk: Desk, typo: Typo) -> None:
    """B6, G4: a schedule that cannot be read is one line, exit 1, and the job keeps its schedule."""
    assert isinstance(typo.typed, str)
    before = desk.state()
    assert f"job 'report:B' keeps its schedule {DAILY!r}" in desk.answer(typo, "set", "report:B", typo.typed)
    assert desk.state() == before


@named([*KEYS, *SECTIONS])
def test_conf(desk: Desk, typo: Typo, caplog: pytest.LogCaptureFixture) -> None:
    """G1, G4: a misspelled name, value or section of the conf is one line: exit 78, or a warning."""
    assert isinstance(typo.typed, str)
    before = desk.state()
    desk.conf(typo.typed)
    if typo.code:
        assert ".redbike.conf" in desk.answer(typo, "schedules")
    else:
        assert cli.main(["schedules"]) == 0
        [line] = caplog.messages
        assert line.startswith(".redbike.conf, [redbike] ")
        assert typo.value in line
        assert typo.way_out in line
    assert desk.state() == before


@named(WORKERS)
@pytest.mark.parametrize("verb", ["work", "dispatch"])
def test_worker_expressions(desk: Desk, typo: Typo, verb: str) -> None:
    """G2, G4: a misspelled worker is one line and exit 78."""
    assert isinstance(typo.typed, str)
    before = desk.state()
    desk.answer(typo, verb, typo.typed)
    assert desk.state() == before


@named(ROWS)
def test_rows_of_a_csv(desk: Desk, typo: Typo) -> None:
    """C3, G4: a malformed row is one line with file and line, exit 78, and nothing of the file is set."""
    assert isinstance(typo.typed, str)
    (desk.folder / "rows.csv").write_bytes(f"{typo.typed}\n".encode("utf-8", "surrogateescape"))
    before = desk.state()
    assert "nothing of the file was set" in desk.answer(typo, "dispatch", "--schedules=rows.csv")
    assert desk.state() == before


def test_the_table_is_complete() -> None:
    """There are ten different typos at each place, and the exit codes are those of the contract."""
    for typos in (COMMANDS, OPTIONS, JOBIDS, SCHEDULES, KEYS, SECTIONS, WORKERS, ROWS):
        assert len({typo.typed for typo in typos}) == 10
        assert {typo.code for typo in typos} <= {0, 1, os.EX_CONFIG}

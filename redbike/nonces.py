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
        self.is_busy = False
        self.is_uncertain = False
        """Whether a call was given up that may still be on its way: the next one had better be noted."""
        self.renew()

    def renew(self) -> None:
        """Take another name: a copy of this process has ours, too."""
        self._name, self._count = secrets.token_hex(CALLER_LENGTH // 2), itertools.count()

    def nonce(self) -> str:
        """A name that no other call has, above all that the caller was given before."""
        return f"{self._name}{next(self._count):012x}"


class Nonces:
    """The callers of one object: one for each thread, for others would overwrite its note before it is read."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._free: list[Caller] = []

    def new(self) -> str:
        """A name for a call of this thread's caller."""
        return self._own().nonce()

    def renew(self) -> str:
        """A name for a call of this thread's caller, which takes another name itself."""
        self._own().renew()
        return self.new()

    def begin(self) -> Caller:
        """This thread's caller for one call, until `end`; another one within that: a signal handler calls, too."""
        caller = self._own()
        if caller.is_busy:
            caller = self._spare()
        caller.is_busy = True
        return caller

    def end(self, caller: Caller) -> None:
        """The call is over."""
        caller.is_busy = False
        if caller is not self._own():
            self._free.append(caller)

    def _own(self) -> Caller:
        """This thread's. That of a thread that is over may become another's; a forked child begins anew."""
        lease: _Lease | None = getattr(self._local, "lease", None)
        if lease is None or lease.caller.pid != os.getpid():
            self._local.lease = lease = _Lease(self._spare(), self._free)
        return lease.caller

    def _spare(self) -> Caller:
        try:
            caller = self._free.pop()
        except IndexError:
            return Caller()
        return caller if caller.pid == os.getpid() else Caller()


class _Lease:
    """A thread's hold on its caller; gone with the thread."""

    def __init__(self, caller: Caller, free: list[Caller]) -> None:
        self.caller, self._free = caller, free

    def __del__(self) -> None:
        self.caller.is_busy = False
        self._free.append(self.caller)

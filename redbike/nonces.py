"""Names for calls: by them a repeated call is known for one that was carried out, and a late one for outdated."""

import itertools
import os
import secrets
import threading

CALLER_LENGTH = 16
"""The first characters of a nonce name its caller."""


class Nonces(threading.local):
    """One caller's names, which grow. Each thread is a caller of its own: what a caller did last is noted in Redis, and
    others would overwrite it before it is read.
    """

    def __init__(self) -> None:
        self._pid = 0

    def new(self) -> str:
        """A name that no other call has, above all that the caller was given before. A forked child begins anew."""
        if self._pid != os.getpid():
            self._pid, self._caller, self._count = os.getpid(), secrets.token_hex(CALLER_LENGTH // 2), itertools.count()
        return f"{self._caller}{next(self._count):012x}"

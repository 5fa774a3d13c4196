"""Sessions of browsers, and the bound on login tries. Both are kept in memory, and end with the process."""

import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

LASTS_S = 12 * 3600.0
"""The time from the last request of a session to its end."""
_MOST_SESSIONS = 5000
_MOST_MESSAGES = 5

TRIES_OF_A_CLIENT = 5
TRIES_OF_ALL = 30
_WITHIN_S = 60.0
_MOST_CLIENTS = 1000

Clock = Callable[[], float]


@dataclass
class Session:
    """The state of one browser."""

    ends_at: float
    is_signed_in: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Every form holds it, so that no other site can send a form."""
    messages: list[tuple[str, str]] = field(default_factory=list)
    """The results of the last actions, for the next page: kind and text."""

    def holds(self, token: str) -> bool:
        """Return True if this is the token of the session. The comparison takes the same time for any token."""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "surrogatepass"))

    def say(self, kind: str, text: str) -> None:
        """Keep a message for the next page."""
        self.messages = [*self.messages, (kind, text)][-_MOST_MESSAGES:]

    def take_messages(self) -> list[tuple[str, str]]:
        """Return the messages, and forget them."""
        taken, self.messages = self.messages, []
        return taken


class Sessions:
    """The sessions by their cookies. The session that was used least recently makes room for a new session."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._by_cookie: OrderedDict[str, Session] = OrderedDict()

    def make(self, is_signed_in: bool = False) -> tuple[str, Session]:
        """Return the cookie of a new session, and the session."""
        cookie, session = secrets.token_urlsafe(32), Session(self._clock() + LASTS_S, is_signed_in)
        self._by_cookie[cookie] = session
        while len(self._by_cookie) > _MOST_SESSIONS:
            self._by_cookie.popitem(last=False)
        return cookie, session

    def find(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie, if it has not ended. It lasts longer from now on."""
        session = self._by_cookie.get(cookie or "")
        if session is None or cookie is None:
            return None
        if session.ends_at < self._clock():
            del self._by_cookie[cookie]
            return None
        session.ends_at = self._clock() + LASTS_S
        self._by_cookie.move_to_end(cookie)
        return session

    def end(self, cookie: str | None) -> None:
        """Forget a session."""
        self._by_cookie.pop(cookie or "", None)


class Tries:
    """Bound the login tries per minute: of each client, and of all clients together."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._all: deque[float] = deque()
        self._by_client: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Count a try, and return 0. Return the seconds to wait if there were too many; then the try does not count."""
        now = self._clock()
        own = self._by_client.setdefault(client, deque())
        self._by_client.move_to_end(client)
        while len(self._by_client) > _MOST_CLIENTS:
            self._by_client.popitem(last=False)
        for tries, most in ((own, TRIES_OF_A_CLIENT), (self._all, TRIES_OF_ALL)):
            while tries and tries[0] <= now - _WITHIN_S:
                tries.popleft()
            if len(tries) >= most:
                return max(1.0, tries[0] + _WITHIN_S - now)
        own.append(now)
        self._all.append(now)
        return 0.0

    def forgive(self, client: str) -> None:
        """Forget the tries of a client that has signed in."""
        self._by_client.pop(client, None)

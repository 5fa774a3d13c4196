"""redis-py's connection to a unix socket, with what some of its versions forget there."""

from typing import Any

import redis


class SocketConnection(redis.UnixDomainSocketConnection):
    """A connection to a unix socket that keeps its time limit, and can tell of a timeout."""

    # redis-py 8.1 reads both when it reports a timeout, and a unix socket has neither.
    host = None  # type: ignore[assignment]
    port = None

    def __init__(self, **kwargs: Any) -> None:
        # redis-py 7 turns these on with protocol 3, and then misses the host that a unix socket has not.
        kwargs = {name: value for name, value in kwargs.items() if not name.startswith("maint_notifications_")}
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if "socket_timeout" in kwargs:  # which redis-py 5.0 loses, and would then wait for ever
            self.socket_timeout = kwargs["socket_timeout"]

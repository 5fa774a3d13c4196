"""Connect to a unix socket with redis-py, and work around the faults of some of its versions."""

from typing import Any

import redis


class SocketConnection(redis.UnixDomainSocketConnection):
    """A connection to a unix socket that keeps its time limit and can report a timeout."""

    # redis-py 8.1 reads host and port when it reports a timeout, but a unix socket has neither.
    host = None  # type: ignore[assignment]
    port = None

    def __init__(self, **kwargs: Any) -> None:
        # With protocol 3, redis-py 7 turns these on. They need a host, which a unix socket does not have.
        kwargs = {name: value for name, value in kwargs.items() if not name.startswith("maint_notifications_")}
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if "socket_timeout" in kwargs:  # redis-py 5.0 loses it and would then wait without end
            self.socket_timeout = kwargs["socket_timeout"]

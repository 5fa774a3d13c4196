"""The client, made from settings so that it answers in bytes and repeats nothing by itself; and a look at the server.

A repeated command can take two jobs where one was asked for: who may call again, and how, is the scripts' business.
"""

import logging
from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redbike.embedded import EmbeddedServer
from redbike.errors import ConfigError, ServerError

OLDEST_SERVER = (6, 2)

_OURS: Mapping[str, Any] = {"decode_responses": False, "retry_on_error": None}


class Link:
    """A client, and what has to be let go of with it."""

    def __init__(self, settings: Mapping[str, object] | None) -> None:
        """Connects to nothing yet. `settings`: arguments of redis.Redis, or `embedded`, a private server's folder."""
        given: dict[str, Any] = {"protocol": 2, **(settings or {}), **_OURS, "retry": Retry(NoBackoff(), 0)}
        given.pop("retry_on_timeout", None)  # another way to ask for retries, and deprecated even as False
        folder = given.pop("embedded", None)
        self._server = None if folder is None else EmbeddedServer(folder)
        try:
            self.client: redis.Redis = self._server.client(**given) if self._server else redis.Redis(**given)
        except TypeError as error:
            raise ConfigError(f"redis_config: {error}") from error

    @property
    def where(self) -> str:
        """The server's address, for messages."""
        if self._server is not None:
            return self._server.socket_path
        known = self.client.connection_pool.connection_kwargs
        return known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"

    @property
    def socket_timeout_s(self) -> float | None:
        """Within what time the client expects a reply; None: it waits for ever."""
        timeout: float | None = self.client.connection_pool.connection_kwargs.get("socket_timeout")
        return timeout

    def dedicated(self) -> redis.Redis:
        """A client for one loop, connected at once: its own connection saves the way to the pool and back each turn."""
        client: redis.Redis = self.client.client()
        return client

    def close(self) -> None:
        """Let go of all connections, and of the embedded server, if there is one."""
        self.client.close()
        self.client.connection_pool.disconnect()
        if self._server is not None:
            self._server.leave()


def check_server(client: redis.Redis, where: str, log: logging.Logger) -> None:
    """Refuse a server that cannot carry Redbike; warn of one that may drop keys."""
    try:
        server = client.info()
    except redis.exceptions.NoPermissionError:
        return  # an ACL that hides it is no reason to stay away
    if server.get("redis_mode") == "sentinel":
        raise ServerError(f"Redis at {where} is a Sentinel, which holds no data: name its primary in [redbike-redis]")
    version = str(server.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise ServerError(f"Redis at {where} is version {version}: Redbike needs {oldest} or newer")
    policy = server.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and server.get("maxmemory"):
        log.warning(
            "Redis at %s has maxmemory-policy %s: once its memory is full it may drop jobs; set it to noeviction",
            where,
            policy,
        )


def check_writable(client: redis.Redis, where: str) -> None:
    """Refuse a replica that takes no writes."""
    try:
        replication = client.info("replication")
    except redis.exceptions.NoPermissionError:
        return
    if replication.get("role") == "slave" and replication.get("slave_read_only"):
        primary = f"{replication.get('master_host')}:{replication.get('master_port')}"
        raise ServerError(f"Redis at {where} is a read-only replica: name its primary, {primary}, in [redbike-redis]")


def is_loading(error: BaseException | None) -> bool:
    """Whether this is a server's word that it is still loading its data."""
    return isinstance(error, redis.exceptions.BusyLoadingError)

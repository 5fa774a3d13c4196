"""Make a redis-py client from settings. The client returns bytes and never repeats a command by itself.

A repeated command could take two jobs instead of one. Only the code that calls the scripts decides about retries.
"""

import contextlib
import inspect
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from redbike.errors import ConfigError, ServerError
from redbike.server.arguments import completed
from redbike.server.connection import ScriptConnection
from redbike.server.refusals import PlainPort
from redbike.server.unix_socket import SocketConnection

if TYPE_CHECKING:
    from redbike.server.embedded import EmbeddedServer

FEWEST_CONNECTIONS = 4

OUR_SETTINGS = frozenset(
    {"embedded", "url", "sentinels", "service_name", "sentinel_username", "sentinel_password", "cluster", "nodes"}
    | {"connection_pool"}
)
"""The settings that a connection accepts in addition to the arguments of redis.Redis."""

_SHARED_WITH_SENTINELS = ("socket_", "ssl")


class Reconnecting(Protocol):
    """An object that has its own connection."""

    def reopen(self) -> None:
        """Open the connection again as soon as it is not in use."""


class Client:
    """A redis-py client, and everything that must be closed together with it."""

    def __init__(self, settings: Mapping[str, object] | None) -> None:
        """Make the client. Only the client of a Cluster connects already.

        `settings` holds arguments of redis.Redis and `OUR_SETTINGS`. Raise ConfigError if they cannot be used, and
        ServerError if no node of a Cluster can be reached.
        """
        given = completed(settings)
        most = given.get("max_connections")
        if isinstance(most, int) and most < FEWEST_CONNECTIONS:
            raise ConfigError(
                f"max_connections: {most} is too few, because a loop uses one connection to wait and another one to"
                f" work; set at least {FEWEST_CONNECTIONS}"
            )
        given.update(decode_responses=False, retry=Retry(NoBackoff(), 0))
        for retry_setting in ("retry_on_timeout", "retry_on_error"):
            given.pop(retry_setting, None)
        ours = {name: given.pop(name) for name in OUR_SETTINGS if name in given}
        ours.update((name, _spelled(ours[name])) for name in ("sentinels", "nodes") if name in ours)
        self._server: EmbeddedServer | None = None
        # A list without a lock: a child that is forked while another thread holds a lock would wait for it without end.
        self._reconnecting: list[weakref.ref[Reconnecting]] = []
        self.is_cluster = bool(ours.pop("cluster", False)) or "nodes" in ours
        self.where = _where(ours, given)
        try:
            self.redis = self._make(ours, given)
        except (TypeError, ValueError, redis.RedisError) as error:
            raise ConfigError(f"redis_config: {error}") from error
        pool = None if self.is_cluster else self.redis.connection_pool
        arguments = self.redis.get_connection_kwargs() if pool is None else pool.connection_kwargs
        self.socket_timeout_s: float | None = arguments.get("socket_timeout")
        """The time limit of a reply; None: no limit."""

    def _make(self, ours: dict[str, Any], given: dict[str, Any]) -> redis.Redis:
        if "embedded" in ours:
            from redbike.server.embedded import EmbeddedServer

            self._server = EmbeddedServer(ours["embedded"])
            self.where = self._server.socket_path
            return self._server.client(**given)
        if self.is_cluster:
            return _cluster(ours, given, self.where)
        if "sentinels" in ours:
            return _sentinel(ours, given)
        client = redis.Redis(**given)
        _use_our_connections(client, ours.get("connection_pool"))
        return client

    def script_connection(self) -> ScriptConnection:
        """Return a connection for script calls. On a Cluster, calls use the client instead, which finds the node."""
        connection = ScriptConnection(self.redis, own=not self.is_cluster)
        self.keep(connection)
        return connection

    def keep(self, reconnecting: Reconnecting) -> None:
        """Reopen the connection of this object whenever `forget_idle` is called. The reference to it is weak."""
        for reference in list(self._reconnecting):
            if reference() is None:
                with contextlib.suppress(ValueError):  # another thread has removed it
                    self._reconnecting.remove(reference)
        self._reconnecting.append(weakref.ref(reconnecting))

    def forget_idle(self) -> None:
        """Close idle connections: they may lead to a dead or read-only server. New ones look for the primary."""
        for pool in self._pools():
            if not isinstance(pool, redis.BlockingConnectionPool):  # in redis-py 5.0 it closes all connections or none
                pool.disconnect(inuse_connections=False)
        for reference in list(self._reconnecting):
            reconnecting = reference()
            if reconnecting is not None:
                reconnecting.reopen()

    def _pools(self) -> list[redis.ConnectionPool]:
        if not self.is_cluster:
            return [self.redis.connection_pool]
        cluster: Any = self.redis
        clients = [node.redis_connection for node in cluster.get_nodes()]
        return [client.connection_pool for client in clients if client is not None]

    def close(self) -> None:
        """Close all connections, and leave the embedded server if there is one."""
        self.redis.close()
        if not self.is_cluster:
            self.redis.connection_pool.disconnect()
        if self._server is not None:
            self._server.leave()


def _spelled(addresses: Any) -> Any:
    """Return pairs of host and port, as redis-py has them, as the text of a conf. Return a text unchanged."""
    try:
        return addresses if isinstance(addresses, str) else " ".join(f"{host}:{port}" for host, port in addresses)
    except (TypeError, ValueError):
        raise ConfigError("sentinels, nodes: write HOST:PORT, separated by spaces, or a list of (HOST, PORT)") from None


def _use_our_connections(client: redis.Redis, users: redis.ConnectionPool | None = None) -> None:
    """Replace the connection class of the pool if it is a class of redis-py. A class of the user's own pool stays."""
    pool = client.connection_pool
    wanted = pool.connection_class
    if users is not None and users.connection_class not in (redis.Connection, redis.SSLConnection):
        wanted = users.connection_class
    if wanted is redis.UnixDomainSocketConnection:
        wanted = SocketConnection
    elif issubclass(wanted, redis.SSLConnection):
        from redbike.server.tls import CHECKED

        wanted = CHECKED.get(wanted, wanted)
    pool.connection_class = wanted


def _cluster(ours: dict[str, Any], given: dict[str, Any], where: str) -> redis.Redis:
    arguments = inspect.signature(RedisCluster.__init__).parameters
    if "cluster_error_retry_attempts" in arguments and arguments["retry"].default is not None:
        given["cluster_error_retry_attempts"] = 0
    if given.get("ssl_check_hostname") and "ssl_check_hostname" not in redis.cluster.REDIS_ALLOWED_KEYS:
        raise ConfigError(
            f"cluster: redis-py {redis.__version__} cannot check the host names in the TLS certificates of a Cluster:"
            " install a newer redis-py, or set ssl_check_hostname to no"
        )
    if "nodes" in ours:
        from redbike.server.sentinels import addresses

        given["startup_nodes"] = [ClusterNode(host, port) for host, port in addresses("nodes", ours["nodes"])]
    database = given.pop("db", None)
    if database:
        raise ConfigError(f"database {database}: a Cluster has only database 0; remove the number from db or the url")
    try:
        client: Any = RedisCluster(**given)
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        reason: Exception = error
        if given.get("ssl"):
            from redbike.server.tls import refuse_plain_port

            try:
                refuse_plain_port(given.get("host", "localhost"), given.get("port", 6379))
            except PlainPort as plain:
                reason = plain
        raise ServerError(f"Redis Cluster at {where} is out of reach: {reason}") from error
    # RedisCluster has all methods of redis.Redis that we use, but the two classes share no base class.
    return client  # type: ignore[no-any-return]


def _sentinel(ours: dict[str, Any], given: dict[str, Any]) -> redis.Redis:
    name = ours.get("service_name")
    if not name:
        raise ConfigError("sentinels: also set service-name, the name under which the Sentinels monitor the primary")
    from redbike.server.sentinels import PlainSentinel, addresses

    sentinel_arguments = {key: value for key, value in given.items() if key.startswith(_SHARED_WITH_SENTINELS)}
    sentinel_arguments.update(username=ours.get("sentinel_username"), password=ours.get("sentinel_password"))
    sentinel_arguments.update(retry=given["retry"], protocol=given["protocol"])
    sentinel: Any = PlainSentinel(addresses("sentinels", ours["sentinels"]), sentinel_arguments)
    client: redis.Redis = sentinel.master_for(name, **given)
    for each in (client, *sentinel.sentinels):
        _use_our_connections(each)
    return client


def _where(ours: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return the address of the server for messages. `url` holds no user, password or options any more."""
    if "sentinels" in ours:
        return f"{ours.get('service_name')} (by the Sentinels {' '.join(str(ours['sentinels']).split())})"
    if "nodes" in ours:
        return str(ours["nodes"])
    if "url" in ours:
        return str(ours["url"])
    return given.get("unix_socket_path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"

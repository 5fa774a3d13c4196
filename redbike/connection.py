"""The client, made from settings so that it answers in bytes and repeats nothing by itself; and a look at the server.

A repeated command can take two jobs where one was asked for: who may call again, and how, is the scripts' business.
"""

import contextlib
import inspect
import logging
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from redbike.arguments import completed
from redbike.embedded import EmbeddedServer
from redbike.errors import ConfigError, ServerError
from redbike.refusals import is_unknown_command, is_withheld
from redbike.sentinels import PlainSentinel, addresses
from redbike.tls import CHECKED, PlainPort, refuse_plain_port
from redbike.unix_socket import SocketConnection
from redbike.wire import Wires

OLDEST_SERVER = (6, 2)
FEWEST_CONNECTIONS = 4
_COMMANDS_OF_LOOPS = ("BLPOP", "EVALSHA", "SCRIPT")

OUR_SETTINGS = frozenset(
    {"embedded", "url", "sentinels", "service_name", "sentinel_username", "sentinel_password", "cluster", "nodes"}
    | {"connection_pool"}
)
"""What settings may hold beside the arguments of redis.Redis."""

_SHARED_WITH_SENTINELS = ("socket_", "ssl")


class Kept(Protocol):
    """What keeps a connection for itself."""

    def reopen(self) -> None:
        """Open the connection anew, as soon as it is not in use."""


class Link:
    """A client, and what has to be let go of with it."""

    def __init__(self, settings: Mapping[str, object] | None) -> None:
        """Connects to nothing yet, but for a Cluster. `settings`: arguments of redis.Redis and `OUR_SETTINGS`."""
        given = completed(settings)
        most = given.get("max_connections")
        if isinstance(most, int) and most < FEWEST_CONNECTIONS:
            raise ConfigError(
                f"max_connections: {most} is too few, for a loop waits on one and works on another: at least"
                f" {FEWEST_CONNECTIONS} are needed"
            )
        given.update(decode_responses=False, retry=Retry(NoBackoff(), 0))
        for another_way_to_ask_for_retries in ("retry_on_timeout", "retry_on_error"):
            given.pop(another_way_to_ask_for_retries, None)
        ours = {name: given.pop(name) for name in OUR_SETTINGS if name in given}
        self._server: EmbeddedServer | None = None
        # A list and no lock: a child that is forked while another thread holds one would wait for ever.
        self._kept: list[weakref.ref[Kept]] = []
        self.is_cluster = bool(ours.pop("cluster", False)) or "nodes" in ours
        self.where = _where(ours, given)
        try:
            self.client = self._make(ours, given)
        except (TypeError, ValueError, redis.RedisError) as error:
            raise ConfigError(f"redis_config: {error}") from error
        pool = None if self.is_cluster else self.client.connection_pool
        known = self.client.get_connection_kwargs() if pool is None else pool.connection_kwargs
        self.socket_timeout_s: float | None = known.get("socket_timeout")
        """Within what time the client expects a reply; None: it waits for ever."""

    def _make(self, ours: dict[str, Any], given: dict[str, Any]) -> redis.Redis:
        if "embedded" in ours:
            self._server = EmbeddedServer(ours["embedded"])
            self.where = self._server.socket_path
            return self._server.client(**given)
        if self.is_cluster:
            return _cluster(ours, given, self.where)
        if "sentinels" in ours:
            return _sentinel(ours, given)
        client = redis.Redis(**given)
        _put_ours(client, ours.get("connection_pool"))
        return client

    def wires(self) -> Wires:
        """For the calls of scripts. On a Cluster there are none: the client finds the way to the node."""
        wires = Wires(None if self.is_cluster else self.client)
        self.keep(wires)
        return wires

    def keep(self, one: Kept) -> None:
        """Have it told when its connection may lead to a server that is none any more."""
        for known in list(self._kept):
            if known() is None:
                with contextlib.suppress(ValueError):  # another thread was quicker
                    self._kept.remove(known)
        self._kept.append(weakref.ref(one))

    def forget_idle(self) -> None:
        """Close the connections that nobody uses just now: the next ones find out anew where the primary is."""
        for pool in self._pools():
            if not isinstance(pool, redis.BlockingConnectionPool):  # that of redis-py 5.0 closes all or none
                pool.disconnect(inuse_connections=False)
        for known in list(self._kept):
            one = known()
            if one is not None:
                one.reopen()

    def _pools(self) -> list[redis.ConnectionPool]:
        if not self.is_cluster:
            return [self.client.connection_pool]
        cluster: Any = self.client
        clients = [node.redis_connection for node in cluster.get_nodes()]
        return [client.connection_pool for client in clients if client is not None]

    def close(self) -> None:
        """Let go of all connections, and of the embedded server, if there is one."""
        self.client.close()
        if not self.is_cluster:
            self.client.connection_pool.disconnect()
        if self._server is not None:
            self._server.leave()


def _put_ours(client: redis.Redis, users: redis.ConnectionPool | None = None) -> None:
    """Have the pool make our connections in place of redis-py's, and those of a class that a user's pool has."""
    pool = client.connection_pool
    ours = {redis.UnixDomainSocketConnection: SocketConnection, **CHECKED}
    wanted = pool.connection_class
    if users is not None and users.connection_class not in (redis.Connection, redis.SSLConnection):
        wanted = users.connection_class
    pool.connection_class = ours.get(wanted, wanted)


def _cluster(ours: dict[str, Any], given: dict[str, Any], where: str) -> redis.Redis:
    arguments = inspect.signature(RedisCluster.__init__).parameters
    if "cluster_error_retry_attempts" in arguments and arguments["retry"].default is not None:
        given["cluster_error_retry_attempts"] = 0
    if given.get("ssl_check_hostname") and "ssl_check_hostname" not in redis.cluster.REDIS_ALLOWED_KEYS:
        raise ConfigError(
            f"cluster: redis-py {redis.__version__} checks no host names of a Cluster by TLS: install a newer one, or"
            " set ssl_check_hostname to no"
        )
    if "nodes" in ours:
        given["startup_nodes"] = [ClusterNode(host, port) for host, port in addresses("nodes", ours["nodes"])]
    database = given.pop("db", None)
    if database:
        raise ConfigError(f"database {database}: a Cluster has one database, 0; take the number out of db or the url")
    try:
        client: Any = RedisCluster(**given)
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        reason: Exception = error
        if given.get("ssl"):
            try:
                refuse_plain_port(given.get("host", "localhost"), given.get("port", 6379))
            except PlainPort as plain:
                reason = plain
        raise ServerError(f"Redis Cluster at {where} is out of reach: {reason}") from error
    # It has every method that we use of redis.Redis, and shares no base class with it.
    return client  # type: ignore[no-any-return]


def _sentinel(ours: dict[str, Any], given: dict[str, Any]) -> redis.Redis:
    name = ours.get("service_name")
    if not name:
        raise ConfigError("sentinels: service-name is needed too, the name of the primary that the Sentinels watch")
    own = {key: value for key, value in given.items() if key.startswith(_SHARED_WITH_SENTINELS)}
    own.update(username=ours.get("sentinel_username"), password=ours.get("sentinel_password"))
    own.update(retry=given["retry"], protocol=given["protocol"])
    sentinel: Any = PlainSentinel(addresses("sentinels", ours["sentinels"]), own)
    client: redis.Redis = sentinel.master_for(name, **given)
    for one in (client, *sentinel.sentinels):
        _put_ours(one)
    return client


def _where(ours: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The server's address for messages. The URL has lost its user, password and options already."""
    if "sentinels" in ours:
        return f"{ours.get('service_name')} (by the Sentinels {' '.join(str(ours['sentinels']).split())})"
    if "nodes" in ours:
        return str(ours["nodes"])
    if "url" in ours:
        return str(ours["url"])
    return given.get("unix_socket_path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"


def check_server(link: Link, prefix: str, log: logging.Logger) -> None:
    """Refuse a server that cannot carry Redbike; warn of one that may drop keys."""
    try:
        server: Any = link.client.info()
    except redis.ResponseError as error:
        if not is_withheld(error):
            raise
        return  # an ACL that hides it is no reason to stay away, nor is a server without it
    if server.get("loading"):  # INFO is answered meanwhile, and nothing else
        raise redis.exceptions.BusyLoadingError(f"Redis at {link.where} is still loading its data")
    where = link.where
    if "sentinel" in (server.get("redis_mode"), server.get("server_mode")):  # Redis, Valkey
        raise ServerError(
            f"Redis at {where} is a Sentinel, which holds no data: name it under sentinels in [redbike-redis]"
        )
    version = str(server.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise ServerError(f"Redis at {where} is version {version}: Redbike needs {oldest} or newer")
    if server.get("cluster_enabled") and not link.is_cluster:
        raise ServerError(f"Redis at {where} is a node of a Cluster: write cluster: yes into [redbike-redis]")
    if link.is_cluster and not _has_hash_tag(prefix):
        raise ServerError(
            f"prefix {prefix!r} would scatter its keys over the Redis Cluster at {where}, and no step were atomic:"
            f" put braces around it, {{{prefix}}}, which keep them together"
        )
    policy = server.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and server.get("maxmemory"):
        log.warning(
            "Redis at %s has maxmemory-policy %s: once its memory is full it may drop jobs; set it to noeviction",
            where,
            policy,
        )


def check_writable(link: Link) -> None:
    """Refuse a replica that takes no writes."""
    if link.is_cluster:
        return  # the client finds the primaries by itself
    try:
        replication: Any = link.client.info("replication")
    except redis.ResponseError as error:
        if not is_withheld(error):
            raise
        return
    if replication.get("role") == "slave" and replication.get("slave_read_only"):
        primary = f"{replication.get('master_host')}:{replication.get('master_port')}"
        raise ServerError(
            f"Redis at {link.where} is a read-only replica: name its primary, {primary}, in [redbike-redis]"
        )


def check_commands(link: Link, key: str) -> None:
    """Refuse a server, or a proxy before one, that lacks a command without which loops can do nothing.

    Called without arguments, a command that exists is refused for that, before access rules are asked.
    """
    client: Any = link.client
    if link.is_cluster:
        client = client.get_redis_connection(client.get_node_from_key(key))
    # Sent in one piece: a BLPOP alone would make CLIENT LIST show us as waiting, which others may look for.
    pipeline = client.pipeline(transaction=False)
    for name in _COMMANDS_OF_LOOPS:
        pipeline.execute_command(name)
    for name, reply in zip(_COMMANDS_OF_LOOPS, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(reply, redis.ResponseError) and is_unknown_command(reply):
            raise ServerError(
                f"Redis at {link.where} lacks the command {name}, which Redbike needs:"
                " take it out of rename-command in its conf, or connect without the proxy"
            ) from reply


def is_loading(error: BaseException | None) -> bool:
    """Whether this is a server's word that it is still loading its data."""
    return isinstance(error, redis.exceptions.BusyLoadingError)


def _has_hash_tag(prefix: str) -> bool:
    """Whether the keys of this prefix share a slot (Redis Cluster specification, hash tags)."""
    start = prefix.find("{")
    return start >= 0 and prefix.find("}", start) > start + 1

"""Check that a server is suitable for Redbike: once before the first call, and again before a loop starts."""

import logging
from typing import Any

import redis

from redbike.errors import ServerError
from redbike.server.client import Client
from redbike.server.refusals import is_unknown_command, is_withheld

OLDEST_SERVER = (6, 2)
_COMMANDS_OF_LOOPS = ("BLPOP", "EVALSHA", "SCRIPT")


def check_server(client: Client, prefix: str, log: logging.Logger, _repeated: bool = False) -> None:
    """Raise ServerError if Redbike cannot use this server. Log a warning if the server may drop keys."""
    try:
        server: Any = client.redis.info()
    except redis.ResponseError as error:
        if not is_withheld(error):
            raise
        return  # an access rule or a proxy withholds INFO; the server may still be suitable
    if server.get("loading"):  # a loading server answers INFO and no other command
        raise redis.exceptions.BusyLoadingError(f"Redis at {client.where} is still loading its data")
    where = client.where
    if "sentinel" in (server.get("redis_mode"), server.get("server_mode")):  # Redis, Valkey
        raise ServerError(
            f"Redis at {where} is a Sentinel and stores no data: write its address into sentinels in [redbike-redis]"
        )
    version = str(server.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise ServerError(f"Redis at {where} is version {version}: Redbike needs {oldest} or newer")
    if server.get("cluster_enabled") and not client.is_cluster:
        raise ServerError(f"Redis at {where} is a node of a Cluster: write cluster: yes into [redbike-redis]")
    if client.is_cluster and not _has_hash_tag(prefix):
        raise ServerError(
            f"prefix {prefix!r} would spread its keys over the nodes of the Redis Cluster at {where}, so no change"
            f" would be atomic: put braces around the prefix, {{{prefix}}}, to keep its keys together"
        )
    policy = server.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and server.get("maxmemory"):
        log.warning(
            "Redis at %s has maxmemory-policy %s: when its memory is full, it may drop jobs; set it to noeviction",
            where,
            policy,
        )


def check_writable(client: Client) -> None:
    """Raise ServerError if the server is a replica that accepts no writes."""
    if client.is_cluster:
        return  # the client itself finds the primaries
    try:
        replication: Any = client.redis.info("replication")
    except redis.ResponseError as error:
        if not is_withheld(error):
            raise
        return
    if replication.get("role") == "slave" and replication.get("slave_read_only"):
        primary = f"{replication.get('master_host')}:{replication.get('master_port')}"
        raise ServerError(
            f"Redis at {client.where} is a read-only replica: name its primary, {primary}, in [redbike-redis]"
        )


def check_commands(client: Client, key: str) -> None:
    """Raise ServerError if the server, or a proxy before it, lacks a command that the loops need.

    Call each command without arguments. An existing command then fails because its arguments are missing, and the
    server reports that before it checks access rules.
    """
    connected: Any = client.redis
    if client.is_cluster:
        connected = connected.get_redis_connection(connected.get_node_from_key(key))
    # Send all commands at once: after a single BLPOP, CLIENT LIST would show us as waiting. Others may look for that.
    pipeline = connected.pipeline(transaction=False)
    for name in _COMMANDS_OF_LOOPS:
        pipeline.execute_command(name)
    for name, reply in zip(_COMMANDS_OF_LOOPS, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(reply, redis.ResponseError) and is_unknown_command(reply):
            raise ServerError(
                f"Redis at {client.where} lacks the command {name}, which Redbike needs:"
                " remove the rename-command line for it from the conf of the server, or connect without the proxy"
            ) from reply


def is_loading(error: BaseException | None) -> bool:
    """Return True if the server answered that it is still loading its data."""
    return isinstance(error, redis.exceptions.BusyLoadingError)


def _has_hash_tag(prefix: str) -> bool:
    """Return True if the keys of this prefix share a slot (Redis Cluster specification, hash tags)."""
    start = prefix.find("{")
    return start >= 0 and prefix.find("}", start) > start + 1

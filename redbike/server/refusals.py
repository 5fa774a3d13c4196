"""Tell the errors of redis-py and of servers apart. Only this module compares their texts.

The class of an error depends on the client, and scripts and proxies wrap errors. The words of the server do not change.
"""

import re

import redis

_UNKNOWN = re.compile(r"unknown (?:redis )?command", re.IGNORECASE)
_MOVING = ("TRYAGAIN", "TTL exhausted", "non local key", "Multiple keys request during rehashing")
_DOWN = ("CLUSTERDOWN", "cluster is down", "Hash slot not served", "is not covered by the cluster")


class PlainPort(redis.RedisError):
    """A server answers without TLS. This is not a ConnectionError, because trying again does not help."""


def is_unknown_command(error: BaseException) -> bool:
    """Return True if the server, or a proxy before it, does not have the command."""
    return isinstance(error, redis.ResponseError) and _UNKNOWN.search(str(error)) is not None


def is_withheld(error: BaseException) -> bool:
    """Return True if we cannot use the command: an access rule forbids it, or the server does not have it."""
    return isinstance(error, redis.exceptions.NoPermissionError) or is_unknown_command(error)


def is_slot_moving(error: BaseException) -> bool:
    """Return True if a Cluster cannot serve a slot now because it is moving keys of the slot to another node."""
    moving = (redis.exceptions.TryAgainError, redis.exceptions.AskError)
    return isinstance(error, moving) or any(words in str(error) for words in _MOVING)


def is_cluster_down(error: BaseException) -> bool:
    """Return True if a Cluster has no node for a slot at the moment."""
    return isinstance(error, redis.exceptions.ClusterDownError) or any(words in str(error) for words in _DOWN)


def is_unblocked(error: BaseException) -> bool:
    """Return True if a blocking command ended because its server is not the primary any more. Reconnect then."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("UNBLOCKED")


def is_wrong_type(error: BaseException | str) -> bool:
    """Return True if the type of a key is not the type that the command needs."""
    return "WRONGTYPE" in str(error)


def is_read_only(error: BaseException) -> bool:
    """Return True if the server is a replica that accepts no writes. Redis 6.2 wraps this in the error of a script."""
    return isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in str(error)


def is_not_sent(error: BaseException) -> bool:
    """Return True if a call was never sent because no connection could be opened."""
    return "connecting to" in str(error)

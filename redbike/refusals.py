"""What the errors of redis-py and of servers mean, as predicates: the only place that compares their texts.

Clients differ in the class of an error, and a script or a proxy wraps it; the words of the server stay.
"""

import re

import redis

_UNKNOWN = re.compile(r"unknown (?:redis )?command", re.IGNORECASE)
_MOVING = ("TRYAGAIN", "TTL exhausted", "non local key", "Multiple keys request during rehashing")
_DOWN = ("CLUSTERDOWN", "cluster is down", "Hash slot not served", "is not covered by the cluster")


def is_unknown_command(error: BaseException) -> bool:
    """Whether the server, or a proxy before it, does not have the command."""
    return isinstance(error, redis.ResponseError) and _UNKNOWN.search(str(error)) is not None


def is_withheld(error: BaseException) -> bool:
    """Whether we cannot have the command: an access rule forbids it, or the server lacks it."""
    return isinstance(error, redis.exceptions.NoPermissionError) or is_unknown_command(error)


def is_slot_moving(error: BaseException) -> bool:
    """Whether a Cluster cannot serve a slot because some of its keys are on another node already."""
    moving = (redis.exceptions.TryAgainError, redis.exceptions.AskError)
    return isinstance(error, moving) or any(words in str(error) for words in _MOVING)


def is_cluster_down(error: BaseException) -> bool:
    """Whether a Cluster has no node for a slot just now."""
    return isinstance(error, redis.exceptions.ClusterDownError) or any(words in str(error) for words in _DOWN)


def is_unblocked(error: BaseException) -> bool:
    """Whether a blocking command was ended because its server stopped being the primary: as good as a cut."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("UNBLOCKED")

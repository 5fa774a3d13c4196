"""Tell from an error of Redis whether the server takes no writes at all now, or refuses only this call."""

import redis

_BEGINNINGS = (
    *("LOADING", "READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"),
    *("NOAUTH", "WRONGPASS", "UNBLOCKED", "max number of clients", "command not allowed when used memory"),
)
"""The beginnings of errors that concern all writes. redis-py removes the first word of some of them."""
_KINDS = (redis.exceptions.ReadOnlyError, redis.exceptions.OutOfMemoryError, redis.exceptions.ClusterDownError)


def is_of_the_server(error: BaseException) -> bool:
    """Return True if a server that answers with this error would refuse every other write, too."""
    return isinstance(error, _KINDS) or str(error).rpartition("caused error: ")[2].startswith(_BEGINNINGS)

"""The settings of connections, made from a client of the user or from arguments. Nothing here connects."""

from collections.abc import Mapping
from typing import Any

import redis

from redbike.bridges.sending import SOCKET_TIMEOUT_S
from redbike.errors import ConfigError


def settings_of(connection: object, given: Mapping[str, Any]) -> dict[str, object]:
    """Return settings for a `Client` that connects as this client does, changed by `given`.

    Without a client, `given` has all settings. A reply always has a time limit. Raise ConfigError for another object.
    """
    settings = dict(given)
    if connection is not None:
        if not isinstance(connection, redis.Redis):
            raise ConfigError(
                f"connection: a redis.Redis is needed, not {type(connection).__name__}: give"
                " redis.Redis.from_url('redis://localhost:6379/0')"
            )
        pool = connection.connection_pool
        settings = {"connection_pool": pool, "socket_timeout": pool.connection_kwargs.get("socket_timeout"), **given}
    if settings.get("socket_timeout") is None:
        settings["socket_timeout"] = SOCKET_TIMEOUT_S
    limit_s = settings["socket_timeout"]
    if isinstance(limit_s, bool) or not isinstance(limit_s, int | float) or not limit_s > 0:
        raise ConfigError(f"socket_timeout: {limit_s!r} is not a number of seconds above 0")
    return settings

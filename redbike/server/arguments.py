"""Check and complete the settings of a connection, hide their passwords, and return arguments of redis.Redis.

The defaults of redis-py differ from version to version. This module sets the values that every version must use.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any

import redis
from redis.sentinel import SentinelConnectionPool

from redbike.errors import ConfigError
from redbike.server.secret import hidden

SOCKET_TIMEOUT_S = 5.0
"""The default time limit of a reply. redis-py before version 8 has no limit and would wait without end."""

_KEEPALIVE_S = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_SECRETS = ("username", "password", "sentinel_username", "sentinel_password", "ssl_password")
_POOL_ARGUMENTS = ("maint_notifications_", "orig_", "himport_registry", "event_dispatcher", "cache", "parser_class")


def completed(settings: object) -> dict[str, Any]:
    """Return the arguments of redis.Redis and our own settings. Shorten `url` to the address for messages.

    Raise ConfigError if `settings` is not a dict, or if a setting, a URL or a file in it cannot be used.
    """
    if settings is None:
        settings = {}
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"redis_config: a dict of arguments of redis.Redis is needed, not {type(settings).__name__}: such as"
            ' {"host": "localhost", "port": 6379}, {"url": URL} or {"connection_pool": POOL}'
        )
    given: dict[str, Any] = {"protocol": 2, **pool_arguments(settings.get("connection_pool")), **settings}
    if "url" in given:
        from redbike.server.url import arguments_of

        url_arguments, given["url"] = arguments_of(given["url"])
        given.update(url_arguments)
    for name in ("host", "port"):  # do not quote the value: it could hold a password
        if isinstance(given.get(name), str) and not {"@", "/"}.isdisjoint(given[name]):
            raise ConfigError(
                f"{name}: holds @ or /; write a URL into url, a user into username, a password into password"
            )
    if given.get("credential_provider") and (given.get("username") or given.get("password")):
        raise ConfigError("credential_provider: provides the user and the password; remove username and password")
    _complete_timeouts(given)
    if given.get("ssl"):
        cert_reqs = given.get("ssl_cert_reqs", "required")
        if cert_reqs not in (None, "none", "optional", "required", *ssl.VerifyMode):
            raise ConfigError(f"ssl_cert_reqs: {cert_reqs!r} is not one of required, optional, none")
        if cert_reqs not in (None, "none", ssl.CERT_NONE):
            given.setdefault("ssl_check_hostname", True)
        from redbike.server.tls import check_files

        check_files(given)
    given.update((name, _secret(name, given[name])) for name in _SECRETS if name in given)
    return given


def _secret(name: str, value: object) -> object:
    if value is not None and not isinstance(value, str | bytes | int):
        raise ConfigError(f"{name}: a text is needed, not {type(value).__name__}")
    return hidden(str(value) if isinstance(value, int) else value)


def pool_arguments(pool: object) -> dict[str, Any]:
    """Return the arguments with which the user's pool makes connections. We use them for connections in our own pool.

    The user's pool may decode replies, or repeat commands that must not be repeated. Closing it would also cut off
    its other users.
    """
    if pool is None:
        return {}
    if not isinstance(pool, redis.ConnectionPool):
        raise ConfigError(f"connection_pool: a redis.ConnectionPool is needed, not {type(pool).__name__}")
    if isinstance(pool, SentinelConnectionPool):
        raise ConfigError("connection_pool: a pool of Sentinels cannot be used; set sentinels and service_name instead")
    given = {k: v for k, v in pool.connection_kwargs.items() if not k.startswith(_POOL_ARGUMENTS)}
    if issubclass(pool.connection_class, redis.UnixDomainSocketConnection):
        given["unix_socket_path"] = given.pop("path", "")
    elif issubclass(pool.connection_class, redis.SSLConnection):
        given["ssl"] = True
    return {**given, "max_connections": pool.max_connections}


def _complete_timeouts(given: dict[str, Any]) -> None:
    given.setdefault("socket_timeout", SOCKET_TIMEOUT_S)
    reply_timeout_s = given["socket_timeout"]
    given.setdefault("socket_connect_timeout", min(reply_timeout_s or SOCKET_TIMEOUT_S, SOCKET_TIMEOUT_S))
    given.setdefault("socket_keepalive", True)
    if given["socket_keepalive"]:
        options = {getattr(socket, name): value for name, value in _KEEPALIVE_S.items() if hasattr(socket, name)}
        given.setdefault("socket_keepalive_options", options)

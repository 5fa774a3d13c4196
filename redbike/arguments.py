"""The settings of a connection, checked, completed and with their passwords hidden: arguments of redis.Redis.

What must hold with every version of redis-py is set here, for their defaults differ.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any

import redis
from redis.sentinel import SentinelConnectionPool

from redbike.errors import ConfigError
from redbike.secret import hidden
from redbike.tls import check_files
from redbike.url import arguments_of

SOCKET_TIMEOUT_S = 5.0
"""Within what time a reply must come, where nothing else is asked for. Before 8, redis-py waits for ever."""

_KEEPALIVE_S = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_SECRETS = ("username", "password", "sentinel_username", "sentinel_password", "ssl_password")
_OF_A_POOL_ITSELF = ("maint_notifications_", "orig_", "himport_registry", "event_dispatcher", "cache", "parser_class")


def completed(settings: object) -> dict[str, Any]:
    """Return arguments of redis.Redis, and our own settings; `url` is then no more than the address to show.

    Raises ConfigError for what is no such dict, and for what a URL or a file in it should not be.
    """
    if settings is None:
        settings = {}
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"redis_config: a dict of arguments of redis.Redis is needed, not {type(settings).__name__}: such as"
            ' {"host": "localhost", "port": 6379}, {"url": URL} or {"connection_pool": POOL}'
        )
    given: dict[str, Any] = {"protocol": 2, **_of_pool(settings.get("connection_pool")), **settings}
    if "url" in given:
        of_url, given["url"] = arguments_of(given["url"])
        given.update(of_url)
    for name in ("host", "port"):  # not quoted back: it could hold a password
        if isinstance(given.get(name), str) and not {"@", "/"}.isdisjoint(given[name]):
            raise ConfigError(
                f"{name}: holds @ or /; a URL goes into url, a user into username, a password into password"
            )
    if given.get("credential_provider") and (given.get("username") or given.get("password")):
        raise ConfigError("credential_provider: gives user and password itself; leave username and password out")
    _complete_timeouts(given)
    if given.get("ssl"):
        wanted = given.get("ssl_cert_reqs", "required")
        if wanted not in (None, "none", "optional", "required", *ssl.VerifyMode):
            raise ConfigError(f"ssl_cert_reqs: {wanted!r} is none of required, optional and none")
        if wanted not in (None, "none", ssl.CERT_NONE):
            given.setdefault("ssl_check_hostname", True)
        check_files(given)
    given.update((name, _secret(name, given[name])) for name in _SECRETS if name in given)
    return given


def _secret(name: str, value: object) -> object:
    if value is not None and not isinstance(value, str | bytes | int):
        raise ConfigError(f"{name}: a text is needed, not {type(value).__name__}")
    return hidden(str(value) if isinstance(value, int) else value)


def _of_pool(pool: object) -> dict[str, Any]:
    """The arguments with which the user's own pool makes connections: we make ours alike, in a pool of our own.

    That pool may answer in text, or repeat what must not be repeated; and closing it would hit its other users.
    """
    if pool is None:
        return {}
    if not isinstance(pool, redis.ConnectionPool):
        raise ConfigError(f"connection_pool: a redis.ConnectionPool is needed, not {type(pool).__name__}")
    if isinstance(pool, SentinelConnectionPool):
        raise ConfigError("connection_pool: not one of Sentinels; give sentinels and service_name in its place")
    given = {k: v for k, v in pool.connection_kwargs.items() if not k.startswith(_OF_A_POOL_ITSELF)}
    if issubclass(pool.connection_class, redis.UnixDomainSocketConnection):
        given["unix_socket_path"] = given.pop("path", "")
    elif issubclass(pool.connection_class, redis.SSLConnection):
        given["ssl"] = True
    return {**given, "max_connections": pool.max_connections}


def _complete_timeouts(given: dict[str, Any]) -> None:
    given.setdefault("socket_timeout", SOCKET_TIMEOUT_S)
    reply_s = given["socket_timeout"]
    given.setdefault("socket_connect_timeout", min(reply_s or SOCKET_TIMEOUT_S, SOCKET_TIMEOUT_S))
    given.setdefault("socket_keepalive", True)
    if given["socket_keepalive"]:
        known = {getattr(socket, name): value for name, value in _KEEPALIVE_S.items() if hasattr(socket, name)}
        given.setdefault("socket_keepalive_options", known)

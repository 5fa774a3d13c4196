"""Read the conf file into a frozen Config: check the names and convert the values. Each error is one line.

This module decides which arguments of redis.Redis a conf file can set. settings.py declares the settings of Redbike.
Reading never connects to a server, imports a worker or touches another file.
"""

import functools
import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import redis

from redbike.conffile import expanded, sections_of
from redbike.errors import ConfigError
from redbike.logs import plain
from redbike.settings import (
    COMMAND_SETTINGS,
    SETTINGS,
    Setting,
    default,
    read_flag,
    read_line,
    read_lines,
    read_seconds,
    read_url,
    read_whole_number,
    read_word,
)

_log = plain(logging.getLogger("redbike"))

_OURS = "redbike"
_REDIS = "redbike-redis"


@dataclass(frozen=True)
class Config:
    """The settings of one conf file. `redbike.conf.example` explains each setting."""

    prefix: str = default("prefix")
    worker: str | None = default("worker")
    timefile: str = default("timefile")
    default_timeout: float = default("default_timeout")
    """Seconds."""
    on_timeout: str = default("on_timeout")
    on_error: str = default("on_error")
    history: int = default("history")
    dead_after: float = default("dead_after")
    """Seconds; 0: off."""
    retries: int = default("retries")
    metrics: bool = default("metrics")
    log_level: str | None = default("log_level")
    log_format: str = default("log_format")
    web_password: str | None = field(default=default("web_password"), repr=False)
    web_user_header: str | None = default("web_user_header")
    web_hosts: tuple[str, ...] | None = default("web_hosts")
    web_hide_payloads: bool = default("web_hide_payloads")
    # Not in the repr, because it may hold a password.
    redis: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Converted arguments of redis.Redis, and the given settings of `REDIS_SETTINGS`."""
    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """The settings of [redbike] that the file has. The others have their defaults."""


REDIS_SETTINGS: Mapping[str, Setting] = {
    "url": Setting(read_url),
    **dict.fromkeys(("embedded", "sentinels", "nodes"), Setting(read_line)),
    "service_name": Setting(read_word),
    "sentinel_username": Setting(read_line, optional=True),
    "sentinel_password": Setting(read_line, optional=True),
    "cluster": Setting(read_flag),
}
"""Our own settings in [redbike-redis], in addition to the arguments of redis.Redis."""

_EXCLUDED: Mapping[str, tuple[str, ...]] = {
    "embedded": ("host", "port", "unix_socket_path", "url", "sentinels", "cluster", "nodes"),
    "url": ("host", "port", "unix_socket_path", "sentinels", "nodes"),
    "sentinels": ("host", "port", "unix_socket_path", "cluster", "nodes"),
    "nodes": ("host", "port", "unix_socket_path", "db"),
    "cluster": ("unix_socket_path", "db"),
}

URL_VARIABLE = "REDBIKE_URL"
"""The environment variable with the URL of the server."""

_REPLACED_BY_URL = {
    *("url", "host", "port", "db", "username", "password", "unix_socket_path", "embedded", "nodes"),
    *("sentinels", "service_name", "sentinel_username", "sentinel_password"),
}
"""A user or a password of the conf does not go to another server."""

_PATHS = (
    *("timefile", "embedded", "unix_socket_path"),
    *("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path"),
)

_READERS: Mapping[str, Callable[[str], object]] = {
    "host": read_word,
    "port": functools.partial(read_whole_number, least=1, most=65535),
    "max_connections": functools.partial(read_whole_number, least=1),
    "socket_timeout": read_seconds,
    "socket_connect_timeout": read_seconds,
    "socket_keepalive": read_flag,
    "ssl_ca_data": read_lines,  # certificates have several lines
    **dict.fromkeys(("unix_socket_path", "username", "password", "client_name"), read_line),
    **dict.fromkeys(("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path"), read_line),
    **dict.fromkeys(("ssl_password", "ssl_ciphers", "ssl_ocsp_expected_cert"), read_line),
}
"""Arguments of redis.Redis whose type does not say enough. Before redis-py 6 they have no type at all."""

_READERS_BY_TYPE: Mapping[type, Callable[[str], object]] = {
    str: read_line,
    int: read_whole_number,
    float: read_seconds,  # all arguments of redis.Redis of type float are lengths of time
    bool: read_flag,
}


def load(path: str | Path) -> Config:
    """Read the conf file at `path`.

    Relative paths start in the folder of the file. `${NAME}` in a value is taken from the environment, and REDBIKE_URL
    there replaces the server. Log a warning for an unknown setting in [redbike], so that an older Redbike can read a
    newer conf file. In [redbike-redis], an unknown setting is an error, because a connection to a wrong server does
    harm.
    Raise ConfigError with one line that names the file, and the setting with its section or the line number.
    """
    sections = sections_of(path, (_OURS, _REDIS))
    if _OURS not in sections:
        raise ConfigError(f"{path}: has no section [{_OURS}]; write the line [{_OURS}] above the settings")
    read = _read_ours(f"{path}, [{_OURS}]", sections[_OURS])
    ours = {"timefile": default("timefile"), **read}
    given, url = sections.get(_REDIS, {}), os.environ.get(URL_VARIABLE)
    if url:
        given = {name: text for name, text in given.items() if name not in _REPLACED_BY_URL}
    theirs = _read_redis(f"{path}, [{_REDIS}]", given)
    if url:
        theirs = {**theirs, "url": _read(f"the environment variable {URL_VARIABLE}", REDIS_SETTINGS["url"], url)}
    folder = os.path.dirname(path)  # noqa: PTH120 - Path would change the text
    for values in (ours, theirs):
        for name in _PATHS:
            text = values.get(name)
            if isinstance(text, str) and not (name == "embedded" and text.startswith("~")):
                values[name] = os.path.join(folder, text)  # noqa: PTH118
                _refuse_moved(path, name, text, str(values[name]))
    return Config(**ours, redis=theirs, given=frozenset(read))


def _refuse_moved(path: str | Path, name: str, text: str, used: str) -> None:
    """Raise ConfigError if the folder of the embedded server lies in the current folder, and not by the conf."""
    if name == "embedded" and os.path.exists(text) and not os.path.exists(used):  # noqa: PTH110
        raise ConfigError(
            f"{path}, [{_REDIS}] {name}: a relative path starts in the folder of the conf, so {used} would be a new and"
            f" empty server; move {text} of the current folder there, or write its absolute path"
        )


def _read_ours(where: str, texts: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    known = {**SETTINGS, **COMMAND_SETTINGS}
    for key, text in texts.items():
        name = key.replace("_", "-")
        if key in known:
            # 0.13.1 replaced %(name)s by another setting. A prefix with a literal %( would name other jobs.
            if "%(" in text:
                raise ConfigError(
                    f"{where} {name}: holds %(, which 0.13.1 replaced by another setting; write the value out"
                )
            values[key] = _read(f"{where} {name}", known[key], expanded(f"{where} {name}", text, os.environ))
        else:
            _log.warning("%s %s: %s", where, name, _unknown(name, [k.replace("_", "-") for k in known]))
    return values


def _read_redis(where: str, texts: Mapping[str, str]) -> dict[str, object]:
    values = {
        key: read_argument(f"{where} {key}", key, expanded(f"{where} {key}", text, os.environ), REDIS_SETTINGS)
        for key, text in texts.items()
    }
    _refuse_contradictions(where, [key for key, value in values.items() if value is not False])
    return values


def read_argument(where: str, name: str, text: str, ours: Mapping[str, Setting] | None = None) -> object:
    """Convert the text of an argument of redis.Redis, or of a setting in `ours`, to its value.

    Raise ConfigError, which begins with `where`, if the name is unknown or the text is not a value of it.
    """
    known = {**(ours or {}), **_redis_settings()}
    if name in known:
        return _read(where, known[name], text)
    if name in inspect.signature(redis.Redis).parameters:
        raise ConfigError(
            f"{where}: needs an object, which a text cannot express; remove the setting, or set it in your own program"
            " with Redbike(redis_config=...)"
        )
    raise ConfigError(f"{where}: {_unknown(name, known)}")


@functools.cache
def _redis_settings() -> Mapping[str, Setting]:
    arguments = inspect.signature(redis.Redis).parameters
    return {name: setting for name in arguments if (setting := _setting_of(arguments[name]))}


def _setting_of(argument: inspect.Parameter) -> Setting | None:
    """Choose the reader of an argument of redis.Redis by name, type or default. Return None if it needs an object."""
    is_union = get_origin(argument.annotation) in (Union, UnionType)
    annotated = get_args(argument.annotation) if is_union else (argument.annotation,)
    types = [kind for kind in annotated if kind in _READERS_BY_TYPE] or [type(argument.default)]
    read = _READERS.get(argument.name) or _READERS_BY_TYPE.get(types[0])
    optional = argument.default is None or NoneType in annotated
    return Setting(read, optional=optional) if read else None


def _refuse_contradictions(where: str, given: Iterable[str]) -> None:
    for key, excluded in _EXCLUDED.items():
        others = ", ".join(other for other in excluded if other in given)
        if key in given and others:
            raise ConfigError(f"{where} {key}: excludes {others}, which may name another server; keep one or the other")


def _read(where: str, setting: Setting, text: str) -> object:
    if not text:
        if setting.optional:
            return None
        raise ConfigError(f"{where}: is empty; write a value or remove the line")
    try:
        return setting.read(text)
    except ValueError as error:
        hint = " (write a comment on a separate line)" if re.search(r"\s[#;]", text) else ""
        raise ConfigError(f"{where}: {error}{hint}") from None


def _unknown(name: str, known: Iterable[str]) -> str:
    import difflib

    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    end = f"; did you mean {near[0]}?" if near else "."
    return f"is unknown{end} Known names: {', '.join(near + [k for k in known if k not in near])}"

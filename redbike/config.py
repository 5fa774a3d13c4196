"""The conf file becomes a frozen Config: names checked, values converted, each refusal one line.

Owns which settings there are, their defaults and types, and which arguments of redis.Redis a file can hold.
Never connects, imports a worker, or touches another file.
"""

import configparser
import difflib
import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import redis

from redbike.conffile import sections_of
from redbike.errors import ConfigError
from redbike.plainlog import plain

_log = plain(logging.getLogger("redbike"))

_OURS = "redbike"
_REDIS = "redbike-redis"


@dataclass(frozen=True)
class Config:
    """The settings of one conf file. `redbike.conf.example` tells what each is for."""

    prefix: str = "redbike"
    worker: str | None = None
    timefile: str = ".redbike.timefile"
    default_timeout: float = 10.0
    """Seconds."""
    on_timeout: str = "drop"
    on_error: str = "drop"
    retries: int = 3
    # Out of repr, because it may hold a password.
    redis: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Arguments of redis.Redis, converted, and what of `REDIS_SETTINGS` was given."""


# Readers: from the text of a value to the value. A ValueError says what is wrong with the text.


def _lines(text: str) -> str:
    return text


def _text(text: str) -> str:
    if "\n" in text:  # not quoted back: it could be a password
        raise ValueError("runs on over an indented line; a setting starts at the left edge")
    return text


def _word(text: str) -> str:
    if not text.isprintable() or any(map(str.isspace, text)):
        raise ValueError(f"{text!r} holds a space or an unprintable character; take it out")
    return text


def _flag(text: str) -> bool:
    try:
        return configparser.RawConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither yes nor no") from None


def _whole_number(text: str, least: int = 0, most: int = 2**31 - 1) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if not least <= number <= most:
        raise ValueError(f"{text!r} is out of range; write a whole number from {least} to {most}")
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    # Redis counts in milliseconds, and neither Redis nor a socket takes an endless time.
    if not 0.001 <= seconds <= 1e9:
        raise ValueError(f"{text!r} is out of range; write a number of seconds from 0.001 to 1000000000")
    return seconds


def _url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        # Not quoted back: it could hold a password.
        raise ValueError("does not begin with redis://, rediss:// or unix://")
    return text


def _on_failure(text: str) -> str:
    if text not in ("drop", "reschedule", "retry"):
        raise ValueError(f"{text!r} is none of drop, reschedule and retry")
    return text


@dataclass(frozen=True)
class Setting:
    """How the text of a setting becomes its value."""

    read: Callable[[str], object]
    optional: bool = False
    """An empty value means None."""


SETTINGS: Mapping[str, Setting] = {
    "prefix": Setting(_word),
    "worker": Setting(_lines, optional=True),
    "timefile": Setting(_text),
    "default_timeout": Setting(_seconds),
    "on_timeout": Setting(_on_failure),
    "on_error": Setting(_on_failure),
    "retries": Setting(functools.partial(_whole_number, least=1, most=100)),
}
"""Section [redbike], by the fields of Config."""

REDIS_SETTINGS: Mapping[str, Setting] = {
    "url": Setting(_url),
    **dict.fromkeys(("embedded", "sentinels", "nodes"), Setting(_text)),
    "service_name": Setting(_word),
    "sentinel_username": Setting(_text, optional=True),
    "sentinel_password": Setting(_text, optional=True),
    "cluster": Setting(_flag),
}
"""Settings of our own in [redbike-redis], beside the arguments of redis.Redis."""

_EXCLUDED: Mapping[str, tuple[str, ...]] = {
    "embedded": ("host", "port", "unix_socket_path", "url", "sentinels", "cluster", "nodes"),
    "url": ("host", "port", "unix_socket_path", "sentinels", "nodes"),
    "sentinels": ("host", "port", "unix_socket_path", "cluster", "nodes"),
    "nodes": ("host", "port", "unix_socket_path", "db"),
    "cluster": ("unix_socket_path", "db"),
}

_READERS: Mapping[str, Callable[[str], object]] = {
    "host": _word,
    "port": functools.partial(_whole_number, least=1, most=65535),
    "max_connections": functools.partial(_whole_number, least=1),
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "ssl_ca_data": _lines,  # certificates, line by line
    **dict.fromkeys(("unix_socket_path", "username", "password", "client_name"), _text),
    **dict.fromkeys(("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path"), _text),
    **dict.fromkeys(("ssl_password", "ssl_ciphers", "ssl_ocsp_expected_cert"), _text),
}
"""Arguments of redis.Redis of which a type says too little; before redis-py 6 it gives none."""

_READERS_BY_TYPE: Mapping[type, Callable[[str], object]] = {
    str: _text,
    int: _whole_number,
    float: _seconds,  # all that redis.Redis takes as float are lengths of time
    bool: _flag,
}


def load(path: str | Path) -> Config:
    """Read the conf file at `path`.

    Unknown settings in [redbike] are a warning, so that a newer conf still serves an older program; in
    [redbike-redis] they are an error, because a connection other than the one asked for does harm.
    Raises ConfigError, one line that names the file and the section and setting, or the line.
    """
    sections = sections_of(path, (_OURS, _REDIS))
    if _OURS not in sections:
        raise ConfigError(f"{path}: has no section [{_OURS}]; add that line above the settings")
    ours = _read_ours(f"{path}, [{_OURS}]", sections[_OURS])
    return Config(**ours, redis=_read_redis(f"{path}, [{_REDIS}]", sections.get(_REDIS, {})))


def _read_ours(where: str, texts: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for key, text in texts.items():
        name = key.replace("_", "-")
        if key in SETTINGS:
            # 0.13.1 put the value of another setting there. Taken literally, such a prefix names another set of jobs.
            if "%(" in text:
                raise ConfigError(
                    f"{where} {name}: holds %(, where 0.13.1 put the value of another setting; write the value out"
                )
            values[key] = _read(f"{where} {name}", SETTINGS[key], text)
        else:
            _log.warning("%s %s: %s", where, name, _unknown(name, [k.replace("_", "-") for k in SETTINGS]))
    return values


def _read_redis(where: str, texts: Mapping[str, str]) -> dict[str, object]:
    values = {key: read_argument(f"{where} {key}", key, text, REDIS_SETTINGS) for key, text in texts.items()}
    _refuse_contradictions(where, [key for key, value in values.items() if value is not False])
    return values


def read_argument(where: str, name: str, text: str, ours: Mapping[str, Setting] | None = None) -> object:
    """Return the value of an argument of redis.Redis, or of one of these settings of ours, from its text."""
    known = {**(ours or {}), **_redis_settings()}
    if name in known:
        return _read(where, known[name], text)
    if name in inspect.signature(redis.Redis).parameters:
        raise ConfigError(
            f"{where}: takes an object, which a text cannot hold; remove it, or give it in a program of your own"
            " with Redbike(redis_config=...)"
        )
    raise ConfigError(f"{where}: {_unknown(name, known)}")


@functools.cache
def _redis_settings() -> Mapping[str, Setting]:
    arguments = inspect.signature(redis.Redis).parameters
    return {name: setting for name in arguments if (setting := _setting_of(arguments[name]))}


def _setting_of(argument: inspect.Parameter) -> Setting | None:
    """How to read an argument of redis.Redis, by name, annotation or default. None: it takes an object."""
    is_union = get_origin(argument.annotation) in (Union, UnionType)
    annotated = get_args(argument.annotation) if is_union else (argument.annotation,)
    types = [kind for kind in annotated if kind in _READERS_BY_TYPE] or [type(argument.default)]
    read = _READERS.get(argument.name) or _READERS_BY_TYPE.get(types[0])
    optional = argument.default is None or NoneType in annotated
    return Setting(read, optional) if read else None


def _refuse_contradictions(where: str, given: Iterable[str]) -> None:
    for key, excluded in _EXCLUDED.items():
        both = [other for other in excluded if other in given]
        if key in given and both:
            raise ConfigError(f"{where} {key}: excludes {', '.join(both)}, which would name another server; keep one")


def _read(where: str, setting: Setting, text: str) -> object:
    if not text:
        if setting.optional:
            return None
        raise ConfigError(f"{where}: is empty; write a value or remove the line")
    try:
        return setting.read(text)
    except ValueError as error:
        hint = " (a comment needs a line of its own)" if re.search(r"\s[#;]", text) else ""
        raise ConfigError(f"{where}: {error}{hint}") from None


def _unknown(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    end = f"; did you mean {near[0]}?" if near else "."
    return f"is unknown{end} Known are {', '.join(near + [k for k in known if k not in near])}"

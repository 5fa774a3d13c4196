"""Turn the URL of a server into arguments of redis.Redis: redis://, rediss:// (TLS) and unix://, as in redis-py.

Errors quote only the names of options. Any other part of the URL may hold a piece of a password with an odd character.
"""

from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redbike.config import read_argument
from redbike.errors import ConfigError

_FORMS = "redis://USER:PASSWORD@HOST:PORT/DB, rediss://… (TLS) or unix://USER:PASSWORD@/PATH?db=DB"
_CODES = "in a user, a password or an option, write %2F for /, %3F for ?, %23 for #, %40 for @ and %25 for %"


def arguments_of(url: object) -> tuple[dict[str, Any], str]:
    """Return the arguments, and the address without user, password and options for messages.

    Raise ConfigError if the URL cannot be used.
    """
    if not isinstance(url, str):
        raise ConfigError(f"url: a text is needed, not {type(url).__name__}")
    if any(not char.isprintable() for char in url):
        # urlsplit would remove line breaks, and so change the password.
        raise ConfigError(f"url: holds a line break or another control character; {_CODES}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text quotes a part of the URL
        raise ConfigError(f"url: the text after the host is not a port; the form is {_FORMS}; {_CODES}") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f"url: does not begin with redis://, rediss:// or unix://; the form is {_FORMS}")
    rest = f"{parts.path}?{parts.query}" if parts.netloc else parts.query
    if "@" in rest or "#" in url:
        raise ConfigError(f"url: holds a character that ends the user and the password too early; {_CODES}")
    given: dict[str, Any] = {}
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            given[name] = unquote(value)
    if parts.scheme == "unix":
        given["unix_socket_path"] = address = _socket_path(parts)
        address = f"unix://{address}"
    else:
        given.update(_host(parts, port))
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    given.update(_options(parts.query))
    return given, address


def _socket_path(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if parts.netloc.rpartition("@")[2] or not path:
        raise ConfigError("url: write the path of a socket after unix://, with its first slash: unix:///run/redis.sock")
    return path


def _host(parts: SplitResult, port: int | None) -> dict[str, Any]:
    given: dict[str, Any] = {"host": unquote(parts.hostname)} if parts.hostname else {}
    if port:
        given["port"] = port
    if parts.scheme == "rediss":
        given["ssl"] = True
    database = parts.path.strip("/")
    if database:
        if not (database.isascii() and database.isdecimal()):
            raise ConfigError("url: the text after the host is not the number of a database, such as /0")
        given["db"] = int(database)
    return given


def _options(query: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:  # its text quotes the query
        raise ConfigError(f"url: write an option as NAME=VALUE, with & between options; {_CODES}") from None
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name in given:
            raise ConfigError(f"url: the option {name} is given twice; remove one of them")
        given[name] = read_argument(f"url: option {name}", name, text)
    return given

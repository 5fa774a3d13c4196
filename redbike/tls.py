"""TLS: files that are named where they cannot be used, and a port without TLS that is called one.

redis-py says neither: of a file only that there is "no such file", of a plain port after many seconds "Timeout".
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis
from redis.sentinel import SentinelManagedSSLConnection

from redbike.errors import ConfigError

_FIRST_LOOK_S = 1.5
"""A handshake that takes longer has us look at the port, and is then begun once more with all its time."""


class PlainPort(redis.RedisError):
    """A server that answers without TLS. No ConnectionError: a command need not try again."""


class _PlainPortCheck(redis.SSLConnection):
    def _connect(self) -> Any:
        # To a plain port, the beginning of a handshake is half a line: it waits for the rest, and so do we.
        connect: Callable[[], Any] = super()._connect
        limits_s = self.socket_connect_timeout, self.socket_timeout  # of the way there, and of the handshake
        shorter_s = [min(limit_s or _FIRST_LOOK_S, _FIRST_LOOK_S) for limit_s in limits_s]
        try:
            self.socket_connect_timeout, self.socket_timeout = shorter_s
            opened = connect()
            opened.settimeout(limits_s[1])
            return opened
        except (TimeoutError, redis.TimeoutError):
            refuse_plain_port(self.host, self.port)
            if tuple(shorter_s) == limits_s:
                raise
        finally:
            self.socket_connect_timeout, self.socket_timeout = limits_s
        return connect()


class TlsConnection(_PlainPortCheck):
    """A connection by TLS, which says so where the port has none."""


class ManagedTlsConnection(_PlainPortCheck, SentinelManagedSSLConnection):
    """The same to a primary that Sentinels name."""


CHECKED: Mapping[type, type] = {
    redis.SSLConnection: TlsConnection,
    SentinelManagedSSLConnection: ManagedTlsConnection,
}
"""Which of our classes stands for which of redis-py's."""


def refuse_plain_port(host: str, port: int) -> None:
    """Raise PlainPort where a server answers a command that comes without TLS."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _FIRST_LOOK_S) as probe:
        probe.sendall(b"PING\r\n")
        answer = probe.recv(1)
    if answer in (b"+", b"-"):
        raise PlainPort(f"port {port} of {host} does not speak TLS: set ssl to no (redis:// in a URL), or name another")


def check_files(given: Mapping[str, Any]) -> None:
    """Raise ConfigError where a certificate or key cannot be read or used."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path"):
        path = given.get(name)
        if path:
            try:
                with contextlib.suppress(IsADirectoryError), Path(path).open("rb"):
                    pass
            except OSError as error:
                raise ConfigError(f"{name}: {path} cannot be read ({error.strerror}); name a file in PEM") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = given.get("ssl_ca_certs"), given.get("ssl_ca_path"), given.get("ssl_ca_data")
    if any(authorities):
        try:
            context.load_verify_locations(*authorities)
        except (ssl.SSLError, OSError, ValueError):
            raise ConfigError(f"ssl_ca_certs: {authorities[0] or 'the data'} holds no certificate in PEM") from None
    if given.get("ssl_certfile"):
        certificate, key = given["ssl_certfile"], given.get("ssl_keyfile")
        password = given.get("ssl_password") or ""  # without one, OpenSSL would ask the terminal
        try:
            context.load_cert_chain(certificate, key, password)
        except (ssl.SSLError, OSError, ValueError):
            raise ConfigError(
                f"ssl_certfile: {certificate} and ssl_keyfile: {key or certificate} are no certificate in PEM with its"
                " key, or ssl_password does not open the key"
            ) from None

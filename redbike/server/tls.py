"""Report certificate files that cannot be used, and ports that do not speak TLS.

redis-py reports neither plainly. For a file it says only "no such file", for a port without TLS "Timeout" after many
seconds.
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
from redbike.server.refusals import PlainPort

_FIRST_TRY_S = 1.5
"""If a handshake takes longer, check the port, and then begin the handshake again with its whole time limit."""


class _PlainPortCheck(redis.SSLConnection):
    def _connect(self) -> Any:
        # A port without TLS reads the beginning of a handshake as half a line. It waits for the rest, and we wait too.
        connect: Callable[[], Any] = super()._connect
        limits_s = self.socket_connect_timeout, self.socket_timeout  # of the connection, and of the handshake
        shorter_s = [min(limit_s or _FIRST_TRY_S, _FIRST_TRY_S) for limit_s in limits_s]
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
    """A TLS connection that raises PlainPort if the port does not speak TLS."""


class ManagedTlsConnection(_PlainPortCheck, SentinelManagedSSLConnection):
    """A TLS connection to a primary that Sentinels name. It raises PlainPort if the port does not speak TLS."""


CHECKED: Mapping[type, type] = {
    redis.SSLConnection: TlsConnection,
    SentinelManagedSSLConnection: ManagedTlsConnection,
}
"""Our replacement for each connection class of redis-py."""


def refuse_plain_port(host: str, port: int) -> None:
    """Raise PlainPort if a server answers a command without TLS."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _FIRST_TRY_S) as probe:
        probe.sendall(b"PING\r\n")
        answer = probe.recv(1)
    if answer in (b"+", b"-"):
        raise PlainPort(f"port {port} of {host} does not speak TLS: set ssl to no (redis:// in a URL), or change port")


def check_files(given: Mapping[str, Any]) -> None:
    """Raise ConfigError if a certificate or key cannot be read or used."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path"):
        path = given.get(name)
        if path:
            try:
                with contextlib.suppress(IsADirectoryError), Path(path).open("rb"):
                    pass
            except OSError as error:
                raise ConfigError(f"{name}: {path} cannot be read ({error.strerror}); name a PEM file") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = given.get("ssl_ca_certs"), given.get("ssl_ca_path"), given.get("ssl_ca_data")
    if any(authorities):
        try:
            context.load_verify_locations(*authorities)
        except (ssl.SSLError, OSError, ValueError):
            raise ConfigError(f"ssl_ca_certs: {authorities[0] or 'the data'} contains no PEM certificate") from None
    if given.get("ssl_certfile"):
        certificate, key = given["ssl_certfile"], given.get("ssl_keyfile")
        password = given.get("ssl_password") or ""  # without a password, OpenSSL would ask for it on the terminal
        try:
            context.load_cert_chain(certificate, key, password)
        except (ssl.SSLError, OSError, ValueError):
            raise ConfigError(
                f"ssl_certfile: {certificate} and ssl_keyfile: {key or certificate} are not a PEM certificate and its"
                " key, or ssl_password does not open the key"
            ) from None

"""How the page is served: who may use it, and what it shows. The conf and the command line decide."""

import ipaddress
from dataclasses import dataclass, field

from redbike.errors import ConfigError


@dataclass(frozen=True)
class Manners:
    """The settings of one page."""

    host: str = "127.0.0.1"
    port: int = 8730
    password: str | None = field(default=None, repr=False)
    user_header: str | None = None
    """The header in which a reverse proxy names the user."""
    hosts: tuple[str, ...] = ()
    """Names to which the page answers without a password, in addition to those of this machine."""
    hides_payloads: bool = False
    """Neither payloads nor errors of jobs leave the page."""
    is_read_only: bool = False

    @property
    def is_guarded(self) -> bool:
        """Return True if only known users may use the page."""
        return self.password is not None or self.user_header is not None

    def answers_to(self, authority: str) -> bool:
        """Return True if the value of a Host header is a name of the page. With a password, any name is."""
        if self.password is not None or is_local_name(authority):
            return True
        name = _name_of(authority)
        return name in {host.lower().strip("[]") for host in self.hosts} or name == _literal(self.host)

    def check(self) -> None:
        """Raise ConfigError for an address that others can reach, unless the page knows its users."""
        if not self.is_guarded and not is_loopback(self.host):
            raise ConfigError(
                f"--host: {self.host!r} is not a loopback address, and anybody who reaches it could change jobs: set"
                " web-password, or web-user-header behind a reverse proxy, in the section [redbike] of the conf"
            )


def is_loopback(host: str) -> bool:
    """Return True if only programs of this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local_name(authority: str) -> bool:
    """Return True if the value of a Host header names this machine as a loopback address.

    Otherwise a page of another site could let its own name lead to 127.0.0.1, and then read what we send.
    """
    return is_loopback(_name_of(authority))


def _name_of(authority: str) -> str:
    """Return the value of a Host header without port, and without the brackets of an IPv6 address."""
    host = authority.rsplit(":", 1)[0] if not authority.endswith("]") else authority
    return host.lower().strip("[]")


def _literal(host: str) -> str | None:
    """Return the host if it is an address, not a name: a name could be led to another machine."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None

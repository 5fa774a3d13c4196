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
    hides_payloads: bool = False
    """Neither payloads nor errors of jobs leave the page."""
    is_read_only: bool = False

    @property
    def is_guarded(self) -> bool:
        """Return True if only known users may use the page."""
        return self.password is not None or self.user_header is not None

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
    host = authority.rsplit(":", 1)[0] if not authority.endswith("]") else authority
    return is_loopback(host)

"""Read the addresses of Sentinels from a text, ask the Sentinels for the primary, and report their faults plainly.

The error of redis-py contains the reprs of its clients: a thousand characters, and in some versions the password.
"""

from collections.abc import Mapping
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

from redbike.errors import ConfigError
from redbike.server.refusals import PlainPort


def addresses(setting: str, text: str) -> list[tuple[str, int]]:
    """Return host and port of each HOST:PORT in the text of this setting."""
    found = []
    for word in text.replace(",", " ").split():
        host, _, port = word.rpartition(":")
        if "@" in word or "/" in word:  # do not quote the word: it could hold a password
            raise ConfigError(f"{setting}: write HOST:PORT; a user and a password have separate settings")
        if not host or not port.isdecimal():
            raise ConfigError(f"{setting}: {word!r} is not HOST:PORT")
        found.append((host.strip("[]"), int(port)))
    if not found:
        raise ConfigError(f"{setting}: holds no address; write HOST:PORT, separated by spaces")
    return found


class PlainSentinel(Sentinel):
    """The Sentinels of redis-py, with an error that says of each Sentinel why it named no primary."""

    sentinels: list[redis.Redis]

    def __init__(self, where: list[tuple[str, int]], connection: Mapping[str, Any]) -> None:
        """Ask the Sentinels at these addresses. `connection` holds the arguments for connections to the Sentinels."""
        super().__init__(where, sentinel_kwargs=dict(connection))  # type: ignore[no-untyped-call]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the primary. Raise MasterNotFoundError if no Sentinel knows a primary that is up.

        Raise PlainPort instead if a Sentinel answered without TLS.
        """
        reasons: list[str] = []
        kind: type[redis.RedisError] = MasterNotFoundError
        for number, sentinel in enumerate(self.sentinels):
            arguments = sentinel.connection_pool.connection_kwargs
            host = f"[{arguments['host']}]" if ":" in arguments["host"] else arguments["host"]
            name = f"the Sentinel at {host}:{arguments['port']}"
            try:
                masters: Any = sentinel.sentinel_masters()
            except redis.RedisError as error:
                kind = PlainPort if isinstance(error, PlainPort) else kind
                reasons.append(f"{name} {_fault(error, arguments.get('password'))}")
                continue
            state = masters.get(service_name)
            if state is None:
                reasons.append(f"{name} does not monitor {service_name!r}")
            elif not self._is_up(state):
                reasons.append(f"{name} reports that {service_name} is down")
            else:
                # From now on, ask this Sentinel first, because it has answered.
                self.sentinels[0], self.sentinels[number] = sentinel, self.sentinels[0]
                return state["ip"], state["port"]
        raise kind(f"no primary is known: {'; '.join(reasons)}")

    def _is_up(self, state: Mapping[str, Any]) -> bool:
        base: Any = super()
        return bool(base.check_master_state(state, None))


def _fault(error: redis.RedisError, password: object) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in text:
        if password:
            return "does not accept sentinel_username and sentinel_password"
        return "needs a password: set sentinel_password, and sentinel_username if the Sentinel has users"
    if isinstance(error, redis.ResponseError):
        return f"answers with an error: {text}"
    return f"is out of reach: {text}"

"""Sentinels: their addresses out of a text, and the question where the primary is, with an answer in plain words.

redis-py's own error holds the reprs of its clients: a thousand characters, and in some versions the password.
"""

from collections.abc import Mapping
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

from redbike.errors import ConfigError
from redbike.tls import PlainPort


def addresses(setting: str, text: str) -> list[tuple[str, int]]:
    """Return host and port of each HOST:PORT in the text of this setting."""
    found = []
    for word in text.replace(",", " ").split():
        host, _, port = word.rpartition(":")
        if "@" in word or "/" in word:  # not quoted back: it could hold a password
            raise ConfigError(f"{setting}: write HOST:PORT; a user and a password have settings of their own")
        if not host or not port.isdecimal():
            raise ConfigError(f"{setting}: {word!r} is not HOST:PORT")
        found.append((host.strip("[]"), int(port)))
    if not found:
        raise ConfigError(f"{setting}: none is given; write HOST:PORT, parted by blanks")
    return found


class PlainSentinel(Sentinel):
    """redis-py's Sentinels, which say for each of them why it is of no help."""

    sentinels: list[redis.Redis]

    def __init__(self, where: list[tuple[str, int]], connection: Mapping[str, Any]) -> None:
        """`connection`: how to connect to the Sentinels themselves."""
        super().__init__(where, sentinel_kwargs=dict(connection))  # type: ignore[no-untyped-call]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the primary. Raises MasterNotFoundError where no Sentinel knows a living one."""
        reasons: list[str] = []
        kind: type[redis.RedisError] = MasterNotFoundError
        for number, sentinel in enumerate(self.sentinels):
            known = sentinel.connection_pool.connection_kwargs
            host = f"[{known['host']}]" if ":" in known["host"] else known["host"]
            name = f"the Sentinel at {host}:{known['port']}"
            try:
                masters: Any = sentinel.sentinel_masters()
            except redis.RedisError as error:
                kind = PlainPort if isinstance(error, PlainPort) else kind
                reasons.append(f"{name} {_fault(error, known.get('password'))}")
                continue
            state = masters.get(service_name)
            if state is None:
                reasons.append(f"{name} watches no {service_name!r}")
            elif not self._is_up(state):
                reasons.append(f"{name} takes {service_name} for down")
            else:
                # The one that answered is asked first from now on.
                self.sentinels[0], self.sentinels[number] = sentinel, self.sentinels[0]
                return state["ip"], state["port"]
        raise kind(f"no primary is known: {'; '.join(reasons)}")

    def _is_up(self, state: Mapping[str, Any]) -> bool:
        known: Any = super()
        return bool(known.check_master_state(state, None))


def _fault(error: redis.RedisError, password: object) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in text:
        if password:
            return "takes neither sentinel_username nor sentinel_password as they are set"
        return "asks for a password: set sentinel_password, and sentinel_username where it has users"
    if isinstance(error, redis.ResponseError):
        return f"answers with an error: {text}"
    return f"is out of reach: {text}"

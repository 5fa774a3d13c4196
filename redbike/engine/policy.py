"""The user's choices for runs that fail (`on-error`) or are lost (`on-timeout`). outcome.py applies them.

The retry policy for calls of Redis is in retry.py.
"""

from dataclasses import dataclass
from typing import TypeGuard

from redbike.errors import ConfigError
from redbike.settings import LONGEST_S, MOST_RECORDS, MOST_RETRIES, SHORTEST_DEAD_AFTER_S, OnFailure, default


@dataclass(frozen=True)
class Policy:
    """The choices of one installation."""

    on_timeout: OnFailure = OnFailure.DROP
    on_error: OnFailure = OnFailure.DROP
    retries: int = default("retries")
    """How often a run is tried again, with `RETRY`."""
    history: int = default("history")
    """The number of runs that the history holds."""
    dead_after_s: float = default("dead_after")
    """The seconds without a heartbeat after which the runs of a worker are lost; 0 for never."""
    metrics: bool = default("metrics")
    """Whether runs are counted."""

    @classmethod
    def of(
        cls, on_timeout: str, on_error: str, retries: int, history: int, dead_after: float, metrics: bool
    ) -> "Policy":
        """Return the policy for these words and numbers. Raise ConfigError."""
        if isinstance(history, bool) or not isinstance(history, int) or not 0 <= history <= MOST_RECORDS:
            raise ConfigError(f"history: {history!r} is not a whole number from 0 to {MOST_RECORDS}")
        if not is_number(dead_after) or not (dead_after == 0 or SHORTEST_DEAD_AFTER_S <= dead_after <= LONGEST_S):
            raise ConfigError(
                f"dead_after: {dead_after!r} is neither 0 nor a number of seconds from {SHORTEST_DEAD_AFTER_S:g} on"
            )
        if isinstance(retries, bool) or not isinstance(retries, int) or not 1 <= retries <= MOST_RETRIES:
            raise ConfigError(f"retries: {retries!r} is not a whole number from 1 to {MOST_RETRIES}")
        if not isinstance(metrics, bool):
            raise ConfigError(f"metrics: {metrics!r} is neither True nor False")
        choices = _choice("on_timeout", on_timeout), _choice("on_error", on_error)
        return cls(*choices, retries, history, float(dead_after), metrics)

    @property
    def keeps_an_index(self) -> bool:
        """Whether dispatchers look for lost runs, by an index of running jobs: to run them again, or to record them."""
        return self.on_timeout is not OnFailure.DROP or self.history > 0

    @property
    def forget_tries(self) -> int | None:
        """The count of tries to store for a run that is not retried: 0, or None if tries are not counted at all."""
        return 0 if OnFailure.RETRY in (self.on_timeout, self.on_error) else None


def _choice(name: str, word: str) -> OnFailure:
    try:
        return OnFailure(word)
    except ValueError:
        raise ConfigError(f"{name}: {word!r} is not one of {', '.join(OnFailure)}") from None


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a real number. True and False are not."""
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    from decimal import Decimal
    from numbers import Real

    return isinstance(value, Real | Decimal)

"""A figure: a number with a unit, a better direction and optionally an aim, measured in rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One number of a measurement, how to read it, and its aim."""

    title: str
    unit: str
    better: Literal["more", "less"]
    wanted: float | None = None  # the aim: at least this many times better than the yardstick
    within: float | None = None  # the aim of a cost: at most this many times the cost of the yardstick
    limit: float | None = None  # the aim: at most this number, in its unit
    is_extreme: bool = False  # an interruption can only increase it: take the least of the rounds, not the median

    def summary(self, rounds: Sequence[float]) -> float:
        """Return the number that represents all rounds."""
        return min(rounds) if self.is_extreme else median(rounds)

    @property
    def aim(self) -> str:
        """The aim in words; empty if there is none."""
        if self.wanted is not None:
            return f"at least {self.wanted:g} x 0.13.1"
        if self.within is not None:
            return f"at most {self.within:g} x 0.13.1"
        return f"at most {self.limit:g} {self.unit}" if self.limit is not None else ""


@dataclass(frozen=True)
class Measurement:
    """A measuring function, which runs in a child process, and its figures."""

    function: str  # package.module:function
    figures: Mapping[str, Figure]
    rounds: int = 5
    full: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    compared: bool = True  # False: only the checkout is measured, because the yardstick has no counterpart


@dataclass(frozen=True)
class Comparison:
    """A figure with the numbers of all rounds. `yardstick` is empty if only the checkout was measured."""

    figure: Figure
    yardstick: tuple[float, ...]
    checkout: tuple[float, ...]

    @property
    def times_better(self) -> float | None:
        """How many times better the checkout is than the yardstick; None if there is nothing to divide by."""
        if not self.yardstick:
            return None
        before, after = self.figure.summary(self.yardstick), self.figure.summary(self.checkout)
        more, less = (after, before) if self.figure.better == "more" else (before, after)
        return more / less if less else None

    @property
    def is_met(self) -> bool | None:
        """True if the figure meets its aim; None if there is no aim, or no yardstick to compare with."""
        figure, times = self.figure, self.times_better
        if figure.limit is not None:
            return figure.summary(self.checkout) <= figure.limit
        wanted = figure.wanted if figure.within is None else 1 / figure.within
        return None if wanted is None or times is None else times >= wanted

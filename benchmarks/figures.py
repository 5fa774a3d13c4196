"""What a figure is: a number with a unit, a better direction and perhaps an aim, taken in rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One number that a measurement gives, how to read it, and what it is meant to reach."""

    title: str
    unit: str
    better: Literal["more", "less"]
    wanted: float | None = None  # how many times better than the yardstick it is meant to be
    within: float | None = None  # for a cost: how many times that of the yardstick it may be
    limit: float | None = None  # what it is meant to stay within, in its unit
    is_extreme: bool = False  # an interruption can only add to it: the least of the rounds is told, not the median

    def told(self, rounds: Sequence[float]) -> float:
        """The number that stands for all rounds."""
        return min(rounds) if self.is_extreme else median(rounds)

    @property
    def aim(self) -> str:
        """The aim in words; empty where there is none."""
        if self.wanted is not None:
            return f"at least {self.wanted:g} x 0.13.1"
        if self.within is not None:
            return f"at most {self.within:g} x 0.13.1"
        return f"at most {self.limit:g} {self.unit}" if self.limit is not None else ""


@dataclass(frozen=True)
class Measurement:
    """A measuring function, which runs in a child, and the figures that it gives."""

    function: str  # package.module:function
    figures: Mapping[str, Figure]
    rounds: int = 5
    full: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    compared: bool = True  # False: of the checkout alone, for the yardstick has nothing like it


@dataclass(frozen=True)
class Comparison:
    """A figure with the numbers of all rounds; none of the yardstick where that was not measured."""

    figure: Figure
    yardstick: tuple[float, ...]
    checkout: tuple[float, ...]

    @property
    def times_better(self) -> float | None:
        """By how much the checkout's median beats the yardstick's; None where there is nothing to divide by."""
        if not self.yardstick:
            return None
        before, after = self.figure.told(self.yardstick), self.figure.told(self.checkout)
        more, less = (after, before) if self.figure.better == "more" else (before, after)
        return more / less if less else None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None where there is none, or no yardstick to hold it against."""
        figure, times = self.figure, self.times_better
        if figure.limit is not None:
            return figure.told(self.checkout) <= figure.limit
        wanted = figure.wanted if figure.within is None else 1 / figure.within
        return None if wanted is None or times is None else times >= wanted

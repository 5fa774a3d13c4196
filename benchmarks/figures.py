"""What a figure is: a number with a unit and a better direction, taken in rounds, told as a median."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One number that a measurement gives, and how to read it."""

    title: str
    unit: str
    better: Literal["more", "less"]
    wanted: float | None = None  # how many times better than the yardstick it is meant to be
    limit: float | None = None  # what it is meant to stay within, in its unit


@dataclass(frozen=True)
class Measurement:
    """A measuring function, which runs in a child, and the figures that it gives."""

    function: str  # package.module:function
    figures: Mapping[str, Figure]
    rounds: int = 5
    full: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A figure with the numbers of all rounds."""

    figure: Figure
    yardstick: tuple[float, ...]
    checkout: tuple[float, ...]

    @property
    def times_better(self) -> float | None:
        """By how much the checkout's median beats the yardstick's; None where that would divide by zero."""
        before, after = median(self.yardstick), median(self.checkout)
        more, less = (after, before) if self.figure.better == "more" else (before, after)
        return more / less if less else None

    @property
    def falls_short(self) -> bool:
        """Whether a stated aim is missed."""
        times, wanted, limit = self.times_better, self.figure.wanted, self.figure.limit
        too_close = wanted is not None and times is not None and times < wanted
        too_much = limit is not None and median(self.checkout) > limit
        return too_close or too_much

"""How long and how often: the suite and the soak run the same rounds in different sizes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The amount of each fault."""

    boundaries: int  # a process is killed once before and once after each of this many commands
    losses: int
    restarts: int
    down_s: float
    frozen_s: float
    refused_s: float
    flushes: int
    clock_s: float
    occurrences: int
    foreign_s: float
    answers: int  # how many different errors
    garbage: int  # how many kinds of garbage for each key
    keys: int  # how many keys hold garbage
    steps: int  # of the model
    failovers: int
    hostile_s: float  # for how long other programs write


SUITE = Size(
    boundaries=4,
    losses=100,
    restarts=1,
    down_s=0.5,
    frozen_s=0.8,
    refused_s=0.2,
    flushes=8,
    clock_s=0.7,
    occurrences=450,
    foreign_s=1.0,
    answers=2,
    garbage=1,
    keys=4,
    steps=1_000,
    failovers=1,
    hostile_s=0.7,
)
QUICK = Size(
    boundaries=12,
    losses=1_000,
    restarts=3,
    down_s=3.0,
    frozen_s=3.0,
    refused_s=2.0,
    flushes=50,
    clock_s=4.0,
    occurrences=10_000,
    foreign_s=4.0,
    answers=7,
    garbage=2,
    keys=99,
    steps=4_000,
    failovers=3,
    hostile_s=4.0,
)
SOAK = Size(
    boundaries=24,
    losses=10_000,
    restarts=10,
    down_s=30.0,
    frozen_s=15.0,
    refused_s=5.0,
    flushes=500,
    clock_s=10.0,
    occurrences=100_000,
    foreign_s=15.0,
    answers=7,
    garbage=6,
    keys=99,
    steps=100_000,
    failovers=12,
    hostile_s=15.0,
)

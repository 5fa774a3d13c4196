"""Faults on purpose: a short round of each that the soak (`python -m benchmarks.chaos`) has, with a fixed seed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Behind everything else, so that `redbike` stays the one under test.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.chaos.arena import Arena
from benchmarks.chaos.faults import FAULTS, SUITE, play
from benchmarks.chaos.history import History, Verdict, lost_and_doubled

SEED = 1


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena() as arena:
        yield arena


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fleet_outlives(arena: Arena, fault: str) -> None:
    """C7: under each fault, every one-off runs once, what recurs goes on, and every process ends well."""
    verdict = play(arena, fault, SEED, 0, SUITE)
    assert verdict.is_sound, verdict
    assert verdict.occurrences > 50


def test_the_judge_finds_what_was_lost_and_doubled(arena: Arena) -> None:
    """A job without a run is lost, one with two is doubled, unless a killed process had it."""
    notes = [
        "begin twice 1 7",
        "end twice 1 7",
        "begin twice 2 8",
        "end twice 2 8",
        "begin torn 3 9",
        "begin again 4 8",
    ]
    notes += ["end again 4 8", "begin whole 5 6", "end whole 5 6"]
    arena.notary.rpush("notes", *notes)
    history = History(arena.notary, "notes")
    history.refresh()
    jobids = ["twice", "torn", "never", "whole", "again"]
    assert lost_and_doubled(history, jobids, {9}) == (["torn", "never"], ["twice"])
    assert lost_and_doubled(history, jobids, {9}, dropped_is_lost=False) == (["never"], ["twice"])
    assert not Verdict("x", lost=["never"]).is_sound

"""Faults of the bridges on purpose: a short round of each row of `python -m benchmarks.bridges`, with real processes.

How long a row takes depends on the machine, so only the messages are judged: all sent, none twice, the ids right.
"""

import pytest

pytest.importorskip("celery")
pytest.importorskip("rq")

from benchmarks.bridges.__main__ import ROWS, measure
from benchmarks.bridges.findings import SUITE, Finding, table
from benchmarks.bridges.sent import judge
from benchmarks.bridges.sides import SIDES
from redbike.bridges.identity import run_id

FAULTS = ("down", "frozen", "killed", "bad", "steady")


@pytest.mark.parametrize("row", FAULTS)
@pytest.mark.parametrize("kind", SIDES)
def test_messages_outlive(kind: str, row: str) -> None:
    """Under each fault, each run that is due is sent, and a duplicate has the id of its run."""
    findings = measure(kind, row, SUITE)
    assert all(one.is_sound for one in findings), f"\n{table(findings)}"


@pytest.mark.parametrize("row", [row for row in ROWS if row not in FAULTS])
def test_figures_can_be_measured(row: str) -> None:
    """Each row that measures a time or a rate comes to its end. The rows of RQ are the same code."""
    assert measure("celery", row, SUITE)


def test_the_judge() -> None:
    """The judge counts a missing run, a doubled id and an unknown id."""
    due = [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    ids = [
        run_id("p", "a", 1.0),
        run_id("p", "a", 1.0),
        run_id("p", "b", 2.0),
        run_id("p", "d", 9.0),
        run_id("p", "e", 4.0),
    ]
    verdict = judge("p", ids, due, allowed=[("e", 4.0)])
    assert (verdict.sent, verdict.missing, verdict.doubled, verdict.foreign) == (5, [("c", 3.0)], 1, 1)


def test_the_table_says_what_is_missed() -> None:
    """A bar that is missed, and messages that are wrong, are in the last column."""
    lines = table([Finding("a", "1", "2", False), Finding("b", "1", "2", True, False), Finding("c", "1")]).split("\n")
    assert [line.split()[-1] for line in lines[1:]] == ["MISSED", "WRONG", "1"]

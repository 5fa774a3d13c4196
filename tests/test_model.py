"""Anything in any order: the state machine of the soak (benchmarks/chaos/model.py) drives the real scripts and a model.

A small round is part of the suite. REDBIKE_STEPS=100 (steps a run) and REDBIKE_RUNS=1000 make it a long one.
"""

import os
import random
from pathlib import Path

import pytest
from conftest import Server

from benchmarks.chaos.model import Tally, play

STEPS = int(os.environ.get("REDBIKE_STEPS", "30"))
RUNS = int(os.environ.get("REDBIKE_RUNS", "25"))
IS_LONG = "REDBIKE_STEPS" in os.environ or "REDBIKE_RUNS" in os.environ


@pytest.mark.timeout(0 if IS_LONG else 120)
def test_redis_and_the_model_agree(server: Server, tmp_path: Path) -> None:
    """C7: after any events in any order, each job is once where the contract says, and none is lost."""
    seed = random.SystemRandom().randrange(10**6) if IS_LONG else None
    tally = Tally()
    play(server.socket, tmp_path, tally, RUNS, STEPS, seed, is_long=IS_LONG)
    assert tally.runs > 50, "jobs ran"

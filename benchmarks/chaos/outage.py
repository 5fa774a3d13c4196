"""An outage, and what each process of a fleet must log: a line when it begins, and a line when it ends."""

import contextlib
import time
from collections.abc import Callable

from benchmarks.chaos.arena import Round, Unsettled, wait_for
from benchmarks.chaos.zygote import Actor

GONE, BACK = "trying until it is back", "is back after"


def outage(
    game: Round,
    begin: Callable[[], object],
    end: Callable[[], object],
    lasts_s: float,
    concerned: list[Actor] | None = None,
    *,
    must_speak: bool = True,
    most_pairs: int = 1,
) -> None:
    """Run an outage. Each affected process logs one line when the server goes, and one line when it is back.

    If the server may be back only for a moment, up to `most_pairs` of such pairs are allowed.
    """
    actors = game.actors if concerned is None else concerned
    gone, back = ({a.pid: len(a.lines(part)) for a in actors} for part in (GONE, BACK))
    begin()
    time.sleep(lasts_s)
    if must_speak:
        with contextlib.suppress(Unsettled):
            wait_for(lambda: all(len(a.lines(GONE)) > gone[a.pid] for a in actors), 8, "word of the outage")
    end()
    game.verdict.faults += 1
    game.circulates(25)
    with contextlib.suppress(Unsettled):
        wait_for(lambda: all(len(a.lines(GONE)) == len(a.lines(BACK)) for a in actors), 8, "word of the end")
    for actor in actors:
        lines = (len(actor.lines(GONE)) - gone[actor.pid], len(actor.lines(BACK)) - back[actor.pid])
        expected = [(pairs, pairs) for pairs in range(1 if must_speak else 0, most_pairs + 1)]
        if lines not in expected:
            game.complain(f"{lines} lines of the outage's begin and end: {actor.lines('')[-4:]}")

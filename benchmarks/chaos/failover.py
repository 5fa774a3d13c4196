"""A primary that fails, and a Sentinel that promotes its replica.

Replication is asynchronous: the server loses writes that a primary has acknowledged and its replica has not
received. So writes pause before the failure until the replica has them all. If they do not pause, the last moment is
not judged.
"""

import contextlib
import random
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.chaos.arena import Arena, LeftOut, Round, wait_for
from benchmarks.chaos.history import Verdict, touched
from benchmarks.chaos.outage import outage
from benchmarks.chaos.sizes import Size
from benchmarks.server import server_program
from tests.nodes import CannotStart, Watched

WAYS = ("held up, frozen", "killed at work", "held up, killed")

_TIMEOUT_S = 12.0
"""Of a run: longer than a failover, or else its end is told too late, and the job is tried again."""

_MOMENT_S = 0.25
"""Before a primary is killed at work: nothing is set in it, and runs that begin or end in it are not judged."""


def failover(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Kill or freeze the primary so that its replica takes over, repeatedly, in each of three ways."""
    with _watched() as watched:
        server = watched.config | {"socket_timeout": 0.6}  # nobody closes the connections of a server that is frozen
        game = Round(arena, "failover", timeout_s=_TIMEOUT_S, nap_s=0.004, server=server)
        game.fleet(2, 3)
        game.set_often(6)
        game.set_ticks(3)
        game.circulates(20)
        moments: list[tuple[float, float]] = []
        for number in range(size.failovers):
            game.set_now(10)
            game.set_at(60, rng, 3.0)
            time.sleep(rng.uniform(0, 0.2))
            strike = partial(_strike, watched, WAYS[number % len(WAYS)], moments, arena)
            # Just after its first word on the new primary, a Sentinel may take it back for a moment, until it has
            # reached that one itself.
            outage(game, strike, partial(wait_for, watched.has_failed_over, 30, "failover"), 0.0, most_pairs=2)
            watched.change_places()
        game.client = watched.primary.client()
        verdict = game.finish()
        for found in (verdict.lost, verdict.doubled):
            spared = [one for one in found if any(touched(game.history, one, *moment) for moment in moments)]
            verdict.spared += spared
            found[:] = [one for one in found if one not in spared]
        return verdict


def _strike(watched: Watched, way: str, moments: list[tuple[float, float]], arena: Arena) -> None:
    """Kill or freeze the primary. `moments` receives the span of time that cannot be judged."""
    if way.startswith("held up"):
        watched.hold_up()
    else:
        time.sleep(_MOMENT_S)
        now = arena.now()
        moments.append((now - _MOMENT_S, now + _MOMENT_S))
    if way.endswith("frozen"):
        watched.primary.freeze()
    else:
        watched.primary.kill()


@contextlib.contextmanager
def _watched() -> Iterator[Watched]:
    program = server_program()
    try:
        watched = Watched(program, down_after_ms=500, failover_timeout_ms=1000)
    except (CannotStart, OSError) as error:
        raise LeftOut(f"{program} does not run as a Sentinel ({str(error).splitlines()[-1]})") from error
    with watched:
        yield watched

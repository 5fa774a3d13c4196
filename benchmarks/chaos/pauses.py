"""Operators at work: jobs, queues and the prefix are paused and resumed; workers die or freeze in long runs."""

import random
import signal
import time

from benchmarks.chaos.arena import Arena, Round, wait_for
from benchmarks.chaos.history import Verdict
from benchmarks.chaos.recorder import OFTEN
from benchmarks.chaos.sizes import Size
from redbike import ScheduleError

DEAD_AFTER_S = 15.0
_FOUND_WITHIN_S = DEAD_AFTER_S + 20


def pauses(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Jobs are paused and resumed at random, by a time too; queues and the prefix are held: every job runs once."""
    game = Round(arena, "pauses", nap_s=0.002)
    game.fleet(2, 3)
    game.set_often(4)
    game.set_ticks(2)
    game.circulates(20)
    bike, paused = game.bike, set[str]()
    give_up_at = time.monotonic() + size.hostile_s
    while time.monotonic() < give_up_at:
        game.set_now(6)
        game.set_at(4, rng, 0.3)
        for jobid in rng.sample(game.once, 5) + rng.sample([*game.often, *game.ticks], 2):
            until = arena.now() + 0.3 if rng.random() < 0.3 else None
            try:
                bike.pause(jobid, until, "by the soak")
                paused.add(jobid)
            except ScheduleError as error:
                game.complain(str(error))
        if rng.random() < 0.5:
            bike.hold(rng.choice(["work-A", "work-B", None]))
        time.sleep(rng.uniform(0.01, 0.1))
        for jobid in rng.sample(sorted(paused), min(len(paused), 5)):
            bike.resume(jobid)
            paused.discard(jobid)
        for name in bike.get_held():
            bike.release(name or None)
        game.verdict.faults += 7
    for jobid in paused:
        bike.resume(jobid)
    return game.finish(60)


def dead(arena: Arena, _rng: random.Random, _size: Size) -> Verdict:
    """Workers are killed or frozen in runs of hours: the runs begin again within `dead-after`, not at their timeout."""
    game = Round(arena, "dead", timeout_s=7_200, nap_s=3_600, more=f"dead-after: {DEAD_AFTER_S:g}\n")
    game.fleet(2, 0)
    workers = game.fleet(0, 2)
    jobids = [game.new_id(OFTEN) for _ in workers]
    for jobid in jobids:
        game.bike.set(jobid, "NOW", payload=jobid)
    history = game.history

    def begun(times: int) -> bool:
        history.refresh()
        return all(len(history.runs[jobid]) >= times for jobid in jobids)

    wait_for(lambda: begun(1), 20, "the first runs")
    wait_for(lambda: arena.client.zcard(f"{game.prefix}:alive") >= 4, 20, "the first heartbeats")
    game.kill(workers[0])
    workers[1].send(signal.SIGSTOP)
    struck_at = time.monotonic()
    game.verdict.faults += 2
    successors = game.fleet(0, 2)
    wait_for(lambda: begun(2), _FOUND_WITHIN_S, "runs of workers that died or froze")
    game.verdict.lateness_s.append(time.monotonic() - struck_at)
    time.sleep(1)  # a third run would begin by now
    if any(len(history.runs[jobid]) != 2 for jobid in jobids):
        game.verdict.doubled += jobids
    workers[1].send(signal.SIGCONT)
    for actor in (workers[1], *successors):
        game.kill(actor)  # their jobs take hours
    for jobid in jobids:
        game.bike.unset(jobid)
    verdict = game.finish(10)
    verdict.occurrences = 2 * len(jobids)
    return verdict


OPERATORS = [pauses, dead]

"""Surroundings that are hostile: what other programs leave, locales, a clock that steps, threads that close."""

import contextlib
import itertools
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.chaos.arena import Arena, LeftOut, Round, Server, Unsettled, wait_for
from benchmarks.chaos.clock import WrongClock
from benchmarks.chaos.history import Verdict
from benchmarks.chaos.recorder import Recorder
from benchmarks.chaos.sizes import Size
from redbike import Redbike, RedbikeError

_COLLIDING = ("x:A-members", "y:B-members")
"""Ids of other programs: their queues would be keys of the sets of members of A and B."""


def collide(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Other programs write ids that collide with keys of queues: those are BAD and reported, all others run once."""
    game = Round(arena, "collide")
    game.fleet(1, 2)
    game.set_often(4)
    game.set_ticks(2)
    game.circulates(20)
    client, bike = arena.client, game.bike
    give_up_at = time.monotonic() + size.hostile_s
    while time.monotonic() < give_up_at:
        client.zadd(bike.timeline_key, dict.fromkeys(_COLLIDING, game.arena.now() - 1))
        client.hset(bike.schedules_key, mapping=dict.fromkeys(_COLLIDING, rng.choice(["NOW", "CONTINUE"])))
        game.set_now(3)
        game.set_at(3, rng, 0.3)
        game.verdict.faults += 2
        time.sleep(0.05)
        for key in dict.fromkeys(bike.queue_names()):
            for one in (key, f"{key}-members"):
                if client.pttl(one) >= 0:
                    game.complain(f"{one} expires")

    def are_bad() -> bool:
        told = client.hmget(bike.statuses_key, list(_COLLIDING))
        return all(one is not None and one.startswith(b"BAD:") for one in told)

    wait_for(are_bad, 10, "BAD of ids that collide")
    for jobid in _COLLIDING:
        if not any(actor.lines(jobid) for actor in game.actors):
            game.complain(f"{jobid} was not reported")
    return game.finish()


def stale(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Other programs put ids into the set of one long queue and not into its list, and the other way about in another.

    Not both into one queue: list and set have the same size then, which hides that they differ.
    """
    game = Round(arena, "stale", nap_s=0.001)
    client, bike = arena.client, game.bike
    game.set_now(300)
    game.fleet(1, 2)
    game.set_often(4)
    game.set_ticks(2)
    numbers, never = itertools.count(), [f"never{number}:A" for number in range(3)]
    client.sadd(f"{bike.queue_for('x:A')}-members", *never)
    give_up_at = time.monotonic() + size.hostile_s
    while time.monotonic() < give_up_at:
        if min(client.llen(bike.queue_for(f"x:{code}")) for code in "AB") < 150:
            game.set_now(150)
        for way in ("NOW", f"AT:{arena.now() + rng.uniform(0, 0.2):.3f}", "enqueue"):
            jobid = f"stale{next(numbers)}:A"
            client.sadd(f"{bike.queue_for(jobid)}-members", jobid)
            bike.set(jobid, "STOP" if way == "enqueue" else way)
            if way == "enqueue":
                bike.enqueue(jobid)
            game.once.append(jobid)
        alone = f"alone{next(numbers)}:B"
        client.lpush(bike.queue_for(alone), alone)
        bike.set(alone, rng.choice(["NOW", "AT:1"]))
        game.once.append(alone)
        game.verdict.faults += 4
        time.sleep(0.03)
    client.srem(f"{bike.queue_for('x:A')}-members", *never)
    return game.finish(60)


def step(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """The clock of the server's host steps forward: all tags expire, and what was to come later is due."""
    clock = WrongClock(arena.folder, arena.number())
    clock.set(0)
    environment = clock.environment()
    if "LD_PRELOAD" not in environment:
        raise LeftOut("step needs libfaketime (Debian package libfaketime)")
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_own_server(arena, environment))
        except Unsettled:
            raise LeftOut("step needs a server program that starts with libfaketime") from None
        client: Any = stack.enter_context(server.client())
        game = Round(arena, "step", server={"unix_socket_path": server.socket})
        game.client = client
        off_s = 0.0

        def now() -> float:
            seconds, microseconds = client.time()
            return float(seconds + microseconds / 1e6)

        game.fleet(1, 2)
        game.set_often(4)
        game.bike.set(tick := game.new_id("tick"), "EVERY:1")
        game.ticks.append(tick)
        for seconds in [
            rng.choice([2, 30]),
            3_600,
            *[rng.choice([5, 600, 86_400]) for _ in range(int(size.hostile_s))],
        ]:
            game.circulates(20)
            game.set_now(3)
            for _ in range(5):
                game.once.append(jobid := game.new_id("at"))
                game.bike.set(jobid, f"AT:{now() + rng.uniform(0.5, 0.9) * seconds:.3f}")
            before, off_s = now(), off_s + seconds
            clock.set(off_s)
            try:
                wait_for(lambda: now() - before > seconds - 1, 3, "step of the clock")  # noqa: B023
            except Unsettled:
                raise LeftOut("step needs a server program that libfaketime can be loaded into") from None
            game.verdict.faults += 1
            game.all_begun(4)  # two seconds, and some for machines that others share
        verdict = game.finish()
    # What a worker had in hand when its tag expired is tried again.
    verdict.doubled.clear()
    return verdict


def closing(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Loops in threads whose objects are closed by another thread, and others that take their places."""
    game = Round(arena, "closing")
    running: list[tuple[threading.Thread, Redbike]] = []

    def start(kind: str) -> None:
        worker = Recorder("A:A:B", arena.notary_socket, game.prefix)
        bike = Redbike(worker, game.prefix, {"unix_socket_path": arena.server.socket}, timefile=game.folder / "t")

        def run() -> None:
            try:
                getattr(bike, kind)()
            except RedbikeError as error:
                if "clos" not in str(error):
                    game.complain(f"{kind}: {error}")
            except Exception as error:
                game.complain(f"{kind}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        running.append((thread, bike))

    kinds = ["dispatch", "work", "work"]
    game.set_often(4)
    give_up_at = time.monotonic() + size.hostile_s
    while time.monotonic() < give_up_at:
        while len(running) < len(kinds):
            start(kinds[game.verdict.faults % len(kinds)])
            game.verdict.faults += 1
        game.set_now(4)
        game.set_at(3, rng, 0.2)
        time.sleep(rng.uniform(0.02, 0.2))
        thread, bike = running.pop(0)
        bike.close()
        thread.join(10)
        if thread.is_alive():
            game.complain("a loop goes on though its object was closed")
    for thread, bike in running:
        bike.close()
        thread.join(10)
    game.fleet(1, 2)
    return game.finish()


def locale(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """A server that sorts text as Czechs or Danes do."""
    verdict = Verdict("locale")
    for name in ("cs_CZ.UTF-8", "da_DK.UTF-8"):
        listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.lower()
        if name.lower() not in listed.replace("utf8", "utf-8").split():
            raise LeftOut(f"this machine has no locale {name}: localedef -i {name[:5]} -f UTF-8 {name}")
        with _own_server(arena, {"LC_ALL": name}) as server:
            game = Round(arena, "locale", server={"unix_socket_path": server.socket})
            game.client = server.client()
            game.fleet(2, 3)
            game.set_often(4)
            game.set_ticks(2)
            game.set_now(200)
            game.set_at(30, rng, 0.5 + size.hostile_s / 2)
            game.verdict.faults += 1
            verdict.add(game.finish())
    return verdict


@contextlib.contextmanager
def _own_server(arena: Arena, environment: dict[str, str]) -> Iterator[Server]:
    """A server in another environment, for one round."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        server = Server(arena.folder / f"own{arena.number()}")
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    try:
        yield server
    finally:
        server.kill()


HOSTILE: list[Callable[[Arena, random.Random, Size], Verdict]] = [collide, stale, step, locale, closing]

"""Surroundings that are hostile: ids of other programs, and locales of the server."""

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator

from benchmarks.chaos.arena import Arena, LeftOut, Round, Server, wait_for
from benchmarks.chaos.history import Verdict
from benchmarks.chaos.sizes import Size

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


HOSTILE: list[Callable[[Arena, random.Random, Size], Verdict]] = [collide, locale]

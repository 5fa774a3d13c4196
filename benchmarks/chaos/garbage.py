"""Garbage in Redis: keys of a wrong type, and entries without meaning, while a fleet works."""

import random
import time
from collections.abc import Callable
from typing import Any

from benchmarks.chaos.arena import Arena, Round, Unsettled
from benchmarks.chaos.history import Verdict
from benchmarks.chaos.sizes import Size
from redbike.store.keys import ADDED_STATE, STATE

_RENAME = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end"

GARBAGE: dict[str, tuple[str, Callable[[Any, str], object]]] = {
    "string": ("string", lambda client, key: client.set(key, "wrong")),
    "list": ("list", lambda client, key: client.rpush(key, "wrong")),
    "hash": ("hash", lambda client, key: client.hset(key, "wrong", "wrong")),
    "zset": ("zset", lambda client, key: client.zadd(key, {"wrong": float("inf")})),
    "bytes": ("string", lambda client, key: client.set(key, b"\xff\xfe\x00" * 7)),
    "long": ("string", lambda client, key: client.set(key, b"x" * 10_000_000)),
}
"""By name: the type, and how to put it there."""


def garbage(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Put the wrong type, odd bytes, absurd numbers and long text into each key of the state in turn."""
    game = Round(arena, "garbage", timeout_s=5)
    game.fleet(1, 2)
    game.set_often(3)
    game.set_ticks(1)
    game.circulates(20)
    _entries_of_garbage(game, rng)
    victim = "oftenvictim:A"  # its run tag is damaged too, so it does not have to keep running
    game.bike.set(victim, "CONTINUE")
    rows = [*STATE, *ADDED_STATE]
    for row in rng.sample(rows, min(size.keys, len(rows))):
        for kind in rng.sample(sorted(GARBAGE), size.garbage):
            _spoil(game, _key(game, row.key, victim), row.type, kind)
    verdict = game.finish(40)
    # Runs that could not report their end while a key was broken have exceeded their timeout, and are repeated.
    verdict.doubled.clear()
    return verdict


def _key(game: Round, pattern: str, jobid: str) -> str:
    """Return the key that a row of the state table means for this job. For a memo, return a memo in use."""
    queue = game.bike.queue_for(jobid).removeprefix(f"{game.prefix}-")
    if "CLIENT" in pattern:
        memos = sorted(game.arena.client.scan_iter(match=f"{game.prefix}:memo:*", count=1000))
        return str(memos[0].decode())
    return game.prefix + pattern.removeprefix("P").replace("JOBID", jobid).replace("Q", queue)


def _spoil(game: Round, key: str, right_type: str, kind: str) -> None:
    """Replace a key with garbage, and restore it after a while. Garbage of the right type is added to the content.

    Every process survives, and everything works again afterwards.
    """
    client, aside = game.arena.client, f"aside-{key}"
    garbage_type, put = GARBAGE[kind]
    is_replaced = garbage_type not in right_type.replace("sorted set", "zset")
    with client.pipeline() as transaction:
        if is_replaced:
            transaction.eval(_RENAME, 2, key, aside)  # if it exists at that moment
        put(transaction, key)
        transaction.execute()
    game.verdict.faults += 1
    time.sleep(0.25)
    with client.pipeline() as transaction:
        if is_replaced or garbage_type == "string":
            transaction.delete(key)
        if client.exists(aside):
            transaction.rename(aside, key)
        transaction.execute()
    game.circulates(15)
    for actor in [actor for actor in game.actors if actor.code() is not None]:
        game.complain(f"{key} as {kind}: exit {actor.code()}: {actor.lines('')[-2:]}")
        game.actors.remove(actor)
    if game.verdict.stalled:
        raise Unsettled(f"{key} as {kind}: {game.verdict.stalled} no longer circulate")


def _entries_of_garbage(game: Round, rng: random.Random) -> None:
    """Put single entries without meaning into the right keys: these jobs are reported, the others go on."""
    client, bike = game.arena.client, game.bike
    odd = b"\xff\xfe" + bytes([rng.randrange(128, 256)]) + b":A"
    client.zadd(bike.timeline_key, {odd: 1})
    for number, score in enumerate((float("inf"), float("-inf"), -5.0, 1e300)):
        client.zadd(bike.timeline_key, {f"absurd{number}:A": score})
    for number, text in enumerate((b"\xff\xfe", b"", b"x" * 10_000_000, b"AT:1e999", b"RRULE:FREQ=SECONDLY;COUNT=-1")):
        client.hset(bike.schedules_key, f"text{number}:A", text)
        client.zadd(bike.timeline_key, {f"text{number}:A": 2})
    client.hset(bike.statuses_key, odd, b"\xff")
    client.lpush(bike.queue_for("x:A"), odd, b"x" * 100_000 + b":A", b"")
    game.verdict.faults += 12
    game.circulates(15)
    said = [line for actor in game.actors for line in actor.lines("not UTF-8")]
    if not said:
        game.complain("an id in odd bytes was not reported")

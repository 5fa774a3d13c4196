"""The whole state of one prefix as plain Python, so that a test can compare it before and after, or begin from it.

Asks for every key there is, so that nothing left behind is overlooked.
"""

from collections.abc import Callable
from typing import Any

import redis

MEMO = ":memo:"
RECORDS = (":history", ":runs", ":due", ":metrics", ":alive", ":processes")
"""Keys that say what became of runs, and who is alive. No job is lost with them."""


def state(client: redis.Redis, prefix: str) -> dict[str, Any]:
    """Every key of the prefix without it (`-schedules`, `-work-A`, `:bell:work-A`) and what it holds.

    Hashes and sorted sets are dicts, lists are lists from left to right, sets are sets, and strings are text. Memos
    are left out, because their names are random: `memos` has them. Records of runs are left out, too: `records` has
    them.
    """
    return {
        name: held
        for name, held in _everything(client, prefix).items()
        if not name.startswith(MEMO) and name not in RECORDS
    }


def records(client: redis.Redis, prefix: str) -> dict[str, Any]:
    """Every key of the prefix that records runs or processes, and what it holds. The history is a list of dicts."""
    return {name: held for name, held in _everything(client, prefix).items() if name in RECORDS}


def bring_about(client: redis.Redis, prefix: str, wanted: dict[str, Any]) -> None:
    """Write this state to an empty prefix."""
    for name, held in wanted.items():
        key = prefix + name
        match held:
            case dict() if name == "-timeline":
                client.zadd(key, held)
            case dict():
                client.hset(key, mapping=held)
            case list():
                client.rpush(key, *held)
            case set():
                client.sadd(key, *held)
            case _:
                client.set(key, held)


def memos(client: redis.Redis, prefix: str) -> list[str]:
    """Return the memos that clients left in Redis against lost replies, in no order."""
    return [held for name, held in _everything(client, prefix).items() if name.startswith(MEMO)]


def whole_server(client: redis.Redis) -> dict[str, Any]:
    """Return every key of the database, also of others, and its content."""
    return _held(client, list(client.scan_iter(count=1000)))


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _everything(client: redis.Redis, prefix: str) -> dict[str, Any]:
    begin = prefix.encode()
    keys = [key for key in client.scan_iter(count=1000) if key.startswith((begin + b"-", begin + b":"))]
    return {name.removeprefix(prefix): held for name, held in _held(client, keys).items()}


def _held(client: redis.Redis, keys: list[bytes]) -> dict[str, Any]:
    """Return the content of these keys in two round trips, because some tests read it after every step."""
    types, values = client.pipeline(transaction=False), client.pipeline(transaction=False)
    for key in keys:
        types.type(key)
    known = [(key, _READERS.get(kind), kind) for key, kind in zip(keys, types.execute(), strict=True)]
    for key, reader, _ in known:
        if reader is not None:
            reader[0](values, key)
    replies = iter(values.execute())
    return {text(key): kind if reader is None else reader[1](next(replies)) for key, reader, kind in known}


_READERS: dict[bytes, tuple[Callable[[Any, bytes], object], Callable[[Any], Any]]] = {
    b"hash": (
        lambda client, key: client.hgetall(key),
        lambda held: {text(field): text(value) for field, value in held.items()},
    ),
    b"zset": (
        lambda client, key: client.zrange(key, 0, -1, withscores=True),
        lambda held: {text(member): score for member, score in held},
    ),
    b"list": (lambda client, key: client.lrange(key, 0, -1), lambda held: [text(item) for item in held]),
    b"set": (lambda client, key: client.smembers(key), lambda held: {text(member) for member in held}),
    b"string": (lambda client, key: client.get(key), text),
    b"stream": (
        lambda client, key: client.xrange(key),
        lambda held: [{text(name): text(value) for name, value in fields.items()} for _, fields in held],
    ),
}
"""By type: the command, and its reply as plain Python. Others are gone since they were listed, or nothing of ours."""

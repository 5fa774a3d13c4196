"""The whole state of one prefix as plain Python, so that a test can compare it before and after, or begin from it.

Asks for every key there is, so that nothing left behind is overlooked.
"""

from typing import Any

import redis

MEMO = ":memo:"


def state(client: redis.Redis, prefix: str) -> dict[str, Any]:
    """Every key of the prefix without it (`-schedules`, `-work-A`, `:bell:work-A`) and what it holds.

    Hashes and sorted sets are dicts, lists are lists from left to right, sets are sets, and strings are text. Memos
    are left out, because their names are random: `memos` has them.
    """
    return {name: held for name, held in _everything(client, prefix).items() if not name.startswith(MEMO)}


def bring_about(client: redis.Redis, prefix: str, wanted: dict[str, Any]) -> None:
    """Make `state` what is wanted, on a prefix that is empty."""
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
    """What clients left in Redis against lost replies, in no order."""
    return [held for name, held in _everything(client, prefix).items() if name.startswith(MEMO)]


def whole_server(client: redis.Redis) -> dict[str, Any]:
    """Every key of the database, whoever made it, and what it holds."""
    return {text(key): _held(client, key) for key in client.scan_iter(count=1000)}


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _everything(client: redis.Redis, prefix: str) -> dict[str, Any]:
    begin = prefix.encode()
    return {
        text(key[len(begin) :]): _held(client, key)
        for key in client.scan_iter(count=1000)
        if key.startswith((begin + b"-", begin + b":"))
    }


def _held(client: redis.Redis, key: bytes) -> Any:
    held: Any
    match client.type(key):
        case b"hash":
            held = client.hgetall(key)
            return {text(field): text(value) for field, value in held.items()}
        case b"zset":
            held = client.zrange(key, 0, -1, withscores=True)
            return {text(member): score for member, score in held}
        case b"list":
            held = client.lrange(key, 0, -1)
            return [text(item) for item in held]
        case b"set":
            held = client.smembers(key)
            return {text(member) for member in held}
        case b"string":
            held = client.get(key)
            return text(held)
        case kind:  # gone since it was listed, or nothing of ours
            return kind
